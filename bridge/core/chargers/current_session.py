"""The running and the last session of one charger.

Rules:

1. A session runs from its 223, or from when charging is seen without one, until its own 129 comes,
   or a later session is known of, or the cable is unplugged. What counts is when the charger said
   so, not what it says of the time: a start in 2036 is over when its report came.
2. A stamp that lies ahead says nothing of order. Then the op mode decides.
3. The last one is shown when it is stored, so that its key and its revision can be told. Last is
   who ended last. Where one of two tells no end that can be, it is who was told of last: a clock
   that is wrong must not hide the sessions behind it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from bridge.core.changes import (
    CurrentSessionChanged,
    LastSessionChanged,
    RunningSession,
    SessionChanged,
)
from bridge.core.easee import derived_state, roles
from bridge.core.easee.decode import Observation
from bridge.core.records.session_clocks import ENDED, STARTED
from bridge.core.records.session_identity import SAME_START_WITHIN, likeness, supersedes
from bridge.core.records.session_report import (
    BACKFILL,
    OK,
    UNNAMED,
    ReportId,
    SessionReport,
    SessionStart,
)
from bridge.core.session_documents import last_fields

# The op mode and the energy of the session.
SHOWN = frozenset({roles.OP_MODE, roles.SESSION_ENERGY})
# Starts and reports that are remembered: the cloud repeats the newest of each.
MAX_REMEMBERED = 16


T = TypeVar("T")
U = TypeVar("U")


class CurrentSession:
    """What is shown of the sessions of one charger."""

    def __init__(self, charger_id: str) -> None:
        self._charger_id = charger_id
        self._start: SessionStart | None = None
        # When each start was first told: a repetition is no news.
        self._told: OrderedDict[tuple[int | None, datetime], datetime] = OrderedDict()
        self._reports: OrderedDict[tuple[int | None, datetime], SessionReport] = OrderedDict()
        self._seen_at: datetime | None = None  # charging, without a 223
        self._op_mode: object = None
        self._unplugged_at: datetime | None = None
        self._energy: tuple[datetime, float] | None = None
        self._ended_at: datetime | None = None
        # What is shown as the last, under which name.
        self._record: tuple[SessionReport, ReportId] | None = None
        # Until it is known whether a session runs, what an earlier process published stands.
        self._is_known = False
        self._shown: RunningSession | None = None

    def started(self, start: SessionStart) -> Iterator[SessionChanged]:
        """Handle a session start (observation 223)."""
        told_at = self._told.setdefault((start.session_id, start.started_at), start.told_at)
        _keep_newest(self._told)
        if any(self._ends(report, start) for report in self._reports.values()):
            if not self._running:
                yield from self._show()
            return
        if self._start is None or told_at >= self._told_at(self._start):
            self._start = start
            self._seen_at = None
        yield from self._show()

    def finished(self, report: SessionReport) -> Iterator[SessionChanged]:
        """Handle a session report (129), in any order; published by :meth:`recorded`."""
        self._reports[report.session_id, report.started_at] = report
        _keep_newest(self._reports)
        if self._ended_at is None or report.at > self._ended_at:
            self._ended_at = report.at
        if self._start is not None:
            over = self._ends(report, self._start)
        else:
            over = self._seen_at is not None and report.at >= self._seen_at
        if over:
            yield from self._end()

    def recorded(self, report: SessionReport, name: ReportId = UNNAMED) -> Iterator[SessionChanged]:
        """Handle a report as stored, also one of an earlier process.

        Args:
            report: What is known of the session.
            name: Its key and revision; unnamed when it could not be stored.
        """
        yield from self.finished(report)
        if not self._is_newer_record(report, name):
            return
        before = None if self._record is None else last_fields(*self._record)
        self._record = report, name
        if last_fields(report, name) != before:
            yield self._last(report, name)

    def observed(self, observation: Observation) -> Iterator[SessionChanged]:
        """Handle an observation; only the op mode and the session's energy have an effect."""
        match observation.spec.id, observation.value:
            case (roles.OP_MODE, op_mode):
                yield from self._changed(op_mode, observation.measured_at)
            case (roles.SESSION_ENERGY, float() | int() as energy_kwh):
                # A zero in the middle of a session is spurious (evcc#10428).
                if energy_kwh or self._energy_kwh is None:
                    self._energy = (observation.measured_at, float(energy_kwh))
                if self._running:
                    yield from self._show()

    def publications(self) -> Iterator[SessionChanged]:
        """Yield everything retained again, also that none runs: the broker may hold an old one."""
        if self._is_known:
            yield CurrentSessionChanged(self._charger_id, self._shown)
        if self._record is not None:
            yield self._last(*self._record)

    @property
    def _running(self) -> bool:
        return self._seen_at is not None or (
            self._start is not None and not self._is_unplugged(self._start)
        )

    @property
    def _energy_kwh(self) -> float | None:
        """Return the energy of the running session, never of an earlier one."""
        began_at = self._seen_at if self._start is None else self._began_at(self._start)
        if self._energy is None or began_at is None or self._energy[0] < began_at:
            return None
        return self._energy[1]

    def _told_at(self, start: SessionStart) -> datetime:
        return self._told.get((start.session_id, start.started_at), start.told_at)

    def _began_at(self, start: SessionStart) -> datetime:
        """Return when a session began, as far as its times are possible."""
        return self._told_at(start) if STARTED in start.doubtful else start.started_at

    def _is_unplugged(self, start: SessionStart) -> bool:
        if start.is_ahead:
            return self._op_mode == derived_state.DISCONNECTED
        return self._unplugged_at is not None and self._unplugged_at > self._began_at(start)

    def _ends(self, report: SessionReport, start: SessionStart) -> bool:
        """Return whether a session report (129) ends the session of a session start (223)."""
        near = abs(report.started_at - start.started_at) <= SAME_START_WITHIN
        same_number = report.session_id == start.session_id
        has_number = report.session_id is not None and start.session_id is not None
        if near and (same_number or not has_number):
            return True
        if not report.doubtful and not start.doubtful:
            return report.started_at > start.started_at
        told_at = self._told_at(start)
        if same_number and has_number:
            return (report.received_at if start.is_ahead else report.rank) >= told_at
        # No other car can have charged meanwhile.
        return ENDED not in report.doubtful and not start.is_ahead and report.ended_at > told_at

    def _changed(self, op_mode: object, measured_at: datetime) -> Iterator[SessionChanged]:
        """Handle an op mode."""
        was_shown = self._shown is not None
        self._op_mode = op_mode
        if op_mode == derived_state.DISCONNECTED:
            self._unplugged_at = measured_at
            if self._seen_at is not None and measured_at > self._seen_at:
                self._seen_at = None
            if self._start is not None and was_shown and self._is_unplugged(self._start):
                self._start = None
            if not self._running:
                yield from self._show()
            return
        if self._unplugged_at is not None and self._unplugged_at > measured_at:
            self._unplugged_at = measured_at  # its stamp lay ahead
        if self._running:
            yield from self._show()  # a start that waited for it
            return
        is_news = self._ended_at is None or measured_at > self._ended_at
        if op_mode == derived_state.CHARGING and is_news:
            self._start = None
            self._seen_at = measured_at
            yield from self._show()

    def _is_newer_record(self, report: SessionReport, name: ReportId) -> bool:
        if self._record is None:
            return True
        held, (held_key, held_revision) = self._record
        key, revision = name
        if key is not None and held_key is not None:
            if key == held_key:
                return (revision or 0) >= (held_revision or 0)
            return _is_later(report, held)
        if not likeness(held, report):
            return _is_later(report, held)
        # Of one session, what is stored counts more than what is not.
        return held_key is None and (key is not None or supersedes(report, held))

    def _end(self) -> Iterator[SessionChanged]:
        self._start = self._seen_at = None
        yield from self._show()

    def _show(self) -> Iterator[SessionChanged]:
        session = self._session() if self._running else None
        if not self._is_known or session != self._shown:
            self._is_known, self._shown = True, session
            yield CurrentSessionChanged(self._charger_id, session)

    def _session(self) -> RunningSession:
        start = self._start
        if start is None:
            return RunningSession(None, None, None, self._energy_kwh, None, (), OK)
        return RunningSession(
            start.session_id,
            start.started_at,
            start.meter_start_kwh,
            self._energy_kwh,
            start.auth_reason,
            start.incomplete,
            start.clock,
        )

    def _last(self, report: SessionReport, name: ReportId) -> LastSessionChanged:
        return LastSessionChanged(self._charger_id, replace(report, auth=""), name)


def _is_later(report: SessionReport, held: SessionReport) -> bool:
    """Return whether another session ended after the one that is published."""
    if BACKFILL not in (report.source, held.source) and (
        ENDED in report.doubtful or ENDED in held.doubtful
    ):
        return report.rank > held.rank
    return report.at > held.at


def _keep_newest(remembered: OrderedDict[T, U]) -> None:
    while len(remembered) > MAX_REMEMBERED:
        remembered.popitem(last=False)
