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
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
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
    **{derived.name: derived.values for derived in (*DERIVED, *EQUALIZER_DERIVED)},
    TOUCH_BUTTON: TOUCH_BUTTON_VALUES,
}

DERIVED_SHOWN: Final[Mapping[str, tuple[Visibility, str]]] = {
    **{derived.name: (derived.visibility, derived.title) for derived in DERIVED},
    TOUCH_BUTTON: (Visibility.DIAGNOSTIC, "Touch button"),
}
EQUALIZER_SHOWN: Final[Mapping[str, tuple[Visibility, str]]] = {
    derived.name: (derived.visibility, derived.title) for derived in EQUALIZER_DERIVED
}


# Of a quantity: decimals to be shown, and its unit.
DERIVED_QUANTITIES: Final[Mapping[str, DerivedTopic]] = {
    derived.name: derived for derived in (*DERIVED, *EQUALIZER_DERIVED) if not derived.values
}


# Entities of a charger that are enabled by default: what a driver looks at, at most 40 with every
# command allowed. All others are there, and enabled by hand.
ENABLED: Final = frozenset(
    {
        "sensor_op_mode",
        "sensor_no_current_reason",
        "binary_sensor_car_connected",
        "binary_sensor_error",
        "binary_sensor_awaiting_authorization",
        "sensor_access_mode",
        "sensor_current_l1",
        "sensor_current_l2",
        "sensor_current_l3",
        "sensor_total_power",
        "sensor_session_energy",
        "sensor_energy_total",
        "sensor_output_current",
        "binary_sensor_cable_locked",
        "sensor_temp_max",
        "binary_sensor_connected_to_cloud",
        "sensor_session_started",
        "sensor_last_session_energy",
        "sensor_last_session_ended",
        "event_smart_button",
        "event_authorization_requested",
        "binary_sensor_charging_allowed",
        "binary_sensor_is_enabled",
        "binary_sensor_smart_charging",
        "binary_sensor_authorization_required",
        "button_start",
        "button_stop",
        "button_pause",
        "button_resume",
        "switch_charging_allowed",
        "switch_smart_charging",
        "switch_enabled",
        "switch_authorization_required",
        "number_dynamic_charger_current",
        "select_phases",
        "select_access_level",
        "switch_lock_cable_permanently",
        "number_led_strip_brightness",
        "update_firmware",
        "sensor_schedule_in_force",
        "switch_daily_schedule",
    }
)
# Where the class of an entity has no icon of its own, or none that fits.
ICONS: Final[Mapping[str, str]] = {
    "sensor_op_mode": "mdi:ev-station",
    "sensor_no_current_reason": "mdi:help-circle-outline",
    "sensor_access_mode": "mdi:account-key",
    "sensor_offline_policy": "mdi:cloud-key-outline",
    "sensor_led": "mdi:led-strip-variant",
    "sensor_led_color": "mdi:palette",
    "sensor_led_pattern": "mdi:led-strip-variant",
    "sensor_touch_button": "mdi:gesture-tap-button",
    "sensor_held_limit": "mdi:lock-clock",
    "sensor_output_phase": "mdi:sine-wave",
    "sensor_phase_mode": "mdi:sine-wave",
    "sensor_pilot_mode": "mdi:ev-plug-type2",
    "sensor_current_connection": "mdi:wan",
    "sensor_lifetime_relay_switches": "mdi:electric-switch",
    "sensor_error_code": "mdi:alert-circle-outline",
    "sensor_error_string": "mdi:alert-circle-outline",
    "sensor_fatal_error_code": "mdi:alert-octagon-outline",
    "sensor_software_release": "mdi:chip",
    "sensor_schedule_in_force": "mdi:calendar-clock",
    "sensor_cloud_disconnect_reason": "mdi:cloud-alert",
    "sensor_meter_type": "mdi:meter-electric",
    "sensor_surplus_charging": "mdi:solar-power",
    "binary_sensor_awaiting_authorization": "mdi:account-clock",
    "binary_sensor_charging_allowed": "mdi:ev-station",
    "binary_sensor_smart_charging": "mdi:leaf",
    "event_authorization_requested": "mdi:account-question",
    "event_error": "mdi:alert-circle-outline",
    "event_foreign_command": "mdi:account-switch",
    "button_start": "mdi:play",
    "button_stop": "mdi:stop",
    "button_pause": "mdi:pause",
    "button_resume": "mdi:play-pause",
    "button_toggle": "mdi:toggle-switch-outline",
    "button_override_schedule": "mdi:calendar-remove",
    "button_refresh": "mdi:refresh",
    "button_rfid_pairing": "mdi:nfc-variant",
    "switch_charging_allowed": "mdi:ev-station",
    "switch_smart_charging": "mdi:leaf",
    "switch_enabled": "mdi:power",
    "switch_authorization_required": "mdi:account-key",
    "switch_local_pre_authorize_enabled": "mdi:card-account-details",
    "switch_local_authorize_offline_enabled": "mdi:card-account-details-outline",
    "switch_allow_offline_tx_for_unknown_id": "mdi:cloud-off-outline",
    "switch_smart_button_enabled": "mdi:gesture-tap-button",
    "switch_remote_start_required": "mdi:remote",
    "switch_enable_idle_current": "mdi:battery-charging-100",
    "switch_lock_cable_permanently": "mdi:lock",
    "switch_delayed_schedule": "mdi:calendar-clock",
    "switch_daily_schedule": "mdi:calendar-clock",
    "switch_weekly_schedule": "mdi:calendar-week",
    "select_access_level": "mdi:account-key",
    "select_offline_charging_mode": "mdi:cloud-off-outline",
    "select_phase_mode": "mdi:sine-wave",
    "select_phases": "mdi:sine-wave",
    "number_led_strip_brightness": "mdi:brightness-6",
    "switch_surplus_charging": "mdi:solar-power",
    "binary_sensor_surplus_charging_enabled": "mdi:solar-power",
}


def unit_config(unit: str | None) -> Config:
    """Return the configuration for a unit; an unlisted one is used as the vendor writes it."""
    known = UNITS.get(unit)
    return {"unit_of_measurement": unit} if known is None else known


def is_switch(values: tuple[str, ...]) -> bool:
    """Return whether a derived value is on or off."""
    return values == SWITCH_VALUES
