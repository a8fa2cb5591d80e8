"""The ledger: one row for each finished session, whoever told of it and however often.

Rules:

1. A row says what the charger last said of a session. A repeat changes nothing; new content raises
   the revision; what a source does not know (the REST interface knows no ``auth_reason``) never
   erases what another told.
2. Its key is stable: it comes from the charger and its own counter, never from arrival.

What becomes of a row is the business of :mod:`bridge.core.sessions.delivery`.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime

from bridge.core.sessions.reports import (
    SessionReport,
    document,
    report_fields,
    report_key,
    same_session,
    supersedes,
)
from bridge.core.values import hashed


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as the store holds it.

    Attributes:
        key: Stable across repeats, restarts and sources.
        revision: 1, and one more for every change of content.
        report: The content.
        published: The broker acknowledged this revision.
        settled: A consumer acknowledged the key, or the settle window passed; not owed any more.
        published_at: When the broker acknowledged it (wall clock, UTC), or None.
    """

    key: str
    revision: int
    report: SessionReport
    published: bool = False
    settled: bool = False
    published_at: datetime | None = None


# -- the content of a row ----------------------------------------------------------------------


def find_row(
    report: SessionReport, rows: Sequence[StoredReport]
) -> tuple[str, StoredReport | None]:
    """Say which row a report belongs to.

    Args:
        report: What arrived.
        rows: What is stored with the same charger and counter.

    Returns:
        The key, and the row if there is one. Where the counter came round again, the key of the
        later arrival ends in the day its session began.
    """
    same = [row for row in rows if same_session(row.report, report)]
    if same:
        row = min(same, key=lambda row: abs(row.report.started_at - report.started_at))
        return row.key, row
    key = report_key(report.charger_id, report.session_id, report.started_at)
    if any(row.key == key for row in rows):
        key = f"{key}-{report.started_at:%Y%m%d}"
    return key, next((row for row in rows if row.key == key), None)


def merged(held: SessionReport, report: SessionReport) -> SessionReport:
    """Return what is known of a session after another record of it; ``held`` if nothing is new."""
    newer, older = (report, held) if supersedes(report, held) else (held, report)
    auth_known = newer.auth_reason is not None or bool(newer.auth)
    result = replace(
        newer,
        auth_reason=newer.auth_reason if auth_known else older.auth_reason,
        auth=newer.auth if auth_known else older.auth,
        meter_start_kwh=_first(newer.meter_start_kwh, older.meter_start_kwh),
        meter_stop_kwh=_first(newer.meter_stop_kwh, older.meter_stop_kwh),
    )
    return held if _content(result) == _content(held) else result


def _first(one: float | None, other: float | None) -> float | None:
    return other if one is None else one


def _content(report: SessionReport) -> tuple[object, ...]:
    """What a consumer would bill by: everything but where it came from and when."""
    return astuple(report)[:-3]


def report_document(stored: StoredReport, *, personal_data: bool, salt: bytes) -> bytes:
    """Write the ``session/report`` document.

    Args:
        stored: The row.
        personal_data: Show the tag as it is instead of hashed.
        salt: This installation's.
    """
    report = stored.report
    auth = report.auth if personal_data else hashed(report.auth, salt)
    return document(
        (
            ("key", stored.key),
            ("revision", stored.revision),
            *report_fields(report),
            ("auth", auth if report.auth else None),
            ("source", report.source),
            ("measured_at", report.measured_at),
            ("received_at", report.received_at),
        )
    )
