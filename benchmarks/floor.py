"""The Python floor: raw sockets, one loop, no library: ``floor.py HUB_PORT MQTT_PORT CHARGERS``.

Frame in, split, one PUBLISH at QoS 1, retained, for every record, as many unacknowledged as the
broker grants. It decodes nothing: the fields are cut out of the record at its quotation marks, so
it only works with the benchmark's own records. It keeps no order, no state and no promise. With
``--properties`` its packets carry what the gateway's carry, byte for byte.
"""

import json
import select
import socket
import sys

from benchmarks.records import PLAIN
from benchmarks.wire import connect_packet, subscriptions, text, varint, websocket

CHUNK = 1 << 18
WINDOW = 1000


def connect(port: int) -> tuple[socket.socket, int]:
    """Connect to the broker; return the socket and how many may be unacknowledged."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(connect_packet("floor"))
    answer = sock.recv(256)
    at = answer.find(b"\x21", 5)  # the first property is Topic Alias Maximum, this the next
    granted = int.from_bytes(answer[at + 1 : at + 3], "big") if at > 0 else 0xFFFF
    return sock, min(WINDOW, granted)


NAMES = {str(spec.id).encode(): spec.name.encode() for spec in PLAIN}


def packet(record: bytes, number: int, heads: dict[bytes, bytes] | None) -> bytes:
    """Turn a record into a PUBLISH packet, for the topic that the gateway uses."""
    parts = record.split(b'"')
    # {"type":1,"target":"ProductUpdate","arguments":[{"mid":"EH100000","dataType":3,"id":7,
    # "timestamp":"2026-11-22T12:00:00.000Z","value":"1.5"}]}
    serial, spec_id, stamp, value = parts[11], parts[16][1:-1], parts[19], parts[23]
    topic = b"charger/%b/state/%b" % (serial, NAMES[spec_id])
    properties = b"\0"
    if heads is not None:
        held = heads[spec_id] % (len(stamp), stamp)
        properties = varint(len(held)) + held
    body = b"%b%b%b%b%b" % (
        len(topic).to_bytes(2, "big"),
        topic,
        number.to_bytes(2, "big"),
        properties,
        value,
    )
    return b"\x33%b%b" % (varint(len(body)), body)


def property_heads() -> dict[bytes, bytes]:
    """Prepare what the gateway says in its user properties; the stamp is filled in."""

    def literal(value: str) -> bytes:
        return text(value).replace(b"%", b"%%")

    return {
        str(spec.id).encode(): b"".join(
            (
                b"\x26%b\x00%%c%%b" % text("measured_at"),
                b"\x26%b%b" % (text("unit"), literal(spec.unit or "")),
                b"\x26%b%b" % (text("id"), literal(str(spec.id))),
            )
        )
        for spec in PLAIN
    }


def forward(hub: socket.socket, broker: socket.socket, window: int, *, properties: bool) -> None:
    """Forward until either side hangs up."""
    heads = property_heads() if properties else None
    ready = select.poll()
    ready.register(broker, select.POLLIN)
    ready.register(hub, select.POLLIN)
    listening, in_flight, number = True, 0, 0
    frames, waiting, acks = bytearray(), [], b""
    while True:
        for descriptor, _ in ready.poll():
            if descriptor == broker.fileno():
                data = broker.recv(CHUNK)
                if not data:
                    return
                count, acks = acknowledged(acks + data)
                in_flight -= count
            else:
                data = hub.recv(CHUNK)
                if not data:
                    return
                frames += data
                waiting += cut(frames)
        if waiting and in_flight < window:
            now, waiting = waiting[: window - in_flight], waiting[window - in_flight :]
            packets = []
            for record in now:
                number = number % 0xFFFF + 1
                packets.append(packet(record, number, heads))
            in_flight += len(now)
            broker.sendall(b"".join(packets))
        if listening != (not waiting):
            listening = not waiting
            ready.modify(hub, select.POLLIN if listening else 0)


def acknowledged(data: bytes) -> tuple[int, bytes]:
    """Count the acknowledgements; return what is not whole yet too."""
    at, count, size = 0, 0, len(data)
    while size - at > 1 and size - at >= 2 + data[at + 1]:
        count += data[at] >> 4 == 4  # noqa: PLR2004 - PUBACK
        at += 2 + data[at + 1]
    return count, data[at:]


def cut(held: bytearray) -> list[bytes]:
    """Take the records of all complete frames."""
    found: list[bytes] = []
    at, size = 0, len(held)
    while size - at > 1:
        length, begin = held[at + 1], at + 2
        if length == 126:  # noqa: PLR2004 - two bytes of length follow
            if size - at < 4:  # noqa: PLR2004
                break
            length, begin = held[at + 2] << 8 | held[at + 3], at + 4
        if size - begin < length:
            break
        found += bytes(held[begin : begin + length]).split(b"\x1e")[:-1]
        at = begin + length
    del held[:at]
    return [record for record in found if record.startswith(b'{"type":1')]


def main() -> None:
    """Connect and forward."""
    hub_port, mqtt_port, chargers = map(int, sys.argv[1:4])
    broker, window = connect(mqtt_port)
    hub = websocket(hub_port)
    hub.sendall(subscriptions(chargers))
    print(json.dumps({"window": window}), flush=True)
    forward(hub, broker, window, properties="--properties" in sys.argv)


if __name__ == "__main__":
    main()
