"""Replay of a record: the recorded events through a core with the recorded state.

A replay does no I/O. It yields the effects of each event, and the messages that conventions without
a connection of their own make of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.conventions.convention import Convention
from bridge.conventions.homeassistant.publisher import DiscoveryPublisher
from bridge.conventions.native.convention import Native
from bridge.core.changes import Change
from bridge.core.composition import Assembly, Core
from bridge.core.effects import Effect
from bridge.core.events import Event
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.speaker.composition import Speaker
from bridge.errors import RecordError
from bridge.recorder.links import LinkCall, Links, own_conventions, published, report_channels
from bridge.recorder.state import restored
from bridge.recorder.values import Plain, value_of
from bridge.settings import Settings


@dataclass(frozen=True, slots=True)
class Record:
    """A record, in plain form but for what a core is made of.

    Attributes:
        settings: The configuration at the start of the process.
        version: Of the program.
        salt: Of the installation, or what stands for it.
        state: From :func:`~bridge.recorder.state.copied`.
        entries: Events in order, see :data:`~bridge.recorder.recording.Entry`.
        reason: Why it was written.
        written_at: When, UTC, ISO 8601.
        digests: Of what each event led to outside of the core, in the program that wrote it; none
            in the formats 1 and 2, whose digests no other version has.
    """

    settings: Settings
    version: str
    salt: bytes
    state: list[Plain]
    entries: Iterable[Plain]
    reason: str = ""
    written_at: str = ""
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """An event and what the core made of it.

    Attributes:
        number: Of the event, from 0.
        event: The event, or a call of a convention with a connection of its own.
        now: When it was handled.
        effects: In order; of a call what it returned.
        expected: How many effects the recorded process had; -1 where its core raised an error.
        others: Messages that conventions with connections of their own make of the effects.
    """

    number: int
    event: Event | LinkCall
    now: Timestamp
    effects: list[Any]
    expected: int
    others: list[Publish] = field(default_factory=list)


MakeCore = Callable[[Record], Assembly]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a record is replayed in.

    Attributes:
        core: With the recorded state.
        links: Conventions with a connection of their own, likewise.
    """

    core: Assembly
    links: Links


def new_core(record: Record) -> Assembly:
    """Return a core as the program makes it at its start."""
    settings, version, salt = record.settings, record.version, record.salt
    guest = DiscoveryPublisher(settings, version=version, salt=salt)
    if settings.cluster.is_divided and settings.cluster.partition is None:
        return Speaker(settings, version=version, salt=salt, devices={}, guests=(guest,))
    channels = report_channels(own_conventions(settings))
    return Core(settings, version=version, salt=salt, guests=(guest,), report_channels=channels)


def machine_of(record: Record, make: MakeCore = new_core) -> Machine:
    """Return a core, and conventions, with the state that a record begins from.

    Raises:
        RecordError: The state is not one of this version.
    """
    try:
        fresh = make(record)
        conventions = own_conventions(record.settings)
    except Exception as error:
        raise RecordError(f"its configuration cannot be used: {error}") from error
    # Versions up to 1.0 recorded the core alone.
    is_alone = record.state[:1] == [["r", 0]]
    root = restored(record.state, fresh if is_alone else (fresh, *conventions))
    core, *links = root if isinstance(root, tuple) and root else (root,)
    if not isinstance(core, Assembly):
        raise RecordError("the state is not one of the core")
    return Machine(core, Links(links))


def replay(record: Record, machine: Machine | None = None) -> Iterator[Step]:
    """Handle the events of a record, and yield what the core makes of each.

    Args:
        record: The record.
        machine: From :func:`machine_of`; None makes one.

    Raises:
        RecordError: It cannot be replayed.
    """
    machine = machine or machine_of(record)
    number = 0
    for entry in record.entries:
        if type(entry) is int:
            _ask(machine.core, entry)
            continue
        event, now, expected = _read(entry)
        if isinstance(event, LinkCall):
            yield Step(number, event, now, machine.links.call(event, now), expected)
        else:
            effects = _handled(machine.core, event, now)
            others = machine.links.publish(effects, now)
            yield Step(number, event, now, effects, expected, others)
        number += 1


def _handled(core: Assembly, event: Event, now: Timestamp) -> list[Effect]:
    try:
        return list(core.handle(event, now))
    except Exception:  # noqa: BLE001 - it did so in the process too, where it was contained
        return []


def _ask(core: Assembly, times: int) -> None:
    """Ask for the deadline as often as the process did.

    Raises:
        RecordError: The state of the record is not one of a core.
    """
    try:
        for _ in range(min(times, MAX_ASKED)):
            core.deadline_s()
    except Exception as error:
        raise RecordError(f"its state cannot be used: {type(error).__name__}: {error}") from error


# The deadline is asked for once in a turn of the loop; a component that is due in vain is left
# alone after a thousand.
MAX_ASKED = 100_000


def _read(entry: Plain) -> tuple[Event | LinkCall, Timestamp, int]:
    try:
        event, now, expected = entry
    except (TypeError, ValueError):
        raise RecordError(f"{str(entry)[:80]} is no event") from None
    said, at = value_of(event), value_of(now)
    is_event = isinstance(said, Event | LinkCall) and isinstance(at, Timestamp)
    if not is_event or type(expected) is not int:
        raise RecordError(f"{str(entry)[:80]} is no event")
    return said, at, expected


def native(record: Record, core: Assembly) -> tuple[Convention, ...]:
    """Return the conventions whose messages a replay shows."""
    return (Native(core.topics, record.settings.publish),)


def messages(step: Step, conventions: Sequence[Convention]) -> Iterator[Publish]:
    """Yield the messages that a step leads to."""
    for effect in step.effects:
        if isinstance(effect, Publish):
            yield effect
        elif isinstance(effect, Change):
            for convention in conventions:
                yield from published(convention, effect, step.now)
    yield from step.others
