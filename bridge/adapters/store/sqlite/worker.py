"""Worker thread that owns the SQLite connection: group commits and reopening.

Rules:

1. What is asked for is a job in a queue; what is queued when the worker comes round is committed
   together, and only then are callers answered. Commands come first, housekeeping last.
2. After an error that leaves the connection in doubt it is closed, and everything asked for fails
   at once. The worker opens it again by itself, waiting longer each time.
3. Without room nothing new is taken. The worker tries by itself whether there is room again.
4. The listener is notified once of a problem and once of its end.
5. What is committed is under the store's name: a file that was deleted or replaced meanwhile is
   written anew; see :mod:`bridge.adapters.store.sqlite.recovery.replaced_file`.
"""

import asyncio
import contextlib
import enum
import itertools
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from bridge.adapters.store.sqlite import report_rows
from bridge.adapters.store.sqlite.database_file import (
    BROKEN,
    Identity,
    identity,
    lock,
    make_directory,
    primary_code,
    transaction,
    translated,
)
from bridge.adapters.store.sqlite.opening import (
    Opened,
    close_store,
    open_store,
    read_contents,
    rewrite,
)
from bridge.adapters.store.sqlite.quota import CROWDED_SHARE, Quota
from bridge.adapters.store.sqlite.salt_file import keep_salt
from bridge.core.backoff import exponential_delay_s
from bridge.core.events import Event, StoreFailed
from bridge.core.store_status import StoreContents, store_opened
from bridge.errors import StoreError, StoreFull

log = structlog.get_logger()

# What is committed together must still answer the first of it soon: a command may wait behind it.
MAX_GROUP_SIZE = 50
FIRST_RETRY_S = 1.0
MAX_RETRY_S = 15.0
# Whether history must go is looked at when nothing was asked for so long, or after so many groups:
# right behind a commit the loop goes on with what waited for it, and needs the interpreter.
QUIET_S = 0.05
GROUPS_BETWEEN_CHECKS = 50

Action = Callable[[sqlite3.Connection], object]


class Priority(enum.IntEnum):
    """Who is served first."""

    COMMAND = 0
    REPORT = 1
    UPKEEP = 2
    END = 3


class Job(msgspec.Struct, frozen=True):
    """Something to do in the worker, and who waits for it."""

    action: Action
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def done(self, result: object) -> None:
        """Deliver the result to the caller, on its loop."""
        if not self.future.done():  # cancelled
            self.future.set_result(result)

    def failed(self, error: StoreError) -> None:
        """Deliver the error to the caller, from the worker."""

        def fail() -> None:
            if not self.future.done():
                self.future.set_exception(error)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(fail)


def deliver(results: list[tuple[Job, object]]) -> None:
    """Deliver the results of a group to their callers, from the worker: the loop wakes up once."""

    def settle() -> None:
        for job, result in results:
            job.done(result)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        results[0][0].loop.call_soon_threadsafe(settle)


class _Signal(enum.Enum):
    MEND = enum.auto()
    END = enum.auto()


class Jobs(msgspec.Struct):
    """What waits for the worker, most urgent first, then in order of arrival."""

    _queue: "queue.PriorityQueue[tuple[Priority, int, Job | _Signal]]" = msgspec.field(
        default_factory=queue.PriorityQueue
    )
    _numbers: "itertools.count[int]" = msgspec.field(default_factory=itertools.count)

    def put(self, job: Job | _Signal, priority: Priority) -> None:
        """Queue a job."""
        self._queue.put((priority, next(self._numbers), job))

    def next_batch(self, within_s: float | None) -> list[Job | _Signal]:
        """Wait for a job and return it with the queued ones, up to the end of a group.

        Args:
            within_s: How long to wait; nothing is returned when none came.
        """
        try:
            batch = [self._queue.get(timeout=within_s)[2]]
        except queue.Empty:
            return []
        with contextlib.suppress(queue.Empty):
            while len(batch) < MAX_GROUP_SIZE and isinstance(batch[-1], Job):
                batch.append(self._queue.get_nowait()[2])
        return batch


class Worker:
    """One thread and what it holds, from opening to closing."""

    def __init__(
        self,
        path: Path,
        quota: Quota,
        *,
        emit: Callable[[Event], object],
        first_retry_s: float,
    ) -> None:
        """Prepare; :meth:`start` starts it.

        Args:
            path: The store's file.
            quota: Its limits.
            emit: Told when something is wrong and when it is over; called on the loop.
            first_retry_s: How soon it tries to mend itself; then less and less often.
        """
        self._path = path
        self._quota = quota
        self._emit = emit
        self._first_retry_s = first_retry_s
        self._failures = 0
        self._jobs = Jobs()
        self._db: sqlite3.Connection | None = None
        self._file: Identity | None = None
        self._trouble: StoreError | None = None
        self._reopened: StoreContents | None = None
        self._unlooked = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> StoreContents:
        """Open the store in a thread of its own.

        Raises:
            StoreError: It cannot be opened; the thread has ended.
        """
        self._loop = asyncio.get_running_loop()
        opening = Job(read_contents, self._loop, self._loop.create_future())
        self._thread = threading.Thread(
            target=self._work, args=(opening,), name="store", daemon=True
        )
        self._thread.start()
        try:
            opened: StoreContents = await opening.future
        except BaseException:
            self._jobs.put(_Signal.END, Priority.END)
            raise
        return opened

    def submit(self, action: Action, priority: Priority) -> asyncio.Future[Any]:
        """Have an action run in the worker and committed; the future fails with ``StoreError``."""
        loop = asyncio.get_running_loop()
        job = Job(action, loop, loop.create_future())
        self._jobs.put(job, priority)
        return job.future

    async def end(self) -> None:
        """Finish what is queued and close."""
        self._jobs.put(_Signal.END, Priority.END)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    # -- in the thread ------------------------------------------------------------------------

    def _work(self, opening: Job) -> None:
        """Own the connection from the first to the last job. Total: every job gets its answer."""
        try:
            with contextlib.ExitStack() as stack:
                make_directory(self._path.parent)
                stack.callback(os.close, lock(self._path))
                opened = self._open().contents
                stack.callback(self._close)
                log.info("store.opened", path=str(self._path), owed=len(opened.owed))
                deliver([(opening, opened)])
                self._serve()
        except Exception as exc:  # noqa: BLE001 - the border: the caller gets it as ours
            # Told only now that the lock is free again: the caller may try at once.
            opening.failed(translated(exc))

    def _open(self, *, again: bool = False) -> Opened:
        self._db, opened = open_store(self._path, self._quota, again=again)
        self._file = identity(self._path)
        with contextlib.suppress(sqlite3.OperationalError), transaction(self._db):
            keep_salt(self._db, self._path)
        return opened

    def _close(self) -> None:
        self._is_in_place()  # the last moment at which a file that lost its name can be saved
        db, self._db = self._db, None
        if db is not None:
            close_store(db)

    def _serve(self) -> None:
        while True:
            batch = self._jobs.next_batch(QUIET_S if self._unlooked else None)
            if not batch or self._unlooked >= GROUPS_BETWEEN_CHECKS:
                self._unlooked = 0
                self._make_room()
            self._run([job for job in batch if isinstance(job, Job)])
            if _Signal.END in batch:
                return
            if _Signal.MEND in batch:
                self._mend()

    def _run(self, jobs: list[Job]) -> None:
        """Commit jobs together; when that fails each alone, so that one cannot fail the others."""
        if self._db is None:
            for job in jobs:
                job.failed(self._trouble or StoreError("the store is closed"))
            return
        if not jobs:
            return
        if not self._is_in_place():
            for job in jobs:
                job.failed(self._trouble or StoreError("the store's file is missing"))
            return
        try:
            with transaction(self._db):
                results = [(job, job.action(self._db)) for job in jobs]
        except Exception as exc:  # noqa: BLE001 - the border: the caller gets it as ours
            self._failed(jobs, exc)
        else:
            deliver(results)
            self._unlooked += 1

    def _is_in_place(self) -> bool:
        """Ensure that the committed rows are found under the store's name."""
        db = self._db
        try:
            if db is None or identity(self._path) == self._file:
                return db is not None
            rewrite(db, self._path)
            self._db = None
            opened = self._open(again=True)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the next attempt may succeed
            self._in_trouble(translated(exc))
            return False
        contents = opened.contents
        saved = len(contents.owed) + len(contents.commands)
        damage = replace(opened.damage, recovered=saved, is_incomplete=True)
        self._tell(store_opened(replace(contents, problems=damage.problems), again=True))
        return True

    def _failed(self, jobs: list[Job], exc: Exception) -> None:
        error = translated(exc)
        if primary_code(exc) in BROKEN:
            self._close_in_doubt()
            self._in_trouble(error)
            for job in jobs:
                job.failed(error)
        elif len(jobs) > 1 or (isinstance(error, StoreFull) and self._make_room()):
            for job in jobs:
                self._run([job])
        else:
            if isinstance(error, StoreFull):
                self._in_trouble(error)
            jobs[0].failed(error)

    def _make_room(self) -> bool:
        """Delete delivered reports when the store is crowded; return whether any were deleted."""
        if self._db is None:
            return False
        try:
            if self._quota.used_share(self._db) < CROWDED_SHARE:
                return False
            with transaction(self._db):
                gone = report_rows.delete_oldest_settled(self._db)
        except sqlite3.Error:
            return False  # whoever writes next is told
        if gone:
            log.warning("store.history_dropped", reports=gone)
        return gone > 0

    # -- mending ------------------------------------------------------------------------------

    def _close_in_doubt(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()

    def _in_trouble(self, error: StoreError) -> None:
        if self._trouble is None:
            self._failures = 0
            self._tell(StoreFailed(str(error), error.hint))
            log.error("store.failed", error=str(error), hint=error.hint)
            self._mend_later()
        self._trouble = error

    def _mend(self) -> None:
        """Reopen the store if necessary; on success emit that it works, with its pending rows."""
        try:
            if self._db is None:
                self._reopened = self._open(again=True).contents
            opened = self._probed()
        except Exception as exc:  # noqa: BLE001 - whatever it is, the next attempt may succeed
            if primary_code(exc) in BROKEN:
                self._close_in_doubt()
            self._trouble = translated(exc)
            self._mend_later()
        else:
            self._trouble = None
            log.info("store.recovered", owed=len(opened.owed))
            self._tell(store_opened(opened, again=True))

    def _probed(self) -> StoreContents:
        """Write a little; return what the store holds, and what opening it again brought to light.

        Raises:
            StoreError: Nothing can be written, or there is no room.
        """
        if not self._is_in_place() or self._db is None:
            raise self._trouble or StoreError("the store is closed")
        self._quota.require(self._db)
        with transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('probe', x'')")
        opened, reopened = read_contents(self._db), self._reopened
        self._reopened = None
        return opened if reopened is None else replace(reopened, owed=opened.owed)

    def _mend_later(self) -> None:
        self._failures += 1
        wait_s = exponential_delay_s(
            self._failures, first_s=self._first_retry_s, longest_s=MAX_RETRY_S
        )
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(
                    lambda: loop.call_later(wait_s, self._jobs.put, _Signal.MEND, Priority.COMMAND)
                )

    def _tell(self, event: Event) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._emit, event)
