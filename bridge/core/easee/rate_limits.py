"""Request budget: what may be sent now, and how long the rest must wait.

Rules:

1. Nothing is sent that the table below does not allow. Each class of endpoint has its limit, per
   charger or for the account, and everything together has one more.
2. Of the limit for everything, a share is kept for what a person or a flow asked for: reads stop
   while that share is still free.
3. A 429 holds the group of endpoints that answered it, and no other. After the time that was
   named one request tries; the others follow when it was answered with something else.
4. A block of the address means silence: nothing is allowed until it is over.

The limits are a log of the moments things were sent, so they hold in every window, not only in
those that begin at a full minute. Time comes in as monotonic seconds.
"""

from collections import deque
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from bridge.core.backoff import exponential_delay_s
from bridge.core.easee.rest_requests import CloudRequest, Endpoint
from bridge.core.rate_limiter import free_at_s

MINUTE_S = 60.0
HOUR_S = 3600.0


class Limit(msgspec.Struct, frozen=True):
    """So many requests in any window of this length.

    Attributes:
        requests: How many.
        window_s: Length of the window.
        by_scope: True when every charger, circuit or site has its own; False for the account.
    """

    requests: int
    window_s: float
    by_scope: bool = False


# Where the numbers come from: the vendor's documentation for the charger list, the two kinds of
# settings and the configure commands of an Equalizer (OpenAPI of 2022), the observations and the
# sessions (reference pages of 2026); sites are what pyeasee allows itself. The vendor publishes
# none for the others, so these are ours: a login or refresh is needed every 48 minutes, and a dozen
# in five minutes is trouble already; a hub that drops us is asked again every 30 s at most, with
# some room for a bad start; one command a second for one charger is more than a person can mean.
LIMITS: Mapping[Endpoint, Limit] = MappingProxyType(
    {
        Endpoint.LOGIN: Limit(12, 5 * MINUTE_S),
        Endpoint.NEGOTIATE: Limit(20, 5 * MINUTE_S),
        Endpoint.CHARGER_LIST: Limit(2, MINUTE_S),
        Endpoint.CHARGER_COMMAND: Limit(60, MINUTE_S, by_scope=True),
        Endpoint.CHARGER_SETTINGS: Limit(20, MINUTE_S, by_scope=True),
        Endpoint.CIRCUIT_SETTINGS: Limit(20, MINUTE_S, by_scope=True),
        Endpoint.OBSERVATIONS: Limit(100, 5 * MINUTE_S),
        Endpoint.SESSIONS: Limit(10, HOUR_S, by_scope=True),
        Endpoint.SITE: Limit(10, HOUR_S, by_scope=True),
        Endpoint.EQUALIZER_COMMAND: Limit(1, MINUTE_S, by_scope=True),
        Endpoint.OTHER: Limit(60, MINUTE_S, by_scope=True),
    }
)
# Each of several partitions has a connection to the hub: the bad start of one, and two takeovers a
# minute. Its back-off asks less often.
NEGOTIATIONS_PER_CONNECTION = 10
GLOBAL_LIMIT = Limit(500, 5 * MINUTE_S)
COMMAND_RESERVE = 100  # a fifth

# We count when a request leaves, the vendor when it arrives. A window of ours is longer by what
# a slow first connection may delay the first request of a burst and not the last.
MARGIN_S = 2.0

# A 429 without a Retry-After: waits of 110 to 283 s were seen where one was named.
DEFAULT_COOLDOWN_S = 120.0
MAX_COOLDOWN_S = HOUR_S
# How long the one request that tries after a 429 has the group to itself.
TRIAL_S = 10.0

MIN_SWEEP_SIZE = 64

_Group = tuple[Endpoint, str]


class _Cooldown(msgspec.Struct):
    """A group that answered 429, until it answers something else."""

    until_s: float
    times: int


def limit_of(endpoint: Endpoint, connections: int = 1) -> Limit:
    """Return the limit of an endpoint, for so many connections to the hub."""
    limit = LIMITS[endpoint]
    if endpoint is not Endpoint.NEGOTIATE:
        return limit
    more = NEGOTIATIONS_PER_CONNECTION * (connections - 1)
    return replace(limit, requests=limit.requests + more) if more else limit


class RateLimiter:
    """What was sent and what was refused, on the monotonic clock.

    Args:
        connections: To the hub that this account has.
    """

    def __init__(self, connections: int = 1) -> None:
        self._connections = connections
        # Each log is as long as its limit: when it is full, its first entry says when the next
        # request may go.
        self._logs: dict[_Group, deque[float]] = {}
        self._everything: deque[float] = deque(maxlen=GLOBAL_LIMIT.requests)
        self._cooldowns: dict[_Group, _Cooldown] = {}
        self._silent_until_s = 0.0
        self._sweep_at = MIN_SWEEP_SIZE

    def wait_s(self, request: CloudRequest, mono_s: float) -> float:
        """Return how long this request must wait; 0 when it may go now."""
        group = _group(request.endpoint, request.scope)
        limit = limit_of(request.endpoint, self._connections)
        cooldown = self._cooldowns.get(group)
        due_s = max(
            self._silent_until_s,
            cooldown.until_s if cooldown else 0.0,
            free_at_s(self._logs.get(group, ()), limit.requests, limit.window_s + MARGIN_S),
            free_at_s(
                self._everything,
                GLOBAL_LIMIT.requests - (0 if request.command else COMMAND_RESERVE),
                GLOBAL_LIMIT.window_s + MARGIN_S,
            ),
        )
        return max(0.0, due_s - mono_s)

    def record(self, request: CloudRequest, mono_s: float) -> None:
        """Record that this request is sent now, which :meth:`wait_s` allowed."""
        group = _group(request.endpoint, request.scope)
        self._everything.append(mono_s)
        log = self._logs.get(group)
        if log is None:
            self._sweep(mono_s)
            log = self._logs[group] = deque(
                maxlen=limit_of(request.endpoint, self._connections).requests
            )
        log.append(mono_s)
        if (cooldown := self._cooldowns.get(group)) is not None:
            cooldown.until_s = mono_s + TRIAL_S

    def accepted(self, request: CloudRequest) -> None:
        """Record any response except 429: its group is free again."""
        self._cooldowns.pop(_group(request.endpoint, request.scope), None)

    def too_many_requests(
        self, endpoint: Endpoint, scope: str, mono_s: float, retry_after_s: float | None
    ) -> float:
        """Record a 429.

        Args:
            endpoint: What was asked.
            scope: For what.
            mono_s: Now.
            retry_after_s: What the vendor named, or None: then it is longer every time.

        Returns:
            How long this group must wait.
        """
        group = _group(endpoint, scope)
        held = self._cooldowns.get(group)
        times = held.times + 1 if held else 1
        if retry_after_s is None:
            retry_after_s = exponential_delay_s(
                times, first_s=DEFAULT_COOLDOWN_S, longest_s=MAX_COOLDOWN_S
            )
        # Answers of requests that were sent together may name different times.
        until_s = max(mono_s + retry_after_s, held.until_s if held else 0.0)
        self._cooldowns[group] = _Cooldown(until_s, times)
        return until_s - mono_s

    def block(self, mono_s: float, silence_s: float) -> None:
        """Allow nothing for so long: the vendor blocked us."""
        self._silent_until_s = max(self._silent_until_s, mono_s + silence_s)

    def silent_for_s(self, mono_s: float) -> float:
        """Return how much silence is left; 0 when we are not blocked."""
        return max(0.0, self._silent_until_s - mono_s)

    def _sweep(self, mono_s: float) -> None:
        """Drop the groups that have been idle for longer than their windows.

        What is left is bounded by the limit for everything, whatever scopes were asked for.
        """
        if len(self._logs) < self._sweep_at:
            return
        for group, log in list(self._logs.items()):
            if mono_s - log[-1] > LIMITS[group[0]].window_s + MARGIN_S:
                del self._logs[group]
                cooldown = self._cooldowns.get(group)
                if cooldown is not None and cooldown.until_s < mono_s:
                    del self._cooldowns[group]
        self._sweep_at = max(MIN_SWEEP_SIZE, 2 * len(self._logs))


def _group(endpoint: Endpoint, scope: str) -> _Group:
    return endpoint, scope if LIMITS[endpoint].by_scope else ""
