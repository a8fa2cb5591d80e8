"""Documents in a folder are private files that are replaced as a whole."""

import stat

import pytest

from bridge.adapters.state_files.documents import FileDocuments


def test_a_document_is_what_was_put_there_last(tmp_path):
    """And None before; only its owner can read the file."""
    documents = FileDocuments(tmp_path)
    assert documents.read("chargers.json", largest=99) is None
    documents.replace("chargers.json", b"one")
    documents.replace("chargers.json", b"another")

    assert documents.read("chargers.json", largest=99) == b"another"
    assert documents.read("chargers.json", largest=3) == b"ano"
    assert stat.S_IMODE((tmp_path / "chargers.json").stat().st_mode) == 0o600


def test_what_is_open_to_others_is_not_read(tmp_path):
    """A document that another user could have written is an error."""
    (tmp_path / "chargers.json").write_bytes(b"{}")
    (tmp_path / "chargers.json").chmod(0o644)

    with pytest.raises(PermissionError):
        FileDocuments(tmp_path).read("chargers.json", largest=99)
