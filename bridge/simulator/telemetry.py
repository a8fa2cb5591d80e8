"""Measurements of a charger: current, power, voltages, temperatures, energy.

Rules:

1. Measurements are sent when they moved or when their time has come, never at every step: power
   can be silent for minutes at constant load (evcc PR#28362), and an idle charger still speaks
   every quarter of an hour.
2. Times are world seconds.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.simulator.readings import Value

RAMP_A_PER_S = 2.0
POWER_EVERY_S = 10.0
ENERGY_EVERY_S = 60.0
HEAT_EVERY_S = 120.0
IDLE_EVERY_S = 900.0
HOUR_S = 3600.0
# Power and currents are repeated when they moved by this share.
WORTH_TELLING = 0.01
NOMINAL_V = 230.0
# Degrees above ambient per ampere, at rest after some minutes.
HEAT_PER_A = 0.9
AMBIENT_DEGC = 11.0

TERMINAL_IDS = (182, 183, 184, 185)
VOLTAGE_IDS = (194, 195, 196)
HEAT_IDS = (150, 153, 154, 155, 161, 162, 163, 170)

Sent = tuple[int, Value]


@dataclass(frozen=True, slots=True)
class Grid:
    """A kind of grid: how it is wired, and what the charger tells of it.

    Attributes:
        code: Value of 21.
        phases: How many there are.
        single: Terminals that carry current while one phase is used.
        triple: Terminals that carry current while three are.
        outputs: Values of 110 for one and for three phases.
        between: Voltages between conductors that are sent besides.
    """

    code: int
    phases: int
    single: tuple[int, ...]
    triple: tuple[int, ...]
    outputs: tuple[int, int]
    between: tuple[int, ...] = ()


# T3, T4, T5 are L1, L2, L3 on a TN grid; an IT grid has no N, and a car charges between T2 and T3.
GRIDS = {
    "tn": Grid(1, 3, (183,), (183, 184, 185), (10, 30)),
    "tn_1_phase": Grid(3, 1, (183,), (183,), (10, 10)),
    "it": Grid(4, 1, (182, 183), (182, 183), (11, 11), (197,)),
}


@dataclass(slots=True)
class Telemetry:
    """The measuring side of one charger.

    Attributes:
        current_a: Per phase, now.
        power_kw: Over all phases, now.
        grid: It is connected to this one.
    """

    current_a: float = 0.0
    power_kw: float = 0.0
    grid: Grid = GRIDS["tn"]
    temperature_degc: float = AMBIENT_DEGC
    _told_output: int | None = None
    _told_power_kw: float = 0.0
    _hour_kwh: float = 0.0
    _due_s: dict[str, float] = field(default_factory=dict)

    def draw(self, target_a: float, phases: int, seconds: float, rng: random.Random) -> float:
        """Simulate a current for a while and return the energy in kWh.

        Args:
            target_a: What the car takes per phase; 0 when it does not charge.
            phases: How many carry it.
            seconds: World seconds.
            rng: The charger's own.
        """
        if target_a <= 0:
            self.current_a = 0.0
            self.power_kw = 0.0
        else:
            step_a = RAMP_A_PER_S * seconds
            missing_a = target_a - self.current_a
            self.current_a += max(-step_a, min(step_a, missing_a))
            wiggling_a = max(0.0, self.current_a + rng.uniform(-0.12, 0.02))
            self.power_kw = wiggling_a * phases * (NOMINAL_V + rng.uniform(-1.5, 1.5)) / 1000
        rest_degc = AMBIENT_DEGC + HEAT_PER_A * self.current_a
        self.temperature_degc += (rest_degc - self.temperature_degc) * min(1.0, seconds / 600)
        energy_kwh = self.power_kw * seconds / 3600
        self._hour_kwh += energy_kwh
        return energy_kwh

    def sent(
        self,
        world_s: float,
        rng: random.Random,
        *,
        phases: int,
        session_kwh: float | None,
        meter_kwh: float,
    ) -> Iterator[Sent]:
        """Yield what is worth sending now.

        Args:
            world_s: World time.
            rng: The charger's own.
            phases: How many carry current.
            session_kwh: Energy of the running session; None without one.
            meter_kwh: The meter.
        """
        flows = self.power_kw > 0
        moved = abs(self.power_kw - self._told_power_kw) > WORTH_TELLING * max(1.0, self.power_kw)
        if flows and moved and self._is_due("power", world_s, POWER_EVERY_S):
            yield from self._power(phases)
        if flows and session_kwh is not None and self._is_due("energy", world_s, ENERGY_EVERY_S):
            yield 121, session_kwh
        if self._is_due("heat", world_s, HEAT_EVERY_S if flows else IDLE_EVERY_S):
            yield from self._surroundings(rng)
        if self._is_due("hour", world_s, HOUR_S):
            yield 122, self._hour_kwh
            yield 124, meter_kwh
            self._hour_kwh = 0.0

    def ended(self) -> Iterator[Sent]:
        """Yield the zeros that follow when current stops."""
        self.current_a = 0.0
        self.power_kw = 0.0
        if self._told_power_kw != 0:
            yield from self._power(0)

    def _power(self, phases: int) -> Iterator[Sent]:
        self._told_power_kw = self.power_kw
        yield 120, self.power_kw
        yield 114, float(round(self.current_a))
        one, three = self.grid.single, self.grid.triple
        loaded = three[:phases] if phases != 1 else one
        for observation_id in TERMINAL_IDS:
            yield observation_id, self.current_a if observation_id in loaded else 0.0
        output = self.grid.outputs[phases > 1]
        if phases and output != self._told_output:
            self._told_output = output
            yield 110, output

    def _surroundings(self, rng: random.Random) -> Iterator[Sent]:
        for observation_id in (*VOLTAGE_IDS, *self.grid.between):
            yield observation_id, NOMINAL_V + rng.uniform(-2.5, 2.5)
        for observation_id in HEAT_IDS:
            yield observation_id, round(self.temperature_degc + rng.uniform(-0.5, 0.5))
        yield 132, -58 - rng.randrange(8)
        yield 57, 40 + rng.randrange(80)

    def _is_due(self, what: str, world_s: float, every_s: float) -> bool:
        due_s = self._due_s.get(what)
        if due_s is None:
            # The first hour has to pass before it can be told; the rest starts at once.
            due_s = self._due_s[what] = world_s + (every_s if what == "hour" else 0.0)
        elif due_s > world_s + every_s:
            due_s = world_s + every_s  # it waited for the idle interval, and now current flows
        if world_s < due_s:
            self._due_s[what] = due_s
            return False
        self._due_s[what] = world_s + every_s
        return True
