"""Parses the history of one observation. Raises only ``DecodeError``.

The shape of the answer is not documented. A sister of this endpoint answers ``{"measurements":
[{"value": …, "measuredAt": "…"}]}``, the read of newest values ``{"observations": [{"value": …,
"timestamp": "…"}]}``, so both are taken, and a bare list of either.
"""

from typing import Any

from bridge.core.easee.json_fields import EXCERPT_BYTES, integer, parse_json
from bridge.core.records.observation import RawObservation
from bridge.errors import DecodeError

SOURCE = "history"
_LISTS = ("measurements", "observations")
_STAMPS = ("measuredAt", "timestamp")


def history(body: bytes, charger_id: str, observation_id: int) -> tuple[RawObservation, ...]:
    """Read a history; entries that are none are left out.

    Args:
        body: The body.
        charger_id: Who was asked about; the answer does not repeat it.
        observation_id: What was asked for, likewise.

    Raises:
        DecodeError: There is no list of values, or nothing in it can be read.
    """
    document = parse_json(body, SOURCE)
    entries = document
    if isinstance(document, dict):
        entries = next((document[key] for key in _LISTS if key in document), None)
    if not isinstance(entries, list):
        raise DecodeError("no list", source=SOURCE, raw=body[:EXCERPT_BYTES])
    found = tuple(
        RawObservation(
            charger_id, observation_id, integer(entry.get("dataType")), entry["value"], stamp
        )
        for entry in entries
        if (stamp := _stamp(entry)) is not None
    )
    if entries and not found:
        raise DecodeError("nothing readable", source=SOURCE, raw=body[:EXCERPT_BYTES])
    return found


def _stamp(entry: Any) -> str | None:
    """Return when a value was measured; None when this is no value."""
    if not isinstance(entry, dict) or entry.get("value") is None:
        return None
    return next((entry[key] for key in _STAMPS if isinstance(entry.get(key), str)), None)
