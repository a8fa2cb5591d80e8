"""A simulated disk, and a store of the gateway's on it.

What is committed survives everything; what is not when the process dies is committed or not, as
chance has it, and nobody was told. There is one commit at a time, in order; what is asked for
meanwhile goes into the next one together, as in the store that is real.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from bridge.adapters.easee.token_file import StoredTokens
from bridge.core.events import Event, StoreFailed
from bridge.core.records.command_row import CommandRow
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.core.sessions.report_merge import entered
from bridge.core.store_status import StoreContents, StoreUsage, store_opened
from bridge.errors import StoreError, StoreFull
from tests.simulation.engine import SimulatedClock, Timeline

T = TypeVar("T")
HINT = "check the disk"
# What a commit takes: an SSD, a good card, a card that tidies up.
USUAL_S = (0.002, 0.002, 0.02, 0.3)
# The program takes a longer one for failed.
TOO_LONG_S = 4.5


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit: all of what is in it comes to be on the disk at once.

    Attributes:
        begin_s: When it begins; until then more may join it.
        written_s: When it is on the disk.
        done_s: When the disk says so.
    """

    begin_s: float = 0.0
    written_s: float = 0.0
    done_s: float = 0.0


@dataclass(slots=True)
class Disk:
    """What is written down, and how the disk is.

    Attributes:
        state: ``ok``, ``fails`` (nothing can be written or read) or ``full`` (no new rows).
        slow_s: What every commit takes longer.
        hangs_until_s: No commit that begins before is done before.
        troubles_s: When it failed, was full or took too long, so that somebody was told so.
        commits: How many changes were committed.
        last: The commit that what is asked for now goes into, or behind.
        accepted: Told of every report that is committed, before anybody else is.
        at_commit: Done once, in the middle of the next commit.
        written: Told of every command that is committed for the first time.
    """

    timeline: Timeline
    rng: random.Random
    reports: dict[str, StoredReport] = field(default_factory=dict)
    commands: dict[str, CommandRow] = field(default_factory=dict)
    texts: dict[str, UnreadText] = field(default_factory=dict)
    has_consumer: bool = False
    tokens: StoredTokens = field(default_factory=StoredTokens)
    charger_list: tuple[str, ...] = ()
    left: Mapping[str, datetime] = field(default_factory=dict)
    state: str = "ok"
    slow_s: float = 0.0
    hangs_until_s: float = 0.0
    troubles_s: list[float] = field(default_factory=list)
    commits: int = 0
    last: Commit = Commit()
    accepted: Callable[[StoredReport], None] = lambda _stored: None
    at_commit: Callable[[], object] | None = None
    written: Callable[[CommandRow], None] = lambda _row: None

    def held(self) -> StoreContents:
        """Return what a store finds when it is opened."""
        owed = sorted(
            (one for one in self.reports.values() if not one.settled),
            key=lambda one: one.report.at,
        )
        return StoreContents(
            tuple(owed),
            tuple(self.commands.values()),
            texts=tuple(self.texts.values()),
            has_consumer=self.has_consumer,
        )

    def turn(self) -> Commit:
        """Find the commit for what is asked for now: the next one, or one that begins at once."""
        now_s = self.timeline.now_s
        if now_s >= self.last.begin_s:
            begin_s = max(self.last.done_s, now_s)
            takes_s = self.slow_s + self.rng.choice(USUAL_S)
            takes_s += max(0.0, self.hangs_until_s - begin_s)
            share = self.rng.random()
            self.last = Commit(begin_s, begin_s + takes_s * share, begin_s + takes_s)
        return self.last

    def load(self) -> StoredTokens:
        """Read the token file."""
        return self.tokens

    def save(self, tokens: StoredTokens) -> None:
        """Replace the token file."""
        if self.state == "ok":
            self.tokens = tokens


class SimulatedStore:
    """Implements :class:`bridge.ports.Store` for one process."""

    def __init__(self, disk: Disk, clock: SimulatedClock, emit: Callable[[Event], None]) -> None:
        self._disk = disk
        self._clock = clock
        self._emit = emit
        self._failing = False
        self._is_open = False
        self.dead = False

    async def open(self) -> StoreContents:
        if self._disk.state == "fails":
            self._disk.troubles_s.append(self._disk.timeline.now_s)
            raise StoreError("the disk cannot be read", hint=HINT)
        self._is_open = True
        return self._disk.held()

    async def _commit(self, change: Callable[[], T]) -> T:
        """Wait for the disk's turn, change what is on it, and wait until it says so."""
        disk = self._disk
        commit, asked_s = disk.turn(), disk.timeline.now_s
        if commit.done_s - asked_s > TOO_LONG_S:
            disk.troubles_s.append(asked_s)
        if disk.at_commit is not None:
            act, disk.at_commit = disk.at_commit, None
            disk.timeline.later(disk.rng.random() * (commit.done_s - asked_s), act)
        await self._clock.sleep(commit.written_s - asked_s)
        self._check()
        result = change()
        disk.commits += 1
        await self._clock.sleep(commit.done_s - disk.timeline.now_s)
        return result

    def _check(self) -> None:
        disk = self._disk
        if not self._is_open:
            disk.troubles_s.append(disk.timeline.now_s)
            raise StoreError("the store is not open", hint=HINT)
        if disk.state != "fails":
            return
        disk.troubles_s.append(disk.timeline.now_s)
        if not self._failing:
            self._failing = True
            self._emit(StoreFailed("the disk failed", HINT))
        raise StoreError("the disk failed", hint=HINT)

    def mended(self) -> None:
        """Take note that the disk works again: the store opens itself."""
        if self._failing and not self.dead:
            self._failing = False
            self._emit(store_opened(self._disk.held(), again=True))

    def _require_room(self) -> None:
        if self._disk.state == "full":
            self._disk.troubles_s.append(self._disk.timeline.now_s)
            raise StoreFull("the disk is full", hint=HINT)

    # -- reports ---------------------------------------------------------------------------------

    async def save(self, report: SessionReport) -> tuple[StoredReport, bool]:
        return await self._commit(lambda: self._save(report))

    def _save(self, report: SessionReport) -> tuple[StoredReport, bool]:
        reports = self._disk.reports
        alike = [
            one
            for one in reports.values()
            if one.report.charger_id == report.charger_id
            and report.session_id in (one.report.session_id, None)
        ]
        stored, changed = entered(report, alike)
        if changed:
            if stored.revision == 1:
                self._require_room()
            reports[stored.key] = stored
            self._disk.accepted(stored)
        return stored, changed

    async def mark_published(self, key: str, revision: int, at: datetime | None = None) -> None:
        await self._commit(lambda: self._mark(key, revision, at))

    def _mark(self, key: str, revision: int, at: datetime | None) -> None:
        self._disk.has_consumer = True
        held = self._disk.reports[key]
        if held.revision == revision and not held.published:
            self._disk.reports[key] = replace(held, published=True, settled=False, published_at=at)

    async def settle(self, reports: tuple[tuple[str, int], ...]) -> None:
        await self._commit(lambda: self._settle(reports))

    def _settle(self, reports: tuple[tuple[str, int], ...]) -> None:
        self._disk.has_consumer = True
        for key, revision in reports:
            held = self._disk.reports.get(key)
            if held is not None and held.revision == revision:
                self._disk.reports[key] = replace(held, settled=True, published=True)

    async def keep(self, reports: tuple[tuple[str, int], ...]) -> None:
        await self._commit(lambda: self._keep(reports))

    def _keep(self, reports: tuple[tuple[str, int], ...]) -> None:
        for key, revision in reports:
            held = self._disk.reports.get(key)
            if held is not None and held.revision == revision:
                self._disk.reports[key] = replace(held, settled=True)

    async def keep_text(self, text: UnreadText) -> None:
        await self._commit(lambda: self._disk.texts.update({text.key: text}))

    async def forget_texts(self, keys: tuple[str, ...]) -> None:
        await self._commit(lambda: [self._disk.texts.pop(key, None) for key in keys])

    async def reports(
        self,
        *,
        charger_id: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> tuple[StoredReport, ...]:
        await self._clock.sleep(0.005)
        self._check()
        found = sorted(
            (
                one
                for one in self._disk.reports.values()
                if (charger_id is None or one.report.charger_id == charger_id)
                and (since is None or one.report.at >= since)
                and (until is None or one.report.at < until)
            ),
            key=lambda one: one.report.at,
        )
        return tuple(found[:limit])

    # -- commands --------------------------------------------------------------------------------

    async def save_command(self, row: CommandRow) -> None:
        await self._commit(lambda: self._save_command(row))

    def _save_command(self, row: CommandRow) -> None:
        if row.key not in self._disk.commands:
            self._require_room()
            self._disk.written(row)
        self._disk.commands[row.key] = row

    # -- upkeep ----------------------------------------------------------------------------------

    async def forget(self, *, settled_before: datetime, commands_before: datetime) -> int:
        return await self._commit(lambda: self._forget(settled_before, commands_before))

    def _forget(self, settled_before: datetime, commands_before: datetime) -> int:
        disk = self._disk
        reports = [
            key
            for key, one in disk.reports.items()
            if one.settled and one.report.at < settled_before
        ]
        commands = [
            key
            for key, row in disk.commands.items()
            if row.answer and row.received_at < commands_before
        ]
        for key in reports:
            del disk.reports[key]
        for key in commands:
            del disk.commands[key]
        return len(reports) + len(commands)

    async def usage(self) -> StoreUsage:
        await self._clock.sleep(0.005)
        self._check()
        is_full = self._disk.state == "full"
        return StoreUsage(1.0 if is_full else 0.1, 0 if is_full else 2**30)

    async def close(self) -> None:
        await self._clock.sleep(0.01)
