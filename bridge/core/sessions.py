"""Charging sessions as the charger reports them (observations 223 and 129)."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SessionReport:
    """One finished session: the billing record.

    Attributes:
        charger_id: Serial.
        session_id: The charger's own counter, or None when the report has none.
        started_at: When the session began, charger time, UTC.
        ended_at: When it ended.
        energy_kwh: Energy delivered.
        meter_start_kwh: Meter at the start, or None when not told.
        meter_stop_kwh: Meter at the end, or None when not told.
        auth_reason: The vendor's number (3 offline whitelist, 4 offline allow all), or None when
            the source does not know it (REST).
        auth: RFID tag or token as the charger sent it; empty when none. Personal data: only the
            store and the publisher's hashing see it.
        source: ``"stream"``, ``"poll"`` or ``"backfill"``.
        measured_at: Charger time of the observation that brought it.
        received_at: When it reached us.
    """

    charger_id: str
    session_id: int | None
    started_at: datetime
    ended_at: datetime
    energy_kwh: float
    meter_start_kwh: float | None
    meter_stop_kwh: float | None
    auth_reason: int | None
    auth: str
    source: str
    measured_at: datetime
    received_at: datetime
