"""The hub protocol: bytes to messages and back.

The vendor's hub speaks SignalR's JSON protocol over a WebSocket. Rules:

1. A record ends with byte 0x1E. A frame may hold several records, a record may be split over
   frames; what is decoded never depends on how the bytes were cut.
2. Decoding is total. What cannot be read becomes a :class:`StreamOddity` and is counted; it never
   ends the connection. (A client that hung up on a target it did not know, SubscribeToMyProduct,
   lost the stream for days: evcc#11486.)
3. The first record without a ``type`` answers our handshake. Everything else has a ``type``.
4. Nearly every record is a ProductUpdate, so those are decoded in one typed step, straight into
   what the core takes. Whatever does not fit that step exactly is read again, slowly and
   tolerantly.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, cast

import msgspec

from bridge.core.events import CommandResponse, Observed, RawObservation, StreamOddity

RECORD_END = b"\x1e"
# The vendor's .NET hub and pysignalr both stop at 1 MiB; one observation is a few kB at most.
LONGEST_RECORD_BYTES = 1 << 20
# Values are text on the stream. Whatever else comes must stay shallow enough that no later code
# can run out of stack on it.
DEEPEST_VALUE = 16
LARGEST_ID = 2**31 - 1
# A float holds integers exactly up to here; ticks are above it and must come as integers.
EXACT_FLOAT = 2.0**53
LONGEST_DIGITS = 20
LONGEST_TEXT = 120


# -- messages ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HandshakeAnswer:
    """The hub took our handshake, or said why not.

    Attributes:
        error: None when it was taken.
    """

    error: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """The hub finished a call of ours.

    Attributes:
        invocation_id: The id we gave the call; empty when the hub sent none.
        error: Why it failed, safe to log; None when it did not.
    """

    invocation_id: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """The hub is alive."""


@dataclass(frozen=True, slots=True)
class Close:
    """The hub is about to hang up.

    Attributes:
        error: Why, safe to log; None for an orderly close.
        allow_reconnect: False when the hub would rather not see us again soon.
    """

    error: str | None = None
    allow_reconnect: bool = False


_Single = CommandResponse | StreamOddity | HandshakeAnswer | Completion | Ping | Close
HubMessage = RawObservation | _Single
HubItem = Observed | _Single


def grouped(messages: Iterable[HubMessage]) -> Iterator[HubItem]:
    """Join observations that follow each other into one event; keep the order of everything."""
    for kind, run in groupby(messages, type):
        if kind is RawObservation:
            yield Observed(tuple(cast("Iterable[RawObservation]", run)))
        else:
            yield from cast("Iterable[_Single]", run)


# -- decoding ----------------------------------------------------------------------------------


class _ProductUpdate(msgspec.Struct, gc=False):
    type: Literal[1]
    target: Literal["ProductUpdate"]
    arguments: tuple[RawObservation]


_TYPED = msgspec.json.Decoder(_ProductUpdate)
_ANY = msgspec.json.Decoder()
_NESTED: frozenset[type] = frozenset({dict, list})
_OVERSIZED = StreamOddity("oversized", f"over {LONGEST_RECORD_BYTES} bytes")


class Decoder:
    """Turns what the socket delivers into messages. One per connection."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._skipping = False
        self._shaken = False

    def feed(self, data: bytes | str) -> list[HubMessage]:
        """Take the next bytes and return the messages they complete, in order. Never raises."""
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogatepass")
        messages: list[HubMessage] = []
        *records, rest = data.split(RECORD_END)
        if records:
            records[:1] = self._finished(records[0], messages)
        decode, take = _TYPED.decode, messages.append
        for record in records:
            try:
                (observation,) = decode(record).arguments
            except (ValueError, RecursionError):
                take(self._read_slowly(record))
                continue

            if (
                type(observation.value) in _NESTED
                or not 0 <= observation.id <= LARGEST_ID
                or len(record) > LONGEST_RECORD_BYTES
            ):
                take(self._read_slowly(record))
            else:
                take(observation)
        self._hold(rest, messages)
        return messages

    def _finished(self, end: bytes, messages: list[HubMessage]) -> list[bytes]:
        """Return the record that these bytes are the end of; none when it was too long."""
        if not self._held and not self._skipping:
            return [end]
        self._hold(end, messages)
        record = [] if self._skipping else [bytes(self._held)]
        self._held.clear()
        self._skipping = False
        return record

    def _hold(self, part: bytes, messages: list[HubMessage]) -> None:
        """Keep part of a record, until there is too much of it."""
        if self._skipping:
            return
        if len(self._held) + len(part) <= LONGEST_RECORD_BYTES:
            self._held += part
            return
        self._held.clear()
        self._skipping = True
        messages.append(_OVERSIZED)

    def _read_slowly(self, record: bytes) -> HubMessage:
        if len(record) > LONGEST_RECORD_BYTES:
            return _OVERSIZED
        try:
            message = _ANY.decode(record)
        except (ValueError, RecursionError):
            return StreamOddity("broken_frame", f"{len(record)} bytes that are not JSON")
        if not isinstance(message, dict):
            return StreamOddity("broken_frame", f"a record that is a {type(message).__name__}")
        kind = message.get("type")
        if kind is None and not self._shaken:
            self._shaken = True
            return HandshakeAnswer(_text(message.get("error")))
        read = _READERS.get(kind) if type(kind) is int else None
        if read is None:
            return StreamOddity("broken_frame", f"record type {plain(kind)}")
        return read(message)


def _invocation(message: Mapping[str, object]) -> HubMessage:
    target = message.get("target")
    read = _TARGETS.get(target.lower()) if isinstance(target, str) else None
    if read is None:
        return StreamOddity("unknown_target", plain(target))
    match message.get("arguments"):
        case [dict() as argument, *_]:
            # The documents spell the keys in camelCase, a field log in PascalCase (evcc#8572).
            return read({str(key).lower(): value for key, value in argument.items()})
        case _:
            return StreamOddity("bad_arguments", f"{plain(target)}: no object")


def _product_update(argument: Mapping[str, object]) -> HubMessage:
    observation_id = _whole(argument.get("id"))
    if observation_id is None or not 0 <= observation_id <= LARGEST_ID:
        return StreamOddity("bad_arguments", "ProductUpdate: id is not a number")
    charger_id, timestamp = argument.get("mid"), argument.get("timestamp")
    if not isinstance(charger_id, str) or not isinstance(timestamp, str):
        return StreamOddity(
            "bad_arguments", f"ProductUpdate {observation_id}: mid or timestamp is not text"
        )
    value = argument.get("value")
    if not _is_shallow(value, DEEPEST_VALUE):
        return StreamOddity("bad_arguments", f"ProductUpdate {observation_id}: value is too deep")
    return RawObservation(
        charger_id, observation_id, _whole(argument.get("datatype")), value, timestamp
    )


def _command_response(argument: Mapping[str, object]) -> HubMessage:
    charger_id = argument.get("serialnumber")
    if not isinstance(charger_id, str):
        return StreamOddity("bad_arguments", "CommandResponse: serialNumber is not text")
    accepted = argument.get("wasaccepted")
    if not isinstance(accepted, bool):
        return StreamOddity("bad_arguments", "CommandResponse: wasAccepted is not true or false")
    return CommandResponse(
        charger_id,
        _whole(argument.get("id")),
        _whole(argument.get("ticks")),
        accepted,
        _whole(argument.get("resultcode")),
    )


def _completion(message: Mapping[str, object]) -> HubMessage:
    invocation_id = message.get("invocationId")
    return Completion(
        invocation_id if isinstance(invocation_id, str) else "", _text(message.get("error"))
    )


def _ping(_message: Mapping[str, object]) -> HubMessage:
    return Ping()


def _close(message: Mapping[str, object]) -> HubMessage:
    return Close(_text(message.get("error")), message.get("allowReconnect") is True)


_Reader = Callable[[Mapping[str, object]], HubMessage]

# ChargerUpdate is a legacy target nobody decodes; like all others it is counted and skipped.
_TARGETS: Mapping[str, _Reader] = {
    "productupdate": _product_update,
    "commandresponse": _command_response,
}
_READERS: Mapping[int, _Reader] = {1: _invocation, 3: _completion, 6: _ping, 7: _close}


def _whole(value: object) -> int | None:
    """Read an integer that may be spelled as a float or in digits; None when it is neither."""
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer() and abs(value) < EXACT_FLOAT:
            return int(value)
        case str() if value.isascii() and value.isdigit() and len(value) <= LONGEST_DIGITS:
            return int(value)
        case _:
            return None


def _is_shallow(value: object, levels: int) -> bool:
    match value:
        case dict():
            return levels > 0 and all(_is_shallow(item, levels - 1) for item in value.values())
        case list():
            return levels > 0 and all(_is_shallow(item, levels - 1) for item in value)
        case _:
            return True


def _text(value: object) -> str | None:
    return None if value is None else plain(value)


def plain(value: object) -> str:
    """Make something from outside fit for a log line: short, and printable."""
    if isinstance(value, int):
        return str(value)[:LONGEST_TEXT]
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    return "".join(c if c.isprintable() else "?" for c in value[:LONGEST_TEXT])


# -- encoding ----------------------------------------------------------------------------------

HANDSHAKE = '{"protocol":"json","version":1}\x1e'
PING = '{"type":6}\x1e'


def subscribe(charger_id: str, invocation_id: str) -> str:
    """Ask for a charger's observations, its current state first.

    Args:
        charger_id: Serial.
        invocation_id: Comes back in the :class:`Completion`.
    """
    call = {
        "type": 1,
        "invocationId": invocation_id,
        "target": "SubscribeWithCurrentState",
        "arguments": [charger_id, True],
    }
    return msgspec.json.encode(call).decode() + "\x1e"
