"""The store's file: its lock, its modes, its pragmas, and what SQLite's errors mean."""

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bridge.adapters.store.rows import APPLICATION_ID, MIGRATIONS, lenient_text
from bridge.errors import StoreError, StoreFull, StoreLocked

PAGE_BYTES = 4096
# A reader never holds a writer up under WAL; this is for the moment of a checkpoint.
BUSY_TIMEOUT_S = 5.0
# The write-ahead log shrinks to this after a checkpoint.
WAL_BYTES = 4 * 1024 * 1024
SIDECARS = ("", "-wal", "-shm")

NOT_A_STORE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_HINTS = {
    sqlite3.SQLITE_READONLY: "make the store's directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "check that the store's directory exists and is writable",
    sqlite3.SQLITE_IOERR: "check the disk: the system log says more",
    sqlite3.SQLITE_CORRUPT: "restart: a damaged store is moved aside and a new one started",
    sqlite3.SQLITE_NOTADB: "restart: a damaged store is moved aside and a new one started",
    sqlite3.SQLITE_BUSY: "another program holds the store's file; end it",
}
_FULL_HINT = "free space on the disk or raise store.max_mib"


class ForeignFile(Exception):
    """The file is no store of ours; stays between these modules."""


def make_directory(directory: Path) -> None:
    """Create a directory nobody else can look into; leave one that exists as it is."""
    if not directory.is_dir():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Make new and moved names survive a power cut."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _private(path: str) -> int:
    """Open a file that only its owner may read, creating it if need be."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if os.fstat(handle).st_mode & 0o077:
        os.fchmod(handle, 0o600)
    return handle


def lock(path: Path) -> int:
    """Take the store for this process; the handle holds it until it is closed.

    Raises:
        StoreLocked: Another process has it.
    """
    handle = _private(f"{path}.lock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        owner = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise StoreLocked(
            f"another process (pid {owner}) has {path} open",
            hint="stop it, or give this one its own store.path",
        ) from exc
    except OSError:
        os.close(handle)
        raise
    # The pid is for people; a full disk must not stop a start for want of it.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, b"%d\n" % os.getpid(), 0)
    return handle


def is_orphaned(path: Path) -> bool:
    """Say whether there is a log of a file that is gone: SQLite would delete it."""
    log_file = Path(f"{path}-wal")
    has_log = log_file.exists() and log_file.stat().st_size > 0
    return has_log and not (path.exists() and path.stat().st_size > 0)


def open_file(path: Path, max_pages: int) -> sqlite3.Connection:
    """Open or create the file, checked, of the newest version, in autocommit mode.

    Raises:
        ForeignFile: It is damaged, or another program's.
        StoreError: It is of a newer version of this program.
    """
    is_new = not path.exists()
    for suffix in SIDECARS:
        # SQLite makes its side files as readable as the file itself.
        if not suffix or Path(f"{path}{suffix}").exists():
            os.close(_private(f"{path}{suffix}"))
    if is_new:
        sync_directory(path.parent)
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        _prepare(db, max_pages)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, max_pages: int) -> None:
    db.text_factory = lenient_text
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    # NORMAL would keep the file sound and lose the last commits when the power goes: 134 of 150
    # simulated power cuts did. A gateway loses power exactly when it has reports to keep.
    db.execute("PRAGMA synchronous = FULL")
    db.execute(f"PRAGMA max_page_count = {max_pages}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    db.execute("PRAGMA trusted_schema = OFF")
    if (verdict := _pragma(db, "quick_check")) != "ok":
        raise ForeignFile(f"damaged: {str(verdict)[:80]}")
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    if tables and _pragma(db, "application_id") != APPLICATION_ID and "report" not in tables:
        raise ForeignFile("another program's file")
    version = int(str(_pragma(db, "user_version")))
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the store is of version {version}, newer than this program",
            hint="run the newer program again, or move the store away",
        )
    for number, steps in enumerate(MIGRATIONS[version:], start=version + 1):
        with transaction(db):
            for step in steps:
                db.execute(step)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {number}")


def _pragma(db: sqlite3.Connection, name: str) -> object:
    row = db.execute(f"PRAGMA {name}").fetchone()
    return row[0] if row else None


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block does, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # SQLite has rolled back by itself after some errors (disk full, I/O).
        if db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
        raise


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's result code without its details; 0 when the error is not SQLite's own."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def translated(error: BaseException) -> StoreError:
    """Name an error for what its catcher can do."""
    match error:
        case StoreError():
            return error
        case sqlite3.Error():
            code = primary_code(error)
            is_full = code == sqlite3.SQLITE_FULL
            kind = StoreFull if is_full else StoreError
            ours = kind(f"store: {error}", hint=_FULL_HINT if is_full else _HINTS.get(code, ""))
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            ours = StoreFull("the disk is full", hint=_FULL_HINT)
        case OSError():
            ours = StoreError(
                f"store: {error.strerror}: {error.filename}",
                hint="check that the store's directory exists and is writable for this user",
            )
        case _:
            # Not its text: it may show a value, and a value may be a tag.
            ours = StoreError(f"store: unexpected {type(error).__name__}")
    ours.__cause__ = error
    return ours
