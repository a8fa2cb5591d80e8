"""Reconciles session counters of the charger and the cloud's list.

As far as anybody has seen they do, and nobody has promised it. If they did not, every session would
be billed twice: once under the charger's number and once under the cloud's.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from bridge.core.records.session_identity import SAME_START_WITHIN
from bridge.core.records.session_report import SessionReport
from bridge.core.sessions.gaps import StoredSession

# Within this, the same number is the same way of counting.
SAME_COUNTER_WITHIN = timedelta(days=1)
# Times of the two sources differ by seconds; two sessions that begin and end so close together
# are one.
SLACK = timedelta(minutes=5)


def reconcile_counters(
    reports: Iterable[SessionReport], known: Iterable[StoredSession]
) -> tuple[list[SessionReport], tuple[SessionReport, ...]]:
    """Check that the cloud means by its numbers what the charger means.

    Where one of its sessions is a known one with another number, the cloud counts differently: such
    a one gets the charger's number, and the others are left out, for they would be billed twice.

    Sessions without a number, and those whose times cannot be, say nothing of it.

    Returns:
        What can be used, and what was left out.
    """
    book = _ByTime(known)
    paired = [(report, book.named_otherwise(report)) for report in reports]
    if all(number is None for _, number in paired):
        return [report for report, _ in paired], ()
    usable, left_out = [], []
    for report, number in paired:
        if number is not None:
            usable.append(replace(report, session_id=number))
        elif report.session_id is None or book.has(report):
            usable.append(report)
        else:
            left_out.append(report)
    return usable, tuple(left_out)


class _ByTime:
    """Known sessions, found by their number or by when they began."""

    def __init__(self, known: Iterable[StoredSession]) -> None:
        self._by_number: dict[int, list[StoredSession]] = defaultdict(list)
        self._by_minute: dict[int, list[StoredSession]] = defaultdict(list)
        for one in known:
            self._by_number[one.number].append(one)
            self._by_minute[_minute(one.started_at)].append(one)

    def has(self, report: SessionReport) -> bool:
        """Return whether the session is known under its number."""
        return report.session_id is not None and any(
            abs(one.started_at - report.started_at) <= SAME_COUNTER_WITHIN
            for one in self._by_number.get(report.session_id, ())
        )

    def named_otherwise(self, report: SessionReport) -> int | None:
        """Return the other number under which this session is known, or None."""
        if report.session_id is None or report.doubtful or self.has(report):
            return None
        minute = _minute(report.started_at)
        near = (one for at in (-1, 0, 1) for one in self._by_minute.get(minute + at, ()))
        return next((one.number for one in near if _same_times(one, report)), None)


def _minute(at: datetime) -> int:
    return int(at.timestamp() // SAME_START_WITHIN.total_seconds())


def _same_times(known: StoredSession, report: SessionReport) -> bool:
    # A charger serves one car at a time, so two sessions never overlap.
    overlap = min(known.ended_at, report.ended_at) - max(known.started_at, report.started_at)
    shorter = min(known.ended_at - known.started_at, report.ended_at - report.started_at)
    if overlap < shorter / 2:
        return False
    return (
        abs(known.started_at - report.started_at) <= SAME_START_WITHIN
        and abs(known.ended_at - report.ended_at) <= SLACK
    )
