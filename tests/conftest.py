"""What every test may ask for."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
import structlog
from hypothesis import HealthCheck, settings

from bridge import logs
from bridge.core.records.moment import Timestamp
from tests.intruders import alarm
from tests.ports import unused_port

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci",
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

# What takes longest, by folder: real programs, which are mostly waited for, and simulated time.
WAITING: Final = {"acceptance", "broker", "cli", "faults", "locks", "packages", "soak", "workers"}
COMPUTING: Final = {"fuzz", "simulation"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have half of the processes begin with what waits, and half with what computes.

    pytest-xdist gives each process a run of neighbours, and what is left to the one that is free
    first: one long test that comes last would be waited for by all.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes == 1:
        return
    groups: tuple[list[pytest.Item], ...] = ([], [], [])
    for item in items:
        folders = item.path.relative_to(item.config.rootpath).parts
        kind = [not WAITING.isdisjoint(folders), not COMPUTING.isdisjoint(folders), True].index(
            True
        )
        groups[kind].append(item)
    short = groups[2]
    size = -(-len(short) // processes)
    items.clear()
    for number in range(processes):
        sharers = len(range(number % 2, processes, 2))
        items += groups[number % 2][number // 2 :: sharers]
        items += short[number * size : (number + 1) * size]


# A job in the background of a shell ignores the interrupt key, and so would everything it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The longest anything is waited for before a test gives up. A test that passes never waits so long,
# and a loaded machine may need much of it.
PATIENCE_S = 30.0
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def never_hangs() -> Iterator[None]:
    """Fail a test that waits for what never comes."""
    with alarm():
        yield


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, as the program does."""
    return "asyncio"


class FakeClock:
    """A clock that moves only when told, and counts how long others slept."""

    def __init__(self, wall: datetime = NOON) -> None:
        self.wall = wall
        self.mono_s = 1000.0
        self.trusted = True
        self.draw = 0.5
        self.slept_s: list[float] = []
        self.heard: list[datetime] = []

    def now(self) -> Timestamp:
        return Timestamp(self.wall, self.mono_s, self.trusted)

    def jitter(self) -> float:
        return self.draw

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.advance(seconds)

    def update_server_time(self, wall: datetime) -> None:
        self.heard.append(wall)

    def advance(self, seconds: float) -> None:
        self.mono_s += seconds
        self.wall += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that moves only when told."""
    return FakeClock()


@pytest.fixture
def free_port() -> int:
    """A TCP port nobody listens on right now."""
    return unused_port()


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    """Leave logging as it was found, and forget registered secrets.

    For every test: commands of the program configure the logging of their process, and a level
    left by one test would hide the lines that another one looks for.
    """
    root = logging.getLogger()  # noqa: TID251 - to put it back
    handlers, level = root.handlers[:], root.level
    hooks = threading.excepthook, sys.unraisablehook
    logs._secret_patterns = logs._SecretPatterns()
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    threading.excepthook, sys.unraisablehook = hooks
    logs._secret_patterns = logs._SecretPatterns()
