"""Replay of a record: the recorded events through a core with the recorded state.

A replay does no I/O. It yields the effects of each event, and the messages that conventions without
a connection of their own make of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bridge.conventions.convention import Convention
from bridge.conventions.homeassistant.publisher import DiscoveryPublisher
from bridge.conventions.native.convention import Native
from bridge.core.changes import Change
from bridge.core.composition import Core
from bridge.core.effects import Effect
from bridge.core.events import Event
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.errors import RecordError
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
        digests: Of the effects of each event, as the program had them when it was written.
    """

    settings: Settings
    version: str
    salt: bytes
    state: list[Plain]
    entries: list[Plain]
    reason: str = ""
    written_at: str = ""
    digests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """An event and what the core made of it.

    Attributes:
        number: Of the event, from 0.
        event: The event.
        now: When it was handled.
        effects: In order.
        expected: How many effects the recorded process had; -1 where its core raised an error.
    """

    number: int
    event: Event
    now: Timestamp
    effects: list[Effect]
    expected: int


MakeCore = Callable[[Record], Core]


def new_core(record: Record) -> Core:
    """Return a core as the program makes it at its start."""
    settings, version, salt = record.settings, record.version, record.salt
    guest = DiscoveryPublisher(settings, version=version, salt=salt)
    return Core(settings, version=version, salt=salt, guests=(guest,))


def core_of(record: Record, make: MakeCore = new_core) -> Core:
    """Return a core with the state that a record begins from.

    Raises:
        RecordError: The state is not one of this version.
    """
    try:
        fresh = make(record)
    except Exception as error:
        raise RecordError(f"its configuration cannot be used: {error}") from error
    core = restored(record.state, fresh)
    if not isinstance(core, Core):
        raise RecordError("the state is not one of the core")
    return core


def replay(record: Record, core: Core | None = None) -> Iterator[Step]:
    """Handle the events of a record, and yield what the core makes of each.

    Args:
        record: The record.
        core: From :func:`core_of`; None makes one.

    Raises:
        RecordError: It cannot be replayed.
    """
    core = core or core_of(record)
    number = 0
    for entry in record.entries:
        if type(entry) is int:
            _ask(core, entry)
            continue
        event, now, expected = _read(entry)
        try:
            effects = list(core.handle(event, now))
        except Exception:  # noqa: BLE001 - it did so in the process too, where it was contained
            effects = []
        yield Step(number, event, now, effects, expected)
        number += 1


def _ask(core: Core, times: int) -> None:
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


def _read(entry: Plain) -> tuple[Event, Timestamp, int]:
    try:
        event, now, expected = entry
    except (TypeError, ValueError):
        raise RecordError(f"{str(entry)[:80]} is no event") from None
    said, at = value_of(event), value_of(now)
    if not isinstance(said, Event) or not isinstance(at, Timestamp) or type(expected) is not int:
        raise RecordError(f"{str(entry)[:80]} is no event")
    return said, at, expected


def native(record: Record, core: Core) -> tuple[Convention, ...]:
    """Return the conventions whose messages a replay shows."""
    return (Native(core.topics, record.settings.publish),)


def messages(
    effects: Iterable[Effect], now: Timestamp, conventions: Sequence[Convention]
) -> Iterator[Publish]:
    """Yield the messages that effects lead to."""
    for effect in effects:
        if isinstance(effect, Publish):
            yield effect
        elif isinstance(effect, Change):
            for convention in conventions:
                yield from convention.publish(effect, now)
