"""The store against faults, for seconds; `make soak-…` does the same for as long as one likes."""

import random
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from bridge.adapters.store.sqlite import database_file as store_file
from bridge.adapters.store.sqlite import opening, worker
from bridge.adapters.store.sqlite.database_file import open_file
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.recovery.wal_reader import Log
from bridge.adapters.store.sqlite.store import SqliteStore
from tests.soak import damage, faults, full, power, wear
from tests.soak.disk import Op, Platter, watched
from tests.soak.load import NOON, report_of

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    """A folder below which SQLite can be watched."""
    try:
        with watched(tmp_path):
            pass
    except OSError as error:
        pytest.skip(str(error))
    return tmp_path


@pytest.mark.fault("F2")
async def test_a_power_cut_loses_nothing_that_was_told(folder):
    """Whatever was not synced is lost, in any part and order; what was told is there."""
    problems, summary = await power.torment(120, 3, folder)

    assert problems == [], summary


@pytest.mark.fault("F2")
async def test_a_store_that_does_not_sync_is_found_out(folder, monkeypatch):
    """The power cuts are real ones: without full sync they lose what was told."""
    prepare = store_file._prepare

    def hasty(db, room):
        frames = prepare(db, room)
        db.execute("PRAGMA synchronous = NORMAL")
        return frames

    monkeypatch.setattr(store_file, "_prepare", hasty)
    problems, _ = await power.torment(120, 3, folder)

    assert any("must be one of" in one for one in problems)


@pytest.mark.fault("F8")
async def test_a_damaged_store_starts_and_hands_out_nothing_wrong(tmp_path):
    """Whatever was done to a file: it starts, says what is missing, and goes on."""
    problems, summary = await damage.torment(60, 2, tmp_path)

    assert problems == [], summary


async def test_a_store_that_believes_its_files_is_found_out(tmp_path, monkeypatch):
    """The damage is real: without its checks the store would say nothing of it."""
    monkeypatch.setattr(opening, "read_log", lambda _path: Log(is_log=True))
    problems, _ = await damage.torment(60, 2, tmp_path)

    assert any("nobody said so" in one for one in problems)


@pytest.mark.fault("F6")
async def test_failing_writes_and_syncs_are_survived(folder):
    """Some of the first writes and syncs fail, once and a few times in a row."""
    problems, summary = await faults.torment(64, folder, step=21)

    assert problems == [], summary


async def test_a_store_that_does_not_open_again_is_found_out(folder, monkeypatch):
    """The failures are real: a store that goes on with a broken connection is not well."""
    monkeypatch.setattr(worker.Worker, "_mend", lambda _self: None)
    monkeypatch.setattr(faults, "RECOVERY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(faults, "FAULTS", faults.FAULTS[:2])
    problems, _ = await faults.torment(60, folder, step=59)

    assert problems


@pytest.mark.skipif(not full.is_permitted(), reason="needs the permission to mount")
@pytest.mark.fault("F5")
def test_a_small_disk_is_filled_and_freed(tmp_path):
    """While it is full nothing is taken and that is said; afterwards all is well by itself."""
    ended = subprocess.run(
        full.command(tmp_path), check=False, capture_output=True, text=True, cwd=ROOT
    )

    assert ended.returncode == 0, ended.stdout


@pytest.mark.fault("F1")
def test_a_killed_bridge_loses_nothing_it_accepted():
    """SIGKILL at random moments: every accepted report arrives, every command is answered once."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.soak.kill", "12", "3"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_a_day_wears_the_card_little(folder):
    """Forty sessions and twenty commands write a few megabytes, and an idle hour nothing."""
    worn = await wear.measure(folder, days=2)

    assert 0 < worn.sqlite_bytes < 8e6
    assert worn.syncs < 3 * wear.SESSIONS_A_DAY + 4 * wear.COMMANDS_A_DAY + 40


async def test_what_changes_nothing_writes_nothing(folder):
    """A repeated report, a repeated word about it, a question: no write, no sync."""
    with watched(folder) as disk:
        store = SqliteStore(folder / "bridge.db", max_mib=4, floor_bytes=0)
        await store.open()
        row, _ = await store.save(report_of(1))
        await store.mark_published(row.key, 1)
        await store.settle(((row.key, 1),))
        before = len(disk.ops)
        await store.save(report_of(1))
        await store.mark_published(row.key, 1)
        await store.settle(((row.key, 1),))
        await store.usage()
        await store.forget(settled_before=NOON - timedelta(days=90), commands_before=NOON)
        await store.open()
        done = disk.ops[before:]
        await store.close()

    assert done == []


# -- the disk itself ---------------------------------------------------------------------------


def test_the_disk_sees_what_sqlite_does(folder):
    """Writes are followed by a sync of the same file, in the order SQLite did them."""
    with watched(folder) as disk:
        db, _ = open_file(folder / "bridge.db", Quota(folder, 100 * 4096))
        before = len(disk.ops)
        db.execute("INSERT INTO meta VALUES ('a', x'00')")
        done = [(op.kind, op.name) for op in disk.ops[before:]]
        db.close()

    assert done[-1] == ("sync", "bridge.db-wal")
    assert ("write", "bridge.db-wal") in done
    assert {name for _, name in done} == {"bridge.db-wal"}


def test_what_was_synced_survives_a_cut_and_the_rest_may_not():
    """Each cut leaves what was synced, and a part of what was not."""
    platter = Platter({"a": b"old-"})
    for op in (Op("write", "a", 4, b"safe"), Op("sync", "a"), Op("write", "a", 8, b"new")):
        platter.do(op)
    found = {platter.cut(random.Random(seed))["a"] for seed in range(50)}

    assert found == {b"old-safe", b"old-safenew"}
