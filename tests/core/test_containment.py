"""Errors of our own end where they happen: whoever fails, the others go on, and nothing spins."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conventions.homeassistant.publisher import DiscoveryPublisher
from bridge.core import composition
from bridge.core.alerts import Alerts
from bridge.core.chargers.fleet import ChargerRegistry
from bridge.core.chargers.state import ChargerState
from bridge.core.composition import Core
from bridge.core.containment import (
    ALERT,
    MAX_PAUSE_S,
    MAX_UNCHANGED_TICKS,
    STANDS_S,
    Containment,
    Slot,
)
from bridge.core.domain_events import EventHandled
from bridge.core.easee.session_payloads import read_report
from bridge.core.effects import Acknowledge, LogEntry, SendRequest
from bridge.core.events import (
    ChargerResponse,
    CloudFailed,
    CloudResponse,
    CloudStatusChanged,
    CommandSaved,
    CommandSaveFailed,
    ComponentFailed,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    MqttSubscribed,
    MqttUnreachable,
    ObservationsReceived,
    ReconfigurationFailed,
    ReportSaved,
    ReportSaveFailed,
    ReportsRead,
    ReportsReadFailed,
    Started,
    StoreMaintained,
    StoreOpened,
    StreamAnomaly,
    StreamClosed,
    StreamOpened,
    StreamSubscription,
    Tick,
    ValueConnectionClosed,
    ValueConnectionOpened,
    ValuesAcked,
)
from bridge.core.inbound import Acknowledging
from bridge.core.messages import AckToken, Publish, Tag
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.records.stored_report import StoredReport
from bridge.core.router import Router
from bridge.core.value_format import iso_utc
from bridge.errors import CloudUnavailable, StoreError
from bridge.settings import CommandSettings, EaseeSettings, HomeAssistantSettings, Secret, Settings
from tests.conftest import NOON
from tests.native import handled, publishes

ONE, TWO = "EH123456", "EH123457"
SESSION = (
    '{"Auth":"","EnergyKwh":1.5,"Id":7,'
    '"Start":"2026-11-22T10:00:00Z","Stop":"2026-11-22T11:00:00Z"}'
)
REPORT = read_report(SESSION, charger_id=ONE, source="stream", measured_at=NOON, received_at=NOON)
STORED = StoredReport(f"{ONE}-7", 1, REPORT)
RECEIPT = AckToken(1, 7, 1)


def value(number, text, charger_id=ONE):
    """One observation, as it comes."""
    return RawObservation(charger_id, number, None, text, iso_utc(NOON))


EVENTS = (
    ObservationsReceived((value(109, "3"), value(48, "10"), value(42, "1"), value(109, "2", TWO))),
    ObservationsReceived((value(129, SESSION), value(80, "324"), value(120, "7.1"))),
    ChargerResponse(ONE, 29, 636, True, None),
    CommandSaved("k", "done"),
    CommandSaveFailed("k", StoreError("full")),
    MqttMessage(f"charger/{ONE}/set/pause", b"PRESS", RECEIPT),
    MqttMessage(f"charger/{ONE}/get/state", b"{}", RECEIPT),
    MqttMessage("charger/bridge/session/ack", b'{"key":"x"}', RECEIPT),
    MqttMessage("charger/bridge/heartbeat", b"{}", RECEIPT),
    MqttMessage("homeassistant/status", b"online", RECEIPT),
    MqttAcked(Publish("charger/x/y", b""), 0),
    MqttAcked(Publish("charger/x/y", b""), 0x87),
    ValuesAcked((Publish("charger/x/y", b""),), ()),
    ValueConnectionOpened(20),
    ValueConnectionClosed(frozenset()),
    MqttDisconnected("gone"),
    MqttUnreachable("still gone"),
    MqttConnected(False, "5", 20),
    MqttSubscribed(("charger/+/set/+",)),
    StreamClosed("gone"),
    StreamSubscription(ONE, "no"),
    StreamAnomaly("odd", ""),
    StreamOpened(),
    CloudStatusChanged("unreachable", "gone"),
    CloudStatusChanged("ok", ""),
    CloudResponse(
        Tag("discovery"), 200, b'[{"id":"EH123456"},{"id":"EH123457"},{"id":"EH123458"}]'
    ),
    CloudFailed(Tag("discovery"), CloudUnavailable("gone")),
    ReportSaved(STORED, True),
    ReportSaveFailed(REPORT, StoreError("full")),
    ReportsRead(Tag("sessions"), (STORED,)),
    ReportsReadFailed(Tag("sessions"), StoreError("full")),
    StoreMaintained(0.5, 10**9, 0),
    StoreOpened(()),
    ReconfigurationFailed(("no such key",)),
    Started(),
    Tick(),
)


class Defect(RuntimeError):
    """An error of ours."""


class Fragile:
    """A component that writes down what it is given, and breaks when it is told to.

    Attributes:
        breaks: ``handle``, ``output`` (behind its first output), ``time`` (a tick, or what is
            looked at behind every event), ``deadline``; empty: it is whole.
    """

    def __init__(self, inner, seen):
        self.inner, self.seen = inner, seen
        self.name, self.interests = inner.name, inner.interests
        self.breaks = ""
        self.raised = 0

    def handle(self, event, now):
        self.seen.add((self.name, type(event)))
        is_time = isinstance(event, Tick | EventHandled)
        if self.breaks == "handle" or (self.breaks == "time" and is_time):
            self.fail()
        outputs = self.inner.handle(event, now)
        return self.up_to_one(outputs) if self.breaks == "output" else outputs

    def up_to_one(self, outputs):
        for output in outputs:
            yield output
            self.fail()

    def deadline_s(self):
        if self.breaks == "deadline":
            self.fail()
        return self.inner.deadline_s()

    def fail(self):
        self.raised += 1
        raise Defect


@pytest.fixture
def seen(monkeypatch):
    """What fragile components of every core made from now on were given."""
    seen = set()

    class Fragility(Router):
        def __init__(self, components, *facts):
            for each in components:
                if isinstance(each, Acknowledging):
                    each.inner = Fragile(each.inner, seen)
                    each.deadline_s = each.inner.deadline_s
            kept = [e if isinstance(e, Acknowledging) else Fragile(e, seen) for e in components]
            super().__init__(kept, *facts)

    monkeypatch.setattr(composition, "Router", Fragility)
    return seen


def components_of(core):
    """The fragile components of a core, by name."""
    return {
        name: each.inner if isinstance(each, Acknowledging) else each
        for name, each in core.components.items()
    }


class Bridge:
    """A started core on a clock."""

    def __init__(self):
        settings = Settings(
            EaseeSettings("x@example.com", Secret("p"), ()),
            commands=CommandSettings(allow=("control",)),
            homeassistant=HomeAssistantSettings(enabled=True),
        )
        discovery = DiscoveryPublisher(settings, version="1", salt=b"salt")
        self.core = Core(settings, version="1", salt=b"salt", guests=(discovery,))
        self.seconds = 0.0
        self.take(StoreOpened(()), Started((ONE, TWO)), MqttConnected(False, "5", 20))
        self.take(StreamOpened())

    def take(self, *events):
        now = Timestamp(NOON, 1000.0 + self.seconds)
        return [effect for event in events for effect in handled(self.core, event, now)]


def alert_of(effects):
    """The last alert about errors of ours."""
    alerts = [e.payload for e in publishes(effects) if e.topic.endswith(ALERT)]
    return alerts[-1] if alerts else None


NAMES = tuple(Bridge().core.components)


@pytest.mark.parametrize("breaks", ["handle", "output"])
@pytest.mark.parametrize("broken", NAMES)
def test_whoever_fails_at_whatever_the_others_are_given_the_event_as_before(seen, broken, breaks):
    """With one component broken, each event still reaches every other, and an alert names it."""
    whole, hurt = Bridge(), Bridge()
    fragile = components_of(hurt.core)[broken]
    for event in EVENTS:
        for bridge in (whole, hurt):
            bridge.seconds += 1.0
        seen.clear()
        whole.take(event)
        expected = {one for one in seen if one[0] != broken and one[1] is type(event)}
        seen.clear()
        fragile.breaks = breaks
        effects = hurt.take(event)
        fragile.breaks = ""
        assert expected <= seen, (broken, event)
        if isinstance(event, MqttMessage) and "set" not in event.topic:
            assert effects.count(Acknowledge(RECEIPT)) == 1
        assert alert_of(effects) is None or broken in json.loads(alert_of(effects))["message"]

    hurt.seconds += MAX_PAUSE_S
    alerts = publishes(hurt.take(MqttConnected(False, "5", 20)))
    told = f"charger/bridge/alert/{ALERT}" in [each.topic for each in alerts]
    assert told is (fragile.raised > 0)
    assert fragile.raised > 0 or breaks == "output"


@pytest.mark.parametrize("breaks", ["time", "deadline"])
@pytest.mark.parametrize("broken", NAMES)
@pytest.mark.usefixtures("seen")
def test_a_component_that_fails_when_its_time_has_come_does_not_spin(broken, breaks):
    """Asked at each deadline, a core with one broken component lets time pass in between."""
    bridge = Bridge()
    components_of(bridge.core)[broken].breaks = breaks
    health = 0
    for _ in range(400):
        at = bridge.core.deadline_s()
        bridge.seconds = max(bridge.seconds, (at if at is not None else 1010.0) - 1000.0)
        effects = bridge.take(Tick())
        for effect in effects:
            health += isinstance(effect, Publish) and effect.topic.endswith("bridge/health")
            if isinstance(effect, SendRequest):
                bridge.take(CloudFailed(effect.tag, CloudUnavailable("gone")))

    assert bridge.seconds > 300.0
    assert health > 1 or broken == "health"


def test_one_value_that_cannot_be_taken_does_not_cost_the_next(monkeypatch):
    """A defect in one charger's state costs that value; those beside it are published."""
    bridge = Bridge()
    original = ChargerRegistry.apply

    def apply(self, observation, *args, **kwargs):
        if observation.charger_id == ONE:
            raise Defect
        original(self, observation, *args, **kwargs)

    monkeypatch.setattr(ChargerRegistry, "apply", apply)
    effects = bridge.take(ObservationsReceived((value(120, "1.5"), value(120, "2.5", TWO))))

    topics = [e.topic for e in publishes(effects)]
    assert f"charger/{TWO}/observation/total_power" in topics
    assert (
        "observations (Defect in ObservationsReceived)" in json.loads(alert_of(effects))["message"]
    )


def test_one_charger_that_cannot_be_shown_does_not_hide_the_others(monkeypatch):
    """After a reconnect the others' values are published, whichever charger fails."""
    bridge = Bridge()
    original = ChargerState.publications

    def publications(self, now):
        if self.charger_id == ONE:
            raise Defect
        yield from original(self, now)

    bridge.take(ObservationsReceived((value(120, "2.5", TWO),)))
    monkeypatch.setattr(ChargerState, "publications", publications)
    effects = bridge.take(MqttConnected(False, "5", 20))

    topics = [e.topic for e in publishes(effects)]
    assert f"charger/{TWO}/observation/total_power" in topics
    assert alert_of(effects) is not None


def test_a_failure_outside_the_core_is_told_like_one_inside():
    """What the loop contained opens the alert, with the name the loop gives it."""
    effects = Bridge().take(ComponentFailed("gateway", "Publish", Defect()))

    assert "gateway (Defect in Publish)" in json.loads(alert_of(effects))["message"]


# -- the border itself -----------------------------------------------------------------------------


class Boxed:
    """A router with one component that does as it is told, and a clock."""

    name, interests = "one", frozenset()

    def __init__(self):
        self.alerts = Alerts()
        self.contained = Containment(self.alerts)
        self.seconds = 0.0
        self.at = 0.0
        self.asked = 0
        self.fails = False
        self.router = Router((self,), self.contained, ("one",))

    def deadline_s(self):
        return self.at

    def handle(self, _event, _now):
        self.asked += 1
        yield LogEntry("info", "ticked")
        if self.fails:
            raise Defect

    def due(self):
        return self.router.handle(Tick(), Timestamp(NOON, self.seconds))


def test_what_was_yielded_before_the_error_counts():
    """Effects in front of an error are kept."""
    box = Boxed()
    box.fails = True

    assert box.due()[0] == LogEntry("info", "ticked")


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_a_rest_grows_with_each_failure_and_ends_with_a_success(fails):
    """One second, two, four, at most five minutes; after a success it begins anew."""
    box = Boxed()
    row = 0
    for box.fails in fails:
        box.at = box.seconds
        due_s = box.seconds
        if not box.fails:
            box.at += 60.0
        box.due()
        row = row + 1 if box.fails else 0
        box.seconds = box.router.deadline_s()
        expected_s = min(2.0 ** (row - 1), MAX_PAUSE_S) if row else 60.0
        assert box.seconds - due_s == expected_s


def test_one_that_is_always_due_is_left_alone_too():
    """Without any error: due again right after having been asked, a thousand times, is a defect."""
    box = Boxed()
    turns = 0
    while box.seconds < 60.0:
        box.seconds = max(box.seconds, box.router.deadline_s())
        box.due()
        turns += 1

    assert turns < MAX_UNCHANGED_TICKS + 20
    assert ALERT in box.alerts.kinds


@pytest.mark.parametrize(("due_s", "pauses"), [(9.0, True), (10.0, True), (10.5, False)])
def test_one_that_is_due_again_at_once_behind_a_pause_pauses_again(due_s, pauses):
    """Also where it is due at this very moment."""
    containment = Containment(Alerts())
    slot = Slot("one", lambda *_: (), lambda: due_s, failures=1, rests_until_s=10.0)
    containment.was_asked(slot, 10.0)

    assert slot.failures == (2 if pauses else 0)


def test_the_alert_stands_for_a_day_after_the_last_error():
    """It is not taken away while somebody may still miss something, nor for ever after."""
    box = Boxed()
    box.fails = True
    box.due()
    box.fails, box.seconds = False, STANDS_S - 1.0
    box.due()
    assert ALERT in box.alerts.kinds

    box.seconds = STANDS_S + 1.0
    box.due()
    assert ALERT not in box.alerts.kinds


def test_the_log_gets_one_line_a_minute():
    """However often something fails, a line a minute says how often."""
    box = Boxed()
    counts = []
    for tenth in range(1201):
        box.seconds = tenth / 10
        box.contained.failed("one", Defect())
        notes = [e for e in box.due() if isinstance(e, LogEntry) and e.event == "component.failed"]
        counts += [note.fields["count"] for note in notes]

    assert counts == [1, 600, 600]


def test_nothing_of_an_error_but_its_kind_is_published():
    """An error's text may hold what a payload held: the alert has its type only."""
    box = Boxed()
    box.contained.doing = "ObservationsReceived"
    box.contained.failed("one", ValueError("04AABBCC"))

    published = [e.payload for e in publishes(box.due())]
    assert b"ValueError" in published[0]
    assert b"04AABBCC" not in published[0]
