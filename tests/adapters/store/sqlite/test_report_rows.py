"""A row is handed out exactly as it was written, or not at all."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bridge.adapters.store.sqlite.database_file import open_file
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.report_rows import (
    forget,
    keep,
    kept,
    mark_published,
    save,
    select,
    settle,
)
from bridge.core.records.session_report import SessionReport

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def db(tmp_path):
    """An open store."""
    db, _ = open_file(tmp_path / "bridge.db", Quota(tmp_path, 1000 * 4096))
    yield db
    db.close()


def told(number, **facts):
    """Make a report that came when it ended, some hours after noon."""
    at = NOON + timedelta(hours=number)
    report = SessionReport(
        "EH123456", number, at, at, 1.0, None, None, None, "", "stream", at, at, **facts
    )
    return replace(report, started_at=at - timedelta(minutes=9))


def test_a_stop_in_2036_orders_nothing(db):
    """Case A1: read, replayed, kept and removed by when it came."""
    far = datetime(2036, 2, 7, tzinfo=UTC)
    odd = replace(told(2), ended_at=far, doubtful=("ended_at",), placed_at=told(2).received_at)
    for report in (told(1), odd, told(3), told(4)):
        save(db, report, lambda: None)
    assert [row.report.session_id for row in select(db)] == [1, 2, 3, 4]
    since = told(3).ended_at
    assert [row.report.session_id for row in select(db, since=since)] == [3, 4]
    settle(db, [(f"EH123456-{number}", 1) for number in range(1, 5)])

    forget(db, NOON + timedelta(days=1))
    assert [row.report.session_id for row in select(db)] == [2, 4]  # the last, by either time


def test_what_was_kept_is_owed_when_it_was_published_and_settled_when_it_was_taken(db):
    """Contract 6: kept is settled and never published."""
    save(db, told(1), lambda: None)
    keep(db, [("EH123456-1", 1)])
    (row,) = select(db)
    assert (row.published, row.settled) == (False, True)
    assert kept(db) == 1
    mark_published(db, row.key, 1, NOON)
    (row,) = select(db)
    assert (row.published, row.settled) == (True, False)
    assert kept(db) == 0

    settle(db, [(row.key, 1)])
    (row,) = select(db)
    assert (row.published, row.settled) == (True, True)


def test_a_report_without_a_counter_finds_the_row_with_one(db):
    """Case B1: and the other way round; a clock that began long before the first is marked."""
    stored, _ = save(db, told(1), lambda: None)
    again, changed = save(db, replace(told(1), session_id=None), lambda: None)
    assert (again, changed) == (stored, False)
    bare, _ = save(db, replace(told(5), session_id=None), lambda: None)
    both, changed = save(db, told(5), lambda: None)
    assert (both.key, both.report.session_id, changed) == (bare.key, 5, True)

    early = replace(told(7), started_at=NOON - timedelta(days=2000))
    assert save(db, early, lambda: None)[0].report.doubtful == ("started_at",)
