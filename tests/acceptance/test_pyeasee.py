"""pyeasee from PyPI, unchanged, against the simulated cloud."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from bridge.simulator.sessions import Car
from bridge.simulator.simulator import Simulator
from tests.acceptance.driven import Driven, driven

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

DRIVER = Path(__file__).with_name("pyeasee_driver.py")
METER = "QP000001"
FIRST, SECOND, THIRD = "EH000001", "EH000002", "EH000003"


@asynccontextmanager
async def pyeasee(**options: object) -> AsyncIterator[tuple[Driven, Simulator]]:
    """Start a quiet simulated cloud and pyeasee at it."""
    scenario = Scenario(**{"traffic": False, "command_latency_s": 0.05, **options})
    async with (
        serve(scenario) as simulator,
        driven(sys.executable, str(DRIVER), simulator.api_url, simulator.stream_url) as client,
    ):
        yield client, simulator


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the simulated world is like this."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the world tells nobody but its listeners
            await asyncio.sleep(0.02)


async def test_it_logs_in_and_reads_everything():
    """Every read its users make is answered in a form it understands."""
    async with pyeasee() as (client, simulator):
        read = await client.call("read")

        assert "error" not in read, read
        assert read["chargers"] == [FIRST, SECOND, THIRD]
        assert read["circuits"] == [[FIRST, SECOND, THIRD]]
        assert read["config"]["phaseMode"] == "Auto"
        assert read["config"]["localNodeType"] == "Master"
        assert read["site_config"] == read["config"]
        assert read["site_state"]["chargerOpMode"] == "DISCONNECTED"
        assert {one["id"] for one in read["observations"]["observations"]} >= {109, 46, 250, 124}
        assert read["products"][0]["circuits"]
        equalizer = read["equalizer"]
        assert equalizer["id"] == METER
        assert equalizer["config"]["gridType"] == 1
        assert equalizer["state"]["activePowerImport"] >= 0.0
        assert [one["id"] for one in equalizer["observations"]["observations"]] == [40, 41, 87]
        assert equalizer["surplus"] == {"mode": "none"}
        assert equalizer["firmware"]
        assert read["sessions"]
        assert read["total"] == pytest.approx(sum(one["kiloWattHours"] for one in read["sessions"]))
        assert len(read["hours"]) > 700
        assert len(read["properties"]) > 150
        assert read["firmware"]
        assert read["operator"] is None
        assert simulator.requests[0].path == "/api/accounts/login"


async def test_it_follows_a_session_on_the_stream():
    """Replay, pending authorization, start, charging, pause, resume, stop, report."""
    async with pyeasee(speed=20.0) as (client, simulator):
        await client.call("read")
        await client.call("subscribe")
        for charger_id in (FIRST, SECOND, THIRD):
            await client.heard("value", charger_id, 251)
        replayed = [one for one in client.said if one[0] == "value"]
        assert len(replayed) > 3 * 100

        simulator.plug_in(FIRST, Car())
        await client.heard("value", FIRST, 46, 25)
        await client.heard("value", FIRST, 109, 7)
        answer = await client.call("charger", FIRST, "start")
        assert answer["status"] == 202
        assert answer["body"].keys() == {"device", "commandId", "ticks"}
        await client.heard("value", FIRST, 109, 3)
        await client.heard("value", FIRST, 46, 24)

        for method, value in (("pause", 0), ("resume", 32)):
            before = len(client.said)
            await client.call("charger", FIRST, method)
            await client.heard("value", FIRST, 48, value, after=before)
        before = len(client.said)
        await client.call("charger", FIRST, "stop")
        report = await client.heard("value", FIRST, 129, after=before)
        assert json.loads(report[3])["AuthReason"] == 6
        assert simulator.connections == 1


async def test_it_follows_and_configures_the_equalizer():
    """What the house draws comes by itself; the surplus mode is kept, the limit takes effect."""
    async with pyeasee() as (client, simulator):
        await client.call("read")
        await client.call("subscribe")
        await client.heard("value", METER, 40)
        before = len(client.said)
        await client.heard("value", METER, 40, after=before)

        assert (await client.call("equalizer", "set_max_allocated_current", 16))["status"] == 202
        assert (await client.call("equalizer", "set_load_balancing", True, 6))["status"] == 200
        surplus = await client.call("equalizer", "get_load_balancing")
        assert surplus["chargingWithImport"]["maximumImportAddedCurrent"] == 6
        await eventually(lambda: simulator.world.equalizers[METER].max_allocated_a == 16)


async def test_offline_sessions_reach_it():
    """A burst of reports with AuthReason 3 and 4 comes through one by one."""
    async with pyeasee(offline=(2,)) as (client, simulator):
        await client.call("read")
        await client.call("subscribe")
        await client.heard("value", SECOND, 251)
        before = len(client.said)
        simulator.bring_back(SECOND, sessions=4)
        await client.heard("value", SECOND, 250, True, after=before)
        await client.heard("value", SECOND, 124, after=before)
        reports = [one[3] for one in client.said[before:] if one[:3] == ["value", SECOND, 129]]

        assert [json.loads(one)["AuthReason"] for one in reports] == [3, 4, 3, 4]


COMMANDS = [
    ("toggle", (), 7, None),
    ("override_schedule", (), 7, None),
    ("smart_charging", (True,), 102, True),
    ("lockCablePermanently", (True,), 30, True),
    ("phaseMode", (1,), 38, 1),
    ("set_dynamic_charger_current", (10, 5), 48, 10),
    ("set_max_charger_current", (20,), 47, 20),
    ("set_led_strip_brightness", (30,), 40, 30),
    ("smartButtonEnabled", (True,), 44, True),
    ("enable_idle_current", (True,), 37, True),
    ("enable_charger", (False,), 31, False),
    ("set_access", ("whitelist",), 15, True),
    ("delete_access", (), 42, True),
    ("set_access", (1,), 42, False),
    ("update_firmware", (), 80, 338),
]


async def test_every_command_is_taken_and_reflected():
    """Each call is a 202, and the observation that reflects it arrives."""
    async with pyeasee(speed=20.0) as (client, simulator):
        await client.call("read")
        await client.call("subscribe")
        await client.heard("value", THIRD, 251)
        simulator.plug_in(FIRST, Car())
        for method, arguments, observation_id, value in COMMANDS:
            before = len(client.said)
            answer = await client.call("charger", FIRST, method, *arguments)
            assert answer["status"] == 202, (method, answer)
            if value is not None:
                await client.heard("value", FIRST, observation_id, value, after=before)

        # The new firmware restarts the charger; until it is back it answers nothing.
        await client.heard("value", FIRST, 250, True, after=before)
        before = len(client.said)
        assert (await client.call("circuit", "set_dynamic_current", 12))["status"] == 202
        await client.heard("value", SECOND, 111, 12, after=before)
        assert (await client.call("circuit", "set_max_current", 20))["status"] == 200
        await client.heard("value", SECOND, 22, 20, after=before)
        refused = await client.call("circuit", "set_rated_current", 20)
        assert refused["error"] == "ForbiddenServiceException"


async def test_schedules_are_kept():
    """None at first; what it writes it reads; switched off it is off; deleted it is gone."""
    async with pyeasee() as (client, simulator):
        await client.call("read")
        plans = simulator.world.chargers[FIRST].plans
        for method in ("get_basic_charge_plan", "get_weekly_charge_plan"):
            assert (await client.call("charger", FIRST, method))["error"] == "NotFoundException"

        assert (await client.call("plan", FIRST))["status"] == 202
        await eventually(lambda: "daily" in plans)
        plan = await client.call("charger", FIRST, "get_basic_charge_plan")
        assert plan["periods"] == [
            {"startTime": "22:00:00", "stopTime": "06:00:00", "maximumAmps": 16}
        ]

        await client.call("charger", FIRST, "disable_basic_charge_plan")
        await eventually(lambda: plans["daily"]["enabled"] is False)
        assert (await client.call("charger", FIRST, "delete_basic_charge_plan"))["status"] == 202
        await eventually(lambda: not plans)


async def test_without_a_car_it_is_told_so():
    """A pause is a 400 in the vendor's words, after which it still works."""
    async with pyeasee() as (client, _):
        await client.call("read")
        refused = await client.call("charger", FIRST, "pause")

        assert refused["error"] == "BadRequestException"
        assert "not connected" in refused["text"]
        assert (await client.call("charger", FIRST, "get_config"))["isEnabled"] is True


async def test_it_refreshes_its_tokens_and_logs_in_again():
    """An expiring token is refreshed with the rotated pair; a revoked one costs one login."""
    # It calls a token expired a minute early, so at this age it refreshes before every request.
    async with pyeasee(token_ttl_s=60) as (client, simulator):
        await client.call("read")
        await client.call("charger", FIRST, "get_config")
        refreshes = [one for one in simulator.requests if one.path.endswith("/refresh_token")]
        assert len(refreshes) > 5
        assert {one.status for one in refreshes} == {200}

        simulator.revoke_tokens()
        before = len(simulator.requests)
        assert (await client.call("charger", FIRST, "get_config"))["isEnabled"] is True
        later = [(one.path, one.status) for one in simulator.requests[before:]]
        assert later[0] == ("/api/accounts/refresh_token", 401)
        assert ("/api/accounts/login", 200) in later
