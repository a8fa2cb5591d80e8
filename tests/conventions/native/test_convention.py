"""The native convention: every change has its messages."""

import json
from datetime import UTC, datetime
from typing import get_args

import pytest

from bridge.conventions.native.convention import Native
from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    AvailabilityChanged,
    BridgeInfoChanged,
    BridgeOnline,
    Change,
    ChargerCleared,
    ChargerEvent,
    CircuitChanged,
    CloudStateChanged,
    CommandAnswered,
    CurrentSessionChanged,
    DerivedChanged,
    LastSessionChanged,
    ReportDue,
    ReportPending,
    ReportsGivenUp,
    SchedulesChanged,
    SiteChanged,
    SiteCleared,
    ValueChanged,
    ValuesChanged,
    ValuesHidden,
)
from bridge.core.easee.observation_registry import spec_of
from bridge.core.easee.schedule_times import UNKNOWN
from bridge.core.easee.schedules import Schedules
from bridge.core.easee.sites import Site
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken
from bridge.core.records.command_result import CommandResult
from bridge.core.records.moment import Timestamp
from bridge.core.records.reply_to import ReplyTo
from bridge.core.records.stored_report import StoredReport
from bridge.core.topics import Topics
from bridge.settings import PublishSettings
from tests.core.sessions.rows import REPORT
from tests.health import WELL

ONE = "EH123456"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW = Timestamp(NOON, 1000.0)
INFO = BridgeInfoChanged("1", "bridge", "abc", NOON, (ONE,), {"json": True})
RESULT = CommandResult(None, "start", "accepted", False, NOON, NOON, 1)
ONE_OF_EACH = (
    ValuesChanged((ValueChanged(ONE, spec_of(120), 7.2, NOON, NOON, "stream"),)),
    DerivedChanged(ONE, "op_mode", "charging"),
    AvailabilityChanged(ONE, is_online=True),
    ChargerEvent(ONE, "smart_button", NOON, NOON, {"value": True}),
    CurrentSessionChanged(ONE, None),
    LastSessionChanged(ONE, REPORT, ("k", 1)),
    SchedulesChanged(ONE, Schedules(), UNKNOWN, NOON),
    ReportDue(StoredReport("k", 1, REPORT), "t"),
    ChargerCleared(ONE, ("total_power",), ("op_mode",), is_urgent=False, tag="t"),
    ValuesHidden(ONE, ("total_power", "op_mode"), "t"),
    CommandAnswered(ONE, RESULT, (ReplyTo(),)),
    AlertRaised("storage", "disk full", "free some space", NOON),
    AlertCleared("storage"),
    BridgeOnline(),
    CloudStateChanged("connected"),
    SiteChanged(Site(7, None, (), ()), is_personal=False),
    CircuitChanged(7, 9, {"rated_current": 32}),
    SiteCleared(7, (9,), is_whole=True),
    INFO,
    WELL,
)


@pytest.fixture
def native():
    """The convention under a base of its own."""
    return Native(Topics("home"), PublishSettings())


# Of conventions that deliver reports in their own way.
OF_OTHERS = (
    ReportPending(StoredReport("k", 1, REPORT), is_late=True),
    ReportsGivenUp((("k", 1),)),
)


@pytest.mark.parametrize("change", ONE_OF_EACH, ids=lambda change: type(change).__name__)
def test_every_change_is_published_below_the_base(native, change):
    """Each kind of change has at least one message."""
    messages = list(native.publish(change, NOW))
    assert messages
    assert all(message.topic.startswith("home/") for message in messages)


def test_no_kind_of_change_is_left_out():
    """The table of this test names every kind there is."""
    assert {type(change) for change in (*ONE_OF_EACH, *OF_OTHERS)} == {*get_args(Change)}


@pytest.mark.parametrize("change", OF_OTHERS)
def test_what_is_of_other_conventions_has_no_message(native, change):
    """The native one has its own way to the same."""
    assert list(native.publish(change, NOW)) == []


def test_an_event_is_a_document_that_is_not_retained(native):
    """Its facts stand between what it is and when it was."""
    (message,) = native.publish(ChargerEvent(ONE, "error", None, NOON, {"code": 17}), NOW)
    assert (message.topic, message.retained) == (f"home/{ONE}/event/error", False)
    assert list(json.loads(message.payload).items()) == [
        ("event", "error"),
        ("charger_id", ONE),
        ("code", 17),
        ("measured_at", None),
        ("received_at", "2026-11-22T12:00:00Z"),
    ]


@pytest.mark.parametrize("is_urgent", [False, True])
def test_everything_retained_of_a_charger_is_emptied(native, is_urgent):
    """Availability last, each message with its number; if urgent, first as values are sent."""
    change = ChargerCleared(ONE, ("total_power",), ("op_mode",), is_urgent, "t")
    messages = list(native.publish(change, NOW))
    main = [message for message in messages if not message.telemetry]
    assert [message.topic.removeprefix(f"home/{ONE}/") for message in main] == [
        "observation/total_power",
        "state/total_power",
        "state/op_mode",
        "session/current",
        "session/last",
        "schedule/current",
        "availability",
    ]
    assert [message.tag for message in main] == [f"t:{number}" for number in range(7)]
    assert {(m.payload, m.retained, m.parts) for m in messages} == {(b"", True, 7)}
    assert len(messages) - len(main) == 7 * is_urgent


def test_schedules_are_a_retained_document(native):
    """Without any, the document says so."""
    (message,) = native.publish(SchedulesChanged(ONE, Schedules(), UNKNOWN, NOON), NOW)

    assert (message.topic, message.retained) == (f"home/{ONE}/schedule/current", True)
    assert json.loads(message.payload) == {
        "charger_id": ONE,
        "in_force": "none",
        **dict.fromkeys(("in_period", "next_start", "next_stop", "delayed", "daily", "weekly")),
        "read_at": "2026-11-22T12:00:00Z",
    }


def test_nothing_is_said_again_and_nothing_is_read(native):
    """The core does both itself where the native convention is concerned."""
    message = MqttMessage(f"home/{ONE}/set/start", b"PRESS", AckToken(1, 1, 1))
    assert list(native.snapshot(NOW)) == []
    assert native.parse(message) is None


def test_a_topic_is_emptied_once(native):
    """A name that is an observation's and a derived value's has one topic, and one message."""
    change = ChargerCleared(ONE, ("current_l1",), ("current_l1",), is_urgent=False, tag="t")
    messages = list(native.publish(change, NOW))

    topics = [message.topic for message in messages]
    assert len(topics) == len(set(topics)) == messages[0].parts
