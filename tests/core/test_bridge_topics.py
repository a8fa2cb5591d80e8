"""What the bridge is, is published when it changes; how it is, behind every event."""

import json

import pytest

from bridge.core.alerts import Alerts
from bridge.core.bridge_topics import BridgeTopics, Health
from bridge.core.domain_events import (
    HANDLED,
    NOTHING,
    BridgeInfoWanted,
    RetainFlagKnown,
    ServedChargersChanged,
    SettingsChanged,
    StoreWorks,
)
from bridge.core.events import (
    CloudStatusChanged,
    MqttConnected,
    Started,
    Tick,
    ValueConnectionClosed,
    ValueConnectionOpened,
)
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.status import HEALTH_EVERY_S, Status
from bridge.core.topics import Topics
from bridge.settings import EaseeSettings, Secret, Settings
from tests.conftest import NOON
from tests.native import as_messages

SETTINGS = Settings(EaseeSettings("x", Secret("p"), source="poll"))


class Desk:
    """The two components on one status, and a clock."""

    def __init__(self):
        Topics()
        self.status = Status(Alerts(), "1.2.3", {"source": "stream"})
        self.topics = BridgeTopics(self.status, lambda settings: {"source": settings.easee.source})
        self.health = Health(self.status)
        self.seconds = 1000.0

    def take(self, event):
        return as_messages(self.topics.handle(event, self.now))

    @property
    def now(self):
        return Timestamp(NOON, self.seconds)

    def behind(self):
        effects = self.health.handle(HANDLED, self.now)
        return effects if effects == () else as_messages(effects)


def infos(effects):
    """The documents of ``bridge/info`` among effects."""
    return [
        json.loads(effect.payload)
        for effect in effects
        if isinstance(effect, Publish) and effect.topic == "charger/bridge/info"
    ]


def test_what_is_noted_shows_in_the_next_document():
    """The info is published when it is wanted, and by itself for settings and the connection."""
    desk = Desk()
    for event in (
        Started(),
        RetainFlagKnown(is_told=True),
        ServedChargersChanged(("EH123456",)),
        StoreWorks(is_ok=False),
    ):
        assert desk.take(event) == []
    (info,) = infos(desk.take(BridgeInfoWanted()))
    assert info["chargers"] == ["EH123456"]
    assert info["capabilities"]["tells_retained"]
    assert info["started_at"] == "2026-11-22T12:00:00Z"
    assert not desk.status.store_ok

    (info,) = infos(desk.take(SettingsChanged(SETTINGS)))
    assert info["capabilities"]["source"] == "poll"
    (info,) = infos(desk.take(ValueConnectionOpened(20)))
    assert info["capabilities"]["telemetry_connection"]
    (info,) = infos(desk.take(ValueConnectionClosed(in_doubt=True)))
    assert not info["capabilities"]["telemetry_connection"]
    (info,) = infos(desk.take(MqttConnected(False, "3.1.1", 20, keeps_s=7)))
    assert (info["capabilities"]["mqtt"], info["capabilities"]["commands_kept_s"]) == ("3.1.1", 7)


def test_a_trouble_of_the_rest_side_is_an_alert():
    """And its end is too."""
    desk = Desk()
    desk.take(CloudStatusChanged("blocked", "no"))
    assert desk.status.alerts.kinds == ("blocked",)
    desk.take(CloudStatusChanged("ok"))
    assert desk.status.alerts.kinds == ()


def test_the_health_is_published_when_it_changed_and_once_a_minute():
    """Between that a look behind an event finds nothing."""
    desk = Desk()
    assert [effect.topic for effect in desk.behind() if isinstance(effect, Publish)] == [
        "charger/bridge/cloud",
        "charger/bridge/health",
    ]
    assert desk.health.deadline_s() == desk.seconds + HEALTH_EVERY_S
    assert desk.behind() is NOTHING

    desk.status.cloud.stream_up = True
    assert len([effect for effect in desk.behind() if isinstance(effect, Publish)]) == 2
    assert desk.behind() is NOTHING

    desk.seconds += HEALTH_EVERY_S
    assert [effect.topic for effect in desk.behind()] == ["charger/bridge/health"]


@pytest.mark.parametrize("change", ["alerts", "store", "online"])
def test_whatever_changes_the_verdict_is_seen(change):
    """An alert, the store, a charger that came online: nobody has to say so."""
    desk = Desk()
    desk.status.cloud.stream_up = True
    desk.take(ServedChargersChanged(("EH123456",)))
    desk.status.online = 0 if change == "online" else 1
    list(desk.behind())
    match change:
        case "alerts":
            list(desk.status.alerts.raise_("storage", "full", "free some", desk.now))
        case "store":
            desk.take(StoreWorks(is_ok=False))
        case "online":
            desk.status.online = 1
    (told,) = desk.behind()
    assert told.topic == "charger/bridge/health"


def test_a_tick_is_nothing_by_itself():
    """It is looked behind it, like behind every event."""
    desk = Desk()
    assert desk.health.handle(Tick(), desk.now) is NOTHING
