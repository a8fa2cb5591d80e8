"""Parses what the cloud tells of the cost of sessions. Raises only ``DecodeError``.

The list is that of :mod:`~bridge.core.easee.session_list`; cost and currency are told where the
site has a price.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bridge.core.easee.json_fields import parsed_list
from bridge.core.easee.observation_json import lowered
from bridge.core.easee.session_payloads import counter, session_time

SOURCE: Final = "session list"
# Beyond these a cost has only the noise of binary numbers.
DIGITS: Final = 6
# The cloud's times may differ by seconds from those of the charger.
SAME_START: Final = timedelta(minutes=2)
# A session begins when the car is connected, or when it is authorized: that may take a while.
SAME_NUMBER: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SessionCost:
    """What a session cost.

    Attributes:
        session_id: The charger's own counter, or None.
        started_at: When the car was connected, UTC.
        cost: With value added tax.
        currency: As the cloud tells it; empty where it does not.
    """

    session_id: int | None
    started_at: datetime
    cost: float
    currency: str


def session_costs(body: bytes) -> tuple[SessionCost, ...]:
    """Read the costs of a list of sessions; entries without one are left out.

    Raises:
        DecodeError: It is no list.
    """
    found = (_cost(lowered(one)) for one in parsed_list(body, SOURCE) if isinstance(one, dict))
    return tuple(one for one in found if one is not None)


def _cost(told: dict[str, object]) -> SessionCost | None:
    started_at, cost = session_time(told.get("carconnected")), told.get("costincludingvat")
    if started_at is None or isinstance(cost, bool) or not isinstance(cost, int | float):
        return None
    currency = told.get("currency", told.get("currencyid"))
    text = currency if isinstance(currency, str) else ""
    return SessionCost(counter(told.get("id")), started_at, round(cost, DIGITS), text)


def match_costs(
    sessions: Iterable[tuple[str, int | None, datetime]], costs: Iterable[SessionCost]
) -> dict[str, SessionCost]:
    """Find the cost of each session of a charger; each cost belongs to one session at most.

    A cost belongs to the session of its number that began nearest, within a day; without a number,
    or where the cloud numbers no session as the charger does, to the one of its start.

    Args:
        sessions: Key, number and start of each.
        costs: As the cloud tells them.

    Returns:
        Costs by key.
    """
    listed, left = list(sessions), list(costs)
    numbers = {number for _, number, _ in listed if number is not None}
    found = _nearest(listed, left, SAME_NUMBER, lambda n, cost: n is not None and n == cost)
    is_numbered_alike = bool(found)
    taken = {id(cost) for cost in found.values()}
    return found | _nearest(
        [one for one in listed if one[0] not in found],
        [cost for cost in left if id(cost) not in taken],
        SAME_START,
        lambda n, cost: None in (n, cost) or not (is_numbered_alike or cost in numbers),
    )


def _nearest(
    sessions: Iterable[tuple[str, int | None, datetime]],
    costs: Iterable[SessionCost],
    within: timedelta,
    is_fitting: Callable[[int | None, int | None], bool],
) -> dict[str, SessionCost]:
    """Pair sessions and costs that fit, the nearest starts first."""
    pairs = sorted(
        (
            (abs(cost.started_at - started_at), key, place, cost)
            for key, number, started_at in sessions
            for place, cost in enumerate(costs)
            if abs(cost.started_at - started_at) <= within and is_fitting(number, cost.session_id)
        ),
        key=lambda pair: pair[:3],
    )
    found: dict[str, SessionCost] = {}
    used: set[int] = set()
    for _, key, place, cost in pairs:
        if key not in found and place not in used:
            found[key] = cost
            used.add(place)
    return found
