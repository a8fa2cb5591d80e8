"""The recorder keeps half an hour within its memory, and never copies more than its share."""

from itertools import pairwise

import pytest

from bridge.core.events import CloudResponse, MqttAcked, MqttMessage, ObservationsReceived, Tick
from bridge.core.events import ValuesAcked as Acked
from bridge.core.messages import AckToken, Publish, Tag
from bridge.errors import RecordError
from bridge.recorder import recording
from bridge.recorder.recording import COPY_SHARE, GENERATION_S, KEPT_S, Recorder, size_of
from bridge.recorder.replaying import machine_of, replay
from bridge.recorder.state import copied
from tests.recorder.recorded import Recorded, said

MIB = 1024 * 1024


def numbers(recorded: Recorded) -> list[int]:
    """Return how many effects each recorded event had."""
    return [entry[2] for entry in recorded.record().entries if type(entry) is not int]


def test_everything_since_the_start_is_recorded():
    """A record of a young process begins with its start."""
    recorded = Recorded()
    recorded.live()

    assert numbers(recorded) == list(map(len, recorded.effects))


def test_half_an_hour_is_kept_and_not_much_more():
    """Generations that are older than half an hour are dropped, and the rest replays."""
    recorded = Recorded()
    recorded.live()
    for number in range(120):
        recorded.handle(ObservationsReceived((said(120, str(number)),)), after_s=60.0)
    record = recorded.record()
    steps = list(replay(record))
    first = min(step.now.mono_s for step in steps)

    assert KEPT_S <= recorded.now.mono_s - first <= KEPT_S + GENERATION_S + 60
    assert [step.effects for step in steps] == recorded.effects[-len(steps) :]


def test_memory_is_bounded_and_what_is_left_replays():
    """However much comes, no more than the limit is kept, and it begins with a state."""
    recorded = Recorded(max_bytes=4 * MIB)
    recorded.live()
    for number in range(3000):
        recorded.handle(ObservationsReceived((said(120, str(number)),) * 3), after_s=0.1)
        assert recorded.recorder.bytes <= 2 * MIB
    record = recorded.record()
    machine = machine_of(record)
    steps = list(replay(record, machine))

    assert 10 < len(steps) < 3000
    assert [step.effects for step in steps] == recorded.effects[-len(steps) :]
    assert copied(machine.core) == copied(recorded.core)


def test_a_large_state_leaves_room_for_events():
    """A copy larger than the memory does not end the history before it is packed."""
    recorded = Recorded(max_bytes=MIB // 4)
    recorded.live()
    for number in range(40):
        recorded.handle(ObservationsReceived((said(120, str(number)),)))

    assert numbers(recorded) == list(map(len, recorded.effects))


def test_a_state_that_does_not_fit_is_not_recorded(monkeypatch):
    """Memory of many chargers is bounded too: what to raise is told, and nothing is recorded."""
    monkeypatch.setattr(recording, "MIN_COPY_BYTES", 0)
    whole = Recorded()
    size = whole.recorder.excerpt().copy.bytes
    fits, larger = Recorded(max_bytes=2 * size), Recorded(max_bytes=2 * size - 2)

    assert not fits.recorder.problem
    with pytest.raises(RecordError, match=r"recorder\.max_mib"):
        larger.recorder.excerpt()
    larger.live()
    assert larger.recorder.bytes == 0


def test_states_that_are_not_packed_yet_are_bounded(monkeypatch):
    """Where packing does not keep up, the oldest generations go, and the newest replays."""
    monkeypatch.setattr(recording, "MIN_COPY_BYTES", 0)
    recorded = Recorded()
    recorded.live()
    most = 2 * recorded.recorder.excerpt().copy.bytes
    recorder = recorded.recorder
    monkeypatch.setattr(recorder, "_max_copy_bytes", most)
    for number in range(40):
        recorded.handle(ObservationsReceived((said(120, str(number)),)), after_s=120.0)
        kept = [each.copy.bytes for each in recorder._generations]
        assert sum(kept) <= most
    steps = list(replay(recorded.record()))

    assert [step.effects for step in steps] == recorded.effects[-len(steps) :]


def test_packing_changes_nothing():
    """Packed and not packed, the same events and the same state come out."""
    packed, usual = Recorded(unpacked_bytes=0), Recorded()
    for one in (packed, usual):
        one.live()
    for number in range(200):
        for one in (packed, usual):
            one.handle(ObservationsReceived((said(120, str(number)),)))
        for _ in range(8):
            packed.recorder.pack(packed.now.mono_s)

    assert packed.record().entries == usual.record().entries
    assert packed.record().state == usual.record().state
    assert packed.recorder.bytes < usual.recorder.bytes


def test_a_copy_that_takes_long_is_made_seldom(monkeypatch):
    """Where a copy takes seconds, the next one waits long; meanwhile there is a gap."""
    recorded = Recorded(max_bytes=MIB // 2)
    recorded.live()
    recorder, times = recorded.recorder, iter(range(10**9))
    monkeypatch.setattr(recorder, "_read_s", lambda: float(next(times)))
    copies = []
    begin = recorder._begin
    monkeypatch.setattr(
        recorder, "_begin", lambda copy, mono_s: (copies.append(mono_s), begin(copy, mono_s))
    )
    for number in range(1000):
        recorded.handle(ObservationsReceived((said(120, str(number)),)), after_s=12.0)
        assert recorder.bytes <= MIB

    assert all(later - sooner >= COPY_SHARE for sooner, later in pairwise(copies))
    assert len(copies) > 3
    steps = list(replay(recorded.record()))
    assert [step.effects for step in steps] == recorded.effects[-len(steps) :] or steps


def test_a_state_that_cannot_be_copied_ends_the_recording():
    """The reason is kept, nothing is recorded, and the core is not disturbed."""
    recorded = Recorded()
    recorded.core.subscriptions = iter([1])
    recorder = Recorder(recorded.core, max_bytes=MIB, read_s=lambda: 1.0)
    while recorder.is_copying(1.0):
        pass
    recorder.handled(Tick(), recorded.now, [])
    recorder.asked()
    recorder.pack(1.0)

    assert "list_iterator" in recorder.problem
    with pytest.raises(RecordError, match="list_iterator"):
        recorder.excerpt()


def test_a_state_that_cannot_be_written_ends_the_recording_too():
    """What shows only when the state is packed is told alike."""
    recorded = Recorded()
    recorder = recorded.recorder = Recorder(recorded.core, max_bytes=MIB, read_s=lambda: 1.0)
    while recorder.is_copying(1.0):
        pass
    recorder._generations[0].copy._held[0] = (["x"], [iter([1])])
    for _ in range(1000):
        recorder.pack(1.0)

    assert "list_iterator" in recorder.problem


def test_an_event_at_which_the_core_failed_is_marked():
    """It is recorded all the same, with -1 for the effects there were not."""
    recorded = Recorded()
    recorded.recorder.handled(Tick(), recorded.now, None)

    assert numbers(recorded) == [-1]


def test_how_often_the_deadline_was_asked_for_is_recorded():
    """It can change what the core does next, so a replay asks as often."""
    recorded = Recorded()
    recorded.handle(Tick())
    recorded.recorder.asked()

    assert [entry for entry in recorded.record().entries if type(entry) is int] == [2]


def test_sizes_grow_with_what_an_event_carries():
    """Observations, acknowledged values, answers and payloads count."""
    value = Publish("a/b", b"x" * 100)
    empty, full = ObservationsReceived(()), ObservationsReceived((said(1, ""),) * 9)

    assert size_of(full) > size_of(empty) + 9 * 300
    assert size_of(Acked((value,) * 5)) > size_of(Acked(()))
    assert size_of(CloudResponse(Tag("x"), 200, b"y" * 5000)) > 5000
    assert size_of(MqttMessage("a", b"z" * 4000, AckToken(1, 1, 1))) > 4000
    assert size_of(MqttAcked(value, 0)) > size_of(Tick())
