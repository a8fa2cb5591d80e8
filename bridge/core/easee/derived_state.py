"""Derived values: one function per topic.

Rules:

1. A function answers with the value, or with :data:`UNTOLD` while nothing that was seen tells. What
   is seen and not understood is None.
2. ``DERIVED`` says which observations a topic follows; it is recomputed when one of them moves and
   never else. A derived topic is replaced, not retracted: by None if need be.
"""

import enum
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import Final, Protocol

import msgspec

from bridge.core.easee import phases, roles
from bridge.core.easee.enumerations import (
    LED_COLORS,
    LED_MEANING,
    LED_MODE,
    LED_PATTERNS,
    NO_CURRENT_REASON,
    OP_MODE,
    LedMode,
)
from bridge.core.easee.observation_spec import (
    ACCESS,
    ENERGY,
    FIRMWARE,
    LIMITS,
    PHASES,
    STATUS,
    Visibility,
)
from bridge.core.value_format import Value

OFFLINE = 0
DISCONNECTED = 1
AWAITING_START = 2
CHARGING = 3
COMPLETED = 4
READY_TO_CHARGE = 6
AWAITING_AUTHORIZATION = 7
DEAUTHORIZING = 8
PENDING_AUTHORIZATION = 55
# Below this a car cannot charge (IEC 61851).
MIN_CHARGE_A = 6

SWITCH_VALUES = ("true", "false")
TOUCH_BUTTON = "touch_button"
ENERGY_TOTAL = "energy_total"
ACCESS_MODE = "access_mode"
FIRMWARE_LATEST = "firmware_latest"
FIRMWARE_UPDATE = "firmware_update"
TOUCH_BUTTON_VALUES = ("enabled", "disabled")

HELD_LIMIT = "held_limit"
CONTROL_OWNER = "control_owner"
BY_CLOUD, BY_OCPP, BY_SCHEDULE, BY_UNKNOWN = CONTROL_OWNERS = (
    "cloud",
    "ocpp",
    "schedule",
    "unknown",
)
WAITING_FOR_SCHEDULE = 54
# "waiting for schedule" and "limited by schedule".
SCHEDULE_REASONS = frozenset({WAITING_FOR_SCHEDULE, 76})

NO_CODE = -1


class Untold(enum.Enum):
    """The type of :data:`UNTOLD`."""

    UNTOLD = enum.auto()


UNTOLD: Final = Untold.UNTOLD
# A word, a switch or a quantity; None: what was seen is not understood.
DerivedValue = str | bool | float | None

_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII).fullmatch


class LatestValues(Protocol):
    """The newest observations of one charger."""

    def value(self, observation_id: int) -> Value | None:
        """Return the newest value; None before the first."""
        ...

    def measured_at(self, observation_id: int) -> datetime | None:
        """Return when it was measured; None before the first."""
        ...

    def received_at(self, observation_id: int) -> datetime | None:
        """Return when it came, by our clock; None before the first."""
        ...


_WORDS: Final[Mapping[str, int]] = {"true": 1, "false": 0}


def code(readings: LatestValues, observation_id: int) -> int | None:
    """Read a number that stands for something; -1 when it is none, None before the first.

    The message's type wins over the registry, so a code may come as text; it means the same.
    """
    value = readings.value(observation_id)
    if isinstance(value, str):
        value = _WORDS.get(value.lower(), int(value) if _DIGITS(value) else NO_CODE)
    return NO_CODE if isinstance(value, float) else value


def flag(readings: LatestValues, observation_id: int) -> bool | None:
    """Read a switch; None when it was not seen or is neither on nor off."""
    value = code(readings, observation_id)
    return bool(value) if value in (0, 1) else None


def amount(readings: LatestValues, observation_id: int) -> float | None:
    """Read a quantity; None when it was not seen or is no number."""
    value = readings.value(observation_id)
    return None if isinstance(value, str) else value


def awaiting_authorization(readings: LatestValues) -> bool | None:
    """Return whether a car waits for authorization; None before the first op mode.

    Firmware since 2023 says so with op mode 7, older firmware with 2 and a reason.
    """
    mode = code(readings, roles.OP_MODE)
    if mode is None:
        return None
    pending = code(readings, roles.NO_CURRENT_REASON) == PENDING_AUTHORIZATION
    return mode == AWAITING_AUTHORIZATION or (mode == AWAITING_START and pending)


def _op_mode(readings: LatestValues) -> DerivedValue | Untold:
    mode = code(readings, roles.OP_MODE)
    if mode is None:
        return UNTOLD
    if awaiting_authorization(readings):
        mode = AWAITING_AUTHORIZATION
    return OP_MODE.get(mode)


def _no_current_reason(readings: LatestValues) -> DerivedValue | Untold:
    reason = code(readings, roles.NO_CURRENT_REASON)
    return UNTOLD if reason is None else NO_CURRENT_REASON.get(reason)


def _awaiting_authorization(readings: LatestValues) -> DerivedValue | Untold:
    waiting = awaiting_authorization(readings)
    return UNTOLD if waiting is None else waiting


def _led(
    part: Callable[[LedMode], str | None],
) -> Callable[[LatestValues], DerivedValue | Untold]:
    def derive(readings: LatestValues) -> DerivedValue | Untold:
        raw = code(readings, roles.LED_MODE)
        if raw is None:
            return UNTOLD
        mode = LED_MODE.get(raw)
        return None if mode is None else part(mode)

    return derive


def _access_mode(readings: LatestValues) -> DerivedValue | Untold:
    """Derive the access mode; the cloud's rule and the local one exclude each other.

    While one replaces the other both may be seen true; then the later one is the new one.
    """
    cloud = flag(readings, roles.AUTHORIZATION_REQUIRED)
    local = flag(readings, roles.LOCAL_PRE_AUTHORIZE)
    if cloud and local:
        cloud_at = readings.measured_at(roles.AUTHORIZATION_REQUIRED)
        local_at = readings.measured_at(roles.LOCAL_PRE_AUTHORIZE)
        local = cloud_at is not None and local_at is not None and local_at > cloud_at
        cloud = not local
    if cloud:
        return "cloud_authorization"
    if local:
        return "local_authorization"
    return UNTOLD if cloud is None else "open"


# 45: whatever the two flags allow, it may allow less.
_POLICY_BY_MODE: Final[Mapping[Value, str]] = {0: "allow_all", 1: "whitelist", 2: "none"}


def _offline_policy(readings: LatestValues) -> DerivedValue | Untold:
    """Derive who can charge while the charger is offline."""
    mode = code(readings, roles.OFFLINE_CHARGING_MODE)
    ceiling = None if mode is None else _POLICY_BY_MODE.get(mode)
    flags = _policy_of_flags(readings)
    if flags is None:
        return UNTOLD if mode is None else ceiling
    if ceiling == "none":
        return "none"
    return "whitelist" if (flags, ceiling) == ("allow_all", "whitelist") else flags


def _policy_of_flags(readings: LatestValues) -> str | None:
    everyone = flag(readings, roles.OFFLINE_ALLOW_ALL)
    listed = flag(readings, roles.OFFLINE_WHITELIST)
    if everyone:
        return "allow_all"
    if listed:
        return "whitelist"
    return None if everyone is None and listed is None else "none"


_CIRCUIT_LIMITS: Final = (
    (roles.CIRCUIT_LIMIT_P1, roles.CIRCUIT_LIMIT_P2, roles.CIRCUIT_LIMIT_P3),
    (
        roles.DYNAMIC_CIRCUIT_LIMIT_P1,
        roles.DYNAMIC_CIRCUIT_LIMIT_P2,
        roles.DYNAMIC_CIRCUIT_LIMIT_P3,
    ),
)
_AUTHORIZED: Final = frozenset({AWAITING_START, CHARGING, COMPLETED, READY_TO_CHARGE})
_UNAUTHORIZED: Final = frozenset({DISCONNECTED, AWAITING_AUTHORIZATION, DEAUTHORIZING})


def _is_authorized(readings: LatestValues) -> bool | None:
    """Return whether a car may charge as far as authorization is concerned; None while unknown."""
    required = [
        flag(readings, number)
        for number in (roles.AUTHORIZATION_REQUIRED, roles.LOCAL_PRE_AUTHORIZE)
    ]
    if not any(required):
        return None if required == [None, None] else True
    mode = code(readings, roles.OP_MODE)
    if awaiting_authorization(readings) or mode in _UNAUTHORIZED:
        return False
    return True if mode in _AUTHORIZED else None


def _has_current(readings: LatestValues) -> bool | None:
    """Return whether the limits let a car draw enough to charge; None while unknown.

    Of a circuit's limits the highest phase counts: one phase is enough for a car. A limit that was
    not seen does not count, except for the dynamic limit of the charger.
    """
    dynamic = amount(readings, roles.DYNAMIC_LIMIT)
    limits = [dynamic, amount(readings, roles.CHARGER_LIMIT)]
    for limits_of in _CIRCUIT_LIMITS:
        known = [a for number in limits_of if (a := amount(readings, number)) is not None]
        limits.append(max(known, default=None))
    if any(limit is not None and limit < MIN_CHARGE_A for limit in limits):
        return False
    return None if dynamic is None else True


def _charging_allowed(readings: LatestValues) -> DerivedValue | Untold:
    """Derive whether a car may charge: enabled, authorized where needed, and enough current."""
    told = (
        flag(readings, roles.ENABLED),
        _is_authorized(readings),
        _has_current(readings),
    )
    if False in told:
        return False
    return UNTOLD if None in told else True


def _of_phase(quantity: str, phase: int) -> Callable[[LatestValues], DerivedValue | Untold]:
    def derive(readings: LatestValues) -> DerivedValue | Untold:
        output = code(readings, roles.OUTPUT_PHASE)
        wiring = phases.wiring_of(code(readings, roles.GRID_TYPE), output)
        if wiring is None:
            return None
        match quantity:
            case "current":
                return phases.current(wiring, phase, readings.value)
            case "voltage":
                return phases.voltage(wiring, phase, readings.value)
            case _:
                return phases.power(wiring, output, phase, readings.value)

    return derive


class DerivedTopic(msgspec.Struct, frozen=True):
    """One derived topic.

    Attributes:
        name: The last level of its topic.
        sources: The observations it follows.
        derive: Its value, or :data:`UNTOLD` while there is none.
        meaning: For the topic reference.
        values: Every value it can have besides None, as text; empty for a quantity.
        title: What people read instead of its name.
        visibility: How much of it a user wants to see.
        unit: Of a quantity.
        digits: Decimals to be shown of a quantity.
        group: As that of an observation.
        state_class: Home Assistant's, of a quantity.
        kind: What a value without a list of words is: ``number``, ``text`` or ``json``.
        is_computed: It follows from the newest observations alone; a component has it otherwise.
    """

    name: str
    sources: tuple[int, ...]
    derive: Callable[[LatestValues], DerivedValue | Untold]
    meaning: str
    values: tuple[str, ...]
    title: str
    visibility: Visibility = Visibility.MAIN
    unit: str | None = None
    digits: int | None = None
    group: str = STATUS
    state_class: str = "measurement"
    kind: str = "number"
    is_computed: bool = True


def _phase_topics() -> Iterator[DerivedTopic]:
    for quantity, unit, digits, meaning in (
        ("current", "A", 1, "current of L{}, A"),
        ("voltage", "V", 0, "voltage of L{} to N, or on an IT grid to the next conductor, V"),
        ("power", "kW", 2, "power of L{}, kW"),
    ):
        for phase in phases.PHASES:
            yield DerivedTopic(
                f"{quantity}_l{phase}",
                phases.sources(quantity, phase),
                _of_phase(quantity, phase),
                f"{meaning.format(phase)}; `null` where the wiring is not known",
                (),
                f"{quantity.capitalize()} L{phase}",
                unit=unit,
                digits=digits,
                group=PHASES,
            )


DERIVED: Final = (
    DerivedTopic(
        "op_mode",
        (roles.OP_MODE, roles.NO_CURRENT_REASON),
        _op_mode,
        "what the charger is doing; `awaiting_authorization` also for mode 2 with reason 55",
        tuple(OP_MODE.values()),
        "Status",
    ),
    DerivedTopic(
        "no_current_reason",
        (roles.NO_CURRENT_REASON,),
        _no_current_reason,
        "why there is no or less current",
        tuple(NO_CURRENT_REASON.values()),
        "Reason for no current",
    ),
    DerivedTopic(
        "led",
        (roles.LED_MODE,),
        _led(lambda mode: mode.meaning),
        "what the light strip means",
        tuple(dict.fromkeys(LED_MEANING.values())),
        "Light strip",
    ),
    DerivedTopic(
        "led_color",
        (roles.LED_MODE,),
        _led(lambda mode: mode.color),
        "its color",
        LED_COLORS,
        "Light strip color",
        Visibility.RARE,
    ),
    DerivedTopic(
        "led_pattern",
        (roles.LED_MODE,),
        _led(lambda mode: mode.pattern),
        "its motion",
        LED_PATTERNS,
        "Light strip pattern",
        Visibility.RARE,
    ),
    DerivedTopic(
        "awaiting_authorization",
        (roles.OP_MODE, roles.NO_CURRENT_REASON),
        _awaiting_authorization,
        "`true` while a car waits for permission",
        SWITCH_VALUES,
        "Awaiting authorization",
    ),
    DerivedTopic(
        ACCESS_MODE,
        (roles.AUTHORIZATION_REQUIRED, roles.LOCAL_PRE_AUTHORIZE),
        _access_mode,
        "`open`, `cloud_authorization` or `local_authorization`; the later one while they change",
        ("open", "cloud_authorization", "local_authorization"),
        "Access mode",
        group=ACCESS,
    ),
    DerivedTopic(
        "offline_policy",
        (roles.OFFLINE_WHITELIST, roles.OFFLINE_ALLOW_ALL, roles.OFFLINE_CHARGING_MODE),
        _offline_policy,
        "which cars can charge while offline: `none`, `whitelist` or `allow_all`",
        ("none", "whitelist", "allow_all"),
        "Offline policy",
        group=ACCESS,
    ),
    DerivedTopic(
        "charging_allowed",
        (
            roles.ENABLED,
            roles.AUTHORIZATION_REQUIRED,
            roles.LOCAL_PRE_AUTHORIZE,
            roles.OP_MODE,
            roles.NO_CURRENT_REASON,
            roles.DYNAMIC_LIMIT,
            roles.CHARGER_LIMIT,
            *chain.from_iterable(_CIRCUIT_LIMITS),
        ),
        _charging_allowed,
        "`true` while the charger is enabled, authorized where that is needed, and its limits let a"
        " car draw 6 A or more",
        SWITCH_VALUES,
        "Charging allowed",
        group=ACCESS,
    ),
    *_phase_topics(),
    DerivedTopic(
        ENERGY_TOTAL,
        (roles.POWER, roles.METER_READING, roles.SESSION_REPORT, roles.SESSION_START),
        lambda _: UNTOLD,
        "total energy, kWh: the meter's last reading and power over time since; never falls",
        (),
        "Energy",
        unit="kWh",
        digits=2,
        group=ENERGY,
        state_class="total_increasing",
        is_computed=False,
    ),
    DerivedTopic(
        HELD_LIMIT,
        (),
        lambda _: UNTOLD,
        "limit that is sent again where the charger forgot it; of the circuit's limits the lowest"
        " phase, and of both limits the lower one",
        (),
        "Held limit",
        unit="A",
        digits=0,
        group=LIMITS,
        is_computed=False,
    ),
    DerivedTopic(
        FIRMWARE_LATEST,
        (),
        lambda _: UNTOLD,
        "the newest firmware release the cloud offers, asked once a day",
        (),
        "Newest firmware",
        Visibility.HIDDEN,
        group=FIRMWARE,
        kind="text",
        is_computed=False,
    ),
    DerivedTopic(
        FIRMWARE_UPDATE,
        (roles.FIRMWARE, roles.LED_MODE),
        lambda _: UNTOLD,
        "JSON: installed_version, latest_version where it is known, in_progress",
        (),
        "Firmware update",
        Visibility.HIDDEN,
        group=FIRMWARE,
        kind="json",
        is_computed=False,
    ),
    DerivedTopic(
        CONTROL_OWNER,
        (roles.NO_CURRENT_REASON, roles.CHARGING_SCHEDULE),
        lambda _: UNTOLD,
        "who decides whether it charges: `cloud` (commands), `ocpp` (a local OCPP server),"
        " `schedule`, or `unknown` before the cloud told its schedules",
        CONTROL_OWNERS,
        "Control owner",
        Visibility.DIAGNOSTIC,
        is_computed=False,
    ),
)


# Units of quantities, by name.
DERIVED_UNITS: Final[Mapping[str, str]] = {
    derived.name: derived.unit for derived in DERIVED if derived.unit is not None
}
# Those with a document besides the bare value.
ESTIMATED: Final = frozenset({ENERGY_TOTAL})


def by_source(topics: Iterable[DerivedTopic]) -> Mapping[int, tuple[DerivedTopic, ...]]:
    """Return the derived values that follow from observations alone, by observation."""
    computed = [derived for derived in topics if derived.is_computed]
    ids = {source for derived in computed for source in derived.sources}
    return {i: tuple(derived for derived in computed if i in derived.sources) for i in ids}


BY_SOURCE: Final = by_source(DERIVED)
