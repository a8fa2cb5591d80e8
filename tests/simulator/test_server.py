import asyncio
from datetime import timedelta

import aiohttp
import pytest

from bridge.simulator.scenario import Scenario
from bridge.simulator.server import own_clock, serve
from bridge.simulator.sessions import Car
from tests.conftest import PATIENCE_S
from tests.simulator.lab import FIRST

pytestmark = pytest.mark.anyio


async def test_without_a_good_token_there_is_an_empty_401(connect):
    """Missing, foreign, expired and revoked tokens look alike; the login and /health are open."""
    async with connect(token_ttl_s=60) as client:
        good = client.token
        client.token = ""
        assert await client.ask("GET", "/api/chargers") == (401, "")
        assert (await client.ask("GET", "/health"))[0] == 200
        client.token = good
        assert (await client.ask("GET", "/api/chargers"))[0] == 200
        client.wait(60)
        assert (await client.ask("GET", "/api/chargers"))[0] == 401
        await client.login()
        client.simulator.revoke_tokens()
        assert (await client.ask("GET", "/api/chargers"))[0] == 401


async def test_logging_in_and_refreshing_over_http(connect):
    """Bad credentials are a problem document, a refresh gives a working pair, rubbish is a 400."""
    async with connect(username="someone@example.com", password="pw") as client:
        wrong = {"userName": "someone@example.com", "password": "no"}
        async with client.http.post("/api/accounts/login", json=wrong) as answer:
            assert answer.status == 400
            assert answer.content_type == "application/problem+json"
            assert (await answer.json())["errorCode"] == 100
        tokens = await client.login()
        status, fresh = await client.ask("POST", "/api/accounts/refresh_token", json=tokens)
        assert status == 200
        client.token = fresh["accessToken"]
        assert (await client.ask("GET", "/api/sites"))[0] == 200
        assert (await client.ask("POST", "/api/accounts/login", data=b"{"))[0] == 400


async def test_beyond_the_limit_there_is_a_429_with_retry_after(connect):
    """The third list in a minute waits; switched off, nobody waits."""
    async with connect() as client:
        headers = {"Authorization": f"Bearer {client.token}"}
        for _ in range(2):
            assert (await client.ask("GET", "/api/chargers"))[0] == 200
        async with client.http.get("/api/chargers", headers=headers) as answer:
            assert answer.status == 429
            assert answer.headers["Retry-After"] == "60"
        client.wait(60)
        assert (await client.ask("GET", "/api/chargers"))[0] == 200
    async with connect(rate_limits=False) as client:
        statuses = [(await client.ask("GET", "/api/chargers"))[0] for _ in range(5)]
        assert statuses == [200] * 5


async def test_every_nth_request_may_be_told_to_wait(connect):
    """With too_many_requests=3 the third, sixth, … is a 429."""
    async with connect(too_many_requests=3) as client:
        statuses = [(await client.ask("GET", "/api/sites"))[0] for _ in range(5)]

        assert statuses == [200, 429, 200, 200, 429]  # the login was the first


async def test_a_block_shuts_everything(connect):
    """403 with a text that says so, the login and the hub included, until it is lifted."""
    async with connect() as client:
        client.simulator.block()
        status, text = await client.ask("GET", "/api/sites")
        assert status == 403
        assert "blocked" in text
        assert (await client.ask("POST", "/hubs/chargers/negotiate"))[0] == 403
        client.simulator.block(False)
        assert (await client.ask("GET", "/api/sites"))[0] == 200


async def test_unknown_paths_and_methods(connect):
    """404 and 405 like anywhere."""
    async with connect() as client:
        assert (await client.ask("GET", "/api/nothing"))[0] == 404
        assert (await client.ask("GET", f"/api/chargers/{FIRST}/settings"))[0] == 405
        assert (await client.ask("GET", f"/api/state/{FIRST}/observations?ids=1"))[0] == 404


async def test_a_cut_answer_is_no_answer(connect):
    """Status 0 ends the connection."""
    async with connect() as client:
        path = f"/api/chargers/{FIRST}/commands/reboot"
        client.simulator.answer_next(path, 0)
        with pytest.raises(aiohttp.ClientError):
            await client.ask("POST", path)


async def test_a_running_server_answers_commands_by_itself():
    """With a clock of its own the CommandResponse follows without anybody stepping."""
    scenario = Scenario(traffic=False, command_latency_s=0.01)
    async with (
        serve(scenario) as simulator,
        aiohttp.ClientSession(simulator.api_url) as http,
    ):
        simulator.plug_in(FIRST, Car())
        body = {"userName": "u", "password": "p"}
        tokens = await (await http.post("/api/accounts/login", json=body)).json()
        headers = {"Authorization": f"Bearer {tokens['accessToken']}"}
        path = f"/api/chargers/{FIRST}/commands/start_charging"
        async with http.post(path, headers=headers) as answer:
            assert answer.status == 202
        async with asyncio.timeout(PATIENCE_S):
            while simulator.world.chargers[FIRST].number(109) != 6:  # noqa: ASYNC110 - only looking tells
                await asyncio.sleep(0.01)


async def test_an_error_in_the_block_comes_out_as_it_is():
    """No group around it, and the port is free again."""
    with pytest.raises(ZeroDivisionError):
        async with serve(Scenario(chargers=1)):
            raise ZeroDivisionError


def test_its_own_clock_is_aware():
    """The simulated cloud tells UTC."""
    assert own_clock().utcoffset() == timedelta()
