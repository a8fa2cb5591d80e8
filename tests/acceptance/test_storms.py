"""Commands when there are far too many of them, old ones, or the same ones again."""

import asyncio
import contextlib
import json
import time
from collections import Counter

import paho.mqtt.client as paho
import pytest

from tests.acceptance.conftest import Witness
from tests.conftest import PATIENCE_S
from tests.mosquitto import until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.acceptance,
    pytest.mark.usefixtures("patient_broker"),
]

ONE, TWO = "EH000001", "EH000002"
FLOOD = 1_000
FLOOD_S = 3
SLICE_S = 0.05


def posted(stage, charger_id):
    """Return the commands for a charger that reached the cloud."""
    path = f"/api/chargers/{charger_id}/commands/"
    return [request for request in stage.cloud.requests if request.path.startswith(path)]


@contextlib.asynccontextmanager
async def aside(stage, charger_id):
    """Listen to one charger only: whoever listens to the flood is behind by all of it."""
    client = Witness(stage.broker.port)
    await client.start((f"charger/{charger_id}/state/#", f"charger/{charger_id}/result/#"))
    try:
        yield client
    finally:
        await client.stop()


async def flood(port, topic, values):
    """Publish 1,000 messages a second for some seconds from a client of its own; count them."""
    client = Witness(port)
    await client.start(("nothing",))
    end_s = time.perf_counter() + FLOOD_S
    count = 0
    while time.perf_counter() < end_s:
        for _ in range(round(FLOOD * SLICE_S)):
            client.publish(topic, values[count % len(values)])
            count += 1
        await asyncio.sleep(SLICE_S)  # the rate is what is tested
    await client.stop()
    return count


@pytest.mark.fault("F21")
async def test_a_sustained_flood_keeps_no_other_charger_waiting(stage):
    """Commands of another charger are answered while 1,000 a second come in for the first."""
    async with stage(chargers=2, authorization_required=False) as s, aside(s, TWO) as calm:
        s.cloud.plug_in(TWO)
        await calm.value(f"charger/{TWO}/state/op_mode", "charging")
        topic = f"charger/{ONE}/set/dynamic_charger_current"
        asked = 0
        async with asyncio.TaskGroup() as tasks:
            amps = [str(each) for each in range(6, 32)]
            storm = tasks.create_task(flood(s.broker.port, topic, amps))
            while not storm.done():
                command = ("pause", "resume")[asked % 2]
                calm.publish(f"charger/{TWO}/set/{command}", "PRESS")
                await calm.final(TWO, command, asked // 2 + 1)
                asked += 1

    finals = [a for c in ("pause", "resume") for a in calm.results(TWO, c) if a["final"]]
    assert [a["state"] for a in finals] == ["confirmed"] * asked
    assert storm.result() > FLOOD
    # Paced: three at once and one in two seconds, not thousands.
    assert len(posted(s, ONE)) < 60


async def test_a_flood_makes_its_own_charger_busy_and_no_other(stage):
    """Who asks for the flooded charger hears ``busy``; who asks for another one does not."""
    async with stage(chargers=2, authorization_required=False) as s:
        topic = f"charger/{ONE}/set/smart_charging"
        async with aside(s, TWO) as calm, asyncio.TaskGroup() as tasks:
            tasks.create_task(flood(s.broker.port, topic, ["on", "off"]))
            await s.witness.until(
                lambda: [a for a in s.witness.results(ONE, "smart_charging") if a["reason"]],
                "the first busy",
            )
            calm.publish(f"charger/{TWO}/set/smart_charging", "on")
            final = await calm.final(TWO, "smart_charging")
        reasons = {a["reason"] for a in s.witness.results(ONE, "smart_charging")}

    assert final["state"] in ("confirmed", "noop")
    assert reasons <= {None, "busy"}
    assert len(posted(s, ONE)) <= 60  # what the vendor takes in a minute


@pytest.mark.fault("F22")
async def test_a_thousand_retained_commands_run_none_and_delay_nothing(stage):
    """What is retained on command topics is refused one by one, and the bridge comes up."""
    async with contextlib.AsyncExitStack() as stack:
        topics = [f"charger/EH{n:06}/set/start" for n in range(1, FLOOD + 1)]

        def keep(config):
            client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
            client.connect("127.0.0.1", config["mqtt"]["port"])
            client.loop_start()
            told = [client.publish(topic, b"PRESS", 1, retain=True) for topic in topics]
            for one in told:
                one.wait_for_publish(PATIENCE_S)
            client.disconnect()
            client.loop_stop()

        s = await stack.enter_async_context(stage(chargers=2, change=keep))
        s.cloud.plug_in(ONE)
        wanted = {topic.replace("/set/", "/result/") for topic in topics}

        def answered():
            return wanted <= {topic for topic, _, _ in s.witness.messages}

        await s.witness.until(answered, "1,000 refusals")
        s.witness.publish(f"charger/{TWO}/set/stop", "PRESS")
        await s.witness.final(TWO, "stop")

    answers = [json.loads(p) for t, p, _ in s.witness.messages if t in wanted]
    assert Counter((a["state"], a["reason"]) for a in answers) == {("refused", "retained"): FLOOD}
    assert posted(s, ONE) == []
    assert len(posted(s, TWO)) == 1


class Cable:
    """Joins the gateway to the broker, and can be cut.

    Attributes:
        is_mute: What the gateway says does not reach the broker any more.
    """

    def __init__(self, port):
        self._port = port
        self._writers = []
        self.is_mute = False
        self.connections = 0

    async def join(self, reader, writer):
        """Carry bytes both ways until one side ends."""
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        with contextlib.suppress(OSError):
            await asyncio.gather(self._carry(reader, back, up=True), self._carry(there, writer))
        for one in (writer, back):
            one.close()

    async def _carry(self, reader, writer, *, up=False):
        while data := await reader.read(65536):
            if not (up and self.is_mute):
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self):
        """End all connections at once, as a router that restarts does; then let things through."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        self.is_mute = False


@pytest.mark.parametrize("payload", ["PRESS", '{"id":"again"}'])
@pytest.mark.fault("F23")
async def test_what_a_broker_delivers_again_runs_once(stage, payload):
    """The connection is cut behind the commit and before the PUBACK: one request, one answer."""
    cable = Cable(None)
    async with contextlib.AsyncExitStack() as stack:
        server = await asyncio.start_server(cable.join, "127.0.0.1", 0)
        stack.callback(server.close)
        port = server.sockets[0].getsockname()[1]

        def through_the_cable(config):
            cable._port = config["mqtt"]["port"]
            config["mqtt"]["port"] = port

        s = await stack.enter_async_context(stage(chargers=1, change=through_the_cable))
        s.cloud.plug_in(ONE)
        cable.is_mute = True
        s.witness.publish(f"charger/{ONE}/set/toggle", payload)
        await until(lambda: posted(s, ONE))
        cable.cut()
        final = await s.witness.final(ONE, "toggle")
        await until(lambda: b"command.redelivered" in s.gateway.log)
        s.witness.publish(f"charger/{ONE}/set/stop", "PRESS")
        await s.witness.final(ONE, "stop")

    assert final["state"] == "confirmed"
    assert len([a for a in s.witness.results(ONE, "toggle") if a["final"]]) == 1
    assert [r.path.rsplit("/", 1)[-1] for r in posted(s, ONE)] == [
        "toggle_charging",
        "stop_charging",
    ]
