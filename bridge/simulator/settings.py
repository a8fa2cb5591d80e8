"""The settings of ``/api/chargers/{id}/settings``: keys, checks, readbacks.

Rules:

1. Only a value that differs from the last one known is forwarded; the rest is taken in silence.
2. ``authorizationRequired`` and ``localPreAuthorizeEnabled`` exclude each other: what switches one
   on switches the other off, and both readbacks move.
3. An unknown key makes the whole body a 400.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bridge.simulator.charger import Charger
from bridge.simulator.commands import amount, is_amps, is_flag, is_number, is_phase_mode
from bridge.simulator.readings import Value

# Settings without a published command of their own reach a charger as a settings download.
DOWNLOAD_SETTINGS = 5
FULL_BRIGHTNESS = 100

CLOUD_AUTHORIZATION = 42
LOCAL_AUTHORIZATION = 15
EXCLUDES = MappingProxyType(
    {CLOUD_AUTHORIZATION: LOCAL_AUTHORIZATION, LOCAL_AUTHORIZATION: CLOUD_AUTHORIZATION}
)
SMART_CHARGING = 102
DYNAMIC_CURRENT = 48
PHASE_MODE = 38


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of the settings body.

    Attributes:
        observation_id: The readback; None when no observation reflects it.
        is_valid: Checks the JSON value.
        command_id: What the CommandResponse carries.
    """

    observation_id: int | None
    is_valid: Callable[[object], bool]
    command_id: int = DOWNLOAD_SETTINGS


def _is_mode(value: object) -> bool:
    return value in (0, 1, 2) and not isinstance(value, bool)


def _is_brightness(value: object) -> bool:
    return is_number(value) and 0 <= amount(value) <= FULL_BRIGHTNESS


SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "enabled": Setting(31, is_flag, 29),
        "enableIdleCurrent": Setting(37, is_flag, 34),
        "limitToSinglePhaseCharging": Setting(None, is_flag),
        "lockCablePermanently": Setting(30, is_flag, 30),
        "smartButtonEnabled": Setting(44, is_flag),
        "phaseMode": Setting(38, is_phase_mode, 38),
        "smartCharging": Setting(SMART_CHARGING, is_flag, 11),
        "localPreAuthorizeEnabled": Setting(LOCAL_AUTHORIZATION, is_flag),
        "localAuthorizeOfflineEnabled": Setting(16, is_flag),
        "allowOfflineTxForUnknownId": Setting(17, is_flag),
        "offlineChargingMode": Setting(45, _is_mode),
        "authorizationRequired": Setting(CLOUD_AUTHORIZATION, is_flag),
        "remoteStartRequired": Setting(43, is_flag),
        "ledStripBrightness": Setting(40, _is_brightness, 40),
        "maxChargerCurrent": Setting(47, is_amps, 47),
        "dynamicChargerCurrent": Setting(DYNAMIC_CURRENT, is_amps, 48),
    }
)


def problems(body: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the vendor's ``errors`` map for a settings body; empty when it is understood."""
    return {
        key: [f"The value of {key} is not valid."]
        for key, value in body.items()
        if key not in SETTINGS or (value is not None and not SETTINGS[key].is_valid(value))
    }


def current(charger: Charger, key: str) -> Value | None:
    """Return the value of a setting as the cloud knows it."""
    observation_id = SETTINGS[key].observation_id
    if observation_id is None:
        return charger.settings.get(key)
    reading = charger.readings.get(observation_id)
    return reading.value if reading is not None else None


def changed(charger: Charger, body: Mapping[str, object]) -> dict[str, Value]:
    """Return what of a checked body differs from what the cloud knows."""
    return {
        key: value
        for key, value in body.items()
        if isinstance(value, bool | int | float) and value != current(charger, key)
    }


def apply(charger: Charger, key: str, value: Value) -> None:
    """Carry one setting out on the charger."""
    observation_id = SETTINGS[key].observation_id
    if observation_id is None:
        charger.settings[key] = value
    elif observation_id == DYNAMIC_CURRENT:
        charger.set_dynamic_current(float(value), 0)
    elif observation_id == PHASE_MODE:
        charger.switch_phases(int(value))
    else:
        charger.change(observation_id, value)
    if observation_id is not None and observation_id in EXCLUDES and value:
        charger.change(EXCLUDES[observation_id], False)
    if observation_id == SMART_CHARGING:
        # Switched off here, the touch button is dead until smart charging is switched on again.
        charger.touch_alive = bool(value)
    charger.show()
