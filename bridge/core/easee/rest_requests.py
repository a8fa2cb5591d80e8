"""Requests of the vendor's REST interface; the only module that builds its paths.

Rules:

1. A charger id reaches a path only through :func:`charger_path`, which refuses everything that is
   not spelled like a serial. Whether the serial is *ours* is checked by the caller against the
   known set before that.
2. A request says which budget it is charged to (:class:`Endpoint`) and whether repeating it is
   harmless. Nobody guesses later.
"""

import enum
import re
from datetime import UTC, datetime

import msgspec

from bridge.core.easee.exchange_commands import ExchangeCommand
from bridge.errors import CommandRefused

# Ten serials seen in the wild are two letters and six digits; the pattern is wider so that a new
# product line works, and narrow enough that nothing in it means anything to a URL or a topic.
SERIAL = re.compile(r"[A-Z0-9]{6,16}", re.ASCII)

# A background read.
READ_TIMEOUT_S = 30.0
CHARGERS_PATH = "/api/chargers"
PRODUCTS_PATH = "/api/accounts/products"
MAX_BODY_BYTES = 1024 * 1024
MAX_LIST_BYTES = 64 * MAX_BODY_BYTES


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
    EQUALIZER_COMMAND = "equalizer_command"
    OTHER = "other"


class CloudRequest(msgspec.Struct, frozen=True):
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
        exchange: The same as a command of the partner feed's exchange; None where only REST has it.
    """

    method: str
    path: str
    endpoint: Endpoint
    scope: str = ""
    body: bytes | None = None
    idempotent: bool = True
    command: bool = False
    exchange: ExchangeCommand | None = None


def is_serial(text: str) -> bool:
    """Return whether a text has the format of a charger serial."""
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


def largest_answer(request: CloudRequest) -> int:
    """Return how many bytes the body of an answer may have.

    The lists of chargers and sites grow with the account: some 210 bytes for a charger in the one,
    300 to 600 in the other. The bound is for 100,000 chargers.
    """
    return MAX_LIST_BYTES if request.path in (CHARGERS_PATH, PRODUCTS_PATH) else MAX_BODY_BYTES


def charger_list_request() -> CloudRequest:
    """Return the request for the chargers of the account."""
    return CloudRequest("GET", CHARGERS_PATH, Endpoint.CHARGER_LIST)


def products_request() -> CloudRequest:
    """Return the request for the sites of the account, with their chargers and Equalizers."""
    return CloudRequest("GET", PRODUCTS_PATH, Endpoint.OTHER, "products")


def observations_request(charger_id: str, ids: tuple[int, ...]) -> CloudRequest:
    """Read the newest value of several observations of one charger in one call.

    The path has no ``/api``: with it the answer is 404. The limit counts the account, not the
    charger.

    Args:
        charger_id: The serial.
        ids: Observation ids; without any the cloud answers 400.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    listed = ",".join(str(int(number)) for number in ids)
    path = f"/state/{checked(charger_id)}/observations?ids={listed}"
    return CloudRequest("GET", path, Endpoint.OBSERVATIONS)


def firmware_request(charger_id: str) -> CloudRequest:
    """Return the request for the newest firmware of a charger. Like observations without ``/api``.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    path = f"/firmware/{checked(charger_id)}/latest"
    return CloudRequest("GET", path, Endpoint.OTHER, charger_id)


def site_request(charger_id: str) -> CloudRequest:
    """Return the request for the site and circuit of a charger.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    return CloudRequest("GET", charger_path(charger_id, "site"), Endpoint.SITE, charger_id)


def sessions_request(charger_id: str, since: datetime, until: datetime) -> CloudRequest:
    """Return the request for the finished sessions of a period.

    Args:
        charger_id: The serial.
        since: Aware; the vendor compares it with the time the car was connected.
        until: Aware.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    path = f"/api/sessions/charger/{checked(charger_id)}/sessions/{_level(since)}/{_level(until)}"
    return CloudRequest("GET", path, Endpoint.SESSIONS, charger_id)


def history_request(
    charger_id: str, observation_id: int, since: datetime, until: datetime
) -> CloudRequest:
    """Return the request for the values of one observation over time.

    Args:
        charger_id: The serial.
        observation_id: Which one.
        since: Aware.
        until: Aware.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    levels = ("observations", str(int(observation_id)), _level(since), _level(until))
    return CloudRequest("GET", charger_path(charger_id, *levels), Endpoint.OTHER, charger_id)


def plan_request(charger_id: str, resource: str) -> CloudRequest:
    """Return the request for the schedules the cloud stores for a charger; 404 means none.

    Args:
        charger_id: The serial.
        resource: ``schedules``, or below it ``delayed``, ``daily`` or ``weekly``.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    return CloudRequest("GET", charger_path(charger_id, resource), Endpoint.OTHER, charger_id)


def schedule_request(
    method: str, charger_id: str, kind: str, word: str = "", body: bytes | None = None
) -> CloudRequest:
    """Store, switch or remove a schedule that the cloud keeps for a charger.

    Args:
        method: ``POST`` or ``DELETE``.
        charger_id: The serial.
        kind: ``delayed``, ``daily`` or ``weekly``.
        word: ``enable`` or ``disable``; empty for the schedule itself.
        body: JSON text.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    resource = "/".join(filter(None, ("schedules", kind, word)))
    return charger_resource_request(method, charger_id, resource, body)


def _level(at: datetime) -> str:
    """Format a time as a level of a path: whole seconds, no offset whose plus would be a blank."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def command_state_request(device: str, command_id: int, ticks: int) -> CloudRequest:
    """Return the request for the record of a command; 404 until the cloud has one.

    Args:
        device: Serial of the charger, as the command's answer named it.
        command_id: The vendor's command id.
        ticks: .NET ticks that name the command.

    Raises:
        CommandRefused: The device is not spelled like a serial.
    """
    path = f"/api/commands/{checked(device)}/{int(command_id)}/{int(ticks)}"
    return CloudRequest("GET", path, Endpoint.OTHER, device)


def charger_command_request(
    charger_id: str,
    name: str,
    body: bytes | None = None,
    *,
    idempotent: bool = True,
    exchange: ExchangeCommand | None = None,
) -> CloudRequest:
    """Send a command to a charger.

    Args:
        charger_id: The serial.
        name: The vendor's name of the command, a constant of this project.
        body: JSON text; most commands have none.
        idempotent: False for what must never be sent twice.
        exchange: The same for the partner feed's exchange, if that can carry it.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    path = charger_path(charger_id, "commands", name)
    return CloudRequest(
        "POST",
        path,
        Endpoint.CHARGER_COMMAND,
        charger_id,
        body,
        idempotent,
        command=True,
        exchange=exchange,
    )


def charger_settings_request(charger_id: str, body: bytes) -> CloudRequest:
    """Change settings of a charger.

    Args:
        charger_id: The serial.
        body: JSON object of the keys to change, and no others.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    path = charger_path(charger_id, "settings")
    return CloudRequest("POST", path, Endpoint.CHARGER_SETTINGS, charger_id, body, command=True)


def charger_resource_request(
    method: str, charger_id: str, resource: str, body: bytes | None = None
) -> CloudRequest:
    """Replace or delete something the cloud keeps for a charger, e.g. a charge plan.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    path = charger_path(charger_id, resource)
    return CloudRequest(method, path, Endpoint.OTHER, charger_id, body, command=True)


def site_detail_request(site_id: int) -> CloudRequest:
    """Return the request for one site with everything the cloud tells of it."""
    path = f"/api/sites/{int(site_id)}?detailed=true"
    return CloudRequest("GET", path, Endpoint.SITE, str(int(site_id)))


def site_resource_request(site_id: int, resource: str = "") -> CloudRequest:
    """Return the request for a site, or for one of its resources, e.g. ``users``."""
    path = "/".join(filter(None, (f"/api/sites/{int(site_id)}", resource)))
    return CloudRequest("GET", path, Endpoint.OTHER, str(int(site_id)))


def site_cost_request(site_id: int, since: datetime, until: datetime) -> CloudRequest:
    """Return the request for the cost of charging at a site in a period."""
    path = f"/api/sites/{int(site_id)}/breakdown/{_level(since)}/{_level(until)}"
    return CloudRequest("GET", path, Endpoint.SITE, f"{int(site_id)}/breakdown")


def site_price_request(site_id: int, body: bytes) -> CloudRequest:
    """Return the request that sets the price of a site."""
    path, scope = f"/api/sites/{int(site_id)}/price", str(int(site_id))
    return CloudRequest("POST", path, Endpoint.OTHER, scope, body, command=True)


def circuit_settings_request(site_id: int, circuit_id: int) -> CloudRequest:
    """Return the request for the settings of a circuit."""
    path = f"/api/sites/{int(site_id)}/circuits/{int(circuit_id)}/settings"
    return CloudRequest("GET", path, Endpoint.OTHER, f"{int(site_id)}/{int(circuit_id)}")


def keys_request() -> CloudRequest:
    """Return the request for the charging keys of the account."""
    return CloudRequest("GET", "/api/accounts/easeekeys", Endpoint.OTHER, "keys")


def consumption_request(charger_id: str, by: str, since: datetime, until: datetime) -> CloudRequest:
    """Return the request for the energy of a charger by hour, day or month.

    Args:
        charger_id: The serial.
        by: ``hour``, ``day`` or ``month``.
        since: Aware.
        until: Aware.

    Raises:
        CommandRefused: The id is not spelled like a serial.
    """
    if by == "hour":
        levels = ("usage", "hourly", _level(since), _level(until))
        path = charger_path(charger_id, *levels)
    else:
        words = {"day": "daily", "month": "monthly"}
        period = f"from={_level(since)}&to={_level(until)}&tz=UTC"
        path = f"/api/chargers/lifetime-energy/{checked(charger_id)}/{words[by]}?{period}"
    return CloudRequest("GET", path, Endpoint.OTHER, charger_id)


def equalizer_request(serial: str, resource: str = "") -> CloudRequest:
    """Return the request for an Equalizer, or for one of its resources.

    Args:
        serial: Of the Equalizer.
        resource: ``config``; empty for the Equalizer itself.

    Raises:
        CommandRefused: The serial is not spelled like one.
    """
    path = "/".join(filter(None, ("/api/equalizers", checked(serial), resource)))
    return CloudRequest("GET", path, Endpoint.OTHER, serial)


def allocated_current_request(serial: str, amps: int) -> CloudRequest:
    """Return the request that sets the current an Equalizer may give out.

    Raises:
        CommandRefused: The serial is not spelled like one.
    """
    path = f"/api/equalizers/{checked(serial)}/commands/configure_max_allocated_current"
    body = b'{"maxCurrent":%d}' % amps
    return CloudRequest("POST", path, Endpoint.EQUALIZER_COMMAND, serial, body, command=True)


def surplus_request(serial: str, body: bytes | None = None) -> CloudRequest:
    """Return the request that sets charging on surplus energy; without a body it reads it.

    Raises:
        CommandRefused: The serial is not spelled like one.
    """
    path = f"/cloud-loadbalancing/equalizer/{checked(serial)}/config/surplus-energy"
    if body is None:
        return CloudRequest("GET", path, Endpoint.OTHER, serial)
    scope = f"{serial}/surplus"
    return CloudRequest("POST", path, Endpoint.EQUALIZER_COMMAND, scope, body, command=True)


def circuit_request(site_id: int, circuit_id: int, resource: str, body: bytes) -> CloudRequest:
    """Change the limits of a circuit.

    Args:
        site_id: As the site answer told it.
        circuit_id: As the site answer told it.
        resource: ``dynamicCurrent`` or ``settings``.
        body: JSON object; the vendor wants all three phases in one call.
    """
    path = f"/api/sites/{int(site_id)}/circuits/{int(circuit_id)}/{resource}"
    scope = f"{int(site_id)}/{int(circuit_id)}"
    return CloudRequest("POST", path, Endpoint.CIRCUIT_SETTINGS, scope, body, command=True)
