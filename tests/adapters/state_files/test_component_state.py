"""Documents of components on disk: read back, and never in the way."""

import pytest

from bridge.adapters.state_files.component_state import KeptComponentState
from bridge.adapters.state_files.documents import FileDocuments

NAME = "hidden_values"


def test_a_document_is_read_back(tmp_path):
    """What was kept is there at the next start, under its name."""
    files = KeptComponentState(FileDocuments(tmp_path / "state"))
    assert files.load() == {}

    files.save(NAME, {"hidden": ["op_mode"]})
    files.save("energy_total", {"EH123456": [1.5, 2]})

    assert files.load() == {
        NAME: {"hidden": ["op_mode"]},
        "energy_total": {"EH123456": [1.5, 2]},
    }
    assert (tmp_path / "state" / "hidden_values.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"3", b"[" * 100_000])
def test_a_damaged_file_is_none(tmp_path, content):
    """Whatever stands in it, the start goes on without it."""
    files = KeptComponentState(FileDocuments(tmp_path))
    files.save(NAME, {})
    (tmp_path / "hidden_values.json").write_bytes(content)

    assert files.load() == {}


def test_a_folder_that_cannot_be_written_to_is_no_failure(tmp_path):
    """It is logged, and the next start knows less."""
    (tmp_path / "file").write_text("")

    KeptComponentState(FileDocuments(tmp_path / "file")).save(NAME, {})
