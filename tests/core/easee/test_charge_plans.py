import json

import pytest

from bridge.core.easee.charge_plans import basic_plan, weekly_plan
from bridge.errors import CommandRefused

BASIC = {
    "id": "plan",
    "chargeStartTime": "2026-11-22T22:00:00Z",
    "chargeStopTime": None,
    "repeat": True,
    "isEnabled": True,
    "chargingCurrentLimit": 16,
}
RANGE = {"startTime": "22:00Z", "stopTime": "06:00", "chargingCurrentLimit": 16}


def _week(*days):
    return {"isEnabled": True, "days": list(days)}


def _day(number, *ranges):
    return {"dayOfWeek": number, "ranges": list(ranges)}


def test_a_plan_is_sent_as_it_was_given():
    """A valid plan reaches the vendor key by key."""
    assert json.loads(basic_plan(BASIC, 32).body) == BASIC
    weekly = _week(_day(0, RANGE, RANGE), _day(6))
    assert json.loads(weekly_plan(weekly, 32).body) == weekly


@pytest.mark.parametrize("read", [basic_plan, weekly_plan])
@pytest.mark.parametrize("value", [None, "off", "OFF", "clear"])
def test_a_plan_can_be_removed(read, value):
    """``null``, ``off`` and ``clear`` remove the plan that is there."""
    assert read(value, 32).body is None


@pytest.mark.parametrize(
    "change",
    [
        {"chargeStartTime": "22:00"},
        {"chargeStartTime": None},
        {"chargeStopTime": "later"},
        {"repeat": 1},
        {"isEnabled": "true"},
        {"chargingCurrentLimit": True},
        {"chargingCurrentLimit": "16"},
        {"chargingCurrentLimit": -1},
        {"id": 5},
        {"chargeStartTimes": "x"},
    ],
)
def test_a_basic_plan_is_checked_key_by_key(change):
    """A wrong type or a misspelled key is refused instead of stored."""
    with pytest.raises(CommandRefused, match="invalid_value"):
        basic_plan({**BASIC, **change}, 32)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "on",
        16,
        {"days": {}},
        {"days": [1]},
        {"isEnabled": 1, "days": []},
        _week(_day(7)),
        _week(_day(-1)),
        _week(_day(True)),
        _week(_day(0), _day(0)),
        _week(*(_day(0) for _ in range(8))),
        _week(_day(0, RANGE, RANGE, RANGE)),
        _week(_day(0, "22:00")),
        _week(_day(0, {**RANGE, "startTime": "24:00Z"})),
        _week(_day(0, {**RANGE, "stopTime": 6})),
        _week(_day(0, {"startTime": "22:00Z"})),
        _week({"dayOfWeek": 0}),
    ],
)
def test_a_weekly_plan_is_checked_to_its_last_range(value):
    """Days, ranges and times that the vendor does not know are refused."""
    with pytest.raises(CommandRefused, match="invalid_value"):
        weekly_plan(value, 32)


def test_a_plan_asks_for_no_more_than_is_allowed():
    """A plan cannot get around ``commands.max_current_a``."""
    with pytest.raises(CommandRefused, match="over_limit"):
        basic_plan(BASIC, 10)
    with pytest.raises(CommandRefused, match="over_limit"):
        weekly_plan(_week(_day(0, RANGE)), 10)
