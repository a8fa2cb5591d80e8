"""Two gateways, as they come about by a copied configuration, on one real broker."""

import contextlib
import copy
import json
import re

import pytest

from tests.acceptance.conftest import TIMEOUT_S, running

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE, TWO = "EH000001", "EH000002"
ALERT = "charger/bridge/alert/second_bridge"
# In MQTT 5 mosquitto says from 2.1 on that another client took a connection over. Before, and in
# 3.1.1, it just closes; tests/broker/test_mqtt_old_brokers.py has both.
SEEN = re.compile(
    "the id charger-bridge took over the connection to the broker ([3-9]|[1-9][0-9]) times"
    "|connections in a row soon after.*the id charger-bridge"
).search


@contextlib.asynccontextmanager
async def second(s, chargers, **mqtt):
    """Run another gateway beside the one on the stage, with a folder of its own."""
    folder = s.folder / "second"
    folder.mkdir()
    config = copy.deepcopy(s.config)
    config["easee"]["chargers"] = chargers
    config["mqtt"].update(mqtt)
    config["store"]["path"] = str(folder / "store" / "bridge.db")
    async with running(config, folder) as gateway:
        yield gateway


def only_one(config):
    """Serve the first charger only."""
    config["easee"]["chargers"] = [ONE]


def alerts(w):
    """Return what the bridges said of each other, in order."""
    return [payload.decode() for topic, payload, _ in w.messages if topic == ALERT]


async def alert(w, *words, timeout_s=TIMEOUT_S):
    """Wait until one of the bridges has said all of this; both tell it on one topic."""

    def told():
        return any(all(word in one for word in words) for one in alerts(w))

    await w.until(told, f"{words}", timeout_s)


@pytest.mark.fault("F44")
async def test_each_of_two_bridges_touches_only_its_own_chargers(stage):
    """The second one's start takes nothing offline, and answers nobody for the first one's."""
    async with stage(chargers=2, online=False, change=only_one) as s:
        w = s.witness
        await w.value(f"charger/{ONE}/availability", "online")
        before = len(w.messages)
        async with second(s, [TWO], client_id="second"):
            await w.value(f"charger/{TWO}/availability", "online")
            await alert(w, "base topic charger")
            for charger_id in (ONE, TWO):
                w.publish(f"charger/{charger_id}/set/refresh", "PRESS")
                assert (await w.final(charger_id, "refresh"))["state"] == "confirmed"
                assert len(w.results(charger_id, "refresh")) == 1
            told = [p for t, p, _ in w.messages[before:] if t == f"charger/{ONE}/availability"]
            assert b"offline" not in told
        await w.value("charger/bridge/state", "online")
        await w.value(ALERT, b"")


@pytest.mark.fault("F44")
async def test_two_bridges_carry_out_a_command_for_one_charger_once(stage):
    """The alert names the charger and who acts; a toggle reaches the cloud once."""
    async with stage(chargers=1) as s:
        w = s.witness
        async with second(s, [ONE], client_id="second"):
            await alert(w, f"serves {ONE} too", "by that one only")
            await alert(w, f"serves {ONE} too", "by this one only")
            for number in range(1, 4):
                w.publish(f"charger/{ONE}/set/toggle", json.dumps({"id": str(number)}))
                await w.final(ONE, "toggle", number)
            finals = [a["id"] for a in w.results(ONE, "toggle") if a["final"]]
            assert finals == ["1", "2", "3"]
            assert len(s.cloud.world.commands) == 3
        # The one that stays says the truth of the charger again.
        await w.value("charger/bridge/state", "online")
        await w.value(f"charger/{ONE}/availability", "online")


@pytest.mark.fault("F44")
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_two_bridges_with_one_client_id_say_so_and_slow_down(stage, version):
    """Whoever is connected names what was seen, and what to do; nobody is fought for long."""

    def change(config):
        only_one(config)
        config["mqtt"]["version"] = version

    async with stage(chargers=2, online=False, change=change) as s:
        w = s.witness
        await w.value(f"charger/{ONE}/availability", "online")
        async with second(s, [TWO], version=version) as other:
            await alert(w, "the same client id charger-bridge", "mqtt.client_id")
            # On a busy machine one throws the other out before it has subscribed, which does not
            # count where the broker does not say why; each time the pauses double.
            await w.until(lambda: any(map(SEEN, alerts(w))), "the loss of connections", 150.0)
            logs = [line["event"] for g in (s.gateway, other) for line in g.lines]
            assert logs.count("mqtt.connected") < 15
