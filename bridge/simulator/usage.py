"""Responses about energy and sessions."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from bridge.simulator.charger import Charger
from bridge.simulator.commands import amount
from bridge.simulator.readings import stamp, utc_text
from bridge.simulator.sessions import Session


def newest(charger: Charger) -> dict[str, object] | None:
    """Build ``…/sessions/latest``: the running session, else the last one."""
    if charger.session is not None:
        return ongoing(charger)
    return _of_charger(charger, charger.sessions[-1]) if charger.sessions else None


def ongoing(charger: Charger) -> dict[str, object] | None:
    """Build ``…/sessions/ongoing``; None when there is none."""
    return _of_charger(charger, charger.session) if charger.session is not None else None


def between(charger: Charger, start: datetime, stop: datetime) -> list[dict[str, object]]:
    """Build the list of finished sessions that began in a period, oldest first."""
    return [_listed(charger, one) for one in _finished(charger, start, stop)]


def descending(charger: Charger, limit: int) -> list[dict[str, object]]:
    """Build the list of the newest finished sessions."""
    return [_listed(charger, one) for one in reversed(charger.sessions)][:limit]


def total_kwh(charger: Charger, start: datetime, stop: datetime) -> float:
    """Return the energy of the sessions that began in a period."""
    return round(sum(one.energy_kwh for one in _finished(charger, start, stop)), 6)


def total_cost(charger: Charger, start: datetime, stop: datetime) -> float:
    """Return what the sessions that began in a period cost, each at its price."""
    costs = (
        one.energy_kwh * amount(one.price["costPerKWh"]) for one in _finished(charger, start, stop)
    )
    return round(sum(costs), 6)


def by_period(charger: Charger, period: str) -> list[dict[str, object]]:
    """Build ``/api/sessions/charger/{id}/hourly`` and its longer sisters."""
    fields = PERIODS[period]
    energies: Counter[tuple[int, ...]] = Counter()
    costs: Counter[tuple[int, ...]] = Counter()
    for one in charger.sessions:
        key, price = fields(one.started_at), _price(charger, one)
        energies[key] += one.energy_kwh  # type: ignore[assignment]  # a Counter adds floats as well
        costs[key] += one.energy_kwh * amount(price["costPerKwhExcludeVat"])  # type: ignore[assignment]
    return [
        {
            **dict(zip(("year", "month", "dayOfMonth", "hourOfDay"), key, strict=False)),
            "totalEnergyUsage": round(energy, 6),
            "totalCost": round(costs[key], 2),
            "currencyId": charger.price["currencyId"],
            "authTokensUsage": [],
        }
        for key, energy in sorted(energies.items())
    ]


def lifetime(charger: Charger, period: str) -> list[dict[str, object]]:
    """Build ``/api/chargers/lifetime-energy/{id}/hourly`` and its longer sisters."""
    return [
        {
            "year": row["year"],
            "month": row.get("month"),
            "day": row.get("dayOfMonth"),
            "hour": row.get("hourOfDay"),
            "consumption": row["totalEnergyUsage"],
            "date": None,
        }
        for row in by_period(charger, period)
    ]


PERIODS: dict[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}


def hourly_usage(charger: Charger, start: datetime, stop: datetime) -> list[dict[str, object]]:
    """Build ``…/usage/hourly/{from}/{to}``: every hour, the empty ones too."""
    first = start.replace(minute=0, second=0, microsecond=0)
    hours = min(31 * 24, max(0, int((stop - first) / timedelta(hours=1))))
    found = []
    for number in range(hours):
        begin = first + timedelta(hours=number)
        end = begin + timedelta(hours=1)
        found.append(
            {
                "from": utc_text(begin),
                "to": utc_text(end),
                "totalEnergy": round(_energy_between(charger.sessions, begin, end), 6),
            }
        )
    return found


def history(
    charger: Charger, observation_id: int, start: datetime, stop: datetime
) -> list[dict[str, object]]:
    """Build the values of one observation over time."""
    readings = charger.history.get(observation_id)
    if readings is None and observation_id in charger.readings:
        past = [charger.readings[observation_id]]
    else:
        past = list(readings or ())
    return [
        {"value": one.value, "measuredAt": stamp(observation_id, one.measured_at)}
        for one in past
        if start <= one.measured_at < stop
    ]


def _finished(charger: Charger, start: datetime, stop: datetime) -> list[Session]:
    return [one for one in charger.sessions if start <= one.started_at < stop]


def _energy_between(sessions: Iterable[Session], begin: datetime, end: datetime) -> float:
    energy_kwh = 0.0
    for one in sessions:
        stopped_at = one.stopped_at or one.started_at
        overlap = min(stopped_at, end) - max(one.started_at, begin)
        if overlap > timedelta():
            energy_kwh += one.energy_kwh * (overlap / (stopped_at - one.started_at))
    return energy_kwh


def _price(charger: Charger, session: Session) -> Mapping[str, object]:
    """Return the price that a session is charged at: of its end, or the current one."""
    if session.stopped_at is None:
        return charger.price
    return session.price


def _cost(energy_kwh: float, price: Mapping[str, object]) -> dict[str, object]:
    including, excluding = (amount(price[key]) for key in ("costPerKWh", "costPerKwhExcludeVat"))
    return {
        "pricePrKwhIncludingVat": round(including, 4),
        "pricePerKwhExcludingVat": excluding,
        "vatPercentage": price["vat"],
        "costIncludingVat": round(energy_kwh * including, 4),
        "costExcludingVat": round(energy_kwh * excluding, 4),
    }


def _of_charger(charger: Charger, session: Session) -> dict[str, object]:
    running = session.stopped_at is None
    energy_kwh = charger.session_kwh or 0.0 if running else session.energy_kwh
    stopped_at = session.stopped_at
    until = stopped_at or charger.at
    return {
        "chargerId": charger.id,
        "sessionEnergy": energy_kwh,
        "sessionStart": utc_text(session.started_at),
        "sessionEnd": None if stopped_at is None else utc_text(stopped_at),
        "sessionId": session.number,
        "chargeDurationInSeconds": int((until - session.started_at).total_seconds()),
        "firstEnergyTransferPeriodStart": utc_text(session.started_at),
        "lastEnergyTransferPeriodEnd": utc_text(until),
        "currencyId": _price(charger, session)["currencyId"],
        **_cost(energy_kwh, _price(charger, session)),
    }


def _listed(charger: Charger, session: Session) -> dict[str, object]:
    stopped_at = session.stopped_at or session.started_at
    return {
        "id": session.number,
        "chargerId": charger.id,
        "carConnected": utc_text(session.started_at),
        "carDisconnected": utc_text(stopped_at),
        "kiloWattHours": session.energy_kwh,
        "actualDurationSeconds": int((stopped_at - session.started_at).total_seconds()),
        "firstEnergyTransferPeriodStarted": utc_text(session.started_at),
        "lastEnergyTransferPeriodEnd": utc_text(stopped_at),
        "isComplete": True,
        "authUser": None,
        "authToken": session.auth or None,
        "currency": _price(charger, session)["currencyId"],
        **_cost(session.energy_kwh, _price(charger, session)),
    }
