"""``make soak-wear``: what a day of sessions and commands writes to the disk.

Ten chargers with four sessions each: every report is committed, published and settled on its own,
as in life, where they are hours apart. Some commands, each with its four steps. Once an hour the
store is asked how full it is, once a day it forgets. Counted are the bytes SQLite hands to the
operating system, and what the kernel says this process sent to storage.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bridge.adapters.store.sqlite.store import SqliteStore
from tests.soak.disk import watched
from tests.soak.load import LIVES, NOON, command_of, report_of
from tests.soak.script import quiet

DAYS = 10
SESSIONS_A_DAY = 40
COMMANDS_A_DAY = 20
HOURS = 24


@dataclass(frozen=True, slots=True)
class Wear:
    """What one day writes.

    Attributes:
        sqlite_bytes: Handed to the operating system.
        kernel_bytes: Sent to storage by this process; 0 where the folder is in memory.
        syncs: How often a file was synced.
    """

    sqlite_bytes: float
    kernel_bytes: float
    syncs: float


async def measure(folder: Path, days: int = DAYS) -> Wear:
    """Let days pass and count."""
    with watched(folder) as disk:
        store = SqliteStore(folder / "bridge.db", max_mib=64, floor_bytes=0)
        await store.open()
        disk.ops.clear()
        before = _sent_to_storage()
        for day in range(days):
            await _day(store, day)
        sent = _sent_to_storage() - before
        kinds = Counter(op.kind for op in disk.ops)
        written = sum(len(op.data) for op in disk.ops)
        await store.close()
    return Wear(written / days, sent / days, kinds["sync"] / days)


async def _day(store: SqliteStore, day: int) -> None:
    for number in range(day * SESSIONS_A_DAY, (day + 1) * SESSIONS_A_DAY):
        row, _ = await store.save(report_of(number))
        await store.mark_published(row.key, 1, NOON)
        await store.settle(((row.key, 1),))
    for number in range(day * COMMANDS_A_DAY, (day + 1) * COMMANDS_A_DAY):
        for step in range(len(LIVES)):
            await store.save_command(command_of(number, step))
    for _ in range(HOURS):
        await store.usage()
    await store.forget(
        settled_before=NOON - timedelta(days=90), commands_before=NOON + timedelta(days=day - 1)
    )


def _sent_to_storage() -> int:
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["write_bytes"])


def main() -> int:
    """Run from the command line: ``python -m tests.soak.wear``."""
    quiet()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        wear = asyncio.run(measure(Path(folder)))
    sys.stdout.write(
        f"{SESSIONS_A_DAY} sessions and {COMMANDS_A_DAY} commands a day:"
        f" {wear.sqlite_bytes / 1e6:.2f} MB written by SQLite,"
        f" {wear.kernel_bytes / 1e6:.2f} MB sent to storage, {wear.syncs:.0f} syncs a day\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
