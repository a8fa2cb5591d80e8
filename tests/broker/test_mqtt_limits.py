"""The link and what waits behind it, at brokers that end a connection because of one message."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest

from bridge.adapters.clock import SystemClock
from bridge.adapters.mqtt import client as mqtt
from bridge.core.delivery.outbox import SET_ASIDE
from bridge.core.events import MqttAcked, MqttConnected, MqttDisconnected
from bridge.core.messages import Publish
from bridge.gateway import EventLoop, EventQueue
from bridge.settings import MqttSettings
from tests.broker.conftest import OFFLINE, ONLINE
from tests.mosquitto import until
from tests.scripted import CLOSE, Heard, Scripted, packet, scripted

pytestmark = [pytest.mark.broker, pytest.mark.anyio]

BAD = Publish("homeassistant/device/x/config", b"x" * 30_000)
REPORTS = [
    Publish(f"charger/EH{n}/session/report", b"{}", retained=False, tag=f"report:{n}:1")
    for n in range(12)
]
VALUES = [Publish(f"charger/EH1/state/{name}", b"1") for name in range(12)]


@dataclass
class Talker:
    """A machine that says everything when it is connected, as the real one does."""

    says: list[Publish]
    events: list = field(default_factory=list)

    def handle(self, event, _now):
        self.events.append(event)
        if isinstance(event, MqttConnected):
            yield ONLINE
            yield from self.says

    def deadline_s(self):
        return None

    def seen(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


@contextlib.asynccontextmanager
async def talking(broker: Scripted, talker: Talker, **changes):
    """Run a gateway that has nothing but a machine and a real link."""
    queue = EventQueue()
    settings = MqttSettings(host="127.0.0.1", port=broker.port, client_id="bridge", **changes)
    mqtt_client = mqtt.MqttClient(
        settings, will=OFFLINE, subscriptions=(), clock=SystemClock(), emit=queue.put
    )
    gateway = EventLoop(
        talker, queue, link=mqtt_client, cloud=None, source=None, store=None, clock=SystemClock()
    )
    queue.wake = gateway._wake
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(mqtt_client.run())
        yield gateway
        running.cancel()


def too_large(heard: Heard) -> int:
    """Close on what is too large; take everything else."""
    return CLOSE if len(heard.payload) > 20_000 else 0


def says_so(heard: Heard) -> int | bytes:
    """Say why, as MQTT 5 has it, and close."""
    return packet(0xE0, b"\x95") if len(heard.payload) > 20_000 else 0


@pytest.mark.fault("F43")
@pytest.mark.parametrize(
    ("version", "answers"), [("5", too_large), ("5", says_so), ("3.1.1", too_large)]
)
async def test_one_message_costs_no_other_anything(monkeypatch, version, answers):
    """It is found among all that was in flight and given back; everything else arrives."""
    monkeypatch.setattr(mqtt, "FIRST_WAIT_S", 0.02)
    talker = Talker([*VALUES[:6], BAD, *VALUES[6:], *REPORTS])
    async with (
        scripted(Scripted(answers=answers)) as broker,
        talking(broker, talker, version=version) as gateway,
    ):
        await until(lambda: MqttAcked(BAD, SET_ASIDE) in talker.events)
        await until(lambda: gateway.waiting == gateway.in_flight == 0)
        connects = broker.connects("bridge")

    told = {(event.message.topic, event.reason_code) for event in talker.seen(MqttAcked)}
    assert told >= {(m.topic, 0) for m in (*VALUES, *REPORTS, ONLINE)}
    assert {m.topic for m in (*VALUES, *REPORTS)} <= set(broker.topics())
    lost = talker.seen(MqttDisconnected)
    assert 2 <= len(lost) == connects - 1 <= 3
    assert all(event.was_busy for event in lost)


async def test_a_broker_that_counts_otherwise_is_sent_fewer(monkeypatch):
    """Receive maximum exceeded halves what is in flight; nobody is to blame for it."""
    monkeypatch.setattr(mqtt, "FIRST_WAIT_S", 0.02)
    told = []

    def strict(heard: Heard) -> int | bytes:
        if len(broker.writers) < 3 and heard.topic == VALUES[3].topic:
            told.append(heard)
            return packet(0xE0, b"\x93")
        return 0

    talker = Talker(VALUES)
    async with (
        scripted(Scripted(answers=strict)) as broker,
        talking(broker, talker, version="5") as gateway,
    ):
        await until(lambda: {m.topic for m in VALUES} <= set(broker.topics()))
        window = gateway._outbox.window

    assert told
    assert window < 20
    assert all(event.reason_code == 0 for event in talker.seen(MqttAcked))
