"""Columns of a report, in the versions that SQLite had; PostgreSQL has the last one."""

from datetime import datetime
from typing import Final

import structlog

from bridge.adapters.store.row_format.digest import (
    Row,
    digest_of,
    is_intact,
    moment_or_none,
    time_or_none,
    time_text,
)
from bridge.core.records.session_clocks import ENDED, impossible, is_default, latest
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport

log = structlog.get_logger()

COLUMNS: Final = (
    "key", "revision", "charger_id", "session_id", "started_at", "ended_at", "energy_kwh",
    "meter_start_kwh", "meter_stop_kwh", "auth_reason", "auth", "source", "measured_at",
    "received_at", "published", "digest", "settled", "published_at", "incomplete", "doubtful",
    "placed_at", "ranked_at",
)  # fmt: skip
REPORT_WIDTH_1: Final = 16
REPORT_WIDTH_2: Final = 18
REPORT_WIDTH: Final = 22
DIGEST_PLACE: Final = 15
PUBLISHED_PLACE: Final = 14


def to_row(stored: StoredReport) -> Row:
    """Return the columns of a report, in the order of the table."""
    report = stored.report
    columns = (
        stored.key,
        stored.revision,
        report.charger_id,
        report.session_id,
        time_text(report.started_at),
        time_text(report.ended_at),
        report.energy_kwh,
        report.meter_start_kwh,
        report.meter_stop_kwh,
        report.auth_reason,
        report.auth,
        report.source,
        time_text(report.measured_at),
        time_text(report.received_at),
        int(stored.published),
    )
    more = (
        int(stored.settled),
        time_or_none(stored.published_at),
        " ".join(report.incomplete),
        " ".join(report.doubtful),
        time_or_none(report.placed_at),
        time_or_none(report.ranked_at),
    )
    return (*columns, digest_of((*columns, *more)), *more)


def from_row(row: Row) -> StoredReport | None:
    """Return the report in a row, or None when the row is not what was written.

    A row of version 1 has no ``settled``: what was published there is. One of before version 3 says
    nothing of its clock.
    """
    widths = (REPORT_WIDTH_1, REPORT_WIDTH_2, REPORT_WIDTH)
    if len(row) not in widths or not is_intact_report(row):
        return None
    key, revision, charger_id, session_id, started_at, ended_at, *numbers = row[:10]
    auth, source, measured_at, received_at, published = row[10:DIGEST_PLACE]
    energy_kwh, meter_start_kwh, meter_stop_kwh, auth_reason = numbers
    settled, published_at = row[DIGEST_PLACE + 1 : REPORT_WIDTH_2] or (published, None)
    incomplete, doubtful, placed_at, ranked_at = row[REPORT_WIDTH_2:] or judged_columns(row)
    report = SessionReport(
        charger_id=charger_id,
        session_id=session_id,
        started_at=datetime.fromisoformat(started_at),
        ended_at=datetime.fromisoformat(ended_at),
        energy_kwh=energy_kwh,
        meter_start_kwh=meter_start_kwh,
        meter_stop_kwh=meter_stop_kwh,
        auth_reason=auth_reason,
        auth=auth,
        source=source,
        measured_at=datetime.fromisoformat(measured_at),
        received_at=datetime.fromisoformat(received_at),
        incomplete=tuple(incomplete.split()),
        doubtful=tuple(doubtful.split()),
        placed_at=moment_or_none(placed_at),
        ranked_at=moment_or_none(ranked_at),
    )
    return StoredReport(
        key, revision, report, bool(published), bool(settled), moment_or_none(published_at)
    )


def checked(row: Row) -> StoredReport | None:
    """Return the report in a row; say so and return None when the row is damaged."""
    stored = from_row(row)
    if stored is None:
        log.error("store.row_damaged", key=repr(row[0])[:40])
    return stored


def is_newer(one: StoredReport, other: StoredReport) -> bool:
    """Return whether a row is a later state of the same key."""
    return (one.revision, one.settled, one.published) > (
        other.revision,
        other.settled,
        other.published,
    )


def is_intact_report(row: Row) -> bool:
    """Return whether a report's row, of any version, is intact."""
    covered = [*row[:DIGEST_PLACE], *row[DIGEST_PLACE + 1 :]]
    return is_intact(covered, row[DIGEST_PLACE])


def judged_columns(row: Row) -> tuple[str, str, str | None, str | None]:
    """Return what a row of before version 3 says of its clock, as columns."""
    started_at, ended_at = map(datetime.fromisoformat, row[4:6])
    measured_at, received_at = map(datetime.fromisoformat, row[12:14])
    # Whether our own clock could be believed was not written down.
    trusted = not is_default(received_at)
    limit = latest(measured_at, received_at, trusted=trusted)
    doubtful = impossible(started_at, ended_at, limit)
    is_placed = ENDED in doubtful or (trusted and ended_at > received_at)
    is_ahead = trusted and measured_at > received_at
    return (
        "",
        " ".join(doubtful),
        time_text(received_at if trusted else limit or received_at) if is_placed else None,
        row[13] if is_ahead else None,
    )
