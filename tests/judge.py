"""Judges messages by their published schemas: an unknown topic or another shape is a problem."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jsonschema

from bridge.core.topics import SetTopic, Topics
from bridge.exports.message_schemas import JSON, Message, answer_schema, messages

# Ten thousand simulated lives say more that is new than is worth keeping.
MAX_KEPT = 20_000
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
        if len(self._valid) >= MAX_KEPT:
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
        fields: dict[str, list[object]] = defaultdict(list)
        others: list[object] = []
        _collect(schema, fields, others)
        # A field that no schema names is as free as those that may be there besides.
        other = rf'(?!(?:{"|".join(map(re.escape, fields))})")\w+' if fields else r"\w+"

        def free(is_free: Callable[[object], bool]) -> str | None:
            names = [re.escape(name) for name, found in fields.items() if all(map(is_free, found))]
            if others and all(map(is_free, others)):
                names.append(other)
            return f'"({"|".join(names)})": ?' if names else None

        self._rules = [
            (re.compile((named + pattern).encode()), alike)
            for is_free, pattern, alike in _FREE
            if (named := free(is_free)) is not None
        ]

    def shape(self, payload: bytes) -> bytes:
        """Replace what makes no difference to the schema."""
        payload = _VALUE.sub(rb"\g<1>0", _TIME.sub(b'"2026-01-01T00:00:00Z"', payload))
        for rule, alike in self._rules:
            payload = rule.sub(alike, payload)
        return payload


def _collect(schema: object, fields: dict[str, list[object]], others: list[object]) -> None:
    """Find every schema of every field by its name, at any depth and under any condition."""
    if isinstance(schema, list | tuple):
        for one in schema:
            _collect(one, fields, others)
    elif isinstance(schema, dict):
        for name, one in schema.get("properties", {}).items():
            fields[name].append(one)
        if isinstance(schema.get("additionalProperties"), dict):
            others.append(schema["additionalProperties"])
        for one in schema.values():
            _collect(one, fields, others)


def _is_whole(schema: object) -> bool:
    """Say whether all whole numbers from 1 on are the same to a schema."""
    return _has(schema, 1, "integer", "number")


def _is_broken(schema: object) -> bool:
    """Say whether all numbers from 0 on that are not whole are the same to a schema."""
    return _has(schema, 0, "number")


def _is_text(schema: object) -> bool:
    """Say whether all texts but the empty one are the same to a schema."""
    return _has(schema, 0, "string")


def _has(schema: object, most: int, *kinds: str) -> bool:
    """Say whether a schema takes one of these kinds, and asks no more than a low minimum."""
    if not isinstance(schema, dict):
        return False
    if schema.keys() == {"anyOf"}:
        alternatives = schema["anyOf"]
        return all(_has(one, most, *_KINDS) for one in alternatives) and any(
            _has(one, most, *kinds) for one in alternatives
        )
    if schema.keys() - {"type", "minimum", "description", "title"}:
        return False
    named = schema.get("type", ())
    taken = {named} if isinstance(named, str) else set(named)
    return not taken.isdisjoint(kinds) and schema.get("minimum", 0) <= most


_KINDS = ("boolean", "integer", "null", "number", "string")
_FREE = (
    (_is_whole, r"[1-9]\d*(?=[,}\]])", rb'"\1":1'),
    (_is_broken, r"\d+\.\d+(?=[,}\]])", rb'"\1":1.5'),
    (_is_text, r'"(?:[^"\\]|\\.)+"', rb'"\1":"t"'),
)


def _shape(address: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(address)))
