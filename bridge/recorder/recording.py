"""Recording of what the core handles: the state it began from and every event since, in memory.

Rules:

1. The record is a row of generations. Each begins with a copy of the core's state and has every
   event since. A new one begins every :data:`GENERATION_S`, or when a quarter of the memory is
   full; the oldest ones are dropped when half an hour or the memory is over.
2. The memory is three eighths of what may be used: the rest is for the copy that is being made, for
   what it keeps alive until it is packed, and for what the allocator adds.
3. Recording an event is one tuple; sizes are added up for :data:`TAIL` of them together. Events and
   states are packed in turns of the loop with nothing else to do, events beyond
   :data:`UNPACKED_BYTES`, in one part of :data:`PACK_SHARE` of the time.
4. A state is copied in steps between which nothing is handled, at most once in
   :data:`COPY_SHARE` times the time that the last copy took. Where events come faster than that
   allows, the generation stops to grow, and recording goes on with the next state.
5. A copy may have half of what may be used, and so may all copies that are not packed yet: the
   oldest generations are dropped. A state that needs more is not recorded.
6. A core with a state that cannot be copied is not recorded, nor is anything after an error of the
   recorder: the reason is kept, and nothing else is disturbed.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import msgspec

from bridge.conventions.convention import Convention
from bridge.core.composition import Assembly
from bridge.core.effects import Effect
from bridge.core.events import (
    CloudResponse,
    Event,
    MqttAcked,
    MqttMessage,
    ObservationsReceived,
    ValuesAcked,
)
from bridge.core.records.moment import Timestamp
from bridge.errors import RecordError
from bridge.recorder.links import LinkCall, is_recordable, recorded
from bridge.recorder.packing import (
    Entry,
    Packer,
    plain_entry,
    unpacked,
    unpacked_entry,
)
from bridge.recorder.state import Copy
from bridge.recorder.values import Plain, row_names

KEPT_S = 30 * 60.0
GENERATION_S = 10 * 60.0
# A state is copied, and something is packed, so many times less often than it takes: a quarter and
# half a percent of the time at most.
COPY_SHARE = 400.0
PACK_SHARE = 200.0
# So many objects are copied in one step, and so much is packed: each less than a millisecond.
COPY_STEP = 100
PACK_OBJECTS = 20
PACK_EVENTS = 32
PACK_EVENT_BYTES = 128 * 1024
UNPACKED_BYTES = 128 * 1024
GENERATIONS = 4
# A copy of a few chargers has room whatever the memory.
MIN_COPY_BYTES = 512 * 1024
TOO_LARGE: Final = "the state of all chargers does not fit; raise recorder.max_mib (8 MiB for 500)"
TAIL = 16
# Measured sizes in memory: an event, an observation, an acknowledged value.
EVENT_BYTES = 600
OBSERVATION_BYTES = 500
ACKED_BYTES = 450
# What an event of another type carries beyond that.
CARRIED: Final[Mapping[type, Callable[[Any], int]]] = {
    CloudResponse: lambda event: len(event.body),
    MqttMessage: lambda event: len(event.payload),
    MqttAcked: lambda event: len(event.message.payload),
}
NEVER: Final = float("inf")


def size_of(event: Event | LinkCall) -> int:
    """Estimate the bytes that an event keeps in memory."""
    if type(event) is ObservationsReceived:  # nearly all, with the next ones
        return EVENT_BYTES + OBSERVATION_BYTES * len(event.observations)
    if type(event) is ValuesAcked:
        return EVENT_BYTES + ACKED_BYTES * (len(event.messages) + len(event.returned))
    carried = CARRIED.get(type(event))
    return EVENT_BYTES if carried is None else EVENT_BYTES + carried(event)


def _is_same(before: LinkCall, call: LinkCall) -> bool:
    return before.call == call.call and before.link == call.link


@dataclass(slots=True)
class _Generation:
    """A state and the events since.

    Attributes:
        began_s: When the state was copied.
        copy: The state, until it is packed.
        state: The packed state.
        packed: The oldest events, packed.
        entries: The newer ones.
        entry_bytes: Estimated size of ``entries``.
    """

    began_s: float
    copy: Copy | None
    state: Packer = field(default_factory=Packer)
    packed: Packer = field(default_factory=Packer)
    entries: deque[Entry] = field(default_factory=deque)
    entry_bytes: int = 0
    packing: Iterator[Plain] | None = None

    @property
    def packed_bytes(self) -> int:
        """How much memory is taken beside the entries and the copy."""
        return self.state.bytes + self.packed.bytes

    @property
    def bytes(self) -> int:
        """How much memory is taken beside the copy."""
        return self.packed_bytes + self.entry_bytes


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What the recorder holds at a moment; put together on the loop, read elsewhere.

    Attributes:
        copy: The state it begins from, unless that is packed.
        state: Packed parts of it.
        parts: Events of each generation: packed ones, and entries.
    """

    copy: Copy | None
    state: tuple[bytes, ...]
    parts: tuple[tuple[tuple[bytes, ...], tuple[Entry, ...]], ...]

    def states(self) -> list[Plain]:
        """Return the plain form of the state."""
        return list(unpacked(self.state) if self.copy is None else self.copy.encoded())

    def entries(self) -> list[Plain]:
        """Return the plain form of the entries, oldest first."""
        return list(self.stream())

    def stream(self) -> "Stream":
        """Return the same, to be gone through one by one: all take fifty times the memory."""
        return Stream(self.parts)


@dataclass(frozen=True, slots=True)
class Stream:
    """Entries in their plain form, one after the other, as often as wanted.

    Attributes:
        parts: Of an excerpt.
    """

    parts: tuple[tuple[tuple[bytes, ...], tuple[Entry, ...]], ...]

    def __iter__(self) -> Iterator[Plain]:
        """Yield the entries, oldest first."""
        for chunks, entries in self.parts:
            yield from map(unpacked_entry, unpacked(chunks))
            yield from map(plain_entry, entries)


class Recorder:
    """Records what a core handles.

    Attributes:
        core: The core.
        problem: Why it does not record; empty while it does.
    """

    def __init__(
        self,
        core: Assembly,
        *,
        max_bytes: int,
        read_s: Callable[[], float],
        unpacked_bytes: int = UNPACKED_BYTES,
        conventions: Sequence[Convention] = (),
    ) -> None:
        """Begin with the state of the core.

        Args:
            core: It has handled nothing, or is between two events.
            conventions: Of the bridge; those with a connection of their own are recorded too, by
                :meth:`watched`.
            max_bytes: What may be used of the memory.
            read_s: Reads the monotonic clock, to measure how long a copy takes.
            unpacked_bytes: So much is not packed, because it may not be worth it.
        """
        self.core = core
        self.problem = ""
        self._root = (core, *filter(is_recordable, conventions))
        self._max_bytes = max_bytes * 3 // 8
        self._max_copy_bytes = max(MIN_COPY_BYTES, max_bytes // 2)
        self._unpacked_bytes = unpacked_bytes
        self._read_s = read_s
        self._generations: deque[_Generation] = deque()
        self._copying: Copy | None = None
        self._copy_s = 0.0
        self._may_copy_s = self._may_pack_s = read_s()
        row_names()
        self._add: _Generation | None = None
        # The last entries, whose sizes are not added up yet.
        self._tail: list[Entry] = []
        # When a state is to be copied, on the monotonic clock.
        self._due_s = self._may_copy_s
        # At so many bytes of entries in the generation that grows something is to be decided.
        self._room = 0
        # How often the deadline was asked for since the last event.
        self._times_asked = 0
        # An earlier generation or a state is not packed yet.
        self._is_behind = False

    # -- what the loop calls -----------------------------------------------------------------

    def handled(self, event: Event, now: Timestamp, effects: list[Effect] | None) -> None:
        """Record an event that was handled; ``effects`` is None where the core raised an error."""
        if self._add is not None:
            tail = self._tail
            if self._times_asked:
                tail.append(self._times_asked)
                self._times_asked = 0
            tail.append((event, now, -1 if effects is None else len(effects)))
            if len(tail) >= TAIL:
                self._add_up()

    def watched(self, conventions: Sequence[Convention]) -> tuple[Convention, ...]:
        """Return conventions to be used in place of these, whose calls are recorded."""
        return recorded(conventions, self.called)

    def called(self, call: LinkCall, now: Timestamp, results: int) -> None:
        """Record a call of a convention with a connection of its own."""
        if self._add is None:
            return
        tail = self._tail
        last = tail[-1] if tail and not self._times_asked else None
        if call.call == "take" and isinstance(last, tuple):
            before, at, count = last
            # The connection takes one message after the other with the same reading of the clock.
            if at is now and isinstance(before, LinkCall) and _is_same(before, call):
                tail[-1] = (
                    msgspec.structs.replace(call, times=before.times + 1),
                    now,
                    count + results,
                )
                return
        self._note_asked()
        tail.append((call, now, results))
        if len(tail) >= TAIL:
            self._add_up()

    def asked(self) -> None:
        """Record that the deadline of the core was asked for: that may change its state."""
        self._times_asked += 1

    def is_copying(self, mono_s: float) -> bool:
        """Copy a part of the state if that is due; return whether the rest must be copied next.

        Nothing may be handled in between.
        """
        if mono_s < self._due_s:
            return False
        began_s = self._read_s()
        try:
            copying = self._copying = self._copying or Copy(self._root)
            more = copying.step(COPY_STEP)
            if copying.bytes > self._max_copy_bytes:
                raise RecordError(TOO_LARGE)  # noqa: TRY301 - as what cannot be copied
        except Exception as error:  # noqa: BLE001 - the border of the recorder
            self._give_up(error)
            return False
        self._copy_s += self._read_s() - began_s
        if not more:
            self._begin(copying, mono_s)
        return more

    def pack(self, mono_s: float) -> None:
        """Pack a part of what is recorded: for a turn of the loop with nothing else to do."""
        if mono_s < self._may_pack_s:
            return
        current = self._add
        # What is closed is dropped when the next state was copied: packing it is lost labour.
        if current is None or not (self._is_behind or current.entry_bytes > self._unpacked_bytes):
            return
        began_s = self._read_s()
        try:
            self._pack()
        except Exception as error:  # noqa: BLE001 - the border of the recorder
            self._give_up(error)
            return
        self._room = self._room_of(current)
        ended_s = self._read_s()
        self._may_pack_s = ended_s + PACK_SHARE * (ended_s - began_s)

    def excerpt(self) -> Excerpt:
        """Return what is recorded, oldest state first.

        Raises:
            RecordError: Nothing is.
        """
        if not self._generations:
            raise RecordError(self.problem or "nothing is recorded yet")
        self._note_asked()
        self._add_up()
        first = self._generations[0]
        parts = tuple((each.packed.parts, tuple(each.entries)) for each in self._generations)
        return Excerpt(first.copy, first.state.parts, parts)

    # -- generations -------------------------------------------------------------------------

    @property
    def bytes(self) -> int:
        """How much memory is taken, beside a copy that is not packed yet."""
        return sum(each.bytes for each in self._generations)

    @property
    def _copy_bytes(self) -> int:
        """How much memory the states take that are not packed yet."""
        return sum(0 if each.copy is None else each.copy.bytes for each in self._generations)

    def _note_asked(self) -> None:
        if self._add is not None and self._times_asked:
            self._tail.append(self._times_asked)
        self._times_asked = 0

    def _add_up(self) -> None:
        """Add the last entries to the generation that grows, and see whether there is room."""
        current, tail = self._add, self._tail
        if current is None:
            return
        try:
            size = 0
            for entry in tail:
                if type(entry) is tuple:
                    size += size_of(entry[0])
            current.entries.extend(tail)
            tail.clear()
            current.entry_bytes += size
            if current.entry_bytes > self._room:
                self._make_room(current)
        except Exception as error:  # noqa: BLE001 - the border of the recorder
            self._give_up(error)

    def _make_room(self, current: _Generation) -> None:
        """Have a new generation begin, and end this one when the memory is full."""
        is_over = self.bytes > self._max_bytes
        if is_over:
            self._add = None
            self._times_asked = 0
        if is_over or current.bytes >= self._max_bytes // GENERATIONS:
            self._due_s = self._may_copy_s
        self._room = self._room_of(current)

    def _room_of(self, current: _Generation) -> int:
        """Return how many bytes of entries a generation may have before more is decided."""
        others = self.bytes - current.entry_bytes
        quarter = self._max_bytes // GENERATIONS - current.packed_bytes
        return quarter if current.entry_bytes < quarter else self._max_bytes - others

    def _begin(self, copy: Copy, mono_s: float) -> None:
        self._copying = None
        self._may_copy_s = mono_s + COPY_SHARE * self._copy_s
        self._copy_s = 0.0
        if self._add is None:
            self._generations.clear()
        self._note_asked()
        self._add_up()
        kept, current = self._generations, _Generation(mono_s, copy)
        kept.append(current)
        while len(kept) > 1 and (
            self.bytes > self._max_bytes * 3 // 4
            or self._copy_bytes > self._max_copy_bytes
            or mono_s - kept[1].began_s >= KEPT_S
        ):
            kept.popleft()
        self._add, self._is_behind = current, True
        self._due_s = max(self._may_copy_s, mono_s + GENERATION_S)
        self._room = self._room_of(current)

    def _give_up(self, error: Exception) -> None:
        """Record nothing any more, and say why."""
        is_known = isinstance(error, RecordError)
        self.problem = str(error) if is_known else f"{type(error).__name__}: {error}"
        self._generations.clear()
        self._tail.clear()
        self._copying = self._add = None
        self._is_behind, self._due_s = False, NEVER

    # -- packing -----------------------------------------------------------------------------

    def _pack(self) -> None:
        """Pack the next part: states first, then what came first."""
        for each in self._generations:
            if each.copy is not None:
                self._pack_state(each, each.copy)
                return
        for each in self._generations:
            if each.entry_bytes > (self._unpacked_bytes if each is self._add else 0):
                self._pack_events(each)
                return
        self._is_behind = False

    @staticmethod
    def _pack_state(generation: _Generation, copy: Copy) -> None:
        if generation.packing is None:
            generation.packing = copy.encoded()
        objects = list(islice(generation.packing, PACK_OBJECTS))
        generation.state.add(objects)
        if len(objects) < PACK_OBJECTS:
            generation.state.close()
            generation.copy = generation.packing = None

    @staticmethod
    def _pack_events(generation: _Generation) -> None:
        taken: list[Entry] = []
        size, entries = 0, generation.entries
        while entries and len(taken) < PACK_EVENTS and size < PACK_EVENT_BYTES:
            entry = entries.popleft()
            size += 0 if isinstance(entry, int) else size_of(entry[0])
            taken.append(entry)
        generation.packed.add_entries(taken)
        generation.entry_bytes -= size
