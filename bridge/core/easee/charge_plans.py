"""Charge plans: checked key by key, because the cloud stores what it does not understand.

The shapes are the vendor's (basic and weekly charge plan of its REST interface), so that what
people read there can be sent here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from bridge.core.easee.command_payloads import integer_reader, is_moment, only_keys, refuse
from bridge.errors import CommandRefused

# "HH:MM" in UTC; the vendor takes it with and without the Z.
_CLOCK_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\dZ?", re.ASCII)
DAYS = 7
RANGES_A_DAY = 2
LIMIT = "chargingCurrentLimit"
BASIC_SHAPE = (
    '{"chargeStartTime": "…Z", "chargeStopTime": "…Z" or null, "repeat": bool, '
    '"isEnabled": bool, "chargingCurrentLimit": A}'
)
WEEKLY_SHAPE = '{"isEnabled": bool, "days": [{"dayOfWeek": 0..6, "ranges": […]}]}'
RANGE_SHAPE = '{"startTime": "HH:MMZ", "stopTime": "HH:MMZ", "chargingCurrentLimit": A}'


@dataclass(frozen=True, slots=True)
class Plan:
    """A charge plan, ready to be sent.

    Attributes:
        body: JSON text, or None to remove the plan that is there.
    """

    body: bytes | None


def basic_plan(value: object, max_current_a: int) -> Plan:
    """Read a plan of one start and one stop.

    Raises:
        CommandRefused: ``invalid_value`` or ``over_limit``.
    """
    if _is_removal(value):
        return Plan(None)
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
    _limit(plan, max_current_a)
    return Plan(msgspec.json.encode(plan))


def weekly_plan(value: object, max_current_a: int) -> Plan:
    """Read a plan of up to two ranges for each day of the week.

    Raises:
        CommandRefused: ``invalid_value`` or ``over_limit``.
    """
    if _is_removal(value):
        return Plan(None)
    plan = _object(value, WEEKLY_SHAPE)
    only_keys(plan, required={"days"}, optional={"isEnabled"}, shape=WEEKLY_SHAPE)
    _flag(plan, "isEnabled")
    seen = set()
    for item in _list(plan["days"], DAYS, "days has at most 7 entries"):
        day = _object(item, WEEKLY_SHAPE)
        only_keys(day, required={"dayOfWeek", "ranges"}, optional=(), shape=WEEKLY_SHAPE)
        number = day["dayOfWeek"]
        if isinstance(number, bool) or not isinstance(number, int) or number not in range(DAYS):
            refuse("dayOfWeek is 0 (Monday) to 6")
        seen.add(number)
        for entry in _list(day["ranges"], RANGES_A_DAY, "a day has at most two ranges"):
            _check_range(_object(entry, RANGE_SHAPE), max_current_a)
    if len(seen) != len(_list(plan["days"], DAYS, "")):
        refuse("a day may occur only once in a plan")
    return Plan(msgspec.json.encode(plan))


def _check_range(entry: Mapping[str, object], max_current_a: int) -> None:
    only_keys(entry, required={"startTime", "stopTime"}, optional={LIMIT}, shape=RANGE_SHAPE)
    for key in ("startTime", "stopTime"):
        time = entry[key]
        if not isinstance(time, str) or _CLOCK_TIME.fullmatch(time) is None:
            refuse(f'{key} is a UTC time of day like "22:30Z"')
    _limit(entry, max_current_a)


def _is_removal(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.lower() in {"off", "clear"})


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


def _limit(entry: Mapping[str, object], max_current_a: int) -> None:
    if LIMIT not in entry:
        return
    value = entry[LIMIT]
    if isinstance(value, str):
        refuse(f"{LIMIT} is a number of amperes")
    amps = integer_reader(0, 1000, "A")(value, max_current_a)
    if amps > max_current_a:
        raise CommandRefused("over_limit", f"{LIMIT} is at most {max_current_a} A")
