"""What a running gateway with every feature tells of others: nothing in any text of a report.

The canaries of the table are in its configuration, in what the cloud answers, and in what others
publish; what is searched is all that is written for a report of a defect.
"""

import asyncio
import json
import signal
import sys
import zipfile

import httpx
import pytest

from bridge.cli.main import main
from tests import canaries
from tests.canaries import BROKER_PASSWORD, OTHERS, SITE, others_in, unpacked
from tests.conftest import PATIENCE_S
from tests.mosquitto import until
from tests.ports import unused_port
from tests.security.test_canaries import update

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

ONE = "EH000001"
# What the simulated cloud has of a site and its people.
CLOUDS = (b"Sandnes", b"Main street", b"Some One", b"04AABBCCDDEE01", b"4700000000")
# May be in a log line of the operator's own machine: what the configuration names.
PEOPLE = ("an account", "a charger", "a street", "a phone", "a tag", "the person of a tag")
HEARTBEAT = (
    '{"client_id":"canary-second","instance":"ffffffffffff","count":%d,'
    '"started_at":"2026-11-22T10:00:00Z","at":"2026-11-22T10:00:00Z"}'
)


def everything(port):
    """Return what configures every feature that needs no other server."""

    def change(config):
        config["easee"] |= {
            "username": OTHERS["an account"],
            "names": {ONE: OTHERS["a charger"]},
        }
        config["mqtt"] |= {
            "username": "canaryuser",
            "client_id": "canaryclient",
            "reply_prefixes": [OTHERS["a reply topic"]],
        }
        config["commands"]["allow"].append("site")
        config["publish"] = {"tags": {"04AABBCCDDEE99": OTHERS["the person of a tag"]}}
        config["homeassistant"] = {"enabled": True, "discovery_prefix": OTHERS["a prefix"]}
        config["sparkplug"] = {
            "enabled": True, "group_id": OTHERS["a plant"], "edge_node_id": "canarygate",
        }  # fmt: skip
        config["http"] = {"enabled": True, "page": True, "port": port, "names": [OTHERS["a host"]]}

    return change


async def said_by(s, *words):
    """Run a command of the program with the gateway's configuration; return what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bridge", *words, "--config", str(s.gateway.config),
        env=s.gateway.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    return said


def held_in(bundle):
    """Return every file of a bundle as text, and the record unpacked."""
    with zipfile.ZipFile(bundle) as files:
        held = {name: files.read(name) for name in files.namelist()}
    return {name: unpacked(said) if name.endswith(".rec") else said for name, said in held.items()}


def of_others(said):
    """List what belongs to others, and what the simulated cloud has of people."""
    return [*others_in(said), *(word for word in CLOUDS if word.lower() in said.lower())]


async def test_no_report_of_a_gateway_with_everything_shows_anything_of_others(
    stage, tmp_path, capsys
):
    """Record, bundle, replay, test, metrics, page and log of a day on which much goes wrong."""
    environ = {"CHARGER_BRIDGE_MQTT__PASSWORD": BROKER_PASSWORD}
    port = unused_port()
    async with stage(
        chargers=2, equalizers=1, change=everything(port), environ=environ,
        username=OTHERS["an account"],
    ) as s:  # fmt: skip
        s.cloud.plug_in(ONE)
        s.cloud.show_tag(ONE, OTHERS["a tag"])
        for number in (20, 62):
            s.cloud.send_raw(update(number, json.dumps(SITE)))
        s.cloud.send_raw(update(129, f'{{"Auth":"{OTHERS["a tag"]}"'))
        s.cloud.send_raw('{"type":1,"target":"TheLast","arguments":[]}\x1e')
        s.witness.publish(f"charger/{ONE}/get/sessions", f'{{"id":"{OTHERS["a command"]}"}}')
        s.witness.publish("charger/Canaryville/set/start", "canary")
        s.witness.publish(
            f"charger/{ONE}/set/schedule", f'{{"id":"{OTHERS["a command"]}","name":"Canary"}}'
        )
        s.witness.publish(f"charger/{ONE}/get/site", "{}")
        for count in range(5):
            s.witness.publish("charger/bridge/heartbeat", HEARTBEAT % count)
        for command in ("sessions", "schedule", "site"):
            await s.witness.final(ONE, command)
        second = "charger/bridge/alert/second_bridge"
        await s.witness.until(lambda: s.witness.retained.get(second), second)
        await until(lambda: b"TheLast" in bytes(s.gateway.log))
        s.gateway.process.send_signal(signal.SIGUSR1)
        await until(lambda: b"record.written" in bytes(s.gateway.log))
        (path,) = (s.folder / "store").glob("record-*.rec")
        record = path.read_bytes()
        said = await said_by(s, "doctor", "--output", str(tmp_path / "bundle.zip"))
        bundle = held_in(tmp_path / "bundle.zip")
        explained = await said_by(s, "explain", f"charger/{ONE}/state/op_mode")
        plant = f"spBv1.0/{OTHERS['a plant']}/DBIRTH/canarygate/{ONE}"
        node = await said_by(s, "explain", plant)
        description = f"{OTHERS['a prefix']}/device/charger_{ONE}/config"
        described = b""
        async with asyncio.timeout(PATIENCE_S):  # a description follows some seconds behind CONNACK
            while b"acknowledged" not in described:
                described = await said_by(s, "explain", description)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            metrics = (await client.get("/metrics")).content
            page = (await client.get("/")).content
        lines = bytes(s.gateway.log)

    assert of_others(unpacked(record)) == []
    assert {name: found for name, held in bundle.items() if (found := of_others(held))} == {}
    assert {"alerts.txt", "facts.json", "metrics.txt", "vendor.md"} <= bundle.keys()
    assert b"second_bridge" in bundle["alerts.txt"]
    kept, test = tmp_path / "kept.rec", tmp_path / "test_kept.py"
    kept.write_bytes(record)
    for words in ([], ["--compare"], ["--as-test", str(test), "--never", "x"]):
        assert main(["replay", str(kept), *words]) == 0
        assert of_others(capsys.readouterr().out.encode()) == []
    for text in (said, explained, node, described, metrics, page):
        assert canaries.found_in(text) == []
    assert b"published charging" in explained or b"op_mode is" in explained
    assert b"metrics: " in node
    assert b"the broker acknowledged the description of EH000001" in described
    for what in PEOPLE:
        for text in (metrics, page, lines):
            assert OTHERS[what].lower().encode() not in text.lower(), what
