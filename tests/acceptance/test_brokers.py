"""The process at brokers that take less than it would say."""

import pytest

from tests.acceptance.conftest import Witness

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
PARTS = f"homeassistant/sensor/charger_{ONE}/"
ALERT = "charger/bridge/alert/message_too_large"
DEVICE = f"homeassistant/device/charger_{ONE}/config"


def at_home(config):
    """Switch the descriptions for Home Assistant on."""
    config["homeassistant"] = {"enabled": True}


@pytest.mark.fault("F43")
@pytest.mark.parametrize("limit", ["message_size_limit", "max_packet_size"])
async def test_a_broker_with_a_limit_gets_parts_and_nobody_waits(stage, mosquitto, limit):
    """A description it does not take costs nothing: commands are answered, the parts come."""
    mosquitto.stop()
    with mosquitto._config.open("a") as config:
        config.write(f"{limit} 20000\n")
    mosquitto.start()
    home = Witness(mosquitto.port, judges=False)
    await home.start(("homeassistant/#",))
    async with stage(change=at_home, chargers=1) as s:
        s.witness.publish(f"charger/{ONE}/set/dynamic_charger_current", "10")
        answer = await s.witness.final(ONE, "dynamic_charger_current")
        await home.until(lambda: sum(t.startswith(PARTS) for t in home.retained) > 20, "parts")
        await home.until(lambda: not home.retained.get(DEVICE), "the end of the description")
        await s.witness.until(lambda: not s.witness.retained.get(ALERT), "the end of the alert")
        told = [payload for topic, payload, _ in s.witness.messages if topic == ALERT and payload]
        connected = [line for line in s.gateway.lines if line["event"] == "mqtt.connected"]
    await home.stop()

    assert answer["state"] == "confirmed"
    assert len(connected) == 1
    # In CONNACK the broker tells its limit, so nothing too large is tried.
    # The Equalizer's description is as large: the alert names either of them, or both in turn.
    assert bool(told) == (limit == "message_size_limit")
    assert all(b"homeassistant/device/" in payload for payload in told)
