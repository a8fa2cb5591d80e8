"""Several files are written with their owners and modes, all of them or none."""

import errno
import os
import pwd
import signal
import stat
from pathlib import Path

import pytest

from bridge.cli.setup import files
from bridge.cli.setup.files import Access, NewFile, NewFolder, access_for, write_all
from tests.cli.setup.newcomer import tree

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
# What the writing asks of the system, in this order; each can fail.
STEPS = ("open", "fchmod", "fsync", "lexists", "replace")


def planned(folder: Path, **changes: object) -> tuple[list[NewFolder], list[NewFile]]:
    """Two files in a folder that is made for them."""
    place = folder / "new" / "etc"
    return (
        [NewFolder(place, 0o750)],
        [
            NewFile(place / "secret", b"secret\n", 0o600, **changes),
            NewFile(place / "config.yaml", b"a: 1\n", 0o640, **changes),
        ],
    )


def mode(path: Path) -> int:
    """Permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_are_the_planned_ones_whatever_the_umask_is(tmp_path, umask):
    """Files and folders get their permissions, and no draft stays."""
    old = os.umask(umask)
    try:
        write_all(*planned(tmp_path))
    finally:
        os.umask(old)
    place = tmp_path / "new" / "etc"

    assert {path.name: mode(path) for path in place.iterdir()} == {
        "secret": 0o600,
        "config.yaml": 0o640,
    }
    assert mode(place) == 0o750
    assert (place / "secret").read_bytes() == b"secret\n"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [1, 2])
def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch, step, number):
    """Whichever call fails, for the first or the second file, nothing new exists."""
    owner, name = (os.path, step) if step == "lexists" else (os, step)
    if step == "replace":
        owner = Path
    calls = []
    real = getattr(owner, name)

    def failing(*args, **options):
        calls.append(args)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, "no space left")
        return real(*args, **options)

    monkeypatch.setattr(owner, name, failing)
    with pytest.raises(OSError, match="no space"):
        write_all(*planned(tmp_path))
    monkeypatch.undo()

    left = tree(tmp_path)
    if step == "replace" and number == 2:  # the one that a rename had put there already
        assert set(left) == {"new", "new/etc", "new/etc/secret"}
    else:
        assert left == {}


def test_a_full_disk_is_told_with_the_file(tmp_path, monkeypatch):
    """The system's error names none."""

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_all(*planned(tmp_path))

    assert caught.value.filename == str(tmp_path / "new/etc/secret")


def test_what_appeared_meanwhile_is_not_replaced(tmp_path):
    """A file whose replacement was not agreed to stays, and the others are not written."""
    folders, new = planned(tmp_path)
    (tmp_path / "new" / "etc").mkdir(parents=True)
    new[1].path.write_text("mine")
    before = tree(tmp_path)

    with pytest.raises(FileExistsError):
        write_all(folders, new)
    assert tree(tmp_path) == before

    write_all(*planned(tmp_path, may_replace=True))
    assert new[1].path.read_bytes() == b"a: 1\n"


def test_a_draft_of_a_killed_run_is_no_obstacle(tmp_path):
    """What a run that was killed left beside its place is written anew."""
    folders, new = planned(tmp_path)
    (tmp_path / "new" / "etc").mkdir(parents=True)
    (tmp_path / "new" / "etc" / ".secret.new").write_text("half")
    write_all(folders, new)

    assert new[0].path.read_bytes() == b"secret\n"
    assert not (tmp_path / "new" / "etc" / ".secret.new").exists()


def test_a_device_is_not_replaced(tmp_path):
    """A pipe in the place of a file is an error, although replacing was agreed to."""
    folders, new = planned(tmp_path, may_replace=True)
    (tmp_path / "new" / "etc").mkdir(parents=True)
    os.mkfifo(new[0].path)

    with pytest.raises(OSError, match="pipe"):
        write_all(folders, new)
    assert stat.S_ISFIFO(new[0].path.lstat().st_mode)


def test_a_signal_waits_until_everything_is_written(tmp_path, monkeypatch):
    """Ctrl-C between two files comes behind the second."""
    real = files._write

    def interrupted(draft: Path, file: NewFile) -> None:
        real(draft, file)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(files, "_write", interrupted)
    folders, new = planned(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_all(folders, new)

    assert all(file.path.exists() for file in new)


@AS_ROOT
def test_a_service_user_gets_its_secrets_and_reads_its_configuration(tmp_path):
    """Root writes for the service: the secret is its own, the configuration is only read by it."""
    access = access_for("nobody")
    found = pwd.getpwnam("nobody")
    assert access.owner == (found.pw_uid, found.pw_gid)
    write_all(
        [NewFolder(tmp_path / "etc", access.folder_mode, access.config_owner)],
        [
            NewFile(tmp_path / "etc" / "secret", b"x", 0o600, access.owner),
            NewFile(tmp_path / "etc" / "config", b"x", access.config_mode, access.config_owner),
        ],
    )
    owners = {
        path.name: (path.stat().st_uid, path.stat().st_gid, mode(path))
        for path in (tmp_path / "etc", tmp_path / "etc" / "secret", tmp_path / "etc" / "config")
    }

    assert owners == {
        "etc": (0, found.pw_gid, 0o750),
        "secret": (found.pw_uid, found.pw_gid, 0o600),
        "config": (0, found.pw_gid, 0o640),
    }


def test_who_may_read_follows_from_who_writes(monkeypatch):
    """Root without a service user leaves the configuration readable; a user keeps it private."""
    monkeypatch.setattr(files, "SERVICE_USER", "no-such-user-here")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert access_for(None) == Access(None, 0o755, 0o644)
    with pytest.raises(KeyError):
        access_for("no-such-user-here")

    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert access_for(None) == Access(None, 0o700, 0o600)
    assert access_for("nobody") == Access(None, 0o700, 0o600)
    with pytest.raises(PermissionError):
        access_for("root")
