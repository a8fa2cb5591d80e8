"""A simulated world whose time the test moves, with and without a socket."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aiohttp

from bridge.simulator.charger import Charger
from bridge.simulator.readings import Response, Update
from bridge.simulator.simulator import Simulator
from bridge.simulator.world import World

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
FIRST = "EH000001"
SECOND = "EH000002"
THIRD = "EH000003"

# Written down apart from the module: which LED codes may be seen with which op mode.
LEDS = {
    1: {18, 19, 29},
    2: {21, 23, 25, 26},
    3: {22, 24},
    4: {21, 23},
    5: {16},
    6: {21, 23},
    7: {25, 26},
    8: {21, 23},
}


@dataclass
class Lab:
    """A world without a socket, and its time."""

    world: World
    now: datetime = NOON

    @property
    def first(self) -> Charger:
        return self.world.chargers[FIRST]

    def wait(self, seconds: float) -> list[Update | Response]:
        """Let time pass and return what happened."""
        self.now += timedelta(seconds=seconds)
        self.world.step(self.now)
        return self.world.drain()

    def happened(self) -> list[Update | Response]:
        return self.world.drain()


def values(happened, observation_id: int) -> list[object]:
    """Every value of one observation, in order."""
    return [
        one.reading.value
        for one in happened
        if isinstance(one, Update) and one.observation_id == observation_id
    ]


def responses(happened) -> list[Response]:
    """Every CommandResponse, in order."""
    return [one for one in happened if isinstance(one, Response)]


@dataclass
class Client:
    """A logged-in HTTP client of a running simulator whose time the test moves."""

    simulator: Simulator
    http: aiohttp.ClientSession
    clock: list[datetime]
    token: str = ""

    async def login(self) -> dict[str, object]:
        body = {"userName": "someone@example.com", "password": "pw"}
        answer = await self.http.post("/api/accounts/login", json=body)
        tokens = await answer.json()
        self.token = str(tokens.get("accessToken", ""))
        return tokens

    async def ask(self, method: str, path: str, **options: object) -> tuple[int, object]:
        """Send one request and return status and body (JSON, or text)."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self.http.request(method, path, headers=headers, **options) as answer:
            kind = answer.headers.get("Content-Type", "")
            return answer.status, await (answer.json() if "json" in kind else answer.text())

    def wait(self, seconds: float) -> None:
        """Move the simulator's clock and let it live up to there."""
        self.clock[0] += timedelta(seconds=seconds)
        self.simulator.step()


Connect = Callable[..., AbstractAsyncContextManager[Client]]
