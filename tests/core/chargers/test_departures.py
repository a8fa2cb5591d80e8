"""Chargers that left: their topics are emptied a day later, or when somebody says so."""

from datetime import timedelta

import pytest

from bridge.core.changes import AvailabilityChanged
from bridge.core.chargers.departures import SETTLED_S, Departures
from bridge.core.domain_events import ChargerForgotten, EqualizersChanged
from bridge.core.easee.derived_state import DERIVED
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.effects import LogEntry
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON
from tests.native import as_messages

ONE, TWO = "EH123456", "EH123457"
DAY_S = 24 * 3600.0


class Desk:
    """Departures, a clock, and a broker that acknowledges."""

    def __init__(self, left=None):
        self.seconds = 0.0
        self.trusted = True
        self.forgotten = []
        self.elsewhere = set()
        self.offline = []
        self.departures = Departures((), lambda one, _: one in self.elsewhere)
        self.departures.started(left or {}, self.now)
        self.departures.connected(self.now)
        self.seconds = SETTLED_S

    @property
    def now(self):
        return Timestamp(NOON + timedelta(seconds=self.seconds), self.seconds, trusted=self.trusted)

    def take(self, outputs):
        """Return effects; that a charger is forgotten is noted."""
        outputs = list(outputs)
        gone = [one for one in outputs if isinstance(one, ChargerForgotten)]
        self.forgotten += [one.charger_id for one in gone]
        return [one for one in outputs if one not in gone]

    def leave(self, *charger_ids, **strange):
        self.departures.leave(charger_ids, self.now, strange=strange)

    def due(self):
        """Let everything happen that is due now; return the topics that were emptied."""
        emptied, self.offline = [], []
        while (at := self.departures.deadline_s()) is not None and at <= self.seconds:
            effects = self.take(self.departures.tick(self.now))
            messages = [effect for effect in as_messages(effects) if isinstance(effect, Publish)]
            emptied += [message.topic for message in messages if not message.payload]
            self.offline += [message.topic for message in messages if message.payload == b"offline"]
            self.ack(messages)
        return emptied

    def ack(self, messages):
        for message in messages:
            self.take(self.departures.acked(message, self.now))


def test_everything_is_emptied_a_day_later():
    """Every name there is, ids without one included, availability last."""
    desk = Desk()
    desk.leave(ONE, **{ONE: ("observation_4711",)})
    desk.seconds = DAY_S + SETTLED_S - 1.0
    assert desk.due() == []
    desk.seconds = DAY_S + SETTLED_S
    emptied = desk.due()

    observed = {f"charger/{ONE}/observation/{spec.name}" for spec in REGISTRY.values()}
    shown = {f"charger/{ONE}/state/{topic.name}" for topic in DERIVED}
    assert observed | shown <= set(emptied)
    assert f"charger/{ONE}/state/observation_4711" in emptied
    assert f"charger/{ONE}/observation/observation_6" in emptied
    assert f"charger/{ONE}/session/last" in emptied
    assert emptied[-1] == f"charger/{ONE}/availability"
    assert desk.forgotten == [ONE]
    assert desk.departures.left == {}
    assert desk.departures.deadline_s() is None


def test_it_is_emptied_at_once_on_demand():
    """Of who left only; and what may wait on the other connection is overtaken there."""
    desk = Desk()
    desk.leave(ONE)
    assert desk.due() == []
    assert not desk.departures.forget(TWO, desk.now)
    assert desk.departures.forget(ONE, desk.now)
    assert desk.departures.waiting == {}
    messages = as_messages(desk.departures.tick(desk.now))

    assert {message.telemetry for message in messages} == {True, False}
    assert all(message.retained and message.payload == b"" for message in messages)


def test_who_comes_back_is_not_emptied():
    """Within the day nothing happens to its topics."""
    desk = Desk()
    desk.leave(ONE, TWO)
    desk.departures.back((ONE,))
    desk.seconds = 2 * DAY_S

    assert {topic.split("/")[1] for topic in desk.due()} == {TWO}


def test_a_restart_forgets_nobody():
    """Who left in an earlier run is offline at the broker, and emptied when its day is over."""
    desk = Desk({ONE: NOON - timedelta(hours=23)})
    assert desk.due() == []
    assert desk.offline == [f"charger/{ONE}/availability"]
    desk.seconds = 3599.0
    assert desk.due() == desk.offline == []
    desk.seconds = 3600.0
    assert desk.due()


def test_one_charger_after_the_other():
    """The next one waits until everything of the one before was acknowledged."""
    desk = Desk()
    desk.leave(ONE, TWO)
    desk.seconds += DAY_S
    messages = as_messages(desk.departures.tick(desk.now))
    assert desk.departures.deadline_s() is None
    assert desk.departures.is_emptied(ONE)
    desk.ack([Publish("charger/x/state/y", b""), *messages[:-1]])
    assert desk.forgotten == []
    desk.departures.disconnected()
    desk.departures.connected(desk.now)
    desk.ack(messages[-1:])

    assert desk.forgotten == [ONE]
    desk.seconds += SETTLED_S
    assert {topic.split("/")[1] for topic in desk.due()} == {TWO}
    assert desk.offline == [f"charger/{TWO}/availability"]


def test_what_another_bridge_serves_now_is_left_to_it():
    """Also at a start: what the broker keeps of the other one is waited for."""
    desk = Desk({ONE: NOON - timedelta(days=2)})
    desk.seconds = SETTLED_S - 1.0
    assert desk.due() == []
    desk.elsewhere = {ONE}
    desk.seconds = SETTLED_S
    assert desk.due() == desk.offline == []
    assert desk.departures.left == {}
    assert desk.forgotten == [ONE]


def test_who_is_served_elsewhere_is_not_called_offline():
    """Neither at the moment of leaving nor with a new connection; the others are."""
    desk = Desk({ONE: NOON, TWO: NOON})
    desk.elsewhere = {ONE}
    offline = as_messages(desk.departures.offline((ONE, TWO), desk.now))

    assert [(e.topic, e.payload) for e in offline] == [(f"charger/{TWO}/availability", b"offline")]
    assert desk.due() == []
    assert desk.offline == [f"charger/{TWO}/availability"]


def test_nothing_is_emptied_without_a_broker():
    """It would only pile up."""
    desk = Desk()
    desk.leave(ONE)
    desk.departures.disconnected()
    desk.seconds = DAY_S

    assert desk.departures.deadline_s() is None
    assert as_messages(desk.departures.tick(desk.now)) == []


def test_no_day_is_over_while_nobody_knows_the_time():
    """A clock that was never set must not empty anything; it is looked at again."""
    desk = Desk({ONE: NOON})
    desk.trusted, desk.seconds = False, 2 * DAY_S
    assert desk.due() == []
    assert desk.departures.deadline_s() > desk.seconds
    desk.trusted, desk.seconds = True, desk.departures.deadline_s()
    assert desk.due()


@pytest.mark.parametrize("others", [0, 3])
def test_the_end_is_told(others):
    """A line in the log for each, whoever waits behind."""
    desk = Desk()
    desk.leave(ONE, *(f"EH20000{number}" for number in range(others)))
    desk.departures.forget(ONE, desk.now)
    messages = as_messages(desk.departures.tick(desk.now))
    notes = [one for m in messages for one in desk.take(desk.departures.acked(m, desk.now))]

    assert notes == [LogEntry("info", "charger.forgotten", {"charger_id": ONE})]


def test_an_equalizer_that_left_is_emptied_by_its_own_names():
    """A day later, also after a restart; one that is back is not."""
    desk = Desk()
    gone = desk.departures.handle(EqualizersChanged(("QP2",), removed=("QP1",)), desk.now)
    assert list(gone) == [AvailabilityChanged("QP1", is_online=False)]
    again = Desk(dict(desk.departures.left))
    again.seconds += 86_500.0
    emptied = again.due()
    assert "charger/QP1/state/active_power_import" in emptied
    assert "charger/QP1/observation/surplus_charging" in emptied
    assert again.forgotten == ["QP1"]
    list(desk.departures.handle(EqualizersChanged(("QP1",), added=("QP1",)), desk.now))
    assert "QP1" not in desk.departures
