"""Counting what happens."""

import pytest

from bridge.core.changes import CloudStateChanged, CommandAnswered
from bridge.core.easee.rest_requests import charger_list_request
from bridge.core.effects import LogEntry, SendRequest
from bridge.core.events import (
    CloudFailed,
    CommandSaved,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    ObservationsReceived,
    StoreFailed,
    StoreMaintained,
    StoreOpened,
    StreamAnomaly,
    StreamClosed,
    StreamOpened,
    ValuesAcked,
)
from bridge.core.messages import Publish
from bridge.core.records.command_result import CommandResult
from bridge.core.records.observation import RawObservation
from bridge.core.records.reply_to import ReplyTo
from bridge.errors import RateLimited
from bridge.monitoring.metrics import COUNTERS, LATENCY_S, UNKNOWN, Histogram, Metrics
from tests.conftest import NOON
from tests.health import health


@pytest.fixture
def metrics():
    """Metrics that have counted nothing."""
    return Metrics()


HEALTH = health(
    verdict="failed", cloud="blocked", chargers=2, chargers_online=0, alerts=("blocked",)
)


def answer(callers=1, **changes):
    """Make a change that tells a result."""
    facts = {
        "id": None,
        "command": "start",
        "state": "confirmed",
        "final": True,
        "received_at": NOON,
        "at": NOON,
        "elapsed_ms": 412,
    }
    return CommandAnswered("EH123456", CommandResult(**facts | changes), (ReplyTo(),) * callers)


def test_every_count_has_the_labels_of_its_row(metrics):
    """Whatever is fed in, a metric has exactly the labels its table names."""
    raw = RawObservation("EH123456", 109, 4, "3", "2026-11-22T12:00:00Z")
    message = Publish("charger/bridge/state", b"online")
    for event in (
        ObservationsReceived((raw, raw)),
        MqttConnected(session_present=False, protocol="5", receive_maximum=20),
        MqttAcked(message, 0),
        MqttAcked(message, 135),
        ValuesAcked((message, message)),
        MqttDisconnected("gone"),
        StreamOpened(),
        StreamAnomaly("unknown_target", "x"),
        StreamClosed("gone"),
        CloudFailed(1, RateLimited("wait", retry_after_s=3.0)),
        CommandSaved("key", "waiting"),
    ):
        metrics.event(event)
    for effect in (message, SendRequest(1, charger_list_request()), LogEntry("info", "a.b")):
        metrics.effect(effect)
    for sent in (message, Publish("charger/x", b"1", telemetry=True)):
        metrics.published(sent)
    metrics.change(answer())
    assert {name: len(labels) for name, labels in metrics.counts} == {
        name: len(COUNTERS[name].labels) for name, _ in metrics.counts
    }
    assert metrics.counts["observations", ("stream",)] == 2
    assert metrics.counts["mqtt_acknowledged", ("refused",)] == 1
    assert metrics.counts["mqtt_acknowledged", ("ok",)] == 3
    assert metrics.counts["cloud_rate_limited", ()] == 1
    assert metrics.counts["cloud_requests", ("charger_list",)] == 1


def test_where_things_stand_follows_the_events(metrics):
    """Links, store and cloud are what was last said of them."""
    metrics.event(MqttConnected(session_present=True, protocol="5", receive_maximum=20))
    metrics.event(StreamOpened())
    metrics.event(StoreOpened(()))
    metrics.event(StoreMaintained(0.25, 1000))
    metrics.change(CloudStateChanged("blocked"))
    metrics.change(HEALTH)
    assert (metrics.broker_up, metrics.stream_up, metrics.store_ok) == (True, True, True)
    assert (metrics.used_share, metrics.free_bytes) == (0.25, 1000)
    assert (metrics.cloud, metrics.health) == ("blocked", HEALTH)
    metrics.event(MqttDisconnected("gone"))
    metrics.event(StreamClosed("gone"))
    metrics.event(StoreFailed("full", "make room"))
    assert (metrics.broker_up, metrics.stream_up, metrics.store_ok) == (False, False, False)


def test_only_final_answers_count(metrics):
    """An ``accepted`` is no end; its command is counted once, when it has one."""
    metrics.change(answer(state="accepted", final=False))
    assert not any(name == "answers" for name, _ in metrics.counts)
    metrics.change(answer())
    assert metrics.counts["answers", ("start", "confirmed", "")] == 1
    assert metrics.command_s.sum_s == pytest.approx(0.412)
    metrics.change(answer(callers=2))
    assert metrics.counts["answers", ("start", "confirmed", "")] == 3


def test_a_name_from_outside_is_no_label(metrics):
    """Somebody who asks for a thousand unknown commands makes one series, not a thousand."""
    for number in range(1000):
        metrics.change(answer(command=f"x{number}", state="refused", reason="unknown_command"))
    assert metrics.counts["answers", (UNKNOWN, "refused", "unknown_command")] == 1000


def test_a_histogram_is_cumulative():
    """Every bucket holds what the smaller ones hold, and the last one everything."""
    latency = Histogram()
    for seconds in (0.05, 0.1, 3.0, 1000.0):
        latency.add(seconds)
    counts = dict(latency.cumulative())
    assert (counts[0.1], counts[5.0], counts[LATENCY_S[-1]], counts[None]) == (2, 3, 3, 4)
