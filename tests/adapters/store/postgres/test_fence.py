"""A write of a worker that lost its lease is refused, whenever it comes."""

import asyncio
import contextlib
import itertools
import random

import asyncpg
import pytest

from bridge.adapters.store.postgres import command_rows, fence
from bridge.adapters.store.postgres.connection import SCHEMA
from bridge.core.records.lease import Lease
from bridge.errors import LeaseLost
from tests.adapters.store.rows import command
from tests.conftest import PATIENCE_S
from tests.postgres import shared_server

pytestmark = pytest.mark.anyio
INTERLEAVINGS = 1000
# The takeover as the leases do it, and what it passes over as well.
TAKE = (
    "WITH free AS (SELECT partition FROM lease WHERE partition = 0 FOR UPDATE{how})"
    " UPDATE lease SET epoch = epoch + 1 FROM free WHERE lease.partition = free.partition"
    " RETURNING epoch"
)
WRITE = fence.fenced("INSERT INTO flag SELECT partition, $3 FROM fence")


@contextlib.asynccontextmanager
async def beside():
    """Provide a connection without anything of ours, for transactions that stay open."""
    settings = shared_server().settings
    db = await asyncpg.connect(
        settings.url,
        password=settings.password.reveal(),
        server_settings={"search_path": SCHEMA},
    )
    try:
        yield db
    finally:
        await db.close()


async def waits(db, pid):
    """Wait until another connection waits for a lock."""
    query = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $1"
    async with asyncio.timeout(PATIENCE_S):
        while await db.fetchval(query, pid) != "Lock":  # noqa: ASYNC110 - asks another process
            await asyncio.sleep(0.001)


async def pid_of(db):
    """Return the process that serves a connection."""
    return (await db.fetch("SELECT pg_backend_pid()"))[0][0]


async def flags(db):
    """List what was written."""
    return {row[0] for row in await db.fetch("SELECT name FROM flag")}


async def test_a_write_at_the_epoch_of_the_lease_is_committed(database):
    """And one at any other epoch is not, nor one for a partition that is not there."""
    assert await fence.write(database, Lease(0, 1, 0.0), WRITE, "first") == 1
    for lease in (Lease(0, 0, 0.0), Lease(0, 2, 0.0), Lease(7, 1, 0.0)):
        with pytest.raises(LeaseLost) as caught:
            await fence.write(database, lease, WRITE, "refused")
        assert caught.value.hint

    assert await flags(database) == {"first"}


async def test_a_write_waits_for_a_takeover_and_then_is_refused(database):
    """It sees the epoch the takeover committed, not the one it began with."""
    async with beside() as taking:
        takeover = taking.transaction()
        await takeover.start()
        assert await taking.fetchval(TAKE.format(how="")) == 2
        pid = await pid_of(database)
        writing = asyncio.gather(
            fence.write(database, Lease(0, 1, 0.0), WRITE, "stale"), return_exceptions=True
        )
        async with beside() as watching:
            await waits(watching, pid)
        await takeover.commit()
        (outcome,) = await writing

    assert isinstance(outcome, LeaseLost)
    assert await flags(database) == set()


async def test_a_takeover_that_fails_lets_the_write_through(database):
    """Who waited goes on."""
    async with beside() as taking:
        takeover = taking.transaction()
        await takeover.start()
        await taking.fetchval(TAKE.format(how=""))
        pid = await pid_of(database)
        writing = asyncio.gather(fence.write(database, Lease(0, 1, 0.0), WRITE, "mine"))
        async with beside() as watching:
            await waits(watching, pid)
        await takeover.rollback()
        await writing

    assert await flags(database) == {"mine"}


async def test_a_takeover_passes_a_lease_over_that_a_write_holds(database):
    """It would otherwise read the journal before the write is in it."""
    async with beside() as writing, beside() as taking:
        transaction = writing.transaction()
        await transaction.start()
        await writing.fetch(WRITE, 0, 1, "mine")
        assert await taking.fetchval(TAKE.format(how=" SKIP LOCKED")) is None
        await transaction.commit()
        assert await taking.fetchval(TAKE.format(how=" SKIP LOCKED")) == 2


async def test_a_renewal_waits_for_no_write_and_no_write_for_it(database):
    """However many commits there are, a lease is renewed in time."""
    async with beside() as writing, beside() as renewing:
        transaction = writing.transaction()
        await transaction.start()
        await writing.fetch(WRITE, 0, 1, "mine")
        async with asyncio.timeout(5), renewing.transaction():
            await renewing.execute("UPDATE lease SET until = clock_timestamp()")
            await fence.write(database, Lease(0, 1, 0.0), WRITE, "another")
        await transaction.commit()

    assert await flags(database) == {"mine", "another"}


@pytest.mark.parametrize("seed", [1])
async def test_a_stale_epoch_is_refused_in_every_interleaving(database, seed):
    """1,000 commits race 1,000 takeovers: whatever the new owner does not see never comes."""
    chance = random.Random(seed)
    counts = {"refused": 0, "before": 0}
    async with beside() as taking:
        for number in range(1, INTERLEAVINGS + 1):
            lease = Lease(0, number, 0.0)
            seen = await _race(database, taking, lease, command(number), chance.random())
            held = await command_rows.held(database, lease, [str(number)])
            assert seen == bool(held), "a commit came after the takeover had read the journal"
            counts["before" if held else "refused"] += 1
            with pytest.raises(LeaseLost):
                await command_rows.put(database, lease, [command(number, answer=b"late")])
            assert await command_rows.held(database, lease, [str(number)]) == held

    assert sum(counts.values()) == INTERLEAVINGS
    assert min(counts.values()) > 0, counts


async def _race(database, taking, lease, row, ahead):
    """Let a commit and a takeover race; return whether the new owner reads the row."""

    async def commit():
        for _ in range(int(ahead * 8)):
            await asyncio.sleep(0)
        await command_rows.put(database, lease, [row])

    async def take():
        for _ in range(int((1 - ahead) * 8)):
            await asyncio.sleep(0)
        for _ in itertools.count():
            if await taking.fetchval(TAKE.format(how=" SKIP LOCKED")) is not None:
                return await taking.fetchval("SELECT 1 FROM command WHERE key = $1", row.key)
            await asyncio.sleep(0)
        return None

    written, seen = await asyncio.gather(commit(), take(), return_exceptions=True)
    assert not isinstance(seen, Exception), seen
    assert (written is None) == bool(seen)
    assert written is None or isinstance(written, LeaseLost)
    return bool(seen)
