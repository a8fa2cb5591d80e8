"""Checks of a replayed record, for ``replay --compare`` and the tests that ``--as-test`` writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from bridge.conventions.convention import Convention
from bridge.core.composition import Core
from bridge.recorder import record_file
from bridge.recorder.replaying import Record, Step, machine_of, messages, native, replay
from bridge.recorder.values import plain

DIGEST_CHARACTERS = 16


def digest(step: Step) -> str:
    """Return a digest of the effects of an event."""
    said = msgspec.msgpack.encode([plain(effect) for effect in (*step.effects, *step.others)])
    return sha256(said).hexdigest()[:DIGEST_CHARACTERS]


@dataclass(frozen=True, slots=True)
class Difference:
    """An event with other effects than the recorded process had.

    Attributes:
        step: The event.
        why: A sentence.
    """

    step: Step
    why: str


def differences(record: Record) -> Iterator[Difference]:
    """Yield the events that have other effects now than when the record was written."""
    for step in replay(record):
        if 0 <= step.expected != len(step.effects):
            why = f"{len(step.effects)} effects instead of {step.expected}"
            yield Difference(step, why)
        elif record.digests and record.digests[step.number] != digest(step):
            yield Difference(step, "the same number of effects, with another content")


def matches(topic_filter: str, topic: str) -> bool:
    """Return whether an MQTT topic filter selects a topic."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted, levels = wanted[:-1], levels[: len(wanted) - 1]
    pairs = zip(wanted, levels, strict=False)
    return len(wanted) == len(levels) and all(one in ("+", level) for one, level in pairs)


def failing(core: Core) -> str:
    """Return which components failed, with the error and what they were doing."""
    return ", ".join(
        f"{name} ({each.kind} in {each.doing})" for name, each in core.contained.failing.items()
    )


def problems(
    content: bytes,
    *,
    until: int | None = None,
    expected: Mapping[str, str] | None = None,
    never: Sequence[str] = (),
) -> list[str]:
    """Replay a record file, and return what is wrong with the outcome, a sentence each.

    Args:
        content: Of the record file.
        until: Number of the last event.
        expected: Payloads that must be published last, by topic.
        never: Topics, or filters of topics, on which nothing may be published.

    Raises:
        RecordError: The file cannot be used.
    """
    record = record_file.read(content)
    machine = machine_of(record)
    core = machine.core
    conventions: Sequence[Convention] = native(record, core)
    last: dict[str, str] = {}
    found: list[str] = []
    errors = core.contained.errors
    for step in replay(record, machine):
        if until is not None and step.number > until:
            break
        if core.contained.errors != errors:
            errors = core.contained.errors
            found.append(f"event {step.number}: these components failed: {failing(core)}")
        for message in messages(step, conventions):
            payload = message.payload.decode(errors="replace")
            last[message.topic] = payload
            if any(matches(each, message.topic) for each in never):
                found.append(f"event {step.number}: {message.topic} was published: {payload}")
    for topic, payload in (expected or {}).items():
        if last.get(topic) != payload:
            found.append(f"{topic}: {last.get(topic)!r} instead of {payload!r}")
    return found
