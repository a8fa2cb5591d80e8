"""Last-seen file: the time of the last orderly shutdown, an upper limit of waits at the broker.

Without it, or after a power cut, nobody knows; commands that may have waited longer than they live
are then refused.
"""

import json
from datetime import datetime
from pathlib import Path

import structlog

from bridge.adapters.state_files.private_file import read_own, replace
from bridge.core.records.moment import Timestamp

log = structlog.get_logger()


class LastSeenFile:
    """One moment in one file. Blocking, and a few bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> datetime | None:
        """Read the moment; None when nothing usable is there."""
        try:
            at = datetime.fromisoformat(json.loads(read_own(self._path))["at"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            log.warning("last_seen.ignored", path=str(self._path), reason=type(error).__name__)
            return None
        return at if at.tzinfo is not None else None

    def save(self, now: Timestamp) -> None:
        """Replace the moment, where the clock can be believed. Trouble is a warning."""
        if not now.trusted:
            return
        try:
            replace(self._path, json.dumps({"at": now.wall.isoformat()}).encode())
        except OSError as error:
            log.warning("last_seen.not_saved", path=str(self._path), reason=error.strerror)
