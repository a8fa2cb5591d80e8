import json
import os
import stat
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from bridge.adapters.easee.token_file import TokenFile
from bridge.adapters.state_files import private_file as module
from bridge.core.records.stored_tokens import StoredTokens, account_of
from bridge.settings import EaseeSettings, Secret

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
FULL = StoredTokens(Secret("canary-access"), Secret("canary-refresh"), NOON, NOON)
ACCOUNT = account_of(EaseeSettings("someone@example.com", Secret("p")))


@pytest.fixture
def path(tmp_path):
    """A place in a folder that does not exist yet."""
    return tmp_path / "state" / "tokens.json"


def test_what_is_saved_is_loaded(path):
    """A value survives, with everything in it."""
    TokenFile(path, ACCOUNT).save(FULL)

    assert TokenFile(path, ACCOUNT).load() == FULL


def test_nothing_there_is_nothing_to_warn_about(path):
    """The first start finds no file and says nothing."""
    with capture_logs() as logs:
        assert TokenFile(path, ACCOUNT).load() == StoredTokens()

    assert logs == []


def test_the_file_is_ours_alone(path):
    """Whatever the umask, file and folder are closed to others, and no draft stays."""
    before = os.umask(0)
    try:
        TokenFile(path, ACCOUNT).save(FULL)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["tokens.json"]
    assert "someone" not in path.read_text()


def test_another_account_or_cloud_does_not_get_the_tokens(path):
    """Tokens are not read for another user, nor for another host."""
    TokenFile(path, ACCOUNT).save(FULL)
    other_user = account_of(EaseeSettings("other@example.com", Secret("p")))
    other_host = account_of(
        EaseeSettings("someone@example.com", Secret("p"), api_url="http://127.0.0.1:8800")
    )

    with capture_logs() as logs:
        assert TokenFile(path, other_user).load() == StoredTokens()
        assert TokenFile(path, other_host).load() == StoredTokens()
    assert [line["reason"] for line in logs] == ["of another account"] * 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 50_000,
        json.dumps({"account": ACCOUNT}).encode(),
        json.dumps(
            {
                "account": ACCOUNT,
                "access_token": 7,
                "refresh_token": None,
                "expires_at": None,
                "blocked_until": None,
            }
        ).encode(),
        json.dumps(
            {
                "account": ACCOUNT,
                "access_token": None,
                "refresh_token": None,
                "expires_at": 7,
                "blocked_until": None,
            }
        ).encode(),
        json.dumps(
            {
                "account": ACCOUNT,
                "access_token": "canary",
                "refresh_token": None,
                "expires_at": "0001-01-01T00:00:00+23:59",
                "blocked_until": None,
            }
        ).encode(),
    ],
)
def test_a_broken_file_is_ignored_with_a_warning(path, content):
    """Damage costs a login, never a start, and is never quoted."""
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)

    with capture_logs() as logs:
        assert TokenFile(path, ACCOUNT).load() == StoredTokens()
    assert [line["event"] for line in logs] == ["tokens.ignored"]
    assert "canary" not in str(logs)


def test_a_file_others_can_read_is_ignored(path):
    """Tokens that others may have seen or written are not used."""
    TokenFile(path, ACCOUNT).save(FULL)
    path.chmod(0o640)

    assert TokenFile(path, ACCOUNT).load() == StoredTokens()


def test_a_link_is_not_followed(path, tmp_path):
    """Neither reading nor writing goes through a link somebody put there."""
    target = tmp_path / "target"
    TokenFile(target, ACCOUNT).save(FULL)
    path.parent.mkdir()
    path.symlink_to(target)

    assert TokenFile(path, ACCOUNT).load() == StoredTokens()
    TokenFile(path, ACCOUNT).save(StoredTokens())
    assert TokenFile(target, ACCOUNT).load() == FULL


def test_a_foreign_file_is_ignored(path, monkeypatch):
    """A file of another user is not read."""
    TokenFile(path, ACCOUNT).save(FULL)
    monkeypatch.setattr(module.os, "geteuid", lambda: path.stat().st_uid + 1)

    assert TokenFile(path, ACCOUNT).load() == StoredTokens()


def test_a_pipe_does_not_stop_the_start(path):
    """Something that is no file is refused at once instead of waited for."""
    path.parent.mkdir()
    os.mkfifo(path, 0o600)

    assert TokenFile(path, ACCOUNT).load() == StoredTokens()


def test_a_failed_save_keeps_the_old_file(path, monkeypatch):
    """When the disk fails half-way the old pair is still whole, and a warning says so."""
    TokenFile(path, ACCOUNT).save(FULL)

    def fail(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", fail)
    with capture_logs() as logs:
        TokenFile(path, ACCOUNT).save(StoredTokens(access=Secret("canary-new")))
    monkeypatch.undo()

    assert TokenFile(path, ACCOUNT).load() == FULL
    assert [line["event"] for line in logs] == ["tokens.not_saved"]
    assert "canary" not in str(logs)


def test_a_draft_left_by_a_crash_does_not_matter(path):
    """The next save replaces what a killed run left half-written."""
    path.parent.mkdir()
    (path.parent / ".tokens.json.new").write_text("half")
    TokenFile(path, ACCOUNT).save(FULL)

    assert TokenFile(path, ACCOUNT).load() == FULL


def test_every_save_is_synced_before_and_after_the_move(path, monkeypatch):
    """File, move, folder: in this order, or a power cut leaves neither pair."""
    steps = []
    fsync, replace = module.os.fsync, module.Path.replace

    def sync(handle):
        steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def move(source, target):
        steps.append("move")
        return replace(source, target)

    monkeypatch.setattr(module.os, "fsync", sync)
    monkeypatch.setattr(module.Path, "replace", move)
    TokenFile(path, ACCOUNT).save(FULL)

    assert steps == ["file", "move", "folder"]
