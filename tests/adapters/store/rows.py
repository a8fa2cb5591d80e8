"""Rows that tests of every store put into it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bridge.core.records.command_row import CommandRow
from bridge.core.records.session_report import SessionReport

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TAG = "04E1B2C3D4"

REPORT = SessionReport(
    charger_id="EH123456",
    session_id=435,
    started_at=NOON,
    ended_at=NOON + HOUR,
    energy_kwh=0.411273,
    meter_start_kwh=1277.872637,
    meter_stop_kwh=1278.0,
    auth_reason=3,
    auth=TAG,
    source="stream",
    measured_at=NOON + HOUR,
    received_at=NOON + HOUR,
)


def numbered(number: int, charger_id: str = "EH123456") -> SessionReport:
    """Make the report of a session that ended ``number`` minutes after noon."""
    return replace(
        REPORT,
        charger_id=charger_id,
        session_id=number,
        ended_at=NOON + timedelta(minutes=number),
    )


def command(number: int, *, answer: bytes = b"", received_at: datetime = NOON) -> CommandRow:
    """Make a command's row."""
    expires_at = received_at + timedelta(minutes=1)
    return CommandRow(
        key=str(number),
        charger_id="EH123456",
        command="start",
        name=f"id-{number}",
        digest="d" * 64,
        state="confirmed" if answer else "waiting",
        received_at=received_at,
        expires_at=expires_at,
        body=b'{"value":true}',
        answer=answer,
        flash=number % 2 == 0,
    )
