"""Formats values as text for payloads and documents.

Rules:

1. Numbers are plain decimals. An exponent never leaves the bridge: a PLC or a shell script reads
   ``0.00001``, not ``1e-05``.
2. Times are ISO 8601 in UTC with ``Z``. A time without a zone is UTC (pyeasee reads it so).
"""

import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from types import NoneType
from typing import Any, Final

import msgspec

from bridge.errors import DecodeError

Value = bool | int | float | str

# A stamp outside these years comes from a charger without a clock, or from nobody's charger.
FIRST_YEAR = 2000
LAST_YEAR = 2100
# Narrower than datetime.fromisoformat, which also takes weeks, commas, any separator and, from
# Python 3.14 on, 24:00. Stamps with 0, 3, 6 and 7 fraction digits have been seen, with Z, with an
# offset, and naive. The group is there when the end is spelled as ours is: in UTC, with no digits
# of a fraction that say nothing.
_ISO_8601 = re.compile(
    r"2[01][0-9]{2}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}"
    r"(?:((?:\.(?:[0-9]{3})?(?!000)[0-9]{3})?Z)|(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})?)",
    re.ASCII,
).fullmatch

_encode_json = msgspec.json.Encoder().encode


def format_scalar(value: Value | None) -> bytes:
    """Format a value as the bare payload of a topic: ``7``, ``6.053``, ``true``, ``null``, text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    return number(value)


def format_json(value: Value | None) -> bytes:
    """Format a value for a JSON document."""
    if not isinstance(value, str):
        return number(value)
    try:
        return _encode_json(value)
    except UnicodeEncodeError:  # half of a surrogate pair, which only a hostile sender produces
        return _encode_json(format_scalar(value).decode())


def json_document(value: object) -> bytes:
    """Write plain values, sequences, mappings and times as JSON."""
    write = _PLAIN.get(type(value))
    if write is not None:
        return write(value)
    if isinstance(value, Mapping):
        pairs = [b"%b:%b" % (format_json(str(k)), json_document(v)) for k, v in value.items()]
        return b"{%b}" % b",".join(pairs)
    if isinstance(value, list | tuple):
        return b"[%b]" % b",".join(map(json_document, value))
    if isinstance(value, datetime):
        return format_json(iso_utc(value))
    if value is None or isinstance(value, bool | int | float | str):
        return format_json(value)
    raise TypeError(f"{type(value).__name__} has no JSON")


def number(value: bool | float | None) -> bytes:
    """Format what is equal bare and in JSON: numbers, booleans and null; ``7`` for 7.0."""
    if value is None:
        return b"null"
    if value is True:
        return b"true"
    if value is False:
        return b"false"
    text = repr(value)
    if text[-2:] == ".0":
        text = text[:-2]
    # repr of a finite float has an exponent below 1e-4 and from 1e16 on.
    if "e" in text:
        text = format(Decimal(text), "f")
    return text.encode("ascii")


# How a document has what it mostly consists of.
_PLAIN: Final[Mapping[type, Callable[[Any], bytes]]] = {
    str: format_json,
    **dict.fromkeys((int, float, bool, NoneType), number),
}


# All values of a frame share when it came.
@lru_cache(maxsize=256)
def iso_utc(at: datetime) -> str:
    """Format a time, e.g. ``2026-11-22T12:00:00Z``, with milli- or microseconds if it has any."""
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    fraction = at.microsecond
    if not fraction:
        return at.isoformat(timespec="seconds")[:-6] + "Z"
    digits = "microseconds" if fraction % 1000 else "milliseconds"
    return at.isoformat(timespec=digits)[:-6] + "Z"


def read_utc(text: str) -> datetime:
    """Read an ISO 8601 time: ``Z``, an offset or naive (UTC), up to nine fraction digits.

    Raises:
        DecodeError: It is none, or its year is not within 2000 to 2100.
    """
    return read_stamp(text)[0]


# Many observations share a second, and replays repeat stamps. Errors are not kept.
@lru_cache(maxsize=1024)
def read_stamp(text: str) -> tuple[datetime, str]:
    """Read a time, and return with it how :func:`iso_utc` spells it.

    Raises:
        DecodeError: As :func:`read_utc`.
    """
    match = _ISO_8601(text)
    if match is None:
        raise DecodeError("not an ISO 8601 time of this century", source="time", raw=text[:40])
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        raise DecodeError("no such time", source="time", raw=text) from exc
    if at.tzinfo is not UTC:
        at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise DecodeError("year not within 2000 to 2100", source="time", raw=text)
    is_ours = match[1] is not None and text[10] == "T"
    return at, text if is_ours else iso_utc(at)


@lru_cache(maxsize=256)
def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters, cut behind a word and with an ellipsis."""
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    return f"{cut.rpartition(' ')[0] or cut}…"


def pseudonymize(text: str, salt: bytes) -> str:
    """Return a pseudonym: equal for equal texts of one installation, else meaningless.

    An installation has a few tags, and each report and its repetitions have one of them.

    Args:
        text: An RFID tag, a network name.
        salt: This installation's own. Tags are short, so without a secret salt trying them all
            would undo the hash.
    """
    data = text.encode("utf-8", "surrogatepass")
    return "sha256:" + hmac.digest(salt, data, "sha256").hex()
