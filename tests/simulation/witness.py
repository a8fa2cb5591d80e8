"""What the core of a process yielded, and whether a record of it yields the same.

The property: the state and the events of the recorder, replayed in a new core, have the effects
that the core of the process had, to the last field, and end in the state that it is in.
"""

from collections import deque
from itertools import zip_longest

from bridge.core.composition import Core
from bridge.core.effects import Effect
from bridge.core.events import Event
from bridge.core.records.moment import Timestamp
from bridge.errors import RecordError
from bridge.recorder.record_file import read, redacted, written
from bridge.recorder.recording import Recorder
from bridge.recorder.replaying import Record, machine_of, replay
from bridge.recorder.state import Copy, copied
from bridge.recorder.values import DERIVED, class_name, field_names, open_names, plain

SALT = b"salt"
# More events than half an hour of a simulated life has.
KEPT = 100_000


class Witness(Recorder):
    """A recorder that remembers the effects of the last events besides.

    Args:
        from_s: When it begins to record, on the monotonic clock.

    Attributes:
        seen: The last events and their effects.
        replayed: How many events were replayed.
    """

    def __init__(self, *args, from_s: float, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self._due_s = max(self._due_s, from_s)
        self.seen: deque[tuple[Event, list[Effect]]] = deque(maxlen=KEPT)
        self.replayed = 0

    def handled(self, event: Event, now: Timestamp, effects: list[Effect] | None) -> None:
        """Record an event, and remember what the core yielded."""
        if self._add is not None:
            self.seen.append((event, effects or []))
        super().handled(event, now, effects)

    def stop(self) -> None:
        """Record nothing more."""
        self._give_up(RecordError("the record was compared"))
        self.seen.clear()

    def record(self) -> Record:
        """Return what was recorded as a record that was not redacted."""
        core, excerpt = self.core, self.excerpt()
        version = core.status.version
        return Record(core.settings, version, SALT, excerpt.states(), excerpt.entries())

    def difference(self) -> str:
        """Replay what was recorded; return where it differs from what happened, or nothing."""
        record = self.record()
        machine = machine_of(record, make)
        happened = self._happened(record)
        for step, (event, effects) in zip(replay(record, machine), happened, strict=True):
            self.replayed += 1
            said, meant = list(map(plain, step.effects)), list(map(plain, effects))
            if said != meant:
                return f"event {step.number} {type(event).__name__}: {first(said, meant)}"
            if step.expected != len(effects):
                return f"event {step.number} {event}: {step.expected} effects were recorded"
        if copied(machine.core) != copied(self.core):
            return "the state at the end is another one"
        return unknown_fields(self.core)

    def redacted_difference(self) -> str:
        """Replay the file that would be written; return where it differs, or nothing."""
        core = self.core
        record, redactor = redacted(
            self.excerpt(), core.settings, SALT, version=core.status.version
        )
        record = read(written(record))
        happened = self._happened(record)
        for step, (event, effects) in zip(
            replay(record, machine_of(record, make)), happened, strict=True
        ):
            said = list(map(plain, step.effects))
            meant = [redactor.plain(plain(effect)) for effect in effects]
            if said != meant:
                return f"event {step.number} {type(event).__name__}: {first(said, meant)}"
        return ""

    def _happened(self, record: Record) -> list[tuple[Event, list[Effect]]]:
        events = [entry for entry in record.entries if type(entry) is not int]
        return list(self.seen)[len(self.seen) - len(events) :]


def unknown_fields(core: Core) -> str:
    """Return which object has a field that a copy does not look for, or nothing."""
    copy = Copy(core)
    while copy.step(1000):
        pass
    for one in copy.objects:
        kind = type(one)
        is_open = kind.__module__.startswith("bridge.") and field_names(kind) is None
        known = {*open_names(kind), *DERIVED.get(class_name(kind), ())}
        if is_open and (unknown := vars(one).keys() - known):
            return f"a copy of {kind.__name__} does not look for {sorted(unknown)}"
    return ""


def make(record: Record) -> Core:
    """Return a core as the simulation makes it: without guests."""
    return Core(record.settings, version=record.version, salt=record.salt)


def first(said, meant) -> str:
    """Return the first effects that differ."""
    pairs = zip_longest(said, meant)
    return next(f"{one} instead of {other}" for one, other in pairs if one != other)
