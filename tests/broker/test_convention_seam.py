"""A convention that exists in this file only, driven through the running gateway.

Its base topic, its QoS, its will, its client id and its commands are its own: nothing of the
gateway has to be touched to add one.
"""

import asyncio
import contextlib
import gc
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from bridge import app
from bridge.conventions.convention import ConnectionNeed
from bridge.core.changes import (
    AvailabilityChanged,
    Change,
    CommandAnswered,
    ValuesChanged,
)
from bridge.core.events import MqttMessage
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.requests import IncomingCommand, IncomingRequest
from bridge.core.value_format import format_scalar
from bridge.settings import (
    CommandSettings,
    EaseeSettings,
    MqttSettings,
    Secret,
    Settings,
    StoreSettings,
)
from bridge.simulator.scenario import Scenario
from bridge.simulator.server import serve as serve_cloud
from tests.conftest import PATIENCE_S
from tests.mosquitto import Mosquitto, Outsider, until

pytestmark = pytest.mark.anyio

ONE = "EH000001"
DONE = f"plant/{ONE}/done"
LINK = "plant"
# The whole program starts, and is connected anew: each takes several attempts on a busy machine.
WITHIN_S = 4 * PATIENCE_S


class Plant:
    """What a control room may want: few values, QoS 0, commands of one word."""

    name = "plant"
    subscriptions = ("plant/+/do",)

    def __init__(self):
        self.connection = ConnectionNeed(LINK, "plant-gateway", self._at("plant/alive", b"0"))
        self._retained: dict[str, Publish] = {}

    def publish(self, change: Change, _now: Timestamp) -> Iterable[Publish]:
        """Tell the power, who is there, and what became of a command."""
        for message in self._messages(change):
            if message.retained:
                self._retained[message.topic] = message
            yield message

    def snapshot(self, _now: Timestamp) -> Iterable[Publish]:
        """Say that we are there, and everything that was said before."""
        yield self._at("plant/alive", b"1")
        yield from self._retained.values()

    def parse(self, message: MqttMessage) -> IncomingRequest | None:
        """Read ``lock`` and ``unlock``."""
        words = {b"lock": b"true", b"unlock": b"false"}
        if message.payload not in words:
            return None
        charger_id = message.topic.split("/")[1]
        return IncomingCommand(charger_id, "lock_cable_permanently", words[message.payload])

    def _messages(self, change: Change) -> Iterable[Publish]:
        match change:
            case ValuesChanged(values):
                for value in values:
                    if value.spec.name == "total_power":
                        yield self._at(f"plant/{value.charger_id}/kw", format_scalar(value.value))
            case AvailabilityChanged(charger_id, is_online):
                yield self._at(f"plant/{charger_id}/there", b"1" if is_online else b"0")
            case CommandAnswered(charger_id, result) if result.final:
                payload = result.state.encode()
                yield Publish(f"plant/{charger_id}/done", payload, retained=False, qos=0, link=LINK)

    def _at(self, topic: str, payload: bytes) -> Publish:
        return Publish(topic, payload, qos=0, link=LINK)


class ControlRoom(Outsider):
    """Another client, which notes at which QoS it got what."""

    def __init__(self, port: int):
        self.qos: dict[str, set[int]] = {}
        super().__init__(port, "plant/#", "charger/#")

    def _on_message(self, client, data, message):
        self.qos.setdefault(message.topic, set()).add(message.qos)
        super()._on_message(client, data, message)

    def newest(self, topic: str) -> bytes:
        """Return what a topic carried last."""
        return next(iter(self.payloads(topic)[-1:]), b"")


async def shown(condition):
    """Wait until a condition holds."""
    await until(condition, WITHIN_S)


@contextlib.asynccontextmanager
async def gateway(folder: Path, port: int):
    """Run the whole program with the convention, against a simulated cloud."""
    async with serve_cloud(Scenario(chargers=1, traffic=False)) as cloud:
        settings = Settings(
            EaseeSettings("x@example.com", Secret("p"), (), cloud.api_url, cloud.stream_url),
            MqttSettings(host="127.0.0.1", port=port, client_id="bridge"),
            commands=CommandSettings(allow=("device",)),
            store=StoreSettings(path=str(folder / "bridge.db")),
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            yield tasks.create_task(app.serve(settings, stop, conventions=(Plant(),)))
            stop.set()


@pytest.fixture
def room(broker: Mosquitto):
    """A control room at the broker."""
    made = ControlRoom(broker.port)
    yield made
    made.close()


async def test_a_convention_has_its_own_topics_qos_and_client_id(tmp_path, broker, room):
    """Beside the native messages, and without one of them over its connection."""
    async with gateway(tmp_path, broker.port):
        await shown(lambda: room.newest(f"plant/{ONE}/there") == b"1")
        await shown(lambda: room.payloads(f"plant/{ONE}/kw"))
        await shown(lambda: room.newest(f"charger/{ONE}/availability") == b"online")

        assert room.newest("plant/alive") == b"1"
        of_plant = {
            qos for topic, qos in room.qos.items() if topic.startswith("plant/") for qos in qos
        }
        of_native = room.qos[f"charger/{ONE}/availability"]
        assert (of_plant, of_native) == ({0}, {1})
        assert "as plant-gateway" in broker.log


async def test_a_command_in_its_own_spelling_is_carried_out_and_answered(tmp_path, broker, room):
    """Through the same checks as a native one, and both conventions tell the result."""
    async with gateway(tmp_path, broker.port):
        await shown(lambda: room.newest(f"plant/{ONE}/there") == b"1")
        await shown(lambda: room.newest(f"charger/{ONE}/state/lock_cable_permanently"))
        room.publish(f"plant/{ONE}/do", b"nonsense")
        room.publish(f"plant/{ONE}/do", b"lock")
        await shown(lambda: room.newest(DONE) in (b"confirmed", b"noop"))
        await shown(lambda: room.newest(f"charger/{ONE}/state/lock_cable_permanently") == b"true")

        result = json.loads(room.newest(f"charger/{ONE}/result/lock_cable_permanently"))
        assert (result["final"], result["state"]) == (True, room.newest(DONE).decode())


# A gateway that vanishes closes nothing: its sockets are left to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_its_own_will_is_published_when_the_gateway_vanishes(tmp_path, broker, room):
    """And by the gateway itself at a clean end."""
    async with gateway(tmp_path, broker.port) as running:
        await shown(lambda: room.newest("plant/alive") == b"1")
        running.cancel()
        await shown(lambda: room.newest("plant/alive") == b"0")
    del running
    gc.collect()  # here, and not in a later test
    async with gateway(tmp_path, broker.port):
        await shown(lambda: room.newest("plant/alive") == b"1")
    await shown(lambda: room.newest("plant/alive") == b"0")


async def test_everything_is_said_again_to_a_broker_that_lost_it(tmp_path, broker):
    """At the connection after that."""
    async with gateway(tmp_path, broker.port):
        for _ in range(2):
            room = ControlRoom(broker.port)
            try:
                await shown(lambda room=room: room.newest(f"plant/{ONE}/there") == b"1")
                assert room.newest("plant/alive") == b"1"
            finally:
                room.close()
            broker.kill()
            broker.start()
