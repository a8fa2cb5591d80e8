"""Small documents of one partition, in PostgreSQL."""

import asyncio
from typing import Final

from bridge.adapters.store.postgres import fence
from bridge.adapters.store.postgres.connection import Connection
from bridge.core.records.lease import Lease

_READ: Final = "SELECT substr(content, 1, $3) FROM document WHERE partition = $1 AND name = $2"
_REPLACE: Final = fence.fenced(
    "INSERT INTO document SELECT partition, $3, $4 FROM fence"
    " ON CONFLICT (partition, name) DO UPDATE SET content = excluded.content"
)


class SharedDocuments:
    """Implements :class:`bridge.ports.KeptDocuments`; made on the loop, called from threads."""

    def __init__(self, db: Connection, lease: Lease) -> None:
        self._db = db
        self._lease = lease
        self._loop = asyncio.get_running_loop()

    def read(self, name: str, *, largest: int) -> bytes | None:
        """Return a document; None when there is none.

        Raises:
            StoreError: It cannot be read.
        """
        reading = self._db.fetch(_READ, self._lease.partition, name, largest)
        found = asyncio.run_coroutine_threadsafe(reading, self._loop).result()
        return bytes(found[0][0]) if found else None

    def replace(self, name: str, content: bytes) -> None:
        """Replace a document.

        Raises:
            LeaseLost: Another worker has taken the partition over.
            StoreError: It is as it was.
        """
        writing = fence.write(self._db, self._lease, _REPLACE, name, content)
        asyncio.run_coroutine_threadsafe(writing, self._loop).result()
