"""Command catalogue: payload, request and confirmation of each command.

Rules:

1. A row says everything about a command; nothing elsewhere asks for a command by name.
2. A row's ``takes`` is the only way from a payload to a request. What it lets through is sent as it
   is, under exactly the vendor's key: a misspelled field is answered 2xx and does nothing.
3. ``reflects`` names only what the charger reports because it took the command; a value it may
   report for other reasons as well proves nothing and stands in ``moves`` only.
4. ``idempotent`` is False where doing it twice is not doing it once. Those are never sent again.
5. A request names the command of the partner feed's exchange (``exchange``) only where its number
   and arguments are documented and mean the same as the request.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar

import msgspec

from bridge.core.addressees import CHARGER, EQUALIZER, SITE, Kind, site_id_of
from bridge.core.easee.command_payloads import (
    MIN_CURRENT_A,
    PHASE_NUMBERS,
    Current,
    Phases,
    PhaseSwitch,
    Release,
)
from bridge.core.easee.controls import (
    Control,
    allowed_switch,
    button,
    derived_limit,
    limit,
    number,
    select,
    switch,
)
from bridge.core.easee.derived_state import ACCESS_MODE
from bridge.core.easee.enumerations import OFFLINE_CHARGING_MODE, PHASE_MODE
from bridge.core.easee.equalizer_derived import MAX_ALLOCATED, SURPLUS_ENABLED
from bridge.core.easee.equalizer_settings import (
    holds_allocated_current,
    holds_surplus,
    surplus_body,
)
from bridge.core.easee.exchange_commands import ExchangeCommand
from bridge.core.easee.observation_registry import POLLED_IDS, spec_of
from bridge.core.easee.payload_kinds import (
    ALLOCATED,
    BASIC_PLAN,
    CHARGER_LIMIT,
    CIRCUIT_LIMIT,
    LASTING_CHARGER_LIMIT,
    LASTING_CIRCUIT_LIMIT,
    PAIRING_TIME,
    PHASE_SWITCH,
    PRESS,
    SURPLUS,
    SWITCH,
    WEEKLY_PLAN,
    PayloadKind,
    choice,
    schedule_kind,
    whole,
)
from bridge.core.easee.rest_requests import (
    CloudRequest,
    allocated_current_request,
    charger_command_request,
    charger_resource_request,
    charger_settings_request,
    circuit_request,
    equalizer_request,
    observations_request,
    site_price_request,
    site_request,
    site_resource_request,
    surplus_request,
)
from bridge.core.easee.schedule_payloads import (
    ScheduleOrder,
    is_shown,
    order_lookup,
    order_request,
)
from bridge.core.easee.schedules import Schedules
from bridge.core.easee.site_payloads import PRICE, holds_price, price_body
from bridge.core.value_format import Value

A = TypeVar("A")
Group = Literal[
    "control",
    "access",
    "current",
    "device",
    "installer",
    "maintenance",
    "equalizer",
    "schedule",
    "site",
]
Expected = Callable[[Value], bool]
# All of these observations together confirm a command; a command may have several alternatives.
Evidence = Mapping[int, Expected]


class CommandTarget(msgspec.Struct, frozen=True):
    """Where a command goes.

    Attributes:
        charger_id: Serial, checked against the known ones.
        site_id: Site of its circuit, or None while that was not asked for.
        circuit_id: Circuit it hangs on, or None.
        documents: What else the cloud was asked for, by path.
    """

    charger_id: str
    site_id: int | None = None
    circuit_id: int | None = None
    documents: dict[str, bytes] = msgspec.field(default_factory=dict)


def target_of(name: str) -> CommandTarget:
    """Return the target of a name: a serial, or a site."""
    return CommandTarget(name, site_id_of(name))


def _never(_argument: object) -> bool:
    return False


def _always(_argument: object) -> bool:
    return True


def _nothing_reflects(_argument: object) -> tuple[Evidence, ...]:
    return ()


def _no_limits(_argument: object) -> Mapping[int, float]:
    return {}


def _look_up_circuit(target: CommandTarget, _argument: object) -> CloudRequest | None:
    return site_request(target.charger_id)


def _replaces_nothing(_argument: object, _name: str, _other: object) -> bool:
    return False


class ReadBack(msgspec.Struct, Generic[A], frozen=True):
    """How the cloud is asked whether it holds what a command set.

    Attributes:
        request: What to read; None where that is not known.
        holds: Argument and body to whether it does; raises ``DecodeError``.
    """

    request: Callable[[CommandTarget], CloudRequest | None]
    holds: Callable[[A, bytes], bool]


@dataclass(frozen=True, slots=True)
class CommandSpec(Generic[A]):
    """One row of the catalogue.

    Attributes:
        name: Last level of the ``set/`` and ``result/`` topics.
        group: What the allow-list knows it by, besides its name.
        description: One line for people.
        takes: The kind of its payload: how it is read, what it may be, and a line for people.
        request: Place and argument to request; None while the cloud has to be asked first. Raises
            ``CommandRefused`` where its answer does not fit.
        lookup: Place and argument to what is asked first.
        is_held_by_schedule: Argument to whether it can do nothing for a charge that waits for a
            schedule; None: it can.
        is_taken_by_ocpp: A local OCPP server takes it away from the cloud: while one controls the
            charger, it is refused.
        shown_by_schedules: Argument and the schedules that the cloud holds to whether it was
            carried out; None where schedules say nothing about it.
        response_ids: The vendor's command ids that answer it, where the cloud's own answer does
            not name one.
        reflects: Argument to alternatives of observations that prove it was taken.
        moves: Observations that change because of it, those of ``reflects`` included.
        idempotent: Sending it twice does the same as once.
        energizes: Argument to whether it can start a charge or let one grow.
        flash: It wears the charger's flash memory.
        limits: Argument to the current it asks for in A, by the observation that shows it.
        reduces: Argument to whether it can only stop a charge; then it is carried out even when the
            journal cannot be written.
        replaces: Argument, name and argument of an earlier command that was not sent, to whether
            this one takes its place.
        skips_equal: Nothing is sent when the charger shows already what ``reflects`` expects.
        is_paced: Not sent more often than every few seconds.
        lags: Argument to whether it moves the dynamic current a moment after its answer.
        is_guided: It is carried out in steps, each of them a command
            (:mod:`bridge.core.commands.phase_switch`); ``request`` is the first that may be sent.
        on_200: What an answer without a ticket means: nothing to change, done, wait for the
            charger, or that the body holds the observations asked for.
        side_effects: Argument to a sentence the answer carries, or None.
        control: How a person operates it, or why that has no control.
        of: What it may be addressed to.
        read_back: How the cloud is asked for what it set, where nothing reports it.
        read: Of ``takes``; raises ``CommandRefused``.
    """

    name: str
    group: Group
    description: str
    takes: PayloadKind[A]
    request: Callable[[CommandTarget, A], CloudRequest | None]
    response_ids: tuple[int, ...] = ()
    reflects: Callable[[A], tuple[Evidence, ...]] = _nothing_reflects
    moves: tuple[int, ...] = ()
    idempotent: bool = True
    energizes: Callable[[A], bool] = _never
    flash: bool = False
    limits: Callable[[A], Mapping[int, float]] = _no_limits
    reduces: Callable[[A], bool] = _never
    replaces: Callable[[A, str, Any], bool] = _replaces_nothing
    skips_equal: bool = False
    is_paced: bool = False
    lags: Callable[[A], bool] = _never
    is_guided: bool = False
    on_200: Literal["noop", "confirmed", "wait", "read"] = "noop"
    side_effects: Callable[[A], str | None] | None = None
    lookup: Callable[[CommandTarget, A], CloudRequest | None] = _look_up_circuit
    is_held_by_schedule: Callable[[A], bool] | None = None
    is_taken_by_ocpp: bool = False
    shown_by_schedules: Callable[[A, Schedules], bool] | None = None
    control: Control | str = field(kw_only=True)
    of: frozenset[Kind] = frozenset({CHARGER})
    read_back: ReadBack[A] | None = None
    read: Callable[[object, int], A] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", self.takes.read)


def allowed(spec: CommandSpec[Any], allow: Iterable[str]) -> bool:
    """Return whether an allow-list contains a command or its group."""
    return spec.name in allow or spec.group in allow


def halts(spec: CommandSpec[Any], argument: object) -> bool:
    """Return whether a command asks for nothing but an end of the charge."""
    limits = spec.limits(argument)
    return not any(limits.values()) if limits else spec.reduces(argument)


# -- shapes that several rows share -------------------------------------------------------------


class Is(msgspec.Struct, frozen=True):
    """Expects one of some values. No function: what waits for it can be recorded."""

    values: tuple[Value, ...]

    def __call__(self, value: Value) -> bool:
        """Return whether a value is one of them."""
        return value in self.values


def _is(*values: Value) -> Expected:
    return Is(values)


def _above_zero(value: Value) -> bool:
    return isinstance(value, int | float) and value > 0


def action(
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
    is_held_by_schedule: Callable[[object], bool] | None = None,
    is_taken_by_ocpp: bool = False,
    is_on_exchange: bool = False,
    control: Control | str | None = None,
) -> CommandSpec[None]:
    """Return the row of a command without argument and body: a button.

    With ``is_on_exchange`` the exchange of the partner feed has it under its only response id.
    """
    return CommandSpec(
        name,
        group,
        description,
        PRESS,
        lambda place, _: charger_command_request(
            place.charger_id,
            vendor_name,
            idempotent=idempotent,
            exchange=ExchangeCommand(place.charger_id, response_ids[0]) if is_on_exchange else None,
        ),
        response_ids,
        reflects=lambda _: evidence,
        moves=(*sorted({key for one in evidence for key in one}), *moves),
        idempotent=idempotent,
        energizes=_always if energizes else _never,
        reduces=_always if reduces else _never,
        replaces=lambda _argument, name, other: _replaces_any(replaces, name, other),
        lags=_always if lags else _never,
        is_held_by_schedule=is_held_by_schedule,
        is_taken_by_ocpp=is_taken_by_ocpp,
        control=button(_titled(name)) if control is None else control,
    )


def setting(
    name: str,
    group: Group,
    description: str,
    key: str,
    observation_id: int | None,
    *,
    takes: PayloadKind[int] = SWITCH,
    response_ids: tuple[int, ...] = (),
    moves: tuple[int, ...] = (),
    energizes: Callable[[int], bool] = _never,
    limits: Callable[[int], Mapping[int, float]] = _no_limits,
    excludes: str = "",
    control: Control | str | None = None,
) -> CommandSpec[int]:
    """Return the row of one key of the settings call; ``bool`` is an ``int`` and stays one.

    Where the charger reports a switch it has a control that shows it; anything else says which.
    """
    return CommandSpec(
        name,
        group,
        description,
        takes,
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
        control=_control_of(name, takes, observation_id) if control is None else control,
    )


def _control_of(name: str, takes: PayloadKind[int], observation_id: int | None) -> Control | str:
    if observation_id is None:
        return "nothing tells whether it is on"
    if takes is not SWITCH:
        raise ValueError(f"command {name}: say which control it has, or why it has none")
    return switch(_titled(name), observation_id)


def _titled(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _schedule(
    name: str, group: Group, description: str, takes: PayloadKind[ScheduleOrder]
) -> CommandSpec[ScheduleOrder]:
    """Return the row of a schedule that the cloud keeps for a charger."""
    return CommandSpec(
        name,
        group,
        description,
        takes,
        lambda place, order: order_request(place.charger_id, place.documents, order),
        (60, 61, 64),
        moves=(62,),
        # Removing a schedule lets a waiting car charge at once.
        energizes=_always,
        on_200="wait",
        side_effects=lambda order: order.note or None,
        lookup=lambda place, order: order_lookup(place.charger_id, place.documents, order),
        shown_by_schedules=is_shown,
        control="its entities show schedule/current",
    )


def _circuit_setting(
    name: str, description: str, key: str, first_id: int, title: str
) -> CommandSpec[Phases]:
    """Return the row of a limit that the circuit stores."""
    return CommandSpec(
        name,
        "installer",
        description,
        LASTING_CIRCUIT_LIMIT,
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
        control=limit(title, first_id, is_lasting=True),
    )


def _on_circuit(
    target: CommandTarget, resource: str, body: Mapping[str, int]
) -> CloudRequest | None:
    if target.site_id is None or target.circuit_id is None:
        return None
    return circuit_request(target.site_id, target.circuit_id, resource, _json(body))


def _json(body: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(body)


def _rounded(argument: Current | Phases | Release) -> str | None:
    if isinstance(argument, Release):
        return "the limit itself stays until it is changed or forgotten"
    return "the vendor accepts whole amperes: rounded down" if argument.rounded else None


def _charger_limit_request(target: CommandTarget, limit: Current | Release) -> CloudRequest | None:
    if isinstance(limit, Release):
        return None
    body = _json({"amps": limit.amps, "minutes": limit.minutes})
    exchange = ExchangeCommand(
        target.charger_id, 48, ((1, str(limit.amps)), (2, str(limit.minutes)))
    )
    return charger_command_request(
        target.charger_id, "set_dynamic_charger_current", body, exchange=exchange
    )


def _circuit_limit_request(target: CommandTarget, limit: Phases | Release) -> CloudRequest | None:
    if isinstance(limit, Release):
        return None
    phases = {f"phase{i}": amps for i, amps in enumerate(limit.amps, 1)}
    return _on_circuit(target, "dynamicCurrent", {**phases, "timeToLive": limit.minutes})


def _charger_limits(limit: Current | Release) -> Mapping[int, float]:
    return {} if isinstance(limit, Release) else {48: limit.amps}


def _circuit_limits(limit: Phases | Release) -> Mapping[int, float]:
    return {} if isinstance(limit, Release) else _phase_limits(111)(limit)


def _shows(limits: Mapping[int, float]) -> tuple[Evidence, ...]:
    return ({number: _is(amps) for number, amps in limits.items()},) if limits else ()


def _phases_kept(switch: PhaseSwitch) -> str:
    limit = "the limit before" if switch.amps is None else f"{switch.amps} A"
    return f"phase mode {switch.phases}, {limit}"


def _excluding(other: str) -> Callable[[int], str | None]:
    return lambda on: f"{other} becomes false: the two exclude each other" if on else None


def _phase_limits(first_id: int) -> Callable[[Phases], Mapping[int, float]]:
    return lambda phases: {first_id + i: amps for i, amps in enumerate(phases.amps)}


def _replaces_same(name: str) -> Callable[[object, str, object], bool]:
    return lambda argument, other, _other_argument: (
        other == name and not isinstance(argument, Release)
    )


def _replaces_any(replaced: tuple[str, ...], name: str, other: object) -> bool:
    """Return whether an action replaces an earlier command; ``charging_allowed`` may resume."""
    return name in replaced or (name == ALLOWED and RESUME in replaced and bool(other))


def _allowed_request(target: CommandTarget, on: bool) -> CloudRequest:
    return charger_command_request(target.charger_id, "resume_charging" if on else "pause_charging")


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
RESUME: Final = "resume"
ALLOWED: Final = "charging_allowed"

_ROWS: Final[tuple[CommandSpec[Any], ...]] = (
    # -- control
    action("start", "control", "Authorize the waiting car, so that it charges.",
            "start_charging", (25,), evidence=(AUTHORIZED,), moves=(96, 46), energizes=True,
            is_taken_by_ocpp=True),
    action("stop", "control", "End the charge and revoke the authorization.",
            "stop_charging", (26,), evidence=DEAUTHORIZED, moves=(46,),
            reduces=True, replaces=STARTS),
    action("authorize", "control", "The same as start.",
            "start_charging", (25,), evidence=(AUTHORIZED,), moves=(96, 46), energizes=True,
            is_taken_by_ocpp=True, control="the same as start"),
    action("deauthorize", "control", "The same as stop.",
            "stop_charging", (26,), evidence=DEAUTHORIZED, moves=(46,),
            reduces=True, replaces=STARTS, control="the same as stop"),
    action("pause", "control", "Hold the charge by a dynamic limit of 0 A; stays authorized.",
            "pause_charging", (48,), evidence=(PAUSED,), moves=(96, 109, 46),
            reduces=True, replaces=(RESUME,)),
    action(RESUME, "control", "Go on after a pause; the dynamic limit goes to its maximum.",
            "resume_charging", (48,), evidence=(RESUMED, CHARGING), moves=(96, 46),
            energizes=True, lags=True, is_held_by_schedule=_always),
    CommandSpec(ALLOWED, "control",
                "true resumes, false pauses; true is a noop while the dynamic limit is above 0 A.",
                SWITCH, _allowed_request, (48,),
                reflects=lambda on: (RESUMED, CHARGING) if on else (PAUSED,),
                moves=(48, 96, 109, 46), energizes=bool, reduces=lambda on: not on,
                replaces=lambda on, name, _other: name == ALLOWED or (not on and name == RESUME),
                skips_equal=True, lags=bool, is_held_by_schedule=bool,
                control=allowed_switch("Charging allowed", ALLOWED)),
    action("toggle", "control", "Start or stop, or pause or resume, whichever is due.",
            "toggle_charging", (25, 26, 48), moves=(48, 96, 109, 46),
            idempotent=False, energizes=True, lags=True,
            control=button("Toggle", is_enabled=False)),
    action("override_schedule", "control", "Charge now although a schedule says later.",
            "override_schedule", (63,), evidence=(CHARGING,), moves=(62, 96, 46),
            energizes=True, is_on_exchange=True),
    CommandSpec("smart_charging", "control", "Switch smart charging on or off.", SWITCH,
                _smart_charging_request, (11,),
                reflects=lambda on: ({102: _is(on)},), moves=(102, 46), flash=True,
                energizes=lambda on: not on,
                side_effects=lambda on: None if on else "the touch button is dead while it is off",
                control=switch("Smart charging", 102, is_config=False)),
    # -- access
    setting("authorization_required", "access", "Charge only after the cloud authorized.",
             "authorizationRequired", 42, moves=(15,), energizes=lambda on: not on,
             excludes="local_pre_authorize_enabled"),
    setting("local_pre_authorize_enabled", "access",
             "Charge at once for tags on the charger's own list.",
             "localPreAuthorizeEnabled", 15, moves=(42,), energizes=bool,
             excludes="authorization_required",
             control=switch("Local pre-authorization", 15)),
    setting("local_authorize_offline_enabled", "access",
             "Offline: allow tags on the charger's own list.",
             "localAuthorizeOfflineEnabled", 16, energizes=bool,
             control=switch("Offline: known tags may charge", 16)),
    setting("allow_offline_tx_for_unknown_id", "access", "Offline: allow every tag.",
             "allowOfflineTxForUnknownId", 17, energizes=bool,
             control=switch("Offline: every tag may charge", 17)),
    setting("smart_button_enabled", "access", "Report touches instead of acting on them.",
             "smartButtonEnabled", 44, control=switch("Smart button", 44)),
    setting("offline_charging_mode", "access", "Tags that can charge while the charger is offline.",
             "offlineChargingMode", 45,
             takes=choice(_labels(OFFLINE_CHARGING_MODE, 0, 1, 2) | {"only_whitelisted": 1},
                          "always, whitelisted or never (also 0, 1, 2)"),
             control=select("Offline charging mode", 45, OFFLINE_CHARGING_MODE),
             energizes=lambda mode: mode != 2),  # noqa: PLR2004 - the vendor's code of "never"
    setting("remote_start_required", "access", "Charge only after a start from afar.",
             "remoteStartRequired", 43, energizes=lambda on: not on),
    setting("enabled", "access", "Enable the charger.", "enabled", 31,
             response_ids=(29,), energizes=bool),
    # -- current
    CommandSpec("dynamic_charger_current", "current",
                "Limit the charger; volatile, forgotten at a reboot or when a car is plugged in.",
                CHARGER_LIMIT, _charger_limit_request, (48,),
                reflects=lambda limit: _shows(_charger_limits(limit)), moves=(48, 96, 109, 46),
                energizes=lambda limit: any(_charger_limits(limit).values()),
                limits=_charger_limits,
                replaces=_replaces_same("dynamic_charger_current"), skips_equal=True,
                is_paced=True, side_effects=_rounded, control=limit("Set charger limit", 48)),
    CommandSpec("dynamic_circuit_current", "current",
                "Limit the circuit, and with it every charger on it; volatile.",
                CIRCUIT_LIMIT, _circuit_limit_request, (22,),
                reflects=lambda limit: _shows(_circuit_limits(limit)),
                moves=(111, 112, 113, 96, 109, 46),
                energizes=lambda limit: any(_circuit_limits(limit).values()),
                limits=_circuit_limits, replaces=_replaces_same("dynamic_circuit_current"),
                skips_equal=True, is_paced=True, on_200="wait", side_effects=_rounded,
                control=limit("Set circuit limit", 111)),
    CommandSpec("phases", "current",
                "Switch to one or three phases while no current flows, then charge on.",
                PHASE_SWITCH,
                lambda place, _: charger_command_request(place.charger_id, "pause_charging"),
                moves=(38, 48, 96, 109, 46), energizes=_always,
                replaces=_replaces_same("phases"), is_guided=True, side_effects=_phases_kept,
                control=Control("select", "Phases", spec_of(38).name,
                                labels={n: str(n) for n in PHASE_NUMBERS})),
    # -- device
    CommandSpec("lock_cable_permanently", "device", "Keep the cable locked without a car.",
                SWITCH,
                lambda place, on: charger_command_request(
                    place.charger_id, "lock_state", _json({"state": on})),
                (30,), reflects=lambda on: ({30: _is(on)},), moves=(30, 103), flash=True,
                skips_equal=True, control=switch("Lock cable permanently", 30)),
    setting("led_strip_brightness", "device", "Brightness of the LED strip.",
             "ledStripBrightness", 40, takes=whole(0, 100, "%"), response_ids=(40,),
             control=number("Light strip brightness", 40, 0, 100, "%")),
    CommandSpec("phase_mode", "device", "Phases to charge with, from the next session on.",
                choice(_labels(PHASE_MODE, 1, 2, 3),
                       "locked_1_phase, auto or locked_3_phase (also 1, 2, 3)"),
                lambda place, mode: charger_command_request(
                    place.charger_id, "set_phase_mode", _json({"phaseMode": mode})),
                (38,), reflects=lambda mode: ({38: _is(mode)},), moves=(38, 110), flash=True,
                skips_equal=True,
                # 0 is what some firmware reports, and nothing that can be set.
                control=select("Phase mode", 38, {code: PHASE_MODE[code] for code in (1, 2, 3)})),
    setting("enable_idle_current", "device", "Go on offering current when the car is full.",
             "enableIdleCurrent", 37, response_ids=(34,), energizes=bool,
             control=switch("Idle current", 37)),
    setting("limit_to_single_phase_charging", "device", "Charge with one phase only.",
             "limitToSinglePhaseCharging", None),
    _schedule("basic_charge_plan", "device",
              "One start and one stop: the daily schedule, without a stop the delayed one.",
              BASIC_PLAN),
    _schedule("weekly_charge_plan", "device",
              "Up to two ranges for each day of the week: the weekly schedule.", WEEKLY_PLAN),
    CommandSpec("access_level", "device", "Who may use the charger, as the vendor's app shows it.",
                choice({"open": 1, "account": 2, "whitelist": 3},
                       "open, account or whitelist (also 1, 2, 3)"),
                lambda place, level: charger_resource_request(
                    "PUT", place.charger_id, "access", str(level).encode()),
                moves=(42, 15), energizes=lambda level: level == 1, on_200="confirmed",
                control=Control("select", "Access level", ACCESS_MODE, is_config=True,
                                labels={"open": "open", "cloud_authorization": "account",
                                        "local_authorization": "whitelist"})),
    CommandSpec("rfid_pairing", "device", "Wait for a tag to be held to the charger.",
                PAIRING_TIME,
                lambda place, timeout_s: charger_command_request(
                    place.charger_id, "set_rfid_pairing_mode_async",
                    _json({"timeout": timeout_s}), idempotent=False),
                (69,), moves=(46,), idempotent=False, is_taken_by_ocpp=True,
                control=button("Pair a tag", is_config=True, is_enabled=False)),
    # -- installer
    setting("max_charger_current", "installer", "Largest current of the charger; flash memory.",
             "maxChargerCurrent", 47, takes=LASTING_CHARGER_LIMIT, response_ids=(47,),
             energizes=_always, limits=lambda amps: {47: amps},
             control=limit("Set largest charger current", 47, MIN_CURRENT_A, is_lasting=True)),
    _circuit_setting("offline_max_circuit_current",
                     "Limit of the circuit while load balancing is out of reach; flash memory.",
                     "offlineMaxCircuitCurrent", 50, "Set offline circuit current"),
    _circuit_setting("max_circuit_current", "Largest current of the circuit; flash memory.",
                     "maxCircuitCurrent", 22, "Set largest circuit current"),
    # -- maintenance
    action("reboot", "maintenance", "Restart the charger; dynamic limits are forgotten.",
            "reboot", (1,), moves=(48, 89, 96, 109, 250), idempotent=False, is_on_exchange=True,
            control=button("Restart", "restart", is_config=True)),
    action("update_firmware", "maintenance", "Install the newest public firmware.",
            "update_firmware", (4,), moves=(80, 83), idempotent=False, is_on_exchange=True,
            control=button("Update firmware", "update", is_config=True)),
    CommandSpec("refresh", "maintenance", "Read every observation again over REST.", PRESS,
                lambda place, _: observations_request(place.charger_id, POLLED_IDS),
                on_200="read", control=button("Read everything again", is_config=True)),
    # -- equalizer
    CommandSpec("surplus_charging", "equalizer", "Charge on surplus energy.", SURPLUS,
                lambda place, wish: surplus_request(place.charger_id, _json(surplus_body(wish))),
                energizes=lambda wish: wish.enabled, on_200="wait",
                replaces=_replaces_same("surplus_charging"),
                control=allowed_switch("Surplus charging", SURPLUS_ENABLED),
                of=frozenset({EQUALIZER}),
                read_back=ReadBack(lambda place: surplus_request(place.charger_id), holds_surplus)),
    CommandSpec("max_allocated_current", "equalizer",
                "Largest current the Equalizer gives out to its chargers.", ALLOCATED,
                lambda place, amps: allocated_current_request(place.charger_id, amps),
                energizes=_always, on_200="wait",
                replaces=_replaces_same("max_allocated_current"),
                control=derived_limit("Maximal current", MAX_ALLOCATED), of=frozenset({EQUALIZER}),
                read_back=ReadBack(
                    lambda place: equalizer_request(place.charger_id, "config"),
                    holds_allocated_current)),
    # -- schedule
    _schedule("delayed_schedule", "schedule", "Charge from a time of the day on.",
              schedule_kind("delayed", '{"start": "22:00", "amps": 16}')),
    _schedule("daily_schedule", "schedule", "Charge in the same periods every day.",
              schedule_kind("daily", '{"start": "22:00", "stop": "06:00", "amps": 16}')),
    _schedule("weekly_schedule", "schedule", "Charge in periods of the week.",
              schedule_kind("weekly", '{"start": "22:00", "stop": "06:00", "amps": 16, "from":'
                            ' "monday", "to": "tuesday"}')),
    # -- site
    CommandSpec("site_price", "site", "Set what a kilowatt-hour costs at the site.", PRICE,
                lambda place, price: None if place.site_id is None else site_price_request(
                    place.site_id, _json(price_body(price))),
                on_200="wait", replaces=_replaces_same("site_price"),
                control="a document, not a state", of=frozenset({CHARGER, SITE}),
                read_back=ReadBack(
                    lambda place: None if place.site_id is None else site_resource_request(
                        place.site_id),
                    holds_price)),
)  # fmt: skip

CATALOGUE: Final[Mapping[str, CommandSpec[Any]]] = {spec.name: spec for spec in _ROWS}

# Components that watch for confirmations need no other observation.
REFLECTING_IDS: Final = frozenset(number for spec in _ROWS for number in spec.moves)


def controls(allow: tuple[str, ...], kind: Kind = CHARGER) -> Iterator[tuple[str, Control]]:
    """Yield name and control of every command that an allow-list names and that has one.

    Args:
        allow: ``commands.allow``.
        kind: What it is addressed to.
    """
    for spec in CATALOGUE.values():
        if isinstance(spec.control, Control) and kind in spec.of and allowed(spec, allow):
            yield spec.name, spec.control
