"""Current, voltage and power of each phase, by grid type and output phase.

Rules:

1. A charger measures at its terminals. Which conductor is connected to which terminal follows from
   the grid type it detected, and where that tells nothing from the phases given to the car.
2. Grid type and output phase that exclude each other, and a grid with an error, are unknown wiring:
   every value is None.
3. A conductor that the grid does not have carries no current and no power, and has no voltage.
4. A TN grid's voltage is that between conductor and N. An IT grid has no N: the voltage is that to
   the next conductor (L1 to L2, L2 to L3, L3 to L1), and the power of the pair in use is attributed
   in halves to its conductors, so that the phases add up to the power of the charger.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from bridge.core.easee import roles
from bridge.core.value_format import Value

PHASES: Final = (1, 2, 3)
W_PER_KW: Final = 1000
DIGITS: Final = 3
UNASSIGNED: Final = 0

# Returns the newest value of an observation; None before the first.
ValueOf = Callable[[int], Value | None]


class Conductor(msgspec.Struct, frozen=True):
    """Observations that measure one conductor.

    Attributes:
        current: Of its terminal; None where the grid does not have this conductor.
        voltage: To N, or to the next conductor; None where there is none.
    """

    current: int | None = None
    voltage: int | None = None


class Wiring(msgspec.Struct, frozen=True):
    """How a kind of grid is connected to the terminals.

    Attributes:
        name: Of the kind of grid.
        is_it: Whether it has no N.
        grid_types: Codes of the grid type.
        conductors: L1, L2, L3.
    """

    name: str
    is_it: bool
    grid_types: tuple[int, ...]
    conductors: tuple[Conductor, Conductor, Conductor]


_ABSENT: Final = Conductor()
_TN_L1: Final = Conductor(roles.CURRENT_T3, roles.VOLTAGE_T2_T3)
_TN_L2: Final = Conductor(roles.CURRENT_T4, roles.VOLTAGE_T2_T4)
_TN_L3: Final = Conductor(roles.CURRENT_T5, roles.VOLTAGE_T2_T5)
_IT_L1: Final = Conductor(roles.CURRENT_T2, roles.VOLTAGE_T2_T3)
_IT_L2: Final = Conductor(roles.CURRENT_T3, roles.VOLTAGE_T3_T4)
_IT_L3: Final = Conductor(roles.CURRENT_T4, roles.VOLTAGE_T2_T4)

TN: Final = Wiring("TN, three phases", False, (1, 37), (_TN_L1, _TN_L2, _TN_L3))
IT: Final = Wiring("IT, three phases", True, (4, 32, 34), (_IT_L1, _IT_L2, _IT_L3))
WIRINGS: Final = (
    TN,
    Wiring("TN, two phases, L1 and L2", False, (2, 36, 38), (_TN_L1, _TN_L2, _ABSENT)),
    Wiring("TN, two phases, L1 and L3", False, (30,), (_TN_L1, _ABSENT, _TN_L3)),
    Wiring("TN, one phase", False, (3,), (_TN_L1, _ABSENT, _ABSENT)),
    Wiring(
        "TN, one phase, N on T3",
        False,
        (31,),
        (Conductor(roles.CURRENT_T2, roles.VOLTAGE_T2_T3), _ABSENT, _ABSENT),
    ),
    IT,
    Wiring("IT, one phase", True, (5, 33, 35), (_IT_L1, Conductor(roles.CURRENT_T3), _ABSENT)),
)
_BY_GRID_TYPE: Final[Mapping[int, Wiring]] = {
    code: wiring for wiring in WIRINGS for code in wiring.grid_types
}
# Neither seen, nor detected, nor told by the cloud: the output phase decides.
NOT_DETECTED: Final = frozenset({None, -1, 0})
# With N in their name, and three phases: IT has a code of its own for three wires.
TN_OUTPUTS: Final = frozenset({10, 12, 14, 20, 21, 30})
IT_OUTPUTS: Final = frozenset({11, 13, 15, 22})
# The conductors of a pair, the one whose voltage is that of the pair first.
PAIRS: Final[Mapping[int, tuple[int, int]]] = {11: (1, 2), 13: (3, 1), 15: (2, 3)}
_ONE_PHASE_PAIR: Final = (1, 2)


@lru_cache(maxsize=64)
def wiring_of(grid_type: int | None, output: int | None) -> Wiring | None:
    """Return the wiring; None where it is not known.

    Args:
        grid_type: Code of the detected grid type; None before the first.
        output: Code of the output phase; None before the first.
    """
    if grid_type in NOT_DETECTED:
        return TN if output in TN_OUTPUTS else IT if output in IT_OUTPUTS else None
    wiring = _BY_GRID_TYPE.get(grid_type or 0)
    excluded = IT_OUTPUTS if wiring is not None and not wiring.is_it else TN_OUTPUTS - {30}
    return None if output in excluded else wiring


def sources(quantity: str, phase: int) -> tuple[int, ...]:
    """Return the observations that a value of a phase depends on.

    Args:
        quantity: ``current``, ``voltage`` or ``power``.
        phase: 1, 2 or 3.
    """
    found = {roles.GRID_TYPE, roles.OUTPUT_PHASE}
    for wiring in WIRINGS:
        conductor = wiring.conductors[phase - 1]
        if quantity != "voltage":
            found.add(conductor.current or roles.GRID_TYPE)
        if quantity != "current":
            found.add(conductor.voltage or roles.GRID_TYPE)
    if quantity == "power":
        found |= {
            IT.conductors[pair[0] - 1].voltage or roles.GRID_TYPE
            for pair in PAIRS.values()
            if phase in pair
        }
    return tuple(sorted(found))


def current(wiring: Wiring, phase: int, value_of: ValueOf) -> float | None:
    """Return the current of a phase in A; None before the first."""
    observation = wiring.conductors[phase - 1].current
    return 0 if observation is None else _number(value_of(observation))


def voltage(wiring: Wiring, phase: int, value_of: ValueOf) -> float | None:
    """Return the voltage of a phase in V; None where there is none, or before the first."""
    observation = wiring.conductors[phase - 1].voltage
    return None if observation is None else _number(value_of(observation))


def power(wiring: Wiring, output: int | None, phase: int, value_of: ValueOf) -> float | None:
    """Return the power of a phase in kW; None where it is not known."""
    if not wiring.is_it:
        return _product(current(wiring, phase, value_of), voltage(wiring, phase, value_of))
    pair = _pair(wiring, output)
    if pair is None:
        return 0 if output == UNASSIGNED else None
    if phase not in pair:
        return 0
    volts = voltage(wiring, pair[0], value_of)
    return _product(current(wiring, phase, value_of), None if volts is None else volts / 2)


def _pair(wiring: Wiring, output: int | None) -> tuple[int, int] | None:
    """Return the pair of an IT grid between which a car charges; None where it is not known."""
    if wiring is IT:
        return None if output is None else PAIRS.get(output)
    return _ONE_PHASE_PAIR


def _product(amperes: float | None, volts: float | None) -> float | None:
    if amperes == 0:  # also without a voltage
        return 0
    if amperes is None or volts is None:
        return None
    kilowatts = round(amperes * volts / W_PER_KW, DIGITS)
    return int(kilowatts) if kilowatts.is_integer() else kilowatts


def _number(value: Value | None) -> float | None:
    """Return a measured value; a text or a switch is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
