"""What a bridge writes: reports of sessions and lives of commands, from a seed."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bridge.core.records.command_row import CommandRow
from bridge.core.records.session_report import SessionReport

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LIVES = ("waiting", "sent", "accepted", "confirmed")
CHARGERS = 5


def report_of(number: int, *, energy_kwh: float | None = None) -> SessionReport:
    """Make the report of a session; the same number makes the same report."""
    rng = random.Random(number)
    started_at = NOON + timedelta(minutes=7 * number)
    ended_at = started_at + timedelta(minutes=rng.randrange(1, 600))
    energy = round(rng.uniform(0, 60), 6)
    return SessionReport(
        charger_id=f"EH{number % CHARGERS:06}",
        session_id=number,
        started_at=started_at,
        ended_at=ended_at,
        energy_kwh=energy if energy_kwh is None else energy_kwh,
        meter_start_kwh=rng.choice([None, 1277.872637, 1000.0]),
        meter_stop_kwh=rng.choice([None, 1278.28391]),
        auth_reason=rng.choice([None, 3, 4]),
        auth=f"04{rng.randrange(16**12):012X}" * rng.choice([0, 1, 1, 8]),
        source="stream",
        measured_at=ended_at,
        received_at=ended_at + timedelta(seconds=1),
    )


def corrected(report: SessionReport, rng: random.Random) -> SessionReport:
    """Make a later word about the same session."""
    return replace(
        report,
        energy_kwh=round(rng.uniform(0, 60), 6),
        measured_at=report.measured_at + timedelta(minutes=rng.randrange(1, 40)),
    )


def command_of(number: int, step: int) -> CommandRow:
    """Make the row of a command at one step of its life; the last has the answer."""
    received_at = NOON + timedelta(seconds=number)
    state = LIVES[step]
    # Every twentieth is too long for a page.
    body = b'{"value":%d%s}' % (number, b" " * (9000 if number % 20 == 7 else 200))
    return CommandRow(
        key=f"{number:013}-{number}-EH{number % CHARGERS:06}",
        charger_id=f"EH{number % CHARGERS:06}",
        command="toggle" if number % 3 else "dynamic_charger_current",
        name=f"caller-{number}",
        digest=f"{number * 7919:064x}",
        state=state,
        received_at=received_at,
        expires_at=received_at + timedelta(seconds=60),
        body=body,
        answer=b'{"state":"confirmed"}' if state == "confirmed" else b"",
        flash=number % 5 == 0,
    )
