"""What commands and queries take, as JSON Schema: one row per kind of payload.

Rules:

1. The reader of :mod:`bridge.core.easee.command_payloads` decides; a row describes what it lets
   through. A test holds both against each other, payload by payload.
2. A bare text is a value as well: ``16`` is a number, ``on`` is the string ``"on"``.
3. What no JSON Schema can say is left to the reader: that a day stands once in a plan, that a time
   lies before another, that 1.0 presses no button.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bridge.core.easee.charge_plans import DAYS, LIMIT, RANGES_A_DAY
from bridge.core.easee.command_catalogue import PRESS, SWITCH, CommandSpec
from bridge.core.easee.command_payloads import (
    MAX_ID_LENGTH,
    MAX_MINUTES,
    MAX_NUMBER,
    MAX_PAYLOAD_BYTES,
    MIN_CURRENT_A,
)
from bridge.core.easee.enumerations import OFFLINE_CHARGING_MODE, PHASE_MODE
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.queries.catalogue import MAX_DIGITS, QuerySpec

Schema = Mapping[str, object]

_NUMERIC: Final = r"(?=[+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?$)"
_MOMENT: Final = {
    "type": "string",
    "pattern": r"^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])"
    r":[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
}
_QUERY_TIME: Final = {
    "type": "string",
    "pattern": r"^2[01][0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]([01][0-9]|2[0-3])"
    r":[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?$",
}
_CLOCK_TIME: Final = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]Z?$"}
_FLAG: Final = {"type": "boolean"}
_NULL: Final = {"type": "null"}


@dataclass(frozen=True, slots=True)
class Shape:
    """What an argument may be.

    Attributes:
        bare: Values that are no objects.
        objects: Objects, by their keys; those of ``required`` have to be there.
    """

    bare: tuple[Schema, ...] = ()
    objects: tuple["Keys", ...] = ()


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of an object.

    Attributes:
        properties: Every key there may be.
        required: Those there must be.
    """

    properties: Mapping[str, Schema]
    required: tuple[str, ...] = ()

    def schema(self, more: Mapping[str, Schema] | None = None) -> Schema:
        """Describe the object, with further keys if there are any."""
        described: dict[str, object] = {
            "type": "object",
            "properties": {**self.properties, **(more or {})},
            "additionalProperties": False,
        }
        return described | ({"required": list(self.required)} if self.required else {})


def command_schema(spec: CommandSpec[Any], max_current_a: int) -> Schema:
    """Describe what a command takes: a bare value, or an envelope with it or with its own keys.

    Args:
        spec: Its row of the catalogue.
        max_current_a: ``commands.max_current_a``.
    """
    return _payload(_shape_of(spec, max_current_a), spec.payload)


def query_schema(query_spec: QuerySpec) -> Schema:
    """Describe what a query takes, besides an empty payload where it has no conditions.

    Args:
        query_spec: Its row.
    """
    return _payload(_QUERIES[query_spec.name], query_spec.payload)


def _payload(shape: Shape, description: str) -> Schema:
    value = {"anyOf": [*shape.bare, *(keys.schema() for keys in shape.objects)]}
    forms = [*shape.bare, Keys({"value": value}, ("value",)).schema(_ENVELOPE)]
    # An own key that is called like one of the envelope's is the envelope's.
    forms += (keys.schema(_ENVELOPE) for keys in shape.objects)
    text = f"{description}; at most {MAX_PAYLOAD_BYTES} bytes"
    return {"description": text, "anyOf": forms}


# -- values ------------------------------------------------------------------------------------


def _word(*words: str) -> Schema:
    """Describe words that are read in capitals or not."""
    spelled = ("".join(_either(letter) for letter in word) for word in words)
    return {"type": "string", "pattern": f"^({'|'.join(spelled)})$"}


def _either(letter: str) -> str:
    return f"[{letter.upper()}{letter}]" if letter.isalpha() else letter


def _number(low: int, high: int, *, whole: bool = True, is_text_read: bool = True) -> list[Schema]:
    """Describe numbers within bounds, and texts that say one."""
    kind = "integer" if whole else "number"
    found: list[Schema] = [{"type": kind, "minimum": low, "maximum": high}]
    return [*found, _numeral(low, high, whole=whole)] if is_text_read else found


def _numeral(low: int, high: int, *, whole: bool) -> Schema:
    """Describe a text that says a number within bounds, e.g. ``"16"`` or ``"+6.50"``."""
    exact = f"0*({'|'.join(_between(low, high))})(\\.0+)?"
    if not whole and low < high:
        exact += f"|0*({'|'.join(_between(low, high - 1))})\\.[0-9]+"
    zero = r"|-0+(\.0+)?" if low == 0 else ""
    return {"type": "string", "pattern": f"^{_NUMERIC}(\\+?({exact}){zero})$"}


def _between(low: int, high: int) -> Iterable[str]:
    """Write whole numbers from ``low`` to ``high``, as patterns without leading zeros."""
    for digits in range(len(str(low)), len(str(high)) + 1):
        least = max(low, 10 ** (digits - 1) if digits > 1 else 0)
        yield _alike(str(least), str(min(high, 10**digits - 1)))


def _alike(low: str, high: str) -> str:
    """Write what lies between two numbers of the same length."""
    if not low:
        return ""
    rest = len(low) - 1
    if low[0] == high[0]:
        return low[0] + _alike(low[1:], high[1:])
    first, last = int(low[0]), int(high[0])
    parts = []
    if low[1:] != "0" * rest:
        parts.append(low[0] + _alike(low[1:], "9" * rest))
        first += 1
    if high[1:] != "9" * rest:
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}]" + "[0-9]" * rest)
    if high[1:] != "9" * rest:
        parts.append(high[0] + _alike("0" * rest, high[1:]))
    return f"({'|'.join(parts)})"


def _choice(labels: Iterable[str], numbers: Iterable[int]) -> Shape:
    found = sorted(numbers)
    return Shape((_word(*labels), *_number(found[0], found[-1])))


# -- the envelope ------------------------------------------------------------------------------

_ENVELOPE: Final[Mapping[str, Schema]] = {
    "id": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": MAX_ID_LENGTH,
        "pattern": r"^(?![\s\S]*[\u0000-\u001f\u007f-\u00a0\u00ad])",
    },
    "ttl_s": {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_NUMBER},
            {"type": "string", "pattern": f"^{_NUMERIC}\\+?(?=.*[1-9])[0-9.]+$"},
            _NULL,
        ]
    },
    "expires_at": {"anyOf": [_MOMENT, _NULL]},
}

# -- the rows ----------------------------------------------------------------------------------

_PRESSES: Final[tuple[Schema, ...]] = (_word("press", "true", "on", "1"), {"enum": [1, True]})
_PRESS: Final = Shape(_PRESSES, (Keys({}),))
_SWITCH: Final = Shape(
    (_word("true", "on", "1", "false", "off", "0"), {"enum": [True, False, 1, 0]})
)
_MINUTES: Final[Schema] = {"anyOf": _number(0, MAX_MINUTES)}


def _shape_of(spec: CommandSpec[Any], max_current_a: int) -> Shape:
    alike = {PRESS: _PRESS, SWITCH: _SWITCH}.get(spec.payload)
    return alike if alike is not None else _shapes(max_current_a)[spec.name]


def _shapes(max_current_a: int) -> Mapping[str, Shape]:
    """List the commands that take more than a press or a switch."""
    lasting = _circuit(max_current_a, whole=True)
    return {
        "offline_charging_mode": _choice(
            [*OFFLINE_CHARGING_MODE.values(), "only_whitelisted"], (0, 1, 2)
        ),
        "dynamic_charger_current": _charger(max_current_a),
        "dynamic_circuit_current": _circuit(max_current_a, whole=False),
        "led_strip_brightness": Shape(tuple(_number(0, 100))),
        "phase_mode": _choice((PHASE_MODE[code] for code in (1, 2, 3)), (1, 2, 3)),
        "basic_charge_plan": _plan(_basic(max_current_a)),
        "weekly_charge_plan": _plan(_weekly(max_current_a)),
        "access_level": _choice(("open", "account", "whitelist"), (1, 2, 3)),
        "rfid_pairing": Shape(
            (*_PRESSES, *_number(2, 600)),
            (Keys({}), Keys({"timeout": {"anyOf": _number(1, 600)}}, ("timeout",))),
        ),
        "max_charger_current": Shape(tuple(_number(MIN_CURRENT_A, max_current_a))),
        "offline_max_circuit_current": lasting,
        "max_circuit_current": lasting,
    }


def _charger(max_current_a: int) -> Shape:
    bare = (*_number(0, 0), *_number(MIN_CURRENT_A, max_current_a, whole=False))
    amps = {"anyOf": list(bare)}
    return Shape(
        bare, tuple(Keys({key: amps, "minutes": _MINUTES}, (key,)) for key in ("amps", "value"))
    )


def _circuit(max_current_a: int, *, whole: bool) -> Shape:
    bare = tuple(_number(0, max_current_a, whole=whole))
    amps: Schema = {"anyOf": list(bare)}
    minutes = {} if whole else {"minutes": _MINUTES}
    phases = ("phase1", "phase2", "phase3")
    return Shape(
        bare,
        (
            Keys({"value": amps, **minutes}, ("value",)),
            Keys({**dict.fromkeys(phases, amps), **minutes}, phases),
        ),
    )


def _plan(keys: Keys) -> Shape:
    return Shape((_NULL, _word("off", "clear")), (keys,))


def _limit(max_current_a: int) -> Schema:
    return _number(0, max_current_a, is_text_read=False)[0]


def _basic(max_current_a: int) -> Keys:
    return Keys(
        {
            "id": {"type": "string"},
            "chargeStartTime": _MOMENT,
            "chargeStopTime": {"anyOf": [_MOMENT, _NULL]},
            "repeat": _FLAG,
            "isEnabled": _FLAG,
            LIMIT: _limit(max_current_a),
        },
        ("chargeStartTime",),
    )


def _weekly(max_current_a: int) -> Keys:
    times = {"startTime": _CLOCK_TIME, "stopTime": _CLOCK_TIME}
    span = Keys({**times, LIMIT: _limit(max_current_a)}, tuple(times))
    day = Keys(
        {
            "dayOfWeek": {"type": "integer", "minimum": 0, "maximum": DAYS - 1},
            "ranges": {"type": "array", "items": span.schema(), "maxItems": RANGES_A_DAY},
        },
        ("dayOfWeek", "ranges"),
    )
    days: Schema = {"type": "array", "items": day.schema(), "maxItems": DAYS}
    return Keys({"days": days, "isEnabled": _FLAG}, ("days",))


_PERIOD: Final[Mapping[str, Schema]] = {"from": _QUERY_TIME, "to": _QUERY_TIME}
_NAME: Final[Schema] = {
    "anyOf": [
        {"enum": [spec.name for spec in REGISTRY.values()]},
        {"type": "string", "pattern": f"^(observation_)?[0-9]{{1,{MAX_DIGITS}}}$"},
        {"type": "integer", "minimum": 0, "maximum": 10**MAX_DIGITS - 1},
    ]
}
_QUERIES: Final[Mapping[str, Shape]] = {
    "observations": _PRESS,
    "schedule": _PRESS,
    "history": Shape((), (Keys({"name": _NAME, **_PERIOD}, ("name",)),)),
    "sessions": Shape((), (Keys(_PERIOD),)),
}
