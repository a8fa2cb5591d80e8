"""The Equalizers of the account: which are served, and what they say."""

from collections import Counter

from bridge.core.alerts import Alerts
from bridge.core.changes import AvailabilityChanged, ValuesChanged
from bridge.core.chargers.equalizers import EqualizerService
from bridge.core.chargers.undecodable import UndecodableValues
from bridge.core.domain_events import (
    HANDLED,
    NOTHING,
    AvailabilityDoubted,
    ChargersConfigured,
    EqualizerFirmware,
    EqualizersChanged,
    EqualizerValuesReceived,
    SitesListed,
)
from bridge.core.easee.sites import Site, SiteCircuit, SiteList
from bridge.core.effects import LogEntry, Subscribe
from bridge.core.events import (
    ComponentFailed,
    MqttConnected,
    Started,
    Tick,
)
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.status import CloudStatus
from bridge.core.value_format import iso_utc
from bridge.settings import PublishSettings
from tests.conftest import NOON

ONE, TWO, CAR = "QP000001", "QP000002", "EH000001"
POWER = 40


def site(number, chargers, equalizers):
    """One site with one circuit."""
    return Site(number, None, (SiteCircuit(1, {}, chargers),), equalizers)


HERE, THERE = site(1, (CAR,), (ONE,)), site(2, ("EH000002",), (TWO,))


class Desk:
    """The service with one charger that is served."""

    def __init__(self, configured=()):
        self.cloud, self.counters = CloudStatus(stream_up=True), Counter()
        self.equalizers = {}
        self.alerts = Alerts()
        self.seconds = 1000.0
        self.service = EqualizerService(
            self.equalizers,
            {CAR: None},
            configured,
            publish=PublishSettings(),
            salt=b"salt",
            cloud=self.cloud,
            counters=self.counters,
            undecodable=UndecodableValues(self.alerts),
        )

    def take(self, event):
        return list(self.service.handle(event, Timestamp(NOON, self.seconds)))

    def list(self, *sites, left=()):
        return self.take(SitesListed(SiteList(sites), left))

    def hear(self, *raws):
        return self.take(EqualizerValuesReceived(raws, "stream"))


def raw(number=POWER, value="1.5", serial=ONE):
    """One observation."""
    return RawObservation(serial, number, None, value, iso_utc(NOON))


def test_the_equalizers_of_the_account_are_served_and_subscribed_beside_the_chargers():
    """Once; the second list brings nothing new."""
    desk = Desk()
    outputs = desk.list(HERE, THERE)
    assert EqualizersChanged((ONE, TWO), added=(ONE, TWO)) in outputs
    assert Subscribe((CAR, ONE, TWO)) in outputs
    assert desk.list(HERE, THERE) == []


def test_with_configured_chargers_only_their_sites_count():
    """And an Equalizer that is configured itself."""
    desk = Desk(configured=(CAR,))
    desk.list(HERE, THERE)
    assert list(desk.equalizers) == [ONE]
    desk = Desk(configured=(CAR, TWO))
    desk.list(HERE, THERE)
    assert list(desk.equalizers) == [ONE, TWO]
    desk = Desk(configured=(CAR,))
    desk.take(ChargersConfigured(()))
    desk.list(THERE)
    assert list(desk.equalizers) == [TWO]


def test_those_of_an_earlier_process_are_served_before_the_list_is_read():
    """But not those that left."""
    desk = Desk()
    outputs = desk.take(Started(equalizers=(ONE, TWO), left={TWO: NOON}))
    assert EqualizersChanged((ONE,), added=(ONE,)) in outputs


def test_one_that_left_is_not_served_any_more():
    """Its values are not applied, and it is not subscribed."""
    desk = Desk()
    desk.list(HERE, THERE)
    outputs = desk.list(HERE, left=(TWO, "QP000009"))
    assert EqualizersChanged((ONE,), removed=(TWO,)) in outputs
    assert Subscribe((CAR, ONE)) in outputs
    assert desk.hear(raw(serial=TWO)) == []
    assert desk.list(HERE, left=("QP000009",)) == []


def test_values_of_one_event_are_one_change_for_each():
    """Those of an Equalizer that has left meanwhile are ignored."""
    desk = Desk()
    assert desk.hear(raw()) == []
    desk.list(HERE, THERE)
    found = desk.hear(raw(), raw(41, "0"), raw(serial=TWO), raw(serial="QP000009"))
    assert [
        [(one.charger_id, one.spec.id) for one in change.values]
        for change in found
        if isinstance(change, ValuesChanged)
    ] == [[(ONE, 40), (ONE, 41)], [(TWO, 40)]]


def test_held_values_go_out_when_their_time_has_come():
    """The deadline says when."""
    desk = Desk()
    assert desk.service.deadline_s() is None
    desk.list(HERE)
    desk.hear(raw())
    for value in ("2.5", "3.5"):
        desk.hear(raw(value=value))
    assert desk.service.deadline_s() == 1005.0
    assert desk.take(Tick()) == []
    desk.seconds = 1005.0
    (changed,) = desk.take(Tick())
    assert [one.value for one in changed.values] == [3.5]


def test_a_value_that_cannot_be_read_costs_no_other():
    """It is counted and named, until a good one arrives."""
    desk = Desk()
    desk.list(HERE)
    found = desk.hear(raw(value="x"), raw(41, "0.5"))
    assert any(isinstance(one, ValuesChanged) for one in found)
    assert desk.counters["observations_undecodable"] == 1
    assert desk.alerts.is_open("undecodable")
    desk.hear(raw())
    assert not desk.alerts.is_open("undecodable")


def test_an_error_in_one_value_costs_no_other(monkeypatch):
    """It is told, and the next value is applied."""
    desk = Desk()
    desk.list(HERE)
    apply = desk.equalizers[ONE].apply

    def broken(observation, *rest):
        if observation.spec.id == POWER:
            raise RuntimeError("a defect")
        apply(observation, *rest)

    monkeypatch.setattr(desk.equalizers[ONE], "apply", broken, raising=False)
    failed, changed = desk.hear(raw(), raw(41, "0.5"))
    assert isinstance(failed, ComponentFailed)
    assert [one.spec.id for one in changed.values] == [41]


def test_its_firmware_is_told_to_who_describes_it():
    """Observation 21."""
    desk = Desk()
    desk.list(HERE)
    assert EqualizerFirmware(ONE, "305") in desk.hear(raw(21, "305"))


def test_availability_follows_the_link_and_is_told_once():
    """Nothing follows while nothing changed, and without Equalizers nothing is asked."""
    desk = Desk()
    assert desk.service.handle(HANDLED, Timestamp(NOON, 1000.0)) is NOTHING
    desk.list(HERE)
    assert desk.take(HANDLED) == [AvailabilityChanged(ONE, False)]
    desk.hear(raw())
    assert desk.take(HANDLED) == [AvailabilityChanged(ONE, True)]
    assert desk.service.handle(HANDLED, Timestamp(NOON, 1000.0)) is NOTHING
    desk.cloud.stream_up = False
    assert desk.take(HANDLED) == [AvailabilityChanged(ONE, False)]


def test_all_of_it_is_published_again_after_a_connection():
    """Values and availability."""
    desk = Desk()
    desk.list(HERE)
    desk.hear(raw())
    desk.take(HANDLED)
    values, availability = desk.take(MqttConnected(False, "5", 20))
    assert [one.spec.id for one in values.values] == [POWER]
    assert availability == AvailabilityChanged(ONE, True)


def test_what_is_added_and_removed_is_in_the_log():
    """With the serials."""
    desk = Desk()
    (note,) = (one for one in desk.list(HERE) if isinstance(one, LogEntry))
    assert (note.event, note.fields) == ("equalizers.added", {"new": (ONE,), "all": 1})
    (note,) = (one for one in desk.list(left=(ONE,)) if isinstance(one, LogEntry))
    assert (note.event, note.fields) == ("equalizers.left", {"left": (ONE,)})


def test_an_availability_that_is_doubted_is_published_again():
    """For each Equalizer in question; a charger among them is not served here."""
    desk = Desk()
    desk.list(HERE, THERE)
    assert desk.take(AvailabilityDoubted((CAR, TWO))) == [AvailabilityChanged(TWO, is_online=False)]
