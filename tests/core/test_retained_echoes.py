"""What stands wrong on our own topics is put right, and what tells of others handed on."""

import pytest

from bridge.core.alerts import Alerts
from bridge.core.domain_events import (
    AvailabilityDoubted,
    BridgeInfoReceived,
    BridgeStateReceived,
    EchoReceived,
    ForeignAvailabilityReceived,
)
from bridge.core.effects import LogEntry
from bridge.core.events import MqttConnected, MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.core.retained_echoes import (
    ASSERT_EVERY_S,
    ECHO_TIMEOUT_S,
    Others,
    RetainedEchoes,
)
from bridge.core.topics import Topics
from tests.conftest import NOON
from tests.native import as_messages

ONE, TWO, THREE = "EH123456", "EH654321", "EH111111"
TOPICS = Topics()


class Desk:
    """The echoes of a bridge that serves one charger, that another one left."""

    def __init__(self):
        self.is_there, self.shared = False, ()
        self.alerts = Alerts()
        self.is_online = True
        others = Others(
            lambda _now: self.is_there, lambda _now: self.shared, lambda: self.is_online
        )
        self.echoes = RetainedEchoes(TOPICS, self.alerts, ({ONE}, {TWO}), others)
        self.seconds = 1000.0
        self.echoes.handle(MqttConnected(False, "5", 20), self.now)

    @property
    def now(self):
        return Timestamp(NOON, self.seconds)

    def hears(self, topic, payload=b"{}", *, retained=True):
        message = MqttMessage(topic, payload, AckToken(1, 1, 1), retained=retained)
        return as_messages(self.echoes.handle(EchoReceived(message, TOPICS.parse(topic)), self.now))


@pytest.mark.parametrize(
    ("charger_id", "is_told"), [(ONE, False), (TWO, False), (THREE, True), ("no-serial", False)]
)
def test_the_availability_of_a_charger_that_was_never_ours_tells_of_another_bridge(
    charger_id, is_told
):
    """Not of one that is served or left, nor of what is no serial."""
    told = Desk().hears(TOPICS.availability(charger_id), b"online")
    assert told == [ForeignAvailabilityReceived(charger_id, b"online")] * is_told


def test_an_alert_that_an_earlier_run_left_is_taken_away_once():
    """The next message of the topic is live, whatever its flag says."""
    desk = Desk()
    topic = TOPICS.alert("storage")
    assert desk.hears(topic) == [Publish(topic, b"")]
    assert desk.hears(topic) == []
    desk.echoes.handle(MqttConnected(True, "5", 20), desk.now)
    assert desk.hears(topic) == [Publish(topic, b"")]


def test_an_alert_that_is_open_or_another_bridges_stays():
    """And one that is live, empty, late, or has a name that is none."""
    desk = Desk()
    list(desk.alerts.raise_("storage", "full", "free some", desk.now))
    assert desk.hears(TOPICS.alert("storage")) == []
    assert desk.hears(TOPICS.alert("broker"), retained=False) == []
    assert desk.hears(TOPICS.alert("empty"), b"") == []
    assert desk.hears(f"{TOPICS.base}/bridge/alert/#") == []
    desk.is_there = True
    assert desk.hears(TOPICS.alert("other")) == []
    desk.is_there, desk.seconds = False, desk.seconds + ECHO_TIMEOUT_S
    assert desk.hears(TOPICS.alert("late")) == []


def test_personal_data_that_lies_at_the_broker_is_emptied():
    """Who empties topics of chargers is given the acknowledgement."""
    topic = TOPICS.state(TWO, "site_structure")
    assert Desk().hears(topic) == [
        LogEntry("info", "personal.emptied", {"topic": topic}),
        Publish(topic, b"", owner="departures"),
    ]
    assert Desk().hears(topic, retained=False) == []
    assert Desk().hears(topic, b"") == []


def test_what_a_bridge_says_of_itself_is_handed_on_with_whether_it_is_old():
    """The first one behind a connection was kept; the next is live."""
    desk = Desk()
    told = [*desk.hears(TOPICS.bridge_info), *desk.hears(TOPICS.bridge_info)]
    assert [type(one) for one in told] == [BridgeInfoReceived] * 2
    assert [one.is_kept for one in told] == [True, False]


def test_that_we_are_there_is_asserted_and_not_all_day():
    """Whoever said that we are not; and what another bridge said of chargers is put right."""
    desk = Desk()
    desk.shared = {TWO, ONE}
    online = Publish(TOPICS.bridge_state, b"online")
    kept = desk.hears(TOPICS.bridge_state, b"offline")
    assert kept == [BridgeStateReceived(b"offline", is_kept=True), online]
    live = desk.hears(TOPICS.bridge_state, b"offline")
    doubted = AvailabilityDoubted((ONE, TWO))
    assert live == [doubted, BridgeStateReceived(b"offline", is_kept=False)]
    desk.seconds += ASSERT_EVERY_S
    assert desk.hears(TOPICS.bridge_state, b"offline")[-1] == online
    assert desk.hears(TOPICS.bridge_state, b"online") == [
        BridgeStateReceived(b"online", is_kept=False)
    ]


def test_while_a_partition_has_no_owner_offline_is_right():
    """It is asserted then as ``online`` is at other times."""
    desk = Desk()
    desk.is_online = False
    assert desk.hears(TOPICS.bridge_state, b"offline") == [
        BridgeStateReceived(b"offline", is_kept=True)
    ]
    assert desk.hears(TOPICS.bridge_state, b"online")[-1] == Publish(
        TOPICS.bridge_state, b"offline"
    )
