"""The sites of the account: published while something of them is served, and emptied after that."""

import json
from datetime import timedelta

from bridge.core.changes import CircuitChanged, SiteChanged, SiteCleared
from bridge.core.domain_events import ObservationApplied, SitesListed
from bridge.core.easee.decode import Observation, spec_of
from bridge.core.easee.sites import Site, SiteCircuit, SiteList
from bridge.core.effects import LogEntry, SaveState, SendRequest
from bridge.core.events import CloudFailed, CloudResponse, MqttConnected, Started, Tick
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.site_service import EVERY_S, NAME, REJECTED_EVERY_S, SPACING_S, SiteService
from bridge.errors import CloudRejected, CloudUnavailable
from tests.conftest import NOON

CAR = "EH000001"
TAG = Tag(NAME)


def site(number=7, chargers=(CAR,), circuits=(9,), rated_a=63.0, **facts):
    """One site; its chargers are on the first circuit."""
    made = tuple(
        SiteCircuit(one, dict(facts), chargers if place == 0 else ())
        for place, one in enumerate(circuits)
    )
    return Site(number, rated_a, made, ())


class Desk:
    """The service on simulated time."""

    def __init__(self, served=(CAR,), state=None):
        self.sites = {}
        self.service = SiteService(self.sites, served, is_personal=False)
        self.seconds = 1000.0
        self.take(Started(state={} if state is None else {NAME: state}))

    def take(self, event):
        return list(self.service.handle(event, self.now))

    @property
    def now(self):
        return Timestamp(NOON + timedelta(seconds=self.seconds), self.seconds)

    def list(self, *sites, left_sites=()):
        return self.take(SitesListed(SiteList(sites), left_sites=left_sites))

    def ask(self):
        """Let the next request become due; return its path."""
        self.seconds = max(self.seconds, self.service.deadline_s())
        (call,) = self.take(Tick())
        assert isinstance(call, SendRequest)
        return call.request.path

    def answer(self, **document):
        return self.take(CloudResponse(TAG, 200, json.dumps(document).encode()))

    def limit(self, number=111, charger=CAR):
        observation = Observation(charger, spec_of(number), 16, NOON)
        return self.take(ObservationApplied(observation, None))


def of(kind, outputs):
    """The outputs of one kind."""
    return [one for one in outputs if isinstance(one, kind)]


def test_a_site_of_what_is_served_is_published_once_and_again_when_it_changed():
    """Its circuits with it; which there are is kept for the next start."""
    desk = Desk()
    outputs = desk.list(site(rated_current=32), site(8, ("EH999999",)))
    assert [one.site.site_id for one in of(SiteChanged, outputs)] == [7]
    assert of(CircuitChanged, outputs) == [CircuitChanged(7, 9, {"rated_current": 32})]
    assert of(SaveState, outputs) == [SaveState(NAME, {"sites": {"site/7": [9]}})]
    assert desk.list(site(rated_current=32)) == []
    assert list(desk.sites) == ["site/7"]
    assert of(SiteChanged, desk.list(site(rated_current=32, circuits=(9, 10))))


def test_name_and_address_are_held_only_where_they_may_be_published():
    """What is not held cannot be told, nor stand in a record of the core."""
    private = Site(7, 63.0, (SiteCircuit(9, {}, (CAR,)),), (), "Home", {"street": "Main street 1"})
    (changed,) = of(SiteChanged, Desk().list(private))
    assert (changed.site.name, changed.site.address, changed.is_personal) == (None, {}, False)
    desk = Desk()
    desk.service = SiteService(desk.sites, (CAR,), is_personal=True)
    (changed,) = of(SiteChanged, desk.list(private))
    assert (changed.site, changed.is_personal) == (private, True)


def test_an_equalizer_makes_its_site_one_of_ours():
    """Though none of its chargers is served."""
    desk = Desk(served=("QP000001",))
    outputs = desk.list(Site(7, 63.0, (), ("QP000001",)))
    assert len(of(SiteChanged, outputs)) == 1


def test_the_settings_of_a_circuit_are_read_and_what_changed_is_published():
    """At once, and every ten minutes."""
    desk = Desk()
    desk.list(site())
    assert desk.ask() == "/api/sites/7/circuits/9/settings"
    assert desk.service.deadline_s() is None
    told = {"maxCircuitCurrentP1": 20.0, "dynamicCircuitCurrentP1": 16.0, "equalizerId": "QP1"}
    assert desk.answer(**told) == [
        CircuitChanged(7, 9, {"max_circuit_current_p1": 20, "dynamic_circuit_current_p1": 16})
    ]
    assert desk.service.deadline_s() == desk.seconds + EVERY_S
    desk.ask()
    assert desk.answer(**{**told, "dynamicCircuitCurrentP1": 10}) == [
        CircuitChanged(7, 9, {"dynamic_circuit_current_p1": 10})
    ]


def test_a_limit_that_a_charger_reports_has_its_circuit_read_soon():
    """Once a minute at most; other values and other chargers do not."""
    desk = Desk()
    desk.list(site())
    desk.ask()
    desk.answer()
    planned_s = desk.service.deadline_s()
    desk.limit(number=120)
    desk.limit(charger="EH999999")
    assert desk.service.deadline_s() == planned_s
    desk.limit()
    assert desk.service.deadline_s() == desk.seconds + SPACING_S
    desk.seconds += 300.0
    desk.ask()
    desk.seconds += SPACING_S
    desk.answer()
    desk.limit()
    assert desk.service.deadline_s() == desk.seconds + 2.0


def test_what_the_account_may_not_read_is_asked_for_rarely():
    """Any other failure is made good by the next round."""
    desk = Desk()
    desk.list(site())
    desk.ask()
    (note,) = desk.take(CloudFailed(TAG, CloudRejected("no", status=403, reason="forbidden")))
    assert isinstance(note, LogEntry)
    assert desk.service.deadline_s() == desk.seconds + REJECTED_EVERY_S
    desk.ask()
    desk.take(CloudFailed(TAG, CloudUnavailable("down")))
    assert desk.service.deadline_s() == desk.seconds + EVERY_S
    desk.ask()
    (note,) = desk.take(CloudResponse(TAG, 200, b"<html>"))
    assert note.event == "site.unreadable"


def test_a_rated_current_that_the_list_does_not_tell_is_asked_for():
    """Once; a later list that does not tell it either takes nothing away."""
    desk = Desk()
    desk.list(site(rated_a=None))
    assert desk.ask() == "/api/sites/7?detailed=true"
    (changed,) = desk.answer(id=7, ratedCurrent=40.0)
    assert changed.site.rated_current_a == 40.0
    assert desk.list(site(rated_a=None)) == []
    for _ in range(3):
        assert desk.ask() == "/api/sites/7/circuits/9/settings"
        desk.answer()


def test_a_circuit_that_its_site_has_no_more_is_emptied_at_once():
    """Its answer that is under way changes nothing."""
    desk = Desk()
    desk.list(site(circuits=(9, 10)))
    while desk.ask() != "/api/sites/7/circuits/10/settings":
        desk.answer()
    outputs = desk.list(site(circuits=(9,)))
    assert of(SiteCleared, outputs) == [SiteCleared(7, (10,), is_whole=False)]
    assert desk.answer(maxCircuitCurrentP1=20) == []


def test_a_site_that_left_is_emptied_when_that_is_certain():
    """Not before; and one of an earlier process too."""
    desk = Desk(state={"sites": {"site/8": [11], "7": [1], "site/x": [1], "site/9": "x"}})
    assert set(desk.service.published) == {"site/8"}
    assert of(SiteCleared, desk.list(site())) == []
    outputs = desk.list(site(), left_sites=(8,))
    assert of(SiteCleared, outputs) == [SiteCleared(8, (11,), is_whole=True)]
    assert of(SaveState, outputs) == [SaveState(NAME, {"sites": {"site/7": [9]}})]


def test_a_site_none_of_whose_devices_is_served_any_more_is_emptied():
    """As when its charger was taken out of the configuration."""
    served = {CAR: None}
    desk = Desk(served)
    desk.list(site())
    served.clear()
    assert of(SiteCleared, desk.list(site())) == [SiteCleared(7, (9,), is_whole=True)]
    assert desk.sites == {}


def test_everything_is_published_again_after_a_connection():
    """Sites and values."""
    desk = Desk()
    desk.list(site(rated_current=32))
    changed, values = desk.take(MqttConnected(False, "5", 20))
    assert (changed.site.site_id, values.values) == (7, {"rated_current": 32})
