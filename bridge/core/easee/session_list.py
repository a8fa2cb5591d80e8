"""Parses the cloud's list of finished sessions. Raises only ``DecodeError``.

``GET /api/sessions/charger/{id}/sessions/{from}/{to}`` answers a list of ``{"id", "carConnected",
"carDisconnected", "kiloWattHours", …}``. The ids are the charger's own counter, as far as anybody
has seen. The list knows neither ``AuthReason`` nor the meters, and the times may differ by seconds
from what the charger says. Times come with ``Z``, with an offset, or bare and then in UTC.

Rules:

1. A session that is not complete is none yet. One that cannot be read is told as the text it is:
   the others are somebody's bill too, and so is this one. Keys are read in any case.
2. What bills nobody (the number, the tag) may be missing or of any shape; a number that cannot be
   read is named. Times that cannot be are marked, as the charger's are.
3. An entry without a charger is of the one that was asked about.
"""

import json
from dataclasses import replace
from datetime import datetime

import msgspec

from bridge.core.easee.json_fields import EXCERPT_BYTES, parsed_list
from bridge.core.easee.observation_json import lowered
from bridge.core.easee.session_payloads import counter, energy, placed, session_time
from bridge.core.records.session_clocks import ENDED
from bridge.core.records.session_report import BACKFILL, SessionReport
from bridge.core.records.unread_text import UnreadText, cut
from bridge.errors import DecodeError

SOURCE = "session list"
# Twenty sessions a day for a year; a body of 1 MiB holds fewer.
MAX_SESSIONS = 7_500
MAX_TAG_LENGTH = 256


class SessionList(msgspec.Struct, frozen=True):
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
    entries = parsed_list(body, SOURCE)[:MAX_SESSIONS]
    if entries and not any(isinstance(entry, dict) for entry in entries):
        raise DecodeError("nothing readable", source=SOURCE, raw=body[:EXCERPT_BYTES])
    reports, unread = [], []
    for entry in entries:
        told = lowered(entry) if isinstance(entry, dict) else {}
        if _is_elsewhere(told, charger_id) or _is_running(told):
            continue
        try:
            report = _report(told, charger_id, received_at)
        except DecodeError as error:
            unread.append(_text(entry, told, charger_id, error.reason, received_at))
        else:
            reports.append(report)
    return SessionList(tuple(sorted(reports, key=lambda one: one.at)), tuple(unread))


def _is_elsewhere(told: dict[str, object], charger_id: str) -> bool:
    """Return whether an entry names another charger."""
    named = told.get("chargerid")
    if not isinstance(named, str) or not named.strip():
        return False
    return named.strip().casefold() != charger_id.casefold()


def _is_running(told: dict[str, object]) -> bool:
    """Return whether a session is running: it is marked so, or has a start and no end."""
    is_complete = told.get("iscomplete")
    if is_complete is None and told.get("cardisconnected") is None:
        return session_time(told.get("carconnected")) is not None
    return is_complete is False


def _report(told: dict[str, object], charger_id: str, received_at: datetime) -> SessionReport:
    """Read one entry."""
    if not told:
        raise DecodeError("no object", source=SOURCE)
    started_at = session_time(told.get("carconnected"))
    ended_at = session_time(told.get("cardisconnected"))
    if started_at is None or ended_at is None:
        raise DecodeError("no times", source=SOURCE)
    energy_kwh = energy(told.get("kilowatthours"))
    if energy_kwh is None:
        raise DecodeError("kiloWattHours is no energy", source=SOURCE)
    number = counter(told.get("id"))
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
            auth=_tag(told.get("authtoken")),
            source=BACKFILL,
            measured_at=ended_at,
            received_at=received_at,
            incomplete=("session_id",) if number is None else (),
        )
    )
    return replace(report, measured_at=received_at) if ENDED in report.doubtful else report


def _text(
    entry: object, told: dict[str, object], charger_id: str, reason: str, received_at: datetime
) -> UnreadText:
    ended_at = session_time(told.get("cardisconnected"))
    return UnreadText(
        charger_id=charger_id,
        text=cut(json.dumps(entry)),
        reason=reason,
        source=BACKFILL,
        measured_at=ended_at or received_at,
        received_at=received_at,
        session_id=counter(told.get("id")),
        started_at=session_time(told.get("carconnected")),
        ended_at=ended_at,
    )


def _tag(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_TAG_LENGTH else ""
