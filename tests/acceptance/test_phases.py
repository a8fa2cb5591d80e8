"""The guided switch of phases through the running gateway, against the simulated cloud."""

import asyncio
import json
import signal
import urllib.request

import pytest

from tests.acceptance.conftest import running

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
TOPIC = f"charger/{ONE}/set/phases"
SWITCH = json.dumps({"phases": 1, "amps": 10})
# The wait between phase mode and resume is half a minute of real time.
WITHIN_S = 110.0


def commands(cloud):
    """The commands that reached the cloud, in order."""
    paths = [r.path.split("/") for r in cloud.requests if f"/chargers/{ONE}/commands/" in r.path]
    return [path[-1] for path in paths]


async def result(witness, count=1):
    """Wait for the ``count``-th final result of a switch."""

    def finals():
        return [a for a in witness.results(ONE, "phases") if a["final"]][count - 1 : count]

    return (await witness.until(finals, "the end of the switch", WITHIN_S))[0]


async def charge(s):
    """Let a car charge with three phases."""
    s.cloud.plug_in(ONE)
    await s.witness.value(f"charger/{ONE}/state/op_mode", "charging")


async def test_a_running_charge_goes_on_with_one_phase(stage):
    """Paused, switched without load, resumed below the limit: one result, every step told."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charge(s)
        s.witness.publish(TOPIC, SWITCH)
        answer = await result(s.witness)
        await s.witness.value(f"charger/{ONE}/state/dynamic_charger_current", "10")
        await s.witness.value(f"charger/{ONE}/state/op_mode", "charging")

        charger = s.cloud.world.chargers[ONE]
        assert (answer["state"], answer["detail"]) == ("confirmed", "phase mode 1, limit 10 A")
        assert s.witness.retained[f"charger/{ONE}/state/phase_mode"] == b"1"
        assert (charger.phases, charger.switched_under_load) == (1, 0)
        assert commands(s.cloud) == [
            "pause_charging",
            "set_phase_mode",
            "set_dynamic_charger_current",
            "set_dynamic_charger_current",
        ]
        details = [a["detail"] for a in s.witness.results(ONE, "phases") if not a["final"]]
        assert details == [
            "paused",
            "no current flows (0 A)",
            "phase mode 1 was set",
            "phase mode 1 was read back",
            "waited 30 s",
            "resumed at 6 A",
        ]


async def test_a_gateway_that_is_killed_in_between_leaves_the_charger_paused(stage, tmp_path):
    """The next process pauses once more, and gives the one result."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charge(s)
        s.witness.publish(TOPIC, SWITCH)
        await s.witness.until(
            lambda: any(
                a["detail"] == "phase mode 1 was read back"
                for a in s.witness.results(ONE, "phases")
            ),
            "the phase mode",
        )
        await s.gateway.end(signal.SIGKILL)
        async with running(s.config, tmp_path):
            answer = await result(s.witness)

        assert (answer["state"], answer["reason"]) == ("failed", "interrupted")
        assert answer["detail"].endswith("; the charger is paused")
        assert commands(s.cloud) == ["pause_charging", "set_phase_mode", "pause_charging"]
        assert s.cloud.world.chargers[ONE].number(48) == 0


async def test_another_controllers_command_in_between_leaves_the_charger_paused(stage):
    """A resume from the vendor's app ends the switch."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charge(s)
        s.witness.publish(TOPIC, SWITCH)
        await s.witness.until(
            lambda: any(a["detail"] == "paused" for a in s.witness.results(ONE, "phases")),
            "the pause",
        )
        await asyncio.to_thread(send_as_another_client, s.cloud, "resume_charging")
        answer = await result(s.witness)
        await s.witness.value(f"charger/{ONE}/state/dynamic_charger_current", "0")

        assert (answer["state"], answer["reason"]) == ("failed", "foreign_command")
        assert answer["detail"].endswith("; the charger is paused")
        assert "set_phase_mode" not in commands(s.cloud)


async def test_a_newer_pause_ends_the_switch(stage):
    """Both have a result, and the charger is paused."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charge(s)
        s.witness.publish(TOPIC, SWITCH)
        await s.witness.until(lambda: s.witness.results(ONE, "phases"), "the first step")
        s.witness.publish(f"charger/{ONE}/set/pause", "PRESS")
        answer = await result(s.witness)
        newer = await s.witness.final(ONE, "pause")

        assert (answer["state"], answer["reason"]) == ("failed", "newer_command")
        assert newer["state"] == "confirmed"
        assert s.cloud.world.chargers[ONE].number(48) == 0


@pytest.mark.parametrize("is_plugged_in", [False, True])
async def test_what_was_paused_or_empty_stays_so(stage, is_plugged_in):
    """The phase mode is set, and no charge begins."""
    async with stage(chargers=1, authorization_required=False) as s:
        if is_plugged_in:
            await charge(s)
            s.witness.publish(f"charger/{ONE}/set/pause", "PRESS")
            await s.witness.final(ONE, "pause")
        s.witness.publish(TOPIC, SWITCH)
        answer = await result(s.witness)

        assert answer["state"] == "confirmed"
        assert s.cloud.world.chargers[ONE].number(38) == 1
        assert not s.cloud.world.chargers[ONE].charging
        assert "resume_charging" not in commands(s.cloud)


def send_as_another_client(cloud, command, body=b""):
    """Send a command as another client of the account does."""

    def post(path, body, token=None):
        headers = {"Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"{cloud.api_url}{path}", body, headers, method="POST")
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or b"null")

    login = json.dumps({"userName": "app@example.com", "password": "app"}).encode()
    token = post("/api/accounts/login", login)["accessToken"]
    post(f"/api/chargers/{ONE}/commands/{command}", body, token)
