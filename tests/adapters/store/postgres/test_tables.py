"""Rows are written as they are, many at once, and only the last of a key."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.adapters.store.postgres import fence
from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.schema import migrate
from bridge.adapters.store.postgres.tables import COMMANDS, REPORTS, TEXTS, USED_BYTES
from bridge.adapters.store.postgres.text_escapes import unescaped
from bridge.adapters.store.row_format import command_columns, report_columns, text_columns
from bridge.core.records.lease import Lease
from tests.adapters.store.row_format import (
    test_command_columns,
    test_report_columns,
    test_text_columns,
)
from tests.adapters.store.rows import command
from tests.postgres import beside

pytestmark = pytest.mark.anyio
KINDS = {
    "report": (REPORTS, report_columns, test_report_columns.rows),
    "command": (COMMANDS, command_columns, test_command_columns.rows),
    "text": (TEXTS, text_columns, test_text_columns.rows),
}


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_any_row_comes_back_as_it_was_written(kind, data, server):
    """Nothing is rounded, cut or reinterpreted, and its hash is right."""
    table, columns, strategy = KINDS[kind]
    rows = [columns.to_row(each) for each in data.draw(st.lists(strategy, max_size=5))]
    newest = {row[0]: row for row in rows}

    async def play():
        db = Connection(server.settings)
        await migrate(db)
        await db.execute("INSERT INTO lease VALUES (0, 1, '', 'infinity') ON CONFLICT DO NOTHING")
        await db.execute(f"TRUNCATE {table.name}")
        if rows:
            written = await fence.write(db, Lease(0, 1, 0.0), table.put, *table.arrays(rows))
            assert written == len(newest)
        found = [unescaped(row) for row in await db.fetch(table.select)]
        await db.close()
        return found

    held = {row[0]: row for row in beside(play)}
    assert held == newest
    assert all(columns.from_row(row) is not None for row in held.values())


async def test_what_is_used_grows_with_the_rows(database, lease):
    """And counts what a row costs besides its columns."""
    used = [0]
    for number in range(3):
        row = command_columns.to_row(command(number))
        await fence.write(database, lease, COMMANDS.put, *COMMANDS.arrays([row]))
        used.append(sum(int(row[0]) for row in await database.fetch(USED_BYTES, 0)))
    assert used == sorted(set(used))
    assert used[-1] > 3 * 200

    assert await fence.write(database, lease, COMMANDS.delete, ["0", "1", "9"]) == 2
