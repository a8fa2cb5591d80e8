"""Alerts on who can charge while a charger is offline.

Where access is restricted, by the cloud (42) or by the charger's own list (15), what holds while
the cloud is out of reach is a second decision, spread over three settings (16, 17 and 45). Two
combinations are unexpected: every car can charge, or none. Both raise alerts. A charger
that is open to every car anyhow needs no warning.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from bridge.core.alerts import Alerts
from bridge.core.domain_events import NOTHING, ChargersRemoved, Input, ObservationApplied, Outputs
from bridge.core.easee import roles
from bridge.core.easee.derived_state import DERIVED, UNTOLD, LatestValues, flag
from bridge.core.effects import Effect
from bridge.core.records.moment import Timestamp

ACCESS_IDS: Final = frozenset(
    {
        roles.AUTHORIZATION_REQUIRED,
        roles.LOCAL_PRE_AUTHORIZE,
        roles.OFFLINE_ALLOW_ALL,
        roles.OFFLINE_CHARGING_MODE,
        roles.OFFLINE_WHITELIST,
    }
)
OPEN, NOBODY = "access_open_offline", "access_nobody_offline"
_WORDS: Final = {
    OPEN: (
        "access is restricted, but while offline every car can charge at {}",
        "set allow_offline_tx_for_unknown_id to false, or offline_charging_mode to whitelisted",
    ),
    NOBODY: (
        "while offline no car can charge at {}, not even tags on the charger's own list",
        "set local_authorize_offline_enabled to true, and offline_charging_mode to whitelisted",
    ),
}
_KINDS: Final[Mapping[object, str]] = {"allow_all": OPEN, "none": NOBODY}
_DERIVE: Final = {topic.name: topic.derive for topic in DERIVED}


def unexpected_policy(readings: LatestValues) -> str | None:
    """Return the kind of alert a charger's settings deserve; None while they are not all seen."""
    if (
        flag(readings, roles.OFFLINE_WHITELIST) is None
        or flag(readings, roles.OFFLINE_ALLOW_ALL) is None
    ):
        return None
    if _DERIVE["access_mode"](readings) in (UNTOLD, "open"):
        return None
    return _KINDS.get(_DERIVE["offline_policy"](readings))


class OfflineAccessAlerts:
    """Raises and clears the two alerts, for all chargers together."""

    name = "access"
    interests = frozenset({ObservationApplied, ChargersRemoved})

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts
        self._chargers: dict[str, str | None] = {}

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle an observation of a charger, and removed chargers."""
        match event:
            case ObservationApplied(observation, readings) if observation.spec.id in ACCESS_IDS:
                return self.observed(observation.charger_id, readings, now)
            case ChargersRemoved(charger_ids):
                return self.leave(charger_ids, now)
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: there is no deadline."""

    def observed(self, charger_id: str, readings: LatestValues, now: Timestamp) -> Iterator[Effect]:
        """Check a charger again after one of its access settings was observed."""
        kind = unexpected_policy(readings)
        if self._chargers.get(charger_id) == kind:
            return
        self._chargers[charger_id] = kind
        yield from self._tell(now)

    def leave(self, charger_ids: Iterable[str], now: Timestamp) -> Iterator[Effect]:
        """Stop checking these chargers."""
        kinds = {self._chargers.pop(charger_id, None) for charger_id in charger_ids}
        if kinds != {None}:
            yield from self._tell(now)

    def _tell(self, now: Timestamp) -> Iterator[Effect]:
        for each, (message, hint) in _WORDS.items():
            named = sorted(one for one, its in self._chargers.items() if its == each)
            if named:
                text = message.format(", ".join(named))
                yield from self._alerts.raise_(each, text, hint, now)
            else:
                yield from self._alerts.clear(each)
