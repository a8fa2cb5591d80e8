"""When a schedule lets a charger charge: its periods as moments in UTC.

Rules:

1. A local time that a change of the clock leaves out or repeats is read as RFC 5545 says: with the
   offset before the change, and the first of the two.
2. Periods that overlap or touch are one.
3. A time zone that this machine does not know gives no moments.
"""

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final

import msgspec

from bridge.core.easee.schedules import HOUR_MIN, KINDS, Period, Schedule, Schedules

# Days around a time that are looked at: a week of a weekly period, and the change of the clock.
_REACH: Final = 9
DAYS_A_WEEK: Final = 7
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]*(?:/[A-Za-z0-9_+\-]+)*", re.ASCII)
MAX_NAME_LENGTH = 64
_UTC_NAMES: Final = frozenset({"UTC", "Etc/UTC"})

Span = tuple[datetime, datetime]


class Standing(msgspec.Struct, frozen=True):
    """What the schedule in force means now.

    Attributes:
        in_period: A period lasts; None where that depends on more than the time, or is not known.
        next_start: When the next period begins, UTC, or None.
        next_stop: When the next one ends, or None.
    """

    in_period: bool | None = None
    next_start: datetime | None = None
    next_stop: datetime | None = None

    @property
    def changes_at(self) -> datetime | None:
        """When it is different next, or None."""
        return min(filter(None, (self.next_start, self.next_stop)), default=None)


UNKNOWN: Final = Standing()


@lru_cache(maxsize=64)
def zone(name: str) -> tzinfo | None:
    """Return the rules of a time zone; None where this machine does not know it."""
    if len(name) > MAX_NAME_LENGTH or _NAME.fullmatch(name) is None:
        return None
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - 0.3 MB that most do not need

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return UTC if name in _UTC_NAMES else None


def is_zone(name: object) -> bool:
    """Return whether a text names a time zone.

    Where this machine has no time zone database, everything that is spelled like one does.
    """
    if not isinstance(name, str):
        return False
    has_database = zone("Europe/Oslo") is not None
    spelled = len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name) is not None
    return spelled and (not has_database or zone(name) is not None)


def standing(schedules: Schedules, now: datetime) -> Standing:
    """Return what the schedule in force means at a time."""
    kind = schedules.in_force
    schedule = schedules.of(kind) if kind in KINDS else None
    if schedule is None:
        return UNKNOWN
    if kind == "delayed":
        # Whether a car that is here now waits depends on when it came.
        starts = [start for start, _ in _spans(schedule, now) if start > now]
        return Standing(None, min(starts, default=None))
    spans = merged_periods(schedule, now)
    if spans is None:
        return UNKNOWN
    # What goes on without an end is merged up to the end of what was looked at.
    horizon = now + timedelta(days=_REACH)
    return Standing(
        any(start <= now < stop for start, stop in spans),
        min((start for start, _ in spans if now < start <= horizon), default=None),
        min((stop for _, stop in spans if now < stop <= horizon), default=None),
    )


def merged_periods(schedule: Schedule, now: datetime) -> list[Span] | None:
    """Return the periods of the weeks around a time, merged; None in an unknown zone."""
    if zone(schedule.timezone) is None:
        return None
    merged: list[Span] = []
    for start, stop in sorted(_spans(schedule, now)):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return merged


def _spans(schedule: Schedule, now: datetime) -> list[Span]:
    """Return each period of each day around a time, in no order."""
    rules = zone(schedule.timezone)
    if rules is None:
        return []
    today = now.astimezone(rules).date()
    reach = _REACH + DAYS_A_WEEK
    days = [today + timedelta(days=n) for n in range(-reach, reach + 1)]
    found = []
    for period in schedule.periods:
        for day in days:
            if period.first_day in (None, day.weekday()):
                start = _moment(day, period.start, rules)
                stop = _stop(day, period, rules)
                if stop > start or period.stop is None:
                    found.append((start, stop))
    return found


def _stop(day: date, period: Period, rules: tzinfo) -> datetime:
    """Return when a period that begins on a day ends; a delayed start ends where it begins."""
    if period.stop is None:
        return _moment(day, period.start, rules)
    is_next = period.stop <= period.start
    if period.first_day is None or period.last_day is None:
        return _moment(day + timedelta(days=is_next), period.stop, rules)
    days = (period.last_day - period.first_day) % DAYS_A_WEEK
    if not days and is_next:
        days = DAYS_A_WEEK
    return _moment(day + timedelta(days=days), period.stop, rules)


def _moment(day: date, minute: int, rules: tzinfo) -> datetime:
    local = datetime.combine(day, time(minute // HOUR_MIN, minute % HOUR_MIN), rules)
    return local.astimezone(UTC)
