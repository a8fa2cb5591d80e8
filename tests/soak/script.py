"""What every soak script does around its run: arguments, silence, a folder, a verdict."""

import sys
from pathlib import Path

import structlog

MOST_SHOWN = 20
CRITICAL = 50


def arguments() -> tuple[int, int]:
    """Read ``N [SEED]`` from the command line."""
    return int(sys.argv[1]), int((sys.argv[2:] or ["1"])[0])


def quiet() -> None:
    """Log nothing: a store that is tormented has much to say."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(CRITICAL))


def memory() -> str | None:
    """Name a folder in memory where there is one: the disk's own speed is not the question."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def verdict(problems: list[str], summary: str) -> int:
    """Print what was wrong and the summary; return the exit status."""
    sys.stdout.write("\n".join([*problems[:MOST_SHOWN], summary]) + "\n")
    return 1 if problems else 0
