"""Parses what the cloud tells of the cost of sessions. Raises only ``DecodeError``.

The list is that of :mod:`~bridge.core.easee.session_list`; cost and currency are told where the
site has a price.
"""

from collections.abc import Iterable
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


def cost_of(
    session_id: int | None, started_at: datetime, costs: Iterable[SessionCost]
) -> SessionCost | None:
    """Find the cost of a session: of the same start, and of the same number where both have one."""
    for one in costs:
        is_near = abs(one.started_at - started_at) <= SAME_START
        is_other = None not in (one.session_id, session_id) and one.session_id != session_id
        if is_near and not is_other:
            return one
    return None
