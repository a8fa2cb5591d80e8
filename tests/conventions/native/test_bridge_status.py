"""What the gateway tells of itself is retained below ``<base>/bridge``."""

import json
from datetime import UTC, datetime

import pytest

from bridge.conventions.native.bridge_status import BridgeMessages
from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    BridgeInfoChanged,
    BridgeOnline,
    CloudStateChanged,
    ReportCounts,
)
from bridge.core.messages import Publish
from bridge.core.topics import Topics
from tests.health import health

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def bridge():
    """The messages under a base of two levels."""
    return BridgeMessages(Topics("home/charger"))


def test_words_are_bare(bridge):
    """State and cloud are one word each, retained over the main connection."""
    assert bridge.online(BridgeOnline()) == (Publish("home/charger/bridge/state", b"online"),)
    assert bridge.cloud(CloudStateChanged("degraded")) == (
        Publish("home/charger/bridge/cloud", b"degraded"),
    )


def test_an_alert_says_what_is_wrong_what_to_do_and_since_when(bridge):
    """One of a charger has a level more; when it is over its topic is emptied."""
    (raised,) = bridge.alert(AlertRaised("unread/EH1", "cannot be read", "report it", NOON))
    assert raised == Publish(
        "home/charger/bridge/alert/unread/EH1",
        b'{"kind":"unread/EH1","message":"cannot be read","hint":"report it",'
        b'"since":"2026-11-22T12:00:00Z"}',
    )
    assert bridge.no_alert(AlertCleared("unread/EH1")) == (Publish(raised.topic, b""),)


@pytest.mark.parametrize(("at", "text"), [(NOON, "2026-11-22T12:00:00Z"), (None, "")])
def test_info_says_what_the_gateway_is(bridge, at, text):
    """In the order of the reference; before the start there is no time of it."""
    change = BridgeInfoChanged(
        "1.2", "bridge", "abc", at, ("EH1",), {"json": True, "mqtt": None}, ("QP1",)
    )
    (message,) = bridge.info(change)
    assert message.topic == "home/charger/bridge/info"
    assert list(json.loads(message.payload).items()) == [
        ("version", "1.2"),
        ("client_id", "bridge"),
        ("instance", "abc"),
        ("started_at", text),
        ("chargers", ["EH1"]),
        ("equalizers", ["QP1"]),
        ("capabilities", {"json": True, "mqtt": None}),
    ]


def test_health_is_one_summary(bridge):
    """In the order of the reference."""
    (message,) = bridge.health(
        health(
            verdict="degraded",
            chargers=2,
            alerts=("storage",),
            reports=ReportCounts(pending=3),
            counters={"observations": 7},
        )
    )
    assert message.topic == "home/charger/bridge/health"
    assert message.payload == (
        b'{"verdict":"degraded","at":"2026-11-22T12:00:00Z","cloud":"connected","stream":true,'
        b'"polling":false,"store":true,"clock_trusted":true,"chargers":2,"chargers_online":1,'
        b'"alerts":["storage"],"reports":{"pending":3,"published":0,"set_aside":0,"unsaved":0,'
        b'"kept":0},"counters":{"observations":7}}'
    )
