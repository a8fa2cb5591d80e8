"""PostgreSQL behind the ports of a store and of a cluster."""

import asyncio
import json
import subprocess
import sys

import httpx
import pytest

from bridge.adapters.easee.rest_client import EaseeCloud
from bridge.adapters.easee.token_manager import LOGIN_PATH
from bridge.adapters.store.backends import backend_of, cluster_of
from bridge.adapters.store.postgres.backend import PostgresBackend, PostgresCluster
from bridge.core.easee.rest_requests import charger_list_request
from bridge.core.events import CloudStatusChanged
from bridge.core.records.lease import MemberStatus, Owed
from bridge.errors import Blocked, LeaseLost, RateLimited, StoreLocked
from bridge.settings import ClusterSettings, EaseeSettings, Secret, Settings
from tests.adapters.store.rows import REPORT, command

pytestmark = pytest.mark.anyio


@pytest.fixture
async def cluster(server, clock):
    """Makes workers."""
    made = []

    def make(name, partitions=1):
        settings = Settings(
            EaseeSettings("someone@example.com", Secret("canary")),
            store=server.settings,
            cluster=ClusterSettings(partitions=partitions, worker=name, lease_ttl_s=60),
        )
        made.append(cluster_of(settings, clock))
        return made[-1]

    yield make
    for each in made:
        await each.leases.leave()
        await each.close()


async def lease_of(worker, server):
    """Take whatever is free."""
    server.sql("UPDATE lease SET until = clock_timestamp() - interval '1 h'")
    await worker.leases.renew((), MemberStatus())
    return await worker.leases.take(1)


async def test_a_worker_takes_a_partition_over_with_all_that_belongs_to_it(cluster, server):
    """Reports, commands, documents and the key of tag hashes; the former owner is fenced out."""
    one, other = cluster("one"), cluster("other")
    await one.leases.join()
    await other.leases.join()
    (held,) = await lease_of(one, server)
    old = one.store(held, lambda _event: None)
    await old.open()
    await old.save(REPORT)
    await old.save_command(command(1))
    key = await old.tag_hash_key()
    await asyncio.to_thread(one.documents(held).replace, "chargers.json", b"{}")

    (taken,) = await lease_of(other, server)
    new = other.store(taken, lambda _event: None)
    contents = await new.open()
    assert (len(contents.owed), contents.commands) == (1, (command(1),))
    assert await new.tag_hash_key() == key
    documents = other.documents(taken)
    assert await asyncio.to_thread(documents.read, "chargers.json", largest=9) == b"{}"
    with pytest.raises(LeaseLost):
        await old.save_command(command(2))
    await old.close()
    await new.close()


async def test_all_workers_see_one_division(cluster):
    """Whoever wrote it."""
    one, other = cluster("one", 4), cluster("other", 4)
    await one.leases.join()
    await one.listings().place({"site/1": 3}, {"a": "site/1"})
    division = await other.listings().division()

    assert (division.partition_of("a"), division.partitions) == (3, 4)


async def test_all_partitions_of_a_worker_share_budget_and_tokens(cluster):
    """One object each."""
    one = cluster("one", 4)
    assert one.allowance() is one.allowance()
    assert one.tokens() is one.tokens()
    assert isinstance(one, PostgresCluster)


def test_a_store_is_not_written_without_a_lease(server):
    """The command line asks a running worker."""
    backend = backend_of(server.settings)
    assert isinstance(backend, PostgresBackend)
    with pytest.raises(StoreLocked) as caught:
        backend.store(server.settings, lambda _event: None)
    assert caught.value.hint


def test_asyncpg_is_not_imported_without_an_address(tmp_path):
    """Not a line of it, whatever runs; and it need not be installed."""
    program = f"""
import sys
sys.modules["asyncpg"] = None  # importing it is an error
import asyncio
from bridge import app, gateway
from bridge.__main__ import main
from bridge.adapters.clock import SystemClock
from bridge.adapters.store.backends import backend_of, cluster_of
from bridge.settings import EaseeSettings, Secret, Settings, StoreSettings

easee = EaseeSettings("someone@example.com", Secret("x"))
settings = Settings(easee, store=StoreSettings({str(tmp_path / "x.db")!r}))

async def run():
    cluster = cluster_of(settings, SystemClock())
    await cluster.leases.join()
    (lease,) = await cluster.leases.take(1)
    store = cluster.store(lease, print)
    await store.open()
    await store.close()

asyncio.run(run())
list(backend_of(settings.store).reader(settings.store).reports())
of_postgres = ("asyncpg.", "bridge.adapters.store.postgres")
loaded = [name for name in sys.modules if name.startswith(of_postgres)]
assert loaded == [], loaded
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


async def test_what_is_owed_is_counted_by_partition(cluster, server):
    """Reports that are not delivered, and commands without a final result."""
    one = cluster("one", 2)
    await one.leases.join()
    held = (await lease_of(one, server))[0]
    store = one.store(held, lambda _event: None)
    await store.open()
    await store.save(REPORT)
    await store.save_command(command(1))
    await store.close()

    assert await one.owed() == {0: Owed(1, 1), 1: Owed(0, 0)}
    assert "synchronous_standby_names" in await one.parameters()


# -- three workers, one account, through the REST client ------------------------------------------


class Body(httpx.AsyncByteStream):
    """A body as a server sends it."""

    def __init__(self, document):
        self.content = json.dumps(document).encode()

    async def __aiter__(self):
        yield self.content


def answer(status, document, **headers):
    """Make a response."""
    packed = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers=packed, stream=Body(document))


class Cloud:
    """Answers every request, or as told, and remembers what it was asked."""

    def __init__(self):
        self.paths = []
        self.script = {}

    async def __call__(self, request):
        path = request.url.path
        self.paths.append(path)
        if path in self.script:
            return self.script.pop(path)
        if path == LOGIN_PATH:
            tokens = {"accessToken": "a", "refreshToken": "r", "expiresIn": 3600}
            return answer(200, tokens)
        return answer(200, [{"id": "EH123456"}])


@pytest.fixture
async def clouds(cluster, clock, tmp_path):
    """A cloud, and the clients of three workers that use one account of it."""
    vendor, events = Cloud(), []
    workers = [cluster(f"w{number}") for number in range(3)]
    await workers[0].leases.join()
    clients = [
        EaseeCloud(
            EaseeSettings("someone@example.com", Secret("canary")),
            token_path=tmp_path / "unused.json",
            clock=clock,
            emit=events.append,
            transport=httpx.MockTransport(vendor),
            allowance=worker.allowance(),
            tokens=worker.tokens(),
        )
        for worker in workers
    ]
    yield vendor, clients, events
    for each in clients:
        await each.close()
    assert not (tmp_path / "unused.json").exists()


async def test_three_workers_log_in_once_and_read_two_lists_a_minute(clouds):
    """The third is told to wait, by its own side."""
    vendor, clients, _ = clouds
    outcomes = await asyncio.gather(
        *(each.send(charger_list_request(), within_s=5) for each in clients),
        return_exceptions=True,
    )

    refused = [each for each in outcomes if isinstance(each, RateLimited)]
    assert [each.local for each in refused] == [True]
    assert sorted(vendor.paths) == [LOGIN_PATH, "/api/chargers", "/api/chargers"]


async def test_a_429_to_one_worker_keeps_the_others_from_asking(clouds):
    """From their next request on."""
    vendor, (first, *others), _ = clouds
    vendor.script["/api/chargers"] = answer(429, {}, Retry_After="60")
    with pytest.raises(RateLimited):
        await first.send(charger_list_request(), within_s=5)
    asked = len(vendor.paths)
    for each in others:
        with pytest.raises(RateLimited) as caught:
            await each.send(charger_list_request(), within_s=5)
        assert caught.value.local

    assert len(vendor.paths) == asked


async def test_a_block_of_one_worker_silences_all_and_each_says_so(clouds, cluster):
    """Also a worker that is started later."""
    vendor, (first, *others), events = clouds
    vendor.script["/api/chargers"] = answer(403, {"message": "your IP is now blocked"})
    with pytest.raises(Blocked):
        await first.send(charger_list_request(), within_s=5)
    asked = len(vendor.paths)
    for each in others:
        with pytest.raises(Blocked) as caught:
            await each.send(charger_list_request(), within_s=5)
        assert caught.value.status is None

    assert len(vendor.paths) == asked
    said = [event.state for event in events if isinstance(event, CloudStatusChanged)]
    assert said == ["blocked"] * 3
    assert await cluster("late").allowance().silent_for_s() > 80_000
