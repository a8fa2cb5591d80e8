"""A TCP proxy that fails on demand, between the real gateway and whatever it talks to.

Directions are the client's: ``up`` is what the gateway sends, ``down`` what it gets. A fault counts
in :attr:`Proxy.fired` each time it really did something to somebody, so that a test can tell a
fault that was survived from one that never happened.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

CHUNK_BYTES = 4096
TICK_S = 0.01
# Off, after zero seconds: closing sends RST and forgets what was not sent.
ABORT = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to bytes from now on.

    Attributes:
        kind: A name in :data:`TREATMENTS`.
        amount: ``delay``: seconds. ``throttle``: bytes a second. ``truncate``: bytes that still get
            through. ``corrupt`` and ``drop``: every so many-th chunk.
        direction: ``up``, ``down`` or ``both``.
    """

    kind: str
    amount: float = 1.0
    direction: str = "both"


@dataclass(eq=False)
class Line:
    """One direction of one connection."""

    proxy: "Proxy"
    direction: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    seen: int = 0
    passed: int = 0

    @property
    def fault(self) -> Fault | None:
        """What is to happen to this direction now."""
        fault = self.proxy.fault
        return fault if fault and fault.direction in (self.direction, "both") else None

    def fired(self, kind: str) -> None:
        """Count that something was done."""
        self.proxy.fired[kind] += 1

    async def run(self) -> bool:
        """Pass bytes on until one side ends; return whether the other direction may go on."""
        while True:
            await self._hole()
            chunk = await self.reader.read(CHUNK_BYTES)
            await self._hole()
            if not chunk:
                self.end()
                return True
            self.seen += 1
            fault = self.fault
            passed = await TREATMENTS[fault.kind](self, chunk, fault) if fault else chunk
            if passed is None:
                return False
            self.passed += len(passed)
            self.writer.write(passed)
            await self.writer.drain()

    def end(self) -> None:
        """Tell whoever gets this direction that nothing more comes."""
        with contextlib.suppress(OSError):
            self.writer.write_eof()

    async def _hole(self) -> None:
        """Stand still while there is a black hole: nothing is read, nothing is passed on."""
        if self.fault is not None and self.fault.kind == "blackhole":
            self.fired("blackhole")
            while self.fault is not None and self.fault.kind == "blackhole":  # noqa: ASYNC110 - tests set an attribute, no event
                await asyncio.sleep(TICK_S)


async def _drop(line: Line, chunk: bytes, fault: Fault) -> bytes:
    if line.seen % int(fault.amount):
        return chunk
    line.fired("drop")
    return b""


async def _corrupt(line: Line, chunk: bytes, fault: Fault) -> bytes:
    if line.seen % int(fault.amount):
        return chunk
    line.fired("corrupt")
    # The first byte: that is where a packet or a frame says what it is. A changed digit somewhere
    # in the middle is no fault anybody but TLS can notice.
    return bytes([chunk[0] ^ 0x55]) + chunk[1:]


async def _delay(line: Line, chunk: bytes, fault: Fault) -> bytes:
    line.fired("delay")
    await asyncio.sleep(fault.amount)
    return chunk


async def _throttle(line: Line, chunk: bytes, fault: Fault) -> bytes:
    line.fired("throttle")
    step = max(1, int(fault.amount * TICK_S))
    for start in range(0, len(chunk), step):
        line.writer.write(chunk[start : start + step])
        await line.writer.drain()
        if line.fault is fault:
            await asyncio.sleep(TICK_S)
    return b""


async def _truncate(line: Line, chunk: bytes, fault: Fault) -> bytes | None:
    left = int(fault.amount) - line.passed
    if len(chunk) <= left:
        return chunk
    line.fired("truncate")
    line.writer.write(chunk[: max(0, left)])
    with contextlib.suppress(ConnectionError):
        await line.writer.drain()
    line.writer.close()
    return None


async def _pass(_line: Line, chunk: bytes, _fault: Fault) -> bytes:
    return chunk


TREATMENTS: dict[str, Callable[[Line, bytes, Fault], Awaitable[bytes | None]]] = {
    "drop": _drop,
    "corrupt": _corrupt,
    "delay": _delay,
    "throttle": _throttle,
    "truncate": _truncate,
    "blackhole": _pass,
    "refuse": _pass,
}


@dataclass
class Proxy:
    """Stands before one server on loopback.

    Attributes:
        port: Where it listens.
        fault: What happens from now on, to old and new connections; None: nothing.
        fired: How often which fault really did something.
        accepted: How many connections were taken, refused ones included.
    """

    target: int
    port: int = 0
    fault: Fault | None = None
    fired: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    _lines: dict[asyncio.Task[bool], Line] = field(default_factory=dict)

    @property
    def open(self) -> int:
        """How many connections it holds."""
        return len(self._lines) // 2

    def reset(self) -> None:
        """Break every connection at once, with RST on both sides."""
        for line in self._lines.values():
            self.fired["reset"] += 1
            _abort(line.writer)

    def half_close(self) -> None:
        """End what the gateway gets, and go on taking what it sends."""
        for task, line in self._lines.items():
            if line.direction == "down":
                self.fired["half_close"] += 1
                line.end()
                task.cancel()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.accepted += 1
        if self.fault is not None and self.fault.kind == "refuse":
            self.fired["refuse"] += 1
            _abort(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self.target, limit=CHUNK_BYTES
            )
        except OSError:
            _abort(writer)
            return
        lines = Line(self, "up", reader, far_writer), Line(self, "down", far_reader, writer)
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(line.run()): line for line in lines}
        self._lines |= tasks
        waiting = set(tasks)
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if not all(_orderly(task) for task in done):
                    break
        finally:
            for task, line in tasks.items():
                del self._lines[task]
                task.cancel()
                line.writer.close()


def _orderly(task: asyncio.Task[bool]) -> bool:
    """Say whether the other direction may go on when this one ended."""
    if task.cancelled():
        return True
    return task.exception() is None and task.result()


def _abort(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """Put a proxy before a port of loopback, on a port of its own."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0, limit=CHUNK_BYTES)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.fault = None
        proxy.reset()
        while proxy.open:  # noqa: ASYNC110 - they end by themselves now
            await asyncio.sleep(TICK_S)
        await server.wait_closed()
