"""Explanation of a topic: what led to its messages, or kept them away, by a replay of a record.

The reasons are those of the components: :meth:`~bridge.core.composition.Core.explain` says why
things are as they are, and a replay tells which events led there.
"""

from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final

from bridge.core.chargers.state import ChargerState
from bridge.core.commands.results import sentence_of
from bridge.core.composition import Assembly
from bridge.core.easee.decode import decode
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.events import (
    ChargerResponse,
    CloudFailed,
    CloudResponse,
    CommandSaved,
    Event,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    ObservationsReceived,
    ReportSaved,
    ReportsRead,
    Started,
    StoreOpened,
    StreamClosed,
    StreamOpened,
    Tick,
    ValuesAcked,
)
from bridge.core.messages import Publish
from bridge.core.records.observation import RawObservation
from bridge.core.subjects import Subject, subject_of
from bridge.core.topics import SPARKPLUG_NAMESPACE
from bridge.core.value_format import iso_utc, read_utc
from bridge.errors import DecodeError, RecordError
from bridge.recorder.links import LinkCall
from bridge.recorder.replaying import (
    Machine,
    MakeCore,
    Record,
    Step,
    machine_of,
    messages,
    native,
    new_core,
    replay,
)

MAX_LINES = 40
MAX_PAYLOAD = 120


def explanation(
    record: Record,
    topic: str,
    *,
    until: datetime | int | None = None,
    make: MakeCore = new_core,
    tells_end: bool = True,
) -> list[str]:
    """Return what led to the messages on a topic, and why it is as it is in the end.

    Args:
        record: The record.
        topic: With or without the base topic.
        until: Time or number of the last event; None for all.
        make: Makes a core to replay in.
        tells_end: Why it is as it is in the end is told too.

    Raises:
        RecordError: The record cannot be replayed, or no single topic is named.
    """
    if not topic or not {"+", "#"}.isdisjoint(topic.split("/")):
        raise RecordError("name one topic, without + and #, e.g. charger/EH123456/state/op_mode")
    machine = machine_of(record, make)
    core = machine.core
    conventions = native(record, core)
    subject = subject_of(topic, core.topics.base)
    full = topic if topic.startswith(f"{core.topics.base}/") else f"{core.topics.base}/{topic}"
    # Topics of Home Assistant's discovery and of Sparkplug are not below the base topic.
    wanted = {full, full.replace("/set/", "/result/", 1), topic}
    lines: list[str] = []
    now = None
    for step, held in _moments(record, machine, subject):
        if until is not None and (
            step.number > until if isinstance(until, int) else step.now.wall > until
        ):
            break
        now = step.now
        said = [one for one in messages(step, conventions) if one.topic in wanted]
        at = iso_utc(now.wall)
        lines += [f"{at} {_shown(one)}, because {_why(step.event, subject)}" for one in said]
        if not said:
            lines += [f"{at} {one}" for one in _unpublished(step.event, wanted, subject, held)]
    if len(lines) > MAX_LINES:
        lines = [f"({len(lines) - MAX_LINES} earlier lines left out)", *lines[-MAX_LINES:]]
    if not lines:
        lines.append(f"nothing recorded concerns {topic}")
    if now is not None and tells_end:
        told = (*core.explain(topic, now), *machine.links.explain(topic, now))
        lines += [f"at {iso_utc(now.wall)}: {one}" for one in told]
    return lines


# What a charger held of an observation before the event: the time it was measured, and the value.
_Held = dict[int, tuple[datetime | None, object]]


def _moments(record: Record, machine: Machine, subject: Subject) -> Iterator[tuple[Step, _Held]]:
    """Yield each step with what the charger held before it."""
    held: _Held = {}
    for step in replay(record, machine):
        yield step, held
        held = _held(machine.core, subject)


def _held(core: Assembly, subject: Subject) -> _Held:
    state = _state_of(core, subject.device)
    if state is None:
        return {}
    numbers = _numbers(subject)
    return {number: (state.measured_at(number), state.value(number)) for number in numbers}


def _state_of(core: Assembly, device: str) -> ChargerState | None:
    charger = core.chargers.get(device)
    return None if charger is None else charger.state


def _numbers(subject: Subject) -> tuple[int, ...]:
    """Return the observations that a topic follows."""
    if subject.branch not in ("observation", "state", "availability"):
        return ()
    own = tuple(number for number, spec in REGISTRY.items() if spec.name == subject.name)
    derived = (
        number
        for number, topics in ChargerState.derived_by.items()
        if any(topic.name == subject.name for topic in topics)
    )
    return own or tuple(derived)


def _shown(message: Publish) -> str:
    return f"published {_content(message) or 'an empty payload'} on {message.topic}"


def _content(message: Publish | MqttMessage) -> str:
    """Return a payload as text; a result as a sentence, of a Sparkplug payload the metrics."""
    if message.topic.startswith(f"{SPARKPLUG_NAMESPACE}/"):
        from bridge.conventions.sparkplug import payload  # noqa: PLC0415 - most do not need it

        with suppress(DecodeError):
            metrics = payload.decode(message.payload).metrics
            shown = ", ".join(f"{one.name or one.alias}={one.value}" for one in metrics)
            return f"{len(metrics)} metrics: {_cut(shown)}" if metrics else "no metrics"
    if "/result/" in message.topic:
        with suppress(DecodeError):
            return sentence_of(message.payload)
    return _cut(message.payload.decode(errors="replace"))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_PAYLOAD else f"{text[:MAX_PAYLOAD]}…"


def _why(event: Event | LinkCall, subject: Subject) -> str:
    """Say what happened, in a sentence without its end."""
    match event:
        case ObservationsReceived(observations, source):
            mine = [one for one in observations if one.charger_id == subject.device]
            numbers = _numbers(subject)
            told = [one for one in mine if one.id in numbers] or mine
            shown = ", ".join(f"{one.id} measured at {one.timestamp}" for one in told[:3])
            return (
                f"observation {shown} arrived by {source}" if told else f"values came by {source}"
            )
        case MqttMessage(topic):
            return f"a message arrived on {topic}: {_content(event)}"
        case CloudResponse(tag, status):
            return f"the cloud answered {tag.owner} with status {status}"
        case CloudFailed(tag, error):
            return f"the request of {tag.owner} failed: {error}"
        case ChargerResponse(charger_id, command_id, ticks, accepted):
            verdict = "accepted" if accepted else "rejected"
            return f"{charger_id} {verdict} its command {command_id} (ticks {ticks})"
        case Tick():
            return "its time had come"
        case LinkCall(link, call, message):
            brought = "" if message is None else f" on {message.topic}: {_content(message)}"
            return f"the connection {link} {CALLS.get(call, call)}{brought}"
    return HAPPENED.get(type(event), f"{type(event).__name__} was handled")


HAPPENED: Final = {
    StreamOpened: "the stream was opened",
    StreamClosed: "the stream was lost",
    MqttConnected: "the broker was connected",
    MqttDisconnected: "the connection to the broker was lost",
    MqttAcked: "the broker acknowledged a message",
    ValuesAcked: "the broker acknowledged values",
    StoreOpened: "the store was opened",
    ReportSaved: "the report was stored",
    ReportsRead: "stored reports were read",
    CommandSaved: "the command was stored",
    Started: "the bridge started",
}
# Calls that change what a convention says on all of its topics.
TURNS: Final = frozenset({"connected", "disconnected"})
CALLS: Final = {
    "take": "had room for a message",
    "connected": "was made",
    "disconnected": "was lost",
    "received": "brought a message",
    "snapshot": "was made",
    "parse": "brought a message",
    "will": "is about to be made",
    "farewell": "is about to be ended",
    "delivered": "lasted long enough for reports to count as delivered",
    "unsent": "could not send a message",
}


def _unpublished(
    event: Event | LinkCall, wanted: Collection[str], subject: Subject, held: _Held
) -> Iterator[str]:
    """Say why an event that concerns a topic published nothing on it."""
    if isinstance(event, LinkCall):
        is_asked = event.message is not None and event.message.topic in wanted
        if is_asked or (event.call in TURNS and subject.device == SPARKPLUG_NAMESPACE):
            yield _why(event, subject)
        return
    if isinstance(event, MqttMessage):
        if event.topic in wanted and subject.branch not in ("set", "result"):
            yield _why(event, subject)
            return
        asked = event.topic.split("/")[-3:]
        if asked[:1] == [subject.device] and asked[-1] == subject.name:
            yield f"{_why(event, subject)}; there is no result of it yet"
        return
    if not isinstance(event, ObservationsReceived):
        return
    numbers = _numbers(subject)
    for one in event.observations:
        if one.charger_id == subject.device and one.id in numbers:
            yield f"not published: observation {one.id} {_reason(one, held)}"


def _reason(one: RawObservation, held: _Held) -> str:
    try:
        observation = decode(one)
    except DecodeError as error:
        return f"cannot be read: {error}"
    measured_at, value = held.get(one.id, (None, None))
    if measured_at is not None and observation.measured_at < measured_at:
        return (
            f"was measured at {one.timestamp}, before the value that is held"
            f" ({iso_utc(measured_at)}): the newest measured value counts"
        )
    if measured_at == observation.measured_at and value == observation.value:
        return f"repeats what is held, measured at {one.timestamp}"
    return f"measured at {one.timestamp} changes nothing that is published there"


def moment_of(text: str) -> datetime | int | None:
    """Read the number of an event or a UTC time; None for what is neither."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return read_utc(text)
    except DecodeError:
        return None
