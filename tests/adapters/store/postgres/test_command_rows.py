"""Commands of a partition; the contract of all stores has the rest."""

from datetime import timedelta

import pytest

from bridge.adapters.store.postgres import command_rows
from bridge.errors import LeaseLost
from tests.adapters.store.rows import NOON, command

pytestmark = pytest.mark.anyio


async def test_a_damaged_row_is_counted_and_never_handed_out(database, lease):
    """A command that is not what was written is not carried out."""
    await command_rows.put(database, lease, [command(1), command(2)])
    await database.execute("UPDATE command SET body = 'x' WHERE key = '1'")

    assert await command_rows.read_all(database, lease) == ((command(2),), 1)


async def test_a_stale_lease_writes_and_deletes_nothing(database, lease, stale):
    """Neither rows nor answers."""
    await command_rows.put(database, lease, [command(1, answer=b"{}")])
    for change in (
        command_rows.put(database, stale, [command(2)]),
        command_rows.forget(database, stale, NOON + timedelta(days=1)),
        command_rows.prune(database, stale),
    ):
        with pytest.raises(LeaseLost):
            await change
    assert await command_rows.held(database, lease, ["1", "2"]) == {"1"}


async def test_beyond_a_number_the_oldest_answers_go(database, lease, monkeypatch):
    """What has no answer stays, however old."""
    monkeypatch.setattr(command_rows, "MAX_FINAL_ROWS", 3)
    rows = [
        command(number, answer=b"{}" if number else b"", received_at=NOON + timedelta(hours=number))
        for number in range(7)
    ]
    await command_rows.put(database, lease, rows)

    assert await command_rows.prune(database, lease) == 3
    assert (await command_rows.read_all(database, lease))[0] == (rows[0], *rows[4:])
