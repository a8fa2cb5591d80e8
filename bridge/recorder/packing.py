"""Packed form of what is recorded, in memory only: small, and made in a short time.

Rules:

1. Observations and acknowledgements are nearly all there is. They have a form of their own, which
   is encoded in C; every other event has its plain form.
2. What is unpacked is the plain form, whichever form it had.
3. Several values are encoded together, and compressed when there are :data:`CHUNK_BYTES` of them.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from bridge.core.events import Event, MqttAcked, ObservationsReceived, Tick, ValuesAcked
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.recorder.links import LinkCall
from bridge.recorder.values import Plain, plain

CHUNK_BYTES: Final = 32 * 1024
# Of zlib: the fastest, with 48 KiB of its own instead of 268.
LEVEL, WINDOW_BITS, MEMORY = 1, 13, 5
# So many values are encoded together.
TOGETHER: Final = 32
# What Python adds to a bytes object and to its place in a list.
OBJECT_BYTES: Final = 48
# An event or a call of a convention, when it was handled and how many effects it had (-1: the core
# raised); a number: so often the deadline was asked for.
Entry = tuple[Event | LinkCall, Timestamp, int] | int

OTHER, OBSERVATIONS, VALUES_ACKED, ACKED, TICK, CALL = range(6)


def plain_entry(entry: Entry) -> Plain:
    """Return the plain form of an entry."""
    if isinstance(entry, int):
        return entry
    event, now, effects = entry
    return [plain(event), plain(now), effects]


def packed(entry: Entry) -> Any:
    """Return what is encoded of an entry; :func:`unpacked_entry` reads it."""
    if isinstance(entry, int):
        return entry
    event, now, effects = entry
    wall, told = now.wall, now.told
    form = FORMS.get(type(event))
    if form is None or wall.tzinfo is not UTC or (told is not None and told.tzinfo is not UTC):
        return [OTHER, plain_entry(entry)]
    number, content = form
    if number == CALL and event.message is not None:  # type: ignore[union-attr]
        return [OTHER, plain_entry(entry)]
    return [number, effects, (wall, now.mono_s, now.trusted, told), content(event)]


def _of_observations(event: Any) -> Any:
    held = [astuple(one) for one in event.observations]
    # Only the partner feed has receipts.
    return held, event.source, None if event.receipt is None else plain(event.receipt)


def _of_values(event: Any) -> Any:
    return [astuple(one) for one in event.messages], [astuple(one) for one in event.returned]


FORMS: Final[Mapping[type, tuple[int, Callable[[Any], Any]]]] = {
    ObservationsReceived: (OBSERVATIONS, _of_observations),
    ValuesAcked: (VALUES_ACKED, _of_values),
    MqttAcked: (ACKED, lambda event: (astuple(event.message), event.reason_code)),
    Tick: (TICK, lambda _event: None),
    LinkCall: (CALL, lambda call: (call.link, call.call, call.times)),
}


def unpacked_entry(held: Any) -> Plain:
    """Return the plain form of an entry that was packed."""
    if isinstance(held, int):
        return held
    number, *rest = held
    if number == OTHER:
        return rest[0]
    effects, moment, content = rest
    return [_event(number, content), plain(Timestamp(*moment)), effects]


def _event(number: int, content: Any) -> Plain:
    if number == OBSERVATIONS:
        held, source, receipt = content
        said = plain(ObservationsReceived(tuple(RawObservation(*one) for one in held), source))
        if receipt is not None:
            said[-1] = receipt
        return said
    if number == VALUES_ACKED:
        return plain(ValuesAcked(*(tuple(map(_message, each)) for each in content)))
    if number == ACKED:
        return plain(MqttAcked(_message(content[0]), content[1]))
    if number == CALL:
        link, call, times = content
        return plain(LinkCall(link, call, None, times))
    return plain(Tick())


def _message(held: list[Any]) -> Publish:
    at = Publish.__struct_fields__.index("user_properties")
    held[at] = tuple(map(tuple, held[at]))
    return Publish(*held)


def _compressed(said: bytes | bytearray) -> bytes:
    compressing = zlib.compressobj(LEVEL, zlib.DEFLATED, WINDOW_BITS, MEMORY)
    return compressing.compress(said) + compressing.flush()


class Packer:
    """Encodes and compresses values, in order."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._size = 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._open = bytearray()

    def add(self, values: list[Any]) -> None:
        """Add some values.

        Raises:
            OverflowError: There is an integer of more than 64 bits in them.
        """
        said = self._encode(values)
        self._open += len(said).to_bytes(4, "big")
        self._open += said
        if len(self._open) >= CHUNK_BYTES:
            self.close()

    def add_entries(self, entries: list[Entry]) -> None:
        """Add entries."""
        try:
            self.add(list(map(packed, entries)))
        except OverflowError:  # an integer of more than 64 bits, which has a plain form
            self.add([[OTHER, plain_entry(entry)] for entry in entries])

    def close(self) -> None:
        """Compress what is not compressed yet."""
        if self._open:
            chunk = _compressed(self._open)
            self._chunks.append(chunk)
            self._size += len(chunk) + OBJECT_BYTES
            self._open = bytearray()

    @property
    def parts(self) -> tuple[bytes, ...]:
        """Return what :func:`unpacked` reads."""
        return (*self._chunks, _compressed(self._open))

    @property
    def bytes(self) -> int:
        """How much memory is taken."""
        return self._size + len(self._open)


class Packed:
    """Values that are kept packed, to be gone through as often as wanted.

    Args:
        values: What is packed.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        packer = Packer()
        left = iter(values)
        while some := list(islice(left, TOGETHER)):
            packer.add(some)
        self._parts = packer.parts

    def __iter__(self) -> Iterator[Any]:
        """Yield them in order."""
        return unpacked(self._parts)


def unpacked(parts: Iterable[bytes]) -> Iterator[Any]:
    """Yield what was added to a packer, one by one."""
    decode = msgspec.msgpack.Decoder().decode
    for part in parts:
        said = memoryview(zlib.decompress(part))
        at = 0
        while at < len(said):
            size = int.from_bytes(said[at : at + 4], "big")
            yield from decode(said[at + 4 : at + 4 + size])
            at += 4 + size
