"""Settings of an Equalizer that commands change, as the cloud holds them."""

from collections.abc import Mapping
from typing import Final

from bridge.core.easee.command_payloads import Surplus
from bridge.core.easee.json_fields import parsed_object

NONE: Final = "none"
WITH_IMPORT: Final = "chargingWithImport"
ADDED_CURRENT: Final = "maximumImportAddedCurrent"
# Under which name the cloud holds it is published nowhere.
_ALLOCATED: Final = ("maxallocatedcurrent", "maxcurrent")


def surplus_body(wish: Surplus) -> dict[str, object]:
    """Return the vendor's settings for charging on surplus energy."""
    if not wish.enabled:
        return {"mode": NONE}
    return {"mode": WITH_IMPORT, WITH_IMPORT: {"eligible": True, ADDED_CURRENT: wish.amps}}


def holds_surplus(wish: Surplus, body: bytes) -> bool:
    """Return whether the cloud holds these settings for charging on surplus energy.

    Raises:
        DecodeError: The body is no object.
    """
    held = parsed_object(body, "surplus energy")
    if not wish.enabled:
        return held.get("mode") == NONE
    added = held.get(WITH_IMPORT)
    has_amps = isinstance(added, Mapping) and added.get(ADDED_CURRENT) == wish.amps
    return held.get("mode") == WITH_IMPORT and has_amps


def holds_allocated_current(amps: int, body: bytes) -> bool:
    """Return whether the configuration of an Equalizer holds this current.

    Raises:
        DecodeError: The body is no object.
    """
    held = parsed_object(body, "equalizer config")
    return any(key.lower() in _ALLOCATED and value == amps for key, value in held.items())
