"""A simulated disk, and a store of the gateway's on it.

What is committed survives everything; what is not when the process dies is committed or not, as
chance has it, and nobody was told. There is one commit at a time, in order; what is asked for
meanwhile goes into the next one together, as in the store that is real.
"""

import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from bridge.adapters.easee.token_file import StoredTokens
from bridge.core.events import Event, StoreFailed
from bridge.core.records.command_row import CommandRow
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.core.store_status import StoreContents, StoreUsage, store_opened
from bridge.errors import StoreError, StoreFull
from tests.adapters.store.memory import Rows
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
        components: Documents that components of the core keep, by name.
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
    rows: Rows = field(default_factory=Rows)
    tokens: StoredTokens = field(default_factory=StoredTokens)
    charger_list: tuple[str, ...] = ()
    components: dict[str, Mapping[str, object]] = field(default_factory=dict)
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

    def renewing(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Keep nobody away: there is one process."""
        return contextlib.nullcontext()

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
        return self._disk.rows.contents()

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
            self._emit(store_opened(self._disk.rows.contents(), again=True))

    def _require_room(self) -> None:
        if self._disk.state == "full":
            self._disk.troubles_s.append(self._disk.timeline.now_s)
            raise StoreFull("the disk is full", hint=HINT)

    # -- reports ---------------------------------------------------------------------------------

    async def save(self, report: SessionReport) -> tuple[StoredReport, bool]:
        return await self._commit(lambda: self._save(report))

    def _save(self, report: SessionReport) -> tuple[StoredReport, bool]:
        stored, changed = self._disk.rows.save(report, self._require_room)
        if changed:
            self._disk.accepted(stored)
        return stored, changed

    async def mark_published(self, key: str, revision: int, at: datetime | None = None) -> None:
        await self._commit(lambda: self._disk.rows.mark_published(key, revision, at))

    async def settle(self, reports: tuple[tuple[str, int], ...]) -> None:
        await self._commit(lambda: self._disk.rows.settle(reports))

    async def keep(self, reports: tuple[tuple[str, int], ...]) -> None:
        await self._commit(lambda: self._disk.rows.keep(reports))

    async def keep_text(self, text: UnreadText) -> None:
        await self._commit(lambda: self._disk.rows.keep_text(text))

    async def forget_texts(self, keys: tuple[str, ...]) -> None:
        await self._commit(lambda: self._disk.rows.forget_texts(keys))

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
        return tuple(self._disk.rows.select(since, until, charger_id)[:limit])

    # -- commands --------------------------------------------------------------------------------

    async def save_command(self, row: CommandRow) -> None:
        await self._commit(lambda: self._save_command(row))

    def _save_command(self, row: CommandRow) -> None:
        is_new = row.key not in self._disk.rows.commands
        self._disk.rows.save_command(row, self._require_room)
        if is_new:
            self._disk.written(row)

    # -- upkeep ----------------------------------------------------------------------------------

    async def forget(self, *, settled_before: datetime, commands_before: datetime) -> int:
        return await self._commit(lambda: self._disk.rows.forget(settled_before, commands_before))

    async def usage(self) -> StoreUsage:
        await self._clock.sleep(0.005)
        self._check()
        return self._disk.rows.usage(is_full=self._disk.state == "full")

    async def close(self) -> None:
        await self._clock.sleep(0.01)
