"""Known values of a charger's limits and settings, and their freshness.

A value may be reasoned from (to skip a command, to call it a raise) only while it is fresh:

1. It reached us since the stream was opened, or within :data:`FRESH_S`. A charger reports changes
   only, so on an unbroken stream an old value is the present one.
2. The charger is connected to the cloud.
3. Of the command of ours that moved it last, it shows the effect: it was measured after the
   sending, or is what that command set. What is only late must not pass for new.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from bridge.core.commands.state_machine import State
from bridge.core.commands.validation import CommandRequest
from bridge.core.easee import derived_state, roles
from bridge.core.easee.command_catalogue import Expected
from bridge.core.easee.decode import Observation, Value
from bridge.core.easee.derived_state import LatestValues
from bridge.core.records.moment import Timestamp

# Two polls at the default interval; a command that is repeated more slowly is simply sent.
FRESH_S: Final = 120.0


class WatchedValue(msgspec.Struct, frozen=True, gc=False):
    """The newest value of an observation.

    Attributes:
        value: The value of the observation.
        measured_at: By the charger's clock.
        arrived_s: Monotonic time at which it reached us.
    """

    value: Value
    measured_at: datetime
    arrived_s: float


class WatchedValues:
    """The newest value of every observation that may prove a command."""

    def __init__(self) -> None:
        # By charger and number.
        self._held: dict[str, dict[int, WatchedValue]] = {}

    def get(self, charger_id: str, number: int) -> WatchedValue | None:
        """Return the newest reading, or None before the first."""
        held = self._held.get(charger_id)
        return None if held is None else held.get(number)

    def forget(self, charger_id: str) -> None:
        """Drop everything held of a charger."""
        self._held.pop(charger_id, None)

    def changed(self, observation: Observation, mono_s: float = 0.0) -> bool:
        """Record an observation; return whether it is newer than the last and differs from it."""
        charger_id, number = observation.charger_id, observation.spec.id
        values = self._held.get(charger_id)
        if values is None:
            values = self._held[charger_id] = {}
        held = values.get(number)
        if held is not None and observation.measured_at < held.measured_at:
            return False
        values[number] = WatchedValue(observation.value, observation.measured_at, mono_s)
        return (
            held is not None
            and held.measured_at < observation.measured_at
            and held.value != observation.value
        )


class ShownState:
    """The watched values, and those changed by commands of this gateway.

    Attributes:
        stream_since_s: Monotonic time at which the push source was opened; None while it is not.
        latest: The newest observations of each charger that any was followed of.
    """

    def __init__(self) -> None:
        self.readings = WatchedValues()
        self.latest: dict[str, LatestValues] = {}
        self.stream_since_s: float | None = None
        # By charger and observation: when it was moved by us, and to what, where that is certain.
        self._moved: dict[tuple[str, int], tuple[Timestamp, Expected | None]] = {}
        # The limit that was sent last has an end: it is not the same as one without.
        self._timed: set[tuple[str, str]] = set()

    def forget(self, charger_id: str) -> None:
        """Drop everything held of a charger."""
        self.readings.forget(charger_id)
        self.latest.pop(charger_id, None)
        self._moved = {key: move for key, move in self._moved.items() if key[0] != charger_id}
        self._timed = {key for key in self._timed if key[0] != charger_id}

    def stream(self, now: Timestamp, *, is_up: bool) -> None:
        """Record that the stream was opened or lost."""
        self.stream_since_s = now.mono_s if is_up else None

    def observed(self, observation: Observation, now: Timestamp) -> bool:
        """Record an observation; return whether it changed something."""
        key = (observation.charger_id, observation.spec.id)
        moved = self._moved.get(key)
        changed = self.readings.changed(observation, now.mono_s)
        held = self.readings.get(*key)
        if moved is not None and held is not None and held.measured_at == observation.measured_at:
            sent, expected = moved
            is_later = sent.trusted and observation.measured_at > sent.wall
            if is_later or (expected is not None and expected(observation.value)):
                del self._moved[key]
        return changed

    def sent(self, request: CommandRequest, devices: frozenset[str], now: Timestamp) -> None:
        """Record that a command was sent: what it changes is not known any more.

        Args:
            request: What it does.
            devices: Chargers it concerns.
            now: When it was sent.
        """
        spec = request.spec
        expected: dict[int, Expected] = {}
        if spec.skips_equal:
            for evidence in spec.reflects(request.argument):
                expected |= evidence
        for charger_id in devices:
            for number in spec.moves:
                self._moved[charger_id, number] = (now, expected.get(number))
        key = (request.charger_id, spec.name)
        if getattr(request.argument, "minutes", 0):
            self._timed.add(key)
        else:
            self._timed.discard(key)

    def doubt(self, charger_id: str, numbers: Iterable[int], now: Timestamp) -> None:
        """Record that the charger may show something else by now."""
        for number in numbers:
            self._moved[charger_id, number] = (now, None)

    def command_finished(self, request: CommandRequest, state: State) -> None:
        """Record the end of a command: what it set and the charger shows is known again."""
        charger_id, spec = request.charger_id, request.spec
        if state not in (State.CONFIRMED, State.NOOP) or not spec.skips_equal:
            return
        for evidence in spec.reflects(request.argument):
            for number, expected in evidence.items():
                reading = self.readings.get(charger_id, number)
                if reading is not None and expected(reading.value):
                    self._moved.pop((charger_id, number), None)

    def reliable(self, charger_id: str, number: int, now: Timestamp) -> WatchedValue | None:
        """Return a reading that may be reasoned from, or None."""
        reading = self.readings.get(charger_id, number)
        is_moved = (charger_id, number) in self._moved
        if reading is None or is_moved or self.is_offline(charger_id):
            return None
        since_s = self.stream_since_s
        is_held = since_s is not None and reading.arrived_s >= since_s
        return reading if is_held or now.mono_s - reading.arrived_s < FRESH_S else None

    def waits_for_schedule(self, request: CommandRequest, now: Timestamp) -> bool:
        """Return whether a command is to start a charge that waits for nothing but a schedule."""
        is_held = request.spec.is_held_by_schedule
        if is_held is None or not is_held(request.argument):
            return False
        reason = self.reliable(request.charger_id, roles.NO_CURRENT_REASON, now)
        return reason is not None and reason.value == derived_state.WAITING_FOR_SCHEDULE

    def already_set(self, request: CommandRequest, now: Timestamp) -> bool:
        """Return whether the charger already shows what a command would set."""
        charger_id, spec = request.charger_id, request.spec
        if getattr(request.argument, "minutes", 0) or (charger_id, spec.name) in self._timed:
            return False
        return any(
            all(
                (reading := self.reliable(charger_id, number, now)) is not None
                and expected(reading.value)
                for number, expected in evidence.items()
            )
            for evidence in spec.reflects(request.argument)
        )

    def reduces(self, request: CommandRequest, now: Timestamp) -> bool:
        """Return whether a command can only stop or reduce a charge."""
        limits = request.spec.limits(request.argument)
        if not limits:
            return request.spec.reduces(request.argument)
        held = self._amps(request.charger_id, limits, now)
        return request.spec.is_paced and (
            not any(limits.values()) or (held is not None and is_lower(limits, held))
        )

    def energizes(self, request: CommandRequest, now: Timestamp) -> bool:
        """Return whether a command can start or increase a charge."""
        if not request.spec.energizes(request.argument):
            return False
        limits = request.spec.limits(request.argument)
        held = self._amps(request.charger_id, limits, now)
        return held is None or not limits or any(limits[n] > held[n] for n in limits)

    def _amps(
        self, charger_id: str, limits: Mapping[int, Any], now: Timestamp
    ) -> Mapping[int, float] | None:
        """Return what holds now of some limits; None unless all of them are known."""
        found: dict[int, float] = {}
        for number in limits:
            reading = self.reliable(charger_id, number, now)
            if reading is None or not isinstance(reading.value, int | float):
                return None
            found[number] = reading.value
        return found

    def is_offline(self, charger_id: str) -> bool:
        """Return whether a charger is known to have no connection to the cloud."""
        linked = self.readings.get(charger_id, roles.CLOUD_LINK)
        mode = self.readings.get(charger_id, roles.OP_MODE)
        return (linked is not None and linked.value in (False, 0)) or (
            mode is not None and mode.value == derived_state.OFFLINE
        )


def is_lower(limits: Mapping[int, float], held: Mapping[int, float]) -> bool:
    """Return whether no limit is above, and one is below, the former one."""
    return all(limits[n] <= held[n] for n in limits) and any(limits[n] < held[n] for n in limits)
