"""MQTT messages as values, with what an acknowledgement needs."""

from collections.abc import Hashable

import msgspec


# A struct, not a dataclass: one is made for every value, in a sixth of the time.
class Publish(msgspec.Struct, frozen=True, gc=False):
    """Publish one message.

    Attributes:
        topic: Built by :mod:`bridge.core.topics`.
        payload: Empty with ``retained`` clears a topic.
        retained: Retained messages of one topic are conflated: only the newest unsent one goes
            out. Others are kept in order.
        tag: Returned in :class:`~bridge.core.events.MqttAcked`; empty when no component waits.
        owner: Name of the component that is given the acknowledgement; empty when none is.
        user_properties: MQTT 5 only.
        correlation: MQTT 5 Correlation Data, returned byte for byte.
        telemetry: A value among many, which may go over the connection for values. Always
            retained, and its topic is built of levels that passed
            :func:`~bridge.core.topics.is_topic_level`. At QoS 1, over the main connection.
        qos: 0 or 1. At QoS 0 sending it is all that is known of it.
        link: Name of the connection of a convention's own that it goes over, or empty.
        parts: How many messages the change has that it was made of.
    """

    topic: str
    payload: bytes
    retained: bool = True
    tag: str = ""
    user_properties: tuple[tuple[str, str], ...] = ()
    correlation: bytes | None = None
    telemetry: bool = False
    owner: str = ""
    qos: int = 1
    link: str = ""
    parts: int = 1


class Tag(msgspec.Struct, frozen=True):
    """Who asked for something, and for what: a call or a read has it, and its result.

    Attributes:
        owner: Name of the component that is given the result.
        ref: What the component tells its requests apart by.
    """

    owner: str
    ref: Hashable = None


class AckToken(msgspec.Struct, frozen=True):
    """What an adapter needs to acknowledge one incoming message; opaque to the core.

    Attributes:
        epoch: Number of the connection it came over. An acknowledgement of an older connection is
            dropped: message ids start again and it would acknowledge another message.
        message_id: Packet identifier, 0 at QoS 0.
        qos: 0, 1 or 2.
        link: Name of the connection of a convention's own that it came over, or empty.
    """

    epoch: int
    message_id: int
    qos: int
    link: str = ""


def packet_bytes(message: Publish, *, properties: bool) -> int:
    """Return the size of the PUBLISH packet at QoS 1, as Maximum Packet Size counts it."""
    rest = 2 + len(message.topic.encode()) + 2 + len(message.payload)
    if properties:
        pairs = message.user_properties
        ours = sum(5 + len(key.encode()) + len(value.encode()) for key, value in pairs)
        if message.correlation is not None:
            ours += 3 + len(message.correlation)
        rest += _varint_bytes(ours) + ours
    return 1 + _varint_bytes(rest) + rest


def _varint_bytes(value: int) -> int:
    """Return how many bytes a variable byte integer takes: seven bits in each."""
    return max(1, -(-value.bit_length() // 7))
