"""The hub protocol: bytes to messages and back.

The vendor's hub speaks SignalR's JSON protocol over a WebSocket. Rules:

1. A record ends with byte 0x1E. A frame may hold several records, a record may be split over
   frames; what is decoded never depends on how the bytes were cut.
2. Decoding is total. What cannot be read becomes a :class:`StreamAnomaly` and is counted; it never
   ends the connection. (A client that hung up on a target it did not know, SubscribeToMyProduct,
   lost the stream for days: evcc#11486.)
3. The first record without a ``type`` answers our handshake. Everything else has a ``type``.
4. Nearly every record is a ProductUpdate, so those are decoded in one typed step, straight into
   what the core takes. Whatever does not fit that step exactly is read again, slowly and
   tolerantly, as REST's are: :mod:`bridge.core.easee.observation_json`.
5. Pings, empty records and records that say the same again cost next to nothing, however many come.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from typing import Literal, cast

import msgspec

from bridge.core.easee.observation_json import MAX_ID, lowered, observation, whole
from bridge.core.events import ChargerResponse, ObservationsReceived, StreamAnomaly
from bridge.core.records.observation import RawObservation
from bridge.errors import DecodeError

RECORD_END = b"\x1e"
# The vendor's .NET hub and pysignalr both stop at 1 MiB; one observation is a few kB at most.
MAX_RECORD_BYTES = 1 << 20
MAX_TEXT_LENGTH = 120
# No update fits into a record this short, only what a hub may send very often: pings and rubbish.
SHORT_RECORD_BYTES = 32
MAX_CACHED_RECORDS = 64
# A record may hold very many observations; the caller does other work in between.
MAX_BATCH = 256


# -- messages ----------------------------------------------------------------------------------


class HandshakeResponse(msgspec.Struct, frozen=True):
    """The hub's response to the handshake, with its error if refused.

    Attributes:
        error: None when it was taken.
    """

    error: str | None = None


class Completion(msgspec.Struct, frozen=True):
    """The hub completed an invocation.

    Attributes:
        invocation_id: The id we gave the call; empty when the hub sent none.
        error: Why it failed, safe to log; None when it did not.
    """

    invocation_id: str
    error: str | None = None


class Close(msgspec.Struct, frozen=True):
    """The hub is about to hang up.

    Attributes:
        error: Why, safe to log; None for an orderly close.
        allow_reconnect: False when the hub said that it would rather not see us again soon.
    """

    error: str | None = None
    allow_reconnect: bool = True


_Single = ChargerResponse | StreamAnomaly | HandshakeResponse | Completion | Close
HubMessage = RawObservation | _Single
HubItem = ObservationsReceived | _Single


def batch_observations(messages: Iterable[HubMessage]) -> Iterator[HubItem]:
    """Join what follows each other, observations or oddities; keep the order of everything."""
    for kind, run in groupby(messages, type):
        if kind is RawObservation:
            together = tuple(cast("Iterable[RawObservation]", run))
            for start in range(0, len(together), MAX_BATCH):
                yield ObservationsReceived(together[start : start + MAX_BATCH])
        elif kind is StreamAnomaly:
            yield from _joined(cast("Iterable[StreamAnomaly]", run))
        else:
            yield from cast("Iterable[_Single]", run)


def _joined(anomalies: Iterable[StreamAnomaly]) -> Iterator[StreamAnomaly]:
    """Count those of one kind together; the first one says what it looked like."""
    found: dict[str, StreamAnomaly] = {}
    times: Counter[str] = Counter()
    for anomaly in anomalies:
        found.setdefault(anomaly.kind, anomaly)
        times[anomaly.kind] += anomaly.times
    for kind, first in found.items():
        yield StreamAnomaly(kind, first.detail, times[kind])


# -- decoding ----------------------------------------------------------------------------------


class _ProductUpdate(msgspec.Struct, gc=False):
    type: Literal[1]
    target: Literal["ProductUpdate"]
    arguments: tuple[RawObservation]


_TYPED = msgspec.json.Decoder(_ProductUpdate)
_ANY = msgspec.json.Decoder()
_NESTED: frozenset[type] = frozenset({dict, list})
_OVERSIZED = StreamAnomaly("oversized", f"over {MAX_RECORD_BYTES} bytes")


class Decoder:
    """Turns what the socket delivers into messages. One per connection."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._skipping = False
        self._shaken = False

    def feed(self, data: bytes | str) -> list[HubMessage]:
        """Process the next bytes and return the messages they complete, in order. Never raises."""
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogatepass")
        messages: list[HubMessage] = []
        *records, rest = data.split(RECORD_END)
        if records:
            records[:1] = self._finished(records[0], messages)
        decode, take = _TYPED.decode, messages.append
        for record in filter(None, records):
            if len(record) < SHORT_RECORD_BYTES and self._shaken:
                messages += _read_short(record)
                continue
            try:
                (observation,) = decode(record).arguments
            except (ValueError, RecursionError):
                messages += self._read_slowly(record)
                continue

            if (
                type(observation.value) in _NESTED
                or not 0 <= observation.id <= MAX_ID
                or len(record) > MAX_RECORD_BYTES
            ):
                messages += self._read_slowly(record)
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
        """Store a part of a record, up to the size limit."""
        if self._skipping:
            return
        if len(self._held) + len(part) <= MAX_RECORD_BYTES:
            self._held += part
            return
        self._held.clear()
        self._skipping = True
        messages.append(_OVERSIZED)

    def _read_slowly(self, record: bytes) -> tuple[HubMessage, ...]:
        if len(record) > MAX_RECORD_BYTES:
            return (_OVERSIZED,)
        messages, answers = _read(record, shaken=self._shaken)
        self._shaken |= answers
        return messages


def _read(record: bytes, *, shaken: bool) -> tuple[tuple[HubMessage, ...], bool]:
    """Read any record.

    Args:
        record: The record.
        shaken: The hub has answered our handshake.

    Returns:
        What it says, nothing for a ping or an empty record, and whether it answers the handshake.
    """
    if record.isspace():
        return (), False
    try:
        message = _ANY.decode(record)
    except (ValueError, RecursionError):
        return _odd("broken_frame", f"{len(record)} bytes that are not JSON"), False
    if not isinstance(message, dict):
        return _odd("broken_frame", f"a record that is a {type(message).__name__}"), False
    kind = message.get("type")
    if kind is None and not shaken:
        return (HandshakeResponse(_text(message.get("error"))),), True
    read = _READERS.get(kind) if type(kind) is int else None
    if read is None:
        return _odd("broken_frame", f"record type {sanitize(kind)}"), False
    return read(message), False


@lru_cache(maxsize=MAX_CACHED_RECORDS)
def _read_short(record: bytes) -> tuple[HubMessage, ...]:
    """Read a record behind the handshake, once for all that say the same."""
    return _read(record, shaken=True)[0]


def _odd(kind: str, detail: str) -> tuple[HubMessage, ...]:
    return (StreamAnomaly(kind, detail),)


def _invocation(message: Mapping[str, object]) -> tuple[HubMessage, ...]:
    """Read what the hub tells: a record in each argument, or in the elements of one."""
    target = message.get("target")
    read = _TARGETS.get(target.lower()) if isinstance(target, str) else None
    if read is None:
        return _odd("unknown_target", sanitize(target))
    found: list[HubMessage] = []
    refused: list[str] = []
    for argument in _records(message.get("arguments")):
        try:
            found.append(read(lowered(argument)))
        except DecodeError as error:
            refused.append(error.reason)
    if not found and not refused:
        refused.append("no object")
    if refused:
        detail = f"{sanitize(target)}: {refused[0]}"
        found.append(StreamAnomaly("bad_arguments", detail, len(refused)))
    return tuple(found)


def _records(arguments: object) -> Iterator[Mapping[str, object]]:
    """Return the objects among the arguments, and in the lists among them."""
    for argument in arguments if isinstance(arguments, list) else ():
        for record in argument if isinstance(argument, list) else (argument,):
            if isinstance(record, dict):
                yield record


def _product_update(argument: Mapping[str, object]) -> HubMessage:
    return observation(argument, argument.get("mid"))


def _command_response(argument: Mapping[str, object]) -> HubMessage:
    charger_id = argument.get("serialnumber")
    if not isinstance(charger_id, str):
        raise DecodeError("serialNumber is not text", source="CommandResponse")
    accepted = argument.get("wasaccepted")
    if not isinstance(accepted, bool):
        raise DecodeError("wasAccepted is not true or false", source="CommandResponse")
    return ChargerResponse(
        charger_id,
        whole(argument.get("id")),
        whole(argument.get("ticks")),
        accepted,
        whole(argument.get("resultcode")),
    )


def _completion(message: Mapping[str, object]) -> tuple[HubMessage, ...]:
    invocation_id = message.get("invocationId")
    called = invocation_id if isinstance(invocation_id, str) else ""
    return (Completion(called, _text(message.get("error"))),)


def _ping(_message: Mapping[str, object]) -> tuple[HubMessage, ...]:
    return ()


def _close(message: Mapping[str, object]) -> tuple[HubMessage, ...]:
    allow_reconnect = message.get("allowReconnect") is not False
    return (Close(_text(message.get("error")), allow_reconnect),)


# ChargerUpdate is a legacy target that is not decoded; like all others it is counted and skipped.
_TARGETS: Mapping[str, Callable[[Mapping[str, object]], HubMessage]] = {
    "productupdate": _product_update,
    "commandresponse": _command_response,
}
_READERS: Mapping[int, Callable[[Mapping[str, object]], tuple[HubMessage, ...]]] = {
    1: _invocation,
    3: _completion,
    6: _ping,
    7: _close,
}


def _text(value: object) -> str | None:
    return None if value is None else sanitize(value)


def sanitize(value: object) -> str:
    """Return an external value as text for a log line: short and printable."""
    if isinstance(value, int):
        return str(value)[:MAX_TEXT_LENGTH]
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    return "".join(c if c.isprintable() else "?" for c in value[:MAX_TEXT_LENGTH])


# -- encoding ----------------------------------------------------------------------------------

HANDSHAKE = '{"protocol":"json","version":1}\x1e'
PING = '{"type":6}\x1e'


def subscribe(charger_id: str, invocation_id: str) -> str:
    """Return the invocation that subscribes to a charger's observations.

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
