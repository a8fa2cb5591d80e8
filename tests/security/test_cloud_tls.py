"""A cloud that cannot prove who it is learns nothing: neither the login nor a token."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import certifi
import pytest
import trustme
from websockets.exceptions import WebSocketException

from bridge.adapters.clock import SystemClock
from bridge.adapters.easee.http_client import HttpClient
from bridge.adapters.easee.http_transport import tls_context
from bridge.adapters.easee.signalr_source import HubStream
from bridge.errors import BridgeError
from bridge.settings import EaseeSettings, Secret

pytestmark = pytest.mark.anyio

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
LOGIN = b'{"userName":"someone","password":"canary-password-4711"}'
TOKEN = "canary-token-4712"
TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """The authority this machine trusts."""
    return trustme.CA()


@pytest.fixture(autouse=True)
def trusted(monkeypatch, tmp_path, authority) -> Iterator[None]:
    """Make the test's authority the only one of this machine."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    monkeypatch.setattr(certifi, "where", lambda: str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    # A process reads them once.
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


@contextlib.asynccontextmanager
async def server(leaf: trustme.LeafCert) -> AsyncIterator[tuple[int, bytearray]]:
    """Serve TLS with some certificate; keep every byte that comes through it, and hang up."""
    heard = bytearray()

    async def handle(reader, writer):
        with contextlib.suppress(OSError):
            heard.extend(await reader.read(65_536))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with listening:
        yield listening.sockets[0].getsockname()[1], heard


async def log_in(port: int) -> None:
    """Send a login to a server, as the REST client does."""
    base = f"https://localhost:{port}"
    exchange = HttpClient(base)
    try:
        path, token = "/api/accounts/login", Secret(TOKEN)
        await exchange.send("POST", base, path, within_s=TIMEOUT_S, body=LOGIN, token=token)
    finally:
        await exchange.close()


async def upgrade(port: int) -> None:
    """Open a WebSocket with a token, as the hub's client does."""
    url = f"wss://localhost:{port}/hubs/chargers?id=canary-connection"
    settings = EaseeSettings("someone", Secret("canary-password-4711"))
    stream = HubStream(settings, cloud=None, clock=SystemClock(), emit=lambda _: None)
    await stream._upgrade(url, TOKEN)


REACH = pytest.mark.parametrize("reach", [log_in, upgrade])


@REACH
@pytest.mark.parametrize(
    "leaf",
    [
        lambda ours: ours.issue_cert("cloud.example"),
        lambda ours: ours.issue_cert("localhost", not_after=LONG_AGO),
        lambda _: trustme.CA().issue_cert("localhost"),
    ],
    ids=["another host", "expired", "unknown authority"],
)
async def test_a_wrong_certificate_gets_no_byte(authority, reach, leaf):
    """Not one byte is sent to a server that is not verified, and the error holds no secret."""
    async with server(leaf(authority)) as (port, heard):
        with pytest.raises(BridgeError) as caught:
            await reach(port)

    assert bytes(heard) == b""
    assert "canary" not in repr(caught.value) + str(caught.value)


@REACH
async def test_the_right_certificate_is_spoken_to(authority, reach):
    """The test above can fail: the same server with the right certificate hears the token."""
    async with server(authority.issue_cert("localhost")) as (port, heard):
        with contextlib.suppress(BridgeError, WebSocketException):
            await reach(port)

    assert TOKEN.encode() in heard
