"""What the bridge keeps is its own: nobody else reads it, and no planted link leads it astray."""

import os
import stat
from pathlib import Path

import pytest

from bridge.adapters.easee.token_file import StoredTokens, TokenFile
from bridge.adapters.state_files.charger_list import KeptChargerList
from bridge.adapters.state_files.documents import FileDocuments
from bridge.adapters.store.sqlite.database_file import lock, make_directory
from bridge.adapters.store.sqlite.opening import close_store, open_store
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.salt_file import keep_salt
from bridge.config.loading import load_with_warnings
from bridge.core.effects import SaveChargerList
from bridge.errors import StoreError
from bridge.settings import Secret

PRECIOUS = b"ssh-ed25519 AAAA somebody\n"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of ours that an attacker would have us destroy."""
    path = tmp_path / "authorized_keys"
    path.write_bytes(PRECIOUS)
    path.chmod(0o644)
    return path


def in_use(folder: Path) -> Path:
    """Make a store as the program does, with everything beside it, under an open umask."""
    path = folder / "data" / "bridge.db"
    before = os.umask(0)
    try:
        make_directory(path.parent)
        os.close(lock(path))
        db, _ = open_store(path, Quota(path.parent, 4096 * 4096))
        keep_salt(db, path)
        TokenFile(path.parent / "tokens.json", "a").save(StoredTokens(Secret("t"), Secret("r")))
        documents = FileDocuments(path.parent)
        KeptChargerList(documents, "a").save(SaveChargerList(("EH123456",)))
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
        close_store(db)
    finally:
        os.umask(before)
    assert {"bridge.db", "bridge.db-wal", "bridge.db.salt", "tokens.json"} <= modes.keys()
    assert set(modes.values()) == {0o600}, modes
    return path


def test_everything_kept_is_for_its_owner_alone(tmp_path):
    """Store, log, index, lock, salt, tokens and roster are 0600 in a folder of 0700."""
    path = in_use(tmp_path)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_modes_that_were_opened_are_closed_again(tmp_path):
    """A store that somebody made readable is for its owner alone once it was opened."""
    path = in_use(tmp_path)
    path.chmod(0o666)
    db, _ = open_store(path, Quota(path.parent, 4096 * 4096))
    close_store(db)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _open(path: Path) -> None:
    os.close(lock(path))
    db, _ = open_store(path, Quota(path.parent, 4096 * 4096))
    close_store(db)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_planted_link_is_refused_and_what_it_leads_to_is_untouched(
    tmp_path, victim, suffix, dangling
):
    """The store is not opened; the file keeps content and mode, and none comes into being."""
    path = tmp_path / "bridge.db"
    target = tmp_path / "absent" if dangling else victim
    Path(f"{path}{suffix}").symlink_to(target)
    with pytest.raises(StoreError, match="is a link") as caught:
        _open(path)

    assert "store.path" in caught.value.hint
    assert victim.read_bytes() == PRECIOUS
    assert stat.S_IMODE(victim.stat().st_mode) == 0o644
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("name", ["tokens.json", ".tokens.json.new"])
def test_a_token_never_goes_through_a_link(tmp_path, victim, name):
    """A planted link is replaced by our file, never written through and never read."""
    (tmp_path / name).symlink_to(victim)
    file = TokenFile(tmp_path / "tokens.json", "account")
    assert file.load() == StoredTokens()
    file.save(StoredTokens(Secret("canary-token"), Secret("canary-refresh")))

    assert victim.read_bytes() == PRECIOUS
    assert not (tmp_path / "tokens.json").is_symlink()
    assert file.load().access == Secret("canary-token")


@pytest.mark.parametrize("change", ["mode", "pipe", "folder"])
def test_a_token_file_that_is_not_ours_alone_is_not_read(tmp_path, change):
    """Open to others, a pipe or a folder: ignored at once, and the account logs in again."""
    path = tmp_path / "tokens.json"
    file = TokenFile(path, "account")
    file.save(StoredTokens(Secret("canary-token")))
    if change == "mode":
        path.chmod(0o640)
    else:
        path.unlink()
        os.mkfifo(path, 0o600) if change == "pipe" else path.mkdir(0o700)

    assert file.load() == StoredTokens()


@pytest.mark.parametrize(("mode", "warned"), [(0o700, False), (0o1777, True), (0o777, True)])
def test_a_store_in_a_folder_for_everybody_is_warned_of(tmp_path, mode, warned):
    """Whoever can write in the folder can plant files there; the operator hears it."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    environ = {
        "CHARGER_BRIDGE_EASEE__USERNAME": "someone@example.com",
        "CHARGER_BRIDGE_EASEE__PASSWORD": "canary-password-4711",
        "CHARGER_BRIDGE_STORE__PATH": str(folder / "bridge.db"),
    }
    warnings = load_with_warnings(None, environ).warnings

    assert any(one.startswith("store.path: every user") for one in warnings) == warned
