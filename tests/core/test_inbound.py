"""Each message is told apart by its topic, and acknowledged once."""

import pytest

from bridge.core.domain_events import (
    NOTHING,
    CommandReceived,
    ConsumerMessageReceived,
    EchoReceived,
    ForgetReceived,
    HeartbeatReceived,
    OtherMessageReceived,
    PartitionReported,
    QueryReceived,
    RequestReceived,
)
from bridge.core.effects import Acknowledge, LogEntry
from bridge.core.events import MqttMessage, Tick
from bridge.core.inbound import Acknowledging, Inbound
from bridge.core.messages import AckToken
from bridge.core.records.moment import Timestamp
from bridge.core.topics import (
    BridgeInfoTopic,
    GetTopic,
    SessionAckTopic,
    SessionReplayTopic,
    SetTopic,
    Topics,
)
from tests.conftest import NOON

ONE = "EH123456"
RECEIPT = AckToken(1, 7, 1)
NOW = Timestamp(NOON, 1.0)
HANDED_ON = {
    f"charger/{ONE}/set/start": (RequestReceived, SetTopic(ONE, "start")),
    f"charger/{ONE}/get/state": (RequestReceived, GetTopic(ONE, "state")),
    "charger/bridge/session/ack": (ConsumerMessageReceived, SessionAckTopic()),
    "charger/bridge/session/replay": (ConsumerMessageReceived, SessionReplayTopic()),
}


class Defect(RuntimeError):
    """An error of ours."""


def message(topic="x"):
    """A message."""
    return MqttMessage(topic, b"", RECEIPT)


def taken(component, event):
    """Return what a component yields, and whether it failed behind that."""
    outputs = []
    try:
        outputs += component.handle(event, NOW)
    except Defect:
        return outputs, True
    return outputs, False


@pytest.mark.parametrize("topic", HANDED_ON)
def test_who_takes_a_message_acknowledges_it(topic):
    """Commands, queries and what consumers say are handed on with what the topic tells."""
    kind, target = HANDED_ON[topic]
    one = message(topic)
    assert list(Inbound(Topics()).handle(one, NOW)) == [kind(one, target)]


@pytest.mark.parametrize(
    ("topic", "told"),
    [
        ("charger/bridge/forget", ForgetReceived),
        ("charger/bridge/heartbeat", HeartbeatReceived),
        ("homeassistant/status", OtherMessageReceived),
        ("charger/nobody/knows", OtherMessageReceived),
        (
            "charger/bridge/partition/03/cloud",
            lambda one: PartitionReported(3, "cloud", one.payload),
        ),
        ("charger/bridge/info", lambda one: EchoReceived(one, BridgeInfoTopic())),
    ],
)
def test_everything_else_is_acknowledged_behind_what_it_tells(topic, told):
    """Whoever is concerned has handled it by then, or failed to."""
    one = message(topic)
    assert list(Inbound(Topics()).handle(one, NOW)) == [told(one), Acknowledge(RECEIPT)]


class Inner:
    """A component that yields what it is told to, and fails then if it is told to."""

    name, interests = "inner", frozenset()

    def __init__(self, *yields, fails=True):
        self.yields, self.fails = yields, fails

    def handle(self, _event, _now):
        yield from self.yields
        if self.fails:
            raise Defect

    def deadline_s(self):
        return 7.0


EVENTS = (
    message(),
    RequestReceived(message(), SetTopic(ONE, "start")),
    CommandReceived(message(), SetTopic(ONE, "start")),
    QueryReceived(message(), GetTopic(ONE, "state")),
    ConsumerMessageReceived(message(), SessionAckTopic()),
)


@pytest.mark.parametrize("event", EVENTS)
def test_who_fails_acknowledges_all_the_same(event):
    """Before it did so itself; the error goes on to whoever contains it."""
    told = LogEntry("info", "told")
    assert taken(Acknowledging(Inner(told)), event) == ([told, Acknowledge(RECEIPT)], True)


@pytest.mark.parametrize("said", [Acknowledge(RECEIPT), EVENTS[2]])
def test_a_message_is_acknowledged_once(said):
    """What is acknowledged already, or handed on to somebody who does, is not again."""
    assert taken(Acknowledging(Inner(said)), EVENTS[1]) == ([said], True)


def test_who_does_not_fail_is_left_alone():
    """A message may be acknowledged much later; its name, interests and deadline are its own."""
    told = LogEntry("info", "told")
    wrapped = Acknowledging(Inner(told, fails=False))
    assert taken(wrapped, EVENTS[2]) == ([told], False)
    assert (wrapped.name, wrapped.interests, wrapped.deadline_s()) == ("inner", frozenset(), 7.0)


def test_an_event_that_is_no_message_is_not_acknowledged():
    """Not even by a component that fails."""
    assert taken(Acknowledging(Inner()), Tick()) == ([], True)
    assert Inbound(Topics()).handle(Tick(), NOW) is NOTHING
