"""Quota of one partition: its share of ``store.max_mib``, in bytes of rows.

Rules:

1. Rows are counted with their entries in the indices, and not what PostgreSQL has not yet cleaned
   up: that is its own affair.
2. Only the owner of a partition adds rows, so it counts them itself. The database is asked when the
   store is opened, when it seems full, and at every report of its usage.
3. Without room nothing new is taken. What ends something, an answer, an acknowledgement or a
   deletion, needs none.
"""

from typing import Final

from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.tables import ROW_BYTES, USED_BYTES
from bridge.errors import StoreFull

# From here on settled reports make room.
CROWDED_SHARE: Final = 0.95
# So many rows are added to a crowded store before the database is asked again.
ROWS_BETWEEN_COUNTS: Final = 50
FULL_HINT: Final = "raise store.max_mib"
# Of all columns that are short.
COLUMNS_BYTES: Final = 350


class Quota:
    """How much of a partition's share is used."""

    def __init__(self, partition: int, max_bytes: int) -> None:
        self._partition = partition
        self._max_bytes = max_bytes
        self._used_bytes = 0
        self._uncounted = 0

    async def count(self, db: Connection) -> None:
        """Ask the database.

        Raises:
            StoreError: It cannot be asked.
        """
        found = await db.fetch(USED_BYTES, self._partition)
        self._used_bytes = sum(int(row[0]) for row in found)
        self._uncounted = 0

    def added(self, *parts: str | bytes) -> None:
        """Count a row that was written, by its parts that can be long.

        A row in the place of another one is counted too: the database knows better when it is
        asked.
        """
        self._uncounted += 1
        self._used_bytes += ROW_BYTES + COLUMNS_BYTES + sum(map(len, parts))

    @property
    def used_share(self) -> float:
        """Return the used share, 1.0 when no new row may be added."""
        return min(1.0, self._used_bytes / self._max_bytes) if self._max_bytes > 0 else 1.0

    @property
    def is_crowded(self) -> bool:
        """Whether settled reports should make room."""
        return self.used_share >= CROWDED_SHARE

    @property
    def is_count_due(self) -> bool:
        """Whether the database should be asked before a row is added."""
        is_full = self.used_share >= 1.0
        return is_full or (self.is_crowded and self._uncounted >= ROWS_BETWEEN_COUNTS)

    @property
    def free_bytes(self) -> int:
        """Return what is left."""
        return max(0, self._max_bytes - self._used_bytes)

    def require(self) -> None:
        """Raise ``StoreFull`` unless a row may be added.

        Raises:
            StoreFull: It may not.
        """
        if self.used_share >= 1.0:
            raise StoreFull("the store has reached its quota", hint=FULL_HINT)
