"""Payloads of the schedule commands, and the requests they become.

Rules:

1. An order sets a schedule as a whole, changes single values of the one the cloud holds, switches
   it, or removes it.
2. A change is made of the schedule that the cloud holds at the time of sending, so it is read
   first.
3. Where no current is named, it is ``commands.max_current_a``: the vendor's body has one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, NoReturn

from msgspec.structs import replace

from bridge.core.easee.command_payloads import (
    MIN_CURRENT_A,
    boolean,
    integer_reader,
    only_keys,
    refuse,
)
from bridge.core.easee.rest_requests import (
    CloudRequest,
    plan_request,
    schedule_request,
)
from bridge.core.easee.schedule_times import DAYS_A_WEEK, is_zone
from bridge.core.easee.schedules import (
    DAY_MIN,
    HOUR_MIN,
    KINDS,
    SUMMARY,
    WEEKDAYS,
    Kind,
    Period,
    Schedule,
    Schedules,
    body_of,
    missing_kinds,
    read_schedules,
)
from bridge.errors import CommandRefused, DecodeError

MAX_PERIODS = 28
# A schedule that is made of a single value begins with these.
FIRST_START_MIN: Final = 22 * HOUR_MIN
FIRST_STOP_MIN: Final = 6 * HOUR_MIN

Action = Literal["set", "change", "enable", "disable", "clear"]
# Answers of the cloud, by the path that was asked for.
Documents = Mapping[str, bytes]
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ScheduleOrder:
    """What a schedule command asks for.

    Attributes:
        kind: Which schedule.
        action: What becomes of it.
        schedule: To be set; None for everything else.
        changes: Fields of the schedule and of its period to be changed, by name.
        max_current_a: ``commands.max_current_a``: of periods without a current. It is no part of
            what was asked for, which has to be the same when it is read again after a restart.
        note: A sentence for the result, or empty.
        also: A schedule that is meant instead where only that one is there, or None.
    """

    kind: Kind
    action: Action
    schedule: Schedule | None = None
    changes: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    max_current_a: int = field(default=0, repr=False, compare=False)
    note: str = ""
    also: Kind | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return the schedules that may be meant."""
        return (self.kind,) if self.also is None else (self.kind, self.also)

    @property
    def puts_in_force(self) -> bool:
        """Whether the schedule may decide afterwards."""
        return self.action not in ("disable", "clear")


# -- reading a payload ---------------------------------------------------------------------------

SHAPES: Final[Mapping[str, str]] = {
    "delayed": '{"enabled": true, "timezone": "Europe/Oslo", "periods": [{"start": "22:00"}]}',
    "daily": '{"enabled": true, "timezone": "Europe/Oslo", "periods": [{"start": "22:00", "stop":'
    ' "06:00", "amps": 16}]}',
    "weekly": '{"enabled": true, "timezone": "Europe/Oslo", "periods": [{"start": "22:00", "stop":'
    ' "06:00", "from": "monday", "to": "tuesday"}]}',
}
_SWITCHES: Final = '{"enabled": false} or {"clear": true}'
_CHANGES: Final[Mapping[str, frozenset[str]]] = {
    "delayed": frozenset({"enabled", "timezone", "start", "amps"}),
    "daily": frozenset({"enabled", "timezone", "start", "stop", "amps"}),
    "weekly": frozenset({"enabled", "timezone", "amps"}),
}


def schedule_order(kind: Kind, value: object, max_current_a: int) -> ScheduleOrder:
    """Read the payload of a schedule command.

    Raises:
        CommandRefused: ``invalid_value`` or ``over_limit``.
    """
    if value is None or (isinstance(value, str) and value.lower() == "clear"):
        return ScheduleOrder(kind, "clear")
    if not isinstance(value, dict):
        return ScheduleOrder(kind, "enable" if boolean(value, 0) else "disable")
    if "clear" in value:
        only_keys(value, required={"clear"}, optional=(), shape=_SWITCHES)
        if value["clear"] is not True:
            refuse('clear is true; {"enabled": false} only disables the schedule')
        return ScheduleOrder(kind, "clear")
    if "periods" in value:
        whole = _whole(kind, value, max_current_a)
        return ScheduleOrder(kind, "set", whole, max_current_a=max_current_a)
    if value.keys() == {"enabled"}:
        return ScheduleOrder(kind, "enable" if _flag(value["enabled"]) else "disable")
    return _change(kind, value, max_current_a)


def _whole(kind: Kind, value: Mapping[str, object], max_current_a: int) -> Schedule:
    only_keys(value, required={"timezone", "periods"}, optional={"enabled"}, shape=SHAPES[kind])
    listed = value["periods"]
    most = 1 if kind == "delayed" else MAX_PERIODS
    if not isinstance(listed, list) or not 1 <= len(listed) <= most:
        refuse(f"periods has 1 to {most} entries" if most > 1 else "a delayed schedule has 1 start")
    periods = tuple(_period(kind, entry, max_current_a) for entry in listed)
    check_overlaps(kind, periods)
    return Schedule(_zone(value["timezone"]), periods, _flag(value.get("enabled", True)))


def _period(kind: Kind, entry: object, max_current_a: int) -> Period:
    if not isinstance(entry, dict):
        _refuse_shape(kind)
    required = {"delayed": {"start"}, "daily": {"start", "stop"}}.get(
        kind, {"start", "stop", "from"}
    )
    only_keys(
        entry,
        required=required,
        optional={"amps", "to"} if kind == "weekly" else {"amps"},
        shape=SHAPES[kind],
    )
    start = _minute(entry["start"], "start")
    amps = _amps(entry["amps"], max_current_a) if "amps" in entry else None
    if kind == "delayed":
        return Period(start, None, amps)
    stop = _minute(entry["stop"], "stop")
    first = last = None
    if kind == "weekly":
        first = _day(entry["from"], "from")
        last = (first + (stop <= start)) % DAYS_A_WEEK
        if "to" in entry:
            last = _day(entry["to"], "to")
    _check_length(start, stop, first, last)
    return Period(start, stop, amps, first, last)


def _check_length(start: int, stop: int, first: int | None, last: int | None) -> None:
    if first == last and start == stop:
        refuse("start and stop are the same time: the period is empty")
    if first is not None and first == last and stop < start:
        refuse("stop lies before start on the same day: name the next day in to")


def _change(kind: Kind, value: Mapping[str, object], max_current_a: int) -> ScheduleOrder:
    allowed = _CHANGES[kind]
    if not value or not value.keys() <= allowed:
        _refuse_shape(kind)
    readers: Mapping[str, Callable[[object], object]] = {
        "enabled": _flag,
        "timezone": _zone,
        "start": lambda given: _minute(given, "start"),
        "stop": lambda given: _minute(given, "stop"),
        "amps": lambda given: _amps(given, max_current_a),
    }
    changes = {key: readers[key](value[key]) for key in sorted(value)}
    if changes.get("start", -1) == changes.get("stop", -2):
        refuse("start and stop are the same time: the period is empty")
    return ScheduleOrder(kind, "change", changes=changes, max_current_a=max_current_a)


def check_overlaps(kind: str, periods: Iterable[Period]) -> None:
    """Check that no two periods last at the same time.

    Raises:
        CommandRefused: Two do.
    """
    ring = DAY_MIN * (DAYS_A_WEEK if kind == "weekly" else 1)
    spans = sorted(_minutes(period, ring) for period in periods)
    later = [*spans[1:], *((start + ring, stop + ring) for start, stop in spans[:1])]
    if len(spans) > 1 and any(
        stop > next_start for (_, stop), (next_start, _) in zip(spans, later, strict=True)
    ):
        refuse("two periods overlap: the stop of one lies behind the start of the next")


def _minutes(period: Period, ring: int) -> tuple[int, int]:
    """Return a period in minutes of the day or week, its stop behind its start."""
    start = (period.first_day or 0) * DAY_MIN + period.start
    stop = (period.last_day or 0) * DAY_MIN + (period.start if period.stop is None else period.stop)
    return start, stop if stop > start else stop + ring


def _refuse_shape(kind: Kind) -> NoReturn:
    refuse(f"a {kind} schedule is {SHAPES[kind]}, {_SWITCHES}")


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        refuse("enabled is true or false")
    return value


def _zone(value: object) -> str:
    if not is_zone(value):
        refuse('timezone is a name like "Europe/Oslo"')
    return str(value)


def _minute(value: object, key: str) -> int:
    text = value if isinstance(value, str) else ""
    hour, colon, rest = text.partition(":")
    minute = rest.removesuffix(":00")  # as Home Assistant and the vendor spell a time
    is_clock = colon and len(hour) == len(minute) == 2 and (hour + minute).isascii()  # noqa: PLR2004 - HH:MM
    if not is_clock or not (hour + minute).isdigit():
        refuse(f'{key} is a local time like "22:00"')
    total = int(hour) * HOUR_MIN + int(minute)
    if int(minute) >= HOUR_MIN or total >= DAY_MIN:
        refuse(f'{key} is a local time from "00:00" to "23:59"')
    return total


def _day(value: object, key: str) -> int:
    word = value.lower() if isinstance(value, str) else ""
    if word not in WEEKDAYS:
        refuse(f"{key} is a day: {', '.join(WEEKDAYS)}")
    return WEEKDAYS.index(word)


def _amps(value: object, max_current_a: int) -> int:
    if isinstance(value, str):
        refuse("amps is a number")
    amps = integer_reader(MIN_CURRENT_A, 1000, "A")(value, max_current_a)
    if amps > max_current_a:
        raise CommandRefused("over_limit", f"commands.max_current_a is {max_current_a}")
    return amps


# -- requests ------------------------------------------------------------------------------------


def order_request(
    charger_id: str, documents: Documents, order: ScheduleOrder
) -> CloudRequest | None:
    """Return the request of an order; None while the cloud has to be asked first.

    Raises:
        CommandRefused: The schedule that the cloud holds cannot be changed like this.
    """
    must_ask = order.action == "change" or order.also is not None
    if must_ask and order_lookup(charger_id, documents, order) is not None:
        return None
    kind = _meant(order, _held(charger_id, documents)) if order.also else order.kind
    if order.action == "clear":
        return schedule_request("DELETE", charger_id, kind)
    if order.action in ("enable", "disable"):
        return schedule_request("POST", charger_id, kind, order.action)
    wanted = order.schedule
    if wanted is None:
        wanted = _changed(order, _held(charger_id, documents))
    periods = tuple(
        replace(each, amps=order.max_current_a) if each.amps is None else each
        for each in wanted.periods
    )
    body = body_of(kind, replace(wanted, periods=periods))
    return schedule_request("POST", charger_id, kind, body=body)


def _meant(order: ScheduleOrder, held: Schedules) -> Kind:
    """Return which schedule an order means that may mean two."""
    other = order.also
    if other is None:
        return order.kind
    is_other = held.in_force == other or (held.of(order.kind) is None and held.of(other))
    return other if is_other else order.kind


def order_lookup(
    charger_id: str, documents: Documents, order: ScheduleOrder
) -> CloudRequest | None:
    """Return what to ask the cloud for before an order can be sent; None where nothing is."""
    summary = plan_request(charger_id, SUMMARY)
    if summary.path not in documents:
        return summary
    missing = missing_kinds(documents[summary.path])
    wanted = (
        plan_request(charger_id, f"{SUMMARY}/{kind}") for kind in order.kinds if kind in missing
    )
    return next((request for request in wanted if request.path not in documents), None)


def _held(charger_id: str, documents: Documents) -> Schedules:
    """Return what the cloud holds, as far as it was asked for."""
    paths = {SUMMARY: plan_request(charger_id, SUMMARY).path}
    paths |= {kind: plan_request(charger_id, f"{SUMMARY}/{kind}").path for kind in KINDS}
    bodies = {name: documents[path] for name, path in paths.items() if path in documents}
    try:
        return read_schedules(bodies)
    except DecodeError as error:
        raise CommandRefused(
            "invalid_value", "the schedule in the cloud cannot be read: send periods"
        ) from error


def _changed(order: ScheduleOrder, held: Schedules) -> Schedule:
    """Return the schedule with the changes of an order.

    Raises:
        CommandRefused: It cannot be changed like this.
    """
    kind, changes = order.kind, dict(order.changes)
    if kind in held.unreadable:
        refuse(f"the {kind} schedule in the cloud cannot be read: send periods")
    schedule = held.of(kind)
    if schedule is None:
        if "timezone" not in changes or kind == "weekly":
            refuse(f"the cloud holds no {kind} schedule: send {SHAPES[kind]}")
        stop = None if kind == "delayed" else FIRST_STOP_MIN
        schedule = Schedule(changes["timezone"], (Period(FIRST_START_MIN, stop),))
    enabled = held.in_force == kind
    schedule = replace(
        schedule,
        timezone=changes.pop("timezone", schedule.timezone),
        enabled=changes.pop("enabled", enabled),
    )
    if changes.keys() & {"start", "stop"} and len(schedule.periods) > 1:
        refuse(f"it has {len(schedule.periods)} periods: send periods")
    periods = tuple(replace(period, **changes) for period in schedule.periods)
    for period in periods:
        _check_length(period.start, -1 if period.stop is None else period.stop, None, None)
    return replace(schedule, periods=periods)


def is_shown(order: ScheduleOrder, held: Schedules) -> bool:
    """Return whether the cloud holds what an order asked for."""
    schedule, in_force = held.of(order.kind), held.in_force in order.kinds
    match order.action:
        case "clear":
            return schedule is None and not in_force
        case "enable":
            return in_force
        case "disable":
            return not in_force
        case "set" if order.schedule is not None:
            return (
                schedule is not None
                and schedule.timezone == order.schedule.timezone
                and _are_shown(_in_order(order.schedule), _in_order(schedule))
                and in_force == order.schedule.enabled
            )
        case _:
            return schedule is not None and _shows_changes(order, schedule, in_force=in_force)


def _in_order(schedule: Schedule) -> list[Period]:
    return sorted(schedule.periods, key=lambda period: (period.first_day or 0, period.start))


def _are_shown(wanted: list[Period], held: list[Period]) -> bool:
    """Return whether these are the periods that were sent, whatever current was not named."""
    return len(wanted) == len(held) and all(
        each == (replace(other, amps=None) if each.amps is None else other)
        for each, other in zip(wanted, held, strict=True)
    )


def _shows_changes(order: ScheduleOrder, schedule: Schedule, *, in_force: bool) -> bool:
    changes = dict(order.changes)
    if changes.pop("enabled", in_force) != in_force:
        return False
    if changes.pop("timezone", schedule.timezone) != schedule.timezone:
        return False
    return all(
        getattr(period, key) == wanted
        for period in schedule.periods
        for key, wanted in changes.items()
    )
