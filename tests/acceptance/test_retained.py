"""Commands with the retain flag, against a real broker, on both versions of MQTT."""

import asyncio
import json

import pytest

from bridge.adapters.mqtt.client import read_retained
from bridge.settings import MqttSettings

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
START = f"charger/{ONE}/set/start"
ALERT = "charger/bridge/alert/retained_command"


def on_version(version, **commands):
    """Change a configuration: the version of MQTT, and how commands are taken."""

    def change(config):
        config["mqtt"]["version"] = version
        config["commands"].update(commands)

    return change


@pytest.mark.fault("F22")
@pytest.mark.parametrize(("version", "state"), [("3.1.1", "confirmed"), ("5", "refused")])
async def test_a_live_retained_command_is_emptied_and_named(stage, version, state):
    """It runs once where nobody can tell, has one answer, and is gone for the next start."""
    async with stage(chargers=1, change=on_version(version)) as s:
        w = s.witness
        s.cloud.plug_in(ONE)
        await w.value(f"charger/{ONE}/state/op_mode", "awaiting_authorization")
        w.publish(START, json.dumps({"id": "a"}), retain=True)
        assert (await w.final(ONE, "start"))["state"] == state
        await w.until(lambda: START in w.retained.get(ALERT, b"").decode(), "the alert")
        there = MqttSettings("127.0.0.1", s.broker.port)
        assert await read_retained(there, (START,)) == {}
        before = len(s.cloud.world.commands)
        assert before == (1 if version == "3.1.1" else 0)
        await s.gateway.end()
        await s.gateway.start()
        await w.until(lambda: w.retained["charger/bridge/state"] == b"online", "the next start")
        await w.value(f"charger/{ONE}/availability", "online")
        w.publish(f"charger/{ONE}/set/refresh", "PRESS")
        await w.final(ONE, "refresh")
        assert len([a for a in w.results(ONE, "start") if a["final"]]) == 1
        assert len(s.cloud.world.commands) == before


@pytest.mark.fault("F22")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_what_was_retained_before_the_first_start_is_emptied_too(stage, version):
    """The chargers are known only when the cloud listed them; there is one answer all the same."""
    async with stage(chargers=1, change=on_version(version)) as s:
        w = s.witness
        await s.gateway.end()
        (s.folder / "store" / "chargers.json").unlink()
        w.publish(START, json.dumps({"id": "a"}), retain=True)
        await s.gateway.start()
        await w.until(lambda: START in w.retained.get(ALERT, b"").decode(), "the alert")
        assert (await w.final(ONE, "start"))["reason"] == "retained"
        w.publish(f"charger/{ONE}/set/refresh", "PRESS")
        await w.final(ONE, "refresh")
        assert len(w.results(ONE, "start")) == 1
        assert await read_retained(MqttSettings("127.0.0.1", s.broker.port), (START,)) == {}
        assert not s.cloud.world.commands


async def test_what_may_be_retained_is_refused_where_that_is_wished(stage):
    """On 3.1.1 with the option: a start is refused, a stop is not, and it is said where to look."""
    change = on_version("3.1.1", unsure_retained="refuse_energizing")
    async with stage(chargers=1, change=change) as s:
        w = s.witness
        info = json.loads(w.retained["charger/bridge/info"])
        assert info["capabilities"]["tells_retained"] is False
        assert info["capabilities"]["answers_while_away"] is False
        w.publish(START, "PRESS")
        answer = await w.final(ONE, "start")
        assert (answer["state"], answer["reason"]) == ("refused", "retained")
        w.publish(f"charger/{ONE}/set/pause", "PRESS")
        assert (await w.final(ONE, "pause"))["state"] != "refused"


async def test_what_waited_longer_than_it_lives_is_answered_after_a_restart(stage):
    """MQTT 5: each command gets one answer, and none of them reaches the cloud."""
    change = on_version("5", ttl_s=1)
    async with stage(chargers=1, change=change) as s:
        w = s.witness
        info = json.loads(w.retained["charger/bridge/info"])
        assert info["capabilities"]["answers_while_away"] is True
        await s.gateway.end()
        for command in ("start", "stop"):
            w.publish(f"charger/{ONE}/set/{command}", json.dumps({"id": command}))
        past = {"id": "late", "expires_at": "2026-01-01T00:00:00Z"}
        w.publish(f"charger/{ONE}/set/pause", json.dumps(past))
        await asyncio.sleep(1.1)
        await s.gateway.start()
        for command, state in (("start", "refused"), ("stop", "refused"), ("pause", "expired")):
            assert (await w.final(ONE, command))["state"] == state
        assert not s.cloud.world.commands
