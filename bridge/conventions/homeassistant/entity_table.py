"""Which observations and derived values become entities: one table, keyed by registry names.

Rules:

1. Every observation of the registry and every derived value stands here exactly once, hidden ones
   too; a test holds that.
2. What an entity is follows from its row of the registry: a unit, labels, a switch. Only what
   cannot be read off the registry is said here.
3. Personal data is hidden. So are documents, and codes that a derived value tells in words.
"""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bridge.core.easee.derived_state import (
    DERIVED,
    SWITCH_VALUES,
    TOUCH_BUTTON,
    TOUCH_BUTTON_VALUES,
)

Config = Mapping[str, object]


class EntityVisibility(enum.Enum):
    """How much of it a user wants to see."""

    MAIN = enum.auto()
    DIAGNOSTIC = enum.auto()
    # A diagnostic that is disabled until somebody enables it.
    RARE = enum.auto()
    HIDDEN = enum.auto()


_LEVELS: Final[Mapping[EntityVisibility, str]] = {
    EntityVisibility.MAIN: """
        total_power session_energy lifetime_energy energy_per_hour dynamic_charger_current
        output_current cable_locked smart_charging in_current_t3 in_current_t4 in_current_t5
        in_voltage_t2_t3 in_voltage_t2_t4 in_voltage_t2_t5 temp_max
        authorization_required local_pre_authorize_enabled local_authorize_offline_enabled
        allow_offline_tx_for_unknown_id lock_cable_permanently is_enabled enable_idle_current
        phase_mode led_strip_brightness remote_start_required smart_button_enabled
        offline_charging_mode
        """,
    EntityVisibility.DIAGNOSTIC: """
        connected_to_cloud cloud_disconnect_reason error_code fatal_error_code error_string
        derating_active derated_current temp_ambient output_phase pilot_mode cable_rating
        max_charger_current dynamic_circuit_current_p1 dynamic_circuit_current_p2
        dynamic_circuit_current_p3 circuit_max_current_p1 circuit_max_current_p2
        circuit_max_current_p3 offline_max_circuit_current_p1 offline_max_circuit_current_p2
        offline_max_circuit_current_p3 software_release wi_fi_rssi cell_rssi current_connection
        lifetime_hours lifetime_relay_switches
        """,
    EntityVisibility.RARE: """
        self_test_result wifi_event charger_offline_reason easee_link_command_response
        erratic_ev_max_toggles backplate_type detected_power_grid_type rfid_auth_timeout_sec
        temperature_monitor_state circuit_sequence_number single_phase_number
        forced_three_phase_on_it_with_gnd_fault local_authorization_required
        release_cable_at_power_off listen_to_control_pulse control_pulse_rtt paired_equalizer
        wi_fi_ap_enabled
        circuit_total_allocated_phase_conductor_current_l1
        circuit_total_allocated_phase_conductor_current_l2
        circuit_total_allocated_phase_conductor_current_l3
        circuit_total_phase_conductor_current_l1 circuit_total_phase_conductor_current_l2
        circuit_total_phase_conductor_current_l3
        number_of_cars_connected number_of_cars_charging number_of_cars_in_queue
        number_of_cars_fully_charged modem_fw_id ota_error_code mobile_network_operator
        reboot_reason power_pcb_version com_pcb_version
        load_balancing_number_of_connected_chargers udp_num_of_connected_nodes local_connection
        pilot_high pilot_low legacy_ev_status cell_rat wi_fi_type local_rssi local_tx_power
        local_state cellular_interface_error_count cellular_interface_reset_count
        wifi_interface_error_count wifi_interface_reset_count local_node_type local_radio_channel
        local_short_address local_parent_addr_or_num_of_nodes
        temp_ambient_power_board temp_input_t2 temp_input_t3 temp_input_t4 temp_input_t5
        temp_output_n temp_output_l1 temp_output_l2 temp_output_l3 temp_relay_n temp_relay_l
        temp_ambient_power_board_top light_ambient int_rel_humidity back_plate_locked
        current_motor back_plate_hall_sensor in_current_t2 in_voltage_t1_t2 in_voltage_t1_t3
        in_voltage_t1_t4 in_voltage_t1_t5 in_voltage_t3_t4 in_voltage_t3_t5 in_voltage_t4_t5
        nominal_voltage out_volt_pin1_and2 out_volt_pin1_and3 out_volt_pin1_and4
        out_volt_pin1_and5 out_volt_pin2_and3 volt_level33 volt_level5 volt_level12
        lte_rsrp lte_sinr lte_rsrq
        eq_available_current_p1 eq_available_current_p2 eq_available_current_p3
        """,
    # Personal data; documents; replaced by others; told in words by derived values; addresses and
    # ids, of no use to anybody who looks at a dashboard; what nobody has described.
    EntityVisibility.HIDDEN: """
        location wi_fi_ssid paired_user_id_token iccid user_id_token_reversed user_id_token
        found_wi_fi wi_fi_mac_address
        self_test_details site_structure charging_session_signed charging_schedule
        charging_session charging_session_start observation_8
        enable3_phases_deprecated car_connected_deprecated
        dynamic_current_offline_fallback_deprecated
        led_mode reason_for_no_current charger_op_mode
        debug_log easee_link_data_received site_id_string site_id_numeric back_plate_id
        master_back_plate_id cell_address wi_fi_address debug_string diagnostics_string
        observation_6 observation_156 observation_157 observation_233 observation_234
        """,
}

LEVELS: Final[Mapping[str, EntityVisibility]] = MappingProxyType(
    {name: level for level, names in _LEVELS.items() for name in names.split()}
)

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

# What the registry does not know. A session's energy falls back to 0, which the energy dashboard
# would count twice: it has no state class, on purpose. A lock is "on" while it is open.
EXTRAS: Final[Mapping[str, Config]] = {
    "total_power": {"name": "Power", "suggested_display_precision": 2},
    "session_energy": {"suggested_display_precision": 2},
    "lifetime_energy": {"state_class": "total_increasing", "suggested_display_precision": 1},
    "energy_per_hour": {"name": "Energy last hour", "suggested_display_precision": 2},
    "dynamic_charger_current": {"name": "Dynamic charger limit"},
    "output_current": {"name": "Current offered to the car"},
    "in_current_t3": {"name": "Current T3 (L1)", "suggested_display_precision": 1},
    "in_current_t4": {"name": "Current T4 (L2)", "suggested_display_precision": 1},
    "in_current_t5": {"name": "Current T5 (L3)", "suggested_display_precision": 1},
    "in_current_t2": {"name": "Current T2 (N)", "suggested_display_precision": 1},
    "in_voltage_t2_t3": {"name": "Voltage T2 T3 (L1)", "suggested_display_precision": 0},
    "in_voltage_t2_t4": {"name": "Voltage T2 T4 (L2)", "suggested_display_precision": 0},
    "in_voltage_t2_t5": {"name": "Voltage T2 T5 (L3)", "suggested_display_precision": 0},
    "temp_max": {"name": "Temperature"},
    "temp_ambient": {"name": "Ambient temperature"},
    "connected_to_cloud": {"device_class": "connectivity"},
    "cable_locked": {"device_class": "lock"},
    "back_plate_locked": {"device_class": "lock"},
    "derating_active": {"device_class": "heat", "name": "Too warm for full current"},
    "lifetime_hours": {"state_class": "total_increasing", "name": "Hours in service"},
    "lifetime_relay_switches": {"state_class": "total_increasing", "name": "Relay operations"},
    "software_release": {"name": "Firmware"},
    "volt_level33": {"name": "Internal 3.3 V supply"},
    "volt_level5": {"name": "Internal 5 V supply"},
    "volt_level12": {"name": "Internal 12 V supply"},
    "int_rel_humidity": {"device_class": "humidity", "name": "Humidity inside"},
    "is_enabled": {"name": "Enabled"},
    "wi_fi_rssi": {"name": "WiFi signal"},
    "cell_rssi": {"name": "Cellular signal"},
}

# Text whatever its type: how many there are of them says nothing.
_CODES: Final = """
    error_code fatal_error_code software_release power_pcb_version com_pcb_version
    wifi_event charger_offline_reason easee_link_command_response ota_error_code cell_rat
    local_radio_channel local_short_address local_parent_addr_or_num_of_nodes
    circuit_sequence_number single_phase_number
    """
CODES: Final = frozenset(_CODES.split())

DERIVED_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    **{derived.name: derived.values for derived in DERIVED},
    TOUCH_BUTTON: TOUCH_BUTTON_VALUES,
}

DERIVED_SHOWN: Final[Mapping[str, tuple[EntityVisibility, str]]] = {
    "op_mode": (EntityVisibility.MAIN, "Status"),
    "no_current_reason": (EntityVisibility.MAIN, "Reason for no current"),
    "led": (EntityVisibility.MAIN, "Light strip"),
    "led_color": (EntityVisibility.RARE, "Light strip color"),
    "led_pattern": (EntityVisibility.RARE, "Light strip pattern"),
    "awaiting_authorization": (EntityVisibility.MAIN, "Awaiting authorization"),
    "access_mode": (EntityVisibility.MAIN, "Access mode"),
    "offline_policy": (EntityVisibility.MAIN, "Offline policy"),
    TOUCH_BUTTON: (EntityVisibility.DIAGNOSTIC, "Touch button"),
}


def is_switch(values: tuple[str, ...]) -> bool:
    """Say whether a derived value is on or off."""
    return values == SWITCH_VALUES
