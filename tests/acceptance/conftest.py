"""The gateway as a process, a mosquitto, a simulated cloud, and a client that remembers."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve
from bridge.simulator.simulator import Simulator
from tests import canaries
from tests.canaries import PASSWORD as PASSWORD  # noqa: PLC0414 - the tests of this room take it here
from tests.judge import Judge
from tests.mosquitto import Mosquitto

# Only what never comes takes as long: everything is waited for by what happens.
TIMEOUT_S = 120.0
JUDGE = Judge()


@dataclass
class Gateway:
    """``charger-bridge run`` as a process of its own."""

    config: Path
    environ: dict[str, str]
    program: str = "bridge"
    process: asyncio.subprocess.Process | None = None
    log: bytearray = field(default_factory=bytearray)
    _reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self.program,
            "run",
            "--config",
            str(self.config),
            env=self.environ,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        while chunk := await self.process.stderr.read(65536):
            self.log.extend(chunk)

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(TIMEOUT_S):
            status = await self.process.wait()
            await self._reader
        return status

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log, parsed: every line is one JSON object."""
        return [json.loads(line) for line in bytes(self.log).decode().splitlines()]


@dataclass
class Witness:
    """An MQTT client that remembers everything under the base topic, in order.

    ``retained`` holds the newest payload of each topic, ``passing`` the topics that somebody
    published to without the retain flag, ``said`` the topics we published to
    ourselves. What the bridge published is held against its schema when the witness stops, unless
    others than the bridge are watched too.
    """

    port: int
    protocol: int = paho.MQTTv5
    messages: list[tuple[str, bytes, bool]] = field(default_factory=list)
    properties: dict[str, Any] = field(default_factory=dict)
    retained: dict[str, bytes] = field(default_factory=dict)
    passing: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)
    judges: bool = True
    _client: paho.Client | None = None
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, filters: tuple[str, ...] = ("charger/#",)) -> None:
        loop = asyncio.get_running_loop()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=self.protocol)
        granted = asyncio.Event()

        def on_connect(client, *_):
            options = SubscribeOptions(qos=1, retainAsPublished=True)
            client.subscribe([(topic, options) for topic in filters])

        def on_subscribe(*_):
            loop.call_soon_threadsafe(granted.set)

        def on_message(_client, _userdata, message):
            loop.call_soon_threadsafe(self._take, message)

        def on_socket_open(_client, _userdata, sock):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        self._client.on_socket_open = on_socket_open
        self._client.on_connect = on_connect
        self._client.on_subscribe = on_subscribe
        self._client.on_message = on_message
        await asyncio.to_thread(self._client.connect, "127.0.0.1", self.port)
        self._client.loop_start()
        async with asyncio.timeout(TIMEOUT_S):
            await granted.wait()

    def _take(self, message) -> None:
        self.messages.append((message.topic, message.payload, message.retain))
        if not message.retain:
            self.passing.add(message.topic)
        self.properties[message.topic] = message.properties
        self.retained[message.topic] = message.payload
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        self._arrived.set()

    async def stop(self) -> None:
        await asyncio.to_thread(self._client.disconnect)
        await asyncio.to_thread(self._client.loop_stop)
        if not self.judges:
            return
        others = ((topic, payload) for topic, payload, _ in self.messages if self._is_told(topic))
        assert JUDGE.problems(others) == []
        heard = ((topic, f"{topic} {payload!r}".encode()) for topic, payload, _ in self.messages)
        assert [(topic, found) for topic, said in heard if (found := canaries.found_in(said))] == []

    def _is_told(self, topic: str) -> bool:
        """Say whether a message is the bridge's: neither ours nor on a topic it listens to."""
        known = JUDGE.message(topic)
        return topic not in self.said and (known is None or known.published)

    def publish(self, topic: str, payload: str | bytes, *, retain: bool = False, **mqtt5) -> None:
        properties = None
        if mqtt5:
            properties = Properties(PacketTypes.PUBLISH)
            for name, value in mqtt5.items():
                setattr(properties, name, value)
        self.said.add(topic)
        self._client.publish(topic, payload, 1, retain, properties)

    async def until(self, condition, what: str, timeout_s: float = TIMEOUT_S):
        """Wait until a condition over the messages holds; return its value."""
        try:
            async with asyncio.timeout(timeout_s):
                while not (value := condition()):
                    self._arrived.clear()
                    await self._arrived.wait()
                return value
        except TimeoutError:
            tail = "\n".join(f"{t} {p[:120]!r}" for t, p, _ in self.messages[-25:])
            pytest.fail(f"{what} did not happen within {timeout_s} s; last messages:\n{tail}")

    async def value(self, topic: str, payload: bytes | str, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until a topic's newest payload is this one."""
        wanted = payload.encode() if isinstance(payload, str) else payload
        await self.until(
            lambda: self.retained.get(topic) == wanted, f"{topic} = {payload!r}", timeout_s
        )

    async def seen(self, topic: str, payload: str, *, after: int) -> int:
        """Wait for a message behind the ``after``-th; return its place."""
        wanted = (topic, payload.encode())

        def places():
            return [i + 1 for i, m in enumerate(self.messages) if i >= after and m[:2] == wanted]

        return (await self.until(places, f"{topic} = {payload}"))[0]

    def results(self, charger_id: str, command: str) -> list[dict[str, Any]]:
        """Every answer to a command so far."""
        topic = f"charger/{charger_id}/result/{command}"
        return [json.loads(payload) for name, payload, _ in self.messages if name == topic]

    async def final(self, charger_id: str, command: str, count: int = 1) -> dict[str, Any]:
        """Wait for the ``count``-th final answer to a command."""

        def finals():
            answers = [a for a in self.results(charger_id, command) if a["final"]]
            return answers[count - 1 : count]

        return (await self.until(finals, f"final answer to {command}"))[0]


@contextlib.asynccontextmanager
async def running(
    config: dict[str, Any], folder: Path, *, program: str = "bridge", **environ: str
) -> AsyncIterator[Gateway]:
    """Run a gateway with this configuration; it must end cleanly and without a traceback."""
    path = folder / "bridge.yaml"
    path.write_text(yaml.safe_dump(config))
    variables = {
        "PATH": os.environ["PATH"],
        "CHARGER_BRIDGE_EASEE__PASSWORD": PASSWORD,
        **environ,
    }
    gateway = Gateway(path, variables, program)
    await gateway.start()
    try:
        yield gateway
    finally:
        status = await gateway.end()
        text = bytes(gateway.log).decode()
        assert "Traceback" not in text, text
        assert canaries.found_in(bytes(gateway.log)) == []
        assert canaries.leaks_on_disk(folder) == []
        assert status in (0, -signal.SIGKILL), text[-4000:]


def configuration(api_url: str, stream_url: str, port: int, folder: Path) -> dict[str, Any]:
    """Build the smallest configuration that runs."""
    return {
        "easee": {
            "username": "someone@example.com",
            "api_url": api_url,
            "stream_url": stream_url,
        },
        "mqtt": {"host": "127.0.0.1", "port": port},
        "commands": {
            "allow": [
                *("control", "access", "current", "device", "installer", "maintenance"),
                *("equalizer", "schedule"),
            ]
        },
        "store": {"path": str(folder / "store" / "bridge.db")},
        "log": {"level": "debug"},
    }


@pytest.fixture
def mosquitto(tmp_path: Path, free_port: int):
    """A mosquitto on a port of its own."""
    broker = Mosquitto(tmp_path, free_port)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def patient_broker(mosquitto: Mosquitto):
    """Let the broker queue without end: what it drops itself is not what is tested."""
    mosquitto.stop()
    with mosquitto._config.open("a") as config:
        config.write("max_queued_messages 0\n")
    mosquitto.start()


@dataclass
class Setting:
    """Broker, cloud and gateway, and a client that watches."""

    cloud: Simulator
    broker: Mosquitto
    gateway: Gateway
    witness: Witness
    config: dict[str, Any]
    folder: Path


@pytest.fixture
def stage(tmp_path: Path, mosquitto: Mosquitto):
    """Broker, cloud, gateway and witness, made by an async context manager."""

    @contextlib.asynccontextmanager
    async def build(
        *, change=None, online: bool = True, environ: dict[str, str] | None = None, **options: Any
    ) -> AsyncIterator[Setting]:
        scenario = Scenario(**{"traffic": False, "authorization_required": True, **options})
        async with contextlib.AsyncExitStack() as stack:
            cloud = await stack.enter_async_context(serve(scenario))
            config = configuration(cloud.api_url, cloud.stream_url, mosquitto.port, tmp_path)
            if change is not None:
                change(config)
            witness = Witness(mosquitto.port)
            await witness.start()
            stack.push_async_callback(witness.stop)
            gateway = await stack.enter_async_context(running(config, tmp_path, **(environ or {})))
            if online:
                await witness.value("charger/bridge/cloud", "connected")
                for serial in scenario.serials:
                    await witness.value(f"charger/{serial}/availability", "online")
            yield Setting(cloud, mosquitto, gateway, witness, config, tmp_path)

    return build
