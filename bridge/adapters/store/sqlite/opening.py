"""Opens a store, whatever the state of its file.

Rules:

1. A file that cannot be used is moved aside, never repaired in place, and every row in it that is
   what was written goes into the fresh file. A process that dies meanwhile is no harm: the next one
   finds the file half-way and goes on.
2. Nothing is lost in silence: a file or a log that is gone, a log SQLite took only in part, and
   rows that fail their check are counted and told.
3. What a damaged file says of a command may be older than what happened to it. Unless it has its
   answer it counts as sent: it may have been, and nothing is sent twice.
4. Checks and salvage end after seconds, newest rows first: a bridge has to start.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog
from msgspec.structs import replace

from bridge.adapters.store.sqlite import command_rows, report_rows, text_rows
from bridge.adapters.store.sqlite.damage import Damage
from bridge.adapters.store.sqlite.database_file import (
    CHECK_TIMEOUT_S,
    NOT_THE_FILE,
    ForeignFile,
    bounded,
    is_empty,
    open_file,
    primary_code,
    require_files,
    transaction,
)
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.recovery.quarantine import (
    finish_moving,
    quarantine,
    rotate_quarantine,
    unfinished,
)
from bridge.adapters.store.sqlite.recovery.replaced_file import rewrite_under_name
from bridge.adapters.store.sqlite.recovery.row_recovery import (
    RecoveredRows,
    insert_recovered,
    search,
    search_aside,
)
from bridge.adapters.store.sqlite.recovery.wal_reader import read_log
from bridge.adapters.store.sqlite.salt_file import salt_file
from bridge.core.commands.state_machine import State
from bridge.core.store_status import StoreContents

log = structlog.get_logger()

# What reading a damaged file raises, damaged names among it.
UNREADABLE = (ForeignFile, sqlite3.Error, ValueError, TypeError, OverflowError)
# What a store in use says of itself, in its main file: its log must be there.
IN_USE = "INSERT OR REPLACE INTO meta VALUES ('in_use', ?)"


class Opened(msgspec.Struct, frozen=True):
    """What an open file holds, and what was wrong with it.

    Attributes:
        contents: What it holds; its problems are those of the damage.
        damage: What happened to it.
    """

    contents: StoreContents
    damage: Damage


def open_store(
    path: Path, quota: Quota, *, again: bool = False
) -> tuple[sqlite3.Connection, Opened]:
    """Open or create a store, and say what it holds and what happened to it.

    Args:
        path: The file.
        quota: Its limits.
        again: This process had it open and closed it after an error; that took the log away.

    Raises:
        StoreError: It is a newer program's, or something else stands in the place of a file.
        sqlite3.Error: It cannot be opened now.
        OSError: Likewise.
    """
    require_files(path)
    finish_moving(path)
    try:
        return _open(path, quota, again=again)
    except UNREADABLE as exc:
        if primary_code(exc) in NOT_THE_FILE:
            raise
        quarantine(path, str(exc))
    return _open(path, quota, again=True)


def _open(path: Path, quota: Quota, *, again: bool) -> tuple[sqlite3.Connection, Opened]:
    """Open the file as it is, and take over what an earlier one holds that was set aside."""
    held_log = read_log(path)
    if is_empty(path) and held_log.frames:
        raise ForeignFile("its main file is missing")  # SQLite would delete the log
    aside = unfinished(path)
    is_gone = aside is None and is_empty(path) and salt_file(path).exists()
    db, taken = open_file(path, quota)
    with _closed_if_it_fails(db):
        lost = () if is_gone else held_log.lost(taken)
        is_cut = is_gone or bool(lost) or held_log.committed > taken
        is_cut = is_cut or (not held_log.is_log and not again and _was_in_use(db))
        recovered = search(lost) if aside is None else search_aside(aside, lost)
        is_cut = is_cut or recovered.is_cut_short
        in_doubt = is_cut or aside is not None
        contents, damaged, saved = _take_over(db, quota, recovered, in_doubt=in_doubt)
        moved_to = "" if aside is None else str(rotate_quarantine(path))
    damage = Damage(moved_to, damaged, saved, is_cut)
    if damage.problems:
        log.error(
            "store.damaged",
            moved_to=moved_to,
            salvaged=saved,
            damaged=damaged,
            incomplete=is_cut,
        )
    return db, Opened(replace(contents, problems=damage.problems), damage)


@contextlib.contextmanager
def _closed_if_it_fails(db: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        close_store(db)
        raise


def close_store(db: sqlite3.Connection) -> None:
    """Close; the file says of itself that it needs no log."""
    with contextlib.suppress(sqlite3.Error), transaction(db):
        db.execute(IN_USE, (b"",))
    with contextlib.suppress(sqlite3.Error):
        db.close()


def rewrite(db: sqlite3.Connection, path: Path) -> None:
    """Write a store whose file was deleted or replaced under its name again, and close it.

    Raises:
        sqlite3.Error: It cannot be written; the connection is still open.
        OSError: Likewise.
    """
    rewrite_under_name(db, path)


def read_contents(db: sqlite3.Connection) -> StoreContents:
    """Read what a sound store holds."""
    contents, damaged = _read(db)
    return replace(contents, problems=Damage(damaged=damaged).problems)


def _read(db: sqlite3.Connection) -> tuple[StoreContents, int]:
    """Read what a store holds, and how many rows of it are damaged."""
    owed, damaged = report_rows.read_owed(db)
    commands, damaged_commands = command_rows.read_all(db)
    contents = StoreContents(
        owed,
        commands,
        texts=text_rows.read_all(db),
        has_consumer=report_rows.has_consumer(db),
    )
    return contents, damaged + damaged_commands


def _take_over(
    db: sqlite3.Connection, quota: Quota, recovered: RecoveredRows, *, in_doubt: bool
) -> tuple[StoreContents, int, int]:
    """Insert recovered rows into the open file, and return what it then holds.

    Returns:
        What it holds, how many rows are damaged, and how many were saved.
    """
    saved = insert_recovered(db, quota, recovered)
    if in_doubt:
        _doubt_commands(db)
    _say_in_use(db)
    contents, damaged = _read(db)
    damaged += recovered.damaged
    with bounded(db, CHECK_TIMEOUT_S):
        damaged += report_rows.count_damaged(db)
    return contents, damaged, saved


def _doubt_commands(db: sqlite3.Connection) -> None:
    """Count as sent what may have been."""
    unsure = (State.RECEIVED.value, State.WAITING.value)
    commands, _ = command_rows.read_all(db)
    with transaction(db):
        command_rows.put(
            db,
            (
                replace(one, state=State.SENT.value)
                for one in commands
                if not one.answer and one.state in unsure
            ),
        )


def _was_in_use(db: sqlite3.Connection) -> bool:
    row = db.execute("SELECT value FROM meta WHERE name = 'in_use'").fetchone()
    return bool(row and row[0])


def _say_in_use(db: sqlite3.Connection) -> None:
    """Write the in-use mark into main file and WAL, so that either copy can be missing."""
    # A full disk must not keep pending reports from being published.
    with contextlib.suppress(sqlite3.OperationalError):
        with transaction(db):
            db.execute(IN_USE, (b"1",))
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
