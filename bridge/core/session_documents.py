"""Fields of session documents.

What is retained never holds the tag, not even hashed.
"""

from datetime import datetime

from bridge.core.easee import enumerations
from bridge.core.records.session_report import UNNAMED, ReportId, SessionReport
from bridge.core.records.stored_report import StoredReport

OFFLINE_REASONS = frozenset({3, 4})
Field = bool | float | str | datetime | tuple[str, ...] | None


def auth_reason_name(auth_reason: int | None) -> str | None:
    """Return why a session was authorized; None when it is unknown."""
    return None if auth_reason is None else enumerations.auth_reason_name(auth_reason)


def is_offline(auth_reason: int | None) -> bool | None:
    """Return whether a session was authorized without the cloud; None when it is unknown."""
    return None if auth_reason is None else auth_reason in OFFLINE_REASONS


def plain(number: float | None) -> float | None:
    """Return a number without a fraction that says nothing: 16 for 16.0."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def report_fields(report: SessionReport) -> tuple[tuple[str, Field], ...]:
    """Return what every document about a finished session says, in order."""
    reason = report.auth_reason
    return (
        ("charger_id", report.charger_id),
        ("session_id", report.session_id),
        ("started_at", report.started_at),
        ("ended_at", report.ended_at),
        ("energy_kwh", plain(report.energy_kwh)),
        ("meter_start_kwh", plain(report.meter_start_kwh)),
        ("meter_stop_kwh", plain(report.meter_stop_kwh)),
        ("auth_reason", reason),
        ("auth_reason_name", auth_reason_name(reason)),
        ("offline", is_offline(reason)),
        ("incomplete", report.incomplete),
        ("clock", report.clock),
    )


def last_fields(report: SessionReport, name: ReportId = UNNAMED) -> tuple[tuple[str, Field], ...]:
    """Return the fields of the last session: the report without the tag and the time of arrival.

    Args:
        report: The session.
        name: Key and revision of its row; unnamed while the store takes nothing.
    """
    key, revision = name
    return (
        ("key", key),
        ("revision", revision),
        *report_fields(report),
        ("source", report.source),
        ("measured_at", report.measured_at),
    )


def stored_fields(stored: StoredReport) -> tuple[tuple[str, Field], ...]:
    """Return the fields of a row whose tag may be published."""
    report = stored.report
    return (
        ("key", stored.key),
        ("revision", stored.revision),
        *report_fields(report),
        ("auth", report.auth or None),
        ("source", report.source),
        ("measured_at", report.measured_at),
        ("received_at", report.received_at),
    )
