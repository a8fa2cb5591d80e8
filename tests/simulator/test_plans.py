from datetime import UTC, datetime, timedelta

import pytest

from bridge.simulator.plans import NO_LIMIT_A, enabled, limit_a, problem, stored, withheld

SUNDAY_NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAILY = {
    "enabled": True,
    "timezone": "UTC",
    "periods": [{"startTime": "22:00:00", "stopTime": "06:00:00", "maximumAmps": 32}],
}
WEEKLY = {
    "enabled": True,
    "timezone": "Europe/Oslo",
    "periods": [
        {
            "startDay": "sunday",
            "startTime": "12:30",
            "stopDay": "monday",
            "stopTime": "06:00",
            "maximumAmps": 16,
        }
    ],
}
WEEK_BY_DAYS = {
    "isEnabled": True,
    "days": [{"dayOfWeek": 6, "ranges": [{"startTime": "11:00Z", "stopTime": "12:30Z"}]}],
}
BASIC = {
    "isEnabled": True,
    "chargeStartTime": "2026-01-01T23:00:00Z",
    "chargeStopTime": "2026-01-02T05:00:00Z",
    "repeat": True,
}
DELAYED = {"enabled": True, "timezone": "UTC", "startTime": "11:30", "maximumAmps": 32}


@pytest.mark.parametrize(
    ("kind", "plan", "hours_later", "held"),
    [
        ("daily", DAILY, 0, True),
        ("daily", DAILY, 11, False),
        ("daily", DAILY, 17, False),
        ("daily", DAILY, 18, True),
        ("weekly", WEEKLY, 0, False),
        ("weekly", WEEKLY, 16, False),
        ("weekly", WEEKLY, 24, True),
        ("weekly_charge_plan", WEEK_BY_DAYS, 0, False),
        ("weekly_charge_plan", WEEK_BY_DAYS, 1, True),
        ("basic_charge_plan", BASIC, 0, True),
        ("basic_charge_plan", BASIC, 12, False),
        ("delayed", DELAYED, 0, False),
        ("delayed", DELAYED, -1, True),
    ],
)
def test_a_plan_withholds_outside_its_windows(kind, plan, hours_later, held):
    """Current is withheld exactly outside the windows, over midnight and Sunday too."""
    assert problem(kind, plan) is None
    assert withheld({kind: plan}, SUNDAY_NOON + timedelta(hours=hours_later)) is held


@pytest.mark.parametrize(
    ("plans", "amps"),
    [
        ({}, NO_LIMIT_A),
        ({"weekly": WEEKLY}, 16),
        ({"weekly": WEEKLY | {"enabled": False}}, NO_LIMIT_A),
        ({"daily": DAILY}, None),
        ({"delayed": DELAYED | {"maximumAmps": 10}}, 10),
        ({"delayed": {k: v for k, v in DELAYED.items() if k != "maximumAmps"}}, NO_LIMIT_A),
        ({"weekly": WEEKLY, "weekly_charge_plan": WEEK_BY_DAYS}, 16),
    ],
)
def test_a_plan_in_force_limits_the_current(plans, amps):
    """In its periods to what they name, outside of them to nothing."""
    assert limit_a(plans, SUNDAY_NOON) == amps


def test_one_schedule_is_in_force():
    """What is enabled later disables the others; the former plans stand beside them."""
    plans = stored({}, "daily", DAILY)
    plans = stored(plans, "basic_charge_plan", BASIC)
    plans = stored(plans, "weekly", WEEKLY)

    assert [kind for kind, plan in plans.items() if enabled(plan)] == [
        "basic_charge_plan",
        "weekly",
    ]
    assert stored(plans, "daily", DAILY | {"enabled": False})["weekly"]["enabled"]
    assert "weekly" not in stored(plans, "weekly", None)


def test_a_plan_that_is_off_withholds_nothing():
    """Both spellings of off are understood."""
    assert not withheld({"daily": DAILY | {"enabled": False}}, SUNDAY_NOON)
    assert not enabled(BASIC | {"isEnabled": False})


@pytest.mark.parametrize(
    ("kind", "plan"),
    [
        ("daily", {}),
        ("daily", {"periods": 3}),
        ("daily", {"periods": [{"startTime": "25:00", "stopTime": "01:00"}]}),
        ("daily", DAILY | {"timezone": "../etc/passwd"}),
        ("weekly", {"periods": [{"startDay": "someday", "startTime": "1:0", "stopTime": "2:0"}]}),
        ("weekly_charge_plan", {"days": [{"dayOfWeek": 9, "ranges": []}]}),
        ("basic_charge_plan", {"chargeStartTime": "yesterday"}),
        ("delayed", {"startTime": None}),
    ],
)
def test_a_plan_that_cannot_be_read_is_named(kind, plan):
    """Nonsense is told, never raised."""
    assert problem(kind, plan) is not None
