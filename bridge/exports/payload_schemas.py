"""JSON schemas of commands and queries."""

from collections.abc import Mapping
from typing import Any, Final

from bridge.core.easee.command_catalogue import CommandSpec
from bridge.core.easee.command_payloads import MAX_ID_LENGTH, MAX_NUMBER, MAX_PAYLOAD_BYTES
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.payload_kinds import PRESS_SHAPE
from bridge.core.easee.payload_shapes import MOMENT, NULL, NUMERIC, Keys, Schema, Shape
from bridge.core.easee.site_documents import BY
from bridge.core.queries.catalogue import MAX_DIGITS, QuerySpec

_QUERY_TIME: Final = {
    "type": "string",
    "pattern": r"^2[01][0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]([01][0-9]|2[0-3])"
    r":[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?$",
}


def command_schema(spec: CommandSpec[Any], max_current_a: int) -> Schema:
    """Describe what a command takes: a bare value, or an envelope with it or with its own keys.

    Args:
        spec: Its row of the catalogue.
        max_current_a: ``commands.max_current_a``.
    """
    return _payload(spec.takes.shape(max_current_a), spec.takes.text)


def query_schema(query_spec: QuerySpec) -> Schema:
    """Describe what a query takes, besides an empty payload where it has no conditions.

    Args:
        query_spec: Its row.
    """
    return _payload(_QUERIES[query_spec.name], query_spec.payload)


def _payload(shape: Shape, description: str) -> Schema:
    value = {"anyOf": [*shape.bare, *(keys.schema() for keys in shape.objects)]}
    forms = [*shape.bare, Keys({"value": value}, ("value",)).schema(_ENVELOPE)]
    # An own key that is called like one of the envelope's is the envelope's.
    forms += (keys.schema(_ENVELOPE) for keys in shape.objects)
    text = f"{description}; at most {MAX_PAYLOAD_BYTES} bytes"
    return {"description": text, "anyOf": forms}


# -- the envelope ------------------------------------------------------------------------------

_ENVELOPE: Final[Mapping[str, Schema]] = {
    "id": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": MAX_ID_LENGTH,
        "pattern": r"^(?![\s\S]*[\u0000-\u001f\u007f-\u00a0\u00ad])",
    },
    "ttl_s": {
        "anyOf": [
            {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_NUMBER},
            {"type": "string", "pattern": f"^{NUMERIC}\\+?(?=.*[1-9])[0-9.]+$"},
            NULL,
        ]
    },
    "expires_at": {"anyOf": [MOMENT, NULL]},
}

# -- queries -----------------------------------------------------------------------------------

_PERIOD: Final[Mapping[str, Schema]] = {"from": _QUERY_TIME, "to": _QUERY_TIME}
_NAME: Final[Schema] = {
    "anyOf": [
        {"enum": [spec.name for spec in REGISTRY.values()]},
        {"type": "string", "pattern": f"^(observation_)?[0-9]{{1,{MAX_DIGITS}}}$"},
        {"type": "integer", "minimum": 0, "maximum": 10**MAX_DIGITS - 1},
    ]
}
_QUERIES: Final[Mapping[str, Shape]] = {
    "observations": PRESS_SHAPE,
    "firmware": PRESS_SHAPE,
    "schedule": PRESS_SHAPE,
    "history": Shape((), (Keys({"name": _NAME, **_PERIOD}, ("name",)),)),
    "sessions": Shape((), (Keys(_PERIOD),)),
    "site": Shape(PRESS_SHAPE.bare, (Keys(_PERIOD),)),
    "consumption": Shape((), (Keys({**_PERIOD, "by": {"enum": list(BY)}}, ("by",)),)),
    "keys": PRESS_SHAPE,
}
