"""The core as a whole: every event reaches the components it concerns, and what follows others."""

import json
import re
from collections import deque
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from msgspec import structs

from bridge.adapters.store.sqlite.damage import Damage
from bridge.conventions.homeassistant.publisher import DiscoveryPublisher
from bridge.core import composition
from bridge.core.changes import (
    AvailabilityChanged,
    ChargerCleared,
    ChargerEvent,
    DerivedChanged,
    ValueChanged,
    ValuesChanged,
)
from bridge.core.chargers import departures
from bridge.core.commands.addressing import HEARD_OUT_S, MAX_HELD
from bridge.core.commands.service import CommandService
from bridge.core.composition import Core, instance_of
from bridge.core.domain_events import NOTHING, EventHandled
from bridge.core.easee.rest_requests import CloudRequest, Endpoint, charger_list_request
from bridge.core.easee.session_payloads import read_report
from bridge.core.effects import (
    Acknowledge,
    LogEntry,
    MarkPublished,
    ReadReports,
    ReadRetained,
    Reconnect,
    SaveChargerList,
    SaveCommand,
    SaveReport,
    SendRequest,
    SettleReports,
    Subscribe,
)
from bridge.core.events import (
    ChargerResponse,
    CloudFailed,
    CloudResponse,
    CloudStatusChanged,
    ClusterSeen,
    CommandSaved,
    CommandSaveFailed,
    ComponentFailed,
    DivisionSeen,
    Event,
    ExchangeStatusChanged,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    MqttSubscribed,
    MqttUnreachable,
    ObservationsReceived,
    ProcessSuspended,
    ReconfigurationFailed,
    Reconfigured,
    ReportSaved,
    ReportSaveFailed,
    ReportsDelivered,
    ReportsRead,
    ReportsReadFailed,
    Started,
    Stopping,
    StoreFailed,
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
    VendorOdd,
    VendorReplied,
)
from bridge.core.inbound import Acknowledging
from bridge.core.messages import AckToken, Publish, Tag
from bridge.core.queries.service import QueryService
from bridge.core.records.lease import ClusterView
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.records.stored_report import StoredReport
from bridge.core.retained_echoes import ASSERT_EVERY_S
from bridge.core.router import Router
from bridge.core.sources.recovery_probe import EVERY_S as PROBE_EVERY_S
from bridge.core.value_format import iso_utc
from bridge.errors import (
    AuthFailed,
    Blocked,
    CloudRejected,
    CloudUnavailable,
    RateLimited,
    StoreError,
    StoreFull,
)
from bridge.settings import (
    CommandSettings,
    EaseeSettings,
    HomeAssistantSettings,
    Secret,
    Settings,
)
from tests.conftest import NOON
from tests.native import as_messages, handled

ONE, TWO = "EH123456", "EH654321"
RECEIPT = AckToken(1, 9, 1)
SESSION = (
    '{"Auth":"04AA","AuthReason":3,"EnergyKwh":1.5,"Id":7,'
    '"Start":"2026-11-22T10:00:00Z","Stop":"2026-11-22T11:00:00Z"}'
)
EVERYTHING = ("control", "access", "current", "device", "installer", "maintenance", "schedule")


class World:
    """A core, a clock, and what came out of it so far."""

    def __init__(self, *chargers, source="stream", **sections):
        settings = Settings(
            EaseeSettings("x@example.com", Secret("p"), chargers, source=source),
            commands=CommandSettings(allow=EVERYTHING),
            **sections,
        )
        self.settings = settings
        discovery = DiscoveryPublisher(settings, version="1.2.3", salt=b"salt")
        self.core = Core(settings, version="1.2.3", salt=b"salt", guests=(discovery,))
        self.seconds = 0.0
        self.trusted = True
        self.disk_error = None
        self.out = []

    def take(self, *events):
        """Let events happen now, commands be committed at once; return what follows."""
        self.out = []
        waiting = deque(events)
        while waiting:
            for effect in handled(self.core, waiting.popleft(), self.now):
                self.out.append(effect)
                if isinstance(effect, LogEntry) and effect.event == "component.failed":
                    raise effect.fields["exc_info"]
                if isinstance(effect, SaveCommand):
                    row = effect.row
                    waiting.append(
                        CommandSaved(row.key, row.state)
                        if self.disk_error is None
                        else CommandSaveFailed(row.key, self.disk_error)
                    )
        return self.out

    @property
    def now(self):
        wall = NOON + timedelta(seconds=self.seconds)
        return Timestamp(wall, 1000.0 + self.seconds, self.trusted)

    def published(self):
        return {e.topic: e.payload for e in self.out if isinstance(e, Publish)}

    def published_at(self, topic):
        (message,) = [e for e in self.out if isinstance(e, Publish) and e.topic == topic]
        return message

    def calls(self):
        return [e for e in self.out if isinstance(e, SendRequest)]

    def lists(self):
        return [call for call in self.calls() if call.request == charger_list_request()]

    def observe(self, number, value, *, data_type=None, age_s=0.0, charger_id=ONE):
        stamp = iso_utc(self.now.wall - timedelta(seconds=age_s))
        return self.take(
            ObservationsReceived((RawObservation(charger_id, number, data_type, value, stamp),))
        )

    def until_deadline(self):
        """Let time pass until the core wants to be asked, and ask it."""
        self.seconds = max(self.seconds, self.core.deadline_s() - 1000.0)
        return self.take(Tick())


def part(core, name):
    """Return a component of a core by its name."""
    found = core.components[name]
    return found.inner if isinstance(found, Acknowledging) else found


@pytest.fixture
def world():
    """A started core with one configured charger, stream and broker connected."""
    world = World(ONE)
    world.take(StoreOpened(()), Started())
    (read,) = [effect for effect in world.out if isinstance(effect, ReadReports)]
    world.take(ReportsRead(read.tag, ()), StreamOpened(), MqttConnected(False, "5", 20))
    return world


def test_a_configured_charger_is_served_at_once_and_the_list_is_asked_for():
    """The stream is told whom to watch before anything is connected."""
    world = World(ONE)
    world.take(Started())

    assert Subscribe((ONE,)) in world.out
    assert [c.request.endpoint for c in world.calls()] == [Endpoint.CHARGER_LIST]
    assert world.published()[f"charger/{ONE}/availability"] == b"offline"


def test_without_configuration_the_account_decides_and_new_chargers_are_noticed():
    """A charger that appears in a later list is watched besides the first."""
    world = World()
    (call,) = [c for c in world.take(Started()) if isinstance(c, SendRequest)]
    world.take(CloudResponse(call.tag, 200, b'[{"id":"EH123456"},{"id":"../evil"}]'))
    assert Subscribe((ONE,)) in world.out

    (call,) = _next_list(world)
    world.take(CloudResponse(call.tag, 200, b'[{"id":"EH123456"},{"id":"EH999999"}]'))
    assert Subscribe((ONE, "EH999999")) in world.out
    info = json.loads(world.published()["charger/bridge/info"])
    assert info["chargers"] == [ONE, "EH999999"]


def test_remembered_chargers_are_served_before_the_cloud_answers():
    """A restart knows its chargers at once; a list that changed is remembered anew, once."""
    world = World()
    (call,) = [c for c in world.take(Started((ONE,))) if isinstance(c, SendRequest)]
    assert Subscribe((ONE,)) in world.out

    world.take(CloudResponse(call.tag, 200, b'[{"id":"EH123456"},{"id":"EH999999"}]'))
    assert SaveChargerList((ONE, "EH999999")) in world.out
    (call,) = _next_list(world)
    world.take(CloudResponse(call.tag, 200, b'[{"id":"EH123456"},{"id":"EH999999"}]'))
    assert not [e for e in world.out if isinstance(e, SaveChargerList)]


def _next_list(world):
    """Let time pass until the account's list is asked for again."""
    for _ in range(50):
        world.until_deadline()
        found = [c for c in world.calls() if c.request.endpoint is Endpoint.CHARGER_LIST]
        if found:
            return found
    raise AssertionError("the list is never asked for again")


@pytest.mark.parametrize("answer", [b"<html>", b"{}", None])
def test_a_list_that_cannot_be_had_is_asked_for_again_later(answer):
    """HTML, nonsense and an outage are the same: try later, name the reason."""
    world = World()
    (call,) = [c for c in world.take(Started()) if isinstance(c, SendRequest)]
    if answer is None:
        world.take(CloudFailed(call.tag, CloudUnavailable("down", retry_after_s=60.0)))
    else:
        world.take(CloudResponse(call.tag, 200, answer))

    assert any(isinstance(e, LogEntry) and e.event.startswith("discovery.") for e in world.out)
    assert not world.calls()
    assert _next_list(world)


def test_a_configured_charger_the_account_does_not_know_is_an_alert():
    """A typo in a serial is told where the operator looks."""
    world = World(ONE)
    (call,) = [c for c in world.take(Started()) if isinstance(c, SendRequest)]
    world.take(CloudResponse(call.tag, 200, b"[]"))
    assert ONE in world.published()["charger/bridge/alert/charger_not_listed"].decode()

    (call,) = _next_list(world)
    world.take(CloudResponse(call.tag, 200, b'[{"id":"EH123456"}]'))
    assert world.published()["charger/bridge/alert/charger_not_listed"] == b""


def test_an_observation_becomes_topics(world):
    """Document, bare value, derived state and availability follow from one observation."""
    world.observe(109, "3", data_type=4)
    told = world.published()

    assert told[f"charger/{ONE}/state/charger_op_mode"] == b"3"
    assert told[f"charger/{ONE}/state/op_mode"] == b"charging"
    assert told[f"charger/{ONE}/availability"] == b"online"
    assert json.loads(told[f"charger/{ONE}/observation/charger_op_mode"])["label"] == "charging"


def test_everything_is_told_again_on_every_connection(world):
    """Also when the broker says it remembers the session: a killed one may have lost the rest."""
    world.observe(109, "3", data_type=4)
    world.take(MqttDisconnected("gone"), MqttConnected(True, "5", 20))
    told = world.published()

    assert told["charger/bridge/state"] == b"online"
    assert told[f"charger/{ONE}/state/op_mode"] == b"charging"
    assert told[f"charger/{ONE}/availability"] == b"online"


def test_a_lost_stream_is_told_at_once_and_polled_after_a_minute(world):
    """disconnected, then reads over REST, then degraded, then connected again."""
    world.observe(109, "3", data_type=4)
    world.take(StreamClosed("gone"))
    assert world.published()["charger/bridge/cloud"] == b"disconnected"
    assert world.published()[f"charger/{ONE}/availability"] == b"offline"

    world.seconds = 61.0
    world.take(Tick())
    (read,) = [c for c in world.calls() if c.request.endpoint is Endpoint.OBSERVATIONS]
    stamp = iso_utc(world.now.wall)
    body = json.dumps({"observations": [{"id": 120, "value": 7.2, "timestamp": stamp}]})
    world.take(CloudResponse(read.tag, 200, body.encode()))
    assert world.published()["charger/bridge/cloud"] == b"degraded"
    assert world.published()[f"charger/{ONE}/availability"] == b"online"
    document = json.loads(world.published()[f"charger/{ONE}/observation/total_power"])
    assert document["source"] == "poll"

    world.take(StreamOpened())
    assert world.published()["charger/bridge/cloud"] == b"connected"


CAUSES = [
    (CloudUnavailable("down"), None, ""),
    (AuthFailed("wrong", credentials_wrong=True), None, ""),
    (Blocked("kept out", status=403, retry_after_s=600.0), None, ""),
    (RateLimited("spent", retry_after_s=9.0, local=True), None, ""),
    (RateLimited("slow down", retry_after_s=60.0), "cloud_unreachable", "other programs"),
    (CloudRejected("no", status=403, reason="forbidden"), "no_chargers", "easee.chargers"),
    (b"[]", "no_chargers", "share a charger"),
    (b"{}", "no_chargers", "easee.chargers"),
    (b'[{"id":"eh123456"},{"id":"eh123457"}]', "no_chargers", "spelled as on the charger"),
]


@pytest.mark.parametrize(("cause", "kind", "hint"), CAUSES)
def test_why_there_is_no_charger_is_told_once_and_with_its_own_hint(cause, kind, hint):
    """Only an empty list asks for a charger; what another alert says is not said here."""
    world = World()
    (call,) = world.take(Started()) and world.lists()
    if isinstance(cause, bytes):
        world.take(CloudResponse(call.tag, 200, cause))
    else:
        world.take(CloudFailed(call.tag, cause))
    alerts = {
        topic.rpartition("/")[2]: json.loads(payload)
        for topic, payload in world.published().items()
        if "/alert/" in topic and payload
    }

    assert list(alerts) == ([kind] if kind else [])
    if kind:
        assert hint in alerts[kind]["hint"]
    if kind == "cloud_unreachable":
        (call,) = _next_list(world)
        world.take(CloudResponse(call.tag, 200, b'[{"id":"EH123456"}]'))
        assert world.published()["charger/bridge/alert/cloud_unreachable"] == b""


def test_entries_of_the_list_that_are_not_understood_are_an_alert_of_their_own():
    """The others are served; how many and which shape is told until all are understood."""
    world = World()
    (call,) = world.take(Started()) and world.lists()
    world.take(CloudResponse(call.tag, 200, b'[{"id":"EH123456"},{"id":"eh1"},{"id":5}]'))
    told = world.published()
    alert = json.loads(told["charger/bridge/alert/charger_not_understood"])
    assert "2 entries not understood" in alert["message"]
    assert "a number" in alert["message"]
    assert "charger/bridge/alert/no_chargers" not in told

    (call,) = _next_list(world)
    world.take(CloudResponse(call.tag, 200, b'[{"id":"EH123456"}]'))
    assert world.published()["charger/bridge/alert/charger_not_understood"] == b""


def test_a_hub_that_does_not_want_us_is_named_and_polling_goes_on():
    """Values come over REST, the cloud is degraded and the alert ends when the hub delivers."""
    world = World(ONE)
    world.take(Started(), MqttConnected(False, "5", 20), StreamClosed("HTTP 401", refused=True))
    alert = json.loads(world.published()["charger/bridge/alert/stream_refused"])
    assert "HTTP 401" in alert["message"]
    world.seconds = 61.0
    world.take(Tick())
    (read,) = [c for c in world.calls() if c.request.endpoint is Endpoint.OBSERVATIONS]
    world.take(CloudResponse(read.tag, 200, b"[]"))
    assert world.published()["charger/bridge/cloud"] == b"degraded"

    world.take(StreamOpened())
    assert world.published()["charger/bridge/alert/stream_refused"] == b""
    assert world.published()["charger/bridge/cloud"] == b"connected"


def test_a_charger_that_an_open_stream_refuses_is_read_over_rest():
    """The others come by the stream, so nobody reads them."""
    world = World(ONE, "EH000002")
    world.take(Started(), MqttConnected(False, "5", 20), StreamOpened())
    world.take(StreamSubscription("EH000002", "no access"))
    reads = [c for c in world.calls() if c.request.endpoint is Endpoint.OBSERVATIONS]
    assert [call.request.path.split("/")[2] for call in reads] == ["EH000002"]

    world.take(StreamSubscription("EH000002", None))
    world.seconds = 300.0
    world.take(Tick())
    assert not [c for c in world.calls() if c.request.endpoint is Endpoint.OBSERVATIONS]


def test_what_a_read_brings_and_nobody_can_use_is_counted_and_named():
    """Without a time it is named by its id as on the stream; without an id it is counted."""
    world = World(ONE, source="poll")
    world.take(Started(), MqttConnected(False, "5", 20))
    (read,) = [c for c in world.calls() if c.request.endpoint is Endpoint.OBSERVATIONS]
    entries = [
        {"id": "120", "value": 7.2, "timestamp": iso_utc(world.now.wall)},
        {"id": 109, "value": 3, "timestamp": None},
        {"id": "x", "value": 3},
    ]
    world.take(CloudResponse(read.tag, 200, json.dumps(entries).encode()))
    told = world.published()

    assert told[f"charger/{ONE}/state/total_power"] == b"7.2"
    assert f"{ONE}/109" in told["charger/bridge/alert/undecodable"].decode()
    notes = [e.event for e in world.out if isinstance(e, LogEntry)]
    assert {"observation.undecodable", "poll.records_without_an_id"} <= set(notes)
    world.seconds = 100.0
    world.take(Tick())
    counters = json.loads(world.published()["charger/bridge/health"])["counters"]
    assert (counters["observations_undecodable"], counters["poll_bad_records"]) == (1, 1)


@pytest.mark.parametrize("failure", ["error", "html"])
def test_a_read_that_fails_is_noted_and_not_repeated_at_once(failure):
    """An outage or a page of HTML while polling leaves the pace to polling."""
    world = World(ONE, source="poll")
    world.take(Started())
    (read,) = [c for c in world.calls() if c.request.endpoint is Endpoint.OBSERVATIONS]
    if failure == "error":
        world.take(CloudFailed(read.tag, CloudUnavailable("down")))
    else:
        world.take(CloudResponse(read.tag, 200, b"<html>"))

    assert any(isinstance(e, LogEntry) and e.event.startswith("poll.") for e in world.out)
    assert not [c for c in world.calls() if c.request.endpoint is Endpoint.OBSERVATIONS]


def test_a_session_is_saved_before_it_is_published_and_marked_after_the_puback(world):
    """129 -> commit -> publish -> PUBACK -> mark: no step before its time."""
    world.observe(129, SESSION, data_type=6)
    (save,) = [e for e in world.out if isinstance(e, SaveReport)]
    assert f"charger/{ONE}/session/report" not in world.published()

    stored = StoredReport("EH123456-7", 1, save.report)
    world.take(ReportSaved(stored, True))
    (report,) = [e for e in world.out if isinstance(e, Publish) and e.topic.endswith("/report")]
    assert json.loads(report.payload)["key"] == "EH123456-7"
    assert b"04AA" not in report.payload

    world.take(MqttAcked(report, 0))
    assert MarkPublished("EH123456-7", 1) in world.out


def test_the_last_session_is_shown_when_it_is_stored_and_again_after_a_restart(world):
    """Its topic names the row, also when the broker lost it and the cloud says nothing."""
    world.observe(129, SESSION, data_type=6)
    (save,) = [e for e in world.out if isinstance(e, SaveReport)]
    assert f"charger/{ONE}/session/last" not in world.published()
    stored = StoredReport("EH123456-7", 3, save.report, published=True, settled=True)
    world.take(ReportSaved(stored, False))
    last = json.loads(world.published()[f"charger/{ONE}/session/last"])
    assert (last["key"], last["revision"]) == ("EH123456-7", 3)

    restarted = World(ONE)
    restarted.take(StoreOpened(()), Started())
    (read,) = [effect for effect in restarted.out if isinstance(effect, ReadReports)]
    restarted.take(ReportsRead(read.tag, (stored,)))
    assert json.loads(restarted.published()[f"charger/{ONE}/session/last"]) == last


def test_a_session_the_store_refuses_is_shown_all_the_same(world):
    """A full disk does not hide that a session ended; what is not stored has no key."""
    world.observe(129, SESSION, data_type=6)
    (save,) = [e for e in world.out if isinstance(e, SaveReport)]
    world.take(ReportSaveFailed(save.report, StoreFull("full", hint="h")))

    last = json.loads(world.published()[f"charger/{ONE}/session/last"])
    assert (last["key"], last["session_id"]) == (None, 7)


def test_a_consumer_s_word_settles_a_report_and_the_health_tells_where_reports_are(world):
    """The acknowledgement topic reaches the ledger; who looks at the health can see the debts."""
    world.observe(129, SESSION, data_type=6)
    (save,) = [e for e in world.out if isinstance(e, SaveReport)]
    world.take(ReportSaved(StoredReport("EH123456-7", 1, save.report), True))
    world.seconds += 61
    world.take(Tick())
    health = json.loads(world.published()["charger/bridge/health"])
    counts = {"pending": 1, "published": 0, "set_aside": 0, "unsaved": 0, "kept": 0}
    assert health["reports"] == counts

    ack_token = AckToken(1, 9, 1)
    world.take(MqttMessage("charger/bridge/session/ack", b"EH123456-7", ack_token))
    assert Acknowledge(ack_token) in world.out
    assert SettleReports((("EH123456-7", 1),)) in world.out


def test_sessions_that_did_not_reach_us_are_looked_up_in_the_cloud(world):
    """Store read, cloud asked, answer saved; a failure is noted."""
    call = _looked_up(world)
    body = (
        b'[{"id":8,"carConnected":"2026-11-22T08:00:00Z",'
        b'"carDisconnected":"2026-11-22T09:00:00Z","kiloWattHours":2}]'
    )
    world.take(CloudResponse(call.tag, 200, body))
    assert [e.report.session_id for e in world.out if isinstance(e, SaveReport)] == [8]

    world.take(StreamClosed("gone"), StreamOpened())
    world.take(CloudFailed(_looked_up(world).tag, CloudUnavailable("down")))
    assert "session.backfill_failed" in [e.event for e in world.out if isinstance(e, LogEntry)]


def _looked_up(world):
    """Let time pass until the sessions are looked up."""
    for _ in range(50):
        world.until_deadline()
        found = [c for c in world.calls() if c.request.endpoint is Endpoint.SESSIONS]
        if found:
            return found[0]
    raise AssertionError("the sessions are never looked up")


def test_a_store_that_fills_up_is_told_of(world):
    """Long before it is full."""
    world.take(StoreMaintained(0.85, 2**30))

    assert "filling up" in world.published()["charger/bridge/alert/storage_filling"].decode()


def test_trouble_with_the_store_is_an_alert_until_it_is_over(world):
    """A report that cannot be committed, a store that fails, a store that was replaced."""
    world.observe(129, SESSION, data_type=6)
    (save,) = [e for e in world.out if isinstance(e, SaveReport)]
    world.take(ReportSaveFailed(save.report, StoreFull("no space", hint="free some")))
    assert "free some" in world.published()["charger/bridge/alert/storage"].decode()
    health = json.loads(world.published()["charger/bridge/health"])
    assert (health["verdict"], health["store"]) == ("failed", False)

    world.take(ReportSaved(StoredReport("k", 1, save.report), True))
    assert world.published()["charger/bridge/alert/storage"] == b""
    world.take(StoreFailed("gone", "mount it"))
    assert "mount it" in world.published()["charger/bridge/alert/storage"].decode()
    world.take(StoreOpened((), Damage("/x/bridge.db.corrupt.1", 2).problems))
    told = world.published()
    assert told["charger/bridge/alert/storage"] == b""
    assert "corrupt.1" in told["charger/bridge/alert/store_replaced"].decode()
    assert "2 stored rows" in told["charger/bridge/alert/reports_damaged"].decode()
    world.take(StoreOpened((), Damage(recovered=4, is_incomplete=True).problems))
    assert "4 rows" in world.published()["charger/bridge/alert/store_incomplete"].decode()


def test_a_command_crosses_to_the_cloud_and_back(world):
    """A message becomes a request, its answer an answer, the charger's word the final one."""
    ack_token = AckToken(1, 5, 1)
    world.take(MqttMessage(f"charger/{ONE}/set/start", b"PRESS", ack_token))
    assert Acknowledge(ack_token) in world.out
    (call,) = world.calls()
    assert call.request.path == f"/api/chargers/{ONE}/commands/start_charging"

    ticks = 638000000000000000
    body = json.dumps({"device": ONE, "commandId": 25, "ticks": ticks}).encode()
    world.take(CloudResponse(call.tag, 202, body))
    assert _state(world) == "accepted"
    world.take(ChargerResponse(ONE, 25, ticks, True, 0))
    assert _state(world) == "confirmed"


def test_a_command_under_way_does_not_make_every_value_dear(world, monkeypatch):
    """Of a fleet's values only those are looked at that can tell of a command."""
    looked_at = []
    journal = type(part(world.core, "commands"))
    monkeypatch.setattr(
        journal, "observed", lambda _, seen, __: looked_at.append(seen.spec.id) or iter(())
    )
    world.take(MqttMessage(f"charger/{ONE}/set/start", b"PRESS", AckToken(1, 5, 1)))
    assert part(world.core, "commands").is_busy

    for observation_id in (132, 109, 120, 124):
        world.observe(observation_id, "3", data_type=3)
    assert looked_at == [109]


def test_a_command_that_fails_in_the_cloud_is_answered(world):
    """The failure of a call reaches the command it belongs to."""
    world.take(MqttMessage(f"charger/{ONE}/set/reboot", b"PRESS", AckToken(1, 5, 1)))
    (call,) = world.calls()
    world.take(CloudFailed(call.tag, CloudUnavailable("down", status=503)))

    assert _state(world, "reboot") == "failed"


def test_a_confirmed_setting_tells_that_the_touch_button_is_dead(world):
    """Smart charging switched off through the setting shows only in our own command."""
    world.take(MqttMessage(f"charger/{ONE}/set/smart_charging", b"false", AckToken(1, 5, 1)))
    (call,) = world.calls()
    assert call.request.path.endswith("/settings")
    body = json.dumps([{"device": ONE, "commandId": 11, "ticks": 638000000000000000}]).encode()
    world.take(CloudResponse(call.tag, 202, body))
    world.take(ChargerResponse(ONE, 11, 638000000000000000, True, 0))

    assert world.published()[f"charger/{ONE}/state/touch_button"] == b"disabled"


def test_a_commands_row_that_is_not_taken_is_an_alert_until_one_is(world):
    """Storage trouble that a command finds is told like that of a report, and refused."""
    world.disk_error = StoreFull("no space", hint="free some")
    world.take(MqttMessage(f"charger/{ONE}/set/start", b"PRESS", AckToken(1, 5, 1)))
    assert "free some" in world.published()["charger/bridge/alert/storage"].decode()
    assert _state(world) == "refused"

    world.disk_error = None
    world.take(MqttMessage(f"charger/{ONE}/set/start", b"PRESS", AckToken(1, 6, 1)))
    assert world.published()["charger/bridge/alert/storage"] == b""
    assert world.calls()


def test_a_command_of_an_earlier_process_goes_on(world):
    """Rows of the store come with its opening, and nothing is sent any more after the stop."""
    world.take(Stopping())
    world.take(MqttMessage(f"charger/{ONE}/set/start", b"PRESS", AckToken(1, 5, 1)))
    assert not world.calls()
    (row,) = {e.row.key: e.row for e in world.out if isinstance(e, SaveCommand)}.values()

    other = World(ONE)
    other.take(StoreOpened((), commands=(row,)), Started())
    assert [c for c in other.calls() if c.request.path.endswith("start_charging")]


def test_a_message_that_waited_at_the_broker_is_not_trusted(world):
    """After a resumed session a start without a time of its own is refused, a stop is not."""
    world.take(MqttDisconnected("gone"), MqttConnected(True, "5", 20))
    world.take(MqttMessage(f"charger/{ONE}/set/start", b"PRESS", AckToken(1, 5, 1)))
    assert json.loads(world.published()[f"charger/{ONE}/result/start"])["reason"] == "age_unknown"
    world.take(MqttMessage(f"charger/{ONE}/set/stop", b"PRESS", AckToken(1, 6, 1)))
    assert world.calls()


def _answers_to_stop(world):
    """What is answered at once to a stop without a date."""
    world.take(MqttMessage(f"charger/{ONE}/set/stop", b"PRESS", AckToken(1, 9, 1)))
    document = world.published().get(f"charger/{ONE}/result/stop", b"null")
    return (json.loads(document) or {}).get("reason")


@pytest.mark.parametrize(("away_s", "reason"), [(10, None), (30, "age_unknown")])
def test_how_long_it_may_have_waited_counts_from_the_last_word_of_the_broker(world, away_s, reason):
    """A half open line is noticed 40 s late: those count as well."""
    world.take(MqttConnected(False, "5", 20))
    world.seconds += 3600
    world.take(MqttDisconnected("gone"))
    world.seconds += away_s
    world.take(MqttConnected(True, "5", 20))
    assert _answers_to_stop(world) == reason


@pytest.mark.parametrize(
    ("ago_s", "trusted", "reason"),
    [
        (10, True, None),
        (90, True, "age_unknown"),
        (10, False, "age_unknown"),
        (-10, True, "age_unknown"),
        (None, True, "age_unknown"),
    ],
)
def test_after_a_restart_it_counts_from_the_last_orderly_end(ago_s, trusted, reason):
    """Without one, by a clock that is not set, or by one that was put back, nobody knows."""
    world = World(ONE)
    world.trusted = trusted
    alive_at = None if ago_s is None else NOON - timedelta(seconds=ago_s)
    world.take(StoreOpened(()), Started(alive_at=alive_at), MqttConnected(True, "5", 20))
    assert _answers_to_stop(world) == reason


def test_a_command_on_disk_tells_that_the_earlier_process_was_alive(world):
    """After a crash the newest row does what the orderly end could not."""
    world.take(MqttMessage(f"charger/{ONE}/set/pause", b"PRESS", AckToken(1, 5, 1)))
    rows = tuple({e.row.key: e.row for e in world.out if isinstance(e, SaveCommand)}.values())
    other = World(ONE)
    other.seconds = world.seconds + 20
    other.take(StoreOpened((), commands=rows), Started(), MqttConnected(True, "5", 20))
    assert _answers_to_stop(other) is None


@pytest.mark.parametrize("expiry_s", [None, 500])
@pytest.mark.fault("F38")
def test_what_waited_while_we_stood_still_has_lost_that_time(world, expiry_s):
    """After ten minutes every command that lay in the socket is too old, whatever it switches."""
    world.take(ProcessSuspended(600.0))
    for number, command in enumerate(("start", "stop", "pause"), start=1):
        topic = f"charger/{ONE}/set/{command}"
        world.take(MqttMessage(topic, b"PRESS", AckToken(1, number, 1), expiry_s=expiry_s))
        assert _state(world, command) == "expired"
    assert not world.calls()

    world.take(MqttConnected(False, "5", 20))
    world.take(MqttMessage(f"charger/{ONE}/set/stop", b"PRESS", AckToken(2, 1, 1)))
    assert world.calls()


@pytest.mark.parametrize(
    ("later_s", "expiry_s", "left_s"),
    [
        (0.0, None, 39),
        (0.0, 500, 479),
        (4.9, 500, 479),
        (5.0, 500, 500),
        (5.0, None, None),
        (0.0, 21, 0),
        (0.0, 10, 0),
    ],
)
def test_a_command_loses_the_time_that_we_stood_still(
    world, monkeypatch, later_s, expiry_s, left_s
):
    """Of its own time or of ours, for five seconds, never below nothing; all else stays."""
    received = []

    def receive(_, event, *__, **___):
        received.append(event)
        return iter(())

    monkeypatch.setattr(CommandService, "receive", receive)
    world.take(ProcessSuspended(20.4))
    world.seconds += later_s
    message = structs.replace(_asked(ONE), expiry_s=expiry_s)
    world.take(message)
    assert received == [structs.replace(message, expiry_s=left_s)]


def test_a_command_outlives_a_short_stop_that_leaves_it_time(world):
    """What is certainly still within its time is carried out, and later ones are not doubted."""
    world.take(ProcessSuspended(20.0))
    world.take(MqttMessage(f"charger/{ONE}/set/start", b"PRESS", AckToken(1, 1, 1)))
    assert len(world.calls()) == 1

    world = World(ONE)
    world.take(StoreOpened(()), Started(), ProcessSuspended(600.0))
    world.seconds += 6
    world.take(MqttMessage(f"charger/{ONE}/set/stop", b"PRESS", AckToken(1, 1, 1)))
    assert [c for c in world.calls() if c.request.path.endswith("stop_charging")]


def test_the_heartbeat_goes_round_and_is_missed(world):
    """It is published when the link may hear it; one that stays away costs the connection."""
    world.take(MqttConnected(False, "5", 20, loopback=True))
    heartbeat = world.published()["charger/bridge/heartbeat"]
    message = MqttMessage("charger/bridge/heartbeat", heartbeat, AckToken(1, 0, 0))
    world.take(message)
    assert Acknowledge(message.ack_token) in world.out
    for _ in range(50):
        if any(isinstance(effect, Reconnect) for effect in world.until_deadline()):
            break
    assert any(isinstance(effect, Reconnect) for effect in world.out)


def test_a_refused_heartbeat_has_one_alert_and_not_two(world):
    """The broker that refuses it is not said to refuse publications in general."""
    world.take(MqttConnected(False, "5", 20, loopback=True))
    (heartbeat,) = [
        e
        for e in world.out
        if isinstance(e, Publish) and e.payload and e.topic == "charger/bridge/heartbeat"
    ]
    world.take(MqttAcked(heartbeat, 135))
    assert "charger/bridge/alert/publication_refused" not in world.published()


def test_surprising_access_while_offline_is_an_alert(world):
    """Restricted access that everybody passes while the charger is offline is told."""
    for number, value in ((42, "true"), (15, "false"), (16, "false"), (17, "true")):
        world.observe(number, value, data_type=2)

    assert ONE in world.published()["charger/bridge/alert/access_open_offline"].decode()


def test_a_setting_that_moves_without_us_is_announced(world):
    """Somebody else changed a setting: an event says which."""
    world.observe(42, "true", data_type=2, age_s=5.0)
    world.observe(42, "false", data_type=2)

    event = json.loads(world.published()[f"charger/{ONE}/event/foreign_command"])
    assert (event["setting"], event["value"]) == ("authorization_required", False)


def test_a_response_to_nobodys_command_is_announced(world):
    """Another controller acts on the charger: flows should know."""
    world.take(ChargerResponse(ONE, 48, 638000000000000000, True, 0))
    assert f"charger/{ONE}/event/foreign_command" in world.published()

    world.take(ChargerResponse("EH999999", 48, 1, True, 0))
    assert not [t for t in world.published() if "EH999999" in t]


@pytest.mark.parametrize(
    "topic",
    ["charger/bridge/session/ack", "charger/bridge/session/replay", "charger/EH1/other", "x"],
)
def test_every_message_is_acknowledged(world, topic):
    """What is not understood must not come again and again."""
    ack_token = AckToken(1, 9, 1)

    assert Acknowledge(ack_token) in world.take(MqttMessage(topic, b"{}", ack_token))


def keeps(topic, payload):
    """Build a message the broker kept of us."""
    return MqttMessage(f"charger/{topic}", payload, AckToken(1, 9, 1), retained=True)


def test_what_an_earlier_run_left_at_the_broker_is_put_right(world):
    """An alert that nobody has is emptied."""
    world.take(keeps("bridge/alert/undecodable", b"{}"))
    assert world.published() == {"charger/bridge/alert/undecodable": b""}


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (f"{ONE}/availability", b"online"),
        ("EH999999/availability", b"offline"),
        ("nobody/availability", b"online"),
        ("bridge/alert/undecodable", b""),
        ("bridge/state", b"online"),
    ],
)
def test_what_is_true_or_not_ours_is_left_alone(world, topic, payload):
    """Only an untruth about us is answered."""
    world.take(keeps(topic, payload))
    assert world.published() == {}


@pytest.mark.parametrize("kind", ["observation", "state"])
@pytest.mark.parametrize("charger_id", [ONE, "EH999999"])
def test_personal_data_that_an_older_version_retained_is_emptied(world, kind, charger_id):
    """Also of a charger that is offline or gone; once, as nothing comes back then."""
    kept = keeps(f"{charger_id}/{kind}/site_structure", b'{"address":"Lane 4"}')
    world.take(kept)
    assert world.published() == {kept.topic: b""}

    world.take(keeps(f"{charger_id}/{kind}/site_structure", b""))
    assert not world.published()
    world.take(MqttMessage(kept.topic, b"sha256:00", AckToken(1, 9, 1)))  # what we say ourselves
    assert not world.published()


@pytest.mark.fault("F22")
def test_a_retained_command_that_ran_as_a_live_one_is_emptied_and_not_answered_again(world):
    """On 3.1.1 it is found behind the command; our own emptying of it is no command either."""
    world.take(MqttConnected(False, "3.1.1", 20, loopback=True))
    command = MqttMessage(f"charger/{ONE}/set/stop", b"PRESS", AckToken(1, 7, 1))
    world.take(command)
    assert world.calls()
    assert ReadRetained("charger/+/set/+") in world.out
    world.take(structs.replace(command, retained=True))
    assert world.published()[command.topic] == b""
    assert command.topic.encode() in world.published()["charger/bridge/alert/retained_command"]
    assert f"charger/{ONE}/result/stop" not in world.published()
    world.take(structs.replace(command, payload=b""))
    assert world.out == [Acknowledge(command.ack_token)]


@pytest.mark.fault("F22")
def test_a_retained_command_that_was_there_before_us_is_refused_and_emptied(world):
    """On any version; those of chargers that are not ours are refused and left alone."""
    for charger_id in (ONE, "EH999999"):
        kept = keeps(f"{charger_id}/set/stop", b"PRESS")
        world.take(kept)
        assert b"retained" in world.published()[f"charger/{charger_id}/result/stop"]
        assert (kept.topic in world.published()) is (charger_id == ONE)


def test_a_broker_that_ignores_retain_as_published_is_found_out(world):
    """``bridge/info`` says so, once, and commands are looked behind from then on."""
    world.take(MqttConnected(False, "5", 20, loopback=True))
    world.take(MqttMessage("charger/bridge/heartbeat", b"", AckToken(1, 0, 0), retained=True))
    assert "charger/bridge/info" not in world.published()
    world.take(MqttMessage("charger/bridge/heartbeat", b"", AckToken(1, 0, 0)))
    info = json.loads(world.published()["charger/bridge/info"])
    assert info["capabilities"]["tells_retained"] is False
    assert ReadRetained("charger/+/set/+") in world.out


def _neighbour(kind, chargers=(), instance="0"):
    """Something another bridge says of itself; its instance comes before any of ours."""
    said = {"client_id": "other", "instance": instance, "started_at": "x", "chargers": chargers}
    return MqttMessage(f"charger/bridge/{kind}", json.dumps(said).encode(), AckToken(1, 0, 0))


def _asked(charger_id, what="set/stop"):
    return MqttMessage(f"charger/{charger_id}/{what}", b"{}", AckToken(1, 9, 1))


def test_another_bridge_keeps_its_chargers_and_its_alerts(world):
    """Nothing of it is taken offline, emptied, or answered as unknown."""
    world.take(keeps("bridge/state", b"online"))
    info = _neighbour("info", ["EH999999"])
    world.take(structs.replace(info, retained=True), keeps("EH999999/availability", b"online"))
    assert set(world.published()) <= {"charger/bridge/alert/second_bridge"}
    world.take(keeps("bridge/alert/undecodable", b"{}"))
    assert world.published() == {}
    for what in ("set/stop", "get/observations"):
        world.take(_asked("EH999999", what))
        assert world.out == [Acknowledge(AckToken(1, 9, 1))]
    world.take(_asked("EH888888"))
    assert b"unknown_charger" in world.published()["charger/EH888888/result/stop"]


def test_before_our_chargers_are_known_everybody_is_answered():
    """One that is kept online may be ours; with another bridge there it is that one's."""
    world = World()
    world.take(StoreOpened(()), Started(), MqttConnected(False, "5", 20))
    world.take(keeps(f"{ONE}/availability", b"online"), _asked(ONE))
    assert b"unknown_charger" in world.published()[f"charger/{ONE}/result/stop"]
    world.take(_neighbour("heartbeat"), _asked(ONE))
    assert f"charger/{ONE}/result/stop" not in world.published()


def test_of_two_bridges_with_one_charger_one_acts(world):
    """The one with the higher instance id is silent while the other is there, and says why."""
    world.take(_neighbour("info", [ONE]))
    assert ONE.encode() in world.published()["charger/bridge/alert/second_bridge"]
    world.take(_asked(ONE))
    assert world.out == [Acknowledge(AckToken(1, 9, 1))]
    world.seconds = 20
    world.take(_neighbour("heartbeat"), MqttMessage("charger/bridge/state", b"offline", RECEIPT))
    world.take(_asked(ONE))
    assert world.calls()


def test_the_other_one_that_leaves_does_not_take_our_charger_with_it(world):
    """It says offline of all its chargers; of those we serve too the truth is told again."""
    world.take(_neighbour("info", [ONE]))
    world.seconds = 60
    world.take(_neighbour("heartbeat"), MqttMessage("charger/bridge/state", b"offline", RECEIPT))
    assert world.published()[f"charger/{ONE}/availability"] == b"offline"
    assert world.published()["charger/bridge/state"] == b"online"


def test_a_bridge_that_is_heard_for_the_first_time_is_told_of_us(world):
    """Our information goes out again, once, so that it knows which chargers are ours."""
    world.take(_neighbour("heartbeat"))
    assert json.loads(world.published()["charger/bridge/info"])["chargers"] == [ONE]
    world.take(_neighbour("heartbeat"))
    assert "charger/bridge/info" not in world.published()


def test_what_a_session_kept_waits_for_what_tells_of_another_bridge(world):
    """Another bridge is heard out first; then what is its own is left to it, the rest answered."""
    world.take(MqttDisconnected("gone"), MqttConnected(True, "5", 20, loopback=True))
    kept = [
        structs.replace(_asked(c), ack_token=AckToken(1, n, 1))
        for n, c in enumerate((ONE, TWO, "EH9"), 1)
    ]
    assert not [e for event in kept for e in world.take(event) if isinstance(e, Acknowledge)]
    world.take(_neighbour("info", [ONE, TWO]), keeps(f"{TWO}/availability", b"online"))
    world.seconds += HEARD_OUT_S
    world.take(Tick())
    answers = [topic for topic in world.published() if "/result/" in topic]
    assert answers == ["charger/EH9/result/stop"]
    assert [e for e in world.out if isinstance(e, Acknowledge)] == [
        Acknowledge(event.ack_token) for event in kept
    ]


def test_a_command_that_was_held_back_lives_no_longer_for_it(world):
    """Its time counts from its arrival; what comes behind it does not overtake it."""
    world.take(MqttDisconnected("gone"), MqttConnected(True, "5", 20, loopback=True))
    world.take(structs.replace(_asked(ONE), payload=b'{"ttl_s": 0.4}'))
    world.seconds += HEARD_OUT_S
    world.take(_asked(ONE, "set/pause"))
    answered = [e.topic for e in world.out if isinstance(e, Publish) and "/result/" in e.topic]
    assert answered == [f"charger/{ONE}/result/stop"]
    assert b"expired" in world.published()[f"charger/{ONE}/result/stop"]
    assert [call.request.path.rsplit("/", 1)[-1] for call in world.calls()] == ["pause_charging"]


def test_what_was_held_back_when_the_connection_ends_comes_again(world):
    """It was not acknowledged, so nothing of it is done twice; a flood ends the holding."""
    world.take(MqttDisconnected("gone"), MqttConnected(True, "5", 20, loopback=True))
    world.take(_asked(ONE), MqttDisconnected("gone"))
    world.seconds += 60
    assert not [e for e in world.take(Tick()) if isinstance(e, Acknowledge | SaveCommand)]
    world.take(MqttConnected(True, "5", 20, loopback=True))
    for _ in range(MAX_HELD + 1):
        world.take(_asked("EH9"))
    assert sum(isinstance(e, Acknowledge) for e in world.out) == MAX_HELD + 1


def test_a_connection_that_was_taken_over_is_an_alert(world):
    """It waits until there is a connection to tell it on."""
    world.take(MqttDisconnected("taken over", 0x8E), MqttConnected(True, "5", 20))
    alert = json.loads(world.published()["charger/bridge/alert/second_bridge"])
    assert "mqtt.client_id" in alert["hint"]


def test_an_installation_has_a_name_that_stays(world):
    """The same store, the same name; it is in the information and in every heartbeat."""
    names = {instance_of(b"salt"), instance_of(b"salt"), instance_of(b"other")}
    assert len(names) == 2
    world.take(MqttConnected(False, "5", 20, loopback=True))
    for topic in ("info", "heartbeat"):
        document = json.loads(world.published()[f"charger/bridge/{topic}"])
        assert document["instance"] == instance_of(b"salt")


def test_echoes_count_only_right_after_a_connection(world):
    """Later messages on our topics are not what an earlier run left."""
    world.seconds = 60.0
    world.take(keeps("EH999999/availability", b"online"))
    assert "charger/EH999999/availability" not in world.published()


def test_online_is_asserted_again_but_not_shouted(world):
    """A late will of a connection that was taken over does not stay; two bridges do not fight."""
    world.take(keeps("bridge/state", b"offline"))
    assert world.published() == {"charger/bridge/state": b"online"}
    world.take(keeps("bridge/state", b"offline"))
    assert world.published() == {}
    world.seconds += ASSERT_EVERY_S - 0.1
    world.take(keeps("bridge/state", b"offline"))
    assert "charger/bridge/state" not in world.published()
    world.seconds += 0.1
    world.take(keeps("bridge/state", b"offline"))
    assert world.published()["charger/bridge/state"] == b"online"


def test_a_bridge_without_chargers_is_not_healthy():
    """An empty list is told as an alert, and cleared by the first charger."""
    world = World()
    (call,) = [c for c in world.take(Started()) if isinstance(c, SendRequest)]
    world.take(StreamOpened())
    world.take(CloudResponse(call.tag, 200, b"[]"))
    assert "no charger" in world.published()["charger/bridge/alert/no_chargers"].decode()

    (call,) = _next_list(world)
    spent = RateLimited("spent", retry_after_s=5.0, local=True)
    world.take(CloudFailed(call.tag, spent))
    assert "charger/bridge/alert/no_chargers" not in world.published()  # nobody was asked

    (call,) = _next_list(world)
    world.take(CloudResponse(call.tag, 200, b'[{"id":"EH123456"}]'))
    assert world.published()["charger/bridge/alert/no_chargers"] == b""


def test_a_refused_subscription_is_told_until_it_is_taken(world):
    """The hub says no to one charger: degraded and an alert, until it says yes."""
    world.take(StreamSubscription(ONE, "access denied"))
    assert world.published()["charger/bridge/cloud"] == b"degraded"
    assert ONE in world.published()["charger/bridge/alert/stream_refused"].decode()
    world.take(StreamSubscription(ONE, None))
    assert world.published()["charger/bridge/cloud"] == b"connected"
    assert world.published()["charger/bridge/alert/stream_refused"] == b""


def test_a_query_gets_one_answer(world):
    """Queries are answered like commands, also when the answer is no."""
    ack_token = AckToken(1, 9, 1)
    world.take(MqttMessage(f"charger/{ONE}/get/horoscope", b"{}", ack_token))

    assert Acknowledge(ack_token) in world.out
    assert _state(world, "horoscope") == "refused"


def test_a_query_is_answered_from_the_cloud_and_the_store(world):
    """The answers of both reach the query that asked, and a failure too."""
    ack_token = AckToken(1, 9, 1)
    world.take(MqttMessage(f"charger/{ONE}/get/sessions", b"", ack_token))
    (call,) = world.calls()
    (read,) = [e for e in world.out if isinstance(e, ReadReports)]
    world.take(ReportsReadFailed(read.tag, StoreError("gone")))
    world.take(CloudResponse(call.tag, 200, b"[]"))
    assert json.loads(world.published()[f"charger/{ONE}/result/sessions"])["value"] == []

    world.take(MqttMessage(f"charger/{ONE}/get/observations", b"", ack_token))
    (call,) = world.calls()
    world.take(CloudFailed(call.tag, RateLimited("spent", retry_after_s=5.0, local=True)))
    assert _state(world, "observations") == "refused"


def test_a_fresh_read_makes_the_topics_fresh(world):
    """What a query reads is published as if it had been polled."""
    world.take(MqttMessage(f"charger/{ONE}/get/observations", b"", AckToken(1, 9, 1)))
    (call,) = world.calls()
    body = {"observations": [{"id": 109, "value": 3, "timestamp": iso_utc(world.now.wall)}]}
    world.take(CloudResponse(call.tag, 200, json.dumps(body).encode()))

    assert world.published()[f"charger/{ONE}/state/op_mode"] == b"charging"
    assert _state(world, "observations") == "confirmed"


def test_a_refused_publication_is_an_alert_until_one_is_taken(world):
    """An access list that shuts the bridge out is named, not suffered in silence."""
    message = Publish("charger/x", b"1")
    world.take(MqttAcked(message, 127))
    assert "charger/bridge/alert/publication_refused" not in world.published()
    world.take(MqttAcked(message, 128))
    assert "charger/x" in world.published()["charger/bridge/alert/publication_refused"].decode()
    world.take(MqttAcked(message, 135))
    world.take(MqttAcked(message, 0))
    assert world.published()["charger/bridge/alert/publication_refused"] == b""
    world.seconds += 60.0
    world.take(Tick())
    health = json.loads(world.published()["charger/bridge/health"])
    assert health["counters"]["publications_refused"] == 2


def test_a_refused_value_that_its_own_connection_takes_ends_the_alert(world):
    """And a batch of values has no other consequence."""
    refused = Publish("charger/EH123456/state/op_mode", b"charging", telemetry=True)
    assert world.take(ValuesAcked((refused,))) == []
    world.take(MqttAcked(refused, 135))
    assert world.published()["charger/bridge/alert/publication_refused"] != b""

    world.take(ValuesAcked((refused,)))
    assert world.published()["charger/bridge/alert/publication_refused"] == b""


def test_oddities_and_the_clouds_state_are_told(world):
    """What is skipped is counted; what needs the operator is an alert."""
    world.take(StreamAnomaly("unknown_target", "SubscribeToMyProduct"))
    world.take(CloudStatusChanged("auth_failed", "wrong password"))

    assert world.published()["charger/bridge/cloud"] == b"auth_failed"
    health = json.loads(world.published()["charger/bridge/health"])
    assert health["counters"]["stream_unknown_target"] == 1


def test_the_end_of_a_trouble_is_looked_for_without_anybody_asking(world):
    """REST in trouble is asked until it answers, in the time it names, and not a moment longer."""
    world.take(CloudStatusChanged("unavailable", "no answer"))
    world.seconds += PROBE_EVERY_S
    world.take(Tick())
    (call,) = world.lists()

    world.out.clear()
    world.take(CloudFailed(call.tag, CloudUnavailable("x", retry_after_s=600.0)))
    world.seconds += 599
    world.take(Tick())
    assert not world.lists()
    world.seconds += 1
    world.take(Tick())
    assert len(world.lists()) == 1

    world.out.clear()
    world.take(CloudStatusChanged("ok"))
    world.seconds += 600
    world.take(Tick())
    assert not world.lists()


def test_an_answer_to_a_call_nobody_made_changes_nothing(world):
    """A late answer after its owner gave up is ignored."""
    assert world.take(CloudResponse(Tag("x"), 200, b"")) == []
    assert world.take(CloudFailed(Tag("x"), CloudUnavailable("x"))) == []


def test_the_last_word_is_offline(world):
    """Stopping takes every charger offline, and asks nothing more of the cloud."""
    world.observe(109, "3", data_type=4)
    world.take(Stopping())

    assert world.published()[f"charger/{ONE}/availability"] == b"offline"
    assert not world.calls()


def test_nothing_is_read_over_rest_once_it_stops():
    """A poll that falls due while the last messages go out is not made."""
    world = World(ONE, source="poll")
    asked = 0
    world.take(Started())
    for stopping in (False, True):
        if stopping:
            world.take(Stopping())
        for _ in range(10):
            world.seconds += 61.0
            world.take(Tick())
            reads = [c for c in world.calls() if c.request.endpoint is Endpoint.OBSERVATIONS]
            asked += len(reads)
            assert not (stopping and reads)
            world.take(*(CloudResponse(call.tag, 200, b"[]") for call in reads))
    assert asked > 1


def _state(world, command="start"):
    """Return the newest answer's state."""
    return json.loads(world.published()[f"charger/{ONE}/result/{command}"])["state"]


def test_chargers_are_described_to_home_assistant_and_again_after_its_birth():
    """Firmware, list, connection, acknowledgement and birth message reach the announcer."""
    world = World(ONE, homeassistant=HomeAssistantSettings(enabled=True))
    topic = f"homeassistant/device/charger_{ONE}/config"
    assert world.core.subscriptions[-1] == "homeassistant/status"
    world.take(StoreOpened(()), Started(), MqttConnected(False, "5", 20))
    world.observe(80, "347", data_type=4)
    gateway = topic.replace(ONE, "bridge")
    world.seconds = 10.0
    described = []
    for again in (False, True):
        while not world.published().keys() & {gateway, topic}:
            world.take(Tick())
        other = world.published_at(gateway)
        world.take(MqttAcked(other, 0))
        message = world.published_at(topic)
        world.take(MqttAcked(message, 0))
        described.append(json.loads(message.payload)["device"]["sw_version"])
        if not again:
            ack_token = AckToken(1, 5, 1)
            birth = MqttMessage("homeassistant/status", b"online", ack_token)
            assert world.take(birth) == [Acknowledge(ack_token)]
            world.seconds = 20.0

    assert described == ["347", "347"]


# -- chargers that come and go ---------------------------------------------------------------------


class Account(World):
    """A world whose cloud answers with lists, and whose broker acknowledges."""

    def __init__(self, *listed, chargers=(), started=None, **sections):
        super().__init__(*chargers, **sections)
        self.listed = listed
        self.entries = ()
        self.kept = {}
        self.said = []
        self.settle(StoreOpened(()), started or Started(), MqttConnected(False, "5", 20))

    def settle(self, *events):
        """Let events happen and everything that follows at once."""
        waiting = deque(events)
        while waiting:
            for effect in self.take(waiting.popleft()):
                self.said.append(effect)
                if isinstance(effect, Publish):
                    waiting.append(MqttAcked(effect, 0))
                    if effect.retained:
                        self.kept[effect.topic] = effect.payload
                elif isinstance(effect, SendRequest) and effect.request == charger_list_request():
                    ids = [{"id": one} for one in self.listed]
                    body = json.dumps([*ids, *self.entries]).encode()
                    waiting.append(CloudResponse(effect.tag, 200, body))
                elif isinstance(effect, SendRequest):
                    error = CloudUnavailable("not here")
                    waiting.append(CloudFailed(effect.tag, error))
                elif isinstance(effect, ReadReports):
                    waiting.append(ReportsRead(effect.tag, ()))

    def pass_(self, seconds):
        """Let time pass, tick by tick."""
        end = self.seconds + seconds
        while True:
            at = self.core.deadline_s()
            if at is None or at - 1000.0 > end:
                break
            self.seconds = max(self.seconds, at - 1000.0)
            self.settle(Tick())
        self.seconds = end
        self.settle(Tick())

    def remains(self, charger_id):
        """Topics of a charger that the broker keeps."""
        return {t for t, payload in self.kept.items() if payload and f"/{charger_id}/" in t}

    def sees(self, charger_id=TWO):
        stamp = iso_utc(self.now.wall)
        raws = [
            RawObservation(charger_id, number, None, value, stamp)
            for number, value in ((120, "7.1"), (109, "3"), (42, "1"), (48, "16"), (4711, "x"))
        ]
        self.settle(ObservationsReceived(tuple(raws)))

    @property
    def alert(self):
        payload = self.kept.get("charger/bridge/alert/charger_not_listed")
        return json.loads(payload)["message"] if payload else None


def last(effects, kind):
    """The last effect of a kind."""
    return [effect for effect in effects if isinstance(effect, kind)][-1]


def test_a_charger_that_left_is_offline_at_once_and_emptied_a_day_later():
    """Unsubscribed, offline, no commands; its values stay for a day, then nothing does."""
    account = Account(ONE, TWO, homeassistant=HomeAssistantSettings(enabled=True))
    account.settle(StreamOpened())
    account.sees()
    account.pass_(60.0)
    account.sees()
    described = {t for t, payload in account.kept.items() if "homeassistant" in t and payload}
    assert account.kept[f"charger/{TWO}/availability"] == b"online"
    account.listed = (ONE,)
    account.pass_(900.0)

    assert account.kept[f"charger/{TWO}/availability"] == b"offline"
    assert last(account.said, Subscribe) == Subscribe((ONE,))
    assert last(account.said, SaveChargerList).charger_ids == (ONE,)
    assert TWO in last(account.said, SaveChargerList).left
    assert f"{TWO} left the account" in account.alert
    assert f"charger/{TWO}/state/total_power" in account.remains(TWO)
    command = MqttMessage(f"charger/{TWO}/set/pause", b"PRESS", AckToken(1, 1, 1))
    answer = json.loads(next(e.payload for e in account.take(command) if isinstance(e, Publish)))
    assert answer["reason"] == "unknown_charger"
    account.sees()  # the hub may go on sending
    assert account.kept[f"charger/{TWO}/availability"] == b"offline"
    account.kept.clear()
    account.settle(MqttDisconnected("gone"), MqttConnected(False, "5", 20))
    account.pass_(10.0)
    assert account.kept[f"charger/{TWO}/availability"] == b"offline"

    account.pass_(24 * 3600.0)
    assert account.remains(TWO) == set()
    assert f"charger/{TWO}/state/observation_4711" in account.kept
    assert last(account.said, SaveChargerList) == SaveChargerList((ONE,))
    assert account.alert is None
    now_described = {t for t, payload in account.kept.items() if "homeassistant" in t and payload}
    assert {t for t in described if TWO in t}
    assert not {t for t in now_described if TWO in t}


def test_a_charger_that_comes_back_within_the_day_is_served_as_before():
    """The next list with it brings it back; nothing was emptied, and nothing will be."""
    account = Account(ONE, TWO)
    account.sees()
    account.listed = (ONE,)
    account.pass_(900.0)
    assert last(account.said, Subscribe) == Subscribe((ONE,))
    account.listed = (ONE, TWO)
    account.pass_(600.0)
    assert last(account.said, Subscribe) == Subscribe((ONE, TWO))
    assert account.alert is None
    account.settle(StreamOpened())
    account.sees()
    account.pass_(26 * 3600.0)

    assert f"charger/{TWO}/state/total_power" in account.remains(TWO)
    assert last(account.said, SaveChargerList) == SaveChargerList((ONE, TWO))


@pytest.mark.parametrize("payload", [TWO.encode(), f'"{TWO}"\n'.encode()])
def test_on_demand_a_charger_that_left_is_forgotten_at_once(payload):
    """The serial on bridge/forget empties everything; of one that is served it does nothing."""
    account = Account(ONE, TWO)
    account.sees()
    wish = MqttMessage("charger/bridge/forget", payload, AckToken(1, 2, 1))
    account.settle(wish)
    assert account.remains(TWO)
    account.listed = (ONE,)
    account.pass_(900.0)
    account.settle(structs.replace(wish, retained=True))
    account.settle(structs.replace(wish, payload=b"+"), structs.replace(wish, payload=b"EH999999"))
    account.pass_(1.0)
    assert account.remains(TWO)
    account.settle(wish)
    account.pass_(1.0)

    assert account.remains(TWO) == set()
    assert [e for e in account.said if isinstance(e, LogEntry) and e.event == "forget.ignored"]
    assert Acknowledge(AckToken(1, 2, 1)) in account.said


def test_a_charger_taken_out_of_the_configuration_is_forgotten():
    """By a reload at once; by an edit and a restart with the first connection."""
    both = Account(ONE, TWO, chargers=(ONE, TWO))
    both.sees()
    remembered = last(both.said, SaveChargerList)
    settings = replace(both.settings, easee=EaseeSettings("x", Secret("p"), (ONE,)))
    both.pass_(15.0)
    both.settle(Reconfigured(settings, ()))
    both.pass_(1.0)
    assert both.remains(TWO) == set()
    assert last(both.said, Subscribe) == Subscribe((ONE,))
    assert f"charger/{TWO}/availability" in both.kept
    settings = replace(both.settings, easee=EaseeSettings("x", Secret("p"), (ONE, TWO)))
    both.settle(Reconfigured(settings, ()))
    assert last(both.said, Subscribe) == Subscribe((ONE, TWO))

    later = Account(ONE, TWO, chargers=(ONE,), started=Started(remembered.charger_ids))
    later.pass_(15.0)
    assert later.kept[f"charger/{TWO}/state/total_power"] == b""
    assert last(later.said, SaveChargerList) == SaveChargerList((ONE,))


def test_who_left_stays_away_over_a_restart():
    """It is not served by the file's word, and emptied when its day is over; listed, it is back."""
    left = {TWO: NOON - timedelta(hours=23)}
    account = Account(ONE, chargers=(ONE, TWO), started=Started((ONE, TWO), left=left))
    assert last(account.said, Subscribe) == Subscribe((ONE,))
    account.pass_(10.0)
    assert account.kept[f"charger/{TWO}/availability"] == b"offline"
    account.pass_(3600.0)
    assert account.kept[f"charger/{TWO}/availability"] == b""
    account.listed = (ONE, TWO)
    account.pass_(600.0)
    assert last(account.said, Subscribe) == Subscribe((ONE, TWO))


def beat(client_id, **said):
    """Build what another bridge says of itself, on the topic that has this name."""
    facts = {"client_id": client_id, "instance": "0", "started_at": "t"} | said
    topic = "charger/bridge/info" if said else "charger/bridge/heartbeat"
    return MqttMessage(topic, json.dumps(facts).encode(), AckToken(1, 5, 1))


@pytest.mark.parametrize("serves", [(), (TWO,)])
def test_who_was_served_for_another_account_is_offline_unless_another_bridge_serves_it(serves):
    """The account in the configuration was changed: its chargers are no more ours, and were."""
    account = Account(ONE, started=Started(former=(TWO,)))
    account.kept[f"charger/{TWO}/availability"] = b"online"
    account.settle(keeps(f"{TWO}/availability", b"online"))
    account.settle(beat("other", chargers=serves), beat("other"))
    account.pass_(10.0)

    assert last(account.said, Subscribe) == Subscribe((ONE,))
    said = account.kept[f"charger/{TWO}/availability"]
    assert said == (b"online" if serves else b"offline")
    assert f"{TWO} left the account" in account.alert
    assert TWO in last(account.said, SaveChargerList).left
    command = MqttMessage(f"charger/{TWO}/set/pause", b"PRESS", AckToken(1, 1, 1))
    answers = [e for e in account.take(command) if isinstance(e, Publish)]
    assert (answers == []) is bool(serves)


def test_no_trouble_of_the_vendor_takes_a_charger_away():
    """Empty lists for less than ten minutes, failures, unreadable and half read ones: all stay."""
    account = Account(ONE, TWO)
    account.sees()
    account.listed = ()
    account.pass_(500.0)
    assert account.alert == f"the account does not list {ONE}, {TWO}"
    account.listed, account.entries = (ONE,), ({"id": 7}, "x")
    account.pass_(1800.0)
    account.listed, account.entries = (ONE, TWO), ()
    account.pass_(600.0)

    assert last(account.said, Subscribe) == Subscribe((ONE, TWO))
    assert account.alert is None
    assert last(account.said, SaveChargerList) == SaveChargerList((ONE, TWO))


def test_who_is_listed_again_while_being_emptied_is_served_afterwards():
    """New values must not be emptied by what is under way."""
    account = Account(ONE, TWO)
    account.sees()
    account.listed = (ONE,)
    account.pass_(900.0)
    wish = MqttMessage("charger/bridge/forget", TWO.encode(), AckToken(1, 2, 1))
    emptying = account.take(wish)
    account.listed = (ONE, TWO)
    account.pass_(600.0)
    assert last(account.said, Subscribe) == Subscribe((ONE,))
    for effect in emptying:
        if isinstance(effect, Publish):
            account.settle(MqttAcked(effect, 0))
    account.pass_(60.0)

    assert last(account.said, Subscribe) == Subscribe((ONE, TWO))


def weight(thing, seen=None):
    """Count everything that is held below an object."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, type | str | bytes | int | float | None.__class__):
        return 0
    seen.add(id(thing))
    if isinstance(thing, dict):
        parts = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset | deque):
        parts = list(thing)
    elif type(thing).__module__.startswith("bridge."):
        names = getattr(thing, "__dict__", None) or getattr(type(thing), "__slots__", ())
        parts = [getattr(thing, name, None) for name in names]
    else:
        return 1
    return 1 + len(parts) + sum(weight(part, seen) for part in parts)


@pytest.mark.parametrize(("rounds", "each", "described"), [(8, 30, False), (6, 4, True)])
def test_chargers_that_come_and_go_leave_nothing_behind(monkeypatch, rounds, each, described):
    """Whatever was held for them, in every room, is given back."""
    monkeypatch.setattr(departures, "_NAMES", ("total_power",))
    monkeypatch.setattr(departures, "_DERIVED", ("op_mode",))
    account = Account(ONE, homeassistant=HomeAssistantSettings(enabled=described))
    weights = []
    for number in range(rounds):
        some = [f"EH{200000 + each * number + one}" for one in range(each)]
        account.listed = (ONE, *some)
        account.pass_(301.0)
        for one in some:
            account.sees(one)
        account.listed = (ONE,)
        account.pass_(450.0)
        assert len(part(account.core, "departures").left) == len(some)
        for one in some:
            account.settle(MqttMessage("charger/bridge/forget", one.encode(), AckToken(1, 2, 1)))
        account.pass_(20.0)
        assert part(account.core, "departures").left == {}
        account.said.clear()
        account.kept.clear()
        weights.append(weight(account.core))

    assert weights[-1] - weights[2] < each


def test_what_commands_left_behind_is_given_back_with_their_charger():
    """Limits, circuits, readings and writes that were held for its commands."""
    account = Account(ONE, TWO)
    account.pass_(1.0)
    before = (
        weight(part(account.core, "commands")._send_policy),
        weight(part(account.core, "commands")._dispatcher),
    )
    account.sees()
    for name, payload in (
        ("pause", b"PRESS"), ("dynamic_charger_current", b"7"), ("max_charger_current", b"16")
    ):  # fmt: skip
        message = MqttMessage(f"charger/{TWO}/set/{name}", payload, AckToken(1, 1, 1))
        account.settle(message, Tick())
    account.pass_(120.0)
    assert weight(part(account.core, "commands")._send_policy) > before[0]
    account.listed = (ONE,)
    account.pass_(900.0)
    account.settle(MqttMessage("charger/bridge/forget", TWO.encode(), AckToken(1, 2, 1)))
    account.pass_(120.0)

    assert weight(part(account.core, "commands")._send_policy) == before[0]


@pytest.mark.parametrize("told", [(), (LogEntry("info", "told"),), (Acknowledge(RECEIPT),)])
def test_a_message_is_acknowledged_once_wherever_its_room_fails(world, monkeypatch, told):
    """Before it said anything, after it said something, and after it acknowledged."""

    def receive(*_):
        yield from told
        raise Defect

    monkeypatch.setattr(QueryService, "receive", receive)
    effects = handled(world.core, _asked(ONE, "get/state"), world.now)
    assert effects.count(Acknowledge(RECEIPT)) == 1
    (failed,) = [e.fields for e in effects if isinstance(e, LogEntry) and e.level == "error"]
    assert (failed["component"], type(failed["exc_info"])) == ("queries", Defect)


COUNTED = {
    "response of another": ("responses_of_unknown_chargers", 1),
    "response": ("foreign_commands", 1),
    "refused": ("publications_refused", 1),
    "oddity": ("stream_odd", 3),
}


@pytest.mark.parametrize("name", COUNTED)
def test_what_is_counted_is_counted_each_time(world, name):
    """A second time is not the first one again."""
    counter, times = COUNTED[name]
    for count in (1, 2, 3):
        world.take(EVENTS[name](world))
        assert world.core.status.counters[counter] == count * times


def test_what_comes_by_polling_and_cannot_be_used_is_counted_each_time():
    """A second unreadable answer, and the bad records of a second one."""
    for answer, counter in ((b"<html>", "polls_unreadable"), (READ, "poll_bad_records")):
        world = World(ONE, source="poll")
        world.take(Started())
        for count in (1, 2):
            while not [c for c in world.calls() if c.request.endpoint is Endpoint.OBSERVATIONS]:
                world.until_deadline()
            reads = [c for c in world.calls() if c.request.endpoint is Endpoint.OBSERVATIONS]
            world.take(CloudResponse(reads[0].tag, 200, answer))
            assert world.core.status.counters[counter] == count


def test_what_is_left_to_another_bridge_is_counted(world):
    """Each command that the other one carries out."""
    world.take(_neighbour("info", [ONE]))
    for count in (1, 2):
        world.take(_asked(ONE))
        assert world.core.status.counters["left_to_another_bridge"] == count


def test_a_connection_that_never_was_says_nothing_of_how_long_a_message_waited():
    """An attempt that failed before the first connection is not the broker's last word."""
    world = World(ONE)
    world.take(StoreOpened(()), Started(), MqttDisconnected("gone"), MqttConnected(True, "5", 20))
    assert _answers_to_stop(world) == "age_unknown"


def test_what_to_do_about_a_charger_that_is_not_listed_is_told():
    """Of one that left it is also told how to empty it now."""
    account = Account(ONE, TWO)
    account.listed = (ONE,)
    hints, topic = [], "charger/bridge/alert/charger_not_listed"
    while len(hints) < 2:
        account.pass_(60.0)
        alert = json.loads(account.kept.get(topic) or b"{}")
        if alert and alert["hint"] not in hints:
            hints.append(alert["hint"])

    look = "check easee.chargers, or share the charger with this account"
    assert hints == [look, f"{look}; bridge/forget with its serial empties its topics now"]


def test_who_left_is_named_in_the_log():
    """Once, with the serial."""
    account = Account(ONE, TWO)
    account.listed = (ONE,)
    account.pass_(900.0)
    noted = [e for e in account.said if isinstance(e, LogEntry) and e.event == "chargers.left"]
    assert noted == [LogEntry("warning", "chargers.left", {"left": (TWO,)})]


def test_without_home_assistant_its_birth_is_nobodys(world):
    """Switched off, nothing of it is listened to and nothing is said."""
    assert world.core.subscriptions == world.core.topics.subscriptions
    assert not [t for t in world.published() if t.startswith("homeassistant/")]


def test_an_error_among_observations_takes_nothing_from_those_before_it(world):
    """What the core holds of them by then is published: nobody would repeat it."""
    stamp = iso_utc(world.now.wall)
    good = RawObservation(ONE, 120, 3, "7.4", stamp)
    impossible = RawObservation(ONE, 124, 3, "1", None)

    with pytest.raises(TypeError):
        world.take(ObservationsReceived((good, impossible)))

    assert f"charger/{ONE}/state/total_power" in world.published()


# -- who is given what -----------------------------------------------------------------------------


class Defect(RuntimeError):
    """An error of ours."""


# What is written down as it is and not as the messages that it becomes.
AS_CHANGES = (ValuesChanged, DerivedChanged, AvailabilityChanged, ChargerEvent, ChargerCleared)


class Watched:
    """A component that writes down what it is given and what it yields, and may be broken."""

    def __init__(self, inner, told):
        self.inner = inner
        self.name, self.interests, self.deadline_s = inner.name, inner.interests, inner.deadline_s
        self.told = told
        self.broken = None

    def handle(self, event, now):
        """Take an event as the component does; broken, it fails before or behind an output."""
        if not isinstance(event, EventHandled):
            self.told(f"{self.name} <- {type(event).__name__}")
        if self.broken == 0:
            raise Defect
        outputs = self.inner.handle(event, now)
        return outputs if outputs is NOTHING else self.noted(outputs)

    def noted(self, outputs):
        """Write each output down before it is delivered."""
        for number, output in enumerate(outputs, 1):
            for told in (output,) if isinstance(output, AS_CHANGES) else as_messages([output]):
                self.told(f"{self.name} -> {spelled(told)}")
            yield output
            if number == self.broken:
                raise Defect


def watch(monkeypatch):
    """Have components of every core made from now on watched; return what they are told to."""
    lines = []

    class Watching(Router):
        def __init__(self, components, *facts):
            super().__init__([inside(each) for each in components], *facts)

    def inside(each):
        """Watch a component below what acknowledges for it."""
        if not isinstance(each, Acknowledging):
            return Watched(each, lines.append)
        each.inner = Watched(each.inner, lines.append)
        return each

    monkeypatch.setattr(composition, "Router", Watching)
    return lines


def spelled(output):
    """Spell what a component yields: bytes and plain facts as they are, of the rest the type."""
    names = getattr(output, "__struct_fields__", None)
    if names is None:
        names = [one.name for one in structs.fields(output)]
    if isinstance(output, Publish):
        names = names[: names.index("qos")]
    facts = ", ".join(shown(getattr(output, name)) for name in names)
    return f"{type(output).__name__}({facts})"


def shown(value):
    """Show a fact."""
    if isinstance(value, CloudRequest):
        return value.path.partition("?")[0]
    if isinstance(value, Publish | Tag | ValueChanged):
        return spelled(value)
    return repr(value) if is_plain(value) else f"<{type(value).__name__}>"


def is_plain(value):
    """Say whether a value is shown as it is."""
    if isinstance(value, tuple | list | set | dict | frozenset):
        return all(map(is_plain, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str | bytes | int | float | datetime | None)


LISTED = b'[{"id":"EH123456"},{"id":"EH654321"},{"id":5}]'
READ = b'[{"id":120,"value":7.2,"timestamp":"2026-11-22T12:00:00Z"},{"id":"x","value":3}]'
REPORT = read_report(SESSION, charger_id=ONE, source="stream", measured_at=NOON, received_at=NOON)
STORED = StoredReport(f"{ONE}-7", 2, REPORT)
OTHER = StoredReport(f"{TWO}-7", 1, replace(REPORT, charger_id=TWO))
SENT = Publish("charger/x", b"1", tag="t")
STORE_GONE = StoreFailed("gone", "mount it")
SLOW = RateLimited("slow down", retry_after_s=60.0)


def _listing(world):
    """Return the id of the call for the account's list."""
    return Tag("discovery")


def _reading(world):
    """Have a charger read over REST; return the id of the call."""
    world.take(StreamSubscription(ONE, "no access"))
    return world.calls()[0].tag


def _probing(world):
    """Have REST in trouble asked; return the id of the call."""
    world.take(CloudStatusChanged("unavailable", "no answer"))
    world.seconds += PROBE_EVERY_S
    world.take(Tick())
    return world.calls()[0].tag


def _commanding(world):
    """Have a command under way; return the id of its call."""
    world.take(MqttMessage(f"charger/{ONE}/set/reboot", b"PRESS", AckToken(1, 5, 1)))
    return world.calls()[0].tag


def _querying(world):
    """Have a query under way; return the id of its call."""
    world.take(MqttMessage(f"charger/{ONE}/get/observations", b"", AckToken(1, 5, 1)))
    return world.calls()[0].tag


def _after(world, before, event):
    """Have something happen before an event."""
    world.take(before)
    return event


def _emptying(world):
    """Have a charger leave and all but one of its topics emptied; return the last one."""
    list(world.core.alerts.raise_(f"reports_lost/{ONE}", "some", "look", world.now))
    easee = EaseeSettings("x", Secret("p"), (TWO,))
    world.seconds += 15.0
    world.take(Reconfigured(_but(world, easee=easee), ()), Tick())
    emptied = [e for e in world.out if isinstance(e, Publish) and not e.payload]
    *others, last_one = [message for message in emptied if not message.telemetry]
    world.take(*(MqttAcked(message, 0) for message in others))
    return last_one


def _switching(world):
    """Have smart charging switched off; return the charger's word."""
    world.take(MqttMessage(f"charger/{ONE}/set/smart_charging", b"false", AckToken(1, 5, 1)))
    ticks = 638000000000000000
    body = json.dumps([{"device": ONE, "commandId": 11, "ticks": ticks}]).encode()
    world.take(CloudResponse(world.calls()[0].tag, 202, body))
    return ChargerResponse(ONE, 11, ticks, True, 0)


def _message(topic, payload=b"{}", **more):
    return MqttMessage(f"charger/{topic}", payload, RECEIPT, **more)


def _raw(number, value, charger_id=ONE):
    return RawObservation(charger_id, number, None, value, iso_utc(NOON))


def _but(world, **sections):
    """Return the settings in force, but for some sections."""
    return replace(world.settings, **sections)


EVENTS = {
    "observed": lambda _: ObservationsReceived(
        (_raw(109, "3"), _raw(42, "1"), _raw(80, "347"), _raw(120, "1"), _raw(109, "3", TWO)),
        "poll",
    ),
    "response": lambda _: ChargerResponse(ONE, 29, 636, True, None),
    "response of another": lambda _: ChargerResponse(TWO, 29, 636, True, None),
    "command saved": lambda world: _after(world, STORE_GONE, CommandSaved("k", "done")),
    "command not saved": lambda _: CommandSaveFailed("k", StoreFull("full", hint="free some")),
    "set": lambda _: _message(f"{ONE}/set/stop"),
    "set, retained": lambda _: _message(f"{ONE}/set/stop", retained=True),
    "set, retained, of another": lambda _: _message(f"{TWO}/set/stop", retained=True),
    "get": lambda _: _message(f"{ONE}/get/state"),
    "taken": lambda _: _message("bridge/session/ack"),
    "replay": lambda _: _message("bridge/session/replay"),
    "forget": lambda _: _message("bridge/forget", TWO.encode()),
    "forget, served": lambda _: _message("bridge/forget", ONE.encode()),
    "forget, retained": lambda _: _message("bridge/forget", TWO.encode(), retained=True),
    "forget, no serial": lambda _: _message("bridge/forget", b"?\xff"),
    "heartbeat": lambda _: _message("bridge/heartbeat"),
    "heartbeat, new": lambda _: _neighbour("heartbeat"),
    "info": lambda _: _message("bridge/info"),
    "info, kept": lambda _: _message("bridge/info", retained=True),
    "state": lambda _: _message("bridge/state", b"offline"),
    "state, kept": lambda _: _message("bridge/state", b"offline", retained=True),
    "alert, kept": lambda _: _message("bridge/alert/storage", retained=True),
    "availability, kept": lambda _: _message(f"{TWO}/availability", b"online", retained=True),
    "personal, kept": lambda _: _message(f"{TWO}/state/site_structure", retained=True),
    "somebody's": lambda _: _message("nobody/knows"),
    "birth": lambda _: MqttMessage("homeassistant/status", b"online", RECEIPT),
    "acked": lambda _: MqttAcked(SENT, 16),
    "refused": lambda _: MqttAcked(SENT, 135),
    "heartbeat acked": lambda _: MqttAcked(Publish("charger/bridge/heartbeat", b""), 135),
    "values acked": lambda world: _after(world, MqttAcked(SENT, 135), ValuesAcked((SENT,))),
    "lane opened": lambda _: ValueConnectionOpened(20),
    "lane closed": lambda world: _after(
        world, ValueConnectionOpened(20), ValueConnectionClosed(in_doubt=True)
    ),
    "connected": lambda _: MqttConnected(
        True, "3.1.1", 20, keeps_s=7, largest_packet_bytes=900, loopback=True
    ),
    "connected, no QoS": lambda _: MqttConnected(False, "5", 20, maximum_qos=0),
    "subscribed": lambda _: MqttSubscribed(("charger/+/set/+",)),
    "unreachable": lambda _: MqttUnreachable("no route"),
    "disconnected": lambda _: MqttDisconnected("gone", 142),
    "stream opened": lambda world: _after(world, StreamClosed("gone"), StreamOpened()),
    "stream closed": lambda _: StreamClosed("gone"),
    "stream refused": lambda _: StreamClosed("HTTP 401", refused=True),
    "subscription refused": lambda _: StreamSubscription(ONE, "no"),
    "subscription of another refused": lambda _: StreamSubscription(TWO, "no"),
    "subscription taken": lambda world: _after(
        world, StreamSubscription(ONE, "no"), StreamSubscription(ONE, None)
    ),
    "oddity": lambda _: StreamAnomaly("odd", "what", 3),
    "exchange refused": lambda _: ExchangeStatusChanged("it has no queue"),
    "exchange well": lambda _: ExchangeStatusChanged(""),
    "link": lambda _: CloudStatusChanged("unavailable", "no answer"),
    "list": lambda world: CloudResponse(_listing(world), 200, LISTED),
    "list of an account": lambda world: CloudResponse(_listing(world), 200, LISTED),
    "list of an account, empty": lambda world: CloudResponse(_listing(world), 200, b"[]"),
    "list of an account, of nothing": lambda world: CloudResponse(_listing(world), 200, b"[5]"),
    "list of an account, unreadable": lambda world: CloudResponse(_listing(world), 200, b"{}"),
    "list of an account, limited": lambda world: CloudFailed(_listing(world), SLOW),
    "list of an account, refused": lambda world: CloudFailed(
        _listing(world), CloudRejected("not you", status=403, reason="forbidden")
    ),
    "list, unreadable": lambda world: CloudResponse(_listing(world), 200, b"{}"),
    "list failed": lambda world: CloudFailed(_listing(world), SLOW),
    "read": lambda world: CloudResponse(_reading(world), 200, READ),
    "read, unreadable": lambda world: CloudResponse(_reading(world), 200, b"<html>"),
    "read failed": lambda world: CloudFailed(_reading(world), SLOW),
    "probe failed": lambda world: CloudFailed(_probing(world), SLOW),
    "command answered": lambda world: CloudResponse(_commanding(world), 200, b"[]"),
    "command failed": lambda world: CloudFailed(_commanding(world), SLOW),
    "query answered": lambda world: CloudResponse(_querying(world), 200, b"[]"),
    "query failed": lambda world: CloudFailed(_querying(world), SLOW),
    "nobody's answer": lambda _: CloudResponse(Tag("x"), 200, b""),
    "nobody's failure": lambda _: CloudFailed(Tag("x"), SLOW),
    "store opened": lambda world: _after(world, STORE_GONE, StoreOpened(())),
    "store damaged": lambda _: StoreOpened(
        (), Damage("/x/db.corrupt", 2, 4, is_incomplete=True).problems
    ),
    "store replaced": lambda _: StoreOpened((), Damage("/x/db.corrupt").problems),
    "store incomplete": lambda _: StoreOpened((), Damage(recovered=4, is_incomplete=True).problems),
    "reports read": lambda _: ReportsRead(Tag("sessions"), (OTHER, STORED)),
    "reports delivered": lambda _: ReportsDelivered("plant", (("EH123456-1", 1),)),
    "reports not read": lambda _: ReportsReadFailed(Tag("sessions"), StoreError("gone")),
    "store tended": lambda _: StoreMaintained(0.5, 2**30, 3),
    "store failed": lambda _: STORE_GONE,
    "report saved": lambda world: _after(world, STORE_GONE, ReportSaved(STORED, True)),
    "report not saved": lambda _: ReportSaveFailed(REPORT, StoreError("full")),
    "started": lambda _: Started((ONE,), alive_at=NOON, left={"EH111111": NOON}),
    "started, of another account": lambda _: Started((ONE,), former=(TWO,)),
    "reconfigured": lambda world: Reconfigured(_but(world, commands=CommandSettings(allow=())), ()),
    "reconfigured, not all": lambda world: Reconfigured(_but(world), ("mqtt.host", "mqtt.port")),
    "other chargers": lambda world: Reconfigured(
        _but(world, easee=EaseeSettings("x", Secret("p"), (TWO,))), ()
    ),
    "not reconfigured": lambda _: ReconfigurationFailed(("no such key", "no such file")),
    "stood still": lambda _: ProcessSuspended(7.4),
    "emptied": lambda world: MqttAcked(_emptying(world), 0),
    "setting confirmed": _switching,
    "stopping": lambda _: Stopping(),
    "failed": lambda _: ComponentFailed("gateway", "Publish", Defect()),
    "cluster seen": lambda _: ClusterSeen(ClusterView((), ())),
    "division seen": lambda _: DivisionSeen({}),
    "vendor odd": lambda _: VendorOdd((("observation 9999", "observation 9999 is unknown"),)),
    "vendor replied": lambda _: VendorReplied("GET /api/chargers", 418),
    "tick": lambda _: Tick(),
}


def _stories():
    """Read what is to happen with each of :data:`EVENTS`, a paragraph each."""
    text = (Path(__file__).parent.parent / "data" / "routes.txt").read_text()
    paragraphs = [part.split("\n") for part in text.strip().split("\n\n")[2:]]
    return {head.removesuffix(":"): lines for head, *lines in paragraphs}


STORIES = _stories()
# These need somebody who waits for an answer.
UNDER_WAY = {"emptied", "setting confirmed", "read", "read, unreadable", "read failed"} | {
    f"{what} {how}" for what in ("probe", "command", "query") for how in ("answered", "failed")
}


def ordered(lines):
    """Sort what is told of chargers that were looked at together, in no order.

    Which commands there are is the catalogue's affair: a new one is no other way of an event.
    """
    lines = [re.sub(r'"commands":\[[^]]*\]', '"commands":[…]', line) for line in lines]
    key = "observations -> AvailabilityChanged"
    found = iter(sorted(line for line in lines if line.startswith(key)))
    return [next(found) if line.startswith(key) else line for line in lines]


def _happens(lines, name, broken=None, outputs=0):
    """Have an event happen to a started core; return it and what followed."""
    world = World(*(() if "account" in name else (ONE,)))
    world.take(StoreOpened(()), Started())
    for read in [effect for effect in world.out if isinstance(effect, ReadReports)]:
        world.take(ReportsRead(read.tag, ()))
    world.take(StreamOpened(), MqttConnected(False, "5", 20))
    event = EVENTS[name](world)
    world.seconds += 1.5
    lines.clear()
    if broken is not None:
        part(world.core, broken).broken = outputs
    return event, world.core.handle(event, world.now)


def test_every_event_there_is_has_its_stories():
    """The table leaves none out."""
    world = World()
    world.take(Started(), MqttConnected(False, "5", 20))
    made = {type(make(world)) for name, make in EVENTS.items() if name not in UNDER_WAY}
    assert made == set(get_args(Event))
    assert list(EVENTS) == list(STORIES)


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_reaches_who_is_concerned_and_what_follows_is_the_same(name, monkeypatch):
    """Which components are given it, in which order, and what each yields."""
    lines = watch(monkeypatch)
    _happens(lines, name)

    assert ordered(lines) == ordered(STORIES[name])


@pytest.mark.parametrize("name", [name for name in EVENTS if name != "failed"])
def test_who_fails_is_named_and_everybody_else_goes_on(name, monkeypatch):
    """Whichever component fails at an event, before or after what it yields."""
    lines = watch(monkeypatch)
    involved = dict.fromkeys(line.split()[0] for line in STORIES[name])
    for broken in involved:
        event, effects = _happens(lines, name, broken)
        failed = [
            effect.fields
            for effect in effects
            if isinstance(effect, LogEntry) and effect.event == "component.failed"
        ]
        assert [(each["component"], each["doing"]) for each in failed] == [
            (broken, type(event).__name__)
        ]
        direct = [
            line
            for line in STORIES[name]
            if line.endswith(f"<- {type(event).__name__}") and not line.startswith(f"{broken} ")
        ]
        assert set(direct) <= set(lines)
        if isinstance(event, MqttMessage) and "/set/" not in event.topic:
            assert effects.count(Acknowledge(event.ack_token)) == 1
