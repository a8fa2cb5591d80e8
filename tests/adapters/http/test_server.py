"""The web server against real sockets."""

import asyncio
import contextlib

import h11
import httpx
import pytest

from bridge.adapters.http import server as module
from bridge.adapters.http.server import EventStream, HttpServer, Reply
from bridge.settings import HttpSettings

pytestmark = pytest.mark.anyio


def broken():
    """Fail as a view with a mistake does."""
    raise RuntimeError("canary-4711")


async def later():
    """Answer as a view does that has to wait first."""
    await asyncio.sleep(0)
    return Reply(b"later\n")


async def ticks():
    """Send three pieces."""
    for number in range(3):
        yield f"data: {number}\n\n".encode()


async def endless():
    """Send a piece every now and then."""
    while True:
        yield b"data: more\n\n"
        await asyncio.sleep(0.01)


ROUTES = {
    "/": lambda: Reply(b"hello\n"),
    "/long": lambda: Reply(b"x" * 200_000),
    "/endless": lambda: EventStream(endless()),
    "/later": later,
    "/broken": broken,
    "/feed": lambda: EventStream(ticks()),
}


@contextlib.asynccontextmanager
async def serving(clock, free_port, **settings):
    """Run a server; yield its URL."""
    found = HttpServer(HttpSettings(port=free_port, **settings), ROUTES, clock)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(found.run())
        await found.listening.wait()
        yield f"http://127.0.0.1:{free_port}"
        task.cancel()


async def ask(port, text):
    """Send bytes and return everything that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_a_page_arrives_with_its_guards(clock, free_port):
    """An answer has its body, its length and the headers that keep others out."""
    async with serving(clock, free_port) as url, httpx.AsyncClient() as client:
        found = await client.get(f"{url}/?x=1")
        head = await client.head(url)
    assert (found.status_code, found.text) == (200, "hello\n")
    assert {name: found.headers[name] for name, _ in module.SAFE} == dict(module.SAFE)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "6")


@pytest.mark.parametrize(
    ("case", "status"),
    [
        (("GET", "/nowhere", "127.0.0.1"), 404),
        (("GET", "/%2e%2e/etc/passwd", "127.0.0.1"), 404),
        (("POST", "/", "127.0.0.1"), 405),
        (("GET", "/", "evil.example"), 421),
        (("GET", "/", "evil.example:8480"), 421),
        (("GET", "/", "localhost"), 200),
        (("GET", "/", "[::1]:8480"), 200),
        (("GET", "/", "192.168.1.20:8480"), 200),
        (("GET", "/", "Pi.Lan"), 200),
    ],
)
async def test_what_is_not_for_us_is_refused(clock, free_port, case, status):
    """Only GET and HEAD, only our paths, and only by a name that is ours."""
    async with (
        serving(clock, free_port, names=("pi.lan",)) as url,
        httpx.AsyncClient() as client,
    ):
        method, path, host = case
        found = await client.request(method, url + path, headers={"host": host})
    assert found.status_code == status


@pytest.mark.parametrize(
    ("source", "host", "status"),
    [
        ("127.0.0.9", "home.example:8123", 200),
        ("127.0.0.1", "127.0.0.1", 200),
        ("127.0.0.1", "home.example:8123", 421),
    ],
)
async def test_a_proxy_may_ask_by_any_name(clock, free_port, source, host, status):
    """The named proxy passes on its client's host name; this machine asks by ours alone."""
    transport = httpx.AsyncHTTPTransport(local_address=source)
    async with (
        serving(clock, free_port, proxy="127.0.0.9") as url,
        httpx.AsyncClient(transport=transport) as client,
    ):
        found = await client.get(url, headers={"host": host})
    assert found.status_code == status


@pytest.mark.parametrize(
    ("proxy", "peer", "allowed"),
    [
        (None, "192.168.1.20", True),
        ("172.30.32.2", "192.168.1.20", False),
        ("172.30.32.2", "::ffff:172.30.32.2", True),
        ("172.30.32.2", "::1", True),
        ("fe80::1", "fe80::1%eth0", True),
        ("172.30.32.2", None, False),
    ],
)
async def test_only_the_proxy_and_this_machine_may_connect(clock, proxy, peer, allowed):
    """Where a proxy is named, a request from any other address is answered 403."""
    server = HttpServer(HttpSettings(proxy=proxy), ROUTES, clock)
    request = h11.Request(method="GET", target="/", headers=[("host", "127.0.0.1")])
    address = None if peer is None else module._address(peer)
    answer = await server._answer(address, request)
    assert answer.status == (200 if allowed else 403)


async def test_a_view_may_wait(clock, free_port):
    """An answer that is not known at once is sent like any other."""
    async with serving(clock, free_port) as url, httpx.AsyncClient() as client:
        found = await client.get(f"{url}/later")
    assert (found.status_code, found.text) == (200, "later\n")


async def test_a_mistake_in_a_view_stays_inside(clock, free_port):
    """An error is a 500 that says nothing of it, and the next request is answered."""
    async with serving(clock, free_port) as url, httpx.AsyncClient() as client:
        found = await client.get(f"{url}/broken")
        after = await client.get(url)
    assert (found.status_code, "canary" in found.text, after.status_code) == (500, False, 200)


async def test_a_feed_comes_piece_by_piece(clock, free_port):
    """A feed is sent as it comes, and ends the connection when it is over."""
    async with serving(clock, free_port) as url, httpx.AsyncClient() as client:
        found = await client.get(f"{url}/feed")
    assert found.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert found.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize(
    "text",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"y" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: -1\r\n\r\n",
    ],
)
async def test_nonsense_is_refused_and_the_next_one_served(clock, free_port, text):
    """What is no request gets a 4xx or nothing, and costs nobody else anything."""
    async with serving(clock, free_port) as url:
        found = await ask(free_port, text)
        assert found == b"" or found.startswith(b"HTTP/1.1 4")
        async with httpx.AsyncClient() as client:
            assert (await client.get(url)).status_code == 200


async def test_silent_clients_lose_their_places(clock, free_port, monkeypatch):
    """Clients that connect and say nothing are thrown out, so that others get in."""
    monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", 0.2)
    async with serving(clock, free_port) as url:
        silent = [
            await asyncio.open_connection("127.0.0.1", free_port)
            for _ in range(module.MAX_CONNECTIONS + 3)
        ]
        for reader, _ in silent:
            assert await asyncio.wait_for(reader.read(), 10) == b""
        async with httpx.AsyncClient() as client:
            assert (await client.get(url)).status_code == 200
        for _, writer in silent:
            writer.close()


@contextlib.asynccontextmanager
async def slow_clients(port, count, says):
    """Open connections that send this and then neither say nor read anything more."""
    clients = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.transport.pause_reading()
            writer.write(says)
            clients.append((reader, writer))
        yield clients
    finally:
        for _, writer in clients:
            writer.transport.abort()


GET = b"GET %b HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize(
    "says", [b"", b"GET / HT", GET % b"/", (GET % b"/long") * 50, GET % b"/endless"]
)
async def test_slow_clients_cost_a_health_check_nothing(clock, free_port, says):
    """However many connections stand open, whatever they wait for, a new one is answered."""
    async with (
        serving(clock, free_port) as url,
        slow_clients(free_port, 3 * module.MAX_CONNECTIONS, says),
    ):
        for _ in range(3):
            async with httpx.AsyncClient() as client:
                assert (await client.get(url)).status_code == 200


async def test_the_longest_wait_is_dropped_and_no_other(clock, free_port):
    """A connection that is used keeps its place; the one that was idle longest is closed."""
    async with (
        serving(clock, free_port) as url,
        httpx.AsyncClient() as used,
        slow_clients(free_port, 1, b"") as (oldest,),
    ):
        await used.get(url)
        (connection,) = used._transport._pool.connections
        async with slow_clients(free_port, module.MAX_CONNECTIONS - 2, b"") as others:
            await used.get(url)  # is the newest again
            async with slow_clients(free_port, 1, b""):
                reader, writer = oldest
                writer.transport.resume_reading()
                assert await asyncio.wait_for(reader.read(), 10) == b""
                await used.get(url)
            assert used._transport._pool.connections == [connection]
            for reader, writer in others:
                writer.transport.resume_reading()
                await asyncio.sleep(0)
                assert not reader.at_eof()


async def test_feeds_take_half_of_the_places_at_most(clock, free_port):
    """One feed too many is told so, a feed is never dropped for others, and a HEAD is none."""
    async with serving(clock, free_port) as url, httpx.AsyncClient(timeout=10) as client:
        async with contextlib.AsyncExitStack() as open_feeds:
            for _ in range(module.MAX_EVENT_STREAMS):
                assert (await client.head(f"{url}/endless")).status_code == 200
                feed = await open_feeds.enter_async_context(client.stream("GET", f"{url}/endless"))
                assert feed.status_code == 200
            assert (await client.get(f"{url}/endless")).status_code == 503
            async with slow_clients(free_port, 2 * module.MAX_CONNECTIONS, b""):
                parts = feed.aiter_raw()
                for _ in range(3):
                    assert b"data" in await anext(parts)
        for _ in range(100):  # the server notices with the next piece that they are gone
            async with client.stream("GET", f"{url}/endless") as feed:
                if feed.status_code == 200:
                    break
            await asyncio.sleep(0.01)
        assert feed.status_code == 200


async def test_a_port_that_is_taken_is_tried_again(clock, free_port):
    """The bridge goes on without its page, and has it as soon as the port is free."""
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", free_port)
    freed = []

    async def sleep(seconds):
        freed.append(seconds)
        taken.close()
        await taken.wait_closed()

    clock.sleep = sleep
    async with serving(clock, free_port) as url, httpx.AsyncClient() as client:
        assert (await client.get(url)).status_code == 200
    assert freed == [module.RETRY_S]
