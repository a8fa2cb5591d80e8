"""The gateway's link to a simulated broker. It logs what :class:`MqttClient` logs."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from bridge.core.backoff import reconnect_delay_s
from bridge.core.events import Event, MqttAcked, MqttConnected, MqttDisconnected
from bridge.core.messages import AckToken, Publish
from bridge.errors import ConnectionLost
from tests.simulation.broker import RECEIVE_MAXIMUM, Broker, Wire
from tests.simulation.engine import SimulatedClock
from tests.simulation.value_connection import SimulatedValueConnection

log = structlog.get_logger()


class SimulatedLink:
    """Implements :class:`bridge.ports.MqttLink` on a simulated broker."""

    def __init__(
        self,
        broker: Broker,
        clock: SimulatedClock,
        emit: Callable[[Event], None],
        latency_s: Callable[[], float],
        *,
        loopback: bool | None = True,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._emit = emit
        self._latency_s = latency_s
        self._loopback = loopback
        self._wire: Wire | None = None
        self._lost: asyncio.Future[str] | None = None
        self._told_down = False
        self._failure = ""
        self._closing = False
        self._value_connection = SimulatedValueConnection(broker, clock, emit)

    async def run(self) -> None:
        failed = 0
        while not self._closing:
            await self._clock.sleep(self._latency_s())
            started_s = self._clock.now().mono_s
            try:
                self._broker.connect(self._made)
            except ConnectionLost as error:
                failed += 1
                reason = str(error)
                if reason != self._failure:
                    log.warning("mqtt.connect_failed", reason=reason)
                self._failure = reason
            else:
                assert self._lost is not None
                values = None
                if self._broker.protocol == "5":
                    loop = asyncio.get_running_loop()
                    values = loop.create_task(self._value_connection.run(), name="values")
                reason = await self._lost
                if values is not None:
                    values.cancel()
                lived_s = self._clock.now().mono_s - started_s
                failed = failed + 1 if lived_s < 30 else 1
                log.warning("mqtt.disconnected", reason=reason, lived_s=round(lived_s))
            self._wire = None
            if not self._told_down:
                self._told_down = True
                self._emit(MqttDisconnected(reason))
            wait_s = reconnect_delay_s(failed, self._clock.jitter(), first_s=1.0, longest_s=5.0)
            await self._clock.sleep(wait_s)

    def _made(self, wire: Wire, present: bool) -> None:
        lost = self._lost = asyncio.get_running_loop().create_future()
        self._wire = wire
        self._told_down = False
        self._failure = ""
        log.info(
            "mqtt.connected",
            broker="localhost:1883",
            protocol=self._broker.protocol,
            session_present=present,
            receive_maximum=RECEIVE_MAXIMUM,
            tls=False,
        )
        wire.deliver = self._emit
        wire.acked = lambda message, reason: self._emit(MqttAcked(message, reason))

        def ended(reason: str) -> None:
            if not lost.done():
                lost.set_result(reason)

        wire.lost = ended
        keeps_s = round(self._broker.session_expiry_s)
        protocol, loopback = self._broker.protocol, self._loopback
        self._emit(
            MqttConnected(present, protocol, RECEIVE_MAXIMUM, loopback=loopback, keeps_s=keeps_s)
        )

    def publish(self, message: Publish) -> None:
        wire = self._wire
        if wire is None or not wire.open:
            raise ConnectionLost("there is no connection to the broker")
        self._broker.up(wire, lambda: self._broker.received(wire, message))

    def publish_values(self, messages: Sequence[Publish]) -> None:
        self._value_connection.publish(messages)

    def acknowledge(self, ack_token: AckToken) -> None:
        wire = self._wire
        if wire is None or ack_token.epoch != wire.epoch:
            return
        mid = ack_token.message_id
        self._broker.up(wire, lambda: self._broker.acknowledged(wire, mid))

    def ask_retained(self, topic_filter: str) -> None:
        wire = self._wire
        if wire is not None and wire.open:
            self._broker.up(wire, lambda: self._broker.subscribed_again(topic_filter))

    def reconnect(self, reason: str, farewell: Publish | None = None) -> None:
        if self._wire is not None and self._wire.open:
            self._broker.dropped_by_us(self._wire, reason)

    async def close(self, farewell: Publish) -> None:
        self._closing = True
        wire = self._wire
        if wire is None or not wire.open:
            return
        self.publish(farewell)
        await self._clock.sleep(0.2)
        self._broker.up(wire, lambda: self._broker.goodbye(wire))
        await self._clock.sleep(0.2)
