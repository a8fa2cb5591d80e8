"""What the broker does not do for us is told for as long as that is so."""

import json
from datetime import timedelta

import pytest

from bridge.core.alerts import Alerts
from bridge.core.broker import ALERT_AFTER_S, ALERT_HOLDS_S, MAX_FILTERS_NAMED, BrokerWatch
from bridge.core.events import MqttConnected
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from tests.conftest import NOON
from tests.native import publishes


class Desk:
    """A watch, a clock, and the alerts as somebody sees them who sees everything."""

    def __init__(self):
        self.alerts = Alerts()
        self.watch = BrokerWatch(Topics(), self.alerts)
        self.mono_s = 0.0
        self.open = {}

    @property
    def now(self):
        return Timestamp(NOON + timedelta(seconds=self.mono_s), self.mono_s)

    def take(self, effects):
        for effect in publishes(effects):
            kind = effect.topic.removeprefix("charger/bridge/alert/")
            self.open[kind] = effect.payload and json.loads(effect.payload)
        self.open = {kind: alert for kind, alert in self.open.items() if alert}

    def up(self, **changes):
        self.take(self.watch.connected(MqttConnected(False, "5", 20, **changes), self.now))

    def down(self, reason="nothing listens"):
        self.take(self.watch.unreachable(reason, self.now))


def test_a_broker_out_of_reach_is_told_with_the_newest_reason():
    """From the first failure on, with the time of the first."""
    desk = Desk()
    desk.down("it closed")
    desk.mono_s = 30.0
    desk.down("nothing listens")

    alert = desk.open["broker_unreachable"]
    assert (alert["message"], alert["since"][:19]) == ("nothing listens", "2026-11-22T12:00:00")
    assert alert["hint"]
    assert not desk.alerts.has_trouble  # nobody can read the health that would count it


@pytest.mark.parametrize("away_s", [ALERT_AFTER_S, 3 * 86_400.0])
def test_over_mqtt_it_is_told_afterwards(away_s):
    """For how long and why, for ten minutes; then it is over."""
    desk = Desk()
    desk.up()
    desk.down()
    desk.mono_s = away_s
    desk.up()
    assert f"{away_s:.0f} s: nothing listens" in desk.open["broker_unreachable"]["message"]
    assert desk.watch.deadline_s() == away_s + ALERT_HOLDS_S
    desk.mono_s = away_s + ALERT_HOLDS_S - 1
    desk.take(desk.watch.tick(desk.now))
    assert "broker_unreachable" in desk.open

    desk.mono_s += 1
    desk.take(desk.watch.tick(desk.now))
    assert desk.open == {}
    assert desk.watch.deadline_s() is None


def test_a_moment_is_not_worth_telling():
    """Short absences come and go."""
    desk = Desk()
    desk.up()
    desk.down()
    desk.mono_s = ALERT_AFTER_S - 1
    desk.up()

    assert desk.open == {}


def test_refused_subscriptions_are_told_in_words_until_they_are_granted():
    """Each filter, and what does not work without it."""
    desk = Desk()
    filters = ("charger/+/set/+", "charger/bridge/session/ack", "homeassistant/status")
    desk.take(desk.watch.subscribed(filters, desk.now))
    alert = desk.open["subscription_refused"]
    for name in filters:
        assert name in alert["message"]
    for words in ("no commands are received", "acknowledge", "Home Assistant starts"):
        assert words in alert["message"]
    desk.take(desk.watch.subscribed(filters[2:], desk.now))
    assert "no command" not in desk.open["subscription_refused"]["message"]

    desk.take(desk.watch.subscribed((), desk.now))
    assert desk.open == {}


def test_of_many_filters_some_are_named_and_the_rest_counted():
    """A partition subscribes to those of each charger."""
    desk = Desk()
    filters = tuple(f"charger/EH{number:06}/set/+" for number in range(MAX_FILTERS_NAMED + 7))
    desk.take(desk.watch.subscribed(filters, desk.now))
    message = desk.open["subscription_refused"]["message"]

    assert f"{filters[0]} (its commands or queries are not received)" in message
    assert message.endswith("7 more")
    assert filters[-1] not in message


def test_every_filter_of_ours_has_words():
    """What is lost is said of each topic we listen to."""
    topics = Topics()
    desk = Desk()
    for name in topics.subscriptions + topics.echoes:
        desk.take(desk.watch.subscribed((name,), desk.now))
        assert "Home Assistant" not in desk.open["subscription_refused"]["message"]


@pytest.mark.fault("F46")
def test_a_broker_that_holds_nothing_is_told_of_until_one_does():
    """QoS 0 proves no delivery: consumers have to acknowledge."""
    desk = Desk()
    desk.up(maximum_qos=0)
    assert "charger/bridge/session/ack" in desk.open["broker_cannot_hold_reports"]["hint"]
    desk.up()
    assert desk.open == {}
