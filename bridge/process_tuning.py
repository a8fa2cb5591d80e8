"""Import blocking, garbage collector and malloc tuning.

Measured with rich and click installed, as with the ``demo`` extra: without this file a start takes
a third more processor time and 7 MB more memory stay resident. Behind a burst of ten thousand
messages glibc keeps 3 to 5 MB of freed memory between pieces in use; asked, it gives them back in
less than a millisecond.
"""

import contextlib
import functools
import gc
import importlib
import resource
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Final

# Libraries that take what they find: structlog takes rich for tracebacks on a terminal, httpx takes
# click and rich for a command of its own, msgspec takes typing_extensions though typing is enough.
# `demo` uses rich, and imports it when it does. shutil, which argparse and tempfile take, knows
# archives that nothing here writes or reads.
IMPORTS_EXTRAS: Final = ("structlog", "httpx", "msgspec", "shutil")
BLOCKED_EXTRAS: Final = ("click", "rich", "typing_extensions", "bz2", "lzma")
# websockets could ask for its own version, and has it as a constant: 0.8 MiB of zipfile and others.
IMPORTS_UNUSED: Final = ("websockets",)
UNUSED: Final = "importlib.metadata"
# Values are structs the collector does not watch, and nothing here relies on cycles being found
# soon. A collection of 10,000 young objects is a step of 3 to 8 ms, one of 1,000 a tenth of it,
# and each object is visited once either way. The older ones are visited every 100,000, as before.
COLLECT_EVERY: Final = 1_000
COLLECT_OLDER_EVERY: Final = 100
# A commit needs the interpreter some six times in its own thread, and a busy loop keeps it for as
# long as this each time: with Python's 5 ms a command may wait for 30.
THREAD_SWITCH_S: Final = 0.0005
# glibc gives every thread a heap of its own. Ours wait for the disk and for each other, never for
# the allocator.
M_ARENA_MAX: Final = -8  # of malloc.h
MAX_HEAPS: Final = 1
# Memory that was given back and is used again is touched anew. So many pages are a MiB; what they
# hold may be freed later.
TOUCHED_PAGES: Final = 256
TRIMS_AFTER_USE: Final = 6


def load_libraries(*names: str) -> None:
    """Import libraries without what they would take; those of :data:`IMPORTS_EXTRAS` by default.

    The collector is off from here to :func:`tune_gc`: what is imported stays, and looking through
    it again and again is an eighth of the processor time of a start.
    """
    gc.disable()
    with import_blocked(*BLOCKED_EXTRAS), import_deferred(UNUSED):
        for name in names or (*IMPORTS_EXTRAS, *IMPORTS_UNUSED):
            importlib.import_module(name)


@contextlib.contextmanager
def import_blocked(*names: str) -> Iterator[None]:
    """Make imports of these modules fail inside the block; imported ones stay."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment] # the import system's word for "no"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


class Deferred(ModuleType):
    """Stands in for a module, and loads it with the first use."""

    def __getattr__(self, name: str) -> object:
        """Return an attribute of the module."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def import_deferred(name: str) -> Iterator[None]:
    """Give imports of a module of a package inside the block a stand-in, unless it is loaded."""
    if name in sys.modules:
        yield
        return
    package, _, own = name.rpartition(".")
    sys.modules[name] = stand_in = Deferred(name)
    setattr(importlib.import_module(package), own, stand_in)
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


def tune_gc() -> None:
    """Exclude the objects loaded at the start from garbage collection; before other threads."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, COLLECT_OLDER_EVERY)
    gc.enable()
    sys.setswitchinterval(THREAD_SWITCH_S)
    if (mallopt := _glibc("mallopt")) is not None:
        mallopt(M_ARENA_MAX, MAX_HEAPS)
    trim_heap()


def trim_heap() -> None:
    """Return freed memory to the system, where the allocator can. Under a millisecond."""
    if (malloc_trim := _glibc("malloc_trim")) is not None:
        malloc_trim(0)


class Trimming:
    """Trims the heap as long as memory may have been freed: what is idle has no use of it."""

    def __init__(self) -> None:
        self._touched = 0
        self._left = 0

    def trim(self) -> bool:
        """Trim, unless hardly a page was touched lately; return whether it did."""
        touched = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        if touched - self._touched >= TOUCHED_PAGES:
            self._left = TRIMS_AFTER_USE
        self._touched = touched
        if not self._left:
            return False
        self._left -= 1
        trim_heap()
        return True


@functools.cache
def _glibc(name: str) -> Callable[..., object] | None:
    """Find a function of glibc's allocator; None where the allocator is another one, e.g. musl's.

    Where memory may not become code (``MemoryDenyWriteExecute``), ctypes itself may fail to load.
    """
    try:
        import ctypes  # noqa: PLC0415 - it may fail, and then nothing is lost but some memory

        found: Callable[..., object] | None = getattr(ctypes.CDLL(None), name, None)
    except (ImportError, MemoryError, OSError):
        return None
    return found
