"""When the total energy is published, and what the next process continues from."""

from datetime import timedelta

import pytest

from bridge.core.alerts import Alerts
from bridge.core.changes import DerivedChanged
from bridge.core.chargers.energy_service import EVERY_S, SETTLED_S, STEP_KWH, EnergyService
from bridge.core.chargers.energy_total import POWER_WITHIN_S
from bridge.core.chargers.fleet import ChargerRegistry
from bridge.core.domain_events import ChargersAdded, ChargersRemoved, EchoReceived
from bridge.core.effects import SaveState
from bridge.core.events import MqttConnected, MqttMessage, Started, Stopping, Tick
from bridge.core.records.moment import Timestamp
from bridge.core.status import Status
from bridge.core.topics import EnergyTotalTopic
from bridge.core.value_format import iso_utc
from bridge.settings import PublishSettings
from tests.conftest import NOON

ONE, TWO = "EH123456", "EH123457"
KEPT = {"at": iso_utc(NOON), "kwh": 100.0, "kw": 6.0, "limit_kwh": 102.0}


class Desk:
    """The service, its chargers and a clock."""

    def __init__(self, kept=None, *, is_published=True, has_documents=True, chargers=(ONE,)):
        self.seconds = 0.0
        self.trusted = True
        self.fleet = ChargerRegistry(PublishSettings(), b"salt", Status(Alerts(), "1", {}))
        self.service = EnergyService(
            self.fleet, is_published=is_published, has_documents=has_documents
        )
        self.give(Started(state={"energy_total": kept} if kept else {}))
        self.add(*chargers)

    def add(self, *chargers):
        self.fleet.add(chargers)
        return self.give(ChargersAdded(chargers))

    def give(self, event):
        now = Timestamp(NOON + timedelta(seconds=self.seconds), self.seconds, trusted=self.trusted)
        return list(self.service.handle(event, now))

    def connect(self):
        return self.give(MqttConnected(False, "5", 20))

    def echo(self, payload, charger=ONE, *, is_document=True, retained=True):
        topic = EnergyTotalTopic(charger, is_document)
        return self.give(EchoReceived(MqttMessage("t", payload, 1, retained=retained), topic))

    def tick(self):
        """Let the next tick come when it is due."""
        self.seconds = self.service.deadline_s()
        return self.give(Tick())

    def read(self, kwh, charger=ONE):
        """Let the meter be read now."""
        at = NOON + timedelta(seconds=self.seconds)
        return list(self.fleet.chargers[charger].energy.read(kwh, at, at))


def values(outputs):
    """Return what was published."""
    return [(one.charger_id, one.value) for one in outputs if isinstance(one, DerivedChanged)]


def document(kwh, kw=6.0, second=0):
    """Spell what an earlier process published."""
    at = iso_utc(NOON + timedelta(seconds=second))
    text = '{"id":null,"name":"energy_total","value":%s,"measured_at":"%s","power_kw":%s}'
    return (text % (kwh, at, kw)).encode()


def test_nothing_is_published_before_the_broker_told_what_it_retained():
    """A reading waits until the connection has settled."""
    desk = Desk()
    assert desk.service.deadline_s() is None
    assert values(desk.read(100.0)) == []
    desk.connect()

    assert desk.service.deadline_s() == SETTLED_S
    assert values(desk.tick()) == [(ONE, 100)]


def test_what_the_broker_retained_is_continued_at_once():
    """Nothing lower is published; the power then is added where the charger tells no other one."""
    desk = Desk()
    desk.connect()
    desk.seconds = 60

    assert values(desk.echo(document(100.0))) == [(ONE, 100)]
    while desk.seconds < 60 + POWER_WITHIN_S:
        told = values(desk.tick())
    assert told == [(ONE, pytest.approx(100 + 6.0 * desk.seconds / 3600, abs=0.002))]
    assert values(desk.read(99.0)) == []


def test_what_is_retained_of_a_charger_that_is_not_known_yet():
    """The account's list may come after the connection."""
    desk = Desk(chargers=())
    desk.connect()
    assert desk.echo(document(100.0, kw=0)) == []

    assert values(desk.add(ONE)) == [(ONE, 100)]
    assert values(desk.add(TWO)) == []


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"true", b"{", b"[]", b"\xff", b'{"value":"a"}', document("-1"), b"1e999", b"7"],
)
def test_what_cannot_be_read_is_not_continued(payload):
    """Whatever is retained there, the meter decides then."""
    desk = Desk()
    desk.connect()
    desk.read(5.0)

    assert desk.echo(payload) == []
    assert values(desk.tick()) == [(ONE, 5)]


def test_a_live_message_is_none_of_an_earlier_process():
    """Only what is retained tells what was published before."""
    desk = Desk()
    desk.connect()

    assert desk.echo(document(100.0), retained=False) == []


def test_a_broker_that_lost_its_memory_is_not_believed():
    """What was kept is newer: its limit is published, which no earlier value exceeded."""
    desk = Desk({ONE: KEPT})
    desk.connect()
    assert desk.echo(document(90.0, second=-600)) == []
    desk.read(100.5)

    assert values(desk.tick()) == [(ONE, 102)]


def test_the_bare_value_where_there_are_no_documents():
    """It is the floor, and what was kept tells the rest."""
    desk = Desk({ONE: KEPT}, has_documents=False)
    desk.connect()

    assert desk.echo(document(101.0)) == []
    assert desk.echo(b"101.2", is_document=True) == []
    assert values(desk.echo(b"101.2", is_document=False)) == [(ONE, 101.2)]


def test_a_limit_is_written_before_it_is_reached():
    """The document holds more than what is published, at each moment."""
    desk = Desk()
    desk.connect()
    desk.read(100.0)
    limit = 0.0
    for kwh in range(100, 120):
        outputs = [*desk.read(float(kwh)), *desk.tick()]
        kept = [one.document[ONE] for one in outputs if isinstance(one, SaveState)]
        limit = kept[-1]["limit_kwh"] if kept else limit
        assert desk.fleet.chargers[ONE].energy.published_kwh < limit <= kwh + STEP_KWH


def test_an_orderly_shutdown_keeps_the_exact_value():
    """The next process begins with no more than was published."""
    desk = Desk()
    desk.connect()
    desk.tick()
    desk.read(100.0)
    (saved,) = desk.give(Stopping())

    assert saved.document[ONE]["limit_kwh"] == saved.document[ONE]["kwh"] == 100
    later = Desk(saved.document)
    later.connect()
    assert values(later.tick()) == [(ONE, 100)]


@pytest.mark.parametrize(
    "kept", [3, {"at": "x", "kwh": 1, "kw": 1, "limit_kwh": 1}, KEPT | {"kwh": None}, {"kwh": 5}]
)
def test_what_was_kept_and_cannot_be_read_is_ignored(kept):
    """A damaged document costs accuracy, no more."""
    desk = Desk({ONE: kept})
    desk.connect()
    desk.read(5.0)

    assert values(desk.tick()) == [(ONE, 5)]


def test_estimates_are_due_before_each_half_minute():
    """The last value of an hour arrives within it."""
    desk = Desk()
    desk.connect()
    seconds = []
    for _ in range(4):
        desk.tick()
        seconds.append(desk.seconds)

    assert seconds == [SETTLED_S, 28.0, 58.0, 88.0]


def test_without_a_believable_clock_nothing_is_estimated():
    """A reading is published as it comes; time is not made up."""
    desk = Desk()
    desk.connect()
    desk.trusted = False
    desk.tick()

    assert values(desk.read(100.0)) == [(ONE, 100)]
    assert values(desk.tick()) == []
    assert desk.service.deadline_s() == desk.seconds + EVERY_S


def test_a_second_connection_changes_nothing():
    """What this process published is known; it does not wait again."""
    desk = Desk()
    desk.connect()
    desk.tick()
    due_s = desk.service.deadline_s()
    desk.connect()

    assert desk.service.deadline_s() == due_s
    assert desk.echo(document(500.0)) == []


def test_a_value_that_is_left_out_is_not_estimated():
    """The filters of the configuration switch it off."""
    desk = Desk(is_published=False)
    desk.connect()
    desk.read(100.0)

    assert desk.service.deadline_s() is None
    assert desk.give(Stopping()) == []


def test_a_charger_that_left_is_not_published():
    """Its limit is forgotten with it."""
    desk = Desk()
    desk.connect()
    desk.read(100.0)
    desk.fleet.remove((ONE,), Timestamp(NOON, 0.0))
    list(desk.fleet.remove((ONE,), Timestamp(NOON, 0.0)))
    desk.give(ChargersRemoved((ONE,), {}))

    assert values(desk.tick()) == []
