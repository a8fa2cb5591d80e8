"""The command line reads a store that is open elsewhere, was killed, is old, or is not there."""

import sqlite3
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.core.records.unread_text import UnreadText
from bridge.errors import StoreError
from tests.adapters.store.rows import HOUR, NOON, command, numbered
from tests.adapters.store.sqlite.test_store import opened

pytestmark = pytest.mark.anyio
TEXT = UnreadText("EH123456", "{", "no JSON", "stream", NOON, NOON)


@pytest.fixture
def path(tmp_path):
    """A store's path in a directory that does not exist yet."""
    return tmp_path / "var" / "bridge.db"


async def test_everything_can_be_read_while_the_bridge_runs_and_after_it_ended(path):
    """`sessions list` and `doctor` need neither the lock nor a clean end."""
    reader = SqliteReader(path)
    async with opened(path) as store:
        await store.save(numbered(2))
        await store.save(numbered(1, "EH000002"))
        await store.keep_text(TEXT)
        for number in (1, 2, 3):
            await store.save_command(command(number, received_at=NOON + number * HOUR))
        rows = list(reader.reports())
        assert [row.report.session_id for row in rows] == [1, 2]
        assert [row.key for row in reader.reports(charger_id="EH123456")] == ["EH123456-2"]
        assert list(reader.reports(since=NOON + HOUR)) == []
        assert list(reader.reports(until=NOON + timedelta(minutes=2))) == rows[:1]
        assert reader.texts() == (TEXT,)
        assert [row[0][:13] for row in reader.decisions(2)] == ["2026-11-22T15", "2026-11-22T14"]
        assert reader.tag_hash_key() == await store.tag_hash_key()
        with pytest.raises(StoreError), reader._reading() as db:
            db.execute("DELETE FROM report")

    assert list(reader.reports()) == rows
    assert reader.texts() == (TEXT,)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_store_of_an_older_program_can_be_read(path, version):
    """What it did not keep yet is empty, not an error."""
    async with opened(path) as store:
        await store.save_command(command(1))
        await store.keep_text(TEXT)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {version}")
    db.close()

    assert SqliteReader(path).texts() == ()
    assert len(SqliteReader(path).decisions(9)) == version - 1


async def test_what_is_no_store_is_said(tmp_path):
    """A missing or foreign file is a StoreError with a hint, and nothing is created."""
    text = tmp_path / "text"
    text.write_text("no database, but long enough to be looked at" * 20)
    for path in (tmp_path / "missing.db", text):
        reader = SqliteReader(path)
        for read in (reader.reports, reader.texts, partial(reader.decisions, 1)):
            with pytest.raises(StoreError) as caught:
                tuple(read())
            assert caught.value.hint
        assert reader.tag_hash_key() is None
    with pytest.raises(StoreError, match="no store at"):
        SqliteReader(tmp_path / "missing.db").require()
    SqliteReader(text).require()

    assert list(tmp_path.iterdir()) == [text]


async def test_its_room_and_its_files_are_told(path):
    """The write-ahead log counts; only the owner's mode is right for each file."""
    assert SqliteReader(path).files() == ()
    with pytest.raises(FileNotFoundError):
        SqliteReader(path).space()
    async with opened(path) as store:
        await store.save(replace(numbered(1), auth="x"))
        space, files = SqliteReader(path).space(), SqliteReader(path).files()
        wal = path.with_name("bridge.db-wal")
        assert space.used_bytes == path.stat().st_size + wal.stat().st_size
        assert (space.mode, space.free_bytes > 0) == (0o600, True)
        assert {file.name[9:] for file in files} == {"", "-wal", "-shm", ".lock", ".salt"}


def test_what_would_keep_it_from_being_opened_is_told_and_nothing_made(tmp_path):
    """A folder, a link; a store that is yet to be made is no obstacle."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file")

    assert SqliteReader(tmp_path / "new" / "b.db").obstacle() is None
    assert SqliteReader(tmp_path / "file").obstacle() is None
    assert "is a folder" in (SqliteReader(tmp_path).obstacle() or "")
    assert "is a link" in (SqliteReader(tmp_path / "link").obstacle() or "")
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}
