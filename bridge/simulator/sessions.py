"""Cars and charging sessions, and their observations (223 and 129)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from bridge.simulator.readings import utc_text

# AuthReason. 3 and 4 are published; 0 without authorization, 1 with a tag and 6 with a user were
# seen in the field (evcc#15061, #32721).
AUTH_NONE = 0
AUTH_TAG = 1
AUTH_OFFLINE_WHITELIST = 3
AUTH_OFFLINE_ALLOW_ALL = 4
AUTH_REMOTE = 6
# What a kilowatt-hour costs at the site, under the vendor's names.
PRICE: Final[Mapping[str, object]] = MappingProxyType(
    {"currencyId": "EUR", "vat": 25.0, "costPerKWh": 0.3125, "costPerKwhExcludeVat": 0.25}
)


@dataclass(frozen=True, slots=True)
class Car:
    """What is plugged in.

    Attributes:
        wants_kwh: Until it is full.
        max_current_a: Per phase.
        phases: 1 or 3.
    """

    wants_kwh: float = 18.0
    max_current_a: float = 16.0
    phases: int = 3


@dataclass(frozen=True, slots=True)
class Session:
    """A charging session, running while ``stopped_at`` is None.

    A finished one has the price of its end: a later one changes nothing.
    """

    number: int
    started_at: datetime
    meter_start_kwh: float
    auth: str = ""
    auth_reason: int = AUTH_NONE
    stopped_at: datetime | None = None
    energy_kwh: float = 0.0
    price: Mapping[str, object] = field(default_factory=lambda: PRICE)


def started_text(session: Session) -> str:
    """Format a session that began as observation 223."""
    return json.dumps(
        {
            "Id": session.number,
            "MeterValue": session.meter_start_kwh,
            "Start": utc_text(session.started_at, "milliseconds"),
            "Auth": session.auth,
            "AuthReason": session.auth_reason,
        }
    )


def finished_text(session: Session) -> str:
    """Format a finished session as observation 129."""
    stopped_at = session.stopped_at or session.started_at
    return json.dumps(
        {
            "Id": session.number,
            "Start": utc_text(session.started_at, "milliseconds"),
            "Stop": utc_text(stopped_at, "milliseconds"),
            "EnergyKwh": session.energy_kwh,
            "MeterValueStart": session.meter_start_kwh,
            "MeterValueStop": round(session.meter_start_kwh + session.energy_kwh, 6),
            "Auth": session.auth,
            "AuthReason": session.auth_reason,
        }
    )
