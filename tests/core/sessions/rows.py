"""Rows for the tests of this folder."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from msgspec import structs

from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TAG = "04E1B2C3D4"
ONE = "EH123456"

REPORT = SessionReport(
    charger_id=ONE,
    session_id=435,
    started_at=NOON,
    ended_at=NOON + HOUR,
    energy_kwh=0.411273,
    meter_start_kwh=1277.872637,
    meter_stop_kwh=1278.28391,
    auth_reason=3,
    auth=TAG,
    source="stream",
    measured_at=NOON + HOUR,
    received_at=NOON + HOUR,
)


def row(number: int = 1, revision: int = 1, charger_id: str = ONE, **facts: object) -> StoredReport:
    """Make a row whose session ended ``number`` hours after noon."""
    report = replace(
        REPORT,
        charger_id=charger_id,
        session_id=number,
        started_at=NOON + (number - 0.5) * HOUR,
        ended_at=NOON + number * HOUR,
    )
    return structs.replace(StoredReport(f"{charger_id}-{number}", revision, report), **facts)
