"""The log is read as bytes before SQLite sees it, and what SQLite leaves out is noticed."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from bridge.adapters.store.sqlite.recovery.wal_reader import (
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    Frame,
    Log,
    read_log,
)
from bridge.adapters.store.sqlite.schema import PAGE_SIZES


@pytest.fixture(params=PAGE_SIZES)
def frame_bytes(request) -> int:
    """The length of a frame: a store has small pages, or those of the first version."""
    return FRAME_HEADER_BYTES + request.param


@pytest.fixture
def path(tmp_path: Path, frame_bytes: int) -> Path:
    """A database as a crash leaves it: with five commits in its log."""
    home = tmp_path / "home"
    home.mkdir()
    db = sqlite3.connect(home / "x.db", isolation_level=None)
    db.execute(f"PRAGMA page_size = {frame_bytes - FRAME_HEADER_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE t (x)")
    for number in range(4):
        db.execute("INSERT INTO t VALUES (?)", (number,))
    shutil.copytree(home, tmp_path / "crashed")
    db.close()
    return tmp_path / "crashed" / "x.db"


def taken(path: Path) -> int:
    """Ask SQLite how many frames it takes."""
    db = sqlite3.connect(path)
    db.execute("SELECT * FROM sqlite_master").fetchall()
    frames = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    db.close()
    return frames


def flip(path: Path, at: int) -> None:
    """Flip a bit."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_sound_log_is_what_sqlite_takes(path):
    """Every frame is seen, the last one of each commit as such, and none is lost."""
    log = read_log(path)

    assert log.is_log
    assert sum(frame.commits for frame in log.frames) == 5
    assert log.committed == len(log.frames) == taken(path)
    assert log.lost(len(log.frames)) == ()


@pytest.mark.parametrize("frame", [0, 1, 2])
@pytest.mark.parametrize("at", [9, 17, 100])
def test_damage_in_the_middle_is_a_loss(path, frame_bytes, frame, at):
    """In the salts, the sum or the content: SQLite stops there, and what follows is named."""
    flip(Path(f"{path}-wal"), HEADER_BYTES + frame * frame_bytes + at)
    log = read_log(path)
    count = taken(path)

    assert count <= frame
    assert [one.place for one in log.lost(count)] == [
        f.place for f in log.frames if f.place >= count
    ]
    assert log.lost(count)


@pytest.mark.parametrize("at", range(0, HEADER_BYTES, 3))
def test_a_damaged_head_makes_all_of_it_a_loss(path, at):
    """SQLite takes nothing of such a log; all of it is still there."""
    flip(Path(f"{path}-wal"), at)
    log = read_log(path)
    count = taken(path)

    assert count == 0
    assert not log.is_log
    assert len(log.lost(0)) == len(log.frames) > 4


def test_a_shortened_log_is_missed_by_what_its_owner_knew(path, frame_bytes):
    """The shared index says how far it once went."""
    wal = Path(f"{path}-wal")
    wal.write_bytes(wal.read_bytes()[: HEADER_BYTES + 2 * frame_bytes + 7])
    log = read_log(path)

    assert len(log.frames) == 2
    assert log.committed > 2


def test_one_commit_that_was_under_way_is_no_loss():
    """After a power cut that is what follows: it was never told."""
    frames = tuple(Frame(n, n, n == 3, b"") for n in range(4))

    assert Log(True, frames, 0).lost(2) == ()
    assert Log(True, frames, 4).lost(2) == frames[2:]
    assert Log(True, (*frames, Frame(4, 4, True, b"")), 0).lost(2) != ()


def test_frames_from_before_the_log_began_anew_are_no_loss(path, frame_bytes):
    """The head has other salts than they; what they hold is in the file already."""
    wal = Path(f"{path}-wal")
    old = wal.read_bytes()
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA wal_checkpoint(RESTART)")
    db.execute("INSERT INTO t VALUES (9)")
    new = wal.read_bytes()[: HEADER_BYTES + frame_bytes]
    db.close()
    wal.write_bytes(new + old[len(new) :])
    log = read_log(path)

    assert [frame.place for frame in log.frames] == [0]
    assert log.lost(1) == ()


@pytest.mark.parametrize("content", [None, b"", b"x", b"x" * 100, bytes(9000)])
def test_what_is_no_log_is_none(tmp_path, content):
    """Nothing is read from nothing."""
    if content is not None:
        (tmp_path / "x.db-wal").write_bytes(content)
    log = read_log(tmp_path / "x.db")

    assert not log.is_log
    assert log.lost(0) == ()
