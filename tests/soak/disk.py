"""A disk below SQLite that remembers, fails on demand, and loses its power.

SQLite asks its operating system through a table of functions, the VFS. Here four of them are put
between SQLite and the real ones: write, truncate, sync and delete. So the very library the bridge
uses, with the bridge's own code above it, runs on a disk of which every write is known.
"""

import contextlib
import ctypes
import ctypes.util
import os
import random
from collections.abc import Callable, Iterator
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    addressof,
    c_char_p,
    c_int,
    c_int64,
    c_void_p,
    cast,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECTOR_BYTES = 512
SQLITE_FULL = 13
SQLITE_IOERR_WRITE = 10 | 3 << 8
SQLITE_IOERR_FSYNC = 10 | 4 << 8
OFFSET_OF_METHODS = 0


class _Vfs(Structure):
    """``sqlite3_vfs``, version 3."""

    _fields_ = (
        ("iVersion", c_int),
        ("szOsFile", c_int),
        ("mxPathname", c_int),
        ("pNext", c_void_p),
        ("zName", c_char_p),
        ("pAppData", c_void_p),
        ("xOpen", c_void_p),
        ("xDelete", c_void_p),
        *((f"other{number}", c_void_p) for number in range(14)),
    )


class _Methods(Structure):
    """``sqlite3_io_methods``, version 3."""

    _fields_ = (
        ("iVersion", c_int),
        ("xClose", c_void_p),
        ("xRead", c_void_p),
        ("xWrite", c_void_p),
        ("xTruncate", c_void_p),
        ("xSync", c_void_p),
        *((f"other{number}", c_void_p) for number in range(13)),
    )


# The path as an address: SQLite keeps it, and a copy would be gone.
_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_CLOSE = CFUNCTYPE(c_int, c_void_p)
_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)


@dataclass(frozen=True, slots=True)
class Op:
    """One thing that was done to a file.

    Attributes:
        kind: ``"write"``, ``"truncate"``, ``"sync"`` or ``"delete"``.
        name: Of the file, without its folder.
        at: Offset of a write, size of a truncation, 1 where a deletion is synced.
        data: What was written.
    """

    kind: str
    name: str
    at: int = 0
    data: bytes = b""


@dataclass
class Disk:
    """What is done below a folder, in order, and what is to fail.

    Attributes:
        folder: Only files in it are watched.
        ops: Everything that was done.
        fault: Asked before each write and sync with its kind; returns SQLite's error code, or 0.
    """

    folder: Path
    ops: list[Op] = field(default_factory=list)
    fault: Callable[[str], int] = lambda _kind: 0


def _library() -> ctypes.CDLL:
    """Find the library that the sqlite3 module uses.

    Raises:
        OSError: It is built into the interpreter.
    """
    name = ctypes.util.find_library("sqlite3") or "libsqlite3.so.0"
    maps = Path("/proc/self/maps").read_text()
    library = ctypes.CDLL(name)
    if name.split(".so")[0] not in maps:
        raise OSError("the sqlite3 module has SQLite built in")
    library.sqlite3_vfs_find.restype = POINTER(_Vfs)
    library.sqlite3_vfs_find.argtypes = (c_char_p,)
    library.sqlite3_vfs_register.argtypes = (c_void_p, c_int)
    library.sqlite3_vfs_unregister.argtypes = (c_void_p,)
    return library


class _Shim:
    """The VFS in between. It is made once and stays: SQLite may call it as long as the process."""

    def __init__(self) -> None:
        self.sqlite = _library()
        self.disk: Disk | None = None
        self.original = self.sqlite.sqlite3_vfs_find(None)
        self.vfs = _Vfs()
        ctypes.memmove(addressof(self.vfs), self.original, ctypes.sizeof(_Vfs))
        self.vfs.zName = b"bridge-test-disk"
        self._names: dict[int, str] = {}
        self._methods: dict[int, tuple[_Methods, _Methods]] = {}
        self._keep: list[Any] = []
        self._real_open = _OPEN(self.vfs.xOpen)
        self._real_delete = _DELETE(self.vfs.xDelete)
        self.vfs.xOpen = self._pointer(_OPEN(self._open))
        self.vfs.xDelete = self._pointer(_DELETE(self._delete))

    def _pointer(self, function: Any) -> int:
        self._keep.append(function)
        return cast(function, c_void_p).value or 0

    def _watched(self, path: int | None) -> str | None:
        if self.disk is None or not path:
            return None
        folder, name = os.path.split(os.fsdecode(ctypes.string_at(path)))
        return name if folder == str(self.disk.folder) else None

    def _open(self, vfs, path, file, flags, out):
        code = self._real_open(vfs, path, file, flags, out)
        name = self._watched(path)
        if code == 0 and name is not None:
            place = c_void_p.from_address(file + OFFSET_OF_METHODS)
            if place.value:
                self._names[file] = name
                place.value = addressof(self._shimmed(place.value))
        return code

    def _delete(self, vfs, path, sync):
        code = self._real_delete(vfs, path, sync)
        name = self._watched(path)
        if code == 0 and name is not None and self.disk is not None:
            self.disk.ops.append(Op("delete", name, sync))
        return code

    def _shimmed(self, original: int) -> _Methods:
        """Return the functions of an open file with ours in between."""
        if original not in self._methods:
            real = _Methods.from_address(original)
            shim = _Methods()
            ctypes.memmove(addressof(shim), original, ctypes.sizeof(_Methods))
            close, write = _CLOSE(real.xClose), _WRITE(real.xWrite)
            truncate, sync = _TRUNCATE(real.xTruncate), _SYNC(real.xSync)

            def x_close(file):
                self._names.pop(file, None)
                return close(file)

            def x_write(file, buffer, size, offset):
                if code := self._ask("write"):
                    return code
                self._note(file, "write", offset, ctypes.string_at(buffer, size))
                return write(file, buffer, size, offset)

            def x_truncate(file, size):
                self._note(file, "truncate", size)
                return truncate(file, size)

            def x_sync(file, flags):
                if code := self._ask("sync"):
                    return code
                code = sync(file, flags)
                self._note(file, "sync")
                return code

            shim.xClose = self._pointer(_CLOSE(x_close))
            shim.xWrite = self._pointer(_WRITE(x_write))
            shim.xTruncate = self._pointer(_TRUNCATE(x_truncate))
            shim.xSync = self._pointer(_SYNC(x_sync))
            self._methods[original] = shim, real
        return self._methods[original][0]

    def _ask(self, kind: str) -> int:
        return self.disk.fault(kind) if self.disk is not None else 0

    def _note(self, file: int, kind: str, at: int = 0, data: bytes = b"") -> None:
        name = self._names.get(file)
        if self.disk is not None and name is not None:
            self.disk.ops.append(Op(kind, name, at, data))


_shim: list[_Shim] = []


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[Disk]:
    """Let everything SQLite does in a folder pass through a disk of ours.

    Raises:
        OSError: This interpreter has SQLite built in, where nothing can be put below it.
    """
    if not _shim:
        _shim.append(_Shim())
    shim = _shim[0]
    disk = shim.disk = Disk(folder)
    shim.sqlite.sqlite3_vfs_register(addressof(shim.vfs), 1)
    try:
        yield disk
    finally:
        shim.sqlite.sqlite3_vfs_register(cast(shim.original, c_void_p), 1)
        shim.sqlite.sqlite3_vfs_unregister(addressof(shim.vfs))
        shim.disk = None


# -- the power goes ------------------------------------------------------------------------------


class Platter:
    """What is on the disk for sure, and what was written and not synced yet."""

    def __init__(self, content: dict[str, bytes]) -> None:
        """Start with files that are synced."""
        self._synced = {name: bytearray(data) for name, data in content.items()}
        self._pending: dict[str, list[Op]] = {}
        self._deleted: dict[str, bytearray] = {}

    def do(self, op: Op) -> None:
        """Take one thing that was done."""
        if op.kind == "sync":
            if op.name not in self._synced:
                self._deleted.clear()  # SQLite syncs the folder with a new file
            file = self._synced.setdefault(op.name, bytearray())
            for pending in self._pending.pop(op.name, []):
                _apply(file, pending)
        elif op.kind == "delete":
            self._pending.pop(op.name, None)
            gone = self._synced.pop(op.name, None)
            if gone is not None and not op.at:
                self._deleted[op.name] = gone
        else:
            self._deleted.pop(op.name, None)
            self._pending.setdefault(op.name, []).append(op)

    def cut(self, rng: random.Random) -> dict[str, bytes]:
        """Say what is found when the power comes back.

        What was synced is there. Of the rest, each file has lost the end, or some sectors anywhere:
        a disk may write in any order. A deletion may not have reached the disk.
        """
        found = {name: bytearray(data) for name, data in self._synced.items()}
        for name, data in self._deleted.items():
            if rng.random() < 0.5:
                found[name] = bytearray(data)
        for name, ops in self._pending.items():
            if name not in found and rng.random() < 0.5:
                continue  # not even its name
            file = found.setdefault(name, bytearray())
            if rng.random() < 0.5:
                for op in ops[: rng.randrange(len(ops) + 1)]:
                    _apply(file, op)
            else:
                share = rng.random()
                for op in ops:
                    for part in _sectors(op):
                        if rng.random() < share:
                            _apply(file, part)
        return {name: bytes(data) for name, data in found.items()}


def _apply(file: bytearray, op: Op) -> None:
    if op.kind == "truncate":
        del file[op.at :]
        return
    end = op.at + len(op.data)
    if len(file) < end:
        file.extend(bytes(end - len(file)))
    file[op.at : end] = op.data


def _sectors(op: Op) -> Iterator[Op]:
    """Split a write where a disk may tear it."""
    if op.kind != "write":
        yield op
        return
    at = 0
    while at < len(op.data):
        size = SECTOR_BYTES - (op.at + at) % SECTOR_BYTES
        yield Op("write", op.name, op.at + at, op.data[at : at + size])
        at += size
