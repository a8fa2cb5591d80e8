"""Rows of session texts that cannot be read.

Every query runs inside the caller's transaction. A damaged row is passed over: the cloud's list is
asked for the session anyway.
"""

import sqlite3
from collections.abc import Iterable
from typing import Final

from bridge.adapters.store.row_format.text_columns import MAX_TEXTS, TEXT_WIDTH, from_row, to_row
from bridge.core.records.unread_text import UnreadText

SELECT: Final = (
    "SELECT key, charger_id, text, reason, source, measured_at, received_at, session_id,"
    " started_at, ended_at, digest FROM unread"
)
_INSERT: Final = "INSERT OR REPLACE INTO unread VALUES"
_PUT: Final = f"{_INSERT} ({', '.join('?' * TEXT_WIDTH)})"


def put(db: sqlite3.Connection, texts: Iterable[UnreadText]) -> None:
    """Write texts; beyond :data:`MAX_TEXTS` the oldest go."""
    db.executemany(_PUT, (to_row(text) for text in texts))
    db.execute(
        "DELETE FROM unread WHERE rowid NOT IN (SELECT rowid FROM unread ORDER BY rowid DESC"
        " LIMIT ?)",
        (MAX_TEXTS,),
    )


def forget(db: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Delete texts that are done with."""
    db.executemany("DELETE FROM unread WHERE key = ?", ((key,) for key in keys))


def read_all(db: sqlite3.Connection) -> tuple[UnreadText, ...]:
    """Read the intact texts, oldest first."""
    found = map(from_row, db.execute(f"{SELECT} ORDER BY rowid"))
    return tuple(text for text in found if text is not None)
