"""Charging sessions as the charger reports them (observations 223 and 129).

Rules:

1. A report that cannot be read is refused as a whole: half a billing record is none. What bills
   nobody (``Auth``, ``AuthReason``, the meters) may be missing; unknown keys are ignored. Keys are
   read in any case; what is spelled as documented wins, and two other spellings must agree.
2. A session is named by the charger's own counter. The start only tells a reset counter apart:
   sources disagree on it by seconds, and the counter of a replaced charger starts again.
3. A retained topic never holds the tag, not even hashed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Protocol, TypeVar

import msgspec

from bridge.core.chargers import enumerations
from bridge.core.messages import Publish
from bridge.core.topics import Topics
from bridge.core.values import iso_utc, json_value, read_utc
from bridge.errors import DecodeError

OFFLINE_REASONS = frozenset({3, 4})
# Within this, the same counter value is the same session; a counter comes round again only after
# a reset, and then after days of charging.
SAME_COUNTER_WITHIN = timedelta(days=1)
# Sources disagree by seconds on when a session began.
SAME_START_WITHIN = timedelta(seconds=60)
# A year at 11 kW; more is not a session but a broken number.
MOST_ENERGY_KWH = 100_000.0
LARGEST_COUNTER = 2**63 - 1

Field = bool | float | str | datetime | None
# Of a stored report, or of one that is not stored.
Name = tuple[str, int] | tuple[None, None]
UNNAMED: Name = (None, None)

BACKFILL = "backfill"
DISCONNECTED = 1
CHARGING = 3


@dataclass(frozen=True, slots=True)
class SessionReport:
    """One finished session: the billing record.

    Attributes:
        charger_id: Serial.
        session_id: The charger's own counter, or None when the report has none.
        started_at: When the session began, charger time, UTC.
        ended_at: When it ended.
        energy_kwh: Energy delivered.
        meter_start_kwh: Meter at the start, or None when not told.
        meter_stop_kwh: Meter at the end, or None when not told.
        auth_reason: The vendor's number (3 offline whitelist, 4 offline allow all), or None when
            the source does not know it (REST).
        auth: RFID tag or token as the charger sent it; empty when none. Personal data: only the
            store and the publisher's hashing see it.
        source: ``"stream"``, ``"poll"`` or ``"backfill"``.
        measured_at: Charger time of the observation that brought it.
        received_at: When it reached us.
    """

    charger_id: str
    session_id: int | None
    started_at: datetime
    ended_at: datetime
    energy_kwh: float
    meter_start_kwh: float | None
    meter_stop_kwh: float | None
    auth_reason: int | None
    auth: str = field(repr=False)
    source: str
    measured_at: datetime
    received_at: datetime


@dataclass(frozen=True, slots=True)
class SessionStart:
    """A session that began (observation 223); attributes as in :class:`SessionReport`."""

    charger_id: str
    session_id: int | None
    started_at: datetime
    meter_start_kwh: float | None
    auth_reason: int | None
    auth: str = field(repr=False)


# -- reading ----------------------------------------------------------------------------------

_T = TypeVar("_T")
_Counter = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNTER)]
_Meter = Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)]


class _Start(msgspec.Struct, rename="pascal"):
    start: str
    id: _Counter | None = None
    meter_value: _Meter | None = None
    auth_reason: _Counter | None = None
    auth: str | None = None


class _Report(msgspec.Struct, rename="pascal"):
    start: str
    stop: str
    energy_kwh: Annotated[float, msgspec.Meta(ge=0.0, le=MOST_ENERGY_KWH)]
    id: _Counter | None = None
    meter_value_start: _Meter | None = None
    meter_value_stop: _Meter | None = None
    auth_reason: _Counter | None = None
    auth: str | None = None


_AUTH = "Auth"
# The documented names by how they are found.
_NAMES: dict[type, dict[str, str]] = {
    kind: {one.encode_name.lower(): one.encode_name for one in msgspec.structs.fields(kind)}
    for kind in (_Start, _Report)
}


def read_start(text: str, *, charger_id: str) -> SessionStart:
    """Read the text of observation 223.

    Raises:
        DecodeError: It is not one. The error holds nothing of the text: a tag may be in it.
    """
    source = "observation 223"
    raw = _read(_Start, text, source)
    return SessionStart(
        charger_id=charger_id,
        session_id=raw.id,
        started_at=_time(raw.start, "Start", source),
        meter_start_kwh=raw.meter_value,
        auth_reason=raw.auth_reason,
        auth=raw.auth or "",
    )


def read_report(
    text: str, *, charger_id: str, source: str, measured_at: datetime, received_at: datetime
) -> SessionReport:
    """Read the text of observation 129.

    Args:
        text: E.g. ``{"Id":435,"Start":"…Z","Stop":"…Z","EnergyKwh":0.411273,…}``.
        charger_id: The charger it came from.
        source: ``"stream"``, ``"poll"`` or ``"backfill"``.
        measured_at: Charger time of the observation.
        received_at: When it reached us.

    Raises:
        DecodeError: It is not one. The error holds nothing of the text: a tag may be in it.
    """
    origin = "observation 129"
    raw = _read(_Report, text, origin)
    started_at = _time(raw.start, "Start", origin)
    ended_at = _time(raw.stop, "Stop", origin)
    if ended_at < started_at:
        raise DecodeError("Stop lies before Start", source=origin)
    return SessionReport(
        charger_id=charger_id,
        session_id=raw.id,
        started_at=started_at,
        ended_at=ended_at,
        energy_kwh=raw.energy_kwh + 0.0,  # -0.0 is 0.0
        meter_start_kwh=raw.meter_value_start,
        meter_stop_kwh=raw.meter_value_stop,
        auth_reason=raw.auth_reason,
        auth=raw.auth or "",
        source=source,
        measured_at=measured_at,
        received_at=received_at,
    )


def _read(kind: type[_T], text: str, source: str) -> _T:
    try:
        document = msgspec.json.decode(text)
        if isinstance(document, dict):
            document = _as_documented(document, _NAMES[kind], source)
        # Not strict: a number spelled as text is still that number.
        return msgspec.convert(document, kind, strict=False)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as exc:
        # msgspec names the key and the types, never the value; a codec error shows the text.
        reason = "not UTF-8" if isinstance(exc, UnicodeError) else str(exc)
        raise DecodeError(reason, source=source) from None


def _as_documented(
    found: dict[str, object], names: dict[str, str], source: str
) -> dict[str, object]:
    """Return what is known of a document, under the documented names.

    Raises:
        DecodeError: Two spellings of a name say different things.
    """
    document: dict[str, object] = {}
    for key, value in found.items():
        name = names.get(key.lower())
        if name is None or name in found:
            continue
        if name in document and document[name] != value:
            raise DecodeError(f"{name} is there twice", source=source)
        document[name] = value
    document.update((name, found[name]) for name in names.values() if name in found)
    auth = document.get(_AUTH)
    if isinstance(auth, int) and not isinstance(auth, bool):
        document[_AUTH] = str(auth)  # a tag of digits
    return document


def _time(text: str, key: str, source: str) -> datetime:
    try:
        return read_utc(text)
    except DecodeError as exc:
        raise DecodeError(f"{key}: {exc.reason}", source=source) from None


# -- identity ---------------------------------------------------------------------------------


def report_key(charger_id: str, session_id: int | None, started_at: datetime) -> str:
    """Name a session for good: ``EH123456-435``, without a counter ``EH123456-s<epoch seconds>``.

    The ledger appends the day to it where the counter came round again.
    """
    if session_id is None:
        return f"{charger_id}-s{int(started_at.timestamp())}"
    return f"{charger_id}-{session_id}"


def same_session(one: SessionReport | SessionStart, other: SessionReport | SessionStart) -> bool:
    """Say whether two records of one charger are about the same session."""
    apart = abs(one.started_at - other.started_at)
    if one.session_id is not None and other.session_id is not None:
        return one.session_id == other.session_id and apart <= SAME_COUNTER_WITHIN
    return apart <= SAME_START_WITHIN and _overlap(one, other)


def _overlap(one: SessionReport | SessionStart, other: SessionReport | SessionStart) -> bool:
    """Say whether two records can be of one session: a charger serves one car at a time."""
    if not (isinstance(one, SessionReport) and isinstance(other, SessionReport)):
        return True
    return one.started_at <= other.ended_at and other.started_at <= one.ended_at


def supersedes(report: SessionReport, held: SessionReport) -> bool:
    """Say whether another record of the same session is to be believed over the one held.

    What the charger said beats what the cloud's REST interface says of it; of two of a kind the
    one measured later counts, and of equal ones the later arrival.
    """
    first_hand = report.source != BACKFILL
    if first_hand != (held.source != BACKFILL):
        return first_hand
    return report.measured_at >= held.measured_at


# -- documents --------------------------------------------------------------------------------


def auth_reason_name(auth_reason: int | None) -> str | None:
    """Name why a session was authorized; None when it is not known."""
    return None if auth_reason is None else enumerations.auth_reason_name(auth_reason)


def document(pairs: Iterable[tuple[str, Field]]) -> bytes:
    """Write a flat JSON object, in this order, times as UTC and numbers as plain decimals."""
    return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), _spelled(v)) for key, v in pairs)


def _spelled(value: Field) -> bytes:
    if isinstance(value, datetime):
        return json_value(iso_utc(value))
    if isinstance(value, float) and value.is_integer():
        return json_value(int(value))
    return json_value(value)


def current_document(
    charger_id: str, start: SessionStart | None, energy_kwh: float | None
) -> bytes:
    """Write ``session/current``; what only a 223 tells is null without one."""
    reason = start.auth_reason if start else None
    return document(
        (
            ("charger_id", charger_id),
            ("session_id", start.session_id if start else None),
            ("started_at", start.started_at if start else None),
            ("meter_start_kwh", start.meter_start_kwh if start else None),
            ("energy_kwh", energy_kwh),
            ("auth_reason", reason),
            ("auth_reason_name", auth_reason_name(reason)),
        )
    )


def report_fields(report: SessionReport) -> tuple[tuple[str, Field], ...]:
    """Return what every document about a finished session says, in order."""
    reason = report.auth_reason
    return (
        ("charger_id", report.charger_id),
        ("session_id", report.session_id),
        ("started_at", report.started_at),
        ("ended_at", report.ended_at),
        ("energy_kwh", report.energy_kwh),
        ("meter_start_kwh", report.meter_start_kwh),
        ("meter_stop_kwh", report.meter_stop_kwh),
        ("auth_reason", reason),
        ("auth_reason_name", auth_reason_name(reason)),
        ("offline", None if reason is None else reason in OFFLINE_REASONS),
    )


def last_document(report: SessionReport, name: Name = UNNAMED) -> bytes:
    """Write ``session/last``: as the report, without the tag and our own time.

    Args:
        report: The session.
        name: Key and revision of its row; unnamed while the store takes nothing.
    """
    key, revision = name
    return document(
        (
            ("key", key),
            ("revision", revision),
            *report_fields(report),
            ("source", report.source),
            ("measured_at", report.measured_at),
        )
    )


# -- the board --------------------------------------------------------------------------------


class _Spec(Protocol):
    @property
    def id(self) -> int: ...


class Measured(Protocol):
    """What the board needs of an observation.

    The observation's own class cannot be named here: it is made from events, and events carry
    reports.
    """

    @property
    def spec(self) -> _Spec:
        """Its row of the registry."""
        ...

    @property
    def value(self) -> object:
        """The decoded value."""
        ...

    @property
    def measured_at(self) -> datetime:
        """Charger time."""
        ...


# The op mode and the energy of the session.
SHOWN = frozenset({109, 121})


class SessionBoard:
    """``session/current`` and ``session/last`` of one charger.

    A session runs from its 223, or from when charging is seen without one, until its 129 comes,
    or a later session is known of, or the cable is unplugged. The last one is shown when it is
    stored, so that its key and its revision can be told, whoever told of it and when.
    """

    def __init__(self, charger_id: str, topics: Topics) -> None:
        self._charger_id = charger_id
        self._current_topic = topics.session(charger_id, "current")
        self._last_topic = topics.session(charger_id, "last")
        self._start: SessionStart | None = None
        self._seen_at: datetime | None = None  # charging, without a 223
        self._unplugged_at: datetime | None = None
        self._energy: tuple[datetime, float] | None = None
        self._last: SessionReport | None = None
        # What is shown as the last, under which name.
        self._record: tuple[SessionReport, Name] | None = None
        # None until it is known whether a session runs: what an earlier process published stands.
        self._shown: bytes | None = None

    def started(self, start: SessionStart) -> Iterator[Publish]:
        """Take a 223."""
        if self._is_over(start):
            if not self._running:
                yield from self._show()
        elif self._start is None or start.started_at >= self._start.started_at:
            self._start = start
            self._seen_at = None
            yield from self._show()

    def finished(self, report: SessionReport) -> Iterator[Publish]:
        """Take a 129, in whatever order they come; it is shown when it is :meth:`recorded`."""
        if self._replaces_last(report):
            self._last = report
        if self._start is not None:
            over = self._is_over(self._start) or same_session(self._start, report)
        else:
            over = self._seen_at is not None and report.ended_at >= self._seen_at
        if over:
            yield from self._end()

    def recorded(self, report: SessionReport, name: Name = UNNAMED) -> Iterator[Publish]:
        """Take a report as it is stored, also one of an earlier process.

        Args:
            report: What is known of the session.
            name: Its key and revision; unnamed when it could not be stored.
        """
        yield from self.finished(report)
        if not self._is_newer_record(report, name):
            return
        shown = None if self._record is None else last_document(*self._record)
        self._record = report, name
        if last_document(report, name) != shown:
            yield Publish(self._last_topic, last_document(report, name))

    def observed(self, observation: Measured) -> Iterator[Publish]:
        """Take any observation; the op mode and the energy of the session matter."""
        match observation.spec.id, observation.value:
            case (109, op_mode):
                yield from self._op_mode(op_mode, observation.measured_at)
            case (121, float() | int() as energy_kwh):
                # A zero in the middle of a session is spurious (evcc#10428).
                if energy_kwh or self._energy_kwh is None:
                    self._energy = (observation.measured_at, float(energy_kwh))
                if self._running:
                    yield from self._show()

    def publications(self) -> Iterator[Publish]:
        """Everything retained again, an empty ``current`` too: the broker may hold an old one."""
        if self._shown is not None:
            yield Publish(self._current_topic, self._shown)
        if self._record is not None:
            yield Publish(self._last_topic, last_document(*self._record))

    @property
    def _running(self) -> bool:
        return self._start is not None or self._seen_at is not None

    @property
    def _energy_kwh(self) -> float | None:
        """The energy of the running session; the value of a former one is not it."""
        began_at = self._start.started_at if self._start else self._seen_at
        if self._energy is None or began_at is None or self._energy[0] < began_at:
            return None
        return self._energy[1]

    def _op_mode(self, op_mode: object, measured_at: datetime) -> Iterator[Publish]:
        if op_mode == DISCONNECTED:
            self._unplugged_at = measured_at
            began_at = self._start.started_at if self._start else self._seen_at
            if began_at is None or measured_at > began_at:
                yield from self._end()
            return
        is_news = self._last is None or measured_at > self._last.ended_at
        if op_mode == CHARGING and is_news and not self._running:
            self._seen_at = measured_at
            yield from self._show()

    def _is_over(self, start: SessionStart) -> bool:
        last = self._last
        if last is not None and (same_session(start, last) or last.started_at > start.started_at):
            return True
        return self._unplugged_at is not None and self._unplugged_at > start.started_at

    def _replaces_last(self, report: SessionReport) -> bool:
        last = self._last
        if last is None:
            return True
        if same_session(last, report):
            return supersedes(report, last)
        return report.ended_at > last.ended_at

    def _is_newer_record(self, report: SessionReport, name: Name) -> bool:
        if self._record is None:
            return True
        held, (held_key, held_revision) = self._record
        key, revision = name
        if key is not None and key == held_key:
            return (revision or 0) >= (held_revision or 0)
        if not same_session(held, report):
            return report.ended_at > held.ended_at
        # Of one session, what is stored counts more than what is not.
        return held_key is None and (key is not None or supersedes(report, held))

    def _end(self) -> Iterator[Publish]:
        self._start = self._seen_at = None
        yield from self._show()

    def _show(self) -> Iterator[Publish]:
        payload = b""
        if self._running:
            payload = current_document(self._charger_id, self._start, self._energy_kwh)
        if payload != self._shown:
            self._shown = payload
            yield Publish(self._current_topic, payload)
