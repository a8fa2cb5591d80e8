"""Read-only HTTP/1.1 server (GET, HEAD) for health, metrics and status page.

Rules:

1. GET and HEAD of the paths in a table; everything else is answered with its status, a line each.
2. The Host header is an address, localhost or a configured name. So a page from elsewhere cannot
   read us through a name of its own that it lets point here (DNS rebinding). Where a reverse proxy
   is named, only it and this machine may connect, and it may use any name: it passes on the one
   that its own client used.
3. Everything is bounded: connections, the size of a request, the time to send one, and the time a
   client takes to read.
4. A new client always gets a place. When all are taken, the connection that has waited longest for
   its client is closed. Feeds keep theirs, and may take half of the places at most. So slow clients
   cost each other their places and a health check nothing.
5. A port that is taken does not stop the bridge. It is said, and tried again.
"""

import asyncio
import contextlib
import functools
import ipaddress
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Final

import h11
import msgspec
import structlog

from bridge.ports import Clock
from bridge.settings import HttpSettings

log = structlog.get_logger()

MAX_CONNECTIONS = 32
MAX_EVENT_STREAMS = 16
MAX_REQUEST_BYTES = 8192
READ_BYTES = 4096
REQUEST_TIMEOUT_S = 10.0
# Between two requests on one connection; Prometheus asks every 15 to 60 s.
IDLE_S = 75.0
SEND_TIMEOUT_S = 10.0
RETRY_S = 30.0

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Nothing from elsewhere is loaded, framed, sniffed or kept.
SAFE: Final = (
    ("cache-control", "no-store"),
    ("content-security-policy", "default-src 'self'; base-uri 'none'; frame-ancestors 'self'"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
)
_REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    421: b"Misdirected Request",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


class Reply(msgspec.Struct, frozen=True):
    """An answer that is known at once.

    Attributes:
        body: The content.
        content_type: Of the body.
        status: HTTP status.
    """

    body: bytes
    content_type: str = TEXT
    status: int = 200


class EventStream(msgspec.Struct, frozen=True):
    """An answer that goes on until the client leaves.

    Attributes:
        parts: What is sent, piece by piece. Something must come every few seconds: a client that
            is gone is noticed when it takes nothing.
        content_type: Media type of the parts.
    """

    parts: AsyncGenerator[bytes, None]
    content_type: str = "text/event-stream"


Answer = Reply | EventStream
Handler = Callable[[], Answer | Awaitable[Answer]]


class ClientGone(Exception):
    """The client is gone, or takes nothing."""


class HttpServer:
    """Serves a table of paths until it is cancelled.

    Attributes:
        listening: Set while the port is ours.
    """

    def __init__(self, settings: HttpSettings, routes: Mapping[str, Handler], clock: Clock) -> None:
        self._settings = settings
        self._routes = routes
        self._clock = clock
        self._names = {"localhost", settings.host.lower(), *(n.lower() for n in settings.names)}
        self._proxy = None if settings.proxy is None else _address(settings.proxy)
        self._clients: set[asyncio.Task[None]] = set()
        # Connections that wait for their client, the longest wait first, and those that feed it.
        self._waiting: dict[asyncio.StreamWriter, None] = {}
        self._feeding: set[asyncio.StreamWriter] = set()
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Listen, and listen again when the port was taken, until cancelled."""
        host, port = self._settings.host, self._settings.port
        while True:
            try:
                server = await asyncio.start_server(self._accept, host, port)
            except OSError as error:
                log.error("http.failed", host=host, port=port, error=error.strerror or str(error))
                await self._clock.sleep(RETRY_S)
                continue
            self.listening.set()
            log.info("http.listening", host=host, port=port)
            try:
                await asyncio.Event().wait()
            finally:
                self.listening.clear()
                server.close()
                for task in self._clients:
                    task.cancel()
                await asyncio.gather(*self._clients, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            writer.close()
            return
        if len(self._waiting) + len(self._feeding) >= MAX_CONNECTIONS:
            self._drop_slowest()
        self._clients.add(task)
        self._waiting[writer] = None
        try:
            answer = functools.partial(self._answer, _peer(writer))
            await _Connection(reader, writer, answer, self._waits).hold()
        except (ClientGone, OSError, TimeoutError):
            log.debug("http.client_gone")
        finally:
            self._clients.discard(task)
            self._waiting.pop(writer, None)
            self._feeding.discard(writer)
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await writer.wait_closed()

    def _waits(self, writer: asyncio.StreamWriter, *, feeds: bool) -> None:
        """Record that a connection waits for its client, or feeds it."""
        if writer not in self._waiting:
            return  # dropped meanwhile
        del self._waiting[writer]
        if feeds:
            self._feeding.add(writer)
        else:
            self._waiting[writer] = None

    def _drop_slowest(self) -> None:
        """Close the connection that has waited longest for its client."""
        slowest = next(iter(self._waiting))
        del self._waiting[slowest]
        slowest.transport.abort()
        log.debug("http.client_dropped", connections=MAX_CONNECTIONS)

    async def _answer(self, peer: Address | None, request: h11.Request) -> Answer:
        """Choose the answer to a request. Total."""
        if not self._may_connect(peer):
            return Reply(b"only the proxy may ask; see http.proxy\n", status=403)
        if request.method not in (b"GET", b"HEAD"):
            return Reply(b"only GET and HEAD\n", status=405)
        through_proxy = peer is not None and peer == self._proxy
        if not through_proxy and not self._is_ours(_header(request, b"host")):
            return Reply(b"this name is not served; see http.names\n", status=421)
        handler = self._routes.get(request.target.split(b"?", 1)[0].decode("latin-1"))
        if handler is None:
            return Reply(b"not found\n", status=404)
        try:
            made = handler()
            reply = await made if isinstance(made, Awaitable) else made
        except Exception:  # a mistake in a view must not reach the client, or end the server
            log.exception("http.handler_failed")
            return Reply(b"internal error\n", status=500)
        if isinstance(reply, EventStream) and len(self._feeding) >= MAX_EVENT_STREAMS:
            return Reply(b"too many open pages; close one and reload\n", status=503)
        return reply

    def _may_connect(self, peer: Address | None) -> bool:
        return self._proxy in (None, peer) or (peer is not None and peer.is_loopback)

    def _is_ours(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
        name = name.removeprefix("[").removesuffix("]").lower()
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name)
            return True
        return name in self._names


class _Connection:
    """One connection: requests in, answers out, in turn."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[h11.Request], Awaitable[Answer]],
        waits: Callable[..., None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answer = answer
        self._waits = waits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)

    async def hold(self) -> None:
        """Answer until either side has enough.

        Raises:
            ClientGone, OSError, TimeoutError: The client went away or stalled.
        """
        within_s = REQUEST_TIMEOUT_S
        while True:
            try:
                async with asyncio.timeout(within_s):
                    request = await self._request()
            except h11.RemoteProtocolError as error:
                await self._refuse(error.error_status_hint)
                return
            if request is None:
                return
            await self._send(await self._answer(request), is_head=request.method == b"HEAD")
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()
            self._waits(self._writer, feeds=False)
            within_s = IDLE_S

    async def _request(self) -> h11.Request | None:
        """Read one request to its end; None when the client has no more.

        Raises:
            h11.RemoteProtocolError: It is no request we can read.
        """
        request: h11.Request | None = None
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(READ_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage):
                return request
            elif not isinstance(event, h11.Data):  # a body; nobody asked for one
                return None

    async def _refuse(self, status: int) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(Reply(b"unreadable request\n", status=status), is_head=False)

    async def _send(self, reply: Answer, *, is_head: bool) -> None:
        if isinstance(reply, Reply):
            length = (("content-length", str(len(reply.body))),)
            await self._write(_head(reply.status, reply.content_type, length))
            if not is_head:
                await self._write(h11.Data(data=reply.body))
        else:
            self._waits(self._writer, feeds=not is_head)
            await self._write(_head(200, reply.content_type, (("connection", "close"),)))
            if not is_head:
                await self._feed(reply)
        await self._write(h11.EndOfMessage())

    async def _feed(self, stream: EventStream) -> None:
        async with contextlib.aclosing(stream.parts) as parts:
            async for part in parts:
                await self._write(h11.Data(data=part))

    async def _write(self, event: h11.Event) -> None:
        """Send, and wait until the client took most of it.

        Raises:
            ClientGone: It does not take it.
        """
        try:
            data = self._http.send(event)
        except h11.LocalProtocolError as error:
            raise ClientGone(str(error)) from error
        if data:
            self._writer.write(data)
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._writer.drain()


def _head(status: int, content_type: str, more: tuple[tuple[str, str], ...]) -> h11.Response:
    headers = [("content-type", content_type), *SAFE, *more]
    return h11.Response(status_code=status, reason=_REASONS.get(status, b""), headers=headers)


def _header(request: h11.Request, name: bytes) -> str:
    found = next((value for key, value in request.headers if key == name), b"")
    return bytes(found).decode("latin-1")


def _peer(writer: asyncio.StreamWriter) -> Address | None:
    """Return the address of the other side; None when it is gone already."""
    name = writer.get_extra_info("peername")
    return None if name is None else _address(name[0])


def _address(text: str) -> Address:
    """Return an address, an IPv4 address inside an IPv6 one as itself."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
