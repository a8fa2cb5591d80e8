"""Who is in control, through the running gateway, against the simulated cloud."""

import asyncio
import json

import pytest

from tests.acceptance.test_phases import charge, commands, send_as_another_client

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
OWNER = f"charger/{ONE}/state/control_owner"
FOREIGN = f"charger/{ONE}/event/foreign_command"


async def test_a_local_ocpp_server_takes_the_authorization(stage):
    """What it has taken from the cloud is refused with that reason; a pause still works."""
    async with stage(chargers=1, direct_ocpp=(1,), authorization_required=False) as s:
        await charge(s)
        await s.witness.value(OWNER, "ocpp")
        s.witness.publish(f"charger/{ONE}/set/start", "PRESS")
        refused = await s.witness.final(ONE, "start")
        s.witness.publish(f"charger/{ONE}/set/pause", "PRESS")
        paused = await s.witness.final(ONE, "pause")

        assert (refused["state"], refused["reason"]) == ("refused", "controlled_by_ocpp")
        assert paused["state"] == "confirmed"
        assert commands(s.cloud) == ["pause_charging"]


async def test_a_schedule_that_holds_the_charge_is_named(stage):
    """A resume cannot work then, and says what does; without the schedule the cloud decides."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charge(s)
        await s.witness.value(OWNER, "cloud")
        far = s.cloud.world.chargers[ONE].at.hour
        start, stop = (far + 10) % 24, (far + 12) % 24
        periods = [{"start": f"{start:02}:00", "stop": f"{stop:02}:00"}]
        order = {"timezone": "UTC", "periods": periods}
        s.witness.publish(f"charger/{ONE}/set/daily_schedule", json.dumps(order))
        await s.witness.value(OWNER, "schedule")
        await s.witness.value(f"charger/{ONE}/state/no_current_reason", "waiting_for_schedule")
        s.witness.publish(f"charger/{ONE}/set/resume", "PRESS")
        refused = await s.witness.final(ONE, "resume")
        s.witness.publish(f"charger/{ONE}/set/daily_schedule", '{"clear":true}')
        await s.witness.value(OWNER, "cloud")

        assert (refused["state"], refused["reason"]) == ("refused", "controlled_by_schedule")
        assert "override_schedule" in refused["detail"]


async def test_a_limit_of_another_controller_is_announced(stage):
    """When the limit moves without a command of ours, once a minute at most."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charge(s)
        topic = f"charger/{ONE}/state/dynamic_charger_current"
        for amps in (10, 12, 14):
            body = json.dumps({"amps": amps}).encode()
            await asyncio.to_thread(
                send_as_another_client, s.cloud, "set_dynamic_charger_current", body
            )
            await s.witness.value(topic, str(amps))
        events = [json.loads(payload) for name, payload, _ in s.witness.messages if name == FOREIGN]
        moved = [event for event in events if event.get("setting") == "dynamic_charger_current"]

        assert [event["value"] for event in moved] == [10]
