"""What every soak script does around its run: arguments, silence, a folder, progress, a verdict."""

import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

MAX_SHOWN = 20
CRITICAL = 50
TOLD_TIMES = 10


def arguments(default: int = 0) -> tuple[int, int]:
    """Read ``N [SEED]`` from the command line and say what will be done."""
    count = int((sys.argv[1:] or [str(default)])[0])
    seed = int((sys.argv[2:] or [str(random.randrange(10**6))])[0])
    say(f"{count} times, seed {seed}")
    return count, seed


def say(text: str) -> None:
    """Tell whoever started this, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def progress(done: int, count: int, problems: int | None = None) -> None:
    """Say how far a run is, ten times in all."""
    if done * TOLD_TIMES // count != (done - 1) * TOLD_TIMES // count:
        found = "" if problems is None else f", {problems} problems"
        say(f"{done} of {count}{found}")


def quiet() -> None:
    """Log nothing: a store that is tormented has much to say."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))


def memory() -> str | None:
    """Name a folder in memory where there is one: the disk's own speed is not the question."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextlib.contextmanager
def workshop(above: str | None = None) -> Iterator[Path]:
    """Provide a folder, and work in an empty one beside it that must still be empty in the end.

    SQLite makes a file whose name was freed too early where the process works.

    Args:
        above: Where to make it; the usual place by default.

    Raises:
        AssertionError: Something was left where nothing belongs.
    """
    with tempfile.TemporaryDirectory(dir=above) as name:
        folder, empty = Path(name, "run"), Path(name, "empty")
        folder.mkdir()
        empty.mkdir()
        before = Path.cwd()
        os.chdir(empty)
        try:
            yield folder
        finally:
            os.chdir(before)
        if left := sorted(path.name for path in empty.iterdir()):
            raise AssertionError(f"files nobody meant to make: {left}")


def verdict(problems: list[str], summary: str) -> int:
    """Print what was wrong and the summary; return the exit status."""
    say("\n".join([*problems[:MAX_SHOWN], summary]))
    return 1 if problems else 0
