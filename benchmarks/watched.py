"""``charger-bridge`` with every step of its event loop measured: ``python -m benchmarks.watched``.

A step is one callback: what nobody else on the loop can interrupt. Its processor time is what the
program takes; how long it lasted depends on what else the machine does. When the process ends, the
steps of over a millisecond are written to ``steps.json`` in the working directory.
"""

import asyncio
import atexit
import json
import time
from pathlib import Path

from bridge.__main__ import main

WORTH_TELLING_MS = 1.0
FILE = "steps.json"


def watch() -> None:
    """Measure every callback from here on."""
    run = asyncio.Handle._run  # noqa: SLF001 - there is no other place to look at all of them
    long: list[tuple[int, float, str]] = []
    count = 0

    def measured(self: asyncio.Handle) -> None:
        nonlocal count
        count += 1
        began_s = time.thread_time()
        run(self)
        took_ms = 1e3 * (time.thread_time() - began_s)
        if took_ms > WORTH_TELLING_MS:
            long.append((time.monotonic_ns(), took_ms, repr(self._callback)[:120]))

    def tell() -> None:
        Path(FILE).write_text(json.dumps({"count": count, "long": long}))

    asyncio.Handle._run = measured  # noqa: SLF001 - as above
    atexit.register(tell)


if __name__ == "__main__":
    watch()
    main()
