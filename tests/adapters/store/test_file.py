"""The store's file has one owner, and its errors say what to do."""

import contextlib
import errno
import os
import sqlite3
from pathlib import Path

import pytest

from bridge.adapters.store.file import (
    is_orphaned,
    lock,
    make_directory,
    open_file,
    primary_code,
    transaction,
    translated,
)
from bridge.errors import StoreError, StoreFull, StoreLocked


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


@pytest.mark.parametrize(
    ("main", "log_bytes", "orphaned"),
    [(None, None, False), (None, 0, False), (None, 9, True), (b"", 9, True), (b"x", 9, False)],
)
def test_a_log_without_its_file_is_noticed(tmp_path, main, log_bytes, orphaned):
    """SQLite would delete such a log, and what it holds, without a word."""
    path = tmp_path / "bridge.db"
    if main is not None:
        path.write_bytes(main)
    if log_bytes is not None:
        Path(f"{path}-wal").write_bytes(b"w" * log_bytes)

    assert is_orphaned(path) is orphaned


def test_a_transaction_commits_all_or_nothing(tmp_path):
    """What a failing block wrote is gone."""
    db = open_file(tmp_path / "bridge.db", 100)
    insert = "INSERT INTO meta VALUES (?, ?)"
    with transaction(db):
        db.execute(insert, ("kept", b""))
    with contextlib.suppress(sqlite3.IntegrityError), transaction(db):
        db.execute(insert, ("lost", b""))
        db.execute(insert, ("kept", b""))
    names = [name for (name,) in db.execute("SELECT name FROM meta")]
    db.close()

    assert names == ["kept"]
