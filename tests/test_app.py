"""The composition: what a start does with the store it finds."""

import argparse
import asyncio
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec import structs

from bridge import app
from bridge.adapters.clock import SystemClock
from bridge.adapters.store.backends import BACKENDS
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.cli import doctor, sessions
from bridge.cli.check import store_problem
from bridge.cluster.partition import Partition
from bridge.core.events import (
    ClusterSeen,
    DivisionSeen,
    Reconfigured,
    StoreFailed,
    StoreOpened,
)
from bridge.core.partitions import Division, assigned
from bridge.core.records.lease import ClusterView, Lease
from bridge.core.store_status import StoreContents
from bridge.errors import LeaseLost, StoreError
from bridge.gateway import EventQueue
from bridge.monitoring.watchdog import LivenessRegistry
from bridge.settings import (
    ClusterSettings,
    EaseeSettings,
    MqttSettings,
    Secret,
    Settings,
    StoreSettings,
)
from tests.adapters.store.memory import MemoryBackend
from tests.adapters.store.rows import REPORT, TAG
from tests.conftest import PATIENCE_S

pytestmark = pytest.mark.anyio
NOBODY = "http://127.0.0.1:9"


def settings(path: Path, port: int) -> Settings:
    """Build settings that reach nobody."""
    return Settings(
        EaseeSettings(
            "x@example.com", Secret("p"), ("EH123456",), NOBODY, f"{NOBODY}/hubs/chargers"
        ),
        mqtt=MqttSettings(host="127.0.0.1", port=port),
        store=StoreSettings(path=str(path)),
    )


@pytest.mark.fault("F9")
async def test_a_second_bridge_on_the_same_store_ends_with_75(tmp_path, free_port):
    """Two bridges would answer every command twice: the second one leaves."""
    path = tmp_path / "bridge.db"
    first = SqliteStore(path, max_mib=8)
    await first.open()
    try:
        assert await app.serve(settings(path, free_port), asyncio.Event()) == os.EX_TEMPFAIL
    finally:
        await first.close()


async def test_the_salt_stays_the_same_when_the_store_cannot_be_opened(tmp_path):
    """Hashes of tags do not change with the state of a disk."""
    path = tmp_path / "bridge.db"
    store = SqliteStore(path, max_mib=8)
    opened, salt = await app._open(store)
    assert isinstance(opened, StoreOpened)
    await store.close()
    path.unlink()
    path.mkdir()

    failed, again = await app._open(SqliteStore(path, max_mib=8))
    assert isinstance(failed, StoreFailed)
    assert again == salt


@pytest.mark.parametrize("usable", [True, False])
@pytest.mark.fault("F7")
async def test_the_bridge_starts_and_stops_with_nothing_reachable(tmp_path, free_port, usable):
    """No cloud, no broker, not even a store: it waits, and ends with 0 when asked."""
    path = tmp_path / "bridge.db"
    if not usable:
        path.mkdir()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(app.serve(settings(path, free_port), stop))
        await asyncio.sleep(0.1)  # long enough for every first attempt to fail
        stop.set()

    assert serving.result() == os.EX_OK


class MemorySettings(StoreSettings):
    """Settings of a store that there is only here."""

    kind = "memory"


async def test_a_store_of_another_kind_needs_only_a_row_of_the_table(
    tmp_path, free_port, monkeypatch, capsys
):
    """The bridge starts on it and closes it; sessions, check and doctor read it."""
    backend = MemoryBackend()
    monkeypatch.setitem(BACKENDS, "memory", lambda: backend)
    store = MemorySettings(str(tmp_path / "nowhere"))
    configured = replace(settings(tmp_path / "x.db", free_port), store=store)
    first = backend.store(store, lambda _event: None)
    await first.open()
    await first.save(REPORT)
    assert await app.serve(configured, asyncio.Event()) == os.EX_TEMPFAIL
    await first.close()

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(app.serve(configured, stop))
        async with asyncio.timeout(PATIENCE_S):
            while backend.memories[store.path].owner is None:  # noqa: ASYNC110 - no event is set
                await asyncio.sleep(0.01)
        stop.set()
    assert serving.result() == os.EX_OK
    assert backend.memories[store.path].owner is None

    assert store_problem(store, tmp_path) is None
    wanted = argparse.Namespace(since=None, charger=None, format="csv", output=None)
    assert sessions._list(configured, wanted) == 0
    assert sessions._export(configured, wanted) == 0
    printed = capsys.readouterr().out
    assert printed.count("EH123456-435") == 2
    assert TAG not in printed
    facts, decisions = doctor._store(configured)
    assert (facts.reports, facts.owed, decisions) == (1, 1, "")
    assert not list(tmp_path.glob("*.db*"))


class Reluctant:
    """A store that opens at the second try."""

    def __init__(self):
        self.tries = 0

    async def open(self):
        self.tries += 1
        if self.tries == 1:
            raise StoreError("the database starts")
        return StoreContents((), ())

    async def tag_hash_key(self):
        if self.tries == 1:
            raise StoreError("the database starts")
        return b"shared"


async def test_a_worker_waits_for_the_key_that_all_share(tmp_path, free_port):
    """Hashes made with another key would differ after each takeover; alone it starts without."""
    configured = settings(tmp_path / "x.db", free_port)
    lease, clock = Lease(0, 1, 0.0), SystemClock()
    partition = Partition(lease, clock, left_s=lambda: 1.0)
    place = app.Place(
        configured, lease, partition.queue, partition.stop, LivenessRegistry(clock), None
    )
    store = Reluctant()
    opened, salt = await app._open_in(structs.replace(place, partition=partition), store, clock)
    assert (type(opened), salt, store.tries) == (StoreOpened, b"shared", 2)

    opened, salt = await app._open_in(place, Reluctant(), clock)
    assert isinstance(opened, StoreFailed)
    assert len(salt) == 32


def test_a_worker_has_a_name_and_each_partition_a_client_id(tmp_path, free_port):
    """Names come from the machine where none is configured; one partition is as before."""
    alone = settings(tmp_path / "x.db", free_port)
    shared = replace(alone, store=replace(alone.store, url="postgresql://u@localhost/d"))
    many = replace(shared, cluster=ClusterSettings(partitions=16, worker="left"))

    assert app.named(alone) is alone
    assert app.named(shared).cluster.worker.endswith(f"-{os.getpid()}")
    assert app.named(many) is many
    assert app.partition_settings(shared, 0) is shared
    assert app.partition_settings(many, 3).mqtt.client_id == "charger-bridge-p03"
    assert app.will_delay_s(many.cluster) == 10


def test_of_the_configured_chargers_each_partition_is_given_its_own(tmp_path, free_port):
    """Each is served once, and nothing before it is placed."""
    alone = settings(tmp_path / "x.db", free_port)
    chosen = tuple(f"EH{number:06}" for number in range(9))
    many = replace(
        alone,
        easee=replace(alone.easee, chargers=chosen),
        cluster=ClusterSettings(partitions=4, worker="left"),
    )
    devices = {one: f"site/{number % 5}" for number, one in enumerate(chosen[:8])}
    division = Division(4, assigned(devices, {}, 4), devices)
    parts = [app.partition_settings(many, number, division) for number in range(4)]

    assert sorted(one for part in parts for one in part.easee.chargers) == [*chosen[:8]]
    assert [part.cluster.partition for part in parts] == [0, 1, 2, 3]
    assert [part.recorder.max_mib for part in parts] == [2] * 4
    assert app.partition_settings(many, 1).easee.chargers == ()
    assert app.devices_of(division) == {n: division.devices_of(n) for n in range(4)}


async def test_a_division_reaches_the_gateways_whose_chargers_it_changes(tmp_path, free_port):
    """And the one that speaks for all; where nothing changed nothing is said to the others."""
    alone = settings(tmp_path / "x.db", free_port)
    process = app.Process(alone)
    process.active.settings = many = replace(
        alone,
        easee=replace(alone.easee, chargers=("EH000001", "EH000002")),
        cluster=ClusterSettings(partitions=2, worker="left"),
    )
    process.speaker = EventQueue()
    for number in range(2):
        process.queues[number], process.chosen[number] = EventQueue(), ()
    process.lists = SimpleNamespace(division=Division(2, {"s": 1}, {"EH000001": "s"}))
    for _ in range(2):
        process.divided(process.lists.division)
    told = [[*process.queues[number].first] for number in range(2)]

    assert told == [[], [Reconfigured(app.partition_settings(many, 1, process.lists.division))]]
    assert [type(event) for event in process.speaker.first] == [DivisionSeen] * 2
    process.cluster_seen(ClusterView((), ()))
    assert process.speaker.first[-1] == ClusterSeen(ClusterView((), ()))


async def test_what_runs_together_ends_together():
    """The error of one is raised as it is, and the other one is cancelled."""
    ended = []

    async def endless():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def failing():
        await asyncio.sleep(0)
        raise LeaseLost("taken")

    with pytest.raises(LeaseLost):
        await app._together(endless(), failing())
    assert ended == [True]


def test_every_beat_gives_memory_back(monkeypatch, tmp_path):
    """What a burst left is returned while nothing is late, and the file outside is beaten too."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    given = []
    monkeypatch.setattr(app.process_tuning, "trim_heap", lambda: given.append(1))
    beat = app._beat(None)
    beat(1.0)
    beat(2.0)

    assert len(given) == 2
    assert any(tmp_path.iterdir())
