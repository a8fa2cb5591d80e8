"""``make soak-faults N=200``: each n-th write and sync fails, for want of room or of a disk.

For each n the same life of a store runs once with the n-th write, and everything for a while after
it, answered "disk full", and once with the n-th sync answered "I/O error". What was told is there
afterwards, what failed was said to have failed, and the store is well again by itself.
"""

import asyncio
import contextlib
import shutil
import sys
import time
from pathlib import Path

from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.core.events import Event, StoreFailed, StoreOpened
from bridge.errors import StoreError
from tests.soak.disk import SQLITE_FULL, SQLITE_IOERR_FSYNC, SQLITE_IOERR_WRITE, Disk, watched
from tests.soak.load import command_of, report_of
from tests.soak.script import arguments, memory, progress, quiet, verdict, workshop

MAX_MIB = 1
STEPS = 25
RECOVERY_TIMEOUT_S = 10.0
# What fails, with which of SQLite's errors, and how often in a row.
FAULTS = (
    ("write", SQLITE_FULL, 1),
    ("write", SQLITE_FULL, 8),
    ("write", SQLITE_IOERR_WRITE, 1),
    ("sync", SQLITE_IOERR_FSYNC, 1),
    ("sync", SQLITE_IOERR_FSYNC, 5),
)


class Fault:
    """Fails the n-th call of a kind, and some after it."""

    def __init__(self, kind: str, code: int, first: int, times: int) -> None:
        self.kind, self.code, self.first, self.times = kind, code, first, times
        self.calls = self.hits = 0

    def __call__(self, kind: str) -> int:
        """Say what SQLite is told: an error code, or 0 to go on."""
        if kind != self.kind:
            return 0
        self.calls += 1
        if self.first <= self.calls < self.first + self.times:
            self.hits += 1
            return self.code
        return 0


async def live(disk: Disk, path: Path, fault: Fault) -> list[str]:
    """Let a store live through a fault; return what is wrong afterwards."""
    events: list[Event] = []
    store = SqliteStore(
        path, max_mib=MAX_MIB, floor_bytes=0, emit=events.append, first_retry_s=0.005
    )
    reports: dict[str, object] = {}
    commands: dict[str, object] = {}
    disk.fault = fault
    while True:
        try:
            await store.open()
            break
        except StoreError:
            await asyncio.sleep(0)
    for number in range(STEPS):
        with contextlib.suppress(StoreError):
            stored, _ = await store.save(report_of(number))
            reports[stored.key] = stored
            await store.mark_published(stored.key, 1)
        with contextlib.suppress(StoreError):
            row = command_of(number, number % 4)
            await store.save_command(row)
            commands[row.key] = row
        if any(isinstance(event, StoreFailed) for event in events):
            await _recovered(events)
    disk.fault = lambda _kind: 0
    fresh = await _fresh(store)
    await store.close()
    opened = await store.open()
    held = {row.key for row in SqliteReader(path).reports()}
    known = {row.key: row for row in opened.commands}
    await store.close()
    wrong = [f"{key} was told and is gone" for key in {*reports, fresh} - held]
    wrong += [f"{k} was told, and is another" for k, row in commands.items() if known.get(k) != row]
    if opened.problems:
        wrong.append(f"opened with {opened.problems}")
    return wrong


async def _recovered(events: list[Event]) -> None:
    """Wait until the store says that it is well again."""
    async with asyncio.timeout(RECOVERY_TIMEOUT_S):
        while not isinstance(events[-1], StoreOpened):  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.002)
    events.clear()


async def _fresh(store: SqliteStore) -> str:
    """Save something after the fault, once the store is well again."""
    async with asyncio.timeout(RECOVERY_TIMEOUT_S):
        while True:
            try:
                stored, _ = await store.save(report_of(777))
            except StoreError:
                await asyncio.sleep(0.002)
            else:
                return stored.key


async def torment(count: int, folder: Path, *, step: int = 1) -> tuple[list[str], str]:
    """Fail the first ``count`` writes and syncs, each in a life of its own.

    Args:
        count: How many.
        folder: Where.
        step: Only every so manieth.
    """
    started_s = time.perf_counter()
    problems: list[str] = []
    lives = hits = 0
    for kind, code, times in FAULTS:
        for first in range(1, count + 1, step):
            here = folder / "here"
            shutil.rmtree(here, ignore_errors=True)
            here.mkdir()
            fault = Fault(kind, code, first, times)
            with watched(here) as disk:
                try:
                    wrong = await live(disk, here / "bridge.db", fault)
                except Exception as exc:  # noqa: BLE001 - whatever it is, it was not survived
                    wrong = [f"not survived: {exc!r}"]
            lives += 1
            hits += fault.hits
            problems += [f"{kind} {first} with {code} x {times}: {one}" for one in wrong]
            if not fault.hits:
                break  # the life is shorter than that
        progress(FAULTS.index((kind, code, times)) + 1, len(FAULTS), len(problems))
    return problems, (
        f"{lives} lives, {hits} failed writes and syncs; {len(problems)} problems,"
        f" in {time.perf_counter() - started_s:.0f} s"
    )


def main() -> int:
    """Run from the command line: ``python -m tests.soak.faults N``."""
    count, _ = arguments()
    quiet()
    with workshop(memory()) as folder:
        problems, summary = asyncio.run(torment(count, folder))
    return verdict(problems, summary)


if __name__ == "__main__":
    sys.exit(main())
