"""The request budget of an account that several workers use, in PostgreSQL.

Rules:

1. One worker at a time, under an advisory lock of the account, asks whether a request fits, and
   writes it down. The limits are those of :mod:`bridge.core.easee.rate_limits`, counted by the
   clock of the database.
2. What this process knows by itself comes first: its own requests, 429s and blocks. A 429 that
   could not be written down holds this process, and is written down as soon as that is possible.
3. While the database does not answer nothing is sent but a few commands: stop and pause work
   without a store too. They are part of no one's share: that many are kept free of the budget.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from bridge.adapters.store.postgres.connection import Connection
from bridge.core.easee.rate_limits import (
    COMMAND_RESERVE,
    DEFAULT_COOLDOWN_S,
    GLOBAL_LIMIT,
    HOUR_S,
    LIMITS,
    MARGIN_S,
    MAX_COOLDOWN_S,
    TRIAL_S,
    RateLimiter,
    limit_of,
)
from bridge.core.easee.rest_requests import CloudRequest, Endpoint
from bridge.errors import CloudUnavailable, StoreError
from bridge.ports import Clock

log = structlog.get_logger()

# Commands that one worker sends during an outage of the database, and what is kept for all.
OUTAGE_COMMANDS: Final = 5
OUTAGE_RESERVE: Final = 25
# More changes than these are not waiting for the database: each group of endpoints has one.
MAX_UNSAID: Final = 200

_RESERVE: Final = "SELECT wait_s, is_trial FROM reserve_request($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_SENT: Final = "INSERT INTO request VALUES ($1, $2, $3, clock_timestamp())"
_COOLDOWN: Final = (
    "INSERT INTO cooldown AS held VALUES ($1, $2, $3,"
    " clock_timestamp() + make_interval(secs =>"
    " coalesce($4::double precision, $5::double precision)), 1)"
    " ON CONFLICT (account, endpoint, scope) DO UPDATE SET times = held.times + 1,"
    " until = greatest(held.until, clock_timestamp() + make_interval(secs =>"
    " coalesce($4, least($6::double precision,"
    " $5::double precision * power(2, least(held.times, 20))))))"
    " RETURNING extract(epoch FROM until - clock_timestamp())::double precision"
)
_ACCEPTED: Final = "DELETE FROM cooldown WHERE account = $1 AND endpoint = $2 AND scope = $3"
_BLOCK: Final = (
    "INSERT INTO account AS held (name, silent_until)"
    " VALUES ($1, clock_timestamp() + make_interval(secs => $2)) ON CONFLICT (name) DO UPDATE"
    " SET silent_until = greatest(held.silent_until, excluded.silent_until)"
)
_SILENCE: Final = (
    "SELECT extract(epoch FROM silent_until - clock_timestamp())::double precision"
    " FROM account WHERE name = $1 AND silent_until > clock_timestamp()"
)

_Group = tuple[Endpoint, str]


class SharedAllowance:
    """Implements :class:`bridge.ports.Allowance` for one account.

    Args:
        db: A connection of its own.
        account: A hash that identifies the account at its cloud.
        clock: For what this process knows by itself.
        connections: To the hub that all workers have together.
    """

    def __init__(self, db: Connection, account: str, clock: Clock, *, connections: int = 1) -> None:
        self._connections = connections
        self._db = db
        self._account = account
        self._clock = clock
        self._own = RateLimiter(connections)
        self._trials: set[_Group] = set()
        self._unsaid: list[Callable[[], Awaitable[object]]] = []
        self._spare = OUTAGE_COMMANDS

    async def reserve(self, request: CloudRequest) -> float:
        """Reserve a request that leaves at once, or return the seconds to wait."""
        now_s = self._clock.now().mono_s
        if (wait_s := self._own.wait_s(request, now_s)) > 0:
            return wait_s
        try:
            await self._say_unsaid()
            wait_s = await self._reserve(request)
        except StoreError as error:
            self._spend_spare(request, error)
            wait_s = 0.0
        if wait_s <= 0:
            self._own.record(request, self._clock.now().mono_s)
        return wait_s

    async def _reserve(self, request: CloudRequest) -> float:
        limit = limit_of(request.endpoint, self._connections)
        kept = OUTAGE_RESERVE + (0 if request.command else COMMAND_RESERVE)
        ((wait_s, is_trial),) = await self._db.fetch(
            _RESERVE,
            *self._named(request.endpoint, request.scope),
            limit.requests,
            limit.window_s + MARGIN_S,
            GLOBAL_LIMIT.requests - kept,
            GLOBAL_LIMIT.window_s + MARGIN_S,
            TRIAL_S,
            HOUR_S + MARGIN_S,
        )
        if is_trial:
            self._trials.add((request.endpoint, request.scope))
        return float(wait_s)

    def _spend_spare(self, request: CloudRequest, error: StoreError) -> None:
        """Send one of the few commands that need no database.

        Raises:
            CloudUnavailable: The request is none, or they are spent.
        """
        if not request.command or request.endpoint is Endpoint.LOGIN or not self._spare:
            raise CloudUnavailable(
                f"the shared request budget cannot be reached, nothing is sent ({error})"
            ) from error
        self._spare -= 1
        named = self._named(request.endpoint, request.scope)
        self._unsaid.append(lambda: self._db.execute(_SENT, *named))

    async def accepted(self, request: CloudRequest) -> None:
        """Record any response except 429."""
        self._own.accepted(request)
        group = request.endpoint, request.scope
        if group in self._trials:
            self._trials.discard(group)
            named = self._named(*group)
            await self._say(lambda: self._db.execute(_ACCEPTED, *named))

    async def too_many_requests(
        self, endpoint: Endpoint, scope: str, retry_after_s: float | None
    ) -> float:
        """Record a 429; return how long this group of endpoints waits."""
        self._trials.discard((endpoint, scope))
        own_s = self._own.too_many_requests(
            endpoint, scope, self._clock.now().mono_s, retry_after_s
        )
        named = self._named(endpoint, scope)
        found = await self._say(
            lambda: self._db.fetch(
                _COOLDOWN, *named, retry_after_s, DEFAULT_COOLDOWN_S, MAX_COOLDOWN_S
            )
        )
        return max(own_s, float(found[0][0])) if found else own_s

    async def block(self, silence_s: float) -> None:
        """Allow nothing for so long."""
        self._own.block(self._clock.now().mono_s, silence_s)
        await self._say(lambda: self._db.execute(_BLOCK, self._account, silence_s))

    async def silent_for_s(self) -> float:
        """Return how much of a block is left."""
        own_s = self._own.silent_for_s(self._clock.now().mono_s)
        try:
            found = await self._db.fetch(_SILENCE, self._account)
        except StoreError as error:
            if self._spare:
                return own_s  # the reservation decides
            raise CloudUnavailable(
                f"the shared request budget cannot be reached, nothing is sent ({error})"
            ) from error
        return max(own_s, float(found[0][0])) if found else own_s

    # -- what could not be written down -------------------------------------------------------

    async def _say(self, change: Callable[[], Awaitable[Any]]) -> Any:
        """Write a change down; where that fails, later."""
        try:
            return await change()
        except StoreError as error:
            log.warning("budget.not_shared", reason=str(error))
            if len(self._unsaid) < MAX_UNSAID:
                self._unsaid.append(change)
            return None

    async def _say_unsaid(self) -> None:
        """Write down what is waiting.

        Raises:
            StoreError: The database still does not answer.
        """
        while self._unsaid:
            change = self._unsaid.pop(0)  # no other request says it too
            try:
                await change()
            except BaseException:
                self._unsaid.insert(0, change)
                raise
        self._spare = OUTAGE_COMMANDS

    def _named(self, endpoint: Endpoint, scope: str) -> tuple[str, str, str]:
        return self._account, endpoint.value, scope if LIMITS[endpoint].by_scope else ""
