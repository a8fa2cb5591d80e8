"""What the contract needs to know of a store: how to make it, to fill, break and kill it."""

import asyncio
import contextlib
import itertools
import shutil
from pathlib import Path
from typing import Protocol

from bridge.adapters.clock import SystemClock
from bridge.adapters.store.postgres.leases import PostgresLeases
from bridge.adapters.store.postgres.reader import PostgresReader
from bridge.adapters.store.postgres.store import PostgresStore
from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.core.records.lease import Lease
from bridge.core.store_status import StoreContents
from bridge.ports import Emit, Store, StoreReader
from bridge.settings import ClusterSettings, StoreSettings
from tests.adapters.store.memory import Memory, MemoryReader, MemoryStore
from tests.postgres import shared_server

_WORKERS = itertools.count()


class Bench(Protocol):
    """One place where a store is, empty at first."""

    def store(self, emit: Emit, *, full: bool = False) -> Store:
        """Make a store of what is committed there.

        Args:
            emit: Takes what it says while it is in use.
            full: There is no room for new rows.
        """
        ...

    def reader(self) -> StoreReader:
        """Make a reader of it."""
        ...

    def kill(self) -> None:
        """Go on with what is committed now; the process that has it open dies."""
        ...

    def break_(self) -> None:
        """Make it fail."""
        ...

    def repair(self) -> None:
        """Make it work again."""
        ...


class SqliteBench:
    """A file in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lives = 1

    @property
    def _path(self) -> Path:
        return self._folder / str(self._lives) / "bridge.db"

    def store(self, emit: Emit, *, full: bool = False) -> SqliteStore:
        floor_bytes = 2**62 if full else 0
        return SqliteStore(
            self._path, max_mib=4, emit=emit, floor_bytes=floor_bytes, first_retry_s=0.01
        )

    def reader(self) -> SqliteReader:
        return SqliteReader(self._path)

    def kill(self) -> None:
        """Copy the files as they are: what the kernel has is what a dead process leaves."""
        left = self._path
        self._lives += 1
        self._path.parent.mkdir(mode=0o700)
        for suffix in ("", "-wal", ".salt"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(f"{left}{suffix}", f"{self._path}{suffix}")

    def break_(self) -> None:
        self._path.parent.rename(f"{self._path.parent}.away")

    def repair(self) -> None:
        Path(f"{self._path.parent}.away").rename(self._path.parent)


class MemoryBench:
    """Rows of this process."""

    def __init__(self, _folder: Path) -> None:
        self._memory: Memory | None = None

    def store(self, emit: Emit, *, full: bool = False) -> MemoryStore:
        self._memory = self._memory or Memory()
        self._memory.state = "full" if full else "ok"
        return MemoryStore(self._memory, emit)

    def reader(self) -> MemoryReader:
        return MemoryReader(self._memory)

    def kill(self) -> None:
        assert self._memory is not None
        self._memory = Memory(self._memory.rows)

    def break_(self) -> None:
        assert self._memory is not None
        self._memory.state = "fails"

    def repair(self) -> None:
        assert self._memory is not None
        self._memory.repair()


class PostgresBench:
    """A schema of the server of this process, with one partition and a lease for each store."""

    def __init__(self, _folder: Path) -> None:
        self._server = shared_server()
        self._server.reset()

    def store(self, emit: Emit, *, full: bool = False) -> "LeasedStore":
        return LeasedStore(self._server.settings, emit, max_bytes=0 if full else 4 * 2**20)

    def reader(self) -> PostgresReader:
        return PostgresReader(self._server.settings)

    def kill(self) -> None:
        """Let the lease of the dead process end at once, whoever has it."""
        self._server.sql("UPDATE lease SET until = clock_timestamp() - interval '1 hour'")

    def break_(self) -> None:
        self._server.shut()

    def repair(self) -> None:
        self._server.open_()


class LeasedStore(PostgresStore):
    """A store that takes its lease when it is opened, as a worker does.

    Where there is none to take it is opened with an epoch that was never given.
    """

    def __init__(self, settings: StoreSettings, emit: Emit, *, max_bytes: int) -> None:
        name = f"worker-{next(_WORKERS)}"
        self._leases = PostgresLeases(
            settings, ClusterSettings(worker=name, lease_ttl_s=60), SystemClock()
        )
        super().__init__(
            settings, Lease(0, -1, 0.0), max_bytes=max_bytes, emit=emit, first_retry_s=0.01
        )

    async def open(self) -> StoreContents:
        if self._lease.epoch < 0:
            await self._leases.join()
            await asyncio.sleep(0.01)  # the row of a new lease ends when it is made
            (self._lease,) = await self._leases.take(1) or (self._lease,)
        return await super().open()

    async def close(self) -> None:
        await super().close()
        await self._leases.give_up((self._lease,))
        await self._leases.leave()


# A new store adds its bench, and keeps the contract.
BENCHES = {"sqlite": SqliteBench, "memory": MemoryBench, "postgres": PostgresBench}
