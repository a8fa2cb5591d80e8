"""Keeps one connection to the feed's broker after the other, with the hub's pace."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import structlog

from bridge.core.easee.hub_session import count_failure, retry_in_s
from bridge.errors import BridgeError, ConnectionLost
from bridge.ports import Clock, Heartbeat

log = structlog.get_logger()

HEARTBEAT_TIMEOUT_S: Final = 300.0


class Connection(Protocol):
    """A connection that is used once."""

    @property
    def lost(self) -> asyncio.Future[ConnectionLost]:
        """Return the reason, once it is over."""
        ...

    async def open(self) -> None:
        """Make it.

        Raises:
            ConnectionLost: It did not work.
        """
        ...

    def close(self) -> None:
        """Close it; never raises."""
        ...


C = TypeVar("C", bound=Connection)
Lost = Callable[[BridgeError, int, float], None]


async def keep_connected(
    connect: Callable[[], Awaitable[C]],
    *,
    opened: Callable[[C], None],
    lost: Lost,
    clock: Clock,
    promise: Heartbeat,
) -> None:
    """Make connections until cancelled.

    Args:
        connect: Makes one that is not open; raises ``BridgeError``.
        opened: Called when it is open.
        lost: Called with the reason, the failures so far and the seconds until the next one.
        clock: Times the back-off.
        promise: Told when this task will be heard of again.
    """
    failures = 0
    while True:
        promise(HEARTBEAT_TIMEOUT_S)
        began_s = clock.now().mono_s
        error, was_up = await _attempt(connect, opened, promise)
        lived_s = clock.now().mono_s - began_s if was_up else None
        failures = count_failure(lived_s, failures)
        wait_s = retry_in_s(failures, clock.jitter(), error.retry_after_s)
        lost(error, failures, wait_s)
        promise(wait_s + HEARTBEAT_TIMEOUT_S)
        await clock.sleep(wait_s)


async def _attempt(
    connect: Callable[[], Awaitable[C]],
    opened: Callable[[C], None],
    promise: Heartbeat,
) -> tuple[BridgeError, bool]:
    """Make one connection and wait for its end; return that, and whether it was open."""
    is_up = False
    try:
        connection = await connect()
        try:
            await connection.open()
            is_up = True
            opened(connection)
            return await _ended(connection, promise), is_up
        finally:
            connection.close()
    except BridgeError as error:
        return error, is_up
    except Exception as error:
        log.warning("stream.failed", error=type(error).__name__)
        log.debug("stream.failed_at", exc_info=True)
        return ConnectionLost(f"unexpected {type(error).__name__}"), is_up


async def _ended(connection: Connection, promise: Heartbeat) -> ConnectionLost:
    """Wait for the end of a connection, saying that this task lives."""
    while True:
        promise(HEARTBEAT_TIMEOUT_S)
        try:
            async with asyncio.timeout(HEARTBEAT_TIMEOUT_S / 2):
                return await asyncio.shield(connection.lost)
        except TimeoutError:
            continue
