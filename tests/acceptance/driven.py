"""A client somebody else wrote, in a process of its own, driven line by line.

The driver prints one JSON array a line, ``["kind", …]``, and takes one JSON array a line.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

TIMEOUT_S = 120.0


@dataclass
class Driven:
    """The client and everything it has said."""

    process: asyncio.subprocess.Process
    said: list[list[Any]] = field(default_factory=list)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _calls: int = 0

    async def listen(self) -> None:
        """Take lines until the process ends."""
        while line := await self.process.stdout.readline():
            self.said.append(json.loads(line))
            self._arrived.set()

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until a condition over what was said holds; return its value."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while not (value := condition()):
                    self._arrived.clear()
                    await self._arrived.wait()
                return value
        except TimeoutError:
            pytest.fail(f"{what} did not happen; last: {self.said[-20:]}")

    async def heard(self, *start: Any, after: int = 0) -> list[Any]:
        """Wait for a line that begins like this, not among the first ``after``."""
        wanted = list(start)

        def found():
            return next((one for one in self.said[after:] if one[: len(wanted)] == wanted), None)

        return await self.until(found, f"line {wanted}")

    async def call(self, *words: Any) -> Any:
        """Tell the driver something and wait for its answer."""
        self._calls += 1
        number = self._calls
        self.process.stdin.write(json.dumps([number, *words]).encode() + b"\n")
        await self.process.stdin.drain()
        return (await self.heard("answer", number))[2]


@asynccontextmanager
async def driven(*command: str, **options: Any) -> AsyncIterator[Driven]:
    """Run a driver; its standard input ends with the block, and so must the process."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
        **options,
    )
    client = Driven(process)
    listening = asyncio.get_running_loop().create_task(client.listen())
    try:
        yield client
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        await listening
        # Or the pipes are closed by the collector, with a warning.
        process._transport.close()
