"""Held limits through the running gateway, against the simulated cloud."""

import json
import signal

import pytest

from tests.acceptance.conftest import running
from tests.acceptance.test_phases import charge, commands

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
TOPIC = f"charger/{ONE}/set/dynamic_charger_current"
SHOWN = f"charger/{ONE}/state/dynamic_charger_current"
HELD = f"charger/{ONE}/state/held_limit"
SET = "set_dynamic_charger_current"


async def hold(s):
    """Have 16 A held."""
    await s.witness.value(HELD, "null")
    s.witness.publish(TOPIC, json.dumps({"amps": 16, "hold": True}))
    final = await s.witness.final(ONE, "dynamic_charger_current")
    assert final["state"] == "confirmed"
    await s.witness.value(SHOWN, "16")
    await s.witness.value(HELD, "16")


async def test_it_is_back_after_a_plug_in_a_resume_and_a_restart(stage, tmp_path):
    """Of the car, of the charge and of the gateway; until it is released."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charge(s)
        await hold(s)
        s.cloud.unplug(ONE)
        s.cloud.plug_in(ONE)
        await s.witness.value(SHOWN, "32")
        await s.witness.value(SHOWN, "16")
        s.witness.publish(f"charger/{ONE}/set/pause", "PRESS")
        await s.witness.value(SHOWN, "0")
        s.witness.publish(f"charger/{ONE}/set/resume", "PRESS")
        await s.witness.value(SHOWN, "32")
        await s.witness.value(SHOWN, "16")
        await s.gateway.end(signal.SIGKILL)
        s.cloud.unplug(ONE)
        s.cloud.plug_in(ONE)
        async with running(s.config, tmp_path):
            await s.witness.value(SHOWN, "32")
            await s.witness.value(SHOWN, "16")
            assert s.witness.retained[HELD] == b"16"
            s.witness.publish(TOPIC, json.dumps({"release": True}))
            await s.witness.value(HELD, "null")
            released = await s.witness.final(ONE, "dynamic_charger_current", 2)

        assert released["state"] == "confirmed"
        assert commands(s.cloud).count(SET) == 4


async def test_it_is_back_after_a_reboot(stage):
    """The charger restarts and forgets it."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charge(s)
        await hold(s)
        s.witness.publish(f"charger/{ONE}/set/reboot", "PRESS")
        await s.witness.value(SHOWN, "32", 60.0)
        await s.witness.value(SHOWN, "16")

        assert commands(s.cloud).count(SET) == 2


async def test_it_never_stands_against_a_newer_limit(stage):
    """Another one of ours ends it, and a plug-in brings nothing back."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charge(s)
        await hold(s)
        s.witness.publish(TOPIC, "20")
        await s.witness.value(HELD, "null")
        await s.witness.value(SHOWN, "20")
        s.cloud.unplug(ONE)
        s.cloud.plug_in(ONE)
        await s.witness.value(SHOWN, "32")
        await s.witness.value(f"charger/{ONE}/state/op_mode", "charging")

        assert commands(s.cloud).count(SET) == 2


CIRCUIT = "dynamic_circuit_current"
CIRCUIT_SHOWN = f"charger/{ONE}/state/dynamic_circuit_current_p2"


async def test_a_limit_of_the_circuit_is_held_too(stage):
    """Its lowest phase is shown; it is back after a restart that nobody asked for."""

    def asked(payload):
        s.witness.publish(f"charger/{ONE}/set/{CIRCUIT}", json.dumps(payload))

    async with stage(chargers=1, authorization_required=False) as s:
        await charge(s)
        await s.witness.value(HELD, "null")
        asked({"phase1": 16, "phase2": 14, "phase3": 16, "hold": True})
        assert (await s.witness.final(ONE, CIRCUIT))["state"] == "confirmed"
        await s.witness.value(CIRCUIT_SHOWN, "14")
        await s.witness.value(HELD, "14")
        s.cloud.world.chargers[ONE].reboot()
        await s.witness.value(CIRCUIT_SHOWN, "40", 60.0)
        await s.witness.value(CIRCUIT_SHOWN, "14")
        asked(20)
        await s.witness.value(HELD, "null")
        await s.witness.value(CIRCUIT_SHOWN, "20")

        posts = [one for one in s.cloud.requests if one.method == "POST"]
        assert len([one for one in posts if one.path.endswith("/dynamicCurrent")]) == 3
