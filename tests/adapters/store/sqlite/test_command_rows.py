"""A command's row is handed out exactly as it was written, and kept as long as it matters."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from bridge.adapters.store.sqlite import command_rows
from bridge.adapters.store.sqlite.command_rows import forget, put, read_all, save
from bridge.adapters.store.sqlite.database_file import open_file, transaction
from bridge.adapters.store.sqlite.quota import Quota
from bridge.errors import StoreFull
from tests.soak.load import command_of

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ANSWERED = 3


@pytest.fixture
def db(tmp_path):
    """An empty store."""
    db, _ = open_file(tmp_path / "bridge.db", Quota(tmp_path, 4096 * 4096, 0))
    yield db
    db.close()


def test_a_key_has_one_row_its_newest(db):
    """Each step of a life takes the place of the one before."""
    with transaction(db):
        for step in range(4):
            save(db, command_of(1, step), lambda: None)

    assert read_all(db) == ((command_of(1, ANSWERED),), 0)


def test_only_a_new_row_needs_room(db):
    """A command that was taken gets its answer, however full the store is."""

    def full() -> None:
        raise StoreFull("full")

    with transaction(db):
        save(db, command_of(1, 0), lambda: None)
        save(db, command_of(1, ANSWERED), full)
    with pytest.raises(StoreFull), transaction(db):
        save(db, command_of(2, 0), full)

    assert [row.key for row in read_all(db)[0]] == [command_of(1, 0).key]


def test_what_has_no_answer_is_never_forgotten(db):
    """Old is not enough."""
    old = NOON - timedelta(days=900)
    waiting = replace(command_of(1, 0), received_at=old)
    with transaction(db):
        put(db, (waiting, replace(command_of(2, ANSWERED), received_at=old)))
        put(db, (command_of(3, ANSWERED),))
        assert forget(db, NOON) == 1

    assert read_all(db)[0] == (waiting, command_of(3, ANSWERED))


def test_more_answers_than_anybody_asks_for_are_not_kept(db, monkeypatch):
    """A flood of commands does not fill the store, also before anybody cleans up."""
    monkeypatch.setattr(command_rows, "MAX_FINAL_ROWS", 20)
    monkeypatch.setattr(command_rows, "SLACK", 10)
    with transaction(db):
        put(db, (command_of(number, 0) for number in range(5)))
        for number in range(5, 100):
            save(db, command_of(number, ANSWERED), lambda: None)
        assert len(read_all(db)[0]) <= 5 + 20 + 10
        forget(db, NOON - timedelta(days=1))
    held = [row.name for row in read_all(db)[0]]

    assert held == [f"caller-{n}" for n in (*range(5), *range(80, 100))]
