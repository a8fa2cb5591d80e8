"""Shape of the vendor's documents: which objects have which fields, of which types; no values.

A shape is a set of texts, ``<object>|<field>|<type>``. An object is the path to it, with ``[]`` for
the elements of a list: ``observations[]|value|text``. A document that is
no object has the field ``""``.
"""

import re
from collections.abc import Iterator
from typing import Final

from bridge.core.easee.json_fields import parse_json
from bridge.errors import DecodeError

MAX_DEPTH: Final = 6
# Of a list so many elements are looked at, and of all a shape has so many fields.
MAX_ELEMENTS: Final = 50
MAX_FIELDS: Final = 400
# A key that holds an id of something is no name of a field.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_]{0,39}\d{0,2}", re.ASCII)
_SEGMENT: Final = re.compile(r"[A-Za-z_][A-Za-z_\-.]*", re.ASCII)
NULL: Final = "null"

Shape = frozenset[str]


def shape_of(body: bytes) -> Shape | None:
    """Return the shape of a JSON document; None where it is none."""
    try:
        document = parse_json(body, source="shape")
    except DecodeError:
        return None
    found: set[str] = set()
    for field in _fields(document, "", 0):
        if len(found) >= MAX_FIELDS:
            break
        found.add(field)
    return frozenset(found)


def _fields(value: object, path: str, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        for key, held in value.items():
            name = key if _NAME.fullmatch(key) else "*"
            yield f"{path}|{name}|{type_of(held)}"
            yield from _fields(held, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list):
        for held in value[:MAX_ELEMENTS]:
            yield from _fields(held, f"{path}[]", depth + 1)
    elif depth == 0:
        yield f"||{type_of(value)}"


def type_of(value: object) -> str:
    """Return the name of a value's JSON type."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"


def template_of(path: str) -> str:
    """Return a path without its query and without ids: ``/api/chargers/{}/observations``."""
    segments = path.partition("?")[0].split("/")
    return "/".join(
        segment if not segment or _SEGMENT.fullmatch(segment) else "{}" for segment in segments
    )
