"""What is moved aside stays together, and is found again by whoever comes next."""

from pathlib import Path

import pytest

from bridge.adapters.store.sqlite.recovery.quarantine import (
    KEPT,
    finish_moving,
    quarantine,
    rotate_quarantine,
    unfinished,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store is."""
    return tmp_path / "bridge.db"


def names(path: Path) -> list[str]:
    """List what is there."""
    return sorted(file.name for file in path.parent.iterdir())


def test_a_file_and_its_log_are_moved_together(path):
    """First half-way, until its rows are saved, then for good."""
    path.write_bytes(b"x")
    Path(f"{path}-wal").write_bytes(b"y")
    quarantine(path, "a test")
    assert names(path) == ["bridge.db.damaged", "bridge.db.damaged-wal"]
    assert unfinished(path) == Path(f"{path}.damaged")

    assert rotate_quarantine(path) == Path(f"{path}.corrupt.1")
    assert names(path) == ["bridge.db.corrupt.1", "bridge.db.corrupt.1-wal"]
    assert unfinished(path) is None


@pytest.mark.fault("F4")
def test_a_move_that_was_broken_off_is_finished(path):
    """The log of a file that is gone is moved after it, and a fresh file's is left alone."""
    Path(f"{path}.damaged").write_bytes(b"x")
    Path(f"{path}-wal").write_bytes(b"y")
    finish_moving(path)
    assert names(path) == ["bridge.db.damaged", "bridge.db.damaged-wal"]

    path.write_bytes(b"fresh")
    Path(f"{path}-shm").write_bytes(b"z")
    finish_moving(path)
    assert Path(f"{path}-shm").exists()


def test_a_log_alone_is_something_too(path):
    """Its main file can be gone."""
    Path(f"{path}-wal").write_bytes(b"y")
    quarantine(path, "a test")

    assert unfinished(path) is not None


def test_a_second_file_does_not_take_the_place_of_the_first(path):
    """What was not finished with is kept as well."""
    for content in (b"first", b"second"):
        path.write_bytes(content)
        quarantine(path, "a test")

    assert Path(f"{path}.corrupt.1").read_bytes() == b"first"
    assert Path(f"{path}.damaged").read_bytes() == b"second"


def test_only_the_newest_are_kept(path):
    """What is moved aside does not fill the disk."""
    Path(f"{path}.corrupt.notes").write_bytes(b"somebody's own")
    for number in range(1, KEPT + 3):
        path.write_bytes(b"broken %d" % number)
        quarantine(path, "a test")
        assert rotate_quarantine(path) == Path(f"{path}.corrupt.{number}")

    kept = [f"bridge.db.corrupt.{n}" for n in range(3, KEPT + 3)]
    assert names(path) == [*kept, "bridge.db.corrupt.notes"]
