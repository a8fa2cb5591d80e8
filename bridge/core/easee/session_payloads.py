"""Parses session starts and reports of the charger (observations 223 and 129).

Rules:

1. Times and energy make a bill. Without them there is none: a ``DecodeError``, never a guess. The
   energy is also what the meters say, and one that is negative by a rounding is 0.
2. What bills nobody (counter, meters, reason, tag) costs no report: what cannot be read of it is
   None, and named.
3. Keys are read in any case; what is spelled as documented wins. Two other spellings must agree,
   and so must a key that is told twice. Unknown keys are ignored. A list of one report, and a JSON
   text in a JSON text, mean what is in them.
4. Times are read as they are told; see :mod:`bridge.core.records.session_clocks` for what cannot
   be.
"""

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, TypeVar

import msgspec

from bridge.core.records import session_clocks
from bridge.core.records.session_report import (
    MAX_COUNTER,
    MAX_ENERGY_KWH,
    SessionReport,
    SessionStart,
)
from bridge.errors import DecodeError

T = TypeVar("T")
# A negative energy that is nothing but a rounding.
ROUNDING_KWH = 0.01
MAX_METER_KWH = 1e9
MAX_LAYERS = 4
# As chargers and clouds spell times, of any year: a clock that was never set tells 1970.
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"(?:Z|[+-][0-9]{2}:?[0-9]{2})?",
    re.ASCII,
).fullmatch
_NUMBER = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII).fullmatch
_WHOLE = re.compile(r"([0-9]{1,19})(?:\.0{1,20})?", re.ASCII).fullmatch
# A byte order mark, and what C programs end texts with.
_AROUND = "\ufeff\x00 \t\r\n"
# Two spellings of a name say different things.
_CONTRADICTION = object()

_START_KEYS: Final = ("Id", "Start", "MeterValue", "AuthReason", "Auth")
_REPORT_KEYS: Final = (
    *("Id", "Start", "Stop", "EnergyKwh", "MeterValueStart", "MeterValueStop"),
    *("AuthReason", "Auth"),
)


class _Fields:
    """The fields of a report, and those present that could not be read."""

    def __init__(self, found: dict[str, object], keys: Iterable[str], source: str) -> None:
        self._told = _as_documented(found, keys)
        self._source = source
        self.unreadable: list[str] = []

    def told(self, key: str) -> object:
        """Return a field's value, None when it is absent."""
        return self._told.get(key)

    def side(self, key: str, name: str, read: Callable[[object], T | None]) -> T | None:
        """Return a secondary field; it is listed when it is present and cannot be read."""
        told = self.told(key)
        if told is None:
            return None
        value = read(told)
        if value is None:
            self.unreadable.append(name)
        return value

    def time(self, key: str) -> datetime:
        """Read a time.

        Raises:
            DecodeError: It is none.
        """
        at = session_time(self.told(key))
        if at is None:
            raise DecodeError(f"{key} is no time", source=self._source)
        return at


def read_start(
    text: str,
    *,
    charger_id: str,
    measured_at: datetime,
    received_at: datetime,
    trusted: bool = True,
) -> SessionStart:
    """Read the text of observation 223.

    Args:
        text: E.g. ``{"Id":435,"MeterValue":1277.872637,"Start":"…Z",…}``.
        charger_id: The charger it came from.
        measured_at: Charger time of the observation.
        received_at: When it reached us.
        trusted: That can be believed.

    Raises:
        DecodeError: It is not one. The error holds nothing of the text: a tag may be in it.
    """
    source = "observation 223"
    fields = _Fields(_document(text, source), _START_KEYS, source)
    started_at = fields.time("Start")
    is_ahead = trusted and measured_at - received_at > session_clocks.AHEAD
    limit = session_clocks.latest(measured_at, received_at, trusted=trusted)
    return SessionStart(
        charger_id=charger_id,
        session_id=fields.side("Id", "session_id", counter),
        started_at=started_at,
        meter_start_kwh=fields.side("MeterValue", "meter_start_kwh", _meter),
        auth_reason=fields.side("AuthReason", "auth_reason", counter),
        auth=fields.side("Auth", "auth", _tag) or "",
        told_at=received_at if is_ahead else measured_at,
        is_ahead=is_ahead,
        incomplete=tuple(fields.unreadable),
        doubtful=session_clocks.impossible(started_at, None, limit),
    )


def read_report(
    text: str,
    *,
    charger_id: str,
    source: str,
    measured_at: datetime | None,
    received_at: datetime,
    trusted: bool = True,
) -> SessionReport:
    """Read the text of observation 129.

    Args:
        text: E.g. ``{"Id":435,"Start":"…Z","Stop":"…Z","EnergyKwh":0.411273,…}``.
        charger_id: The charger it came from.
        source: ``"stream"``, ``"poll"`` or ``"backfill"``.
        measured_at: Charger time of the observation; None when it has none that can be read. It
            counts as its arrival then.
        received_at: When it reached us.
        trusted: That can be believed.

    Raises:
        DecodeError: It is not one. The error holds nothing of the text: a tag may be in it.
    """
    origin = "observation 129"
    fields = _Fields(_document(text, origin), _REPORT_KEYS, origin)
    meter_start_kwh = fields.side("MeterValueStart", "meter_start_kwh", _meter)
    meter_stop_kwh = fields.side("MeterValueStop", "meter_stop_kwh", _meter)
    energy_kwh = _energy_of(fields.told("EnergyKwh"), meter_start_kwh, meter_stop_kwh)
    if energy_kwh is None:
        raise DecodeError("EnergyKwh is no energy", source=origin)
    return placed(
        SessionReport(
            charger_id=charger_id,
            session_id=fields.side("Id", "session_id", counter),
            started_at=fields.time("Start"),
            ended_at=fields.time("Stop"),
            energy_kwh=energy_kwh,
            meter_start_kwh=meter_start_kwh,
            meter_stop_kwh=meter_stop_kwh,
            auth_reason=fields.side("AuthReason", "auth_reason", counter),
            auth=fields.side("Auth", "auth", _tag) or "",
            source=source,
            measured_at=measured_at or received_at,
            received_at=received_at,
            incomplete=tuple(fields.unreadable),
        ),
        trusted=trusted,
        stamped=measured_at is not None,
    )


def placed(report: SessionReport, *, trusted: bool = True, stamped: bool = True) -> SessionReport:
    """Check the times of a report; set when it counts as ended and its effective timestamp.

    Args:
        report: As it was told.
        trusted: When it arrived can be believed.
        stamped: It had a stamp; else that is when it arrived, which may be a repetition's.
    """
    limit = None
    if trusted or stamped:
        limit = session_clocks.latest(report.measured_at, report.received_at, trusted=trusted)
    doubtful = session_clocks.impossible(report.started_at, report.ended_at, limit)
    placed_at = ranked_at = None
    if session_clocks.ENDED in doubtful or (trusted and report.ended_at > report.received_at):
        placed_at = report.received_at if trusted or limit is None else limit
    if not stamped or (trusted and report.measured_at - report.received_at > session_clocks.AHEAD):
        ranked_at = report.received_at
    return replace(report, doubtful=doubtful, placed_at=placed_at, ranked_at=ranked_at)


class Hints(msgspec.Struct, frozen=True):
    """What can be read of a text that is no valid report.

    Attributes:
        session_id: The charger's counter, or None.
        started_at: When the session began, or None.
        ended_at: When it ended, or None.
        energy_kwh: Energy, or None.
    """

    session_id: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    energy_kwh: float | None = None


def hints(text: str) -> Hints:
    """Find in a text of any kind what names a session. Total: nothing is raised."""
    try:
        told = _as_documented(_document(text, ""), _REPORT_KEYS)
    except DecodeError:
        told = {key: match[1] for key in _HINTED if (match := _HINTED[key](text))}
    return Hints(
        counter(told.get("Id")),
        session_time(told.get("Start")),
        session_time(told.get("Stop")),
        energy(told.get("EnergyKwh")),
    )


def _after(key: str, pattern: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(rf"\b{key}[^\w-]{{1,8}}({pattern})", re.ASCII | re.IGNORECASE).search


_HINTED: Final = {
    "Id": _after("id", r"[0-9]{1,19}\b"),
    "Start": _after("start", r"[0-9][0-9T:.Z+-]{18,33}"),
    "Stop": _after("stop", r"[0-9][0-9T:.Z+-]{18,33}"),
    # All of it: a text may end in the middle, or have a comma there.
    "EnergyKwh": _after("energykwh", r"[0-9]{1,9}(?:\.[0-9]{1,9})?(?=\s{0,9}[,}][^0-9])"),
}


# -- documents --------------------------------------------------------------------------------


def _document(text: str, source: str) -> dict[str, object]:
    """Unpack a report.

    Raises:
        DecodeError: There is none in it.
    """
    found: object = text
    try:
        for _ in range(MAX_LAYERS):
            if isinstance(found, str):
                # A number that is none is not told as such: it cannot be read.
                found = json.loads(
                    found.strip(_AROUND), parse_constant=str, object_pairs_hook=_once
                )
            elif isinstance(found, list) and len(found) == 1:
                found = found[0]
            else:
                break
    except (ValueError, RecursionError):
        # The error shows the text, and a tag may be in it.
        raise DecodeError("no JSON", source=source) from None
    if not isinstance(found, dict):
        raise DecodeError("no object", source=source)
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object without names that occur twice with different values."""
    told: dict[str, object] = {}
    for key, value in pairs:
        told[key] = value if told.get(key, value) == value else _CONTRADICTION
    return told


def _as_documented(found: dict[str, object], keys: Iterable[str]) -> dict[str, object]:
    """Return what is known of a document, under the documented names."""
    names = {key.lower(): key for key in keys}
    told: dict[str, object] = {}
    for key, value in found.items():
        name = names.get(key.lower())
        if name is None:
            continue
        told[name] = value if told.get(name, value) == value else _CONTRADICTION
    told.update((name, found[name]) for name in names.values() if name in found)
    return told


# -- values -----------------------------------------------------------------------------------


def session_time(value: object) -> datetime | None:
    """Read a time of a session, of whatever year; without a zone it is UTC."""
    spelled = value.strip(_AROUND).upper() if isinstance(value, str) else ""
    if _TIME(spelled) is None:
        return None
    try:
        at = datetime.fromisoformat(spelled)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def counter(value: object) -> int | None:
    """Read a counter or a code: a whole number that is not negative, also as text."""
    match value:
        case bool():
            return None
        case int() | float() if 0 <= value <= MAX_COUNTER and value % 1 == 0:
            number = int(value)
        case str() if found := _WHOLE(value.strip(_AROUND)):
            number = int(found[1])
        case _:
            return None
    return number if number <= MAX_COUNTER else None


def decimal(value: object) -> float | None:
    """Read a number, also as text; None when it is none or not finite."""
    if isinstance(value, str):
        if _NUMBER(value := value.strip(_AROUND).removeprefix("+")) is None:
            return None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number + 0.0 if math.isfinite(number) else None  # -0.0 is 0.0


def energy(value: object) -> float | None:
    """Read an energy in kWh; one that is negative by a rounding is 0."""
    kwh = decimal(value)
    if kwh is None or not -ROUNDING_KWH <= kwh <= MAX_ENERGY_KWH:
        return None
    return max(kwh, 0.0)


def _energy_of(told: object, start_kwh: float | None, stop_kwh: float | None) -> float | None:
    """Return the reported energy, else the difference of the meters, else None."""
    number = decimal(told)
    is_told = number is not None and 0.0 <= number <= MAX_ENERGY_KWH
    if is_told or start_kwh is None or stop_kwh is None:
        return energy(told)
    by_meters = energy(round(stop_kwh - start_kwh, 6))
    return energy(told) if by_meters is None else by_meters


def _meter(value: object) -> float | None:
    kwh = decimal(value)
    return kwh if kwh is not None and abs(kwh) <= MAX_METER_KWH else None


def _tag(value: object) -> str | None:
    match value:
        case str():
            # Half of a surrogate pair is no text, and cannot be stored as one.
            return value if value.isascii() or _is_unicode(value) else None
        case int() if not isinstance(value, bool):
            return str(value)  # a tag of digits
        case _:
            return None


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
