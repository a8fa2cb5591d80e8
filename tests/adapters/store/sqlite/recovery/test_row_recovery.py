"""The newest state of each row is saved, and nothing that is there already is put back."""

import contextlib
import threading

import pytest
from msgspec.structs import replace

from bridge.adapters.store.row_format import command_columns, report_columns
from bridge.adapters.store.sqlite import command_rows, report_rows
from bridge.adapters.store.sqlite.database_file import open_file, transaction
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.recovery import row_recovery as module
from bridge.adapters.store.sqlite.recovery.row_recovery import (
    RecoveredRows,
    insert_recovered,
    search_aside,
)
from bridge.core.records.stored_report import StoredReport
from tests.soak.load import command_of, report_of


@pytest.fixture
def room(tmp_path):
    """Room enough."""
    return Quota(tmp_path, 1024 * 4096, 0)


@pytest.fixture
def db(tmp_path, room):
    """An empty store."""
    db, _ = open_file(tmp_path / "bridge.db", room)
    yield db
    db.close()


def stored(number: int, revision: int = 1, **state: bool) -> StoredReport:
    """Make a row."""
    return StoredReport(f"k{number}", revision, report_of(number), **state)


def finds(*found) -> RecoveredRows:
    """Find these, in this order."""
    result = RecoveredRows()
    for one in found:
        is_report = isinstance(one, StoredReport)
        result.add(report_columns.to_row(one) if is_report else command_columns.to_row(one))
    return result


def test_of_several_states_the_newest_is_taken(db, room):
    """In whatever order they are found: a row only moves on."""
    states = [stored(1), stored(1, 2), stored(1, 2, published=True), stored(1, published=True)]
    insert_recovered(db, room, finds(*states))

    assert report_rows.find(db, "k1") == states[2]


def test_a_command_that_is_answered_is_answered(db, room):
    """Of those without an answer the one found first is the newest."""
    found = finds(command_of(1, 1), command_of(1, 3), command_of(1, 0), command_of(2, 2))
    found.add(command_columns.to_row(command_of(2, 1)))
    insert_recovered(db, room, found)

    assert command_rows.read_all(db)[0] == (command_of(1, 3), command_of(2, 2))


def test_what_is_there_and_newer_stays(db, room):
    """Old pages hold old states; they change nothing."""
    held = stored(1, 2, published=True, settled=True)
    with transaction(db):
        report_rows.put(db, (held,))
        command_rows.put(db, (command_of(1, 3),))
    count = insert_recovered(
        db, room, finds(stored(1, 2, published=True), command_of(1, 1), stored(2))
    )

    assert count == 1
    assert report_rows.find(db, "k1") == held
    assert command_rows.read_all(db)[0] == (command_of(1, 3),)


def test_damaged_rows_are_counted_once_and_only_if_they_are_lost():
    """A row that is damaged in one place and sound in another is not lost."""
    found = finds(stored(1))
    for one in (stored(1), stored(2), stored(2)):
        row = list(report_columns.to_row(replace(one, revision=7)))
        row[1] = 8
        found.add(row)
    command = list(command_columns.to_row(command_of(1, 0)))
    command[5] = "odd"
    found.add(command)

    assert found.damaged == 2


def test_a_file_without_end_is_not_looked_through_to_the_end(tmp_path, monkeypatch):
    """A bridge starts within seconds whatever it finds, and says that it did not see everything."""
    aside = tmp_path / "bridge.db.damaged"
    aside.write_bytes(bytes(64 * 4096))
    assert not search_aside(aside, ()).is_cut_short

    @contextlib.contextmanager
    def no_time(_seconds):
        is_late = threading.Event()
        is_late.set()
        yield is_late

    monkeypatch.setattr(module, "time_limit", no_time)
    assert search_aside(aside, ()).is_cut_short
