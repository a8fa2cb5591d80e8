"""Homie through Home Assistant discovery: ebus-sdk reads every device, and switches one."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import pytest

from bridge import app
from bridge.settings import (
    CommandSettings,
    EaseeSettings,
    HomeAssistantSettings,
    MqttSettings,
    Secret,
    Settings,
    StoreSettings,
)
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve as serve_cloud
from tests.conftest import PATIENCE_S
from tests.mosquitto import Mosquitto, Outsider, until
from tests.ports import unused_port

PROXY = Path(__file__).parent / "homie" / "proxy.py"
PYTHON = Path(__file__).parents[2] / ".acceptance/ebus-sdk/bin/python"
WITHIN_S = 4 * PATIENCE_S
ONE = "EH000001"
CHARGERS_AND_EQUALIZER = 3
pytestmark = [
    pytest.mark.broker,
    pytest.mark.anyio,
    pytest.mark.skipif(not PYTHON.exists(), reason="make acceptance-homie installs ebus-sdk"),
]


@contextlib.asynccontextmanager
async def gateway(folder: Path, port: int):
    """Run the gateway with discovery, against a simulated cloud."""
    async with serve_cloud(Scenario(chargers=2, traffic=False)) as cloud:
        settings = Settings(
            EaseeSettings("x@example.com", Secret("p"), (), cloud.api_url, cloud.stream_url),
            MqttSettings(host="127.0.0.1", port=port, client_id="bridge"),
            commands=CommandSettings(allow=("device", "control")),
            store=StoreSettings(path=str(folder / "bridge.db")),
            homeassistant=HomeAssistantSettings(enabled=True),
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(app.serve(settings, stop))
            yield
            stop.set()


@contextlib.asynccontextmanager
async def proxy(port: int, said: list[dict]):
    """Run the proxy, and read what it prints."""
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        PROXY,
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=sys.stderr,
    )

    async def listen():
        while line := await process.stdout.readline():
            said.append(json.loads(line))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(listen())
        try:
            yield
        finally:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await process.wait()
            if process.returncode is None:
                process.kill()


async def shown(condition):
    """Wait until a condition holds."""
    await until(condition, WITHIN_S)


def newest(room: Outsider, topic: str) -> str:
    """Return what a topic carried last."""
    return (room.payloads(topic)[-1:] or [b""])[0].decode()


def understood(said: list[dict]) -> dict[str, dict]:
    """Return what the proxy read, by the id of the device."""
    return {one["id"]: one for one in said if one["kind"] == "DEVICE"}


def described(room: Outsider) -> dict[str, dict]:
    """Return what the gateway described, by the id that Homie gives it."""
    found = {}
    for topic, payload, _ in room.messages:
        if topic.startswith("homeassistant/device/") and payload:
            config = json.loads(payload)
            device = config["device"]
            name = device.get("serial_number") or device["identifiers"][0]
            found[name.lower().replace("_", "-")] = config
    return found


async def test_every_device_is_understood_and_one_is_switched(tmp_path):
    """Each component becomes a Homie property with its value; a write reaches the charger."""
    broker = Mosquitto(tmp_path, unused_port())
    broker.start()
    room = Outsider(broker.port, "homeassistant/#", "charger/#", "ebus/#")
    said: list[dict] = []
    try:
        async with (
            asyncio.timeout(2 * WITHIN_S),
            gateway(tmp_path, broker.port),
            proxy(broker.port, said),
        ):
            await shown(lambda: understood(said).keys() == described(room).keys() >= {ONE.lower()})
            await shown(lambda: len(understood(said)) >= CHARGERS_AND_EQUALIZER)
            for name, config in described(room).items():
                found = understood(said)[name]["components"]
                assert found.keys() == config["components"].keys()
                is_gateway = "serial_number" not in config["device"]  # it says itself how it is
                assert is_gateway or all(one["available"] for one in found.values())
                assert all(one["read"] or one["written"] for one in found.values())
            await switched(room, understood(said)[ONE.lower()])
    finally:
        room.close()
        broker.stop()
    assert [one for one in said if one["kind"] == "FAILED"] == []


async def switched(room: Outsider, device: dict) -> None:
    """Switch the lock of the cable over Homie, and watch the charger and Homie follow."""
    lock = device["components"]["switch_lock_cable_permanently"]
    at = f"ebus/5/{device['id']}/charger/{lock['id']}"
    power = device["components"]["sensor_total_power"]
    native = f"charger/{ONE}/state/"
    await shown(lambda: newest(room, f"ebus/5/{device['id']}/$state") == "ready")
    await shown(lambda: newest(room, at) == newest(room, f"{native}lock_cable_permanently") != "")
    wanted = "false" if newest(room, at) == "true" else "true"
    room.publish(f"{at}/set", wanted.encode())
    await shown(lambda: newest(room, f"{native}lock_cable_permanently") == wanted)
    await shown(lambda: newest(room, at) == wanted)

    watts = f"ebus/5/{device['id']}/charger/{power['id']}"
    assert power["unit"] == "W"
    await shown(
        lambda: float(newest(room, watts)) == float(newest(room, f"{native}total_power")) * 1000
    )
