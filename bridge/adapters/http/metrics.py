"""``/metrics``: the counters for Prometheus.

The library that spells the format, and what it imports, are 1.5 MiB and a hundredth of a second.
They are imported in a thread with the first request: many have the status page and no Prometheus.
"""

import asyncio
from collections.abc import Callable

from bridge.adapters.http.server import Handler, Reply
from bridge.monitoring.metrics import Metrics
from bridge.ports import QueueDepth

PATH = "/metrics"


def routes(metrics: Metrics, version: str, backlog: QueueDepth) -> dict[str, Handler]:
    """Return the path and what answers it."""
    loaded: list[Callable[[], Reply]] = []

    def load() -> Callable[[], Reply]:
        from bridge.adapters.http.prometheus import exposition  # noqa: PLC0415 - see above

        return exposition(metrics, version, backlog)

    async def answer() -> Reply:
        if not loaded:
            loaded.append(await asyncio.to_thread(load))
        return loaded[0]()

    return {PATH: answer}
