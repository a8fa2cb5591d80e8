"""The vendor's enumerations, each as a table from code to snake_case label.

Rules:

1. A code that is not in its table is unknown, never an error: the vendor adds codes before it
   documents them. An unknown code is shown as ``null``.
2. Labels are part of the public interface: they change only with a changelog entry.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

Labels = Mapping[int | str, str]

# 7 and 8 appeared around April 2023; older firmware reports 2 while authorization is pending.
OP_MODE: Final[Labels] = {
    0: "offline",
    1: "disconnected",
    2: "awaiting_start",
    3: "charging",
    4: "completed",
    5: "error",
    6: "ready_to_charge",
    7: "awaiting_authorization",
    8: "deauthorizing",
}

# 1 to 11 and 50 to 57: no current at all. 25 to 30 and 75 to 81: current flows, but limited.
NO_CURRENT_REASON: Final[Labels] = {
    0: "ok",
    1: "circuit_max_too_low",
    2: "dynamic_circuit_limit_too_low",
    3: "offline_circuit_limit_too_low",
    4: "circuit_fuse_too_low",
    5: "waiting_in_queue",
    6: "waiting_in_fully_charged_queue",
    7: "illegal_grid_type",
    8: "no_request_from_secondary",
    9: "lost_contact_with_primary",
    10: "equalizer_limit_too_low",
    11: "phase_not_connected",
    25: "limited_by_circuit_fuse",
    26: "limited_by_circuit_max",
    27: "limited_by_dynamic_circuit_limit",
    28: "limited_by_equalizer",
    29: "limited_by_load_balancing",
    30: "limited_by_offline_settings",
    # An idle charger without a car shows 50, not 0.
    50: "no_current_requested",
    51: "charger_max_too_low",
    52: "dynamic_charger_limit_too_low",
    53: "charger_disabled",
    54: "waiting_for_schedule",
    55: "pending_authorization",
    56: "charger_error",
    57: "erratic_ev",
    75: "limited_by_cable_rating",
    76: "limited_by_schedule",
    77: "limited_by_charger_max",
    78: "limited_by_dynamic_charger_limit",
    79: "car_not_charging",
    80: "limited_by_local_adjustment",
    81: "limited_by_car",
    100: "undefined",
}


class LedMode(msgspec.Struct, frozen=True):
    """What the light strip shows.

    Attributes:
        meaning: snake_case, e.g. ``"awaiting_authorization"``.
        color: ``white``, ``blue``, ``red``, ``green`` or ``off``; None where it is not documented.
        pattern: ``steady``, ``flashing``, ``fast_flashing``, ``pulsing`` or ``off``; None likewise.
    """

    meaning: str
    color: str | None = None
    pattern: str | None = None


LED_COLORS: Final = ("white", "blue", "red", "green", "off")
LED_PATTERNS: Final = ("steady", "flashing", "fast_flashing", "pulsing", "off")

# 1 to 15 are one range, "updating", in the vendor's coarse list and single steps in its app. No
# code says that the charger is offline: that comes from 109, 250 or silence.
LED_MODE: Final[Mapping[int, LedMode]] = {
    0: LedMode("off", "off", "off"),
    1: LedMode("starting", "green", "flashing"),
    2: LedMode("starting_power_board", "green", "flashing"),
    3: LedMode("starting_local_network", "green", "flashing"),
    4: LedMode("checking_wifi_firmware", "green", "flashing"),
    5: LedMode("update_done", "green", "flashing"),
    6: LedMode("starting", "green", "flashing"),
    7: LedMode("half_set_up", "green", "flashing"),
    8: LedMode("set_up", "green", "flashing"),
    **dict.fromkeys(range(9, 16), LedMode("updating", "green", "flashing")),
    16: LedMode("error", "red", "steady"),
    17: LedMode("permanent_error", "red", "flashing"),
    18: LedMode("idle", "white", "steady"),
    19: LedMode("idle_secondary", "white", "steady"),
    20: LedMode("searching_primary"),
    21: LedMode("smart_connected", "blue", "steady"),
    22: LedMode("smart_charging", "blue", "pulsing"),
    23: LedMode("connected", "white", "steady"),
    24: LedMode("charging", "white", "pulsing"),
    25: LedMode("awaiting_authorization", "white", "flashing"),
    26: LedMode("verifying_tag", "white", "fast_flashing"),
    27: LedMode("check_configuration"),
    28: LedMode("ok"),
    29: LedMode("rfid_pairing"),
    **dict.fromkeys(range(30, 36), LedMode("shutting_down")),
    **dict.fromkeys(range(36, 43), LedMode("self_test")),
    43: LedMode("self_test_passed"),
    44: LedMode("self_test_failed"),
    45: LedMode("light_show"),
    46: LedMode("bluetooth_connected"),
    47: LedMode("invalid_load_balancing"),
}

LED_MEANING: Final[Labels] = {code: mode.meaning for code, mode in LED_MODE.items()}

OFFLINE_CHARGING_MODE: Final[Labels] = {0: "always", 1: "whitelisted", 2: "never"}

PHASE_MODE: Final[Labels] = {0: "ignore", 1: "locked_1_phase", 2: "auto", 3: "locked_3_phase"}

# IEC 61851 letters. E is in the standard, not in the vendor's list.
PILOT_MODE: Final[Labels] = {
    "A": "disconnected",
    "B": "connected",
    "C": "charging",
    "D": "ventilation_required",
    "F": "fault",
}

NODE_TYPE: Final[Labels] = {0: "unconfigured", 1: "primary", 2: "extender", 3: "end_device"}

LOCAL_CONNECTION: Final[Labels] = {0: "none", 1: "radio", 2: "wifi_udp", 3: "radio_and_wifi_udp"}

CURRENT_CONNECTION: Final[Labels] = {0: "cellular", 1: "wifi"}

LEGACY_EV: Final[Labels] = {0: "no", 1: "legacy_ev", 2: "reviving_ev"}

BACKPLATE_TYPE: Final[Labels] = {0: "commercial", 1: "test_charger"}

OUTPUT_PHASE: Final[Labels] = {
    0: "unassigned",
    10: "l1_n",
    11: "it_l1_l2",
    12: "l2_n",
    13: "it_l3_l1",
    14: "l3_n",
    15: "it_l2_l3",
    20: "l1_l2_n",
    21: "l2_l3_n",
    22: "it_three_wire",
    30: "three_phase",
}

# 30 to 38 are usable with a warning, 50 to 52 are not usable.
GRID_TYPE: Final[Labels] = {
    -1: "unknown",
    0: "not_detected",
    1: "tn_3_phase",
    2: "tn_2_phase_pins_2_3_4",
    3: "tn_1_phase",
    4: "it_3_phase",
    5: "it_1_phase",
    30: "warning_tn_2_phase_pins_2_3_5",
    31: "warning_tn_1_phase_neutral_on_pin_3",
    32: "warning_it_3_phase_ground_fault",
    33: "warning_it_1_phase_ground_fault",
    34: "warning_it_3_phase_ground_fault_l3",
    35: "warning_it_1_phase_ground_fault_l3",
    36: "warning_tn_2_phase_pins_2_3_4",
    37: "tn_3_phase_ground",
    38: "tn_2_phase_ground",
    50: "error_no_valid_grid",
    51: "error_tn_400v_neutral_on_wrong_pin",
    52: "error_it_ground_fault_pins_2_3",
}

# Called a bitmask in the documentation and an enumeration by every client that reads it.
REBOOT_REASON: Final[Labels] = {
    0: "firewall",
    1: "option_byte_loader",
    2: "reset_pin",
    3: "bor",
    4: "software",
    5: "independent_watchdog",
    6: "window_watchdog",
    7: "low_power",
    12: "brown_out",
    20: "reboot",
}

TEMPERATURE_MONITOR: Final[Labels] = {-1: "monitoring", 0: "off", 1: "active"}

# The only two with a published meaning; 0, 1 and 6 have been seen.
AUTH_REASON: Final[Labels] = {3: "offline_whitelist", 4: "offline_allow_all"}

# A number space of its own: 22 is this command, and as an observation a circuit limit.
COMMAND: Final[Labels] = {
    1: "reboot",
    2: "poll_single",
    3: "poll_all",
    4: "upgrade_firmware",
    11: "set_smart_charging",
    21: "set_dynamic_current_offline_fallback",
    22: "set_dynamic_circuit_current",
    23: "abort_charging",
    24: "set_max_circuit_current",
    25: "authorize_charging",
    26: "deauthorize_charging",
    29: "set_enabled",
    30: "set_lock_cable_permanently",
    33: "set_local_authorization_required",
    34: "enable_idle_current",
    38: "set_phase_mode",
    40: "set_led_strip_brightness",
    43: "add_keys",
    44: "clear_keys",
    47: "set_max_charger_current",
    48: "set_dynamic_charger_current",
    55: "reset_sockets",
    56: "set_listen_to_control_pulse",
    60: "add_schedule",
    61: "clear_schedule",
    62: "get_schedule",
    63: "override_schedule",
    64: "purge_schedule",
    69: "set_rfid_pairing_mode",
    90: "simulate_disconnect",
}

PRODUCT: Final[Labels] = {
    1: "home",
    2: "lite",
    3: "max",
    4: "up",
    100: "charge",
    102: "core",
    103: "pro",
    400: "one",
}


def auth_reason_name(code: int) -> str:
    """Return why a session was authorized: ``auth_reason_<n>`` for an undocumented code."""
    return AUTH_REASON.get(code, f"auth_reason_{code}")


def command_name(code: int) -> str:
    """Return the name of a vendor command id: ``command_<n>`` if it is unknown."""
    return COMMAND.get(code, f"command_{code}")
