"""Leases are taken, renewed and given up by the clock of the database."""

import asyncio

import pytest

from bridge.adapters.store.postgres.leases import PostgresLeases
from bridge.core.records.lease import Lease, MemberStatus
from bridge.errors import StoreError
from bridge.settings import ClusterSettings

pytestmark = pytest.mark.anyio
UP = MemberStatus()


@pytest.fixture
async def worker(server, clock):
    """Makes workers that have joined."""
    made = []

    async def make(name, partitions=16, ttl_s=60):
        settings = ClusterSettings(partitions=partitions, worker=name, lease_ttl_s=ttl_s)
        leases = PostgresLeases(server.settings, settings, clock)
        made.append(leases)
        await leases.join()
        return leases

    yield make
    for each in made:
        await each.leave()


def age(server, seconds):
    """Let time pass for leases and members."""
    server.sql("UPDATE lease SET until = until - make_interval(secs => $1)", seconds)
    server.sql("UPDATE member SET seen_at = seen_at - make_interval(secs => $1)", seconds)


async def test_one_worker_takes_everything_and_a_second_finds_nothing(worker, clock, server):
    """Each take raises the epoch; what is held is not taken."""
    one, other = await worker("one"), await worker("other")
    age(server, 2)
    await one.renew((), UP)
    await other.renew((), UP)
    clock.advance(5)
    taken = await one.take(16)

    assert taken == tuple(Lease(number, 1, clock.mono_s) for number in range(16))
    assert await other.take(16) == ()
    assert {held.owner for held in (await other.view()).leases} == {"one"}


@pytest.mark.parametrize(("members", "share"), [(1, 16), (2, 8), (3, 6), (5, 4), (20, 1)])
async def test_at_first_a_worker_takes_its_share_alone(worker, server, members, share, monkeypatch):
    """The share is the number of partitions by that of the members, rounded up."""
    monkeypatch.setattr("bridge.adapters.store.postgres.leases.ANYBODY_AFTER_S", 3600.0)
    workers = [await worker(f"w{number}") for number in range(members)]
    age(server, 0.001)

    assert len(await workers[0].take(16)) == share
    assert await workers[0].take(16) == ()
    if members > 1:
        assert len(await workers[1].take(16)) == min(share, 16 - share)


async def test_what_nobody_took_for_a_second_anybody_takes(worker, server):
    """A member that lives and takes nothing holds nobody up."""
    one, _idle = await worker("one"), await worker("idle")
    age(server, 1.0)
    await one.renew((), UP)

    assert len(await one.take(16)) == 16


async def test_no_more_is_taken_than_asked_for(worker, server):
    """Not of what is new, nor of what nobody took for a second."""
    one = await worker("one")
    age(server, 0.001)
    assert len(await one.take(3)) == 3
    age(server, 61)
    await one.renew((), UP)

    assert len(await one.take(5)) == 5


async def test_members_that_drain_or_are_gone_have_no_share(worker, server):
    """They are not waited for."""
    one, draining, _gone = await worker("one"), await worker("draining"), await worker("gone")
    age(server, 61)
    server.sql("UPDATE lease SET until = clock_timestamp()")
    await one.renew((), UP)
    await draining.renew((), MemberStatus(draining=True))

    assert len(await one.take(16)) == 16
    view = await one.view()
    assert {member.name: member.status.draining for member in view.members} == {
        "one": False, "draining": True, "gone": False,
    }  # fmt: skip


async def test_a_renewed_lease_lives_on_and_a_lost_one_is_missing(worker, server, clock):
    """A lease that ended and that nobody took is renewed too."""
    one, other = await worker("one", 2), await worker("other", 2)
    age(server, 2)
    await one.renew((), UP)
    held = await one.take(16)
    age(server, 100)
    clock.advance(1)
    renewed, view = await one.renew(held, UP)
    assert renewed == tuple(Lease(number, 1, clock.mono_s) for number in range(2))
    assert all(59 < each.left_s <= 60 for each in view.leases)

    server.sql("UPDATE lease SET until = clock_timestamp() - interval '1 hour' WHERE partition = 1")
    await other.renew((), UP)
    assert [(lease.partition, lease.epoch) for lease in await other.take(16)] == [(1, 2)]
    renewed, view = await one.renew(renewed, UP)
    assert [lease.partition for lease in renewed] == [0]
    assert [held.owner for held in view.leases] == ["one", "other"]
    # It ends, so that the others hand it nothing.
    assert [each.status.draining for each in view.members] == [True, False]


async def test_what_is_given_up_is_free_at_once_and_once(worker, server):
    """A worker that lost a lease gives up nothing of its new owner."""
    one, other = await worker("one", 1), await worker("other", 1)
    age(server, 2)
    (held,) = await one.take(16)
    await one.give_up((held,))
    (taken,) = await other.take(16)
    assert taken.epoch == 2

    await one.give_up((held,))
    assert (await one.view()).leases[0].owner == "other"
    assert await one.take(16) == ()


async def test_a_lease_that_another_worker_is_taking_is_passed_over(worker, server):
    """Nobody waits: of two that take at once each lease has one owner."""
    workers = [await worker(f"w{number}", 100) for number in range(4)]
    for _ in range(20):
        age(server, 100)
        for each in workers:
            await each.renew((), UP)
        taken = await asyncio.gather(*(each.take(16) for each in workers))
        partitions = [lease.partition for some in taken for lease in some]
        assert len(partitions) == len(set(partitions))
    assert max(held.epoch for held in (await workers[0].view()).leases) <= 20


async def test_the_number_of_partitions_cannot_change(worker):
    """A site would belong to two partitions."""
    await worker("one", 16)
    with pytest.raises(StoreError, match="divided into 16 partitions, not 8") as caught:
        await worker("other", 8)
    assert "cluster.partitions" in caught.value.hint


async def test_a_member_that_left_or_was_not_heard_of_is_forgotten(worker, server):
    """At once where it says so, else after ten minutes."""
    one, other = await worker("one"), await worker("other")
    await other.leave()
    assert [member.name for member in (await one.view()).members] == ["one"]
    age(server, 601)
    assert (await one.view()).members == ()
    await worker("third")
    assert server.sql("SELECT count(*) FROM member")[0][0] == 1


async def test_a_database_that_is_away_is_an_error_and_comes_back(worker, server):
    """Renewals fail meanwhile, and the next one connects again."""
    one = await worker("one", 1)
    age(server, 2)
    held = await one.take(16)
    server.shut()
    with pytest.raises(StoreError) as caught:
        await one.renew(held, UP)
    assert caught.value.hint
    server.open_()

    assert len((await one.renew(held, UP))[0]) == 1


async def test_a_member_can_be_asked_to_leave(worker):
    """Anybody asks; a member of the same name that joins later stays."""
    one, other = await worker("one"), await worker("other")

    assert not await other.ask_to_leave("nobody")
    assert await other.ask_to_leave("one")
    assert [(each.name, each.leave_asked) for each in (await one.view()).members] == [
        ("one", True),
        ("other", False),
    ]
    assert not any(each.leave_asked for each in (await one.join()).members)
