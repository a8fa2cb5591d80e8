"""Charge schedules of the vendor's interface: what the cloud holds, and the bodies that set it.

Rules:

1. Times of day are local times of a named time zone, in whole minutes.
2. At most one schedule is in force. The cloud's summary names it; without a summary it is the one
   whose own ``enabled`` is true.
3. Documents are read in any spelling of their keys. A schedule that cannot be read is named, and
   does not prevent the others from being read.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeGuard

import msgspec

from bridge.core.easee.json_fields import flag, parse_json
from bridge.core.easee.observation_json import lowered
from bridge.errors import DecodeError

Kind = Literal["delayed", "daily", "weekly"]

KINDS: Final[tuple[Kind, ...]] = ("delayed", "daily", "weekly")
WEEKDAYS: Final = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
# The resource that tells which schedule is in force.
SUMMARY: Final = "schedules"
# What the summary says where none is, and where the charger's own OCPP server decides.
NONE: Final = "none"
DIRECT_OCPP: Final = "ocpp.direct"
HOUR_MIN: Final = 60
DAY_MIN: Final = 24 * HOUR_MIN
MAX_WORD_LENGTH = 32

_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::[0-5]\d(?:\.\d+)?)?Z?", re.ASCII)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.]*", re.ASCII)


class Period(msgspec.Struct, frozen=True, order=True):
    """A period in which a schedule lets the charger charge.

    Attributes:
        start: Minutes after midnight, local time.
        stop: Likewise; not after ``start`` means the next day. None: a delayed start has none.
        amps: Highest current, or None where the cloud tells none.
        first_day: Day of the week of the start, 0 is Monday; None: every day.
        last_day: Likewise of the stop.
    """

    start: int
    stop: int | None = None
    amps: float | None = None
    first_day: int | None = None
    last_day: int | None = None


class Schedule(msgspec.Struct, frozen=True):
    """One schedule.

    Attributes:
        timezone: Name in the IANA database.
        periods: When the charger may charge.
        enabled: What its document says of itself; None where it says nothing.
    """

    timezone: str
    periods: tuple[Period, ...]
    enabled: bool | None = None


class Schedules(msgspec.Struct, frozen=True):
    """Everything the cloud holds for a charger.

    Attributes:
        in_force: A kind, ``none``, ``ocpp.direct``, or another word of the vendor.
        delayed: The schedule of this kind, or None.
        daily: Likewise.
        weekly: Likewise.
        unreadable: Kinds whose document cannot be read.
    """

    in_force: str = NONE
    delayed: Schedule | None = None
    daily: Schedule | None = None
    weekly: Schedule | None = None
    unreadable: tuple[str, ...] = ()

    def of(self, kind: str) -> Schedule | None:
        """Return the schedule of a kind."""
        return {"delayed": self.delayed, "daily": self.daily, "weekly": self.weekly}.get(kind)

    @property
    def is_direct(self) -> bool:
        """Whether an OCPP server of the charger's own decides, and not the cloud."""
        return self.in_force == DIRECT_OCPP


# -- what the cloud holds ------------------------------------------------------------------------


def missing_kinds(summary: bytes) -> tuple[Kind, ...]:
    """Return the kinds that a summary does not mention, so that they have to be asked for."""
    try:
        document = _document(summary, SUMMARY) or {}
    except DecodeError:
        document = {}
    return tuple(kind for kind in KINDS if kind not in document)


def read_schedules(bodies: Mapping[str, bytes]) -> Schedules:
    """Read what the cloud answered.

    Args:
        bodies: The answers, by resource (:data:`SUMMARY` or a kind); empty where there is none.

    Raises:
        DecodeError: Nothing of it can be read.
    """
    trouble: DecodeError | None = None
    try:
        summary = _document(bodies.get(SUMMARY, b""), SUMMARY) or {}
    except DecodeError as error:
        summary, trouble = {}, error
    found: dict[str, Schedule | None] = {}
    unreadable = []
    for kind in KINDS:
        found[kind] = None
        try:
            document = summary.get(kind)
            if document is None:
                document = _document(bodies.get(kind, b""), kind)
            if document is not None:
                found[kind] = read_schedule(kind, document)
        except DecodeError:
            unreadable.append(kind)
    if trouble is not None and not any(found.values()):
        raise trouble
    in_force = summary.get("enabled")
    if not _is_word(in_force):
        in_force = next((kind for kind in KINDS if (s := found[kind]) and s.enabled), NONE)
    return Schedules(in_force, found["delayed"], found["daily"], found["weekly"], tuple(unreadable))


def read_schedule(kind: str, document: object) -> Schedule | None:
    """Read the document of one schedule; None where it holds no period.

    Raises:
        DecodeError: It cannot be read.
    """
    if not isinstance(document, Mapping):
        raise DecodeError("no object", source=kind, raw=document)
    told = lowered(document)
    listed = [told] if kind == "delayed" else told.get("periods")
    if kind == "delayed" and told.get("starttime") is None:
        return None
    if listed is None or listed == []:
        return None
    if not isinstance(listed, list):
        raise DecodeError("no list of periods", source=kind, raw=listed)
    zone = told.get("timezone")
    if not isinstance(zone, str):
        raise DecodeError("no time zone", source=kind, raw=zone)
    return Schedule(
        zone, tuple(_read_period(kind, each) for each in listed), flag(told.get("enabled"))
    )


def _read_period(kind: str, entry: object) -> Period:
    if not isinstance(entry, Mapping):
        raise DecodeError("no period", source=kind, raw=entry)
    told = lowered(entry)
    days: list[int | None] = [None, None]
    if kind == "weekly":
        days = [_read_day(told.get(key), kind) for key in ("startday", "stopday")]
    amps = told.get("maximumamps")
    return Period(
        _read_minute(told.get("starttime"), kind),
        None if kind == "delayed" else _read_minute(told.get("stoptime"), kind),
        amps if isinstance(amps, int | float) and not isinstance(amps, bool) else None,
        *days,
    )


def _read_minute(value: object, kind: str) -> int:
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise DecodeError("no time of day", source=kind, raw=value)
    return int(found[1]) * HOUR_MIN + int(found[2])


def _read_day(value: object, kind: str) -> int:
    word = value.lower() if isinstance(value, str) else ""
    if word not in WEEKDAYS:
        raise DecodeError("no day of the week", source=kind, raw=value)
    return WEEKDAYS.index(word)


def _document(body: bytes, source: str) -> dict[str, object] | None:
    """Return a document with its keys in lower case; None where there is none."""
    document = parse_json(body, source) if body.strip() else None
    if document is None:
        return None
    if not isinstance(document, dict):
        raise DecodeError("no object", source=source, raw=body[:80])
    return lowered(document)


def _is_word(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= MAX_WORD_LENGTH and bool(_WORD.fullmatch(value))


# -- what is sent --------------------------------------------------------------------------------


def body_of(kind: str, schedule: Schedule) -> bytes:
    """Return the body that stores a schedule, in the vendor's spelling."""
    head: dict[str, object] = {
        "enabled": bool(schedule.enabled),
        "timezone": schedule.timezone,
    }
    if kind == "delayed":
        return msgspec.json.encode({**head, **_vendor_period(kind, schedule.periods[0])})
    periods = [_vendor_period(kind, period) for period in schedule.periods]
    return msgspec.json.encode({**head, "periods": periods})


def _vendor_period(kind: str, period: Period) -> dict[str, object]:
    # Weekly times have no seconds.
    seconds = "" if kind == "weekly" else ":00"
    told: dict[str, object] = {"startTime": clock_text(period.start) + seconds}
    if period.stop is not None:
        told["stopTime"] = clock_text(period.stop) + seconds
    if period.first_day is not None and period.last_day is not None:
        told |= {"startDay": WEEKDAYS[period.first_day], "stopDay": WEEKDAYS[period.last_day]}
    if period.amps is not None:
        told["maximumAmps"] = period.amps
    return told


def clock_text(minute: int) -> str:
    """Spell a minute of the day: ``06:05``."""
    return f"{minute // HOUR_MIN:02}:{minute % HOUR_MIN:02}"


# -- as people read and write it -----------------------------------------------------------------


def schedule_fields(schedule: Schedule, *, is_in_force: bool) -> dict[str, object]:
    """Return a schedule as its command takes it."""
    return {
        "enabled": is_in_force,
        "timezone": schedule.timezone,
        "periods": [_period_fields(period) for period in schedule.periods],
    }


def _period_fields(period: Period) -> dict[str, object]:
    told: dict[str, object] = {"start": clock_text(period.start)}
    if period.stop is not None:
        told["stop"] = clock_text(period.stop)
    if period.amps is not None:
        whole = int(period.amps)
        told["amps"] = whole if whole == period.amps else period.amps
    if period.first_day is not None and period.last_day is not None:
        told |= {"from": WEEKDAYS[period.first_day], "to": WEEKDAYS[period.last_day]}
    return told
