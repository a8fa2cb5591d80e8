import itertools

from bridge.core.commands.calls import GRACE_S, LONGEST_LOOK_S, Calls, Purpose
from bridge.core.commands.state_machine import Command
from bridge.core.commands.validation import Order
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.rest_requests import charger_command_request
from bridge.core.effects import CallCloud
from bridge.core.events import Moment
from tests.conftest import NOON

REQUEST = charger_command_request("EH123456", "reboot", idempotent=False)


def _command(charger_id="EH123456", expires_s=60.0):
    order = Order(charger_id, CATALOGUE["reboot"], None, None, None, expires_s)
    return Command(order, Moment(NOON, 0.0), expires_s, [])


def test_a_call_takes_no_longer_than_its_command_may_wait():
    """The time for a call is what is left of the command, and 30 s at most; a look has its own."""
    calls, now = Calls(itertools.count(1).__next__), Moment(NOON, 50.0)
    made = [
        calls.make(_command(expires_s=expires_s), REQUEST, purpose, now)
        for expires_s, purpose in (
            (60.0, Purpose.SEND),
            (600.0, Purpose.LOCATE),
            (40.0, Purpose.LOOK),
        )
    ]

    assert made == [
        CallCloud(1, REQUEST, 10.0),
        CallCloud(2, REQUEST, 30.0),
        CallCloud(3, REQUEST, LONGEST_LOOK_S),
    ]


def test_a_call_is_open_until_it_ends():
    """Open calls are counted by what they are for; one ends once."""
    calls = Calls(itertools.count(1).__next__)
    for number, purpose in enumerate((Purpose.SEND, Purpose.LOCATE, Purpose.LOOK)):
        calls.make(_command(f"EH00000{number}"), REQUEST, purpose, Moment(NOON, 0.0))

    assert calls.count(Purpose.SEND, Purpose.LOCATE) == 2
    assert calls.located == {"EH000001"}
    assert 2 in calls
    assert calls.end(2).purpose is Purpose.LOCATE
    assert calls.end(2) is None
    assert 2 not in calls
    assert calls.located == frozenset()


def test_an_unanswered_call_is_lost_after_its_time():
    """A call without an answer is given up once, after its time and a grace."""
    calls = Calls(itertools.count(1).__next__)
    calls.make(_command(), REQUEST, Purpose.SEND, Moment(NOON, 0.0))

    assert calls.lost(30.0 + GRACE_S - 0.1) == []
    assert [call.request for call in calls.lost(30.0 + GRACE_S)] == [REQUEST]
    assert list(calls.open) == []
