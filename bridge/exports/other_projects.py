"""Names that other programs use for the values and commands of an Easee charger.

Rules:

1. Names are facts of the projects' public documentation, as it was in November 2026.
2. A name stands once in its project. ``<id>`` is the charger's serial.
3. ``ours`` is kind and name (``state/total_power``, ``set/pause``; ``equalizer/…`` is the state of
   an Equalizer); empty where there is nothing like it, and then the note says what to do instead.
4. The tables of ``docs/moving`` and ``charger-bridge topics --like`` are both written from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class OldName:
    """One name of another program.

    Attributes:
        name: As that program spells it.
        ours: Kind and name of our topic; empty where there is none.
        note: What differs: unit, values, group of commands.
    """

    name: str
    ours: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Project:
    """A program people move over from.

    Attributes:
        title: What it is called.
        page: Its page in ``docs/moving``.
        called: What its names are names of; the head of their column.
        names: In the order of its own documentation.
        has_entities: Its users read entities of Home Assistant, so the table names these too.
    """

    title: str
    page: str
    called: str
    names: tuple[OldName, ...]
    has_entities: bool = False


_DEVICE = "group `device`"
_FLASH = "flash memory; group `installer`"
_MAINTENANCE = "group `maintenance`"
_CODE = "a code; `state/op_mode` has the word"
_TERMINAL = "by terminal; by phase: `state/current_l1`"
_PAIR = "between terminals; by phase: `state/voltage_l1`"
_LATEST = "installed and newest release; `set/update_firmware` installs it"
_PRICES = "`charger-bridge sessions export` has the energy of each session"
_PHASES = '`{"phase1":16,"phase2":16,"phase3":16}`, or one number for all'
_PLAN = "the vendor's former object, or as `daily_schedule` and `weekly_schedule`; group `device`"
_EQUALIZER = "group `equalizer`"
_NO_SUCH = "no such command; in the vendor's app or portal"
_TERMINAL_PAIRS: Final = tuple((a, b) for a in range(1, 5) for b in range(a + 1, 6))

_EASEE_HASS: Final = (
    OldName(
        "sensor.<name>_status",
        "state/op_mode",
        "`de_authorizing` is `deauthorizing`; what the Equalizer or load balancing holds back is in"
        " `no_current_reason`",
    ),
    OldName("sensor.<name>_reason_for_no_current", "state/no_current_reason", "some words differ"),
    OldName("sensor.<name>_power", "state/total_power", "kW"),
    OldName("sensor.<name>_session_energy", "state/session_energy", "kWh, no state class"),
    OldName("sensor.<name>_lifetime_energy", "state/lifetime_energy", "kWh, the same counter"),
    OldName("sensor.<name>_energy_per_hour", "state/energy_per_hour", "kWh"),
    OldName("sensor.<name>_energy_last_hour", "", "a utility meter on the lifetime energy"),
    OldName("sensor.<name>_voltage", "state/voltage_l1", "one entity for each phase"),
    OldName("sensor.<name>_current", "state/current_l1", "one entity for each phase"),
    OldName(
        "sensor.<name>_circuit_current",
        "state/circuit_total_phase_conductor_current_l1",
        "one entity for each phase",
    ),
    OldName("sensor.<name>_output_limit", "state/output_current", "A"),
    OldName("sensor.<name>_dynamic_charger_limit", "state/dynamic_charger_current", "A"),
    OldName(
        "sensor.<name>_dynamic_circuit_limit",
        "state/dynamic_circuit_current_p1",
        "one entity for each phase",
    ),
    OldName("sensor.<name>_max_charger_limit", "state/max_charger_current", "A"),
    OldName(
        "sensor.<name>_max_circuit_limit",
        "state/circuit_max_current_p1",
        "one entity for each phase",
    ),
    OldName(
        "sensor.<name>_offline_circuit_limit",
        "state/offline_max_circuit_current_p1",
        "one entity for each phase",
    ),
    OldName("sensor.<name>_internal_temperature", "state/temp_max", "°C"),
    OldName("sensor.<name>_cost_per_kwh", "", "the price of Home Assistant's energy dashboard"),
    OldName("sensor.<name>_cost_day", "", "Home Assistant's energy dashboard"),
    OldName("sensor.<name>_cost_month", "", "Home Assistant's energy dashboard"),
    OldName("sensor.<name>_cost_year", "", "Home Assistant's energy dashboard"),
    OldName("sensor.<name>_phase_mode", "state/phase_mode", "a code"),
    OldName("sensor.<name>_pilot_mode", "state/pilot_mode", "`A` to `F`"),
    OldName(
        "sensor.<name>_equalizer_limit",
        "state/eq_available_current_p1",
        "one entity for each phase",
    ),
    OldName("sensor.<name>_operator", "", "the vendor's partner; not published"),
    OldName("light.<name>_led_strip", "set/led_strip_brightness", "0 to 100; " + _DEVICE),
    OldName("binary_sensor.<name>_online", "availability", "entities are unavailable instead"),
    OldName("binary_sensor.<name>_cable_lock", "state/cable_locked"),
    OldName("binary_sensor.<name>_update_available", "state/firmware_update", _LATEST),
    OldName("button.<name>_override_schedule", "set/override_schedule"),
    OldName("switch.<name>_smart_charging", "set/smart_charging"),
    OldName("switch.<name>_charger_enabled", "set/enabled"),
    OldName("switch.<name>_touch_button_enabled", "set/smart_button_enabled"),
    OldName("switch.<name>_idle_current", "set/enable_idle_current", _DEVICE),
    OldName("switch.<name>_cable_locked_permanently", "set/lock_cable_permanently", _DEVICE),
    OldName("switch.<name>_basic_schedule", "set/basic_charge_plan", _PLAN),
    OldName("switch.<name>_weekly_schedule", "set/weekly_charge_plan", _PLAN),
    OldName("switch.<name>_surplus_charging", "set/surplus_charging", _EQUALIZER),
    *(
        OldName(f"sensor.<equalizer>_{old}", f"equalizer/{ours}", unit)
        for old, ours, unit in (
            ("import_power", "active_power_import", "kW"),
            ("export_power", "active_power_export", "kW"),
            ("import_reactive_power", "reactive_power_import", "kvar"),
            ("export_reactive_power", "reactive_power_export", "kvar"),
            ("import_energy", "cumulative_active_power_import", "kWh, the same counter"),
            ("export_energy", "cumulative_active_power_export", "kWh, the same counter"),
            ("import_reactive_energy", "cumulative_reactive_power_import", "kvarh"),
            ("export_reactive_energy", "cumulative_reactive_power_export", "kvarh"),
            ("voltage", "voltage_nl1", "one entity for each phase"),
            ("current", "current_l1", "one entity for each phase"),
            ("internal_temperature", "internal_temperature", "°C"),
        )
    ),
    OldName("easee.action_command: start", "set/start"),
    OldName("easee.action_command: stop", "set/stop"),
    OldName("easee.action_command: pause", "set/pause"),
    OldName("easee.action_command: resume", "set/resume"),
    OldName("easee.action_command: toggle", "set/toggle"),
    OldName("easee.action_command: override_schedule", "set/override_schedule"),
    OldName("easee.action_command: reboot", "set/reboot", _MAINTENANCE),
    OldName("easee.action_command: update_firmware", "set/update_firmware", _MAINTENANCE),
    OldName(
        "easee.action_command: delete_basic_charge_plan", "set/basic_charge_plan", "send `clear`"
    ),
    OldName(
        "easee.action_command: delete_weekly_charge_plan", "set/weekly_charge_plan", "send `clear`"
    ),
    *(
        OldName(
            f"easee.action_command: {switch}_{plan}_charge_plan",
            f"set/{plan}_charge_plan",
            f'send `{{"enabled":{sent}}}`',
        )
        for plan in ("basic", "weekly")
        for switch, sent in (("enable", "true"), ("disable", "false"))
    ),
    OldName("easee.smart_charging", "set/smart_charging"),
    OldName("easee.set_charger_dynamic_limit", "set/dynamic_charger_current", "0, or 6 A and more"),
    OldName(
        "easee.set_circuit_dynamic_limit",
        "set/dynamic_circuit_current",
        "`time_to_live` is `minutes`",
    ),
    OldName("easee.set_charger_max_limit", "set/max_charger_current", _FLASH),
    OldName("easee.set_circuit_max_limit", "set/max_circuit_current", _FLASH),
    OldName("easee.set_circuit_offline_limit", "set/offline_max_circuit_current", _FLASH),
    OldName(
        "easee.set_charger_phase_mode",
        "set/phase_mode",
        "`1_phase` is `locked_1_phase`, `auto_phase` is `auto`, `3_phase` is `locked_3_phase`",
    ),
    OldName(
        "easee.set_charger_access",
        "set/access_level",
        "`open_for_all` is `open`, `require_easee_account` is `account`",
    ),
    OldName("easee.set_basic_charge_plan", "set/basic_charge_plan", _PLAN),
    OldName("easee.set_weekly_charge_plan", "set/weekly_charge_plan", _PLAN),
    OldName("easee.set_charging_cost", "set/site_price", "group `site`"),
    OldName("easee.set_surplus_charging", "set/surplus_charging", _EQUALIZER),
    OldName("easee.set_charger_ocpp", "", _NO_SUCH),
    OldName("easee.set_operator", "", _NO_SUCH),
    OldName("easee.download_report", "", "`charger-bridge sessions report --month 2026-11`"),
)

_EVCC: Final = (
    OldName("status", "state/pilot_mode", "`A` to `F`"),
    OldName("enabled", "state/charging_allowed", "`true`, `false`"),
    OldName("enable", "set/charging_allowed", "`true` resumes, `false` pauses; group `control`"),
    OldName("maxcurrent", "set/dynamic_charger_current", "A; a command lives 60 s at most"),
    OldName("power", "state/total_power", "kW: `scale: 1000`"),
    OldName("energy", "state/energy_total", "kWh"),
    OldName("currents (L1)", "state/current_l1", "A, on every grid"),
    OldName("currents (L2)", "state/current_l2", "A, on every grid"),
    OldName("currents (L3)", "state/current_l3", "A, on every grid"),
    OldName(
        "identify", "state/user_id_token", "not retained; hashed, unless `publish.personal_data`"
    ),
    OldName(
        "phases1p3p",
        "set/phases",
        """`tos: true`, `payload: '{"phases":${phases},"amps":6}'`; flash memory, so rarely""",
    ),
)

_OPENHAB: Final = (
    OldName("state#smartCharging", "state/smart_charging", "`true`, `false`"),
    OldName("state#cableLocked", "state/cable_locked", "`true`, `false`"),
    OldName("state#chargerOpMode", "state/charger_op_mode", _CODE),
    OldName("state#totalPower", "state/total_power", "kW"),
    OldName("state#sessionEnergy", "state/session_energy", "kWh"),
    OldName("state#dynamicCircuitCurrentP1", "state/dynamic_circuit_current_p1", "A"),
    OldName("state#dynamicCircuitCurrentP2", "state/dynamic_circuit_current_p2", "A"),
    OldName("state#dynamicCircuitCurrentP3", "state/dynamic_circuit_current_p3", "A"),
    OldName("state#latestPulse", "availability", "`online`, `offline` after 20 minutes of silence"),
    OldName("state#chargerFirmware", "state/software_release"),
    OldName("state#latestFirmware", "state/firmware_latest"),
    OldName("state#voltage", "state/in_voltage_t2_t3", "V"),
    OldName("state#outputCurrent", "state/output_current", "A"),
    OldName("state#isOnline", "availability", "`online`, `offline`: also the thing's own state"),
    OldName("state#dynamicChargerCurrent", "set/dynamic_charger_current", "0, or 6 A and more"),
    OldName(
        "state#reasonForNoCurrent",
        "state/reason_for_no_current",
        "a code; `state/no_current_reason` has the word",
    ),
    OldName("state#lifetimeEnergy", "state/lifetime_energy", "kWh"),
    OldName("state#errorCode", "state/error_code"),
    OldName("state#fatalErrorCode", "state/fatal_error_code"),
    OldName("config#lockCablePermanently", "set/lock_cable_permanently", _DEVICE),
    OldName("config#authorizationRequired", "set/authorization_required"),
    OldName("config#limitToSinglePhaseCharging", "set/limit_to_single_phase_charging", _DEVICE),
    OldName("config#phaseMode", "set/phase_mode", "takes 1, 2 and 3; group `device`"),
    OldName("config#maxChargerCurrent", "state/max_charger_current", "A"),
    OldName("commands#genericCommand: reboot", "set/reboot", _MAINTENANCE),
    OldName("commands#genericCommand: update_firmware", "set/update_firmware", _MAINTENANCE),
    OldName("commands#genericCommand: poll_all", "set/refresh", _MAINTENANCE),
    OldName("commands#genericCommand: smart_charging", "set/smart_charging", "`true` or `false`"),
    OldName("commands#genericCommand: start_charging", "set/start"),
    OldName("commands#genericCommand: stop_charging", "set/stop"),
    OldName("commands#genericCommand: pause_charging", "set/pause"),
    OldName("commands#genericCommand: resume_charging", "set/resume"),
    OldName("commands#genericCommand: toggle_charging", "set/toggle"),
    OldName("commands#genericCommand: override_schedule", "set/override_schedule"),
    OldName("commands#startStop", "set/start", "two commands: `start` for ON, `stop` for OFF"),
    OldName("latest_session#sessionEnergy", "session/last", "JSON, `energy_kwh`"),
    OldName("latest_session#sessionStart", "session/last", "JSON, `started_at`"),
    OldName("latest_session#sessionEnd", "session/last", "JSON, `ended_at`"),
    OldName("dynamic_current#phase1", "state/dynamic_circuit_current_p1", "A"),
    OldName("dynamic_current#phase2", "state/dynamic_circuit_current_p2", "A"),
    OldName("dynamic_current#phase3", "state/dynamic_circuit_current_p3", "A"),
    OldName("dynamic_current#dynamicCurrents", "set/dynamic_circuit_current", _PHASES),
    OldName("settings#maxCircuitCurrentP1", "state/circuit_max_current_p1", "A"),
    OldName("settings#maxCircuitCurrentP2", "state/circuit_max_current_p2", "A"),
    OldName("settings#maxCircuitCurrentP3", "state/circuit_max_current_p3", "A"),
    OldName("settings#maxCurrents", "set/max_circuit_current", _FLASH),
    OldName("settings#offlineMaxCircuitCurrentP1", "state/offline_max_circuit_current_p1", "A"),
    OldName("settings#offlineMaxCircuitCurrentP2", "state/offline_max_circuit_current_p2", "A"),
    OldName("settings#offlineMaxCircuitCurrentP3", "state/offline_max_circuit_current_p3", "A"),
    OldName("settings#offlineMaxCurrents", "set/offline_max_circuit_current", _FLASH),
    OldName("settings#enableIdleCurrent", "set/enable_idle_current", _DEVICE),
    OldName("settings#allowOfflineMaxCircuitCurrent", "", "not published"),
)

_IOBROKER: Final = (
    OldName("easee.0.<id>.id", "", "the serial is a level of every topic"),
    OldName("easee.0.<id>.name", "", "not published"),
    OldName("easee.0.<id>.status.cableLocked", "state/cable_locked"),
    OldName("easee.0.<id>.status.chargerOpMode", "state/charger_op_mode", _CODE),
    OldName(
        "easee.0.<id>.status.reasonForNoCurrent",
        "state/reason_for_no_current",
        "a code; `state/no_current_reason` has the word",
    ),
    OldName("easee.0.<id>.status.ledMode", "state/led_mode", "a code; `state/led` has the word"),
    OldName("easee.0.<id>.status.totalPower", "state/total_power", "kW"),
    OldName("easee.0.<id>.status.wiFiRSSI", "state/wi_fi_rssi", "dBm"),
    OldName("easee.0.<id>.status.chargerFirmware", "state/software_release"),
    OldName("easee.0.<id>.status.latestFirmware", "state/firmware_latest"),
    OldName("easee.0.<id>.status.voltage", "state/in_voltage_t2_t3", "V"),
    OldName("easee.0.<id>.status.outputCurrent", "state/output_current", "A"),
    OldName("easee.0.<id>.status.inCurrentT2", "state/in_current_t2", _TERMINAL),
    OldName("easee.0.<id>.status.inCurrentT3", "state/in_current_t3", _TERMINAL),
    OldName("easee.0.<id>.status.inCurrentT4", "state/in_current_t4", _TERMINAL),
    OldName("easee.0.<id>.status.inCurrentT5", "state/in_current_t5", _TERMINAL),
    *(
        OldName(f"easee.0.<id>.status.inVoltageT{a}T{b}", f"state/in_voltage_t{a}_t{b}", _PAIR)
        for a, b in _TERMINAL_PAIRS
    ),
    OldName("easee.0.<id>.status.isOnline", "availability", "`online`, `offline`"),
    OldName("easee.0.<id>.status.wiFiAPEnabled", "state/wi_fi_ap_enabled"),
    OldName("easee.0.<id>.status.lifetimeEnergy", "state/lifetime_energy", "kWh"),
    OldName("easee.0.<id>.status.energyPerHour", "state/energy_per_hour", "kWh"),
    OldName("easee.0.<id>.status.TempMax", "state/temp_max", "°C"),
    OldName("easee.0.<id>.config.isEnabled", "set/enabled", "`state/is_enabled` shows it"),
    OldName("easee.0.<id>.config.smartCharging", "set/smart_charging"),
    OldName("easee.0.<id>.config.smartButtonEnabled", "set/smart_button_enabled"),
    OldName("easee.0.<id>.config.phaseMode", "set/phase_mode", "takes 1, 2 and 3; group `device`"),
    OldName("easee.0.<id>.config.ledStripBrightness", "set/led_strip_brightness", _DEVICE),
    OldName("easee.0.<id>.config.wiFiSSID", "state/wi_fi_ssid", "personal: hashed, not retained"),
    OldName("easee.0.<id>.config.maxChargerCurrent", "set/max_charger_current", _FLASH),
    OldName(
        "easee.0.<id>.config.dynamicChargerCurrent",
        "set/dynamic_charger_current",
        "0, or 6 A and more; `state/dynamic_charger_current` shows it",
    ),
    OldName(
        "easee.0.<id>.config.dynamicCircuitCurrentP1",
        "set/dynamic_circuit_current",
        "all phases in one message: " + _PHASES,
    ),
    OldName(
        "easee.0.<id>.config.dynamicCircuitCurrentP2",
        "set/dynamic_circuit_current",
        "the same message",
    ),
    OldName(
        "easee.0.<id>.config.dynamicCircuitCurrentP3",
        "set/dynamic_circuit_current",
        "the same message",
    ),
    OldName("easee.0.<id>.config.circuitMaxCurrentP1", "set/max_circuit_current", _FLASH),
    OldName("easee.0.<id>.config.circuitMaxCurrentP2", "set/max_circuit_current", _FLASH),
    OldName("easee.0.<id>.config.circuitMaxCurrentP3", "set/max_circuit_current", _FLASH),
    OldName("easee.0.<id>.control.start", "set/start"),
    OldName("easee.0.<id>.control.stop", "set/stop"),
    OldName("easee.0.<id>.control.pause", "set/pause"),
    OldName("easee.0.<id>.control.resume", "set/resume"),
    OldName("easee.0.<id>.control.reboot", "set/reboot", _MAINTENANCE),
    OldName("easee.0.<id>.session.<year>.<month>.totalEnergyUsage", "", _PRICES),
    OldName("easee.0.<id>.session.<year>.<month>.totalCost", "", _PRICES),
    OldName("easee.0.<id>.session.<year>.<month>.currencyId", "", _PRICES),
    OldName("easee.0.<id>.session.<year>.total_year", "", _PRICES),
)

_NODE_RED: Final = (
    OldName("output 1, Connected", "bridge/cloud", "`connected`"),
    OldName("output 2, Errors", "", "`bridge/alert/+`, retained, with message and hint"),
    OldName("output 3, Disconnected", "bridge/cloud", "`disconnected`"),
    OldName(
        "output 4, ProductUpdate", "observation/+", "JSON with name, value, unit and `measured_at`"
    ),
    OldName("output 5, ChargerUpdate", "observation/+", "the same values"),
    OldName("output 6, CommandResponse", "result/+", "matched to its command, with a reason"),
    OldName("login", "", "the bridge logs in by itself"),
    OldName("refresh_token", "", "the bridge renews its token by itself"),
    OldName("charger", "bridge/info", "JSON: all chargers"),
    OldName("charger_details", "get/observations", "or the retained `state/…` topics"),
    OldName("charger_state", "get/observations", "or the retained `state/…` topics"),
    OldName("charger_config", "get/observations", "settings are observations too"),
    OldName("charger_site", "state/site_id_numeric", "the id; personal data is not published"),
    OldName("charger_session_latest", "session/last", "retained"),
    OldName("charger_session_ongoing", "session/current", "retained, empty without a session"),
    OldName("start_charging", "set/start"),
    OldName("stop_charging", "set/stop"),
    OldName("pause_charging", "set/pause"),
    OldName("resume_charging", "set/resume"),
    OldName("toggle_charging", "set/toggle"),
    OldName("dynamic_current (read)", "state/dynamic_circuit_current_p1", "one topic a phase"),
    OldName("dynamic_current (write)", "set/dynamic_circuit_current", _PHASES),
    OldName("reboot", "set/reboot", _MAINTENANCE),
    OldName("any other path", "", "commands of [commands.md](../commands.md) only"),
)

_LOXBERRY: Final = (
    OldName("easee/bridge/status", "bridge/state", "`online`, `offline`"),
    OldName("easee/<id>/state/opmode", "state/charger_op_mode", _CODE),
    OldName("easee/<id>/state/pilot_mode", "state/pilot_mode", "`A` to `F`"),
    OldName("easee/<id>/state/power_kw", "state/total_power", "kW"),
    OldName("easee/<id>/state/session_energy_kwh", "state/session_energy", "kWh"),
    OldName("easee/<id>/state/lifetime_energy_kwh", "state/lifetime_energy", "kWh"),
    OldName("easee/<id>/state/cable_locked", "state/cable_locked", "`true`, `false`, not 0, 1"),
    OldName("easee/<id>/state/is_enabled", "state/is_enabled", "`true`, `false`, not 0, 1"),
    OldName("easee/<id>/state/dynamic_current_a", "state/dynamic_charger_current", "A"),
    OldName("easee/<id>/state/max_current_a", "state/max_charger_current", "A"),
    OldName("easee/<id>/state/output_phase", "state/output_phase", "a code"),
    OldName("easee/<id>/state/derating_active", "state/derating_active", "`true`, `false`"),
    OldName("easee/<id>/state/derated_current", "state/derated_current", "A"),
    OldName("easee/<id>/state/error_code", "state/error_code"),
    OldName("easee/<id>/state/fatal_error_code", "state/fatal_error_code"),
    OldName("easee/<id>/state/error_string", "state/error_string"),
    OldName("easee/<id>/state/connected_to_cloud", "state/connected_to_cloud", "`true`, `false`"),
    OldName("easee/<id>/state/current_t2", "state/in_current_t2", _TERMINAL),
    OldName("easee/<id>/state/current_t3", "state/in_current_t3", _TERMINAL),
    OldName("easee/<id>/state/current_t4", "state/in_current_t4", _TERMINAL),
    OldName("easee/<id>/state/current_t5", "state/in_current_t5", _TERMINAL),
    *(
        OldName(f"easee/<id>/state/in_volt_t{a}_t{b}", f"state/in_voltage_t{a}_t{b}", _PAIR)
        for a, b in _TERMINAL_PAIRS
    ),
    OldName("easee/<id>/state/temp_max", "state/temp_max", "°C"),
    *(
        OldName(f"easee/<id>/state/{old}", f"state/{ours}", note)
        for old, ours, note in (
            ("ledmode", "led_mode", "a code; `state/led` has the word"),
            *(
                (f"max_current_offline_fallback_p{n}", f"offline_max_circuit_current_p{n}", "A")
                for n in (1, 2, 3)
            ),
            ("charge_session_start", "charging_session_start", "JSON"),
            ("user_idtoken", "user_id_token", "personal: hashed, not retained"),
            ("user_idtoken_reversed", "user_id_token_reversed", "personal: hashed, not retained"),
            ("paired_user_idtoken", "paired_user_id_token", "personal: hashed, not retained"),
            ("rfid_timeout_auth", "rfid_auth_timeout_sec", "s"),
            ("site_idnumeric", "site_id_numeric", ""),
            ("site_idstring", "site_id_string", ""),
            ("wi_fi_apenabled", "wi_fi_ap_enabled", "`true`, `false`"),
            ("erratic_evmax_toggles", "erratic_ev_max_toggles", ""),
            (
                "forced_three_phase_on_itwith_gnd_fault",
                "forced_three_phase_on_it_with_gnd_fault",
                "",
            ),
            ("otaerror_code", "ota_error_code", ""),
            ("power_pcbversion", "power_pcb_version", ""),
            ("com_pcbversion", "com_pcb_version", ""),
            ("udpnum_of_connected_nodes", "udp_num_of_connected_nodes", ""),
            (
                "dynamic_current_offline_fallback_depricated",
                "dynamic_current_offline_fallback_deprecated",
                "A",
            ),
            *(
                (f"out_volt_pin{a}_{b}", f"out_volt_pin{a}_and{b}", "V")
                for a, b in ((1, 2), (1, 3), (1, 4), (1, 5), (2, 3))
            ),
        )
    ),
    OldName("easee/<id>/state/<any other>", "state/+", "the same name"),
    OldName("easee/<id>/cmd/start", "set/start"),
    OldName("easee/<id>/cmd/stop", "set/stop"),
    OldName("easee/<id>/cmd/pause", "set/pause"),
    OldName("easee/<id>/cmd/resume", "set/resume"),
    OldName("easee/<id>/cmd/toggle", "set/toggle"),
    OldName("easee/<id>/cmd/reboot", "set/reboot", _MAINTENANCE),
    OldName("easee/<id>/cmd/override_schedule", "set/override_schedule"),
    OldName("easee/<id>/set/dynamic_current", "set/dynamic_charger_current", "0, or 6 A and more"),
    OldName("easee/<id>/set/max_current", "set/max_charger_current", _FLASH),
    OldName("easee/<id>/set/enabled", "set/enabled", "also 0 and 1"),
    OldName("easee/<id>/set/cable_lock", "set/lock_cable_permanently", _DEVICE),
    OldName("easee/<id>/set/single_phase_limit", "set/limit_to_single_phase_charging", _DEVICE),
    OldName("easee/<id>/set/phase_mode", "set/phase_mode", "takes 1, 2 and 3; group `device`"),
    OldName("easee/<id>/set/smart_charging", "set/smart_charging", "also 0 and 1"),
    OldName("easee/<id>/set/led_brightness", "set/led_strip_brightness", _DEVICE),
    OldName("easee/<id>/set/idle_current", "set/enable_idle_current", _DEVICE),
)

_SCRIPTS: Final = (
    OldName("GET /api/chargers/<id>/state", "get/observations", "or the retained `state/…` topics"),
    OldName("GET /api/chargers/<id>/config", "get/observations", "settings are observations too"),
    OldName("GET /api/chargers/<id>/sessions/latest", "session/last", "retained"),
    OldName("GET /api/chargers/<id>/sessions/ongoing", "session/current", "retained"),
    OldName("POST /api/chargers/<id>/commands/start_charging", "set/start"),
    OldName("POST /api/chargers/<id>/commands/stop_charging", "set/stop"),
    OldName("POST /api/chargers/<id>/commands/pause_charging", "set/pause"),
    OldName("POST /api/chargers/<id>/commands/resume_charging", "set/resume"),
    OldName("POST /api/chargers/<id>/commands/toggle_charging", "set/toggle"),
    OldName("POST /api/chargers/<id>/commands/reboot", "set/reboot", _MAINTENANCE),
    OldName("POST /api/chargers/<id>/commands/poll_all", "set/refresh", _MAINTENANCE),
    OldName("POST /api/chargers/<id>/settings", "", "one command for each setting: see topics.md"),
    OldName("easee2MQTT/<id>/energy_consumption", "state/lifetime_energy", "kWh"),
    OldName("easee2MQTT/<id>/current_session", "state/session_energy", "kWh"),
    OldName("easee2MQTT/<id>/previous_session", "session/last", "JSON, `energy_kwh`"),
    OldName("easee2MQTT/<id>/voltage", "state/in_voltage_t2_t3", "V"),
    OldName("easee2MQTT/<id>/power", "state/total_power", "kW, not W"),
    OldName("easee2MQTT/<id>/cable_lock", "state/cable_locked", "`true`, `false`"),
    OldName("easee2MQTT/<id>/charging", "state/op_mode", "`charging`"),
    OldName("easee2MQTT/<id>/charging_enabled", "state/is_enabled", "`true`, `false`"),
    OldName("easee2MQTT/<id>/smartcharging_enabled", "state/smart_charging", "`true`, `false`"),
    OldName("easee2MQTT/<id>/latest_pulse", "availability", "`online`, `offline`"),
    OldName("easee2MQTT/<id>/cable_lock/set", "set/lock_cable_permanently", _DEVICE),
    OldName("easee2MQTT/<id>/charging_enabled/set", "set/enabled"),
    OldName("easee2MQTT/<id>/smartcharging_enabled/set", "set/smart_charging"),
    OldName("easee2MQTT/<id>/ping", "set/refresh", _MAINTENANCE),
    OldName("{root_topic}/charging_enabled", "state/smart_charging", "`true`, `false`"),
    OldName("{root_topic}/charging_current", "state/dynamic_charger_current", "A"),
    OldName("{root_topic}/chargerOpMode", "state/pilot_mode", "`A` to `F`, as evcc reads it"),
    OldName("{root_topic}/cmnd/charging", "set/smart_charging"),
    OldName("{root_topic}/cmnd/current", "set/dynamic_charger_current", "0, or 6 A and more"),
)

PROJECTS: Final[Mapping[str, Project]] = MappingProxyType(
    {
        "ha": Project(
            "easee_hass", "easee-hass", "entity or action", _EASEE_HASS, has_entities=True
        ),
        "evcc": Project("evcc", "evcc", "attribute of a custom charger", _EVCC),
        "openhab": Project("the openHAB binding", "openhab", "channel", _OPENHAB),
        "iobroker": Project("ioBroker.easee", "iobroker", "datapoint", _IOBROKER),
        "node-red": Project("node-red-contrib-easee", "node-red", "output or topic", _NODE_RED),
        "loxberry": Project("LoxBerry EaseeMQTT", "loxberry", "topic", _LOXBERRY),
        "scripts": Project("one-file scripts", "scripts", "call or topic", _SCRIPTS),
    }
)
