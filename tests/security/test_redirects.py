"""A redirect never takes a credential along: not to another host, port or scheme."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import WebSocketException

from bridge.adapters.clock import SystemClock
from bridge.adapters.easee.http_client import HttpClient
from bridge.adapters.easee.signalr_source import HubStream
from bridge.errors import BridgeError
from bridge.settings import EaseeSettings, Secret

pytestmark = pytest.mark.anyio

TOKEN = "canary-token-4712"
LOGIN = b'{"password":"canary-password-4711"}'


@contextlib.asynccontextmanager
async def server(answer: str) -> AsyncIterator[tuple[int, bytearray]]:
    """Answer every request with one text; keep what was heard."""
    heard = bytearray()

    async def handle(reader, writer):
        with contextlib.suppress(OSError):
            heard.extend(await reader.read(65_536))
            writer.write(answer.encode())
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1], heard


def redirect(status: int, to: str) -> str:
    """Write an answer that sends the client elsewhere."""
    return f"HTTP/1.1 {status} Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"


async def log_in(port: int) -> None:
    """Send a login as the REST client does."""
    exchange = HttpClient(f"http://127.0.0.1:{port}")
    try:
        await exchange.send(
            "POST", f"http://127.0.0.1:{port}", "/api/accounts/login",
            within_s=10.0, body=LOGIN, token=Secret(TOKEN),
        )  # fmt: skip
    finally:
        await exchange.close()


async def upgrade(port: int) -> None:
    """Open a WebSocket as the hub's client does."""
    settings = EaseeSettings("someone", Secret("canary-password-4711"))
    stream = HubStream(settings, cloud=None, clock=SystemClock(), emit=lambda _: None)
    await stream._upgrade(f"ws://127.0.0.1:{port}/hubs/chargers?id=x", TOKEN)


@pytest.mark.parametrize("reach", [log_in, upgrade])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
async def test_nobody_else_hears_of_a_credential(reach, status, host):
    """The place a redirect names hears nothing at all; the one that was meant did."""
    scheme = "ws" if reach is upgrade else "http"
    async with server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (other, stolen):
        where = f"{scheme}://{host}:{other}/take"
        async with server(redirect(status, where)) as (port, heard):
            with contextlib.suppress(BridgeError, WebSocketException):
                await reach(port)

    assert TOKEN.encode() in heard
    assert bytes(stolen) == b""
