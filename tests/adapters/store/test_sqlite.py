"""What the store says it has, it has: after a crash, beside a second process, in a damaged file."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge.adapters.store import sqlite as store_module
from bridge.adapters.store.sqlite import SqliteStore, read_reports
from bridge.core.sessions.ledger import StoredReport
from bridge.core.sessions.reports import SessionReport
from bridge.errors import StoreError, StoreFull, StoreLocked

pytestmark = pytest.mark.anyio

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
TAG = "04E1B2C3D4"

REPORT = SessionReport(
    charger_id="EH123456",
    session_id=435,
    started_at=NOON,
    ended_at=NOON + HOUR,
    energy_kwh=0.411273,
    meter_start_kwh=1277.872637,
    meter_stop_kwh=1278.0,
    auth_reason=3,
    auth=TAG,
    source="stream",
    measured_at=NOON + HOUR,
    received_at=NOON + HOUR,
)


def numbered(number: int, charger_id: str = "EH123456") -> SessionReport:
    """Make the report of a session that ended ``number`` minutes after noon."""
    return replace(
        REPORT,
        charger_id=charger_id,
        session_id=number,
        ended_at=NOON + timedelta(minutes=number),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store's path in a directory that does not exist yet."""
    return tmp_path / "var" / "bridge.db"


@contextlib.asynccontextmanager
async def opened(path: Path, max_mib: int = 4) -> AsyncIterator[SqliteStore]:
    """Open a store, and close it whatever happens."""
    store = SqliteStore(path, max_mib=max_mib)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


async def owed(path: Path) -> tuple[StoredReport, ...]:
    """Open the store anew and return what it says is owed."""
    async with opened(path) as store:
        return await store.open()


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


async def test_a_published_report_is_not_owed_any_more(path):
    """mark_published settles the revision it names and no other."""
    async with opened(path) as store:
        await store.save(numbered(1))
        await store.save(numbered(2))
        await store.mark_published("EH123456-1", 1)
        await store.mark_published("EH123456-2", 7)
        await store.mark_published("unknown", 1)

    assert [row.key for row in await owed(path)] == ["EH123456-2"]


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
        real = store_module.transaction
        monkeypatch.setattr(store_module, "transaction", lambda db: commits.append(1) or real(db))
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
        again = await store.mark_owed(since=NOON + timedelta(minutes=5), charger_id="EH123456")
        assert again == (StoredReport("EH123456-5", 1, numbered(5)),)
        assert await store.open() == again
        assert len(await store.mark_owed()) == 3


async def test_reports_can_be_read_while_the_bridge_runs_and_after_it_was_killed(path):
    """`sessions list` needs neither the lock nor a clean end."""
    async with opened(path) as store:
        await store.save(numbered(2))
        await store.save(numbered(1, "EH000002"))
        rows = list(read_reports(path))
        assert [row.report.session_id for row in rows] == [1, 2]
        assert [r.key for r in read_reports(path, charger_id="EH123456")] == ["EH123456-2"]
        assert list(read_reports(path, since=NOON + HOUR)) == []

    assert list(read_reports(path)) == rows


async def test_reading_what_is_no_store_says_so(tmp_path):
    """A missing or foreign file is a StoreError with a hint."""
    text = tmp_path / "text"
    text.write_text("no database, but long enough to be looked at" * 20)
    for path in (tmp_path / "missing.db", text):
        with pytest.raises(StoreError) as caught:
            list(read_reports(path))
        assert caught.value.hint


async def test_the_salt_is_made_once(path, tmp_path):
    """Hashes stay the same across restarts and differ between installations."""
    async with opened(path) as store:
        salt = await store.salt()
        assert await store.salt() == salt
    async with opened(path) as store:
        assert await store.salt() == salt
    async with opened(tmp_path / "other.db") as store:
        assert await store.salt() != salt

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
    assert await second.open() == ()
    await second.close()


def test_another_process_keeps_the_store_to_itself(path):
    """The lock holds between processes and ends with its owner, however that ends."""
    program = (
        "import asyncio, sys, pathlib\n"
        "from bridge.adapters.store.sqlite import SqliteStore\n"
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
    assert set(modes) == {"bridge.db", "bridge.db-wal", "bridge.db-shm", "bridge.db.lock"}
    assert set(modes.values()) == {0o600}


async def test_a_store_that_others_could_read_is_closed_to_them(path):
    """An older or copied file is made private when it is opened."""
    await owed(path)
    path.chmod(0o644)
    await owed(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# -- crashes, damage, limits -----------------------------------------------------------------------

WRITER = """
import asyncio, sys, pathlib
from dataclasses import replace
sys.path.insert(0, sys.argv[2])
from tests.adapters.store.test_sqlite import numbered
from bridge.adapters.store.sqlite import SqliteStore

async def main():
    store = SqliteStore(pathlib.Path(sys.argv[1]), max_mib=16)
    first = len(await store.open())
    print("ready", flush=True)
    async def one(number):
        row, _ = await store.save(numbered(number))
        print(row.key, flush=True)
    for start in range(first, 100_000, 5):
        await asyncio.gather(*(one(start + n) for n in range(5)))

asyncio.run(main())
"""


def test_no_report_said_to_be_committed_is_lost_by_kill_9(path, tmp_path):
    """What was answered before SIGKILL is there afterwards, over several kills."""
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    told: set[str] = set()
    for round_number in range(4):
        with subprocess.Popen(
            [sys.executable, str(script), str(path), str(Path(__file__).parents[3])],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as child:
            while (line := child.stdout.readline()) and line.strip() != b"ready":
                pass
            time.sleep(0.05 + 0.037 * round_number)  # the moment of the kill
            child.send_signal(signal.SIGKILL)
            lines = child.stdout.read().decode().split("\n")[:-1]
        told.update(key for key in lines if key.startswith("EH"))
        kept = {row.key for row in read_reports(path)}
        assert told <= kept

    assert len(told) > 40
    assert {row.key for row in asyncio.run(owed(path))} >= told


@pytest.mark.parametrize(
    "change",
    [
        "energy_kwh = 9999.0",
        "published = 1",
        "auth = CAST(x'FFFE' AS TEXT)",
        "auth = x'00'",
        "revision = 'x'",
        "ended_at = 'never'",
        "digest = x'00'",
    ],
)
async def test_a_damaged_row_is_counted_and_never_handed_out(path, change):
    """Whatever was changed behind our back, the row's hash tells."""
    async with opened(path) as store:
        await store.save(numbered(1))
        await store.save(numbered(2))
    edit(path, f"UPDATE report SET {change} WHERE key = 'EH123456-1'")

    async with opened(path) as store:
        assert store.damaged == 1
        assert [row.key for row in await store.open()] == ["EH123456-2"]
        assert [row.key for row in read_reports(path)] == ["EH123456-2"]
        assert [row.key for row in await store.mark_owed()] == ["EH123456-2"]


async def test_a_report_that_comes_again_replaces_its_damaged_row(path):
    """The new row's revision is above the damaged one's, so a consumer takes it."""
    async with opened(path) as store:
        await store.save(REPORT)
    edit(path, "UPDATE report SET energy_kwh = 1.0")

    async with opened(path) as store:
        assert await store.save(REPORT) == (StoredReport("EH123456-435", 2, REPORT), True)
        await store.mark_published("EH123456-435", 2)
        assert await store.open() == ()
        assert store.damaged == 0


@pytest.mark.parametrize("damage", ["text", "torn", "foreign", "orphaned"])
async def test_a_file_that_is_no_store_is_moved_aside_and_said_so(path, damage):
    """A start never fails over a broken file and never begins empty in silence."""
    async with opened(path) as store:
        for number in range(50):
            await store.save(numbered(number))
    if damage == "text":
        path.write_bytes(b"this is no database\n" * 400)
    elif damage == "torn":
        content = path.read_bytes()
        path.write_bytes(content[:4096] + b"\xff" * 4096 + content[8192:])
    elif damage == "foreign":
        path.unlink()
        edit(path, "CREATE TABLE somebody_elses (x)")
    else:
        path.rename(f"{path}-wal")
    before = {p.name for p in path.parent.iterdir()}

    async with opened(path) as store:
        assert store.quarantined == Path(f"{path}.corrupt.1")
        await store.save(REPORT)
    after = {p.name for p in path.parent.iterdir()}
    assert any(name.startswith("bridge.db.corrupt.1") for name in after)
    assert len(after) > len(before)

    async with opened(path) as store:
        assert store.quarantined is None
        assert len(await store.open()) == 1


def test_a_second_broken_file_does_not_overwrite_the_first(path):
    """What is moved aside stays."""
    for number in (1, 2):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"broken %d\n" % number * 400)
        asyncio.run(owed(path))

    assert Path(f"{path}.corrupt.1").read_bytes().startswith(b"broken 1")
    assert Path(f"{path}.corrupt.2").read_bytes().startswith(b"broken 2")


async def test_a_store_of_a_newer_program_is_left_alone(path):
    """A downgrade is refused with a hint; the file is not touched."""
    await owed(path)
    edit(path, "PRAGMA user_version = 999")
    store = SqliteStore(path, max_mib=4)

    with pytest.raises(StoreError, match="newer") as caught:
        await store.open()
    assert caught.value.hint
    assert store.quarantined is None


async def test_a_full_store_refuses_and_keeps_what_it_has(path):
    """The quota is an error with a hint, not a crash, and nothing accepted is lost."""
    refused: list[StoreFull] = []
    kept = 0
    async with opened(path, max_mib=1) as store:
        while not refused:
            answers = await asyncio.gather(
                *(store.save(replace(numbered(kept + n), auth="x" * 400)) for n in range(50)),
                return_exceptions=True,
            )
            refused = [answer for answer in answers if isinstance(answer, StoreFull)]
            kept += len(answers) - len(refused)
        assert len(await store.open()) == kept > 500

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
