"""@microsoft/signalr from npm, unchanged, against the simulated hub."""

import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from bridge.simulator.sessions import Car
from bridge.simulator.simulator import HUBS, Simulator
from tests.acceptance.driven import Driven, driven

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

HERE = Path(__file__).with_name("signalr")
FIRST, SECOND = "EH000001", "EH000002"
INSTALL_TIMEOUT_S = 120


@pytest.fixture(scope="module")
def node() -> str:
    """Find node and its packages; only a machine without node may skip, and never CI."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        if os.environ.get("CI"):
            pytest.fail("node and npm are needed: CI has to run this test")
        pytest.skip("node and npm are not installed")
    if not (HERE / "node_modules" / "@microsoft" / "signalr").is_dir():
        subprocess.run(
            [npm, "ci", "--prefix", str(HERE)],
            check=True,
            capture_output=True,
            timeout=INSTALL_TIMEOUT_S,
        )
    return found


@asynccontextmanager
async def signalr(
    node: str, manner: str, hub: str = HUBS[0], **options: object
) -> AsyncIterator[tuple[Driven, Simulator]]:
    """Start a quiet simulated cloud and the client at it, with a token."""
    scenario = Scenario(**{"traffic": False, "command_latency_s": 0.05, **options})
    async with serve(scenario) as simulator:
        async with httpx.AsyncClient(base_url=simulator.api_url, trust_env=False) as http:
            body = {"userName": "someone@example.com", "password": "pw"}
            tokens = (await http.post("/api/accounts/login", json=body)).json()
        token = tokens["accessToken"]
        url = simulator.api_url + hub
        async with driven(node, str(HERE / "driver.mjs"), url, token, manner) as client:
            yield client, simulator


@pytest.mark.parametrize("hub", HUBS)
@pytest.mark.parametrize("manner", ["negotiate", "skip"])
async def test_it_connects_subscribes_and_hears(node, manner, hub):
    """Negotiated or not, on both hubs: the invocation completes after the replay."""
    async with signalr(node, manner, hub) as (client, simulator):
        assert await client.call("start") is None
        assert await client.call("state") == "Connected"
        assert await client.call("invoke", "SubscribeWithCurrentState", FIRST, True) is None
        replayed = [one for one in client.said if one[0] == "value"]
        assert len(replayed) > 100
        assert all(isinstance(one[3], str) for one in replayed)

        simulator.plug_in(FIRST, Car())
        await client.heard("value", FIRST, 46, "25")
        await client.heard("value", FIRST, 109, "7")
        negotiated = any(one.path.endswith("negotiateVersion=1") for one in simulator.requests)
        assert negotiated == (manner == "negotiate")


async def test_invocations_fail_as_hub_errors(node):
    """An unknown method and an unknown product are errors of the call, not of the connection."""
    async with signalr(node, "negotiate") as (client, _):
        await client.call("start")
        for words in (("Nonsense",), ("SubscribeWithCurrentState", "EH999999", True)):
            answer = await client.call("invoke", *words)
            assert "Error" in answer["error"]
        assert await client.call("state") == "Connected"


async def test_the_answer_to_a_command_arrives(node):
    """A CommandResponse reaches whoever is subscribed, and the value that reflects it."""
    async with signalr(node, "skip") as (client, simulator):
        await client.call("start")
        await client.call("invoke", "SubscribeWithCurrentState", FIRST, False)
        simulator.plug_in(FIRST, Car())
        answer = simulator.world.command(FIRST, "start_charging", {})
        assert answer.status == 202

        assert await client.heard("response", FIRST, 25, True)
        await client.heard("value", FIRST, 109, "6")


async def test_a_session_report_arrives_whole(node):
    """The JSON inside the text survives the way."""
    async with signalr(node, "negotiate", offline=(2,)) as (client, simulator):
        await client.call("start")
        await client.call("invoke", "SubscribeWithCurrentState", SECOND, False)
        simulator.bring_back(SECOND, sessions=2)
        await client.until(
            lambda: sum(one[:3] == ["value", SECOND, 129] for one in client.said) == 2,
            "two reports",
        )
        reports = [json.loads(one[3]) for one in client.said if one[2:3] == [129]]

        assert [one["AuthReason"] for one in reports] == [3, 4]


@pytest.mark.parametrize("manner", ["negotiate", "skip"])
@pytest.mark.parametrize("end", ["drop_connections", "close_connections"])
async def test_it_reconnects_after_the_line_was_cut(node, manner, end):
    """Cut, or told to go and come again: it comes back and can subscribe again."""
    async with signalr(node, manner) as (client, simulator):
        await client.call("start")
        await client.call("send", "SubscribeWithCurrentState", FIRST, False)
        getattr(simulator, end)()
        await client.heard("reconnecting")
        await client.heard("reconnected")
        before = len(client.said)
        await client.call("invoke", "SubscribeWithCurrentState", FIRST, True)

        assert await client.heard("value", FIRST, 109, after=before)
        assert simulator.connections == 1


async def test_pings_and_unknown_ids_do_not_disturb_it(node):
    """Pings, joined ones too, and an id nobody knows leave the connection as it is."""
    async with signalr(node, "negotiate", ping_interval_s=0.05) as (client, simulator):
        await client.call("start")
        await client.call("invoke", "SubscribeWithCurrentState", FIRST, False)
        simulator.send_raw('{"type":6}\x1e{"type":6}\x1e')
        simulator.push(FIRST, 65_000, "something new", data_type=6)

        assert await client.heard("value", FIRST, 65_000, "something new", 6)
        assert await client.call("state") == "Connected"


async def test_a_revoked_token_keeps_it_out(node):
    """Without a good token negotiation fails with 401."""
    async with signalr(node, "negotiate") as (client, simulator):
        simulator.revoke_tokens()

        assert "401" in (await client.call("start"))["error"]
