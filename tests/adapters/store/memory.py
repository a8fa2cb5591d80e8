"""A store in memory: the rules every store keeps, without a disk.

Tests use it where a store is needed and its files are not the question. What is committed is in
:class:`Rows`, which outlives the store as a file would, and which the simulated disk holds too.
"""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from bridge.core.events import StoreFailed
from bridge.core.records.command_row import CommandRow
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.core.sessions.report_merge import entered
from bridge.core.store_status import StoreContents, StoreSpace, StoreUsage, store_opened
from bridge.errors import StoreError, StoreFull, StoreLocked
from bridge.ports import Emit
from bridge.settings import StoreSettings

T = TypeVar("T")
HINT = "check the disk"
MAX_TEXTS = 500
MAX_FINAL_COMMANDS = 10_000


@dataclass(slots=True)
class Rows:
    """What is committed, and how it changes. Each method is one commit.

    Attributes:
        reports: By key, in the order of their first commit.
        commands: By key.
        texts: By key, oldest first.
        has_consumer: Somebody took a report since the store was made.
        key: For hashes of tags.
    """

    reports: dict[str, StoredReport] = field(default_factory=dict)
    commands: dict[str, CommandRow] = field(default_factory=dict)
    texts: dict[str, UnreadText] = field(default_factory=dict)
    has_consumer: bool = False
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def contents(self) -> StoreContents:
        """Return what a store finds when it is opened."""
        return StoreContents(
            tuple(_oldest_first(one for one in self.reports.values() if not one.settled)),
            tuple(sorted(self.commands.values(), key=lambda row: (row.received_at, row.key))),
            texts=tuple(self.texts.values()),
            has_consumer=self.has_consumer,
        )

    def save(
        self, report: SessionReport, require_room: Callable[[], object]
    ) -> tuple[StoredReport, bool]:
        """Merge a report into its row; return the row and whether its content is new."""
        rows = [one for one in self.reports.values() if _may_be_of(report, one.report)]
        started = [
            one.report.started_at
            for one in self.reports.values()
            if one.report.charger_id == report.charger_id and not one.report.doubtful
        ]
        stored, changed = entered(report, rows, min(started, default=None))
        if changed:
            if stored.key not in self.reports:
                require_room()
            self.reports[stored.key] = stored
        return stored, changed

    def mark_published(self, key: str, revision: int, at: datetime | None) -> None:
        """Note that the broker acknowledged a revision."""
        self.has_consumer = True
        held = self.reports.get(key)
        if held is not None and held.revision == revision and not held.published:
            self.reports[key] = replace(held, published=True, settled=False, published_at=at)

    def settle(self, reports: Iterable[tuple[str, int]]) -> None:
        """Owe these revisions no more."""
        self.has_consumer = True
        for held in self._unsettled(reports):
            self.reports[held.key] = replace(held, settled=True, published=True)

    def keep(self, reports: Iterable[tuple[str, int]]) -> None:
        """Keep these revisions without owing them."""
        for held in self._unsettled(reports):
            self.reports[held.key] = replace(held, settled=True)

    def _unsettled(self, reports: Iterable[tuple[str, int]]) -> Iterator[StoredReport]:
        for key, revision in reports:
            held = self.reports.get(key)
            if held is not None and held.revision == revision and not held.settled:
                yield held

    def mark_pending(
        self, since: datetime | None, charger_id: str | None
    ) -> tuple[StoredReport, ...]:
        """Owe rows again; return them, oldest first."""
        self.has_consumer = True
        owed = tuple(
            replace(one, published=False, settled=False, published_at=None)
            for one in self.select(since, None, charger_id)
        )
        self.reports.update((one.key, one) for one in owed)
        return owed

    def select(
        self, since: datetime | None, until: datetime | None, charger_id: str | None
    ) -> list[StoredReport]:
        """Read rows by when their sessions ended, oldest first."""
        return _oldest_first(
            one
            for one in self.reports.values()
            if charger_id in (None, one.report.charger_id)
            and (since is None or one.report.at >= since)
            and (until is None or one.report.at < until)
        )

    def keep_text(self, text: UnreadText) -> None:
        """Keep a text; beyond the limit the oldest go."""
        self.texts.pop(text.key, None)
        self.texts[text.key] = text
        while len(self.texts) > MAX_TEXTS:
            del self.texts[next(iter(self.texts))]

    def forget_texts(self, keys: Iterable[str]) -> None:
        """Delete texts by key."""
        for key in keys:
            self.texts.pop(key, None)

    def save_command(self, row: CommandRow, require_room: Callable[[], object]) -> None:
        """Write a command in the place of the row with its key."""
        if row.key not in self.commands:
            require_room()
        self.commands[row.key] = row

    def forget(self, settled_before: datetime, commands_before: datetime) -> int:
        """Delete what is settled and old; return how many rows that were."""
        reports = [
            key
            for key, one in self.reports.items()
            if one.settled and _last_heard(one) < settled_before and not self._is_last(one)
        ]
        final = sorted(
            (row for row in self.commands.values() if row.answer),
            key=lambda row: (row.received_at, row.key),
        )
        surplus = len(final) - MAX_FINAL_COMMANDS
        commands = [
            row.key
            for number, row in enumerate(final)
            if number < surplus or row.received_at < commands_before
        ]
        for key in reports:
            del self.reports[key]
        for key in commands:
            del self.commands[key]
        return len(reports) + len(commands)

    def _is_last(self, stored: StoredReport) -> bool:
        """Whether it is a charger's last report, by any of the times it has.

        The cloud tells it again at every connection; without its row it would be a new one.
        """
        own = [
            one.report
            for one in self.reports.values()
            if one.report.charger_id == stored.report.charger_id
        ]
        last = (
            max(reversed(own), key=lambda report: report.ended_at),
            max(reversed(own), key=lambda report: report.measured_at),
            max(reversed(own), key=lambda report: report.at),
        )
        return any(stored.report is one for one in last)

    def usage(self, *, is_full: bool) -> StoreUsage:
        """Say how full it is."""
        kept = sum(one.settled and not one.published for one in self.reports.values())
        return StoreUsage(1.0 if is_full else 0.1, 0 if is_full else 2**30, kept)


def _oldest_first(reports: Iterable[StoredReport]) -> list[StoredReport]:
    return sorted(reports, key=lambda one: (one.report.at, one.key))


def _may_be_of(report: SessionReport, held: SessionReport) -> bool:
    """Whether a row may be of the session of a report."""
    if held.charger_id != report.charger_id:
        return False
    return None in (report.session_id, held.session_id) or held.session_id == report.session_id


def _last_heard(stored: StoredReport) -> datetime:
    """When something was last heard of a report."""
    return max(stored.report.at, stored.report.received_at, stored.published_at or stored.report.at)


@dataclass(slots=True)
class Memory:
    """What a memory store is on, as a file would be.

    Attributes:
        rows: What is committed.
        owner: The store that has it open.
        state: ``ok``, ``fails`` (nothing can be written or read) or ``full`` (no new rows).
    """

    rows: Rows = field(default_factory=Rows)
    owner: "MemoryStore | None" = None
    state: str = "ok"

    def repair(self) -> None:
        """Make it work again; the store that has it open opens itself."""
        self.state = "ok"
        if self.owner is not None:
            self.owner.repaired()


class MemoryStore:
    """Implements :class:`bridge.ports.Store`."""

    def __init__(self, memory: Memory, emit: Emit) -> None:
        self._memory = memory
        self._emit = emit
        self._failing = False

    async def open(self) -> StoreContents:
        if self._memory.owner not in (None, self):
            raise StoreLocked("another store has it open", hint="close it")
        self._require_working()
        self._memory.owner = self
        return self._memory.rows.contents()

    async def close(self) -> None:
        if self._memory.owner is self:
            self._memory.owner = None

    async def tag_hash_key(self) -> bytes:
        return self._memory.rows.key

    def repaired(self) -> None:
        """Say that the store is well again, where it said that it failed."""
        if self._failing:
            self._failing = False
            self._emit(store_opened(self._memory.rows.contents(), again=True))

    def _rows(self) -> Rows:
        if self._memory.owner is not self:
            raise StoreError("the store is not open", hint="open it")
        self._require_working()
        return self._memory.rows

    def _require_working(self) -> None:
        if self._memory.state != "fails":
            return
        if self._memory.owner is self and not self._failing:
            self._failing = True
            self._emit(StoreFailed("the memory failed", HINT))
        raise StoreError("the memory failed", hint=HINT)

    def _require_room(self) -> None:
        if self._memory.state == "full":
            raise StoreFull("the memory is full", hint=HINT)

    async def save(self, report: SessionReport) -> tuple[StoredReport, bool]:
        return self._rows().save(report, self._require_room)

    async def mark_published(self, key: str, revision: int, at: datetime | None = None) -> None:
        self._rows().mark_published(key, revision, at)

    async def settle(self, reports: tuple[tuple[str, int], ...]) -> None:
        self._rows().settle(reports)

    async def keep(self, reports: tuple[tuple[str, int], ...]) -> None:
        self._rows().keep(reports)

    async def keep_text(self, text: UnreadText) -> None:
        rows = self._rows()
        self._require_room()
        rows.keep_text(text)

    async def forget_texts(self, keys: tuple[str, ...]) -> None:
        self._rows().forget_texts(keys)

    async def mark_pending(
        self, *, since: datetime | None = None, charger_id: str | None = None
    ) -> tuple[StoredReport, ...]:
        return self._rows().mark_pending(since, charger_id)

    async def reports(
        self,
        *,
        charger_id: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> tuple[StoredReport, ...]:
        return tuple(self._rows().select(since, until, charger_id)[:limit])

    async def save_command(self, row: CommandRow) -> None:
        self._rows().save_command(row, self._require_room)

    async def forget(self, *, settled_before: datetime, commands_before: datetime) -> int:
        return self._rows().forget(settled_before, commands_before)

    async def usage(self) -> StoreUsage:
        return self._rows().usage(is_full=self._memory.state == "full")


class MemoryReader:
    """Implements :class:`bridge.ports.StoreReader`."""

    def __init__(self, memory: Memory | None) -> None:
        self._memory = memory

    def require(self) -> None:
        self._rows()

    def _rows(self) -> Rows:
        if self._memory is None:
            raise StoreError("there is no store", hint=HINT)
        return self._memory.rows

    def reports(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        charger_id: str | None = None,
    ) -> Iterator[StoredReport]:
        yield from self._rows().select(since, until, charger_id)

    def texts(self) -> tuple[UnreadText, ...]:
        return self._rows().contents().texts

    def decisions(self, most: int) -> tuple[tuple[str, str, str, str], ...]:
        newest = self._rows().contents().commands[::-1][:most]
        return tuple(
            (row.received_at.isoformat(), row.charger_id, row.command, row.state) for row in newest
        )

    def tag_hash_key(self) -> bytes | None:
        return None if self._memory is None else self._memory.rows.key

    def space(self) -> StoreSpace:
        return StoreSpace(len(self._rows().reports), 2**30, 0o600)

    def files(self) -> tuple[Path, ...]:
        return ()

    def obstacle(self) -> str | None:
        return None


class MemoryBackend:
    """Implements :class:`bridge.ports.StoreBackend`: one memory for each ``store.path``."""

    def __init__(self) -> None:
        self.memories: dict[str, Memory] = {}

    def store(self, settings: StoreSettings, emit: Emit) -> MemoryStore:
        return MemoryStore(self.memories.setdefault(settings.path, Memory()), emit)

    def reader(self, settings: StoreSettings) -> MemoryReader:
        return MemoryReader(self.memories.get(settings.path))
