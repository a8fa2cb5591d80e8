"""Replay: the same events and the same state have the same effects."""

import pytest

from bridge.core.events import ObservationsReceived, Tick
from bridge.errors import RecordError
from bridge.recorder.replaying import machine_of, messages, native, new_core, replay
from tests.recorder.recorded import ONE, Recorded, said


def test_a_replay_has_the_effects_of_the_process():
    """Event by event, from the start and from a later state."""
    recorded = Recorded()
    recorded.live()
    steps = list(replay(recorded.record()))

    assert [step.effects for step in steps] == recorded.effects
    assert [step.expected for step in steps] == list(map(len, recorded.effects))


def test_a_component_that_failed_fails_again(monkeypatch):
    """An error of a component is replayed with what it led to."""
    component = type(Recorded().core.components["commands"].inner)
    recorded = Recorded()
    monkeypatch.setattr(component, "handle", lambda *_: 1 / 0)
    recorded.live()
    steps = list(replay(recorded.record()))

    assert recorded.core.contained.errors
    assert [len(step.effects) for step in steps] == list(map(len, recorded.effects))


def test_messages_are_those_of_the_conventions():
    """The effects of a replay become the topics and payloads that were published."""
    recorded = Recorded()
    recorded.live()
    record = recorded.record()
    machine = machine_of(record)
    conventions = native(record, machine.core)
    topics = {
        message.topic for step in replay(record, machine) for message in messages(step, conventions)
    }

    assert f"charger/{ONE}/state/op_mode" in topics
    assert "charger/bridge/info" in topics


@pytest.mark.parametrize(
    "entry", [None, [], ["v"], [1, 2], [["v", "x", []], 1, 2], ["x", "y", "z"], [["t"], ["t"], 0]]
)
def test_what_is_no_event_is_refused(entry):
    """An entry that no core can handle is an error of one kind."""
    recorded = Recorded()
    record = recorded.record()
    record.entries.append(entry)
    with pytest.raises(RecordError):
        list(replay(record))


def test_a_core_that_raises_does_not_end_the_replay(monkeypatch):
    """What was contained outside of the core is no reason to stop."""
    recorded = Recorded()
    recorded.handle(Tick(), ObservationsReceived((said(120, "1"),)))
    machine = machine_of(recorded.record())
    monkeypatch.setattr(machine.core, "handle", lambda *_: 1 / 0)

    assert [step.effects for step in replay(recorded.record(), machine)] == [[], []]
    assert new_core(recorded.empty).handle(Tick(), recorded.now) is not None
