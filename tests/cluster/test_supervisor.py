"""A supervisor takes, renews, hands over and loses leases, and runs a gateway for each it has."""

import asyncio
import os
import random
from contextlib import suppress

import pytest

from bridge.cluster.supervisor import DOWN_FOR_S, KEPT_FOR_S, Supervisor
from bridge.core.events import CloudStatusChanged, MqttConnected, MqttDisconnected
from bridge.core.partitions import GIVE_BACK_AFTER_S
from bridge.errors import LeaseLost
from bridge.settings import ClusterSettings
from tests.cluster.table import MemberLeases, Table
from tests.simulation.engine import SimulatedClock, SimulatedLoop, Timeline

CONNECTED = MqttConnected(True, "5", 100)


class Worker:
    """One supervisor, and what its gateways did.

    Attributes:
        status: Of its end; None while it works.
        served: Partitions that are served.
        finish_s: A hand-over takes so long.
        farewells: Whether each gateway that ended had nobody to hand over to.
    """

    def __init__(self, cluster, name):
        self.name = name
        self.leases = MemberLeases(cluster.table, name)
        self.stop = asyncio.Event()
        self.status = None
        self.served = {}
        self.finish_s = 0.1
        self.farewells = []
        self.fails_with = None
        settings = ClusterSettings(worker=name, partitions=cluster.table.partitions)
        self.slept_s = 0.0
        self.supervisor = Supervisor(
            settings, self.leases, cluster.clock, self.serve, slept_s=lambda: self.slept_s
        )

    async def serve(self, partition):
        number = partition.lease.partition
        self.served[number] = partition
        partition.queue.put(CONNECTED)
        try:
            if self.fails_with is not None:
                raise self.fails_with
            await partition.stop.wait()
            await asyncio.sleep(self.finish_s)
            self.farewells.append(partition.is_last)
        finally:
            del self.served[number]

    async def run(self):
        self.status = await self.supervisor.run(self.stop)


class Cluster:
    """Workers on one table, in simulated time."""

    def __init__(self, partitions):
        timeline = Timeline()
        self.loop = SimulatedLoop(timeline)
        self.clock = SimulatedClock(timeline, random.Random(1))
        self.table = Table(self.clock, partitions)
        self.workers = {}
        self.tasks = {}

    def start(self, *names):
        for name in names:
            worker = self.workers[name] = Worker(self, name)
            self.tasks[name] = self.loop.create_task(worker.run())
        return [self.workers[name] for name in names]

    def kill(self, name):
        """Let it vanish without a word."""
        worker = self.workers[name]
        worker.leases.is_cut = True
        self.tasks[name].cancel()

    def served(self):
        """Return who serves what."""
        return {name: sorted(worker.served) for name, worker in self.workers.items()}


def lived(story, partitions=1):
    """Let a story happen in simulated time."""
    cluster = Cluster(partitions)

    async def told():
        try:
            await story(cluster)
        finally:
            for task in cluster.tasks.values():
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*cluster.tasks.values(), return_exceptions=True)

    asyncio.set_event_loop(cluster.loop)
    try:
        cluster.loop.run(told())
    finally:
        asyncio.set_event_loop(None)


async def settled(condition, within_s=60.0):
    """Wait until something holds; return how long that took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while not condition():
        assert loop.time() - began_s < within_s
        await asyncio.sleep(0.01)
    return loop.time() - began_s


def test_one_of_two_workers_serves_and_the_other_stands_by():
    """A partition has one gateway, and keeps it."""

    async def story(cluster):
        a, b = cluster.start("a", "b")
        await asyncio.sleep(30)

        assert sorted([*a.served, *b.served]) == [0]
        assert cluster.table.rows[0].epoch == 1

    lived(story)


def test_a_worker_that_vanishes_is_replaced_within_the_ttl_and_half_a_second():
    """The other takes the lease when it ran out, without waiting for its next look."""

    async def story(cluster):
        cluster.start("a")
        await asyncio.sleep(2.5)
        cluster.start("b")
        await asyncio.sleep(5.2)
        cluster.kill("a")
        took_s = await settled(lambda: cluster.workers["b"].served)

        assert 2.9 < took_s < 4.5
        assert cluster.workers["b"].served[0].alive_at is not None

    lived(story)


def test_a_stop_hands_over_at_once():
    """Finish, disconnect, and only then give up: the other has it within half a second."""

    async def story(cluster):
        (a,) = cluster.start("a")
        await asyncio.sleep(2)
        (b,) = cluster.start("b")
        await asyncio.sleep(2)
        a.stop.set()
        took_s = await settled(lambda: b.served)

        assert took_s < 0.1 + 0.5
        assert a.farewells == [False]
        await settled(lambda: a.status is not None)
        assert a.status == os.EX_OK
        assert a.leases.left

    lived(story)


def test_behind_an_outage_every_worker_keeps_what_it_had():
    """Also one that reaches the database seconds later than the others."""

    async def story(cluster):
        workers = cluster.start("a", "b", "c")
        await asyncio.sleep(10)
        before = cluster.served()
        epochs = {number: row.epoch for number, row in cluster.table.rows.items()}
        cluster.table.away = True
        await asyncio.sleep(60)
        workers[1].leases.is_cut = True
        cluster.table.away = False
        await asyncio.sleep(2.5)
        workers[1].leases.is_cut = False
        await asyncio.sleep(20)

        assert [one.status for one in workers] == [None] * 3
        assert cluster.served() == before
        assert {number: row.epoch for number, row in cluster.table.rows.items()} == epochs

    lived(story, partitions=6)


def test_a_worker_that_comes_back_without_its_leases_is_handed_nothing():
    """It ends with 75; until its process starts again it is no member."""

    async def story(cluster):
        a, b = cluster.start("a", "b")
        await asyncio.sleep(10)
        a.leases.is_cut = True
        await settled(lambda: len(b.served) == 4)
        epochs = [row.epoch for row in cluster.table.rows.values()]
        await asyncio.sleep(8)
        a.leases.is_cut = False
        await settled(lambda: a.status is not None)
        await asyncio.sleep(10)

        assert a.status == os.EX_TEMPFAIL
        assert [row.epoch for row in cluster.table.rows.values()] == epochs

    lived(story, partitions=4)


def test_an_owner_that_died_in_an_outage_is_replaced_behind_it():
    """A TTL later than one that died without an outage."""

    async def story(cluster):
        cluster.start("a", "b")
        await asyncio.sleep(10)
        cluster.table.away = True
        await asyncio.sleep(10)
        cluster.kill("a")
        await asyncio.sleep(20)
        cluster.table.away = False
        b = cluster.workers["b"]
        await settled(lambda: len(b.served) == 6, within_s=10)

    lived(story, partitions=6)


def test_what_a_slow_member_does_not_take_is_not_handed_to_and_fro():
    """It lives, so it is offered its share again and again, but only from time to time."""

    async def story(cluster):
        (a,) = cluster.start("a")
        await asyncio.sleep(5)
        (b,) = cluster.start("b")
        b.leases.is_slow = True
        await asyncio.sleep(4 * KEPT_FOR_S)
        offers = [row.epoch - 1 for row in cluster.table.rows.values()]

        assert sorted(a.served) == [0, 1, 2, 3]
        assert sum(offers) <= 2 * 5
        b.leases.is_slow = False
        await settled(lambda: len(b.served) == 2, within_s=2 * KEPT_FOR_S)

    lived(story, partitions=4)


def test_an_operator_may_ask_from_anywhere():
    """A worker that is asked to leave hands over and ends, as by SIGTERM."""

    async def story(cluster):
        (a,) = cluster.start("a")
        await asyncio.sleep(2)
        (b,) = cluster.start("b")
        await asyncio.sleep(2)
        await b.leases.ask_to_leave("a")
        await settled(lambda: a.status is not None)

        assert a.status == os.EX_OK
        await settled(lambda: b.served)

    lived(story)


def test_leases_are_renewed_while_they_are_handed_over():
    """A hand-over that takes longer than the TTL is not overtaken."""

    async def story(cluster):
        (a,) = cluster.start("a")
        await asyncio.sleep(2)
        a.finish_s = 5.0
        (b,) = cluster.start("b")
        await asyncio.sleep(2)
        a.stop.set()
        took_s = await settled(lambda: b.served)

        assert 5.0 < took_s < 5.6
        assert a.status == os.EX_OK

    lived(story)


def test_the_last_worker_says_that_it_ends():
    """Nobody takes over, so the gateway says ``offline``."""

    async def story(cluster):
        (a,) = cluster.start("a")
        await asyncio.sleep(2)
        a.stop.set()
        await settled(lambda: a.status is not None)

        assert a.farewells == [True]
        assert a.status == os.EX_OK

    lived(story)


def test_a_lease_that_another_took_ends_the_process_with_75():
    """A worker that was cut off finds its lease taken, and ends without finishing anything."""

    async def story(cluster):
        (a,) = cluster.start("a")
        await asyncio.sleep(2)
        (b,) = cluster.start("b")
        a.leases.is_cut = True
        await settled(lambda: b.served)
        assert a.served
        assert a.served[0].left_s() <= 0
        a.leases.is_cut = False
        await settled(lambda: a.status is not None)

        assert a.status == os.EX_TEMPFAIL
        assert not a.farewells
        assert b.served

    lived(story)


def test_a_fenced_write_ends_the_process_with_75():
    """The store says it before the renewal does."""

    async def story(cluster):
        (a,) = cluster.start("a")
        a.fails_with = LeaseLost("taken")
        await settled(lambda: a.status is not None)

        assert a.status == os.EX_TEMPFAIL

    lived(story)


def test_a_database_that_is_away_ends_nothing():
    """Nobody takes over; the lease does not hold meanwhile, and does again, at the same epoch."""

    async def story(cluster):
        (a,) = cluster.start("a")
        await asyncio.sleep(2)
        partition = a.served[0]
        cluster.table.away = True
        ran_out_s = await settled(lambda: partition.left_s() <= 0)
        assert ran_out_s <= 3.7
        await asyncio.sleep(60)
        assert a.served[0] is partition
        assert partition.is_clear()  # values go on: the database was asked in vain
        cluster.table.away = False
        back_s = await settled(lambda: partition.left_s() > 0)

        assert back_s < 3
        assert cluster.table.rows[0].epoch == 1
        assert a.status is None

    lived(story)


def test_a_database_that_comes_late_is_waited_for():
    """A worker starts before its database, and joins when it is there."""

    async def story(cluster):
        cluster.table.away = True
        (a,) = cluster.start("a")
        await asyncio.sleep(30)
        assert not a.served
        cluster.table.away = False
        await settled(lambda: a.served)

    lived(story)


def test_a_worker_may_be_stopped_while_it_waits_for_the_database():
    """Nothing was taken, so nothing is handed over."""

    async def story(cluster):
        cluster.table.away = True
        (a,) = cluster.start("a")
        await asyncio.sleep(5)
        a.stop.set()
        await settled(lambda: a.status is not None)

        assert a.status == os.EX_OK

    lived(story)


def test_behind_a_sleep_of_the_machine_no_lease_is_believed():
    """Its monotonic clock stood still, and the database's did not."""

    async def story(cluster):
        (a,) = cluster.start("a")
        await asyncio.sleep(2.5)
        assert a.served[0].left_s() > 0
        a.slept_s += 3600
        assert a.served[0].left_s() <= 0
        assert not a.served[0].is_clear()
        await settled(lambda: a.served[0].left_s() > 0)

    lived(story)


@pytest.mark.parametrize("partitions", [2, 16])
def test_a_member_that_joins_gets_its_share_and_little_moves(partitions):
    """And one that leaves gives it to the others."""

    async def story(cluster):
        _a, b = cluster.start("a", "b")
        await asyncio.sleep(10)
        before = cluster.table.owners()
        assert sorted(before.count(name) for name in "ab") == [partitions // 2] * 2
        (_c,) = cluster.start("c")
        await asyncio.sleep(10)
        after = cluster.table.owners()
        moved = sum(one != other for one, other in zip(before, after, strict=True))
        counts = [after.count(name) for name in "abc"]
        assert max(counts) - min(counts) <= 1
        assert moved <= -(-partitions // 3)
        assert cluster.served() == {
            name: [number for number, owner in enumerate(after) if owner == name] for name in "abc"
        }
        b.stop.set()
        await asyncio.sleep(5)
        last = cluster.table.owners()
        moved = sum(one != other for one, other in zip(after, last, strict=True))
        assert moved == after.count("b")
        assert abs(last.count("a") - last.count("c")) <= 1
        assert None not in last

    lived(story, partitions)


def test_a_worker_without_broker_gives_back_to_one_that_has_it():
    """Not to one that has not, and not before it waited; and it does not take it back at once."""

    async def story(cluster):
        (a,) = cluster.start("a")
        await asyncio.sleep(2)
        (b,) = cluster.start("b")
        await asyncio.sleep(2)
        a.served[0].queue.put(MqttDisconnected("cut"))
        took_s = await settled(lambda: b.served)
        assert GIVE_BACK_AFTER_S <= took_s < GIVE_BACK_AFTER_S + 2
        assert a.status is None
        b.served[0].queue.put(MqttDisconnected("cut"))
        await asyncio.sleep(GIVE_BACK_AFTER_S + 5)
        assert b.served, "the other one is known to be down as well"
        await asyncio.sleep(DOWN_FOR_S)
        assert a.served

    lived(story)


def test_without_the_database_nothing_is_given_back():
    """What the other one said is old, and it could not take over: values go on here."""

    async def story(cluster):
        (a,) = cluster.start("a")
        await asyncio.sleep(2)
        (b,) = cluster.start("b")
        await asyncio.sleep(2)
        cluster.table.away = True
        await asyncio.sleep(2)
        a.served[0].queue.put(CloudStatusChanged("unavailable", "no answer"))
        await asyncio.sleep(3 * GIVE_BACK_AFTER_S)
        assert a.served
        cluster.table.away = False
        await settled(lambda: b.served)
        assert not a.served, "it still does not reach the cloud"

    lived(story)


def test_a_gateway_that_fails_ends_the_process():
    """Half a worker is worse than none; the service manager starts it again."""

    async def story(cluster):
        (a,) = cluster.start("a")
        a.fails_with = ValueError("broken")
        done = (await asyncio.gather(cluster.tasks["a"], return_exceptions=True))[0]

        assert isinstance(done, ExceptionGroup)

    lived(story)


def test_the_lease_of_another_partition_is_none():
    """What was never taken does not hold."""

    async def story(cluster):
        (a,) = cluster.start("a")

        assert a.supervisor.left_s(0) < 0

    lived(story)
