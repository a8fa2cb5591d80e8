from datetime import timedelta

import pytest
from msgspec.structs import replace

from bridge.core.commands.active_commands import Command
from bridge.core.commands.shown_state import FRESH_S, ShownState, WatchedValues
from bridge.core.commands.state_machine import State
from bridge.core.commands.validation import CommandRequest
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.decode import Observation, spec_of
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON

ID = "EH123456"


def _at(seconds):
    return Timestamp(NOON + timedelta(seconds=seconds), 1000.0 + seconds)


def _order(name="dynamic_charger_current", value=16):
    spec = CATALOGUE[name]
    return CommandRequest(ID, spec, spec.read(value, 32), None, None, 60.0)


def _command(name="dynamic_charger_current", value=16):
    command = Command(_order(name, value), _at(0), 1060.0, [])
    command.devices = frozenset({ID})
    return command


def _see(shown, number, value, seconds=0.0, late_s=0.0):
    observation = Observation(ID, spec_of(number), value, _at(seconds).wall)
    return shown.observed(observation, _at(seconds + late_s))


@pytest.fixture
def shown():
    """A stream that has been up for a while, and a limit of 16 A."""
    shown = ShownState()
    shown.stream(_at(-100), is_up=True)
    _see(shown, 48, 16, -50)
    return shown


def test_a_value_is_fresh_as_long_as_the_stream_holds(shown):
    """A charger tells changes only, so on an unbroken stream an old value is the present one."""
    assert shown.already_set(_order(), _at(10_000))
    assert not shown.already_set(_order(value=10), _at(0))
    shown.stream(_at(0), is_up=False)
    assert not shown.already_set(_order(), _at(-50 + FRESH_S))
    shown.stream(_at(100), is_up=True)
    assert not shown.already_set(_order(), _at(200))


def test_without_a_stream_a_value_is_fresh_for_a_while():
    """What was polled lately may be reasoned from."""
    shown = ShownState()
    _see(shown, 48, 16)

    assert shown.already_set(_order(), _at(FRESH_S - 1))
    assert not shown.already_set(_order(), _at(FRESH_S))


@pytest.mark.parametrize(("number", "value"), [(250, False), (109, 0)])
def test_nothing_is_known_of_a_charger_that_is_offline(shown, number, value):
    """What a charger showed before it went offline proves nothing now."""
    _see(shown, number, value)

    assert not shown.already_set(_order(), _at(1))


def test_what_we_moved_is_unknown_until_it_is_shown(shown):
    """A late value of before must not pass for new; the effect of our command does."""
    shown.sent(_order(value=10), frozenset({ID}), _at(0))
    assert not shown.already_set(_order(value=16), _at(1))
    _see(shown, 48, 16, -1, late_s=2)
    assert not shown.already_set(_order(value=16), _at(2))
    _see(shown, 48, 10, 0, late_s=3)
    assert shown.already_set(_order(value=10), _at(3))


def test_a_measurement_after_the_sending_is_known_whatever_it_says(shown):
    """Somebody else may have moved it since."""
    shown.sent(_order(value=10), frozenset({ID}), _at(0))
    _see(shown, 48, 20, 5)

    assert shown.already_set(_order(value=20), _at(6))


def test_a_confirmed_command_makes_the_value_known_that_it_set(shown):
    """The charger's yes and the value it shows together are as good as a new measurement."""
    again = _command(value=16)
    shown.sent(again.request, again.devices, _at(0))
    assert not shown.already_set(_order(), _at(1))
    again.state = State.CONFIRMED
    shown.command_finished(again.request, again.state)
    assert shown.already_set(_order(), _at(1))


def test_what_a_resume_moves_is_not_known_by_its_confirmation(shown):
    """``resume`` sets a value nobody told us, so only a measurement tells."""
    resume = _command("resume", "PRESS")
    shown.sent(resume.request, resume.devices, _at(0))
    resume.state = State.CONFIRMED
    shown.command_finished(resume.request, resume.state)

    assert not shown.already_set(_order(), _at(1))


def test_a_limit_with_an_end_is_never_there_already(shown):
    """A limit for 30 minutes is not the same as one without an end, in either direction."""
    timed = _command(value={"amps": 16, "minutes": 30})
    assert not shown.already_set(timed.request, _at(0))
    shown.sent(timed.request, timed.devices, _at(0))
    timed.state = State.CONFIRMED
    shown.command_finished(timed.request, timed.state)
    assert not shown.already_set(_order(), _at(1))


@pytest.mark.parametrize(
    ("name", "value", "reduces", "energizes"),
    [
        ("start", "PRESS", False, True),
        ("stop", "PRESS", True, False),
        ("deauthorize", "PRESS", True, False),
        ("pause", "PRESS", True, False),
        ("resume", "PRESS", False, True),
        ("toggle", "PRESS", False, True),
        ("charging_allowed", True, False, True),
        ("charging_allowed", False, True, False),
        ("override_schedule", "PRESS", False, True),
        ("dynamic_charger_current", 0, True, False),
        ("dynamic_charger_current", 10, True, False),
        ("dynamic_charger_current", 16, False, False),
        ("dynamic_charger_current", 20, False, True),
        ("dynamic_circuit_current", 6, False, True),
        ("dynamic_circuit_current", 0, True, False),
        ("max_charger_current", 10, False, True),
        ("authorization_required", True, False, False),
        ("authorization_required", False, False, True),
    ],
)
def test_which_commands_can_only_stop_and_which_can_start(shown, name, value, reduces, energizes):
    """A limit raises or lowers what holds now; what is not shown counts as a raise."""
    assert shown.reduces(_order(name, value), _at(0)) is reduces
    assert shown.energizes(_order(name, value), _at(0)) is energizes


def test_an_untrusted_clock_proves_no_order(shown):
    """Without a clock only the value that was set shows that the command arrived."""
    shown.sent(_order(value=10), frozenset({ID}), replace(_at(0), trusted=False))
    _see(shown, 48, 20, 5)

    assert not shown.already_set(_order(value=20), _at(6))


def _value(value, at_s):
    return Observation(ID, spec_of(48), value, _at(at_s).wall)


def test_an_old_reading_is_no_change():
    """Only a newer measurement with another value is a change."""
    readings = WatchedValues()

    assert not readings.changed(_value(16, 10))
    assert not readings.changed(_value(16, 20))
    assert not readings.changed(_value(32, 15))
    assert not readings.changed(_value(32, 20))
    assert readings.changed(_value(0, 21))
    assert not readings.changed(_value(0, 21))
