"""The chargers the account listed last: known again before the cloud answers.

Without it a command that waited for a restart would meet a bridge that has heard of no charger yet.
The file is a hint. When it is lost, the account's list brings everything back.
"""

import json
from pathlib import Path

import structlog

from bridge.adapters.private_file import read_own, replace, why
from bridge.core.cloud.requests import is_serial

log = structlog.get_logger()


class RosterFile:
    """Serials in one file, of one account. Blocking: call it from a thread."""

    def __init__(self, path: Path, account: str) -> None:
        self._path = path
        self._account = account

    def load(self) -> tuple[str, ...]:
        """Read the serials; nothing usable, or another account's, is none."""
        try:
            document = json.loads(read_own(self._path))
            if document["account"] != self._account:
                return ()
            return tuple(s for s in document["chargers"] if isinstance(s, str) and is_serial(s))
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            log.warning("roster.ignored", path=str(self._path), reason=why(error))
            return ()

    def save(self, charger_ids: tuple[str, ...]) -> None:
        """Replace the file. Trouble is a warning: only the next start is slower to know."""
        document = {"account": self._account, "chargers": charger_ids}
        try:
            replace(self._path, json.dumps(document).encode())
        except OSError as error:
            log.warning("roster.not_saved", path=str(self._path), reason=error.strerror)
