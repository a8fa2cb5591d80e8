"""Values that the filters leave out: their retained topics are cleared once."""

from datetime import timedelta

import pytest

from bridge.conventions.native.convention import Native
from bridge.core.changes import ValuesHidden
from bridge.core.chargers.departures import SETTLED_S
from bridge.core.chargers.hidden_values import NAME, HiddenValues
from bridge.core.domain_events import ChargersAdded, ChargersRemoved, EqualizersChanged
from bridge.core.easee.selection import EVERYTHING, Selection, hidden_equalizer_names, hidden_names
from bridge.core.effects import SaveState
from bridge.core.events import MqttAcked, MqttConnected, MqttDisconnected, Started, Tick
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from bridge.settings import PublishSettings
from tests.conftest import NOON

ONE, TWO = "EH123456", "EH123457"
RADIO = Selection(excepted=frozenset({"radio"}))
BOTH = Selection(excepted=frozenset({"radio", "op_mode"}))


class Run:
    """One life of the component, and a broker that acknowledges."""

    def __init__(self, selection, state=None, chargers=(ONE,)):
        self.seconds = 0.0
        self.elsewhere = set()
        self.saved = state or {}
        self.cleared = []
        self.native = Native(Topics(), PublishSettings())
        self.part = HiddenValues(selection, lambda one, _: one in self.elsewhere)
        self.give(Started(state={NAME: self.saved} if self.saved else {}))
        self.give(ChargersAdded(chargers))
        self.give(MqttConnected(False, "5", 20))

    def give(self, event):
        now = Timestamp(NOON + timedelta(seconds=self.seconds), self.seconds)
        messages = []
        for output in self.part.handle(event, now):
            if isinstance(output, ValuesHidden):
                messages += self.native.publish(output, now)
            elif isinstance(output, SaveState):
                self.saved = output.document
        return messages

    def settle(self, *, acks=True):
        """Let everything that is due happen."""
        self.seconds += SETTLED_S
        while (due_s := self.part.deadline_s()) is not None and due_s <= self.seconds:
            messages = self.give(Tick())
            self.cleared += [message.topic for message in messages]
            assert all(message.payload == b"" and message.retained for message in messages)
            if not acks:
                return messages
            for message in messages:
                self.give(MqttAcked(message, 0))
        return []


def topics(names, charger=ONE):
    """Return the topics of values."""
    kinds = ("observation", "state")
    return {f"charger/{charger}/{kind}/{name}" for name in names for kind in kinds}


def test_what_is_left_out_is_cleared_once():
    """The first run with a filter clears what earlier ones published; the next one nothing."""
    first = Run(RADIO)
    assert first.part.deadline_s() == SETTLED_S
    first.settle()
    assert set(first.cleared) == topics(hidden_names(RADIO))
    assert len(first.cleared) == len(set(first.cleared))

    second = Run(RADIO, first.saved)
    second.settle()
    assert second.cleared == []


def test_only_what_was_published_before_is_cleared():
    """A longer filter clears the difference, and a shorter one nothing."""
    first = Run(RADIO)
    first.settle()
    second = Run(BOTH, first.saved)
    second.settle()
    assert set(second.cleared) == topics({"op_mode"})

    third = Run(RADIO, second.saved)
    third.settle()
    assert third.cleared == []


def test_a_filter_that_was_removed_in_between():
    """What was published again meanwhile is cleared again."""
    first = Run(RADIO)
    first.settle()
    between = Run(EVERYTHING, first.saved)
    between.settle()
    last = Run(RADIO, between.saved)
    last.settle()

    assert between.cleared == []
    assert set(last.cleared) == topics(hidden_names(RADIO))


def test_a_charger_that_was_away_is_cleared_when_it_comes():
    """The record names the chargers it holds for."""
    first = Run(RADIO)
    first.settle()
    second = Run(RADIO, first.saved, (ONE, TWO))
    second.settle()

    assert set(second.cleared) == topics(hidden_names(RADIO), TWO)


def test_nothing_is_recorded_before_the_broker_acknowledged():
    """A run that ends in the middle begins again."""
    first = Run(RADIO)
    first.settle(acks=False)

    assert first.saved == {}
    assert first.part.deadline_s() is None


def test_without_a_connection_it_waits():
    """Nothing is published into a broken connection."""
    run = Run(RADIO)
    run.give(MqttDisconnected(0))
    assert run.part.deadline_s() is None

    run.give(MqttConnected(True, "5", 20))
    run.settle()
    assert run.cleared


def test_a_charger_of_another_bridge_is_left_alone():
    """Its values are that bridge's to publish."""
    run = Run(RADIO, chargers=(ONE, TWO))
    run.elsewhere = {ONE}
    run.settle()

    assert set(run.cleared) == topics(hidden_names(RADIO), TWO)


def test_a_charger_that_left_is_not_cleared():
    """Its topics are cleared with everything else of it."""
    run = Run(RADIO)
    run.give(ChargersRemoved((ONE,), {}))
    run.settle()

    assert run.cleared == []


@pytest.mark.parametrize("damage", [{"hidden": 3}, {"hidden": [None], "chargers": {}}])
def test_a_damaged_record_is_none(damage):
    """Then everything that is left out is cleared again."""
    run = Run(RADIO, damage)
    run.settle()

    assert set(run.cleared) == topics(hidden_names(RADIO))


def test_values_of_an_equalizer_are_cleared_by_its_own_names():
    """When it is added; one that left is not cleared here."""
    run = Run(RADIO, chargers=())
    run.give(EqualizersChanged(("QP1", "QP2"), added=("QP1", "QP2")))
    run.give(EqualizersChanged(("QP1",), removed=("QP2",)))
    run.settle()
    assert set(run.cleared) == topics(hidden_equalizer_names(RADIO), "QP1")
    assert "charger/QP1/state/local_rssi" in run.cleared
