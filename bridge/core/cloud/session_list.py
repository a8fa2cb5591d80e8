"""Reading the cloud's list of finished sessions. Total: nothing but ``DecodeError`` leaves.

``GET /api/sessions/charger/{id}/sessions/{from}/{to}`` answers a list of ``{"id", "carConnected",
"carDisconnected", "kiloWattHours", …}``. The ids are the charger's own counter, as far as anybody
has seen. The list knows neither ``AuthReason`` nor the meters, and the times may differ by seconds
from what the charger says. Times come with ``Z``, with an offset, or bare and then in UTC.

Rules:

1. A session that is not complete is none yet. One that cannot be read is told as the text it is:
   the others are somebody's bill too, and so is this one.
2. What bills nobody (the number, the tag) may be missing or of any shape; a number that cannot be
   read is named. Times that cannot be are marked, as the charger's are.
3. An entry without a charger is of the one that was asked about.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime

from bridge.core.cloud.bodies import EXCERPT_BYTES, parsed_list
from bridge.core.sessions.clocks import ENDED
from bridge.core.sessions.reading import counter, energy, placed, session_time
from bridge.core.sessions.reports import BACKFILL, SessionReport
from bridge.core.sessions.texts import UnreadText, cut
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
        unread: Entries that could not be read; running sessions are not among them.
    """

    reports: tuple[SessionReport, ...]
    unread: tuple[UnreadText, ...] = ()


def session_list(body: bytes, charger_id: str, *, received_at: datetime) -> SessionList:
    """Read the list.

    Args:
        body: The body.
        charger_id: Who was asked about; an entry of another charger is left out.
        received_at: When it arrived, UTC.

    Raises:
        DecodeError: It is no list, or one of something else.
    """
    entries = parsed_list(body, SOURCE)[:MOST_SESSIONS]
    if entries and not any(isinstance(entry, dict) for entry in entries):
        raise DecodeError("nothing readable", source=SOURCE, raw=body[:EXCERPT_BYTES])
    reports, unread = [], []
    for entry in entries:
        if isinstance(entry, dict) and _is_elsewhere(entry, charger_id):
            continue
        try:
            report = _report(entry, charger_id, received_at)
        except DecodeError as error:
            unread.append(_text(entry, charger_id, error.reason, received_at))
        else:
            reports.extend([report] if report is not None else [])
    return SessionList(tuple(sorted(reports, key=lambda one: one.at)), tuple(unread))


def _is_elsewhere(entry: dict[str, object], charger_id: str) -> bool:
    """Say whether an entry names another charger."""
    named = entry.get("chargerId")
    return isinstance(named, str) and bool(named.strip()) and named.strip() != charger_id


def _report(entry: object, charger_id: str, received_at: datetime) -> SessionReport | None:
    """Read one entry; None when the session has not ended."""
    if not isinstance(entry, dict):
        raise DecodeError("no object", source=SOURCE)
    if entry.get("isComplete") is False or entry.get("carDisconnected") is None:
        return None
    started_at = session_time(entry.get("carConnected"))
    ended_at = session_time(entry["carDisconnected"])
    if started_at is None or ended_at is None:
        raise DecodeError("no times", source=SOURCE)
    energy_kwh = energy(entry.get("kiloWattHours"))
    if energy_kwh is None:
        raise DecodeError("kiloWattHours is no energy", source=SOURCE)
    number = counter(entry.get("id"))
    report = placed(
        SessionReport(
            charger_id=charger_id,
            session_id=number,
            started_at=started_at,
            ended_at=ended_at,
            energy_kwh=energy_kwh,
            meter_start_kwh=None,
            meter_stop_kwh=None,
            auth_reason=None,
            auth=_tag(entry.get("authToken")),
            source=BACKFILL,
            measured_at=ended_at,
            received_at=received_at,
            incomplete=("session_id",) if number is None else (),
        )
    )
    return replace(report, measured_at=received_at) if ENDED in report.doubtful else report


def _text(entry: object, charger_id: str, reason: str, received_at: datetime) -> UnreadText:
    told = entry if isinstance(entry, dict) else {}
    return UnreadText(
        charger_id=charger_id,
        text=cut(json.dumps(entry)),
        reason=reason,
        source=BACKFILL,
        measured_at=session_time(told.get("carDisconnected")) or received_at,
        received_at=received_at,
        session_id=counter(told.get("id")),
        started_at=session_time(told.get("carConnected")),
        ended_at=session_time(told.get("carDisconnected")),
    )


def _tag(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= LONGEST_TAG else ""
