"""JSON schemas of values: numbers, words, and objects of them.

Rules:

1. A bare text is a value as well: ``16`` is a number, ``on`` is the string ``"on"``.
2. What a schema lets through is what the readers of :mod:`bridge.core.easee.command_payloads` take.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

Schema = Mapping[str, object]

NUMERIC: Final = r"(?=[+-]?[0-9]{1,9}(?:\.[0-9]{1,9})?$)"
MOMENT: Final = {
    "type": "string",
    "pattern": r"^(?!0000)[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3])"
    r":[0-5][0-9](:[0-5][0-9](\.[0-9]{1,9})?)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
}
FLAG: Final = {"type": "boolean"}
NULL: Final = {"type": "null"}


class Shape(msgspec.Struct, frozen=True):
    """What an argument may be.

    Attributes:
        bare: Values that are no objects.
        objects: Objects, by their keys; those of ``required`` have to be there.
    """

    bare: tuple[Schema, ...] = ()
    objects: tuple["Keys", ...] = ()


class Keys(msgspec.Struct, frozen=True):
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


def word(*words: str) -> Schema:
    """Describe words that are read in capitals or not."""
    spelled = ("".join(_either(letter) for letter in word) for word in words)
    return {"type": "string", "pattern": f"^({'|'.join(spelled)})$"}


def _either(letter: str) -> str:
    return f"[{letter.upper()}{letter}]" if letter.isalpha() else letter


def number(low: int, high: int, *, whole: bool = True, is_text_read: bool = True) -> list[Schema]:
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
    return {"type": "string", "pattern": f"^{NUMERIC}(\\+?({exact}){zero})$"}


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
