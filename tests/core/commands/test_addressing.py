"""What is asked is held, left to another bridge, made older, or handed on."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.core.commands.addressing import (
    HEARD_OUT_S,
    LATE_MESSAGES_S,
    MAX_HELD,
    Addressing,
    Questions,
)
from bridge.core.domain_events import (
    CommandArrived,
    CommandReceived,
    QueryReceived,
    RequestReceived,
    SettingsChanged,
)
from bridge.core.effects import Acknowledge, LogEntry
from bridge.core.events import MqttConnected, MqttDisconnected, MqttMessage, ProcessSuspended, Tick
from bridge.core.messages import AckToken
from bridge.core.records.moment import Timestamp
from bridge.core.topics import GetTopic, SetTopic
from bridge.settings import CommandSettings, EaseeSettings, Secret, Settings
from tests.conftest import NOON

ONE, TWO = "EH123456", "EH654321"
RESUMED = MqttConnected(True, "5", 20, loopback=True)


class Desk:
    """The addressing of a bridge that serves one charger, and a clock."""

    def __init__(self):
        self.left, self.is_over, self.is_unsure = set(), False, False
        self.counters = Counter()
        questions = Questions(
            lambda charger_id, _now: charger_id in self.left,
            lambda _message: self.is_over,
            lambda: self.is_unsure,
        )
        self.addressing = Addressing({ONE}, questions, self.counters, ttl_s=60.0)
        self.seconds = 1000.0

    def take(self, event):
        return list(self.addressing.handle(event, Timestamp(NOON, self.seconds)))


def asked(charger_id=ONE, number=1, **facts):
    """A command."""
    message = MqttMessage("x", b"PRESS", AckToken(1, number, 1), **facts)
    return RequestReceived(message, SetTopic(charger_id, "start"))


def test_a_command_is_looked_at_and_handed_on():
    """With whether its charger is served, and whether the flag may be wrong."""
    desk = Desk()
    desk.is_unsure = True
    request = asked(TWO)
    assert desk.take(request) == [
        CommandArrived(request.message, is_served=False),
        CommandReceived(request.message, request.target, 0.0, is_unsure_of_retained=True),
    ]


def test_a_command_that_is_over_is_acknowledged_and_goes_no_further():
    """It ran already, or is our own message."""
    desk = Desk()
    desk.is_over = True
    request = asked()
    outputs = desk.take(request)
    assert outputs[1:] == [Acknowledge(request.message.ack_token)]


def test_a_query_is_handed_on():
    """Nothing of it can lie at the broker."""
    message = MqttMessage("x", b"", AckToken(1, 1, 1))
    target = GetTopic(ONE, "state")
    assert Desk().take(RequestReceived(message, target)) == [QueryReceived(message, target)]


def test_what_is_another_bridges_is_acknowledged_and_counted():
    """And nothing else is done with it."""
    desk = Desk()
    desk.left = {ONE}
    request = asked()
    assert desk.take(request) == [Acknowledge(request.message.ack_token)]
    assert desk.counters == {"left_to_another_bridge": 1}


@given(st.lists(st.floats(0.0, HEARD_OUT_S / 2), max_size=5))
def test_what_a_resumed_session_kept_is_held_in_order(waits):
    """For as long as another bridge needs to be heard; how long is told."""
    desk = Desk()
    desk.take(RESUMED)
    due_s, arrived = desk.seconds + HEARD_OUT_S, []
    for number, wait_s in enumerate(waits):
        desk.seconds = min(desk.seconds + wait_s, due_s - 0.001)
        assert desk.take(asked(number=number)) == []
        arrived.append(desk.seconds)
        assert desk.addressing.deadline_s() == due_s
    desk.seconds = due_s
    taken = [one for one in desk.take(Tick()) if isinstance(one, CommandReceived)]

    assert [one.message.ack_token.message_id for one in taken] == list(range(len(waits)))
    assert [one.held_s for one in taken] == [due_s - at for at in arrived]
    assert desk.addressing.deadline_s() is None


def test_too_many_are_not_held():
    """Then all of them are taken at once, in order."""
    desk = Desk()
    desk.take(RESUMED)
    for number in range(MAX_HELD):
        assert desk.take(asked(number=number)) == []
    taken = [one for one in desk.take(asked()) if isinstance(one, CommandReceived)]
    assert len(taken) == MAX_HELD + 1


def test_what_is_held_when_the_connection_ends_comes_again():
    """Nothing of it was acknowledged."""
    desk = Desk()
    desk.take(RESUMED)
    desk.take(asked())
    desk.take(MqttDisconnected("gone"))
    assert desk.addressing.deadline_s() is None


def test_nothing_is_held_where_no_other_bridge_could_be_heard():
    """A new session, and a broker that does not let us hear ourselves."""
    for connected in (replace(RESUMED, session_present=False), replace(RESUMED, loopback=None)):
        desk = Desk()
        desk.take(connected)
        assert len(desk.take(asked())) == 2


def test_what_may_have_waited_in_our_socket_lives_shorter():
    """By the time the process stood still, for a while behind it; settings say the usual life."""
    desk = Desk()
    settings = Settings(EaseeSettings("x", Secret("p")), commands=CommandSettings(ttl_s=30.0))
    desk.take(SettingsChanged(settings))
    assert desk.take(ProcessSuspended(7.4)) == [
        LogEntry("warning", "process.suspended", {"seconds": 7})
    ]
    expiries = [
        desk.take(asked(expiry_s=expiry_s))[1].message.expiry_s for expiry_s in (None, 10, 5)
    ]
    assert expiries == [22, 2, 0]

    desk.seconds += LATE_MESSAGES_S
    assert desk.take(asked())[1].message.expiry_s is None


def test_a_new_connection_ends_the_lateness():
    """What comes over it waited at the broker, not in our socket."""
    desk = Desk()
    desk.take(ProcessSuspended(7.4))
    desk.take(replace(RESUMED, session_present=False))
    assert desk.take(asked())[1].message.expiry_s is None
