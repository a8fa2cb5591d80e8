"""The gateway: effects reach their adapters, the window is kept, the end is clean."""

import asyncio
import contextlib
import itertools
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import ClassVar, get_args

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from bridge import gateway as module
from bridge.adapters.clock import SystemClock
from bridge.convention_connection import TOPIC_NAME_INVALID
from bridge.conventions.convention import ConnectionNeed
from bridge.core.changes import AvailabilityChanged, ValueChanged, ValuesChanged
from bridge.core.delivery.outbox import TOO_LARGE
from bridge.core.delivery.value_queue import BURST, PER_GRANT_S, value_rate
from bridge.core.easee.decode import spec_of
from bridge.core.easee.rest_requests import CloudRequest, Endpoint, charger_list_request
from bridge.core.effects import (
    Acknowledge,
    Action,
    ForgetTexts,
    KeepReports,
    KeepText,
    Listen,
    LogEntry,
    MaintainStore,
    MarkPublished,
    ReadReports,
    ReadRetained,
    Reconnect,
    RetryRejectedPublications,
    SaveChargerList,
    SaveCommand,
    SavePublishedDiscovery,
    SaveReport,
    SaveState,
    SendRequest,
    SettleReports,
    Subscribe,
)
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    CommandSaved,
    CommandSaveFailed,
    ComponentFailed,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    ObservationsReceived,
    ProcessSuspended,
    ReportSaved,
    ReportSaveFailed,
    ReportsRead,
    ReportsReadFailed,
    Started,
    Stopping,
    StoreFailed,
    StoreMaintained,
    StoreOpened,
    StreamClosed,
    StreamOpened,
    Tick,
    ValueConnectionClosed,
    ValueConnectionOpened,
    ValuesAcked,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.command_row import CommandRow
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.core.requests import IncomingCommand
from bridge.core.store_status import StoreContents, StoreUsage
from bridge.core.topics import Topics
from bridge.errors import (
    CloudUnavailable,
    ConnectionLost,
    OutcomeUnknown,
    RecordError,
    StoreError,
    TaskFailed,
    TooLarge,
)
from bridge.gateway import EventLoop, EventQueue, always
from bridge.monitoring.watchdog import LivenessRegistry
from bridge.recorder.recording import Recorder
from tests.conftest import NOON, PATIENCE_S

pytestmark = pytest.mark.anyio

REPORT = SessionReport(
    "EH123456", 7, NOON, NOON + timedelta(hours=1), 1.5, None, None, 3, "", "stream", NOON, NOON
)
STORED = StoredReport("EH123456-7", 1, REPORT)
ROW = CommandRow("k1", "EH123456", "start", "", "d", "waiting", NOON, NOON, b"{}", b"", flash=False)
FAREWELL = Publish("charger/bridge/state", b"offline")


@dataclass
class Script:
    """A machine that answers events with prepared effects, and remembers what happened."""

    effects: dict[type, list] = field(default_factory=dict)
    events: list = field(default_factory=list)
    contained: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(failing={}))
    moments: list = field(default_factory=list)
    deadline: float | None = None
    topics: Topics = field(default_factory=Topics)

    def handle(self, event, now):
        self.events.append(event)
        self.moments.append(now)
        if isinstance(event, Tick):
            self.deadline = None
        yield from self.effects.get(type(event), [])

    def deadline_s(self):
        return self.deadline

    def seen(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@dataclass
class Outside:
    """Every adapter in one: it remembers what it was asked for and answers as told."""

    replays: ClassVar[bool] = True

    queue: EventQueue
    acks: bool = True
    failure: Exception | None = None
    asked: list = field(default_factory=list)
    published: list = field(default_factory=list)
    batches: list = field(default_factory=list)
    unacked: int = 0
    most_unacked: int = 0

    async def run(self):
        await asyncio.Event().wait()

    def did(self, name, *what):
        """Note what was asked for; fail where that is wanted."""
        self.asked.append((name, *what))
        if self.failure is not None:
            raise self.failure

    def subscribe(self, charger_ids):
        self.did("subscribe", charger_ids)

    def publish(self, message):
        if isinstance(self.failure, ConnectionLost | TooLarge | ValueError):
            raise self.failure
        self.published.append(message)
        self.unacked += 1
        self.most_unacked = max(self.most_unacked, self.unacked)
        if self.acks:
            asyncio.get_running_loop().call_soon(self._ack, message)

    def publish_values(self, messages):
        self.batches.append(list(messages))
        if self.acks:
            answer = ValuesAcked(tuple(messages))
            asyncio.get_running_loop().call_soon(self.queue.put, answer)

    def _ack(self, message):
        self.unacked -= 1
        self.queue.put(MqttAcked(message, 0))

    def acknowledge(self, receipt):
        self.did("acknowledge", receipt)

    def ask_retained(self, topic_filter):
        self.did("ask_retained", topic_filter)

    def listen(self, filters, echoes):
        self.did("listen", filters, echoes)

    def reconnect(self, reason, farewell=None):
        self.did("reconnect", reason)

    async def close(self, farewell):
        self.published.append(farewell)

    async def send(self, request, *, within_s):
        self.did("send", request, within_s)
        return CloudResponse(0, 202, b"[1]")

    async def save(self, report):
        self.did("save", report)
        return STORED, True

    async def mark_published(self, key, revision, at):
        self.did("mark_published", key, revision, at)

    async def save_command(self, row):
        self.did("save_command", row)

    async def settle(self, reports):
        self.did("settle", reports)

    async def keep(self, reports):
        self.did("keep", reports)

    async def keep_text(self, text):
        self.did("keep_text", text)

    async def forget_texts(self, keys):
        self.did("forget_texts", keys)

    async def reports(self, *, charger_id, since, until, limit):
        self.did("reports", charger_id, since, until, limit)
        return (STORED,)

    async def forget(self, *, settled_before, commands_before):
        self.did("forget", settled_before, commands_before)
        return 3

    async def usage(self):
        self.did("usage")
        return StoreUsage(0.5, 1024, 5)

    async def open(self):
        return StoreContents((STORED,))


@contextlib.asynccontextmanager
async def running(
    script,
    *,
    opened=None,
    beat=None,
    acks=True,
    failure=None,
    signs=None,
    clock=None,
    finish_s=0.0,
    patience_s=0.0,
    is_last=always,
    **more,
):
    """Run a gateway between a script and the outside; it ends cleanly with the block."""
    queue = EventQueue()
    outside = Outside(queue, acks, failure)
    gateway = EventLoop(
        script,
        queue,
        link=outside,
        cloud=outside,
        source=outside,
        store=outside,
        clock=clock or SystemClock(),
        beat=beat,
        liveness=signs,
        **more,
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = gateway.run(
            stop,
            opened=opened or StoreOpened(()),
            finish_s=finish_s,
            patience_s=patience_s,
            is_last=is_last,
        )
        tasks.create_task(running)
        await settled(lambda: script.seen(Started))
        yield outside
        stop.set()


@dataclass
class Hurried:
    """A clock that can be set ahead."""

    clock: SystemClock
    ahead_s: float = 0.0

    def now(self):
        moment = self.clock.now()
        return replace(moment, mono_s=moment.mono_s + self.ahead_s)

    async def sleep(self, seconds):
        await self.clock.sleep(seconds)


@dataclass
class Stopped:
    """A clock that stands still."""

    moment: Timestamp

    def now(self):
        return self.moment

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)


async def settled(condition):
    """Let the loop turn until a condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the script sets no event
            await asyncio.sleep(0)


async def test_the_start_and_the_end_are_events_and_the_last_message_is_offline():
    """StoreOpened, Started … Stopping; then the farewell goes out."""
    script = Script()
    async with running(script) as outside:
        assert [type(e) for e in script.events] == [StoreOpened, Started]

    assert type(script.events[-1]) is Stopping
    assert outside.published == [FAREWELL]


async def test_a_gateway_whose_partition_goes_on_elsewhere_says_nothing():
    """No `offline`: another worker publishes `online` in a moment."""
    script = Script()
    async with running(script, is_last=lambda: False) as outside:
        pass

    assert outside.published == [None]


async def test_observations_wait_for_the_broker_for_a_moment():
    """Values of thousands of chargers would be held in memory; what came is taken in order."""
    raws = [RawObservation("EH1", 109, 4, str(n), "2026-11-22T12:00:00Z") for n in range(3)]
    script = Script()
    async with running(script, patience_s=10 * PATIENCE_S) as outside:
        for raw in raws:
            outside.queue.put(ObservationsReceived((raw,)))
            outside.queue.put(Tick())
        await settled(lambda: len(script.seen(Tick)) == 3)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not script.seen(ObservationsReceived)
        outside.queue.put(MqttConnected(False, "5", 20))
        await settled(lambda: script.seen(ObservationsReceived))

    assert [raw for e in script.seen(ObservationsReceived) for raw in e.observations] == raws


@pytest.mark.parametrize("ends", [True, False])
async def test_observations_do_not_wait_for_a_broker_that_is_away(ends):
    """What they mean for commands is known; at the end nothing waits."""
    raw = RawObservation("EH1", 109, 4, "1", "2026-11-22T12:00:00Z")
    script = Script()
    patience_s = 10 * PATIENCE_S if ends else 0.01
    async with running(script, patience_s=patience_s) as outside:
        outside.queue.put(ObservationsReceived((raw,)))
        if not ends:
            await settled(lambda: script.seen(ObservationsReceived))

    assert script.seen(ObservationsReceived)


async def test_a_hand_over_waits_for_what_is_said_once_and_not_for_values(monkeypatch):
    """Another gateway publishes all values; the stream is not read any more."""
    monkeypatch.setattr(module, "FLUSH_TIMEOUT_S", 10 * PATIENCE_S)
    value = Publish("charger/x/state/y", b"1", telemetry=True)
    script = Script({StreamOpened: [value]})
    said = Publish("charger/x/result/start", b"{}", retained=False)
    async with asyncio.timeout(PATIENCE_S), running(script, is_last=lambda: False) as outside:
        outside.acks = False
        for event in (MqttConnected(False, "5", 20), ValueConnectionOpened(20), StreamOpened()):
            outside.queue.put(event)
        await settled(lambda: outside.batches)
        assert not outside.queue.is_full()
        script.effects[Tick] = [said]
        outside.queue.put(Tick())
        await settled(lambda: said in outside.published)
        asyncio.get_running_loop().call_later(0.05, outside._ack, said)

    assert outside.queue.is_full()
    assert outside.unacked == 0


async def test_a_hand_over_does_not_wait_for_reads_of_the_store():
    """Nobody needs what they would bring."""
    script = Script({Tick: [ReadReports(6, "EH123456")]})
    asked = asyncio.Event()

    async def reports(**_options):
        asked.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(PATIENCE_S), running(script) as outside:
        outside.reports = reports
        outside.queue.put(Tick())
        await asked.wait()

    assert type(script.events[-1]) is Stopping


async def test_a_hand_over_waits_for_the_answer_of_the_cloud():
    """What was sent is finished before another worker begins; nothing else is waited for."""
    pause = CloudRequest("POST", "/x", Endpoint.CHARGER_COMMAND, command=True)
    script = Script({Tick: [SendRequest(6, pause, 9.0)]})
    answer = asyncio.Event()

    async def send(_request, *, within_s):
        await answer.wait()
        return CloudResponse(0, 202, b"[1]")

    async with asyncio.TaskGroup() as tasks, running(script, finish_s=PATIENCE_S) as outside:
        outside.send = send
        outside.queue.put(Tick())
        await settled(lambda: script.seen(Tick))
        tasks.create_task(_after_stopping(script, answer))

    assert script.seen(CloudResponse)[-1].tag == 6


async def test_a_hand_over_does_not_wait_for_what_is_only_read():
    """A look at the charger changes nothing: the next worker takes another one."""
    look = CloudRequest("GET", "/x", Endpoint.CHARGER_COMMAND, command=True)
    script = Script({Tick: [SendRequest(6, look, 9.0)]})

    async def send(_request, *, within_s):
        await asyncio.Event().wait()

    async with (
        asyncio.timeout(PATIENCE_S),
        running(script, finish_s=2 * PATIENCE_S) as outside,
    ):
        outside.send = send
        outside.queue.put(Tick())
        await settled(lambda: script.seen(Tick))

    assert not script.seen(CloudResponse)


@dataclass
class Faulty:
    """A clock that fails once when it is told to."""

    clock: SystemClock
    fails: bool = False

    def now(self):
        fails, self.fails = self.fails, False
        if fails:
            raise RuntimeError("no time")
        return self.clock.now()

    async def sleep(self, seconds):
        await self.clock.sleep(seconds)


async def test_a_turn_that_fails_behind_an_answer_is_reported_and_the_gateway_goes_on():
    """The answer stays in the queue, and is processed with the next event."""
    pause = CloudRequest("POST", "/x", Endpoint.CHARGER_COMMAND, command=True)
    script, clock = Script({Tick: [SendRequest(6, pause, 9.0)]}), Faulty(SystemClock())
    reported = []

    async def send(_request, *, within_s):
        clock.fails = True
        return CloudResponse(0, 202, b"[1]")

    async with running(script, clock=clock) as outside:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: reported.append(told))
        outside.send = send
        outside.queue.put(Tick())
        await settled(lambda: reported)
        outside.queue.put(StreamOpened())
        await settled(lambda: script.seen(CloudResponse))

    ((message, error),) = [(told["message"], told["exception"]) for told in reported]
    assert (message, str(error)) == ("a turn of the pump failed", "no time")


async def _after_stopping(script, answer):
    await settled(lambda: script.seen(Stopping))
    answer.set()


async def test_nothing_is_processed_while_the_lease_is_in_doubt():
    """Behind a standstill another worker may serve the chargers; what arrived waits."""
    script, clear = Script(), [True]
    async with running(script, is_clear=lambda: bool(clear)) as outside:
        clear.clear()
        outside.queue.put(Tick())
        await asyncio.sleep(0.12)
        assert not script.seen(Tick)
        clear.append(True)
        await settled(lambda: script.seen(Tick))


REQUEST = charger_list_request()
TEXT = UnreadText("EH123456", "{", "no JSON", "stream", NOON, NOON)
LATER = NOON + timedelta(days=1)
PAIRS = (("k", 1), ("l", 2))
HELD = {"homeassistant/x/config": PublishedDiscovery("EH123456")}
VALUE = Publish("charger/EH123456/state/op_mode", b"charging")
READING = Publish("charger/EH123456/state/total_power", b"7.1", telemetry=True)
# An effect, what is asked of whom, and what the machine is told then.
WIRES = [
    (Acknowledge(AckToken(1, 2, 1)), ("acknowledge", AckToken(1, 2, 1)), None),
    (ReadRetained("charger/+/set/+"), ("ask_retained", "charger/+/set/+"), None),
    (Listen(("a", "b"), ("c",)), ("listen", ("a", "b"), ("c",)), None),
    (SendRequest(5, REQUEST, 0.5), ("send", REQUEST, 0.5), CloudResponse(5, 202, b"[1]")),
    (ForgetTexts(("k", "l")), ("forget_texts", ("k", "l")), None),
    (KeepReports(PAIRS), ("keep", PAIRS), None),
    (KeepText(TEXT), ("keep_text", TEXT), None),
    (MarkPublished("k", 2), ("mark_published", "k", 2, NOON), None),
    (LogEntry("info", "test.noted", {"count": 1}), ("info", "test.noted", {"count": 1}), None),
    (LogEntry("error", "test.broken", {}), ("error", "test.broken", {}), None),
    (VALUE, ("publish", VALUE), MqttAcked(VALUE, 0)),
    (READING, ("publish_values", READING), ValuesAcked((READING,))),
    (
        ReadReports(7, "EH123456", NOON, LATER, 9),
        ("reports", "EH123456", NOON, LATER, 9),
        ReportsRead(7, (STORED,)),
    ),
    (Reconnect("it is deaf"), ("reconnect", "it is deaf"), None),
    (
        SaveChargerList(("EH123456",), {"EH1": NOON}),
        ("remember", SaveChargerList(("EH123456",), {"EH1": NOON})),
        None,
    ),
    (SavePublishedDiscovery(HELD), ("save_published", HELD), None),
    (SaveState("energy_total", {"a": 1}), ("save_state", "energy_total", {"a": 1}), None),
    (SaveCommand(ROW), ("save_command", ROW), CommandSaved("k1", "waiting")),
    (SaveReport(REPORT), ("save", REPORT), ReportSaved(STORED, True)),
    (SettleReports(PAIRS), ("settle", PAIRS), None),
    (MaintainStore(NOON, LATER), ("forget", NOON, LATER), StoreMaintained(0.5, 1024, 3, 5)),
    (MaintainStore(), ("usage",), StoreMaintained(0.5, 1024, 0, 5)),
    (MaintainStore(settled_before=NOON), ("usage",), StoreMaintained(0.5, 1024, 0, 5)),
    (Subscribe(("EH123456",)), ("subscribe", ("EH123456",)), None),
]


def _done(outside, lines):
    """Everything an adapter was asked for, and every line of the log that a test wrote."""
    said = [("publish", one) for one in outside.published]
    said += [("publish_values", one) for batch in outside.batches for one in batch]
    said += [
        (line.pop("log_level"), line.pop("event"), line)
        for line in map(dict, lines)
        if line["event"].startswith("test.")
    ]
    return outside.asked + said


@pytest.mark.parametrize(("effect", "asked", "event"), WIRES)
async def test_every_effect_reaches_its_adapter_and_its_answer_comes_back(effect, asked, event):
    """With all that is in it, once, and nobody is asked for anything else."""
    script = Script({StreamOpened: [effect]})
    with capture_logs() as lines:
        async with running(
            script,
            clock=Stopped(Timestamp(NOON, 1000.0)),
            remember=lambda *what: outside.did("remember", *what),
            save_published=lambda *what: outside.did("save_published", *what),
            save_state=lambda *what: outside.did("save_state", *what),
        ) as outside:
            outside.queue.put(MqttConnected(False, "5", 20))
            outside.queue.put(ValueConnectionOpened(20))
            await settled(lambda: script.seen(ValueConnectionOpened))
            first = len(script.events)
            outside.queue.put(StreamOpened())
            await settled(lambda: asked in _done(outside, lines))
            await settled(lambda: event is None or event in script.events)
            told = _done(outside, lines)

    assert told == [asked, *([("usage",)] if asked[0] == "forget" else [])]
    assert script.events[first:] == [StreamOpened(), *([event] if event else []), Stopping()]
    assert set(script.moments[1:]) == {Timestamp(NOON, 1000.0)}


async def test_a_request_whose_time_is_over_has_none_left():
    """The process stood still between the effect and the task: nothing is sent late."""
    script = Script({StreamOpened: [SendRequest(5, REQUEST, 12.0)]})
    clock = Hurried(SystemClock())
    async with running(script, clock=clock) as outside:
        spawn = outside.queue.wake.__self__._tasks.create_task

        def create_task(work, **more):
            clock.ahead_s = 60.0
            return spawn(work, **more)

        outside.queue.wake.__self__._tasks.create_task = create_task
        outside.queue.put(StreamOpened())
        await settled(lambda: outside.asked)

    assert outside.asked == [("send", REQUEST, 0.0)]


def test_every_effect_there_is_has_a_wire():
    """The table leaves none out; the one that has no fields has a test of its own."""
    assert {type(effect) for effect, _, _ in WIRES} == {*get_args(Action)} - {
        RetryRejectedPublications
    }


DOWN = CloudUnavailable("down")
FULL = StoreError("full", hint="free some")
STORE_FAILED = StoreFailed("full", "free some")


@pytest.mark.parametrize(
    ("effect", "failure", "event"),
    [
        (SendRequest(5, REQUEST), DOWN, CloudFailed(5, DOWN)),
        (SaveCommand(ROW), FULL, CommandSaveFailed("k1", FULL)),
        (SaveReport(REPORT), FULL, ReportSaveFailed(REPORT, FULL)),
        (MarkPublished("k", 2), FULL, STORE_FAILED),
        (SettleReports(PAIRS), FULL, STORE_FAILED),
        (KeepReports(PAIRS), FULL, STORE_FAILED),
        (KeepText(TEXT), FULL, STORE_FAILED),
        (ForgetTexts(("k",)), FULL, STORE_FAILED),
        (ReadReports(7), FULL, ReportsReadFailed(7, FULL)),
        (MaintainStore(NOON, LATER), FULL, STORE_FAILED),
        (MaintainStore(), FULL, STORE_FAILED),
    ],
)
async def test_a_failure_outside_is_an_event_too(effect, failure, event):
    """Whatever an adapter raises of ours comes back as a value, with the error itself."""
    script = Script({StreamOpened: [effect]})
    async with running(script, failure=failure) as outside:
        outside.queue.put(StreamOpened())
        await settled(lambda: event in script.events)

    assert script.events[-3:] == [StreamOpened(), event, Stopping()]


async def test_what_was_announced_is_kept_in_order():
    """Two writes never overlap, only the newest of those that waited is written, then others."""
    written, go = [], threading.Event()

    def keep(announced):
        written.append(announced)
        assert go.wait(PATIENCE_S)

    many = [{f"t{n}/config": PublishedDiscovery("EH123456")} for n in range(20)]
    script = Script(
        {
            StreamOpened: [SavePublishedDiscovery(one) for one in many],
            StreamClosed: [SavePublishedDiscovery(HELD)],
        }
    )
    async with running(script, save_published=keep) as outside:
        try:
            outside.queue.put(StreamOpened())
            await settled(lambda: written)
            outside.queue.put(StreamOpened())
            await settled(lambda: len(script.seen(StreamOpened)) == 2)
        finally:
            go.set()
        await settled(lambda: not outside.queue.wake.__self__._keeping)
        assert written == [many[-1], many[-1]]
        outside.queue.put(StreamClosed("gone"))
        await settled(lambda: written[2:])

    assert written[2:] == [HELD]


async def test_each_piece_of_work_counts_until_it_is_done():
    """Two commits are two promises; when one is done the other is still waited for."""
    liveness, holds = LivenessRegistry(SystemClock()), []

    async def save(_row):
        holds.append(asyncio.Event())
        await holds[-1].wait()

    script = Script({StreamOpened: [SaveCommand(ROW)] * 3})
    async with running(script, signs=liveness) as outside:
        gateway, outside.save_command = outside.queue.wake.__self__, save
        outside.queue.put(StreamOpened())
        await settled(lambda: len(holds) == 3)
        for done in range(3):
            assert gateway._at_work == 3 - done
            assert len([name for name in liveness._due_s if name.startswith("store")]) == 3 - done
            holds[done].set()
            await settled(lambda done=done: len(script.seen(CommandSaved)) == done + 1)
            await asyncio.sleep(0)
        await settled(lambda: not gateway._at_work)


async def test_nothing_is_published_without_a_connection_and_all_of_it_afterwards():
    """Messages wait in the outbox, at most the broker's Receive Maximum are in flight."""
    values = [Publish(f"charger/x/state/{n}", b"1") for n in range(50)]
    script = Script({StreamOpened: values})
    async with running(script) as outside:
        outside.queue.put(StreamOpened())
        await settled(lambda: script.seen(StreamOpened))
        assert outside.published == []

        outside.queue.put(MqttConnected(False, "5", 7))
        await settled(lambda: len(outside.published) == 50)
        assert outside.most_unacked == 7


async def test_what_was_in_flight_when_the_link_broke_goes_out_again():
    """A publication without an acknowledgement is not lost with its connection."""
    value = Publish("charger/x/state/y", b"1")
    script = Script({StreamOpened: [value]})
    async with running(script, acks=False) as outside:
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(StreamOpened())
        await settled(lambda: outside.published == [value])
        outside.queue.put(MqttDisconnected("gone"))
        outside.queue.put(MqttConnected(False, "5", 20))
        await settled(lambda: outside.published == [value, value])
        outside.queue.put(MqttAcked(value, 0))


async def test_values_go_over_their_own_connection_while_there_is_one():
    """They leave together; what the other side refuses comes back over the main connection."""
    values = [Publish(f"charger/x/state/{n}", b"1", telemetry=True) for n in range(50)]
    script = Script({StreamOpened: values})
    async with running(script, acks=False) as outside:
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(ValueConnectionOpened(1000))
        outside.queue.put(StreamOpened())
        await settled(lambda: outside.batches)
        assert (outside.batches, outside.published) == ([values], [])

        outside.queue.put(ValuesAcked(tuple(values[:40]), tuple(values[40:49])))
        outside.queue.put(MqttAcked(values[49], 0x97))
        await settled(lambda: outside.published)
        assert outside.published == values[40:49]
        assert script.seen(ValuesAcked)
        outside.acks = True
        for value in values[40:49]:
            outside.queue.put(MqttAcked(value, 0))


async def test_without_a_connection_of_their_own_values_go_with_everything_else():
    """A value connection that closes hands over what it had."""
    values = [Publish(f"charger/x/state/{n}", b"1", telemetry=True) for n in range(5)]
    script = Script({StreamOpened: values})
    async with running(script) as outside:
        outside.acks = False
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(ValueConnectionOpened(2))
        outside.queue.put(StreamOpened())
        await settled(lambda: outside.batches == [values[:2]])
        outside.acks = True
        outside.queue.put(ValueConnectionClosed(in_doubt=True))
        await settled(lambda: outside.published == values[2:])
        outside.queue.put(ValueConnectionClosed(in_doubt=False))
        await settled(lambda: outside.published == [*values[2:], *values[:2]])


async def test_observations_that_wait_are_taken_together_but_not_too_many():
    """What is done once for an event is done once for a burst, in order, and in bounded steps."""
    raws = [RawObservation("EH1", 109, 4, str(n), "2026-11-22T12:00:00Z") for n in range(250)]
    script = Script()
    async with running(script) as outside:
        for raw in raws:
            outside.queue.put(ObservationsReceived((raw,)))
        outside.queue.put(ObservationsReceived((raws[0],), "poll"))
        outside.queue.put(StreamOpened())
        outside.queue.put(ObservationsReceived((raws[1],)))
        await settled(lambda: script.events[-1:] == [ObservationsReceived((raws[1],))])

    found = [e for e in script.events if isinstance(e, ObservationsReceived | StreamOpened)]
    sizes = [len(e.observations) for e in found if isinstance(e, ObservationsReceived)]
    assert sizes == [*[module.MAX_BATCH] * 5, 1, 1]
    assert [raw for event in found[:5] for raw in event.observations] == raws
    assert [type(e) for e in found[5:]] == [
        ObservationsReceived,
        StreamOpened,
        ObservationsReceived,
    ]


async def test_where_observations_came_from_is_kept_when_they_are_parted():
    """Too many at once become several events of the same source, whoever else waits."""
    raws = [RawObservation("EH1", 109, 4, str(n), "2026-11-22T12:00:00Z") for n in range(130)]
    script = Script()
    async with running(script) as outside:
        outside.queue.put(ObservationsReceived(tuple(raws[:120]), "poll"))
        outside.queue.put(ObservationsReceived(tuple(raws[120:]), "stream"))
        await settled(
            lambda: sum(len(e.observations) for e in script.seen(ObservationsReceived)) == 130
        )

    parts = ((0, 50, "poll"), (50, 100, "poll"), (100, 120, "poll"), (120, 130, "stream"))
    assert script.seen(ObservationsReceived) == [
        ObservationsReceived(tuple(raws[a:b]), source) for a, b, source in parts
    ]


async def test_a_link_that_breaks_under_a_publication_keeps_the_message():
    """ConnectionLost in the middle of a flush puts everything back."""
    value = Publish("charger/x/state/y", b"1")
    script = Script({StreamOpened: [value]})
    async with running(script, failure=ConnectionLost("gone")) as outside:
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(StreamOpened())
        await settled(lambda: script.seen(StreamOpened))
        assert outside.published == []
        outside.failure = None
        outside.queue.put(MqttConnected(False, "5", 20))
        await settled(lambda: outside.published == [value])


async def test_a_message_that_can_never_be_sent_is_answered_as_refused():
    """Its owner learns it, and it does not hold up the rest."""
    value = Publish("charger/x/state/y", b"1")
    script = Script({StreamOpened: [value]})
    async with running(script, failure=ValueError("too long")) as outside:
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(StreamOpened())
        await settled(lambda: script.seen(MqttAcked))

    assert script.seen(MqttAcked) == [MqttAcked(value, TOPIC_NAME_INVALID)]


async def test_a_mistake_in_the_core_costs_one_event_and_not_the_bridge():
    """An exception while handling one event is told to the core, and the next event is handled."""

    class Faulty(Script):
        def handle(self, event, now):
            if isinstance(event, StreamOpened):
                raise RuntimeError("a mistake of ours")  # noqa: TRY004 - any error would do
            yield from super().handle(event, now)

    script = Faulty()
    async with running(script) as outside:
        outside.queue.put(StreamOpened())
        outside.queue.put(MqttConnected(False, "5", 20))
        await settled(lambda: script.seen(MqttConnected) and script.seen(ComponentFailed))

    (failed,) = script.seen(ComponentFailed)
    assert (failed.name, failed.doing) == ("core", "StreamOpened")
    assert str(failed.error) == "a mistake of ours"


async def test_an_effect_that_fails_does_not_cost_the_next():
    """What cannot be carried out is told; the effects behind it are carried out."""
    value = Publish("charger/x/state/y", b"1")
    script = Script({StreamOpened: [RetryRejectedPublications(), value]})
    async with running(script) as outside:
        the_gateway = outside.queue.wake.__self__
        the_gateway._outbox.retry_rejected = raising
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(StreamOpened())
        await settled(lambda: value in outside.published and script.seen(ComponentFailed))

    (failed,) = script.seen(ComponentFailed)
    assert (failed.name, failed.doing) == ("gateway", "RetryRejectedPublications")
    assert str(failed.error) == "a mistake of ours"


async def test_an_event_that_cannot_be_noticed_reaches_the_machine_all_the_same():
    """An error in keeping the outboxes in step is told, and costs nobody else the event."""
    script = Script()
    async with running(script) as outside:
        outside.queue.wake.__self__._bucket.set_rate = raising
        outside.queue.put(ValueConnectionOpened(20))
        await settled(lambda: script.seen(ValueConnectionOpened) and script.seen(ComponentFailed))

    (failed,) = script.seen(ComponentFailed)
    assert (failed.name, failed.doing, type(failed.error)) == (
        "gateway",
        "ValueConnectionOpened",
        RuntimeError,
    )


async def test_an_adapter_that_fails_as_none_should_is_told_and_gives_an_answer():
    """Whoever waits gets a failure of the usual kind; the bridge lives, and an alert says so."""
    work = [
        SendRequest(1, charger_list_request()),
        SaveReport(REPORT),
        SaveCommand(ROW),
        MarkPublished("k", 2),
        SettleReports((("k", 1),)),
        ReadReports(7, "EH123456", None, NOON, 9),
        MaintainStore(NOON, NOON),
        MaintainStore(),
    ]
    script = Script({StreamOpened: work})
    mistake = KeyError("a mistake of ours")
    async with running(script, failure=mistake) as outside:
        outside.queue.put(StreamOpened())
        answers = (CloudFailed, ReportSaveFailed, CommandSaveFailed, ReportsReadFailed)
        await settled(lambda: all(map(script.seen, answers)) and len(script.seen(StoreFailed)) == 4)

    told = script.seen(ComponentFailed)
    assert len(told) == len(work)
    assert told[0] == ComponentFailed("cloud", "KeyError", mistake)
    assert {(each.name, each.doing) for each in told[1:]} == {("store", "KeyError")}
    assert {each.error for each in told} == {mistake}
    (failed,) = script.seen(CloudFailed)
    assert isinstance(failed.error, OutcomeUnknown)
    errors = [failed.error, *(each.error for kind in answers[1:] for each in script.seen(kind))]
    assert {str(error) for error in errors} == {"an error of the bridge itself"}
    assert {each.message for each in script.seen(StoreFailed)} == {str(failed.error)}


async def test_a_failure_to_tell_of_a_failure_is_only_logged():
    """Otherwise one error would bring the next for ever."""
    script = Script(
        {
            StreamOpened: [RetryRejectedPublications()],
            ComponentFailed: [RetryRejectedPublications()],
        }
    )
    with capture_logs() as lines:
        async with running(script) as outside:
            outside.queue.wake.__self__._outbox.retry_rejected = raising
            outside.queue.put(StreamOpened())
            await settled(lambda: script.seen(ComponentFailed))
            outside.queue.put(ValueConnectionOpened(20))
            await settled(lambda: script.seen(ValueConnectionOpened))

    assert len(script.seen(ComponentFailed)) == 1
    (line,) = [line for line in lines if line["event"] == "component.failed"]
    assert (line["component"], line["doing"]) == ("gateway", "RetryRejectedPublications")
    assert isinstance(line["exc_info"], RuntimeError)


async def test_a_log_that_fails_costs_nothing(monkeypatch):
    """Not even where it is the telling of an error that is to be told."""
    script = Script(
        {
            StreamOpened: [RetryRejectedPublications()],
            ComponentFailed: [RetryRejectedPublications(), VALUE],
        }
    )
    async with running(script) as outside:
        outside.queue.wake.__self__._outbox.retry_rejected = raising
        monkeypatch.setattr(module.log, "error", raising, raising=False)
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(StreamOpened())
        await settled(lambda: outside.published == [VALUE])
        monkeypatch.undo()


async def test_a_link_that_fails_does_not_stop_the_clock():
    """An error of ours while sending is told, and a tick comes as before."""
    script = Script({StreamOpened: [Publish("charger/x/state/y", b"1")]})
    async with running(script) as outside:
        outside.publish = raising
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(StreamOpened())
        await settled(lambda: script.seen(ComponentFailed))
        script.deadline = SystemClock().now().mono_s + 0.02
        outside.queue.put(ValueConnectionOpened(20))
        await settled(lambda: script.seen(Tick))

    told = script.seen(ComponentFailed)[0]
    assert (told.name, told.doing, type(told.error)) == ("gateway", "flush", RuntimeError)


def raising(*_args):
    """Fail as nothing should."""
    raise RuntimeError("a mistake of ours")


async def test_a_tick_comes_when_the_machine_wants_one():
    """The deadline of the machine is kept without any other event."""
    script = Script()
    async with running(script) as outside:
        script.deadline = SystemClock().now().mono_s + 0.02
        outside.queue.put(StreamOpened())
        await settled(lambda: script.seen(Tick))


async def test_a_long_burst_gives_the_loop_back_in_between(monkeypatch):
    """However much is queued, others get their turn after a slice."""
    monkeypatch.setattr(module, "MAX_STEP_S", -1.0)
    script = Script()
    async with running(script) as outside:
        for _ in range(100):
            outside.queue.put(StreamOpened())
        await asyncio.sleep(0)
        early = len(script.seen(StreamOpened))
        await settled(lambda: len(script.seen(StreamOpened)) == 100)

    assert early < 100


@pytest.mark.parametrize("event", [StreamOpened(), CommandSaved("k1", "waiting")])
async def test_a_step_begins_nothing_when_its_time_is_over(event):
    """An event may take longer than the step has left; another one waits for the next turn."""
    clock = Stopped(Timestamp(NOON, 1000.0))

    class Slow(Script):
        def handle(self, event, now):
            moved_s = clock.moment.mono_s + 0.6 * module.MAX_STEP_S
            clock.moment = replace(clock.moment, mono_s=moved_s)
            return super().handle(event, now)

    script = Slow()
    async with running(script, clock=clock) as outside:
        counts = [0]
        for _ in range(7):
            outside.queue.put(event)
        while counts[-1] < 7:
            await asyncio.sleep(0)
            counts.append(len(script.seen(type(event))))

    assert max(later - earlier for earlier, later in itertools.pairwise(counts)) == 2


async def test_the_stream_waits_for_the_first_events_however_long_they_take(monkeypatch):
    """Store and chargers come before every observation, also where each of them is a long step."""
    clock = Stopped(Timestamp(NOON, 1000.0))
    raw = RawObservation("EH123456", 109, 4, "3", "2026-11-22T12:00:00Z")
    order = []

    class Early(EventQueue):
        def put(self, event):
            super().put(event)
            if isinstance(event, StoreOpened):
                super().put(ObservationsReceived((raw,)))

    class Slow(Script):
        def handle(self, event, now):
            order.append(type(event))
            moved_s = clock.moment.mono_s + 2 * module.MAX_STEP_S
            clock.moment = replace(clock.moment, mono_s=moved_s)
            return super().handle(event, now)

    monkeypatch.setitem(globals(), "EventQueue", Early)
    script = Slow()
    async with running(script, clock=clock):
        await settled(lambda: script.seen(ObservationsReceived))

    assert order[:3] == [StoreOpened, Started, ObservationsReceived]


async def test_a_command_takes_three_turns_of_the_loop_besides_what_it_waits_for():
    """From the message to the row, to the request, to the event of the cloud's answer: counted."""
    request = CloudRequest("POST", "/x", Endpoint.CHARGER_COMMAND, command=True)
    script = Script(
        {StreamOpened: [SaveCommand(ROW)], CommandSaved: [SendRequest(6, request, 9.0)]}
    )
    turns = 0
    async with running(script, clock=Stopped(Timestamp(NOON, 1000.0))) as outside:
        await settled(lambda: not outside.queue.first)
        outside.queue.put(StreamOpened())
        while not script.seen(CloudResponse):
            await asyncio.sleep(0)
            turns += 1

    assert turns <= 3


async def test_what_somebody_waits_for_does_not_wait_behind_the_stream():
    """A command overtakes a replay, and each turn of the pump takes some of both."""
    script = Script()
    raw = RawObservation("EH1", 109, 4, "1", "2026-11-22T12:00:00Z")
    async with running(script) as outside:
        for _ in range(100):
            outside.queue.put(StreamOpened())  # keeps the observations apart
            outside.queue.put(ObservationsReceived((raw,)))
        message = MqttMessage("t", b"", AckToken(1, 1, 1))
        outside.queue.put(message)
        await settled(lambda: len(script.seen(ObservationsReceived)) == 100)

    assert script.events.index(message) < script.events.index(script.seen(StreamOpened)[0])


async def test_values_go_on_however_many_commands_come(monkeypatch):
    """A storm of messages takes the time of a step; one event of the stream goes all the same."""
    monkeypatch.setattr(module, "MAX_STEP_S", -1.0)
    script = Script()
    async with running(script) as outside:
        for number in range(100):
            outside.queue.put(MqttMessage("t", b"", AckToken(1, number, 1)))
            outside.queue.put(StreamOpened())
        await settled(lambda: len(script.seen(StreamOpened)) == 100)

        assert len(script.seen(MqttMessage)) <= 101
        await settled(lambda: len(script.seen(MqttMessage)) == 100)


async def test_while_somebody_waits_for_the_cloud_steps_are_short():
    """What is one event, or one write, becomes several, in the same order."""
    release = asyncio.Event()
    raws = [RawObservation("EH1", 109, 4, str(n), "2026-11-22T12:00:00Z") for n in range(250)]
    values = [Publish(f"t/{n}", b"1", telemetry=True) for n in range(60)]
    call = SendRequest(1, replace(REQUEST, command=True), 30.0)
    script = Script({CommandSaved: [call], ObservationsReceived: values})
    async with running(script) as outside:

        async def slow(_request, *, within_s):
            await release.wait()
            return CloudResponse(1, 200, b"")

        outside.send = slow
        outside.queue.put(ValueConnectionOpened(1_000))
        await settled(lambda: script.seen(ValueConnectionOpened))
        outside.queue.put(CommandSaved("k1", "waiting"))
        outside.queue.put(ObservationsReceived(tuple(raws)))
        await settled(
            lambda: sum(len(e.observations) for e in script.seen(ObservationsReceived)) == 250
        )
        short = [len(event.observations) for event in script.seen(ObservationsReceived)]
        await settled(lambda: len(outside.batches) >= 3)
        writes = [len(batch) for batch in outside.batches]
        release.set()
        await settled(lambda: script.seen(CloudResponse))

    assert max(short) == module.MAX_BATCH // module.BUSY_DIVISOR
    assert [
        raw for event in script.seen(ObservationsReceived) for raw in event.observations
    ] == raws
    assert max(writes[:3]) == module.MAX_BULK_BATCH // module.BUSY_DIVISOR


async def test_what_no_command_waits_for_does_not_shorten_the_steps():
    """Reports of thousands of chargers are read and stored while their values are published."""
    release = asyncio.Event()
    raws = [RawObservation("EH1", 109, 4, str(n), "2026-11-22T12:00:00Z") for n in range(250)]
    values = [Publish(f"t/{n}", b"1", telemetry=True) for n in range(60)]
    work = [SaveReport(REPORT), ReadReports(6, "EH1"), SendRequest(1, REQUEST, 30.0)]
    script = Script({CommandSaved: work, ObservationsReceived: values})
    async with running(script) as outside:

        async def held(error):
            await release.wait()
            raise error

        outside.send = lambda *_, **__: held(OutcomeUnknown("no"))
        outside.save = outside.reports = lambda *_, **__: held(StoreError("no", hint="none"))
        outside.queue.put(ValueConnectionOpened(1_000))
        await settled(lambda: script.seen(ValueConnectionOpened))
        outside.queue.put(CommandSaved("k1", "waiting"))
        await settled(lambda: script.seen(CommandSaved))
        outside.queue.put(ObservationsReceived(tuple(raws)))
        await settled(lambda: outside.batches)
        release.set()

    assert len(script.seen(ObservationsReceived)[0].observations) == module.MAX_BATCH
    assert len(outside.batches[0]) == len(values)


def test_who_reads_for_us_is_told_when_enough_waits():
    """Not of what somebody waits for: that is never held back."""
    queue = EventQueue()
    for _ in range(module.BULK_HIGH_WATER):
        assert not queue.is_full()
        queue.put(Tick())
        queue.put(StreamOpened())

    assert queue.is_full()


async def test_a_store_that_could_not_be_opened_is_tried_again(monkeypatch):
    """The bridge runs without it, and takes it when it is back."""
    monkeypatch.setattr(module, "STORE_RETRY_S", 0.0)
    script = Script()
    async with running(script, opened=StoreFailed("gone", "mount it")):
        await settled(lambda: script.seen(StoreOpened))

    assert script.seen(StoreOpened)[0].owed == (STORED,)


async def test_the_loop_says_that_it_turns():
    """The beat is called from the loop, with the monotonic clock, and asks the pump for a turn."""
    beats, waited, names = [], [], set()

    def beat(mono_s):
        beats.append(mono_s)
        names.add(asyncio.current_task().get_name())

    class Sleepless(Stopped):
        async def sleep(self, seconds):
            waited.append(seconds)
            await asyncio.sleep(0)

    script = Script()
    async with running(script, beat=beat, clock=Sleepless(Timestamp(NOON, 1000.0))):
        await settled(lambda: len(script.seen(Tick)) > 3)

    assert (set(beats), names) == ({1000.0}, {"beat"})
    assert set(waited) == {module.BEAT_EVERY_S}


async def test_what_is_stuck_stops_the_beat_and_is_named_once(monkeypatch):
    """A broken promise is named on the second look, and no beat is heard until it is kept."""
    monkeypatch.setattr(module, "BEAT_EVERY_S", 0.001)
    liveness = LivenessRegistry(SystemClock())
    liveness.expect("store 1", -1.0)
    beats, script = [], Script()
    with capture_logs() as lines:
        async with running(script, beat=beats.append, signs=liveness):
            await settled(lambda: any(line["event"] == "task.stuck" for line in lines))
            looks = len(script.seen(Tick))
            await settled(lambda: len(script.seen(Tick)) > looks + 3)
            assert beats == []
            liveness.done("store 1")
            await settled(lambda: len(beats) > 3)

    stuck = [line for line in lines if line["event"] == "task.stuck"]
    assert stuck == [{"event": "task.stuck", "parts": ("store",), "log_level": "error"}]


async def test_what_is_late_once_is_not_stuck(monkeypatch):
    """After the machine was slow everything is late on one look; only the second one counts."""
    monkeypatch.setattr(module, "BEAT_EVERY_S", 0.001)
    looks = []

    class LateOnce(LivenessRegistry):
        def overdue(self):
            looks.append(None)
            return ("store 1",) if len(looks) % 2 else ()

    beats = []
    with capture_logs() as lines:
        async with running(Script(), beat=beats.append, signs=LateOnce(SystemClock())):
            await settled(lambda: len(looks) > 6)
    assert len(beats) >= 3
    assert not [line for line in lines if line["event"] == "task.stuck"]


async def test_work_that_takes_time_is_promised_until_it_is_done():
    """A commit has its time, and one that returned is not waited for any more."""
    liveness = LivenessRegistry(SystemClock())
    script = Script({Tick: [SaveReport(REPORT)]})
    hold = asyncio.Event()
    async with running(script, signs=liveness) as outside:

        async def save(report):
            await hold.wait()
            return STORED, True

        outside.save = save
        outside.queue.put(Tick())
        await settled(lambda: any(name.startswith("store") for name in liveness._due_s))
        hold.set()
        await settled(lambda: set(liveness._due_s) == {"pump"})
        assert script.seen(ReportSaved)


@pytest.mark.parametrize("ending", ["return", "error"])
@pytest.mark.fault("F20")
async def test_a_part_that_ends_ends_the_gateway(ending):
    """Without its link the gateway would be half alive: it ends, with an error worth a restart."""
    queue = EventQueue()
    outside = Outside(queue)

    async def run():
        if ending == "error":
            raise KeyError("a defect")

    outside.run = run
    gateway = EventLoop(
        Script(),
        queue,
        link=outside,
        cloud=outside,
        source=None,
        store=outside,
        clock=SystemClock(),
    )
    with capture_logs() as lines, pytest.raises(ExceptionGroup) as ended:
        await gateway.run(asyncio.Event(), opened=StoreOpened(()))

    words = "mqtt failed: KeyError" if ending == "error" else "mqtt ended by itself"
    assert ended.group_contains(TaskFailed, match=f"^{words}$")
    failed = {"event": "task.failed", "part": "mqtt", "exc_info": True, "log_level": "error"}
    assert lines == ([failed] if ending == "error" else [])


async def test_a_link_that_is_no_use_is_made_anew():
    """The core's wish for another connection reaches the link with its reason."""
    async with running(Script({Tick: [Reconnect("it is deaf")]})) as outside:
        outside.queue.put(Tick())
        await settled(lambda: ("reconnect", "it is deaf") in outside.asked)


async def test_a_link_is_asked_what_the_broker_keeps():
    """The core's wish to look again at what is retained reaches the link."""
    async with running(Script({Tick: [ReadRetained("charger/+/set/+")]})) as outside:
        outside.queue.put(Tick())
        await settled(lambda: ("ask_retained", "charger/+/set/+") in outside.asked)


class Copying:
    """A recorder that copies in the first turns after it was told to."""

    def __init__(self):
        self.turns = 0

    def is_copying(self, _mono_s):
        """Return whether the rest must be copied next."""
        self.turns -= 1
        return self.turns >= 0

    def handled(self, *_event):
        """Record nothing."""

    asked = pack = handled


@pytest.mark.parametrize("turns", [0, 3])
async def test_standing_still_is_told_before_what_waited_meanwhile(turns):
    """After a long stop the machine hears of it first, also where a state is copied just then."""
    clock = SystemClock()
    script, copying = Script(), Copying()
    async with running(script, beat=bool, recorder=copying) as outside:
        copying.turns = turns
        the_gateway = outside.queue.wake.__self__
        message = MqttMessage("charger/EH123456/set/start", b"PRESS", AckToken(1, 1, 1))
        outside.queue.put(message)
        the_gateway._turned_s = clock.now().mono_s - 600.0
        await settled(lambda: message in script.events)
        (still,) = script.seen(ProcessSuspended)

        assert 600.0 <= still.seconds < 601.0
        assert script.events.index(still) < script.events.index(message)
        outside.queue.put(Tick())
        await settled(lambda: isinstance(script.events[-1], Tick))
        assert len(script.seen(ProcessSuspended)) == 1


async def test_a_value_the_broker_refuses_is_sent_again_on_demand():
    """The outbox keeps it, and the effect lets it stand in line once more."""
    value = Publish("charger/EH123456/state/op_mode", b"charging")
    script = Script({StreamOpened: [value], Tick: [RetryRejectedPublications()]})
    async with running(script, acks=False) as outside:
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(StreamOpened())
        await settled(lambda: outside.published == [value])
        outside.queue.put(MqttAcked(value, 0x87))
        outside.queue.put(Tick())
        await settled(lambda: outside.published == [value, value])
        outside.queue.put(MqttAcked(value, 0))


async def test_a_value_its_own_connection_was_refused_is_sent_again_on_demand():
    """It is in flight no more: a newer value of its topic goes, and it itself when asked."""
    value = Publish("charger/EH123456/state/op_mode", b"charging", telemetry=True)
    other = Publish("charger/EH123456/state/led", b"charging", telemetry=True)
    newer = Publish("charger/EH123456/state/led", b"error", telemetry=True)
    script = Script(
        {StreamOpened: [value, other], StreamClosed: [newer], Tick: [RetryRejectedPublications()]}
    )
    async with running(script, acks=False) as outside:
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(ValueConnectionOpened(20))
        outside.queue.put(StreamOpened())
        await settled(lambda: outside.batches == [[value, other]])
        outside.queue.put(MqttAcked(value, 0x87))
        outside.queue.put(MqttAcked(other, 0x87))
        outside.queue.put(StreamClosed("gone"))
        await settled(lambda: outside.published == [newer])
        outside.queue.put(Tick())
        await settled(lambda: outside.published == [newer, value])
        outside.queue.put(MqttAcked(newer, 0))
        outside.queue.put(MqttAcked(value, 0))


@pytest.mark.parametrize("window", [20, 1000])
async def test_more_values_than_a_burst_all_go(window):
    """The pace is obeyed and ends nothing: after the first burst the rest follows."""
    count = 3 * BURST
    values = [
        Publish(f"charger/EH{n:06}/state/op_mode", b"charging", telemetry=True)
        for n in range(count)
    ]
    script = Script({StreamOpened: values})
    async with running(script) as outside:
        gateway = outside.queue.wake.__self__
        clock = gateway._clock = Hurried(gateway._clock)
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(ValueConnectionOpened(window))
        outside.queue.put(StreamOpened())
        await settled(lambda: sum(map(len, outside.batches)) >= min(BURST, window))
        sent = sum(map(len, outside.batches))
        assert sent <= max(BURST, window) + window * PER_GRANT_S * PATIENCE_S
        clock.ahead_s += count / (window * PER_GRANT_S)
        await settled(lambda: sum(map(len, outside.batches)) == count)
        assert max(map(len, outside.batches)) <= min(window, module.MAX_BULK_BATCH)
    assert [value for batch in outside.batches for value in batch] == values


async def test_values_wait_for_the_pace_of_the_broker():
    """Of more than a burst no more goes while no time passes, whatever else happens."""
    values = [
        Publish(f"charger/EH{n:06}/state/op_mode", b"charging", telemetry=True)
        for n in range(2 * BURST)
    ]
    script = Script({StreamOpened: values})
    async with running(script) as outside:
        gateway = outside.queue.wake.__self__
        gateway._clock = Stopped(gateway._clock.now())
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(ValueConnectionOpened(20))
        outside.queue.put(StreamOpened())
        await settled(lambda: sum(map(len, outside.batches)) == BURST)
        for _ in range(20):
            outside.queue.put(Tick())
            await settled(lambda: outside.queue.is_empty)
        assert sum(map(len, outside.batches)) == BURST


class Told:
    """A part of the gateway that works as before, and writes down what it is told."""

    def __init__(self, name, part, said):
        self.name, self.part, self.said = name, part, said

    def __getattr__(self, step):
        inner = getattr(self.part, step)
        if not callable(inner):
            return inner

        def told(*args, **kwargs):
            if step in {
                "acked",
                "returned",
                "refused",
                "opened",
                "closed",
                "granted",
                "set_rate",
                "connection_lost",
            }:
                self.said.append((self.name, step, *args, *kwargs.items()))
            return inner(*args, **kwargs)

        return told


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            ValuesAcked((READING,), (VALUE,)),
            [("values", "acked", (READING,)), ("values", "returned", (VALUE,))],
        ),
        (
            MqttAcked(VALUE, 0x87),
            [("outbox", "acked", VALUE, 0x87), ("values", "refused", VALUE, 0x87)],
        ),
        (
            ValueConnectionOpened(7),
            [("values", "opened", 7), ("bucket", "set_rate", *value_rate(7))],
        ),
        (ValueConnectionClosed(in_doubt=True), [("values", "closed", ("in_doubt", True))]),
        (MqttConnected(False, "5", 7), [("outbox", "granted", 7)]),
        (MqttDisconnected("gone", 0x8E), [("outbox", "connection_lost", 0x8E, 1000.0)]),
        (StreamOpened(), []),
    ],
)
async def test_what_happens_to_the_connections_is_told_to_those_who_send(event, expected):
    """Before the machine hears of it, with all that is in it; and the tally counts everything."""
    script = Script({type(event): [VALUE]})
    counted = Counted()
    async with running(script, clock=Stopped(Timestamp(NOON, 1000.0)), metrics=counted) as outside:
        gateway, said = outside.queue.wake.__self__, []
        for name in ("outbox", "values", "bucket"):
            part = Told(name, getattr(gateway, f"_{name}"), said)
            setattr(gateway, f"_{name}", part)
        outside.queue.put(event)
        await settled(lambda: event in script.events)
        assert said == expected
        assert counted.events == script.events
        assert counted.effects == counted.messages == [VALUE]


class Counted:
    """A tally that keeps what it counts."""

    def __init__(self):
        self.events, self.effects, self.messages = [], [], []

    def event(self, event):
        self.events.append(event)

    def effect(self, effect):
        self.effects.append(effect)

    def published(self, message):
        self.messages.append(message)


@pytest.mark.parametrize(
    ("effect", "name", "within_s"),
    [
        (SendRequest(5, REQUEST, 12.0), "cloud", 12.0 + module.CLOUD_SPARE_S),
        (SaveReport(REPORT), "store", module.STORE_TIMEOUT_S),
        (SaveChargerList(("EH123456",)), "roster", module.STORE_TIMEOUT_S),
        (SavePublishedDiscovery(HELD), "announced", module.STORE_TIMEOUT_S),
    ],
)
async def test_whoever_works_promises_when_he_is_heard_of(effect, name, within_s):
    """Each piece of work under the name that the log will tell, for as long as it may take."""

    class Promises(LivenessRegistry):
        def expect(self, name, within_s):
            promised.append((name.split()[0], within_s))
            super().expect(name, within_s)

    promised = []
    signs = Promises(SystemClock())
    script = Script({StreamOpened: [effect]})
    more = {"remember": lambda *_: None, "save_published": lambda *_: None}
    async with running(script, signs=signs, **more) as outside:
        outside.queue.put(StreamOpened())
        await settled(lambda: any(one[0] == name for one in promised))
        await settled(lambda: set(signs._due_s) == {"pump"})

    assert set(promised) == {(name, within_s), ("pump", module.PUMP_TIMEOUT_S)}


@pytest.mark.parametrize(
    ("failure", "code", "line"),
    [
        (TooLarge("too large"), TOO_LARGE, None),
        (ValueError("no topic"), TOPIC_NAME_INVALID, "no topic"),
    ],
)
async def test_what_cannot_be_sent_is_answered_with_its_reason(failure, code, line):
    """The machine hears of it as if the broker had refused it; what follows goes out."""
    script = Script({StreamOpened: [VALUE], StreamClosed: [Publish("charger/x/state/y", b"1")]})
    with capture_logs() as lines:
        async with running(script) as outside:
            outside.failure = failure
            outside.queue.put(MqttConnected(False, "5", 20))
            outside.queue.put(StreamOpened())
            await settled(lambda: script.seen(MqttAcked))
            outside.failure = None
            outside.queue.put(StreamClosed("gone"))
            await settled(lambda: outside.published)

    assert script.seen(MqttAcked)[0] == MqttAcked(VALUE, code)
    found = [each for each in lines if each["event"] == "mqtt.unpublishable"]
    told = {"event": "mqtt.unpublishable", "topic": VALUE.topic, "error": line}
    assert found == ([told | {"log_level": "error"}] if line else [])


async def test_what_was_set_aside_is_answered_with_its_reason():
    """Each message that the outbox gave up is told to the machine, and given up once."""
    script = Script()
    async with running(script) as outside:
        outside.queue.wake.__self__._outbox.given_up.extend([VALUE, READING])
        outside.queue.put(StreamOpened())
        await settled(lambda: len(script.seen(MqttAcked)) == 2)
        outside.queue.put(Tick())
        await settled(lambda: script.seen(Tick))

    assert script.seen(MqttAcked) == [
        MqttAcked(VALUE, module.SET_ASIDE),
        MqttAcked(READING, module.SET_ASIDE),
    ]


async def test_the_timer_follows_the_deadline():
    """It is set for the time that is left, moved with the deadline, and taken away with it."""
    script = Script()
    async with running(script, clock=Stopped(Timestamp(NOON, 1000.0))) as outside:
        gateway, loop = outside.queue.wake.__self__, asyncio.get_running_loop()
        timers = []
        for deadline_s, wait_s in ((1500.0, 500.0), (1500.0, 500.0), (900.0, 0.0), (1400.0, 400.0)):
            script.deadline = deadline_s
            before_s = loop.time()
            outside.queue.put(StreamOpened())
            await asyncio.sleep(0)
            timers.append(gateway._timer)
            if wait_s:
                assert before_s - 1.0 < timers[-1].when() - wait_s < loop.time() + 1.0
            else:
                await settled(lambda: script.seen(Tick))
        assert timers[0] is timers[1]
        assert [timer.cancelled() for timer in timers] == [True, True, False, False]
        script.deadline = None
        outside.queue.put(StreamOpened())
        await settled(lambda: gateway._timer is None)
        assert timers[-1].cancelled()
        script.deadline = 2000.0
        outside.queue.put(StreamOpened())
        await settled(lambda: gateway._timer is not None)
        last = gateway._timer

    await asyncio.sleep(0)
    assert last.cancelled()
    assert len(script.seen(Tick)) == 1


async def test_at_the_end_a_request_is_given_up_and_a_commit_is_not():
    """What the vendor takes its time for does not hold up the end; what is being written does."""
    script = Script({StreamOpened: [SendRequest(5, REQUEST, 3600.0), SaveReport(REPORT)]})
    given_up, saved = [], []
    with capture_logs() as lines:
        async with running(script) as outside:

            async def send(_request, *, within_s):
                try:
                    await asyncio.Event().wait()
                finally:
                    given_up.append(within_s)

            async def save(_report):
                while not given_up:  # noqa: ASYNC110 - nothing is set at the end
                    await asyncio.sleep(0)
                saved.append(None)
                return STORED, True

            outside.send, outside.save = send, save
            outside.queue.put(StreamOpened())
            await settled(lambda: script.seen(StreamOpened))

    assert (len(given_up), len(saved)) == (1, 1)
    assert [line["event"] for line in lines] == ["bridge.stopping"]


async def test_parts_run_beside_the_gateway_and_end_with_it():
    """The link, the stream and every service run, each as a task of its name."""
    names = []

    async def part():
        names.append(asyncio.current_task().get_name())
        await asyncio.Event().wait()

    queue = EventQueue()
    outside = Outside(queue)
    outside.run = part
    parts = {"link": outside, "cloud": outside, "source": outside, "store": outside}
    gateway = EventLoop(Script(), queue, **parts, clock=SystemClock())
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        opened = StoreOpened(())
        tasks.create_task(gateway.run(stop, opened=opened, services={"metrics": part}))
        await settled(lambda: len(names) == 3)
        stop.set()

    assert sorted(names) == ["metrics", "mqtt", "stream"]


async def test_a_store_is_tried_until_it_opens(monkeypatch):
    """Every half minute, by a task of its name; what it holds then is told as at a start."""
    waited, names = [], set()

    class Patient(SystemClock):
        async def sleep(self, seconds):
            waited.append(seconds)
            names.add(asyncio.current_task().get_name())
            await asyncio.sleep(0)

    attempts = iter(
        [StoreError("busy"), StoreError("busy"), StoreContents((STORED,), commands=(ROW,))]
    )

    async def open_(_self):
        found = next(attempts)
        if isinstance(found, StoreError):
            raise found
        return found

    monkeypatch.setattr(Outside, "open", open_)
    script = Script()
    async with running(script, opened=StoreFailed("gone", "mount it"), clock=Patient()):
        await settled(lambda: script.seen(StoreOpened))

    assert (waited, names) == ([module.STORE_RETRY_S] * 3, {"store"})
    assert script.seen(StoreOpened) == [StoreOpened((STORED,), commands=(ROW,))]


async def test_what_waits_for_the_broker_is_told():
    """Messages and values, sent and not sent, are both counted."""
    values = [Publish(f"t/{n}", b"1", telemetry=True) for n in range(5)]
    others = [Publish(f"u/{n}", b"1") for n in range(3)]
    script = Script({StreamOpened: [*values, *others]})
    async with running(script, acks=False) as outside:
        gateway = outside.queue.wake.__self__
        outside.queue.put(ValueConnectionOpened(2))
        outside.queue.put(StreamOpened())
        await settled(lambda: outside.batches)
        assert gateway.backlog is gateway
        assert (gateway.waiting, gateway.in_flight) == (3 + 3, 2)
        outside.queue.put(MqttConnected(False, "5", 1))
        await settled(lambda: outside.published)
        assert (gateway.waiting, gateway.in_flight) == (3 + 2, 2 + 1)
        gateway._connected = False  # nobody waits for the rest


# -- conventions -----------------------------------------------------------------------------------


class Echoing:
    """A convention that publishes one message of each change, and fails at one topic."""

    connection = None

    def __init__(self, name, fails_at=None):
        self.name = name
        self.fails_at = fails_at

    def parse(self, _message):
        return None

    def publish(self, change, _now):
        told = change.values if isinstance(change, ValuesChanged) else (change,)
        topics = [f"{self.name}/{one.charger_id}" for one in told]
        if self.fails_at in topics:
            raise KeyError("a defect")
        return [Publish(topic, b"1", retained=False) for topic in topics]


async def published_by(*conventions, effects):
    """Have changes published; return the topics in order, and which components failed."""
    script = Script({StreamOpened: effects})
    async with running(script, conventions=conventions) as outside:
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(StreamOpened())
        await settled(lambda: script.seen(StreamOpened))
        await settled(lambda: outside.queue.is_empty and not outside.unacked)
    failed = [(event.name, event.doing) for event in script.seen(ComponentFailed)]
    return [one.topic for one in outside.published if one != FAREWELL], failed


async def test_each_convention_publishes_each_change_in_its_place():
    """The messages of a change stand where the change stood among the other effects."""
    effects = [
        Publish("first", b"1", retained=False),
        AvailabilityChanged("EH1", is_online=True),
        Publish("last", b"1", retained=False),
    ]
    topics, failed = await published_by(Echoing("a"), Echoing("b"), effects=effects)
    assert topics == ["first", "a/EH1", "b/EH1", "last"]
    assert failed == []


async def test_a_convention_that_fails_costs_no_other_anything():
    """The other publishes, the next change is published, and an alert can name who failed."""
    effects = [AvailabilityChanged("EH1", is_online=True), AvailabilityChanged("EH2", True)]
    topics, failed = await published_by(Echoing("a", "a/EH1"), Echoing("b"), effects=effects)
    assert topics == ["b/EH1", "a/EH2", "b/EH2"]
    assert failed == [("a", "AvailabilityChanged")]


async def test_a_value_that_cannot_be_published_does_not_cost_the_next():
    """Values come together, and each is published or fails by itself."""
    values = tuple(
        ValueChanged(charger_id, spec_of(120), 7.2, NOON, NOON, "stream")
        for charger_id in ("EH1", "EH2", "EH3")
    )
    topics, failed = await published_by(Echoing("a", "a/EH2"), effects=[ValuesChanged(values)])
    assert topics == ["a/EH1", "a/EH3"]
    assert failed == [("a", "ValuesChanged")]


@pytest.mark.parametrize("is_of_a_convention", [True, False])
async def test_a_message_and_its_receipt_keep_to_their_connection(is_of_a_convention):
    """What a convention publishes over its own connection does not go over the main one."""
    name = "own" if is_of_a_convention else ""
    said = []

    class Own:
        need = ConnectionNeed("own", "own-1", Publish("own/alive", b"0"))

        put = said.append
        acknowledge = said.append

        def deadline_s(self):
            return None

        def flush(self):
            pass

        async def run(self):
            await asyncio.Event().wait()

        async def close(self):
            said.append("closed")

    message = Publish("own/EH1", b"1", retained=False, link=name)
    ack_token = AckToken(1, 2, 1, name)
    script = Script({StreamOpened: [message, Acknowledge(ack_token)]})
    async with running(script, connections=(Own(),)) as outside:
        outside.queue.put(MqttConnected(False, "5", 20))
        outside.queue.put(StreamOpened())
        await settled(lambda: script.seen(StreamOpened) and outside.queue.is_empty)
        await settled(lambda: not outside.unacked)
    of_main = [one for one in outside.published if one != FAREWELL] + [
        what for kind, what in outside.asked if kind == "acknowledge"
    ]
    assert (of_main, said) == (
        ([], [message, ack_token, "closed"]) if name else ([message, ack_token], ["closed"])
    )


async def test_a_request_of_a_convention_over_the_main_connection_is_read_by_it():
    """The core gets the native message; a convention that fails at one costs no other anything."""

    class Reading(Echoing):
        def parse(self, message):
            if self.fails_at == message.topic:
                raise KeyError("a defect")
            is_its = message.topic == "plant/do"
            return IncomingCommand("EH1", "start", b"PRESS") if is_its else None

    ack_token = AckToken(1, 2, 1)
    script = Script({})
    conventions = (Reading("a", "plant/do"), Reading("b"))
    async with running(script, conventions=conventions) as outside:
        outside.queue.put(MqttMessage("plant/do", b"charge", ack_token))
        outside.queue.put(MqttMessage("charger/EH1/set/stop", b"PRESS", ack_token))
        await settled(lambda: len(script.seen(MqttMessage)) == 2)
        await settled(lambda: script.seen(ComponentFailed))
    assert [one.topic for one in script.seen(MqttMessage)] == [
        "charger/EH1/set/start",
        "charger/EH1/set/stop",
    ]
    assert [event.name for event in script.seen(ComponentFailed)] == ["a"]


class Prompt(Script):
    """A machine whose effects are a list, as the core's are."""

    def handle(self, event, now):
        return list(super().handle(event, now))


@dataclass
class Recording(Recorder):
    """A recorder that takes down what the loop tells it."""

    steps: int = 0
    told: list = field(default_factory=list)

    def handled(self, event, now, effects):
        self.told.append((type(event), effects))

    def asked(self):
        self.told.append("asked")

    def is_copying(self, mono_s):
        self.steps -= 1
        return self.steps >= 0

    def pack(self, _mono_s):
        self.told.append("packed")

    def excerpt(self):
        if self.steps == -99:
            raise RecordError("nothing is recorded")
        return "excerpt"


async def test_what_the_core_handles_is_recorded():
    """Every event with its effects, and how often the deadline was asked for."""
    entry, recorder = LogEntry("info", "test.noted", {}), Recording()
    script = Prompt({StoreOpened: [entry]})
    async with running(script, recorder=recorder):
        pass
    kinds = [one[0] for one in recorder.told if isinstance(one, tuple)]

    assert kinds == [type(event) for event in script.events]
    assert (StoreOpened, [entry]) in recorder.told
    assert "asked" in recorder.told
    assert "packed" in recorder.told


async def test_nothing_is_handled_while_the_state_is_copied():
    """The loop turns between the steps of a copy, and the events wait for its end."""
    script, recorder = Prompt(), Recording(steps=5)
    async with running(script, recorder=recorder) as outside:
        assert recorder.steps < 0
        outside.queue.put(Tick())
        await settled(lambda: script.seen(Tick))

    assert script.seen(Stopping)


async def test_an_event_at_which_the_core_fails_is_recorded_as_such():
    """It has no effects, and the failure is told after it."""
    script, recorder = Prompt({StreamOpened: 5}), Recording()
    async with running(script, recorder=recorder) as outside:
        outside.queue.put(StreamOpened())
        await settled(lambda: script.seen(ComponentFailed))

    assert (StreamOpened, None) in recorder.told


async def test_a_component_that_fails_has_a_record_written_once():
    """Once for each component, and again when another one fails."""
    written, script, recorder = [], Prompt(), Recording()
    save = lambda excerpt, reason: written.append((excerpt, reason))  # noqa: E731 - three words
    async with running(script, recorder=recorder, save_record=save) as outside:
        for failing in ({"a": 1}, {"a": 2}, {"a": 1, "b": 1}, {}, {"b": 1}):
            script.contained.failing = failing
            outside.queue.put(Tick())
            before = len(script.events)
            await settled(lambda before=before: len(script.events) > before)
        await settled(lambda: len(written) == 3)

    assert written == [("excerpt", "component_failed")] * 3


async def test_where_nothing_is_recorded_none_is_written():
    """A record that is asked for is a line in the log instead."""
    written, recorder = [], Recording(steps=-99)
    queue, outside = EventQueue(), None
    gateway = EventLoop(
        Prompt(),
        queue,
        link=outside,
        cloud=outside,
        source=outside,
        store=outside,
        clock=SystemClock(),
        recorder=recorder,
        save_record=lambda *_: written.append(1),
    )
    with capture_logs() as lines:
        gateway.write_record("signal")

    assert written == []
    assert lines == [
        {
            "event": "record.none",
            "log_level": "warning",
            "reason": "signal",
            "detail": "nothing is recorded",
        }
    ]
