"""Judges messages by their published schemas: an unknown topic or another shape is a problem."""

import json
import re
from collections.abc import Iterable

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

    A payload that differs from one that was valid only in well-formed times and in the digits of
    ``value`` is as valid: no schema looks at these, and storms have hundreds of thousands.
    """

    def __init__(self, topics: Topics | None = None) -> None:
        self._topics = topics or Topics()
        self._shapes = [(_shape(m.address), m) for m in messages(self._topics)]
        self._validators = {
            m.name: jsonschema.Draft202012Validator(m.schema)
            for m in (_ANSWER, *(m for _, m in self._shapes))
        }
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
        alike = message.name, _VALUE.sub(rb"\g<1>0", _TIME.sub(b'"2026-01-01T00:00:00Z"', payload))
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


def _shape(address: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(address)))
