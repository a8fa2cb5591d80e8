"""Simulated Equalizer: reports the power of the house every few seconds.

A product of its own: it has serials of its own (``QP…``) and observations of its own.

Rules:

1. The house's load follows the hour of the day, with noise from the scenario's seed; at noon it
   feeds in. What the chargers draw comes on top.
2. What is left of the current it may give out is the available current.
3. Where it balances, the chargers with a car share what the house leaves, and with surplus charging
   what the house feeds in and the current that may be imported in addition.
"""

import json
import math
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from bridge.simulator.observation_table import EQUALIZER_OBSERVATIONS
from bridge.simulator.readings import Reading, Update, Value, data_type_of, fitted

EVERY = timedelta(seconds=5)
VOLTS: Final = 230.0
MAX_ALLOCATED_A: Final = 25
MIN_CAR_A: Final = 6.0
NONE: Final = {"mode": "none"}

STRUCTURE, IMPORT, EXPORT, IMPORTED, EXPORTED, SURPLUS = 20, 40, 41, 45, 46, 115


def _by_name(*observation_ids: int) -> dict[str, int]:
    return {EQUALIZER_OBSERVATIONS[number].name: number for number in observation_ids}


# What its configuration and its state repeat, under the vendor's names.
CONFIG: Final = _by_name(25, 26, 29, 30, 51, 55, 56, 57, SURPLUS)
STATE: Final = {
    **_by_name(21, 31, 32, 33, 34, 35, 36, IMPORT, EXPORT, IMPORTED, EXPORTED, 50, 70, 87, 88, 89),
    "isOnline": 250,
}


def site_structure(max_allocated_a: int) -> str:
    """Return what every product of the site says of it, as an installer wrote it down."""
    return json.dumps(
        {
            "siteId": 8001,
            "circuits": 1,
            "ratedCurrent": 32,
            "maxAllocatedCurrent": max_allocated_a,
            "address": {"street": "Main street 1", "zip": "4306", "city": "Sandnes"},
            "installer": {"name": "Some One", "phone": "+4700000000"},
        }
    )


_AT_FIRST: Final[Mapping[int, Value]] = MappingProxyType(
    {
        STRUCTURE: site_structure(MAX_ALLOCATED_A), 21: 305, 23: 1, 25: "Kamstrup",
        26: "5706567000000000", 29: 1, 30: 3,
        45: 12345.6, 46: 789.0, 50: -55.0, 51: "SomeNetwork", 55: "04AABBCCDD0001",
        56: "04AABBCCDD0002", 57: "{}", 70: -48, 72: 3, 74: 3, 91: "02:00:00:00:00:01", 100: 1,
        SURPLUS: json.dumps(NONE), 250: True, 251: "",
    }
)  # fmt: skip


class Equalizer:
    """One of them.

    Attributes:
        id: Serial.
        readings: The last word on each observation.
        max_allocated_a: What it may give out to the chargers, by phase.
        surplus: Its configuration for charging on surplus energy.
        house_a: What the house draws beside the chargers, by phase; below 0 it feeds in.
        reachable: It is connected to the cloud.
        reject_next: Answer the next command with no.
    """

    def __init__(
        self, serial: str, tell: Callable[[Update], None], now: datetime, rng: random.Random
    ) -> None:
        self.id = serial
        self.readings: dict[int, Reading] = {}
        self.max_allocated_a = MAX_ALLOCATED_A
        self.surplus: dict[str, object] = dict(NONE)
        self.house_a = 0.0
        self.reachable = True
        self.reject_next = False
        self._tell = tell
        self._rng = rng
        self._noise_kw = 0.0
        # A float32 of the readings would lose what a few seconds add.
        self._imported_kwh = float(_AT_FIRST[IMPORTED])
        self._exported_kwh = float(_AT_FIRST[EXPORTED])
        self._measured_at = now
        for number, value in _AT_FIRST.items():
            self._put(number, value, now)
        self._measure(now, 0.0)

    def advance(self, now: datetime, charging_kw: float) -> None:
        """Measure, when it is time."""
        if now - self._measured_at >= EVERY:
            self._measure(now, charging_kw)

    def charging_a(self) -> float:
        """Return what it leaves for charging, by phase: below its limit, and within the surplus."""
        left_a = min(self.max_allocated_a, self.max_allocated_a - self.house_a)
        added = self.surplus.get("chargingWithImport")
        if isinstance(added, dict) and self.surplus.get("mode") != NONE["mode"]:
            left_a = min(left_a, float(added["maximumImportAddedCurrent"]) - self.house_a)
        return max(0.0, left_a)

    def share(self, wanting: int) -> tuple[float, int]:
        """Return the current of each charger that wants some, and how many of them get it.

        A car needs 6 A: where there is less for each, the last ones get nothing.
        """
        left_a = self.charging_a()
        served = min(wanting, int(left_a // MIN_CAR_A))
        return (round(left_a / served, 1) if served else 0.0), served

    def allocate(self, amps: int, now: datetime) -> None:
        """Set the current that may be allocated."""
        self.max_allocated_a = amps
        self._put(STRUCTURE, site_structure(amps), now)
        self._available(now)

    def configure(self, surplus: dict[str, object], now: datetime) -> None:
        """Set the configuration for charging on surplus energy."""
        self.surplus = surplus
        self._put(SURPLUS, json.dumps(surplus, separators=(",", ":")), now)

    def _measure(self, now: datetime, charging_kw: float) -> None:
        hours = (now - self._measured_at).total_seconds() / 3600.0
        self._measured_at = now
        self._noise_kw = 0.9 * self._noise_kw + self._rng.uniform(-0.2, 0.2)
        hour = now.hour + now.minute / 60.0
        evening_kw = 0.8 + 0.6 * math.sin((hour - 13.0) * math.pi / 12.0)
        sun_kw = 3.0 * max(0.0, math.sin((hour - 6.0) * math.pi / 12.0))
        house_kw = evening_kw + self._noise_kw - sun_kw
        self.house_a = house_kw * 1000.0 / 3.0 / VOLTS
        net_kw = round(house_kw + charging_kw, 3)
        drawn_kw, fed_kw = max(0.0, net_kw), max(0.0, -net_kw)
        for phase in range(3):
            volts = round(VOLTS + self._rng.uniform(-2.0, 2.0), 1)
            self._put(31 + phase, round(abs(net_kw) * 1000.0 / 3.0 / volts, 2), now)
            self._put(34 + phase, volts, now)
        self._put(IMPORT, drawn_kw, now)
        self._put(EXPORT, fed_kw, now)
        self._imported_kwh += drawn_kw * hours
        self._exported_kwh += fed_kw * hours
        self._put(IMPORTED, self._imported_kwh, now)
        self._put(EXPORTED, self._exported_kwh, now)
        self._available(now)

    def _available(self, now: datetime) -> None:
        sign = 1.0 if self._number(IMPORT) else -1.0
        for phase in range(3):
            left_a = self.max_allocated_a - sign * self._number(31 + phase)
            self._put(87 + phase, round(max(0.0, left_a), 2), now)

    def _number(self, observation_id: int) -> float:
        return float(self.readings[observation_id].value)

    def _put(self, observation_id: int, value: Value, now: datetime) -> None:
        data_type = data_type_of(EQUALIZER_OBSERVATIONS, observation_id, value)
        reading = Reading(fitted(data_type, value), data_type, now.replace(microsecond=0))
        self.readings[observation_id] = reading
        self._tell(Update(self.id, observation_id, reading))
