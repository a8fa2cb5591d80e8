"""Derived values of an Equalizer: its settings, as the cloud reports them.

The rules are those of :mod:`~bridge.core.easee.derived_state`. How the vendor writes these settings
is known at second hand: keys are read in any case, and what cannot be read is None.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from bridge.core.easee.derived_state import (
    SWITCH_VALUES,
    UNTOLD,
    DerivedTopic,
    DerivedValue,
    LatestValues,
    Untold,
    by_source,
)
from bridge.core.easee.equalizer import SITE_STRUCTURE_ID, SURPLUS_ID
from bridge.core.easee.equalizer_settings import ADDED_CURRENT, NONE, WITH_IMPORT
from bridge.core.easee.json_fields import parsed_object
from bridge.core.easee.observation_spec import LIMITS, SETTINGS, Visibility
from bridge.errors import DecodeError

SURPLUS_ENABLED: Final = "surplus_charging_enabled"
SURPLUS_CURRENT: Final = "surplus_charging_current"
MAX_ALLOCATED: Final = "max_allocated_current"

# Seen in place of the settings that the REST interface takes.
_STANDBY_CURRENT: Final = "standbycurrent"


def _document(readings: LatestValues, observation_id: int) -> Mapping[str, Any] | Untold:
    """Return an observation that is a JSON object, keys in lower case."""
    text = readings.value(observation_id)
    if text is None:
        return UNTOLD
    try:
        document = parsed_object(str(text).encode("utf-8", "replace"), "equalizer setting")
    except DecodeError:
        return {}
    return _lowered(document)


def _lowered(document: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key.lower(): value for key, value in document.items()}


def _amps(value: object) -> float | None:
    """Return a current; None where it is none."""
    is_amps = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    return value if is_amps else None  # type: ignore[return-value] # judged above


def _surplus_enabled(readings: LatestValues) -> DerivedValue | Untold:
    document = _document(readings, SURPLUS_ID)
    if document is UNTOLD:
        return UNTOLD
    mode = document.get("mode")
    return mode.lower() != NONE if isinstance(mode, str) and mode else None


def _surplus_current(readings: LatestValues) -> DerivedValue | Untold:
    document = _document(readings, SURPLUS_ID)
    if document is UNTOLD:
        return UNTOLD
    added = document.get(WITH_IMPORT.lower())
    if isinstance(added, dict):
        return _amps(_lowered(added).get(ADDED_CURRENT.lower()))
    return _amps(document.get(_STANDBY_CURRENT))


def _max_allocated(readings: LatestValues) -> DerivedValue | Untold:
    document = _document(readings, SITE_STRUCTURE_ID)
    return UNTOLD if document is UNTOLD else _amps(document.get("maxallocatedcurrent"))


def _rows() -> Iterator[DerivedTopic]:
    yield DerivedTopic(
        SURPLUS_ENABLED,
        (SURPLUS_ID,),
        _surplus_enabled,
        "whether it charges on surplus energy",
        SWITCH_VALUES,
        "Surplus charging",
        group=SETTINGS,
    )
    yield DerivedTopic(
        SURPLUS_CURRENT,
        (SURPLUS_ID,),
        _surplus_current,
        "current that may be imported in addition while it charges on surplus energy, A",
        (),
        "Surplus charging import",
        Visibility.DIAGNOSTIC,
        unit="A",
        digits=0,
        group=SETTINGS,
    )
    yield DerivedTopic(
        MAX_ALLOCATED,
        (SITE_STRUCTURE_ID,),
        _max_allocated,
        "largest current it gives out to its chargers, A; of the site's structure no more is told",
        (),
        "Maximal current",
        unit="A",
        digits=0,
        group=LIMITS,
    )


EQUALIZER_DERIVED: Final = tuple(_rows())
EQUALIZER_DERIVED_BY_SOURCE: Final = by_source(EQUALIZER_DERIVED)
