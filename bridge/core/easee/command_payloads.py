"""Parses and validates command payloads.

Rules:

1. Total: any bytes give a :class:`Payload` or :class:`~bridge.errors.CommandRefused`.
2. What is not understood completely is refused. The vendor answers 2xx to misspelled fields and
   does nothing, so nobody behind us would notice.
3. A sentence says what is allowed; it never repeats what was sent.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Final, NoReturn, TypeGuard

import msgspec

from bridge.errors import CommandRefused

MAX_PAYLOAD_BYTES = 4096
MAX_ID_LENGTH = 64
# A weekly plan inside an envelope nests 6 deep; nothing we take nests deeper.
MAX_DEPTH = 8
# Beyond every quantity of the catalogue, and far from where floats lose whole numbers.
MAX_NUMBER = 1_000_000_000
MIN_CURRENT_A = 6
MAX_MINUTES = 7 * 24 * 60

_ENVELOPE: Final = frozenset({"value", "id", "ttl_s", "expires_at"})
_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:\d\d)",
    re.ASCII,
)
_WORDS: Final[Mapping[object, bool]] = {
    "true": True, "on": True, "1": True, "false": False, "off": False, "0": False
}  # fmt: skip
_PRESSES: Final = frozenset({"press", "true", "on", "1"})
_PHASES: Final = frozenset({"phase1", "phase2", "phase3"})
_LIMIT_OPTIONS: Final = frozenset({"minutes", "hold"})
PHASE_NUMBERS: Final = (1, 3)


class Payload(msgspec.Struct, frozen=True):
    """A payload, read as far as it can be without knowing the command.

    Attributes:
        value: The bare value or the ``value`` key; an object of the command's own keys
            (``{"amps": 16}``) where those were used; an empty object when nothing was given.
        id: The caller's name for the command, or None.
        ttl_s: Seconds the caller gives it, or None.
        expires_at: UTC moment after which the caller does not want it any more, or None.
    """

    value: object
    id: str | None = None
    ttl_s: float | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Current:
    """A limit for one charger.

    Attributes:
        amps: Whole amperes.
        minutes: How long it holds; 0 means until it is changed.
        rounded: More than ``amps`` was asked for and the fraction was dropped.
    """

    is_held: ClassVar[bool] = False

    amps: int
    minutes: int = 0
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class HeldCurrent(Current):
    """A limit that is sent again where the charger forgot it."""

    is_held: ClassVar[bool] = True


class Surplus(msgspec.Struct, frozen=True):
    """Charging on surplus energy.

    Attributes:
        enabled: Whether it is on.
        amps: What may be drawn from the grid in addition.
    """

    enabled: bool
    amps: int = 0


@dataclass(frozen=True, slots=True)
class Phases:
    """A limit for the three phases of a circuit, like :class:`Current`."""

    is_held: ClassVar[bool] = False

    amps: tuple[int, int, int]
    minutes: int = 0
    rounded: bool = False


@dataclass(frozen=True, slots=True)
class HeldPhases(Phases):
    """A limit of a circuit that is sent again where it was forgotten."""

    is_held: ClassVar[bool] = True


class Release(msgspec.Struct, frozen=True):
    """The end of a held limit; the limit itself stays until it is forgotten or changed."""

    is_held: ClassVar[bool] = False


class PhaseSwitch(msgspec.Struct, frozen=True):
    """A switch to one or three phases.

    Attributes:
        phases: 1 or 3; the vendor's phase mode has the same number.
        amps: Limit to charge with afterwards; None: the one in force before.
    """

    phases: int
    amps: int | None = None


def read_payload(payload: bytes) -> Payload:
    """Read the bytes of a command.

    Args:
        payload: ``16``, ``on``, ``PRESS``, a JSON scalar, or
            ``{"value": …, "id": "…", "ttl_s": 30, "expires_at": "…Z"}``.

    Raises:
        CommandRefused: ``empty_payload`` or ``invalid_value``.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        refuse(f"a payload has at most {MAX_PAYLOAD_BYTES} bytes")
    try:
        text = payload.decode().strip(" \t\r\n")
    except UnicodeDecodeError as exc:
        raise CommandRefused("invalid_value", "a payload is UTF-8 text") from exc
    if not text:
        raise CommandRefused(
            "empty_payload", "an empty payload is never a command: send a value, or PRESS"
        )
    value = _json_or_word(text)
    _check(value)
    return _envelope(value) if isinstance(value, dict) else Payload(value)


def id_in(payload: bytes) -> str | None:
    """Return the id in the bytes of a command, also where the rest of them is refused.

    Args:
        payload: Anything.

    Returns:
        The id; None where there is none, or none that may be repeated in an answer.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        return None
    try:
        given = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    found = given.get("id") if isinstance(given, dict) else None
    return found if _is_id(found) else None


def refuse(detail: str) -> NoReturn:
    """Refuse a value.

    Args:
        detail: A sentence that says what is allowed.

    Raises:
        CommandRefused: ``invalid_value``.
    """
    raise CommandRefused("invalid_value", detail)


# -- values, for the rows of the catalogue ------------------------------------------------------


def read_press(value: object, _max_current_a: int) -> None:
    """Read the payload of an action."""
    if value == {} or (not isinstance(value, float) and _word(value) in _PRESSES):
        return
    refuse("an action requires PRESS, 1, true, on or {}")


def boolean(value: object, _max_current_a: int) -> bool:
    """Read a switch."""
    state = None if isinstance(value, float) else _WORDS.get(_word(value))
    if state is None:
        refuse("a switch requires true or false (also on, off, 1, 0)")
    return state


def integer_reader(low: int, high: int, unit: str) -> Callable[[object, int], int]:
    """Return a reader of whole numbers within bounds."""

    def read(value: object, _max_current_a: int) -> int:
        number = amount(value)
        if number is None or number != int(number) or not low <= number <= high:
            refuse(f"a whole number from {low} to {high} {unit}".rstrip())
        return int(number)

    return read


def choice_reader(labels: Mapping[str, int]) -> Callable[[object, int], int]:
    """Return a reader of labels; the vendor's numbers are accepted too."""
    numbers = sorted(set(labels.values()))

    def read(value: object, _max_current_a: int) -> int:
        number = amount(value)
        chosen = labels.get(_word(value)) if number is None else number
        if chosen not in numbers:
            refuse(f"one of {', '.join(labels)} (or {numbers[0]} to {numbers[-1]})")
        return int(chosen)

    return read


def charger_current(value: object, max_current_a: int) -> Current | Release:
    """Read ``16`` or ``{"amps": 16, "minutes": 30, "hold": true}``, or ``{"release": true}``."""
    allowed = f"0 or {MIN_CURRENT_A} to {max_current_a} A"
    amps, minutes, is_held = value, 0, False
    if isinstance(value, dict):
        if "release" in value:
            return _release(value)
        key = "value" if "value" in value else "amps"
        shape = '{"amps": …, "minutes": …, "hold": …} or {"release": true}'
        only_keys(value, required={key}, optional=_LIMIT_OPTIONS, shape=shape)
        amps, minutes, is_held = value[key], _minutes(value.get("minutes", 0)), _is_held(value)
    limit = _amps(amps, max_current_a, allowed)
    if 0 < limit < MIN_CURRENT_A:
        refuse(f"a car cannot charge with less than {MIN_CURRENT_A} A: {allowed}")
    if is_held:
        _check_held(limit)
    kind = HeldCurrent if is_held else Current
    return kind(int(limit), minutes, rounded=limit != int(limit))


def persistent_current(value: object, max_current_a: int) -> int:
    """Read a limit that the charger stores: whole amperes."""
    allowed = f"whole amperes from {MIN_CURRENT_A} to {max_current_a}"
    limit = _amps(value, max_current_a, allowed)
    if limit < MIN_CURRENT_A or limit != int(limit):
        refuse(allowed)
    return int(limit)


def whole_current(value: object, max_current_a: int) -> int:
    """Read a current in whole amperes; 0 gives out none."""
    allowed = f"whole amperes from 0 to {max_current_a}"
    limit = _amps(value, max_current_a, allowed)
    if limit != int(limit):
        refuse(allowed)
    return int(limit)


def surplus(value: object, max_current_a: int) -> Surplus:
    """Read ``{"enabled": true, "amps": 6}`` or a switch."""
    if not isinstance(value, dict):
        return Surplus(boolean(value, max_current_a))
    shape = '{"enabled": …, "amps": …}'
    only_keys(value, required={"enabled"}, optional={"amps"}, shape=shape)
    amps = whole_current(value.get("amps", 0), max_current_a)
    return Surplus(boolean(value["enabled"], max_current_a), amps)


def circuit_current(value: object, max_current_a: int) -> Phases | Release:
    """Read ``16`` (all phases) or ``{"phase1": …, "phase2": …, "phase3": …, "minutes": …}``.

    All three phases are required: an omitted one was seen to become 0 (ioBroker.easee's README).
    With ``"hold": true`` and ``{"release": true}`` as :func:`charger_current`.
    """
    allowed = f"0 to {max_current_a} A for each phase"
    phases, minutes, is_held = [value] * 3, 0, False
    if isinstance(value, dict):
        if "release" in value:
            return _release(value)
        if "value" in value:
            only_keys(value, required={"value"}, optional=_LIMIT_OPTIONS, shape='{"value": …}')
            phases = [value["value"]] * 3
        else:
            shape = (
                '{"phase1": …, "phase2": …, "phase3": …, "minutes": …, "hold": …}, all three'
                ' phases, or {"release": true}'
            )
            only_keys(value, required=_PHASES, optional=_LIMIT_OPTIONS, shape=shape)
            phases = [value[key] for key in sorted(_PHASES)]
        minutes, is_held = _minutes(value.get("minutes", 0)), _is_held(value)
    p1, p2, p3 = (_amps(phase, max_current_a, allowed) for phase in phases)
    if is_held:
        _check_held(p1, p2, p3)
    kind = HeldPhases if is_held else Phases
    return kind(
        (int(p1), int(p2), int(p3)), minutes, rounded=any(p != int(p) for p in (p1, p2, p3))
    )


def lasting_circuit_current(value: object, max_current_a: int) -> Phases:
    """Read limits that the circuit stores: whole amperes and no duration."""
    phases = circuit_current(value, max_current_a)
    is_volatile = isinstance(value, dict) and not value.keys().isdisjoint(_LIMIT_OPTIONS)
    if isinstance(phases, Release) or phases.rounded or is_volatile:
        refuse(f"whole amperes from 0 to {max_current_a} for each phase, without minutes")
    return phases


def phase_switch(value: object, max_current_a: int) -> PhaseSwitch:
    """Read ``{"phases": 1, "amps": 10}``; without ``amps`` also a bare ``1`` or ``3``."""
    phases, amps = value, None
    if isinstance(value, dict):
        key = "value" if "value" in value else "phases"
        only_keys(value, required={key}, optional={"amps"}, shape='{"phases": 1, "amps": 10}')
        phases, amps = value[key], value.get("amps")
        if "amps" in value:
            amps = persistent_current(amps, max_current_a)
    number = amount(phases)
    if number not in PHASE_NUMBERS:
        refuse("phases is 1 or 3")
    return PhaseSwitch(int(number), amps)


def pairing_time(value: object, _max_current_a: int) -> int:
    """Read how many seconds the charger waits for a tag; ``PRESS`` means a minute."""
    if isinstance(value, dict) and value:
        only_keys(value, required={"timeout"}, optional=(), shape='{"timeout": seconds}')
        return integer_reader(1, 600, "s")(value["timeout"], 0)
    # A bare 1 is how some dashboards press a button, not a second of pairing.
    if value == {} or (not isinstance(value, float) and _word(value) in _PRESSES):
        return 60
    return integer_reader(2, 600, "s, or PRESS for 60 s")(value, 0)


def only_keys(
    value: Mapping[str, object], *, required: Iterable[str], optional: Iterable[str], shape: str
) -> None:
    """Check the keys of an object.

    Raises:
        CommandRefused: One is missing or unknown.
    """
    needed = set(required)
    unknown = sorted(value.keys() - needed - set(optional))
    if unknown:
        refuse(f"{unknown[0]!r} is no key here: the keys are {shape}")
    if not needed <= value.keys():
        refuse(f"{min(needed - value.keys())!r} is missing: the keys are {shape}")


def is_moment(text: object) -> bool:
    """Return whether a text is a date and time with ``Z`` or an offset."""
    return _moment(text) is not None


# -- the smallest parts -------------------------------------------------------------------------


def _json_or_word(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError as exc:
        raise CommandRefused("invalid_value", f"JSON nests at most {MAX_DEPTH} deep") from exc
    except ValueError as exc:
        if text[0] in '{["':
            raise CommandRefused("invalid_value", "this is no JSON and no bare value") from exc
        return text


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        refuse("a key may occur only once in a JSON object")
    return found


def _no_constant(_name: str) -> NoReturn:
    refuse("a number is finite")


def _check(value: object, depth: int = 1) -> None:
    """Refuse valid JSON that cannot be processed: depth, infinity, lone surrogates."""
    match value:
        case dict() | list() if depth > MAX_DEPTH:
            refuse(f"JSON nests at most {MAX_DEPTH} deep")
        case float() if not math.isfinite(value):
            refuse("a number is finite")
        case str() if _SURROGATE.search(value):
            refuse("a text is made of whole characters")
        case dict():
            for key, item in value.items():
                _check(key, depth + 1)
                _check(item, depth + 1)
        case list():
            for item in value:
                _check(item, depth + 1)


def _envelope(given: dict[str, object]) -> Payload:
    own = {key: item for key, item in given.items() if key not in _ENVELOPE}
    if "value" in given:
        value = {"value": given["value"], **own} if own else given["value"]
    else:
        value = own
    return Payload(
        value,
        None if given.get("id") is None else _id(given["id"]),
        None if given.get("ttl_s") is None else _ttl_s(given["ttl_s"]),
        None if given.get("expires_at") is None else _expires_at(given["expires_at"]),
    )


def _id(value: object) -> str:
    if not _is_id(value):
        refuse(f"an id is a text of 1 to {MAX_ID_LENGTH} printable characters")
    return value


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 1 <= len(value) <= MAX_ID_LENGTH and value.isprintable()


def _ttl_s(value: object) -> float:
    number = amount(value)
    if number is None or number <= 0:
        refuse("ttl_s is a number of seconds above 0")
    return float(number)


def _expires_at(value: object) -> datetime:
    moment = _moment(value)
    if moment is None:
        refuse('expires_at is a UTC time like "2026-11-22T12:00:00Z"')
    return moment


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        return None
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def amount(value: object) -> float | None:
    """Return a number, or None for everything else. ``True`` is an int to Python, not to us."""
    if isinstance(value, str) and _NUMBER.fullmatch(value) is not None:
        return float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if -MAX_NUMBER <= value <= MAX_NUMBER else None


def _word(value: object) -> str:
    """Return a bare word in lower case; JSON's ``true`` and ``1`` read like their texts."""
    return value.lower() if isinstance(value, str) else str(value).lower()


def _amps(value: object, max_current_a: int, allowed: str) -> float:
    number = amount(value)
    if number is None or number < 0:
        refuse(allowed)
    if number > max_current_a:
        raise CommandRefused("over_limit", f"commands.max_current_a is {max_current_a}: {allowed}")
    return number


def _minutes(value: object) -> int:
    number = amount(value)
    if number is None or number != int(number) or not 0 <= number <= MAX_MINUTES:
        refuse(f"minutes is a whole number from 0 (until changed) to {MAX_MINUTES}")
    return int(number)


def _is_held(value: Mapping[str, object]) -> bool:
    hold = value.get("hold", False)
    if not isinstance(hold, bool):
        refuse("hold is true or false")
    return hold


def _check_held(*amps: float) -> None:
    if min(amps) < MIN_CURRENT_A:
        refuse(f"a limit that is held is {MIN_CURRENT_A} A or more; to stop charging, use pause")


def _release(value: Mapping[str, object]) -> Release:
    if value != {"release": True} or value["release"] is not True:
        refuse('a held limit is released by {"release": true} alone')
    return Release()
