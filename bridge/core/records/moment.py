"""A moment on both clocks."""

from datetime import datetime

import msgspec

# The beat of the event loop; what comes as often comes with it.
SHARED_S = 10.0
# A wait of less for the sake of the others is none.
MIN_SHARED_S = 0.5


def shared_wait_s(mono_s: float, wait_s: float) -> float:
    """Return a wait, shortened so that it ends when others do.

    Waits that end at whole multiples of :data:`SHARED_S` on the monotonic clock wake the process up
    once for all of them.

    Args:
        mono_s: Now.
        wait_s: The longest wait.
    """
    end_s = mono_s + wait_s
    shared_s = end_s - end_s % SHARED_S - mono_s
    return shared_s if shared_s >= MIN_SHARED_S else wait_s


class Timestamp(msgspec.Struct, frozen=True):
    """When something happened, on both clocks.

    Attributes:
        wall: Aware UTC; may jump.
        mono_s: Monotonic seconds; every duration is measured on it.
        trusted: False while the wall clock cannot be believed (no RTC, before NTP).
        told: Where it cannot: what time it is by the cloud's ``Date``, aware UTC, seconds old; None
            when unknown.
    """

    wall: datetime
    mono_s: float
    trusted: bool = True
    told: datetime | None = None

    @property
    def known(self) -> datetime | None:
        """Return a time good enough for ages of minutes; None when it is unknown."""
        return self.wall if self.trusted else self.told
