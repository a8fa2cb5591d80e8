"""SQLite store of session reports and commands.

Rules:

1. One worker thread owns the connection; see :mod:`bridge.adapters.store.sqlite.worker`. Longer
   readings have a connection of their own that cannot write, so that no command waits for them.
2. A row carries a hash of its content, checked whenever it is read. A damaged row is reported and
   never handed out.
3. One process per store: a lock file beside it. Only its owner can read it: it contains tags.
4. A file that is no store of ours is moved aside, and whoever opens is told; see
   :mod:`bridge.adapters.store.sqlite.opening`.
5. Pending reports, and commands without a final result, are never deleted.
"""

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar, cast

from bridge.adapters.store.sqlite import command_rows, report_rows, text_rows
from bridge.adapters.store.sqlite.opening import read_contents
from bridge.adapters.store.sqlite.quota import FLOOR_BYTES, MIB, Quota
from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.adapters.store.sqlite.salt_file import keep_salt, read_salt
from bridge.adapters.store.sqlite.worker import FIRST_RETRY_S, Priority, Worker
from bridge.core.events import Event
from bridge.core.records.command_row import CommandRow
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.core.store_status import StoreContents, StoreUsage
from bridge.errors import StoreError

T = TypeVar("T")


def _to_nobody(_event: Event) -> None:
    """Ignore store events (default callback of a store outside the gateway)."""


class SqliteStore:
    """The store behind :class:`bridge.ports.Store`."""

    def __init__(
        self,
        path: Path,
        *,
        max_mib: int,
        emit: Callable[[Event], object] = _to_nobody,
        floor_bytes: int = FLOOR_BYTES,
        first_retry_s: float = FIRST_RETRY_S,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            path: The file; others are put beside it.
            max_mib: Its quota.
            emit: Told when the store fails while in use, and when it is well again.
            floor_bytes: Free space below which nothing new is taken.
            first_retry_s: How soon after a failure it is opened again.
        """
        self._path = path
        self._quota = Quota(path.parent, max_mib * MIB, floor_bytes)
        self._emit = emit
        self._first_retry_s = first_retry_s
        self._worker: Worker | None = None

    async def open(self) -> StoreContents:
        """Open or create the store and return what it holds.

        Raises:
            StoreError: It cannot be opened; ``StoreLocked`` when another process has it.
        """
        if self._worker is not None:
            return await self._ask(read_contents, Priority.UPKEEP)
        worker = Worker(self._path, self._quota, emit=self._emit, first_retry_s=self._first_retry_s)
        self._worker = worker
        try:
            return await worker.start()
        except BaseException:
            self._worker = None
            raise

    async def close(self) -> None:
        """Finish what is queued and close; does nothing when closed."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.end()

    async def tag_hash_key(self) -> bytes:
        """Return 32 random bytes that are this installation's own, made on first use.

        They are also found when the store cannot be opened, if it ever was.

        Raises:
            StoreError: There are none and none could be kept.
        """
        beside = await asyncio.to_thread(read_salt, self._path)
        if beside is not None:
            return beside
        return await self._ask(lambda db: keep_salt(db, self._path))

    # -- reports ------------------------------------------------------------------------------

    async def save(self, report: SessionReport) -> tuple[StoredReport, bool]:
        """Commit a report; return its row and whether its content is new.

        Raises:
            StoreError: It is not committed.
        """
        return await self._ask(
            lambda db: report_rows.save(db, report, lambda: self._quota.require(db))
        )

    async def mark_published(self, key: str, revision: int, at: datetime | None = None) -> None:
        """Record that the broker acknowledged this revision; a newer one stays pending.

        Raises:
            StoreError: It is not noted; the report will go out again.
        """
        await self._ask(lambda db: report_rows.mark_published(db, key, revision, at))

    async def settle(self, reports: tuple[tuple[str, int], ...]) -> None:
        """Mark these reports delivered; a newer revision of one stays pending.

        Args:
            reports: Key and revision of each.

        Raises:
            StoreError: It is not noted; they may go out again.
        """
        await self._ask(lambda db: report_rows.settle(db, reports))

    async def keep(self, reports: tuple[tuple[str, int], ...]) -> None:
        """Mark these reports kept instead of pending: there is no consumer yet.

        Args:
            reports: Key and revision of each; a newer revision stays pending.

        Raises:
            StoreError: It is not noted; they may go out again.
        """
        await self._ask(lambda db: report_rows.keep(db, reports))

    async def keep_text(self, text: UnreadText) -> None:
        """Store the text of a session report that cannot be read.

        Raises:
            StoreError: It is not kept; ``StoreFull`` when there is no room.
        """

        def put(db: sqlite3.Connection) -> None:
            self._quota.require(db)
            text_rows.put(db, (text,))

        await self._ask(put)

    async def forget_texts(self, keys: tuple[str, ...]) -> None:
        """Delete texts that are done with.

        Raises:
            StoreError: They are still there.
        """
        await self._ask(lambda db: text_rows.forget(db, keys))

    async def mark_pending(
        self, *, since: datetime | None = None, charger_id: str | None = None
    ) -> tuple[StoredReport, ...]:
        """Mark stored reports pending again and return them, oldest first.

        Args:
            since: Only sessions that ended then or later.
            charger_id: Only this charger's.

        Raises:
            StoreError: Nothing was changed.
        """
        return await self._ask(lambda db: report_rows.mark_pending(db, since, charger_id))

    async def reports(
        self,
        *,
        charger_id: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> tuple[StoredReport, ...]:
        """Read stored reports, oldest end first, beside the worker.

        Raises:
            StoreError: They cannot be read.
        """
        if self._worker is None:
            raise _not_open()

        def read() -> tuple[StoredReport, ...]:
            reader = SqliteReader(self._path)
            found = reader.reports(since=since, until=until, charger_id=charger_id)
            with contextlib.closing(found):
                return tuple(itertools.islice(found, max(0, limit)))

        return await asyncio.to_thread(read)

    # -- commands -----------------------------------------------------------------------------

    def save_command(self, row: CommandRow) -> Awaitable[None]:
        """Hand a command to the worker, which puts it in the place of the row with its key.

        Raises:
            StoreError: Awaited: it is not committed; ``StoreFull`` when there is no room for a new
                one.
        """
        if self._worker is None:
            refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            refused.set_exception(_not_open())
            return refused
        return self._worker.submit(
            lambda db: command_rows.save(db, row, lambda: self._quota.require(db)),
            Priority.COMMAND,
        )

    # -- upkeep -------------------------------------------------------------------------------

    async def forget(self, *, settled_before: datetime, commands_before: datetime) -> int:
        """Delete what is settled and old, a little at a time; return how many rows that were.

        Raises:
            StoreError: Perhaps not all of it is done.
        """
        forgotten = await self._ask(
            lambda db: command_rows.forget(db, commands_before), Priority.UPKEEP
        )
        while gone := await self._ask(
            lambda db: report_rows.forget(db, settled_before), Priority.UPKEEP
        ):
            forgotten += gone
        return forgotten

    async def usage(self) -> StoreUsage:
        """Return the usage of the store.

        Raises:
            StoreError: It cannot be read.
        """
        return await self._ask(self._quota.usage, Priority.UPKEEP)

    async def _ask(
        self, action: Callable[[sqlite3.Connection], T], priority: Priority = Priority.REPORT
    ) -> T:
        if self._worker is None:
            raise _not_open()
        return cast("T", await self._worker.submit(action, priority))


def _not_open() -> StoreError:
    return StoreError("the store is not open", hint="see why it could not be opened")
