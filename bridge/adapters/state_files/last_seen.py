"""Kept time of the last orderly shutdown, an upper limit of waits at the broker.

Without it, or after a power cut, nobody knows; commands that may have waited longer than they live
are then refused.
"""

import json
from datetime import datetime

import structlog

from bridge.adapters.state_files.private_file import LAST_SEEN_FILE, MAX_FILE_BYTES, why
from bridge.core.records.moment import Timestamp
from bridge.errors import StoreError
from bridge.ports import KeptDocuments

log = structlog.get_logger()


class KeptLastSeen:
    """One moment in one document. Blocking, and a few bytes.

    Args:
        documents: Where it is kept.
        name: Of the document.
    """

    def __init__(self, documents: KeptDocuments, name: str = LAST_SEEN_FILE) -> None:
        self._documents = documents
        self._name = name

    def load(self) -> datetime | None:
        """Read the moment; None when nothing usable is there."""
        try:
            content = self._documents.read(self._name, largest=MAX_FILE_BYTES)
            if content is None:
                return None
            at = datetime.fromisoformat(json.loads(content)["at"])
        except (
            OSError, ValueError, LookupError, TypeError, RecursionError, StoreError,
        ) as error:  # fmt: skip
            log.warning("last_seen.ignored", name=self._name, reason=type(error).__name__)
            return None
        return at if at.tzinfo is not None else None

    def save(self, now: Timestamp) -> None:
        """Replace the moment, where the clock can be believed. Trouble is a warning."""
        if not now.trusted:
            return
        try:
            content = json.dumps({"at": now.wall.isoformat()}).encode()
            self._documents.replace(self._name, content)
        except (OSError, StoreError) as error:
            log.warning("last_seen.not_saved", name=self._name, reason=why(error))
