"""Taking the tag out of a session's JSON text before it is retained."""

import json
from collections.abc import Iterator
from typing import Never

# Auth holds an RFID tag or a token. AuthReason is a number that says which rule let it charge.
_KEPT = "authreason"
# What a firmware to come may call it.
_NAMES = ("auth", "token", "rfid", "idtag", "card")
# A shorter text is everywhere and names nobody.
_SHORTEST = 4


def without_auth(text: object) -> str | None:
    """Return a JSON object's text without its ``Auth…`` fields, at any depth.

    What repeats their text elsewhere goes too; ``AuthReason`` stays. None when it is no JSON
    object: what cannot be read cannot be cleared.
    """
    if not isinstance(text, str):
        return None
    try:
        document = json.loads(text, parse_constant=_refuse)
        if not isinstance(document, dict):
            return None
        tags = frozenset(_tags(document, inside=False))
        return json.dumps(_cleared(document, tags), separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        return None


def _tags(value: object, *, inside: bool) -> Iterator[str]:
    """Find the texts below fields that hold a tag."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _tags(item, inside=inside or _names_auth(key))
    elif isinstance(value, list):
        for item in value:
            yield from _tags(item, inside=inside)
    elif inside and len(text := str(value).lower()) >= _SHORTEST:
        yield text


def _cleared(value: object, tags: frozenset[str]) -> object:
    if isinstance(value, dict):
        return {
            key: _cleared(item, tags)
            for key, item in value.items()
            if not _names_auth(key) and not _repeats(key, tags) and not _repeats(item, tags)
        }
    if isinstance(value, list):
        return [_cleared(item, tags) for item in value if not _repeats(item, tags)]
    return value


def _repeats(value: object, tags: frozenset[str]) -> bool:
    if isinstance(value, (dict, list)):
        return False
    text = str(value).lower()
    return any(tag in text for tag in tags)


def _names_auth(key: str) -> bool:
    name = key.strip().lower()
    return name != _KEPT and any(one in name for one in _NAMES)


def _refuse(constant: str) -> Never:
    raise ValueError(constant)
