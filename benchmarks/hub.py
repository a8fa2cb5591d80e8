"""The load generator: a cloud as small as a bridge needs, in a process of its own.

``python -m benchmarks.hub PORT CHARGERS OBSERVATIONS``. It answers a login, a charger list, a
negotiation and the WebSocket of the hub; whatever else is read is an empty list. Orders come as
lines of JSON on its standard input, answers go to its standard output:

- ``{"first": 1, "last": 20, "each": 50}``: send these rounds, 50 records a frame, as fast as the
  client reads. Frames are made before the first one leaves. The answer holds the moments the first
  and the last one were handed to the kernel, in nanoseconds of the monotonic clock.
- with ``"pace_s": 0.02``: one frame at a time, so far apart; the answer holds every moment.
- with ``"report_s": 0.2``: a session report every so often between them, each behind a value of an
  observation that the rounds leave out; the answer holds their chargers, numbers and moments.

It says ``{"subscribed": N}`` when a client has subscribed all of them. Whoever reads slowly slows
it down: there is no queue but that of the kernel.
"""

import base64
import hashlib
import json
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.records import RECORD_END, Fleet, framed, frames, records, report, span

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLOSE, PING, PONG = 0x8, 0x9, 0xA
PING_EVERY_S = 10.0
TOKEN = {"accessToken": "t", "refreshToken": "r", "expiresIn": 86400, "tokenType": "Bearer"}


def charger(serial: str) -> dict[str, object]:
    """Word one entry of the charger list, with what pyeasee cannot do without."""
    return {"id": serial, "name": serial, "productCode": 1, "levelOfAccess": 1}


def say(document: dict[str, object]) -> None:
    """Answer with one line."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


class Client:
    """Whoever is connected to the hub."""

    def __init__(self, sock: socket.socket, fleet: Fleet) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fleet = fleet
        self._socket = sock
        self._file = sock.makefile("rb")
        self._turn = threading.Lock()
        self._subscribed: set[str] = set()

    def send(self, frame: bytes) -> None:
        """Write one frame, waiting as long as the client does not read."""
        with self._turn:
            self._socket.sendall(frame)

    def listen(self) -> None:
        """Take what the client says until it goes."""
        held = b""
        while (message := self._message()) is not None:
            *texts, held = (held + message).split(RECORD_END)
            for text in texts:
                self._take(json.loads(text))

    def _message(self) -> bytes | None:
        """Read one frame's payload; an empty one for what needs no attention."""
        head = self._file.read(2)
        if len(head) < 2 or head[0] & 0xF == CLOSE:  # noqa: PLR2004 - the size of a header
            return None
        size = head[1] & 0x7F
        if size > 125:  # noqa: PLR2004 - the longest short length
            size = int.from_bytes(self._file.read(2 if size == 126 else 8), "big")  # noqa: PLR2004
        mask = self._file.read(4)
        masked = self._file.read(size)
        payload = bytes(byte ^ mask[i & 3] for i, byte in enumerate(masked))
        if head[0] & 0xF == PING:
            self.send(bytes((0x80 | PONG, len(payload))) + payload)
        return payload if head[0] & 0xF < CLOSE else b""

    def _take(self, record: dict[str, object]) -> None:
        if "protocol" in record:
            self.send(framed(b"{}" + RECORD_END))
        elif record.get("type") == 1:
            if "invocationId" in record:
                answer = {"type": 3, "invocationId": record["invocationId"], "result": None}
                self.send(framed(json.dumps(answer).encode() + RECORD_END))
            self._subscribed.add(record["arguments"][0])
            if len(self._subscribed) == self._fleet.chargers:
                say({"subscribed": len(self._subscribed)})


class Hub(ThreadingHTTPServer):
    """The cloud, and the client of the moment."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, fleet: Fleet) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.fleet = fleet
        self.client: Client | None = None
        self._measured_until = datetime.min.replace(tzinfo=UTC)
        self._sessions = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Be silent about a client that was ended; report any other error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def send(self, order: dict[str, float]) -> dict[str, object]:
        """Carry out one order."""
        turns = range(int(order["first"]), int(order["last"]) + 1)
        now = datetime.now(UTC)  # noqa: TID251 - the cloud has a clock of its own
        begin = max(self._measured_until, now - span(self.fleet, turns))
        self._measured_until = begin + span(self.fleet, turns)
        made = list(frames(records(self.fleet, turns, begin), int(order["each"])))
        client, pace_s = self.client, order.get("pace_s", 0.0)
        if client is None:
            raise RuntimeError("nobody is connected")
        moments, reports = [], []
        report_s = order.get("report_s", 0.0)
        began_ns = time.monotonic_ns()
        report_at_ns = began_ns + report_s * 1e9
        for frame in made:
            if pace_s:
                time.sleep(pace_s)
                moments.append(time.monotonic_ns())
            if report_s and time.monotonic_ns() >= report_at_ns:
                reports.append(self._report(client, len(reports)))
                report_at_ns += report_s * 1e9
            client.send(frame)
        return {
            "began_ns": began_ns,
            "ended_ns": time.monotonic_ns(),
            "observations": len(turns) * self.fleet.topics,
            "moments_ns": moments,
            "reports": reports,
        }

    def _report(self, client: "Client", number: int) -> tuple[str, int, int]:
        """Send a session report, and a value right before it."""
        serial = self.fleet.serials[number % self.fleet.chargers]
        self._sessions += 1
        now = datetime.now(UTC)  # noqa: TID251 - the cloud has a clock of its own
        frame = framed(b"".join(report(self.fleet, serial, self._sessions, now)))
        at_ns = time.monotonic_ns()
        client.send(frame)
        return serial, self._sessions, at_ns

    def ping(self) -> None:
        """Give a sign of life every so often."""
        while True:
            time.sleep(PING_EVERY_S)
            if self.client is not None:
                try:
                    self.client.send(framed(b'{"type":6}' + RECORD_END))
                except OSError:
                    self.client = None


class Handler(BaseHTTPRequestHandler):
    """One HTTP connection, which may become the hub's WebSocket."""

    server: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        """Log in, refresh, negotiate, or take a command."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "/commands/" in self.path or self.path.endswith("/settings"):
            serial = self.path.split("/")[3]
            self._answer({"device": serial, "commandId": 48, "ticks": time.time_ns()}, 202)
            return
        if self.path.split("?")[0].endswith("/negotiate"):
            kinds = [{"transport": "WebSockets", "transferFormats": ["Text"]}]
            self._answer(
                {"connectionId": "c", "connectionToken": "c", "availableTransports": kinds}
            )
        else:
            self._answer(TOKEN)

    def do_GET(self) -> None:
        """List the chargers, or open the hub."""
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._open()
        elif self.path.split("?")[0] == "/api/chargers":
            self._answer([charger(serial) for serial in self.server.fleet.serials])
        else:
            self._answer([])

    def _open(self) -> None:
        key = self.headers["Sec-WebSocket-Key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.server.client = client = Client(self.connection, self.server.fleet)
        try:
            client.listen()
        except OSError:
            pass  # cut off, which is how a contender is ended
        finally:
            if self.server.client is client:
                self.server.client = None
            self.close_connection = True

    def _answer(self, document: object, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until the input ends."""
    port, chargers, observations = map(int, sys.argv[1:4])
    hub = Hub(port, Fleet(chargers, observations))
    for work in (hub.serve_forever, hub.ping):
        threading.Thread(target=work, daemon=True).start()
    say({"port": hub.server_port})
    for line in sys.stdin:
        say(hub.send(json.loads(line)))


if __name__ == "__main__":
    main()
