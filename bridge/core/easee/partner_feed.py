"""The partner feed: messages of the operator's RabbitMQ queue to observations and back.

The vendor publishes neither routing keys nor bodies. What is expected is in :data:`KINDS` and
:data:`FIELDS`; anything else becomes a counted :class:`~bridge.core.events.StreamAnomaly` that
names what was seen, never an error. Expected (inferred from the vendor's libraries):

======================  ==========================================================================
routing key             body
======================  ==========================================================================
``{MID}.O.{id}``        ``{"Timestamp": …, "Value": …}``, or an observation as the hub sends it
``{MID}.OP.{type}``     a list of observations, bare or below one name
``{MID}.CR.{id}.{t}``   ``{"WasAccepted": …, "ResultCode": …}``; ``t`` are the command's ticks
``{MID}.P.{n}``         a pulse: the device is connected or not; not read
======================  ==========================================================================

Charger and id are taken from the body, and from the key where the body has none.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from bridge.core.easee.exchange_commands import ExchangeCommand
from bridge.core.easee.observation_json import lowered, observation, whole
from bridge.core.easee.rest_requests import CloudRequest, Endpoint
from bridge.core.easee.signalr import sanitize
from bridge.core.events import ChargerResponse, StreamAnomaly
from bridge.core.records.observation import RawObservation
from bridge.core.value_format import iso_utc
from bridge.errors import DecodeError

MAX_BODY_BYTES = 1 << 20
# JSON in JSON in JSON is somebody's mistake that can still be read.
MAX_LEVELS = 3
# The parts of a routing key behind the charger, and what they say.
OBSERVATION, PACKAGE, RESPONSE, PULSE = "O", "OP", "CR", "P"
KINDS: Final = frozenset({OBSERVATION, PACKAGE, RESPONSE, PULSE})
# Names of a field in lower case, the usual one first.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "mid": ("mid", "serialnumber", "deviceid", "chargerid"),
    "id": ("id", "observationid"),
    "timestamp": ("timestamp", "time"),
    "value": ("value",),
    "datatype": ("datatype", "type"),
}

_ANY = msgspec.json.Decoder()

FeedItem = RawObservation | ChargerResponse | StreamAnomaly


class RoutingKey(msgspec.Struct, frozen=True):
    """What a routing key says.

    Attributes:
        charger_id: Serial, as it came; empty where the key has none.
        kind: One of :data:`KINDS`, or empty.
        number: Observation or command id, or None.
        ticks: Of a response, or None.
    """

    charger_id: str = ""
    kind: str = ""
    number: int | None = None
    ticks: int | None = None


class FeedLogin(msgspec.Struct, frozen=True):
    """Where the feed is, as ``GET /api/streams/amqp/v2`` tells.

    Attributes:
        host: Of the broker.
        port: Of the broker.
        tls: TLS is used.
        virtual_host: Mostly ``"/"``.
        username: For the broker.
        password: For the broker; kept out of the repr.
        queue: To consume from.
        exchange: For commands; empty where none is told.
    """

    host: str
    port: int
    tls: bool
    virtual_host: str
    username: str
    password: str
    queue: str
    exchange: str

    def __repr__(self) -> str:
        return f"FeedLogin({self.host!r}, {self.port}, {self.queue!r})"


def command_exchange(queue: str) -> str:
    """Return the exchange for commands that belongs to a queue by its name; empty for none."""
    operator, dot, kind = queue.rpartition(".")
    return f"{operator}.C.X" if dot and operator and kind == "Q" else ""


def login_request() -> CloudRequest:
    """Return the request for the feed's address and credentials (integration accounts only)."""
    return CloudRequest("GET", "/api/streams/amqp/v2", Endpoint.OTHER)


def read_login(body: bytes) -> FeedLogin:
    """Read the answer to :func:`login_request`.

    Raises:
        DecodeError: It has no server, user or queue. Its content is not repeated.
    """
    try:
        document = _ANY.decode(body)
    except (ValueError, RecursionError):
        document = None
    entry = lowered(document) if isinstance(document, dict) else {}
    texts = {
        name: found if isinstance(found := entry.get(name), str) else ""
        for name in ("server", "username", "password", "queuename", "exchangename", "virtualhost")
    }
    for name in ("server", "username", "password", "queuename"):
        if not texts[name]:
            raise DecodeError(f"no {name}", source="the address of the partner feed")
    return FeedLogin(
        texts["server"],
        whole(entry.get("port")) or 5671,
        entry.get("usessl") is not False,
        texts["virtualhost"] or "/",
        texts["username"],
        texts["password"],
        texts["queuename"],
        texts["exchangename"],
    )


def read_key(routing_key: str) -> RoutingKey:
    """Read a routing key; what it does not have stays empty."""
    charger_id, kind, number, ticks = (*routing_key.split("."), "", "", "", "")[:4]
    if kind.upper() not in KINDS:
        return RoutingKey()
    return RoutingKey(charger_id, kind.upper(), whole(number), whole(ticks))


def charger_of(routing_key: str, body: bytes) -> str:
    """Return the serial of the charger that a message is about; empty where it names none.

    Where the routing key has it the body is not read.
    """
    if charger_id := read_key(routing_key).charger_id:
        return charger_id
    named = (getattr(item, "charger_id", "") for item in read(routing_key, body))
    return next(filter(None, named), "")


def read(routing_key: str, body: bytes) -> list[FeedItem]:
    """Read one message; never raises.

    Args:
        routing_key: Of the message.
        body: Of the message.

    Returns:
        What it says, in order, with what could not be read as anomalies.
    """
    key = read_key(routing_key)
    if key.kind == PULSE:
        return []
    if len(body) > MAX_BODY_BYTES:
        return [StreamAnomaly("oversized", f"over {MAX_BODY_BYTES} bytes")]
    try:
        document = _ANY.decode(body)
    except (ValueError, RecursionError):
        return [StreamAnomaly("broken_frame", f"{len(body)} bytes that are not JSON")]
    found: list[FeedItem] = []
    for entry in _entries(document):
        try:
            found.append(_item(lowered(entry), key))
        except DecodeError as error:
            found.append(StreamAnomaly("bad_arguments", f"{sanitize(key.kind)}: {error.reason}"))
    if not found:
        what = sanitize(key.kind or routing_key.partition(".")[2] or "no routing key")
        found.append(StreamAnomaly("unknown_target", f"{what}: no object in the body"))
    return found


def _entries(document: object, levels: int = MAX_LEVELS) -> Iterator[Mapping[str, object]]:
    """Return the objects that are meant: of a list, below a single name, or in a JSON text."""
    if isinstance(document, str) and levels:
        try:
            document = _ANY.decode(document)
        except (ValueError, RecursionError):
            return
    if isinstance(document, list):
        for each in document:
            if isinstance(each, dict | list | str) and levels:
                yield from _entries(each, levels - 1)
    elif isinstance(document, dict):
        holders = [each for each in document.values() if isinstance(each, list)]
        if len(holders) == 1 and levels and "value" not in lowered(document):
            yield from _entries(holders[0], levels - 1)
        else:
            yield document


def _item(entry: dict[str, object], key: RoutingKey) -> FeedItem:
    """Read one object.

    Raises:
        DecodeError: It is neither an observation nor a response.
    """
    named = {name: _first(entry, names) for name, names in FIELDS.items()}
    charger_id = named["mid"] if isinstance(named["mid"], str) else key.charger_id
    if key.kind == RESPONSE or "wasaccepted" in entry:
        return _response(entry, named, charger_id, key)
    if named["id"] is None:
        named["id"] = key.number
    if not charger_id:
        raise DecodeError("no charger in body or routing key", source="partner feed")
    return observation(named, charger_id)


def _first(entry: Mapping[str, object], names: tuple[str, ...]) -> object:
    return next((entry[name] for name in names if name in entry), None)


def _response(
    entry: Mapping[str, object], named: Mapping[str, object], charger_id: str, key: RoutingKey
) -> ChargerResponse:
    accepted = entry.get("wasaccepted")
    if not isinstance(accepted, bool):
        raise DecodeError("wasAccepted is not true or false", source="partner feed")
    number, ticks = whole(named["id"]), whole(entry.get("ticks"))
    return ChargerResponse(
        charger_id,
        key.number if number is None else number,
        key.ticks if ticks is None else ticks,
        accepted,
        whole(entry.get("resultcode")),
    )


# -- commands ------------------------------------------------------------------------------------


def command_key(command: ExchangeCommand) -> str:
    """Return the routing key of a command."""
    return f"{command.charger_id}.C.{command.command_id}.{command.ticks}"


def command_body(command: ExchangeCommand) -> bytes:
    """Return the body of a command that has an expiry."""
    until = None if command.expires_at is None else iso_utc(command.expires_at)
    listed = [{"Id": number, "Value": text} for number, text in command.arguments]
    document = {"Id": command.command_id, "ExpiresAt": until, "Arguments": listed}
    return msgspec.json.encode(document)
