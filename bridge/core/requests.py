"""What may be asked of the vendor's REST interface: paths are built here and nowhere else.

Rules:

1. A charger id reaches a path only through :func:`charger_path`, which refuses everything that is
   not spelled like a serial. Whether the serial is *ours* is checked by the caller against the
   known set before that.
2. A request says which budget it is charged to (:class:`Endpoint`) and whether repeating it is
   harmless. Nobody guesses later.
"""

import enum
import re
from dataclasses import dataclass

from bridge.errors import CommandRefused

# Ten serials seen in the wild are two letters and six digits; the pattern is wider so that a new
# product line works, and narrow enough that nothing in it means anything to a URL or a topic.
SERIAL = re.compile(r"[A-Z0-9]{6,16}", re.ASCII)


class Endpoint(enum.Enum):
    """Budget classes: requests of one class share one vendor limit."""

    LOGIN = "login"
    NEGOTIATE = "negotiate"
    CHARGER_LIST = "charger_list"
    CHARGER_COMMAND = "charger_command"
    CHARGER_SETTINGS = "charger_settings"
    CIRCUIT_SETTINGS = "circuit_settings"
    OBSERVATIONS = "observations"
    SESSIONS = "sessions"
    SITE = "site"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class CloudRequest:
    """One REST call, ready to be sent.

    Attributes:
        method: ``GET``, ``POST``, ``PUT`` or ``DELETE``.
        path: Absolute path with query, e.g. ``"/api/chargers/EH123456/commands/reboot"``.
        endpoint: The budget it is charged to.
        scope: What the vendor counts the limit by, mostly a charger id; empty for the account.
        body: JSON text, or None for no body.
        idempotent: True when sending it twice does the same as once.
        command: True for what a person or a flow asked for; commands keep a reserved share of the
            budget.
    """

    method: str
    path: str
    endpoint: Endpoint
    scope: str = ""
    body: bytes | None = None
    idempotent: bool = True
    command: bool = False


def is_serial(text: str) -> bool:
    """Say whether a text is spelled like a charger serial."""
    return SERIAL.fullmatch(text) is not None


def charger_path(charger_id: str, *levels: str) -> str:
    """Build ``/api/chargers/<id>/…`` for a checked serial.

    Args:
        charger_id: The serial.
        levels: Further path levels, constants of this project.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    return "/".join(("/api/chargers", checked(charger_id), *levels))


def checked(charger_id: str) -> str:
    """Return the id if it is spelled like a serial.

    Raises:
        CommandRefused: ``unknown_charger``.
    """
    if not is_serial(charger_id):
        raise CommandRefused("unknown_charger", "a charger id is 6 to 16 capitals and digits")
    return charger_id
