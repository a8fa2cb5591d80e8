"""The hub stream against a scripted hub on loopback."""

import asyncio
import json
import logging
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from websockets.asyncio.server import Request, Response, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from bridge import __version__
from bridge.adapters.clock import SystemClock
from bridge.adapters.easee.signalr_connection import SLICE_BYTES, Limits
from bridge.adapters.easee.signalr_source import HubStream
from bridge.core.events import (
    ChargerResponse,
    Event,
    ObservationsReceived,
    StreamAnomaly,
    StreamClosed,
    StreamOpened,
    StreamSubscription,
    VendorOdd,
    VendorReplied,
)
from bridge.core.records.observation import RawObservation
from bridge.core.records.source_receipt import SourceReceipt
from bridge.errors import Blocked, CloudRejected, CloudUnavailable, ConnectionLost, RateLimited
from bridge.ports import ObservationSource
from bridge.settings import EaseeSettings, Secret
from tests.conftest import PATIENCE_S

pytestmark = pytest.mark.anyio

END = "\x1e"
ONE = ("EH123456",)

# What answers and observations are like is test_vendor_notes.py's.
VENDOR = (VendorReplied, VendorOdd)


def settings(port: int) -> EaseeSettings:
    """Point at a hub on loopback."""
    return EaseeSettings("u", Secret("p"), stream_url=f"http://127.0.0.1:{port}/hubs/chargers")


def update(observation_id: int = 109, value: object = "3") -> str:
    """Write a ProductUpdate record."""
    argument = {"mid": "EH123456", "dataType": 4, "id": observation_id, "value": value}
    argument["timestamp"] = "2025-01-22T12:51:47Z"
    return json.dumps({"type": 1, "target": "ProductUpdate", "arguments": [argument]}) + END


def seen(observation_id: int = 109, value: object = "3") -> RawObservation:
    """Say how that record arrives."""
    return RawObservation("EH123456", observation_id, 4, value, "2025-01-22T12:51:47Z")


class HastyClock(SystemClock):
    """Real time, except that waits between connections are only noted down."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float] = []

    def jitter(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name().startswith("stream."):
            await super().sleep(seconds)
            return
        self.waits_s.append(seconds)
        await super().sleep(0.001)


class FakeCloud:
    """Negotiates with a new token and id each time, or raises what it is given."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.tokens = 0
        self.negotiated = 0
        self.rejected: list[str] = []

    async def negotiate(self, stream_url: str, token: str) -> bytes:
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        self.negotiated += 1
        body = {"negotiateVersion": 0, "connectionId": f"id={self.negotiated}"}
        return json.dumps(body).encode()

    async def token(self, *, rejected: str | None = None) -> str:
        if rejected is not None:
            self.rejected.append(rejected)
        self.tokens += 1
        return f"canary-token-{self.tokens}"

    async def send(self, request, *, within_s):
        raise NotImplementedError

    async def close(self) -> None: ...


Script = Callable[[ServerConnection], Awaitable[None]]


class Hub:
    """A hub that plays one script per connection, the last one for all that follow."""

    def __init__(self, *scripts: Script, statuses: tuple[int, ...] = ()) -> None:
        self.scripts = list(scripts)
        self.statuses = list(statuses)
        self.headers: list[tuple[str, str, str]] = []
        self.sent: list[dict[str, object]] = []
        self.port = 0

    def upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        ids = parse_qs(urlsplit(request.path).query).get("id", [""])
        self.headers.append(
            (ids[0], request.headers["Authorization"], request.headers["User-Agent"])
        )
        if not self.statuses:
            return None
        response = connection.respond(HTTPStatus(self.statuses.pop(0)), "no")
        if response.status_code == 429:
            response.headers["Retry-After"] = "120"
            response.headers["Retry-After"] = "7"
        if response.status_code == 307:
            response.headers["Location"] = "ws://localhost:9/elsewhere"
        return response

    async def play(self, connection: ServerConnection) -> None:
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        handshake = await connection.recv()
        assert handshake == '{"protocol":"json","version":1}' + END
        with suppress(ConnectionClosed):
            await script(connection)

    async def subscriptions(self, connection: ServerConnection, count: int) -> list[str]:
        """Read so many subscriptions, skipping pings."""
        chargers: list[str] = []
        while len(chargers) < count:
            call = json.loads(str(await connection.recv()).rstrip(END))
            self.sent.append(call)
            if call["type"] == 1:
                chargers.append(call["arguments"][0])
        return chargers


@asynccontextmanager
async def running(
    hub: Hub,
    cloud: FakeCloud,
    clock: SystemClock,
    limits: Limits | None = None,
    chargers: tuple[str, ...] = (),
) -> AsyncIterator[tuple[HubStream, list[Event]]]:
    """Run the hub and a stream that watches these chargers."""
    events: list[Event] = []
    async with serve(
        hub.play, "127.0.0.1", 0, process_request=hub.upgrade, ping_interval=None, close_timeout=0.2
    ) as server:
        hub.port = server.sockets[0].getsockname()[1]
        stream = HubStream(
            settings(hub.port),
            cloud=cloud,
            clock=clock,
            emit=lambda event: None if isinstance(event, VENDOR) else events.append(event),
            limits=limits,
        )
        stream.subscribe(chargers)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(stream.run())
            yield stream, events
            task.cancel()


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens soon."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is a list, not an event
            await asyncio.sleep(0.005)


async def idle(connection: ServerConnection) -> None:
    """Take the handshake, then everything, and say nothing more."""
    await connection.send("{}" + END)
    await connection.wait_closed()


async def hang_up(connection: ServerConnection) -> None:
    """Take the handshake and close."""
    await connection.send("{}" + END)


async def test_a_charger_is_subscribed_with_its_current_state_and_heard():
    """Handshake, subscription, replay and a command response arrive as events, in order."""
    answer = {"serialNumber": "EH123456", "id": 48, "wasAccepted": True, "ticks": 2**60 + 1}
    answer_record = json.dumps({"type": 1, "target": "CommandResponse", "arguments": [answer]})

    async def script(connection):
        await connection.send("{}" + END + update(250, "1"))
        assert await hub.subscriptions(connection, 1) == ["EH123456"]
        frame = (update(1) + update(2) + answer_record + END + update(3)).encode()
        await connection.send(frame[:50], text=True)
        await connection.send(frame[50:], text=True)
        await connection.wait_closed()

    hub, cloud = Hub(script), FakeCloud()
    async with running(hub, cloud, SystemClock(), chargers=ONE) as (_, events):
        await until(lambda: ObservationsReceived((seen(3),)) in events)

    assert events == [
        StreamOpened(),
        ObservationsReceived((seen(250, "1"),)),
        ObservationsReceived((seen(1), seen(2))),
        ChargerResponse("EH123456", 48, 2**60 + 1, accepted=True, result_code=None),
        ObservationsReceived((seen(3),)),
    ]
    assert hub.sent[0]["target"] == "SubscribeWithCurrentState"
    assert hub.sent[0]["arguments"] == ["EH123456", True]
    assert hub.headers == [("id=1", "Bearer canary-token-1", f"charger-bridge/{__version__}")]


async def test_chargers_that_join_are_subscribed_without_a_reconnect():
    """watch() while connected subscribes the new ones only, and all of them next time."""
    seen_chargers: list[list[str]] = []

    async def script(connection):
        await connection.send("{}" + END)
        seen_chargers.append(await hub.subscriptions(connection, 3 if seen_chargers else 1))
        if len(seen_chargers) == 1:
            stream.subscribe(("EH123456", "EH000002", "EH000003"))
            seen_chargers[0] += await hub.subscriptions(connection, 2)
        else:
            await connection.wait_closed()

    hub = Hub(script)
    async with running(hub, FakeCloud(), HastyClock(), chargers=ONE) as (stream, _):
        await until(lambda: len(seen_chargers) == 2)

    assert seen_chargers == [["EH123456", "EH000002", "EH000003"]] * 2


async def test_many_subscriptions_are_paced():
    """A fleet is subscribed in bursts, because each is answered with a long replay."""
    chargers = tuple(f"EH{n:06}" for n in range(25))

    async def script(connection):
        await connection.send("{}" + END)
        began = time.perf_counter()
        assert await hub.subscriptions(connection, 25) == list(chargers)
        took_s.append(time.perf_counter() - began)
        await connection.wait_closed()

    took_s: list[float] = []
    hub = Hub(script)
    async with running(hub, FakeCloud(), SystemClock(), Limits(pause_s=0.1)) as (stream, _):
        stream.subscribe(chargers)
        await until(lambda: took_s)

    assert took_s[0] >= 0.19


async def test_oddities_are_counted_and_end_nothing():
    """Unknown targets, null arguments, broken and binary frames leave the connection alone."""
    frames = [
        '{"type":1,"target":"SubscribeToMyProduct","arguments":[]}' + END,
        '{"type":1,"target":"ProductUpdate","arguments":null}' + END,
        b"\xff\xfe\x1e",
        "not json" + END,
        "x" * (1 << 20) + "x" + END,
    ]

    async def script(connection):
        await connection.send("{}" + END)
        for frame in frames:
            await connection.send(frame)
        await connection.send(update())
        await connection.wait_closed()

    hub, cloud = Hub(script), FakeCloud()
    async with running(hub, cloud, SystemClock()) as (_, events):
        await until(lambda: ObservationsReceived((seen(),)) in events)

    kinds: Counter[str] = Counter()
    for event in events:
        if isinstance(event, StreamAnomaly):
            kinds[event.kind] += event.times
    assert kinds == {"unknown_target": 1, "bad_arguments": 1, "broken_frame": 2, "oversized": 1}
    assert cloud.negotiated == 1


async def test_every_reconnect_negotiates_anew_with_a_fresh_token():
    """No connection id and no token is used for a second socket."""
    hub, cloud, clock = Hub(hang_up, hang_up, idle), FakeCloud(), HastyClock()
    async with running(hub, cloud, clock) as (_, events):
        await until(lambda: events.count(StreamOpened()) == 3)

    assert [(id_, token) for id_, token, _ in hub.headers] == [
        (f"id={n}", f"Bearer canary-token-{n}") for n in (1, 2, 3)
    ]
    opened, closed = StreamOpened(), StreamClosed("the hub closed the connection: 1000")
    assert events == [opened, closed, opened, closed, opened]
    assert clock.waits_s == [1.0, 2.0]


@pytest.mark.fault("F30")
async def test_a_silent_hub_is_left():
    """A hub that says nothing more is noticed, reported and replaced."""
    hub, clock = Hub(idle), HastyClock()
    limits = Limits(silence_s=0.3, ping_every_s=0.1)
    async with running(hub, FakeCloud(), clock, limits) as (_, events):
        began = time.perf_counter()
        await until(lambda: events.count(StreamOpened()) == 2)
        took_s = time.perf_counter() - began

    assert events[1] == StreamClosed("nothing received from the hub for 0.3 s")
    assert took_s >= 0.3


@pytest.mark.fault("F30")
async def test_a_black_hole_is_left_in_time():
    """A peer that stops reading and answering cannot hold us in a close or a write."""
    limits = Limits(silence_s=0.3, ping_every_s=0.05, close_s=0.2)

    async def script(connection):
        await connection.send("{}" + END)
        connection.transport.pause_reading()
        await asyncio.sleep(1.0)

    async with running(Hub(script, idle), FakeCloud(), HastyClock(), limits) as (_, events):
        await until(lambda: events.count(StreamOpened()) >= 2)


@pytest.mark.parametrize("sign", ["ping", "websocket ping", "half a record"])
async def test_any_byte_is_a_sign_of_life(sign):
    """Hub pings, WebSocket pings and parts of records all keep the connection."""

    async def script(connection):
        await connection.send("{}" + END)
        for _ in range(7):
            await asyncio.sleep(0.4)
            if sign == "ping":
                await connection.send('{"type":6}' + END)
            elif sign == "websocket ping":
                await connection.ping()
            else:
                await connection.send(" ")
        done.append(True)
        await connection.wait_closed()

    done: list[bool] = []
    cloud = FakeCloud()
    async with running(Hub(script), cloud, SystemClock(), Limits(silence_s=2.0)) as (_, events):
        await until(lambda: done)

    assert events == [StreamOpened()]
    assert cloud.negotiated == 1


async def test_we_ping_when_we_have_nothing_to_say():
    """The hub hears from us in time, by the hub's own ping and not the WebSocket's."""
    pings: list[str] = []

    async def script(connection):
        await connection.send("{}" + END)
        await hub.subscriptions(connection, 1)
        while len(pings) < 3:
            pings.append(await connection.recv())
        await connection.wait_closed()

    hub = Hub(script)
    async with running(hub, FakeCloud(), SystemClock(), Limits(ping_every_s=0.05), ONE):
        await until(lambda: len(pings) == 3)

    assert pings == ['{"type":6}' + END] * 3


async def test_a_handshake_that_is_refused_or_never_answered_ends_the_attempt():
    """Both are reported by name and tried again."""

    async def refuse(connection):
        await connection.send('{"error":"unsupported"}' + END)
        await connection.wait_closed()

    async def ignore(connection):
        await connection.wait_closed()

    hub, clock = Hub(refuse, ignore, idle), HastyClock()
    async with running(hub, FakeCloud(), clock, Limits(handshake_s=0.2)) as (_, events):
        await until(lambda: StreamOpened() in events)

    assert events == [
        StreamClosed("the hub refused the handshake: unsupported", refused=True),
        StreamClosed("the hub did not answer the handshake in time"),
        StreamOpened(),
    ]


@pytest.mark.parametrize(
    ("close", "reason"),
    [
        ({"type": 7}, "the hub closes: no reason given"),
        ({"type": 7, "error": "bye", "allowReconnect": True}, "the hub closes: bye"),
        (
            {"type": 7, "error": "bye", "allowReconnect": False},
            "the hub closes: bye, and wants no reconnect",
        ),
    ],
)
async def test_a_close_message_ends_the_connection_and_not_the_stream(close, reason):
    """We say why and come back, at our own pace, or a minute later where we are not wanted."""

    async def script(connection):
        await connection.send("{}" + END + json.dumps(close) + END)
        await connection.wait_closed()

    clock = HastyClock()
    async with running(Hub(script, idle), FakeCloud(), clock) as (_, events):
        await until(lambda: events.count(StreamOpened()) == 2)

    refused = "wants no" in reason
    assert events == [StreamOpened(), StreamClosed(reason, refused=refused), StreamOpened()]
    assert clock.waits_s == [60.0 if refused else 1.0]


async def test_a_token_refused_at_the_upgrade_is_replaced_once():
    """401 leads to another token, never to a faster retry; again 401 is the hub's own affair."""
    hub, cloud, clock = Hub(idle, statuses=(401, 401, 401)), FakeCloud(), HastyClock()
    async with running(hub, cloud, clock) as (_, events):
        await until(lambda: StreamOpened() in events)

    assert cloud.rejected == ["canary-token-1"]
    assert clock.waits_s == [1.0, 2.0, 30.0]
    # The same reason twice is one event.
    assert events == [
        StreamClosed("the hub refused the upgrade: HTTP 401", refused=True),
        StreamOpened(),
    ]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_refused_at_the_negotiation_is_replaced_once(status):
    """So it is there, until the hub delivered: then its refusal may mean the token again."""
    no = [CloudRejected("no", status=status, reason="no") for _ in range(4)]
    hub, clock = Hub(hang_up, idle), HastyClock()
    cloud = FakeCloud(no[0], no[1], no[2], None, no[3])
    async with running(hub, cloud, clock) as (_, events):
        await until(lambda: events.count(StreamOpened()) == 2)

    assert cloud.errors == []
    assert cloud.rejected == ["canary-token-1", "canary-token-5"]
    assert events[0] == StreamClosed(
        f"the hub refuses the negotiation: no (HTTP {status})", refused=True
    )


@pytest.mark.parametrize("then", ["close", "silence", "pings"])
async def test_a_hub_that_takes_the_handshake_and_nothing_more_is_not_open(then):
    """Whatever it says besides, it is left, asked ever more slowly, and told of once."""

    async def script(connection):
        tried.append(connection)
        await connection.send("{}" + END)
        while then == "pings":
            await connection.send('{"type":6}' + END)
            await asyncio.sleep(0.02)
        if then == "silence":
            await connection.wait_closed()

    tried: list[ServerConnection] = []
    clock, limits = HastyClock(), Limits(silence_s=0.2, answer_s=0.1)
    if then == "close":
        limits = Limits()
    async with running(Hub(script), FakeCloud(), clock, limits, ONE) as (_, events):
        await until(lambda: len(tried) >= 4)

    assert clock.waits_s[:3] == [1.0, 2.0, 30.0]
    assert [type(event) for event in events] == [StreamClosed]


async def test_a_subscription_that_is_taken_opens_the_stream():
    """Without a value too: a charger that is offline has none to tell."""

    async def script(connection):
        await connection.send("{}" + END)
        await hub.subscriptions(connection, 1)
        assert events == []
        completion = {"type": 3, "invocationId": hub.sent[-1]["invocationId"]}
        await connection.send(json.dumps(completion) + END)
        await connection.wait_closed()

    hub = Hub(script)
    async with running(hub, FakeCloud(), SystemClock(), chargers=ONE) as (_, events):
        await until(lambda: len(events) == 2)

    assert events == [StreamOpened(), StreamSubscription("EH123456", None)]


async def test_a_push_back_at_the_upgrade_is_obeyed():
    """429 waits as long as told (first), and 403 a minute where nothing is told."""
    hub, clock = Hub(idle, statuses=(429, 403)), HastyClock()
    async with running(hub, FakeCloud(), clock) as (_, events):
        await until(lambda: StreamOpened() in events)

    assert clock.waits_s == [120.0, 60.0]


async def test_a_redirect_to_another_host_is_not_followed():
    """The token goes to the configured host only."""
    hub, clock = Hub(idle, statuses=(307,)), HastyClock()
    async with running(hub, FakeCloud(), clock) as (_, events):
        await until(lambda: StreamOpened() in events)

    assert events == [
        StreamClosed("the hub refused the upgrade: HTTP 307", refused=True),
        StreamOpened(),
    ]


async def test_a_refused_subscription_is_tried_again_and_harms_nobody_else():
    """An error in a completion is a warning; the charger gets another chance later."""
    calls: list[str] = []

    async def script(connection):
        await connection.send("{}" + END)
        while len(calls) < 4:
            calls.extend(await hub.subscriptions(connection, 1))
            completion = {"type": 3, "invocationId": hub.sent[-1]["invocationId"]}
            if calls[-1] == "EH000002":
                completion["error"] = "HubException: no access"
            await connection.send(json.dumps(completion) + END)
        await connection.wait_closed()

    hub, cloud = Hub(script), FakeCloud()
    with structlog.testing.capture_logs() as logs:
        limits = Limits(refused_again_s=0.05)
        async with running(hub, cloud, SystemClock(), limits, ONE) as (stream, _):
            stream.subscribe(("EH123456", "EH000002"))
            await until(lambda: len(calls) == 4)

    assert calls == ["EH123456", "EH000002", "EH000002", "EH000002"]
    assert cloud.negotiated == 1
    warnings = [entry for entry in logs if entry["event"] == "stream.subscription_refused"]
    assert [entry["charger_id"] for entry in warnings] == ["EH000002"]


async def test_a_subscription_refused_again_by_the_next_connection_is_told_again():
    """Who listens forgot it with the connection; the log says it once."""

    async def script(connection):
        await connection.send("{}" + END)
        for _ in range(2):
            (charger_id,) = await hub.subscriptions(connection, 1)
            completion = {"type": 3, "invocationId": hub.sent[-1]["invocationId"]}
            if charger_id == "EH000002":
                completion["error"] = "HubException: no access"
            await connection.send(json.dumps(completion) + END)

    hub = Hub(script, script, idle)
    with structlog.testing.capture_logs() as logs:
        async with running(hub, FakeCloud(), HastyClock(), None, ONE) as (stream, events):
            stream.subscribe(("EH123456", "EH000002"))
            refusal = StreamSubscription("EH000002", "HubException: no access")
            await until(lambda: events.count(refusal) == 2)

    warnings = [entry for entry in logs if entry["event"] == "stream.subscription_refused"]
    assert len(warnings) == 1


async def test_a_consumer_that_raises_does_not_end_the_stream():
    """Whatever becomes of an event, the next one is delivered."""

    async def script(connection):
        await connection.send("{}" + END + update(1))
        await until(lambda: len(taken) == 2)
        await connection.send(update(2))
        await connection.wait_closed()

    taken: list[Event] = []

    def emit(event: Event) -> None:
        taken.append(event)
        raise RuntimeError("consumer")

    hub, cloud = Hub(script), FakeCloud()
    async with running(hub, cloud, SystemClock()) as (stream, _):
        stream._emit = emit
        await until(lambda: len(taken) == 3)

    assert cloud.negotiated == 1


@pytest.mark.parametrize("each", [1, 50])
async def test_a_consumer_that_takes_one_event_a_turn_is_never_far_behind(each):
    """Whatever waits for him waits in the hub's socket, not in our memory."""
    records, taken, waiting = 20_000, 0, []

    async def script(connection):
        await connection.send("{}" + END)
        for _ in range(records // each):
            await connection.send(update() * each)
        await connection.wait_closed()

    async with running(Hub(script), FakeCloud(), SystemClock()) as (_, events):
        async with asyncio.timeout(PATIENCE_S):
            while taken < records:
                waiting.append(len(events))
                if events and isinstance(event := events.pop(0), ObservationsReceived):
                    taken += len(event.observations)
                    assert len(event.observations) <= 1 + SLICE_BYTES // len(update())
                await asyncio.sleep(0)

    assert max(waiting) <= 3


async def test_cancellation_closes_the_socket_in_good_order():
    """Stopping sends a close frame."""
    codes: list[int | None] = []

    async def script(connection):
        await idle(connection)
        codes.append(connection.close_code)

    async with running(Hub(script), FakeCloud(), SystemClock()) as (_, events):
        await until(lambda: StreamOpened() in events)

    assert codes == [1000]


class BreakingSocket:
    """A socket that breaks when it is told to."""

    on_bytes = None

    def __init__(self) -> None:
        self.broken = asyncio.Event()
        self.is_read = asyncio.Event()

    async def send(self, _text: str) -> None: ...

    async def recv(self) -> bytes:
        self.is_read.set()
        await self.broken.wait()
        raise ConnectionLost("the connection broke")

    async def close(self) -> None: ...


@pytest.mark.parametrize("turns", range(10))
async def test_a_stop_in_the_moment_the_connection_breaks_is_a_stop(turns):
    """Whichever is noticed first, the stream ends: a cancellation that is lost is a hanging end."""
    socket = BreakingSocket()

    class Stream(HubStream):
        async def _upgrade(self, _url, _token):
            return socket

    stream = Stream(settings(1), cloud=FakeCloud(), clock=HastyClock(), emit=lambda _event: None)
    task = asyncio.get_running_loop().create_task(stream.run())
    await socket.is_read.wait()
    socket.broken.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    socket.broken.clear()
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=1.0)
    try:
        assert done
        assert task.cancelled()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_nagle_is_off():
    """Small records are not held back by the kernel."""
    async with running(Hub(idle), FakeCloud(), SystemClock()) as (stream, events):
        opened = []
        original = stream._upgrade

        async def upgrade(url, token):
            opened.append(await original(url, token))
            return opened[0]

        stream._upgrade = upgrade
        await until(lambda: StreamOpened() in events)
        raw = opened[0]._transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def run_with(cloud, clock, port, waits: int, limits: Limits | None = None) -> list[Event]:
    """Run a stream that cannot connect until it has waited so often."""
    events: list[Event] = []
    stream = HubStream(
        settings(port),
        cloud=cloud,
        clock=clock,
        emit=lambda event: None if isinstance(event, VENDOR) else events.append(event),
        limits=limits,
    )
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(stream.run())
        await until(lambda: len(clock.slept_s) >= waits)
        task.cancel()
    return events


async def test_it_is_a_source_that_replays_and_takes_no_acknowledgement(clock):
    """The gateway needs to know of the hub only what the protocol says."""
    cloud, events = FakeCloud(), []
    source: ObservationSource = HubStream(
        settings(9),
        cloud=cloud,
        clock=clock,
        emit=lambda event: None if isinstance(event, VENDOR) else events.append(event),
    )
    source.acknowledge(SourceReceipt(1, 7))

    assert source.replays
    assert events == []


async def test_an_absent_hub_is_asked_ever_more_slowly(clock, free_port):
    """Back-off grows to minutes, and the same reason is told once."""
    clock.draw = 0.0
    events = await run_with(FakeCloud(), clock, free_port, 11)

    assert clock.slept_s[:11] == [1, 2, 30, 30, 30, 32, 64, 128, 256, 300, 300]
    assert [type(event) for event in events] == [StreamClosed]
    assert "cannot be reached" in events[0].reason


async def test_an_upgrade_that_is_never_answered_is_given_up(clock):
    """A port that accepts and stays silent costs the opening time, no more."""

    async def accept(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        events = await run_with(FakeCloud(), clock, port, 1, Limits(open_s=0.1))

    assert events[:1] == [StreamClosed("the hub did not answer the upgrade in time")]


async def test_a_frame_beyond_reason_costs_the_connection_and_nothing_more():
    """Over 4 MiB in one frame is refused, and we come back."""

    async def script(connection):
        await connection.send("{}" + END)
        await connection.send("x" * (5 << 20))
        await connection.wait_closed()

    async with running(Hub(script, idle), FakeCloud(), HastyClock()) as (_, events):
        await until(lambda: events.count(StreamOpened()) == 2)

    assert "1009" in events[1].reason


async def test_what_the_cloud_says_about_waiting_is_obeyed(clock, free_port):
    """Retry-After of a negotiation and the silence of a ban prolong the wait."""
    clock.draw = 0.0
    cloud = FakeCloud(
        RateLimited("too many", retry_after_s=200.0),
        Blocked("blocked", status=403, retry_after_s=86_400.0),
        CloudUnavailable("down", status=503, retry_after_s=1.0),
        ValueError("a bug"),
    )
    events = await run_with(cloud, clock, free_port, 5)

    assert clock.slept_s[:4] == [200.0, 86_400.0, 30.0, 30.0]
    assert [event.reason for event in events[:4]] == [
        "too many",
        "blocked",
        "down",
        "unexpected ValueError",
    ]


async def test_the_token_is_in_no_log_line_and_no_event(caplog):
    """Not even the library's own debug log sees the header."""
    caplog.set_level(logging.DEBUG)
    hub = Hub(hang_up, idle, statuses=(401, 429))
    with structlog.testing.capture_logs() as logs:
        async with running(hub, FakeCloud(), HastyClock()) as (_, events):
            await until(lambda: events.count(StreamOpened()) == 2)

    client_lines = [r.getMessage() for r in caplog.records if r.name != "websockets.server"]
    assert "canary" not in f"{client_lines} {logs} {events}"
    assert {entry["event"] for entry in logs} >= {"stream.connected", "stream.lost"}
