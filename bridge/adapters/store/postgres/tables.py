"""Statements that write many rows of one kind at once, behind the fence."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.adapters.store.postgres import fence
from bridge.adapters.store.postgres.text_escapes import escaped
from bridge.adapters.store.row_format import command_columns, report_columns, text_columns
from bridge.adapters.store.row_format.digest import Row

# As pg_column_size leaves out: a row's head, and its entries in the indices.
ROW_BYTES: Final = 200


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows have a key and a hash.

    Attributes:
        name: Of the table.
        columns: In the order of the row format, the key first.
        types: Of the columns that are no text.
        put: Writes rows, in the place of those with the same key.
        delete: Deletes rows by key.
    """

    name: str
    columns: tuple[str, ...]
    types: Mapping[str, str]
    put: str = field(init=False)
    delete: str = field(init=False)

    def __post_init__(self) -> None:
        """Write the statements."""
        names = ", ".join(self.columns)
        arrays = ", ".join(
            f"${place}::{self.types.get(name, 'text')}[]"
            for place, name in enumerate(self.columns, start=3)
        )
        overwritten = ", ".join(f"{name} = excluded.{name}" for name in self.columns[1:])
        put = (
            f"INSERT INTO {self.name} AS held (partition, {names})"
            f" SELECT fence.partition, {', '.join(f'new.{name}' for name in self.columns)}"
            f" FROM fence, unnest({arrays}) WITH ORDINALITY AS new ({names}, place)"
            f" ORDER BY new.place ON CONFLICT (partition, key) DO UPDATE SET {overwritten}"
        )
        delete = (
            f"DELETE FROM {self.name} AS held USING fence"
            " WHERE held.partition = fence.partition AND held.key = ANY($3::text[])"
        )
        object.__setattr__(self, "put", fence.fenced(put))
        object.__setattr__(self, "delete", fence.fenced(delete))

    @property
    def select(self) -> str:
        """Return a query of all columns, to which conditions are added."""
        return f"SELECT {', '.join(self.columns)} FROM {self.name}"

    def arrays(self, rows: Iterable[Row]) -> list[list[Any]]:
        """Return the parameters of ``put``; of rows with one key the last."""
        newest = {row[0]: escaped(row) for row in rows}
        return [list(column) for column in zip(*newest.values(), strict=True)]


REPORTS: Final = Table(
    "report",
    report_columns.COLUMNS,
    {
        **dict.fromkeys(("revision", "session_id", "auth_reason"), "bigint"),
        **dict.fromkeys(("energy_kwh", "meter_start_kwh", "meter_stop_kwh"), "double precision"),
        **dict.fromkeys(("published", "settled"), "integer"),
        "digest": "bytea",
    },
)
COMMANDS: Final = Table(
    "command",
    command_columns.COLUMNS,
    {**dict.fromkeys(("body", "answer", "digest"), "bytea"), "flash": "integer"},
)
TEXTS: Final = Table("unread", text_columns.COLUMNS, {"session_id": "bigint", "digest": "bytea"})

USED_BYTES: Final = " UNION ALL ".join(
    f"SELECT coalesce(sum(pg_column_size(held.*) + {ROW_BYTES}), 0) AS bytes"
    f" FROM {table.name} AS held WHERE partition = $1"
    for table in (REPORTS, COMMANDS, TEXTS)
)
