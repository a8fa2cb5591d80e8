"""Charging schedules: which documents are valid, and whether one withholds the current.

A plan is kept as the JSON document that was sent. Times of day are read in the plan's IANA zone,
else in UTC; the basic plan's moments carry their own offset.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

Plan = dict[str, object]

SINGLE_PHASE = 1  # observation 38
DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN
# A delayed start names no end. Until the same time of the next day it would never charge, so the
# window is taken to be half a day.
DELAYED_WINDOW_MIN = DAY_MIN // 2
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Window = tuple[int, int]  # minutes since Monday 00:00; the end may lie in the next week


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


def withheld(plans: Mapping[str, Plan], at: datetime) -> bool:
    """Return whether any plan in force withholds the current at a time."""
    return any(
        enabled(plan) and not _inside(WINDOWS[kind](plan), _minute(plan, at))
        for kind, plan in plans.items()
    )


def _inside(windows: list[Window], minute: int) -> bool:
    return any(
        start <= minute < stop or start <= minute + WEEK_MIN < stop for start, stop in windows
    )


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


def _basic(plan: Mapping[str, object]) -> list[Window]:
    start = datetime.fromisoformat(str(plan["chargeStartTime"])).astimezone(UTC)
    stop_text = plan.get("chargeStopTime")
    stop = (
        datetime.fromisoformat(str(stop_text)).astimezone(UTC)
        if stop_text is not None
        else start + timedelta(minutes=DELAYED_WINDOW_MIN)
    )
    return _every_day(start.hour * 60 + start.minute, stop.hour * 60 + stop.minute)


def _week_by_days(plan: Mapping[str, object]) -> list[Window]:
    windows = []
    for day in _rows(plan["days"]):
        number = int(str(day["dayOfWeek"]))
        if not 0 <= number < len(WEEKDAYS):
            raise ValueError(f"not a day of the week: {number}")
        for part in _rows(day["ranges"]):
            start, stop = _minute_of_day(part["startTime"]), _minute_of_day(part["stopTime"])
            windows.append(_window(number, start, number + (stop <= start), stop))
    return windows


def _delayed(plan: Mapping[str, object]) -> list[Window]:
    start = _minute_of_day(plan["startTime"])
    return _every_day(start, start + DELAYED_WINDOW_MIN)


def _daily(plan: Mapping[str, object]) -> list[Window]:
    return [
        window
        for part in _rows(plan["periods"])
        for window in _every_day(
            _minute_of_day(part["startTime"]), _minute_of_day(part["stopTime"])
        )
    ]


def _weekly(plan: Mapping[str, object]) -> list[Window]:
    return [
        _window(
            WEEKDAYS.index(str(part["startDay"]).lower()),
            _minute_of_day(part["startTime"]),
            WEEKDAYS.index(str(part["stopDay"]).lower()),
            _minute_of_day(part["stopTime"]),
        )
        for part in _rows(plan["periods"])
    ]


def _rows(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
        raise TypeError("a list of objects is expected")
    return value


WINDOWS: Mapping[str, Callable[[Mapping[str, object]], list[Window]]] = {
    "basic_charge_plan": _basic,
    "weekly_charge_plan": _week_by_days,
    "delayed": _delayed,
    "daily": _daily,
    "weekly": _weekly,
}
