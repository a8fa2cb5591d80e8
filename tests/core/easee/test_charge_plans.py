"""The former charge plans: read as before, and stored as schedules."""

import pytest

from bridge.core.easee.charge_plans import REPEATS, basic_plan, weekly_plan
from bridge.core.easee.schedule_payloads import ScheduleOrder
from bridge.core.easee.schedules import Period, Schedule
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
NOONISH = {"startTime": "12:00", "stopTime": "13:00"}
TEN_PM, SIX_AM = 22 * 60, 6 * 60


def _week(*days):
    return {"isEnabled": True, "days": list(days)}


def _day(number, *ranges):
    return {"dayOfWeek": number, "ranges": list(ranges)}


def test_a_plan_without_a_stop_is_the_delayed_schedule():
    """Its start is a time of the day in UTC."""
    order = basic_plan({**BASIC, "chargeStartTime": "2026-11-22T23:00:00+01:00"}, 32)

    assert (order.kind, order.action, order.note) == ("delayed", "set", "")
    assert order.schedule == Schedule("UTC", (Period(TEN_PM, None, 16),), enabled=True)


def test_a_plan_with_a_stop_is_the_daily_schedule():
    """What is left out is enabled, without a current of its own; one day alone is told."""
    order = basic_plan(
        {
            "chargeStartTime": "2026-11-22T22:00:00Z",
            "chargeStopTime": "2026-11-23T06:00:00Z",
            "repeat": False,
        },
        25,
    )

    assert (order.kind, order.note) == ("daily", REPEATS)
    assert order.schedule == Schedule("UTC", (Period(TEN_PM, SIX_AM),), enabled=True)


def test_a_weekly_plan_is_the_weekly_schedule():
    """A range behind midnight ends on the next day, on Monday after Sunday."""
    order = weekly_plan({"isEnabled": False, "days": [_day(6, RANGE, NOONISH), _day(0)]}, 32)

    assert order.kind == "weekly"
    assert order.schedule == Schedule(
        "UTC", (Period(TEN_PM, SIX_AM, 16, 6, 0), Period(720, 780, None, 6, 6)), enabled=False
    )


@pytest.mark.parametrize("value", [None, "off", "OFF", "clear", {"clear": True}])
def test_a_plan_can_be_removed(value):
    """``null``, ``off`` and ``clear`` remove it; a basic plan may be the delayed schedule."""
    assert basic_plan(value, 32) == ScheduleOrder("daily", "clear", also="delayed")
    assert weekly_plan(value, 32) == ScheduleOrder("weekly", "clear")


def test_the_payloads_of_the_schedule_commands_are_read_too():
    """Who knows the new form may use it under the old name."""
    assert basic_plan({"enabled": False}, 32) == ScheduleOrder("daily", "disable", also="delayed")
    order = basic_plan({"timezone": "UTC", "periods": [{"start": "22:00", "stop": "06:00"}]}, 32)
    assert order.schedule == Schedule("UTC", (Period(TEN_PM, SIX_AM),), enabled=True)


@pytest.mark.parametrize(
    "change",
    [
        {"chargeStartTime": "22:00"},
        {"chargeStartTime": None},
        {"chargeStopTime": "later"},
        {"chargeStopTime": BASIC["chargeStartTime"]},
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
        {"days": []},
        {"isEnabled": 1, "days": [_day(0, RANGE)]},
        _week(_day(0)),
        _week(_day(7, RANGE)),
        _week(_day(-1, RANGE)),
        _week(_day(True, RANGE)),
        _week(_day(0, RANGE), _day(0)),
        _week(*(_day(0) for _ in range(8))),
        _week(_day(0, RANGE, RANGE)),
        _week(_day(0, RANGE, NOONISH, NOONISH)),
        _week(_day(0, RANGE), _day(1, {"startTime": "05:00", "stopTime": "07:00"})),
        _week(_day(0, {"startTime": "22:00", "stopTime": "22:00Z"})),
        _week(_day(0, "22:00")),
        _week(_day(0, {**RANGE, "startTime": "24:00Z"})),
        _week(_day(0, {**RANGE, "stopTime": 6})),
        _week(_day(0, {"startTime": "22:00Z"})),
        _week({"dayOfWeek": 0}),
    ],
)
def test_a_weekly_plan_is_checked_to_its_last_range(value):
    """Days, ranges and times that make no sense are refused, and so is a plan without a range."""
    with pytest.raises(CommandRefused, match="invalid_value"):
        weekly_plan(value, 32)


def test_a_plan_asks_for_no_more_than_is_allowed():
    """A plan cannot get around ``commands.max_current_a``."""
    with pytest.raises(CommandRefused, match="over_limit"):
        basic_plan(BASIC, 10)
    with pytest.raises(CommandRefused, match="over_limit"):
        weekly_plan(_week(_day(0, RANGE)), 10)
