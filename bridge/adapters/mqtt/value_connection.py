"""Value connection: a second connection for values, open while the main connection is.

Rules:

1. It goes where the main connection went: same address, same TLS context, same credentials, and a
   client id of its own. It publishes at QoS 1 and has neither subscriptions nor a will.
2. Without it everything goes over the main connection. The operator is told once, not at every
   attempt.
3. ``ValueConnectionOpened`` is emitted when the broker took it, ``ValueConnectionClosed`` once for
   each of those, and once more when nothing sent over it can arrive any more.
4. One client id at a time: the broker ends the old connection before it takes the new one, which
   is what makes it certain that nothing older arrives after something newer.
"""

import asyncio
import functools
import socket
from collections.abc import Sequence
from typing import Any, Final

import structlog
from msgspec.structs import replace

from bridge.adapters.mqtt import connect_errors, mqtt5_codec
from bridge.adapters.mqtt.mqtt5_codec import ConnAck
from bridge.adapters.mqtt.paho_translation import (
    ANSWER_DEADLINE_S,
    NO_RECEIVE_MAXIMUM,
    ConnackLimits,
    PeerAddress,
)
from bridge.adapters.mqtt.value_protocol import NOT_AUTHORIZED, ValueProtocol, read_grant
from bridge.core.backoff import reconnect_delay_s
from bridge.core.delivery.outbox import RECEIVE_MAXIMUM_EXCEEDED, TOO_LARGE
from bridge.core.events import MqttAcked, ValueConnectionClosed, ValueConnectionOpened, ValuesAcked
from bridge.core.messages import Publish
from bridge.core.records.moment import shared_wait_s
from bridge.errors import ConnectionLost
from bridge.ports import Clock, Emit
from bridge.settings import MqttSettings

log = structlog.get_logger()

DIAL_DEADLINE_S: Final = 15.0
FIRST_WAIT_S: Final = 1.0
# It is not awaited: everything works without.
MAX_WAIT_S: Final = 600.0
STABLE_AFTER_S: Final = 30.0
STEP_S: Final = 1.0
# A broker drops a silent client after one and a half times its keepalive, and reads nothing more.
DOUBT_KEEPALIVES: Final = 1.5
# How long a connection that may not publish has to say so of every message.
DRAIN_S: Final = 5.0
# Rights are not granted by the minute.
FAILED_AS_REFUSED: Final = 12
MAY_NOT_PUBLISH: Final = "the broker's access list does not allow its client id to publish"
CLIENT_ID_NOT_VALID: Final = 0x85
# Why a clean end ends.
CLOSED: Final = "closed by us"


class _ClientIdRejected(ConnectionLost):
    """The broker does not take the client id; the next attempt asks it for one."""


class ValueConnection:
    """Keeps the connection for values while :meth:`serve` runs.

    Args:
        settings: The broker.
        clock: Time, jitter, waiting.
        emit: Takes events.
    """

    def __init__(self, settings: MqttSettings, *, clock: Clock, emit: Emit) -> None:
        self._settings = settings
        self._clock = clock
        self._emit = emit
        self._client_id = f"{settings.client_id}-telemetry" if settings.client_id else ""
        self._opened_as = ""
        self._most = NO_RECEIVE_MAXIMUM
        self._up: ValueProtocol | None = None
        self._is_open = False
        self._refused = False
        self._drained_at_s = 0.0
        self._settled_at_s: float | None = None
        self._told = ""

    async def serve(self, peer: PeerAddress | None, *, without: str = "") -> None:
        """Keep a connection open until cancelled; return at once without a peer.

        Args:
            peer: Where to, or None where a second connection makes no sense.
            without: Why there is none, a clause.
        """
        failed = 0
        while peer is not None:
            started_s = self._clock.now().mono_s
            try:
                reason = await self._one_connection(peer)
            except _ClientIdRejected:
                continue
            except ConnectionLost as error:
                failed += 1
                self._tell(str(error))
            else:
                lived_s = self._clock.now().mono_s - started_s
                failed = failed + 1 if lived_s < STABLE_AFTER_S else 1
                failed = FAILED_AS_REFUSED if self._refused else failed
                self._tell(reason)
            await self._pause(failed)
        if without and without != self._told:
            log.info("mqtt.value_connection_disabled", reason=without)
        self._told = without
        await self._settle()

    def publish(self, messages: Sequence[Publish]) -> None:
        """Send values; acknowledged by ``ValuesAcked``.

        Without a connection nothing is sent: its ``ValueConnectionClosed`` is on the way.
        """
        if self._up is None:
            return
        for message in self._up.publish(messages):
            log.error("mqtt.unpublishable", topic=message.topic, payload_bytes=len(message.payload))
            self._emit(MqttAcked(message, TOO_LARGE))

    def close(self) -> None:
        """Disconnect in order; unacknowledged values are dropped."""
        if self._up is not None:
            self._told = CLOSED  # nothing is missing at a clean end
            self._up.drop(CLOSED, mqtt5_codec.NORMAL)

    # -- one connection -----------------------------------------------------------------------

    async def _one_connection(self, peer: PeerAddress) -> str:
        """Make one connection, serve it, and return the reason it ended.

        Raises:
            ConnectionLost: It was never up.
        """
        self._refused = False
        protocol = ValueProtocol(
            self._settings, self._client_id, mono_s=lambda: self._clock.now().mono_s
        )
        protocol.acked = functools.partial(self._acked, protocol)
        try:
            await self._dial(protocol, peer)
            answer = await self._connack(protocol)
            limits = read_grant(answer, self._settings)
            limits = replace(limits, receive_maximum=min(limits.receive_maximum, self._most))
            self._client_id = answer.client_id or self._client_id
            if self._client_id != self._opened_as:
                # The broker did not end an earlier connection to take this one.
                await self._settle()
            protocol.start(limits)
            self._open(protocol, limits)
            await self._serve(protocol, answer.keepalive_s or self._settings.keepalive_s)
            if protocol.code == RECEIVE_MAXIMUM_EXCEEDED:
                self._most = max(1, limits.receive_maximum // 2)
            return protocol.lost.result()
        except ConnectionLost:
            raise
        except Exception as exc:
            log.debug("mqtt.value_connection_failed_at", exc_info=True)
            raise ConnectionLost(f"unexpected {type(exc).__name__}") from exc
        finally:
            protocol.drop("stopped")
            self._close(protocol)

    async def _dial(self, protocol: ValueProtocol, peer: PeerAddress) -> None:
        loop = asyncio.get_running_loop()
        sock = socket.socket(peer.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(DIAL_DEADLINE_S):
                await loop.sock_connect(sock, peer.address)
                await loop.create_connection(
                    lambda: protocol,
                    sock=sock,
                    ssl=peer.tls,
                    server_hostname=None if peer.tls is None else self._settings.host,
                )
        except (OSError, ValueError) as exc:  # of TLS and of the deadline too
            sock.close()
            raise connect_errors.dial_failure(exc, self._settings) from exc
        except BaseException:
            sock.close()
            raise

    async def _connack(self, protocol: ValueProtocol) -> ConnAck:
        awaited: set[asyncio.Future[Any]] = {protocol.granted, protocol.lost}
        await asyncio.wait(awaited, timeout=ANSWER_DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        if not protocol.granted.done():
            if protocol.lost.done():
                raise ConnectionLost(protocol.lost.result())
            raise connect_errors.no_connack(self._settings, ANSWER_DEADLINE_S)
        answer = protocol.granted.result()
        if answer.reason_code == CLIENT_ID_NOT_VALID and self._client_id:
            self._client_id = ""
            raise _ClientIdRejected("the broker assigns client ids")
        return answer

    async def _serve(self, protocol: ValueProtocol, keepalive_s: int) -> None:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(
                self._keep_alive(protocol, keepalive_s), name="mqtt-value-connection"
            )
            await asyncio.wait({protocol.lost})
            keeper.cancel()

    async def _keep_alive(self, protocol: ValueProtocol, keepalive_s: int) -> None:
        """Ping when one of the two has been silent; give up when no answer comes."""
        now_s = pinged_s = self._clock.now().mono_s
        while True:
            sign_s = max(min(protocol.heard_s, protocol.spoke_s), pinged_s)
            dead_s = protocol.heard_s + DOUBT_KEEPALIVES * keepalive_s
            wait_s = min(sign_s + keepalive_s / 2, dead_s) - now_s
            wait_s = STEP_S if self._refused else shared_wait_s(now_s, max(STEP_S, wait_s))
            await self._clock.sleep(wait_s)
            now_s = self._clock.now().mono_s
            unheard_s = now_s - protocol.heard_s
            # The answer to a ping comes right behind it, and is no other sign.
            was_silent = min(protocol.heard_s, protocol.spoke_s) < sign_s + STEP_S
            if unheard_s >= DOUBT_KEEPALIVES * keepalive_s:
                protocol.drop(f"nothing received from the broker for {unheard_s:.0f} s")
            elif self._refused and now_s >= self._drained_at_s:
                protocol.drop(MAY_NOT_PUBLISH)
            elif was_silent and (not self._refused or now_s - sign_s >= keepalive_s / 2):
                pinged_s = now_s
                protocol.ping()

    # -- what the core learns -----------------------------------------------------------------

    def _open(self, protocol: ValueProtocol, limits: ConnackLimits) -> None:
        log.info("mqtt.value_connection_opened", receive_maximum=limits.receive_maximum)
        self._told = ""
        self._opened_as = self._client_id
        self._settled_at_s = None
        self._up = protocol
        self._is_open = True
        self._emit(ValueConnectionOpened(limits.receive_maximum))

    def _close(self, protocol: ValueProtocol) -> None:
        if not self._is_open:
            return
        self._up = None
        self._is_open = False
        in_doubt = protocol.in_flight > 0
        if in_doubt:
            doubt_s = DOUBT_KEEPALIVES * self._settings.keepalive_s
            self._settled_at_s = self._clock.now().mono_s + doubt_s
        self._emit(ValueConnectionClosed(in_doubt))

    async def _settle(self) -> None:
        """Wait until nothing in flight can arrive any more, then emit ``ValueConnectionClosed``."""
        if self._settled_at_s is None:
            return
        await self._clock.sleep(max(0.0, self._settled_at_s - self._clock.now().mono_s))
        self._settled_at_s = None
        self._emit(ValueConnectionClosed(in_doubt=False))

    def _acked(
        self, protocol: ValueProtocol, done: list[Publish], refused: list[tuple[Publish, int]]
    ) -> None:
        returned = tuple(message for message, code in refused if code == NOT_AUTHORIZED)
        if returned and not self._refused:
            # Let the rest be answered: then there is no doubt, and its topics need not wait.
            self._refused = True
            self._drained_at_s = self._clock.now().mono_s + DRAIN_S
            self._up = None
            self._emit(ValueConnectionClosed(in_doubt=True))
        self._emit(ValuesAcked(tuple(done), returned))
        for message, code in refused:
            if code != NOT_AUTHORIZED:
                self._emit(MqttAcked(message, code))
        if self._refused and not protocol.in_flight:
            protocol.drop(MAY_NOT_PUBLISH, mqtt5_codec.NORMAL)

    # -- between connections ------------------------------------------------------------------

    async def _pause(self, failed: int) -> None:
        delay_s = reconnect_delay_s(
            failed, self._clock.jitter(), first_s=FIRST_WAIT_S, longest_s=MAX_WAIT_S
        )
        again_at_s = self._clock.now().mono_s + delay_s
        if self._settled_at_s is not None and self._settled_at_s <= again_at_s:
            await self._settle()
        await self._clock.sleep(max(0.0, again_at_s - self._clock.now().mono_s))

    def _tell(self, reason: str) -> None:
        """Log once why values use the main connection."""
        if reason != self._told:
            log.warning(
                "mqtt.value_connection_unavailable",
                reason=reason,
                hint="values use the main connection",
            )
        self._told = reason
