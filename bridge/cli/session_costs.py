"""Costs of sessions, read from the cloud for ``charger-bridge sessions report``.

One login with tokens of its own, and one request for each charger. What cannot be read is named and
costs nothing else.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from bridge.adapters.clock import SystemClock
from bridge.cli.check import cloud_session
from bridge.core.easee.rest_requests import sessions_request
from bridge.core.easee.session_costs import SessionCost, session_costs
from bridge.core.records.session_report import SessionReport
from bridge.errors import BridgeError, CloudRejected, DecodeError
from bridge.settings import Settings

WITHIN_S: Final = 20.0
# The vendor compares the period with the time the car was connected, to the second.
MARGIN: Final = timedelta(hours=1)


@dataclass(slots=True)
class Costs:
    """What was read.

    Attributes:
        by_charger: Costs by serial.
        problems: A sentence for each charger, or for all, whose costs could not be read.
        read_at: When the cloud told the first of them; None where it told none.
    """

    by_charger: dict[str, tuple[SessionCost, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    read_at: datetime | None = None


async def read_costs(settings: Settings, reports: Iterable[SessionReport]) -> Costs:
    """Read the costs of some sessions."""
    costs, clock = Costs(), SystemClock()
    periods = _periods(reports)
    if not periods:
        return costs
    try:
        async with asyncio.timeout(WITHIN_S), cloud_session(settings) as cloud:
            for charger_id, (since, until) in periods.items():
                request = sessions_request(charger_id, since - MARGIN, until + MARGIN)
                try:
                    answer = await cloud.send(request, within_s=WITHIN_S)
                    costs.by_charger[charger_id] = session_costs(answer.body)
                    costs.read_at = costs.read_at or clock.now().wall
                except (CloudRejected, DecodeError) as error:
                    costs.problems.append(f"no costs of {charger_id}: {error}")
    except BridgeError as error:
        costs.problems.append(f"no costs: {error}")
    except TimeoutError:
        costs.problems.append(f"no costs: the cloud did not answer within {WITHIN_S:.0f} s")
    return costs


def _periods(reports: Iterable[SessionReport]) -> Mapping[str, tuple[datetime, datetime]]:
    """Return the first and the last start by charger."""
    found: dict[str, tuple[datetime, datetime]] = {}
    for report in reports:
        at = report.started_at
        first, last = found.get(report.charger_id, (at, at))
        found[report.charger_id] = (min(first, at), max(last, at))
    return found
