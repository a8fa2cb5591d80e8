"""Session reports in SQLite: committed before anything is said of them.

Rules:

1. One worker thread owns the connection. What is asked for is a job in its queue; what is queued
   when it comes round is committed together, and only then is anybody told.
2. A row carries a hash of its content, checked whenever it is read: SQLite has no checksums, and of
   3,000 flipped bits 881 changed data unnoticed. A damaged row is reported and never handed out.
3. One process per store: a lock file beside it. Nobody but its owner reads it: tags are in it.
4. A file that is no store of ours is moved aside, never deleted, and whoever opens is told.
"""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote

import structlog

from bridge.adapters.store import rows as store_rows
from bridge.adapters.store.file import (
    BUSY_TIMEOUT_S,
    NOT_A_STORE,
    PAGE_BYTES,
    SIDECARS,
    ForeignFile,
    is_orphaned,
    lock,
    make_directory,
    open_file,
    primary_code,
    sync_directory,
    transaction,
    translated,
)
from bridge.core.sessions.ledger import StoredReport
from bridge.core.sessions.reports import SessionReport
from bridge.errors import StoreError

log = structlog.get_logger()

T = TypeVar("T")

# What is committed together must still answer the first of it soon.
MOST_IN_A_GROUP = 100


@dataclass(frozen=True, slots=True)
class _Job:
    """Something to do in the worker, and who waits for it."""

    action: Callable[[sqlite3.Connection], object]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def done(self, result: object) -> None:
        self._tell(self.future.set_result, result)

    def failed(self, error: StoreError) -> None:
        self._tell(self.future.set_exception, error)

    def _tell(self, settle: Callable[[Any], None], outcome: object) -> None:
        def settle_unless_cancelled() -> None:
            if not self.future.done():
                settle(outcome)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(settle_unless_cancelled)


class SqliteStore:
    """The store behind :class:`bridge.ports.Store`.

    Attributes:
        quarantined: Where a file went that could not be used, or None. Set by :meth:`open`.
        damaged: How many rows :meth:`open` found damaged; they stay in the file and are not used.
    """

    def __init__(self, path: Path, *, max_mib: int) -> None:
        self.quarantined: Path | None = None
        self.damaged = 0
        self._path = path
        self._max_pages = max(1, max_mib * 1024 * 1024 // PAGE_BYTES)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_open = False

    # -- what others ask for ------------------------------------------------------------------

    async def open(self) -> tuple[StoredReport, ...]:
        """Open or create the store and return what is still owed, oldest first.

        Raises:
            StoreError: It cannot be opened; ``StoreLocked`` when another process has it.
        """
        if self._is_open:
            return await self._ask(self._owed)
        loop = asyncio.get_running_loop()
        opening = _Job(self._owed, loop, loop.create_future())
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._work, args=(opening, self._jobs), name="store", daemon=True
        )
        self._thread.start()
        try:
            owed = await opening.future
        except BaseException:
            self._thread = None
            self._jobs.put(None)
            raise
        self._is_open = self._thread is not None  # closed while it opened
        return cast("tuple[StoredReport, ...]", owed)

    async def save(self, report: SessionReport) -> tuple[StoredReport, bool]:
        """Commit a report; return its row and whether its content is new.

        Raises:
            StoreError: It is not committed.
        """
        return await self._ask(lambda db: store_rows.save(db, report))

    async def mark_published(self, key: str, revision: int) -> None:
        """Note that the broker acknowledged this revision; a newer one stays owed.

        Raises:
            StoreError: It is not noted; the report will go out again.
        """
        await self._ask(lambda db: store_rows.mark_published(db, key, revision))

    async def mark_owed(
        self, *, since: datetime | None = None, charger_id: str | None = None
    ) -> tuple[StoredReport, ...]:
        """Owe stored reports again and return all that are owed by this, oldest first.

        Args:
            since: Only sessions that ended then or later.
            charger_id: Only this charger's.

        Raises:
            StoreError: Nothing was changed.
        """
        return await self._ask(lambda db: store_rows.mark_owed(db, since, charger_id))

    async def salt(self) -> bytes:
        """Return 32 random bytes that are this installation's own, made on first use.

        Raises:
            StoreError: There are none and none could be kept.
        """
        return await self._ask(store_rows.salt)

    async def close(self) -> None:
        """Finish what is queued and close; does nothing when closed."""
        self._is_open = False
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    async def _ask(self, action: Callable[[sqlite3.Connection], T]) -> T:
        if not self._is_open:
            raise StoreError("the store is not open", hint="see why it could not be opened")
        loop = asyncio.get_running_loop()
        job = _Job(action, loop, loop.create_future())
        self._jobs.put(job)
        return cast("T", await job.future)

    # -- the worker ---------------------------------------------------------------------------

    def _work(self, opening: _Job, jobs: "queue.SimpleQueue[_Job | None]") -> None:
        """Own the connection from the first to the last job. Total: every job gets its answer."""
        try:
            with contextlib.ExitStack() as stack:
                make_directory(self._path.parent)
                stack.callback(os.close, lock(self._path))
                db, owed = self._connect()
                stack.callback(db.close)
                log.info("store.opened", path=str(self._path), owed=len(owed))
                opening.done(owed)
                while batch := _next_batch(jobs):
                    _run(db, [job for job in batch if job is not None])
                    if None in batch:
                        return
        except Exception as exc:  # noqa: BLE001 - the border: the caller gets it as ours
            # Told only now that the lock is free again: the caller may try at once.
            opening.failed(translated(exc))

    def _connect(self) -> tuple[sqlite3.Connection, tuple[StoredReport, ...]]:
        """Open the file and read it; move one aside that is no store, and start a new one."""
        if is_orphaned(self._path):
            self._quarantine("its main file is gone")
        try:
            return self._open()
        except (ForeignFile, sqlite3.DatabaseError) as exc:
            if not isinstance(exc, ForeignFile) and primary_code(exc) not in NOT_A_STORE:
                raise
            self._quarantine(str(exc))
            return self._open()

    def _open(self) -> tuple[sqlite3.Connection, tuple[StoredReport, ...]]:
        db = open_file(self._path, self._max_pages)
        try:
            with transaction(db):
                return db, self._owed(db)
        except BaseException:
            db.close()
            raise

    def _quarantine(self, reason: str) -> None:
        number = 1
        while Path(f"{self._path}.corrupt.{number}").exists():
            number += 1
        aside = f"{self._path}.corrupt.{number}"
        for suffix in SIDECARS:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        sync_directory(self._path.parent)
        self.quarantined = Path(aside)
        log.error("store.quarantined", moved_to=aside, reason=reason)

    def _owed(self, db: sqlite3.Connection) -> tuple[StoredReport, ...]:
        """Read every row, so that damage anywhere is noticed, and return what is owed."""
        intact, self.damaged = store_rows.read_all(db)
        return tuple(stored for stored in intact if not stored.published)


def read_reports(
    path: Path, *, since: datetime | None = None, charger_id: str | None = None
) -> Iterator[StoredReport]:
    """Read stored reports, oldest first, while a bridge may be running.

    Args:
        path: The store's file.
        since: Only sessions that ended then or later.
        charger_id: Only this charger's.

    Raises:
        StoreError: There is no store, or it cannot be read.
    """
    if not path.exists():
        raise StoreError(f"there is no store at {path}", hint="check store.path")
    try:
        uri = f"file:{quote(str(path))}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as db:
            db.text_factory = store_rows.lenient_text
            yield from store_rows.select(db, since, charger_id)
    except sqlite3.Error as exc:
        raise translated(exc) from exc


# -- jobs -------------------------------------------------------------------------------------


def _next_batch(jobs: "queue.SimpleQueue[_Job | None]") -> list[_Job | None]:
    """Wait for a job and take what else is queued, up to the one that ends the worker."""
    batch = [jobs.get()]
    with contextlib.suppress(queue.Empty):
        while batch[-1] is not None and len(batch) < MOST_IN_A_GROUP:
            batch.append(jobs.get_nowait())
    return batch


def _run(db: sqlite3.Connection, jobs: list[_Job]) -> None:
    """Commit jobs together; when that fails each alone, so that one cannot fail the others."""
    if not jobs:
        return
    try:
        with transaction(db):
            results = [job.action(db) for job in jobs]
    except Exception as exc:  # noqa: BLE001 - the border: the caller gets it as ours
        if len(jobs) == 1:
            jobs[0].failed(translated(exc))
            return
        for job in jobs:
            _run(db, [job])
    else:
        for job, result in zip(jobs, results, strict=True):
            job.done(result)
