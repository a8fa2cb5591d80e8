"""Recording of what the core handles: the state it began from and every event since, in memory.

Rules:

1. The record is a row of generations. Each begins with a copy of the core's state and has every
   event since. A new one begins every :data:`GENERATION_S`, or when a quarter of the memory is
   full; the oldest ones are dropped when half an hour or the memory is over.
2. Recording an event is one tuple. Events and states are packed in turns of the loop with nothing
   else to do, events only beyond :data:`UNPACKED_BYTES`, in one part of :data:`PACK_SHARE` of the
   time.
3. A state is copied in steps between which nothing is handled, at most once in
   :data:`COPY_SHARE` times the time that the last copy took. Where events come faster than that
   allows, the generation stops to grow, and recording goes on with the next state.
4. A core with a state that cannot be copied is not recorded; the reason is told once.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from bridge.core.composition import Core
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
from bridge.recorder.state import Copy
from bridge.recorder.values import Plain, plain, rows

KEPT_S = 30 * 60.0
GENERATION_S = 10 * 60.0
# A state is copied so many times less often than it takes: 1 % of the time at most.
COPY_SHARE = 200.0
PACK_SHARE = 200.0
# So many objects are copied in one step, and so much is packed: each less than a millisecond.
COPY_STEP = 100
PACK_OBJECTS = 20
PACKED_BYTES = 32 * 1024
UNPACKED_BYTES = 1024 * 1024
GENERATIONS = 4
# Measured sizes in memory: an event, an observation, an acknowledged value.
EVENT_BYTES = 600
OBSERVATION_BYTES = 500
ACKED_BYTES = 450

# An event, when it was handled and how many effects it had (-1: the core raised); a number: so
# often the deadline was asked for.
Entry = tuple[Event, Timestamp, int] | int


def size_of(event: Event) -> int:
    """Estimate the bytes that an event keeps in memory."""
    kind = type(event)
    if kind is ObservationsReceived:
        return EVENT_BYTES + OBSERVATION_BYTES * len(event.observations)  # type: ignore[union-attr]
    if kind is ValuesAcked:
        return EVENT_BYTES + ACKED_BYTES * len(event.messages)  # type: ignore[union-attr]
    if isinstance(event, CloudResponse):
        return EVENT_BYTES + len(event.body)
    if isinstance(event, MqttMessage):
        return EVENT_BYTES + len(event.payload)
    return EVENT_BYTES + len(event.message.payload) if isinstance(event, MqttAcked) else EVENT_BYTES


def plain_entry(entry: Entry) -> Plain:
    """Return the plain form of an entry."""
    if isinstance(entry, int):
        return entry
    event, now, effects = entry
    return [plain(event), plain(now), effects]


class _Packer:
    """Packs plain values into compressed chunks."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.size = 0
        self._open: list[bytes] = []
        self._open_bytes = 0

    def add(self, value: Plain) -> None:
        said = msgspec.msgpack.encode(value)
        self._open.append(len(said).to_bytes(4, "big") + said)
        self._open_bytes += len(said)
        if self._open_bytes >= PACKED_BYTES:
            self.close()

    def close(self) -> None:
        """Compress what is open."""
        if self._open:
            chunk = zlib.compress(b"".join(self._open), 1)
            self.chunks.append(chunk)
            self.size += len(chunk)
            self._open, self._open_bytes = [], 0

    @property
    def open(self) -> tuple[bytes, ...]:
        return tuple(self._open)

    @property
    def bytes(self) -> int:
        return self.size + self._open_bytes


def unpacked(chunks: tuple[bytes, ...], rest: tuple[bytes, ...]) -> Iterator[Plain]:
    """Yield the plain values of chunks, and of what was not compressed yet."""
    for said in (*map(zlib.decompress, chunks), b"".join(rest)):
        at = 0
        while at < len(said):
            size = int.from_bytes(said[at : at + 4], "big")
            yield msgspec.msgpack.decode(said[at + 4 : at + 4 + size])
            at += 4 + size


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
        is_closed: It takes no more events.
    """

    began_s: float
    copy: Copy | None
    state: _Packer = field(default_factory=_Packer)
    packed: _Packer = field(default_factory=_Packer)
    entries: deque[Entry] = field(default_factory=deque)
    entry_bytes: int = 0
    is_closed: bool = False
    packing: Iterator[Plain] | None = None

    @property
    def bytes(self) -> int:
        # Not the copy: it is there until it is packed, and would leave no room for events.
        return self.state.bytes + self.packed.bytes + self.entry_bytes


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What the recorder holds at a moment; put together on the loop, read elsewhere.

    Attributes:
        copy: The state it begins from, unless that is packed.
        state: Chunks of it, and what is not compressed.
        parts: Events of each generation: chunks, what is not compressed, and entries.
    """

    copy: Copy | None
    state: tuple[tuple[bytes, ...], tuple[bytes, ...]]
    parts: tuple[tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[Entry, ...]], ...]

    def states(self) -> list[Plain]:
        """Return the plain form of the state."""
        return list(unpacked(*self.state) if self.copy is None else self.copy.encoded())

    def entries(self) -> list[Plain]:
        """Return the plain form of the entries, oldest first."""
        found: list[Plain] = []
        for chunks, rest, entries in self.parts:
            found += unpacked(chunks, rest)
            found += map(plain_entry, entries)
        return found


class Recorder:
    """Records what a core handles.

    Attributes:
        core: The core.
        problem: Why it does not record; empty while it does.
    """

    def __init__(self, core: Core, *, max_bytes: int, read_s: Callable[[], float]) -> None:
        """Begin with the state of the core.

        Args:
            core: It has handled nothing, or is between two events.
            max_bytes: What may be kept in memory.
            read_s: Reads the monotonic clock, to measure how long a copy takes.
        """
        self.core = core
        self.problem = ""
        self._max_bytes = max_bytes
        self._read_s = read_s
        self._generations: deque[_Generation] = deque()
        self._copying: Copy | None = None
        self._copy_s = 0.0
        self._may_copy_s = self._may_pack_s = read_s()
        rows()
        self._add: _Generation | None = None

    # -- what the loop calls -----------------------------------------------------------------

    def handled(self, event: Event, now: Timestamp, effects: list[Effect] | None) -> None:
        """Record an event that was handled; ``effects`` is None where the core raised an error."""
        if (current := self._add) is not None:
            count = -1 if effects is None else len(effects)
            current.entries.append((event, now, count))
            current.entry_bytes += size_of(event)

    def asked(self) -> None:
        """Record that the deadline of the core was asked for: that may change its state."""
        if (current := self._add) is not None:
            entries = current.entries
            last = entries[-1] if entries else None
            if type(last) is int:
                entries[-1] = last + 1
            else:
                entries.append(1)

    def is_copying(self, mono_s: float) -> bool:
        """Copy a part of the state if that is due; return whether the rest must be copied next.

        Nothing may be handled in between.
        """
        if self._copying is None and not self._is_due(mono_s):
            return False
        began_s = self._read_s()
        try:
            copying = self._copying = self._copying or Copy(self.core)
            more = copying.step(COPY_STEP)
        except RecordError as error:
            self.problem, self._copying, self._add = str(error), None, None
            self._generations.clear()
            return False
        self._copy_s += self._read_s() - began_s
        if not more:
            self._begin(copying, mono_s)
        return more

    def pack(self) -> None:
        """Pack a part of what is recorded: for a turn of the loop with nothing else to do."""
        began_s = self._read_s()
        if began_s >= self._may_pack_s:
            self._pack()
            ended_s = self._read_s()
            self._may_pack_s = ended_s + PACK_SHARE * (ended_s - began_s)

    def _pack(self) -> None:
        for each in self._generations:
            if each.copy is not None:
                self._pack_state(each, each.copy)
                return
        if sum(each.entry_bytes for each in self._generations) <= UNPACKED_BYTES:
            return
        for each in self._generations:
            if each.entries:
                self._pack_events(each)
                return

    def excerpt(self) -> Excerpt:
        """Return what is recorded, oldest state first.

        Raises:
            RecordError: Nothing is.
        """
        if not self._generations:
            raise RecordError(self.problem or "nothing is recorded yet")
        first = self._generations[0]
        parts = tuple(
            (tuple(each.packed.chunks), each.packed.open, tuple(each.entries))
            for each in self._generations
        )
        return Excerpt(first.copy, (tuple(first.state.chunks), first.state.open), parts)

    # -- generations -------------------------------------------------------------------------

    def _is_due(self, mono_s: float) -> bool:
        """Return whether a new generation is due, and end one that is full."""
        if self.problem or mono_s < self._may_copy_s:
            if self._add is not None and self._bytes > self._max_bytes:
                self._add = None
            return False
        current = self._add
        if current is None:
            return True
        is_full = current.bytes >= self._max_bytes // GENERATIONS
        return is_full or mono_s - current.began_s >= GENERATION_S

    @property
    def _bytes(self) -> int:
        return sum(each.bytes for each in self._generations)

    def _begin(self, copy: Copy, mono_s: float) -> None:
        self._copying = None
        is_gap = self._add is None
        self._may_copy_s = mono_s + COPY_SHARE * self._copy_s
        self._copy_s = 0.0
        if is_gap:
            self._generations.clear()
        self._add = _Generation(mono_s, copy)
        self._generations.append(self._add)
        kept = self._generations
        while len(kept) > 1 and (
            self._bytes > self._max_bytes * 3 // 4 or mono_s - kept[1].began_s >= KEPT_S
        ):
            kept.popleft()

    # -- packing -----------------------------------------------------------------------------

    def _pack_state(self, generation: _Generation, copy: Copy) -> None:
        if generation.packing is None:
            generation.packing = copy.encoded()
        try:
            for _ in range(PACK_OBJECTS):
                generation.state.add(next(generation.packing))
        except StopIteration:
            generation.state.close()
            generation.copy = generation.packing = None
        except RecordError as error:
            self.problem, self._add = str(error), None
            self._generations.clear()

    @staticmethod
    def _pack_events(generation: _Generation) -> None:
        entry = generation.entries.popleft()
        generation.packed.add(plain_entry(entry))
        if not isinstance(entry, int):
            generation.entry_bytes -= size_of(entry[0])
