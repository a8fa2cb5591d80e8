"""Determines the chargers that are served: configured, or listed by the account.

Rules:

1. Configured serials are served from the first moment. Without any, those that an earlier process
   served are, until the account's list is read.
2. The chargers that are served and those that left are remembered for the next start.
3. A charger whose topics are being emptied is not served before that is over.
4. One alert names the chargers that the account does not list, and those that left it.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

from bridge.core.alerts import MAX_NAMED, Alerts
from bridge.core.chargers.departures import Departures
from bridge.core.chargers.fleet import Charger
from bridge.core.domain_events import (
    NOTHING,
    BridgeInfoWanted,
    ChargerForgotten,
    ChargersAdded,
    ChargersConfigured,
    ChargersListed,
    ChargersRemoved,
    ChargersTakenOut,
    EqualizersChanged,
    Input,
    Output,
    Outputs,
    ServedChargersChanged,
)
from bridge.core.easee.selection import UNNAMED_BELOW
from bridge.core.effects import LogEntry, SaveChargerList, Subscribe
from bridge.core.events import Started
from bridge.core.records.moment import Timestamp
from bridge.core.value_format import iso_utc


class ServedChargers:
    """Add and remove chargers.

    Args:
        configured: Serials that are configured; none: the account's list decides.
        chargers: Those that are served.
        departures: Chargers that left.
        alerts: Where chargers that are not listed are named.
        equalizers: Equalizers that are served; they are subscribed and remembered too.
    """

    name = "served_chargers"
    interests = frozenset(
        {
            Started,
            ChargersListed,
            ChargersConfigured,
            ChargerForgotten,
            EqualizersChanged,
        }
    )

    def __init__(
        self,
        configured: tuple[str, ...],
        chargers: Mapping[str, Charger],
        departures: Departures,
        alerts: Alerts,
        equalizers: Collection[str] = (),
    ) -> None:
        self._configured = configured
        self._chargers = chargers
        self._departures = departures
        self._alerts = alerts
        self._equalizers = equalizers
        # The chargers there are, as the next start is to know them; and what was written of them.
        self._remembered: tuple[str, ...] = ()
        self._written: SaveChargerList | None = None
        self._missing: tuple[str, ...] = ()
        self._doubtful: tuple[str, ...] = ()

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle what decides which chargers are served."""
        match event:
            case Started(remembered, left=left, former=former, equalizers=equalizers):
                self._written = SaveChargerList(remembered, left, equalizers)
                return self._begin(remembered, left, former)
            case ChargersListed():
                return self._listed(event, now)
            case ChargersConfigured(charger_ids):
                return self._choose(charger_ids)
            case ChargerForgotten(charger_id):
                return self._forgotten(charger_id, now)
            case EqualizersChanged():
                return self._equalizers_changed(now)
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

    # -- what happens ------------------------------------------------------------------------

    def _begin(
        self, remembered: tuple[str, ...], left: Mapping[str, datetime], former: tuple[str, ...]
    ) -> Iterator[Output]:
        """Add the chargers of the earlier process, except those that left or were removed."""
        self._remembered = self._configured or remembered
        yield from self._serve(tuple(i for i in self._remembered if i not in left))
        if self._configured:
            yield from self._take_out({*remembered, *left, *former} - set(self._configured))
        elif former:
            yield from self._leave(former)
        yield from self._remember()

    def _listed(self, event: ChargersListed, now: Timestamp) -> Iterator[Output]:
        self._missing, self._doubtful = event.missing, event.doubtful
        if event.left:
            yield LogEntry("warning", "chargers.left", {"left": event.left})
            yield from self._leave(event.left)
        chosen = self._configured
        wanted = (i for i in event.listed.charger_ids if not self._departures.is_emptied(i))
        yield from self._serve(tuple(i for i in wanted if not chosen or i in chosen))
        yield from self._tell_absent(now)
        if event.decides:
            self._remembered = tuple(self._chargers)
        yield from self._remember()

    def _choose(self, chosen: tuple[str, ...]) -> Iterator[Output]:
        """Set the configured chargers; without any, those the account lists are served."""
        self._configured = chosen
        if chosen:
            yield from self._take_out({i for i in self._chargers if i not in chosen})
            wanted = tuple(i for i in chosen if not self._departures.is_emptied(i))
            yield from self._serve(wanted)
        self._remembered = chosen or tuple(self._chargers)
        yield from self._remember()

    def _forgotten(self, charger_id: str, now: Timestamp) -> Iterator[Output]:
        """Clear the alerts of a charger whose topics were emptied, and forget it."""
        for kind in self._alerts.kinds:
            if kind.endswith(f"/{charger_id}"):
                yield from self._alerts.clear(kind)
        yield from self._tell_absent(now)
        yield from self._remember()

    def _equalizers_changed(self, now: Timestamp) -> Iterator[Output]:
        if self._written is None:
            return  # those of the earlier process; the chargers come with ``Started``
        yield from self._tell_absent(now)
        yield from self._remember()

    # -- adding and removing -----------------------------------------------------------------

    def _serve(self, charger_ids: tuple[str, ...]) -> Iterator[Output]:
        new = tuple(i for i in charger_ids if i not in self._chargers)
        if not new:
            return
        served = (*self._chargers, *new)
        yield LogEntry("info", "chargers.added", {"new": new, "all": len(served)})
        yield Subscribe((*served, *self._equalizers))
        yield ServedChargersChanged(served)
        yield ChargersAdded(new)
        yield BridgeInfoWanted()

    def _leave(self, charger_ids: Collection[str]) -> Iterator[Output]:
        """Remove chargers."""
        gone, chargers = tuple(charger_ids), self._chargers
        strange = {i: chargers[i].state.names_beyond(UNNAMED_BELOW) for i in gone if i in chargers}
        yield ChargersRemoved(gone, strange)
        served = tuple(chargers)
        yield Subscribe((*served, *self._equalizers))
        yield ServedChargersChanged(served, gone)
        yield BridgeInfoWanted()

    def _take_out(self, charger_ids: set[str]) -> Iterator[Output]:
        """Remove chargers that are not configured any more, and have their topics emptied."""
        if charger_ids:
            gone = tuple(sorted(charger_ids))
            yield LogEntry("info", "chargers.taken_out", {"chargers": list(gone)})
            yield from self._leave(gone)
            yield ChargersTakenOut(gone)

    def _tell_absent(self, now: Timestamp) -> Iterator[Output]:
        """Raise or clear the alert about chargers that are not listed."""
        left = self._departures.waiting
        absent = sorted({*self._missing, *self._doubtful} - set(left))
        said = [f"the account does not list {', '.join(absent)}"] if absent else []
        said += [
            f"{charger_id} left the account: it is offline, and its topics are emptied a day after"
            f" {iso_utc(since)}"
            for charger_id, since in list(left.items())[:MAX_NAMED]
        ]
        if said:
            yield from self._alerts.raise_(
                "charger_not_listed",
                "; ".join(said),
                "check easee.chargers, or share the charger with this account"
                f"{'; bridge/forget with its serial empties its topics now' * bool(left)}",
                now,
            )
        else:
            yield from self._alerts.clear("charger_not_listed")

    def _remember(self) -> Iterator[Output]:
        """Save which chargers there are and which left, for the next start."""
        left = dict(self._departures.left)
        charger_list = SaveChargerList(self._remembered, left, tuple(self._equalizers))
        if charger_list != self._written:
            self._written = charger_list
            yield charger_list
