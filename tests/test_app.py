"""The composition: what a start does with the store it finds."""

import asyncio
import os
from pathlib import Path

import pytest

from bridge import app
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.core.events import StoreFailed, StoreOpened
from bridge.settings import EaseeSettings, MqttSettings, Secret, Settings, StoreSettings

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
