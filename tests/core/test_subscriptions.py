"""A partition subscribes to what it serves, and to nothing else."""

from bridge.core.domain_events import EqualizersChanged, ServedChargersChanged, SitesListed
from bridge.core.easee.sites import SiteList
from bridge.core.effects import Listen
from bridge.core.records.moment import Timestamp
from bridge.core.subscriptions import DeviceSubscriptions
from bridge.core.topics import Topics
from tests.conftest import NOON

NOW = Timestamp(NOON, 1000.0)
TOPICS = Topics("c", (), "bridge/partition/03")
ONE, METER = "EH000001", "QP000001"


def test_the_topics_of_what_is_served_are_subscribed_to():
    """Commands and queries of chargers, Equalizers and sites; echoes of devices."""
    sites = {}
    it = DeviceSubscriptions(TOPICS, sites)
    (first,) = it.handle(ServedChargersChanged((ONE,)), NOW)
    (second,) = it.handle(EqualizersChanged((METER,), (METER,)), NOW)
    sites["site/7"] = None
    (third,) = it.handle(SitesListed(SiteList(())), NOW)
    (last,) = it.handle(ServedChargersChanged((), (ONE,)), NOW)

    echoes = ("availability", "observation/energy_total", "state/energy_total")
    assert first == Listen(
        (f"c/{ONE}/set/+", f"c/{ONE}/get/+"), tuple(f"c/{ONE}/{echo}" for echo in echoes)
    )
    assert second.filters == (*first.filters, f"c/{METER}/set/+", f"c/{METER}/get/+")
    assert third.filters == (*second.filters, "c/site/7/set/+", "c/site/7/get/+")
    assert last.filters == third.filters[2:]


def test_nothing_is_said_where_nothing_changed():
    """The account's lists come again and again."""
    it = DeviceSubscriptions(TOPICS, {})
    assert list(it.handle(ServedChargersChanged((ONE,)), NOW))
    assert list(it.handle(ServedChargersChanged((ONE,)), NOW)) == []
    assert list(it.handle(SitesListed(SiteList(())), NOW)) == []
    assert it.deadline_s() is None
