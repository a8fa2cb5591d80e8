"""Retained commands: found behind live ones, emptied, named, and answered once."""

import json

import pytest

from bridge.core.alerts import Alerts
from bridge.core.commands.retained import (
    ALERT,
    CHECK_EVERY_S,
    CHECK_TIMEOUT_S,
    ECHO_TIMEOUT_S,
    MAX_NAMED,
    MAX_REMEMBERED,
    QUIET_S,
    RetainedWatch,
)
from bridge.core.effects import ReadRetained
from bridge.core.events import MqttConnected, MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.core.topics import Topics
from tests.native import publishes

TOPIC = "charger/EH123456/set/start"
HEARTBEAT = "charger/bridge/heartbeat"
LOOK = ReadRetained("charger/+/set/+")
OLD = MqttConnected(False, "3.1.1", 20, loopback=True)
NEW = MqttConnected(False, "5", 20, loopback=True)


def message(payload=b"PRESS", topic=TOPIC, **facts):
    """Build a message that arrived."""
    return MqttMessage(topic, payload, AckToken(1, 1, 1), **facts)


class Bench:
    """A watch on one connection."""

    def __init__(self, clock, connected):
        self.clock = clock
        self.alerts = Alerts()
        self.watch = RetainedWatch(Topics(), self.alerts)
        self.first = list(self.watch.connected(connected))

    def live(self, event):
        """Have a live command arrive."""
        return list(self.watch.live(event, self.clock.now()))

    def found(self, event):
        """Have a retained one arrive; return what is published, by topic."""
        effects = self.watch.found(event, self.clock.now())
        return {e.topic: e for e in publishes(effects)}

    def is_answered(self, event):
        """Ask whether a message needs no answer now."""
        return self.watch.is_answered(event, self.clock.now())

    def tick(self, after_s):
        """Let time pass."""
        self.clock.advance(after_s)
        return list(self.watch.tick(self.clock.now()))


@pytest.fixture
def old(clock):
    """A connection that cannot tell."""
    return Bench(clock, OLD)


@pytest.fixture
def new(clock):
    """A connection that can, as far as is known."""
    return Bench(clock, NEW)


def test_behind_a_live_command_the_broker_is_asked_what_it_keeps(old):
    """At once behind the first, and once for all that follow within two seconds."""
    assert old.watch.is_unsure
    assert old.live(message()) == [LOOK]
    old.clock.advance(0.5)
    assert old.live(message(b"1")) == []
    assert old.live(message(topic="charger/EH123456/set/stop")) == []
    assert old.watch.deadline_s() == old.clock.mono_s + CHECK_EVERY_S - 0.5
    assert old.tick(CHECK_EVERY_S - 0.5) == [LOOK]
    assert old.watch.deadline_s() is None


def test_a_partition_asks_for_the_devices_that_commands_came_for(clock):
    """It is not subscribed to those of others."""
    watch = RetainedWatch(Topics("charger", (), "bridge/partition/03"), Alerts())
    list(watch.connected(OLD))
    assert list(watch.live(message(), clock.now())) == [ReadRetained("charger/EH123456/set/+")]
    for topic in ("charger/EH123456/set/stop", "charger/EH654321/set/stop"):
        assert list(watch.live(message(topic=topic), clock.now())) == []
    clock.advance(CHECK_EVERY_S)

    assert list(watch.tick(clock.now())) == [
        ReadRetained("charger/EH123456/set/+"), ReadRetained("charger/EH654321/set/+"),
    ]  # fmt: skip
    assert list(watch.served(clock.now())) == []


def test_where_the_flag_is_kept_nobody_is_asked(new):
    """A live command there is none that was published as retained."""
    assert not new.watch.is_unsure
    assert new.live(message()) == []


def test_what_is_found_is_emptied_and_named(old):
    """The empty message is retained, and the alert says which topic and what to do."""
    told = old.found(message(retained=True))
    assert (told[TOPIC].payload, told[TOPIC].retained) == (b"", True)
    alert = json.loads(told["charger/bridge/alert/retained_command"].payload)
    assert TOPIC in alert["message"]
    assert "-r" in alert["hint"]


def test_what_ran_is_not_answered_again_when_it_is_found(old):
    """The copy has the same words; another payload, or one nobody saw run, has its own answer."""
    old.live(message())
    assert old.is_answered(message(retained=True))
    assert not old.is_answered(message())
    assert not old.is_answered(message(b"other", retained=True))
    old.found(message(b"other", retained=True))
    assert old.is_answered(message(b"other", retained=True))
    list(old.watch.connected(OLD))
    assert not old.is_answered(message(b"other", retained=True))


def test_where_the_flag_is_kept_each_is_answered(new):
    """The same words published again as retained are another message."""
    new.found(message(retained=True))
    assert not new.is_answered(message(retained=True))


def test_what_was_there_before_a_charger_was_known_is_looked_at_then(new):
    """What the look brings again has its answer; later the same words are another message."""
    new.watch.answered(message(retained=True))
    assert list(new.watch.served(new.clock.now())) == [LOOK]
    assert new.is_answered(message(retained=True))
    assert not new.is_answered(message(b"other", retained=True))
    new.clock.advance(CHECK_TIMEOUT_S)
    assert not new.is_answered(message(retained=True))
    new.watch.disconnected()
    assert list(new.watch.served(new.clock.now())) == []


def test_our_own_emptying_is_no_command(old):
    """It comes back once; an empty payload of somebody else has its answer."""
    now = old.clock.now()
    assert not old.watch.is_ours(message(b""), now)
    old.found(message(retained=True))
    assert not old.watch.is_ours(message(b"PRESS"), now)
    assert old.watch.is_ours(message(b""), now)
    assert not old.watch.is_ours(message(b""), now)
    old.found(message(retained=True))
    old.clock.advance(ECHO_TIMEOUT_S)
    assert not old.watch.is_ours(message(b""), old.clock.now())


def test_an_empty_message_is_not_emptied(new):
    """Somebody else emptied the topic: there is nothing to do and nothing to name."""
    assert new.found(message(b"", retained=True)) == {}


def test_a_broker_is_tried_out_once_for_each_connection(new, clock):
    """The trial leaves nothing behind; older ones, and those that keep us deaf, are not tried."""
    assert new.first == [Publish(HEARTBEAT, b"", retained=True)]
    for connected in (OLD, MqttConnected(False, "5", 20, loopback=False)):
        assert Bench(clock, connected).first == []


@pytest.mark.parametrize(
    ("payload", "retained", "unsure"),
    [(b"", True, False), (b"", False, True), (b"{}", False, False)],
)
def test_what_comes_back_tells_whether_the_flag_is_kept(new, payload, retained, unsure):
    """Without it the connection cannot tell, and what came before is looked behind at once."""
    event = message(payload, HEARTBEAT, retained=retained)
    effects = list(new.watch.tried(event, new.clock.now()))
    assert new.watch.is_unsure is unsure
    assert (LOOK in effects) is unsure


def test_nobody_is_asked_without_a_connection(old):
    """What was wanted is void with it."""
    old.live(message())
    old.live(message())
    old.watch.disconnected()
    assert old.watch.deadline_s() is None


def test_a_day_without_another_one_clears_the_alert(old):
    """It stays for people to see, and goes when whoever published it stopped."""
    old.found(message(retained=True))
    assert old.tick(QUIET_S - 1) == []
    old.tick(1)
    assert old.alerts.kinds == ()


def test_many_of_them_are_bounded(old):
    """A thousand topics are five names and a bounded memory."""
    for number in range(2 * MAX_REMEMBERED):
        event = message(topic=f"charger/EH123456/set/c{number}", retained=True)
        told = old.found(event)
        assert old.is_answered(event)  # the oldest is forgotten, never the newest
    assert len(old.watch._answered) <= MAX_REMEMBERED
    assert len(old.watch._emptied) <= MAX_REMEMBERED
    assert ALERT in old.alerts.kinds
    assert len(told) == 1  # its words do not change any more
    assert len(old.watch._named) == MAX_NAMED + 1
