import asyncio
import gzip
import socket
import zlib
from datetime import UTC, datetime

import httpx
import pytest

from bridge.adapters.easee.http_client import (
    MAX_ERROR_BODY_BYTES,
    NO_TIME_LEFT,
    USER_AGENT,
    HttpClient,
    HttpResponse,
)
from bridge.core.easee.rest_requests import MAX_BODY_BYTES
from bridge.errors import AnswerUnusable, CloudRejected, CloudUnavailable, OutcomeUnknown
from bridge.settings import Secret

pytestmark = pytest.mark.anyio

API = "https://api.easee.com"
HUB = "https://streams.easee.com/hubs/chargers"


class Pieces(httpx.AsyncByteStream):
    """A body that arrives in pieces, and counts how many were taken."""

    def __init__(self, *pieces):
        self.pieces = pieces
        self.taken = 0

    async def __aiter__(self):
        for piece in self.pieces:
            self.taken += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece


def exchange(handler):
    """Make an exchange that asks a function instead of a server."""
    return HttpClient(API, HUB, transport=httpx.MockTransport(handler))


def no_content(_request):
    """Answer 204. Bodies here are streams: httpx consumes others while it builds the response."""
    return httpx.Response(204, stream=Pieces())


def answering(status=200, *pieces, **headers):
    """Make an exchange that always gets this answer, and the body it will take it from."""
    stream = Pieces(*pieces)
    packed = {name.replace("_", "-"): value for name, value in headers.items()}
    return exchange(lambda _: httpx.Response(status, headers=packed, stream=stream)), stream


async def test_a_request_carries_what_it_must():
    """Token, our own name, content type; nothing of a library's name."""
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(202, headers={"Retry-After": "7"}, stream=Pieces(b"[", b"]"))

    client = exchange(handler)
    reply = await client.send(
        "POST", API, "/api/x?ids=1,2", within_s=5, body=b"{}", token=Secret("canary")
    )
    await client.close()

    assert reply == HttpResponse(202, b"[]", "7")
    assert str(seen[0].url) == "https://api.easee.com/api/x?ids=1,2"
    assert seen[0].headers["Authorization"] == "Bearer canary"
    assert seen[0].headers["Content-Type"] == "application/json"
    assert seen[0].headers["User-Agent"] == USER_AGENT
    assert USER_AGENT.startswith("charger-bridge/")


def test_a_reply_does_not_show_its_body():
    """Logins are answered with tokens, so a reply's repr is without its body."""
    assert "canary" not in repr(HttpResponse(200, b"canary"))


@pytest.mark.parametrize(
    ("base", "path"),
    [
        (API, "/api/chargers/../accounts/profile"),
        (API, "@evil.example/x"),
        (API, "api"),
        (API, ".evil.example/x"),
        (API, "/api/x y"),
        (API, "/api/é"),
        (API, "/x#y"),
        ("https://evil.example", "/api/x"),
        ("https://user@api.easee.com", "/api/x"),
        ("http://api.easee.com", "/api/x"),
        ("https://api.easee.com:8443", "/api/x"),
        ("https://[", "/x"),
        ("https://a\nb", "/x"),
    ],
)
@pytest.mark.fault("F28")
async def test_a_token_goes_nowhere_else(base, path):
    """What would leave the configured hosts or the path as given is not sent."""
    sent = []
    client = exchange(lambda request: sent.append(request) or httpx.Response(200))
    with pytest.raises(CloudRejected) as refused:
        await client.send("GET", base, path, within_s=5, token=Secret("canary"))
    await client.close()

    assert refused.value.reason == "invalid_url"
    assert sent == []


async def test_plain_http_is_for_this_machine():
    """Without TLS a configured host is spoken to only when it is this machine."""
    for url, allowed in (
        ("http://127.0.0.1:8800", True),
        ("http://[::1]:8800", True),
        ("http://localhost:8800", True),
        ("http://192.168.1.7:8800", False),
    ):
        client = HttpClient(url, transport=httpx.MockTransport(no_content))
        if allowed:
            assert (await client.send("GET", url, "/x", within_s=5)).status == 204
        else:
            with pytest.raises(CloudRejected):
                await client.send("GET", url, "/x", within_s=5)
        await client.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ConnectError("refused"), CloudUnavailable),
        (httpx.ConnectTimeout(""), CloudUnavailable),
        (httpx.PoolTimeout(""), CloudUnavailable),
        (httpx.ReadTimeout(""), OutcomeUnknown),
        (httpx.WriteTimeout(""), OutcomeUnknown),
        (httpx.ReadError(""), OutcomeUnknown),
        (httpx.RemoteProtocolError("gone"), OutcomeUnknown),
    ],
)
async def test_an_error_says_whether_the_request_may_have_been_carried_out(error, expected):
    """No connection is unavailable; anything later is an unknown outcome."""

    def handler(_request):
        raise error

    client = exchange(handler)
    with pytest.raises(CloudUnavailable) as caught:
        await client.send("POST", API, "/api/x", within_s=5)
    await client.close()

    assert type(caught.value) is expected
    assert caught.value.__cause__ is error


async def test_a_packed_body_is_unpacked():
    """Gzip is understood, in whatever pieces it comes."""
    packed = gzip.compress(b'{"a": 1}' * 100)
    client, _ = answering(200, packed[:5], packed[5:], Content_Encoding="gzip")

    assert (await client.send("GET", API, "/x", within_s=5)).body == b'{"a": 1}' * 100
    await client.close()


@pytest.mark.fault("F28")
async def test_a_gzip_bomb_is_not_unpacked():
    """A small answer that unpacks to 100 MiB ends at the cap, without the rest being taken."""
    packer = zlib.compressobj(wbits=31)
    pieces = [packer.compress(bytes(1024 * 1024)) for _ in range(100)]
    client, stream = answering(200, *pieces, packer.flush(), Content_Encoding="gzip")
    with pytest.raises(AnswerUnusable) as caught:
        await client.send("GET", API, "/x", within_s=30)
    await client.close()

    assert (caught.value.status, caught.value.reason) == (200, "answer_too_large")
    assert stream.taken < 100


@pytest.mark.parametrize(
    ("headers", "pieces", "reason"),
    [
        ({"Content_Encoding": "br"}, [b"x"], "answer_unusable"),
        ({"Content_Encoding": "gzip"}, [b"no gzip at all"], "answer_unusable"),
        ({}, [bytes(MAX_BODY_BYTES + 1)], "answer_too_large"),
        ({}, [bytes(MAX_BODY_BYTES), b"1"], "answer_too_large"),
        (
            {"Content_Encoding": "gzip"},
            [gzip.compress(bytes(2 * MAX_BODY_BYTES))],
            "answer_too_large",
        ),
        ({}, [b"[", httpx.ReadError("lost")], "answer_unusable"),
    ],
)
async def test_a_success_without_a_usable_body_was_taken(headers, pieces, reason):
    """The status was read, so the cloud took it; why the rest cannot be had is said."""
    client, _ = answering(202, *pieces, **headers)
    with pytest.raises(AnswerUnusable) as caught:
        await client.send("POST", API, "/x", within_s=5)
    await client.close()

    assert (caught.value.status, caught.value.reason) == (202, reason)


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"Transfer-Encoding: chunked", b"10000\r\n%b\r\n" % bytes(65_536)),
        (b"Content-Length: 9999999999", bytes(65_536)),
        (b"Connection: close", bytes(65_536)),
    ],
    ids=["chunked", "length", "until it closes"],
)
@pytest.mark.fault("F28")
async def test_an_answer_without_end_is_read_to_the_cap(server, head, piece):
    """However its length is told; the connection is not used again."""

    async def endless(writer):
        writer.write(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % head)
        while True:
            writer.write(piece)
            await writer.drain()

    url = await server(endless)
    client = HttpClient(url)
    with pytest.raises(AnswerUnusable) as caught:
        await client.send("GET", url, "/x", within_s=10)
    assert client._transport._idle == []
    await client.close()

    assert (caught.value.status, caught.value.reason) == (200, "answer_too_large")


async def test_an_answer_as_large_as_may_be_is_taken():
    """The cap is what is allowed, not what is refused."""
    client, _ = answering(200, bytes(MAX_BODY_BYTES))

    assert len((await client.send("GET", API, "/x", within_s=5)).body) == MAX_BODY_BYTES
    await client.close()


@pytest.mark.parametrize("status", [200, 404])
async def test_a_request_may_have_a_bound_of_its_own(status):
    """For a success: a refusal is read as far as any other."""
    body = bytes(3 * MAX_BODY_BYTES)
    client, _ = answering(status, body)
    answer = await client.send("GET", API, "/x", within_s=5, largest=len(body))
    await client.close()

    assert len(answer.body) == (len(body) if status == 200 else MAX_ERROR_BODY_BYTES)


@pytest.mark.parametrize(
    ("headers", "piece"),
    [
        ({"Content_Encoding": "br"}, b"x"),
        ({"Content_Encoding": "gzip"}, b"no gzip at all"),
        ({}, bytes(MAX_BODY_BYTES + 1)),
        ({}, httpx.ReadError("lost")),
    ],
)
async def test_a_refusal_needs_no_usable_body(headers, piece):
    """The status of a refusal says enough."""
    client, _ = answering(404, piece, **headers)

    assert (await client.send("POST", API, "/x", within_s=5)).status == 404
    await client.close()


@pytest.mark.fault("F28")
async def test_a_redirect_is_not_followed():
    """The answer comes back as it is; nothing is sent to where it points."""
    sent = []

    def handler(request):
        sent.append(request.url.host)
        return httpx.Response(302, headers={"Location": "https://evil.example/"})

    client = exchange(handler)
    reply = await client.send("GET", API, "/x", within_s=5, token=Secret("canary"))
    await client.close()

    assert (reply.status, reply.leads_away) == (302, True)
    assert sent == ["api.easee.com"]


@pytest.mark.parametrize(
    ("status", "headers", "away"),
    [
        *((status, {"Location": "https://limiter.example/x"}, True) for status in (301, 302, 303)),
        *((status, {"Location": "//limiter.example"}, True) for status in (307, 308)),
        (302, {"Location": "https://api.easee.com:8443/x"}, True),
        (302, {"Location": "https://streams.easee.com/x"}, True),
        (302, {"Location": "http://127.0.0.1:9/x"}, True),
        *((302, {"Location": where}, False) for where in ("/y", "y", "?z", "", "//API.easee.COM/")),
        (301, {"Location": "http://api.easee.com/x"}, False),
        (308, {"Location": "https://api.easee.com:443/x/"}, False),
        (302, {"Location": "https://a:port/"}, False),
        (302, {}, False),
        (304, {"Location": "https://limiter.example/"}, False),
        (200, {"Location": "https://limiter.example/"}, False),
    ],
)
async def test_a_redirect_tells_whether_it_leads_away(status, headers, away):
    """Another host or port does; another path, or the same place with TLS, does not."""
    client, _ = answering(status, **headers)

    assert (await client.send("GET", API, "/x", within_s=5)).leads_away is away
    await client.close()


@pytest.fixture
async def server():
    """Start servers made of one function each, and stop them."""
    running = []

    async def start(handler):
        async def handle(reader, writer):
            try:
                await reader.readuntil(b"\r\n\r\n")
                await handler(writer)
            except (ConnectionError, EOFError, asyncio.CancelledError):
                pass
            finally:
                writer.close()

        one = await asyncio.start_server(handle, "127.0.0.1", 0)
        running.append(one)
        return f"http://127.0.0.1:{one.sockets[0].getsockname()[1]}"

    yield start
    for one in running:
        one.close()
        await one.wait_closed()


async def drip(writer):
    """Send a byte now and then, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def test_proxies_of_the_environment_are_not_used(monkeypatch, server):
    """A proxy variable does not get the password."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def hello(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    url = await server(hello)
    client = HttpClient(url)
    reply = await client.send("GET", url, "/x", within_s=5)
    await client.close()

    assert reply.body == b"ok"


async def test_cookies_are_not_kept():
    """What one answer sets is not sent with the next request: each stands alone."""
    seen = []

    def handler(request):
        seen.append(request.headers.get("Cookie"))
        return httpx.Response(200, headers={"Set-Cookie": "a=b"}, stream=Pieces())

    client = exchange(handler)
    for _ in range(2):
        await client.send("GET", API, "/api/x", within_s=5)

    assert seen == [None, None]


@pytest.mark.fault("F27")
async def test_a_dripping_body_ends_at_the_deadline(server):
    """Every byte arrives in time and the whole does not: the deadline is for everything."""
    url = await server(drip)
    client = HttpClient(url)
    started_s = asyncio.get_running_loop().time()
    with pytest.raises(OutcomeUnknown):
        await client.send("GET", url, "/x", within_s=0.3)
    took_s = asyncio.get_running_loop().time() - started_s
    await client.close()

    assert took_s >= 0.25


@pytest.mark.fault("F27")
async def test_a_server_that_never_answers_ends_at_the_deadline(server):
    """Accepted and silent: the outcome is unknown, in time."""
    url = await server(lambda _: asyncio.sleep(5))
    client = HttpClient(url)
    with pytest.raises(OutcomeUnknown):
        await client.send("GET", url, "/x", within_s=0.2)
    await client.close()


async def test_a_request_that_is_late_was_certainly_not_sent(server):
    """Whoever asked may try again: nothing left."""

    async def never(_writer):
        pytest.fail("it left")

    url = await server(never)
    client = HttpClient(url)
    with pytest.raises(CloudUnavailable, match=NO_TIME_LEFT) as caught:
        await client.send("POST", url, "/x", within_s=5, left_s=lambda: 0.0)
    await client.close()

    assert type(caught.value) is CloudUnavailable


async def test_a_port_nobody_listens_on_is_unavailable(free_port):
    """A refused connection was certainly not a request."""
    url = f"http://127.0.0.1:{free_port}"
    client = HttpClient(url)
    with pytest.raises(CloudUnavailable) as caught:
        await client.send("GET", url, "/x", within_s=5)
    await client.close()

    assert type(caught.value) is CloudUnavailable


async def test_a_connection_that_fails_is_tried_once(monkeypatch):
    """Nothing below us repeats: who asked decides whether and when it is tried again."""
    tries = []

    async def refused(host, port, **_options):
        tries.append((host, port))
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio, "open_connection", refused)
    client = HttpClient("http://127.0.0.1:9", HUB)
    with pytest.raises(CloudUnavailable):
        await client.send("GET", "http://127.0.0.1:9", "/x", within_s=9)
    await client.close()

    assert tries == [("127.0.0.1", 9)]


async def test_small_requests_do_not_wait_for_acknowledgements(server):
    """Nagle's algorithm is off on the sockets we open."""

    async def hello(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        await asyncio.sleep(0.2)

    url = await server(hello)
    client = HttpClient(url)
    await client.send("GET", url, "/x", within_s=5)
    (connection,) = client._transport._idle
    sock = connection.writer.get_extra_info("socket")

    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    await client.close()


@pytest.mark.parametrize(
    ("headers", "heard"),
    [
        ({"Date": "Sun, 22 Nov 2026 12:00:00 GMT"}, 1),
        ({"Date": "Sun, 22 Nov 2026 13:00:00 +0100"}, 1),
        ({"Date": "Sun, 22 Nov 2026 12:00:00 -0000"}, 1),
        ({"Date": "Sun, 22 Nov 2026 12:00:00 GMT", "Age": "9"}, 0),
        ({"Date": "yesterday"}, 0),
        ({"Date": "Sun, 99 Nov 99999 12:00:00 GMT"}, 0),
        ({}, 0),
    ],
)
@pytest.mark.parametrize("status", [204, 401, 503])
async def test_each_answer_tells_what_time_it_is(headers, heard, status):
    """Refusals too; a stored answer and a date that is none tell nothing."""
    told = []
    transport = httpx.MockTransport(
        lambda _: httpx.Response(status, headers=headers, stream=Pieces())
    )

    await HttpClient(API, transport=transport, told=told.append).send("GET", API, "/x", within_s=5)

    assert told == [datetime(2026, 11, 22, 12, tzinfo=UTC)] * heard
