"""The roster: serials come back after a restart, and nothing else does."""

import json

import pytest

from bridge.adapters.state_files.charger_list import KeptChargerList, StoredChargerList
from bridge.adapters.state_files.documents import FileDocuments
from bridge.adapters.state_files.private_file import replace
from bridge.core.effects import SaveChargerList
from tests.conftest import NOON


def kept(path, account):
    """Return the list in a file."""
    return KeptChargerList(FileDocuments(path.parent), account, path.name)


def test_serials_come_back(tmp_path):
    """Chargers, Equalizers and who left; with another account all are former."""
    kept(tmp_path / "chargers.json", "me").save(
        SaveChargerList(("EH123456",), {"EH654321": NOON}, ("QP000001",))
    )

    known = StoredChargerList(("EH123456",), {"EH654321": NOON}, equalizers=("QP000001",))
    assert kept(tmp_path / "chargers.json", "me").load() == known
    assert kept(tmp_path / "chargers.json", "you").load() == StoredChargerList(
        left=known.left, former=("EH123456", "QP000001")
    )
    assert kept(tmp_path / "missing.json", "me").load() == StoredChargerList()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"account": "me"}', b"[" * 20_000, b"\xff",
     b'{"account": "me", "chargers": [], "left": 7}',
     b'{"account": "me", "chargers": [], "left": {"EH123456": "yesterday"}}'],
)  # fmt: skip
def test_a_broken_roster_is_an_empty_one(tmp_path, content):
    """The file is a hint; whatever it holds, the start goes on."""
    replace(tmp_path / "chargers.json", content)

    assert kept(tmp_path / "chargers.json", "me").load() == StoredChargerList()


def test_the_file_of_an_older_version_is_read(tmp_path):
    """It knows of nobody who left."""
    replace(tmp_path / "chargers.json", b'{"account": "me", "chargers": ["EH123456"]}')

    assert kept(tmp_path / "chargers.json", "me").load() == StoredChargerList(("EH123456",))


def test_what_is_no_serial_is_left_out(tmp_path):
    """A path or a number in the file does not become a charger."""
    document = {"account": "me", "chargers": ["../x", 7, None, "EH123456"]}
    replace(tmp_path / "chargers.json", json.dumps(document).encode())

    assert kept(tmp_path / "chargers.json", "me").load() == StoredChargerList(("EH123456",))


def test_a_roster_that_cannot_be_written_is_no_error(tmp_path):
    """A full disk costs the hint, not the bridge."""
    (tmp_path / "file").touch()

    kept(tmp_path / "file" / "chargers.json", "me").save(SaveChargerList(("EH123456",)))
