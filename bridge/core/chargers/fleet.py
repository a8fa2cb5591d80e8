"""The chargers that are served, and the application of their observations.

Rules:

1. An undecodable value changes nothing. It is counted, logged once per observation id, and stays
   in an alert until a good value of that id arrives.
2. A finished session is needed for billing: what its observation lacks, a stamp or a type, costs no
   report, and what cannot be read at all is kept as a text and named there.
"""

import heapq
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from typing import cast

import msgspec

from bridge.core.changes import ValueChanged, ValuesChanged
from bridge.core.chargers.charger_events import ChargerEvents
from bridge.core.chargers.current_session import SHOWN, CurrentSession
from bridge.core.chargers.energy_total import METERED_IDS, EnergyTotal
from bridge.core.chargers.state import ChargerState
from bridge.core.chargers.undecodable import UndecodableValues
from bridge.core.domain_events import Found, Output, UnreadableSession
from bridge.core.easee import roles
from bridge.core.easee.decode import Observation, decode
from bridge.core.easee.observation_registry import EVENT_IDS
from bridge.core.easee.session_payloads import hints, read_report, read_start
from bridge.core.effects import LogEntry, SaveReport
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.records.session_report import UNNAMED, ReportId, SessionReport
from bridge.core.records.unread_text import UnreadText, cut
from bridge.core.status import Status
from bridge.core.value_format import read_stamp
from bridge.errors import DecodeError
from bridge.settings import PublishSettings

# What is known of the time may differ by so much and be the same; a Date has whole seconds.
SAME_TIME_S = 5.0
# Nearly all observations are none of these, and no other component needs them.
AVAILABILITY_IDS = frozenset({roles.CLOUD_LINK, roles.OP_MODE})
EVENT_SOURCE_IDS = frozenset({roles.OP_MODE, roles.NO_CURRENT_REASON}) | SHOWN | EVENT_IDS
SESSION_IDS = frozenset({roles.SESSION_START, roles.SESSION_REPORT})
# An observation that is none of these is a value and nothing else.
MORE_THAN_VALUES = AVAILABILITY_IDS | EVENT_SOURCE_IDS | SESSION_IDS | METERED_IDS


class Charger(msgspec.Struct, frozen=True):
    """Everything held for one charger."""

    state: ChargerState
    board: CurrentSession
    announcer: ChargerEvents
    energy: EnergyTotal

    def publications(self, now: Timestamp) -> Iterator[Output]:
        """Yield everything retained of it again."""
        yield from self.state.publications(now)
        yield from self.board.publications()
        yield from self.energy.publications()


class ChargerRegistry:
    """The chargers by serial.

    Attributes:
        chargers: They; changed by :meth:`add` and :meth:`remove` only.
        undecodable: Values that could not be decoded.
    """

    def __init__(
        self,
        publish: PublishSettings,
        salt: bytes,
        status: Status,
    ) -> None:
        """Start without chargers.

        Args:
            publish: What is published of values.
            salt: For hashing personal data.
            status: Counters and alerts.
        """
        self._publish = publish
        self._salt = salt
        self._status = status
        self.chargers: dict[str, Charger] = {}
        self._link_ok = False
        # What time it was when our monotonic clock was at 0; None while it is unknown.
        self._began_s: float | None = None
        self._online: set[str] = set()
        # Keys of a dict: their order is that of what happened, and the same in a replay.
        self._touched: dict[str, None] = {}
        # Heap of (monotonic deadline, charger id), one entry per charger in _expected.
        self._silences: list[tuple[float, str]] = []
        self._expected: set[str] = set()
        self.undecodable = UndecodableValues(status.alerts)

    def add(self, charger_ids: tuple[str, ...]) -> tuple[str, ...]:
        """Add chargers; return those that are new."""
        new = tuple(i for i in charger_ids if i not in self.chargers)
        for charger_id in new:
            self.chargers[charger_id] = Charger(
                ChargerState(charger_id, self._publish, self._salt),
                CurrentSession(charger_id),
                ChargerEvents(charger_id),
                EnergyTotal(charger_id),
            )
        self._touched.update(dict.fromkeys(new))
        return new

    def remove(self, charger_ids: Iterable[str], now: Timestamp) -> Iterator[Output]:
        """Remove chargers and everything held of them."""
        gone = set(charger_ids) & self.chargers.keys()
        for charger_id in sorted(gone):
            del self.chargers[charger_id]
            self._touched.pop(charger_id, None)
        for held in (self._online, self._expected):
            held.difference_update(gone)
        self._silences = [one for one in self._silences if one[1] not in gone]
        heapq.heapify(self._silences)
        yield from self.undecodable.remove(gone, now)

    def read(
        self, raw: RawObservation, source: str, now: Timestamp, effects: list[Found]
    ) -> Observation | None:
        """Decode one observation of a charger that is served.

        Args:
            raw: The observation as received.
            source: ``"stream"`` or ``"poll"``.
            now: When it arrived.
            effects: What follows from success or failure is added to them.

        Returns:
            The observation, or None when it cannot be read.
        """
        try:
            observation = decode(raw)
        except DecodeError as error:
            self._status.counters["observations_undecodable"] += 1
            effects += self.undecodable.add(raw.charger_id, raw.id, error, now)
            if raw.id == roles.SESSION_REPORT:
                told = _text_of(raw.value), _stamp_of(raw.timestamp)
                effects += self._finished(raw.charger_id, *told, source, now)
            return None
        # Whether the start of a session can be read its text says.
        if self.undecodable.named and raw.id != roles.SESSION_START:
            effects += self.undecodable.discard(raw.charger_id, raw.id, now)
        return observation

    def apply(
        self,
        observation: Observation,
        source: str,
        now: Timestamp,
        effects: list[Found],
        *,
        ours: bool,
    ) -> None:
        """Apply one decoded observation of a charger that is served.

        Args:
            observation: The decoded observation.
            source: ``"stream"`` or ``"poll"``.
            now: When it arrived.
            effects: What follows from it is added to them.
            ours: A command of ours may be why it came.
        """
        charger = self.chargers[observation.charger_id]
        state = charger.state
        number = observation.spec.id
        if not state.online:
            self._touched[observation.charger_id] = None
        if number not in MORE_THAN_VALUES:
            state.apply(observation, source, now, effects)
            return
        if number in AVAILABILITY_IDS:
            self._touched[observation.charger_id] = None
        if number in SESSION_IDS:
            effects += self._session(observation, source, now)
        if not state.apply(observation, source, now, effects):
            return
        if number == roles.POWER:
            charger.energy.power(observation, state.heard_at)
        elif number == roles.METER_READING:
            effects += charger.energy.meter(observation, now.wall)
        elif number == roles.OP_MODE:
            charger.energy.op_mode(observation, state.heard_at)
        if number in EVENT_SOURCE_IDS:
            effects += charger.board.observed(observation)
            effects += charger.announcer.observed(observation, now, ours=ours)
            effects += charger.announcer.authorization(
                waiting=state.awaiting_authorization, at=observation.measured_at, now=now
            )

    def is_touched(self, now: Timestamp) -> bool:
        """Return whether :meth:`availability` has any charger to check."""
        silences = self._silences
        return bool(
            self._touched
            or self._status.cloud.delivering != self._link_ok
            or self._status.online != len(self._online)
            or (silences and silences[0][0] <= now.mono_s)
            or self._is_another_time(now)
        )

    def availability(self, now: Timestamp) -> Iterator[Output]:
        """Publish who became available or ceased to be.

        Only chargers that something happened to are looked at: those an observation came for
        that may change it, those whose silence has lasted too long, and all of them when the cloud
        link changed or what is known of the time. The cost of an event must not grow with their
        number.
        """
        link_ok = self._status.cloud.delivering
        is_another_time = self._is_another_time(now)
        if is_another_time:
            self._set_time(now)
        if link_ok != self._link_ok or is_another_time:
            self._link_ok = link_ok
            self._touched.update(dict.fromkeys(self.chargers))
        while self._silences and self._silences[0][0] <= now.mono_s:
            charger_id = heapq.heappop(self._silences)[1]
            self._expected.discard(charger_id)
            self._touched[charger_id] = None
        while self._touched:
            charger_id = next(iter(self._touched))
            del self._touched[charger_id]
            state = self.chargers[charger_id].state
            yield from state.availability(link_ok, now)
            if state.online:
                self._online.add(charger_id)
                self._expect_silence(charger_id, now)
            else:
                self._online.discard(charger_id)
        self._status.online = len(self._online)

    def deadline_s(self) -> float | None:
        """Return when a charger may become silent; may be early, never late."""
        return self._silences[0][0] if self._silences else None

    def _is_another_time(self, now: Timestamp) -> bool:
        """Return whether the ages of the observations changed.

        A clock that is not believed any more, or is again; one that was set; a machine that slept.
        """
        known, before_s = now.wall if now.trusted else now.told, self._began_s
        if known is None or before_s is None:
            return (known is None) is not (before_s is None)
        return abs(known.timestamp() - now.mono_s - before_s) >= SAME_TIME_S

    def _set_time(self, now: Timestamp) -> None:
        """Set the time, and compute the silence deadlines anew."""
        known = now.known
        if known is None:
            self._began_s = None
            return
        self._began_s = known.timestamp() - now.mono_s
        self._silences.clear()
        self._expected.clear()

    def _expect_silence(self, charger_id: str, now: Timestamp) -> None:
        """Keep one entry per available charger; a later deadline is found when the entry is due."""
        due_s = self.chargers[charger_id].state.deadline_s(now)
        if due_s is not None and charger_id not in self._expected:
            heapq.heappush(self._silences, (due_s, charger_id))
            self._expected.add(charger_id)

    def report_stored(self, report: SessionReport, name: ReportId = UNNAMED) -> Iterator[Output]:
        """Publish a session that was stored, or could not be, as the last one if it is."""
        charger = self.chargers.get(report.charger_id)
        if charger is not None:
            yield from charger.board.recorded(report, name)
            yield from charger.energy.session_ended(report)

    def _session(self, observation: Observation, source: str, now: Timestamp) -> Iterator[Output]:
        charger_id, text = observation.charger_id, str(observation.value)
        if observation.spec.id == roles.SESSION_START:
            return self._started(charger_id, text, observation.measured_at, now)
        return self._finished(charger_id, text, observation.measured_at, source, now)

    def _started(
        self, charger_id: str, text: str, measured_at: datetime, now: Timestamp
    ) -> Iterator[Output]:
        try:
            start = read_start(
                text,
                charger_id=charger_id,
                measured_at=measured_at,
                received_at=now.wall,
                trusted=now.trusted,
            )
        except DecodeError as error:
            self._status.counters["session_payloads_unreadable"] += 1
            yield from self.undecodable.add(charger_id, roles.SESSION_START, error, now)
            return
        yield from self.undecodable.discard(charger_id, roles.SESSION_START, now)
        self._count_incomplete(start.incomplete)
        yield from self.chargers[charger_id].board.started(start)
        yield from self.chargers[charger_id].energy.session_started(start, now.wall)

    def _finished(
        self, charger_id: str, text: str, measured_at: datetime | None, source: str, now: Timestamp
    ) -> Iterator[Output]:
        """Handle a session report (129); its timestamp is None when it cannot be read."""
        try:
            report = read_report(
                text,
                charger_id=charger_id,
                source=source,
                measured_at=measured_at,
                received_at=now.wall,
                trusted=now.trusted,
            )
        except DecodeError as error:
            self._status.counters["session_payloads_unreadable"] += 1
            facts = {"charger_id": charger_id, "error": str(error)}
            yield LogEntry("warning", "session.unreadable", facts)
            told = hints(text)
            unread = UnreadText(
                charger_id=charger_id,
                text=cut(text),
                reason=error.reason,
                source=source,
                measured_at=measured_at or now.wall,
                received_at=now.wall,
                session_id=told.session_id,
                started_at=told.started_at,
                ended_at=told.ended_at,
            )
            yield UnreadableSession(unread)
            return
        self._count_incomplete(report.incomplete)
        yield from self.chargers[charger_id].board.finished(report)
        yield SaveReport(report)

    def _count_incomplete(self, names: tuple[str, ...]) -> None:
        """Count the side fields of a session that could not be read."""
        for name in names:
            self._status.counters[f"session_{name}_unreadable"] += 1


def batched(found: Iterable[Found]) -> list[Output]:
    """Return what was found, in order, and values that follow each other together."""
    outputs: list[Output] = []
    for kind, run in groupby(found, type):
        if kind is ValueChanged:
            outputs.append(ValuesChanged(cast("tuple[ValueChanged, ...]", tuple(run))))
        else:
            outputs += cast("Iterator[Output]", run)
    return outputs


def _text_of(value: object) -> str:
    """Return what should be a session as a text; what has none is empty."""
    try:
        return value if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError):  # a number of more digits than Python spells
        return ""


def _stamp_of(timestamp: str) -> datetime | None:
    try:
        return read_stamp(timestamp)[0]
    except DecodeError:
        return None
