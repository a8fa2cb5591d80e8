"""Which chargers are served: who comes, who leaves, and what of it is remembered and told."""

from datetime import timedelta

import pytest

from bridge.core.alerts import Alerts
from bridge.core.changes import Change
from bridge.core.chargers.departures import Departures
from bridge.core.chargers.fleet import ChargerRegistry
from bridge.core.chargers.served_chargers import ServedChargers
from bridge.core.domain_events import (
    BridgeInfoWanted,
    ChargerForgotten,
    ChargersAdded,
    ChargersConfigured,
    ChargersListed,
    ChargersRemoved,
    ChargersTakenOut,
    EqualizersChanged,
    ServedChargersChanged,
)
from bridge.core.easee.rest_responses import ChargerList
from bridge.core.effects import SaveChargerList, Subscribe
from bridge.core.events import Started
from bridge.core.records.moment import Timestamp
from bridge.core.status import Status
from bridge.settings import PublishSettings
from tests.conftest import NOON
from tests.native import publishes

ONE, TWO, THREE = "EH123456", "EH654321", "EH111111"


class Desk:
    """The component with the chargers and the departures it works on."""

    def __init__(self, *configured):
        self.alerts = Alerts()
        self.fleet = ChargerRegistry(PublishSettings(), b"salt", Status(self.alerts, "1", {}))
        self.departures = Departures(self.fleet.chargers, lambda _one, _now: False)
        self.served_chargers = ServedChargers(
            configured, self.fleet.chargers, self.departures, self.alerts
        )
        self.now = Timestamp(NOON, 1000.0)

    def take(self, event):
        """Let something happen; what the fleet and the departures do with it is done."""
        self.departures.handle(event, self.now)
        outputs = []
        for output in self.served_chargers.handle(event, self.now):
            outputs.append(output)
            match output:
                case ChargersAdded(charger_ids):
                    self.fleet.add(charger_ids)
                case ChargersRemoved(charger_ids):
                    list(self.fleet.remove(charger_ids, self.now))
            list(self.departures.handle(output, self.now))
        return outputs

    @property
    def served(self):
        return tuple(self.fleet.chargers)


def listed(*charger_ids, decides=True, **facts):
    """A list of the account's."""
    found = ChargerList(charger_ids=charger_ids, dropped=0, shapes="", products={})
    return ChargersListed(found, decides, **facts)


def alert(outputs):
    """The last alert about who is not listed."""
    (*_, last) = [e.payload for e in publishes(outputs)] or [b""]
    return last.decode()


@pytest.mark.parametrize(
    ("configured", "started", "served"),
    [
        ((), Started((ONE, TWO)), (ONE, TWO)),
        ((ONE,), Started((ONE, TWO)), (ONE,)),
        ((TWO,), Started(), (TWO,)),
        ((), Started((ONE, TWO), left={TWO: NOON}), (ONE,)),
        ((), Started((ONE,), former=(TWO,)), (ONE,)),
    ],
)
def test_at_the_start_the_configured_or_the_remembered_are_served(configured, started, served):
    """But for those that left; whom the operator took out meanwhile leaves now."""
    desk = Desk(*configured)
    outputs = desk.take(started)
    assert desk.served == served
    gone = set(started.remembered) | set(started.left) | set(started.former)
    taken_out = [one for one in outputs if isinstance(one, ChargersTakenOut)]
    if configured and gone - set(configured):
        assert taken_out == [ChargersTakenOut(tuple(sorted(gone - set(configured))))]
    else:
        assert taken_out == []


def test_who_comes_is_told_to_everybody_in_order():
    """Who needs all of them is told before who looks after the new ones; then the world is."""
    desk = Desk()
    outputs = desk.take(listed(ONE, TWO))
    kinds = [type(one) for one in outputs if not isinstance(one, Change)]
    assert kinds.index(Subscribe) < kinds.index(ServedChargersChanged) < kinds.index(ChargersAdded)
    assert kinds.index(ChargersAdded) < kinds.index(BridgeInfoWanted)
    assert Subscribe((ONE, TWO)) in outputs
    assert desk.take(listed(ONE, TWO)) == []


def test_who_left_is_not_served_and_is_remembered_as_away():
    """Since when; the alert says so."""
    desk = Desk()
    desk.take(listed(ONE, TWO))
    outputs = desk.take(listed(ONE, left=(TWO,)))
    assert desk.served == (ONE,)
    assert ChargersRemoved((TWO,), {TWO: ()}) in outputs
    assert ServedChargersChanged((ONE,), (TWO,)) in outputs
    assert outputs[-1] == SaveChargerList((ONE,), {TWO: NOON})
    assert f"{TWO} left the account" in alert(outputs)


def test_where_chargers_are_configured_the_list_only_says_who_is_missing():
    """Nobody else is served, and the file keeps what is configured."""
    desk = Desk(ONE)
    desk.take(Started())
    outputs = desk.take(listed(TWO, decides=False, missing=(ONE,), doubtful=(THREE,)))
    assert desk.served == (ONE,)
    assert f"does not list {THREE}, {ONE}" in alert(outputs)
    assert not [one for one in outputs if isinstance(one, SaveChargerList)]


def test_others_that_are_configured_replace_those_that_are_served():
    """Who is taken out is forgotten at once; with none named the list decides from now on."""
    desk = Desk(ONE)
    desk.take(Started())
    outputs = desk.take(ChargersConfigured((TWO,)))
    assert desk.served == (TWO,)
    assert ChargersTakenOut((ONE,)) in outputs
    desk.take(ChargersConfigured(()))
    assert desk.served == (TWO,)
    desk.take(listed(TWO, THREE))
    assert desk.served == (TWO, THREE)


def test_a_charger_whose_topics_are_being_emptied_is_not_served_meanwhile():
    """It would lose what it just said."""
    desk = Desk()
    desk.take(listed(ONE, TWO))
    desk.take(listed(ONE, left=(TWO,)))
    desk.departures.connected(desk.now)
    desk.departures.forget(TWO, desk.now)
    desk.now = Timestamp(NOON + timedelta(seconds=20), 1020.0)
    list(desk.departures.tick(desk.now))
    assert desk.departures.is_emptied(TWO)
    desk.take(listed(ONE, TWO))
    assert desk.served == (ONE,)


def test_what_was_told_of_a_charger_ends_with_it():
    """Its alerts are cleared, and the file forgets it."""
    desk = Desk()
    desk.take(listed(ONE, TWO))
    desk.take(listed(ONE, left=(TWO,)))
    list(desk.alerts.raise_(f"reports_lost/{TWO}", "some", "look", desk.now))
    list(desk.alerts.raise_(f"reports_lost/{ONE}", "some", "look", desk.now))
    desk.departures.back((TWO,))
    outputs = desk.take(ChargerForgotten(TWO))
    assert desk.alerts.kinds == (f"reports_lost/{ONE}",)
    assert outputs[-1] == SaveChargerList((ONE,), {})


def test_equalizers_of_an_earlier_process_do_not_cost_its_chargers():
    """They are told before the start: nothing is saved that would make the list empty."""
    desk = Desk()

    assert desk.take(EqualizersChanged(("QP000001",))) == []
    outputs = desk.take(Started((ONE, TWO)))
    assert desk.served == (ONE, TWO)
    assert not [each for each in outputs if isinstance(each, SaveChargerList)]


def test_equalizers_are_subscribed_and_remembered_beside_the_chargers():
    """Which there are is saved when that changed, and only then."""
    equalizers = {"QP000001": None}
    desk = Desk()
    desk.served_chargers = ServedChargers(
        (), desk.fleet.chargers, desk.departures, desk.alerts, equalizers
    )
    outputs = desk.take(Started((ONE,)))
    assert Subscribe((ONE, "QP000001")) in outputs
    assert SaveChargerList((ONE,), {}, ("QP000001",)) in outputs
    assert desk.take(EqualizersChanged(("QP000001",))) == []
    equalizers["QP000002"] = None
    outputs = desk.take(EqualizersChanged(tuple(equalizers), added=("QP000002",)))
    assert outputs == [SaveChargerList((ONE,), {}, ("QP000001", "QP000002"))]
