"""Charging sessions as they are held; :mod:`bridge.core.easee.session_payloads` reads them."""

from dataclasses import dataclass, field
from datetime import datetime

# A year at 11 kW; more is not a session but a broken number.
MAX_ENERGY_KWH = 100_000.0
MAX_COUNTER = 2**63 - 1

# Of a stored report, or of one that is not stored.
ReportId = tuple[str, int] | tuple[None, None]
UNNAMED: ReportId = (None, None)

BACKFILL = "backfill"
OK, SUSPECT = "ok", "suspect"


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
        incomplete: Fields that were told and could not be read; they are None, ``auth`` is empty.
        doubtful: Which of ``started_at`` and ``ended_at`` cannot be; they are as they were told.
        placed_at: When it counts as ended, where ``ended_at`` cannot be or lies ahead of arrival.
        ranked_at: What counts as its stamp, where ``measured_at`` lies ahead of arrival, or is the
            arrival because there was no stamp.
    """

    charger_id: str
    session_id: int | None
    started_at: datetime
    ended_at: datetime
    energy_kwh: float
    meter_start_kwh: float | None
    meter_stop_kwh: float | None
    auth_reason: int | None
    auth: str = field(repr=False)
    source: str
    measured_at: datetime
    received_at: datetime
    incomplete: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    placed_at: datetime | None = None
    ranked_at: datetime | None = None

    @property
    def at(self) -> datetime:
        """Return when it counts as ended: never ahead of its arrival."""
        return self.placed_at or self.ended_at

    @property
    def rank(self) -> datetime:
        """Return the time by which two records of a session are compared."""
        return self.ranked_at or self.measured_at

    @property
    def is_stampless(self) -> bool:
        """Whether its observation had no stamp that could be read."""
        return self.ranked_at == self.measured_at

    @property
    def clock(self) -> str:
        """Return whether its times are possible, as text."""
        return SUSPECT if self.doubtful else OK


@dataclass(frozen=True, slots=True)
class SessionStart:
    """A session that began (observation 223); attributes as in :class:`SessionReport`.

    Attributes:
        told_at: Stamp of the observation, or when it arrived if that lies ahead.
        is_ahead: The stamp lay ahead.
    """

    charger_id: str
    session_id: int | None
    started_at: datetime
    meter_start_kwh: float | None
    auth_reason: int | None
    auth: str = field(repr=False)
    told_at: datetime
    is_ahead: bool = False
    incomplete: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()

    @property
    def clock(self) -> str:
        """Return whether its time is possible, as text."""
        return SUSPECT if self.doubtful else OK
