import json
from datetime import UTC, datetime, timedelta

from bridge.simulator.sessions import Session, finished_text, started_text

START = datetime(2025, 1, 22, 12, 51, 47, tzinfo=UTC)
SESSION = Session(
    435, START, 1277.872637, "TAG", 3, START + timedelta(minutes=13, seconds=51), 0.411273
)


def test_a_finished_session_reads_as_in_the_field():
    """Observation 129 has the vendor's keys, and its meters differ by its energy."""
    assert json.loads(finished_text(SESSION)) == {
        "Id": 435,
        "Start": "2025-01-22T12:51:47.000Z",
        "Stop": "2025-01-22T13:05:38.000Z",
        "EnergyKwh": 0.411273,
        "MeterValueStart": 1277.872637,
        "MeterValueStop": 1278.28391,
        "Auth": "TAG",
        "AuthReason": 3,
    }


def test_a_started_session_reads_as_in_the_field():
    """Observation 223 has the vendor's keys."""
    assert json.loads(started_text(SESSION)) == {
        "Id": 435,
        "MeterValue": 1277.872637,
        "Start": "2025-01-22T12:51:47.000Z",
        "Auth": "TAG",
        "AuthReason": 3,
    }
