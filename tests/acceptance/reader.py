"""A consumer that does nothing but read: ``python -m tests.acceptance.reader PORT > FILE``.

The witness shares its process with the simulated cloud and the test. On a busy machine it falls
behind what the gateway's pace allows for, and mosquitto drops what is meant for it. This one reads
as fast as a flow in Python does, whatever the machine, and writes the topics down, a line each,
after an empty line that says it is subscribed.
"""

import os
import socket
import struct
import sys
import time

CLIENT_ID = "reader"
STDOUT = 1
# A little faster than the gateway sends; what a busy machine made it miss it may make up for.
MESSAGES_PER_S = 2_500
CREDIT_S = 0.2
SUBACK, PUBLISH, PUBACK = 0x90, 0x30, 0x40


def text(value: str) -> bytes:
    """Return a string as MQTT 3.1.1 writes it."""
    return struct.pack("!H", len(value)) + value.encode()


def packet(first: int, body: bytes) -> bytes:
    """Return a packet of at most 127 bytes behind its length."""
    return bytes((first, len(body))) + body


CONNECT = packet(0x10, text("MQTT") + bytes((4, 0b10, 0, 0)) + text(CLIENT_ID))
SUBSCRIBE = packet(0x82, b"\x00\x01" + text("charger/#") + b"\x01")


def next_packet(data: bytearray, start: int) -> tuple[int, int] | None:
    """Return where the body of the packet at ``start`` begins and ends, if it is all there."""
    length = shift = 0
    for place in range(start + 1, len(data)):
        length |= (data[place] & 0x7F) << shift
        shift += 7
        if data[place] < 0x80:
            end = place + 1 + length
            return (place + 1, end) if end <= len(data) else None
    return None


def heard(kind: int, body: bytes) -> tuple[bytes, bytes]:
    """Return the line to write for a packet, and the answer to it."""
    if kind & 0xF0 == SUBACK:
        return b"\n", b""
    if kind & 0xF0 != PUBLISH:
        return b"", b""
    end = 2 + int.from_bytes(body[:2])
    return body[2:end] + b"\n", packet(PUBACK, body[end : end + 2]) if kind & 0b110 else b""


def read(port: int) -> None:
    """Read until the broker ends the connection."""
    data = bytearray()
    ready_s = 0.0
    with socket.create_connection(("127.0.0.1", port)) as broker:
        broker.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        broker.sendall(CONNECT + SUBSCRIBE)
        while chunk := broker.recv(1 << 20):
            data += chunk
            start, lines, answers = 0, [], []
            while (place := next_packet(data, start)) is not None:
                line, answer = heard(data[start], bytes(data[place[0] : place[1]]))
                lines.append(line)
                answers.append(answer)
                start = place[1]
            del data[:start]
            now_s = time.perf_counter()
            ready_s = max(ready_s, now_s - CREDIT_S) + len(answers) / MESSAGES_PER_S
            time.sleep(max(0.0, ready_s - now_s))
            broker.sendall(b"".join(answers))
            os.write(STDOUT, b"".join(lines))


if __name__ == "__main__":
    read(int(sys.argv[1]))
