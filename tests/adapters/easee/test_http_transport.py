"""HTTP on kept connections, against servers that say exactly what a test wants."""

import asyncio
import socket
import ssl
import struct

import httpx
import pytest

from bridge.adapters.easee.http_transport import DeadlineExceeded, Transport, tls_context

pytestmark = pytest.mark.anyio

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Last(bytes):
    """An answer, or a part of one, behind which the server hangs up."""


class Server:
    """Answers each request with the next of its answers.

    Attributes:
        asked: Each request as it came, head and body, with the number of its connection.
        is_asked: The first one came.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.is_asked = asyncio.Event()
        self.connections = 0
        self.writers = []
        self._server = None

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/api"

    async def _serve(self, reader, writer):
        self.connections += 1
        number = self.connections
        self.writers.append(writer)
        try:
            while data := await reader.read(65_536):
                self.asked.append((number, data))
                self.is_asked.set()
                answer = self.answers.pop(0)
                writer.write(answer)
                if isinstance(answer, Last):
                    break
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def transport():
    """A transport with a clock that a test moves."""
    now = [0.0]
    one = Transport(most=2, keep_idle_s=30.0, mono_s=lambda: now[0])
    one.seconds = now
    yield one
    await one.aclose()


async def ask(transport, url, body=None, *, connect_s=5.0):
    """Send a request and read its answer to the end; return status and body."""
    request = httpx.Request(
        "GET" if body is None else "POST",
        url,
        content=body,
        extensions={"timeout": {"connect": connect_s}},
    )
    response = await transport.handle_async_request(request)
    try:
        return response.status_code, b"".join([piece async for piece in response.stream])
    finally:
        await response.aclose()


async def test_a_request_is_one_write(transport):
    """Head and body leave together: no half of a command waits for an acknowledgement."""
    async with Server(OK) as server:
        assert await ask(transport, server.url, b'{"a":1}') == (200, b"ok")

    ((_, data),) = server.asked
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"POST /api HTTP/1.1"
    assert b"content-length: 7" in head.lower()
    assert body == b'{"a":1}'


async def test_a_connection_is_used_again(transport):
    """The next request spares the handshake."""
    async with Server(OK, OK) as server:
        await ask(transport, server.url)
        await ask(transport, server.url)

        assert [number for number, _ in server.asked] == [1, 1]


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        Last(b"HTTP/1.0 200 OK\r\n\r\nok"),
        OK + b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["close", "http/1.0", "said more"],
)
async def test_a_connection_that_is_over_is_not_used_again(transport, first):
    """A request on it would be lost, and nobody could say whether it was carried out."""
    async with Server(first, OK) as server:
        assert await ask(transport, server.url) == (200, b"ok")
        assert await ask(transport, server.url) == (200, b"ok")
        assert [number for number, _ in server.asked] == [1, 2]


async def test_a_server_that_hung_up_meanwhile_is_asked_on_a_new_connection(transport):
    """Its end is seen before anything is sent, even if the loop has had no time to read it."""
    async with Server(OK, OK) as server:
        await ask(transport, server.url)
        server.writers[0].get_extra_info("socket").shutdown(1)

        assert await ask(transport, server.url) == (200, b"ok")
        assert [number for number, _ in server.asked] == [1, 2]


async def test_a_connection_that_was_idle_for_long_is_not_used_again(transport):
    """What stands between may have forgotten it without a word."""
    async with Server(OK, OK) as server:
        await ask(transport, server.url)
        transport.seconds[0] = 31.0
        await ask(transport, server.url)

        assert [number for number, _ in server.asked] == [1, 2]


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"SSH-2.0-OpenSSH\r\n\r\n", b"\x00" * 20_000],
    ids=["nothing", "half a head", "no HTTP", "zeros"],
)
async def test_no_answer_is_no_sign_that_nothing_was_sent(transport, answer):
    """The error is none of those that say so."""
    async with Server(Last(answer)) as server:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(transport, server.url)


async def test_what_comes_before_the_answer_is_passed_over(transport):
    """100 and 103 are no answers."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with Server(b"HTTP/1.1 100 Continue\r\n\r\n" + early + OK) as server:
        assert await ask(transport, server.url) == (200, b"ok")


async def test_a_request_that_is_late_does_not_leave(transport):
    """A process that stood still while it connected looks at its timers last."""
    async with Server(OK) as server:
        request = httpx.Request("GET", server.url, extensions={"left_s": lambda: 0.0})
        with pytest.raises(DeadlineExceeded):
            await transport.handle_async_request(request)
        assert await ask(transport, server.url) == (200, b"ok")

        assert len(server.asked) == 1


async def test_a_body_in_chunks_is_joined(transport):
    """The hosts of the cloud answer so."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
    async with Server(chunked, OK) as server:
        assert await ask(transport, server.url) == (200, b"ok")
        await ask(transport, server.url)

        assert [number for number, _ in server.asked] == [1, 1]


async def test_a_request_waits_for_a_free_connection_but_not_for_ever(transport):
    """More at a time than there are connections; the one in vain was certainly not sent."""
    async with Server(b"", b"", OK) as server, asyncio.TaskGroup() as tasks:
        held = [tasks.create_task(ask(transport, server.url)) for _ in range(2)]
        await server.is_asked.wait()
        with pytest.raises(httpx.PoolTimeout):
            await ask(transport, server.url, connect_s=0.01)
        for one in held:
            one.cancel()
        await asyncio.wait(held)

        assert await ask(transport, server.url) == (200, b"ok")


async def test_a_request_that_is_given_up_ends_its_connection(transport):
    """Its late answer would be taken for that of the next request."""
    unfinished = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    async with Server(unfinished, OK) as server, asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask(transport, server.url))
        await server.is_asked.wait()
        asking.cancel()
        await asyncio.wait([asking])
        await ask(transport, server.url)

        assert [number for number, _ in server.asked] == [1, 2]


async def test_a_name_that_is_none_was_not_asked(transport):
    """Nothing was sent, and the error says so."""
    with pytest.raises(httpx.ConnectError):
        await ask(transport, "http://" + "a" * 64 + ".example/")


async def test_a_server_that_does_not_speak_tls_is_no_connection(transport):
    """The handshake fails before anything is sent."""
    async with Server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        with pytest.raises(httpx.ConnectError):
            await ask(transport, server.url.replace("http:", "https:"))

    assert all(b"GET" not in data for _, data in server.asked)


async def test_a_handshake_that_is_not_answered_ends_in_time(transport):
    """Connecting and the handshake have one time together."""
    async with Server(b"") as server:
        with pytest.raises(httpx.ConnectTimeout):
            await ask(transport, server.url.replace("http:", "https:"), connect_s=0.1)


async def test_a_connection_that_hangs_is_tried_again(transport, monkeypatch):
    """Nothing was sent, and the kernel's own tries grow rare; each try may take longer."""
    monkeypatch.setattr("bridge.adapters.easee.http_transport.FIRST_TRY_S", 0.05)
    monkeypatch.setattr("bridge.adapters.easee.http_transport.LONGER_EACH_TIME_S", 0.05)
    async with Server(*[b""] * 9) as server:
        with pytest.raises(httpx.ConnectTimeout):
            await ask(transport, server.url.replace("http:", "https:"), connect_s=0.5)

        assert 2 <= server.connections <= 4


async def test_waiting_and_connecting_have_one_time_together(transport):
    """What waited for a place has the rest for its connection, and all of it was unsent."""
    async with Server(*[b""] * 3) as server, asyncio.TaskGroup() as tasks:
        held = [tasks.create_task(ask(transport, server.url)) for _ in range(2)]
        await server.is_asked.wait()
        asyncio.get_running_loop().call_later(0.2, held[0].cancel)
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(httpx.ConnectTimeout):
            await ask(transport, server.url.replace("http:", "https:"), connect_s=0.3)
        assert asyncio.get_running_loop().time() - began_s < 0.5
        held[1].cancel()


async def test_a_connection_leaves_no_farewell(transport):
    """Its kernel sends nothing of ours when we are gone, and nothing late while we are there."""
    async with Server(OK) as server:
        request = httpx.Request("GET", server.url, extensions={"left_s": lambda: 5.0})
        response = await transport.handle_async_request(request)
        await response.aread()
        await response.aclose()
        (connection,) = transport._idle
        sock = connection.writer.get_extra_info("socket")

        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


def test_the_certificate_is_checked():
    """Names and authorities both, whatever the environment says."""
    tls = tls_context()

    assert tls.check_hostname
    assert tls.verify_mode is ssl.CERT_REQUIRED
