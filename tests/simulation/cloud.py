"""The simulated vendor on simulated time, with REST as an HTTP transport.

The chargers, the accounts, the limits and the hub's words are those of :mod:`bridge.simulator`, so
there is one model of the vendor. What is added here is the way to it, and everything that goes
wrong on that way.
"""

import asyncio
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import Protocol
from urllib.parse import parse_qsl

import httpx

from bridge.adapters.easee.http_transport import DeadlineExceeded
from bridge.simulator import rest
from bridge.simulator.problems import UNAUTHORIZED, Answer, NoBody
from bridge.simulator.readings import Value
from bridge.simulator.scenario import Scenario
from bridge.simulator.simulator import Simulator
from bridge.simulator.telemetry import Telemetry
from tests.simulation.engine import Timeline
from tests.simulation.options import Options

API_URL = "http://127.0.0.1:8800"
STREAM_URL = f"{API_URL}/hubs/chargers"
LOGIN = "/api/accounts/login"
REFRESH = "/api/accounts/refresh_token"
NEGOTIATE = "/hubs/chargers/negotiate"
BLOCK_TEXT = b"There were too many requests from your IP address. It is now blocked."
# How long chargers live at once; in lives in which little happens, longer.
STEP_EVERY_S = 20.0
LONG_STEP_EVERY_S = 120.0
TOKEN_S = 3600
LONG_TOKEN_S = 86_400
NEVER_S = 1e9
# A block that does not say how long it lasts may last so long.
UNNAMED_BLOCK_S = 86_400.0
# What the simulated charger itself needs, and what the promises are about.
THIN_IDS = frozenset(
    {15, 16, 17, 22, 23, 24, 30, 31, 38, 42, 45, 46, 47, 48, 50, 51, 52, 96, 102, 103, 109}
    | {111, 112, 113, 120, 121, 124, 129, 132, 223, 250}
)


class QuietTelemetry(Telemetry):
    """A charger that measures its surroundings, and tells of them with one number."""

    def _surroundings(self, rng: random.Random) -> Iterator[tuple[int, Value]]:
        yield 132, -58 - rng.randrange(8)


def _compiled(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


ROUTES = [(route.method, _compiled(route.path), route) for route in rest.ROUTES]


@dataclass(slots=True)
class Request:
    """One request as it left the gateway.

    Attributes:
        life: Of which process.
        sent_s: When it left.
        status: What the gateway was told; None while it was not told anything.
        executed: The cloud carried it out.
    """

    life: int
    method: str
    path: str
    body: bytes = field(repr=False)
    sent_s: float
    status: int | None = None
    executed: bool = False
    retry_after_s: float | None = None
    answered_s: float | None = None


class Socket(Protocol):
    """A hub connection, as the world may treat it."""

    life: int
    is_open: bool
    silent: bool
    lag_s: float
    mangle: str | None

    def flush(self) -> None: ...
    def say(self, text: str) -> None: ...
    def end(self) -> None: ...
    @property
    def is_listening(self) -> bool: ...


Said = tuple[int, dict[str, str], bytes]
Rewrite = Callable[[Request, int, dict[str, str], bytes], Said]


class Vendor:
    """The cloud, its chargers, and the trouble it is in.

    Attributes:
        simulator: The vendor's own world.
        requests: All that left the gateway, oldest first.
        next_fault: What happens to the next request: a name of options.FAULTS, or None.
        down_until_s: Nobody is there until then.
        banned_until_s: Everybody is sent away until then.
        says_how_long: And is told so.
        life: Number of the process that asks now.
        pings: The hub pings every few seconds, not every few minutes.
        note: Told what happens.
    """

    def __init__(
        self,
        timeline: Timeline,
        rng: random.Random,
        *,
        options: Options,
        note: Callable[[str, object], None],
    ) -> None:
        self.timeline = timeline
        self.rng = rng
        is_dense = options.rarer == 1
        self._step_every_s = STEP_EVERY_S if is_dense else LONG_STEP_EVERY_S
        # What an interface that changes says instead: of an answer, and of a message of the hub.
        self.rewrite: Rewrite = lambda _request, *said: said
        self.rewrite_record: Callable[[str], list[str]] = lambda record: [record]
        self.pings = "pings" in options.chatter
        scenario = Scenario(
            chargers=options.chargers,
            equalizers=0,
            seed=options.seed,
            username="x@example.com",
            password="p",
            traffic=False,
            token_ttl_s=TOKEN_S if is_dense else LONG_TOKEN_S,
            command_latency_s=0.4,
            step_interval_s=0,
        )
        self.simulator = Simulator(scenario, lambda: timeline.wall)
        self.world = self.simulator.world
        self.world.longest_slice_s = self._step_every_s
        if options.thin:
            for charger in self.world.chargers.values():
                charger.readings = {i: r for i, r in charger.readings.items() if i in THIN_IDS}
                charger.telemetry = QuietTelemetry()
        self.frames_cut = options.frames_cut
        self.note = note
        self.requests: list[Request] = []
        self.next_fault: str | None = None
        self.down_until_s = 0.0
        self.banned_until_s = 0.0
        self.says_how_long = True
        self.upgrade_refused = 0
        self.life = 0
        self.sockets: list[Socket] = []
        self.on_left: Callable[[Request], None] = lambda _request: None
        self.on_executed: Callable[[Request], None] = lambda _request: None
        self._step()

    # -- its time --------------------------------------------------------------------------------

    def _step(self) -> None:
        self.live()
        self.timeline.later(self._step_every_s, self._step)

    def live(self) -> None:
        """Let the chargers live up to now, and tell whoever listens."""
        self.simulator.step()
        self.flush()

    def flush(self) -> None:
        """Send what waits for the hub's listeners."""
        for socket in tuple(self.sockets):
            socket.flush()

    def socket_of(self, life: int) -> Socket | None:
        """Return the open hub connection of a process."""
        return next((s for s in self.sockets if s.life == life and s.is_open), None)

    # -- REST ------------------------------------------------------------------------------------

    async def handle(self, raw: httpx.Request) -> httpx.Response:
        """Take a request from the gateway, with everything that may happen on the way."""
        if raw.extensions["left_s"]() <= 0:
            raise DeadlineExceeded("the request was not sent in time")
        path = raw.url.raw_path.decode()
        request = Request(self.life, raw.method, path, raw.content, self.timeline.now_s)
        self.requests.append(request)
        self.on_left(request)
        fault, self.next_fault = self.next_fault, None
        if fault is not None:
            self.note(fault, f"{raw.method} {path.split('?')[0]}")
        if self.timeline.now_s < self.down_until_s or fault == "rest_unreachable":
            await asyncio.sleep(0.05)
            raise httpx.ConnectError("connection refused")
        await asyncio.sleep(self.rng.uniform(0.01, 0.1))
        if fault == "rest_lost_request":
            await asyncio.sleep(NEVER_S)
        answer = self._answer(raw, request, fault)
        made_at = format_datetime(self.timeline.wall, usegmt=True)
        wait_s = self.rng.uniform(0.01, 0.15)
        if fault == "rest_lost_answer":
            wait_s = NEVER_S
        elif fault == "rest_late":
            wait_s = self.rng.uniform(2.0, 20.0)
        self.timeline.later(self.world.scenario.command_latency_s + 0.001, self.live)
        await asyncio.sleep(wait_s)
        request.status = answer.status
        request.answered_s = self.timeline.now_s
        named = answer.headers.get("Retry-After")
        request.retry_after_s = float(named) if named else None
        if answer.document is BLOCK_TEXT and named is None:
            request.retry_after_s = UNNAMED_BLOCK_S
        content = _content(answer)
        if fault == "rest_broken_body" and content and answer.status in range(200, 300):
            content = content[: self.rng.randrange(len(content))]
        headers = {"Date": made_at, **dict(answer.headers)}
        status, headers, content = self.rewrite(request, answer.status, headers, content)
        return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))

    def _answer(self, raw: httpx.Request, request: Request, fault: str | None) -> Answer:
        now = self.timeline.wall
        if self.timeline.now_s < self.banned_until_s:
            left_s = round(self.banned_until_s - self.timeline.now_s) + 1
            named = {"Retry-After": str(left_s)} if self.says_how_long else {}
            return Answer(403, BLOCK_TEXT, named)
        if fault == "rest_429":
            wait = self.rng.choice((None, 3, 20))
            return Answer(429, headers={} if wait is None else {"Retry-After": str(wait)})
        if fault == "rest_5xx":
            return Answer(self.rng.choice((500, 502, 503)))
        path, _, query = request.path.partition("?")
        if path in (LOGIN, REFRESH):
            fields = json.loads(request.body)
            ask = (
                self.simulator.accounts.login if path == LOGIN else self.simulator.accounts.refresh
            )
            return ask(fields, now)
        if not self.simulator.accounts.admits(raw.headers.get("Authorization"), now):
            return UNAUTHORIZED
        if path == NEGOTIATE:
            return Answer(200, self.simulator.hub.negotiate(1))
        wait_s = self.simulator.limits.wait_s(request.method, path, now)
        if wait_s:
            return Answer(429, headers={"Retry-After": str(wait_s)})
        return self._carry_out(request, path, query)

    def _carry_out(self, request: Request, path: str, query: str) -> Answer:
        for method, pattern, route in ROUTES:
            match = pattern.fullmatch(path) if method == request.method else None
            if match is not None:
                self.simulator.live_to_now()
                call = rest.Call(match.groupdict(), dict(parse_qsl(query)), request.body)
                answer = rest.answer(route, self.world, call)
                request.executed = answer.status in range(200, 300)
                if request.executed:
                    self.on_executed(request)
                self.simulator.tell()
                self.flush()
                return answer
        return Answer(404)


class Transport(httpx.AsyncBaseTransport):
    """The gateway's way to the vendor's REST interface."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._vendor.handle(request)


def _content(answer: Answer) -> bytes:
    if answer.document is NoBody:
        return b""
    if isinstance(answer.document, bytes):
        return answer.document
    return json.dumps(answer.document, separators=(",", ":")).encode()
