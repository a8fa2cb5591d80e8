"""Rows of session texts that cannot be read.

Every query runs inside the caller's transaction. A damaged row is passed over: the cloud's list is
asked for the session anyway.
"""

import sqlite3
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from bridge.adapters.store.sqlite.schema import (
    TEXT_WIDTH,
    Row,
    digest_of,
    is_intact_command,
    time_text,
)
from bridge.core.records.unread_text import UnreadText

# However many chargers tell nonsense: the newest.
MAX_TEXTS = 500
SELECT: Final = (
    "SELECT key, charger_id, text, reason, source, measured_at, received_at, session_id,"
    " started_at, ended_at, digest FROM unread"
)
_INSERT: Final = "INSERT OR REPLACE INTO unread VALUES"
_PUT: Final = f"{_INSERT} ({', '.join('?' * TEXT_WIDTH)})"


def to_row(text: UnreadText) -> Row:
    """Return the columns of a text, its hash last."""
    columns = (
        text.key,
        text.charger_id,
        text.text,
        text.reason,
        text.source,
        time_text(text.measured_at),
        time_text(text.received_at),
        text.session_id,
        *(None if at is None else time_text(at) for at in (text.started_at, text.ended_at)),
    )
    return (*columns, digest_of(columns))


def from_row(row: Row) -> UnreadText | None:
    """Return the text in a row, or None when the row is not what was written."""
    if len(row) != TEXT_WIDTH or not is_intact_command(row):
        return None
    _, charger_id, text, reason, source, measured_at, received_at, session_id, *times = row[:-1]
    return UnreadText(
        charger_id,
        text,
        reason,
        source,
        datetime.fromisoformat(measured_at),
        datetime.fromisoformat(received_at),
        session_id,
        *(datetime.fromisoformat(at) if at else None for at in times),
    )


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
