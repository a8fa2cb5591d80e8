"""Taking the tag out of a session's JSON text before it is retained."""

import json
from typing import Never

# Auth holds an RFID tag or a token. AuthReason is a number that says which rule let it charge.
_KEPT = "authreason"


def without_auth(text: object) -> str | None:
    """Return a JSON object's text without its ``Auth…`` fields, at any depth.

    ``AuthReason`` stays. None when it is no JSON object: what cannot be read cannot be cleared.
    """
    if not isinstance(text, str):
        return None
    try:
        document = json.loads(text, parse_constant=_refuse)
        if not isinstance(document, dict):
            return None
        return json.dumps(_cleared(document), separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        return None


def _cleared(value: object) -> object:
    if isinstance(value, dict):
        return {key: _cleared(item) for key, item in value.items() if not _names_auth(key)}
    if isinstance(value, list):
        return [_cleared(item) for item in value]
    return value


def _names_auth(key: str) -> bool:
    name = key.strip().lower()
    return name.startswith("auth") and name != _KEPT


def _refuse(constant: str) -> Never:
    raise ValueError(constant)
