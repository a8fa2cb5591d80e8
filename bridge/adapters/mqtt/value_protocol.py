"""One publish-only MQTT 5 connection, as an asyncio protocol.

Rules:

1. Nothing is written before CONNACK but CONNECT. Afterwards as much is in flight as the broker's
   Receive Maximum allows; the caller keeps that limit.
2. All messages of one call leave in one write, all acknowledgements of one read leave in one event.
3. Whatever the broker sends either is a packet we expect or ends the connection with a reason.
   Nothing escapes into the loop.
4. Whatever ends the connection resolves :attr:`ValueProtocol.lost`, once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, cast

import structlog

from bridge.adapters.mqtt import connect_errors, mqtt5_codec
from bridge.adapters.mqtt.connect_errors import AttemptFailed
from bridge.adapters.mqtt.mqtt5_codec import ConnAck, Malformed
from bridge.adapters.mqtt.paho_translation import ConnackLimits
from bridge.core.delivery.outbox import REFUSED
from bridge.core.delivery.value_queue import MAX_WINDOW
from bridge.core.messages import Publish
from bridge.settings import MqttSettings

log = structlog.get_logger()

# The broker has nothing to tell us that is longer; its reason strings are cut at this.
MAX_RESPONSE_BYTES: Final = 4_096
NOT_AUTHORIZED: Final = 0x87
# What a PUBLISH of ours holds besides topic and payload: fixed header, lengths, id, properties.
FRAME_BYTES: Final = 12
PROPERTY_BYTES: Final = 5


class ValueProtocol(asyncio.Protocol):
    """A connection that is being made, is up, or is over; never reused.

    Args:
        settings: The broker.
        client_id: Of this connection; empty to be given one.
        mono_s: Reads the monotonic clock.

    Attributes:
        acked: Takes what one read acknowledged: what is done with, and what was refused with which
            reason code. Must not raise.
        lost: Resolves to the reason, a sentence, when the connection is over.
        granted: Resolves to the CONNACK.
        heard_s: When something came from the broker last.
        spoke_s: When something went to the broker last.
        code: The reason code with which the broker ended it, or None.
    """

    def __init__(
        self, settings: MqttSettings, client_id: str, *, mono_s: Callable[[], float]
    ) -> None:
        loop = asyncio.get_running_loop()
        self.acked: Callable[[list[Publish], list[tuple[Publish, int]]], None] = _ignore
        self.lost: asyncio.Future[str] = loop.create_future()
        self.granted: asyncio.Future[ConnAck] = loop.create_future()
        self._mono_s = mono_s
        self.heard_s = self.spoke_s = mono_s()
        self.code: int | None = None
        secret = settings.password
        # Not kept longer than it is needed: it holds the password.
        self._hello = mqtt5_codec.connect(
            client_id,
            username=settings.username,
            password=secret.reveal() if secret else None,
            keepalive_s=settings.keepalive_s,
            largest_packet_bytes=MAX_RESPONSE_BYTES,
        )
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        # Used in turn, so that an id is not used again right after its acknowledgement.
        self._free_ids: deque[int] = deque()
        self._sent: dict[int, Publish] = {}
        self._largest_bytes: int | None = None

    @property
    def in_flight(self) -> int:
        """Return how many messages wait for their acknowledgement."""
        return len(self._sent)

    # -- what we do ---------------------------------------------------------------------------

    def start(self, limits: ConnackLimits) -> None:
        """Apply the limits of the CONNACK; :meth:`publish` may be called from here on."""
        window = min(limits.receive_maximum, MAX_WINDOW)
        self._free_ids = deque(range(1, window + 1))
        self._largest_bytes = limits.largest_packet_bytes

    def publish(self, messages: Sequence[Publish]) -> list[Publish]:
        """Write messages; return those that are larger than the broker takes.

        The caller has no more than the Receive Maximum in flight.
        """
        too_large: list[Publish] = []
        written: list[bytes] = []
        for message in messages:
            if self._largest_bytes is not None and _size(message) > self._largest_bytes:
                too_large.append(message)
                continue
            packet_id = self._free_ids.popleft()
            self._sent[packet_id] = message
            written.append(mqtt5_codec.publish(message, packet_id))
        self._write(b"".join(written))
        return too_large

    def ping(self) -> None:
        """Send a PINGREQ."""
        self._write(mqtt5_codec.PINGREQ)

    def drop(self, reason: str, code: int | None = None) -> None:
        """Close at once, with a DISCONNECT when there is a reason code. Idempotent."""
        if self._transport is not None:
            if code is None:
                self._transport.abort()
            else:
                self._write(mqtt5_codec.disconnect(code))
                self._transport.close()
        self._lose(reason)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and data and not self._transport.is_closing():
            self.spoke_s = self._mono_s()
            self._transport.write(data)

    # -- what the loop tells ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT. asyncio has set TCP_NODELAY."""
        self._transport = cast("asyncio.Transport", transport)
        self._write(self._hello)
        self._hello = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """Record the end of the connection."""
        kind = "" if exc is None else f" ({type(exc).__name__})"
        self._lose(f"the broker closed the connection{kind}")

    def data_received(self, data: bytes) -> None:
        """Read every whole packet. Total."""
        self.heard_s = self._mono_s()
        done: list[Publish] = []
        refused: list[tuple[Publish, int]] = []
        try:
            self._read(self._rest + data if self._rest else data, done, refused)
        except Malformed as exc:
            log.debug("mqtt.value_connection_malformed", reason=str(exc))
            self.drop("the broker sent something that is not MQTT", mqtt5_codec.MALFORMED_PACKET)
        if done or refused:
            self.acked(done, refused)

    def _read(self, data: bytes, done: list[Publish], refused: list[tuple[Publish, int]]) -> None:
        at = 0
        sent, free_ids = self._sent, self._free_ids
        while not self.lost.done():
            # Nearly all there is to be read.
            acknowledged, at = mqtt5_codec.short_pubacks(data, at)
            for packet_id in acknowledged:
                if (message := sent.pop(packet_id, None)) is not None:
                    free_ids.append(packet_id)
                    done.append(message)
            packet = mqtt5_codec.split(data, at)
            if packet is None:
                break
            kind, body, at = packet
            if kind != mqtt5_codec.PUBACK:
                self._take(kind, body)
                continue
            packet_id, code = mqtt5_codec.puback(body)
            message = sent.pop(packet_id, None)
            if message is None:
                continue
            free_ids.append(packet_id)
            if code < REFUSED:
                done.append(message)
            else:
                refused.append((message, code))
        self._rest = data[at:]
        if len(self._rest) > MAX_RESPONSE_BYTES:
            raise Malformed("a packet that large was not asked for")

    def _take(self, kind: int, body: bytes) -> None:
        """Handle every packet that is not an acknowledgement."""
        if kind == mqtt5_codec.CONNACK and not self.granted.done():
            self.granted.set_result(mqtt5_codec.connack(body))
        elif kind == mqtt5_codec.DISCONNECT:
            self.code = code = mqtt5_codec.disconnect_reason(body)
            hint = connect_errors.DISCONNECT_HINTS.get(code)
            self._lose(f"the broker ended it (reason code {code})" + (f": {hint}" if hint else ""))
            self.drop("closed by the broker")
        elif kind != mqtt5_codec.PINGRESP:
            reason = "the broker sent what a publisher has no use for"
            self.drop(reason, mqtt5_codec.PROTOCOL_ERROR)

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)


def _ignore(*_: object) -> None:
    """Ignore acknowledgements (default callback)."""


def read_grant(answer: ConnAck, settings: MqttSettings) -> ConnackLimits:
    """Read what CONNACK granted.

    Raises:
        AttemptFailed: It says no, or grants what is of no use for values.
    """
    code = answer.reason_code
    if code >= REFUSED:
        raise connect_errors.connack_failure(code, f"reason code {code}", settings)
    if answer.maximum_qos == 0 or not answer.retain_available:
        raise AttemptFailed("the broker grants no QoS 1 or no retained messages")
    return ConnackLimits(
        session_present=answer.session_present,
        receive_maximum=answer.receive_maximum,
        largest_packet_bytes=answer.largest_packet_bytes,
    )


def _size(message: Publish) -> int:
    """Return the most a message can take on the wire: a few bytes more than it will."""
    size = FRAME_BYTES + len(message.topic.encode()) + len(message.payload)
    for key, value in message.user_properties:
        size += PROPERTY_BYTES + len(key.encode()) + len(value.encode())
    return size
