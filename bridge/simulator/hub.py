"""The hub: SignalR's JSON protocol over WebSockets.

Rules:

1. Records end with 0x1E. Several may share a message, and one may be cut over several.
2. A completion goes out only to an invocation that carried an ``invocationId``.
3. Invocations carry exactly ``type``, ``target`` and ``arguments``: pyeasee drops the connection
   on any other key.
4. An id from a negotiation opens one socket, once. A socket without an id is a new connection.
"""

import asyncio
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bridge.simulator.readings import Response, Update, stamp, utc_text, wire_text
from bridge.simulator.scenario import Scenario
from bridge.simulator.web import WSMsgType, web

SEPARATOR = "\x1e"
_quoted = json.encoder.encode_basestring_ascii
HANDSHAKE_TIMEOUT_S = 15.0
MAX_RECORD_BYTES = 1 << 20
# A client that does not read is let go before it holds more than this.
MAX_QUEUE_LENGTH = 200_000

PING = json.dumps({"type": 6}) + SEPARATOR
Replay = Callable[[str], list[Update] | None]


def product_update(update: Update) -> str:
    """Format an observation as a hub record.

    As :func:`invocation` would: a replay of many chargers has a million of them.
    """
    observation_id, reading = update.observation_id, update.reading
    measured_at = stamp(observation_id, reading.measured_at)
    return (
        f'{{"type":1,"target":"ProductUpdate","arguments":[{{"mid":{_quoted(update.charger_id)},'
        f'"dataType":{reading.data_type},"id":{observation_id},"timestamp":{_quoted(measured_at)},'
        f'"value":{_quoted(wire_text(reading.value))}}}]}}{SEPARATOR}'
    )


def command_response(response: Response) -> str:
    """Format a charger response as a hub record."""
    return invocation(
        "CommandResponse",
        {
            "serialNumber": response.charger_id,
            "id": response.command_id,
            "timestamp": utc_text(response.sent_at, "microseconds"),
            "deliveredAt": utc_text(response.delivered_at, "milliseconds"),
            "wasAccepted": response.accepted,
            "resultCode": 0,
            "comment": "",
            "ticks": response.ticks,
        },
    )


def invocation(target: str, *arguments: object) -> str:
    """Format an invocation as a hub record."""
    return _record({"type": 1, "target": target, "arguments": list(arguments)})


def _record(document: dict[str, object]) -> str:
    return json.dumps(document, separators=(",", ":")) + SEPARATOR


@dataclass(slots=True, eq=False)
class Connection:
    """One client.

    Attributes:
        socket: Its WebSocket.
        line: The TCP connection below it.
        subscribed: The chargers it wants to hear of.
        waiting: Records on their way out.
    """

    socket: web.WebSocketResponse
    line: asyncio.Transport | None = None
    subscribed: set[str] = field(default_factory=set)
    waiting: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(MAX_QUEUE_LENGTH))
    partial: str = ""
    greeted: bool = False
    ending: bool = False

    def put(self, record: str) -> None:
        """Queue a record, or drop the client when it does not keep up."""
        try:
            self.waiting.put_nowait(record)
        except asyncio.QueueFull:
            self.abort()

    def end(self) -> None:
        """Close the socket once everything that waits is written."""
        self.ending = True
        self.put("")

    def abort(self) -> None:
        """Close the connection without a message."""
        if self.line is not None:
            self.line.abort()


class Hub:
    """The connected clients of the hub.

    Args:
        scenario: Pings, time-outs and frame sizes.
        replay: Gives the last value of everything a charger said; None for an unknown charger.
    """

    def __init__(self, scenario: Scenario, replay: Replay) -> None:
        self.silent = False
        self.connections: set[Connection] = set()
        self._scenario = scenario
        self._replay = replay
        self._rng = random.Random(f"{scenario.seed}:hub")  # noqa: S311 - a toy hub
        self._offered: dict[str, bool] = {}

    # -- what others say -------------------------------------------------------------------

    def tell(self, happened: Iterable[Update | Response]) -> None:
        """Send events to the subscribed clients."""
        if not self.connections:
            return
        for one in happened:
            listeners = [c for c in self.connections if one.charger_id in c.subscribed]
            if listeners:
                record = product_update(one) if isinstance(one, Update) else command_response(one)
                for connection in listeners:
                    connection.put(record)

    def tell_everybody(self, update: Update) -> None:
        """Send an observation to all clients, subscribed or not."""
        self.tell_all(product_update(update))

    def tell_all(self, text: str) -> None:
        """Send a text to all clients unchanged."""
        for connection in self.connections:
            connection.put(text)

    def drop_all(self) -> None:
        """Drop every connection."""
        for connection in tuple(self.connections):
            connection.abort()

    def close_all(self, error: str | None, *, allow_reconnect: bool) -> None:
        """Send a close message (type 7) to all clients."""
        farewell: dict[str, object] = {"type": 7}
        if error is not None:
            farewell["error"] = error
        if allow_reconnect:
            farewell["allowReconnect"] = True
        self.tell_all(_record(farewell))
        for connection in self.connections:
            connection.end()

    # -- negotiation -----------------------------------------------------------------------

    def negotiate(self, version: int) -> dict[str, object]:
        """Return a negotiation; version 0 has no token, its id is part of the URL."""
        connection_id = f"{self._rng.getrandbits(128):032x}"
        answer: dict[str, object] = {
            "negotiateVersion": min(version, 1),
            "connectionId": connection_id,
            "availableTransports": [{"transport": "WebSockets", "transferFormats": ["Text"]}],
        }
        if version >= 1:
            token = f"{self._rng.getrandbits(128):032x}"
            answer["connectionToken"] = token
            self._offered[token] = True
        else:
            self._offered[connection_id] = True
        return answer

    def admits(self, connection_id: str | None) -> bool:
        """Use up the id of a negotiation; a socket without one is a new connection."""
        return connection_id is None or self._offered.pop(connection_id, False)

    # -- one connection --------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Talk to one client until it goes."""
        socket = web.WebSocketResponse(
            autoping=True, compress=False, max_msg_size=MAX_RECORD_BYTES, timeout=1.0
        )
        await socket.prepare(request)
        connection = Connection(socket, request.transport)
        try:
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self._write(connection))
                if await self._read(connection):
                    connection.end()
                else:
                    writing.cancel()
        except* (ConnectionError, RuntimeError):
            pass  # the line was cut while we wrote: that is how clients go
        finally:
            self.connections.discard(connection)
        return socket

    async def _write(self, connection: Connection) -> None:
        interval_s = self._scenario.ping_interval_s
        while True:
            try:
                async with asyncio.timeout(interval_s):
                    text = await connection.waiting.get()
            except TimeoutError:
                # A record that came in the same moment goes first: it may be the greeting.
                text = PING if connection.greeted and connection.waiting.empty() else ""
            for _ in range(self._scenario.records_per_frame - 1):
                if connection.waiting.empty():
                    break
                text += connection.waiting.get_nowait()
            if text and not self.silent:
                await connection.socket.send_str(text)
                await asyncio.sleep(0)  # a long replay leaves the others their turns
            if connection.ending and connection.waiting.empty():
                await connection.socket.close()
                return

    async def _read(self, connection: Connection) -> bool:
        """Read from a client until it leaves (False) or must be disconnected (True)."""
        socket = connection.socket
        while True:
            patience_s = (
                self._scenario.client_timeout_s if connection.greeted else HANDSHAKE_TIMEOUT_S
            )
            try:
                message = await socket.receive(timeout=patience_s)
            except TimeoutError:
                return True
            if message.type is WSMsgType.TEXT:
                text = message.data
            elif message.type is WSMsgType.BINARY:
                text = message.data.decode(errors="replace")
            else:
                return False
            *records, connection.partial = (connection.partial + text).split(SEPARATOR)
            for record in records:
                if not self._take(connection, record):
                    return True
            if len(connection.partial) > MAX_RECORD_BYTES:
                return True

    def _take(self, connection: Connection, text: str) -> bool:
        """Handle one record; False ends the connection."""
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            connection.put(_record({"type": 7, "error": "The record is not a JSON object."}))
            return False
        if not connection.greeted:
            return self._greet(connection, record)
        if record.get("type") == 1:
            self._invoke(connection, record)
        return record.get("type") != 7  # noqa: PLR2004 - the protocol's close

    def _greet(self, connection: Connection, record: dict[str, object]) -> bool:
        if record.get("protocol") != "json" or record.get("version") != 1:
            connection.put(_record({"error": "Only version 1 of the JSON protocol is spoken."}))
            return False
        connection.put("{}" + SEPARATOR)
        connection.greeted = True
        self.connections.add(connection)
        return True

    def _invoke(self, connection: Connection, record: dict[str, object]) -> None:
        target = str(record.get("target", "")).lower()
        arguments = record.get("arguments")
        error: str | None = "The method does not exist."
        match target, arguments:
            case "subscribewithcurrentstate", [str(charger_id), bool(with_state)]:
                error = self._subscribe(connection, charger_id, with_state=with_state)
            case "unsubscribe", [str(charger_id), *_]:
                connection.subscribed.discard(charger_id)
                error = None
            case "subscribewithcurrentstate" | "unsubscribe", _:
                error = "The arguments do not fit the method."
        invocation_id = record.get("invocationId")
        if invocation_id is not None:
            outcome = {"result": None} if error is None else {"error": error}
            connection.put(_record({"type": 3, "invocationId": invocation_id, **outcome}))

    def _subscribe(
        self, connection: Connection, charger_id: str, *, with_state: bool
    ) -> str | None:
        updates = self._replay(charger_id)
        if updates is None:
            return "The product is not known."
        connection.subscribed.add(charger_id)
        if with_state:
            for update in updates:
                connection.put(product_update(update))
        return None
