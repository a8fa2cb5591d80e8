"""The second connection, for values only: what is on it when it ends may still arrive."""

import asyncio
import functools
from collections.abc import Callable, Sequence

import structlog

from bridge.core.events import (
    Event,
    MqttAcked,
    ValueConnectionClosed,
    ValueConnectionOpened,
    ValuesAcked,
)
from bridge.core.messages import Publish
from bridge.errors import ConnectionLost
from tests.simulation.broker import KEEPALIVE_S, NOT_AUTHORIZED, Broker, Wire
from tests.simulation.engine import SimulatedClock

# The contract of the port: so long after its end nothing of it can arrive any more.
DOUBT_S = 1.5 * KEEPALIVE_S
WINDOW = 100
log = structlog.get_logger()


class SimulatedValueConnection:
    """Values over a connection of their own, while the main one lasts."""

    def __init__(
        self, broker: Broker, clock: SimulatedClock, emit: Callable[[Event], None]
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._emit = emit
        self._wire: Wire | None = None
        self._in_flight: list[Publish] = []
        self._doubt: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Stay connected until cancelled."""
        while True:
            await self._clock.sleep(0.05)
            lost = asyncio.get_running_loop().create_future()
            try:
                wire = self._broker.connect_values()
            except ConnectionLost:
                await self._clock.sleep(2.0)
                continue
            self._forget_doubt()
            self._in_flight.clear()
            self._wire = wire
            wire.values_acked = self._acked
            wire.lost = functools.partial(_end, lost)
            log.info("mqtt.value_connection_opened", receive_maximum=WINDOW)
            self._emit(ValueConnectionOpened(WINDOW))
            try:
                await lost
            finally:
                self._ended(wire)
            await self._clock.sleep(1.0 + self._clock.jitter())

    def publish(self, messages: Sequence[Publish]) -> None:
        """Send values."""
        wire = self._wire
        if wire is None or not wire.open:
            return
        if messages:
            self._in_flight += messages
            self._broker.up_values(wire, messages)

    def _acked(self, acked: list[tuple[Publish, int]]) -> None:
        done = {id(message) for message, _ in acked}
        self._in_flight = [one for one in self._in_flight if id(one) not in done]
        taken = tuple(message for message, reason in acked if not reason)
        refused = tuple(message for message, reason in acked if reason == NOT_AUTHORIZED)
        if taken or refused:
            self._emit(ValuesAcked(taken, refused))
        for message, reason in acked:
            if reason not in (0, NOT_AUTHORIZED):
                self._emit(MqttAcked(message, reason))

    def _ended(self, wire: Wire) -> None:
        wire.open = False
        self._wire = None
        in_doubt = bool(self._in_flight)
        self._emit(ValueConnectionClosed(in_doubt))
        if in_doubt:
            self._forget_doubt()
            self._doubt = asyncio.get_running_loop().create_task(self._settle(), name="doubt")

    def _forget_doubt(self) -> None:
        if self._doubt is not None:
            self._doubt.cancel()
            self._doubt = None

    async def _settle(self) -> None:
        await self._clock.sleep(DOUBT_S)
        self._emit(ValueConnectionClosed(in_doubt=False))


def _end(lost: asyncio.Future[str], reason: str) -> None:
    if not lost.done():
        lost.set_result(reason)
