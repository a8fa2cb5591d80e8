"""Judges messages by their published schemas: an unknown topic or another shape is a problem."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import jsonschema

from bridge.core.topics import SetTopic, Topics
from bridge.schemas import JSON, Message, answer_schema, messages

# Ten thousand simulated lives say more that is new than is worth keeping.
MOST_KEPT = 20_000
_TIME = re.compile(rb'"2[01]\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z"')
_VALUE = re.compile(rb'("value": ?)-?\d+(\.\d+)?(?=[,}])')
_ANSWER = Message("reply", "", "An answer on a Response Topic", answer_schema())


class Judge:
    """Knows the messages of one topic tree.

    A payload that differs from one that was valid only in well-formed times, in the digits of
    ``value`` and in what its schema leaves free is as valid: no schema looks at these, and storms
    have hundreds of thousands.
    """

    def __init__(self, topics: Topics | None = None) -> None:
        self._topics = topics or Topics()
        self._shapes = [(_shape(m.address), m) for m in messages(self._topics)]
        self._validators = {
            m.name: jsonschema.Draft202012Validator(m.schema)
            for m in (_ANSWER, *(m for _, m in self._shapes))
        }
        self._alike = {m.name: _Alike(m.schema) for m in (_ANSWER, *(m for _, m in self._shapes))}
        self._valid: set[tuple[str, bytes]] = set()
        self._known: dict[str, Message | None] = {}

    def message(self, topic: str) -> Message | None:
        """Return what a topic is known to carry."""
        if any(topic.startswith(prefix) for prefix in self._topics.answer_prefixes):
            return _ANSWER
        if topic not in self._known:
            found = (m for shape, m in self._shapes if shape.fullmatch(topic))
            self._known[topic] = next(found, None)
        return self._known[topic]

    def problem(self, topic: str, payload: bytes) -> str | None:
        """Say what is wrong with a message that the bridge published; None when nothing is."""
        message = self.message(topic)
        if not payload and isinstance(self._topics.parse(topic), SetTopic):
            return None  # a retained command that was emptied
        if message is None or not message.published:
            return f"{topic}: unknown topic"
        if not payload and message.cleared:
            return None
        return self.invalid(message, payload)

    def invalid(self, message: Message, payload: bytes) -> str | None:
        """Say what is wrong with a payload of a kind of message; None when nothing is."""
        alike = message.name, self._alike[message.name].shape(payload)
        if alike in self._valid:
            return None
        try:
            text = payload.decode()
            value = json.loads(text) if message.media == JSON else text
        except ValueError as error:
            return f"{message.name}: {error}: {payload[:200]!r}"
        found = next(self._validators[message.name].iter_errors(value), None)
        if found is not None:
            return f"{message.name}: {found.json_path}: {found.message[:200]}"
        if len(self._valid) >= MOST_KEPT:
            self._valid.clear()
        self._valid.add(alike)
        return None

    def problems(self, said: Iterable[tuple[str, bytes]]) -> list[str]:
        """Collect what is wrong with many messages, each problem once."""
        found = (self.problem(topic, payload) for topic, payload in said)
        return sorted({problem for problem in found if problem is not None})


class _Alike:
    """What all payloads have in common that one schema cannot tell from each other."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        fields: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        _collect(schema, fields)
        self._number = _any_of([n for n, found in fields.items() if all(map(_is_number, found))])
        self._text = _any_of([n for n, found in fields.items() if all(map(_is_text, found))])

    def shape(self, payload: bytes) -> bytes:
        """Replace what makes no difference to the schema."""
        payload = _VALUE.sub(rb"\g<1>0", _TIME.sub(b'"2026-01-01T00:00:00Z"', payload))
        if self._number is not None:
            payload = self._number[0].sub(rb'"\1":1', payload)
        if self._text is not None:
            payload = self._text[1].sub(rb'"\1":"t"', payload)
        return payload


def _any_of(names: list[str]) -> tuple[re.Pattern[bytes], re.Pattern[bytes]] | None:
    """Make what finds a whole number from 1 on, and a text, in fields of these names."""
    if not names:
        return None
    named = b'"(' + "|".join(map(re.escape, names)).encode() + b')": ?'
    return re.compile(named + rb"[1-9]\d*(?=[,}\]])"), re.compile(named + rb'"[^"\\]+"')


def _collect(schema: object, fields: dict[str, list[Mapping[str, Any]]]) -> None:
    """Find every schema of every field by its name, at any depth and under any condition."""
    if isinstance(schema, list | tuple):
        for one in schema:
            _collect(one, fields)
    elif isinstance(schema, dict):
        for name, one in schema.get("properties", {}).items():
            fields[name].append(one)
        for one in schema.values():
            _collect(one, fields)


def _is_number(schema: object) -> bool:
    """Say whether all whole numbers from 1 on are the same to a schema."""
    return (
        _has(schema, "type", "minimum")
        and not {"integer", "number"}.isdisjoint(_types(schema))
        and schema.get("minimum", 0) <= 1
    )


def _is_text(schema: object) -> bool:
    """Say whether all texts but the empty one are the same to a schema."""
    return _has(schema, "type") and "string" in _types(schema)


def _has(schema: object, *keywords: str) -> TypeGuard[dict[str, Any]]:
    return isinstance(schema, dict) and not schema.keys() - {*keywords, "description", "title"}


def _types(schema: dict[str, Any]) -> set[str]:
    named = schema.get("type", ())
    return {named} if isinstance(named, str) else set(named)


def _shape(address: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(address)))
