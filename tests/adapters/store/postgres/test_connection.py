"""A connection is made anew after a failure, and its errors say what to do."""

import asyncio
from dataclasses import replace

import pytest

from bridge.adapters.store.postgres.connection import Connection, is_outage, translated
from bridge.errors import StoreError, StoreFull
from bridge.settings import Secret, StoreSettings
from tests.ports import unused_port
from tests.postgres import PASSWORD, own_server

pytestmark = pytest.mark.anyio


async def test_the_password_of_the_configuration_is_used_and_never_shown():
    """A wrong one is an error that names the key."""
    with own_server(auth="scram-sha-256") as server:
        db = Connection(server.settings)
        assert (await db.fetch("SELECT 1"))[0][0] == 1
        await db.close()
        wrong = Connection(replace(server.settings, password=Secret("canary-wrong")))
        with pytest.raises(StoreError) as caught:
            await wrong.fetch("SELECT 1")
    assert "store.password_file" in caught.value.hint
    assert "canary" not in f"{caught.value} {caught.value.hint}"


async def test_a_commit_is_durable_whatever_the_role_says(server):
    """Acknowledged rows survive a crash of the server."""
    server.sql("ALTER ROLE bridge SET synchronous_commit = off")
    db = Connection(server.settings)
    try:
        assert (await db.fetch("SHOW synchronous_commit"))[0][0] == "on"
    finally:
        await db.close()
        server.sql("ALTER ROLE bridge RESET synchronous_commit")


async def test_after_a_crash_of_the_server_the_next_call_connects_again():
    """The one under way fails."""
    with own_server() as server:
        db = Connection(server.settings)
        waiting = asyncio.gather(db.fetch("SELECT pg_sleep(60)"), return_exceptions=True)
        await db_is_busy(server)
        server.stop()
        (error,) = await waiting
        assert is_outage(error)
        with pytest.raises(StoreError) as caught:
            await db.fetch("SELECT 1")
        assert caught.value.hint
        server.start()
        assert (await db.fetch("SELECT 1"))[0][0] == 1
        await db.close()


async def db_is_busy(server):
    """Wait until a statement of a program runs."""
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    while not await asyncio.to_thread(server.sql, query):  # noqa: ASYNC110 - asks another process
        await asyncio.sleep(0.01)


async def test_a_statement_has_its_time_and_no_more(server):
    """The connection is dropped: what became of the statement is not known."""
    db = Connection(server.settings, timeout_s=0.2)
    pid = (await db.fetch("SELECT pg_backend_pid()"))[0][0]
    with pytest.raises(StoreError, match="does not answer in time") as caught:
        await db.fetch("SELECT pg_sleep(60)")
    assert is_outage(caught.value)

    assert (await db.fetch("SELECT pg_backend_pid()"))[0][0] != pid
    await db.close()


async def test_a_caller_that_is_cancelled_leaves_its_statement_to_its_end(server):
    """What it may have committed is committed, and the connection goes on."""
    db = Connection(server.settings)
    pid = (await db.fetch("SELECT pg_backend_pid()"))[0][0]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(db.execute("SELECT pg_sleep(0.2); CREATE TABLE public.done ()"))
        await db_is_busy(server)
        task.cancel()

    assert (await db.fetch("SELECT pg_backend_pid()"))[0][0] == pid
    await db.execute("DROP TABLE public.done")
    await db.close()


async def test_a_statement_that_is_wrong_costs_no_connection(server):
    """Only the statement fails."""
    db = Connection(server.settings)
    pid = (await db.fetch("SELECT pg_backend_pid()"))[0][0]
    wrong = [("SELECT nothing",), ("SELECT $1::text", "\0"), ("SELECT $1::integer", "x")]
    for query, *arguments in wrong:
        with pytest.raises(StoreError) as caught:
            await db.fetch(query, *arguments)
        assert not is_outage(caught.value)
        assert caught.value.hint

    assert (await db.fetch("SELECT pg_backend_pid()"))[0][0] == pid
    await db.close()


async def test_nothing_there_is_an_error_with_a_hint():
    """An unused port, and a database that nobody created."""
    url = f"postgresql://bridge@127.0.0.1:{unused_port()}/bridge"
    with pytest.raises(StoreError, match="ECONNREFUSED") as caught:
        await Connection(StoreSettings(url=url, password=Secret(PASSWORD))).fetch("SELECT 1")
    assert "store.url" in caught.value.hint


async def test_a_database_that_is_not_there_is_named(server):
    """And how to create it."""
    url = str(server.settings.url).replace("/postgres", "/missing")
    with pytest.raises(StoreError, match="missing") as caught:
        await Connection(replace(server.settings, url=url)).fetch("SELECT 1")
    assert "createdb" in caught.value.hint


async def test_a_full_disk_is_told_as_such(server):
    """The store takes nothing new until there is room."""
    db = Connection(server.settings)
    with pytest.raises(StoreFull) as caught:
        await db.execute("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '53100'; END $$")
    assert caught.value.hint
    with pytest.raises(StoreError, match="takes no writes"):
        await db.execute("DO $$ BEGIN RAISE EXCEPTION SQLSTATE '25006'; END $$")
    await db.close()


def test_an_error_without_a_number_is_translated_too():
    """Whatever the library raises."""
    assert translated(OSError()).hint
    assert translated(RuntimeError()).hint
