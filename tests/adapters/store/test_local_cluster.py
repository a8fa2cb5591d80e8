"""Without PostgreSQL there is one partition, and the store's lock is its lease."""

from dataclasses import replace
from math import inf

import pytest

from bridge.adapters.store.local_cluster import LocalCluster
from bridge.adapters.store.sqlite.backend import SqliteBackend
from bridge.core.records.lease import HeldLease, Lease, MemberStatus
from bridge.errors import ConfigError, StoreLocked
from bridge.settings import ClusterSettings, EaseeSettings, Secret, Settings, StoreSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path):
    """A store in a folder of its own."""
    store = StoreSettings(path=str(tmp_path / "bridge.db"))
    return Settings(EaseeSettings("someone@example.com", Secret("canary")), store=store)


async def test_the_one_lease_is_taken_once_and_held_until_it_is_given_up(settings, clock):
    """Time does not end it; its moments are this process's clock."""
    leases = LocalCluster(settings, clock, SqliteBackend()).leases
    assert (await leases.join()).leases == (HeldLease(0, None, 0, 0.0),)
    (lease,) = await leases.take(1)
    assert (lease, await leases.take(1)) == (Lease(0, 0, clock.mono_s), ())

    clock.advance(9999)
    held, view = await leases.renew((lease,), MemberStatus(broker_up=False))
    assert held == (Lease(0, 0, clock.mono_s),)
    assert [(each.partition, each.left_s) for each in view.leases] == [(0, inf)]
    assert [member.status.broker_up for member in view.members] == [False]
    await leases.give_up(held)
    assert (await leases.renew(held, MemberStatus()))[0] == ()
    assert len(await leases.take(1)) == 1
    await leases.leave()
    assert (await leases.view()).leases[0].owner is None


async def test_a_second_process_is_refused_by_the_store(settings, clock):
    """Its lease says nothing about other processes; opening does."""
    one, other = (LocalCluster(settings, clock, SqliteBackend()) for _ in range(2))
    (lease,) = await one.leases.take(1)
    store = one.store(lease, lambda _event: None)
    await store.open()
    try:
        with pytest.raises(StoreLocked):
            await other.store(*await other.leases.take(1), lambda _event: None).open()
    finally:
        await store.close()
    await one.close()


async def test_everything_else_is_as_without_a_cluster(settings, clock, tmp_path):
    """Documents are files beside the store, budget and tokens this process's own."""
    cluster = LocalCluster(settings, clock, SqliteBackend())
    (lease,) = await cluster.leases.take(1)
    cluster.documents(lease).replace("chargers.json", b"{}")

    assert (tmp_path / "chargers.json").read_bytes() == b"{}"
    assert (cluster.allowance(), cluster.tokens()) == (None, None)
    assert cluster.listings() is None


def test_more_partitions_need_postgresql(settings, clock):
    """The configuration's reader says so too."""
    with pytest.raises(ConfigError, match=r"store\.url"):
        LocalCluster(
            replace(settings, cluster=ClusterSettings(partitions=2)), clock, SqliteBackend()
        )
