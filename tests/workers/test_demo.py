"""``make demo-cluster`` shows a takeover."""

import asyncio
import os
import sys

import pytest

from tests.conftest import PATIENCE_S
from tests.postgres import program
from tests.workers.site import ROOT

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        program("initdb") is None and not os.environ.get("CI"), reason="PostgreSQL is missing"
    ),
]


async def test_the_demonstration_shows_a_takeover():
    """A key kills the worker that serves; the other one says that it serves, and when."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "tools/demo_cluster.py",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    lines = []

    async def until(word):
        async with asyncio.timeout(PATIENCE_S):
            while not lines or word not in lines[-1]:
                line = await process.stdout.readline()
                assert line, lines
                lines.append(line.decode())

    await until("bridge/state: online")
    process.stdin.write(b"k")
    await until("(epoch 2)")
    process.stdin.write(b"q")
    async with asyncio.timeout(PATIENCE_S):
        await process.communicate()

    assert "after" in next(line for line in lines if "(epoch 2)" in line)
    assert process.returncode == 0
