"""The catalogue: what each command takes, what it asks of the cloud, and what confirms it.

Rules:

1. A row says everything about a command; nothing elsewhere asks for a command by name.
2. A row's ``read`` is the only way from a payload to a request. What it lets through is sent as it
   is, under exactly the vendor's key: a misspelled field is answered 2xx and does nothing.
3. ``reflects`` names only what the charger reports because it took the command; a value it may
   report for other reasons as well proves nothing and stands in ``moves`` only.
4. ``idempotent`` is False where doing it twice is not doing it once. Those are never sent again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from bridge.core.easee.charge_plans import Plan, basic_plan, weekly_plan
from bridge.core.easee.command_payloads import (
    Current,
    Phases,
    boolean,
    charger_current,
    choice_reader,
    circuit_current,
    integer_reader,
    lasting_circuit_current,
    pairing_time,
    persistent_current,
    read_press,
)
from bridge.core.easee.enumerations import OFFLINE_CHARGING_MODE, PHASE_MODE
from bridge.core.easee.observation_registry import POLLED_IDS
from bridge.core.easee.rest_requests import (
    CloudRequest,
    charger_command_request,
    charger_resource_request,
    charger_settings_request,
    circuit_request,
    observations_request,
)
from bridge.core.value_format import Value

A = TypeVar("A")
Group = Literal["control", "access", "current", "device", "installer", "maintenance"]
Expected = Callable[[Value], bool]
# All of these observations together confirm a command; a command may have several alternatives.
Evidence = Mapping[int, Expected]

SWITCH = "true or false (also on, off, 1, 0)"
PRESS = "PRESS (also 1, true, on, {})"
PHASES = '0 to max_current_a A for all phases, or {"phase1": …, "phase2": …, "phase3": …'


@dataclass(frozen=True, slots=True)
class CommandTarget:
    """Where a command goes.

    Attributes:
        charger_id: Serial, checked against the known ones.
        site_id: Site of its circuit, or None while that was not asked for.
        circuit_id: Circuit it hangs on, or None.
    """

    charger_id: str
    site_id: int | None = None
    circuit_id: int | None = None


def _never(_argument: object) -> bool:
    return False


def _always(_argument: object) -> bool:
    return True


def _nothing_reflects(_argument: object) -> tuple[Evidence, ...]:
    return ()


def _no_limits(_argument: object) -> Mapping[int, float]:
    return {}


def _replaces_nothing(_argument: object, _name: str, _other: object) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class CommandSpec(Generic[A]):
    """One row of the catalogue.

    Attributes:
        name: Last level of the ``set/`` and ``result/`` topics.
        group: What the allow-list knows it by, besides its name.
        description: One line for people.
        payload: One line for people.
        read: Payload value and ``commands.max_current_a`` to argument; raises ``CommandRefused``.
        request: Place and argument to request; None while the circuit has to be asked for first.
        response_ids: The vendor's command ids that answer it, where the cloud's own answer does
            not name one.
        reflects: Argument to alternatives of observations that prove it was taken.
        moves: Observations that change because of it, those of ``reflects`` included.
        idempotent: Sending it twice does the same as once.
        energizes: Argument to whether it can start a charge or let one grow.
        flash: It wears the charger's flash memory.
        limits: Argument to the current it asks for in A, by the observation that shows it.
        reduces: It can only stop a charge; carried out even when the journal cannot be written.
        replaces: Argument, name and argument of an earlier command that was not sent, to whether
            this one takes its place.
        skips_equal: Nothing is sent when the charger shows already what ``reflects`` expects.
        is_paced: Not sent more often than every few seconds.
        lags: It moves the dynamic current a moment after its answer.
        on_200: What an answer without a ticket means: nothing to change, done, wait for the
            charger, or that the body holds the observations asked for.
        side_effects: Argument to a sentence the answer carries, or None.
    """

    name: str
    group: Group
    description: str
    payload: str
    read: Callable[[object, int], A]
    request: Callable[[CommandTarget, A], CloudRequest | None]
    response_ids: tuple[int, ...] = ()
    reflects: Callable[[A], tuple[Evidence, ...]] = _nothing_reflects
    moves: tuple[int, ...] = ()
    idempotent: bool = True
    energizes: Callable[[A], bool] = _never
    flash: bool = False
    limits: Callable[[A], Mapping[int, float]] = _no_limits
    reduces: bool = False
    replaces: Callable[[A, str, Any], bool] = _replaces_nothing
    skips_equal: bool = False
    is_paced: bool = False
    lags: bool = False
    on_200: Literal["noop", "confirmed", "wait", "read"] = "noop"
    side_effects: Callable[[A], str | None] | None = None


def allowed(spec: CommandSpec[Any], allow: Iterable[str]) -> bool:
    """Say whether an allow-list names a command or its group."""
    return spec.name in allow or spec.group in allow


# -- shapes that several rows share -------------------------------------------------------------


def _is(*values: Value) -> Expected:
    return lambda value: value in values


def _above_zero(value: Value) -> bool:
    return isinstance(value, int | float) and value > 0


def _action(
    name: str,
    group: Group,
    description: str,
    vendor_name: str,
    response_ids: tuple[int, ...],
    *,
    evidence: tuple[Evidence, ...] = (),
    moves: tuple[int, ...] = (),
    idempotent: bool = True,
    energizes: bool = False,
    reduces: bool = False,
    replaces: tuple[str, ...] = (),
    lags: bool = False,
) -> CommandSpec[None]:
    """Make the row of a command without an argument and without a body."""
    return CommandSpec(
        name,
        group,
        description,
        PRESS,
        read_press,
        lambda place, _: charger_command_request(
            place.charger_id, vendor_name, idempotent=idempotent
        ),
        response_ids,
        reflects=lambda _: evidence,
        moves=(*sorted({key for one in evidence for key in one}), *moves),
        idempotent=idempotent,
        energizes=_always if energizes else _never,
        reduces=reduces,
        replaces=lambda _argument, name, _other: name in replaces,
        lags=lags,
    )


def _setting(
    name: str,
    group: Group,
    description: str,
    key: str,
    observation_id: int | None,
    *,
    read: Callable[[object, int], int] = boolean,
    payload: str = SWITCH,
    response_ids: tuple[int, ...] = (),
    moves: tuple[int, ...] = (),
    energizes: Callable[[int], bool] = _never,
    limits: Callable[[int], Mapping[int, float]] = _no_limits,
    excludes: str = "",
) -> CommandSpec[int]:
    """Make the row of one key of the settings call; ``bool`` is an ``int`` and stays one."""
    return CommandSpec(
        name,
        group,
        description,
        payload,
        read,
        lambda place, value: charger_settings_request(place.charger_id, _json({key: value})),
        response_ids,
        reflects=lambda value: () if observation_id is None else ({observation_id: _is(value)},),
        moves=moves if observation_id is None else (observation_id, *moves),
        energizes=energizes,
        flash=True,
        limits=limits,
        replaces=lambda on, name, other: bool(on and other) and name == excludes,
        skips_equal=observation_id is not None,
        side_effects=_excluding(excludes) if excludes else None,
    )


def _plan(name: str, description: str, read: Callable[[object, int], Plan]) -> CommandSpec[Plan]:
    """Make the row of a charge plan."""
    return CommandSpec(
        name,
        "device",
        description,
        "a JSON object as the vendor's interface takes it; null, off or clear removes the plan",
        read,
        lambda place, plan: charger_resource_request(
            "DELETE" if plan.body is None else "POST", place.charger_id, name, plan.body
        ),
        moves=(62,),
        # Removing a plan lets a waiting car charge at once.
        energizes=_always,
        on_200="confirmed",
    )


def _circuit_setting(name: str, description: str, key: str, first_id: int) -> CommandSpec[Phases]:
    """Make the row of a limit that the circuit stores."""
    return CommandSpec(
        name,
        "installer",
        description,
        f"{PHASES}}}, whole amperes",
        lasting_circuit_current,
        lambda place, phases: _on_circuit(
            place, "settings", {f"{key}P{i}": amps for i, amps in enumerate(phases.amps, 1)}
        ),
        # The settings answer 200 and a response with id 22 follows; 24 is the documented id.
        (24, 22),
        reflects=lambda phases: ({first_id + i: _is(amps) for i, amps in enumerate(phases.amps)},),
        moves=(first_id, first_id + 1, first_id + 2),
        energizes=lambda phases: any(phases.amps),
        flash=True,
        limits=_phase_limits(first_id),
        skips_equal=True,
        on_200="wait",
    )


def _on_circuit(
    target: CommandTarget, resource: str, body: Mapping[str, int]
) -> CloudRequest | None:
    if target.site_id is None or target.circuit_id is None:
        return None
    return circuit_request(target.site_id, target.circuit_id, resource, _json(body))


def _json(body: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(body)


def _rounded(argument: Current | Phases) -> str | None:
    return "the vendor takes whole amperes: rounded down" if argument.rounded else None


def _excluding(other: str) -> Callable[[int], str | None]:
    return lambda on: f"{other} becomes false: the two exclude each other" if on else None


def _phase_limits(first_id: int) -> Callable[[Phases], Mapping[int, float]]:
    return lambda phases: {first_id + i: amps for i, amps in enumerate(phases.amps)}


def _replaces_same(name: str) -> Callable[[object, str, object], bool]:
    return lambda _argument, other, _other_argument: other == name


def _smart_charging_request(target: CommandTarget, on: bool) -> CloudRequest:
    # The command only switches on; off is a setting.
    if on:
        return charger_command_request(target.charger_id, "smart_charging")
    return charger_settings_request(target.charger_id, _json({"smartCharging": False}))


def _labels(table: Mapping[Any, str], *codes: int) -> dict[str, int]:
    return {table[code]: code for code in codes}


# -- the table ----------------------------------------------------------------------------------

CHARGING: Final[Evidence] = {109: _is(3)}
AUTHORIZED: Final[Evidence] = {109: _is(3, 4, 6)}
# Older firmware says "awaiting start" (2) with reason 55 where newer says "awaiting
# authorization" (7), easee_hass#655.
DEAUTHORIZED: Final[tuple[Evidence, ...]] = ({109: _is(7, 8)}, {109: _is(2), 96: _is(55)})
PAUSED: Final[Evidence] = {48: _is(0)}
RESUMED: Final[Evidence] = {48: _above_zero}
STARTS: Final = ("start", "authorize")

_ROWS: Final[tuple[CommandSpec[Any], ...]] = (
    # -- control
    _action("start", "control", "Authorize the waiting car, so that it charges.",
            "start_charging", (25,), evidence=(AUTHORIZED,), moves=(96, 46), energizes=True),
    _action("stop", "control", "End the charge and revoke the authorization.",
            "stop_charging", (26,), evidence=DEAUTHORIZED, moves=(46,),
            reduces=True, replaces=STARTS),
    _action("authorize", "control", "The same as start.",
            "start_charging", (25,), evidence=(AUTHORIZED,), moves=(96, 46), energizes=True),
    _action("deauthorize", "control", "The same as stop.",
            "stop_charging", (26,), evidence=DEAUTHORIZED, moves=(46,),
            reduces=True, replaces=STARTS),
    _action("pause", "control", "Hold the charge by a dynamic limit of 0 A; stays authorized.",
            "pause_charging", (48,), evidence=(PAUSED,), moves=(96, 109, 46),
            reduces=True, replaces=("resume",)),
    _action("resume", "control", "Go on after a pause; the dynamic limit goes to its maximum.",
            "resume_charging", (48,), evidence=(RESUMED, CHARGING), moves=(96, 46),
            energizes=True, lags=True),
    _action("toggle", "control", "Start or stop, or pause or resume, whichever is due.",
            "toggle_charging", (25, 26, 48), moves=(48, 96, 109, 46),
            idempotent=False, energizes=True, lags=True),
    _action("override_schedule", "control", "Charge now although a schedule says later.",
            "override_schedule", (63,), evidence=(CHARGING,), moves=(62, 96, 46),
            energizes=True),
    CommandSpec("smart_charging", "control", "Switch smart charging on or off.", SWITCH,
                boolean, _smart_charging_request, (11,),
                reflects=lambda on: ({102: _is(on)},), moves=(102, 46), flash=True,
                energizes=lambda on: not on,
                side_effects=lambda on: None if on else "the touch button is dead while it is off"),
    # -- access
    _setting("authorization_required", "access", "Charge only after the cloud authorized.",
             "authorizationRequired", 42, moves=(15,), energizes=lambda on: not on,
             excludes="local_pre_authorize_enabled"),
    _setting("local_pre_authorize_enabled", "access",
             "Charge at once for tags on the charger's own list.",
             "localPreAuthorizeEnabled", 15, moves=(42,), energizes=bool,
             excludes="authorization_required"),
    _setting("local_authorize_offline_enabled", "access",
             "Offline: let tags on the charger's own list charge.",
             "localAuthorizeOfflineEnabled", 16, energizes=bool),
    _setting("allow_offline_tx_for_unknown_id", "access", "Offline: let every tag charge.",
             "allowOfflineTxForUnknownId", 17, energizes=bool),
    _setting("smart_button_enabled", "access", "Report touches instead of acting on them.",
             "smartButtonEnabled", 44),
    _setting("offline_charging_mode", "access", "Who may charge while the charger is offline.",
             "offlineChargingMode", 45, payload="always, whitelisted or never (also 0, 1, 2)",
             read=choice_reader(_labels(OFFLINE_CHARGING_MODE, 0, 1, 2) | {"only_whitelisted": 1}),
             energizes=lambda mode: mode != 2),  # noqa: PLR2004 - the vendor's code of "never"
    _setting("remote_start_required", "access", "Charge only after a start from afar.",
             "remoteStartRequired", 43, energizes=lambda on: not on),
    _setting("enabled", "access", "Let the charger work at all.", "enabled", 31,
             response_ids=(29,), energizes=bool),
    # -- current
    CommandSpec("dynamic_charger_current", "current",
                "Limit the charger; volatile, forgotten at a reboot or when a car is plugged in.",
                '0 or 6 to max_current_a A, or {"amps": 16, "minutes": 30}', charger_current,
                lambda place, limit: charger_command_request(
                    place.charger_id, "set_dynamic_charger_current",
                    _json({"amps": limit.amps, "minutes": limit.minutes})),
                (48,), reflects=lambda limit: ({48: _is(limit.amps)},), moves=(48, 96, 109, 46),
                energizes=lambda limit: limit.amps > 0, limits=lambda limit: {48: limit.amps},
                replaces=_replaces_same("dynamic_charger_current"), skips_equal=True,
                is_paced=True, side_effects=_rounded),
    CommandSpec("dynamic_circuit_current", "current",
                "Limit the circuit, and with it every charger on it; volatile.",
                f'{PHASES}, "minutes": 30}}', circuit_current,
                lambda place, limit: _on_circuit(place, "dynamicCurrent", {
                    **{f"phase{i}": amps for i, amps in enumerate(limit.amps, 1)},
                    "timeToLive": limit.minutes}),
                (22,),
                reflects=lambda limit: (
                    {111 + i: _is(amps) for i, amps in enumerate(limit.amps)},),
                moves=(111, 112, 113, 96, 109, 46), energizes=lambda limit: any(limit.amps),
                limits=_phase_limits(111), replaces=_replaces_same("dynamic_circuit_current"),
                skips_equal=True, is_paced=True, on_200="wait", side_effects=_rounded),
    # -- device
    CommandSpec("lock_cable_permanently", "device", "Keep the cable locked without a car.",
                SWITCH, boolean,
                lambda place, on: charger_command_request(
                    place.charger_id, "lock_state", _json({"state": on})),
                (30,), reflects=lambda on: ({30: _is(on)},), moves=(30, 103), flash=True,
                skips_equal=True),
    _setting("led_strip_brightness", "device", "Brightness of the LED strip.",
             "ledStripBrightness", 40, read=integer_reader(0, 100, "%"), payload="0 to 100 %",
             response_ids=(40,)),
    CommandSpec("phase_mode", "device", "Phases to charge with, from the next session on.",
                "locked_1_phase, auto or locked_3_phase (also 1, 2, 3)",
                choice_reader(_labels(PHASE_MODE, 1, 2, 3)),
                lambda place, mode: charger_command_request(
                    place.charger_id, "set_phase_mode", _json({"phaseMode": mode})),
                (38,), reflects=lambda mode: ({38: _is(mode)},), moves=(38, 110), flash=True,
                skips_equal=True),
    _setting("enable_idle_current", "device", "Go on offering current when the car is full.",
             "enableIdleCurrent", 37, response_ids=(34,), energizes=bool),
    _setting("limit_to_single_phase_charging", "device", "Charge with one phase only.",
             "limitToSinglePhaseCharging", None),
    _plan("basic_charge_plan", "One start and one stop.", basic_plan),
    _plan("weekly_charge_plan", "Up to two ranges for each day of the week.", weekly_plan),
    CommandSpec("access_level", "device", "Who may use the charger, as the vendor's app shows it.",
                "open, account or whitelist (also 1, 2, 3)",
                choice_reader({"open": 1, "account": 2, "whitelist": 3}),
                lambda place, level: charger_resource_request(
                    "PUT", place.charger_id, "access", str(level).encode()),
                moves=(42, 15), energizes=lambda level: level == 1, on_200="confirmed"),
    CommandSpec("rfid_pairing", "device", "Wait for a tag to be held to the charger.",
                f'{PRESS} for 60 s, 2 to 600 s, or {{"timeout": s}}', pairing_time,
                lambda place, timeout_s: charger_command_request(
                    place.charger_id, "set_rfid_pairing_mode_async",
                    _json({"timeout": timeout_s}), idempotent=False),
                (69,), moves=(46,), idempotent=False),
    # -- installer
    _setting("max_charger_current", "installer", "Largest current of the charger; flash memory.",
             "maxChargerCurrent", 47, read=persistent_current,
             payload="6 to max_current_a A, whole amperes", response_ids=(47,),
             energizes=_always, limits=lambda amps: {47: amps}),
    _circuit_setting("offline_max_circuit_current",
                     "Limit of the circuit while load balancing is out of reach; flash memory.",
                     "offlineMaxCircuitCurrent", 50),
    _circuit_setting("max_circuit_current", "Largest current of the circuit; flash memory.",
                     "maxCircuitCurrent", 22),
    # -- maintenance
    _action("reboot", "maintenance", "Restart the charger; dynamic limits are forgotten.",
            "reboot", (1,), moves=(48, 89, 96, 109, 250), idempotent=False),
    _action("update_firmware", "maintenance", "Install the newest public firmware.",
            "update_firmware", (4,), moves=(80, 83), idempotent=False),
    CommandSpec("refresh", "maintenance", "Read every observation again over REST.", PRESS,
                read_press,
                lambda place, _: observations_request(place.charger_id, POLLED_IDS),
                on_200="read"),
)  # fmt: skip

CATALOGUE: Final[Mapping[str, CommandSpec[Any]]] = {spec.name: spec for spec in _ROWS}

# Whoever watches for confirmations need not look at any other observation.
REFLECTING_IDS: Final = frozenset(number for spec in _ROWS for number in spec.moves)
