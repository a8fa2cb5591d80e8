"""The broker that the demonstration embeds, as a process: ``python -m tests.cli.setup.embedded``.

Prints its port when it is ready, and ends with its standard input.
"""

import asyncio
import sys

from bridge.demo.broker import broker
from tests.conftest import unused_port


async def main() -> None:
    """Serve until the standard input ends."""
    port = unused_port()
    async with broker(port):
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
