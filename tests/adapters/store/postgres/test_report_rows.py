"""Reports of a partition; the contract of all stores has the rest."""

from dataclasses import replace

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from bridge.adapters.store.postgres import report_rows
from bridge.core.records.lease import Lease
from bridge.core.records.stored_report import StoredReport
from bridge.errors import LeaseLost
from tests.adapters.store.rows import HOUR, NOON, REPORT, numbered

pytestmark = pytest.mark.anyio
KEY = "EH123456-435"


async def put(db, lease, *reports):
    """Commit reports as new rows."""
    rows = [StoredReport(f"EH123456-{each.session_id}", 1, each) for each in reports]
    await report_rows.put(db, lease, rows)
    return rows


@pytest.mark.parametrize(
    "damage", ["energy_kwh = 1", "auth = 'other'", "digest = ''", "started_at = 'nonsense'"]
)
async def test_a_damaged_row_is_reported_and_never_handed_out(database, lease, damage):
    """Its hash tells; a repetition of its report takes its place, under a higher revision."""
    await put(database, lease, REPORT, numbered(1))
    await database.execute(f"UPDATE report SET {damage} WHERE key = '{KEY}'")
    with capture_logs() as logs:
        owed, damaged = await report_rows.read_owed(database, lease)
    assert ([row.key for row in owed], damaged) == (["EH123456-1"], 1)
    assert [line["event"] for line in logs] == ["store.row_damaged"]

    stored, changed = await report_rows.save(database, lease, REPORT)
    assert (stored.key, stored.revision, changed) == (KEY, 2, True)


async def test_what_is_written_under_a_stale_lease_is_refused(database, lease, stale):
    """Every change of every kind."""
    await put(database, lease, REPORT)
    row = StoredReport(KEY, 1, REPORT, settled=True)
    for change in (
        report_rows.put(database, stale, [row]),
        report_rows.note_consumer(database, stale),
    ):
        with pytest.raises(LeaseLost):
            await change
    assert not await report_rows.has_consumer(database, lease)
    assert len((await report_rows.read_owed(database, lease))[0]) == 1


async def test_a_key_that_none_of_ours_can_be_finds_nothing(database, lease):
    """A consumer may acknowledge anything."""
    await put(database, lease, REPORT)
    asked = [("\0", 1), ("\ud800", 1), ("ä" * 9999, 1), (KEY, 1), ("other", 1)]

    assert [row.key for row in await report_rows.find(database, lease, asked)] == [KEY]


async def test_partitions_do_not_see_each_other(database, lease):
    """Each has its own rows, though a reader may read all."""
    await database.execute("INSERT INTO lease VALUES (1, 1, 'one', 'infinity')")
    other = Lease(1, 1, 0.0)
    await put(database, lease, numbered(1))
    await put(database, other, numbered(2))

    assert [row.key for row in (await report_rows.read_owed(database, other))[0]] == ["EH123456-2"]
    everything, end = await report_rows.select(database, None, limit=9)
    assert ([row.key for row in everything], end) == (["EH123456-1", "EH123456-2"], None)
    assert (await report_rows.save(database, other, numbered(1)))[1]


async def test_pages_follow_each_other_without_a_gap(database, lease):
    """Whatever ends at the same moment, and however small a page is."""
    reports = [replace(numbered(n), ended_at=NOON + (n // 4) * HOUR) for n in range(11)]
    rows = await put(database, lease, *reports)
    after, found = ("", ""), []
    while after is not None:
        page, after = await report_rows.select(database, 0, after=after, limit=3)
        assert len(page) <= 3
        found += page

    assert found == sorted(rows, key=lambda row: (row.report.ended_at, row.key))


async def test_only_settled_reports_make_room_oldest_first(database, lease):
    """Never the last one of a charger, and never a row that only seems settled."""
    await put(database, lease, *(numbered(n) for n in range(6)))
    rows, _ = await report_rows.read_owed(database, lease)
    done = [structs.replace(row, settled=True) for row in rows if row.key != "EH123456-2"]
    await report_rows.put(database, lease, done)
    await database.execute("UPDATE report SET energy_kwh = 7 WHERE key = 'EH123456-3'")

    assert await report_rows.delete_oldest_settled(database, lease) == 3
    left = await database.fetch("SELECT key FROM report ORDER BY key")
    assert [row[0] for row in left] == [f"EH123456-{n}" for n in (2, 3, 5)]
