"""The strict mode of other people's validators, in short: what a schema leaves to be guessed.

The rules are those of Ajv's ``strict: true``, which ``make acceptance-schemas`` asks itself.
"""

from collections.abc import Iterator, Mapping
from typing import Any

# Keywords that mean something for one type only.
OF_TYPE = {
    keyword: set(types.split())
    for types, keywords in {
        "string": "minLength maxLength pattern format",
        "number integer": "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf",
        "array": "items minItems maxItems uniqueItems contains",
        "object": "required properties additionalProperties patternProperties propertyNames",
    }.items()
    for keyword in keywords.split()
}
SAME = ("allOf", "anyOf", "oneOf")
BRANCHES = ("if", "then", "else", "not")
PLAIN = {"$schema", "title", "description", "type", "enum", "const", "default", "examples"}
KNOWN = {*OF_TYPE, *SAME, *BRANCHES, *PLAIN}


def complaints(
    schema: Mapping[str, Any],
    at: str = "#",
    types: frozenset[str] = frozenset(),
    names: frozenset[str] = frozenset(),
) -> Iterator[str]:
    """Yield what a strict validator refuses, with its place.

    Args:
        schema: One.
        at: Where it stands.
        types: What the schemas around it say of the same value.
        names: The properties that they describe.
    """
    said = schema.get("type", ())
    own = {said} if isinstance(said, str) else set(said)
    if len(own - {"null"}) > 1:
        yield f"{at}: a union of types"
    if own and types and not own <= types | {"integer"} and not (own == {"number"} <= types):
        yield f"{at}: another type than around it"
    types = frozenset(own) or types
    names |= schema.get("properties", {}).keys()
    for keyword in schema:
        if keyword not in KNOWN:
            yield f"{at}: unknown keyword {keyword}"
        elif keyword in OF_TYPE and not OF_TYPE[keyword] & types:
            yield f"{at}: {keyword} without a type"
    for name in schema.get("required", ()):
        if name not in names:
            yield f"{at}: {name} is required and not described"
    if "if" not in schema and {"then", "else"} & schema.keys():
        yield f"{at}: then or else without if"
    yield from _inside(schema, at, types, frozenset(names))


def _inside(
    schema: Mapping[str, Any], at: str, types: frozenset[str], names: frozenset[str]
) -> Iterator[str]:
    for keyword in SAME:
        for number, each in enumerate(schema.get(keyword, ())):
            yield from complaints(each, f"{at}/{keyword}/{number}", types, names)
    for keyword in BRANCHES:
        if keyword in schema:
            yield from complaints(schema[keyword], f"{at}/{keyword}", types, names)
    for keyword in ("properties", "patternProperties"):
        for name, each in schema.get(keyword, {}).items():
            yield from complaints(each, f"{at}/{keyword}/{name}")
    for keyword in ("items", "contains", "additionalProperties", "propertyNames"):
        if isinstance(schema.get(keyword), Mapping):
            yield from complaints(schema[keyword], f"{at}/{keyword}")
