"""Quota of the store, and the free space of the filesystem.

Rules:

1. Cleaning up needs room too: on a full disk ``DELETE`` fails. So nothing new is taken while there
   is still room for what ends something: an answer, an acknowledgement, a deletion.
2. Delivered reports are deleted before anything new is refused, pending ones never.
"""

import os
import sqlite3
from pathlib import Path

import msgspec

from bridge.adapters.store.sqlite import report_rows
from bridge.adapters.store.sqlite.schema import page_bytes
from bridge.core.store_status import StoreUsage
from bridge.errors import StoreFull

MIB = 1024 * 1024
# From here on settled reports make room.
CROWDED_SHARE = 0.95
# Kept for what ends something: a quarter MiB, less where the whole is small.
RESERVED_BYTES = MIB // 4
RESERVED_PART = 16
# Below this other programs, the system's log among them, begin to fail.
FLOOR_BYTES = 32 * MIB
# Of the write-ahead log, before it is copied into the file; the log may be as large again.
MAX_LOG_BYTES = 4 * MIB
LOG_PART = 8
MIN_LOG_PAGES = 32

HINT = "free space on the disk or raise store.max_mib"


class Quota(msgspec.Struct, frozen=True):
    """The limits of one store.

    Attributes:
        folder: Where it is.
        max_bytes: The whole file.
        floor_bytes: What the filesystem must keep free.
    """

    folder: Path
    max_bytes: int
    floor_bytes: int = FLOOR_BYTES

    @property
    def row_bytes(self) -> int:
        """Return how much new rows may fill."""
        reserved = min(RESERVED_BYTES, self.max_bytes // RESERVED_PART)
        return max(1, self.max_bytes - reserved)

    def max_pages(self, page_bytes: int) -> int:
        """Return how many pages the file may have."""
        return max(1, self.max_bytes // page_bytes)

    def checkpoint_pages(self, page_bytes: int) -> int:
        """Return how long the write-ahead log may grow: small for a small store."""
        return max(MIN_LOG_PAGES, min(MAX_LOG_BYTES, self.max_bytes // LOG_PART) // page_bytes)

    def used_share(self, db: sqlite3.Connection) -> float:
        """Return the used share of the quota, 1.0 when no new row may be added."""
        ((pages,),) = db.execute("PRAGMA page_count").fetchall()
        ((free,),) = db.execute("PRAGMA freelist_count").fetchall()
        return float(pages - free) * page_bytes(db) / self.row_bytes

    def free_bytes(self) -> int:
        """Return the free space of the filesystem for this user."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def usage(self, db: sqlite3.Connection) -> StoreUsage:
        """Return the usage of the store; without free disk space it counts as full."""
        free_bytes = self.free_bytes()
        share = self.used_share(db)
        used_share = share if free_bytes > self.floor_bytes else max(1.0, share)
        return StoreUsage(used_share, free_bytes, report_rows.kept(db))

    def require(self, db: sqlite3.Connection) -> None:
        """Raise ``StoreFull`` unless a row may be added.

        Raises:
            StoreFull: It may not.
        """
        if self.used_share(db) >= 1.0:
            raise StoreFull("the store has reached its quota", hint=HINT)
        if (free_bytes := self.free_bytes()) <= self.floor_bytes:
            raise StoreFull(f"the disk has only {free_bytes // MIB} MiB left", hint=HINT)
