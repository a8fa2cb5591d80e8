"""Clocks, jitter and sleeping of the machine."""

import asyncio
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import structlog

from bridge.core.clock_check import ServerClock
from bridge.core.records.moment import Timestamp

# A wall clock before this day is certainly wrong: the program is younger. A Raspberry Pi without
# a real-time clock starts in the past and stays there until NTP answers.
BUILT_AT = datetime(2026, 11, 1, tzinfo=UTC)
# systemd-timesyncd writes this once it has set the clock. Where it runs, it is believed.
TIMESYNC_RUNS = Path("/run/systemd/timesync")
TIMESYNC_DONE = TIMESYNC_RUNS / "synchronized"
# Continues while the machine sleeps, and is never set. Linux has it, others get the nearest.
STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
# Asking the file system on every reading would cost more than the reading.
ASK_AGAIN_S = 5.0
HINT = "this machine's clock differs from the cloud's and is not believed; switch on NTP"

log = structlog.get_logger()


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._synchronized = False
        self._ask_at_s = 0.0
        self._server_clock = ServerClock()
        self._was_contradicted = False

    def now(self) -> Timestamp:
        """Read both clocks."""
        wall_s = time.time()
        wall = datetime.fromtimestamp(wall_s, UTC)
        mono_s = time.monotonic()
        if mono_s >= self._ask_at_s:
            self._synchronized = not TIMESYNC_RUNS.is_dir() or TIMESYNC_DONE.exists()
            self._ask_at_s = mono_s + ASK_AGAIN_S
        steady_s = time.clock_gettime(STEADY)
        if (
            self._synchronized
            and wall >= BUILT_AT
            and not self._server_clock.disagrees(wall_s, steady_s)
        ):
            return Timestamp(wall, mono_s)
        return Timestamp(wall, mono_s, trusted=False, told=self._server_clock.now(steady_s))

    def update_server_time(self, wall: datetime) -> None:
        """Handle the cloud's time; see :meth:`bridge.ports.Clock.update_server_time`."""
        if wall < BUILT_AT:
            return  # a server that is that wrong is no reference
        wall_s, steady_s = time.time(), time.clock_gettime(STEADY)
        self._server_clock.update(wall, steady_s)
        contradicted = self._server_clock.disagrees(wall_s, steady_s)
        if contradicted and not self._was_contradicted:
            ahead_s = round(self._server_clock.ahead_s(wall_s, steady_s))
            log.warning("clock.contradicted", ahead_s=ahead_s, hint=HINT)
        self._was_contradicted = contradicted

    def slept_s(self) -> float:
        """Return for how long the machine slept: the monotonic clock stood still meanwhile."""
        return time.clock_gettime(STEADY) - time.monotonic()

    def jitter(self) -> float:
        """Return a random number in [0, 1); not for secrets."""
        return random.random()  # noqa: S311 - spreads retries, protects nothing

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop's monotonic clock."""
        await asyncio.sleep(max(0.0, seconds))
