"""HTTP/1.1 transport for httpx with persistent connections: h11 over asyncio's streams.

Rules:

1. One request is one write and is never repeated.
2. ``ConnectError``, ``ConnectTimeout``, ``PoolTimeout``, ``LocalProtocolError`` and
   :class:`DeadlineExceeded` say that nothing was sent; every other error says that something may
   have been.
3. A connection carries one request at a time and is used again only when its answer was read to
   the end, it was not idle for long, and nothing came since: what comes then is its end.
4. The certificate is checked against httpx's authorities and the name in the URL.
5. A connection that is not there after a while is tried again: nothing was sent, and the kernel's
   own tries grow rare. What was written is the kernel's, and leaves it in time or not at all
   (:mod:`bridge.adapters.in_flight`).
"""

import asyncio
import functools
import math
import select
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final

import h11
import httpx
import msgspec

from bridge.adapters import in_flight

READ_BYTES: Final = 65_536
# Tried side by side where a name has addresses of both kinds and one of them leads nowhere.
NEXT_ADDRESS_S: Final = 0.25
# The first try; each further one may take a second longer, for lines that are slow.
FIRST_TRY_S: Final = 2.0
LONGER_EACH_TIME_S: Final = 1.0
DEFAULT_PORTS: Final = {"https": 443, "http": 80}

_Key = tuple[str, str, int]


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the TLS context of all connections: each gateway of a process would need 0.4 MiB."""
    context = httpx.create_ssl_context(trust_env=False)
    context.set_alpn_protocols(["http/1.1"])
    return context


class DeadlineExceeded(httpx.TransportError):
    """Its time was over when the request could have left; nothing was sent."""


def for_ever() -> float:
    """Return the time left of a request without a deadline: infinity."""
    return math.inf


class _Connection(msgspec.Struct, eq=False):
    """One connection, in use or idle.

    Attributes:
        key: Scheme, host and port it leads to.
        idle_since_s: When its last answer was complete.
    """

    key: _Key
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection
    idle_since_s: float = 0.0

    def is_fresh(self) -> bool:
        """Return whether no bytes arrived since the last response, including bytes not read yet."""
        if self.reader.at_eof() or self.writer.is_closing() or self.http.trailing_data[0]:
            return False
        poll = select.poll()
        poll.register(self.writer.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)


class Transport(httpx.AsyncBaseTransport):
    """A few kept connections to the hosts of the configuration.

    Args:
        most: Connections at a time; a request beyond that waits for one of them.
        keep_idle_s: How long an idle one is used again.
        mono_s: Reads a monotonic clock; by default the loop's.
    """

    def __init__(
        self,
        *,
        most: int,
        keep_idle_s: float,
        mono_s: Callable[[], float] | None = None,
    ) -> None:
        self._keep_idle_s = keep_idle_s
        self._mono_s = mono_s or _loop_s
        self._room = asyncio.Semaphore(most)
        # The one used last at the end: so the others grow old.
        self._idle: list[_Connection] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return when the head of the answer is there.

        Its extension ``left_s`` tells the seconds that are left: it does not leave without any, and
        the kernel does not send it later. ``timeout.connect`` is the seconds to have a connection.
        The caller closes the response, whatever happens, and limits how long all of it may take.

        Raises:
            httpx.TransportError: See rule 2 above.
        """
        connect_s = request.extensions.get("timeout", {}).get("connect")
        until_s = math.inf if connect_s is None else _loop_s() + connect_s
        try:
            async with asyncio.timeout_at(until_s):
                await self._room.acquire()
        except TimeoutError as exc:
            raise httpx.PoolTimeout("no connection became free in time") from exc
        connection: _Connection | None = None
        try:
            connection = self._kept(_key(request.url)) or await self._connected(
                _key(request.url), until_s
            )
            head = await _exchanged(connection, request)
        except BaseException:
            self._release(connection)
            raise
        return httpx.Response(
            head.status_code,
            headers=list(head.headers),
            stream=_Body(connection, self._release),
        )

    async def aclose(self) -> None:
        """Close what is idle; what is in use goes with its response."""
        for connection in self._idle:
            connection.writer.transport.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # so that their ends are noticed while there is a loop

    # -- connections ---------------------------------------------------------------------------

    def _kept(self, key: _Key) -> _Connection | None:
        """Return an idle connection that can be reused; close those that cannot."""
        oldest_s = self._mono_s() - self._keep_idle_s
        found = None
        for connection in reversed(tuple(self._idle)):
            if connection.idle_since_s < oldest_s or not connection.is_fresh():
                self._idle.remove(connection)
                connection.writer.transport.abort()
            elif found is None and connection.key == key:
                self._idle.remove(connection)
                found = connection
        return found

    async def _connected(self, key: _Key, until_s: float) -> _Connection:
        """Open a connection, with several attempts if necessary."""
        try_s = FIRST_TRY_S
        while True:
            try:
                async with asyncio.timeout_at(min(until_s, _loop_s() + try_s)):
                    reader, writer = await self._opened(key)
            except TimeoutError as exc:
                if _loop_s() >= until_s:
                    raise httpx.ConnectTimeout("no connection in time") from exc
                try_s += LONGER_EACH_TIME_S
            except (OSError, ValueError) as exc:  # of TLS too, and of names that cannot be one
                raise httpx.ConnectError(str(exc)) from exc
            else:
                in_flight.mortal(writer.get_extra_info("socket"))
                return _Connection(key, reader, writer, h11.Connection(h11.CLIENT))

    async def _opened(self, key: _Key) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        scheme, host, port = key
        tls = tls_context() if scheme == "https" else None
        return await asyncio.open_connection(
            host,
            port,
            ssl=tls,
            server_hostname=host if tls else None,
            happy_eyeballs_delay=NEXT_ADDRESS_S,
        )

    def _release(self, connection: _Connection | None) -> None:
        """Keep a connection with a complete response, else close it; admit the next request."""
        self._room.release()
        if connection is None:
            return
        try:
            connection.http.start_next_cycle()
        except h11.ProtocolError:
            connection.writer.transport.abort()
        else:
            connection.idle_since_s = self._mono_s()
            self._idle.append(connection)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(
        self, connection: _Connection, release: Callable[[_Connection | None], None]
    ) -> None:
        self._connection = connection
        self._release: Callable[[_Connection | None], None] | None = release

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(event := await _event(self._connection), h11.Data):
            yield bytes(event.data)

    async def aclose(self) -> None:
        """Release the connection. Idempotent."""
        release, self._release = self._release, None
        if release is not None:
            release(self._connection)


async def _exchanged(connection: _Connection, request: httpx.Request) -> h11.Response:
    """Send a request and read the head of its answer."""
    left_s: Callable[[], float] = request.extensions.get("left_s", for_ever)
    if left_s() <= 0:
        raise DeadlineExceeded("the request was not sent in time")
    message = _message(connection.http, request)
    if left_s is for_ever:
        return await _answered(connection, message)
    with in_flight.sent_within(connection.writer.get_extra_info("socket"), left_s):
        return await _answered(connection, message)


def _message(http: h11.Connection, request: httpx.Request) -> bytes:
    try:
        head = h11.Request(
            method=request.method, target=request.url.raw_path, headers=request.headers.raw
        )
        parts = [
            http.send(head),
            http.send(h11.Data(request.content)),
            http.send(h11.EndOfMessage()),
        ]
    except h11.LocalProtocolError as exc:
        raise httpx.LocalProtocolError(str(exc)) from exc
    return b"".join(part for part in parts if part)


async def _answered(connection: _Connection, message: bytes) -> h11.Response:
    try:
        connection.writer.write(message)
        await connection.writer.drain()
    except OSError:
        # It may have answered before it hung up: reading tells.
        pass
    while not isinstance(event := await _event(connection), h11.Response):
        if not isinstance(event, h11.InformationalResponse):
            raise httpx.RemoteProtocolError(f"no answer but {type(event).__name__}")
    return event


async def _event(connection: _Connection) -> h11.Event | None:
    """Read what comes next of an answer; None when it is over and something else follows.

    Raises:
        httpx.ReadError: The connection broke.
        httpx.RemoteProtocolError: It ended too early, or what came is no HTTP/1.1.
    """
    try:
        while (event := connection.http.next_event()) is h11.NEED_DATA:
            connection.http.receive_data(await connection.reader.read(READ_BYTES))
    except h11.RemoteProtocolError as exc:
        raise httpx.RemoteProtocolError(str(exc)) from exc
    except OSError as exc:
        raise httpx.ReadError(str(exc)) from exc
    return event if isinstance(event, h11.Event) else None


def _loop_s() -> float:
    return asyncio.get_running_loop().time()


def _key(url: httpx.URL) -> _Key:
    return url.scheme, url.host, url.port or DEFAULT_PORTS[url.scheme]
