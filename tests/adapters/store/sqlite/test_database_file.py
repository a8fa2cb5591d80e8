"""The store's file has one owner, and its errors say what to do."""

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from bridge.adapters.store.sqlite.database_file import (
    bounded,
    is_empty,
    lock,
    make_directory,
    open_file,
    primary_code,
    private,
    transaction,
    translated,
)
from bridge.adapters.store.sqlite.quota import Quota
from bridge.errors import StoreError, StoreFull, StoreLocked

ROOM = Quota(Path("/"), 100 * 4096)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_root_creates_beside_a_service_is_the_services(tmp_path):
    """Store and lock made by root in a service's folder can be opened by the service."""
    os.chown(tmp_path, 12345, 12346)
    path = tmp_path / "bridge.db"
    os.close(lock(path))
    os.close(private(str(path)))

    for each in (path, Path(f"{path}.lock")):
        assert (each.stat().st_uid, each.stat().st_gid) == (12345, 12346)


def sqlite_error(code: int, text: str = "disk I/O error") -> sqlite3.Error:
    """Make an error as sqlite3 raises it."""
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "kind", "hint"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), StoreFull, "max_mib"),
        (sqlite_error(sqlite3.SQLITE_IOERR_FSYNC), StoreError, "disk"),
        (sqlite_error(sqlite3.SQLITE_READONLY), StoreError, "writable"),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), StoreError, "moved aside"),
        (OSError(errno.ENOSPC, "No space left on device"), StoreFull, "max_mib"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), StoreError, "writable"),
        (ValueError("04E1B2C3D4"), StoreError, ""),
    ],
)
def test_every_error_becomes_ours_with_a_hint(error, kind, hint):
    """Nothing of sqlite3 or the operating system passes the border."""
    ours = translated(error)

    assert type(ours) is kind
    assert hint in ours.hint
    assert ours.__cause__ is error
    assert "04E1B2C3D4" not in str(ours)


def test_our_own_errors_pass_as_they_are():
    """What was named already is not named again."""
    error = StoreLocked("taken")

    assert translated(error) is error
    assert primary_code(sqlite3.ProgrammingError("made by the module")) == 0


def test_the_lock_is_exclusive_and_freed_by_closing(tmp_path):
    """Two handles, even of one process, never hold the same store."""
    path = tmp_path / "bridge.db"
    handle = lock(path)
    with pytest.raises(StoreLocked, match=str(os.getpid())):
        lock(path)
    os.close(handle)

    os.close(lock(path))


def test_a_directory_that_exists_is_left_as_it_is(tmp_path):
    """Only a directory of our own making is closed to others."""
    tmp_path.chmod(0o755)
    make_directory(tmp_path)
    make_directory(tmp_path / "a" / "b")

    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("content", "empty"), [(None, True), (b"", True), (b"x", False)])
def test_nothing_and_a_file_with_nothing_are_the_same(tmp_path, content, empty):
    """SQLite begins anew in either, without a word."""
    path = tmp_path / "bridge.db"
    if content is not None:
        path.write_bytes(content)

    assert is_empty(path) is empty


def test_a_check_that_takes_too_long_is_cut_short(tmp_path):
    """A start does not wait for a slow disk; what was not checked is checked when it is read."""
    db, _ = open_file(tmp_path / "bridge.db", ROOM)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT sum(x) FROM n"
    reached = []
    with bounded(db, 0.01):
        reached.append("before")
        db.execute(endless).fetchone()
        reached.append("after")
    assert db.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(sqlite3.OperationalError, match="no such table"), bounded(db, 5.0):
        db.execute("SELECT * FROM nowhere")
    db.close()

    assert reached == ["before"]


def test_a_transaction_commits_all_or_nothing(tmp_path):
    """What a failing block wrote is gone."""
    db, _ = open_file(tmp_path / "bridge.db", ROOM)
    insert = "INSERT INTO meta VALUES (?, ?)"
    with transaction(db):
        db.execute(insert, ("kept", b""))
    with contextlib.suppress(sqlite3.IntegrityError), transaction(db):
        db.execute(insert, ("lost", b""))
        db.execute(insert, ("kept", b""))
    names = [name for (name,) in db.execute("SELECT name FROM meta") if name != "version"]
    db.close()

    assert names == ["kept"]
