"""The database file: lock, modes, pragmas, and translation of SQLite's errors."""

import contextlib
import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import structlog

from bridge.adapters.state_files.plain_file import kind, open_plain, reason
from bridge.adapters.state_files.private_file import owner_of
from bridge.adapters.store.sqlite.quota import HINT, Quota
from bridge.adapters.store.sqlite.schema import (
    APPLICATION_ID,
    MIGRATIONS,
    PAGE_BYTES,
    lenient_text,
    page_bytes,
)
from bridge.errors import StoreError, StoreFull, StoreLocked

log = structlog.get_logger()

# A reader never holds a writer up under WAL; this is for the moment of a checkpoint.
BUSY_TIMEOUT_S = 5.0
# The write-ahead log shrinks to this after a checkpoint.
WAL_BYTES = 4 * 1024 * 1024
SIDECARS = ("", "-wal", "-shm")
# Everything a start opens: the store, the rollback journal that SQLite looks for, the lock, the
# salt, and what an earlier start moved aside.
BESIDE = (*SIDECARS, "-journal", ".lock", ".salt", *(f".damaged{suffix}" for suffix in SIDECARS))
# A bridge starts within seconds. What is not checked by then is checked when it is read.
CHECK_TIMEOUT_S = 2.0
# How often SQLite looks whether its time is up, in its own instructions: about every millisecond.
PROGRESS_INSTRUCTIONS = 10_000

NOT_A_STORE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# After these the connection cannot be trusted with another commit.
BROKEN = NOT_A_STORE | {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
}
# When a file cannot be opened because of these, it is not the file that is to blame.
NOT_THE_FILE = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_HINTS = {
    sqlite3.SQLITE_READONLY: "make the store's directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "check that the store's directory exists and is writable",
    sqlite3.SQLITE_IOERR: "check the disk: see the system log",
    sqlite3.SQLITE_CORRUPT: "check the disk; damaged files are moved aside, intact rows are kept",
    sqlite3.SQLITE_NOTADB: "check the disk; damaged files are moved aside, intact rows are kept",
    sqlite3.SQLITE_BUSY: "another program holds the store's file; end it",
}


# Device and inode.
Identity = tuple[int, int]


class ForeignFile(Exception):
    """The file is not a store of this program; not raised outside this package."""


def make_directory(directory: Path) -> None:
    """Create a directory that only its owner can access; leave an existing one unchanged."""
    if not directory.is_dir():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Sync new and renamed directory entries to disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_files(path: Path, *, follow: bool = False) -> None:
    """Refuse what stands in the place of a store or of a file beside it; nothing there is well.

    Args:
        path: The store.
        follow: Links are well: it is only read.

    Raises:
        StoreError: It is a link, a pipe, a folder or the like; the text names it.
    """
    for suffix in BESIDE:
        _require_file(f"{path}{suffix}", follow=follow)


def _require_file(path: str, *, follow: bool = False) -> None:
    found = kind(path, follow=follow)
    if found is not None:
        hint = "remove it, and let store.path name the file itself in a folder of the bridge's own"
        raise StoreError(f"{path} is {found}", hint=hint)


def private(path: str) -> int:
    """Open a file that only its owner may read, creating it if need be.

    Raises:
        StoreError: Something else stands there. A link could lead to any file of ours, and the
            lock's would be emptied; SQLite's side files would not lie beside the store either.
        OSError: It cannot be opened.
    """
    _require_file(path)
    handle = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    found, owner = os.fstat(handle), owner_of(Path(path).parent)
    if found.st_mode & 0o077:
        os.fchmod(handle, 0o600)
    if (found.st_uid, found.st_gid) != owner and os.geteuid() == 0:
        os.fchown(handle, *owner)
    return handle


def lock(path: Path) -> int:
    """Lock the store for this process; the handle holds the lock until it is closed.

    Raises:
        StoreLocked: Another process has it.
    """
    handle = private(f"{path}.lock")
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


def identity(path: Path) -> Identity | None:
    """Return device and inode of a name; None when there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def is_empty(path: Path) -> bool:
    """Return whether a file is empty or missing."""
    return not (path.exists() and path.stat().st_size > 0)


def open_file(path: Path, quota: Quota) -> tuple[sqlite3.Connection, int]:
    """Open or create the file, checked, of the newest version, in autocommit mode.

    Returns:
        The connection, and how many frames of the write-ahead log SQLite took.

    Raises:
        ForeignFile: It is damaged, or another program's.
        StoreError: It is of a newer version of this program.
    """
    is_new = not path.exists()
    for suffix in SIDECARS:
        # SQLite makes its side files as readable as the file itself.
        beside = Path(f"{path}{suffix}")
        if not suffix or beside.exists() or beside.is_symlink():
            os.close(private(f"{path}{suffix}"))
    if is_new:
        sync_directory(path.parent)
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        return db, _prepare(db, quota)
    except BaseException:
        db.close()
        raise


def _prepare(db: sqlite3.Connection, quota: Quota) -> int:
    db.text_factory = lenient_text
    db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    # A new file becomes a write-ahead one by way of a rollback journal. Under FULL the power can
    # bring a deleted one back, and SQLite would undo with it what was committed since.
    db.execute("PRAGMA synchronous = EXTRA")
    db.execute("PRAGMA journal_mode = WAL")
    # NORMAL would keep the file sound and lose the last commits when the power goes: 134 of 150
    # simulated power cuts did. A gateway loses power exactly when it has reports to keep.
    db.execute("PRAGMA synchronous = FULL")
    size = page_bytes(db)
    db.execute(f"PRAGMA max_page_count = {quota.max_pages(size)}")
    db.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    db.execute(f"PRAGMA wal_autocheckpoint = {quota.checkpoint_pages(size)}")
    db.execute("PRAGMA trusted_schema = OFF")
    # What is deleted is overwritten where that costs nothing: tags are in it.
    db.execute("PRAGMA secure_delete = FAST")
    _, frames, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    _check(db)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    if tables and _pragma(db, "application_id") != APPLICATION_ID and "report" not in tables:
        raise ForeignFile("another program's file")
    version = int(str(_pragma(db, "user_version")))
    if version > len(MIGRATIONS):
        if _said_version(db, tables) not in (None, version):
            raise ForeignFile("damaged: its version is not what it was")
        raise StoreError(
            f"the store is of version {version}, newer than this program",
            hint="run the newer program again, or move the store away",
        )
    _migrate(db, version)
    return int(frames)


def _check(db: sqlite3.Connection) -> None:
    """Check the database and its indices; a damaged index would allow duplicate rows."""
    with bounded(db, CHECK_TIMEOUT_S):
        if (verdict := _pragma(db, "integrity_check(1)")) != "ok":
            raise ForeignFile(f"damaged: {str(verdict)[:80]}")


def _migrate(db: sqlite3.Connection, version: int) -> None:
    for number, steps in enumerate(MIGRATIONS[version:], start=version + 1):
        with transaction(db):
            for step in steps:
                if isinstance(step, str):
                    db.execute(step)
                else:
                    step(db)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {number}")
            db.execute("INSERT OR REPLACE INTO meta VALUES ('version', ?)", (number,))


def _said_version(db: sqlite3.Connection, tables: set[object]) -> object:
    """Return the version as a row has it: a flipped bit in the head is no newer program."""
    if "meta" not in tables:
        return None
    row = db.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
    return row[0] if row else None


def _pragma(db: sqlite3.Connection, name: str) -> object:
    row = db.execute(f"PRAGMA {name}").fetchone()
    return row[0] if row else None


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[threading.Event]:
    """Provide an event that is set when the time is up."""
    is_late = threading.Event()
    timer = threading.Timer(seconds, is_late.set)
    timer.daemon = True
    timer.start()
    try:
        yield is_late
    finally:
        timer.cancel()


@contextlib.contextmanager
def bounded(db: sqlite3.Connection, seconds: float) -> Iterator[None]:
    """Interrupt SQLite statements of the block after the time, without an error."""
    with time_limit(seconds) as is_late:
        db.set_progress_handler(is_late.is_set, PROGRESS_INSTRUCTIONS)
        try:
            yield
        except sqlite3.OperationalError as exc:
            if primary_code(exc) != sqlite3.SQLITE_INTERRUPT:
                raise
            log.warning("store.check_timed_out", after_s=seconds)
        finally:
            db.set_progress_handler(None, 0)


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


def primary_code(error: BaseException) -> int:
    """Return SQLite's result code without its details; 0 when the error is not SQLite's own."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF


def translated(error: BaseException) -> StoreError:
    """Return the store error for an error of SQLite or the system."""
    match error:
        case StoreError():
            return error
        case sqlite3.Error():
            code = primary_code(error)
            is_full = code == sqlite3.SQLITE_FULL
            kind = StoreFull if is_full else StoreError
            ours = kind(f"store: {error}", hint=HINT if is_full else _HINTS.get(code, ""))
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            ours = StoreFull("the disk is full", hint=HINT)
        case OSError():
            ours = StoreError(
                f"store: {reason(error)}: {error.filename}",
                hint="check that the store's directory exists and is writable for this user",
            )
        case _:
            # Not its text: it may show a value, and a value may be a tag.
            ours = StoreError(f"store: unexpected {type(error).__name__}")
    ours.__cause__ = error
    return ours
