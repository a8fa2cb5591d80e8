"""Kill the primary of a PostgreSQL and promote its synchronous standby, again and again.

    python -m tests.soak.standby [ROUNDS]

A worker writes commands and reports until the primary is gone; another one takes over on what was
the standby. Everything that was acknowledged must be there.
"""

import asyncio
import contextlib
import random
import sys
from dataclasses import dataclass, field

from bridge.adapters.clock import SystemClock
from bridge.adapters.store.postgres.backend import PostgresCluster
from bridge.core.records.lease import MemberStatus
from bridge.errors import StoreError
from bridge.ports import Store
from bridge.settings import ClusterSettings, EaseeSettings, Secret, Settings
from tests.adapters.store.rows import command, numbered
from tests.conftest import PATIENCE_S
from tests.postgres import Server

WRITERS = 8
MIN_ROWS, MAX_ROWS = 30, 400
EXPIRE = "UPDATE lease SET until = clock_timestamp() - interval '1 h'"


@dataclass
class Result:
    """What became of a round.

    Attributes:
        acknowledged: Keys of rows that were told to be committed.
        lost: Those that are not there.
    """

    acknowledged: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)


class Worker:
    """A worker with the one partition, on one server."""

    def __init__(self, server: Server, name: str) -> None:
        settings = Settings(
            EaseeSettings("someone@example.com", Secret("x")),
            store=server.settings,
            cluster=ClusterSettings(worker=name, lease_ttl_s=60),
        )
        self._server = server
        self._cluster = PostgresCluster(settings, SystemClock())

    async def opened(self) -> Store:
        """Take the partition over, whoever had it, and open its store."""
        await self._cluster.leases.join()
        await asyncio.to_thread(self._server.sql, EXPIRE)
        await self._cluster.leases.renew((), MemberStatus())
        (lease,) = await self._cluster.leases.take(1)
        store = self._cluster.store(lease, lambda _event: None)
        await store.open()
        return store

    async def close(self) -> None:
        """Leave, where that can still be said."""
        await self._cluster.leases.leave()
        await self._cluster.close()


def standby_of(primary: Server) -> Server:
    """Start a standby without which the primary commits nothing from now on."""
    standby = Server(fsync=True, primary=primary)
    standby.start()
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql("SELECT pg_reload_conf()")
    return standby


async def is_synchronous(primary: Server) -> None:
    """Wait until the standby takes part in each commit."""
    query = "SELECT sync_state FROM pg_stat_replication"
    async with asyncio.timeout(PATIENCE_S):
        while True:
            states = await asyncio.to_thread(primary.sql, query)
            if [row[0] for row in states] == ["sync"]:
                return
            await asyncio.sleep(0.02)


async def play(primary: Server, standby: Server, number: int, chance: random.Random) -> Result:
    """Write until the primary is killed, promote the standby, and look for what was told.

    It is killed after a number of rows that is drawn, in the middle of other commits.
    """
    result, enough = Result(), asyncio.Event()
    wanted = chance.randint(MIN_ROWS, MAX_ROWS)
    await is_synchronous(primary)
    worker = Worker(primary, f"before-{number}")
    store = await worker.opened()

    async def write(writer: int) -> None:
        with contextlib.suppress(StoreError):
            for each in range(10_000):
                key = 1_000_000 * number + 10_000 * writer + each
                await store.save_command(command(key))
                result.acknowledged.add(str(key))
                if each % 5 == 0:
                    stored, _ = await store.save(numbered(key, f"EH{writer:06}"))
                    result.acknowledged.add(stored.key)
                if len(result.acknowledged) >= wanted:
                    enough.set()

    async with asyncio.TaskGroup() as tasks:
        for writer in range(WRITERS):
            tasks.create_task(write(writer))
        async with asyncio.timeout(PATIENCE_S):
            await enough.wait()
        await asyncio.to_thread(primary.stop)
    await store.close()
    await worker.close()
    await asyncio.to_thread(standby.sql, "SELECT pg_promote(true, 30)")
    successor = Worker(standby, f"after-{number}")
    store = await successor.opened()
    contents = await store.open()
    there = {row.key for row in contents.commands} | {row.key for row in contents.owed}
    result.lost = result.acknowledged - there
    await store.close()
    await successor.close()
    return result


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(rounds: int, seed: int = 1) -> Result:
    """Play some rounds, each with the former standby as the primary; add up."""
    chance, total = random.Random(seed), Result()
    primary = Server(fsync=True)
    primary.start()
    try:
        for number in range(1, rounds + 1):
            standby = standby_of(primary)
            try:
                one = asyncio.run(play(primary, standby, number, chance))
            finally:
                primary.remove()
                primary = standby
            total.acknowledged |= one.acknowledged
            total.lost |= one.lost
            say(f"round {number}: {len(one.acknowledged)} rows, {len(one.lost)} lost")
    finally:
        primary.remove()
    return total


if __name__ == "__main__":
    outcome = run(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    say(f"{len(outcome.acknowledged)} acknowledged rows, {len(outcome.lost)} lost")
    sys.exit(bool(outcome.lost))
