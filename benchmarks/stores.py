"""How long the commit of a command takes in PostgreSQL, beside SQLite on the same disk.

    python -m benchmarks.stores [--rounds 40] [--json FILE]

Both flush each commit. The stores take turns within one run, so that what else the machine does
meets both. PostgreSQL is on loopback, without a standby.
"""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import stage
from bridge.adapters.clock import SystemClock
from bridge.adapters.store.postgres.backend import PostgresCluster
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.ports import Store
from bridge.settings import ClusterSettings, EaseeSettings, Secret, Settings
from tests.postgres import Server
from tests.soak.load import LIVES, command_of

# Commands one after the other, and commands that arrive together.
ALONE, TOGETHER = 25, 40


async def alone(store: Store, first: int) -> list[float]:
    """Commit each step of some commands, one after the other; return milliseconds."""
    taken = []
    for number in range(first, first + ALONE):
        for step in range(len(LIVES)):
            started = time.perf_counter()
            await store.save_command(command_of(number, step))
            taken.append(1000 * (time.perf_counter() - started))
    return taken


async def together(store: Store, first: int) -> list[float]:
    """Commit commands that arrive at once; return how long each waited, in milliseconds."""

    async def one(number: int) -> float:
        started = time.perf_counter()
        await store.save_command(command_of(number, 0))
        return 1000 * (time.perf_counter() - started)

    return await asyncio.gather(*(one(number) for number in range(first, first + TOGETHER)))


async def measure(rounds: int, sqlite: Store, postgres: Store) -> dict[str, dict[str, float]]:
    """Let both stores take turns; return medians and 95th percentiles."""
    taken: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, store in (("sqlite", sqlite), ("postgres", postgres)):
            for kind, play in (("alone", alone), ("together", together)):
                found = await play(store, 1000 * number + 500 * (kind == "together"))
                if number:  # the first round fills caches
                    taken.setdefault(f"{name}, {kind}", []).extend(found)
    return {
        name: {
            "median_ms": statistics.median(values),
            "p95_ms": statistics.quantiles(values, n=20)[-1],
        }
        for name, values in taken.items()
    }


async def run(rounds: int, server: Server, folder: Path) -> dict[str, dict[str, float]]:
    """Open both stores and measure."""
    settings = Settings(
        EaseeSettings("someone@example.com", Secret("x")),
        store=server.settings,
        cluster=ClusterSettings(worker="bench", lease_ttl_s=60),
    )
    cluster = PostgresCluster(settings, SystemClock())
    sqlite = SqliteStore(folder / "bridge.db", max_mib=64)
    try:
        await cluster.leases.join()
        while not (leases := await cluster.leases.take()):  # noqa: ASYNC110 - asks the database
            await asyncio.sleep(0.01)
        postgres = cluster.store(leases[0], lambda _event: None)
        await postgres.open()
        await sqlite.open()
        found = await measure(rounds, sqlite, postgres)
        await postgres.close()
    finally:
        await sqlite.close()
        await cluster.leases.leave()
        await cluster.close()
    return found


def main() -> None:
    """Measure and print."""
    parser = stage.arguments(__doc__, "stores")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    server = Server(fsync=True)
    try:
        server.start()
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(run(arguments.rounds, server, Path(folder)))
    finally:
        server.remove()
    for name, values in found.items():
        print(f"{name:20} median {values['median_ms']:6.2f} ms, p95 {values['p95_ms']:6.2f} ms")
    for kind in ("alone", "together"):
        one, other = (found[f"{name}, {kind}"]["median_ms"] for name in ("sqlite", "postgres"))
        print(f"{kind}: {other - one:+.2f} ms, {other / one:.2f} times")
    stage.write(arguments.json, found)


if __name__ == "__main__":
    main()
