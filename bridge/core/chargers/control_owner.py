"""Who decides whether a charger charges: ``control_owner``.

Rules:

1. The cloud's summary of the schedules tells it: a local OCPP server, a schedule, or nothing but
   the commands of the cloud.
2. A charger that says it waits for a schedule, or is limited by one, is controlled by a schedule,
   unless a local OCPP server controls it.
3. Before anything was told it is ``unknown``, and where the cloud names something else.
"""

from collections.abc import Mapping
from typing import Final

from bridge.core.domain_events import (
    NOTHING,
    ChargersAdded,
    ChargersRemoved,
    DerivedTold,
    Input,
    ObservationApplied,
    Outputs,
    SchedulesRead,
)
from bridge.core.easee import roles
from bridge.core.easee.derived_state import (
    BY_CLOUD,
    BY_OCPP,
    BY_SCHEDULE,
    BY_UNKNOWN,
    CONTROL_OWNER,
    SCHEDULE_REASONS,
    code,
)
from bridge.core.easee.schedules import DIRECT_OCPP, KINDS, NONE
from bridge.core.records.moment import Timestamp

OWNERS: Final[Mapping[str, str]] = {
    DIRECT_OCPP: BY_OCPP,
    NONE: BY_CLOUD,
    **{str(kind): BY_SCHEDULE for kind in KINDS},
}


class ControlOwner:
    """Derive who controls each charger, and publish it."""

    name = "control_owner"
    interests = frozenset({ChargersAdded, ChargersRemoved, SchedulesRead, ObservationApplied})

    def __init__(self) -> None:
        # By charger: by the schedules; whether the charger names a schedule; what was published.
        self._told: dict[str, str] = {}
        self._by_reason: dict[str, bool] = {}
        self._shown: dict[str, str] = {}

    def handle(self, event: Input, _now: Timestamp) -> Outputs:
        """Handle schedules, and what chargers give as the reason for no current."""
        match event:
            case ObservationApplied(observation, readings):
                charger_id = observation.charger_id
                if observation.spec.id == roles.NO_CURRENT_REASON and charger_id in self._shown:
                    reason = code(readings, roles.NO_CURRENT_REASON)
                    self._by_reason[charger_id] = reason in SCHEDULE_REASONS
                    return self._publish(charger_id)
            case SchedulesRead(charger_id, schedules) if charger_id in self._shown:
                self._told[charger_id] = OWNERS.get(schedules.in_force, BY_UNKNOWN)
                return self._publish(charger_id)
            case ChargersAdded(charger_ids):
                self._shown.update(dict.fromkeys(charger_ids, BY_UNKNOWN))
                return [DerivedTold(each, CONTROL_OWNER, BY_UNKNOWN) for each in charger_ids]
            case ChargersRemoved(charger_ids):
                for charger_id in charger_ids:
                    self._told.pop(charger_id, None)
                    self._by_reason.pop(charger_id, None)
                    self._shown.pop(charger_id, None)
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

    def _publish(self, charger_id: str) -> Outputs:
        owner = self._told.get(charger_id, BY_UNKNOWN)
        if owner != BY_OCPP and self._by_reason.get(charger_id):
            owner = BY_SCHEDULE
        if owner == self._shown[charger_id]:
            return NOTHING
        self._shown[charger_id] = owner
        return (DerivedTold(charger_id, CONTROL_OWNER, owner),)
