"""``cluster status`` shows what the database knows, and ``cluster drain`` ends a worker."""

import argparse
import asyncio
import json
import random
import socket
from dataclasses import replace

import pytest

from bridge.cli import cluster
from bridge.core.partitions import Division
from bridge.core.records.lease import ClusterView, HeldLease, Member, MemberStatus, Owed
from bridge.errors import ConfigError, StoreError
from bridge.settings import ClusterSettings, EaseeSettings, Secret, Settings, StoreSettings
from tests.cluster.table import MemberLeases, Table
from tests.simulation.engine import SimulatedClock, SimulatedLoop, Timeline

VIEW = ClusterView(
    (
        Member("left", 0.31, "1.0", MemberStatus()),
        Member("new", 1.0, "1.1", MemberStatus()),
        Member("old", 0.2, "1.0", MemberStatus(broker_up=False, draining=True)),
        Member("right", 61.0, "1.0", MemberStatus(cloud_up=False)),
    ),
    (
        HeldLease(0, "left", 7, 3.24),
        HeldLease(1, "right", 3, -57.0),
        HeldLease(2, None, 0, -1.0),
    ),
)
OWED = {0: Owed(4, 1)}
SETTINGS = Settings(
    EaseeSettings("x@example.com", Secret("p")),
    store=StoreSettings(url="postgresql://u@localhost/d"),
    cluster=ClusterSettings(partitions=1),
)


def test_the_tables_are_for_people():
    """Who lives, who serves what at which epoch, for how long still, and what is owed."""
    assert cluster.as_tables(VIEW, OWED, 4.0).splitlines() == [
        "worker  version  seen        broker  cloud  state",
        "left    1.0      0.3 s ago   up      up     serving",
        "new     1.1      1.0 s ago   up      up     standing by",
        "old     1.0      0.2 s ago   down    up     draining",
        "right   1.0      61.0 s ago  up      down   gone",
        "",
        "partition  owner  epoch  lease          reports owed  commands",
        "00         left   7      3.2 s left     4             1",
        "01         -      3      free for 57 s  0             0",
        "02         -      0      never taken    0             0",
    ]


def test_of_several_partitions_it_is_told_what_each_serves():
    """Chargers and Equalizers that were given to it."""
    division = Division(
        3, {"site/1": 0, "site/2": 2}, {"a": "site/1", "b": "site/1", "c": "site/2"}
    )
    table = cluster.as_tables(VIEW, OWED, 4.0, division).splitlines()
    document = json.loads(cluster.as_json(VIEW, OWED, 4.0, division))

    assert table[6].endswith("commands  devices")
    assert [line.split()[-1] for line in table[7:]] == ["2", "0", "1"]
    assert [each["devices"] for each in document["partitions"]] == [2, 0, 1]


def test_json_holds_the_same():
    """Numbers are numbers, and what nobody owns is null."""
    document = json.loads(cluster.as_json(VIEW, OWED, 4.0))

    assert document["members"][0] == {
        "worker": "left",
        "version": "1.0",
        "seen_ago_s": 0.3,
        "alive": True,
        "broker_up": True,
        "cloud_up": True,
        "draining": False,
        "partitions": [0],
    }
    assert [each["alive"] for each in document["members"]] == [True, True, True, False]
    assert document["partitions"][0] == {
        "partition": 0,
        "owner": "left",
        "epoch": 7,
        "left_s": 3.2,
        "reports_owed": 4,
        "commands_open": 1,
    }
    assert [each["owner"] for each in document["partitions"]] == ["left", None, None]


def test_without_a_database_there_is_no_cluster():
    """It says what is missing."""
    with pytest.raises(ConfigError, match=r"store\.url"):
        cluster.run(replace(SETTINGS, store=StoreSettings()), argparse.Namespace())


class Backend:
    """A cluster with members that leave when they are asked to."""

    def __init__(self, *names, obey=True):
        self.timeline = Timeline()
        self.clock = SimulatedClock(self.timeline, random.Random(1))
        self.table = Table(self.clock)
        self.obey = obey
        for name in names:
            self.table.members[name] = (self.table.now_s, MemberStatus())
        row = self.table.rows[0]
        row.owner, row.until_s, row.epoch = names[0] if names else None, self.table.now_s + 4, 1
        self.leases = MemberLeases(self.table, "reader")

    async def member(self):
        """Be the first member: leave when asked to."""
        while self.obey:
            await asyncio.sleep(0.1)
            for name in tuple(self.table.leaving & self.table.members.keys()):
                del self.table.members[name]
                self.table.rows[0].owner = "other"

    def drain(self, settings=SETTINGS, worker=None):
        """Run ``cluster drain`` in simulated time."""
        loop = SimulatedLoop(self.timeline)

        async def both():
            member = asyncio.get_running_loop().create_task(self.member())
            try:
                asked = argparse.Namespace(worker=worker)
                return await cluster.drain(settings, self, self.clock, asked)
            finally:
                member.cancel()

        return loop.run(both())


def test_a_worker_is_drained_by_name():
    """The command waits until it has ended, and says who goes on."""
    assert Backend("left", "other").drain(worker="left") == (
        "left handed over and ended\npartition 00: other\n"
    )


def test_the_worker_of_this_machine_is_meant_by_default():
    """By its configured name, or by the host's name in it."""
    here = f"{socket.gethostname()}-7"
    named = replace(SETTINGS, cluster=ClusterSettings(worker="left"))

    assert here in Backend(here, "other").drain()
    assert "left" in Backend("left", here).drain(named)


@pytest.mark.parametrize(
    ("names", "worker", "what"),
    [
        (("left",), "right", "right is no worker"),
        ((), None, "0 workers"),
        ((f"{socket.gethostname()}-1", f"{socket.gethostname()}-2"), None, "2 workers"),
    ],
)
def test_a_worker_that_is_not_clear_is_not_drained(names, worker, what):
    """The hint names those that live."""
    with pytest.raises(StoreError, match=what) as caught:
        Backend(*names).drain(worker=worker)

    assert "--worker" in caught.value.hint


def test_a_worker_that_does_not_hand_over_is_told():
    """The command does not wait for ever."""
    with pytest.raises(StoreError, match="within 20 s"):
        Backend("left", obey=False).drain(worker="left")
