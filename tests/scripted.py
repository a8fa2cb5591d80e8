"""A broker that does what a test says, over a loopback socket: MQTT 5 and 3.1.1, byte by byte.

It reads only as much as it needs and writes whatever it is told, also what no broker would.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 4, 8, 12, 14
CLOSE = -1
SILENCE = -2


def varint(value: int) -> bytes:
    """Spell a variable byte integer."""
    spelled = bytearray()
    while True:
        value, digit = divmod(value, 128)
        spelled.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(spelled)


def text(data: bytes) -> bytes:
    """Spell a text or binary data: its length and itself."""
    return struct.pack("!H", len(data)) + data


def packet(head: int, body: bytes) -> bytes:
    """Spell a packet."""
    return bytes([head]) + varint(len(body)) + body


def publish(
    topic: bytes, payload: bytes, properties: bytes = b"", *, packet_id: int = 0, head: int = 0x30
) -> bytes:
    """Spell a PUBLISH of MQTT 5, at QoS 1 where there is a packet id."""
    number = struct.pack("!H", packet_id) if packet_id else b""
    body = text(topic) + number + varint(len(properties)) + properties + payload
    return packet(head | (0x02 if packet_id else 0), body)


@dataclass
class Heard:
    """A PUBLISH that came."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    packet_bytes: int


@dataclass
class Scripted:
    """One broker.

    Attributes:
        connack: The properties of its CONNACK (MQTT 5).
        granted: The reason code for a filter.
        answers: The reason code for a PUBLISH, :data:`CLOSE`, :data:`SILENCE`, or bytes to send
            before it closes.
        hellos: What came as CONNECT: protocol level and flags.
        heard: What was published, by whichever client.
        subscribed: Filters, in order.
        subscriptions: How many filters each SUBSCRIBE had.
        unsubscribed: Filters, in order.
        acked: Packet ids that clients acknowledged.
        writers: One for each connection.
    """

    connack: bytes = b""
    granted: Callable[[str], int] = lambda _: 1
    answers: Callable[[Heard], int | bytes] = lambda _: 0
    hellos: list[tuple[int, int, str]] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    subscribed: list[str] = field(default_factory=list)
    subscriptions: list[int] = field(default_factory=list)
    unsubscribed: list[str] = field(default_factory=list)
    acked: list[int] = field(default_factory=list)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    port: int = 0

    def connects(self, client_id: str) -> int:
        """Return how often a client connected."""
        return sum(name == client_id for _, _, name in self.hellos)

    def topics(self) -> list[str]:
        """Return what was published to, in order."""
        return [heard.topic for heard in self.heard]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.writers.append(writer)
        five = False
        try:
            while True:
                head = (await reader.readexactly(1))[0]
                size = shift = 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    size |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
                body = await reader.readexactly(size)
                if head >> 4 == CONNECT:
                    five = self._hello(body, writer)
                elif self._is_over(head, body, writer, five=five):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _hello(self, body: bytes, writer: asyncio.StreamWriter) -> bool:
        five = body[6] == 5
        at = 10
        if five:
            at += 1 + body[at]
        size = int.from_bytes(body[at : at + 2], "big")
        self.hellos.append((body[6], body[7], body[at + 2 : at + 2 + size].decode()))
        properties = varint(len(self.connack)) + self.connack if five else b""
        writer.write(packet(0x20, b"\x00\x00" + properties))
        return five

    def _is_over(self, head: int, body: bytes, writer: asyncio.StreamWriter, *, five: bool) -> bool:
        match head >> 4:
            case 8:
                self._subscribe(body, writer, five=five)
            case 10:
                self._unsubscribe(body, writer, five=five)
            case 3:
                return self._take(head, body, writer, five=five)
            case 4:
                self.acked.append(int.from_bytes(body[:2], "big"))
            case 12:
                writer.write(b"\xd0\x00")
            case 14:
                return True
        return False

    def _subscribe(self, body: bytes, writer: asyncio.StreamWriter, *, five: bool) -> None:
        at = 3 + body[2] if five else 2
        codes = b""
        while at < len(body):
            size = int.from_bytes(body[at : at + 2], "big")
            name = body[at + 2 : at + 2 + size].decode()
            at += 3 + size
            self.subscribed.append(name)
            codes += bytes([self.granted(name)])
        self.subscriptions.append(len(codes))
        writer.write(packet(0x90, body[:2] + (b"\x00" if five else b"") + codes))

    def _unsubscribe(self, body: bytes, writer: asyncio.StreamWriter, *, five: bool) -> None:
        at, count = 3 + body[2] if five else 2, 0
        while at < len(body):
            size = int.from_bytes(body[at : at + 2], "big")
            self.unsubscribed.append(body[at + 2 : at + 2 + size].decode())
            at, count = at + 2 + size, count + 1
        writer.write(packet(0xB0, body[:2] + (b"\x00" + bytes(count) if five else b"")))

    def _take(self, head: int, body: bytes, writer: asyncio.StreamWriter, *, five: bool) -> bool:
        qos = head >> 1 & 3
        size = int.from_bytes(body[:2], "big")
        at = 2 + size
        number = body[at : at + 2] if qos else b""
        at += len(number)
        if five:
            length = shift = 0
            while True:
                byte = body[at]
                at += 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            at += length
        whole = len(packet(head, body))
        heard = Heard(body[2 : 2 + size].decode(), body[at:], qos, bool(head & 1), whole)
        answer = self.answers(heard)
        if isinstance(answer, bytes):
            writer.write(answer)
            return True
        if answer == CLOSE:
            return True
        if answer < 0x80:
            self.heard.append(heard)
        if answer != SILENCE and qos:
            coded = bytes([answer]) if five and answer else b""
            writer.write(packet(0x40, number + coded))
        return False


@contextlib.asynccontextmanager
async def scripted(broker: Scripted) -> AsyncIterator[Scripted]:
    """Have a broker listen on a port of its own; it ends with the block."""
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        for writer in broker.writers:
            writer.close()
