"""Announcements: told once, only when fresh, never for what we did ourselves."""

from datetime import timedelta

import pytest

from bridge.core.chargers.charger_events import ChargerEvents
from bridge.core.easee.decode import Observation, spec_of
from bridge.core.events import ChargerResponse
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON

NOW = Timestamp(NOON, 0.0)
ONE = "EH123456"


def observation(number, value, age_s=1.0):
    """Build an observation of this age."""
    return Observation(ONE, spec_of(number), value, NOON - timedelta(seconds=age_s))


@pytest.fixture
def announcer():
    """An announcer that has seen smart charging off and no error."""
    announcer = ChargerEvents(ONE)
    for first in (observation(102, False, 600), observation(119, 0, 600)):
        assert list(announcer.observed(first, NOW, ours=False)) == []
    return announcer


def test_a_touch_of_the_button_is_announced(announcer):
    """Smart mode that moved without a command of ours is a press of the touch button."""
    (event,) = announcer.observed(observation(102, True), NOW, ours=False)

    assert event.kind == "smart_button"
    assert event.facts == {"value": True}


@pytest.mark.parametrize(
    ("told", "ours"),
    [
        (observation(102, True), True),
        (observation(102, True, 3600), False),
        (observation(102, False), False),
        (observation(120, 7.2), False),
    ],
)
def test_what_is_ours_old_or_unchanged_is_not_announced(announcer, told, ours):
    """Our own command, a replay, a repeat and telemetry are no press."""
    assert list(announcer.observed(told, NOW, ours=ours)) == []


def test_a_replay_is_no_news_while_only_the_cloud_tells_the_time(announcer):
    """A machine with an unset clock announces no touch of last week when it starts."""
    now = Timestamp(NOON - timedelta(days=579), 0.0, trusted=False, told=NOON)
    old = observation(102, True, 3600)

    assert list(announcer.observed(old, now, ours=False)) == []


def test_a_setting_that_somebody_else_moved_is_told():
    """An access setting or a lasting limit that moves fresh, and not by us, is foreign."""
    announcer = ChargerEvents(ONE)
    assert list(announcer.observed(observation(42, True, 600), NOW, ours=False)) == []
    assert list(announcer.observed(observation(42, False), NOW, ours=True)) == []
    (event,) = announcer.observed(observation(42, True, 0.0), NOW, ours=False)

    assert event.kind == "foreign_command"
    assert event.facts["setting"] == "authorization_required"


def test_a_limit_that_moves_is_announced_once_a_minute(announcer):
    """Load balancers move the circuit's limits every few seconds."""
    told = 0
    for second in range(181):
        now = Timestamp(NOON + timedelta(seconds=second), 1000.0 + second)
        for number in (48, 111, 112, 113):
            one = Observation(ONE, spec_of(number), float(second % 2), now.wall)
            told += len(list(announcer.observed(one, now, ours=False)))

    assert told == 3


def test_a_limit_of_our_own_is_not_announced(announcer):
    """A command of ours moved it."""
    list(announcer.observed(observation(48, 16.0), NOW, ours=False))

    assert list(announcer.observed(observation(48, 10.0), NOW, ours=True)) == []


def test_an_error_is_announced_when_it_appears_and_not_when_it_goes(announcer):
    """A code other than 0 is news; going back to 0 is not."""
    (event,) = announcer.observed(observation(119, 17), NOW, ours=False)

    assert event.facts["code"] == 17
    assert list(announcer.observed(observation(119, 0), NOW, ours=False)) == []


def test_a_waiting_car_is_announced_once(announcer):
    """One request per waiting car, another one for the next car."""
    counts = [
        len(list(announcer.authorization(waiting=waiting, at=NOON, now=NOW)))
        for waiting in (False, True, True, False, True)
    ]

    assert counts == [0, 1, 0, 0, 1]


def test_a_foreign_command_is_told_with_exact_ticks(announcer):
    """Ticks do not fit a double; they go out as text."""
    response = ChargerResponse(ONE, 48, 639086870099692230, accepted=True, result_code=0)
    event = announcer.foreign_command(response, "set_dynamic_charger_current", NOW)

    assert event.facts["ticks"] == "639086870099692230"
    assert event.kind == "foreign_command"
