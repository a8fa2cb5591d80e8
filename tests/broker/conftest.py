"""Brokers for the tests in this folder, and the link under test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from bridge.adapters.clock import SystemClock
from bridge.adapters.mqtt.client import MqttClient
from bridge.core.events import (
    Event,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
)
from bridge.core.messages import Publish
from bridge.settings import MqttSettings
from tests.conftest import PATIENCE_S
from tests.mosquitto import Mosquitto, until
from tests.ports import unused_port

STATE = "charger/bridge/state"
OFFLINE = Publish(STATE, b"offline")
ONLINE = Publish(STATE, b"online")
FILTERS = ("charger/+/set/+", "charger/+/get/+")
SET = "charger/EH123456/set/start"


@pytest.fixture
def make_broker(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start brokers on ports of their own; they end with the test."""
    started: list[Mosquitto] = []

    def make(**options: object) -> Mosquitto:
        broker = Mosquitto(tmp_path, unused_port(), **options)
        started.append(broker)
        broker.start()
        return broker

    yield make
    for broker in started:
        broker.kill()


@pytest.fixture
def broker(make_broker) -> Mosquitto:
    """A broker that lets everybody in."""
    return make_broker()


@dataclass
class Link:
    """A running link and what it emitted."""

    mqtt_client: MqttClient
    events: list[Event] = field(default_factory=list)

    def seen(self, kind: type) -> list:
        """Return the events of one kind, oldest first."""
        return [event for event in self.events if isinstance(event, kind)]

    async def connected(self, times: int = 1, within_s: float = PATIENCE_S) -> MqttConnected:
        """Wait until it was connected so many times."""
        await until(lambda: len(self.seen(MqttConnected)) >= times, within_s)
        return self.seen(MqttConnected)[times - 1]

    async def disconnected(self, times: int = 1, within_s: float = PATIENCE_S) -> MqttDisconnected:
        """Wait until it was disconnected so many times."""
        await until(lambda: len(self.seen(MqttDisconnected)) >= times, within_s)
        return self.seen(MqttDisconnected)[times - 1]

    async def acked(self, times: int = 1) -> MqttAcked:
        """Wait for so many acknowledgements."""
        await until(lambda: len(self.seen(MqttAcked)) >= times)
        return self.seen(MqttAcked)[times - 1]

    async def message(self, times: int = 1) -> MqttMessage:
        """Wait for so many messages."""
        await until(lambda: len(self.seen(MqttMessage)) >= times)
        return self.seen(MqttMessage)[times - 1]


@contextlib.asynccontextmanager
async def linked(port: int, **changes: object) -> AsyncIterator[Link]:
    """Run a link to a loopback port; cancelled in the end, like a crash."""
    filters = changes.pop("filters", FILTERS)
    loopback = changes.pop("loopback", ())
    options = ("will", "session_expiry_s", "may_connect", "will_delay_s")
    more = {key: changes.pop(key) for key in options if key in changes}
    events: list[Event] = []
    settings = replace(MqttSettings(host="127.0.0.1", port=port, client_id="bridge"), **changes)
    mqtt_client = MqttClient(
        settings,
        subscriptions=filters,
        loopback=loopback,
        clock=SystemClock(),
        emit=events.append,
        **{"will": OFFLINE, **more},
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(mqtt_client.run())
        yield Link(mqtt_client, events)
        running.cancel()
