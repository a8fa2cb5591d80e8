"""Two accounts at one broker with one Home Assistant, each served by an instance of the unit.

Both clouds know a charger of the same serial: whatever is told apart is told apart by the instance.
"""

import contextlib
import json
from pathlib import Path

import pytest

from bridge.simulator.scenario import Scenario
from tests.acceptance.conftest import Witness, configuration, running, serve

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

UNIT = Path(__file__).parents[2] / "deploy" / "charger-bridge@.service"
ACCOUNTS = ("home", "work")
ONE = "EH000001"
PREFIX = "CHARGER_BRIDGE_MQTT__"


def environ_of(account):
    """Return what the template unit sets for the broker in an instance."""
    lines = UNIT.read_text().replace("%i", account).splitlines()
    pairs = (line.removeprefix("Environment=").partition("=") for line in lines)
    return {key: value for key, _, value in pairs if key.startswith(PREFIX)}


@contextlib.asynccontextmanager
async def instance(account, folder, port):
    """Run one account: a cloud of its own, and a gateway as the unit starts it."""
    place = folder / account
    place.mkdir()
    async with serve(Scenario(traffic=False, chargers=1, equalizers=0)) as cloud:
        config = configuration(cloud.api_url, cloud.stream_url, port, place)
        config["homeassistant"] = {"enabled": True}
        async with running(config, place, **environ_of(account)) as gateway:
            yield cloud, gateway


def parts_of(described):
    """Return every unique id, identifier and topic that a description names."""
    document = json.loads(described)
    parts = [*document["components"].values()]
    identifiers = {*document["device"]["identifiers"]}
    topics = {value for part in parts for key, value in part.items() if key.endswith("_topic")}
    return {part["unique_id"] for part in parts} | identifiers, topics


async def test_two_instances_share_nothing_at_the_broker(mosquitto, tmp_path):
    """Client ids, topics and Home Assistant's ids differ, and neither names a second bridge."""
    w = Witness(mosquitto.port, judges=False)
    await w.start(("#",))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(w.stop)
        runs = {
            account: await stack.enter_async_context(instance(account, tmp_path, mosquitto.port))
            for account in ACCOUNTS
        }
        client_ids = {environ_of(account)[f"{PREFIX}CLIENT_ID"] for account in ACCOUNTS}
        assert len(client_ids) == len(ACCOUNTS)
        named, topics = {}, {}
        for account in ACCOUNTS:
            base = f"charger-{account}"
            await w.value(f"{base}/bridge/cloud", "connected")
            await w.value(f"{base}/{ONE}/availability", "online")
            info = json.loads(w.retained[f"{base}/bridge/info"])
            assert info["client_id"] == f"charger-bridge-{account}"
            for device in (ONE, "bridge"):
                topic = f"homeassistant/device/charger-{account}_{device}/config"
                described = await w.until(lambda t=topic: w.retained.get(t), topic)
                ids, read = parts_of(described)
                named.setdefault(account, set()).update(ids)
                topics.setdefault(account, set()).update(read)
            assert all(topic.startswith(f"{base}/") for topic in topics[account])
        assert not named["home"] & named["work"]

        # Each carries out its own commands only, and answers them once.
        asked = dict(zip(ACCOUNTS, (10, 20), strict=True))
        for account, value in asked.items():
            payload = json.dumps({"id": account, "value": value})
            w.publish(f"charger-{account}/{ONE}/set/led_strip_brightness", payload)
        for account, value in asked.items():
            topic = f"charger-{account}/{ONE}/result/led_strip_brightness"
            await w.until(lambda t=topic: finals(w, t), f"{account} answered")
            await w.value(f"charger-{account}/{ONE}/state/led_strip_brightness", str(value))
        for account in ACCOUNTS:
            (answer,) = finals(w, f"charger-{account}/{ONE}/result/led_strip_brightness")
            assert (answer["id"], answer["state"]) == (account, "confirmed")
        alerts = [topic for topic, payload in w.retained.items() if "/alert/" in topic and payload]
        assert [topic for topic in alerts if "second_bridge" in topic] == []

        # One that ends takes nothing of the other's away.
        _, gateway = runs["home"]
        assert await gateway.end() == 0
        await w.value("charger-home/bridge/state", "offline")
        await gateway.start()
        await w.value("charger-home/bridge/state", "online")
        told = [payload for topic, payload, _ in w.messages if topic == "charger-work/bridge/state"]
        assert told == [b"online"]


def finals(witness, topic):
    """Return the final results on a topic."""
    told = (json.loads(payload) for name, payload, _ in witness.messages if name == topic)
    return [answer for answer in told if answer["final"]]
