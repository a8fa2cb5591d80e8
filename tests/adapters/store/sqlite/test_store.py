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
from datetime import timedelta
from pathlib import Path

import pytest

from bridge.adapters.store.sqlite import worker as worker_module
from bridge.adapters.store.sqlite.reader import SqliteReader
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


async def test_a_saved_report_is_there_after_reopening_exactly_as_it_was(path):
    """Every field survives, and the report is owed until it was published."""
    async with opened(path) as store:
        assert await store.save(REPORT) == (StoredReport("EH123456-435", 1, REPORT), True)

    assert await owed(path) == (StoredReport("EH123456-435", 1, REPORT),)


async def test_a_published_report_is_owed_until_it_is_settled(path):
    """The broker's word counts for the revision it names, and is not the last one."""
    async with opened(path) as store:
        await store.save(numbered(1))
        await store.save(numbered(2))
        await store.mark_published("EH123456-1", 1, NOON)
        await store.mark_published("EH123456-2", 7)
        await store.mark_published("unknown", 1)
    held = {row.key: (row.published, row.published_at) for row in await owed(path)}
    assert held == {"EH123456-1": (True, NOON), "EH123456-2": (False, None)}

    async with opened(path) as store:
        await store.settle((("EH123456-1", 1), ("unknown", 1)))
    assert [row.key for row in await owed(path)] == ["EH123456-2"]


async def test_a_correction_is_not_settled_by_what_somebody_said_of_the_report_before(path):
    """Who settles names a revision: a later one stays owed, whether it went out or not."""
    fixed = replace(REPORT, energy_kwh=0.5, measured_at=NOON + 2 * HOUR)
    async with opened(path) as store:
        await store.save(REPORT)
        await store.settle((("EH123456-435", 1),))
        assert (await store.open()).owed == ()
        await store.save(fixed)
        await store.settle((("EH123456-435", 1),))
        assert (await store.open()).owed == (StoredReport("EH123456-435", 2, fixed),)
        await store.mark_published("EH123456-435", 2)
        await store.settle((("EH123456-435", 1),))
        assert [row.revision for row in (await store.open()).owed] == [2]
        await store.settle((("EH123456-435", 2),))
        assert (await store.open()).owed == ()


async def test_what_is_owed_comes_oldest_first(path):
    """Reports go out in the order the sessions ended."""
    async with opened(path) as store:
        for number in (3, 1, 2):
            await store.save(numbered(number))

    assert [row.report.session_id for row in await owed(path)] == [1, 2, 3]


async def test_a_repeat_changes_nothing_and_a_correction_raises_the_revision(path):
    """The same content is one revision; new content is owed again."""
    async with opened(path) as store:
        first, _ = await store.save(REPORT)
        await store.mark_published(first.key, 1)
        again, changed = await store.save(replace(REPORT, source="poll", received_at=NOON + HOUR))
        assert (again, changed) == (replace(first, published=True), False)

        fixed = replace(REPORT, energy_kwh=0.5, measured_at=NOON + 2 * HOUR)
        assert await store.save(fixed) == (StoredReport(first.key, 2, fixed), True)
        await store.mark_published(first.key, 1)

    assert [(row.key, row.revision) for row in await owed(path)] == [("EH123456-435", 2)]


async def test_a_backfilled_report_gains_its_reason_as_a_new_revision(path):
    """The stream completes what REST began, under the same key, though the start differs."""
    backfilled = replace(
        REPORT,
        source="backfill",
        auth_reason=None,
        auth="",
        started_at=NOON - timedelta(seconds=4),
        meter_start_kwh=None,
    )
    async with opened(path) as store:
        await store.save(backfilled)
        completed, changed = await store.save(REPORT)
        assert (completed, changed) == (StoredReport("EH123456-435", 2, REPORT), True)
        assert await store.save(backfilled) == (completed, False)


async def test_a_counter_that_came_round_is_another_session(path):
    """The same number forty days later does not overwrite a billing record."""
    apart = timedelta(days=40)
    later = replace(REPORT, started_at=NOON + apart, ended_at=REPORT.ended_at + apart)
    async with opened(path) as store:
        await store.save(REPORT)
        second, changed = await store.save(later)
        assert (second.key, changed) == ("EH123456-435-20270101", True)
        assert await store.save(later) == (second, False)

    assert len(await owed(path)) == 2


async def test_a_report_without_a_counter_is_kept_once(path):
    """A session without a number has a key too."""
    nameless = replace(REPORT, session_id=None)
    async with opened(path) as store:
        first, _ = await store.save(nameless)
        assert await store.save(nameless) == (first, False)
        other, changed = await store.save(replace(nameless, charger_id="EH000002"))
        assert changed

    assert first.key != other.key


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


# -- replay, reading, salt ------------------------------------------------------------------------


async def test_published_reports_can_be_owed_again(path):
    """A replay takes the reports of one charger since a moment."""
    async with opened(path) as store:
        for report in (numbered(1), numbered(5), numbered(6, "EH000002")):
            row, _ = await store.save(report)
            await store.mark_published(row.key, 1)
            await store.settle(((row.key, 1),))
        again = await store.mark_pending(since=NOON + timedelta(minutes=5), charger_id="EH123456")
        assert again == (StoredReport("EH123456-5", 1, numbered(5)),)
        assert (await store.open()).owed == again
        assert len(await store.mark_pending()) == 3


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


async def test_a_closed_store_answers_that_it_is_closed(path):
    """Nothing waits for ever for a worker that is gone."""
    store = SqliteStore(path, max_mib=4)
    await store.close()
    async with opened(path) as store:
        pass
    with pytest.raises(StoreError, match="not open"):
        await store.save(REPORT)


async def test_commits_are_synced_in_full(path):
    """NORMAL would lose the last commits when the power goes."""
    async with opened(path) as store:
        settings = await store._ask(
            lambda db: [
                db.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "max_page_count")
            ]
        )

    assert settings == ["wal", 2, 1024]


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


async def test_only_what_is_settled_and_old_is_forgotten(path):
    """Age alone deletes nothing: what is owed or has no answer stays."""
    async with opened(path) as store:
        for number in (1, 2, 3):
            await store.save(numbered(number))
            await store.mark_published(f"EH123456-{number}", 1, NOON + number * HOUR)
        await store.settle((("EH123456-1", 1), ("EH123456-3", 1)))
        await store.save_command(command(1))
        await store.save_command(command(2, answer=b"{}"))
        await store.save_command(command(3, answer=b"{}", received_at=NOON + 9 * HOUR))
        limits = {"settled_before": NOON + 3 * HOUR, "commands_before": NOON + 8 * HOUR}
        assert await store.forget(**limits) == 2
        assert await store.forget(**limits) == 0
        opened_again = await store.open()

    assert [row.key for row in SqliteReader(path).reports()] == ["EH123456-2", "EH123456-3"]
    assert [row.key for row in opened_again.owed] == ["EH123456-2"]
    assert [row.key for row in opened_again.commands] == ["1", "3"]


async def test_a_report_is_as_old_as_the_newest_thing_heard_of_it(path):
    """A charger whose clock is in the last century does not have its sessions forgotten at once."""
    old = NOON - timedelta(days=9000)
    dusty = replace(REPORT, started_at=old, ended_at=old + HOUR)
    async with opened(path) as store:
        row, _ = await store.save(dusty)
        await store.mark_published(row.key, 1)
        await store.settle(((row.key, 1),))

        await store.save(REPORT)

        assert await store.forget(settled_before=NOON, commands_before=NOON) == 0
        assert await store.forget(settled_before=NOON + 2 * HOUR, commands_before=NOON) == 1


@pytest.mark.parametrize("last", [1, 3])
async def test_what_a_charger_said_last_is_no_news_after_years(path, last):
    """The cloud tells it again at every connection: its row stays, of each charger one or two."""
    chargers = ("EH123456", "EH999999")
    async with opened(path) as store:
        for charger_id in chargers:
            for number in (1, 2, 3):
                heard_at = NOON + HOUR * (9 if number == last else number)
                report = replace(numbered(number, charger_id), measured_at=heard_at)
                row, _ = await store.save(report)
                await store.settle(((row.key, 1),))
        await store.forget(settled_before=NOON + timedelta(days=999), commands_before=NOON)
        kept = [
            (row.report.charger_id, row.report.session_id) for row in SqliteReader(path).reports()
        ]
        told = [await store.save(row.report) for row in SqliteReader(path).reports()]

    assert sorted(kept) == [(one, number) for one in chargers for number in sorted({last, 3})]
    assert all(row.settled and not changed for row, changed in told)


# -- commands and queries -------------------------------------------------------------------------


async def test_commands_come_back_as_they_were_left(path):
    """The newest row of each key is there after reopening, oldest command first."""
    later = command(1, received_at=NOON + HOUR)
    async with opened(path) as store:
        await store.save_command(later)
        await store.save_command(command(2))
        await store.save_command(command(2, answer=b"{}"))
    store = SqliteStore(path, max_mib=4)
    held = await store.open()
    await store.close()

    assert held.commands == (command(2, answer=b"{}"), later)


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


async def test_reports_are_read_by_charger_and_time(path):
    """A query gets what ended between two moments, oldest first, and no more than it asked for."""
    async with opened(path) as store:
        for number in range(10):
            await store.save(numbered(number, "EH000002" if number == 4 else "EH123456"))
        between = {"since": NOON + timedelta(minutes=2), "until": NOON + timedelta(minutes=7)}
        found = await store.reports(charger_id="EH123456", **between, limit=3)
        assert [row.report.session_id for row in found] == [2, 3, 5]
        everything = await store.reports(charger_id=None, since=None, until=None, limit=100)
        assert len(everything) == 10
    with pytest.raises(StoreError, match="not open"):
        await store.reports(charger_id=None, since=None, until=None, limit=1)
