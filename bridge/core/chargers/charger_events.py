"""Events of a charger, each published once.

Rules:

1. An announcement is not retained: who was not listening finds the state in the state topics.
2. Only what is fresh is announced. A replay after a reconnect tells of the past, and a flow that
   opened a gate for it would be wrong.
3. A change that one of our own commands caused is no announcement.
4. Load balancers move the dynamic limits every few seconds: of those one a minute is announced.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from bridge.core.changes import ChargerEvent
from bridge.core.easee import roles
from bridge.core.easee.decode import Observation, Value
from bridge.core.events import ChargerResponse
from bridge.core.records.moment import Timestamp

# Older than this is a replay, not news: the hub delivers within 1 to 3 s, late ones within minutes.
FRESH = timedelta(minutes=2)
LIMIT_EVERY_S = 60.0
DYNAMIC_LIMITS = frozenset(
    {
        roles.DYNAMIC_LIMIT,
        roles.DYNAMIC_CIRCUIT_LIMIT_P1,
        roles.DYNAMIC_CIRCUIT_LIMIT_P2,
        roles.DYNAMIC_CIRCUIT_LIMIT_P3,
    }
)


class ChargerEvents:
    """What has been announced for one charger."""

    def __init__(self, charger_id: str) -> None:
        self._charger_id = charger_id
        self._last: dict[int, Value] = {}
        self._waiting = False
        self._limit_told_s = -math.inf

    def observed(
        self, observation: Observation, now: Timestamp, *, ours: bool
    ) -> Iterator[ChargerEvent]:
        """Handle an observation that became the newest of its id.

        Args:
            observation: The newest observation of its id.
            now: When it arrived.
            ours: True when a command of ours caused it.
        """
        spec, value = observation.spec, observation.value
        if not spec.event:
            return
        before = self._last.get(spec.id)
        self._last[spec.id] = value
        if before is None or before == value or not _fresh(observation, now):
            return
        facts: Mapping[str, Value]
        match spec.event:
            case "error":
                is_told, facts = value != 0, {"name": spec.name, "code": value}
            case "foreign_command":
                is_told, facts = not ours, {"setting": spec.name, "value": value}
                if is_told and spec.id in DYNAMIC_LIMITS:
                    is_told = now.mono_s >= self._limit_told_s + LIMIT_EVERY_S
                    self._limit_told_s = now.mono_s if is_told else self._limit_told_s
            case _:
                is_told, facts = not ours, {"value": value}
        if is_told:
            yield self._event(spec.event, observation.measured_at, now, **facts)

    def authorization(
        self, *, waiting: bool, at: datetime, now: Timestamp
    ) -> Iterator[ChargerEvent]:
        """Yield the event for a car that waits for authorization, once per wait."""
        if waiting and not self._waiting:
            yield self._event("authorization_requested", at, now)
        self._waiting = waiting

    def foreign_command(self, response: ChargerResponse, name: str, now: Timestamp) -> ChargerEvent:
        """Return the event for a charger response that no command of this gateway caused.

        A setting that moves without a command of ours is told by the same kind of event, with
        ``setting`` and ``value`` instead of the command.
        """
        return self._event(
            "foreign_command",
            None,
            now,
            command_id=response.command_id,
            command=name,
            accepted=response.accepted,
            ticks=None if response.ticks is None else str(response.ticks),
        )

    def _event(
        self, kind: str, at: datetime | None, now: Timestamp, **facts: Value | None
    ) -> ChargerEvent:
        return ChargerEvent(self._charger_id, kind, at, now.wall, facts)


def _fresh(observation: Observation, now: Timestamp) -> bool:
    return now.known is None or now.known - observation.measured_at < FRESH
