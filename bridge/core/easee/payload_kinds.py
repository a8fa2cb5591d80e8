"""Kinds of command payloads: reader, JSON schema and description of each.

Rules:

1. The reader decides; the shape describes what it lets through. A test holds both against each
   other, payload by payload.
2. What no JSON Schema can say is left to the reader: that a day may occur only once in a plan, that
   a time lies before another, that 1.0 presses no button.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Generic, TypeVar

import msgspec

from bridge.core.easee.charge_plans import LIMIT, RANGES_A_DAY, basic_plan, weekly_plan
from bridge.core.easee.command_payloads import (
    MAX_MINUTES,
    MIN_CURRENT_A,
    PHASE_NUMBERS,
    Current,
    Phases,
    PhaseSwitch,
    Release,
    Surplus,
    boolean,
    charger_current,
    choice_reader,
    circuit_current,
    integer_reader,
    lasting_circuit_current,
    pairing_time,
    persistent_current,
    phase_switch,
    read_press,
    surplus,
    whole_current,
)
from bridge.core.easee.payload_shapes import FLAG, MOMENT, NULL, Keys, Schema, Shape, number, word
from bridge.core.easee.schedule_payloads import MAX_PERIODS, ScheduleOrder, schedule_order
from bridge.core.easee.schedule_times import DAYS_A_WEEK, MAX_NAME_LENGTH
from bridge.core.easee.schedules import WEEKDAYS, Kind

A_co = TypeVar("A_co", covariant=True)


class PayloadKind(msgspec.Struct, Generic[A_co], frozen=True):
    """One kind of payload.

    Attributes:
        read: Payload value and ``commands.max_current_a`` to argument; raises ``CommandRefused``.
        shape: ``commands.max_current_a`` to what ``read`` takes.
        text: One line for people.
    """

    read: Callable[[object, int], A_co]
    shape: Callable[[int], Shape]
    text: str


def whole(low: int, high: int, unit: str) -> PayloadKind[int]:
    """Return a kind of whole numbers within bounds."""
    shape = Shape(tuple(number(low, high)))
    text = f"{low} to {high} {unit}".rstrip()
    return PayloadKind(integer_reader(low, high, unit), lambda _: shape, text)


def choice(labels: Mapping[str, int], text: str) -> PayloadKind[int]:
    """Return a kind of labels, each with the vendor's number.

    Args:
        labels: Every word that is taken.
        text: One line for people.
    """
    found = sorted(labels.values())
    shape = Shape((word(*labels), *number(found[0], found[-1])))
    return PayloadKind(choice_reader(labels), lambda _: shape, text)


_CLOCK_TIME: Final = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]Z?$"}
_PRESSES: Final[tuple[Schema, ...]] = (word("press", "true", "on", "1"), {"enum": [1, True]})
PRESS_SHAPE: Final = Shape(_PRESSES, (Keys({}),))
_SWITCH: Final = Shape(
    (word("true", "on", "1", "false", "off", "0"), {"enum": [True, False, 1, 0]})
)
_PAIRING: Final = Shape(
    (*_PRESSES, *number(2, 600)),
    (Keys({}), Keys({"timeout": {"anyOf": number(1, 600)}}, ("timeout",))),
)
_MINUTES: Final[Schema] = {"anyOf": number(0, MAX_MINUTES)}
_UNHELD: Final[Mapping[str, Schema]] = {"minutes": _MINUTES, "hold": {"const": False}}
_HELD: Final[Mapping[str, Schema]] = {"minutes": _MINUTES, "hold": {"const": True}}


_RELEASE: Final = Keys({"release": {"const": True}}, ("release",))


def _charger(max_current_a: int) -> Shape:
    held = number(MIN_CURRENT_A, max_current_a, whole=False)
    bare = (*number(0, 0), *held)
    plain, lasting = ({"anyOf": list(amps)} for amps in (bare, held))
    keys = ("amps", "value")
    return Shape(
        bare,
        (
            *(Keys({key: plain, **_UNHELD}, (key,)) for key in keys),
            *(Keys({key: lasting, **_HELD}, (key, "hold")) for key in keys),
            _RELEASE,
        ),
    )


def _circuit(max_current_a: int) -> Shape:
    bare = number(0, max_current_a, whole=False)
    plain, lasting = (
        {"anyOf": amps} for amps in (bare, number(MIN_CURRENT_A, max_current_a, whole=False))
    )
    return Shape(
        tuple(bare),
        (
            *_circuit_keys(plain, _UNHELD, ()),
            *_circuit_keys(lasting, _HELD, ("hold",)),
            _RELEASE,
        ),
    )


def _lasting_circuit(max_current_a: int) -> Shape:
    bare = number(0, max_current_a)
    return Shape(tuple(bare), _circuit_keys({"anyOf": bare}, {}, ()))


def _circuit_keys(
    amps: Schema, more: Mapping[str, Schema], required: tuple[str, ...]
) -> tuple[Keys, ...]:
    phases = ("phase1", "phase2", "phase3")
    return (
        Keys({"value": amps, **more}, ("value", *required)),
        Keys({**dict.fromkeys(phases, amps), **more}, (*phases, *required)),
    )


def _phase_switch(max_current_a: int) -> Shape:
    bare = tuple(each for phases in PHASE_NUMBERS for each in number(phases, phases))
    amps: Schema = {"anyOf": number(MIN_CURRENT_A, max_current_a)}
    phases: Schema = {"anyOf": list(bare)}
    return Shape(
        bare, tuple(Keys({key: phases, "amps": amps}, (key,)) for key in ("phases", "value"))
    )


def _surplus(max_current_a: int) -> Shape:
    enabled = {"anyOf": list(_SWITCH.bare)}
    amps = {"anyOf": number(0, max_current_a)}
    return Shape(_SWITCH.bare, (Keys({"enabled": enabled, "amps": amps}, ("enabled",)),))


_LOCAL_TIME: Final = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9](:00)?$"}
_ZONE: Final = {
    "type": "string",
    "pattern": "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$",
    "maxLength": MAX_NAME_LENGTH,
}
_DAY: Final = word(*WEEKDAYS)
_CLEAR: Final = Keys({"clear": {"const": True}}, ("clear",))


def _schedule_keys(kind: Kind, max_current_a: int) -> tuple[Keys, ...]:
    """Describe the objects that a schedule command takes; the reader knows time zones, overlaps."""
    amps = number(MIN_CURRENT_A, max_current_a, is_text_read=False)[0]
    period: dict[str, Schema] = {"start": _LOCAL_TIME, "amps": amps}
    changed: dict[str, Schema] = {"enabled": FLAG, "timezone": _ZONE, "amps": amps}
    required: tuple[str, ...] = ("start",)
    if kind != "delayed":
        period["stop"] = _LOCAL_TIME
        required = ("start", "stop")
    if kind == "weekly":
        period |= {"from": _DAY, "to": _DAY}
        required = ("start", "stop", "from")
    else:
        changed |= dict.fromkeys(required, _LOCAL_TIME)
    most = 1 if kind == "delayed" else MAX_PERIODS
    entry = Keys(period, required).schema()
    periods: Schema = {"type": "array", "items": entry, "minItems": 1, "maxItems": most}
    whole: dict[str, Schema] = {"enabled": FLAG, "timezone": _ZONE, "periods": periods}
    return (
        Keys(whole, ("timezone", "periods")),
        _CLEAR,
        # At least one of them.
        *(Keys(changed, (key,)) for key in changed),
    )


def _schedule(kind: Kind, max_current_a: int) -> Shape:
    return Shape((NULL, word("clear"), *_SWITCH.bare), _schedule_keys(kind, max_current_a))


def _plan(kind: Kind, keys: Keys, max_current_a: int) -> Shape:
    return Shape((NULL, word("off", "clear")), (keys, *_schedule_keys(kind, max_current_a)))


def _limit(max_current_a: int) -> Schema:
    return number(0, max_current_a, is_text_read=False)[0]


def _basic(max_current_a: int) -> Keys:
    return Keys(
        {
            "id": {"type": "string"},
            "chargeStartTime": MOMENT,
            "chargeStopTime": {"anyOf": [MOMENT, NULL]},
            "repeat": FLAG,
            "isEnabled": FLAG,
            LIMIT: _limit(max_current_a),
        },
        ("chargeStartTime",),
    )


def _weekly(max_current_a: int) -> Keys:
    times = {"startTime": _CLOCK_TIME, "stopTime": _CLOCK_TIME}
    span = Keys({**times, LIMIT: _limit(max_current_a)}, tuple(times))
    day = Keys(
        {
            "dayOfWeek": {"type": "integer", "minimum": 0, "maximum": DAYS_A_WEEK - 1},
            "ranges": {"type": "array", "items": span.schema(), "maxItems": RANGES_A_DAY},
        },
        ("dayOfWeek", "ranges"),
    )
    days: Schema = {"type": "array", "items": day.schema(), "minItems": 1, "maxItems": DAYS_A_WEEK}
    return Keys({"days": days, "isEnabled": FLAG}, ("days",))


# -- the kinds ---------------------------------------------------------------------------------

_PHASES: Final = '0 to max_current_a A for all phases, or {"phase1": …, "phase2": …, "phase3": …'
_A_PLAN: Final = (
    "a JSON object as in the vendor's former interface, or as {}_schedule; null, off or clear"
    " removes the plan"
)

PRESS: Final[PayloadKind[None]] = PayloadKind(
    read_press, lambda _: PRESS_SHAPE, "PRESS (also 1, true, on, {})"
)
SWITCH: Final[PayloadKind[bool]] = PayloadKind(
    boolean, lambda _: _SWITCH, "true or false (also on, off, 1, 0)"
)
CHARGER_LIMIT: Final[PayloadKind[Current | Release]] = PayloadKind(
    charger_current,
    _charger,
    '0 or 6 to max_current_a A, or {"amps": 16, "minutes": 30, "hold": true}; {"release": true}',
)
CIRCUIT_LIMIT: Final[PayloadKind[Phases | Release]] = PayloadKind(
    circuit_current,
    _circuit,
    f'{_PHASES}, "minutes": 30, "hold": true}}; {{"release": true}}',
)
PHASE_SWITCH: Final[PayloadKind[PhaseSwitch]] = PayloadKind(
    phase_switch, _phase_switch, '1 or 3, or {"phases": 1, "amps": 10}'
)
LASTING_CHARGER_LIMIT: Final[PayloadKind[int]] = PayloadKind(
    persistent_current,
    lambda max_current_a: Shape(tuple(number(MIN_CURRENT_A, max_current_a))),
    "6 to max_current_a A, whole amperes",
)
LASTING_CIRCUIT_LIMIT: Final[PayloadKind[Phases]] = PayloadKind(
    lasting_circuit_current,
    _lasting_circuit,
    f"{_PHASES}}}, whole amperes",
)
PAIRING_TIME: Final[PayloadKind[int]] = PayloadKind(
    pairing_time, lambda _: _PAIRING, f'{PRESS.text} for 60 s, 2 to 600 s, or {{"timeout": s}}'
)
ALLOCATED: Final[PayloadKind[int]] = PayloadKind(
    whole_current,
    lambda max_current_a: Shape(tuple(number(0, max_current_a))),
    "0 to max_current_a A, whole amperes",
)
SURPLUS: Final[PayloadKind[Surplus]] = PayloadKind(
    surplus,
    _surplus,
    '{"enabled": true, "amps": 6}: the current that may be imported in addition, or true or false',
)
BASIC_PLAN: Final[PayloadKind[ScheduleOrder]] = PayloadKind(
    basic_plan,
    lambda max_current_a: _plan("daily", _basic(max_current_a), max_current_a),
    _A_PLAN.format("daily"),
)
WEEKLY_PLAN: Final[PayloadKind[ScheduleOrder]] = PayloadKind(
    weekly_plan,
    lambda max_current_a: _plan("weekly", _weekly(max_current_a), max_current_a),
    _A_PLAN.format("weekly"),
)


def schedule_kind(kind: Kind, keys: str) -> PayloadKind[ScheduleOrder]:
    """Return the kind of the payload of a schedule command.

    Args:
        kind: Which schedule.
        keys: The keys of its periods, for the description.
    """
    return PayloadKind(
        partial(schedule_order, kind),
        partial(_schedule, kind),
        f'{{"enabled": true, "timezone": "Europe/Oslo", "periods": [{keys}]}}, {{"enabled": false}}'
        ' or {"clear": true}; single keys of a period or the schedule change it',
    )
