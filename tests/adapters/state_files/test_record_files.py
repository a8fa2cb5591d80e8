"""Records on disk: private, named by their time, the newest five."""

import errno
import os
from datetime import timedelta

import pytest

from bridge.adapters.state_files.private_file import draft_of
from bridge.adapters.state_files.record_files import (
    DRAFT_S,
    KEPT,
    load,
    newest,
    part_of,
    records,
    save,
)
from tests.conftest import NOON


def test_the_newest_five_are_kept(tmp_path):
    """Older ones go when a newer one is written, in the order of their times."""
    for number in range(8):
        save(tmp_path, b"%d" % number, NOON + timedelta(hours=number))

    assert [path.read_bytes() for path in records(tmp_path)] == [b"3", b"4", b"5", b"6", b"7"]
    assert records(tmp_path)[-1].name == f"record-{NOON + timedelta(hours=7):%Y%m%dT%H%M%SZ}.rec"


def test_two_of_one_second_are_two(tmp_path):
    """A second record of a second gets a number, and stays in order."""
    written = [save(tmp_path, b"%d" % number, NOON) for number in range(12)]

    assert len(set(written)) == 12
    assert [path.read_bytes() for path in records(tmp_path)] == [b"7", b"8", b"9", b"10", b"11"]
    assert len(records(tmp_path)) == KEPT


def test_they_are_for_their_owner_alone(tmp_path):
    """Mode 0600, and nothing but records is counted or removed."""
    other = tmp_path / "record-of-mine.rec"
    other.write_bytes(b"x")
    path = save(tmp_path, b"y", NOON)

    assert path.stat().st_mode & 0o777 == 0o600
    assert records(tmp_path) == [path]
    for number in range(9):
        save(tmp_path, b"", NOON + timedelta(seconds=number))
    assert other.exists()


def test_what_a_killed_process_left_goes_with_the_next_record(tmp_path):
    """An old draft of a record; one that may be written now stays, and so does any other file."""
    old, new, other = (
        draft_of(tmp_path / name)
        for name in ("record-20261121T120000Z-2.rec", "record-20261122T115900Z-p03.rec", "a.rec")
    )
    for path in (old, new, other):
        path.write_bytes(b"x")
        os.utime(path, (NOON.timestamp() - 60,) * 2)
    for path in (old, other):
        os.utime(path, (NOON.timestamp() - 2 * DRAFT_S,) * 2)
    save(tmp_path, b"y", NOON)

    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


def test_a_full_disk_keeps_nothing_of_a_record(tmp_path, monkeypatch):
    """The earlier records stay; the draft of the new one takes no room."""
    path = save(tmp_path, b"1", NOON)

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, b"2" * 9999, NOON + timedelta(hours=1))

    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_in_its_place_is_refused(tmp_path):
    """What is no file is not opened, and no more is read than asked for."""
    pipe, path = tmp_path / "pipe", save(tmp_path, b"12345", NOON)
    os.mkfifo(pipe)

    assert load(path, 3) == b"1234"
    with pytest.raises(OSError, match="named pipe"):
        load(pipe, 3)


def test_each_partition_has_five_of_its_own(tmp_path):
    """One gateway that fails again and again takes no record away from another."""
    parts = [part_of(number, is_divided=True) for number in (None, 0, 12)]
    for number in range(8):
        for part in parts if number < 2 else parts[1:2]:
            save(tmp_path, part.encode(), NOON + timedelta(hours=number), part)

    assert parts == ["-all", "-p00", "-p12"]
    assert part_of(0, is_divided=False) == part_of(None, is_divided=False) == ""
    assert len(records(tmp_path)) == 2 + 5 + 2
    assert [path.read_bytes() for path in newest(tmp_path)] == [b"-all", b"-p00", b"-p12"]
    assert newest(tmp_path)[1].name == "record-20261122T190000Z-p00.rec"
