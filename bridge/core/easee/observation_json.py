"""Parses one record of an observation, as stream and REST send it.

Rules:

1. Keys are read in any case: the documents have camelCase, a field log PascalCase (evcc#8572).
2. Whole numbers may be spelled as a float or in digits.
3. A record of a known charger with a readable id goes on, whatever else of it cannot be read: its
   value is then refused where all values are judged, which counts and names it by its id.
"""

from collections.abc import Mapping

from bridge.core.records.observation import RawObservation
from bridge.errors import DecodeError

MAX_ID = 2**31 - 1
# A float holds integers exactly up to here; ticks are above it and must come as integers.
EXACT_FLOAT = 2.0**53
MAX_DIGITS = 20
# Whatever comes as a value must stay shallow enough that no later code runs out of stack on it.
MAX_VALUE_DEPTH = 16
# In the place of what is no text, or too deep: no reader of values takes them.
NO_TIME = ""
NO_VALUE = None


def lowered(record: Mapping[str, object]) -> dict[str, object]:
    """Write the keys of a record in lower case."""
    return {key.lower(): value for key, value in record.items()}


def observation(record: Mapping[str, object], charger_id: object) -> RawObservation:
    """Read one observation.

    Args:
        record: It, with its keys in lower case.
        charger_id: Whose it is; on the stream the record says it itself.

    Raises:
        DecodeError: It cannot be determined which observation of which charger it is.
    """
    observation_id = whole(record.get("id"))
    if observation_id is None or not 0 <= observation_id <= MAX_ID:
        raise DecodeError("id is not a number", source="observation")
    if not isinstance(charger_id, str):
        raise DecodeError("mid is not text", source=f"observation {observation_id}")
    stamp, value = record.get("timestamp"), record.get("value")
    return RawObservation(
        charger_id,
        observation_id,
        whole(record.get("datatype")),
        value if _is_shallow(value, MAX_VALUE_DEPTH) else NO_VALUE,
        stamp if isinstance(stamp, str) else NO_TIME,
    )


def whole(value: object) -> int | None:
    """Read an integer that may be spelled as a float or in digits; None when it is neither."""
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer() and abs(value) < EXACT_FLOAT:
            return int(value)
        case str() if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
            return int(value)
        case _:
            return None


def _is_shallow(value: object, levels: int) -> bool:
    match value:
        case dict():
            return levels > 0 and all(_is_shallow(item, levels - 1) for item in value.values())
        case list():
            return levels > 0 and all(_is_shallow(item, levels - 1) for item in value)
        case _:
            return True
