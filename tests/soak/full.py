"""``make soak-full``: a filesystem of 2 MiB is filled by somebody else, and freed again.

Runs in a mount namespace of its own, where the permission to make one is given. While the disk is
full nothing new is taken and that is said; what was told stays; once there is room the store takes
reports again by itself, in the same process.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.core.events import Event, StoreFailed, StoreOpened
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.errors import StoreError
from tests.soak.load import report_of
from tests.soak.script import quiet, verdict

SIZE_MIB = 2
ROUNDS = 5
FLOOR_BYTES = 64 * 1024
RECOVERY_TIMEOUT_S = 30.0
REPORT_TIMEOUT_S = 5.0


def is_permitted() -> bool:
    """Say whether this user may mount something where nobody else sees it."""
    return (
        subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode == 0
        if shutil.which("unshare")
        else False
    )


def command(folder: Path) -> list[str]:
    """Return the command line that runs this module on a small filesystem of its own."""
    script = f'mount -t tmpfs -o size={SIZE_MIB}m tmpfs "$1" && exec "$2" -m tests.soak.full "$1"'
    return ["unshare", "-m", "sh", "-c", script, "sh", str(folder), sys.executable]


def fill(file: Path) -> None:
    """Take all the room there is."""
    with contextlib.suppress(OSError), file.open("ab", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)
    with contextlib.suppress(OSError), file.open("ab", buffering=0) as stream:
        while True:
            stream.write(b"x")


@dataclass
class Run:
    """A store on a small disk, and what was found out."""

    store: SqliteStore
    folder: Path
    told: set[str]
    number: int
    events: list[Event] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    refused: int = 0
    slowest_s: float = 0.0

    async def round(self) -> None:
        """Write, fill the disk, be refused, free it, and wait until all is well."""
        for _ in range(20):
            self.told.add((await self.store.save(self._next()))[0].key)
        fill(self.folder / "others")
        if not await self._within(REPORT_TIMEOUT_S, self._is_said):
            self.problems.append("the disk is full, and nobody said so")
        if self.told - {row.key for row in await _owed(self.store, self.folder / "bridge.db")}:
            self.problems.append("what was told cannot be read while the disk is full")
        (self.folder / "others").unlink()
        freed_s = time.perf_counter()
        if not await self._within(RECOVERY_TIMEOUT_S, self._is_well):
            self.problems.append("there is room again, and nothing is taken")
        self.slowest_s = max(self.slowest_s, time.perf_counter() - freed_s)
        self.events.clear()

    def _next(self) -> SessionReport:
        self.number += 1
        return report_of(self.number)

    async def _is_said(self) -> bool:
        """Try to save something more; say whether the store has said that it cannot."""
        try:
            self.told.add((await self.store.save(self._next()))[0].key)
        except StoreError:
            self.refused += 1
        return any(isinstance(event, StoreFailed) for event in self.events)

    async def _is_well(self) -> bool:
        return isinstance(self.events[-1], StoreOpened)

    async def _within(self, seconds: float, condition: Callable[[], Awaitable[bool]]) -> bool:
        until_s = time.perf_counter() + seconds
        while not await condition():
            if time.perf_counter() > until_s:
                return False
            await asyncio.sleep(0.002)
        return True


async def torment(folder: Path) -> tuple[list[str], str]:
    """Fill and free the disk, with and without the store's own floor above it."""
    started_s = time.perf_counter()
    path = folder / "bridge.db"
    told: set[str] = set()
    problems: list[str] = []
    refused, slowest_s, number = 0, 0.0, 0
    for floor_bytes in (FLOOR_BYTES, 0):
        events: list[Event] = []
        store = SqliteStore(
            path, max_mib=1, floor_bytes=floor_bytes, emit=events.append, first_retry_s=0.2
        )
        await store.open()
        run = Run(store, folder, told, number, events)
        for _ in range(ROUNDS):
            await run.round()
        await store.close()
        problems += run.problems
        number, refused = run.number, refused + run.refused
        slowest_s = max(slowest_s, run.slowest_s)
    opened = await store.open()
    await store.close()
    problems += [
        f"{key} was told and is gone"
        for key in told - {r.key for r in SqliteReader(path).reports()}
    ]
    if opened.problems:
        problems.append("the store is damaged")
    return problems, (
        f"{2 * ROUNDS} times full and freed: {len(told)} reports told, {refused} refused,"
        f" recovered within {slowest_s:.1f} s, {len(problems)} problems,"
        f" in {time.perf_counter() - started_s:.0f} s"
    )


async def _owed(store: SqliteStore, path: Path) -> tuple[StoredReport, ...]:
    """Read what is owed; a store that had to close is read from its file."""
    try:
        return (await store.open()).owed
    except StoreError:
        return tuple(SqliteReader(path).reports())


def main() -> int:
    """Run from the command line: ``python -m tests.soak.full [FOLDER]``."""
    if sys.argv[1:]:
        quiet()
        problems, summary = asyncio.run(torment(Path(sys.argv[1])))
        return verdict(problems, summary)
    if not is_permitted():
        sys.stdout.write("not permitted to mount here\n")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(command(Path(folder)), check=False, env=os.environ).returncode


if __name__ == "__main__":
    sys.exit(main())
