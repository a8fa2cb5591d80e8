"""What the benchmark of the stores makes of its figures; it runs for a minute, so not here."""

import asyncio

from benchmarks import stores
from tests.adapters.store.memory import Memory, MemoryStore


def test_each_store_is_measured_alone_and_together():
    """Both take turns, and each kind has its figures."""

    async def measure():
        made = [MemoryStore(Memory(), lambda _event: None) for _ in range(2)]
        for each in made:
            await each.open()
        return await stores.measure(1, *made)

    found = asyncio.run(measure())
    assert set(found) == {
        f"{name}, {kind}" for name in ("sqlite", "postgres") for kind in ("alone", "together")
    }
    assert all(0 < each["median_ms"] <= each["p95_ms"] for each in found.values())
