"""The schema is migrated by whichever worker comes first, and the version before goes on."""

import asyncio

import pytest

from bridge.adapters.store.postgres.connection import Connection
from bridge.adapters.store.postgres.schema import MIGRATIONS, Migration, migrate
from bridge.errors import StoreError
from tests.adapters.store.benches import PostgresBench
from tests.adapters.store.rows import REPORT, command

pytestmark = pytest.mark.anyio
# What a next version may do: rule 2 of the module.
NEXT = Migration(
    (
        "ALTER TABLE report ADD COLUMN note text NOT NULL DEFAULT ''",
        "ALTER TABLE command ADD COLUMN note text NOT NULL DEFAULT ''",
        "ALTER TABLE member ADD COLUMN note text NOT NULL DEFAULT ''",
        "CREATE TABLE other (name text)",
    ),
    oldest=1,
)


async def version(db):
    """Return version and oldest program, as the database has them."""
    return tuple((await db.fetch("SELECT version, oldest FROM version"))[0])


async def test_many_workers_that_start_at_once_migrate_once(server):
    """One does it, the others wait and find it done."""
    workers = [Connection(server.settings) for _ in range(5)]
    await asyncio.gather(*(migrate(each) for each in workers))

    assert await version(workers[0]) == (len(MIGRATIONS), MIGRATIONS[-1].oldest)
    for each in workers:
        await each.close()


async def test_every_step_leads_from_the_version_before(server):
    """One after the other, as upgrades come, or all at once."""
    db = Connection(server.settings)
    for number in range(1, len(MIGRATIONS) + 1):
        await migrate(db, MIGRATIONS[:number])
        assert (await version(db))[0] == number
    await migrate(db, (*MIGRATIONS, NEXT))
    assert await version(db) == (len(MIGRATIONS) + 1, 1)
    await db.close()


async def test_the_version_before_reads_and_writes_a_newer_schema(server):
    """Workers are upgraded one after the other."""
    bench = PostgresBench(None)
    newer = Connection(server.settings)
    await migrate(newer, (*MIGRATIONS, NEXT))
    await newer.close()
    store = bench.store(lambda _event: None)
    await store.open()
    await store.save(REPORT)
    await store.save_command(command(1))
    held = await store.open()
    await store.close()

    assert (len(held.owed), len(held.commands)) == (1, 1)


async def test_a_schema_that_needs_a_newer_program_is_left_alone(server):
    """With what to do about it."""
    db = Connection(server.settings)
    await migrate(db, (*MIGRATIONS, Migration((), oldest=len(MIGRATIONS) + 1)))
    with pytest.raises(StoreError, match="needs a newer program") as caught:
        await migrate(db)
    assert caught.value.hint
    await db.close()


async def test_a_migration_that_is_broken_off_leaves_the_schema_as_it_was(server):
    """It is one transaction."""
    db = Connection(server.settings)
    await migrate(db)
    with pytest.raises(StoreError):
        await migrate(db, (*MIGRATIONS, Migration(("CREATE TABLE a (b text)", "nonsense"), 1)))
    assert (await version(db))[0] == len(MIGRATIONS)
    assert (await db.fetch("SELECT to_regclass('a') IS NULL"))[0][0]
    await db.close()


async def test_a_user_that_may_not_create_is_told_what_to_do(server):
    """The hint names the owner of the database."""
    server.sql("DROP ROLE IF EXISTS reader")
    server.sql("CREATE ROLE reader LOGIN")
    url = str(server.settings.url).replace("bridge@", "reader@")
    db = Connection(type(server.settings)(url=url))
    with pytest.raises(StoreError) as caught:
        await migrate(db)
    assert "own the database" in caught.value.hint
    await db.close()


async def test_another_schema_of_the_database_is_not_touched(database):
    """Our tables are in a schema of their own."""
    found = await database.fetch(
        "SELECT DISTINCT table_schema::text FROM information_schema.tables"
        " WHERE table_schema NOT LIKE 'pg_%' AND table_schema <> 'information_schema'"
    )
    assert [row[0] for row in found] == ["charger_bridge"]
