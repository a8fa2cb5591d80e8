"""Which commands become buttons, switches, numbers and selects: one row per command.

Rules:

1. Every command of the catalogue stands here exactly once, those without an entity too, with the
   reason; a test holds that.
2. A control shows what the charger reports, never what was asked for; a setting nobody can read
   back has none.
3. A payload carries no id: the same id twice within a day is answered from the journal and not
   carried out.
4. What wears the charger's flash memory or cannot be taken back is configuration, and disabled
   until somebody enables it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from bridge.core.easee.enumerations import OFFLINE_CHARGING_MODE, PHASE_MODE

MIN_CURRENT_A = 6

Range = Callable[[int], Mapping[str, object]]


def _no_range(_max_current_a: int) -> Mapping[str, object]:
    return {}


@dataclass(frozen=True, slots=True)
class Control:
    """The entity of one command.

    Attributes:
        platform: ``button``, ``switch``, ``number``, ``select`` or ``update``.
        name: What people see.
        shows: The observation it shows; empty for a button.
        replaces: True when the entity that only reads the same observation is not needed beside it.
        labels: Code to option, of a select.
        within: ``commands.max_current_a`` to the bounds of a number.
        extra: Anything else, in Home Assistant's words.
        is_config: It belongs to the configuration of the device.
        is_enabled: It is there without being enabled first.
    """

    platform: str
    name: str
    shows: str = ""
    replaces: bool = False
    labels: Mapping[int | str, str] = field(default_factory=dict)
    within: Range = _no_range
    extra: Mapping[str, object] = field(default_factory=dict)
    is_config: bool = False
    is_enabled: bool = True


def _button(
    name: str, device_class: str = "", *, is_config: bool = False, is_enabled: bool = True
) -> Control:
    extra = {"device_class": device_class} if device_class else {}
    return Control("button", name, extra=extra, is_config=is_config, is_enabled=is_enabled)


def _switch(name: str, shows: str, *, is_config: bool = True) -> Control:
    return Control("switch", name, shows, replaces=True, is_config=is_config)


def _amperes(least: int) -> Range:
    return lambda max_current_a: {
        "min": least,
        "max": max_current_a,
        "step": 1,
        "unit_of_measurement": "A",
        "device_class": "current",
    }


def _limit(name: str, shows: str, least: int = 0, *, is_lasting: bool = False) -> Control:
    return Control(
        "number",
        name,
        shows,
        within=_amperes(least),
        extra={"mode": "box"} if is_lasting else {},
        is_config=is_lasting,
        is_enabled=not is_lasting,
    )


def _select(name: str, shows: str, labels: Mapping[int | str, str]) -> Control:
    return Control("select", name, shows, replaces=True, labels=labels, is_config=True)


CONTROLS: Final[Mapping[str, Control]] = MappingProxyType(
    {
        "start": _button("Start"),
        "stop": _button("Stop"),
        "pause": _button("Pause"),
        "resume": _button("Resume"),
        "toggle": _button("Toggle", is_enabled=False),
        "override_schedule": _button("Override schedule"),
        "smart_charging": _switch("Smart charging", "smart_charging", is_config=False),
        "authorization_required": _switch("Authorization required", "authorization_required"),
        "local_pre_authorize_enabled": _switch(
            "Local pre-authorization", "local_pre_authorize_enabled"
        ),
        "local_authorize_offline_enabled": _switch(
            "Offline: known tags may charge", "local_authorize_offline_enabled"
        ),
        "allow_offline_tx_for_unknown_id": _switch(
            "Offline: every tag may charge", "allow_offline_tx_for_unknown_id"
        ),
        "smart_button_enabled": _switch("Smart button", "smart_button_enabled"),
        "offline_charging_mode": _select(
            "Offline charging mode", "offline_charging_mode", OFFLINE_CHARGING_MODE
        ),
        "remote_start_required": _switch("Remote start required", "remote_start_required"),
        "enabled": _switch("Enabled", "is_enabled"),
        "dynamic_charger_current": _limit("Set charger limit", "dynamic_charger_current"),
        "dynamic_circuit_current": _limit("Set circuit limit", "dynamic_circuit_current_p1"),
        "lock_cable_permanently": _switch("Lock cable permanently", "lock_cable_permanently"),
        "led_strip_brightness": Control(
            "number",
            "Light strip brightness",
            "led_strip_brightness",
            replaces=True,
            within=lambda _: {"min": 0, "max": 100, "step": 1, "unit_of_measurement": "%"},
            is_config=True,
        ),
        # 0 is what some firmware reports, and nothing that can be set.
        "phase_mode": _select(
            "Phase mode", "phase_mode", {code: PHASE_MODE[code] for code in (1, 2, 3)}
        ),
        "enable_idle_current": _switch("Idle current", "enable_idle_current"),
        "rfid_pairing": _button("Pair a tag", is_config=True, is_enabled=False),
        "max_charger_current": _limit(
            "Set largest charger current", "max_charger_current", MIN_CURRENT_A, is_lasting=True
        ),
        "offline_max_circuit_current": _limit(
            "Set offline circuit current", "offline_max_circuit_current_p1", is_lasting=True
        ),
        "max_circuit_current": _limit(
            "Set largest circuit current", "circuit_max_current_p1", is_lasting=True
        ),
        "reboot": _button("Restart", "restart", is_config=True),
        "update_firmware": _button("Update firmware", "update", is_config=True),
        "refresh": _button("Read everything again", is_config=True),
    }
)

WITHOUT_CONTROL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "authorize": "the same as start",
        "deauthorize": "the same as stop",
        "limit_to_single_phase_charging": "nothing tells whether it is on",
        "basic_charge_plan": "a document, not a state",
        "weekly_charge_plan": "a document, not a state",
        "access_level": "the switches for authorization say the same and show it",
    }
)
