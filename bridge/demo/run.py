"""Runs broker, simulated cloud, gateway and view."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bridge import logs
from bridge.adapters.mqtt.client import check_connection
from bridge.app import serve as serve_gateway
from bridge.demo.board import Board
from bridge.demo.broker import LOOPBACK, broker_on_usable_port
from bridge.demo.view import FRAMES_PER_S, Screen
from bridge.exports.mosquitto_clients import client_options
from bridge.settings import (
    CommandSettings,
    EaseeSettings,
    LogSettings,
    MqttSettings,
    Secret,
    Settings,
    StoreSettings,
)
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve as serve_cloud
from bridge.simulator.simulator import Simulator

# The first cars come at once: a demonstration is looked at for a minute.
FIRST_CARS_AFTER_S = (2.0, 4.0)
# What can be tried without harm: hold the charge, let it go on, limit it.
TO_TRY = (("pause", "PRESS"), ("resume", "PRESS"), ("dynamic_charger_current", "10"))
# Longer than a broker on this machine needs to hand a message on.
LAST_MESSAGE_WITHIN_S = 5.0
EVERY_GROUP = ("control", "access", "current", "device", "maintenance", "schedule")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line chose.

    Attributes:
        chargers: How many simulated chargers.
        broker: Host and port of a broker of one's own, or None for the embedded one.
        duration_s: End by itself after so long; None: until Ctrl-C.
        seed: Of the simulated world.
        speed: How much faster than life cars come and go.
    """

    chargers: int = 3
    broker: tuple[str, int] | None = None
    duration_s: float | None = None
    seed: int = 1
    speed: float = 20.0


async def run(options: DemoOptions) -> int:
    """Run the demo until Ctrl-C, SIGTERM or its duration; return the exit status.

    Raises:
        ConnectionLost: A broker of one's own cannot be used; the text says what to do.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.duration_s is not None:
        loop.call_later(options.duration_s, stop.set)
    logs.configure(LogSettings(level="error", format="console"))
    logs.install_excepthooks()
    scenario = _scenario(options)
    async with contextlib.AsyncExitStack() as stack:
        host, port = await stack.enter_async_context(_broker(options.broker))
        if options.broker is not None:
            await check_connection(MqttSettings(host=host, port=port))
        cloud = await stack.enter_async_context(serve_cloud(scenario))
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="charger-bridge-demo-"))
        # amqtt speaks 3.1.1, and takes 3 s to say so to a client that asks for 5.
        version = "3.1.1" if options.broker is None else "auto"
        name = f"charger-bridge-demo-{os.getpid()}"
        mqtt = MqttSettings(host=host, port=port, version=version, client_id=name)
        settings = _settings(cloud, mqtt, Path(folder))
        base = settings.mqtt.base_topic
        screen = stack.enter_context(
            Screen(
                Board(base),
                address=f"mqtt://{host}:{port}",
                tries=lambda serial: try_these(host, port, f"{base}/{serial}/set"),
                usual=scenario.serials[: len(FIRST_CARS_AFTER_S)][-1],
                closed=stop.set,
            )
        )
        ended = asyncio.Event()

        def show(topic: str, payload: bytes) -> None:
            screen.take(topic, payload)
            if stop.is_set() and (topic, payload) == (f"{base}/bridge/state", b"offline"):
                ended.set()

        await stack.enter_async_context(_subscribed(host, port, f"{base}/#", show))
        for serial, after_s in zip(scenario.serials, FIRST_CARS_AFTER_S, strict=False):
            loop.call_later(after_s, cloud.plug_in, serial)
        async with asyncio.TaskGroup() as tasks:
            gateway = tasks.create_task(serve_gateway(settings, stop))
            while not stop.is_set():
                screen.draw()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1 / FRAMES_PER_S):
                        await stop.wait()
        # The broker has the gateway's last message, and the screen gets it a moment later.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_MESSAGE_WITHIN_S):
                await ended.wait()
        return gateway.result()


@contextlib.asynccontextmanager
async def _broker(own: tuple[str, int] | None) -> AsyncIterator[tuple[str, int]]:
    if own is not None:
        yield own
        return
    async with broker_on_usable_port() as port:
        yield LOOPBACK, port


def _settings(cloud: Simulator, mqtt: MqttSettings, folder: Path) -> Settings:
    return Settings(
        easee=EaseeSettings(
            username="demo@example.com",
            password=Secret("demo"),
            api_url=cloud.api_url,
            stream_url=cloud.stream_url,
        ),
        mqtt=mqtt,
        commands=CommandSettings(allow=EVERY_GROUP),
        store=StoreSettings(path=str(folder / "bridge.db")),
    )


def _scenario(options: DemoOptions) -> Scenario:
    """Return the world; a single charger lets every car charge, so that commands have an effect."""
    return Scenario(
        chargers=options.chargers,
        seed=options.seed,
        speed=options.speed,
        authorization_required=False if options.chargers == 1 else None,
    )


def try_these(host: str, port: int, topic: str) -> tuple[str, ...]:
    """Return command lines that work on this machine and make something visible happen.

    Args:
        host: Of the broker.
        port: Of the broker.
        topic: Where commands for the charger go, e.g. ``"charger/EH000002/set"``.
    """
    if shutil.which("mosquitto_pub"):
        publish = f"mosquitto_pub{client_options(MqttSettings(host=host, port=port))}"
    else:
        publisher = Path(sys.executable).with_name("amqtt_pub")
        publish = f"{publisher} --url mqtt://{host}:{port} -q 1"
    return tuple(f"{publish} -t {topic}/{name} -m {payload}" for name, payload in TO_TRY)


@contextlib.asynccontextmanager
async def _subscribed(
    host: str, port: int, topics: str, show: Callable[[str, bytes], None]
) -> AsyncIterator[None]:
    """Handle every message under a filter, received as any other client would."""
    loop = asyncio.get_running_loop()
    client = paho.Client(CallbackAPIVersion.VERSION2)

    def on_connect(client: paho.Client, *_: object) -> None:
        client.subscribe(topics, qos=1)

    def on_message(_client: object, _userdata: object, message: paho.MQTTMessage) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closing
            loop.call_soon_threadsafe(show, message.topic, bytes(message.payload))

    client.on_connect = on_connect
    client.on_message = on_message
    await asyncio.to_thread(client.connect, host, port)
    client.loop_start()
    try:
        yield
    finally:
        await asyncio.to_thread(client.disconnect)
        await asyncio.to_thread(client.loop_stop)
