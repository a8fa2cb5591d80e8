"""The worker answers every job, mends itself, and says so once."""

import asyncio
import sqlite3
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bridge.adapters.store.sqlite import worker as module
from bridge.adapters.store.sqlite.command_rows import put as put_commands
from bridge.adapters.store.sqlite.quota import Quota
from bridge.adapters.store.sqlite.report_rows import save
from bridge.adapters.store.sqlite.worker import Jobs, Priority, Worker
from bridge.core.events import StoreFailed, StoreOpened
from bridge.errors import StoreError, StoreFull
from tests.soak.load import command_of, report_of

pytestmark = pytest.mark.anyio


@dataclass
class Bench:
    """A worker, and what it said."""

    worker: Worker
    events: list = field(default_factory=list)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, event) -> None:
        """Take a word."""
        self.events.append(event)
        self.heard.set()

    async def until(self, kind: type) -> None:
        """Wait until the newest word is of a kind."""
        async with asyncio.timeout(5):
            while not (self.events and isinstance(self.events[-1], kind)):
                self.heard.clear()
                await self.heard.wait()

    async def save(self, number: int):
        """Have a report saved."""
        return await self.worker.submit(
            lambda db: save(db, report_of(number), lambda: None), Priority.REPORT
        )

    async def fail(self, code: int) -> None:
        """Have something fail as SQLite does."""

        def action(_db):
            error = sqlite3.OperationalError("a test")
            error.sqlite_errorcode = code
            raise error

        with pytest.raises(StoreError):
            await self.worker.submit(action, Priority.REPORT)


@pytest.fixture
async def bench(tmp_path: Path):
    """A worker at work, that tries again at once."""
    bench = Bench(None)
    bench.worker = Worker(
        tmp_path / "bridge.db",
        Quota(tmp_path, 1024 * 4096, 0),
        emit=bench.hear,
        first_retry_s=0.001,
    )
    await bench.worker.start()
    yield bench
    await bench.worker.end()


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY]
)
async def test_after_an_error_of_the_disk_the_store_is_opened_again(bench, code):
    """Whoever listens hears once that it failed and once, with what is owed, that it is well."""
    await bench.save(1)
    await bench.fail(code)
    await bench.until(StoreOpened)

    failed, opened = bench.events
    assert isinstance(failed, StoreFailed)
    assert [row.report for row in opened.owed] == [report_of(1)]
    assert (await bench.save(2))[1]


async def test_commands_are_not_handed_out_a_second_time(bench):
    """This process knows them better than the file does."""
    await bench.worker.submit(lambda db: put_commands(db, [command_of(1, 0)]), Priority.COMMAND)
    await bench.fail(sqlite3.SQLITE_IOERR_WRITE)
    await bench.until(StoreOpened)

    assert bench.events[-1].commands == ()
    assert bench.events[-1].problems == ()


async def test_while_it_is_broken_everything_fails_at_once(bench, monkeypatch):
    """Nobody waits for a disk that is not there; when it is back, all goes on."""
    real, tries = module.open_store, threading.Semaphore(0)

    def fail(*_args, **_kwargs):
        tries.release()
        raise OSError(5, "Input/output error", "/x")

    monkeypatch.setattr(module, "open_store", fail)
    await bench.fail(sqlite3.SQLITE_IOERR_READ)
    for number in range(20):
        with pytest.raises(StoreError):
            await bench.save(number)
    for _ in range(3):
        assert await asyncio.to_thread(tries.acquire, timeout=5)
    assert [type(event) for event in bench.events] == [StoreFailed]

    monkeypatch.setattr(module, "open_store", real)
    await bench.until(StoreOpened)
    assert (await bench.save(1))[1]


async def test_damage_that_shows_while_it_runs_is_moved_aside(bench, tmp_path):
    """The rows that are right are there again, in the same process."""
    for number in range(40):
        await bench.save(number)
    bench.events.clear()
    path = tmp_path / "bridge.db"

    def destroy(db):
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.write_bytes(b"\xff" * 4096 + path.read_bytes()[4096:])
        error = sqlite3.DatabaseError("malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    with pytest.raises(StoreError):
        await bench.worker.submit(destroy, Priority.REPORT)
    await bench.until(StoreOpened)

    opened = bench.events[-1]
    assert opened.problems[0].kind == "store_replaced"
    assert {row.report.session_id for row in opened.owed} == set(range(40))
    assert "40 rows of it were saved" in opened.problems[0].message


async def test_without_room_it_says_so_and_tries_by_itself(bench, monkeypatch):
    """Nothing new is taken until there is room; then it is, without a word from anybody."""

    def refuse(_self, _db):
        raise StoreFull("full")

    real = Quota.require
    monkeypatch.setattr(Quota, "require", refuse)
    with pytest.raises(StoreFull):
        await bench.worker.submit(
            lambda db: save(db, report_of(1), lambda: bench.worker._quota.require(db)),
            Priority.REPORT,
        )
    await bench.until(StoreFailed)
    await bench.save(2)  # the connection is sound: what needs no room goes on
    monkeypatch.setattr(Quota, "require", real)
    await bench.until(StoreOpened)

    assert [type(event) for event in bench.events] == [StoreFailed, StoreOpened]


async def test_an_error_of_one_job_is_nobody_elses(bench):
    """A job that cannot be done fails alone, and the store goes on."""

    def odd(_db):
        raise ValueError("04E1B2C3D4")

    answers = await asyncio.gather(
        bench.save(1),
        bench.worker.submit(odd, Priority.REPORT),
        bench.save(2),
        return_exceptions=True,
    )

    assert isinstance(answers[1], StoreError)
    assert "04E1B2C3D4" not in str(answers[1])
    assert answers[0][1] is answers[2][1] is True
    assert bench.events == []


async def test_jobs_come_by_urgency_then_by_arrival():
    """Commands before reports before upkeep, each in order; the end comes last."""
    jobs = Jobs()
    loop = asyncio.get_running_loop()

    def job(name: str) -> module.Job:
        return module.Job(lambda _db: name, loop, loop.create_future())

    for name, priority in (
        ("upkeep", Priority.UPKEEP),
        ("report 1", Priority.REPORT),
        ("command 1", Priority.COMMAND),
        ("report 2", Priority.REPORT),
        ("command 2", Priority.COMMAND),
    ):
        jobs.put(job(name), priority)
    jobs.put(module._Signal.END, Priority.END)
    *batch, end = jobs.next_batch(0.0)

    names = [one.action(None) for one in batch]
    assert names == ["command 1", "command 2", "report 1", "report 2", "upkeep"]
    assert end is module._Signal.END
    assert jobs.next_batch(0.0) == []
