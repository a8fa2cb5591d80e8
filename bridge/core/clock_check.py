"""The time as reported by the vendor's servers.

A machine's clock may be an hour off and still be called synchronized: by a person who set it, a
virtual machine that was restored, a battery that ran down. The ``Date`` of the vendor's answers
tells such a clock. It only takes belief away: nothing is set by it, for it is seconds old and has
whole ones, and a clock without NTP does not become a good one by being near. What it is good enough
for is the age of what is minutes old, while our own clock cannot tell it.
"""

from datetime import UTC, datetime

# A Date is some seconds old, and a kept clock is better than one. Chargers are granted as much.
TOLERANCE_S = 5 * 60.0


class ServerClock:
    """The last reported server time, continued by a monotonic clock."""

    def __init__(self) -> None:
        self._began_s: float | None = None

    def update(self, wall: datetime, steady_s: float) -> None:
        """Record a reported time.

        Args:
            wall: Aware, by the other clock.
            steady_s: The same moment on the steady clock, which continues while the machine
                sleeps.
        """
        self._began_s = wall.timestamp() - steady_s

    def now(self, steady_s: float) -> datetime | None:
        """Return the server time; None before any was reported.

        Args:
            steady_s: This moment on the steady clock.
        """
        return (
            None if self._began_s is None else datetime.fromtimestamp(self._began_s + steady_s, UTC)
        )

    def ahead_s(self, wall_s: float, steady_s: float) -> float:
        """Return by how much the wall clock is ahead; 0 before any time was reported.

        Args:
            wall_s: Our wall clock, in seconds since 1970.
            steady_s: The same moment on the steady clock.
        """
        return 0.0 if self._began_s is None else wall_s - steady_s - self._began_s

    def disagrees(self, wall_s: float, steady_s: float) -> bool:
        """Return whether the wall clock differs too much from the server time."""
        return abs(self.ahead_s(wall_s, steady_s)) > TOLERANCE_S
