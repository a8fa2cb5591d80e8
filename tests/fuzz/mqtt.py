"""The borders towards the broker."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes

from bridge.adapters.mqtt.connection import Connection
from bridge.adapters.mqtt.paho_patches import ReadProperties
from bridge.adapters.mqtt.paho_translation import ConnectOptions, read_message
from bridge.adapters.mqtt.publish_validation import check_publish
from bridge.conventions.sparkplug.convention import Sparkplug
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import MAX_ID_LENGTH, read_payload
from bridge.core.events import (
    MqttMessage,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.core.sessions.consumer_messages import read_ack, read_replay
from bridge.errors import CommandRefused, DecodeError
from bridge.settings import EaseeSettings, MqttSettings, Secret, Settings, SparkplugSettings
from tests.fuzz.core import CORE, ONE, TOPICS, answers, parts, shake, text_of


def topic(data: bytes) -> None:
    """Topic router: any topic and payload lands in one room or in none."""
    where, payload, flags = parts(data, 3)
    name = where.decode("utf-8", "ignore")
    found = TOPICS.parse(name)
    assert found is None or name.startswith("charger/")
    assert not TOPICS.may_reply_to(name) or not set(name) & set("+#\0$")
    if CORE.wants(data):
        shake(MqttMessage(name, payload, AckToken(1, 1, 1), retained=flags[:1] == b"r"))


def payload(data: bytes) -> None:
    """Command payload: a value that its command takes, or a refusal that repeats nothing."""
    with contextlib.suppress(CommandRefused):
        read = read_payload(data)
        for spec in CATALOGUE.values():
            with contextlib.suppress(CommandRefused):
                spec.read(read.value, 32)


NAMES = sorted(CATALOGUE)
QUERIES = ("observations", "history", "sessions", "schedule")


def command(data: bytes) -> None:
    """A message to a command or query: one final answer at most, and none to foreign topics."""
    choice, payload, response, correlation = parts(data, 4)
    number = choice[0] if choice else 0
    kind, name = ("set", NAMES[number % len(NAMES)])
    if number >= 0xF0:
        kind, name = ("get", QUERIES[number % len(QUERIES)])
    message = MqttMessage(
        f"charger/{ONE}/{kind}/{name}",
        payload,
        AckToken(1, 1, 1),
        retained=choice[1:2] == b"r",
        duplicate=choice[1:2] == b"d",
        response_topic=response.decode("utf-8", "ignore") or None,
        correlation=correlation or None,
    )
    final = answers(shake(message, settle=True))
    assert len(final) <= 1, final
    if message.retained:
        assert final[0]["reason"] == "retained"


PLANT = Settings(
    EaseeSettings("x@example.com", Secret("p")),
    sparkplug=SparkplugSettings(True, "plant", "gate", "scada"),
)
PLANT_TOPICS = (
    "spBv1.0/plant/NCMD/gate",
    f"spBv1.0/plant/DCMD/gate/{ONE}",
    "spBv1.0/STATE/scada",
)


def plant(data: bytes) -> None:
    """A message to the Sparkplug node: commands that can be answered, a state, or a refusal."""
    choice, payload = parts(data, 2)
    node = Sparkplug(PLANT).node
    node.device(ONE).is_online = True
    now = Timestamp(datetime(2026, 11, 22, tzinfo=UTC), 1.0)
    node.will(now)
    node.connected(now)
    where = PLANT_TOPICS[(choice or b"\0")[0] % len(PLANT_TOPICS)]
    with contextlib.suppress(DecodeError):
        for request in node.received(MqttMessage(where, payload, AckToken(1, 0, 0)), now):
            assert request.charger_id == ONE
            with contextlib.suppress(CommandRefused):
                assert len(read_payload(request.payload).id or "") <= MAX_ID_LENGTH
    while (step := node.take(now)) is not None:
        assert isinstance(step, Publish)


class Wire:
    """A socket that delivers what it is given and takes everything."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def recv(self, size: int) -> bytes:
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def send(self, data: bytes) -> int:
        return len(data)

    def fileno(self) -> int:
        return -1

    def pending(self) -> int:
        return len(self._data)

    def close(self) -> None:
        self._data = b""


LOOP = asyncio.new_event_loop()


def packets(data: bytes) -> None:
    """MQTT packets and their properties: whatever a broker sends, through the library to us."""
    arrived: list[MqttMessage] = []
    failed: list[Exception] = []

    async def make() -> Connection:
        ignore: Callable[..., None] = lambda *_: None  # noqa: E731 - two words
        settings, options = MqttSettings(host="localhost"), ConnectOptions("5", "bridge")
        return Connection(
            settings, options, epoch=1, arrived=arrived.append, acked=ignore, mono_s=LOOP.time
        )

    connection = LOOP.run_until_complete(make())

    def watched(callback: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            try:
                callback(*args)
            except Exception as error:  # noqa: BLE001 - what is looked for
                failed.append(error)

        return call

    client = connection._client
    client._sock = wire = Wire(data)
    client.on_connect = watched(connection._on_connect)
    client.on_subscribe = watched(connection._on_subscribe)
    client.on_message = watched(connection._on_message)
    client.on_publish = watched(connection._on_publish)
    client.on_disconnect = watched(connection._on_disconnect)
    while client._sock is wire and wire.pending():
        before = wire.pending()
        with contextlib.suppress(Exception):  # Connection._run ends the connection then
            client.loop_read()
        if wire.pending() == before:
            break
    client._sock = None
    assert not failed, failed
    for message in arrived[:3] if CORE.wants(data) else ():
        shake(message)


def properties(data: bytes) -> None:
    """MQTT 5 properties of a message that is a command: read or marked, never an error."""
    size = min(len(data), 127)
    found, taken = ReadProperties(PacketTypes.PUBLISH).unpack(bytes([size]) + data[:127])
    assert taken == size + 1
    message = MQTTMessage(1, b"")
    message.payload, message.qos, message.properties = b"16", 1, found
    read = read_message(message, f"charger/{ONE}/set/dynamic_charger_current", AckToken(1, 1, 1))
    if CORE.wants(data):
        shake(read)


def publication(data: bytes) -> None:
    """What we publish: sendable, or refused before the library sees it."""
    where, key, value, correlation = parts(data, 4)
    message = Publish(
        text_of(where),
        b"",
        user_properties=((text_of(key), text_of(value)),),
        correlation=correlation,
    )
    with contextlib.suppress(ValueError):
        check_publish(message, properties=True, largest_packet_bytes=None)
        assert not set(message.topic) & set("+#\0")


def consumer(data: bytes) -> None:
    """What consumers of reports say: an acknowledgement, a replay, or an error that is named."""
    for read in (read_ack, read_replay):
        with contextlib.suppress(DecodeError):
            read(data)
    for last in ("ack", "replay") if CORE.wants(data) else ():
        shake(MqttMessage(f"charger/bridge/session/{last}", data, AckToken(1, 1, 1)))
