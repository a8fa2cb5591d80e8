"""Charger list file: the known and removed chargers, available before the cloud answers.

Without it a command that waited for a restart would meet a bridge that has heard of no charger yet.
The file is a hint. When it is lost, the account's list brings everything back.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog

from bridge.adapters.state_files.private_file import read_own, replace, why
from bridge.core.easee.rest_requests import is_serial
from bridge.core.value_format import iso_utc, read_utc
from bridge.errors import DecodeError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class StoredChargerList:
    """What the file holds.

    Attributes:
        charger_ids: The chargers there are.
        left: Since when which one is away, UTC.
        former: Those that were served for another account.
    """

    charger_ids: tuple[str, ...] = ()
    left: Mapping[str, datetime] = field(default_factory=dict)
    former: tuple[str, ...] = ()


class ChargerListFile:
    """Serials in one file, of one account. Blocking: call it from a thread."""

    def __init__(self, path: Path, account: str) -> None:
        self._path = path
        self._account = account

    def load(self) -> StoredChargerList:
        """Read the serials; nothing usable is none, and another account's are former ones."""
        try:
            document = json.loads(read_own(self._path))
            serials = tuple(s for s in document["chargers"] if isinstance(s, str) and is_serial(s))
            left = {s: read_utc(at) for s, at in document.get("left", {}).items() if is_serial(s)}
            is_ours = document["account"] == self._account
            return (
                StoredChargerList(serials, left)
                if is_ours
                else StoredChargerList(left=left, former=serials)
            )
        except FileNotFoundError:
            return StoredChargerList()
        except (
            OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, DecodeError
        ) as error:  # fmt: skip
            log.warning("charger_list_file.ignored", path=str(self._path), reason=why(error))
            return StoredChargerList()

    def save(self, charger_ids: tuple[str, ...], left: Mapping[str, datetime]) -> None:
        """Replace the file. Trouble is a warning: only the next start is slower to know."""
        document = {
            "account": self._account,
            "chargers": charger_ids,
            "left": {charger_id: iso_utc(at) for charger_id, at in left.items()},
        }
        try:
            replace(self._path, json.dumps(document).encode())
        except OSError as error:
            log.warning("charger_list_file.not_saved", path=str(self._path), reason=error.strerror)
