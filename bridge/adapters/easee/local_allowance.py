"""The request budget of an account that one process uses alone."""

from bridge.core.easee.rate_limits import RateLimiter
from bridge.core.easee.rest_requests import CloudRequest, Endpoint
from bridge.ports import Clock


class LocalAllowance:
    """Implements :class:`bridge.ports.Allowance` in memory, on the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._limiter = RateLimiter()

    async def reserve(self, request: CloudRequest) -> float:
        """Reserve a request that leaves at once, or return the seconds to wait."""
        now_s = self._clock.now().mono_s
        wait_s = self._limiter.wait_s(request, now_s)
        if wait_s > 0:
            return wait_s
        self._limiter.record(request, now_s)
        return 0.0

    async def accepted(self, request: CloudRequest) -> None:
        """Record any response except 429."""
        self._limiter.accepted(request)

    async def too_many_requests(
        self, endpoint: Endpoint, scope: str, retry_after_s: float | None
    ) -> float:
        """Record a 429; return how long this group of endpoints waits."""
        now_s = self._clock.now().mono_s
        return self._limiter.too_many_requests(endpoint, scope, now_s, retry_after_s)

    async def block(self, silence_s: float) -> None:
        """Allow nothing for so long."""
        self._limiter.block(self._clock.now().mono_s, silence_s)

    async def silent_for_s(self) -> float:
        """Return how much of a block is left."""
        return self._limiter.silent_for_s(self._clock.now().mono_s)
