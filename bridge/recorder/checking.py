"""Checks of a replayed record, for ``replay --compare`` and the tests that ``--as-test`` writes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from bridge.conventions.convention import Convention
from bridge.core.changes import Change, ValuesChanged
from bridge.core.composition import Assembly
from bridge.core.messages import Publish
from bridge.recorder import record_file
from bridge.recorder.replaying import (
    MakeCore,
    Record,
    Step,
    machine_of,
    messages,
    native,
    new_core,
    replay,
)
from bridge.recorder.values import outward, plain

DIGEST_CHARACTERS = 16


def digest(step: Step, conventions: Sequence[Convention]) -> str:
    """Return a digest of what an event leads to outside of the core.

    These are its messages, and its effects that are no changes. What is inside the core may be
    another in each version.

    Args:
        step: The event.
        conventions: From :func:`~bridge.recorder.replaying.native`.
    """
    others = [one for one in step.effects if not isinstance(one, Publish | Change)]
    said = [outward(plain(one)) for one in (*messages(step, conventions), *others)]
    return sha256(msgspec.msgpack.encode(said)).hexdigest()[:DIGEST_CHARACTERS]


def digests(record: Record, make: MakeCore = new_core) -> tuple[str, ...]:
    """Replay a record, and return the digest of each event.

    Raises:
        RecordError: It cannot be replayed.
    """
    machine = machine_of(record, make)
    conventions = native(record, machine.core)
    return tuple(digest(step, conventions) for step in replay(record, machine))


@dataclass(frozen=True, slots=True)
class Difference:
    """An event with other effects than the recorded process had.

    Attributes:
        step: The event.
        why: A sentence.
    """

    step: Step
    why: str


def remark(record: Record, version: str) -> str:
    """Return what a reader of the differences must know of the record, or nothing.

    Args:
        record: The record.
        version: Of this program.
    """
    if not record.digests and any(True for _ in record.entries):
        return (
            f"the record is of charger-bridge {record.version} in an earlier format, without the"
            " content of effects: only their number is compared, and values of one message count as"
            " one effect or as many, as earlier versions had it"
        )
    if record.version != version:
        return (
            f"the record is of charger-bridge {record.version}, this is {version}: a difference"
            " may be a change that the changelog names"
        )
    return ""


def differences(record: Record, version: str) -> Iterator[Difference]:
    """Yield the events that have other effects now than when the record was written.

    The number of effects is that of the process. Of another version it says nothing: changes
    within the core are effects too.

    Args:
        record: The record.
        version: Of this program.
    """
    machine = machine_of(record)
    conventions = native(record, machine.core)
    is_counted = not record.digests or record.version == version
    for step in replay(record, machine):
        if is_counted and not _is_number(step, is_older=not record.digests):
            why = f"{len(step.effects)} effects instead of {step.expected}"
            yield Difference(step, why)
        elif record.digests and record.digests[step.number] != digest(step, conventions):
            yield Difference(step, "other messages, requests or rows than recorded")


def _is_number(step: Step, *, is_older: bool) -> bool:
    """Return whether a step has as many effects as the process had, as far as that is known.

    Versions up to 1.0 joined fewer values to one effect.
    """
    values = (len(one.values) - 1 for one in step.effects if isinstance(one, ValuesChanged))
    most = len(step.effects) + (sum(values) if is_older else 0)
    return step.expected < 0 or len(step.effects) <= step.expected <= most


def matches(topic_filter: str, topic: str) -> bool:
    """Return whether an MQTT topic filter selects a topic."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted, levels = wanted[:-1], levels[: len(wanted) - 1]
    pairs = zip(wanted, levels, strict=False)
    return len(wanted) == len(levels) and all(one in ("+", level) for one, level in pairs)


def failing(core: Assembly) -> str:
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
