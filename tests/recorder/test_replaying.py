"""Replay: the same events and the same state have the same effects."""

from dataclasses import replace

import pytest

from bridge.core.events import (
    ClusterSeen,
    DivisionSeen,
    MqttConnected,
    MqttMessage,
    ObservationsReceived,
    Started,
    Tick,
)
from bridge.core.messages import AckToken
from bridge.core.records.lease import ClusterView, HeldLease, Member, MemberStatus
from bridge.core.speaker.composition import Speaker
from bridge.errors import RecordError
from bridge.recorder.replaying import machine_of, messages, native, new_core, replay
from bridge.recorder.state import copied
from bridge.settings import ClusterSettings
from tests.recorder.recorded import ONE, TWO, VERSION, Recorded, said, settings_of


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


def test_the_gateway_that_speaks_for_all_partitions_is_replayed():
    """Its own core is made again, and its alerts, orphans and answers are the same."""
    settings = replace(settings_of(), cluster=ClusterSettings(partitions=2, worker="a"))
    recorded = Recorded(settings)
    members = (Member("a", 0.1, VERSION, MemberStatus()),)
    leases = (HeldLease(0, "a", 1, 3.0), HeldLease(1, None, 1, -60.0))
    recorded.handle(
        Started(),
        MqttConnected(False, "5", 20),
        DivisionSeen({0: frozenset({ONE}), 1: frozenset({TWO})}, is_listed=True),
        ClusterSeen(ClusterView(members, leases)),
        MqttMessage("charger/bridge/partition/00/cloud", b"connected", AckToken(1, 1, 1)),
        MqttMessage("charger/EH999999/set/start", b"true", AckToken(1, 2, 1)),
        Tick(),
    )
    machine = machine_of(recorded.record())

    assert isinstance(machine.core, Speaker)
    steps = list(replay(recorded.record(), machine))
    assert [step.effects for step in steps] == recorded.effects
    assert copied(machine.core) == copied(recorded.core)
    assert any("partition" in kind for kind in machine.core.alerts.kinds)
