"""The simulated cloud as a server on loopback: one port for REST and hub."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from bridge.simulator import rest
from bridge.simulator.accounts import BEARER
from bridge.simulator.exchange import Order
from bridge.simulator.partner_login import feed_login
from bridge.simulator.problems import UNAUTHORIZED, Answer, NoBody, validation_error
from bridge.simulator.scenario import Scenario
from bridge.simulator.simulator import HUBS, Now, Prepared, Seen, Simulator
from bridge.simulator.web import web

LOGIN = "/api/accounts/login"
FEED = "/api/streams/amqp/v2"
REFRESH = "/api/accounts/refresh_token"
OPEN_TO_ALL = frozenset({LOGIN, REFRESH, "/health"})
MAX_BODY_BYTES = 1 << 20
FIRST_ERROR = 400
BLOCK_TEXT = (
    "There were too many requests from your IP address. It is now blocked; contact support."
)

Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def own_clock() -> datetime:
    """Return the time of the simulated cloud, which has a clock of its own."""
    return datetime.now(UTC)  # noqa: TID251 - see above; tests pass their own


class Server:
    """HTTP in front of a :class:`Simulator`."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def application(self) -> web.Application:
        """Build the aiohttp application."""
        app = web.Application(middlewares=[self._gate], client_max_size=MAX_BODY_BYTES)
        for hub in HUBS:
            app.router.add_post(f"{hub}/negotiate", self._negotiate)
            app.router.add_get(hub, self._socket)
        app.router.add_post(LOGIN, self._login)
        app.router.add_post(REFRESH, self._refresh)
        app.router.add_get(FEED, self._feed)
        for route in rest.ROUTES:
            app.router.add_route(route.method, route.path, self._rest(route))
        return app

    @web.middleware
    async def _gate(self, request: web.Request, handler: Next) -> web.StreamResponse:
        seen = Seen(
            request.method,
            request.path_qs,
            await request.read(),
            request.headers.get("User-Agent", ""),
            self._simulator.now(),
        )
        self._simulator.seen.append(seen)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            seen.status = 101
        response = await self._let_in(request, handler)
        seen.status = response.status
        return response

    async def _let_in(self, request: web.Request, handler: Next) -> web.StreamResponse:
        if self._simulator.blocked:
            return web.Response(status=403, text=BLOCK_TEXT)
        prepared = self._prepared_for(request.path)
        if prepared is not None:
            return await self._answer_prepared(prepared, request, handler)
        refusal = self._refusal(request)
        return _response(refusal) if refusal is not None else await _handled(request, handler)

    def _refusal(self, request: web.Request) -> Answer | None:
        path = request.path
        if not path.startswith(HUBS):
            self._simulator.counted += 1
            every = self._simulator.scenario.too_many_requests
            if every and self._simulator.counted % every == 0:
                return Answer(
                    429, headers={"Retry-After": str(self._simulator.scenario.retry_after_s)}
                )
        if path not in OPEN_TO_ALL and not self._admits(request):
            return UNAUTHORIZED
        wait_s = self._simulator.limits.wait_s(request.method, path, self._simulator.now())
        return Answer(429, headers={"Retry-After": str(wait_s)}) if wait_s else None

    def _admits(self, request: web.Request) -> bool:
        header = request.headers.get("Authorization")
        if header is None and request.path.startswith(HUBS) and "access_token" in request.query:
            header = BEARER + request.query["access_token"]
        return self._simulator.accounts.admits(header, self._simulator.now())

    def _prepared_for(self, path: str) -> Prepared | None:
        for prepared in self._simulator.prepared:
            if path.startswith(prepared.prefix):
                prepared.times -= 1
                if prepared.times <= 0:
                    self._simulator.prepared.remove(prepared)
                return prepared
        return None

    async def _answer_prepared(
        self, prepared: Prepared, request: web.Request, handler: Next
    ) -> web.StreamResponse:
        if prepared.execute:
            await _handled(request, handler)
        if prepared.delay_s:
            await asyncio.sleep(prepared.delay_s)
        if prepared.answer.status == 0:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        return _response(prepared.answer)

    def _rest(self, route: rest.Route) -> Next:
        async def answer(request: web.Request) -> web.Response:
            self._simulator.live_to_now()
            call = rest.Call(request.match_info, request.query, await request.read())
            response = _response(rest.answer(route, self._simulator.world, call))
            self._simulator.tell()
            if request.method != "GET":
                _step_later(self._simulator)
            return response

        return answer

    async def _login(self, request: web.Request) -> web.Response:
        return _account(self._simulator.accounts.login, await request.read(), self._simulator.now())

    async def _refresh(self, request: web.Request) -> web.Response:
        return _account(
            self._simulator.accounts.refresh, await request.read(), self._simulator.now()
        )

    async def _feed(self, _request: web.Request) -> web.Response:
        """Answer where the partner feed is; without one the account is no integration's."""
        url = self._simulator.scenario.amqp
        return web.Response(status=403) if url is None else web.json_response(feed_login(url))

    async def _negotiate(self, request: web.Request) -> web.Response:
        version = request.query.get("negotiateVersion", "0")
        return web.json_response(
            self._simulator.hub.negotiate(int(version) if version.isdecimal() else 0)
        )

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not self._simulator.hub.admits(request.query.get("id")):
            return web.Response(status=404, text="No Connection with that ID")
        return await self._simulator.hub.serve(request)


def _account(
    ask: Callable[[Mapping[str, object], datetime], Answer], raw: bytes, now: datetime
) -> web.Response:
    try:
        fields = rest.Call({}, {}, raw).fields()
    except (ValueError, RecursionError):
        return _response(validation_error({"$": ["A JSON object is expected."]}))
    return _response(ask(fields, now))


async def _handled(request: web.Request, handler: Next) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as exc:
        return web.Response(status=exc.status)


def _response(answer: Answer) -> web.Response:
    body = b"" if answer.document is NoBody else answer.document
    if not isinstance(body, bytes):
        body = json.dumps(body, separators=(",", ":")).encode()
    kind = "application/problem+json" if answer.status >= FIRST_ERROR else "application/json"
    headers = dict(answer.headers)
    if body:
        headers.setdefault("Content-Type", kind)
    return web.Response(status=answer.status, body=body, headers=headers)


def _step_later(simulator: Simulator) -> None:
    # A charger's answer is due between two steps of the world: do not let it wait.
    if simulator.scenario.step_interval_s:
        latency_s = simulator.scenario.command_latency_s
        asyncio.get_running_loop().call_later(latency_s + 0.001, simulator.step)


async def _feed(simulator: Simulator, url: str) -> None:
    """Feed a RabbitMQ for as long as the simulated cloud lives."""
    from bridge.simulator.partner_feed import PartnerFeed  # noqa: PLC0415 - an extra

    def take(order: Order) -> None:
        simulator.live_to_now()
        simulator.world.from_exchange(order)
        _step_later(simulator)

    simulator.feed = feed = PartnerFeed(url, take)
    await feed.run()


async def _live(simulator: Simulator) -> None:
    while True:
        await asyncio.sleep(simulator.scenario.step_interval_s)
        simulator.step()


@asynccontextmanager
async def serve(
    scenario: Scenario, *, now: Now = own_clock, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[Simulator]:
    """Run a simulated cloud for as long as the block lasts.

    Args:
        scenario: What it is like.
        now: Its wall clock, aware UTC.
        host: Where to listen; loopback.
        port: 0 for a free one.

    Yields:
        The running simulator, with its URLs.
    """
    simulator = Simulator(scenario, now)
    runner = web.AppRunner(Server(simulator).application(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    failure: BaseException | None = None
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0]
        simulator.api_url = f"http://{host}:{bound[1]}"
        async with asyncio.TaskGroup() as tasks:
            living = tasks.create_task(_live(simulator)) if scenario.step_interval_s else None
            feeding = tasks.create_task(_feed(simulator, scenario.amqp)) if scenario.amqp else None
            try:
                yield simulator
            except asyncio.CancelledError:
                raise
            except BaseException as exc:  # noqa: BLE001 - raised again below, not swallowed
                # Out of a TaskGroup it would come wrapped; the block's own error is the caller's.
                failure = exc
            finally:
                for task in (living, feeding):
                    if task is not None:
                        task.cancel()
    finally:
        simulator.hub.drop_all()
        await runner.cleanup()
    if failure is not None:
        raise failure
