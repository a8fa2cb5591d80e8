"""Decodes a received value into a typed one, or raises :class:`DecodeError`.

Rules:

1. The type in the message wins over the registry, except for texts that only look like numbers.
   An unknown id, in a message without a type, keeps the JSON type it has.
2. What does not fit its type is an error, never a guess: "unknown" is not false and not zero.
3. Only ASCII digits are digits; no separators, no NaN, no infinity, no comma.
4. An error about personal data carries none of it.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from struct import Struct
from typing import Final

import msgspec

from bridge.core.easee.observation_registry import REGISTRY as REGISTRY  # noqa: PLC0414 - part of this room's door
from bridge.core.easee.observation_registry import spec_of as spec_of  # noqa: PLC0414 - likewise
from bridge.core.easee.observation_spec import DataType as DataType  # noqa: PLC0414 - part of this room's door
from bridge.core.easee.observation_spec import ObservationSpec as ObservationSpec  # noqa: PLC0414 - likewise
from bridge.core.records.observation import RawObservation
from bridge.core.value_format import Value as Value  # noqa: PLC0414 - likewise
from bridge.core.value_format import number, read_stamp
from bridge.errors import DecodeError

MAX_TEXT_BYTES = 64 * 1024
# Room for whatever the vendor invents, none for a name longer than a topic level.
MAX_ID = 2**31 - 1
# SQLite, Java and most consumers count to here.
MAX_INTEGER = 2**63 - 1
# Up to here every whole number is exact as a double.
EXACT_DOUBLE = 2.0**53
# A float32 keeps six digits whatever they are: a text of so few has no noise to be undone.
CLEAN_TEXT = len("1234.56")
FLOAT32_MAX = 3.4028234663852886e38
# Below this a float32 loses digits.
FLOAT32_NORMAL = 1.1754943508222875e-38


# A struct, not a dataclass: one is made for every observation, in a sixth of the time.
class Observation(msgspec.Struct, frozen=True, gc=False):
    """One decoded observation.

    Attributes:
        charger_id: Serial, as it came; not checked here.
        spec: What is known of this id.
        value: In the vendor's unit. Kept out of the repr: it may be an RFID tag.
        measured_at: When the charger measured it, UTC.
        stamp: The same as :func:`~bridge.core.value_format.iso_utc` spells it; empty when nobody
            has.
    """

    charger_id: str
    spec: ObservationSpec
    value: Value
    measured_at: datetime
    stamp: str = ""

    def __repr__(self) -> str:
        return f"Observation({self.charger_id!r}, {self.spec.name}, {self.measured_at})"

    @property
    def label(self) -> str | None:
        """Return the name of the value, e.g. ``"charging"``; None when there is none."""
        return label_of(self.spec, self.value)


def label_of(spec: ObservationSpec, value: Value) -> str | None:
    """Return the name of a code; None when the value is no code or an unknown one."""
    if not spec.labels or isinstance(value, bool | float):
        return None
    return spec.labels.get(value)


def decode(
    raw: RawObservation,
    registry: Mapping[int, ObservationSpec] | None = None,
    named: Callable[[int], ObservationSpec] = spec_of,
) -> Observation:
    """Read one observation.

    Args:
        raw: As received.
        registry: The observations of such a device; None: of a charger.
        named: Returns the row of an id, a generated one for an unknown id.

    Raises:
        DecodeError: Its id, value or timestamp cannot be read.
    """
    spec = (REGISTRY if registry is None else registry).get(raw.id) or _spec_from_outside(
        raw.id, named
    )
    read = _READERS.get(raw.data_type) or _reader_without_type(spec)
    if spec.always_text:
        read = _text
    try:
        return Observation(raw.charger_id, spec, read(raw.value), *read_stamp(raw.timestamp))
    except _Unreadable as exc:
        shown = "" if spec.personal or spec.auth_field else raw.value
        raise DecodeError(str(exc), source=f"observation {raw.id}", raw=shown) from None
    except DecodeError as exc:
        raise DecodeError(
            f"timestamp: {exc.reason}", source=f"observation {raw.id}", raw=raw.timestamp[:40]
        ) from None


class _Unreadable(ValueError):
    """Contains what was expected, never the value."""


def _spec_from_outside(
    observation_id: int, named: Callable[[int], ObservationSpec]
) -> ObservationSpec:
    if not 0 <= observation_id <= MAX_ID:
        raise DecodeError("no observation id", source="observation", raw=observation_id)
    return named(observation_id)


def _reader_without_type(spec: ObservationSpec) -> Callable[[object], Value]:
    return _READERS[spec.kind] if spec.vendor_name else _as_it_is


# -- one reader per type: text from the stream, JSON values from REST ---------------------------

# Go clients, Python clients and the vendor spell it differently; all of them are meant.
_BOOLEANS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("1", "true", "t", "on", "yes", "1.0"), True),
    **dict.fromkeys(("0", "false", "f", "off", "no", "0.0"), False),
}


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        known = _BOOLEANS.get(value)
        if known is None:
            known = _BOOLEANS.get(value.lower()) if len(value) < len("false ") else None
        if known is not None:
            return known
    elif isinstance(value, int | float) and value in (0, 1):
        return value == 1
    raise _Unreadable("not a boolean")


# pyeasee stumbles over "1.0" in an Integer: whole numbers are taken however they are spelled.
_INTEGER = re.compile(r"(-?[0-9]{1,19})(?:\.0{1,20})?", re.ASCII).fullmatch


def _integer(value: object) -> int:
    if isinstance(value, str):
        match = _INTEGER(value)
        if match is None:
            raise _Unreadable("not an integer")
        result = int(match[1])
    elif isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        raise _Unreadable("not an integer")
    else:
        result = int(value)
    if not -MAX_INTEGER <= result <= MAX_INTEGER:
        raise _Unreadable("more than 63 bits")
    return result


_DOUBLE = re.compile(
    r"-?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII
).fullmatch


def _double(value: object) -> int | float:
    if isinstance(value, str):
        if _DOUBLE(value) is None:
            raise _Unreadable("not a decimal number")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unreadable("not a number")
    try:
        double = float(value)
    except OverflowError:
        raise _Unreadable("larger than a double") from None
    if not math.isfinite(double):
        raise _Unreadable("not a finite number")
    if double.is_integer() and abs(double) < EXACT_DOUBLE:
        return int(double)
    if (
        isinstance(value, str)
        and len(value) <= CLEAN_TEXT
        and "e" not in value
        and "E" not in value
    ):
        return double
    return _without_float32_noise(double)


_FLOAT32 = Struct("<f")


def _without_float32_noise(value: float) -> float:
    """Undo what widening a float32 to a double added: ``6.052999973297119`` is ``6.053``.

    Chargers measure in float32 and the cloud prints doubles (evcc#20791). Only a double that is
    exactly a float32 is touched, and it becomes the shortest decimal that is the same float32.
    """
    if abs(value) > FLOAT32_MAX:
        return value
    packed = _FLOAT32.pack(value)
    if _FLOAT32.unpack(packed)[0] != value:
        return value
    # Six digits always survive a float32, nine always identify it. Below the normal range there
    # are fewer, so start from one there.
    for digits in range(6 if abs(value) > FLOAT32_NORMAL else 1, 9):
        shorter = float(f"{value:.{digits}g}")
        if _FLOAT32.pack(shorter) == packed:
            return shorter
    return float(f"{value:.9g}")


def _text(value: object) -> str:
    if isinstance(value, str):
        text = value
    elif value is None:
        raise _Unreadable("null")
    elif isinstance(value, bool | int | float):
        text = number(_as_number(value)).decode("ascii")
    else:
        text = _compact_json(value)
    try:
        size_bytes = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise _Unreadable("not Unicode text") from None
    if size_bytes > MAX_TEXT_BYTES:
        raise _Unreadable("text over 64 KiB")
    return text


def _as_number(value: float) -> bool | int | float:
    """Check a JSON number or boolean as it would be without a type."""
    if isinstance(value, bool):
        return value
    return _integer(value) if isinstance(value, int) else _double(value)


def _compact_json(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        raise _Unreadable("not a JSON value") from None


def _as_it_is(value: object) -> Value:
    return _as_number(value) if isinstance(value, bool | int | float) else _text(value)


_READERS: Final[Mapping[int | None, Callable[[object], Value]]] = {
    DataType.BINARY: _text,
    DataType.BOOLEAN: _boolean,
    DataType.DOUBLE: _double,
    DataType.INTEGER: _integer,
    DataType.POSITION: _text,
    DataType.STRING: _text,
    DataType.STATISTICS: _text,
}
