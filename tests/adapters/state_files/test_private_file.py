"""Private files: ours alone, or not read; new whole, or not at all."""

import os
import stat

import pytest

from bridge.adapters.state_files.private_file import MAX_FILE_BYTES, read_own, replace, why
from tests.intruders import INTRUDERS, PLACED, place


def test_what_is_written_is_ours_alone_and_comes_back(tmp_path):
    """Mode 0600 in a folder of 0700, and no draft is left."""
    path = tmp_path / "new" / "file.json"
    replace(path, b"one")
    replace(path, b"two")

    assert read_own(path) == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["file.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_root_writes_beside_a_service_is_the_services(tmp_path):
    """In a folder of another user root's file belongs to that user, and root reads it there."""
    os.chown(tmp_path, 12345, 12346)
    path = tmp_path / "file"
    replace(path, b"x")

    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12346)
    assert read_own(path) == b"x"
    os.chown(path, 0, 0)
    with pytest.raises(PermissionError, match="not a file of this user"):
        read_own(path)


@pytest.mark.parametrize("trouble", ["open", "link", "folder", "missing"])
def test_what_others_could_have_written_is_not_read(tmp_path, trouble):
    """A file open to others, a link, a folder and nothing at all are errors."""
    path = tmp_path / "file"
    replace(tmp_path / "target", b"x")
    match trouble:
        case "open":
            replace(path, b"x")
            path.chmod(0o644)
        case "link":
            path.symlink_to(tmp_path / "target")
        case "folder":
            path.mkdir()

    with pytest.raises(OSError, match=r"\w"):
        read_own(path)


def test_a_file_of_any_size_costs_little(tmp_path):
    """Only so much is read as we could have written."""
    replace(tmp_path / "file", b"x" * (MAX_FILE_BYTES + 10))

    assert len(read_own(tmp_path / "file")) == MAX_FILE_BYTES


@pytest.mark.usefixtures("never_hangs")
@pytest.mark.parametrize("intruder", INTRUDERS)
def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path, intruder):
    """A pipe in its place is somebody's: it is named and left where it is."""
    path = tmp_path / "file"
    with place(intruder, path):
        with pytest.raises(OSError, match="it is a") as caught:
            read_own(path)
        assert why(caught.value).startswith("it is a")
        with pytest.raises(OSError, match=INTRUDERS[intruder]):
            replace(path, b"new")

        assert PLACED[intruder](path.stat().st_mode)


def test_a_reason_repeats_nothing_of_the_file():
    """What a parser says may hold what it read."""
    assert why(ValueError("Invalid \\escape: 04E1B2C3D4")) == "ValueError"
