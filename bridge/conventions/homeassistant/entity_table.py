"""Maps units and derived values to Home Assistant's terms.

Rules:

1. Its row of the registry says whether an observation becomes an entity, and what it is called.
   What kind of entity follows from that row too: a unit, labels, a switch.
2. Personal data is hidden. So are documents, and codes that a derived value tells in words.
"""

from collections.abc import Mapping
from typing import Final

from bridge.core.easee.derived_state import (
    DERIVED,
    SWITCH_VALUES,
    TOUCH_BUTTON,
    TOUCH_BUTTON_VALUES,
    DerivedTopic,
)
from bridge.core.easee.observation_spec import Visibility

Config = Mapping[str, object]


# What Home Assistant calls a unit, and what is measured in it. Counts have no unit there.
UNITS: Final[Mapping[str | None, Config]] = {
    "kW": {"device_class": "power", "state_class": "measurement", "unit_of_measurement": "kW"},
    "kWh": {"device_class": "energy", "unit_of_measurement": "kWh"},
    "A": {"device_class": "current", "state_class": "measurement", "unit_of_measurement": "A"},
    "V": {"device_class": "voltage", "state_class": "measurement", "unit_of_measurement": "V"},
    "mV": {"device_class": "voltage", "state_class": "measurement", "unit_of_measurement": "mV"},
    "degC": {
        "device_class": "temperature",
        "state_class": "measurement",
        "unit_of_measurement": "°C",
    },
    "dBm": {
        "device_class": "signal_strength",
        "state_class": "measurement",
        "unit_of_measurement": "dBm",
    },
    "dB": {
        "device_class": "signal_strength",
        "state_class": "measurement",
        "unit_of_measurement": "dB",
    },
    "%": {"state_class": "measurement", "unit_of_measurement": "%"},
    "s": {"device_class": "duration", "unit_of_measurement": "s"},
    "ms": {"device_class": "duration", "unit_of_measurement": "ms"},
    "h": {"device_class": "duration", "unit_of_measurement": "h"},
    "count": {"state_class": "measurement"},
    None: {},
}

DERIVED_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    **{derived.name: derived.values for derived in DERIVED},
    TOUCH_BUTTON: TOUCH_BUTTON_VALUES,
}

DERIVED_SHOWN: Final[Mapping[str, tuple[Visibility, str]]] = {
    **{derived.name: (derived.visibility, derived.title) for derived in DERIVED},
    TOUCH_BUTTON: (Visibility.DIAGNOSTIC, "Touch button"),
}


# Of a quantity: decimals to be shown, and its unit.
DERIVED_QUANTITIES: Final[Mapping[str, DerivedTopic]] = {
    derived.name: derived for derived in DERIVED if not derived.values
}


def unit_config(unit: str | None) -> Config:
    """Return the configuration for a unit; an unlisted one is used as the vendor writes it."""
    known = UNITS.get(unit)
    return {"unit_of_measurement": unit} if known is None else known


def is_switch(values: tuple[str, ...]) -> bool:
    """Return whether a derived value is on or off."""
    return values == SWITCH_VALUES
