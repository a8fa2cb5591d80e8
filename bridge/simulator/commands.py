"""The commands of ``/api/chargers/{id}/commands/…``: payloads and effects.

One row per command. A command number (``command_id``) is not an observation id; the two spaces
overlap. An empty refusal means the body is understood.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bridge.simulator.charger import Charger
from bridge.simulator.seed import LATEST_FIRMWARE
from bridge.simulator.sessions import AUTH_REMOTE

Body = Mapping[str, object]
Effect = Callable[[Charger, Body], None]

REMOTE_USER = "user-4711"
MAX_CURRENT_A = 40
# ``resume_charging`` puts the dynamic limit back to its maximum a moment after the answer, and so
# overwrites a limit sent right behind it (evcc PR#1823, PR#8588).
RESUMES_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        command_id: The vendor's number, as a CommandResponse carries it.
        effect: What it does to the charger.
        fields: Keys the body must have, each with its check; anything else is ignored.
        needs_car: Without a car the cloud answers 400 with errorCode 410.
        effect_after_s: Real seconds between the charger's answer and the effect.
        silent_without: Wrong field names are taken with a 2xx and do nothing, as observed on
            ``set_dynamic_charger_current``.
    """

    command_id: int
    effect: Effect
    fields: Mapping[str, Callable[[object], bool]] = field(default_factory=dict)
    needs_car: Callable[[Charger], bool] = lambda _: False
    effect_after_s: float = 0.0
    silent_without: bool = False

    def problems(self, body: Body) -> dict[str, list[str]]:
        """Return the vendor's ``errors`` map for a body; empty when it is understood."""
        return {
            key: [f"The value of {key} is missing or not valid."]
            for key, is_valid in self.fields.items()
            if not is_valid(body.get(key))
        }


def is_number(value: object) -> bool:
    """Return whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_amps(value: object) -> bool:
    """Return whether a JSON value is a valid current."""
    return is_number(value) and 0 <= amount(value) <= MAX_CURRENT_A


def is_minutes(value: object) -> bool:
    """Return whether a JSON value is a time to live; absent means unlimited."""
    return value is None or (is_number(value) and amount(value) >= 0)


def is_flag(value: object) -> bool:
    """Return whether a JSON value is a boolean."""
    return isinstance(value, bool)


def is_phase_mode(value: object) -> bool:
    """Return whether a JSON value is a phase mode that may be written."""
    return value in (1, 2, 3) and not isinstance(value, bool)


def amount(value: object) -> float:
    """Return a checked JSON number; 0 for an absent one."""
    return float(value) if isinstance(value, int | float) else 0.0


def _start(charger: Charger, _: Body) -> None:
    # Taken without effect unless the cloud's authorization is required.
    if charger.flag(42):
        charger.authorize(REMOTE_USER, AUTH_REMOTE)


def _stop(charger: Charger, _: Body) -> None:
    charger.deauthorize()


def _pause(charger: Charger, _: Body) -> None:
    charger.set_dynamic_current(0, 0)


def _resume(charger: Charger, _: Body) -> None:
    charger.set_dynamic_current(charger.number(47), 0)


def _toggle(charger: Charger, body: Body) -> None:
    if charger.authorization_required:
        (_stop if charger.authorization is not None else _start)(charger, body)
    else:
        (_pause if charger.number(48) else _resume)(charger, body)


def _override(charger: Charger, _: Body) -> None:
    charger.overridden = True
    charger.show()


def _smart(charger: Charger, _: Body) -> None:
    charger.touch_alive = True
    charger.change(102, True)
    charger.show()


def _lock(charger: Charger, body: Body) -> None:
    charger.change(30, bool(body["state"]))
    charger.change(103, bool(body["state"]) or charger.car is not None)


def _dynamic(charger: Charger, body: Body) -> None:
    charger.set_dynamic_current(float(int(amount(body["amps"]))), amount(body.get("minutes")))


def _phase_mode(charger: Charger, body: Body) -> None:
    charger.switch_phases(int(amount(body["phaseMode"])))


def _pair(charger: Charger, body: Body) -> None:
    charger.pair(amount(body["timeout"]))


def _scan(charger: Charger, _: Body) -> None:
    networks = [{"ssid": "garage", "rssi": -61}, {"ssid": "guest", "rssi": -74}]
    charger.put(140, json.dumps({"networks": networks}))


def _wifi(charger: Charger, body: Body) -> None:
    charger.put(36, str(body["ssid"]))


# The light strip while a new release is written.
UPDATING_LED = 9


def _firmware(charger: Charger, _: Body) -> None:
    if charger.number(80) != LATEST_FIRMWARE:
        charger.put(46, UPDATING_LED)
        charger.put(83, 0)
        charger.reboot(release=LATEST_FIRMWARE)


def _reboot(charger: Charger, _: Body) -> None:
    charger.reboot()


def _poll(charger: Charger, _: Body) -> None:
    for observation_id in sorted(charger.readings):
        charger.put(observation_id, charger.value(observation_id))


def _always(_: Charger) -> bool:
    return True


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "start_charging": Command(25, _start),
        "stop_charging": Command(26, _stop),
        "pause_charging": Command(48, _pause, needs_car=_always),
        "resume_charging": Command(48, _resume, needs_car=_always, effect_after_s=RESUMES_AFTER_S),
        "toggle_charging": Command(
            48, _toggle, needs_car=lambda charger: not charger.authorization_required
        ),
        "override_schedule": Command(63, _override),
        "smart_charging": Command(11, _smart),
        "reboot": Command(1, _reboot),
        "update_firmware": Command(4, _firmware),
        "lock_state": Command(30, _lock, {"state": is_flag}),
        "set_dynamic_charger_current": Command(
            48, _dynamic, {"amps": is_amps, "minutes": is_minutes}, silent_without=True
        ),
        "set_phase_mode": Command(38, _phase_mode, {"phaseMode": is_phase_mode}),
        "set_rfid_pairing_mode_async": Command(69, _pair, {"timeout": is_number}),
        "scan_wifi": Command(7, _scan, {"timeout": is_number}),
        "set_wifi_config": Command(
            53, _wifi, {"ssid": lambda value: isinstance(value, str) and value != ""}
        ),
        "poll_all": Command(3, _poll),
    }
)
