"""Removes personal data from JSON texts before they are published.

Two kinds: a session's text, which is known to carry a tag and is withheld where that cannot be
taken out, and any other text, which may turn out to be JSON with an address in it.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Final, Never

_AFTER_TAG = re.compile(r"auth|token|rfid|card|user", re.IGNORECASE)

# Auth holds an RFID tag or a token. AuthReason is a number that says which rule let it charge.
_KEPT = "authreason"
# What a firmware to come may call it.
_NAMES = ("auth", "token", "rfid", "idtag", "card")
# A shorter text is too common to identify a person.
_MIN_LENGTH = 4

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PERSONAL: Final = frozenset(
    [
        "address",
        "street",
        "housenumber",
        "zip",
        "zipcode",
        "postal",
        "postcode",
        "postalcode",
        "town",
        "city",
        "phone",
        "telephone",
        "phonenumber",
        "email",
        "mail",
        "contact",
        "owner",
        "installer",
        "customer",
        "user",
        "username",
        "firstname",
        "lastname",
        "fullname",
        "surname",
        "ssid",
        "bssid",
        "mac",
        "latitude",
        "longitude",
        "lat",
        "lng",
        "lon",
        "gps",
        "coordinates",
        "iccid",
        "imsi",
        "imei",
        "msisdn",
    ]
)


def publishable(text: str) -> str | None:
    """Return a text as it may be published: JSON without fields of personal data.

    What is no JSON document, and a document without such fields, stays as it is. None for a text
    that looks like a document, cannot be read and has such a word in it: it cannot be cleared.
    """
    if text.lstrip()[:1] not in ("{", "["):
        return text
    try:
        document = json.loads(text, parse_constant=_refuse)
        cleared = _cleared(document, frozenset(_tags(document, is_personal_name)), is_personal_name)
        if cleared == document:
            return text
        return json.dumps(cleared, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return None if is_personal_name(text) else text


def redact_auth_fields(text: object) -> str | None:
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
        tags = frozenset(_tags(document, _names_auth))
        return json.dumps(
            _cleared(document, tags, _names_auth), separators=(",", ":"), allow_nan=False
        )
    except (ValueError, RecursionError):
        return None


def _tags(value: object, is_named: Callable[[str], bool], *, inside: bool = False) -> Iterator[str]:
    """Find the texts below fields that are taken out."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _tags(item, is_named, inside=inside or is_named(key))
    elif isinstance(value, list):
        for item in value:
            yield from _tags(item, is_named, inside=inside)
    elif inside and len(text := str(value).lower()) >= _MIN_LENGTH:
        yield text


def _cleared(value: object, tags: frozenset[str], is_named: Callable[[str], bool]) -> object:
    if isinstance(value, dict):
        return {
            key: _cleared(item, tags, is_named)
            for key, item in value.items()
            if not is_named(key) and not _repeats(key, tags) and not _repeats(item, tags)
        }
    if isinstance(value, list):
        return [_cleared(item, tags, is_named) for item in value if not _repeats(item, tags)]
    if isinstance(value, str) and is_named is is_personal_name:
        return publishable(value)  # a document within the document
    return value


def _repeats(value: object, tags: frozenset[str]) -> bool:
    if isinstance(value, (dict, list)):
        return False
    text = str(value).lower()
    return any(tag in text for tag in tags)


def _names_auth(key: str) -> bool:
    name = key.strip().lower()
    return name != _KEPT and any(one in name for one in _NAMES)


def is_personal_name(key: str) -> bool:
    """Return whether a field of this name holds personal data or a tag."""
    return _names_auth(key) or names_person(key)


def names_person(key: str) -> bool:
    """Return whether a field of this name holds personal data other than a tag."""
    words = [word.lower() for word in _WORD.findall(key)]
    return not _PERSONAL.isdisjoint((*words, key.strip().lower()))


def _refuse(constant: str) -> Never:
    raise ValueError(constant)


def shown(text: str) -> str:
    """Return a text without tags; what is no JSON object ends before the first that may be one."""
    cleared = redact_auth_fields(text)
    if cleared is not None:
        return cleared
    found = _AFTER_TAG.search(text)
    return text if found is None else f"{text[: found.start()]}…"
