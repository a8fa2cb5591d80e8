"""Commands of one partition.

A row with an answer is final. It is kept for as long as a repetition may come; one without is kept
until it has one.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import structlog

from bridge.adapters.store.postgres import fence
from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.tables import COMMANDS
from bridge.adapters.store.postgres.text_escapes import escaped, unescaped
from bridge.adapters.store.row_format.command_columns import from_row, to_row
from bridge.adapters.store.row_format.digest import time_text
from bridge.core.records.command_row import CommandRow
from bridge.core.records.lease import Lease

log = structlog.get_logger()

# More repetitions than these are no longer a mistake.
MAX_FINAL_ROWS: Final = 10_000

_ALL: Final = f"{COMMANDS.select} WHERE partition = $1 ORDER BY received_at, key"
_HELD: Final = "SELECT key FROM command WHERE partition = $1 AND key = ANY($2::text[])"
_FORGET: Final = fence.fenced(
    "DELETE FROM command AS held USING fence WHERE held.partition = fence.partition"
    " AND answer <> '' AND received_at < $3"
)
_PRUNE: Final = fence.fenced(
    "DELETE FROM command AS held USING fence WHERE held.partition = fence.partition"
    " AND held.key IN (SELECT key FROM command WHERE partition = $1 AND answer <> ''"
    " ORDER BY received_at DESC, key DESC OFFSET $3)"
)


async def put(db: Connection, lease: Lease, commands: Iterable[CommandRow]) -> None:
    """Commit rows as they are, in the place of those with the same key.

    Raises:
        LeaseLost: The lease has another epoch.
    """
    await fence.write(db, lease, COMMANDS.put, *COMMANDS.arrays(map(to_row, commands)))


async def held(db: Connection, lease: Lease, keys: Iterable[str]) -> set[str]:
    """Return which of these keys have a row."""
    found = await db.fetch(_HELD, lease.partition, list(escaped(tuple(keys))))
    return {str(unescaped(row)[0]) for row in found}


async def read_all(db: Connection, lease: Lease) -> tuple[tuple[CommandRow, ...], int]:
    """Read every command, oldest first, and how many rows are damaged."""
    intact, damaged = [], 0
    for row in await db.fetch(_ALL, lease.partition):
        command = from_row(unescaped(row))
        if command is None:
            damaged += 1
            log.error("store.row_damaged", key=repr(row[0])[:40])
        else:
            intact.append(command)
    return tuple(intact), damaged


async def forget(db: Connection, lease: Lease, before: datetime) -> int:
    """Delete answered commands that were received before; return how many."""
    return await fence.write(db, lease, _FORGET, time_text(before)) + await prune(db, lease)


async def prune(db: Connection, lease: Lease) -> int:
    """Delete the oldest answered commands beyond the number that is kept."""
    return await fence.write(db, lease, _PRUNE, MAX_FINAL_ROWS)
