"""The heartbeat through the broker: what does not come back is noticed, and nothing else."""

import json

import pytest

from bridge.core.alerts import Alerts
from bridge.core.delivery.broker_heartbeat import ALERT, EVERY_S, BrokerHeartbeat
from bridge.core.effects import Reconnect
from bridge.core.events import MqttConnected, MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.core.topics import Topics

TOPICS = Topics()
TOPIC = "charger/bridge/heartbeat"
UP = MqttConnected(session_present=False, protocol="5", receive_maximum=20, loopback=True)
TIMEOUT_S = 30.0


class Bench:
    """A loopback, its clock, and what it wants done."""

    def __init__(self, clock, connected=UP):
        self.clock = clock
        self.alerts = Alerts()
        self.loopback = BrokerHeartbeat(TOPICS, self.alerts, client_id="bridge", keepalive_s=20)
        self.effects = list(self.loopback.connected(connected, clock.now()))

    def tick(self, after_s=0.0):
        """Let time pass and return what follows."""
        self.clock.advance(after_s)
        effects = list(self.loopback.tick(self.clock.now()))
        self.effects += effects
        return effects

    def beat(self):
        """Send a heartbeat that is due and return it."""
        (message,) = self.tick()
        return message

    def back(self, payload):
        """Have something arrive on the topic."""
        event = MqttMessage(TOPIC, payload, AckToken(1, 0, 0))
        self.effects += self.loopback.returned(event, self.clock.now())


def test_a_heartbeat_goes_round_every_ten_seconds(clock):
    """One message at a time, not retained, which says whose it is and when it went."""
    bench = Bench(clock)
    first = bench.beat()
    bench.back(first.payload)
    assert bench.loopback.deadline_s() == clock.mono_s + EVERY_S
    assert bench.tick(EVERY_S - 1) == []
    (second,) = bench.tick(1)

    assert (first.topic, first.retained) == (TOPIC, False)
    assert json.loads(second.payload) == {
        "client_id": "bridge",
        "at": "2026-11-22T12:00:10Z",
        "count": 2,
    }
    assert bench.alerts.kinds == ()


def test_one_that_stops_coming_back_makes_a_new_connection(clock):
    """A connection that carried one and carries none any more is given up, once."""
    bench = Bench(clock)
    bench.back(bench.beat().payload)
    bench.tick(EVERY_S)
    assert bench.tick(TIMEOUT_S - 1) == []
    missed = bench.tick(1)

    assert [type(effect) for effect in missed[1:]] == [Reconnect]
    assert bench.loopback.deadline_s() is None
    assert bench.tick(1000) == []


@pytest.mark.fault("F17")
def test_one_that_never_came_back_is_an_alert_and_no_storm_of_connections(clock):
    """An access list is not changed by connecting again; when it is changed, the alert goes."""
    bench = Bench(clock)
    bench.beat()
    for _ in range(5):
        bench.tick(TIMEOUT_S)
    assert bench.alerts.kinds == (ALERT,)
    assert not [effect for effect in bench.effects if isinstance(effect, Reconnect)]

    again = bench.effects[-1]
    assert isinstance(again, Publish)
    bench.back(again.payload)
    assert bench.alerts.kinds == ()


def test_a_second_connection_that_is_dumb_too_is_not_given_up(clock):
    """A rebuild that did not help is not repeated: it is said instead."""
    bench = Bench(clock)
    bench.back(bench.beat().payload)
    bench.tick(EVERY_S)
    bench.tick(TIMEOUT_S)
    bench.loopback.disconnected()
    bench.effects = list(bench.loopback.connected(UP, clock.now()))
    for _ in range(4):
        bench.tick(TIMEOUT_S)

    assert bench.alerts.kinds == (ALERT,)
    assert not [effect for effect in bench.effects if isinstance(effect, Reconnect)]


def test_a_slow_broker_is_not_a_dead_one(clock):
    """While it acknowledges what came before, ours may wait; then only the return counts."""
    bench = Bench(clock)
    bench.back(bench.beat().payload)
    (ours,) = bench.tick(EVERY_S)
    for _ in range(10):
        bench.loopback.acked(Publish("charger/EH123456/state/led", b"x"), clock.now())
        assert bench.tick(TIMEOUT_S - 1) == []
    bench.loopback.acked(ours, clock.now())
    assert bench.tick(TIMEOUT_S - 1) == []
    bench.loopback.acked(Publish("charger/EH123456/state/led", b"x"), clock.now())

    assert isinstance(bench.tick(1)[-1], Reconnect)


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"client_id":"other"}', b"\xff"])
def test_only_our_own_newest_one_proves_anything(clock, payload):
    """Another bridge's, an older one or nonsense on the topic is no sign of life."""
    bench = Bench(clock)
    first = bench.beat()
    bench.back(first.payload)
    bench.tick(EVERY_S)
    bench.back(payload)
    bench.back(first.payload)

    assert isinstance(bench.tick(TIMEOUT_S)[-1], Reconnect)


def test_where_the_subscription_is_refused_it_says_so_and_does_without(clock):
    """No heartbeat is sent that nobody could hear; the alert names the topic and what to do."""
    refused = MqttConnected(session_present=False, protocol="5", receive_maximum=20, loopback=False)
    bench = Bench(clock, refused)

    assert bench.alerts.kinds == (ALERT,)
    assert bench.loopback.deadline_s() is None
    assert bench.tick(1000) == []


def test_nothing_is_sent_without_a_connection_or_without_being_asked(clock):
    """Between connections, and where nobody listens to it, there is no heartbeat."""
    quiet = Bench(clock, MqttConnected(session_present=False, protocol="5", receive_maximum=20))
    assert quiet.loopback.deadline_s() is None
    assert quiet.alerts.kinds == ()

    lost = Bench(clock)
    ours = lost.beat()
    lost.loopback.disconnected()
    lost.back(ours.payload)
    assert lost.loopback.deadline_s() is None
    assert lost.tick(1000) == []
