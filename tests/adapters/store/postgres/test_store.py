"""The store of a partition: groups of commands, failures, and a lease that is lost."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.adapters.store.postgres import command_rows, report_rows
from bridge.adapters.store.postgres import store as module
from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.schema import migrate
from bridge.adapters.store.postgres.store import PostgresStore
from bridge.core.events import StoreFailed, StoreOpened
from bridge.core.records.lease import Lease
from bridge.errors import LeaseLost, StoreError, StoreFull
from tests.adapters.store.rows import NOON, REPORT, command, numbered
from tests.mosquitto import until
from tests.postgres import own_server

pytestmark = pytest.mark.anyio
MIB = 2**20


@pytest.fixture
def events():
    """What the store says while it is in use."""
    return []


@pytest.fixture
async def store(server, database, lease, events):
    """An open store of partition 0."""
    made = PostgresStore(
        server.settings, lease, max_bytes=MIB, emit=events.append, first_retry_s=0.01
    )
    await made.open()
    yield made
    await made.close()


async def held(database, lease):
    """List the commands that are committed."""
    return [row.key for row in (await command_rows.read_all(database, lease))[0]]


async def test_commands_that_come_together_are_committed_together(
    store, database, lease, monkeypatch
):
    """Of one key the last counts, and each caller is answered."""
    groups = []
    put = command_rows.put

    async def counted(db, lease, rows):
        groups.append(len(rows))
        await put(db, lease, rows)

    monkeypatch.setattr(command_rows, "put", counted)
    rows = [command(number) for number in range(120)] + [command(7, answer=b"{}")]
    await asyncio.gather(*(store.save_command(row) for row in rows))

    assert sum(groups) == 121
    assert len(groups) <= 5
    assert max(groups) <= module.MAX_GROUP_SIZE
    assert len(await held(database, lease)) == 120
    answered = [row.key for row in (await store.open()).commands if row.answer]
    assert answered == ["7"]


async def test_reports_that_are_acknowledged_together_are_marked_together(store, monkeypatch):
    """Each caller is answered; of one report the newest revision counts."""
    puts = []
    put = report_rows.put

    async def counted(db, lease, reports):
        puts.append(len(reports))
        await put(db, lease, reports)

    for number in range(60):
        await store.save(numbered(number))
    _, changed = await store.save(replace(numbered(7), energy_kwh=9.0))
    assert changed
    rows = {row.key: row.revision for row in (await store.open()).owed}
    monkeypatch.setattr(report_rows, "put", counted)
    older = [(key, 1) for key, revision in rows.items() if revision > 1]
    await asyncio.gather(*(store.mark_published(*one, NOON) for one in [*rows.items(), *older]))

    assert sum(puts) == 60
    assert len(puts) <= 2
    assert all(row.published for row in (await store.open()).owed)


@pytest.mark.parametrize("spins", range(1, 8))
async def test_a_mark_whose_first_caller_gave_up_is_made_by_the_next(store, spins):
    """Nothing is answered that was not committed."""
    for number in range(3):
        await store.save(numbered(number))
    keys = [row.key for row in (await store.open()).owed]
    async with asyncio.TaskGroup() as group:
        async with store._report_turn:
            tasks = [group.create_task(store.mark_published(key, 1, NOON)) for key in keys]
            await asyncio.sleep(0)
        for _ in range(spins):
            await asyncio.sleep(0)
        tasks[0].cancel()

    assert tasks[0].cancelled()
    marked = {row.key for row in (await store.open()).owed if row.published}
    assert marked >= {*keys[1:]}


async def test_marks_that_fail_fail_for_each_caller(store, database):
    """None of them is told that its report is marked."""
    for number in range(3):
        await store.save(numbered(number))
    keys = [row.key for row in (await store.open()).owed]
    await database.execute("UPDATE lease SET epoch = 2, owner = 'other'")
    marks = (store.mark_published(key, 1, NOON) for key in keys)
    found = await asyncio.gather(*marks, return_exceptions=True)

    assert [type(one) for one in found] == [LeaseLost] * 3


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(doomed=st.sets(st.integers(0, 9)), spins=st.lists(st.integers(0, 6), min_size=10, max_size=10))  # fmt: skip  # noqa: E501
async def test_what_a_caller_gave_up_on_is_committed_by_no_other(store, database, doomed, spins):
    """A command whose caller was cancelled before its turn is not there, or was in a commit."""
    await database.execute("TRUNCATE command")

    async def save(number):
        await store.save_command(command(number))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(save(number)) for number in range(10)]
        for number in sorted(doomed):
            for _ in range(spins[number]):
                await asyncio.sleep(0)
            tasks[number].cancel()
    told = {number for number, task in enumerate(tasks) if not task.cancelled()}
    there = {int(row.key) for row in (await store.open()).commands}

    assert told <= there


async def test_a_lost_lease_is_for_good(store, database, lease, events):
    """Every write fails from then on, nothing is committed, and the store does not mend itself."""
    await store.save(REPORT)
    await database.execute("UPDATE lease SET epoch = 2, owner = 'other'")
    for _ in range(2):
        for change in (
            store.save(numbered(1)),
            store.save_command(command(1)),
            store.settle((("EH123456-435", 1),)),
            store.keep((("EH123456-435", 1),)),
            store.forget(settled_before=NOON, commands_before=NOON),
            store.forget_texts(("x",)),
        ):
            with pytest.raises(LeaseLost) as caught:
                await change
            assert caught.value.hint
    with pytest.raises(LeaseLost):
        await store.open()
    assert events == []
    assert await held(database, lease) == []


async def test_a_store_whose_lease_was_taken_over_before_is_not_opened(server, database, lease):
    """It would read what it may not change."""
    stale = PostgresStore(
        server.settings, Lease(0, 0, 0.0), max_bytes=MIB, emit=lambda _event: None
    )
    with pytest.raises(LeaseLost):
        await stale.open()
    with pytest.raises(StoreError, match="not open"):
        await stale.save_command(command(1))
    await stale.close()


async def test_a_new_owner_finds_what_the_old_one_was_told_is_committed(server, database, lease):
    """Commands and reports, and no more."""
    old = PostgresStore(server.settings, lease, max_bytes=MIB, emit=lambda _event: None)
    await old.open()
    await old.save(REPORT)
    await old.save_command(command(1))
    await database.execute("UPDATE lease SET epoch = 2, owner = 'other'")
    new = PostgresStore(server.settings, Lease(0, 2, 0.0), max_bytes=MIB, emit=lambda _event: None)
    contents = await new.open()
    with pytest.raises(LeaseLost):
        await old.save_command(command(2))

    assert contents.commands == (command(1),)
    assert [row.report for row in contents.owed] == [REPORT]
    await old.close()
    await new.close()


async def test_after_a_crash_of_the_server_nothing_that_was_told_is_missing():
    """And the store says once that it failed and once that it is well again."""
    with own_server(fsync=True) as server:
        setup = Connection(server.settings)
        await migrate(setup)
        await setup.execute("INSERT INTO lease VALUES (0, 1, 'one', 'infinity')")
        await setup.close()
        events = []
        store = PostgresStore(
            server.settings, Lease(0, 1, 0.0), max_bytes=MIB, emit=events.append,
            first_retry_s=0.01,
        )  # fmt: skip
        await store.open()
        told = []

        async def save(number):
            await store.save_command(command(number))
            told.append(str(number))

        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(swallow(save(number)))
                await asyncio.sleep(0)
                if number == 100:
                    await until(lambda: told)
                    server.stop()
        with pytest.raises(StoreError):
            await store.save_command(command(999))
        server.start()
        await until(lambda: any(isinstance(event, StoreOpened) for event in events))
        kept = {row.key for row in (await store.open()).commands}
        await store.close()

    assert set(told) <= kept
    assert "999" not in kept
    assert [type(event) for event in events] == [StoreFailed, StoreOpened]


async def swallow(work):
    """Let a call fail as the server does."""
    try:
        await work
    except StoreError:
        return


async def test_a_full_store_says_so_once_and_takes_more_when_there_is_room(
    server, database, lease, events
):
    """Settled reports make room before anything new is refused."""
    store = PostgresStore(
        server.settings, lease, max_bytes=20_000, emit=events.append, first_retry_s=0.01
    )
    await store.open()
    number = 1
    with contextlib.suppress(StoreFull):
        for number in range(1, 1000):
            await store.save(numbered(number))
    assert 1 < number < 999
    with pytest.raises(StoreFull):
        await store.save_command(command(1))
    assert [type(event) for event in events] == [StoreFailed]
    assert (await store.usage()).used_share == 1.0
    await store.settle(tuple((f"EH123456-{each}", 1) for each in range(1, number)))
    await until(lambda: any(isinstance(event, StoreOpened) for event in events))

    assert (await store.save(replace(numbered(number), energy_kwh=9.0)))[1]
    await store.save_command(command(1))
    assert (await store.usage()).used_share < 0.95
    await store.close()


async def test_damage_is_told_when_the_store_is_opened(store, database, events):
    """How many rows, and that they are not used."""
    await store.save(REPORT)
    await store.save_command(command(1))
    await database.execute("UPDATE report SET energy_kwh = 7")
    await database.execute("UPDATE command SET state = 'confirmed'")
    contents = await store.open()

    assert [problem.kind for problem in contents.problems] == ["reports_damaged"]
    assert "2 stored rows" in contents.problems[0].message
    assert (contents.owed, contents.commands) == ((), ())


async def test_the_oldest_answers_are_pruned_now_and_then(store, database, lease, monkeypatch):
    """Without being asked."""
    monkeypatch.setattr(module, "SLACK", 10)
    monkeypatch.setattr(command_rows, "MAX_FINAL_ROWS", 5)
    for number in range(12):
        await store.save_command(command(number, answer=b"{}"))

    assert len(await held(database, lease)) < 12
