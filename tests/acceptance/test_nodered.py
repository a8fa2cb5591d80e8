"""The flows of examples/node-red in a real Node-RED: a message in, the charger's word out."""

import asyncio
import contextlib
import json
import os
import shutil
import urllib.request
from pathlib import Path

import pytest

from tests.acceptance.conftest import TIMEOUT_S, Witness
from tests.conftest import PATIENCE_S
from tests.ports import unused_port

FOLDER = Path(__file__).parent / "nodered"
PROGRAM = FOLDER / "node_modules" / "node-red" / "red.js"
EXAMPLES = Path(__file__).parents[2] / "examples" / "node-red"
FLOWS = sorted(EXAMPLES.glob("*.json"))
ONE = "EH000001"
READY = "nodered/ready"
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not PROGRAM.is_file() or shutil.which("node") is None,
        reason="make acceptance-nodered installs Node-RED",
    ),
]


def imported(name, port, **environ):
    """Read a flow as it is, with the broker's port and the properties of its tab filled in."""
    nodes = json.loads((EXAMPLES / f"{name}.json").read_text())
    for node in nodes:
        if node["type"] == "mqtt-broker":
            node |= {"broker": "127.0.0.1", "port": str(port)}
        if node["type"] == "tab":
            known = {pair["name"]: pair for pair in node["env"]}
            for key, value in environ.items():
                known[key]["value"] = value
    return nodes


@contextlib.asynccontextmanager
async def node_red(setting, name, ui_port, **environ):
    """Run one flow until it is connected to the broker; end it afterwards."""
    place = setting.folder / "node-red"
    place.mkdir()
    nodes = imported(name, setting.broker.port, **environ)
    (broker,) = (node for node in nodes if node["type"] == "mqtt-broker")
    # Said behind the subscriptions, on the same connection.
    birth = {"birthTopic": READY, "birthQos": "1", "birthRetain": "true", "birthPayload": "1"}
    broker |= {**birth, "birthMsg": {}}
    (place / "flow.json").write_text(json.dumps(nodes))
    command = [PROGRAM, "--userDir", place, "--settings", FOLDER / "settings.js"]
    process = await asyncio.create_subprocess_exec(
        "node",
        *map(str, command),
        str(place / "flow.json"),
        env={"PATH": os.environ["PATH"], "HOME": str(place), "UI_PORT": str(ui_port)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    ready = Witness(setting.broker.port)
    try:
        await ready.start((READY,))
        try:
            await ready.until(lambda: ready.messages, "Node-RED at the broker")
        finally:
            ready.said.add(READY)
            await ready.stop()
        yield process
    finally:
        process.terminate()
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert b"[error]" not in said, said.decode()


def acknowledged(witness):
    """Return the keys that somebody acknowledged."""
    topic = "charger/bridge/session/ack"
    return {json.loads(payload)["key"] for name, payload, _ in witness.messages if name == topic}


async def confirmed(setting, command):
    """Wait for the final answer to a command that Node-RED sent."""
    answer = await setting.witness.final(ONE, command)
    assert answer["state"] in ("confirmed", "noop"), answer
    assert answer["id"], "the flow gives each command an id"
    return answer


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_a_flow_is_made_of_nodes_that_are_there(path):
    """Every wire leads to a node of the file, and nothing beside Node-RED's own is needed."""
    nodes = json.loads(path.read_text())
    ids = {node["id"] for node in nodes}
    own = {"tab", "mqtt-broker", "mqtt in", "mqtt out", "function", "file", "inject"}

    assert len(ids) == len(nodes)
    for node in nodes:
        assert {wire for wires in node.get("wires", []) for wire in wires} <= ids
        assert node["type"] in own | {"http in", "http response", "http request", "template"}


async def test_high_house_load_pauses_and_low_load_resumes(stage):
    """Watts in on the house's topic, the charger's confirmation out, once each."""
    async with stage(chargers=1, authorization_required=False) as s:
        s.cloud.plug_in(ONE)
        await s.witness.value(f"charger/{ONE}/state/op_mode", "charging")
        async with node_red(s, "house-load", unused_port(), CHARGER=ONE, EVERY_S="0"):
            s.witness.publish("home/power_w", "9500")
            await confirmed(s, "pause")
            s.witness.publish("home/power_w", "7000")  # between the limits: nothing
            s.witness.publish("home/power_w", "5000")
            await confirmed(s, "resume")
        assert len([one for one in s.witness.results(ONE, "pause") if one["final"]]) == 1


async def test_cheap_hours_pause_and_resume(stage):
    """Without a cheap hour in the day the timer pauses the charger."""
    async with stage(chargers=1, authorization_required=False) as s:
        s.cloud.plug_in(ONE)
        await s.witness.value(f"charger/{ONE}/state/op_mode", "charging")
        async with node_red(s, "cheap-hours", unused_port(), CHARGER=ONE, HOURS="0"):
            await confirmed(s, "pause")


async def test_offline_sessions_are_written_and_acknowledged(stage):
    """Each offline session is a line of the file, and the bridge hears that it was taken."""
    async with stage(chargers=1) as s:
        path = s.folder / "sessions.jsonl"
        s.cloud.set_offline(ONE)
        async with node_red(s, "offline-sessions", unused_port(), FILE=str(path)):
            s.cloud.bring_back(ONE, sessions=2)
            await s.witness.until(lambda: len(acknowledged(s.witness)) >= 2, "two acknowledgements")
            keys = acknowledged(s.witness)
        lines = [json.loads(line) for line in path.read_text().splitlines()]

        assert keys <= {line["key"] for line in lines}
        assert any(line["offline"] for line in lines)


async def test_the_page_shows_every_charger(stage):
    """The page is made of retained topics: it is complete although nothing changes."""
    port = unused_port()

    def page():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/chargers", timeout=5) as answer:
            return answer.read().decode()

    async with stage(chargers=2) as s, node_red(s, "dashboard", port):
        async with asyncio.timeout(TIMEOUT_S):
            # Nobody tells when a page changes.
            while "EH000002<td>online<td>" not in (text := await asyncio.to_thread(page)):  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.2)
        assert "EH000001<td>online<td>" in text
