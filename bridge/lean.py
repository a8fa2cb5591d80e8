"""A small process: what need not be loaded is not, and what stays is not looked at again.

Measured with rich and click installed, as with the ``demo`` extra: without this file a start takes
a third more processor time and 7 MB more memory stay resident.
"""

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator
from typing import Final

# Libraries that take what they find: structlog takes rich for tracebacks on a terminal, httpx takes
# click and rich for a command of its own. `demo` uses rich, and imports it when it does.
GREEDY: Final = ("structlog", "httpx")
NOT_FOR_THEM: Final = ("click", "rich")
# Values are structs the collector does not watch, and nothing here relies on cycles being found
# soon. Python's 700 has it look ten times as often as a burst of observations needs.
COLLECT_EVERY: Final = 10_000


def load_libraries() -> None:
    """Import the greedy libraries without what they would take."""
    with without(*NOT_FOR_THEM):
        for name in GREEDY:
            importlib.import_module(name)


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Let an import of these fail inside the block; what is imported already stays."""
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment] # the import system's word for "no"
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def settle() -> None:
    """Take what was loaded for the start out of the collector's sight."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY)
