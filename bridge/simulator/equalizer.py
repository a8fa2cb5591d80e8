"""An Equalizer: what the house draws, as its meter tells it every few seconds.

A product of its own: it has serials of its own (``QP…``) and observations of its own.

Rules:

1. The house's load follows the hour of the day, with noise from the scenario's seed; at noon it
   feeds in. What the chargers draw comes on top.
2. What is left of the current it may give out is the available current.
"""

import json
import math
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from bridge.core.chargers.registry import DataType
from bridge.simulator.readings import Reading, Update, Value, fitted

EVERY = timedelta(seconds=5)
VOLTS: Final = 230.0
MAX_ALLOCATED_A: Final = 25
NONE: Final = {"mode": "none"}
_BOOL, _DBL, _INT, _STR = (
    int(DataType.BOOLEAN), int(DataType.DOUBLE), int(DataType.INTEGER), int(DataType.STRING)
)  # fmt: skip

IMPORT, EXPORT, IMPORTED, EXPORTED, SURPLUS = 40, 41, 45, 46, 115
# The vendor's names of what its configuration and its state repeat.
CONFIG: Final = {
    "meterType": 25, "meterID": 26, "gridType": 29, "numPhases": 30, "ssid": 51,
    "masterBackPlateID": 55, "equalizerID": 56, "childReport": 57, "surplusCharging": SURPLUS,
}  # fmt: skip
STATE: Final = {
    "softwareRelease": 21, "currentL1": 31, "currentL2": 32, "currentL3": 33,
    "voltageNL1": 34, "voltageNL2": 35, "voltageNL3": 36,
    "activePowerImport": IMPORT, "activePowerExport": EXPORT,
    "cumulativeActivePowerImport": IMPORTED, "cumulativeActivePowerExport": EXPORTED,
    "rcpi": 50, "localRSSI": 70,
    "availableCurrentL1": 87, "availableCurrentL2": 88, "availableCurrentL3": 89,
    "isOnline": 250,
}  # fmt: skip
# What every product of the site says of it, as an installer wrote it down.
SITE_STRUCTURE: Final = json.dumps(
    {
        "siteId": 8001,
        "circuits": 1,
        "address": {"street": "Main street 1", "zip": "4306", "city": "Sandnes"},
        "installer": {"name": "Some One", "phone": "+4700000000"},
    }
)
_AT_FIRST: Final[tuple[tuple[int, int, Value], ...]] = (
    (20, _STR, SITE_STRUCTURE), (21, _INT, 305), (23, _INT, 1), (25, _STR, "Kamstrup"),
    (26, _STR, "5706567000000000"), (29, _INT, 1), (30, _INT, 3), (45, _DBL, 12345.6),
    (46, _DBL, 789.0), (50, _DBL, -55.0), (51, _STR, "SomeNetwork"), (55, _STR, "04AABBCCDD0001"),
    (56, _STR, "04AABBCCDD0002"), (57, _STR, "{}"), (70, _INT, -48), (72, _INT, 3), (74, _INT, 3),
    (91, _STR, "02:00:00:00:00:01"), (100, _INT, 1), (SURPLUS, _STR, json.dumps(NONE)),
    (250, _BOOL, True), (251, _STR, ""),
)  # fmt: skip


class Equalizer:
    """One of them.

    Attributes:
        id: Serial.
        readings: The last word on each observation.
        max_allocated_a: What it may give out to the chargers, by phase.
        surplus: Its configuration for charging on surplus energy.
    """

    def __init__(
        self, serial: str, tell: Callable[[Update], None], now: datetime, rng: random.Random
    ) -> None:
        self.id = serial
        self.readings: dict[int, Reading] = {}
        self.max_allocated_a = MAX_ALLOCATED_A
        self.surplus: dict[str, object] = dict(NONE)
        self._tell = tell
        self._rng = rng
        self._noise_kw = 0.0
        self._measured_at = now
        for number, kind, value in _AT_FIRST:
            self._put(number, kind, value, now)
        self._measure(now, 0.0)

    def advance(self, now: datetime, charging_kw: float) -> None:
        """Measure, when it is time."""
        if now - self._measured_at >= EVERY:
            self._measure(now, charging_kw)

    def allocate(self, amps: int, now: datetime) -> None:
        """Take what may be given out."""
        self.max_allocated_a = amps
        self._available(now)

    def configure(self, surplus: dict[str, object], now: datetime) -> None:
        """Take the configuration for charging on surplus energy."""
        self.surplus = surplus
        self._put(SURPLUS, _STR, json.dumps(surplus, separators=(",", ":")), now)

    def _measure(self, now: datetime, charging_kw: float) -> None:
        hours = (now - self._measured_at).total_seconds() / 3600.0
        self._measured_at = now
        self._noise_kw = 0.9 * self._noise_kw + self._rng.uniform(-0.2, 0.2)
        hour = now.hour + now.minute / 60.0
        evening_kw = 0.8 + 0.6 * math.sin((hour - 13.0) * math.pi / 12.0)
        sun_kw = 3.0 * max(0.0, math.sin((hour - 6.0) * math.pi / 12.0))
        net_kw = round(evening_kw + self._noise_kw + charging_kw - sun_kw, 3)
        drawn_kw, fed_kw = max(0.0, net_kw), max(0.0, -net_kw)
        for phase in range(3):
            volts = round(VOLTS + self._rng.uniform(-2.0, 2.0), 1)
            self._put(31 + phase, _DBL, round(abs(net_kw) * 1000.0 / 3.0 / volts, 2), now)
            self._put(34 + phase, _DBL, volts, now)
        self._put(IMPORT, _DBL, drawn_kw, now)
        self._put(EXPORT, _DBL, fed_kw, now)
        self._put(IMPORTED, _DBL, self._number(IMPORTED) + drawn_kw * hours, now)
        self._put(EXPORTED, _DBL, self._number(EXPORTED) + fed_kw * hours, now)
        self._available(now)

    def _available(self, now: datetime) -> None:
        sign = 1.0 if self._number(IMPORT) else -1.0
        for phase in range(3):
            left_a = self.max_allocated_a - sign * self._number(31 + phase)
            self._put(87 + phase, _DBL, round(max(0.0, left_a), 2), now)

    def _number(self, observation_id: int) -> float:
        return float(self.readings[observation_id].value)

    def _put(self, observation_id: int, data_type: int, value: Value, now: datetime) -> None:
        at = now.replace(microsecond=0)
        reading = Reading(fitted(data_type, value), data_type, at)
        self.readings[observation_id] = reading
        self._tell(Update(self.id, observation_id, reading))
