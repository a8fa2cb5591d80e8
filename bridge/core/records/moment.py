"""A moment on both clocks."""

from datetime import datetime

import msgspec


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
