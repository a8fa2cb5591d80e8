"""The moment of the last orderly end comes back, and nothing else does."""

import pytest

from bridge.adapters.state_files.documents import FileDocuments
from bridge.adapters.state_files.last_seen import KeptLastSeen
from bridge.adapters.state_files.private_file import replace
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON


def kept(path):
    """Return the moment in a file."""
    return KeptLastSeen(FileDocuments(path.parent), path.name)


def test_the_moment_comes_back(tmp_path):
    """What a clean stop wrote is known at the next start; before the first there is none."""
    file = kept(tmp_path / "last_seen.json")
    assert file.load() is None
    file.save(Timestamp(NOON, 5.0))
    assert file.load() == NOON


def test_a_clock_that_cannot_be_believed_writes_nothing(tmp_path):
    """A moment of such a clock would make old commands look young."""
    file = kept(tmp_path / "last_seen.json")
    file.save(Timestamp(NOON, 5.0, trusted=False))
    assert file.load() is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b'{"at": 7}', b'{"at": "2026-11-22T12:00:00"}', b"\xff"]
)
def test_what_is_no_moment_is_none(tmp_path, content):
    """Whatever the file holds, the start goes on."""
    replace(tmp_path / "last_seen.json", content)
    assert kept(tmp_path / "last_seen.json").load() is None


def test_a_file_that_cannot_be_written_is_no_error(tmp_path):
    """A full or missing disk costs the knowledge, not a clean end."""
    (tmp_path / "file").touch()
    kept(tmp_path / "file" / "last_seen.json").save(Timestamp(NOON, 5.0))
