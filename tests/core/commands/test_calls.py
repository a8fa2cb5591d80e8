import itertools

from bridge.core.cloud.requests import charger_command_request
from bridge.core.commands.admission import Order
from bridge.core.commands.calls import GRACE_S, MOST_CALLS, Calls
from bridge.core.commands.catalogue import CATALOGUE
from bridge.core.commands.lifecycle import Command
from bridge.core.effects import CallCloud
from bridge.core.events import Moment
from tests.conftest import NOON

REQUEST = charger_command_request("EH123456", "reboot", idempotent=False)


def _command(charger_id="EH123456", expires_s=60.0):
    order = Order(charger_id, CATALOGUE["reboot"], None, None, None, expires_s)
    return Command(order, Moment(NOON, 0.0), expires_s, [])


def test_a_call_takes_no_longer_than_its_command_may_wait():
    """The time for a call is what is left of the command, and 30 s at most."""
    calls = Calls(itertools.count(1).__next__)
    made = [
        calls.make(_command(expires_s=expires_s), REQUEST, Moment(NOON, 50.0), is_lookup=False)
        for expires_s in (60.0, 600.0)
    ]

    assert made == [CallCloud(1, REQUEST, 10.0), CallCloud(2, REQUEST, 30.0)]


def test_a_call_keeps_its_charger_busy_until_it_ends():
    """While a call is open its charger waits; four open calls are all there may be."""
    calls = Calls(itertools.count(1).__next__)
    for number in range(MOST_CALLS):
        assert calls.has_room
        calls.make(_command(f"EH00000{number}"), REQUEST, Moment(NOON, 0.0), is_lookup=True)

    assert not calls.has_room
    assert calls.busy == {"EH000000", "EH000001", "EH000002", "EH000003"}
    assert 2 in calls
    assert calls.end(2).is_lookup
    assert calls.end(2) is None
    assert 2 not in calls
    assert "EH000001" not in calls.busy


def test_an_unanswered_call_is_lost_after_its_time():
    """A call without an answer is given up once, after its time and a grace."""
    calls = Calls(itertools.count(1).__next__)
    calls.make(_command(), REQUEST, Moment(NOON, 0.0), is_lookup=False)

    assert calls.lost(30.0 + GRACE_S - 0.1) == []
    assert [call.request for call in calls.lost(30.0 + GRACE_S)] == [REQUEST]
    assert list(calls.open) == []
