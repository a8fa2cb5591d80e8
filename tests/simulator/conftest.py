"""Fixtures: a quiet world, and a running simulator whose clock stands still."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from bridge.simulator.world import World
from tests.simulator.lab import NOON, Client, Connect, Lab


@pytest.fixture
def lab() -> Callable[..., Lab]:
    """Make a quiet world: no cars but those the test plugs in."""

    def make(**options: object) -> Lab:
        chosen = {"traffic": False, "chargers": 3, "equalizers": 0, **options}
        return Lab(World(Scenario(**chosen), NOON))

    return make


@pytest.fixture
def connect() -> Connect:
    """Start a simulator whose clock stands still, and log in."""

    @asynccontextmanager
    async def run(**options: object) -> AsyncIterator[Client]:
        chosen = {"traffic": False, "step_interval_s": 0.0, **options}
        clock = [NOON]
        async with (
            serve(Scenario(**chosen), now=lambda: clock[0]) as simulator,
            aiohttp.ClientSession(simulator.api_url) as http,
        ):
            client = Client(simulator, http, clock)
            await client.login()
            yield client

    return run
