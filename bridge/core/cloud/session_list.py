"""Reading the cloud's list of finished sessions. Total: nothing but ``DecodeError`` leaves.

``GET /api/sessions/charger/{id}/sessions/{from}/{to}`` answers a list of ``{"id", "carConnected",
"carDisconnected", "kiloWattHours", …}``. The ids are the charger's own counter, as far as anybody
has seen. The list knows neither ``AuthReason`` nor the meters, and the times may differ by seconds
from what the charger says. Times come with ``Z``, with an offset, or bare and then in UTC.

Rules:

1. A session that is not complete is none yet. One that cannot be read is left out and counted: the
   others are somebody's bill too. One without a number cannot be told from one the charger
   reported, and would be billed twice.
2. What bills nobody (the tag) may be missing or of any shape.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from bridge.core.cloud.bodies import EXCERPT_BYTES, integer, parsed_list
from bridge.core.sessions.reports import (
    BACKFILL,
    LARGEST_COUNTER,
    MOST_ENERGY_KWH,
    SessionReport,
)
from bridge.core.values import read_utc
from bridge.errors import DecodeError

SOURCE = "session list"
# Twenty sessions a day for a year; a body of 1 MiB holds fewer.
MOST_SESSIONS = 7_500
LONGEST_TAG = 256


@dataclass(frozen=True, slots=True)
class SessionList:
    """What the cloud knows of a period.

    Attributes:
        reports: Finished sessions, oldest end first.
        dropped: Entries that could not be read; running sessions are not among them.
    """

    reports: tuple[SessionReport, ...]
    dropped: int = 0


def session_list(body: bytes, charger_id: str, *, received_at: datetime) -> SessionList:
    """Read the list.

    Args:
        body: The body.
        charger_id: Who was asked about; an entry of another charger is left out.
        received_at: When it arrived, UTC.

    Raises:
        DecodeError: It is no list, or nothing in it can be read.
    """
    entries = parsed_list(body, SOURCE)[:MOST_SESSIONS]
    reports, dropped = [], 0
    for entry in entries:
        try:
            report = _report(entry, charger_id, received_at)
        except DecodeError:
            dropped += 1
        else:
            reports.extend([report] if report is not None else [])
    if entries and dropped == len(entries):
        raise DecodeError("nothing readable", source=SOURCE, raw=body[:EXCERPT_BYTES])
    return SessionList(tuple(sorted(reports, key=lambda one: one.ended_at)), dropped)


def _report(entry: object, charger_id: str, received_at: datetime) -> SessionReport | None:
    """Read one entry; None when the session has not ended."""
    if not isinstance(entry, dict) or entry.get("chargerId", charger_id) != charger_id:
        raise DecodeError("no session of this charger", source=SOURCE)
    if entry.get("isComplete") is False or entry.get("carDisconnected") is None:
        return None
    started_at, ended_at = _time(entry.get("carConnected")), _time(entry["carDisconnected"])
    if ended_at < started_at:
        raise DecodeError("it ended before it began", source=SOURCE)
    return SessionReport(
        charger_id=charger_id,
        session_id=_counter(entry.get("id")),
        started_at=started_at,
        ended_at=ended_at,
        energy_kwh=_energy(entry.get("kiloWattHours")),
        meter_start_kwh=None,
        meter_stop_kwh=None,
        auth_reason=None,
        auth=_tag(entry.get("authToken")),
        source=BACKFILL,
        measured_at=ended_at,
        received_at=received_at,
    )


def _counter(value: object) -> int:
    number = integer(value)
    if number is None or not 0 <= number <= LARGEST_COUNTER:
        raise DecodeError("no number", source=SOURCE)
    return number


def _energy(value: object) -> float:
    # bool is an int, NaN compares false with everything, an int may be longer than a float.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DecodeError("no energy", source=SOURCE)
    if not 0 <= value <= MOST_ENERGY_KWH or not math.isfinite(value):
        raise DecodeError("no such energy", source=SOURCE)
    return float(value) + 0.0  # -0.0 is 0.0


def _time(value: object) -> datetime:
    if not isinstance(value, str):
        raise DecodeError("no time", source=SOURCE)
    return read_utc(value)


def _tag(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= LONGEST_TAG else ""
