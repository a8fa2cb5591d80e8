"""Documents about charging sessions, as they are published.

A retained topic never holds the tag, not even hashed.
"""

from collections.abc import Iterable
from datetime import datetime

from bridge.core.easee import enumerations
from bridge.core.records.session_report import OK, UNNAMED, ReportId, SessionReport, SessionStart
from bridge.core.value_format import format_json, iso_utc

OFFLINE_REASONS = frozenset({3, 4})
Field = bool | float | str | datetime | tuple[str, ...] | None


def auth_reason_name(auth_reason: int | None) -> str | None:
    """Name why a session was authorized; None when it is not known."""
    return None if auth_reason is None else enumerations.auth_reason_name(auth_reason)


def document(pairs: Iterable[tuple[str, Field]]) -> bytes:
    """Write a flat JSON object, in this order, times as UTC and numbers as plain decimals."""
    return b"{%b}" % b",".join(b'"%b":%b' % (key.encode(), _spelled(v)) for key, v in pairs)


def _spelled(value: Field) -> bytes:
    if isinstance(value, tuple):
        return b"[%b]" % b",".join(map(format_json, value))
    if isinstance(value, datetime):
        return format_json(iso_utc(value))
    if isinstance(value, float) and value.is_integer():
        return format_json(int(value))
    return format_json(value)


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
            ("incomplete", start.incomplete if start else ()),
            ("clock", start.clock if start else OK),
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
        ("incomplete", report.incomplete),
        ("clock", report.clock),
    )


def last_document(report: SessionReport, name: ReportId = UNNAMED) -> bytes:
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
