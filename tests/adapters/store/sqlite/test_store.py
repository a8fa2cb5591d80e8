"""What the store says it has, it has: after a crash, beside a second process, in a damaged file."""

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.adapters.store.sqlite import worker as worker_module
from bridge.adapters.store.sqlite.reader import SqliteReader
from bridge.adapters.store.sqlite.schema import PAGE_BYTES
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.core.records.stored_report import StoredReport
from bridge.errors import StoreError, StoreFull, StoreLocked
from tests.adapters.store.rows import HOUR, NOON, REPORT, TAG, command, numbered

pytestmark = pytest.mark.anyio

FILES = {f"bridge.db{suffix}" for suffix in ("", "-wal", "-shm", ".lock", ".salt")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store's path in a directory that does not exist yet."""
    return tmp_path / "var" / "bridge.db"


@contextlib.asynccontextmanager
async def opened(path: Path, max_mib: int = 4, **limits: int) -> AsyncIterator[SqliteStore]:
    """Open a store, and close it whatever happens."""
    store = SqliteStore(path, max_mib=max_mib, **limits)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def owed(path: Path) -> tuple[StoredReport, ...]:
    """Open the store anew and return what it says is owed."""
    async with opened(path) as store:
        return (await store.open()).owed


def edit(path: Path, statement: str, *values: object) -> None:
    """Change the file behind the store's back."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(statement, values)


# -- saving -------------------------------------------------------------------------------------


async def test_many_at_once_are_committed_together(path, monkeypatch):
    """What is queued at the same time costs few commits and is answered one by one."""
    async with opened(path) as store:
        commits = []
        real = worker_module.transaction
        monkeypatch.setattr(worker_module, "transaction", lambda db: commits.append(1) or real(db))
        answers = await asyncio.gather(*(store.save(numbered(n)) for n in range(200)))

    assert [row.report.session_id for row, _ in answers] == list(range(200))
    assert len(commits) < 20
    assert len(await owed(path)) == 200


async def test_one_bad_job_does_not_fail_those_committed_with_it(path):
    """A report that cannot be stored is refused alone."""
    broken = replace(numbered(2), auth=f"{TAG}\ud800")
    async with opened(path) as store:
        answers = await asyncio.gather(
            *(store.save(r) for r in (numbered(1), broken, numbered(3))), return_exceptions=True
        )

    assert isinstance(answers[1], StoreError)
    assert TAG not in str(answers[1])
    assert [row.report.session_id for row in await owed(path)] == [1, 3]


async def test_a_caller_that_gave_up_does_not_stop_the_worker(path):
    """Cancelling a save neither loses it nor disturbs the next one."""
    async with opened(path) as store:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await store.save(numbered(1))
        await store.save(numbered(2))

    assert [row.report.session_id for row in await owed(path)] == [1, 2]


# -- the key of tag hashes -----------------------------------------------------------------------


async def test_the_salt_is_made_once(path, tmp_path):
    """Hashes stay the same across restarts and differ between installations."""
    async with opened(path) as store:
        salt = await store.tag_hash_key()
        assert await store.tag_hash_key() == salt
    async with opened(path) as store:
        assert await store.tag_hash_key() == salt
    async with opened(tmp_path / "other.db") as store:
        assert await store.tag_hash_key() != salt

    assert len(salt) == 32


# -- one owner ------------------------------------------------------------------------------------


async def test_a_second_opener_is_refused_and_told_who_has_it(path):
    """One process per store; the lock is free again after closing."""
    async with opened(path):
        second = SqliteStore(path, max_mib=4)
        with pytest.raises(StoreLocked, match=f"pid {os.getpid()}"):
            await second.open()
        with pytest.raises(StoreError, match="not open"):
            await second.save(REPORT)
    assert (await second.open()).owed == ()
    await second.close()


def test_another_process_keeps_the_store_to_itself(path):
    """The lock holds between processes and ends with its owner, however that ends."""
    program = (
        "import asyncio, sys, pathlib\n"
        "from bridge.adapters.store.sqlite.store import SqliteStore\n"
        "async def main():\n"
        "    await SqliteStore(pathlib.Path(sys.argv[1]), max_mib=4).open()\n"
        "    print('open', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            while (line := child.stdout.readline()) and line.strip() != b"open":
                pass
            with pytest.raises(StoreLocked, match=f"pid {child.pid}"):
                asyncio.run(SqliteStore(path, max_mib=4).open())
        finally:
            child.kill()

    assert asyncio.run(owed(path)) == ()


async def test_only_the_owner_can_read_the_files(path):
    """Tags are in the store: directory 0700, every file 0600, whatever the umask was."""
    before = os.umask(0)
    try:
        async with opened(path) as store:
            await store.save(REPORT)
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert set(modes) == FILES
    assert set(modes.values()) == {0o600}


async def test_a_store_that_others_could_read_is_closed_to_them(path):
    """An older or copied file is made private when it is opened."""
    await owed(path)
    path.chmod(0o644)
    await owed(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# -- crashes, damage, limits -----------------------------------------------------------------------


async def test_a_full_store_refuses_and_keeps_what_it_has(path):
    """The quota is an error with a hint, not a crash, and nothing accepted is lost."""
    refused: list[StoreFull] = []
    kept = 0
    async with opened(path, max_mib=1, floor_bytes=0) as store:
        while not refused:
            answers = await asyncio.gather(
                *(store.save(replace(numbered(kept + n), auth="x" * 400)) for n in range(50)),
                return_exceptions=True,
            )
            refused = [answer for answer in answers if isinstance(answer, StoreFull)]
            kept += len(answers) - len(refused)
        assert len((await store.open()).owed) == kept > 500

    assert "max_mib" in refused[0].hint
    assert path.stat().st_size <= 1024 * 1024


async def test_a_directory_that_cannot_be_made_is_a_store_error(tmp_path):
    """What is wrong with the path is said, with a hint, and opening can be tried again."""
    (tmp_path / "file").write_text("in the way")
    store = SqliteStore(tmp_path / "file" / "bridge.db", max_mib=4)
    for _ in range(2):
        with pytest.raises(StoreError) as caught:
            await store.open()
        assert caught.value.hint
    await store.close()


async def test_commits_are_synced_in_full(path):
    """NORMAL would lose the last commits when the power goes."""
    async with opened(path) as store:
        settings = await store._ask(
            lambda db: [
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "max_page_count")
            ]
        )

    assert settings == ["wal", 2, 4 * 1024 * 1024 // PAGE_BYTES]


# -- room and age ---------------------------------------------------------------------------------


async def test_a_disk_with_little_left_takes_nothing_new_and_lets_things_end(path):
    """Below the floor a report is refused; one that is there is published, settled, corrected."""
    async with opened(path) as store:
        await store.save(REPORT)
        await store.save_command(command(1))
    async with opened(path, floor_bytes=2**62) as store:
        with pytest.raises(StoreFull, match="disk") as caught:
            await store.save(numbered(1))
        with pytest.raises(StoreFull):
            await store.save_command(command(2))
        await store.save_command(command(1, answer=b"{}"))
        await store.mark_published("EH123456-435", 1)
        await store.settle((("EH123456-435", 1),))
        fixed = replace(REPORT, energy_kwh=0.5, measured_at=NOON + 2 * HOUR)
        assert (await store.save(fixed))[1]
        usage = await store.usage()

    assert caught.value.hint
    assert usage.used_share == 1.0
    assert usage.free_bytes > 0


async def test_settled_reports_make_room_before_anything_is_refused(path):
    """History goes, oldest first; what is owed stays, however old."""
    async with opened(path, max_mib=1, floor_bytes=0) as store:
        for first in range(0, 1500, 50):
            numbers = range(first, first + 50)
            await asyncio.gather(
                *(store.save(replace(numbered(n), auth="x" * 400)) for n in numbers)
            )
            await asyncio.gather(*(store.mark_published(f"EH123456-{n}", 1) for n in numbers))
            if first > 100:
                await store.settle(tuple((f"EH123456-{n}", 1) for n in numbers))
        assert (await store.usage()).used_share < 1.0
        kept = [row.report.session_id for row in SqliteReader(path).reports()]

    assert kept[:150] == list(range(150))
    assert kept[150] > 150
    assert kept[-1] == 1499


# -- priority --------------------------------------------------------------------------------------


async def test_a_command_does_not_wait_behind_a_thousand_reports(path):
    """What somebody waits for is committed before what nobody does."""
    done: list[str] = []

    async def note(what: str, work) -> None:
        await work
        done.append(what)

    async with opened(path) as store, asyncio.TaskGroup() as tasks:
        for number in range(1000):
            tasks.create_task(note("report", store.save(numbered(number))))
        await asyncio.sleep(0)
        tasks.create_task(note("command", store.save_command(command(1))))

    assert done.index("command") < 300
