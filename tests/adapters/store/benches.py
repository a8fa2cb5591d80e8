"""What the contract needs to know of a store: how to make it, to fill, break and kill it."""

import contextlib
import shutil
from pathlib import Path
from typing import Protocol

from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.ports import Emit, Store, StoreReader
from tests.adapters.store.memory import Memory, MemoryReader, MemoryStore


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


# A new store adds its bench, and keeps the contract.
BENCHES = {"sqlite": SqliteBench, "memory": MemoryBench}
