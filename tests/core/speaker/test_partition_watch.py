"""Partitions without an owner are told, and the status of the others is kept."""

import json

import pytest

from bridge.core.alerts import Alerts
from bridge.core.changes import AlertCleared, AlertRaised, AvailabilityChanged, BridgeOnline
from bridge.core.domain_events import BridgeInfoWanted, PartitionReported, ServedChargersChanged
from bridge.core.events import ClusterSeen, DivisionSeen, MqttConnected
from bridge.core.records.lease import ClusterView, HeldLease, Member, MemberStatus
from bridge.core.records.moment import Timestamp
from bridge.core.speaker.partition_watch import (
    NO_CHARGERS,
    NO_OWNER,
    ORPHAN_AFTER_S,
    MergedCloud,
    PartitionWatch,
)
from bridge.core.status import Status
from bridge.core.topics import Topics
from tests.conftest import NOON

NOW = Timestamp(NOON, 1000.0)
ONE, TWO, METER = "EH000001", "EH000002", "QP000001"
DEVICES = {0: frozenset({ONE}), 1: frozenset({TWO, METER})}


class Desk:
    """The component with two partitions."""

    def __init__(self, devices=DEVICES):
        self.cloud = MergedCloud()
        self.status = Status(Alerts(), "1", {}, cloud=self.cloud)
        self.it = PartitionWatch(
            Topics("c"), self.status, self.cloud, devices, partitions=2, ttl_s=4.0
        )

    def take(self, event):
        """Handle an event; return what follows."""
        return list(self.it.handle(event, NOW))

    def told(self, partition, rest, document):
        """Let a partition publish something of itself."""
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.take(PartitionReported(partition, rest, payload))

    def seen(self, *left_s, members=("a",)):
        """Let the table of leases show these; above zero the lease is held."""
        rows = (
            HeldLease(number, "a" if left > 0 else None, 1, left)
            for number, left in enumerate(left_s)
        )
        seen = (Member(name, 0.2, "1", MemberStatus()) for name in members)
        return self.take(ClusterSeen(ClusterView(tuple(seen), tuple(rows))))


def offline(effects):
    """Return what is published as offline."""
    return {e.charger_id for e in effects if isinstance(e, AvailabilityChanged) and not e.is_online}


def test_chargers_of_a_partition_without_an_owner_are_offline_and_so_is_the_bridge():
    """Behind its time, once, and told by an alert; a takeover is no such thing."""
    desk = Desk()
    assert not offline(desk.seen(3.0, -ORPHAN_AFTER_S + 0.1))
    effects = desk.seen(3.0, -ORPHAN_AFTER_S)

    assert offline(effects) == {TWO, METER}
    assert BridgeOnline(is_online=False) in effects
    (alert,) = [e for e in effects if isinstance(e, AlertRaised)]
    assert (alert.kind, "01: 2 devices" in alert.message) == (NO_OWNER, True)
    assert not offline(desk.seen(3.0, -ORPHAN_AFTER_S - 1))
    assert not desk.status.is_online


def test_the_next_owner_ends_it():
    """It publishes its chargers itself."""
    desk = Desk()
    desk.seen(3.0, -ORPHAN_AFTER_S)
    effects = desk.seen(3.0, 3.0)

    assert BridgeOnline(is_online=True) in effects
    assert AlertCleared(NO_OWNER) in effects
    assert not [e for e in effects if isinstance(e, AvailabilityChanged)]


def test_a_new_connection_says_again_who_is_offline():
    """The broker may have lost it."""
    desk = Desk()
    desk.told(1, "info", {"chargers": [TWO]})
    desk.seen(3.0, -ORPHAN_AFTER_S)

    assert offline(desk.take(MqttConnected(False, "5", 20))) == {TWO}


def test_what_partitions_serve_is_known_by_their_word_before_the_division():
    """A charger that left is not served, though it keeps its place."""
    desk = Desk()
    assert (TWO in desk.it, METER in desk.it, "EH000009" in desk.it) == (True, True, False)
    effects = desk.told(1, "info", {"chargers": [TWO], "equalizers": []})
    assert effects == [ServedChargersChanged((TWO,)), BridgeInfoWanted()]
    assert (TWO in desk.it, METER in desk.it) == (True, False)
    assert desk.told(1, "info", {"chargers": [TWO], "equalizers": []}) == []
    assert desk.told(1, "info", {"chargers": []}) == [
        ServedChargersChanged((), (TWO,)), BridgeInfoWanted(),
    ]  # fmt: skip
    assert TWO not in desk.it


@pytest.mark.parametrize("rest", ["info", "health", "alert/x", "cloud", "state", "else/where"])
@pytest.mark.parametrize("payload", [b"", b"[", b"\xff", b"{}", b"[1]", b"[" * 100_000])
def test_what_cannot_be_read_changes_nothing(rest, payload):
    """The topics of partitions can be written by others."""
    desk = Desk()
    desk.told(1, rest, payload)

    assert TWO in desk.it or rest == "info"
    assert desk.status.alerts.kinds == ()
    assert desk.told(2, rest, payload) == []


def test_health_of_partitions_is_added_up():
    """Counters of the speaker itself stay."""
    desk = Desk()
    desk.status.counters["a"] = 1
    for count in (2, 3):
        document = {
            "chargers_online": 1, "stream": True, "reports": {"pending": 4, "else": 1},
            "counters": {"a": count},
        }  # fmt: skip
        desk.told(0, "info", {"chargers": [ONE]})
        desk.told(0, "health", document)

    assert (desk.status.online, desk.status.counters["a"]) == (1, 4)
    assert desk.status.reports().pending == 4
    assert (desk.cloud.stream_up, desk.status.store_ok) == (True, True)
    assert list(desk.cloud.explain())


def test_an_empty_account_is_an_alert_until_a_charger_is_there():
    """A partition with no charger says nothing of the account."""
    desk = Desk({})
    assert not desk.status.alerts.is_open(NO_CHARGERS)
    desk.take(DivisionSeen({}, is_listed=True))
    assert desk.status.alerts.is_open(NO_CHARGERS)
    desk.take(DivisionSeen({0: frozenset({ONE})}, is_listed=True))
    assert not desk.status.alerts.is_open(NO_CHARGERS)
    desk.told(0, "info", {"chargers": [ONE]})
    desk.told(1, f"alert/{NO_CHARGERS}", {"message": "no charger: refused", "hint": ""})
    assert not desk.status.alerts.is_open(NO_CHARGERS)


def test_who_owns_what_is_told_when_it_changes():
    """With the workers that live."""
    desk = Desk()
    assert BridgeInfoWanted() in desk.seen(3.0, 3.0)
    assert BridgeInfoWanted() not in desk.seen(2.0, 3.0)
    assert BridgeInfoWanted() in desk.seen(3.0, 3.0, members=("a", "b"))
    assert desk.status.cluster["members"] == ["a", "b"]
    assert desk.it.deadline_s() is None
