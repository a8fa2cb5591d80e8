"""Observations and sessions a charger reports when it is online again.

Sessions that ran meanwhile are reported one after the other as observation 129, stamped with the
moment of the upload, with AuthReason 3 (a tag on its list) and 4 (any tag) in turn. Only the last
of them stays as the value of 129: clients that were not listening have to use REST.
"""

from datetime import datetime, timedelta

from bridge.simulator.charger import Charger
from bridge.simulator.sessions import (
    AUTH_OFFLINE_ALLOW_ALL,
    AUTH_OFFLINE_WHITELIST,
    Session,
)

ASSUMED_OUTAGE = timedelta(hours=2)
LISTED_TAG = "04A2C4D6E8F011"
UNKNOWN_TAG = "0FFEEDC0DE1122"


def come_back(charger: Charger, sessions: int) -> None:
    """Reconnect a charger and let it report what happened meanwhile.

    Args:
        charger: Offline; nothing happens otherwise.
        sessions: How many sessions it ran. With any, a car that was there has left in between.
    """
    if charger.online:
        return
    since = charger.offline_since or charger.at
    if sessions and charger.at - since < timedelta(seconds=2 * sessions):
        # Sessions need time to have happened in: it was gone longer than we knew.
        since = charger.at - ASSUMED_OUTAGE
    charger.reconnect()
    if sessions:
        _leave(charger)
        for session in _sessions(charger, since, sessions):
            charger.report_session(session)
        charger.put(124, charger.meter_kwh)


def _leave(charger: Charger) -> None:
    charger.unplug()
    charger.next_session = max(
        charger.next_session, 1 + max((one.number for one in charger.sessions), default=0)
    )


def _sessions(charger: Charger, since: datetime, count: int) -> list[Session]:
    share = (charger.at - since) / count
    found = []
    for index in range(count):
        started_at = (since + share * (index + 0.2)).replace(microsecond=0)
        stopped_at = (since + share * (index + 0.8)).replace(microsecond=0)
        hours = (stopped_at - started_at) / timedelta(hours=1)
        energy_kwh = round(charger.rng.uniform(5.0, 11.0) * min(hours, 4.0), 6)
        listed = index % 2 == 0
        found.append(
            Session(
                charger.next_session,
                started_at,
                round(charger.meter_kwh, 6),
                LISTED_TAG if listed else UNKNOWN_TAG,
                AUTH_OFFLINE_WHITELIST if listed else AUTH_OFFLINE_ALLOW_ALL,
                stopped_at,
                energy_kwh,
            )
        )
        charger.next_session += 1
        charger.meter_kwh += energy_kwh
    return found
