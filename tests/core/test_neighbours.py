"""Other bridges: seen, named, and left their own."""

import json

import pytest

from bridge.core.alerts import Alerts
from bridge.core.domain_events import EqualizersChanged
from bridge.core.events import MqttDisconnected, MqttMessage
from bridge.core.messages import AckToken
from bridge.core.neighbours import (
    ALERT,
    CLOSED,
    GONE_S,
    MAX_OTHERS,
    PROVISIONAL_S,
    QUIET_S,
    SOON_S,
    TAKEN_OVER,
    Neighbours,
)
from bridge.core.topics import Topics
from tests.native import publishes

TOPICS = Topics()
ONE, TWO = "EH000001", "EH000002"
NOBODY = {"instance": "", "client_id": ""}


class Bench:
    """A bridge with the instance ``m`` that serves one charger, and what it tells."""

    def __init__(self, clock):
        self.clock = clock
        self.alerts = Alerts()
        self.neighbours = Neighbours(TOPICS, self.alerts, client_id="bridge", instance="m")
        self.neighbours.started("2026-11-22T12:00:00Z")
        self.neighbours.connected(clock.now())
        self.do(self.neighbours.serve((ONE,), clock.now()))

    def do(self, effects):
        """Take effects and return the alert that is told now, or None."""
        for effect in publishes(effects):
            self.told = json.loads(effect.payload or b"null")

    told = None

    def says(self, kind="heartbeat", *, is_kept=False, **card):
        """Have a bridge say something of itself."""
        said = {"client_id": "other", "instance": "b", "started_at": "x"} | card
        event = MqttMessage(f"charger/bridge/{kind}", json.dumps(said).encode(), AckToken(1, 0, 0))
        if kind == "info":
            self.do(self.neighbours.info(event, self.clock.now(), is_kept=is_kept))
        else:
            self.do(self.neighbours.heartbeat(event, self.clock.now()))

    def lost(self, code, *, was_busy=False):
        """Lose the connection."""
        lost = MqttDisconnected("x", code, was_busy)
        self.do(self.neighbours.disconnected(lost, self.clock.now()))

    def later(self, seconds):
        """Let time pass."""
        self.clock.advance(seconds)
        self.do(self.neighbours.tick(self.clock.now()))

    @property
    def acts_elsewhere(self):
        return self.neighbours.acts_for(ONE, self.clock.now())


@pytest.fixture
def bench(clock):
    """A bridge that nobody has bothered yet."""
    return Bench(clock)


def test_our_own_words_are_no_second_bridge(bench):
    """What we said ourselves comes back all the time; what is no bridge's is passed over."""
    bench.says(instance="m", started_at="2026-11-22T12:00:00Z", client_id="bridge")
    bench.says("info", instance="m", started_at="2026-11-22T12:00:00Z", chargers=[ONE])
    bench.says("info", is_kept=True, instance="m", started_at="yesterday", chargers=[ONE])
    bench.says(**NOBODY)
    event = MqttMessage("charger/bridge/heartbeat", b"[" * 5000, AckToken(1, 0, 0))
    bench.do(bench.neighbours.heartbeat(event, bench.clock.now()))
    assert bench.told is None
    assert bench.neighbours.deadline_s() is None


def test_another_bridge_on_the_base_topic_is_named_until_it_is_gone(bench):
    """Its heartbeat raises the alert, and three missing ones clear it."""
    bench.says()
    assert "client id other" in bench.told["message"]
    assert "base topic charger" in bench.told["message"]
    assert "mqtt.base_topic" in bench.told["hint"]
    bench.later(GONE_S - 1)
    assert ALERT in bench.alerts.kinds
    bench.later(1)
    assert bench.alerts.kinds == ()


def test_one_that_serves_the_same_charger_is_named_with_it(bench):
    """The alert tells which chargers, and who carries out their commands."""
    bench.says("info", chargers=[ONE, TWO])
    assert f"serves {ONE} too" in bench.told["message"]
    assert "by that one only" in bench.told["message"]


@pytest.mark.parametrize(
    ("instance", "chargers", "stands_back"),
    [("b", [ONE], True), ("z", [ONE], False), ("b", [TWO], False), ("", [ONE], False)],
)
def test_one_of_two_bridges_acts_for_a_shared_charger(bench, instance, chargers, stands_back):
    """The lower instance id acts; one that does not tell its own keeps nobody from acting."""
    bench.says("info", instance=instance, chargers=chargers)
    assert bench.acts_elsewhere is stands_back
    bench.later(GONE_S)
    assert not bench.acts_elsewhere


def test_nobody_stands_back_for_one_with_the_same_client_id(bench):
    """The two are never connected at the same time: whoever is there acts."""
    bench.says("info", client_id="bridge", chargers=[ONE])
    assert "the same client id bridge" in bench.told["message"]
    assert "whichever is connected" in bench.told["message"]
    assert not bench.acts_elsewhere


def test_two_copies_of_one_folder_are_told_apart_by_their_start(bench):
    """The earlier one acts; one last word of our own earlier process is no copy."""
    copy = {"instance": "m", "started_at": "2026-11-22T11:00:00Z"}
    bench.says(**copy)
    assert bench.told is None
    bench.says(**copy)
    assert "a copy of this one's folder" in bench.told["message"]
    bench.says("info", chargers=[ONE], **copy)
    assert bench.acts_elsewhere


def test_a_clean_end_of_the_other_one_counts_at_once(bench):
    """Nobody waits three heartbeats for one that said goodbye."""
    bench.says("info", chargers=[ONE])
    now = bench.clock.now()
    assert bench.neighbours.shared(now) == {ONE}
    bench.do(bench.neighbours.state(b"offline", now, is_kept=False))
    assert not bench.acts_elsewhere
    assert not bench.neighbours.is_there(now)
    assert bench.alerts.kinds == ()


@pytest.mark.parametrize(("state", "seems_there"), [(b"online", True), (b"offline", False)])
def test_what_was_kept_of_another_one_is_believed_for_a_moment(bench, state, seems_there):
    """Only while its will was not published, and only until its heartbeat should have come."""
    now = bench.clock.now()
    bench.do(bench.neighbours.state(state, now, is_kept=True))
    bench.says("info", is_kept=True, chargers=[ONE])
    assert bench.acts_elsewhere is seems_there
    bench.later(PROVISIONAL_S)
    assert not bench.acts_elsewhere


def test_the_first_heartbeat_of_another_bridge_is_new(bench):
    """It does not know us yet; the second one is no news."""
    payload = b'{"client_id":"other","instance":"b","started_at":"x"}'
    event = MqttMessage("charger/bridge/heartbeat", payload, AckToken(1, 0, 0))
    assert bench.neighbours.is_new(event)
    bench.do(bench.neighbours.heartbeat(event, bench.clock.now()))
    assert not bench.neighbours.is_new(event)


def test_another_bridges_charger_is_its_own(bench):
    """One that is kept online, or offline by a bridge that is there; an emptied one is nobody's."""
    now, keeps = bench.clock.now(), bench.neighbours.keeps
    bench.neighbours.availability(TWO, b"online")
    assert keeps(TWO, now)
    bench.neighbours.availability(TWO, b"offline")
    assert not keeps(TWO, now)
    bench.says()
    assert keeps(TWO, now)
    bench.neighbours.availability(TWO, b"")
    assert not keeps(TWO, now)


def test_a_client_with_our_id_is_named_at_once_where_the_broker_says_so(bench):
    """MQTT 5 names the reason; the alert goes when nothing of the kind happened for a while."""
    bench.lost(TAKEN_OVER)
    assert "took over the connection to the broker once" in bench.told["message"]
    bench.lost(TAKEN_OVER)
    assert "2 times" in bench.told["message"]
    assert "mqtt.client_id" in bench.told["hint"]
    bench.later(QUIET_S)
    assert bench.alerts.kinds == ()


def test_a_client_with_our_id_is_suspected_where_the_broker_says_nothing(bench):
    """Three connections closed in a row soon after they were made; two, or older ones, are not."""
    for _ in range(2):
        bench.lost(CLOSED)
    assert bench.told is None
    bench.clock.advance(SOON_S)
    bench.lost(CLOSED)
    for _ in range(3):
        bench.neighbours.connected(bench.clock.now())
        assert bench.told is None
        bench.clock.advance(60)  # the longest pause of the other one
        bench.lost(CLOSED)
    assert "closed 3 connections in a row" in bench.told["message"]
    assert "the id bridge" in bench.told["message"]


def test_what_was_closed_in_the_middle_of_something_is_no_second_client(bench):
    """A message or a subscription may have ended it; that hides no idle ones either."""
    for _ in range(9):
        bench.neighbours.connected(bench.clock.now())
        bench.lost(CLOSED, was_busy=True)
    assert bench.told is None
    for was_busy in (False, True, False, True):
        bench.lost(CLOSED, was_busy=was_busy)
    assert bench.told is None
    bench.lost(CLOSED)
    assert "closed 3 connections in a row" in bench.told["message"]


def test_what_was_kept_of_one_with_our_client_id_explains_the_first_loss(bench):
    """It published its information while we were thrown out, and its will came when it was."""
    bench.says("info", is_kept=True, client_id="bridge")
    assert bench.told is None
    bench.lost(CLOSED)
    bench.neighbours.connected(bench.clock.now())
    bench.says("info", is_kept=True, client_id="bridge")
    assert "the same client id bridge" in bench.told["message"]


def test_what_anybody_writes_is_bounded_and_made_safe(bench):
    """A thousand bridges are eight, and no name of theirs breaks a line."""
    for number in range(1000):
        bench.says(instance=f"b{number}", client_id="a\n\x1b[31mb" * 100)
        bench.neighbours.availability(f"EH{number:06}", b"online")
    assert len(bench.neighbours._others) == MAX_OTHERS
    assert "\n" not in bench.told["message"]
    assert "\x1b" not in bench.told["message"]
    assert len(bench.told["message"]) < 1500


def test_one_of_two_bridges_acts_for_a_shared_equalizer(bench, clock):
    """Named in ``bridge/info`` beside the chargers."""
    bench.do(bench.neighbours.handle(EqualizersChanged(("QP000001",)), clock.now()))
    bench.says("info", chargers=[TWO], equalizers=["QP000001"])
    assert bench.neighbours.acts_for("QP000001", clock.now())
    assert bench.neighbours.is_left("QP000001", clock.now())
    assert "QP000001" in bench.told["message"]
    bench.do(bench.neighbours.handle(EqualizersChanged(()), clock.now()))
    assert bench.neighbours.shared(clock.now()) == frozenset()
