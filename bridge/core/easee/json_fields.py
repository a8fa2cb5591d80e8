"""Helpers for parsing JSON of any shape: a value or None.

Total: :func:`parse_json` raises ``DecodeError`` and nothing else, the others raise nothing.
"""

import json
import re
from typing import Any

import msgspec

from bridge.core.easee.rest_requests import is_serial
from bridge.errors import DecodeError

NO_JSON = "no JSON"
_HOLDS_NO_NUMBER = re.compile(rb"\s*[\[{].*(?:NaN|Infinity)", re.DOTALL).match
EXCERPT_BYTES = 80
_RAW_LIST = msgspec.json.Decoder(list[msgspec.Raw])
MAX_LINE_LENGTH = 200
MAX_TEXT_BYTES = 2048
MAX_TICK_DIGITS = 20  # 2**64 has twenty


def parse_json(body: bytes, source: str, *, quote: bool = True) -> Any:
    """Parse JSON. ``NaN`` and ``Infinity`` are none: in a list or an object they become texts.

    Args:
        body: As received, size already capped.
        source: What it is, for the error.
        quote: False keeps the body out of the error: logins carry tokens.

    Raises:
        DecodeError: It is no JSON, or nested deeper than the stack allows.
    """
    try:
        return _decoded(body)
    except (ValueError, RecursionError) as exc:
        # All of msgspec's errors and UnicodeDecodeError are ValueErrors. The latter holds the
        # whole body, so it is not chained.
        reason = "nested too deep" if isinstance(exc, RecursionError) else NO_JSON
        excerpt = body[:EXCERPT_BYTES] if quote else ""
        raise DecodeError(reason, source=source, raw=excerpt) from None


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        # One number that is none must not cost the list it stands in.
        if _HOLDS_NO_NUMBER(body) is None:
            raise
    return msgspec.json.decode(json.dumps(json.loads(body, parse_constant=str)))


def list_entries(body: bytes, source: str) -> list[msgspec.Raw] | None:
    """Return the texts of the entries of a JSON list; None for anything else.

    A list of many thousands of chargers is read entry by entry: all of it as objects takes ten
    times its size.

    Args:
        body: As received, size already capped.
        source: What it is, for the error.

    Raises:
        DecodeError: It is no JSON, or nested deeper than the stack allows.
    """
    try:
        return _RAW_LIST.decode(body)
    except (ValueError, RecursionError):
        document = parse_json(body, source)
    if not isinstance(document, list):
        return None
    return [msgspec.Raw(msgspec.json.encode(entry)) for entry in document]


def parsed_object(body: bytes, source: str) -> dict[str, Any]:
    """Parse a JSON object.

    Raises:
        DecodeError: It is anything else.
    """
    document = parse_json(body, source)
    if not isinstance(document, dict):
        raise DecodeError("no object", source=source, raw=body[:EXCERPT_BYTES])
    return document


def parsed_list(body: bytes, source: str) -> list[Any]:
    """Parse a JSON list.

    Raises:
        DecodeError: It is anything else.
    """
    document = parse_json(body, source)
    if not isinstance(document, list):
        raise DecodeError("no list", source=source, raw=body[:EXCERPT_BYTES])
    return document


def has_serial(entry: object, key: str) -> bool:
    """Return whether an entry is an object with a serial under this key."""
    return isinstance(entry, dict) and isinstance(value := entry.get(key), str) and is_serial(value)


def integer(value: object) -> int | None:
    """Read an int, or a string of digits: ticks do not fit the doubles some writers use."""
    match value:
        case bool():
            return None
        case int():
            return value
        case str() if len(value) <= MAX_TICK_DIGITS and value.isascii() and value.isdigit():
            return int(value)
        case _:
            return None


def flag(value: object) -> bool | None:
    """Read a boolean."""
    return value if isinstance(value, bool) else None


def body_text(body: bytes) -> str:
    """Read the beginning of a body as text, whatever it is."""
    return body[:MAX_TEXT_BYTES].decode("utf-8", errors="replace")


# Markup, then everything but printable Latin and common punctuation: control characters, escape
# sequences, marks that change the direction of writing.
_UNSAFE = re.compile(r"<[^<>]*>|[^\x20-\x7e\xa1-\xac\xae-\u024f\u2010-\u2027]+")


def one_line(text: str) -> str:
    """Return a text as one line for the log: limited in length, no control characters."""
    return " ".join(_UNSAFE.sub(" ", text[:MAX_TEXT_BYTES]).split())[:MAX_LINE_LENGTH]
