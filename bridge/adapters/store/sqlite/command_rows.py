"""Rows of commands and their queries. Every query runs inside the caller's transaction.

A row with an answer is final. It is kept for as long as a repetition may come; one without is kept
until it has one.
"""

import sqlite3
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

import structlog

from bridge.adapters.store.row_format.command_columns import COMMAND_WIDTH, from_row, to_row
from bridge.adapters.store.row_format.digest import time_text
from bridge.adapters.store.sqlite.schema import overwritten
from bridge.core.records.command_row import CommandRow

log = structlog.get_logger()

# More repetitions than these are no longer a mistake.
MAX_FINAL_ROWS = 10_000
# How far it may be exceeded before it is checked: a check costs time.
SLACK = 256

SELECT: Final = (
    "SELECT key, charger_id, command, name, content, state, received_at, expires_at, body, answer,"
    " flash, digest FROM command"
)
_INSERT: Final = "INSERT INTO command VALUES"
_MARKS: Final = ", ".join("?" * COMMAND_WIDTH)
PUT: Final = f"{_INSERT} ({_MARKS}) ON CONFLICT (key) DO UPDATE SET {overwritten(SELECT)}"


def save(db: sqlite3.Connection, command: CommandRow, require_room: Callable[[], object]) -> None:
    """Write a command in the place of the row with its key.

    Args:
        db: The store.
        command: All of it.
        require_room: Called before a row is added; raises ``StoreFull``.
    """
    held = db.execute("SELECT 1 FROM command WHERE key = ?", (command.key,)).fetchone()
    if held is None:
        require_room()
    added = db.execute(PUT, to_row(command)).lastrowid
    if held is None and added is not None and added % SLACK == 0:
        _prune(db)


def put(db: sqlite3.Connection, commands: Iterable[CommandRow]) -> None:
    """Write rows as they are."""
    db.executemany(PUT, (to_row(command) for command in commands))


def read_all(db: sqlite3.Connection) -> tuple[tuple[CommandRow, ...], int]:
    """Read every command, oldest first, and how many rows are damaged."""
    intact, damaged = [], 0
    for row in db.execute(f"{SELECT} ORDER BY received_at, key"):
        command = from_row(row)
        if command is None:
            damaged += 1
            log.error("store.row_damaged", key=repr(row[0])[:40])
        else:
            intact.append(command)
    return tuple(intact), damaged


def forget(db: sqlite3.Connection, before: datetime) -> int:
    """Delete answered commands that were received before; return how many."""
    gone = db.execute(
        "DELETE FROM command WHERE answer <> x'' AND received_at < ?", (time_text(before),)
    )
    return gone.rowcount + _prune(db)


def _prune(db: sqlite3.Connection) -> int:
    """Delete the oldest answered commands beyond the number that is kept."""
    gone = db.execute(
        "DELETE FROM command WHERE rowid IN (SELECT rowid FROM command WHERE answer <> x''"
        " ORDER BY received_at DESC, key DESC LIMIT -1 OFFSET ?)",
        (MAX_FINAL_ROWS,),
    )
    return gone.rowcount
