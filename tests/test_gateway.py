"""The gateway: effects reach their adapters, the window is kept, the end is clean."""

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from bridge import gateway as module
from bridge.adapters.clock import SystemClock
from bridge.core.cloud.requests import charger_list_request
from bridge.core.commands.record import CommandRow
from bridge.core.effects import (
    Acknowledge,
    AskRetained,
    CallCloud,
    MarkPublished,
    Note,
    ReadReports,
    Reconnect,
    RememberAnnounced,
    SaveCommand,
    SaveReport,
    SendDenied,
    SettleReports,
    TendStore,
    Watch,
)
from bridge.core.events import (
    CloudAnswered,
    CloudFailed,
    CommandNotSaved,
    CommandSaved,
    ComponentFailed,
    LaneClosed,
    LaneOpened,
    Moment,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    Observed,
    RawObservation,
    ReportNotSaved,
    ReportSaved,
    ReportsNotRead,
    ReportsRead,
    Started,
    StoodStill,
    Stopping,
    StoreFailed,
    StoreOpened,
    StoreTended,
    StreamClosed,
    StreamOpened,
    Tick,
    ValuesAcked,
)
from bridge.core.homeassistant.record import Announced
from bridge.core.messages import Publish, Receipt
from bridge.core.pace import BURST, PER_GRANT_S
from bridge.core.sessions.ledger import StoredReport
from bridge.core.sessions.reports import SessionReport
from bridge.core.storage import OpenedStore, StoreUsage
from bridge.core.topics import Topics
from bridge.errors import CloudUnavailable, LinkLost, OutcomeUnknown, PartFailed, StoreError
from bridge.gateway import Gateway, Inbox
from bridge.watchdog import Signs
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
    deadline: float | None = None
    topics: Topics = field(default_factory=Topics)

    def handle(self, event, now):
        self.events.append(event)
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

    inbox: Inbox
    acks: bool = True
    failure: Exception | None = None
    asked: list = field(default_factory=list)
    published: list = field(default_factory=list)
    batches: list = field(default_factory=list)
    unacked: int = 0
    most_unacked: int = 0

    async def run(self):
        await asyncio.Event().wait()

    def watch(self, charger_ids):
        self.asked.append(charger_ids)

    def publish(self, message):
        if isinstance(self.failure, LinkLost | ValueError):
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
            asyncio.get_running_loop().call_soon(self.inbox.put, answer)

    def _ack(self, message):
        self.unacked -= 1
        self.inbox.put(MqttAcked(message, 0))

    def acknowledge(self, receipt):
        self.asked.append(receipt)

    def ask_retained(self, topic_filter):
        self.asked.append(topic_filter)

    def reconnect(self, reason):
        self.asked.append(reason)

    async def close(self, farewell):
        self.published.append(farewell)

    async def send(self, request, *, within_s):
        if self.failure:
            raise self.failure
        self.asked.append((request, within_s))
        return CloudAnswered(0, 200, b"[]")

    async def save(self, report):
        if self.failure:
            raise self.failure
        return STORED, True

    async def mark_published(self, key, revision, at):
        if self.failure:
            raise self.failure
        self.asked.append((key, revision))

    async def save_command(self, row):
        if self.failure:
            raise self.failure
        self.asked.append(row.key)

    async def settle(self, reports):
        if self.failure:
            raise self.failure
        self.asked.append(reports)

    async def reports(self, *, charger_id, since, until, limit):
        if self.failure:
            raise self.failure
        self.asked.append((charger_id, since, until, limit))
        return (STORED,)

    async def forget(self, *, settled_before, commands_before):
        return 3

    async def usage(self):
        if self.failure:
            raise self.failure
        return StoreUsage(0.5, 1024)

    async def open(self):
        return OpenedStore((STORED,))


@contextlib.asynccontextmanager
async def running(
    script,
    *,
    opened=None,
    beat=None,
    acks=True,
    failure=None,
    signs=None,
    remember_announced=None,
):
    """Run a gateway between a script and the outside; it ends cleanly with the block."""
    inbox = Inbox()
    outside = Outside(inbox, acks, failure)
    gateway = Gateway(
        script,
        inbox,
        link=outside,
        cloud=outside,
        stream=outside,
        store=outside,
        clock=SystemClock(),
        beat=beat,
        signs=signs,
        remember_announced=remember_announced,
    )
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.run(stop, opened=opened or StoreOpened(())))
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

    moment: Moment

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


async def test_effects_reach_their_adapters_and_answers_come_back_as_events():
    """Calls, reports, marks, acknowledgements and subscriptions go where they belong."""
    script = Script(
        {
            StreamOpened: [
                CallCloud(5, charger_list_request(), 12.0),
                SaveReport(REPORT),
                SaveCommand(ROW),
                MarkPublished("k", 2),
                SettleReports((("k", 1),)),
                ReadReports(7, "EH123456", None, NOON, 9),
                TendStore(NOON, NOON),
                Acknowledge(Receipt(1, 2, 1)),
                Watch(("EH123456",)),
                Note("info", "test.noted", {"count": 1}),
            ]
        }
    )
    async with running(script) as outside:
        outside.inbox.put(StreamOpened())
        kinds = (ReportSaved, CloudAnswered, ReportsRead, StoreTended)
        await settled(lambda: all(map(script.seen, kinds)))

    assert script.seen(CloudAnswered) == [CloudAnswered(5, 200, b"[]")]
    assert script.seen(ReportSaved) == [ReportSaved(STORED, True)]
    assert script.seen(CommandSaved) == [CommandSaved("k1", "waiting")]
    (within_s,) = [
        one[1]
        for one in outside.asked
        if isinstance(one, tuple) and one[0] == charger_list_request()
    ]
    assert 0.0 < within_s <= 12.0  # counted from the effect, not from the task's first turn
    assert ("k", 2) in outside.asked
    assert (("k", 1),) in outside.asked
    assert script.seen(ReportsRead) == [ReportsRead(7, (STORED,))]
    assert ("EH123456", None, NOON, 9) in outside.asked
    assert script.seen(StoreTended) == [StoreTended(0.5, 1024, 3)]
    assert Receipt(1, 2, 1) in outside.asked
    assert ("EH123456",) in outside.asked


@pytest.mark.parametrize(
    ("effect", "failure", "event"),
    [
        (CallCloud(5, charger_list_request()), CloudUnavailable("down"), CloudFailed),
        (SaveCommand(ROW), StoreError("full", hint="h"), CommandNotSaved),
        (SaveReport(REPORT), StoreError("full", hint="h"), ReportNotSaved),
        (MarkPublished("k", 2), StoreError("full", hint="h"), StoreFailed),
        (SettleReports((("k", 1),)), StoreError("full", hint="h"), StoreFailed),
        (ReadReports(7), StoreError("gone", hint="h"), ReportsNotRead),
        (TendStore(), StoreError("gone", hint="h"), StoreFailed),
    ],
)
async def test_a_failure_outside_is_an_event_too(effect, failure, event):
    """Whatever an adapter raises of ours comes back as a value."""
    script = Script({StreamOpened: [effect]})
    async with running(script, failure=failure) as outside:
        outside.inbox.put(StreamOpened())
        await settled(lambda: script.seen(event))


async def test_what_was_announced_is_kept_in_order():
    """Two writes never overlap, and the newest is the last one that is written."""
    written, busy = [], threading.Lock()

    def keep(announced):
        assert busy.acquire(blocking=False)
        written.append(announced)
        busy.release()

    all_of_them = [{f"t{n}/config": Announced("EH123456")} for n in range(20)]
    script = Script({StreamOpened: [RememberAnnounced(one) for one in all_of_them]})
    async with running(script, remember_announced=keep) as outside:
        for _ in range(3):
            outside.inbox.put(StreamOpened())
        await settled(lambda: len(script.seen(StreamOpened)) == 3)

    assert written
    assert written[-1] == all_of_them[-1]


async def test_nothing_is_published_without_a_connection_and_all_of_it_afterwards():
    """Messages wait in the outbox, at most the broker's Receive Maximum are in flight."""
    values = [Publish(f"charger/x/state/{n}", b"1") for n in range(50)]
    script = Script({StreamOpened: values})
    async with running(script) as outside:
        outside.inbox.put(StreamOpened())
        await settled(lambda: script.seen(StreamOpened))
        assert outside.published == []

        outside.inbox.put(MqttConnected(False, "5", 7))
        await settled(lambda: len(outside.published) == 50)
        assert outside.most_unacked == 7


async def test_what_was_in_flight_when_the_link_broke_goes_out_again():
    """A publication without an acknowledgement is not lost with its connection."""
    value = Publish("charger/x/state/y", b"1")
    script = Script({StreamOpened: [value]})
    async with running(script, acks=False) as outside:
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(StreamOpened())
        await settled(lambda: outside.published == [value])
        outside.inbox.put(MqttDisconnected("gone"))
        outside.inbox.put(MqttConnected(False, "5", 20))
        await settled(lambda: outside.published == [value, value])
        outside.inbox.put(MqttAcked(value, 0))


async def test_values_go_over_their_own_connection_while_there_is_one():
    """They leave together; what the other side refuses comes back over the main connection."""
    values = [Publish(f"charger/x/state/{n}", b"1", telemetry=True) for n in range(50)]
    script = Script({StreamOpened: values})
    async with running(script, acks=False) as outside:
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(LaneOpened(1000))
        outside.inbox.put(StreamOpened())
        await settled(lambda: outside.batches)
        assert (outside.batches, outside.published) == ([values], [])

        outside.inbox.put(ValuesAcked(tuple(values[:40]), tuple(values[40:49])))
        outside.inbox.put(MqttAcked(values[49], 0x97))
        await settled(lambda: outside.published)
        assert outside.published == values[40:49]
        assert script.seen(ValuesAcked)
        outside.acks = True
        for value in values[40:49]:
            outside.inbox.put(MqttAcked(value, 0))


async def test_without_a_connection_of_their_own_values_go_with_everything_else():
    """A lane that closes hands over what it had."""
    values = [Publish(f"charger/x/state/{n}", b"1", telemetry=True) for n in range(5)]
    script = Script({StreamOpened: values})
    async with running(script) as outside:
        outside.acks = False
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(LaneOpened(2))
        outside.inbox.put(StreamOpened())
        await settled(lambda: outside.batches == [values[:2]])
        outside.acks = True
        outside.inbox.put(LaneClosed(in_doubt=True))
        await settled(lambda: outside.published == values[2:])
        outside.inbox.put(LaneClosed(in_doubt=False))
        await settled(lambda: outside.published == [*values[2:], *values[:2]])


async def test_observations_that_wait_are_taken_together_but_not_too_many():
    """What is done once for an event is done once for a burst, in order, and in bounded steps."""
    raws = [RawObservation("EH1", 109, 4, str(n), "2026-11-22T12:00:00Z") for n in range(250)]
    script = Script()
    async with running(script) as outside:
        for raw in raws:
            outside.inbox.put(Observed((raw,)))
        outside.inbox.put(Observed((raws[0],), "poll"))
        outside.inbox.put(StreamOpened())
        outside.inbox.put(Observed((raws[1],)))
        await settled(lambda: script.events[-1:] == [Observed((raws[1],))])

    found = [e for e in script.events if isinstance(e, Observed | StreamOpened)]
    sizes = [len(e.observations) for e in found if isinstance(e, Observed)]
    assert sizes == [*[module.MOST_TOGETHER] * 5, 1, 1]
    assert [raw for event in found[:5] for raw in event.observations] == raws
    assert [type(e) for e in found[5:]] == [Observed, StreamOpened, Observed]


async def test_a_link_that_breaks_under_a_publication_keeps_the_message():
    """LinkLost in the middle of a flush puts everything back."""
    value = Publish("charger/x/state/y", b"1")
    script = Script({StreamOpened: [value]})
    async with running(script, failure=LinkLost("gone")) as outside:
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(StreamOpened())
        await settled(lambda: script.seen(StreamOpened))
        assert outside.published == []
        outside.failure = None
        outside.inbox.put(MqttConnected(False, "5", 20))
        await settled(lambda: outside.published == [value])


async def test_a_message_that_can_never_be_sent_is_answered_as_refused():
    """Its owner learns it, and it does not hold up the rest."""
    value = Publish("charger/x/state/y", b"1")
    script = Script({StreamOpened: [value]})
    async with running(script, failure=ValueError("too long")) as outside:
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(StreamOpened())
        await settled(lambda: script.seen(MqttAcked))

    assert script.seen(MqttAcked) == [MqttAcked(value, module.TOPIC_NAME_INVALID)]


async def test_a_mistake_in_the_core_costs_one_event_and_not_the_bridge():
    """An exception while handling one event is told to the core, and the next event is handled."""

    class Faulty(Script):
        def handle(self, event, now):
            if isinstance(event, StreamOpened):
                raise RuntimeError("a mistake of ours")  # noqa: TRY004 - any error would do
            yield from super().handle(event, now)

    script = Faulty()
    async with running(script) as outside:
        outside.inbox.put(StreamOpened())
        outside.inbox.put(MqttConnected(False, "5", 20))
        await settled(lambda: script.seen(MqttConnected) and script.seen(ComponentFailed))

    (failed,) = script.seen(ComponentFailed)
    assert (failed.name, failed.doing) == ("machine", "StreamOpened")


async def test_an_effect_that_fails_does_not_cost_the_next():
    """What cannot be carried out is told; the effects behind it are carried out."""
    value = Publish("charger/x/state/y", b"1")
    script = Script({StreamOpened: [SendDenied(), value]})
    async with running(script) as outside:
        the_gateway = outside.inbox.wake.__self__
        the_gateway._outbox.send_denied = raising
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(StreamOpened())
        await settled(lambda: value in outside.published and script.seen(ComponentFailed))

    (failed,) = script.seen(ComponentFailed)
    assert (failed.name, failed.doing) == ("gateway", "SendDenied")


async def test_an_adapter_that_fails_as_none_should_is_told_and_gives_an_answer():
    """Whoever waits gets a failure of the usual kind; the bridge lives, and an alert says so."""
    work = [
        CallCloud(1, charger_list_request()),
        SaveReport(REPORT),
        SaveCommand(ROW),
        MarkPublished("k", 2),
        SettleReports((("k", 1),)),
        ReadReports(7, "EH123456", None, NOON, 9),
        TendStore(NOON, NOON),
    ]
    script = Script({StreamOpened: work})
    async with running(script, failure=KeyError("a mistake of ours")) as outside:
        outside.inbox.put(StreamOpened())
        answers = (CloudFailed, ReportNotSaved, CommandNotSaved, ReportsNotRead)
        await settled(lambda: all(map(script.seen, answers)) and len(script.seen(StoreFailed)) == 3)

    assert {failed.name for failed in script.seen(ComponentFailed)} == {"cloud", "store"}
    assert isinstance(script.seen(CloudFailed)[0].error, OutcomeUnknown)


async def test_a_failure_to_tell_of_a_failure_is_only_logged():
    """Otherwise one error would bring the next for ever."""
    script = Script({StreamOpened: [SendDenied()], ComponentFailed: [SendDenied()]})
    with capture_logs() as lines:
        async with running(script) as outside:
            outside.inbox.wake.__self__._outbox.send_denied = raising
            outside.inbox.put(StreamOpened())
            await settled(lambda: script.seen(ComponentFailed))
            outside.inbox.put(LaneOpened(20))
            await settled(lambda: script.seen(LaneOpened))

    assert len(script.seen(ComponentFailed)) == 1
    assert [line["component"] for line in lines if line["event"] == "component.failed"] == [
        "gateway"
    ]


async def test_a_link_that_fails_does_not_stop_the_clock():
    """An error of ours while sending is told, and a tick comes as before."""
    script = Script({StreamOpened: [Publish("charger/x/state/y", b"1")]})
    async with running(script) as outside:
        outside.publish = raising
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(StreamOpened())
        await settled(lambda: script.seen(ComponentFailed))
        script.deadline = SystemClock().now().mono_s + 0.02
        outside.inbox.put(LaneOpened(20))
        await settled(lambda: script.seen(Tick))

    assert script.seen(ComponentFailed)[0].doing == "flush"


def raising(*_args):
    """Fail as nothing should."""
    raise RuntimeError("a mistake of ours")


async def test_a_tick_comes_when_the_machine_wants_one():
    """The deadline of the machine is kept without any other event."""
    script = Script()
    async with running(script) as outside:
        script.deadline = SystemClock().now().mono_s + 0.02
        outside.inbox.put(StreamOpened())
        await settled(lambda: script.seen(Tick))


async def test_a_long_burst_gives_the_loop_back_in_between(monkeypatch):
    """However much is queued, others get their turn after a slice."""
    monkeypatch.setattr(module, "LONGEST_STEP_S", -1.0)
    script = Script()
    async with running(script) as outside:
        for _ in range(100):
            outside.inbox.put(StreamOpened())
        await asyncio.sleep(0)
        early = len(script.seen(StreamOpened))
        await settled(lambda: len(script.seen(StreamOpened)) == 100)

    assert early < 100


async def test_what_somebody_waits_for_does_not_wait_behind_the_stream():
    """A command overtakes a replay, and each turn of the pump takes some of both."""
    script = Script()
    raw = RawObservation("EH1", 109, 4, "1", "2026-11-22T12:00:00Z")
    async with running(script) as outside:
        for _ in range(100):
            outside.inbox.put(StreamOpened())  # keeps the observations apart
            outside.inbox.put(Observed((raw,)))
        message = MqttMessage("t", b"", Receipt(1, 1, 1))
        outside.inbox.put(message)
        await settled(lambda: len(script.seen(Observed)) == 100)

    assert script.events.index(message) < script.events.index(script.seen(StreamOpened)[0])


async def test_values_go_on_however_many_commands_come(monkeypatch):
    """A storm of messages takes the time of a step; one event of the stream goes all the same."""
    monkeypatch.setattr(module, "LONGEST_STEP_S", -1.0)
    script = Script()
    async with running(script) as outside:
        for number in range(100):
            outside.inbox.put(MqttMessage("t", b"", Receipt(1, number, 1)))
            outside.inbox.put(StreamOpened())
        await settled(lambda: len(script.seen(StreamOpened)) == 100)

        assert len(script.seen(MqttMessage)) <= 101
        await settled(lambda: len(script.seen(MqttMessage)) == 100)


async def test_while_somebody_waits_for_the_cloud_steps_are_short():
    """What is one event, or one write, becomes several, in the same order."""
    release = asyncio.Event()
    raws = [RawObservation("EH1", 109, 4, str(n), "2026-11-22T12:00:00Z") for n in range(250)]
    values = [Publish(f"t/{n}", b"1", telemetry=True) for n in range(60)]
    script = Script({CommandSaved: [CallCloud(1, None, 30.0)], Observed: values})
    async with running(script) as outside:

        async def slow(_request, *, within_s):
            await release.wait()
            return CloudAnswered(1, 200, b"")

        outside.send = slow
        outside.inbox.put(LaneOpened(1_000))
        await settled(lambda: script.seen(LaneOpened))
        outside.inbox.put(CommandSaved("k1", "waiting"))
        outside.inbox.put(Observed(tuple(raws)))
        await settled(lambda: sum(len(e.observations) for e in script.seen(Observed)) == 250)
        short = [len(event.observations) for event in script.seen(Observed)]
        await settled(lambda: len(outside.batches) >= 3)
        writes = [len(batch) for batch in outside.batches]
        release.set()
        await settled(lambda: script.seen(CloudAnswered))

    assert max(short) == module.MOST_TOGETHER // module.SHORT_SHARE
    assert [raw for event in script.seen(Observed) for raw in event.observations] == raws
    assert max(writes[:3]) == module.MOST_AT_ONCE // module.SHORT_SHARE


def test_who_reads_for_us_is_told_when_enough_waits():
    """Not of what somebody waits for: that is never held back."""
    inbox = Inbox()
    for _ in range(module.CROWD):
        assert not inbox.is_crowded()
        inbox.put(Tick())
        inbox.put(StreamOpened())

    assert inbox.is_crowded()


async def test_a_store_that_could_not_be_opened_is_tried_again(monkeypatch):
    """The bridge runs without it, and takes it when it is back."""
    monkeypatch.setattr(module, "STORE_RETRY_S", 0.0)
    script = Script()
    async with running(script, opened=StoreFailed("gone", "mount it")):
        await settled(lambda: script.seen(StoreOpened))

    assert script.seen(StoreOpened)[0].owed == (STORED,)


async def test_the_loop_says_that_it_turns():
    """The beat is called from the loop, with the monotonic clock."""
    beats = []
    async with running(Script(), beat=beats.append):
        await settled(lambda: beats)


async def test_what_is_stuck_stops_the_beat_and_is_named_once(monkeypatch):
    """A broken promise is named on the second look, and no beat is heard until it is kept."""
    monkeypatch.setattr(module, "BEAT_EVERY_S", 0.001)
    signs = Signs(SystemClock())
    signs.promise("store 1", -1.0)
    beats = []
    with capture_logs() as lines:
        async with running(Script(), beat=beats.append, signs=signs):
            await settled(lambda: any(line["event"] == "part.stuck" for line in lines))
            assert beats == []
            signs.kept("store 1")
            await settled(lambda: len(beats) > 3)

    assert [line["parts"] for line in lines if line["event"] == "part.stuck"] == [("store",)]


async def test_what_is_late_once_is_not_stuck(monkeypatch):
    """After the machine was slow everything is late on one look; only the second one counts."""
    monkeypatch.setattr(module, "BEAT_EVERY_S", 0.001)
    looks = []

    class LateOnce(Signs):
        def overdue(self):
            looks.append(None)
            return ("store 1",) if len(looks) % 2 else ()

    beats = []
    with capture_logs() as lines:
        async with running(Script(), beat=beats.append, signs=LateOnce(SystemClock())):
            await settled(lambda: len(looks) > 6)
    assert len(beats) >= 3
    assert not [line for line in lines if line["event"] == "part.stuck"]


async def test_work_that_takes_time_is_promised_until_it_is_done():
    """A commit has its time, and one that returned is not waited for any more."""
    signs = Signs(SystemClock())
    script = Script({Tick: [SaveReport(REPORT)]})
    hold = asyncio.Event()
    async with running(script, signs=signs) as outside:

        async def save(report):
            await hold.wait()
            return STORED, True

        outside.save = save
        outside.inbox.put(Tick())
        await settled(lambda: any(name.startswith("store") for name in signs._due_s))
        hold.set()
        await settled(lambda: set(signs._due_s) == {"pump"})
        assert script.seen(ReportSaved)


@pytest.mark.parametrize("ending", ["return", "error"])
@pytest.mark.fault("F20")
async def test_a_part_that_ends_ends_the_gateway(ending):
    """Without its link the gateway would be half alive: it ends, with an error worth a restart."""
    inbox = Inbox()
    outside = Outside(inbox)

    async def run():
        if ending == "error":
            raise KeyError("a defect")

    outside.run = run
    gateway = Gateway(
        Script(),
        inbox,
        link=outside,
        cloud=outside,
        stream=None,
        store=outside,
        clock=SystemClock(),
    )
    with pytest.raises(ExceptionGroup) as ended:
        await gateway.run(asyncio.Event(), opened=StoreOpened(()))

    assert ended.group_contains(PartFailed, match="mqtt")


async def test_a_link_that_is_no_use_is_made_anew():
    """The core's wish for another connection reaches the link with its reason."""
    async with running(Script({Tick: [Reconnect("it is deaf")]})) as outside:
        outside.inbox.put(Tick())
        await settled(lambda: "it is deaf" in outside.asked)


async def test_a_link_is_asked_what_the_broker_keeps():
    """The core's wish to look again at what is retained reaches the link."""
    async with running(Script({Tick: [AskRetained("charger/+/set/+")]})) as outside:
        outside.inbox.put(Tick())
        await settled(lambda: "charger/+/set/+" in outside.asked)


async def test_standing_still_is_told_before_what_waited_meanwhile():
    """After a long stop the machine hears of it first, then of what lay in the sockets."""
    clock = SystemClock()
    script = Script()
    async with running(script, beat=bool) as outside:
        the_gateway = outside.inbox.wake.__self__
        message = MqttMessage("charger/EH123456/set/start", b"PRESS", Receipt(1, 1, 1))
        outside.inbox.put(message)
        the_gateway._turned_s = clock.now().mono_s - 600.0
        await settled(lambda: message in script.events)
        (still,) = script.seen(StoodStill)

        assert 600.0 <= still.seconds < 601.0
        assert script.events.index(still) < script.events.index(message)
        outside.inbox.put(Tick())
        await settled(lambda: isinstance(script.events[-1], Tick))
        assert len(script.seen(StoodStill)) == 1


async def test_a_value_the_broker_refuses_is_sent_again_on_demand():
    """The outbox keeps it, and the effect lets it stand in line once more."""
    value = Publish("charger/EH123456/state/op_mode", b"charging")
    script = Script({StreamOpened: [value], Tick: [SendDenied()]})
    async with running(script, acks=False) as outside:
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(StreamOpened())
        await settled(lambda: outside.published == [value])
        outside.inbox.put(MqttAcked(value, 0x87))
        outside.inbox.put(Tick())
        await settled(lambda: outside.published == [value, value])
        outside.inbox.put(MqttAcked(value, 0))


async def test_a_value_its_own_connection_was_refused_is_sent_again_on_demand():
    """It is in flight no more: a newer value of its topic goes, and it itself when asked."""
    value = Publish("charger/EH123456/state/op_mode", b"charging", telemetry=True)
    other = Publish("charger/EH123456/state/led", b"charging", telemetry=True)
    newer = Publish("charger/EH123456/state/led", b"error", telemetry=True)
    script = Script({StreamOpened: [value, other], StreamClosed: [newer], Tick: [SendDenied()]})
    async with running(script, acks=False) as outside:
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(LaneOpened(20))
        outside.inbox.put(StreamOpened())
        await settled(lambda: outside.batches == [[value, other]])
        outside.inbox.put(MqttAcked(value, 0x87))
        outside.inbox.put(MqttAcked(other, 0x87))
        outside.inbox.put(StreamClosed("gone"))
        await settled(lambda: outside.published == [newer])
        outside.inbox.put(Tick())
        await settled(lambda: outside.published == [newer, value])
        outside.inbox.put(MqttAcked(newer, 0))
        outside.inbox.put(MqttAcked(value, 0))


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
        gateway = outside.inbox.wake.__self__
        clock = gateway._clock = Hurried(gateway._clock)
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(LaneOpened(window))
        outside.inbox.put(StreamOpened())
        await settled(lambda: sum(map(len, outside.batches)) >= min(BURST, window))
        sent = sum(map(len, outside.batches))
        assert sent <= max(BURST, window) + window * PER_GRANT_S * PATIENCE_S
        clock.ahead_s += count / (window * PER_GRANT_S)
        await settled(lambda: sum(map(len, outside.batches)) == count)
        assert max(map(len, outside.batches)) <= min(window, module.MOST_AT_ONCE)
    assert [value for batch in outside.batches for value in batch] == values


async def test_values_wait_for_the_pace_of_the_broker():
    """Of more than a burst no more goes while no time passes, whatever else happens."""
    values = [
        Publish(f"charger/EH{n:06}/state/op_mode", b"charging", telemetry=True)
        for n in range(2 * BURST)
    ]
    script = Script({StreamOpened: values})
    async with running(script) as outside:
        gateway = outside.inbox.wake.__self__
        gateway._clock = Stopped(gateway._clock.now())
        outside.inbox.put(MqttConnected(False, "5", 20))
        outside.inbox.put(LaneOpened(20))
        outside.inbox.put(StreamOpened())
        await settled(lambda: sum(map(len, outside.batches)) == BURST)
        for _ in range(20):
            outside.inbox.put(Tick())
            await settled(lambda: outside.inbox.is_empty)
        assert sum(map(len, outside.batches)) == BURST
