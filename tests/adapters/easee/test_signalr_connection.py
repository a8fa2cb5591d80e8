"""One hub connection on virtual time, with the real limits and a socket in memory."""

import asyncio
import itertools

import pytest

from bridge.adapters.easee.signalr_connection import (
    SLICE_BYTES,
    Delivering,
    HubConnection,
    Limits,
    Subscribed,
    Subscriptions,
)
from bridge.core.easee.signalr import HANDSHAKE, PING, subscribe
from bridge.core.events import ObservationsReceived, StreamAnomaly
from bridge.errors import ConnectionLost
from tests.conftest import FakeClock

pytestmark = pytest.mark.anyio

UPDATE = (
    b'{"type":1,"target":"ProductUpdate","arguments":[{"mid":"EH123456","dataType":4,'
    b'"id":109,"timestamp":"2025-01-22T12:51:47Z","value":"3"}]}\x1e'
)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


class SteppedClock(FakeClock):
    """Virtual time: sleepers wake when the test has moved the clock past them."""

    def __init__(self) -> None:
        super().__init__()
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.mono_s + seconds, waking))
        await waking

    async def run(self, seconds: float) -> None:
        """Move on, stopping at every moment somebody waits for."""
        end_s = self.mono_s + seconds
        await settle()
        while self.sleepers and min(at for at, _ in self.sleepers) <= end_s:
            at_s, waking = min(self.sleepers, key=lambda sleeper: sleeper[0])
            self.sleepers.remove((at_s, waking))
            self.advance(at_s - self.mono_s)
            if not waking.done():
                waking.set_result(None)
            await settle()
        self.advance(end_s - self.mono_s)


class FakeSocket:
    """Remembers what was sent and when; delivers what the test puts in."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.on_bytes = None
        self.sent: list[tuple[float, str]] = []
        self.incoming: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self.stuck = False

    async def send(self, record: str) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        self.sent.append((self.clock.mono_s - 1000.0, record))

    async def recv(self) -> bytes:
        item = await self.incoming.get()
        if isinstance(item, Exception):
            raise item
        return item


class Bench:
    """A connection that runs, and everything around it."""

    def __init__(self, chargers: tuple[str, ...] = ()) -> None:
        self.clock = SteppedClock()
        self.socket = FakeSocket(self.clock)
        self.watched = Subscriptions(chargers)
        self.taken: list[object] = []
        self.connection = HubConnection(Limits(), self.clock, self.watched, self.taken.append)
        self.end: BaseException | None = None
        self.ended_at_s: float | None = None

    async def serve(self) -> None:
        try:
            await self.connection.serve(self.socket)
        except ConnectionLost as error:
            self.end = error
            self.ended_at_s = self.clock.mono_s - 1000.0


@pytest.mark.fault("F30")
async def test_a_silent_hub_is_noticed_within_45_s_and_pinged_until_then():
    """With the real figures: pings at 15 and 30 s, given up at 35 s."""
    bench = Bench()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.serve())
        bench.socket.incoming.put_nowait(b"{}\x1e")
        await bench.clock.run(60.0)

    assert bench.socket.sent == [(0.0, HANDSHAKE), (15.0, PING), (30.0, PING)]
    assert bench.ended_at_s == 35.0
    assert str(bench.end) == "nothing received from the hub for 35 s"


async def test_a_write_that_hangs_does_not_hide_the_silence():
    """Half-open with full buffers: no send returns, and the end is still noticed."""
    bench = Bench()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.serve())
        bench.socket.incoming.put_nowait(b"{}\x1e")
        await settle()
        bench.socket.stuck = True
        await bench.clock.run(60.0)

    assert bench.ended_at_s == 35.0


async def test_bytes_put_the_end_off():
    """Frames and loose bytes both count; afterwards the count starts anew."""
    bench = Bench()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.serve())
        bench.socket.incoming.put_nowait(b"{}\x1e")
        await bench.clock.run(30.0)
        bench.socket.incoming.put_nowait(UPDATE)
        await bench.clock.run(30.0)
        bench.socket.on_bytes()
        await bench.clock.run(60.0)

    assert bench.ended_at_s == 95.0
    assert [type(item) for item in bench.taken] == [Delivering, ObservationsReceived]


async def turns_while_reading(data: bytes, count: int) -> tuple[Bench, int]:
    """Read that much; return what was taken of it, and the most between two turns of others."""
    bench = Bench()
    turns: list[int] = []

    def taken() -> int:
        return sum(
            item.times if isinstance(item, StreamAnomaly) else len(item.observations)
            for item in bench.taken[1:]
        )

    async def other() -> None:
        while True:
            turns.append(taken())
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(bench.serve())
        bench.socket.incoming.put_nowait(b"{}\x1e")
        await settle()
        waiting = tasks.create_task(other())
        bench.socket.incoming.put_nowait(data)
        while taken() < count:  # noqa: ASYNC110 - the connection sets no event
            await asyncio.sleep(0)
        waiting.cancel()
        serving.cancel()
    return bench, max(after - before for before, after in itertools.pairwise(turns))


async def test_a_large_frame_is_read_in_slices_between_which_others_have_their_turn():
    """Megabytes in one frame hold up no ping, no command and no acknowledgement."""
    bench, most = await turns_while_reading(UPDATE * 5_000, 5_000)

    longest = SLICE_BYTES // len(UPDATE) + 1
    assert max(len(event.observations) for event in bench.taken[1:]) <= longest
    assert most <= longest


async def test_short_records_are_read_in_shorter_slices():
    """Each of them may be garbage that costs as much as an observation."""
    _, most = await turns_while_reading(b"x\x1e" * 10_000, 10_000)

    assert most <= SLICE_BYTES // 8 // 2 + 1


async def test_no_more_is_read_while_enough_waits():
    """Who is behind catches up first; nothing is lost by it."""
    bench = Bench()
    crowded = True
    bench.connection = HubConnection(
        Limits(), bench.clock, bench.watched, bench.taken.append, crowded=lambda: crowded
    )
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(bench.serve())
        bench.socket.incoming.put_nowait(b"{}\x1e")
        bench.socket.incoming.put_nowait(UPDATE)
        await bench.clock.run(1.0)
        assert [type(item) for item in bench.taken] == [Delivering]

        crowded = False
        await bench.clock.run(1.0)
        assert [type(item) for item in bench.taken] == [Delivering, ObservationsReceived]
        serving.cancel()


async def test_a_refused_subscription_is_named_and_an_unknown_completion_is_not():
    """Completions are matched to the charger by the id of the call."""
    bench = Bench(("EH123456", "EH000002"))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.serve())
        bench.socket.incoming.put_nowait(b"{}\x1e")
        await settle()
        for record in (
            b'{"type":3,"invocationId":"0","result":null}\x1e',
            b'{"type":3,"invocationId":"1","error":"no"}\x1e{"type":3,"invocationId":"1"}\x1e',
            b'{"type":3}\x1e{"type":6}\x1e',
        ):
            bench.socket.incoming.put_nowait(record)
        await bench.clock.run(60.0)

    assert bench.socket.sent[1:3] == [
        (0.0, subscribe("EH123456", "0")),
        (0.0, subscribe("EH000002", "1")),
    ]
    assert bench.taken[1:] == [Subscribed("EH123456", None), Subscribed("EH000002", "no")]


async def test_the_end_of_a_socket_ends_the_connection():
    """What the socket says of its end is why the connection ended."""
    bench = Bench()
    bench.socket.incoming.put_nowait(ConnectionLost("the connection broke"))
    await bench.serve()

    assert str(bench.end) == "the connection broke"
    assert bench.connection.lived_s is None


async def test_a_life_is_counted_from_the_handshake():
    """Only the time the hub served us tells a good connection."""
    bench = Bench()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.serve())
        await bench.clock.run(10.0)
        bench.socket.incoming.put_nowait(b"{}\x1e")
        await settle()
        await bench.clock.run(5.0)
        assert bench.connection.lived_s == 5.0
        bench.socket.incoming.put_nowait(ConnectionLost("the connection broke"))
