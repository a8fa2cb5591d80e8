"""The hub's WebSocket: an asyncio protocol around the library's WebSocket without I/O.

The library does the opening, the closing, pings and everything that is rare or wrong;
:mod:`bridge.adapters.easee.websocket_frames` takes the plain frames, because they are the stream.
Rules:

1. What arrives is kept until somebody takes it, and somebody who is behind stops the reading: TCP
   holds the hub back. The same where the hub does not take our pongs.
2. No redirect is followed, so the token goes nowhere else.
3. Nothing the hub sends raises here. How a connection ended is told in words by whoever reads or
   writes next.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final, cast

from websockets.client import ClientProtocol
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

from bridge.adapters.easee.websocket_frames import FrameSplitter
from bridge.core.easee.signalr import sanitize
from bridge.errors import ConnectionLost

MAX_FRAME_BYTES: Final = 4 << 20
# Some two hundred observations: enough for a read to be worth it, and little enough to cut up in a
# few milliseconds where it is nothing but headers. asyncio's own reads are eight times that, each
# into new memory.
READ_BYTES: Final = 32_768
# Above this no more is read until it is taken; what one read brings comes on top.
MAX_HELD_BYTES: Final = 65_536
HEAD_END: Final = b"\r\n\r\n"
# At debug level the library logs every header it sends, the bearer token among them. A logger
# outside the tree cannot be enabled by the configuration of the others.
_MUTE = logging.Logger("websockets", level=logging.CRITICAL + 1)  # noqa: LOG001 - see above


class HubSocket(asyncio.BufferedProtocol):
    """One WebSocket, from the TCP connection to its end.

    Attributes:
        on_bytes: Told whenever bytes arrive, before they make up a frame: a large replay over a
            slow line may take longer than the silence we allow, and is not silence.
    """

    def __init__(self, uri: WebSocketURI, headers: Mapping[str, str], *, close_s: float) -> None:
        """Prepare the connection; it starts with :meth:`connection_made`.

        Args:
            uri: Where to; only its path and host are sent.
            headers: Of the upgrade, beside those of the protocol.
            close_s: How long the closing may take.
        """
        self.on_bytes: Callable[[], None] | None = None
        self._headers = headers
        self._close_s = close_s
        self._library = ClientProtocol(uri, max_size=MAX_FRAME_BYTES, logger=_MUTE)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] = self._loop.create_future()
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._tail = b""
        self._payloads: list[bytes] = []
        self._held_bytes = 0
        self._cutter = FrameSplitter(self._payloads, self._rare, largest=MAX_FRAME_BYTES)
        self._reader: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._is_closing = False
        self._is_behind = False

    # -- public interface ---------------------------------------------------------------------

    async def opened(self) -> None:
        """Wait for the response to the upgrade.

        Raises:
            WebSocketException: It was refused or makes no sense.
        """
        await self._answered
        if self._library.handshake_exc is not None:
            raise self._library.handshake_exc

    async def recv(self) -> bytes:
        """Return what arrived since the last call, at least something. For one reader.

        Raises:
            ConnectionLost: The connection ended, and everything that came before was returned.
        """
        while not self._payloads:
            if self._library.state is not State.OPEN:
                raise ConnectionLost(self._ending())
            self._reader = self._loop.create_future()
            await self._reader
        data = b"".join(self._payloads)
        self._payloads.clear()
        self._held_bytes = 0
        self._regulate()
        return data

    async def send(self, text: str) -> None:
        """Send a text, and wait while too much is waiting to be sent.

        Raises:
            ConnectionLost: The connection ended.
        """
        if self._library.state is not State.OPEN:
            raise ConnectionLost(self._ending())
        self._library.send_text(text.encode())
        self._write()
        await self._writable.wait()

    async def close(self) -> None:
        """Close in good order, or without it where that takes too long."""
        if self._library.state is State.OPEN:
            self._library.send_close(CloseCode.NORMAL_CLOSURE)
            self._write()
        # What still arrives is not read, but its end must not wait behind it.
        self._is_closing = True
        self._is_behind = False
        self._held_bytes = 0
        self._writable.set()
        self._regulate()
        try:
            async with asyncio.timeout(self._close_s):
                await self._lost.wait()
        except TimeoutError:
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once, without a closing handshake."""
        if self._transport is not None:
            self._transport.abort()

    # -- for asyncio --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the upgrade request."""
        self._transport = cast("asyncio.Transport", transport)
        request = self._library.connect()
        for name, value in self._headers.items():
            request.headers[name] = value
        self._library.send_request(request)
        self._write()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return the buffer for the next bytes."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Handle the bytes that are in the buffer now."""
        data = bytes(self._buffer[:nbytes])
        if self.on_bytes is not None:
            self.on_bytes()
        if self._library.state is State.CONNECTING:
            self._take_answer(data)
        elif not self._is_closing:
            self._take(data)

    def eof_received(self) -> None:
        """Handle the end of the incoming data; the transport closes itself."""
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Handle the end of the connection."""
        self._lost.set()
        self._writable.set()
        self._end()

    def pause_writing(self) -> None:
        """Handle a full write buffer."""
        self._writable.clear()
        self._regulate()

    def resume_writing(self) -> None:
        """Handle a write buffer with room again."""
        self._writable.set()
        self._regulate()

    # -- parts --------------------------------------------------------------------------------

    def _take_answer(self, data: bytes) -> None:
        """Pass the response to the upgrade to the library, without the frames behind it."""
        seen = self._tail + data
        found = seen.find(HEAD_END)
        head = len(data) if found < 0 else found + len(HEAD_END) - len(self._tail)
        self._tail = seen[1 - len(HEAD_END) :]
        self._library.receive_data(data[:head])
        if self._library.state is State.OPEN:
            self._library.events_received()
            self._take(data[head:])
        elif head < len(data):
            self._library.receive_data(data[head:])  # the page that says why not
        self._answer()

    def _answer(self) -> None:
        connecting = self._library.state is State.CONNECTING
        if not self._answered.done() and (self._library.handshake_exc or not connecting):
            self._answered.set_result(None)

    def _take(self, data: bytes) -> None:
        self._held_bytes += len(data)
        self._is_behind = self._cutter.feed(data)
        if self._is_behind:
            self._loop.call_soon(self._catch_up)
        if self._held_bytes >= MAX_HELD_BYTES or self._is_behind:
            self._regulate()
        self._wake()

    def _catch_up(self) -> None:
        """Process the rest of a large read in the next turn; reading is paused meanwhile."""
        if self._is_behind and not self._is_closing:
            self._take(b"")
            self._regulate()

    def _rare(self, data: bytes) -> bool:
        """Pass frames that are not plain to the library; return whether more may follow."""
        self._library.receive_data(data)
        for event in self._library.events_received():
            if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
                self._payloads.append(bytes(event.data))
        self._write()
        return self._library.state is State.OPEN

    def _end(self) -> None:
        while self._is_behind and not self._is_closing:
            self._is_behind = self._cutter.feed()
        self._library.receive_eof()
        self._answer()
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _write(self) -> None:
        """Send what the library has to say; an empty piece asks for an end that comes anyway."""
        data = b"".join(self._library.data_to_send())
        if data and self._transport is not None:
            self._transport.write(data)

    def _regulate(self) -> None:
        """Read only what is taken, from a hub that takes what we say."""
        if self._transport is None or self._lost.is_set():
            return
        is_full = self._held_bytes >= MAX_HELD_BYTES
        if is_full or self._is_behind or not self._writable.is_set():
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _ending(self) -> str:
        """Return the reason the connection ended, as text."""
        received, sent = self._library.close_rcvd, self._library.close_sent
        if received is not None:
            words = f"the hub closed the connection: {received.code} {sanitize(received.reason)}"
            return words.rstrip()
        if sent is not None:
            return f"the hub broke the protocol: {sent.code} {sanitize(sent.reason)}".rstrip()
        return "the connection broke"


async def open_socket(
    url: str, headers: Mapping[str, str], *, open_s: float, close_s: float
) -> HubSocket:
    """Open a WebSocket: TCP, TLS and the upgrade.

    Args:
        url: ``ws`` or ``wss``.
        headers: Of the upgrade, beside those of the protocol.
        open_s: How long it may take.
        close_s: How long its closing may take.

    Raises:
        OSError: It cannot be reached, or cannot prove who it is.
        TimeoutError: It took too long.
        WebSocketException: The URL is none, or the upgrade was refused or makes no sense.
    """
    uri = parse_uri(url)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(open_s):
        _, socket = await loop.create_connection(
            lambda: HubSocket(uri, headers, close_s=close_s),
            uri.host,
            uri.port,
            ssl=True if uri.secure else None,
        )
        try:
            await socket.opened()
        except BaseException:
            socket.abort()
            raise
    return socket
