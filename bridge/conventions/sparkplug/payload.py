"""Encoder and decoder of Sparkplug B payloads.

Rules:

1. A payload is a message of Protocol Buffers; the field numbers are those of ``sparkplug_b.proto``
   of Eclipse Tahu. The part that an edge node needs is written here, without the library (ADR
   0052).
2. The decoder handles every input: it returns a payload or raises ``DecodeError``. Fields it does
   not know are skipped.
"""

import enum
import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from bridge.errors import DecodeError

_MAX_VARINT_BYTES = 10
_MORE, _SEVEN_BITS = 0x80, 0x7F
# More metrics in one message are no command; each costs 100 times its bytes while it is read.
MAX_METRICS = 1000

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_INT32_SIGN, _INT64_SIGN = 1 << 31, 1 << 63

PropertyInput = tuple[str, "DataType", bool | int | str]


class DataType(enum.IntEnum):
    """The types of the specification that are used here or may come in a command."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 0x0A
    BOOLEAN = 0x0B
    STRING = 0x0C
    DATE_TIME = 0x0D
    TEXT = 0x0E


_UNSIGNED: Final = frozenset(
    {DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64, DataType.DATE_TIME}
)
_LONG: Final = frozenset({DataType.INT64, DataType.UINT64, DataType.DATE_TIME})

# Numbers of the fields of Payload, Metric, PropertySet and PropertyValue.
_SENT_AT, _METRICS, _SEQ = 1, 2, 3
_NAME, _ALIAS, _TIMESTAMP, _DATATYPE, _HISTORICAL, _NULL, _PROPERTIES = 1, 2, 3, 4, 5, 7, 9
_INT, _LONG_INT, _FLOAT, _DOUBLE, _BOOLEAN, _STRING = range(10, 16)
_KEYS, _VALUES = 1, 2
_P_TYPE, _P_INT, _P_BOOLEAN, _P_STRING = 1, 3, 7, 8

MetricValue = bool | int | float | str


class Metric(msgspec.Struct, frozen=True, gc=False):
    """One metric of a payload.

    Attributes:
        name: Empty where an alias stands for it.
        alias: Number of its name, or None.
        timestamp: Milliseconds since 1970, or None.
        datatype: None only in a command, where the birth told it.
        value: None is written as ``is_null``.
        is_historical: It is not the current value.
        properties: Key, type and value of each.
    """

    name: str = ""
    alias: int | None = None
    timestamp: int | None = None
    datatype: int | None = None
    value: MetricValue | None = None
    is_historical: bool = False
    properties: tuple[PropertyInput, ...] = ()


class Payload(msgspec.Struct, frozen=True, gc=False):
    """A payload.

    Attributes:
        timestamp: When it was sent, milliseconds since 1970, or None.
        metrics: Its metrics, in order.
        seq: Its sequence number; None in a death of the node and in commands.
    """

    timestamp: int | None
    metrics: tuple[Metric, ...] = ()
    seq: int | None = None


# -- writing -----------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= _MORE:
        out.append(value & _SEVEN_BITS | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _block(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | _LENGTH) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _block(field, value.encode("utf-8", "replace"))


def _property(kind: DataType, value: bool | int | str) -> bytes:
    head = _number(_P_TYPE, kind)
    if isinstance(value, str):
        return head + _text(_P_STRING, value)
    return head + _number(_P_BOOLEAN if isinstance(value, bool) else _P_INT, int(value))


def _properties(properties: tuple[PropertyInput, ...]) -> bytes:
    keys = b"".join(_text(_KEYS, key) for key, _, _ in properties)
    return keys + b"".join(_block(_VALUES, _property(kind, value)) for _, kind, value in properties)


def _value(value: MetricValue, datatype: int | None) -> bytes:
    if isinstance(value, str):
        return _text(_STRING, value)
    if datatype == DataType.BOOLEAN:
        return _number(_BOOLEAN, int(bool(value)))
    if datatype == DataType.DOUBLE:
        return _varint(_DOUBLE << 3 | _FIXED64) + struct.pack("<d", value)
    if datatype == DataType.FLOAT:
        return _varint(_FLOAT << 3 | _FIXED32) + struct.pack("<f", value)
    if datatype in _LONG:
        return _number(_LONG_INT, int(value) % (1 << 64))
    return _number(_INT, int(value) % (1 << 32))


def encode_metric(metric: Metric) -> bytes:
    """Write one metric, its value by its type."""
    parts = []
    if metric.name:
        parts.append(_text(_NAME, metric.name))
    if metric.alias is not None:
        parts.append(_number(_ALIAS, metric.alias))
    if metric.timestamp is not None:
        parts.append(_number(_TIMESTAMP, metric.timestamp))
    if metric.datatype is not None:
        parts.append(_number(_DATATYPE, metric.datatype))
    if metric.is_historical:
        parts.append(_number(_HISTORICAL, 1))
    if metric.value is None:
        parts.append(_number(_NULL, 1))
    if metric.properties:
        parts.append(_block(_PROPERTIES, _properties(metric.properties)))
    if metric.value is not None:
        parts.append(_value(metric.value, metric.datatype))
    return b"".join(parts)


def encode(timestamp: int | None, metrics: list[bytes], seq: int | None) -> bytes:
    """Write a payload.

    Args:
        timestamp: As in :class:`Payload`.
        metrics: Of :func:`encode_metric`.
        seq: As in :class:`Payload`.
    """
    head = b"" if timestamp is None else _number(_SENT_AT, timestamp)
    body = b"".join(_block(_METRICS, metric) for metric in metrics)
    return head + body + (b"" if seq is None else _number(_SEQ, seq))


# -- reading -----------------------------------------------------------------------------------


def _broken(why: str, raw: bytes) -> DecodeError:
    return DecodeError(why, source="Sparkplug payload", raw=raw)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for count in range(_MAX_VARINT_BYTES):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & _SEVEN_BITS) << 7 * count
        if byte < _MORE:
            return value & (1 << 64) - 1, at
    raise _broken("a number does not end", data)


_WIDTHS: Final = {_FIXED64: 8, _FIXED32: 4}


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and content of each field: a number for a varint, the bytes for anything else.

    Raises:
        DecodeError: The message is broken.
    """
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        if kind == _LENGTH:
            size, at = _read_varint(data, at)
        elif kind in _WIDTHS:
            size = _WIDTHS[kind]
        else:
            raise _broken(f"wire type {kind} is none", data)
        if at + size > len(data):
            raise _broken("it is cut", data)
        yield key >> 3, data[at : at + size]
        at += size


def decode(data: bytes) -> Payload:
    """Read a payload.

    Raises:
        DecodeError: It is none.
    """
    timestamp = seq = None
    metrics = []
    for number, content in _fields(data):
        if number == _METRICS and isinstance(content, bytes):
            metrics.append(_metric(content))
            if len(metrics) > MAX_METRICS:
                raise _broken(f"more than {MAX_METRICS} metrics", data)
        elif number == _SENT_AT and isinstance(content, int):
            timestamp = content
        elif number == _SEQ and isinstance(content, int):
            seq = content
    return Payload(timestamp, tuple(metrics), seq)


def _metric(data: bytes) -> Metric:
    numbers: dict[int, int] = {}
    name, properties = "", ()  # type: tuple[str, tuple[PropertyInput, ...]]
    found: tuple[int, int | bytes] | None = None
    for number, content in _fields(data):
        if number >= _INT:
            found = number, content
        elif isinstance(content, int):
            numbers[number] = content
        elif number == _NAME:
            name = _string(content)
        elif number == _PROPERTIES:
            properties = _read_properties(content)
    datatype = numbers.get(_DATATYPE)
    return Metric(
        name,
        numbers.get(_ALIAS),
        numbers.get(_TIMESTAMP),
        datatype,
        None if found is None or numbers.get(_NULL) else _read_value(*found, datatype),
        bool(numbers.get(_HISTORICAL)),
        properties,
    )


def _string(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as exc:
        raise _broken("a text is not UTF-8", content) from exc


def _read_value(number: int, content: int | bytes, datatype: int | None) -> MetricValue | None:
    """Read the value of a metric; None for kinds that no command has (bytes, data sets)."""
    if isinstance(content, int):
        if number == _BOOLEAN:
            return bool(content)
        if number == _INT:
            return _signed(content & (1 << 32) - 1, _INT32_SIGN, datatype)
        return _signed(content, _INT64_SIGN, datatype) if number == _LONG_INT else None
    if number == _STRING:
        return _string(content)
    layout = _LAYOUTS.get((number, len(content)))
    return None if layout is None else float(struct.unpack(layout, content)[0])


_LAYOUTS: Final = {(_DOUBLE, 8): "<d", (_FLOAT, 4): "<f"}


def _signed(value: int, sign: int, datatype: int | None) -> int:
    """Return the number that two's complement means, unless its type has no sign."""
    return value if datatype in _UNSIGNED or value < sign else value - 2 * sign


def _read_properties(data: bytes) -> tuple[PropertyInput, ...]:
    keys: list[str] = []
    values: list[tuple[DataType, bool | int | str]] = []
    for number, content in _fields(data):
        if number == _KEYS and isinstance(content, bytes):
            keys.append(_string(content))
        elif number == _VALUES and isinstance(content, bytes):
            values.append(_read_property(content))
    return tuple((key, *value) for key, value in zip(keys, values, strict=False))


def _read_property(data: bytes) -> tuple[DataType, bool | int | str]:
    kind, value = DataType.STRING, ""  # type: tuple[DataType, bool | int | str]
    for number, content in _fields(data):
        if number == _P_TYPE and content in set(DataType):
            kind = DataType(int(content))
        elif number == _P_STRING and isinstance(content, bytes):
            value = _string(content)
        elif number in (_P_INT, _P_BOOLEAN) and isinstance(content, int):
            value = bool(content) if number == _P_BOOLEAN else content
    return kind, value
