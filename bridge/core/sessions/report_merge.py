"""Merges records of one finished session into one row, in whatever order they arrive.

Rules:

1. A row says what the charger last said of a session. A repeat changes nothing; new content raises
   the revision; what a source does not know (the REST interface knows no ``auth_reason``) never
   erases what another told. The cloud's list counts more only where it knows that the session went
   on.
2. Its key is stable: it comes from the charger and its own counter. A key that was given stays,
   whatever becomes known of its session; see :mod:`bridge.core.records.session_identity`.
3. A possible time replaces an impossible one, and one that our clock, put back, finds ahead stays
   possible where it had passed before. An end corrected by the list is not
   later than the stamp of the observation that told of the session.

What becomes of a row is the business of :mod:`bridge.core.sessions.delivery`.
"""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TypeVar

import msgspec

from bridge.core.records.session_clocks import AHEAD, ENDED, STARTED, before_first
from bridge.core.records.session_identity import (
    SAME_END_WITHIN,
    is_again,
    likeness,
    report_key,
    supersedes,
)
from bridge.core.records.session_report import BACKFILL, SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.value_format import pseudonymize

T = TypeVar("T")
_NEVER = datetime.min.replace(tzinfo=UTC)


# -- the content of a row ----------------------------------------------------------------------


def entered(
    report: SessionReport, rows: Sequence[StoredReport], first_started_at: datetime | None = None
) -> tuple[StoredReport, bool]:
    """Return the row of a report as it is from now on, and whether it has to be written.

    Args:
        report: What arrived.
        rows: What is stored of the same charger with the same counter, or without one.
        first_started_at: The charger's first known session began then.
    """
    report = _judged(report, first_started_at)
    key, held = find_row(report, rows)
    if held is None:
        return StoredReport(key, 1, report), True
    content = merge_reports(held.report, report)
    if content is held.report:
        return held, False
    return StoredReport(key, held.revision + 1, content), True


def _judged(report: SessionReport, first_started_at: datetime | None) -> SessionReport:
    """Doubt what lies long before the charger's first session."""
    early = before_first(report.started_at, report.ended_at, first_started_at)
    if set(early) <= set(report.doubtful):
        return report
    doubtful = tuple(name for name in (STARTED, ENDED) if name in early or name in report.doubtful)
    placed_at = report.placed_at
    if ENDED in early and placed_at is None:
        placed_at = report.received_at
    return replace(report, doubtful=doubtful, placed_at=placed_at)


def find_row(
    report: SessionReport, rows: Sequence[StoredReport]
) -> tuple[str, StoredReport | None]:
    """Return the row a report belongs to.

    Args:
        report: What arrived.
        rows: What is stored of the same charger with the same counter, or without one.

    Returns:
        The key, and the row if there is one. Where the counter stood still or came round again, the
        key of the later arrival ends in the day its session began, then also in the time.
    """
    found = [(sure, row) for row in rows if (sure := likeness(row.report, report))]
    if found:
        # Of equally likely ones the nearest.
        best = max(found, key=lambda one: (one[0], -abs(one[1].report.at - report.at)))[1]
        return best.key, best
    return _free_key(report, {row.key for row in rows}), None


def _free_key(report: SessionReport, taken: Collection[str]) -> str:
    began_at = report.at if STARTED in report.doubtful else report.started_at
    key = report_key(report.charger_id, report.session_id, report.started_at)
    by_time = f"{key}-{began_at:%Y%m%dT%H%M%S}"
    keys = chain(
        (key, f"{key}-{began_at:%Y%m%d}", by_time), (f"{by_time}-{n}" for n in itertools.count(2))
    )
    return next(one for one in keys if one not in taken)


def merge_reports(held: SessionReport, report: SessionReport) -> SessionReport:
    """Return what is known of a session after another record of it; ``held`` if nothing is new."""
    newer, older = (report, held) if supersedes(report, held) else (held, report)
    # Where the list counts more than the charger, the session went on after its meter was told.
    older_stop_kwh = None if newer.source == BACKFILL else older.meter_stop_kwh
    # The list may have the tag, and never the reason.
    is_poorer = newer.source == BACKFILL != older.source
    auth_known = newer.auth_reason is not None or (bool(newer.auth) and not is_poorer)
    if is_again(held, report):
        start_of = end_of = held  # what the list mended stays mended
    else:
        start_of, end_of = (_whose(name, newer, older, held) for name in (STARTED, ENDED))
    placed_at = end_of.placed_at
    if ENDED in end_of.doubtful and ENDED in held.doubtful:
        placed_at = held.placed_at  # a repetition does not move it
    result = replace(
        newer,
        session_id=_first(newer.session_id, older.session_id),
        started_at=start_of.started_at,
        ended_at=_ended_at(start_of, end_of, newer),
        auth_reason=newer.auth_reason if auth_known else older.auth_reason,
        auth=newer.auth if auth_known else older.auth or newer.auth,
        meter_start_kwh=_first(newer.meter_start_kwh, older.meter_start_kwh),
        meter_stop_kwh=_first(newer.meter_stop_kwh, older_stop_kwh),
        doubtful=(STARTED,) * (STARTED in start_of.doubtful)
        + (ENDED,) * (ENDED in end_of.doubtful),
        placed_at=placed_at,
    )
    unread = dict.fromkeys((*newer.incomplete, *older.incomplete))
    result = replace(
        result, incomplete=tuple(name for name in unread if not _is_known(result, name))
    )
    return held if _content(result) == _content(held) else result


def _whose(
    name: str, newer: SessionReport, older: SessionReport, held: SessionReport
) -> SessionReport:
    """Return the report with the time that counts: a possible one before an impossible one.

    A time that could not be when it came does not become right by waiting for it. One that had
    passed when it came does not lie ahead: our clock was put back since.
    """
    if getattr(newer, name) == getattr(older, name):
        other = older if newer is held else newer
        has_passed = _is_ahead(name, other) and not _is_ahead(name, held)
        if has_passed and name in other.doubtful and name not in held.doubtful:
            return held
        return older if name in older.doubtful else newer
    return older if name in newer.doubtful and name not in older.doubtful else newer


def _is_ahead(name: str, report: SessionReport) -> bool:
    """Return whether a time was ahead of our clock when it came."""
    told_at: datetime = getattr(report, name)
    return told_at - report.received_at > AHEAD


def _ended_at(start_of: SessionReport, end_of: SessionReport, newer: SessionReport) -> datetime:
    """Return when a session ended: not after the charger's own observation was measured.

    The list's end differs by seconds, and would overlap the session that began right after.
    """
    if end_of.source != BACKFILL or newer.source == BACKFILL or newer.ranked_at is not None:
        return end_of.ended_at
    is_before = timedelta() < end_of.ended_at - newer.measured_at <= SAME_END_WITHIN
    is_whole = newer.measured_at >= start_of.started_at
    return newer.measured_at if is_before and is_whole else end_of.ended_at


def _is_known(report: SessionReport, name: str) -> bool:
    return getattr(report, name) not in (None, "")


def _first(one: T | None, other: T | None) -> T | None:
    return other if one is None else one


def _content(report: SessionReport) -> SessionReport:
    """Return a report without its source and time of arrival."""
    return replace(
        report,
        source="",
        measured_at=_NEVER,
        received_at=_NEVER,
        placed_at=None,
        ranked_at=None,
    )


def cleared(stored: StoredReport, *, personal_data: bool, salt: bytes) -> StoredReport:
    """Return a row with its tag as it may be published.

    Args:
        stored: The row.
        personal_data: Show the tag as it is instead of hashed.
        salt: This installation's.
    """
    report = stored.report
    if personal_data or not report.auth:
        return stored
    return msgspec.structs.replace(
        stored, report=replace(report, auth=pseudonymize(report.auth, salt))
    )
