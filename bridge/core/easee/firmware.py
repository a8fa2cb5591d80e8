"""Firmware releases: the newest one the cloud offers, and whether a charger is updating.

Rules:

1. The vendor does not publish the form of ``/firmware/<id>/latest``. A bare release, and an object
   with it under a name that says latest, version, release or firmware, are both understood.
2. A release is a number where it is spelled as one, like observation 80.
"""

import re
from typing import Final

from bridge.core.easee.enumerations import LED_MODE
from bridge.core.easee.json_fields import parse_json
from bridge.core.value_format import Value, json_document
from bridge.errors import DecodeError

SOURCE: Final = "firmware"
# Part of a name, the most telling first.
_NAMES: Final = ("latest", "version", "release", "firmware")
_RELEASE: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,31}", re.ASCII)
MAX_DIGITS: Final = 9
# Meanings of the light strip while a charger updates.
UPDATING: Final = frozenset({"updating"})


def latest_release(body: bytes) -> int | str:
    """Return the newest release of an answer.

    Raises:
        DecodeError: It names none.
    """
    found = _release(parse_json(body, SOURCE))
    if found is None:
        raise DecodeError("names no release", source=SOURCE, raw=body[:80])
    return found


def _release(value: object) -> int | str | None:
    if isinstance(value, dict):
        named = [(str(name).lower(), each) for name, each in value.items()]
        for part in _NAMES:
            for name, each in named:
                found = _release(each) if part in name else None
                if found is not None:
                    return found
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip()
    if _RELEASE.fullmatch(text) is None:
        return None
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else text


def is_updating(led_mode: Value | None) -> bool:
    """Return whether the light strip says that the charger is updating."""
    mode = LED_MODE.get(led_mode) if isinstance(led_mode, int) else None
    return mode is not None and mode.meaning in UPDATING


def update_document(installed: Value | None, latest: int | str | None, *, updating: bool) -> str:
    """Return the state of the firmware as JSON text, with what is known."""
    versions = {"installed_version": installed, "latest_version": latest}
    document: dict[str, object] = {
        name: str(version) for name, version in versions.items() if version not in (None, "")
    }
    return json_document({**document, "in_progress": updating}).decode()
