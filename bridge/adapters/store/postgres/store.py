"""PostgreSQL store of the reports and commands of one partition.

Rules:

1. Every write is one statement behind the fence; see :mod:`bridge.adapters.store.postgres.fence`.
2. Commands have a connection of their own, so that none waits for a report or for upkeep. Commands
   and acknowledged reports that come while a commit is under way are committed together by the next
   one.
3. A row carries a hash of its content, checked whenever it is read. A damaged row is reported and
   never handed out.
4. After an error that leaves the database in doubt everything asked for fails at once. The store
   tries again by itself, waiting longer each time, and says once when it begins and when it ends.
5. Pending reports, and commands without a final result, are never deleted.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog
from msgspec.structs import replace

from bridge.adapters.store.postgres import command_rows, fence, report_rows, text_rows
from bridge.adapters.store.postgres.connection import Connection, is_outage
from bridge.adapters.store.postgres.quota import Quota
from bridge.adapters.store.postgres.tag_hash_key import tag_hash_key
from bridge.adapters.store.row_format.digest import damaged_rows
from bridge.core.backoff import exponential_delay_s
from bridge.core.events import Event, StoreFailed
from bridge.core.records.command_row import CommandRow
from bridge.core.records.lease import Lease
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.core.store_status import StoreContents, StoreUsage, store_opened
from bridge.errors import LeaseLost, StoreError, StoreFull
from bridge.settings import StoreSettings

log = structlog.get_logger()

FIRST_RETRY_S: Final = 0.5
# After an outage of the database all is well within ten seconds of its return.
MAX_RETRY_S: Final = 5.0
# What is committed together must still answer the first of it soon.
MAX_GROUP_SIZE: Final = 50
# Before any revision was acknowledged.
NEVER: Final[tuple[int, datetime | None]] = (-1, None)
# How far the number of kept commands may be exceeded before it is checked.
SLACK: Final = 256

_EPOCH: Final = "SELECT epoch FROM lease WHERE partition = $1"
_PROBE: Final = fence.fenced(
    "INSERT INTO flag SELECT partition, 'probe' FROM fence"
    " ON CONFLICT (partition, name) DO UPDATE SET name = excluded.name"
)


class PostgresStore:
    """Implements :class:`bridge.ports.Store` for one partition.

    Args:
        settings: Where the database is.
        lease: Of the partition; writes are fenced by its epoch.
        max_bytes: Its quota.
        emit: Takes ``StoreFailed`` and ``StoreOpened`` while it is in use.
        first_retry_s: How soon after a failure it is tried again.
    """

    def __init__(
        self,
        settings: StoreSettings,
        lease: Lease,
        *,
        max_bytes: int,
        emit: Callable[[Event], object],
        first_retry_s: float = FIRST_RETRY_S,
    ) -> None:
        self._lease = lease
        self._emit = emit
        self._first_retry_s = first_retry_s
        self._commands = Connection(settings)
        self._reports = Connection(settings)
        self._quota = Quota(lease.partition, max_bytes)
        self._is_open = False
        self._command_turn = asyncio.Lock()
        self._report_turn = asyncio.Lock()
        self._group = _Group()
        self._marks = _Marks()
        self._unpruned = 0
        self._has_consumer = False
        self._tag_hash_key: bytes | None = None
        self._lost: LeaseLost | None = None
        self._outage: StoreError | None = None
        self._mending: asyncio.Task[None] | None = None

    async def open(self) -> StoreContents:
        """Read what the partition holds.

        Raises:
            LeaseLost: Another worker has taken the partition over.
            StoreError: The database cannot be used.
        """
        async with self._command_turn, self._report_turn:
            contents = await self._contents()
        self._is_open = True
        log.info("store.opened", partition=self._lease.partition, owed=len(contents.owed))
        return contents

    async def close(self) -> None:
        """Finish what is under way and close; does nothing when closed."""
        self._is_open = False
        mending, self._mending = self._mending, None
        if mending is not None:
            mending.cancel()
            await asyncio.wait({mending})
        async with self._command_turn, self._report_turn:
            await self._commands.close()
            await self._reports.close()

    async def tag_hash_key(self) -> bytes:
        """Return 32 random bytes that are this installation's own, made on first use.

        Raises:
            StoreError: There are none and none could be kept.
        """
        if self._tag_hash_key is None:
            async with self._turn(self._report_turn):
                self._tag_hash_key = await tag_hash_key(self._reports)
        return self._tag_hash_key

    # -- reports ------------------------------------------------------------------------------

    async def save(self, report: SessionReport) -> tuple[StoredReport, bool]:
        """Commit a report; return its row and whether its content is new.

        Raises:
            StoreError: It is not committed.
        """
        async with self._turn(self._report_turn):
            stored, changed = await report_rows.save(self._reports, self._lease, report)
            if changed and stored.revision == 1:
                await self._require_room()
            if changed:
                await report_rows.put(self._reports, self._lease, (stored,))
                self._quota.added(report.auth)
        return stored, changed

    async def mark_published(self, key: str, revision: int, at: datetime | None = None) -> None:
        """Record that the broker acknowledged this revision; a newer or kept one stays pending.

        Raises:
            StoreError: It is not noted; the report will go out again.
        """
        marks = self._marks
        marks.published[key] = max((revision, at), marks.published.get(key, NEVER), key=_revision)
        async with self._turn(self._report_turn):
            if marks is self._marks:
                self._marks = _Marks()
            if not marks.is_done:
                try:
                    await self._note_published(marks.published)
                except StoreError as error:
                    marks.is_done, marks.error = True, error
                    raise
                marks.is_done = True
            elif marks.error is not None:
                raise marks.error

    async def _note_published(self, published: Mapping[str, tuple[int, datetime | None]]) -> None:
        """Record what the broker acknowledged while another statement was under way."""
        await self._note_consumer()
        pairs = [(key, revision) for key, (revision, _) in published.items()]
        found = await report_rows.find(self._reports, self._lease, pairs)
        await self._put(
            [
                replace(row, published=True, settled=False, published_at=published[row.key][1])
                for row in found
                if not row.published
            ]
        )

    async def settle(self, reports: tuple[tuple[str, int], ...]) -> None:
        """Mark these reports delivered; a newer revision of one stays pending.

        Raises:
            StoreError: It is not noted; they may go out again.
        """
        async with self._turn(self._report_turn):
            await self._note_consumer()
            found = await report_rows.find(self._reports, self._lease, reports)
            await self._put(
                [replace(row, settled=True, published=True) for row in found if not row.settled]
            )

    async def keep(self, reports: tuple[tuple[str, int], ...]) -> None:
        """Mark these reports kept instead of pending: there is no consumer yet.

        Raises:
            StoreError: It is not noted; they may go out again.
        """
        async with self._turn(self._report_turn):
            found = await report_rows.find(self._reports, self._lease, reports)
            await self._put([replace(row, settled=True) for row in found if not row.settled])

    async def keep_text(self, text: UnreadText) -> None:
        """Store the text of a session report that cannot be read.

        Raises:
            StoreError: It is not kept; ``StoreFull`` when there is no room.
        """
        async with self._turn(self._report_turn):
            await self._require_room()
            await text_rows.put(self._reports, self._lease, text)
            self._quota.added(text.text)

    async def forget_texts(self, keys: tuple[str, ...]) -> None:
        """Delete texts that are done with.

        Raises:
            StoreError: They are still there.
        """
        async with self._turn(self._report_turn):
            await text_rows.forget(self._reports, self._lease, keys)

    async def mark_pending(
        self, *, since: datetime | None = None, charger_id: str | None = None
    ) -> tuple[StoredReport, ...]:
        """Mark stored reports pending again and return them, oldest first.

        Raises:
            StoreError: Some may be pending already.
        """
        async with self._turn(self._report_turn):
            await self._note_consumer()
            owed: list[StoredReport] = []
            async for page in self._pages(since=since, charger_id=charger_id):
                pending = [
                    replace(row, published=False, settled=False, published_at=None) for row in page
                ]
                await self._put(pending)
                owed += pending
        return tuple(owed)

    async def reports(
        self,
        *,
        charger_id: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> tuple[StoredReport, ...]:
        """Read stored reports, oldest end first.

        Raises:
            StoreError: They cannot be read.
        """
        found: list[StoredReport] = []
        async with self._turn(self._report_turn):
            pages = self._pages(since=since, until=until, charger_id=charger_id)
            async with contextlib.aclosing(pages):
                async for page in pages:
                    found += page
                    if len(found) >= limit:
                        break
        return tuple(found[: max(0, limit)])

    # -- commands -----------------------------------------------------------------------------

    async def save_command(self, row: CommandRow) -> None:
        """Commit a command, in the place of the row with its key.

        Raises:
            StoreError: It is not committed; ``StoreFull`` when there is no room for a new one.
        """
        if len(self._group.rows) >= MAX_GROUP_SIZE:
            self._group = _Group()
        group = self._group
        group.rows.append(row)
        try:
            async with self._turn(self._command_turn):
                await asyncio.sleep(0)  # for those that came with it
                if group is self._group:
                    self._group = _Group()
                if not group.is_done:
                    await self._commit(group)
        except BaseException:
            # Nobody may commit later what its caller was told is not committed.
            group.rows = [each for each in group.rows if each is not row]
            raise
        if group.error is not None and (group.refused is None or row.key in group.refused):
            raise group.error

    async def _commit(self, group: "_Group") -> None:
        """Commit the commands of a group together."""
        try:
            rows = await self._with_room(group)
            if rows:
                await command_rows.put(self._commands, self._lease, rows)
        except StoreError as error:
            group.is_done, group.error = True, error
            raise
        group.is_done = True
        self._unpruned += len(rows)
        if self._unpruned >= SLACK:
            self._unpruned = 0
            await command_rows.prune(self._commands, self._lease)

    async def _with_room(self, group: "_Group") -> list[CommandRow]:
        """Return the commands that may be written; without room only those that are held."""
        if not self._quota.is_count_due:
            for row in group.rows:
                self._quota.added(row.body, row.answer)
            return group.rows
        await self._quota.count(self._commands)
        held = await command_rows.held(self._commands, self._lease, (row.key for row in group.rows))
        try:
            self._quota.require()
        except StoreFull as error:
            group.refused = {row.key for row in group.rows} - held
            if group.refused:
                group.error = error
                self._in_trouble(error)
            return [row for row in group.rows if row.key in held]
        return group.rows

    # -- upkeep -------------------------------------------------------------------------------

    async def forget(self, *, settled_before: datetime, commands_before: datetime) -> int:
        """Delete what is settled and old, a little at a time; return how many rows that were.

        Raises:
            StoreError: Perhaps not all of it is done.
        """
        async with self._turn(self._command_turn):
            forgotten = await command_rows.forget(self._commands, self._lease, commands_before)
        while True:
            async with self._turn(self._report_turn):
                gone = await report_rows.forget(self._reports, self._lease, settled_before)
            if not gone:
                return forgotten
            forgotten += gone

    async def usage(self) -> StoreUsage:
        """Return the usage of the partition's share; ``free_bytes`` is what is left of it.

        Raises:
            StoreError: It cannot be read.
        """
        async with self._turn(self._report_turn):
            await self._quota.count(self._reports)
            await self._make_room()
            kept = await report_rows.kept(self._reports, self._lease)
        return StoreUsage(self._quota.used_share, self._quota.free_bytes, kept)

    # -- inside a turn ------------------------------------------------------------------------

    async def _contents(self) -> StoreContents:
        """Read what the partition holds.

        Raises:
            LeaseLost: Another worker has taken the partition over.
        """
        db, lease = self._reports, self._lease
        found = await self._commands.fetch(_EPOCH, lease.partition)
        if [row["epoch"] for row in found] != [lease.epoch]:
            raise fence.lost(lease)
        await self._quota.count(db)
        self._has_consumer = await report_rows.has_consumer(db, lease)
        owed, damaged = await report_rows.read_owed(db, lease)
        commands, damaged_commands = await command_rows.read_all(self._commands, lease)
        damaged += damaged_commands
        return StoreContents(
            owed,
            commands,
            (damaged_rows(damaged),) if damaged else (),
            await text_rows.read_all(db, lease.partition),
            self._has_consumer,
        )

    async def _pages(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        charger_id: str | None = None,
    ) -> AsyncGenerator[list[StoredReport], None]:
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            page, after = await report_rows.select(
                self._reports,
                self._lease.partition,
                since=since,
                until=until,
                charger_id=charger_id,
                after=after,
                limit=report_rows.MAX_BATCH,
            )
            yield page

    async def _put(self, reports: Sequence[StoredReport]) -> None:
        await report_rows.put(self._reports, self._lease, reports)

    async def _note_consumer(self) -> None:
        if not self._has_consumer:
            await report_rows.note_consumer(self._reports, self._lease)
            self._has_consumer = True

    async def _require_room(self) -> None:
        if self._quota.is_count_due:
            await self._quota.count(self._reports)
            await self._make_room()
        self._quota.require()

    async def _make_room(self) -> None:
        """Delete delivered reports when the store is crowded."""
        if not self._quota.is_crowded:
            return
        gone = await report_rows.delete_oldest_settled(self._reports, self._lease)
        if gone:
            log.warning("store.history_dropped", reports=gone)
            await self._quota.count(self._reports)

    # -- failure and mending ------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _turn(self, turn: asyncio.Lock) -> AsyncIterator[None]:
        """Wait for a turn, and note a failure within it.

        Raises:
            StoreError: The store is closed, fenced out, or waits for the database.
        """
        async with turn:
            if not self._is_open:
                raise StoreError("the store is not open", hint="see why it could not be opened")
            if self._lost is not None or self._outage is not None:
                raise self._lost or self._outage or StoreError("the store has failed")
            try:
                yield
            except LeaseLost as error:
                self._lost = error
                raise
            except StoreError as error:
                if isinstance(error, StoreFull) or is_outage(error):
                    self._in_trouble(error)
                raise

    def _in_trouble(self, error: StoreError) -> None:
        if not isinstance(error, StoreFull):
            self._outage = error
        if self._mending is not None:
            return
        log.error("store.failed", error=str(error), hint=error.hint)
        self._emit(StoreFailed(str(error), error.hint))
        self._mending = asyncio.create_task(self._mend(), name="store-mending")  # noqa: TID251 - held here until it is done; it never fails, and a group would end with the store's caller

    async def _mend(self) -> None:
        """Try until the database takes a write again and there is room; say so."""
        for failures in itertools.count(1):
            await asyncio.sleep(
                exponential_delay_s(failures, first_s=self._first_retry_s, longest_s=MAX_RETRY_S)
            )
            try:
                contents = await self._probed()
            except LeaseLost as error:
                self._lost = error
                return
            except StoreError as error:
                if not isinstance(error, StoreFull):
                    self._outage = error
            else:
                self._mending = self._outage = None
                log.info("store.recovered", owed=len(contents.owed))
                self._emit(store_opened(contents, again=True))
                return

    async def _probed(self) -> StoreContents:
        """Write a little; return what the partition holds.

        Raises:
            StoreError: Nothing can be written, or there is no room.
        """
        async with self._command_turn, self._report_turn:
            await fence.write(self._commands, self._lease, _PROBE)
            await self._quota.count(self._reports)
            await self._make_room()
            self._quota.require()
            return await self._contents()


@dataclass(slots=True)
class _Group:
    """Commands that are committed together.

    Attributes:
        rows: In the order they came.
        is_done: It was tried.
        error: Why they are not committed.
        refused: Keys the error is about; None for all.
    """

    rows: list[CommandRow] = field(default_factory=list)
    is_done: bool = False
    error: StoreError | None = None
    refused: set[str] | None = None


@dataclass(slots=True)
class _Marks:
    """Reports that the broker acknowledged, which are marked together.

    Attributes:
        published: Newest acknowledged revision by key, and when it was acknowledged.
        is_done: It was tried.
        error: Why they are not marked.
    """

    published: dict[str, tuple[int, datetime | None]] = field(default_factory=dict)
    is_done: bool = False
    error: StoreError | None = None


def _revision(mark: tuple[int, datetime | None]) -> int:
    return mark[0]
