"""Charge plans of the vendor's former interface, as orders for its schedules.

The payloads are the former ones: a basic plan with one start and one stop, a weekly plan with
ranges for each day, their times in UTC. A plan becomes the daily, delayed or weekly schedule in the
time zone UTC. The payloads of the schedule commands are accepted as well.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from bridge.core.easee.command_payloads import integer_reader, is_moment, only_keys, refuse
from bridge.core.easee.schedule_payloads import ScheduleOrder, check_overlaps, schedule_order
from bridge.core.easee.schedule_times import DAYS_A_WEEK
from bridge.core.easee.schedules import HOUR_MIN, Kind, Period, Schedule
from bridge.errors import CommandRefused

# "HH:MM" in UTC; the vendor took it with and without the Z.
_CLOCK_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\dZ?", re.ASCII)
RANGES_A_DAY = 2
LIMIT = "chargingCurrentLimit"
BASIC_SHAPE = (
    '{"chargeStartTime": "…Z", "chargeStopTime": "…Z" or null, "repeat": bool, '
    '"isEnabled": bool, "chargingCurrentLimit": A}'
)
WEEKLY_SHAPE = '{"isEnabled": bool, "days": [{"dayOfWeek": 0..6, "ranges": […]}]}'
RANGE_SHAPE = '{"startTime": "HH:MMZ", "stopTime": "HH:MMZ", "chargingCurrentLimit": A}'
REPEATS = "schedules repeat every day: clear it after its use"
# Keys of the schedule commands' payloads.
_SCHEDULE_KEYS = frozenset({"enabled", "clear", "periods", "timezone", "start", "stop", "amps"})


def basic_plan(value: object, max_current_a: int) -> ScheduleOrder:
    """Read a plan of one start and one stop; without a stop it is a delayed start.

    Raises:
        CommandRefused: ``invalid_value`` or ``over_limit``.
    """
    if (order := _other_form("daily", value, max_current_a)) is not None:
        is_one_of_two = order.action in ("clear", "enable", "disable")
        return replace(order, also="delayed") if is_one_of_two else order
    plan = _object(value, BASIC_SHAPE)
    only_keys(
        plan,
        required={"chargeStartTime"},
        optional={"id", "chargeStopTime", "repeat", "isEnabled", LIMIT},
        shape=BASIC_SHAPE,
    )
    for key in ("chargeStartTime", "chargeStopTime"):
        if not (is_moment(plan.get(key)) or (key == "chargeStopTime" and plan.get(key) is None)):
            refuse(f'{key} is a time like "2026-11-22T12:00:00Z"')
    for key in ("repeat", "isEnabled"):
        _flag(plan, key)
    if "id" in plan and not isinstance(plan["id"], str):
        refuse("the id of a plan is a text")
    start = _utc_minute(plan["chargeStartTime"])
    stop = None if plan.get("chargeStopTime") is None else _utc_minute(plan["chargeStopTime"])
    if start == stop:
        refuse("start and stop are the same time: the period is empty")
    period = Period(start, stop, _limit(plan, max_current_a))
    kind: Kind = "delayed" if stop is None else "daily"
    note = "" if plan.get("repeat", True) else REPEATS
    schedule = _schedule((period,), plan)
    return ScheduleOrder(kind, "set", schedule, max_current_a=max_current_a, note=note)


def weekly_plan(value: object, max_current_a: int) -> ScheduleOrder:
    """Read a plan of up to two ranges for each day of the week.

    Raises:
        CommandRefused: ``invalid_value`` or ``over_limit``.
    """
    if (order := _other_form("weekly", value, max_current_a)) is not None:
        return order
    plan = _object(value, WEEKLY_SHAPE)
    only_keys(plan, required={"days"}, optional={"isEnabled"}, shape=WEEKLY_SHAPE)
    _flag(plan, "isEnabled")
    seen = set()
    periods: list[Period] = []
    for item in _list(plan["days"], DAYS_A_WEEK, "days has at most 7 entries"):
        day = _object(item, WEEKLY_SHAPE)
        only_keys(day, required={"dayOfWeek", "ranges"}, optional=(), shape=WEEKLY_SHAPE)
        number = day["dayOfWeek"]
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < DAYS_A_WEEK:
            refuse("dayOfWeek is 0 (Monday) to 6")
        seen.add(number)
        ranges = _list(day["ranges"], RANGES_A_DAY, "a day has at most two ranges")
        periods += [_range(_object(entry, RANGE_SHAPE), number, max_current_a) for entry in ranges]
    if len(seen) != len(_list(plan["days"], DAYS_A_WEEK, "")):
        refuse("a day may occur only once in a plan")
    if not periods:
        refuse("a plan has at least one range; null, off or clear removes it")
    check_overlaps("weekly", periods)
    schedule = _schedule(tuple(periods), plan)
    return ScheduleOrder("weekly", "set", schedule, max_current_a=max_current_a)


def _other_form(kind: Kind, value: object, max_current_a: int) -> ScheduleOrder | None:
    """Read the removal of a plan, and the payloads of the schedule commands."""
    if value is None or (isinstance(value, str) and value.lower() in {"off", "clear"}):
        return ScheduleOrder(kind, "clear")
    if isinstance(value, dict) and value.keys() & _SCHEDULE_KEYS:
        return schedule_order(kind, value, max_current_a)
    return None


def _schedule(periods: tuple[Period, ...], plan: Mapping[str, object]) -> Schedule:
    return Schedule("UTC", periods, plan.get("isEnabled", True) is True)


def _range(entry: Mapping[str, object], day: int, max_current_a: int) -> Period:
    only_keys(entry, required={"startTime", "stopTime"}, optional={LIMIT}, shape=RANGE_SHAPE)
    start, stop = (_minute(entry, key) for key in ("startTime", "stopTime"))
    if start == stop:
        refuse("startTime and stopTime are the same: the range is empty")
    last = (day + (stop <= start)) % DAYS_A_WEEK
    return Period(start, stop, _limit(entry, max_current_a), day, last)


def _minute(entry: Mapping[str, object], key: str) -> int:
    text = entry[key]
    if not isinstance(text, str) or _CLOCK_TIME.fullmatch(text) is None:
        refuse(f'{key} is a UTC time of day like "22:30Z"')
    return int(text[:2]) * HOUR_MIN + int(text[3:5])


def _utc_minute(moment: object) -> int:
    at = datetime.fromisoformat(str(moment)).astimezone(UTC)
    return at.hour * HOUR_MIN + at.minute


def _object(value: object, shape: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        refuse(f"a plan is {shape}; null, off or clear removes it")
    return value


def _list(value: object, longest: int, allowed: str) -> list[object]:
    if not isinstance(value, list) or len(value) > longest:
        refuse(allowed)
    return value


def _flag(plan: Mapping[str, object], key: str) -> None:
    if key in plan and not isinstance(plan[key], bool):
        refuse(f"{key} is true or false")


def _limit(entry: Mapping[str, object], max_current_a: int) -> int | None:
    if LIMIT not in entry:
        return None
    value = entry[LIMIT]
    if isinstance(value, str):
        refuse(f"{LIMIT} is a number of amperes")
    amps = integer_reader(0, 1000, "A")(value, max_current_a)
    if amps > max_current_a:
        raise CommandRefused("over_limit", f"{LIMIT} is at most {max_current_a} A")
    return amps
