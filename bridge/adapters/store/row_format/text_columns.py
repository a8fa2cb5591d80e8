"""Columns of a session text that cannot be read."""

from datetime import datetime
from typing import Final

from bridge.adapters.store.row_format.digest import (
    Row,
    digest_of,
    is_intact,
    moment_or_none,
    time_or_none,
    time_text,
)
from bridge.core.records.unread_text import UnreadText

COLUMNS: Final = (
    "key", "charger_id", "text", "reason", "source", "measured_at", "received_at", "session_id",
    "started_at", "ended_at", "digest",
)  # fmt: skip
TEXT_WIDTH: Final = len(COLUMNS)
# However many chargers tell nonsense: the newest.
MAX_TEXTS: Final = 500


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
        time_or_none(text.started_at),
        time_or_none(text.ended_at),
    )
    return (*columns, digest_of(columns))


def from_row(row: Row) -> UnreadText | None:
    """Return the text in a row, or None when the row is not what was written."""
    if len(row) != TEXT_WIDTH or not is_intact(row[:-1], row[-1]):
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
        *map(moment_or_none, times),
    )
