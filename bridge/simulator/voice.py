"""Reported observations of a charger: the last value of each, and some before it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from bridge.simulator.observation_table import CHARGER_OBSERVATIONS
from bridge.simulator.readings import Reading, Update, Value, data_type_of, fitted, trimmed

HISTORY_LENGTH = 500


@dataclass(slots=True)
class Voice:
    """The reporting side of one charger.

    Attributes:
        id: Serial.
        emit: Takes every observation the cloud passes on.
        at: Wall time of the last step.
        readings: The last word on every observation.
        history: Former readings of those that moved.
    """

    id: str
    emit: Callable[[Update], None]
    at: datetime
    readings: dict[int, Reading] = field(default_factory=dict)
    history: dict[int, deque[Reading]] = field(default_factory=dict)

    @property
    def reachable(self) -> bool:
        """Whether the charger is connected to the cloud."""
        return True

    def value(self, observation_id: int) -> Value:
        """Return the current value of an observation that was seeded."""
        return self.readings[observation_id].value

    def number(self, observation_id: int) -> float:
        """Return a numeric observation; 0 when it was never sent, or holds no number."""
        reading = self.readings.get(observation_id)
        try:
            return float(reading.value) if reading is not None else 0.0
        except ValueError:
            return 0.0

    def flag(self, observation_id: int) -> bool:
        """Return a boolean observation; False when it was never sent."""
        reading = self.readings.get(observation_id)
        return reading is not None and bool(reading.value)

    def put(self, observation_id: int, value: Value, at: datetime | None = None) -> None:
        """Report an observation to the cloud; swallowed while the charger is away."""
        if self.reachable:
            self.cloud_put(observation_id, value, at)

    def cloud_put(self, observation_id: int, value: Value, at: datetime | None = None) -> None:
        """Report an observation that the cloud itself makes (250, 251, 109 = 0)."""
        data_type = data_type_of(CHARGER_OBSERVATIONS, observation_id, value)
        self.record(
            observation_id,
            Reading(
                fitted(data_type, value),
                data_type,
                trimmed(observation_id, at if at is not None else self.at),
            ),
        )

    def record(self, observation_id: int, reading: Reading) -> None:
        """Store a reading and the previous one, and publish it."""
        former = self.readings.get(observation_id)
        self.readings[observation_id] = reading
        if former is not None:
            past = self.history.get(observation_id)
            if past is None:
                past = self.history[observation_id] = deque([former], maxlen=HISTORY_LENGTH)
            past.append(reading)
        self.emit(Update(self.id, observation_id, reading))

    def change(self, observation_id: int, value: Value) -> None:
        """Report an observation if it differs from the last one."""
        former = self.readings.get(observation_id)
        if former is None or former.value != fitted(former.data_type, value):
            self.put(observation_id, value)
