"""Recovers rows from damaged files and inserts them into a new one."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from bridge.adapters.store.row_format import command_columns, report_columns, text_columns
from bridge.adapters.store.row_format.command_columns import COMMAND_WIDTH
from bridge.adapters.store.row_format.digest import Row
from bridge.adapters.store.row_format.text_columns import TEXT_WIDTH
from bridge.adapters.store.sqlite import command_rows, report_rows, text_rows
from bridge.adapters.store.sqlite.database_file import primary_code, time_limit, transaction
from bridge.adapters.store.sqlite.quota import CROWDED_SHARE, Quota
from bridge.adapters.store.sqlite.recovery.page_reader import read_rows_from_page
from bridge.adapters.store.sqlite.recovery.wal_reader import Frame, read_log
from bridge.adapters.store.sqlite.schema import PAGE_SIZES
from bridge.core.records.command_row import CommandRow
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText

log = structlog.get_logger()

# What a database begins with, and where it states the size of its pages.
MAGIC = b"SQLite format 3\0"
SIZE_AT = 16
RECOVERY_TIMEOUT_S = 2.0
# Pending reports are worth waiting for, but a bridge starts within 5 s whatever is in the file.
PENDING_RECOVERY_TIMEOUT_S = 2.0


class RecoveredRows(msgspec.Struct):
    """Intact rows, the newest state of each key, and the keys of damaged ones.

    Attributes:
        is_cut_short: There was no time to search for all pending reports.
    """

    reports: dict[str, StoredReport] = msgspec.field(default_factory=dict)
    commands: dict[str, CommandRow] = msgspec.field(default_factory=dict)
    texts: dict[str, UnreadText] = msgspec.field(default_factory=dict)
    broken: set[object] = msgspec.field(default_factory=set)
    is_cut_short: bool = False

    @property
    def damaged(self) -> int:
        """Return how many keys were found only damaged."""
        return len(self.broken - self.reports.keys() - self.commands.keys())

    def add_all(self, rows: Iterable[Row]) -> None:
        """Add rows as they were found."""
        for row in rows:
            self.add(row)

    def add(self, row: Row) -> None:
        """Add a row as it was found; newest pages come first."""
        if len(row) == TEXT_WIDTH:
            text = text_columns.from_row(row)
            if text is not None:
                self.texts[text.key] = text
            return
        if len(row) == COMMAND_WIDTH:
            command = command_columns.from_row(row)
            if command is None:
                self.broken.add(row[0])
                return
            there = self.commands.get(command.key)
            if there is None or (command.answer and not there.answer):
                self.commands[command.key] = command
            return
        report = report_columns.from_row(row)
        if report is None:
            self.broken.add(row[0])
        elif report.key not in self.reports or report_columns.is_newer(
            report, self.reports[report.key]
        ):
            self.reports[report.key] = report


def search(frames: tuple[Frame, ...]) -> RecoveredRows:
    """Return the rows found in frames of a log."""
    return _search(frames, -1)


def search_aside(aside: Path, frames: tuple[Frame, ...]) -> RecoveredRows:
    """Return the rows found in a quarantined file, its log, and frames of another log."""
    frames = (*read_log(aside).frames, *frames)
    try:
        handle = os.open(aside, os.O_RDONLY)
    except FileNotFoundError:
        return search(frames)
    try:
        return _search(frames, handle)
    finally:
        os.close(handle)


def _search(frames: tuple[Frame, ...], handle: int) -> RecoveredRows:
    """Search frames of a log and, unless its handle is negative, a file."""
    recovered = RecoveredRows()
    searched = [
        _Pages(size, tuple(frame for frame in frames if len(frame.page) == size), handle)
        for size in _page_sizes(frames, handle)
    ]
    recovered.is_cut_short = not _look(
        recovered, searched, PENDING_RECOVERY_TIMEOUT_S, settled=False
    )
    if not recovered.is_cut_short:
        _look(recovered, searched, RECOVERY_TIMEOUT_S, settled=True)
    return recovered


def _page_sizes(frames: tuple[Frame, ...], handle: int) -> Iterable[int]:
    """Return the page sizes that log and file state; all of ours when a file states none."""
    sizes = {len(frame.page) for frame in frames}
    if handle < 0:
        return sizes
    head = os.pread(handle, SIZE_AT + 2, 0)
    if head.startswith(MAGIC):
        sizes.add(int.from_bytes(head[SIZE_AT:], "big"))
    return sizes.intersection(PAGE_SIZES) or PAGE_SIZES


@dataclass(slots=True)
class _Pages:
    """Frames of a log and pages of a file, all of one size."""

    size: int
    frames: tuple[Frame, ...]
    handle: int
    _newest: dict[int, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._newest = {frame.number: frame.page for frame in self.frames}

    def images(self) -> Iterator[bytes]:
        """Yield the pages, newest first."""
        yield from (frame.page for frame in reversed(self.frames))
        count = 0 if self.handle < 0 else os.fstat(self.handle).st_size // self.size
        yield from map(self.page_of, range(count, 0, -1))

    def page_of(self, number: int) -> bytes:
        """Return the newest page of a number; empty when there is none."""
        if (page := self._newest.get(number)) is not None:
            return page
        with contextlib.suppress(OSError, OverflowError):
            return os.pread(self.handle, self.size, (number - 1) * self.size)
        return b""


def _look(
    recovered: RecoveredRows, searched: Iterable[_Pages], within_s: float, *, settled: bool
) -> bool:
    """Search pages within the time limit; return whether all were searched."""
    with time_limit(within_s) as is_late:
        for pages in searched:
            for image in pages.images():
                if is_late.is_set():
                    log.warning("store.recovery_timed_out", after_s=within_s, settled=settled)
                    return False
                recovered.add_all(read_rows_from_page(image, pages.page_of, settled=settled))
    return True


def insert_recovered(db: sqlite3.Connection, quota: Quota, recovered: RecoveredRows) -> int:
    """Write what was found and is not there; return how many rows that are."""
    with transaction(db):
        reports = [one for one in recovered.reports.values() if _is_news(db, one)]
        owed = [one for one in reports if not one.settled]
        held_commands = {one.key: one for one in command_rows.read_all(db)[0]}
        commands = [
            one
            for one in recovered.commands.values()
            if one.key not in held_commands or not held_commands[one.key].answer
        ]
        report_rows.put(db, owed)
        command_rows.put(db, commands)
        text_rows.put(db, recovered.texts.values())
    settled = sorted(
        (one for one in reports if one.settled), key=lambda one: one.report.received_at
    )
    count = len(owed) + len(commands)
    with time_limit(RECOVERY_TIMEOUT_S) as is_late:
        while settled and not is_late.is_set() and quota.used_share(db) < CROWDED_SHARE:
            newest, settled = (
                settled[-report_rows.MAX_BATCH :],
                settled[: -report_rows.MAX_BATCH],
            )
            if not _fits(db, newest):
                break
            count += len(newest)
    return count


def _fits(db: sqlite3.Connection, reports: list[StoredReport]) -> bool:
    """Write history; return whether there was room for it."""
    try:
        with transaction(db):
            report_rows.put(db, reports)
    except sqlite3.OperationalError as error:
        if primary_code(error) != sqlite3.SQLITE_FULL:
            raise
        return False
    return True


def _is_news(db: sqlite3.Connection, found: StoredReport) -> bool:
    there = report_rows.find(db, found.key)
    return there is None or report_columns.is_newer(found, there)
