"""The fault proxy itself: each fault does what it says, and counts that it did."""

import asyncio
import contextlib
import time

import pytest

from tests.conftest import PATIENCE_S
from tests.mosquitto import until
from tests.proxy import Fault, proxied

pytestmark = pytest.mark.anyio
TEXT = bytes(range(256)) * 4


@contextlib.asynccontextmanager
async def echoed():
    """A client of an echo server, through a proxy."""

    async def echo(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, proxied(server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        try:
            yield proxy, reader, writer
        finally:
            writer.close()


async def exchanged(reader, writer):
    """Send the text and read as much back, or nothing if less comes until the end."""
    writer.write(TEXT)
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            return await reader.readexactly(len(TEXT))
    return b""


async def test_without_a_fault_everything_passes():
    """Bytes, end of file and nothing counted."""
    async with echoed() as (proxy, reader, writer):
        assert await exchanged(reader, writer) == TEXT
        writer.write_eof()
        assert await reader.read() == b""
        await until(lambda: proxy.open == 0)

    assert not proxy.fired


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("corrupt", 1, "down"), b"\x55" + TEXT[1:]),
        (Fault("corrupt", 1, "up"), b"\x55" + TEXT[1:]),
        (Fault("truncate", 100, "down"), b""),
        (Fault("throttle", 10_000), TEXT),
        (Fault("delay", 0.05), TEXT),
    ],
    ids=lambda value: f"{value.kind}-{value.direction}" if isinstance(value, Fault) else "",
)
async def test_bytes_are_treated_as_asked(fault, expected):
    """What arrives is what the fault leaves, and it took the time the fault takes."""
    async with echoed() as (proxy, reader, writer):
        proxy.fault = fault
        started_s = time.perf_counter()
        assert await exchanged(reader, writer) == expected
        took_s = time.perf_counter() - started_s

    assert proxy.fired[fault.kind]
    assert took_s >= {"throttle": 0.09, "delay": 0.09}.get(fault.kind, 0.0)


async def test_dropped_chunks_never_arrive():
    """Every so many-th chunk is swallowed, the others pass."""
    async with echoed() as (proxy, reader, writer):
        proxy.fault = Fault("drop", 2, "up")
        await until(lambda: proxy.open)
        up = next(line for line in proxy._lines.values() if line.direction == "up")
        for count, text in enumerate((b"one", b"two", b"three"), start=1):
            writer.write(text)
            await until(lambda seen=count: up.seen == seen)
        assert await reader.readexactly(8) == b"onethree"

    assert proxy.fired["drop"] == 1


async def test_a_black_hole_swallows_until_it_is_gone():
    """Nothing comes back while it is there; afterwards all of it does, late, as networks do."""
    async with echoed() as (proxy, reader, writer):
        proxy.fault = Fault("blackhole")
        writer.write(TEXT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        proxy.fault = None
        assert await reader.readexactly(len(TEXT)) == TEXT

    assert proxy.fired["blackhole"]


async def test_connections_are_reset_and_refused():
    """RST ends what is there; a refused newcomer is taken and reset at once."""
    async with echoed() as (proxy, reader, writer):
        assert await exchanged(reader, writer) == TEXT
        proxy.reset()
        assert await exchanged(reader, writer) == b""
        proxy.fault = Fault("refuse")
        newcomer, other = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await exchanged(newcomer, other) == b""
        other.close()

    assert proxy.fired["reset"]
    assert proxy.fired["refuse"] == 1
    assert proxy.accepted == 2


async def test_half_closed_takes_and_gives_nothing():
    """The client reads the end, and may still send."""
    async with echoed() as (proxy, reader, writer):
        assert await exchanged(reader, writer) == TEXT
        proxy.half_close()
        assert await reader.read() == b""
        writer.write(TEXT)
        await writer.drain()
        up = next(line for line in proxy._lines.values() if line.direction == "up")
        await until(lambda: up.passed == 2 * len(TEXT))

    assert proxy.fired["half_close"] == 1


async def test_nobody_behind_it_is_a_reset():
    """A server that is not there is not hidden."""
    async with proxied(9) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await exchanged(reader, writer) == b""
        writer.close()

    assert proxy.accepted == 1
