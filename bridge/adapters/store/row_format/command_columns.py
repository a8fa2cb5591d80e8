"""Columns of a command."""

from datetime import datetime
from typing import Final

from bridge.adapters.store.row_format.digest import Row, digest_of, is_intact, time_text
from bridge.core.records.command_row import CommandRow

COLUMNS: Final = (
    "key", "charger_id", "command", "name", "content", "state", "received_at", "expires_at",
    "body", "answer", "flash", "digest",
)  # fmt: skip
COMMAND_WIDTH: Final = len(COLUMNS)


def to_row(command: CommandRow) -> Row:
    """Return the columns of a command, its hash last."""
    columns = (
        command.key,
        command.charger_id,
        command.command,
        command.name,
        command.digest,
        command.state,
        time_text(command.received_at),
        time_text(command.expires_at),
        command.body,
        command.answer,
        int(command.flash),
    )
    return (*columns, digest_of(columns))


def from_row(row: Row) -> CommandRow | None:
    """Return the command in a row, or None when the row is not what was written."""
    if len(row) != COMMAND_WIDTH or not is_intact(row[:-1], row[-1]):
        return None
    key, charger_id, command, name, content, state, *rest = row
    received_at, expires_at, body, answer, flash, _ = rest
    return CommandRow(
        key,
        charger_id,
        command,
        name,
        content,
        state,
        datetime.fromisoformat(received_at),
        datetime.fromisoformat(expires_at),
        body,
        answer,
        bool(flash),
    )
