"""Session texts of one partition that cannot be read.

A damaged row is passed over: the cloud's list is asked for the session anyway.
"""

from collections.abc import Sequence
from typing import Final

from bridge.adapters.store.postgres import fence
from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.tables import TEXTS
from bridge.adapters.store.postgres.text_escapes import unescaped
from bridge.adapters.store.row_format.text_columns import MAX_TEXTS, from_row, to_row
from bridge.core.records.lease import Lease
from bridge.core.records.unread_text import UnreadText

_ALL: Final = f"{TEXTS.select} WHERE partition = $1 OR $1 IS NULL ORDER BY number"
_PRUNE: Final = fence.fenced(
    "DELETE FROM unread AS held USING fence WHERE held.partition = fence.partition"
    " AND held.number <= (SELECT number FROM unread WHERE partition = $1"
    " ORDER BY number DESC OFFSET $3 LIMIT 1)"
)


async def put(db: Connection, lease: Lease, text: UnreadText) -> None:
    """Commit a text; beyond :data:`MAX_TEXTS` the oldest go.

    Raises:
        LeaseLost: The lease has another epoch.
    """
    await fence.write(db, lease, TEXTS.put, *TEXTS.arrays([to_row(text)]))
    await fence.write(db, lease, _PRUNE, MAX_TEXTS)


async def forget(db: Connection, lease: Lease, keys: Sequence[str]) -> None:
    """Delete texts that are done with.

    Raises:
        LeaseLost: The lease has another epoch.
    """
    await fence.write(db, lease, TEXTS.delete, list(keys))


async def read_all(db: Connection, partition: int | None) -> tuple[UnreadText, ...]:
    """Read the intact texts, oldest first.

    Args:
        db: The database.
        partition: None for all.
    """
    found = map(from_row, map(unescaped, await db.fetch(_ALL, partition)))
    return tuple(text for text in found if text is not None)
