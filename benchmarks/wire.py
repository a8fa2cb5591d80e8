"""A handful of bytes of MQTT and of WebSocket, for programs that use no library."""

import socket

from benchmarks.records import RECORD_END, Fleet

HANDSHAKE = b'{"protocol":"json","version":1}' + RECORD_END
SUBSCRIBE = (
    b'{"type":1,"invocationId":"%b","target":"SubscribeWithCurrentState","arguments":["%b",true]}'
)


def varint(number: int) -> bytes:
    """Spell a length: seven bits a byte."""
    if number < 128:  # noqa: PLR2004 - seven bits
        return bytes((number,))
    made = bytearray()
    while number > 127:  # noqa: PLR2004 - seven bits
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


def text(value: str) -> bytes:
    """Spell a string with its length."""
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def connect_packet(client_id: str) -> bytes:
    """Make a CONNECT: MQTT 5, clean start, no keep-alive."""
    body = b"\0\4MQTT\5\2\0\0\0" + text(client_id)
    return b"\x10" + varint(len(body)) + body


def subscribe_packet(filters: tuple[str, ...]) -> bytes:
    """Make a SUBSCRIBE at QoS 0."""
    body = b"\0\1\0" + b"".join(text(one) + b"\0" for one in filters)
    return b"\x82" + varint(len(body)) + body


def publish_packet(topic: str, payload: bytes, packet_id: int) -> bytes:
    """Make a PUBLISH at QoS 1, without properties."""
    body = text(topic) + packet_id.to_bytes(2, "big") + b"\0" + payload
    return b"\x32" + varint(len(body)) + body


def masked(payload: bytes) -> bytes:
    """Put a text into a frame as a client sends it; the mask is zero, which is one too."""
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2, "big")  # noqa: PLR2004
    return head + b"\0\0\0\0" + payload


def websocket(port: int) -> socket.socket:
    """Open the hub's WebSocket and greet it."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(
        b"GET /hubs/chargers?id=c HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += sock.recv(1)
    sock.sendall(masked(HANDSHAKE))
    return sock


def subscriptions(chargers: int) -> bytes:
    """Ask for every charger of the fleet."""
    return b"".join(
        masked(SUBSCRIBE % (str(number).encode(), serial.encode()) + RECORD_END)
        for number, serial in enumerate(Fleet(chargers).serials)
    )
