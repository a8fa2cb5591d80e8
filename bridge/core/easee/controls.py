"""Controls of commands: button, switch, number, choice.

Rules:

1. A control shows what the charger reports, never what was requested; a setting that cannot be read
   back has none.
2. A payload carries no id: the same id twice within a day is answered from the journal and not
   carried out.
3. What wears the charger's flash memory or cannot be taken back is configuration, and disabled
   until it is enabled.
"""

from collections.abc import Callable
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from bridge.core.easee.enumerations import Labels
from bridge.core.easee.observation_registry import spec_of

Kind = Literal["button", "switch", "number", "select"]
# Of commands.max_current_a.
Bounds = Callable[[int], tuple[int, int]]

_NO_LABELS: Final[Labels] = MappingProxyType({})


def _no_bounds(_max_current_a: int) -> tuple[int, int]:
    return (0, 0)


class Control(msgspec.Struct, frozen=True):
    """The control of one command.

    Attributes:
        kind: ``button``, ``switch``, ``number`` or ``select``.
        title: What people see.
        shows: Name of the observation or derived value it shows; empty for a button.
        replaces: True when what only reads the same value is not needed beside it.
        labels: Code or word to option, of a select.
        bounds: ``commands.max_current_a`` to the least and the largest number.
        unit: Of a number, as the vendor spells it.
        is_typed: A number is typed in, not moved to by accident.
        device_class: Home Assistant's class of a button; empty for none.
        is_config: It belongs to the configuration of the device.
        is_enabled: It is there without being enabled first.
    """

    kind: Kind
    title: str
    shows: str = ""
    replaces: bool = False
    labels: Labels = msgspec.field(default_factory=lambda: _NO_LABELS)
    bounds: Bounds = _no_bounds
    unit: str | None = None
    is_typed: bool = False
    device_class: str = ""
    is_config: bool = False
    is_enabled: bool = True


def button(
    title: str, device_class: str = "", *, is_config: bool = False, is_enabled: bool = True
) -> Control:
    """Return a button."""
    return Control(
        "button",
        title,
        device_class=device_class,
        is_config=is_config,
        is_enabled=is_enabled,
    )


def switch(title: str, observation_id: int, *, is_config: bool = True) -> Control:
    """Return a switch that replaces the sensor of the same observation."""
    return Control(
        "switch", title, spec_of(observation_id).name, replaces=True, is_config=is_config
    )


def allowed_switch(title: str, derived: str) -> Control:
    """Return a switch that replaces the sensor of a derived value."""
    return Control("switch", title, derived, replaces=True)


def select(title: str, observation_id: int, labels: Labels) -> Control:
    """Return a choice of labels that replaces the sensor of the same observation."""
    return Control(
        "select",
        title,
        spec_of(observation_id).name,
        replaces=True,
        labels=labels,
        is_config=True,
    )


def number(title: str, observation_id: int, low: int, high: int, unit: str | None) -> Control:
    """Return a number within bounds that replaces the sensor of the same observation."""
    return Control(
        "number",
        title,
        spec_of(observation_id).name,
        replaces=True,
        bounds=lambda _: (low, high),
        unit=unit,
        is_config=True,
    )


def derived_limit(title: str, derived: str) -> Control:
    """Return a number of amperes up to ``commands.max_current_a`` that replaces its sensor."""
    return Control(
        "number",
        title,
        derived,
        replaces=True,
        bounds=lambda max_current_a: (0, max_current_a),
        unit="A",
        is_config=True,
    )


def limit(title: str, observation_id: int, least: int = 0, *, is_lasting: bool = False) -> Control:
    """Return a number of amperes up to ``commands.max_current_a``, beside the limit's sensor."""
    return Control(
        "number",
        title,
        spec_of(observation_id).name,
        bounds=lambda max_current_a: (least, max_current_a),
        unit="A",
        is_typed=is_lasting,
        is_config=is_lasting,
        is_enabled=not is_lasting,
    )
