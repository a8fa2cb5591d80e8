"""Charging schedules: which documents are valid, and how much current one lets flow.

A plan is kept as the JSON document that was sent. Times of day are read in the plan's IANA zone,
else in UTC; the basic plan's moments carry their own offset.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

Plan = dict[str, object]

# Of these at most one is in force.
SCHEDULES = ("delayed", "daily", "weekly")
NO_LIMIT_A = 40.0

SINGLE_PHASE = 1  # observation 38
DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN
# A delayed start names no end. Until the same time of the next day it would never charge, so the
# window is taken to be half a day.
DELAYED_WINDOW_MIN = DAY_MIN // 2
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Window = tuple[int, int]  # minutes since Monday 00:00; the end may lie in the next week
Limited = tuple[Window, float]  # with the current that may flow in it
LEGACY_LIMIT = "chargingCurrentLimit"


def problem(kind: str, plan: Mapping[str, object]) -> str | None:
    """Return what is wrong with a plan; None when it is valid."""
    try:
        ZoneInfo(str(plan.get("timezone", "UTC")))
        WINDOWS[kind](plan)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as exc:
        return f"{type(exc).__name__}: {exc}"
    return None


def enabled(plan: Mapping[str, object]) -> bool:
    """Return whether a plan is enabled; the two generations use different fields."""
    return bool(plan.get("isEnabled", plan.get("enabled", False)))


def stored(plans: Mapping[str, Plan], kind: str, plan: Plan | None) -> dict[str, Plan]:
    """Return the plans after one was stored or (None) removed: a schedule replaces another."""
    found = {name: held for name, held in plans.items() if name != kind}
    if plan is None:
        return found
    if kind in SCHEDULES and enabled(plan):
        found |= {
            name: held | {"enabled": False} for name, held in found.items() if name in SCHEDULES
        }
    return {**found, kind: plan}


def withheld(plans: Mapping[str, Plan], at: datetime) -> bool:
    """Return whether any plan in force withholds the current at a time."""
    return limit_a(plans, at) is None


def limit_a(plans: Mapping[str, Plan], at: datetime) -> float | None:
    """Return the current that the plans in force let flow; None where one withholds it."""
    limits = [NO_LIMIT_A]
    for kind, plan in plans.items():
        if enabled(plan):
            windows, minute = WINDOWS[kind](plan), _minute(plan, at)
            inside = [limit for window, limit in windows if _inside(window, minute)]
            if not inside:
                return None
            limits.append(max(inside))
    return min(limits)


def _inside(window: Window, minute: int) -> bool:
    start, stop = window
    return start <= minute < stop or start <= minute + WEEK_MIN < stop


def _amps(row: Mapping[str, object], key: str = "maximumAmps") -> float:
    amps = row.get(key)
    return float(amps) if isinstance(amps, int | float) else NO_LIMIT_A


def _minute(plan: Mapping[str, object], at: datetime) -> int:
    local = at.astimezone(ZoneInfo(str(plan.get("timezone", "UTC"))))
    return local.weekday() * DAY_MIN + local.hour * 60 + local.minute


def _minute_of_day(text: object) -> int:
    hour, minute = str(text).rstrip("Z").split(":")[:2]
    if not (0 <= int(hour) < 24 and 0 <= int(minute) < 60):  # noqa: PLR2004 - a clock
        raise ValueError(f"not a time of day: {text!r}")
    return int(hour) * 60 + int(minute)


def _window(day: int, start: int, stop_day: int, stop: int) -> Window:
    begin, end = day * DAY_MIN + start, stop_day * DAY_MIN + stop
    return begin, end if end > begin else end + WEEK_MIN


def _every_day(start: int, stop: int) -> list[Window]:
    length = (stop - start) % DAY_MIN or DAY_MIN
    return [(day * DAY_MIN + start, day * DAY_MIN + start + length) for day in range(7)]


def _basic(plan: Mapping[str, object]) -> list[Limited]:
    start = datetime.fromisoformat(str(plan["chargeStartTime"])).astimezone(UTC)
    stop_text = plan.get("chargeStopTime")
    stop = (
        datetime.fromisoformat(str(stop_text)).astimezone(UTC)
        if stop_text is not None
        else start + timedelta(minutes=DELAYED_WINDOW_MIN)
    )
    windows = _every_day(start.hour * 60 + start.minute, stop.hour * 60 + stop.minute)
    return [(window, _amps(plan, LEGACY_LIMIT)) for window in windows]


def _week_by_days(plan: Mapping[str, object]) -> list[Limited]:
    windows = []
    for day in _rows(plan["days"]):
        number = int(str(day["dayOfWeek"]))
        if not 0 <= number < len(WEEKDAYS):
            raise ValueError(f"not a day of the week: {number}")
        for part in _rows(day["ranges"]):
            start, stop = _minute_of_day(part["startTime"]), _minute_of_day(part["stopTime"])
            window = _window(number, start, number + (stop <= start), stop)
            windows.append((window, _amps(part, LEGACY_LIMIT)))
    return windows


def _delayed(plan: Mapping[str, object]) -> list[Limited]:
    start = _minute_of_day(plan["startTime"])
    return [(window, _amps(plan)) for window in _every_day(start, start + DELAYED_WINDOW_MIN)]


def _daily(plan: Mapping[str, object]) -> list[Limited]:
    return [
        (window, _amps(part))
        for part in _rows(plan["periods"])
        for window in _every_day(
            _minute_of_day(part["startTime"]), _minute_of_day(part["stopTime"])
        )
    ]


def _weekly(plan: Mapping[str, object]) -> list[Limited]:
    return [
        (
            _window(
                WEEKDAYS.index(str(part["startDay"]).lower()),
                _minute_of_day(part["startTime"]),
                WEEKDAYS.index(str(part["stopDay"]).lower()),
                _minute_of_day(part["stopTime"]),
            ),
            _amps(part),
        )
        for part in _rows(plan["periods"])
    ]


def _rows(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise TypeError("a list of objects is expected")
    return value


WINDOWS: Mapping[str, Callable[[Mapping[str, object]], list[Limited]]] = {
    "basic_charge_plan": _basic,
    "weekly_charge_plan": _week_by_days,
    "delayed": _delayed,
    "daily": _daily,
    "weekly": _weekly,
}
