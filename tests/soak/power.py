"""``make soak-power N=10000``: the power goes N times, and nothing that was told is lost.

Lives of the real store run on a disk that remembers what was written and what was synced. At random
moments of each life the power goes: what was not synced is lost, in part, in any order. The bridge
must open what is left: every row it ever called committed is there, as it was or later, none is
wrong, and nothing had to be moved aside.
"""

import asyncio
import contextlib
import random
import shutil
import sqlite3
import sys
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from bridge.adapters.store.row_format.digest import digest_of
from bridge.adapters.store.row_format.report_columns import DIGEST_PLACE, REPORT_WIDTH_1, to_row
from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.adapters.store.sqlite.salt_file import salt_file
from bridge.adapters.store.sqlite.schema import (
    APPLICATION_ID,
    MIGRATIONS,
    PAGE_SIZES,
)
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.core.records.command_row import CommandRow
from bridge.core.records.stored_report import StoredReport
from tests.soak.disk import Disk, Platter, watched
from tests.soak.load import LIVES, NOON, command_of, corrected, report_of
from tests.soak.script import arguments, memory, progress, quiet, verdict, workshop

CUTS_A_LIFE = 12
# Then another store begins: a new one, or one of the first version.
MAX_ROWS = 400
MAX_MIB = 1
State = StoredReport | CommandRow | None


@dataclass
class History:
    """What became of one key: each state, and after how many writes it was told, if it was."""

    states: list[State] = field(default_factory=list)
    told: list[int | None] = field(default_factory=list)

    def ask(self, state: State) -> int:
        """Note what is about to be asked for."""
        self.states.append(state)
        self.told.append(None)
        return len(self.states) - 1

    def oldest_allowed(self, writes: int) -> int:
        """Say which state must be there at least, -1 when none was told by then."""
        told = [n for n, at in enumerate(self.told) if at is not None and at <= writes]
        return max(told, default=-1)


@dataclass
class Life:
    """One life of a store, and what it told."""

    disk: Disk
    store: SqliteStore
    rng: random.Random
    histories: dict[str, History]
    next_number: int

    async def live(self, steps: int) -> None:
        """Do what a bridge does."""
        for _ in range(steps):
            match self.rng.randrange(10):
                case 0 | 1 | 2:
                    await asyncio.gather(*(self._save() for _ in range(self.rng.randrange(1, 6))))
                case 3:
                    await self._correct()
                case 4 | 5:
                    await self._publish()
                case 6:
                    await self._settle()
                case 7 | 8:
                    await asyncio.gather(self._command(), self._save())
                case _:
                    await self._forget()

    def _number(self) -> int:
        self.next_number += 1
        return self.next_number

    def _held(self, **wanted: bool) -> StoredReport | None:
        held = [
            row
            for history in self.histories.values()
            if isinstance(row := history.states[-1], StoredReport)
            and all(getattr(row, name) == value for name, value in wanted.items())
        ]
        return self.rng.choice(held) if held else None

    def _told(self, history: History, place: int) -> None:
        history.told[place] = len(self.disk.ops)

    async def _save(self) -> None:
        report = report_of(self._number())
        key = f"{report.charger_id}-{report.session_id}"
        history = self.histories.setdefault(key, History())
        place = history.ask(StoredReport(key, 1, report))
        stored, changed = await self.store.save(report)
        if (stored, changed) != (history.states[place], True):
            raise AssertionError(f"{stored} is not what was saved")
        self._told(history, place)

    async def _correct(self) -> None:
        held = self._held()
        if held is None:
            return
        report = corrected(held.report, self.rng)
        history = self.histories[held.key]
        place = history.ask(StoredReport(held.key, held.revision + 1, report))
        stored, _ = await self.store.save(report)
        # What the source did not know is kept from the row before.
        history.states[place] = stored
        self._told(history, place)

    async def _publish(self) -> None:
        held = self._held(published=False)
        if held is not None:
            history = self.histories[held.key]
            place = history.ask(replace(held, published=True, published_at=NOON))
            await self.store.mark_published(held.key, held.revision, NOON)
            self._told(history, place)

    async def _settle(self) -> None:
        held = self._held(published=True, settled=False)
        if held is not None:
            history = self.histories[held.key]
            place = history.ask(replace(held, settled=True))
            await self.store.settle(((held.key, held.revision),))
            self._told(history, place)

    async def _command(self) -> None:
        number = self._number()
        for step in range(self.rng.randrange(1, len(LIVES) + 1)):
            row = command_of(number, step)
            history = self.histories.setdefault(row.key, History())
            place = history.ask(row)
            await self.store.save_command(row)
            self._told(history, place)

    async def _forget(self) -> None:
        before = NOON + timedelta(minutes=7 * self.rng.randrange(1, self.next_number + 2))
        places = []
        last, tied = self._last()
        for key, history in self.histories.items():
            row = history.states[-1]
            if isinstance(row, StoredReport) and row.settled and key not in last:
                newest = max(row.report.ended_at, row.report.received_at, NOON)
                if newest < before:
                    place = history.ask(None)
                    if key not in tied:
                        places.append((history, place))
        await self.store.forget(settled_before=before, commands_before=NOON)
        for history, place in places:
            self._told(history, place)

    def _last(self) -> tuple[set[str], set[str]]:
        """Say what is kept for being its charger's last, and of what one of several is."""
        states = [history.states[-1] for history in self.histories.values()]
        held = [row for row in states if isinstance(row, StoredReport)]
        last: set[str] = set()
        tied: set[str] = set()
        for charger_id in {row.report.charger_id for row in held}:
            own = [row for row in held if row.report.charger_id == charger_id]
            for time_of in (lambda row: row.report.ended_at, lambda row: row.report.measured_at):
                newest = max(map(time_of, own))
                keys = {row.key for row in own if time_of(row) == newest}
                (tied if len(keys) > 1 else last).update(keys)
        return last, tied


async def check(folder: Path, life: Life, writes: int) -> list[str]:
    """Open what is left and compare it with what was told by then."""
    path = folder / "bridge.db"
    store = SqliteStore(path, max_mib=MAX_MIB, floor_bytes=0)
    opened = await store.open()
    try:
        held: dict[str, State] = {row.key: row for row in SqliteReader(path).reports()}
        held |= {row.key: row for row in opened.commands}
    finally:
        await store.close()
    wrong = []
    if opened.problems:
        wrong.append(f"opened with {replace(opened, owed=(), commands=())}")
    for key, history in life.histories.items():
        allowed = history.states[max(0, (at := history.oldest_allowed(writes))) :]
        if at < 0:
            allowed = [None, *allowed]
        row = held.pop(key, None)
        if row not in allowed:
            wrong.append(f"{key} is {row}, and must be one of {allowed}")
    wrong += [f"{key} was never written" for key in held]
    return wrong


async def torment(cuts: int, seed: int, folder: Path) -> tuple[list[str], str]:
    """Cut the power that often; return what was wrong, and a summary."""
    rng = random.Random(seed)
    started_s = time.perf_counter()
    problems: list[str] = []
    done = rows = lives = 0
    here, after = folder / "here", folder / "after"
    here.mkdir()
    content: dict[str, bytes] = {}
    histories: dict[str, History] = {}
    number = 0
    while done < cuts and not problems:
        with watched(here) as disk:
            store = SqliteStore(here / "bridge.db", max_mib=MAX_MIB, floor_bytes=0)
            life = Life(disk, store, rng, histories, number)
            await store.open()
            opened_at = len(disk.ops)
            await life.live(rng.randrange(1, 12))
            if rng.random() < 0.3:
                await store.close()
            ops = list(disk.ops)
        await store.close()
        salt = salt_file(here / "bridge.db").read_bytes()
        lives += 1
        number = life.next_number
        rows += len(histories)
        platter = Platter(content)
        # A few cuts while it opens, most while it lives.
        first = 0 if rng.random() < 0.3 else opened_at
        moments = sorted(rng.randrange(first, len(ops) + 1) for _ in range(CUTS_A_LIFE))
        at = 0
        for moment in moments:
            for op in ops[at:moment]:
                platter.do(op)
            at = moment
            content = platter.cut(rng)
            _lay_out(after, content, salt if moment >= opened_at or lives > 1 else None)
            problems += [
                f"life {lives}, write {moment}: {one}" for one in await check(after, life, moment)
            ]
            done += 1
            progress(done, cuts, len(problems))
        # Life goes on with what the last cut left.
        _lay_out(here, content, salt)
        histories = await _as_found(here)
        content = {p.name: p.read_bytes() for p in here.iterdir() if _is_of_sqlite(p)}
        if len(histories) > MAX_ROWS:
            histories, content = {}, {}
            if rng.random() < 0.5:
                histories, content = first_version(folder / "old", number)
            _lay_out(here, content, None)
            lives = 0 if not problems else lives
    seconds = time.perf_counter() - started_s
    return problems, (
        f"{done} power cuts (seed {seed}), {rows} rows at stake, {len(problems)} problems,"
        f" in {seconds:.0f} s"
    )


def first_version(folder: Path, number: int) -> tuple[dict[str, History], dict[str, bytes]]:
    """Make a store as the first version left it; return what is told of it, and its bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / "bridge.db"
    histories: dict[str, History] = {}
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {max(PAGE_SIZES)}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN")
        for step in MIGRATIONS[0]:
            db.execute(str(step))
        for session in range(-number - 40, -number):
            row = StoredReport(f"old{session}", 1, report_of(session), published=session % 2 == 0)
            columns = to_row(row)[:DIGEST_PLACE]
            marks = ", ".join("?" * REPORT_WIDTH_1)
            db.execute(f"INSERT INTO report VALUES ({marks})", (*columns, digest_of(columns)))
            history = histories[row.key] = History()
            history.ask(replace(row, settled=row.published))
            history.told = [0]
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.execute("COMMIT")
    return histories, {"bridge.db": path.read_bytes()}


def _is_of_sqlite(path: Path) -> bool:
    return path.name in ("bridge.db", "bridge.db-wal")


def _lay_out(folder: Path, content: dict[str, bytes], salt: bytes | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, data in content.items():
        if not name.endswith("-shm"):
            (folder / name).write_bytes(data)
    if salt is not None:
        salt_file(folder / "bridge.db").write_bytes(salt)


async def _as_found(folder: Path) -> dict[str, History]:
    """Begin the next life's histories with what is there."""
    path = folder / "bridge.db"
    store = SqliteStore(path, max_mib=MAX_MIB, floor_bytes=0)
    opened = await store.open()
    found: dict[str, History] = {}
    for row in (*SqliteReader(path).reports(), *opened.commands):
        history = found.setdefault(row.key, History())
        history.told = [0 for _ in (history.ask(row),)]
    await store.close()
    return found


def main() -> int:
    """Run from the command line: ``python -m tests.soak.power N [SEED]``."""
    cuts, seed = arguments()
    quiet()
    with workshop(memory()) as folder:
        problems, summary = asyncio.run(torment(cuts, seed, folder))
    return verdict(problems, summary)


if __name__ == "__main__":
    sys.exit(main())
