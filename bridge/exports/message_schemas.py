"""JSON schemas of the messages: one row per kind of message.

Rules:

1. A row stands for what the builders of :mod:`bridge.core` write. Test runs check each message they
   publish against its row, so a row that lags behind fails there.
2. Names, labels, units and commands come from the registry and the catalogue, never from here.
3. Only what drafts 7 and 2020-12 both know: AsyncAPI takes the former, validators the latter.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.derived_state import (
    DERIVED,
    DERIVED_UNITS,
    ESTIMATED,
    TOUCH_BUTTON,
    TOUCH_BUTTON_VALUES,
)
from bridge.core.easee.enumerations import Labels
from bridge.core.easee.equalizer import EQUALIZER
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.easee.observation_spec import ObservationSpec
from bridge.core.easee.schedules import WEEKDAYS
from bridge.core.easee.sites import CIRCUIT_FACTS
from bridge.core.queries.catalogue import QUERIES
from bridge.core.topics import MAX_LEVEL_LENGTH, Topics
from bridge.exports.payload_schemas import command_schema, query_schema
from bridge.settings import CommandSettings

Schema = Mapping[str, object]

JSON: Final = "application/json"
TEXT: Final = "text/plain"
DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"

# The default of ``commands.max_current_a``.
DEFAULT_MAX_CURRENT_A: Final = CommandSettings().max_current_a

# The levels of an address that stand for something; the rest of the name is spelled out.
CHARGER = "{charger}"
KIND = "{kind}"
SITE = "{site}"
CIRCUIT = "{circuit}"
NAME = "{name}"
COMMAND = "{command}"

RESULT_STATES: Final = (
    "accepted", "confirmed", "noop", "rejected", "failed",
    "refused", "expired", "superseded", "unconfirmed", "unknown",
)  # fmt: skip
_CLOUD: Final = ("connected", "degraded", "disconnected", "auth_failed", "blocked")
_LINE: Final = ("online", "offline")


@dataclass(frozen=True, slots=True)
class Message:
    """One kind of message.

    Attributes:
        name: Unique, snake_case.
        address: Its topic, with ``{charger}``, ``{kind}``, ``{name}`` or ``{command}`` for levels.
        summary: One line for people.
        schema: Of the payload: of the JSON text, or of the text itself where it is bare.
        published: The bridge says it; otherwise it listens to it.
        media: :data:`JSON` or :data:`TEXT`.
        retained: The broker keeps the newest one.
        cleared: An empty payload takes the retained one away.
        names: What ``{name}`` can be, where that is a list.
    """

    name: str
    address: str
    summary: str
    schema: Schema
    published: bool = True
    media: str = JSON
    retained: bool = False
    cleared: bool = False
    names: tuple[str, ...] = ()


def messages(topics: Topics, max_current_a: int = DEFAULT_MAX_CURRENT_A) -> tuple[Message, ...]:
    """List every kind of message of one topic tree, most special address first.

    Args:
        topics: The tree.
        max_current_a: ``commands.max_current_a``.
    """
    return (
        *_of_the_bridge(topics),
        *_of_a_charger(topics),
        *_of_a_site(topics),
        *_of_sessions(topics),
        *_commands(topics, max_current_a),
        *_queries(topics),
    )


def schema_document(message: Message) -> dict[str, object]:
    """Return the schema of one kind of message as a document that stands alone."""
    return {
        "$schema": DRAFT,
        "title": message.name,
        "description": f"{message.address}: {message.summary}",
        **message.schema,
    }


def schema_bundle(topics: Topics, max_current_a: int = DEFAULT_MAX_CURRENT_A) -> dict[str, object]:
    """Return the schemas of all messages in one document, under ``$defs`` by name.

    Args:
        topics: The tree.
        max_current_a: ``commands.max_current_a``.
    """
    return {
        "$schema": DRAFT,
        "title": "charger-bridge",
        "description": "One definition per kind of message; x-topic is its topic.",
        "$defs": {
            message.name: {
                "x-topic": message.address,
                "contentMediaType": message.media,
                "description": message.summary,
                **message.schema,
            }
            for message in messages(topics, max_current_a)
        },
    }


def as_text(document: Mapping[str, object]) -> str:
    """Write a schema for people and files, without a line end after it."""
    return json.dumps(document, indent=1, ensure_ascii=False)


# -- pieces ------------------------------------------------------------------------------------

_TIME: Final = {
    "type": "string",
    "pattern": r"^2[01][0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$",
}
_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_FLAG: Final = {"type": "boolean"}
_TEXTS: Final = {"type": "array", "items": _TEXT}
# Strict validators take no union of types, save one with null.
_SCALAR: Final = {"anyOf": [{"type": "boolean"}, {"type": "number"}, {"type": ["string", "null"]}]}
_OR_TEXT: Final = {"type": ["string", "null"]}
_OR_NUMBER: Final = {"type": ["number", "null"]}
_OR_WHOLE: Final = {"type": ["integer", "null"]}
_OR_FLAG: Final = {"type": ["boolean", "null"]}
_OR_TIME: Final = {**_TIME, "type": ["string", "null"]}
# A plain decimal number as text, or null.
_QUANTITY: Final = {"type": "string", "pattern": r"^(-?[0-9]+(\.[0-9]+)?|null)$"}
_FIRMWARE_UPDATE: Final = {
    "type": "object",
    "properties": {
        "installed_version": _TEXT,
        "latest_version": _TEXT,
        "in_progress": _FLAG,
    },
    "required": ["installed_version", "in_progress"],
    "additionalProperties": False,
}
# Of derived values without a list of words.
_KINDS: Final[Mapping[str, Schema]] = {"number": _QUANTITY, "text": _TEXT, "json": _FIRMWARE_UPDATE}
_SOURCE: Final = {"enum": ["stream", "poll", "backfill"]}
# As a charger tells it, whose clock may never have been set.
_TOLD_TIME: Final = {**_TIME, "pattern": _TIME["pattern"].replace("^2[01][0-9]{2}", "^[0-9]{4}")}
_OR_TOLD_TIME: Final = {**_TOLD_TIME, "type": ["string", "null"]}


def _object(
    fields: Mapping[str, object],
    optional: Mapping[str, object] = MappingProxyType({}),
    **more: object,
) -> Schema:
    """Describe an object that has these fields, perhaps the optional ones, and no others."""
    return {
        "type": "object",
        "properties": {**fields, **optional},
        "required": list(fields),
        "additionalProperties": False,
        **more,
    }


def _words(values: tuple[str, ...]) -> Schema:
    return {"type": "string", "enum": list(values)}


# -- the bridge itself -------------------------------------------------------------------------


def _of_the_bridge(topics: Topics) -> Iterator[Message]:
    yield Message(
        "bridge_state",
        topics.bridge_state,
        "Whether the bridge runs; also its will",
        _words(_LINE),
        media=TEXT,
        retained=True,
    )
    yield Message(
        "bridge_cloud",
        topics.bridge_cloud,
        "State of the connection to the cloud",
        _words(_CLOUD),
        media=TEXT,
        retained=True,
    )
    yield Message(
        "bridge_info", topics.bridge_info, "What this bridge is and offers", _INFO, retained=True
    )
    yield Message("bridge_health", topics.bridge_health, "One summary", _HEALTH, retained=True)
    yield Message(
        "bridge_heartbeat",
        topics.bridge_heartbeat,
        "Goes round, to prove the broker; empty once for each connection, to try its retain flag",
        _HEARTBEAT,
        cleared=True,
    )
    yield Message(
        "alert",
        topics.alert(KIND),
        "What an operator should know of; emptied when solved",
        _ALERT,
        retained=True,
        cleared=True,
    )
    yield Message(
        "alert_session_unreadable",
        topics.alert(f"session_unreadable/{CHARGER}"),
        "Session reports of a charger that cannot be read; cleared when they are known",
        _ALERT,
        retained=True,
        cleared=True,
    )


_ALERT: Final = _object({"kind": _TEXT, "message": _TEXT, "hint": _TEXT, "since": _TIME})
_INFO: Final = _object(
    {
        "version": _TEXT,
        "client_id": _TEXT,
        "instance": _TEXT,
        "started_at": _TEXT,
        "chargers": _TEXTS,
        "equalizers": _TEXTS,
        "capabilities": _object(
            {
                "commands": _TEXTS,
                "queries": _TEXTS,
                "source": {"enum": ["stream", "poll", "amqp"]},
                "json": _FLAG,
                "scalar": _FLAG,
                "max_current_a": {"type": "number"},
                "mqtt": _OR_TEXT,
                "telemetry_connection": _FLAG,
                "tells_retained": _FLAG,
                "answers_while_away": _FLAG,
                "commands_kept_s": {"type": "integer", "minimum": 0},
            }
        ),
    },
    {  # of several partitions
        "partitions": {
            "type": "array",
            "items": _object({"partition": _COUNT, "owner": _OR_TEXT, "chargers": _COUNT}),
        },
        "members": _TEXTS,
    },
)
_HEALTH: Final = _object(
    {
        "verdict": {"enum": ["ok", "degraded", "failed"]},
        "at": _TIME,
        "cloud": {"enum": list(_CLOUD)},
        "stream": _FLAG,
        "polling": _FLAG,
        "store": _FLAG,
        "clock_trusted": _FLAG,
        "chargers": _COUNT,
        "chargers_online": _COUNT,
        "alerts": _TEXTS,
        "reports": _object(
            {
                "pending": _COUNT,
                "published": _COUNT,
                "set_aside": _COUNT,
                "unsaved": _COUNT,
                "kept": _COUNT,
            }
        ),
        "counters": {"type": "object", "additionalProperties": _COUNT},
    }
)
_HEARTBEAT: Final = _object(
    {
        "client_id": _TEXT,
        "instance": _TEXT,
        "started_at": _TEXT,
        "at": _TIME,
        "count": _COUNT,
    }
)


# -- a charger ---------------------------------------------------------------------------------


def _of_a_charger(topics: Topics) -> Iterator[Message]:
    """Yield the messages of a charger; retained ones are cleared when it left the account."""
    yield Message(
        "availability",
        topics.availability(CHARGER),
        "Whether the values of a charger can be relied on",
        _words(_LINE),
        media=TEXT,
        retained=True,
        cleared=True,
    )
    for name in sorted(ESTIMATED):
        yield Message(
            f"observation_{name}",
            topics.observation(CHARGER, name),
            "A derived value that is estimated between readings",
            _estimated(name),
            retained=True,
            cleared=True,
        )
    specs = (*REGISTRY.values(), *EQUALIZER.values())
    names = tuple(dict.fromkeys(spec.name for spec in specs))
    yield Message(
        "observation",
        topics.observation(CHARGER, NAME),
        "One observation with its times; personal data is not retained",
        _observation(),
        retained=True,
        cleared=True,
        names=names,
    )
    for derived in (*DERIVED, *EQUALIZER_DERIVED):
        schema = _words((*derived.values, "null")) if derived.values else _KINDS[derived.kind]
        media = JSON if derived.kind == "json" else TEXT
        yield _derived(topics, derived.name, schema, derived.meaning.replace("`", ""), media)
    about = "Whether the touch button does anything"
    yield _derived(topics, TOUCH_BUTTON, _words(TOUCH_BUTTON_VALUES), about)
    yield Message(
        "state",
        topics.state(CHARGER, NAME),
        "The bare value of an observation; personal data is not retained",
        _TEXT,
        media=TEXT,
        retained=True,
        cleared=True,
        names=names,
    )
    yield Message(
        "schedule_current",
        topics.schedule(CHARGER),
        "The schedules that the cloud holds, and which one is in force",
        _SCHEDULES,
        retained=True,
        cleared=True,
    )
    for kind, facts in _EVENTS.items():
        yield Message(
            f"event_{kind}", topics.event(CHARGER, kind), f"Something happened: {kind}", facts
        )


def _derived(topics: Topics, name: str, schema: Schema, meaning: str, media: str = TEXT) -> Message:
    topic = topics.state(CHARGER, name)
    return Message(
        f"state_{name}", topic, meaning, schema, media=media, retained=True, cleared=True
    )


def _observation() -> Schema:
    """Describe the document of a charger's observation, or of an Equalizer's."""
    return {"anyOf": [_observation_of(REGISTRY), _observation_of(EQUALIZER)]}


def _observation_of(registry: Mapping[int, ObservationSpec]) -> Schema:
    """Describe the document: name, unit and labels follow from the id, the type does not."""
    fields = {
        "id": _COUNT,
        "name": _TEXT,
        "value": _SCALAR,
        "label": _OR_TEXT,
        "unit": _OR_TEXT,
        "measured_at": _TIME,
        "received_at": _TIME,
        "source": _SOURCE,
    }
    unnamed = {
        "if": {"properties": {"id": {"not": {"enum": list(registry)}}}},
        "then": {"properties": {"name": {**_TEXT, "pattern": "^observation_[0-9]+$"}}},
    }
    return _object(fields, allOf=[*map(_row, registry.values()), unnamed])


def _estimated(name: str) -> Schema:
    """Describe the document of an estimated value."""
    return _object(
        {
            "id": {"type": "null"},
            "name": {"const": name},
            "value": {"type": "number"},
            "label": {"type": "null"},
            "unit": {"const": DERIVED_UNITS[name]},
            "measured_at": _TIME,
            "received_at": _TIME,
            "source": {"const": "derived"},
            "estimated": _FLAG,
            "power_kw": {"type": "number", "minimum": 0},
        }
    )


def _row(spec: ObservationSpec) -> Schema:
    return {
        "if": {"properties": {"id": {"const": spec.id}}},
        "then": {
            "description": spec.description,
            "properties": {
                "name": {"const": spec.name},
                "unit": {"const": spec.unit},
                "label": {"enum": _labels(spec.labels)},
            },
        },
    }


def _labels(labels: Labels) -> list[str | None]:
    return [*dict.fromkeys(labels.values()), None]


def _event(kind: str, **facts: object) -> Schema:
    fields = {"event": {"const": kind}, "charger_id": _TEXT, **facts}
    return _object({**fields, "measured_at": _OR_TIME, "received_at": _TIME})


_FOREIGN_SETTING: Final = _event("foreign_command", setting=_TEXT, value=_SCALAR)
_FOREIGN_COMMAND: Final = _event(
    "foreign_command",
    command_id={"type": "integer"},
    command=_TEXT,
    accepted=_FLAG,
    ticks=_OR_TEXT,
)
_EVENTS: Final[Mapping[str, Schema]] = {
    "smart_button": _event("smart_button", value=_SCALAR),
    "authorization_requested": _event("authorization_requested"),
    "foreign_command": {"type": "object", "oneOf": [_FOREIGN_SETTING, _FOREIGN_COMMAND]},
    "error": _event("error", name=_TEXT, code=_SCALAR),
}


# -- schedules ---------------------------------------------------------------------------------

_LOCAL_TIME: Final = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
_PERIODS: Final[Mapping[str, Mapping[str, object]]] = {
    "delayed": {"start": _LOCAL_TIME},
    "daily": {"start": _LOCAL_TIME, "stop": _LOCAL_TIME},
    "weekly": {
        "start": _LOCAL_TIME,
        "stop": _LOCAL_TIME,
        "from": _words(WEEKDAYS),
        "to": _words(WEEKDAYS),
    },
}


def _schedule(fields: Mapping[str, object]) -> Schema:
    period = {**_object(fields), "properties": {**fields, "amps": {"type": "number"}}}
    periods = {"type": "array", "items": period, "minItems": 1}
    return _object({"enabled": _FLAG, "timezone": _TEXT, "periods": periods})


_SCHEDULES: Final = _object(
    {
        "charger_id": _TEXT,
        "in_force": {**_TEXT, "pattern": "^[A-Za-z][A-Za-z0-9_.]*$"},
        "in_period": _OR_FLAG,
        "next_start": _OR_TIME,
        "next_stop": _OR_TIME,
        **{
            kind: {"anyOf": [_schedule(fields), {"type": "null"}]}
            for kind, fields in _PERIODS.items()
        },
        "read_at": _OR_TIME,
    }
)


# -- sessions ----------------------------------------------------------------------------------

_AUTH_REASON: Final = {"auth_reason": _OR_WHOLE, "auth_reason_name": _OR_TEXT}
_SIDE: Final = ("session_id", "meter_start_kwh", "meter_stop_kwh", "auth_reason", "auth")
_READ: Final = {
    "incomplete": {
        "type": "array",
        "items": {"type": "string", "enum": list(_SIDE)},
        "description": "Fields that could not be read; they are null",
    },
    "clock": {
        "type": "string",
        "enum": ["ok", "suspect"],
        "description": "Whether the times are possible; they are published unchanged",
    },
}
_FINISHED: Final = {
    "charger_id": _TEXT,
    "session_id": _OR_WHOLE,
    "started_at": _TOLD_TIME,
    "ended_at": _TOLD_TIME,
    "energy_kwh": {"type": "number"},
    "meter_start_kwh": _OR_NUMBER,
    "meter_stop_kwh": _OR_NUMBER,
    **_AUTH_REASON,
    "offline": _OR_FLAG,
    **_READ,
}
_CURRENT: Final = _object(
    {
        "charger_id": _TEXT,
        "session_id": _OR_WHOLE,
        "started_at": _OR_TOLD_TIME,
        "meter_start_kwh": _OR_NUMBER,
        "energy_kwh": _OR_NUMBER,
        **_AUTH_REASON,
        **_READ,
    }
)
_LAST: Final = _object(
    {
        "key": _OR_TEXT,
        "revision": _OR_WHOLE,
        **_FINISHED,
        "source": _SOURCE,
        "measured_at": _TIME,
    }
)
_REPORT: Final = _object(
    {
        "key": _TEXT,
        "revision": {"type": "integer", "minimum": 1},
        **_FINISHED,
        "auth": _OR_TEXT,
        "source": _SOURCE,
        "measured_at": _TIME,
        "received_at": _TIME,
    }
)
_KEY: Final = {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"}
_TAKEN: Final = {
    "anyOf": [
        _KEY,
        {"type": "object", "properties": {"key": _KEY, "revision": _OR_WHOLE}, "required": ["key"]},
    ]
}
_ACK: Final = {
    "anyOf": [*_TAKEN["anyOf"], {"type": "array", "items": _TAKEN, "minItems": 1, "maxItems": 1000}]
}
_REPLAY: Final = {
    "type": "object",
    "properties": {"since": _OR_TEXT, "charger": _OR_TEXT},
    "additionalProperties": False,
}


def _of_sessions(topics: Topics) -> Iterator[Message]:
    told = (
        ("current", "The running session; emptied when it ends", _CURRENT),
        ("last", "The newest finished session", _LAST),
        ("report", "Every finished session, once or more with the same key", _REPORT),
    )
    for which, summary, schema in told:
        yield Message(
            f"session_{which}",
            topics.session(CHARGER, which),
            summary,
            schema,
            retained=which != "report",
            cleared=which != "report",
        )
    yield Message(
        "session_ack", topics.session_ack, "A consumer has a report", _ACK, published=False
    )
    yield Message(
        "session_replay",
        topics.session_replay,
        "A consumer requests stored reports again",
        _REPLAY,
        published=False,
    )
    yield Message(
        "bridge_forget",
        topics.forget,
        "What is retained of a charger that left is to be emptied now",
        {"type": "string", "pattern": "^[0-9A-Z]{6,16}$"},
        published=False,
    )


# -- commands and queries ----------------------------------------------------------------------

_ANSWER: Final = {
    "id": _OR_TEXT,
    "command": _TEXT,
    "state": {"enum": list(RESULT_STATES)},
    "final": _FLAG,
    "reason": _OR_TEXT,
    "detail": _OR_TEXT,
    "http_status": _OR_WHOLE,
    "ticks": _OR_TEXT,
    "received_at": _TIME,
    "at": _TIME,
    "elapsed_ms": {"type": "integer"},
}


def answer_schema() -> Schema:
    """Describe what is said about a command or query, wherever it is said."""
    fields = _object(_ANSWER)
    return {**fields, "properties": {**_ANSWER, "value": {"description": "Of a query"}}}


def _commands(topics: Topics, max_current_a: int) -> Iterator[Message]:
    yield Message(
        "result",
        topics.result(CHARGER, COMMAND),
        "The answer to a command or a query",
        answer_schema(),
    )
    for spec in CATALOGUE.values():
        yield Message(
            f"set_{spec.name}",
            topics.command(CHARGER, spec.name),
            spec.description,
            command_schema(spec, max_current_a),
            published=False,
        )


def _of_a_site(topics: Topics) -> Iterator[Message]:
    """Yield the messages of a site."""
    whole = {"type": "integer"}
    circuit = _object(
        {
            "circuit_id": whole,
            "rated_current": _OR_NUMBER,
            "fuse_current": _OR_NUMBER,
            "chargers": _TEXTS,
        }
    )
    fields = {
        "site_id": whole,
        "rated_current": _OR_NUMBER,
        "circuits": {"type": "array", "items": circuit},
        "chargers": _TEXTS,
        "equalizers": _TEXTS,
    }
    # With publish.personal_data.
    personal = {"name": _OR_TEXT, "address": {"type": "object"}}
    yield Message(
        "site_info",
        f"{topics.base}/site/{SITE}/info",
        "What a site has",
        {**_object(fields), "properties": {**fields, **personal}},
        retained=True,
        cleared=True,
    )
    yield Message(
        "circuit_state",
        f"{topics.base}/site/{SITE}/circuit/{CIRCUIT}/state/{NAME}",
        "The bare value of a circuit",
        _TEXT,
        media=TEXT,
        retained=True,
        cleared=True,
        names=tuple(CIRCUIT_FACTS.values()),
    )
    yield Message(
        "site_result",
        topics.result(f"site/{SITE}", COMMAND),
        "The answer to a command or a query to a site",
        answer_schema(),
    )


def _queries(topics: Topics) -> Iterator[Message]:
    for query_spec in QUERIES.values():
        yield Message(
            f"get_{query_spec.name}",
            topics.query(CHARGER, query_spec.name),
            f"Asks for {query_spec.description}".replace("`", ""),
            query_schema(query_spec),
            published=False,
        )


def parameter(level: str) -> Schema:
    """Return the schema of one level of an address.

    Args:
        level: Without its braces.
    """
    return {"description": f"{_LEVELS[level]}; at most {MAX_LEVEL_LENGTH} characters"}


_LEVELS: Final = {
    "charger": "Serial of a charger or Equalizer",
    "site": "Id of a site",
    "circuit": "Id of a circuit",
    "kind": "Kind of an alert",
    "name": "Name of an observation",
    "command": "Name of a command or query",
}
