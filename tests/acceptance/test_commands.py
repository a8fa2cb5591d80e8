"""Commands as people send them: through a real broker, to a process that may be killed."""

import asyncio
import json
import time

import pytest

from tests.acceptance.conftest import running

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE, TWO = "EH000001", "EH000002"


def sent(stage, charger_id, command):
    """Return the requests for a command of a charger, as the cloud saw them."""
    path = f"/api/chargers/{charger_id}/commands/{command}"
    return [request for request in stage.cloud.requests if request.path == path]


async def test_a_limit_right_behind_a_resume_stands(stage):
    """The resume's maximum comes a second after its answer; what was asked for last counts."""
    async with stage(chargers=1) as s:
        s.cloud.plug_in(ONE)
        s.witness.publish(f"charger/{ONE}/set/pause", "PRESS")
        await s.witness.final(ONE, "pause")
        await s.witness.value(f"charger/{ONE}/state/dynamic_charger_current", "0")
        s.witness.publish(f"charger/{ONE}/set/resume", "PRESS")
        s.witness.publish(f"charger/{ONE}/set/dynamic_charger_current", "10")
        final = await s.witness.final(ONE, "dynamic_charger_current")
        await s.witness.value(f"charger/{ONE}/state/dynamic_charger_current", "10")
        await asyncio.sleep(2.0)  # the simulated effect of a resume takes real time

        assert final["state"] == "confirmed"
        assert s.witness.retained[f"charger/{ONE}/state/dynamic_charger_current"] == b"10"


async def test_what_is_there_already_costs_no_request(stage):
    """The second limit of the same value is a noop that never reaches the cloud."""
    async with stage(chargers=1) as s:
        topic = f"charger/{ONE}/set/dynamic_charger_current"
        s.witness.publish(topic, "16")
        await s.witness.final(ONE, "dynamic_charger_current")
        await s.witness.value(f"charger/{ONE}/state/dynamic_charger_current", "16")
        s.witness.publish(topic, "16")
        again = await s.witness.final(ONE, "dynamic_charger_current", 2)

        assert again["state"] == "noop"
        assert len(sent(s, ONE, "set_dynamic_charger_current")) == 1


@pytest.mark.fault("F21")
async def test_a_flood_for_one_charger_keeps_nobody_else_waiting(stage):
    """Every message is answered once, few are sent, and the other charger answers in time."""
    async with stage(chargers=2) as s:
        took = []
        for number in range(10):
            for amps in range(50):
                s.witness.publish(
                    f"charger/{ONE}/set/dynamic_charger_current", str(6 + (amps + number) % 26)
                )
            began = time.perf_counter()
            s.witness.publish(f"charger/{TWO}/set/stop", json.dumps({"id": f"stop-{number}"}))
            await s.witness.until(
                lambda: s.witness.results(TWO, "stop"), "an answer to the other charger"
            )
            took.append(time.perf_counter() - began)
            s.witness.messages.clear()
            await asyncio.sleep(0.05)

        assert sorted(took)[-2] < 2.0
        assert len(sent(s, ONE, "set_dynamic_charger_current")) < 60


@pytest.mark.fault("F1")
async def test_a_killed_bridge_sends_nothing_twice_and_answers_all_the_same(stage):
    """SIGKILL behind the request: a toggle is verified or unknown, and its id stays known."""
    async with stage(chargers=1, command_latency_s=3.0) as s:
        s.cloud.plug_in(ONE)
        s.witness.publish(f"charger/{ONE}/set/toggle", '{"id":"t"}')
        await s.witness.until(lambda: sent(s, ONE, "toggle_charging"), "the request", 20.0)
        s.gateway.process.kill()
        await s.gateway.end()
        async with running(s.config, s.folder):
            final = await s.witness.final(ONE, "toggle")
            s.witness.publish(f"charger/{ONE}/set/toggle", '{"id":"t"}')
            again = await s.witness.final(ONE, "toggle", 2)

        # Whether the cloud's answer was still read and written down is a matter of milliseconds.
        assert final["state"] in ("unknown", "confirmed", "unconfirmed")
        assert final["id"] == "t"
        assert again == final
        assert len(sent(s, ONE, "toggle_charging")) == 1
