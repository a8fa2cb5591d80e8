"""The gateway that speaks for all: it tells what partitions say, and answers for the rest."""

import json
from dataclasses import replace

import pytest

from bridge.conventions.homeassistant.publisher import SETTLE_S, DiscoveryPublisher
from bridge.conventions.native.convention import Native
from bridge.core.changes import Change
from bridge.core.composition import Core
from bridge.core.effects import Acknowledge, Listen, Subscribe
from bridge.core.events import (
    ClusterSeen,
    MqttConnected,
    MqttMessage,
    Reconfigured,
    Started,
    Tick,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.partitions import Division
from bridge.core.records.lease import ClusterView, HeldLease, Member, MemberStatus
from bridge.core.records.moment import Timestamp
from bridge.core.speaker.composition import Speaker
from bridge.settings import (
    ClusterSettings,
    CommandSettings,
    EaseeSettings,
    HomeAssistantSettings,
    Secret,
    Settings,
)
from tests.conftest import NOON

ONE, TWO, OTHER = "EH000001", "EH000002", "EH000003"
DIVISION = Division(2, {"site/1": 0, "site/2": 1}, {ONE: "site/1", TWO: "site/2"})
SETTINGS = Settings(
    EaseeSettings("x@example.com", Secret("p")),
    cluster=ClusterSettings(partitions=2, worker="a"),
    homeassistant=HomeAssistantSettings(enabled=True),
)
RECEIPT = AckToken(1, 7, 1)


class World:
    """A core on simulated time."""

    def __init__(self, partition=None, settings=SETTINGS):
        cluster = replace(settings.cluster, partition=partition)
        self.settings = settings = replace(settings, cluster=cluster)
        guests = (DiscoveryPublisher(settings, version="1.2.3", salt=b"salt"),)
        if partition is None:
            devices = {number: DIVISION.devices_of(number) for number in range(2)}
            self.core = Speaker(
                settings, version="1.2.3", salt=b"salt", devices=devices, guests=guests
            )
        else:
            self.core = Core(settings, version="1.2.3", salt=b"salt", guests=guests)
        self.seconds = 0.0

    def take(self, *events):
        """Let events happen now; return what follows."""
        now = Timestamp(NOON, 1000.0 + self.seconds)
        native, found = Native(self.core.topics, self.settings.publish), []
        for effect in (each for event in events for each in self.core.handle(event, now)):
            found += native.publish(effect, now) if isinstance(effect, Change) else [effect]
        return found

    def said(self, topic, payload, **flags):
        """Let a message arrive."""
        return self.take(MqttMessage(f"charger/{topic}", payload, RECEIPT, **flags))


def published(effects):
    """Return payloads by topic."""
    return {each.topic: each.payload for each in effects if isinstance(each, Publish)}


def view(*owners, left_s=3.0, members=("a",)):
    """Make what the table of leases shows; without an owner a lease is free for ``-left_s``."""
    return ClusterView(
        tuple(Member(name, 0.1, "1.0", MemberStatus()) for name in members),
        tuple(
            HeldLease(number, owner, 1, left_s if owner is None else 3.0)
            for number, owner in enumerate(owners)
        ),
    )


@pytest.fixture
def speaker():
    """A connected speaker whose partitions told what they serve."""
    world = World()
    world.take(Started(), MqttConnected(False, "5", 20, True), ClusterSeen(view("a", "b")))
    for number, serial in enumerate((ONE, TWO)):
        info = json.dumps({"chargers": [serial], "equalizers": []}).encode()
        world.said(f"bridge/partition/0{number}/info", info, retained=True)
    return world


def test_it_tells_the_status_of_the_installation_below_bridge(speaker):
    """State, cloud, health, alerts, and who serves what."""
    told = published(speaker.said("bridge/partition/00/cloud", b"connected"))
    assert told["charger/bridge/cloud"] == b"connected"
    told = published(speaker.said("bridge/partition/01/cloud", b"disconnected"))
    assert told["charger/bridge/cloud"] == b"degraded"
    alert = b'{"kind":"x","message":"m","hint":"h","since":"2026-11-22T11:00:00Z"}'
    told = published(speaker.said("bridge/partition/01/alert/gap", alert))
    assert json.loads(told["charger/bridge/alert/gap"]) == {
        "kind": "gap", "message": "m", "hint": "h", "since": "2026-11-22T11:00:00Z",
    }  # fmt: skip
    assert (
        published(speaker.said("bridge/partition/01/alert/gap", b""))["charger/bridge/alert/gap"]
        == b""
    )

    told = published(speaker.take(MqttConnected(True, "5", 20, True)))
    info = json.loads(told["charger/bridge/info"])
    assert told["charger/bridge/state"] == b"online"
    assert (info["chargers"], info["client_id"]) == ([ONE, TWO], "charger-bridge")
    assert info["members"] == ["a"]
    assert info["partitions"] == [
        {"partition": 0, "owner": "a", "chargers": 1},
        {"partition": 1, "owner": "b", "chargers": 1},
    ]


@pytest.mark.parametrize("what", ["set/pause", "get/sessions"])
def test_it_answers_for_what_no_partition_serves_and_for_nothing_else(speaker, what):
    """Once, with the reason of a gateway alone; a partition answers for its own."""
    name = what.split("/")[1]
    refused = speaker.said(f"{OTHER}/{what}", b"PRESS")
    left = speaker.said(f"{ONE}/{what}", b"PRESS")

    (answer,) = published(refused).items()
    assert answer[0] == f"charger/{OTHER}/result/{name}"
    assert json.loads(answer[1])["reason"] == "unknown_charger"
    assert left == [Acknowledge(RECEIPT)]


def test_before_partitions_told_what_they_serve_the_division_says_it():
    """A command that waited at the broker comes first."""
    world = World()
    world.take(Started(), MqttConnected(True, "5", 20, False))

    assert world.said(f"{TWO}/set/pause", b"PRESS") == [Acknowledge(RECEIPT)]
    assert published(world.said(f"{OTHER}/set/pause", b"PRESS"))


def test_a_site_that_a_partition_publishes_is_known(speaker):
    """Its commands are left to the partition; without its topic it is unknown."""
    assert published(speaker.said("site/7/set/site_price", b"{}"))
    speaker.said("site/7/info", b'{"site_id":7}', retained=True)
    assert speaker.said("site/7/set/site_price", b"{}") == [Acknowledge(RECEIPT)]
    speaker.said("site/7/info", b"")
    assert published(speaker.said("site/7/set/site_price", b"{}"))


def test_it_describes_the_gateway_and_partitions_describe_their_devices(speaker):
    """Each discovery topic has one writer."""
    speaker.seconds = SETTLE_S + 1
    of_speaker = published([*speaker.take(Tick()), *speaker.take(Tick())])
    part = World(partition=1)
    part.take(Started((TWO,)), MqttConnected(False, "5", 20, True))
    part.seconds = SETTLE_S + 1
    of_part = published([*part.take(Tick()), *part.take(Tick())])

    described = [topic for topic in of_speaker if topic.startswith("homeassistant/")]
    devices = [topic for topic in of_part if topic.startswith("homeassistant/")]
    assert described
    assert devices
    assert not {*described} & {*devices}
    assert all(TWO.lower() in topic.lower() for topic in devices)
    assert b"charger/bridge/partition/01/state" in b"".join(of_part[topic] for topic in devices)


def test_a_partition_has_a_status_of_its_own_and_subscribes_to_its_chargers():
    """Below its own root; commands for others are not delivered to it, and not answered."""
    part = World(partition=1)
    effects = part.take(Started((TWO,)), MqttConnected(False, "5", 20, True))
    told = published(effects)

    assert told["charger/bridge/partition/01/state"] == b"online"
    assert json.loads(told["charger/bridge/partition/01/info"])["chargers"] == [TWO]
    assert not [topic for topic in told if topic.startswith("charger/bridge/state")]
    assert [each.filters for each in effects if isinstance(each, Listen)] == [
        (f"charger/{TWO}/set/+", f"charger/{TWO}/get/+")
    ]
    assert part.core.subscriptions[:3] == (
        "charger/bridge/session/ack", "charger/bridge/session/replay", "charger/bridge/forget",
    )  # fmt: skip
    assert part.said(f"{ONE}/set/pause", b"PRESS") == [Acknowledge(RECEIPT)]
    assert [e.charger_ids for e in effects if isinstance(e, Subscribe)] == [(TWO,)]


def test_heartbeats_of_partitions_are_none_of_another_bridge(speaker):
    """Each has a topic of its own; another installation is found by the one below ``bridge``."""
    again = MqttConnected(True, "5", 20, True)
    sent = published(speaker.take(again, Tick()))["charger/bridge/heartbeat"]
    part = World(partition=0)
    told = published(part.take(Started((ONE,)), again, Tick()))
    own = told["charger/bridge/partition/00/heartbeat"]

    assert not published(speaker.said("bridge/partition/00/heartbeat", own))
    assert not published(speaker.said("bridge/heartbeat", sent))
    other = json.dumps({**json.loads(sent), "instance": "other", "client_id": "x"}).encode()
    assert "charger/bridge/alert/second_bridge" in published(
        speaker.said("bridge/heartbeat", other)
    )


def test_a_changed_configuration_is_in_force(speaker):
    """``bridge/info`` tells what it offers."""
    settings = replace(speaker.settings, commands=CommandSettings(allow=()))
    told = published(speaker.take(Reconfigured(settings, ("mqtt.host",))))

    assert json.loads(told["charger/bridge/info"])["capabilities"]["commands"] == []
    assert "charger/bridge/alert/configuration" in told
    assert speaker.core.explain("charger/bridge/cloud", Timestamp(NOON, 1000.0))
