"""Who decides whether a charger charges, by the schedules and by what the charger says."""

import pytest

from bridge.core.chargers.control_owner import ControlOwner
from bridge.core.domain_events import (
    ChargersAdded,
    ChargersRemoved,
    DerivedTold,
    ObservationApplied,
    SchedulesRead,
)
from bridge.core.easee.decode import Observation, spec_of
from bridge.core.easee.schedules import Schedules
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON

ONE = "EH123456"
NOW = Timestamp(NOON, 1000.0)


class Shown:
    """What the charger shows."""

    def __init__(self, value):
        self._value = value

    def value(self, _number):
        return self._value

    def measured_at(self, _number):
        return NOON


@pytest.fixture
def owner():
    """A component that serves one charger."""
    made = ControlOwner()
    assert told(made.handle(ChargersAdded((ONE,)), NOW)) == ["unknown"]
    return made


def told(outputs):
    """Return what is published."""
    outputs = list(outputs)
    assert all(isinstance(one, DerivedTold) and one.name == "control_owner" for one in outputs)
    return [one.value for one in outputs]


def says(owner, reason):
    """Let the charger give a reason for no current."""
    observation = Observation(ONE, spec_of(96), reason, NOON)
    return told(owner.handle(ObservationApplied(observation, Shown(reason)), NOW))


def read(owner, in_force):
    """Let the cloud tell its schedules."""
    return told(owner.handle(SchedulesRead(ONE, Schedules(in_force), 1000.0), NOW))


@pytest.mark.parametrize(
    ("in_force", "word"),
    [
        ("none", "cloud"),
        ("ocpp.direct", "ocpp"),
        ("weekly", "schedule"),
        ("daily", "schedule"),
        ("delayed", "schedule"),
    ],
)
def test_the_schedules_tell_it(owner, in_force, word):
    """Published once, and not again while it stays the same."""
    assert read(owner, in_force) == [word]
    assert read(owner, in_force) == []


def test_what_is_not_known_is_unknown(owner):
    """A word of the vendor that nobody has seen yet says nothing."""
    assert read(owner, "none") == ["cloud"]
    assert read(owner, "tariff.v9") == ["unknown"]


def test_a_charger_that_waits_for_a_schedule_says_so(owner):
    """Also where the cloud names none: off-peak and tariff schedules are in no list."""
    assert read(owner, "none") == ["cloud"]
    assert says(owner, 54) == ["schedule"]
    assert says(owner, 52) == ["cloud"]


def test_a_local_server_goes_before_a_schedule(owner):
    """What the charger waits for is decided there."""
    assert read(owner, "ocpp.direct") == ["ocpp"]
    assert says(owner, 54) == []


def test_a_charger_that_left_is_forgotten(owner):
    """Nothing is published for it, and it begins anew when it is back."""
    assert read(owner, "none") == ["cloud"]
    assert told(owner.handle(ChargersRemoved((ONE,)), NOW)) == []
    assert read(owner, "ocpp.direct") == []
    assert told(owner.handle(ChargersAdded((ONE,)), NOW)) == ["unknown"]
    assert owner.deadline_s() is None
