"""The hub's WebSocket, with a transport in memory and over loopback."""

import asyncio
import ssl
from itertools import pairwise

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidMessage, InvalidStatus, WebSocketException
from websockets.frames import Opcode
from websockets.uri import parse_uri
from websockets.utils import accept_key

from bridge.adapters.easee.websocket import MAX_HELD_BYTES, HubSocket, open_socket
from bridge.adapters.easee.websocket_frames import MAX_RARE_FRAMES
from bridge.errors import ConnectionLost
from tests.conftest import PATIENCE_S
from tests.fuzz.hub import frame

pytestmark = pytest.mark.anyio

TEXT = frame(Opcode.TEXT, b"x" * 1_000)


class Transport(asyncio.Transport):
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_reading = True
        self.is_cut = False

    def write(self, data) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def abort(self) -> None:
        self.is_cut = True


class Line:
    """A socket that is dialled, and what its hub does."""

    def __init__(self, close_s: float = PATIENCE_S) -> None:
        uri = parse_uri("ws://127.0.0.1:80/hubs/chargers?id=1")
        self.socket = HubSocket(uri, {"Authorization": "Bearer t"}, close_s=close_s)
        self.transport = Transport()
        self.socket.connection_made(self.transport)

    def answer(self, status: str = "101 Switching Protocols", more: str = "") -> bytes:
        (key,) = (
            line.split(": ")[1]
            for line in self.transport.written.decode().split("\r\n")
            if line.startswith("Sec-WebSocket-Key")
        )
        return (
            f"HTTP/1.1 {status}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key)}\r\n{more}\r\n"
        ).encode()

    def arrive(self, data: bytes) -> None:
        """Deliver bytes as a transport does, no more at once than there is room for."""
        while data:
            room = self.socket.get_buffer(-1)
            piece, data = data[: len(room)], data[len(room) :]
            room[: len(piece)] = piece
            self.socket.buffer_updated(len(piece))

    def opened(self) -> "Line":
        self.arrive(self.answer())
        return self


async def read(socket: HubSocket) -> tuple[bytes, str]:
    """Read to the end; give what came, and why it ended."""
    pieces: list[bytes] = []
    while True:
        try:
            pieces.append(await socket.recv())
        except ConnectionLost as error:
            return b"".join(pieces), str(error)


async def test_the_upgrade_is_asked_for_with_our_headers():
    """Path, host and token are sent; nothing is compressed."""
    asked = Line().transport.written.decode()

    assert asked.startswith("GET /hubs/chargers?id=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert "\r\nAuthorization: Bearer t\r\n" in asked
    assert "Extensions" not in asked


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 10_000])
async def test_frames_right_behind_the_answer_are_read(step):
    """However the answer and the first frames are cut, no byte goes to the wrong reader."""
    line = Line()
    data = line.answer() + frame(Opcode.TEXT, b"{}\x1e") + frame(Opcode.BINARY, b"abc")
    for at in range(0, len(data), step):
        line.arrive(data[at : at + step])
    await line.socket.opened()
    line.socket.eof_received()

    assert await read(line.socket) == (b"{}\x1eabc", "the connection broke")


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (b"", "the connection broke"),
        (frame(Opcode.CLOSE, b"\x03\xf3a\nb"), "the hub closed the connection: 1011 a?b"),
        (frame(Opcode.CLOSE, b""), "the hub closed the connection: 1005"),
        (b"\x83\x01", "the hub broke the protocol: 1002 invalid opcode"),
    ],
)
async def test_the_end_is_told_in_words_after_all_that_came_before(end, reason):
    """Who ended it and why, fit for a log line, and nothing that arrived is lost."""
    line = Line().opened()
    line.arrive(TEXT + end + TEXT * bool(end))
    if not end:
        line.socket.connection_lost(ConnectionResetError())

    assert await read(line.socket) == (b"x" * 1_000, reason)
    with pytest.raises(ConnectionLost) as caught:
        await line.socket.send("too late")
    assert str(caught.value) == reason


async def test_a_message_in_fragments_is_read_in_order_and_pings_are_answered():
    """What is the library's arrives where it belongs among what is ours."""
    line = Line().opened()
    line.arrive(
        frame(Opcode.TEXT, b"1")
        + frame(Opcode.TEXT, b"2", fin=False)
        + frame(Opcode.PING, b"p")
        + frame(Opcode.CONT, b"3")
        + frame(Opcode.BINARY, b"4")
    )

    assert await line.socket.recv() == b"1234"
    assert line.transport.written.count(b"\x8a\x81") == 1


async def test_a_reader_is_woken_by_what_arrives_and_by_the_end():
    """Nobody waits for what is there."""
    line = Line().opened()
    reading = asyncio.get_running_loop().create_task(read(line.socket))
    await asyncio.sleep(0)
    line.arrive(TEXT[:500])
    await asyncio.sleep(0)
    line.arrive(TEXT[500:])
    await asyncio.sleep(0)
    line.socket.connection_lost(None)

    assert await reading == (b"x" * 1_000, "the connection broke")


async def test_who_is_behind_stops_the_reading():
    """What is kept for a slow reader is bounded; TCP holds the hub back."""
    line = Line().opened()
    taken = 0
    while line.transport.is_reading and taken < 1_000:
        line.arrive(TEXT)
        taken += 1
    assert (taken - 1) * len(TEXT) < MAX_HELD_BYTES <= taken * len(TEXT)

    assert len(await line.socket.recv()) == taken * 1_000
    assert line.transport.is_reading


async def test_a_hub_that_sends_nothing_but_pings_holds_nobody_up():
    """Others have their turn between a few pings and the next; nothing more is read meanwhile."""
    line = Line().opened()
    ping, turns = frame(Opcode.PING, b""), 0
    line.arrive(ping * 5_000 + TEXT)
    while not line.transport.is_reading:
        turns += 1
        await asyncio.sleep(0)

    assert turns >= 5_000 // MAX_RARE_FRAMES
    assert await line.socket.recv() == b"x" * 1_000


@pytest.mark.parametrize("ends", [HubSocket.eof_received, lambda one: one.connection_lost(None)])
async def test_what_waits_for_its_turn_comes_before_the_end(ends):
    """A connection that ends while we are behind ends after what it brought."""
    line = Line().opened()
    line.arrive(frame(Opcode.PING, b"") * 500 + TEXT)
    ends(line.socket)

    assert (await read(line.socket))[0] == b"x" * 1_000


async def test_a_hub_that_takes_no_pongs_is_not_read():
    """It cannot make us pile up answers; nor does anybody send until it reads again."""
    line = Line().opened()
    line.arrive(frame(Opcode.PING, b"p"))
    line.socket.pause_writing()
    assert not line.transport.is_reading

    sending = asyncio.get_running_loop().create_task(line.socket.send("a"))
    await asyncio.sleep(0)
    assert not sending.done()
    line.socket.resume_writing()
    await sending
    assert line.transport.is_reading


async def test_a_sender_does_not_wait_for_a_connection_that_is_gone():
    """The end of the connection ends every wait."""
    line = Line().opened()
    line.socket.pause_writing()
    sending = asyncio.get_running_loop().create_task(line.socket.send("a"))
    await asyncio.sleep(0)
    line.socket.connection_lost(None)

    await sending


async def test_a_hub_that_ignores_our_close_is_cut_off():
    """Closing takes no longer than it may, and what still comes is not kept."""
    line = Line(close_s=0.05).opened()
    line.socket.pause_writing()
    closing = asyncio.get_running_loop().create_task(line.socket.close())
    await asyncio.sleep(0)
    assert line.transport.is_reading
    for _ in range(200):
        line.arrive(TEXT)
    assert line.socket._held_bytes == 0
    await closing

    assert line.transport.is_cut
    assert line.transport.written.count(b"\x88\x82") == 1


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno", InvalidStatus),
        (b"HTTP/1.1 503 No\r\n\r\nno", InvalidStatus),
        (b"SSH-2.0\r\n\r\n", InvalidMessage),
        (b"", InvalidMessage),
        (b"HTTP/1.1 101 Yes\r\n\r\n", WebSocketException),
    ],
)
async def test_a_refused_upgrade_is_an_error_of_the_library(more, error):
    """A refusal, another protocol, an end without an answer."""
    line = Line()
    line.arrive(more)
    line.socket.eof_received()

    with pytest.raises(error):
        await line.socket.opened()


@given(st.binary(max_size=200), st.lists(st.integers(0, 400), max_size=6), st.booleans())
@pytest.mark.fault("F31")
async def test_nothing_a_hub_sends_raises(data, cuts, is_open):
    """Any bytes, before and after the upgrade, give data or an ending."""
    line = Line()
    data = (line.answer() if is_open else b"HTTP/1.1 ") + data
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        line.arrive(data[start:end])
    line.socket.connection_lost(None)
    await read(line.socket)


def certified(tmp_path, monkeypatch) -> ssl.SSLContext:
    """Make a server that this process believes to be 127.0.0.1."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_real_hub_is_held_back_and_loses_nothing(scheme, monkeypatch, tmp_path):
    """Megabytes to a reader that is not reading wait at the hub, and all arrive in the end."""
    context = certified(tmp_path, monkeypatch) if scheme == "wss" else None
    sent = 0
    whole = 24 << 20

    async def hub(connection: ServerConnection) -> None:
        nonlocal sent
        while sent < whole:
            await connection.send("x" * (1 << 16))
            sent += 1 << 16
        await connection.close(1001, "enough")

    async with serve(hub, "127.0.0.1", 0, compression=None, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"{scheme}://127.0.0.1:{port}/"
        socket = await open_socket(url, {}, open_s=PATIENCE_S, close_s=PATIENCE_S)
        async with asyncio.timeout(PATIENCE_S):
            held: list[int] = []
            socket.on_bytes = lambda: held.append(socket._held_bytes)
            # More than twice the turns that all of it would take if nobody held it back.
            for _ in range(2 * whole // (1 << 16) + 100):
                await asyncio.sleep(0)
            assert sent < whole
            data, reason = await read(socket)
            await socket.close()

    assert max(held) < MAX_HELD_BYTES
    assert len(data) == whole
    assert reason == "the hub closed the connection: 1001 enough"
