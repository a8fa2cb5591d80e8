"""The Sparkplug convention through the running gateway, a real broker and a simulated cloud."""

import contextlib
import json

import pytest

from tests.conftest import PATIENCE_S
from tests.mosquitto import Mosquitto, Outsider, until
from tests.sparkplug_gateway import GROUP, HOST, NODE, ONE, STATE, gateway
from tests.sparkplug_host import SparkplugHost

pytestmark = [pytest.mark.broker, pytest.mark.anyio]

WITHIN_S = 4 * PATIENCE_S


class HostAtBroker(Outsider):
    """A host at the broker, and what the native topics say."""

    def __init__(self, port: int):
        self.host = SparkplugHost(GROUP, NODE, self.publish)
        self.qos: dict[str, set[int]] = {}
        super().__init__(port, f"spBv1.0/{GROUP}/#", "charger/#")

    def _on_message(self, client, data, message):
        super()._on_message(client, data, message)
        if message.topic.startswith("spBv1.0/"):
            kind = message.topic.split("/")[2]
            self.qos.setdefault(kind, set()).add((message.qos, message.retain))
            self.host.feed(message.topic, message.payload)

    def newest(self, topic: str) -> bytes:
        """Return what a topic carried last."""
        return next(iter(self.payloads(topic)[-1:]), b"")


@pytest.fixture
def room(broker: Mosquitto):
    """A host at the broker."""
    made = HostAtBroker(broker.port)
    yield made
    made.close()


async def shown(condition):
    """Wait until a condition holds."""
    await until(condition, WITHIN_S)


def agrees(room, name):
    """Return whether the host and the native topic have the same text."""
    native = room.newest(f"charger/{ONE}/state/{name}").decode()
    return native and room.host.devices[ONE].values[name] == native


def differences(room, device):
    """Return what the host has other than the native topics, by name."""
    start = f"charger/{device}/state/"
    values = room.host.devices[device].values
    native = {
        topic.removeprefix(start): payload.decode()
        for topic, payload, _ in room.messages
        if topic.startswith(start)
    }
    return {
        name: (values[name], text)
        for name, text in native.items()
        if name in values and not same(values[name], text)
    }


def same(value, text):
    """Return whether a metric has the value of a native topic."""
    if isinstance(value, bool) or value is None:
        return text == json.dumps(value)
    if isinstance(value, int | float):
        return text != "null" and float(text) == value
    return text == value


def is_alive(host):
    """Return whether both chargers and the Equalizer are."""
    return len(host.devices) == 3 and all(one.is_alive for one in host.devices.values())


@pytest.mark.parametrize(("version", "aliases"), [("5", True), ("3.1.1", False)])
async def test_a_host_sees_births_data_and_deaths(tmp_path, broker, room, version, aliases):
    """Every rule the host knows is kept, the values are the native ones, and the end is told."""
    host = room.host
    async with gateway(tmp_path, broker.port, version=version, aliases=aliases):
        await shown(lambda: is_alive(host))
        await shown(lambda: host.devices[ONE].values.get("op_mode") is not None)
        await shown(lambda: ("DDATA", ONE) in host.events)
        await shown(lambda: agrees(room, "op_mode"))
        assert bool(host.devices[ONE].names) == aliases
        assert host.devices[ONE].quality["op_mode"] == 192
        assert host.devices[ONE].properties["total_power"]["engUnit"] == "kW"
    await shown(lambda: ("NDEATH", "") in host.events)

    assert (host.violations, host.gaps) == ([], 0)
    assert not host.node.is_alive
    assert room.qos.pop("NDEATH") == {(1, False)}
    assert all(found == {(0, False)} for found in room.qos.values())


async def test_a_host_asks_for_births_and_writes_commands(tmp_path, broker, room):
    """A rebirth begins at seq 0 with the same bdSeq; a write is carried out and answered."""
    host = room.host
    async with gateway(tmp_path, broker.port, aliases=True):
        await shown(lambda: is_alive(host))
        births = host.events.count(("NBIRTH", ""))
        bdseq = host.bdseq
        host.rebirth()
        await shown(lambda: host.events.count(("NBIRTH", "")) > births)
        await shown(lambda: is_alive(host))
        assert host.bdseq == bdseq
        host.write(ONE, "Command/lock_cable_permanently", True, 1_700_000_000_001)
        await shown(lambda: any(final["final"] for *_, final in host.results))
        await shown(lambda: host.devices[ONE].values["lock_cable_permanently"] is True)

        assert host.results[-1][:3] in (
            (ONE, "Result/lock_cable_permanently", "confirmed"),
            (ONE, "Result/lock_cable_permanently", "noop"),
        )
        result = json.loads(room.newest(f"charger/{ONE}/result/lock_cable_permanently"))
        assert (result["final"], result["state"]) == (True, host.results[-1][2])
        assert (host.violations, host.gaps) == ([], 0)


async def test_nothing_is_said_without_the_primary_host(tmp_path, broker, room):
    """The node is born and dies with the host; the next session has the next bdSeq."""
    host = room.host
    async with gateway(tmp_path, broker.port, host_id=HOST):
        await shown(lambda: "as bridge-sparkplug" in broker.log)
        await shown(lambda: room.newest(f"charger/{ONE}/availability") == b"online")
        assert host.events == []
        room.publish(STATE, b'{"online":true,"timestamp":1000}', retain=True)
        await shown(lambda: is_alive(host))
        bdseq = host.bdseq
        room.publish(STATE, b'{"online":false,"timestamp":999}', retain=True)  # an old will
        room.publish(STATE, b'{"online":false,"timestamp":1000}', retain=True)
        await shown(lambda: ("NDEATH", "") in host.events)
        assert not host.node.is_alive
        room.publish(STATE, b'{"online":true,"timestamp":2000}', retain=True)
        await shown(lambda: is_alive(host))

        assert host.bdseq == bdseq + 1
        assert (host.violations, host.gaps) == ([], 0)


async def test_every_value_is_the_native_one(tmp_path, broker, room):
    """Of chargers and Equalizer, whatever its type."""
    async with gateway(tmp_path, broker.port, traffic=False):
        await shown(lambda: is_alive(room.host))
        await shown(lambda: room.newest(f"charger/{ONE}/availability") == b"online")
        with contextlib.suppress(TimeoutError):
            await until(lambda: not any(differences(room, one) for one in room.host.devices))
        found = {one: differences(room, one) for one in room.host.devices}
        assert [one for one in found.items() if one[1]] == []
