"""Time, jitter and waiting: the only place that asks the machine for them."""

import asyncio
import random
import time
from datetime import UTC, datetime
from pathlib import Path

from bridge.core.events import Moment

# A wall clock before this day is certainly wrong: the program is younger. A Raspberry Pi without
# a real-time clock starts in the past and stays there until NTP answers.
BUILT_AT = datetime(2026, 11, 1, tzinfo=UTC)
# systemd-timesyncd writes this once it has set the clock. Where it runs, it is believed.
TIMESYNC_RUNS = Path("/run/systemd/timesync")
TIMESYNC_DONE = TIMESYNC_RUNS / "synchronized"


# Asking the file system on every reading would cost more than the reading.
ASK_AGAIN_S = 5.0


class SystemClock:
    """The machine's clocks."""

    def __init__(self) -> None:
        self._synchronized = False
        self._ask_at_s = 0.0

    def now(self) -> Moment:
        """Read both clocks."""
        wall = datetime.now(UTC)
        mono_s = time.monotonic()
        if mono_s >= self._ask_at_s:
            self._synchronized = not TIMESYNC_RUNS.is_dir() or TIMESYNC_DONE.exists()
            self._ask_at_s = mono_s + ASK_AGAIN_S
        return Moment(wall, mono_s, trusted=self._synchronized and wall >= BUILT_AT)

    def jitter(self) -> float:
        """Draw a number in [0, 1); not for secrets."""
        return random.random()  # noqa: S311 - spreads retries, protects nothing

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop's clock, which is monotonic."""
        await asyncio.sleep(max(0.0, seconds))
