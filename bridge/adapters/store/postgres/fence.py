"""The fence: a statement that writes only while its lease has the epoch of its owner.

Rules:

1. A fenced write is one statement, and so one transaction that no client can leave open: a worker
   that is stopped in the middle of it holds nothing up.
2. It locks the row of its lease for a key share. A takeover locks the row for update: it passes a
   row over that a write holds, and a write waits for a takeover and then sees the new epoch. A
   renewal changes no key, and neither waits for the other.
3. A condition alone (``WHERE EXISTS``) would not do: the write could commit after the new owner has
   read the journal.
"""

from typing import Final

from bridge.adapters.store.postgres.connection import Connection
from bridge.core.records.lease import Lease
from bridge.errors import LeaseLost

# Its parameters are $1 (partition) and $2 (epoch); those of the statement follow.
_FENCED: Final = (
    "WITH fence AS MATERIALIZED (SELECT partition FROM lease"
    " WHERE partition = $1 AND epoch = $2 FOR KEY SHARE),"
    " done AS ({statement} RETURNING 1)"
    " SELECT (SELECT count(*) FROM fence), (SELECT count(*) FROM done)"
)


def fenced(statement: str) -> str:
    """Return a statement behind the fence.

    Args:
        statement: An ``INSERT``, ``UPDATE`` or ``DELETE`` that reads from ``fence``, one row with
            the column ``partition``.
    """
    return _FENCED.format(statement=statement)


async def write(db: Connection, lease: Lease, statement: str, *arguments: object) -> int:
    """Commit a statement made by :func:`fenced`; return how many rows it changed.

    Raises:
        LeaseLost: The lease has another epoch; nothing was changed.
        StoreError: It is not known to have been committed.
    """
    ((held, changed),) = await db.fetch(statement, lease.partition, lease.epoch, *arguments)
    if not held:
        raise lost(lease)
    return int(changed)


def lost(lease: Lease) -> LeaseLost:
    """Return the error of a lease that another worker took over."""
    return LeaseLost(
        f"another worker has taken partition {lease.partition} over",
        hint="nothing is to be done: it goes on there",
    )
