"""Encoder and decoder for the MQTT 5 packets of a publisher.

Rules:

1. Reading is total: what is not what it should be raises :class:`Malformed` and nothing else. The
   library that would do this better panics on text that is not UTF-8, past every ``except
   Exception``; so the tests use it as the judge, and the program does without.
2. Only what is used is kept: reason strings and properties of others are skipped.
"""

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec

from bridge.core.delivery.outbox import REFUSED
from bridge.core.messages import Publish

CONNACK: Final = 0x20
PUBACK: Final = 0x40
PINGRESP: Final = 0xD0
DISCONNECT: Final = 0xE0
PINGREQ: Final = b"\xc0\x00"

# QoS 1, and QoS 1 retained.
_PUBLISH: Final = {False: 0x32, True: 0x33}
_USER_PROPERTY: Final = 0x26
# In a variable byte integer: another byte follows.
_MORE: Final = 0x80
_CLEAN_START: Final = 0x02
_HAS_PASSWORD: Final = 0x40
_HAS_USERNAME: Final = 0x80

_TWO_BYTES: Final = struct.Struct("!H").pack
_ID_BYTES: Final = 2
# A PUBACK without properties: type and length, packet identifier, and in the second form a reason
# code, by which brokers report that there is no subscriber.
_PLAIN_PUBACK: Final = struct.Struct("!HH")
_CODED_PUBACK: Final = struct.Struct("!HHB")
_PLAIN_HEAD: Final = PUBACK << 8 | _ID_BYTES
_CODED_HEAD: Final = PUBACK << 8 | _ID_BYTES + 1
# Units and ids are short and come with every value of theirs; a stamp is another one each time.
MAX_CACHED_LENGTH: Final = 16
# Flags, reason code, and the length of no properties.
_MIN_CONNACK_BYTES: Final = 3

NORMAL: Final = 0x00
MALFORMED_PACKET: Final = 0x81
PROTOCOL_ERROR: Final = 0x82


class Malformed(ValueError):
    """These bytes are not the packet they claim to be."""


class ConnAck(msgspec.Struct, frozen=True):
    """The fields of a CONNACK that concern a publisher.

    Attributes:
        reason_code: 0x80 and above: no.
        session_present: The broker kept a session.
        receive_maximum: How many unacknowledged messages it takes.
        maximum_qos: 0 or 1 where it takes no more.
        retain_available: It keeps retained messages.
        largest_packet_bytes: It takes no larger ones, or None.
        client_id: The one it gave us; empty when it took ours.
        keepalive_s: The one it wants us to use, or None.
    """

    reason_code: int
    session_present: bool = False
    receive_maximum: int = 65_535
    maximum_qos: int = 2
    retain_available: bool = True
    largest_packet_bytes: int | None = None
    client_id: str = ""
    keepalive_s: int | None = None


# -- writing ------------------------------------------------------------------------------------


def connect(
    client_id: str,
    *,
    username: str | None,
    password: str | None,
    keepalive_s: int,
    largest_packet_bytes: int,
) -> bytes:
    """Return a CONNECT with a clean start and without a will."""
    flags = _CLEAN_START
    rest = _text(client_id)
    if username is not None:
        flags |= _HAS_USERNAME
        rest += _text(username)
    if password is not None:
        flags |= _HAS_PASSWORD
        rest += _text(password)
    properties = struct.pack("!BI", 0x27, largest_packet_bytes)
    head = struct.pack("!BBHB", 5, flags, keepalive_s, len(properties))
    return _packet(0x10, b"\x00\x04MQTT" + head + properties + rest)


def publish(message: Publish, packet_id: int) -> bytes:
    """Publish at QoS 1, with the user properties."""
    topic = message.topic.encode()
    properties = b""
    if message.user_properties:
        spelled = [
            _kept_property(pair) if len(pair[1]) <= MAX_CACHED_LENGTH else _user_property(pair)
            for pair in message.user_properties
        ]
        properties = b"".join(spelled)
    length = _varint(len(properties))
    payload = message.payload
    size = 2 + len(topic) + _ID_BYTES + len(length) + len(properties) + len(payload)
    # One piece of formatting: this is written for every value.
    return b"%c%b%b%b%b%b%b%b" % (
        _PUBLISH[message.retained],
        _varint(size),
        _TWO_BYTES(len(topic)),
        topic,
        _TWO_BYTES(packet_id),
        length,
        properties,
        payload,
    )


def disconnect(reason_code: int) -> bytes:
    """Return a DISCONNECT."""
    return bytes((DISCONNECT, 1, reason_code))


def _user_property(pair: tuple[str, str]) -> bytes:
    key, value = pair[0].encode(), pair[1].encode()
    return b"%c%b%b%b%b" % (
        _USER_PROPERTY,
        _TWO_BYTES(len(key)),
        key,
        _TWO_BYTES(len(value)),
        value,
    )


_kept_property = lru_cache(maxsize=1024)(_user_property)


def _packet(kind: int, body: bytes) -> bytes:
    return b"%c%b%b" % (kind, _varint(len(body)), body)


def _text(text: str) -> bytes:
    data = text.encode()
    return _TWO_BYTES(len(data)) + data


@lru_cache(maxsize=1024)
def _varint(value: int) -> bytes:
    """Return a variable byte integer: seven bits in each byte, the lowest first."""
    spelled = bytearray()
    while value >= _MORE:
        spelled.append(value & 0x7F | _MORE)
        value >>= 7
    spelled.append(value)
    return bytes(spelled)


# -- reading ------------------------------------------------------------------------------------


def split(data: bytes, at: int) -> tuple[int, bytes, int] | None:
    """Return the next packet of a stream.

    Args:
        data: The stream.
        at: Where the packet begins.

    Returns:
        Its first byte, its body, and where the next one begins; None when it is not all there.

    Raises:
        Malformed: Its length is none.
    """
    if at >= len(data):
        return None
    read = _read_varint(data, at + 1)
    if read is None:
        return None
    size, start = read
    if len(data) - start < size:
        return None
    return data[at], data[start : start + size], start + size


def short_pubacks(data: bytes, at: int) -> tuple[list[int], int]:
    """Return all consecutive successful acknowledgements without a reason code.

    Args:
        data: The stream.
        at: Where a packet begins.

    Returns:
        Their packet identifiers, and where the first packet begins that is something else.
    """
    found: list[int] = []
    while True:
        before = len(found)
        for head, packet_id in _rows(_PLAIN_PUBACK, data, at):
            if head != _PLAIN_HEAD:
                break
            found.append(packet_id)
        at += (len(found) - before) * _PLAIN_PUBACK.size
        plain = len(found)
        for head, packet_id, code in _rows(_CODED_PUBACK, data, at):
            if head != _CODED_HEAD or code >= REFUSED:
                break
            found.append(packet_id)
        at += (len(found) - plain) * _CODED_PUBACK.size
        if len(found) == before:
            return found, at


def _rows(form: struct.Struct, data: bytes, at: int) -> Iterator[tuple[int, ...]]:
    """Read the rest of a stream as if it were all of one form; a part of one is left out."""
    return form.iter_unpack(data[at : len(data) - (len(data) - at) % form.size])


def puback(body: bytes) -> tuple[int, int]:
    """Read packet identifier and reason code.

    Raises:
        Malformed: It is too short.
    """
    if len(body) < _ID_BYTES:
        raise Malformed("a PUBACK without a packet identifier")
    return body[0] << 8 | body[1], body[2] if len(body) > _ID_BYTES else 0


def connack(body: bytes) -> ConnAck:
    """Read the answer to a CONNECT.

    Raises:
        Malformed: It is none.
    """
    if len(body) < _MIN_CONNACK_BYTES:
        raise Malformed("a CONNACK that is too short")
    at, end = properties_end(body, 2)
    if end != len(body):
        raise Malformed("a CONNACK whose properties do not fill it")
    known = {
        _FIELDS[name]: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        for name, value in properties(body, at, end).items()
        if name in _FIELDS
    }
    answer = ConnAck(body[1], session_present=bool(body[0] & 1), **known)  # type: ignore[arg-type]
    if answer.receive_maximum == 0 or answer.largest_packet_bytes == 0:
        raise Malformed("a limit of nothing")
    return answer


def disconnect_reason(body: bytes) -> int:
    """Read why the broker hangs up; without a reason code it is 0."""
    return body[0] if body else NORMAL


# Every property of MQTT 5: those of a fixed size, and those that tell their length.
_SIZES: Final = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_WITH_LENGTH: Final = frozenset({0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F})
_SUBSCRIPTION_IDENTIFIER: Final = 0x0B
_FIELDS: Final = {
    0x12: "client_id",
    0x13: "keepalive_s",
    0x21: "receive_maximum",
    0x24: "maximum_qos",
    0x25: "retain_available",
    0x27: "largest_packet_bytes",
}


def properties_end(data: bytes, at: int) -> tuple[int, int]:
    """Find the properties of a packet.

    Args:
        data: What holds them.
        at: Where their length stands.

    Returns:
        Where the first one begins, and where the last one ends.

    Raises:
        Malformed: They do not lie within the data.
    """
    read = _read_varint(data, at)
    if read is None or read[0] + read[1] > len(data):
        raise Malformed("properties that are cut off")
    return read[1], read[0] + read[1]


def properties(data: bytes, at: int, end: int) -> dict[int, int | bytes]:
    """Read the properties of a packet, in one pass.

    Args:
        data: What holds them.
        at: Where the first one begins.
        end: Where the last one ends.

    Returns:
        Values by number: integers, and texts and binary data as bytes. User properties and
        subscription identifiers are skipped: nobody here asks for them. Of a property that comes
        twice the last one counts.

    Raises:
        Malformed: They are none.
    """
    found: dict[int, int | bytes] = {}
    try:
        while at < end:
            name = data[at]
            at += 1
            if name == _USER_PROPERTY:  # a sender may have a hundred thousand of them
                at += 2 + (data[at] << 8 | data[at + 1])
                at += 2 + (data[at] << 8 | data[at + 1])
            elif (size := _SIZES.get(name)) is not None:
                found[name] = int.from_bytes(data[at : at + size], "big")
                at += size
            elif name in _WITH_LENGTH:
                start = at + 2
                at = start + (data[at] << 8 | data[at + 1])
                found[name] = data[start:at]
            elif name == _SUBSCRIPTION_IDENTIFIER and (read := _read_varint(data, at)) is not None:
                at = read[1]
            else:
                raise Malformed(f"property {name:#x} is none")
    except IndexError:
        at = end + 1
    if at > end:
        raise Malformed("a property that is cut off")
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int] | None:
    """Read a variable byte integer; return it and where it ends, or None if more bytes follow."""
    value = 0
    for shift in range(0, 28, 7):
        if at >= len(data):
            return None
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < _MORE:
            return value, at
    raise Malformed("a length of more than four bytes")
