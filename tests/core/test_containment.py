"""Errors of our own end where they happen: whoever fails, the others go on, and nothing spins."""

import inspect
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conventions.homeassistant.publisher import DiscoveryPublisher
from bridge.core.alerts import Alerts
from bridge.core.broker import BrokerWatch
from bridge.core.chargers.departures import Departures
from bridge.core.chargers.fleet import ChargerRegistry
from bridge.core.chargers.offline_access_alerts import OfflineAccessAlerts
from bridge.core.chargers.state import ChargerState
from bridge.core.commands.service import CommandService
from bridge.core.containment import (
    ALERT,
    MAX_PAUSE_S,
    MAX_UNCHANGED_TICKS,
    STANDS_S,
    Containment,
    Timed,
)
from bridge.core.delivery.broker_heartbeat import BrokerHeartbeat
from bridge.core.delivery.rejected_publications import RejectedPublications
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
from bridge.core.messages import AckToken, Publish
from bridge.core.neighbours import Neighbours
from bridge.core.queries.service import QueryService
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.records.stored_report import StoredReport
from bridge.core.router import Router
from bridge.core.sessions.service import SessionService
from bridge.core.sources.discovery import ChargerDiscovery
from bridge.core.sources.polling import Polling
from bridge.core.sources.recovery_probe import RecoveryProbe
from bridge.core.status import Status
from bridge.core.topics import Topics
from bridge.core.value_format import iso_utc
from bridge.errors import CloudUnavailable, StoreError
from bridge.settings import CommandSettings, EaseeSettings, HomeAssistantSettings, Secret, Settings
from tests.conftest import NOON
from tests.native import handled

ONE, TWO = "EH123456", "EH123457"
COMPONENTS = {
    "discovery": ChargerDiscovery,
    "probe": RecoveryProbe,
    "polling": Polling,
    "loopback": BrokerHeartbeat,
    "neighbours": Neighbours,
    "departures": Departures,
    "journal": CommandService,
    "sessions": SessionService,
    "queries": QueryService,
    "announcer": DiscoveryPublisher,
    "denied": RejectedPublications,
    "broker": BrokerWatch,
    "fleet": ChargerRegistry,
    "status": Status,
    "access": OfflineAccessAlerts,
}
SESSION = (
    '{"Auth":"","EnergyKwh":1.5,"Id":7,'
    '"Start":"2026-11-22T10:00:00Z","Stop":"2026-11-22T11:00:00Z"}'
)
REPORT = read_report(SESSION, charger_id=ONE, source="stream", measured_at=NOON, received_at=NOON)
STORED = StoredReport(f"{ONE}-7", 1, REPORT)
RECEIPT = AckToken(1, 7, 1)
# What only goes on when somebody else did his part: nothing can be done with a value nobody read.
FOLLOWS_FROM = {
    "fleet": {"ObservationsReceived"},
    "denied": {"ValuesAcked"},  # which concern nobody else
    "discovery": {"CloudResponse"},
    "queries": {"ReportsRead", "ReportsReadFailed"},
}


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
    CloudResponse(1, 200, b'[{"id":"EH123456"},{"id":"EH123457"},{"id":"EH123458"}]'),
    CloudFailed(1, CloudUnavailable("gone")),
    ReportSaved(STORED, True),
    ReportSaveFailed(REPORT, StoreError("full")),
    ReportsRead(999, (STORED,)),
    ReportsReadFailed(999, StoreError("full")),
    StoreMaintained(0.5, 10**9, 0),
    StoreOpened(()),
    Started(),
    Tick(),
)


class Defect(RuntimeError):
    """An error of ours."""


class Ward:
    """The components of a machine, watched: who was called by it, and one of them may be broken."""

    def __init__(self, monkeypatch):
        self.broken = None
        self.only = None
        self.depth = 0
        self.calls = Counter()
        self.raised = 0
        for name, kind in COMPONENTS.items():
            for method, function in inspect.getmembers(kind, inspect.isfunction):
                if not method.startswith("_"):
                    monkeypatch.setattr(kind, method, self.watched(name, method, function))

    def enter(self, name, method):
        if self.depth == 0:
            self.calls[name, method] += 1
        if name == self.broken and self.only in (None, method):
            self.raised += 1
            raise Defect

    def watched(self, name, method, function):
        if inspect.isgeneratorfunction(function):

            def watched(*args, **kwargs):
                self.enter(name, method)
                steps = function(*args, **kwargs)
                while True:
                    self.depth += 1
                    try:
                        effect = next(steps)
                    except StopIteration:
                        return
                    finally:
                        self.depth -= 1
                    yield effect
        else:

            def watched(*args, **kwargs):
                self.enter(name, method)
                self.depth += 1
                try:
                    return function(*args, **kwargs)
                finally:
                    self.depth -= 1

        return watched


class Bridge:
    """A started machine on a clock."""

    def __init__(self):
        settings = Settings(
            EaseeSettings("x@example.com", Secret("p"), ()),
            commands=CommandSettings(allow=("control",)),
            homeassistant=HomeAssistantSettings(enabled=True),
        )
        self.machine = Router(settings, version="1", salt=b"salt")
        self.seconds = 0.0
        self.take(StoreOpened(()), Started((ONE, TWO)), MqttConnected(False, "5", 20))
        self.take(StreamOpened())

    def take(self, *events):
        now = Timestamp(NOON, 1000.0 + self.seconds)
        return [effect for event in events for effect in handled(self.machine, event, now)]


def alert_of(effects):
    """The last alert about errors of ours."""
    alerts = [e.payload for e in effects if isinstance(e, Publish) and e.topic.endswith(ALERT)]
    return alerts[-1] if alerts else None


@pytest.mark.parametrize("broken", COMPONENTS)
def test_whoever_fails_at_whatever_the_others_are_asked_as_before(broken, monkeypatch):
    """With one component broken, each event still reaches every other, and an alert names it."""
    ward = Ward(monkeypatch)
    whole, hurt = Bridge(), Bridge()
    for event in EVENTS:
        for bridge in (whole, hurt):
            bridge.seconds += 1.0
        ward.calls.clear()
        whole.take(event)
        expected = {call for call in ward.calls if call[0] != broken}
        ward.calls.clear()
        ward.broken = broken
        effects = hurt.take(event)
        ward.broken = None
        if type(event).__name__ not in FOLLOWS_FROM.get(broken, ()):
            assert expected <= set(ward.calls), (broken, event)
        if isinstance(event, MqttMessage) and "set" not in event.topic:
            assert effects.count(Acknowledge(RECEIPT)) == 1
        assert alert_of(effects) is None or broken in json.loads(alert_of(effects))["message"]

    assert ward.raised > 0
    hurt.seconds += MAX_PAUSE_S
    alerts = [e for e in hurt.take(MqttConnected(False, "5", 20)) if isinstance(e, Publish)]
    assert f"charger/bridge/alert/{ALERT}" in [each.topic for each in alerts]


@pytest.mark.parametrize("method", ["tick", "deadline_s", "due", "take", "availability", "refresh"])
@pytest.mark.parametrize("broken", COMPONENTS)
def test_a_component_that_fails_when_its_time_has_come_does_not_spin(broken, method, monkeypatch):
    """Asked at each deadline, a machine with one broken component lets time pass in between."""
    is_asked = method != "availability" or broken == "fleet"
    if not hasattr(COMPONENTS[broken], method) or not is_asked:
        return
    ward = Ward(monkeypatch)
    bridge = Bridge()
    ward.broken, ward.only = broken, method
    health = 0
    for _ in range(400):
        at = bridge.machine.deadline_s()
        bridge.seconds = max(bridge.seconds, (at if at is not None else 1010.0) - 1000.0)
        effects = bridge.take(Tick())
        for effect in effects:
            health += isinstance(effect, Publish) and effect.topic.endswith("bridge/health")
            if isinstance(effect, SendRequest):
                bridge.take(CloudFailed(effect.call_id, CloudUnavailable("gone")))

    assert ward.raised > 0
    assert bridge.seconds > 300.0
    assert health > 1 or broken == "status"


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

    topics = [e.topic for e in effects if isinstance(e, Publish)]
    assert f"charger/{TWO}/observation/total_power" in topics
    assert "fleet (Defect in ObservationsReceived)" in json.loads(alert_of(effects))["message"]


def test_one_charger_that_cannot_be_shown_does_not_hide_the_others(monkeypatch):
    """After a reconnect the others' values are published, whichever charger fails."""
    bridge = Bridge()
    original = ChargerState.publications

    def publications(self, now):
        if self.charger_id == ONE:
            raise Defect
        yield from original(self, now)

    bridge.take(ObservationsReceived((value(120, "2.5", TWO),)))
    monkeypatch.setattr(
        type(bridge.machine._chargers.chargers[ONE].state), "publications", publications
    )
    effects = bridge.take(MqttConnected(False, "5", 20))

    topics = [e.topic for e in effects if isinstance(e, Publish)]
    assert f"charger/{TWO}/observation/total_power" in topics
    assert alert_of(effects) is not None


def test_a_failure_outside_the_core_is_told_like_one_inside():
    """What the loop contained opens the alert, with the name the loop gives it."""
    effects = Bridge().take(ComponentFailed("gateway", "Publish", Defect()))

    assert "gateway (Defect in Publish)" in json.loads(alert_of(effects))["message"]


# -- the border itself -----------------------------------------------------------------------------


class Boxed:
    """A containment, a clock, and one component that does as it is told."""

    def __init__(self):
        self.contained = Containment(Alerts(Topics("charger")))
        self.seconds = 0.0
        self.at = 0.0
        self.asked = 0
        self.fails = False
        self.one = (Timed("one", self.deadline_s, self.tick),)

    def deadline_s(self):
        return self.at

    def tick(self, now):
        self.asked += 1
        yield LogEntry("info", "ticked")
        if self.fails:
            raise Defect

    def due(self):
        return list(self.contained.due(self.one, Timestamp(NOON, self.seconds)))


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
        box.seconds = box.contained.deadline_s(box.one)
        expected_s = min(2.0 ** (row - 1), MAX_PAUSE_S) if row else 60.0
        assert box.seconds - due_s == expected_s


def test_one_that_is_always_due_is_left_alone_too():
    """Without any error: due again right after having been asked, a thousand times, is a defect."""
    box = Boxed()
    turns = 0
    while box.seconds < 60.0:
        box.seconds = max(box.seconds, box.contained.deadline_s(box.one))
        box.due()
        turns += 1

    assert turns < MAX_UNCHANGED_TICKS + 20
    assert ALERT in box.contained._alerts.kinds


def test_the_alert_stands_for_a_day_after_the_last_error():
    """It is not taken away while somebody may still miss something, nor for ever after."""
    box = Boxed()
    box.fails = True
    box.due()
    box.fails, box.seconds = False, STANDS_S - 1.0
    box.due()
    assert ALERT in box.contained._alerts.kinds

    box.seconds = STANDS_S + 1.0
    box.due()
    assert ALERT not in box.contained._alerts.kinds


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

    published = [e.payload for e in box.due() if isinstance(e, Publish)]
    assert b"ValueError" in published[0]
    assert b"04AABBCC" not in published[0]
