"""The flows of examples/node-red in a real Node-RED: a message in, the charger's word out."""

import asyncio
import contextlib
import functools
import json
import os
import shutil
import time
import urllib.request
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.acceptance.conftest import TIMEOUT_S, Witness
from tests.ports import unused_port

HERE = Path(__file__).parent
SETTINGS = HERE / "nodered" / "settings.js"
# The older one on the system's Node, the newer one with the Node that it needs.
FOLDERS = {"4": HERE / "nodered", "5": HERE / "nodered-5"}
EXAMPLES = Path(__file__).parents[2] / "examples" / "node-red"
FLOWS = sorted(EXAMPLES.glob("*.json"))
ONE = "EH000001"
READY = "nodered/ready"
SHOWN = "nodered/shown"
TAG = "charger/EH000001/observation/user_id_token"
LISTED, STRANGER = "04AABBCC", "04DDEEFF"
# Said behind the subscriptions, on the same connection.
BIRTH = {
    "birthTopic": READY,
    "birthQos": "1",
    "birthRetain": "true",
    "birthPayload": "1",
    "birthMsg": {},
}
TELL = """
const { text, fill, source } = msg.status;
return source.type === 'function' ? { payload: JSON.stringify({ text, fill }) } : null;
"""
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.acceptance,
    pytest.mark.skipif(
        not any((folder / "node_modules").is_dir() for folder in FOLDERS.values()),
        reason="make acceptance-nodered installs Node-RED",
    ),
]


def commanded(version):
    """Return how a version is started, or nothing where it is not installed."""
    modules = FOLDERS[version] / "node_modules"
    own = modules / "node" / "bin" / "node"
    node = str(own) if own.is_file() else shutil.which("node")
    program = modules / "node-red" / "red.js"
    return (node, str(program)) if node and program.is_file() else ()


@pytest.fixture(params=FOLDERS)
def node_red(request):
    """Return what runs one flow in a version of Node-RED."""
    command = commanded(request.param)
    if not command:
        pytest.skip("make acceptance-nodered installs it")
    return functools.partial(running, command)


def imported(name, port, **environ):
    """Read a flow as it is, with the broker's port and the properties of its tab filled in.

    What its nodes show beside themselves in the editor is sent to ``SHOWN`` by three more nodes.
    """
    nodes = json.loads((EXAMPLES / f"{name}.json").read_text())
    for node in nodes:
        if node["type"] == "mqtt-broker":
            node.update(BIRTH, broker="127.0.0.1", port=str(port))
        if node["type"] == "tab":
            known = {pair["name"]: pair for pair in node["env"]}
            for key, value in environ.items():
                known[key]["value"] = value
        if node["type"] == "inject":
            node["repeat"] = "1"  # a second for a minute
    (broker,) = (node["id"] for node in nodes if node["type"] == "mqtt-broker")
    ours = (
        {"type": "status", "scope": None},
        {"type": "function", "func": TELL, "outputs": 1, "libs": []},
        {"type": "mqtt out", "topic": SHOWN, "qos": "1", "retain": "false", "broker": broker},
    )
    for place, node in enumerate(ours):
        wires = [[f"ours-{place + 1}"]] if place + 1 < len(ours) else []
        nodes.append({"id": f"ours-{place}", "z": name, "x": 0, "y": 0, "wires": wires, **node})
    return nodes


@dataclass
class NodeRed:
    """One flow in a running Node-RED: what its nodes showed, and what it said as a program."""

    told: Witness
    log: bytearray = field(default_factory=bytearray)
    expects_errors: bool = False

    async def says(self, text):
        """Wait until the program says this."""
        await self.told.until(lambda: text in self.log, text.decode())

    async def shows(self, text, fill):
        """Wait until a node shows this."""
        await self.told.until(lambda: {"text": text, "fill": fill} in self.shown, text)

    @property
    def shown(self):
        """What the nodes showed, in order."""
        return [json.loads(payload) for topic, payload, _ in self.told.messages if topic == SHOWN]

    async def read(self, process):
        """Take what the program says, until it ends."""
        while chunk := await process.stdout.read(65536):
            self.log.extend(chunk)
            self.told.wake()


@contextlib.asynccontextmanager
async def running(program, setting, name, ui_port=None, **environ):
    """Run one flow from its connection to the broker on; end it afterwards."""
    place = setting.folder / "node-red"
    place.mkdir()
    (place / "flow.json").write_text(json.dumps(imported(name, setting.broker.port, **environ)))
    command = [*program, "--userDir", place, "--settings", SETTINGS]
    port = unused_port() if ui_port is None else ui_port
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        str(place / "flow.json"),
        env={"PATH": os.environ["PATH"], "HOME": str(place), "UI_PORT": str(port), "TZ": "UTC"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    red = NodeRed(Witness(setting.broker.port, judges=False))
    reading = asyncio.get_running_loop().create_task(red.read(process))
    try:
        await red.told.start(("nodered/#",))
        try:
            ready = red.told.retained
            await red.told.until(lambda: READY in ready, "Node-RED at the broker")
            yield red
        finally:
            await red.told.stop()
    finally:
        process.terminate()
        async with asyncio.timeout(TIMEOUT_S):
            await process.wait()
            await reading
        assert red.expects_errors or b"[error]" not in red.log, red.log.decode()


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


async def charging(setting):
    """Plug in a car that charges at once."""
    setting.cloud.plug_in(ONE)
    await setting.witness.value(f"charger/{ONE}/state/op_mode", "charging")


async def test_high_house_load_pauses_and_low_load_resumes(stage, node_red):
    """Watts in on the house's topic, the charger's confirmation out, once each."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charging(s)
        async with node_red(s, "house-load", CHARGER=ONE, EVERY_S="0") as red:
            s.witness.publish("home/power_w", "9500")
            await confirmed(s, "pause")
            await red.shows("pause: confirmed", "green")
            await s.witness.value(f"charger/{ONE}/state/op_mode", "awaiting_start")
            s.witness.publish("home/power_w", "7000")  # between the limits: nothing
            s.witness.publish("home/power_w", "5000")
            await confirmed(s, "resume")
            await red.shows("resume: confirmed", "green")
            await s.witness.value(f"charger/{ONE}/state/op_mode", "charging")
        assert len([one for one in s.witness.results(ONE, "pause") if one["final"]]) == 1


async def test_a_failed_answer_is_shown_and_tried_again(stage, node_red):
    """Without a car the cloud refuses the pause: a red node, a warning, and another attempt."""
    async with stage(chargers=1, authorization_required=False) as s:
        async with node_red(s, "house-load", CHARGER=ONE, EVERY_S="0") as red:
            s.witness.publish("home/power_w", "9500")
            answer = await s.witness.final(ONE, "pause")
            assert (answer["state"], answer["reason"]) == ("failed", "charger_disconnected")
            await red.shows("pause: failed", "red")
            await charging(s)
            s.witness.publish("home/power_w", "9600")
            await s.witness.final(ONE, "pause", 2)
            await red.shows("pause: confirmed", "green")
        assert f"charger/{ONE}/result/pause: failed, charger_disconnected".encode() in red.log


# Answers to commands that a flow did not send: of other clients, made up, and with no id at all.
FOREIGN = [
    {"id": "somebody-else", "state": "failed", "reason": "made_up"},
    {"id": None, "state": "confirmed", "reason": None},
    {"state": "rejected", "reason": "no_id"},
    None,
]


async def others_answers(setting, command):
    """Have other people send the command, and others still say things on its answer's topic."""
    topic = f"charger/{ONE}/set/{command}"
    for payload in ("PRESS", json.dumps({"value": "PRESS", "id": "house-load-1"})):
        before = len([one for one in setting.witness.results(ONE, command) if one["final"]])
        setting.witness.publish(topic, payload)
        await setting.witness.final(ONE, command, before + 1)
    for answer in FOREIGN:
        told = answer and {"command": command, "final": True, "detail": "not ours", **answer}
        setting.witness.publish(f"charger/{ONE}/result/{command}", json.dumps(told))


def answers_shown(red, command):
    """Return the answers to a command that the flow showed as its own, without repeats."""
    texts = [shown["text"] for shown in red.shown if shown["text"].startswith(f"{command}: ")]
    return list(dict.fromkeys(texts))


async def test_the_house_load_takes_no_answer_of_others_for_its_own(stage, node_red):
    """Answers to other people's commands show nothing and undo nothing."""
    async with stage(chargers=1, authorization_required=False) as s:
        async with node_red(s, "house-load", CHARGER=ONE, EVERY_S="0") as red:
            await others_answers(s, "pause")  # without a car: failed
            await charging(s)
            s.witness.publish("home/power_w", "9500")
            await red.shows("pause: confirmed", "green")
            await others_answers(s, "resume")  # nothing was asked for by the flow
            s.witness.publish("home/power_w", "5000")
            await red.shows("resume: confirmed", "green")
        assert answers_shown(red, "pause") == ["pause: confirmed"]
        assert b"made_up" not in red.log


async def test_cheap_hours_take_no_answer_of_others_for_their_own(stage, node_red):
    """A pause that somebody else asked for is not done for the flow, and not shown."""
    prices = [1]  # no list of a day: nothing is sent
    with price_list(prices) as url:
        async with stage(chargers=1, authorization_required=False) as s:
            asked = {"CHARGER": ONE, "HOURS": "11", "PRICES_URL": url}
            async with node_red(s, "cheap-hours", **asked) as red:
                await others_answers(s, "pause")
                await charging(s)
                prices[:] = day(cheap=False)
                await red.shows("pause: confirmed", "green")
            assert answers_shown(red, "pause") == ["pause: confirmed"]
            assert b"made_up" not in red.log


async def test_the_tags_take_no_answer_of_others_for_their_own(stage, node_red):
    """Other people authorize too: what becomes of it is theirs."""
    async with stage(chargers=1, tags_known=False) as s:
        s.cloud.show_tag(ONE, LISTED)
        tags = await s.witness.until(lambda: shown_tags(s.witness)[1:], "the tag")
        async with node_red(s, "authorize-tags", ALLOWED=tags[-1]) as red:
            await others_answers(s, "authorize")  # without a car: failed
            s.cloud.plug_in(ONE)
            s.cloud.show_tag(ONE, LISTED)
            await red.shows("authorize: confirmed", "green")
        assert answers_shown(red, "authorize") == ["authorize: confirmed"]
        assert b"made_up" not in red.log


@contextlib.contextmanager
def price_list(prices):
    """Serve a list that changes as it is changed here; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(prices).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/prices"
        finally:
            server.shutdown()
            thread.join()


def day(*, cheap):
    """Return prices by which six hours before and behind this one are cheap, or dear."""
    now = time.gmtime().tm_hour
    near = [min((hour - now) % 24, (now - hour) % 24) < 6 for hour in range(24)]
    return [10 if one == cheap else 40 for one in near]


async def test_cheap_hours_pause_and_resume_by_a_price_list(stage, node_red):
    """The charger stops in a dear hour of the list at ``PRICES_URL`` and goes on in a cheap one."""
    prices = day(cheap=False)
    with price_list(prices) as url:
        async with stage(chargers=1, authorization_required=False) as s:
            await charging(s)
            asked = {"CHARGER": ONE, "HOURS": "11", "PRICES_URL": url}
            async with node_red(s, "cheap-hours", **asked) as red:
                await confirmed(s, "pause")
                await red.shows("pause: confirmed", "green")
                await s.witness.value(f"charger/{ONE}/state/op_mode", "awaiting_start")
                prices[:] = day(cheap=True)
                await confirmed(s, "resume")
                await s.witness.value(f"charger/{ONE}/state/op_mode", "charging")
                prices[:] = ["free"]
                await red.says(b"not 24 numbers")
            assert len([one for one in s.witness.results(ONE, "resume") if one["final"]]) == 1


async def test_cheap_hours_by_the_numbers_in_the_flow(stage, node_red):
    """Without a cheap hour in the day the timer pauses the charger."""
    async with stage(chargers=1, authorization_required=False) as s:
        await charging(s)
        async with node_red(s, "cheap-hours", CHARGER=ONE, HOURS="0"):
            await confirmed(s, "pause")


async def test_offline_sessions_are_written_and_acknowledged(stage, node_red):
    """Each offline session is a line of the file, and the bridge hears that it was taken."""
    async with stage(chargers=1) as s:
        path = s.folder / "sessions.jsonl"
        s.cloud.set_offline(ONE)
        async with node_red(s, "offline-sessions", FILE=str(path)):
            s.cloud.bring_back(ONE, sessions=2)
            await s.witness.until(lambda: len(acknowledged(s.witness)) >= 2, "two acknowledgements")
            keys = acknowledged(s.witness)
        lines = [json.loads(line) for line in path.read_text().splitlines()]

        assert keys <= {line["key"] for line in lines}
        assert any(line["offline"] for line in lines)


async def test_a_file_that_cannot_be_written_acknowledges_nothing(stage, node_red):
    """What is on no disk but the bridge's stays there."""
    async with stage(chargers=1) as s:
        (s.folder / "taken").write_text("not a folder")
        s.cloud.set_offline(ONE)
        path = s.folder / "taken" / "sessions.jsonl"
        async with node_red(s, "offline-sessions", FILE=str(path)) as red:
            red.expects_errors = True
            s.cloud.bring_back(ONE, sessions=1)
            await s.witness.until(
                lambda: f"charger/{ONE}/session/report" in s.witness.retained, "the report"
            )
            await red.says(b"[error]")
        assert acknowledged(s.witness) == set()


def shown_tags(witness):
    """Return the tags that the bridge told, in order."""
    return [json.loads(payload)["value"] for topic, payload, _ in witness.messages if topic == TAG]


@pytest.mark.parametrize("plain", [False, True])
async def test_a_tag_of_the_list_authorizes(stage, node_red, plain):
    """The cloud knows no tag: the flow's list decides, over hashes and over tags as they are."""

    def change(config):
        config["publish"] = {"personal_data": plain}

    async with stage(chargers=1, tags_known=False, change=change) as s:
        s.cloud.show_tag(ONE, LISTED)  # only to learn how it is published
        tags = await s.witness.until(lambda: shown_tags(s.witness)[1:], "the tag")
        listed = tags[-1]
        assert (listed == LISTED) == plain
        s.cloud.plug_in(ONE)
        await s.witness.value(f"charger/{ONE}/state/awaiting_authorization", "true")
        async with node_red(s, "authorize-tags", ALLOWED=f"sha256:0 {listed.lower()}") as red:
            s.cloud.show_tag(ONE, STRANGER)
            await red.shows(f"{ONE}: not in the list", "yellow")
            assert s.witness.retained[f"charger/{ONE}/state/awaiting_authorization"] == b"true"
            assert s.witness.results(ONE, "authorize") == []
            s.cloud.show_tag(ONE, LISTED)
            await confirmed(s, "authorize")
            await red.shows(f"{ONE}: in the list", "green")
            await red.shows("authorize: confirmed", "green")
            await s.witness.value(f"charger/{ONE}/state/op_mode", "charging")
        stranger = shown_tags(s.witness)[-2]
        assert f"a tag that is not in ALLOWED: {stranger}".encode() in red.log
        assert len([one for one in s.witness.results(ONE, "authorize") if one["final"]]) == 1


async def test_the_page_shows_every_charger(stage, node_red):
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
