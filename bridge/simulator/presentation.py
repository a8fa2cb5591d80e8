"""What a charger shows: op mode (109), LED (46), reason for no current (96), pilot (100).

Rules:

1. The four are one function of the facts, so they cannot disagree. The first row of ``ROWS`` whose
   condition holds is shown.
2. LED codes are those of the vendor's enumeration: 18/19 idle, 23/24 white (normal), 21/22 blue
   (smart mode), 25 flashing white while authorization is pending, 26 while a tag is looked up, 16
   red on an error, 29 pairing. No code says offline, so nothing here does.
3. A limit below 6 A is no current at all: IEC 61851 has no smaller offer.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

MIN_CURRENT_A = 6.0


class OpMode(enum.IntEnum):
    """Observation 109."""

    OFFLINE = 0
    DISCONNECTED = 1
    AWAITING_START = 2
    CHARGING = 3
    COMPLETED = 4
    ERROR = 5
    READY_TO_CHARGE = 6
    AWAITING_AUTHORIZATION = 7
    DEAUTHORIZING = 8


class Led(enum.IntEnum):
    """Observation 46, the codes this simulator uses."""

    ERROR = 16
    IDLE_PRIMARY = 18
    IDLE_SECONDARY = 19
    SMART_CONNECTED = 21
    SMART_CHARGING = 22
    CONNECTED = 23
    CHARGING = 24
    AWAITING_AUTHORIZATION = 25
    VERIFYING = 26
    PAIRING = 29


class Reason(enum.IntEnum):
    """Observation 96, the codes this simulator uses."""

    OK = 0
    CIRCUIT_MAX_TOO_LOW = 1
    DYNAMIC_CIRCUIT_TOO_LOW = 2
    EQUALIZER_TOO_LOW = 10
    LIMITED_BY_CIRCUIT_MAX = 26
    LIMITED_BY_DYNAMIC_CIRCUIT = 27
    LIMITED_BY_EQUALIZER = 28
    NO_CAR = 50
    CHARGER_MAX_TOO_LOW = 51
    DYNAMIC_CHARGER_TOO_LOW = 52
    DISABLED = 53
    WAITING_FOR_SCHEDULE = 54
    PENDING_AUTHORIZATION = 55
    CHARGER_ERROR = 56
    LIMITED_BY_SCHEDULE = 76
    LIMITED_BY_CHARGER_MAX = 77
    LIMITED_BY_DYNAMIC_CHARGER = 78
    CAR_NOT_CHARGING = 79
    LIMITED_BY_CAR = 81


@dataclass(frozen=True, slots=True)
class Limit:
    """The lowest of all current limits.

    Attributes:
        amps: What may flow per phase.
        when_limiting: Reason shown while current flows at this limit.
        when_blocking: Reason shown when the limit lets nothing flow.
    """

    amps: float
    when_limiting: Reason
    when_blocking: Reason


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything the shown state depends on.

    Attributes:
        car: A car is plugged in.
        full: It takes no more.
        drawing: It has closed its contactor.
        must_authorize: Authorization is required and not given.
        deauthorizing: It was just taken away.
        verifying: The cloud is asked about a tag.
        enabled: Setting 31.
        failed: The charger has an error.
        withheld: A schedule says not now.
        smart: Smart mode (102).
        pairing: Waiting for an RFID tag to pair.
        primary: It leads its circuit.
        limit: See :class:`Limit`.
        pending_op_mode: 7, or 2 on older firmware.
    """

    car: bool
    full: bool
    drawing: bool
    must_authorize: bool
    deauthorizing: bool
    verifying: bool
    enabled: bool
    failed: bool
    withheld: bool
    smart: bool
    pairing: bool
    primary: bool
    limit: Limit
    pending_op_mode: int


@dataclass(frozen=True, slots=True)
class Presentation:
    """What is shown."""

    op_mode: int
    led: int
    reason: int
    pilot: str


@dataclass(frozen=True, slots=True)
class _Row:
    when: Callable[[Facts], bool]
    op_mode: OpMode
    reason: Reason | None  # None: the limit names itself
    pilot: str
    led: Led = Led.CONNECTED
    smart_led: Led = Led.SMART_CONNECTED


ROWS = (
    _Row(lambda f: f.failed, OpMode.ERROR, Reason.CHARGER_ERROR, "F", Led.ERROR, Led.ERROR),
    _Row(
        lambda f: not f.car,
        OpMode.DISCONNECTED,
        Reason.NO_CAR,
        "A",
        Led.IDLE_PRIMARY,
        Led.IDLE_PRIMARY,
    ),
    _Row(lambda f: f.deauthorizing, OpMode.DEAUTHORIZING, Reason.PENDING_AUTHORIZATION, "B"),
    _Row(
        lambda f: f.must_authorize and f.verifying,
        OpMode.AWAITING_AUTHORIZATION,
        Reason.PENDING_AUTHORIZATION,
        "B",
        Led.VERIFYING,
        Led.VERIFYING,
    ),
    _Row(
        lambda f: f.must_authorize,
        OpMode.AWAITING_AUTHORIZATION,
        Reason.PENDING_AUTHORIZATION,
        "B",
        Led.AWAITING_AUTHORIZATION,
        Led.AWAITING_AUTHORIZATION,
    ),
    _Row(lambda f: not f.enabled, OpMode.AWAITING_START, Reason.DISABLED, "B"),
    _Row(lambda f: f.withheld, OpMode.AWAITING_START, Reason.WAITING_FOR_SCHEDULE, "B"),
    _Row(lambda f: f.limit.amps < MIN_CURRENT_A, OpMode.AWAITING_START, None, "B"),
    _Row(lambda f: f.full, OpMode.COMPLETED, Reason.CAR_NOT_CHARGING, "B"),
    _Row(lambda f: not f.drawing, OpMode.READY_TO_CHARGE, Reason.OK, "B"),
    _Row(lambda _: True, OpMode.CHARGING, None, "C", Led.CHARGING, Led.SMART_CHARGING),
)


def present(facts: Facts) -> Presentation:
    """Return what a charger shows."""
    row = next(row for row in ROWS if row.when(facts))
    return Presentation(
        op_mode=_op_mode(row, facts),
        led=_led(row, facts),
        reason=_reason(row, facts),
        pilot=row.pilot,
    )


def _op_mode(row: _Row, facts: Facts) -> int:
    if row.op_mode is OpMode.AWAITING_AUTHORIZATION:
        return facts.pending_op_mode
    return int(row.op_mode)


def _led(row: _Row, facts: Facts) -> int:
    if row.op_mode is OpMode.DISCONNECTED:
        if facts.pairing:
            return int(Led.PAIRING)
        return int(Led.IDLE_PRIMARY if facts.primary else Led.IDLE_SECONDARY)
    return int(row.smart_led if facts.smart else row.led)


def _reason(row: _Row, facts: Facts) -> int:
    if row.reason is not None:
        return int(row.reason)
    if row.op_mode is OpMode.CHARGING:
        return int(facts.limit.when_limiting)
    return int(facts.limit.when_blocking)
