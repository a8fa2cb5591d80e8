"""Brokers that are older than MQTT 5, or not quite brokers at all."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bridge.adapters.clock import SystemClock
from bridge.adapters.mqtt import client
from bridge.adapters.mqtt.client import check_connection
from bridge.core.alerts import Alerts
from bridge.core.events import MqttDisconnected, MqttMessage, MqttSubscribed
from bridge.core.neighbours import Neighbours
from bridge.core.topics import Topics
from bridge.errors import ConnectionLost
from bridge.settings import MqttSettings
from tests.broker.conftest import FILTERS, ONLINE, SET, linked
from tests.mosquitto import until
from tests.ports import unused_port

pytestmark = [pytest.mark.broker, pytest.mark.anyio]

CONNACK_5 = b"\x20\x03\x00\x00\x00"
CONNACK_311 = b"\x20\x02\x00\x00"
SUBACK_DENIED = b"\x90\x05\x00\x01\x00\x01\x87"  # the first filter granted, the second not
SUBACK_DEAF = b"\x90\x06\x00\x01\x00\x01\x01\x87"  # only the third, our own, not
SUBACK_311 = b"\x90\x04\x00\x01\x01\x01"


class Script:
    """One scripted connection: read a packet, say something."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def packet(self) -> bytes:
        """Read one short packet."""
        head = await self._reader.readexactly(2)
        length = head[1]
        if length & 0x80:
            more = await self._reader.readexactly(1)
            head, length = head + more, (length & 0x7F) + 128 * more[0]
        return head + await self._reader.readexactly(length)

    def say(self, packet: bytes) -> None:
        """Send bytes."""
        self._writer.write(packet)

    async def until_closed(self) -> None:
        """Stay until the other side goes."""
        await self._reader.read()


@contextlib.asynccontextmanager
async def scripted(play: Callable[[Script, int], Coroutine]) -> AsyncIterator[int]:
    """Serve scripted connections on a loopback port.

    Args:
        play: Gets each connection and the protocol level of its CONNECT (4 or 5).
    """

    async def handle(reader, writer):
        script = Script(reader, writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            connect = await script.packet()
            await play(script, connect[connect.index(b"MQTT") + 4])
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def closes_on_5(script: Script, level: int) -> None:
    """Behave like RabbitMQ before 3.13."""
    if level == 5:
        return
    script.say(CONNACK_311)
    await script.packet()
    script.say(SUBACK_311)
    await script.until_closed()


async def refuses_5_in_its_own_words(script: Script, level: int) -> None:
    """Behave like aedes: the two-byte CONNACK of 3.1.1."""
    if level == 5:
        script.say(b"\x20\x02\x00\x01")
    else:
        await closes_on_5(script, level)


async def refuses_5_in_mqtt_5(script: Script, level: int) -> None:
    """Behave like a newer broker with MQTT 5 switched off."""
    if level == 5:
        script.say(b"\x20\x03\x00\x84\x00")
    else:
        await closes_on_5(script, level)


@contextlib.asynccontextmanager
async def amqtt(folder: Path) -> AsyncIterator[int]:
    """Run amqtt, which speaks only 3.1.1, and takes MQTT 5 properties for a very long client id."""
    port = unused_port()
    config = folder / "amqtt.yaml"
    config.write_text(
        f"listeners: {{default: {{type: tcp, bind: '127.0.0.1:{port}'}}}}\n"
        "plugins: {amqtt.plugins.authentication.AnonymousAuthPlugin: {}}\n"
    )
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("amqtt")), "-c", str(config), stdout=-3, stderr=-3
    )
    try:
        await until(lambda: accepts(port), within_s=20)
        yield port
    finally:
        process.kill()
        await process.wait()


def accepts(port: int) -> bool:
    """Say whether somebody listens."""
    with socket.socket() as probing:
        return probing.connect_ex(("127.0.0.1", port)) == 0


async def test_a_broker_that_waits_for_the_rest_of_mqtt_5_is_spoken_to_in_3_1_1(tmp_path):
    """amqtt, the broker of the demonstration, is found out by its silence, with one warning."""
    with capture_logs() as logs:
        async with amqtt(tmp_path) as port, linked(port) as it:
            connected = await it.connected()
            it.mqtt_client.publish(ONLINE)
            acked = await it.acked()
            await it.mqtt_client.close(ONLINE)

    assert (connected.protocol, connected.session_present) == ("3.1.1", False)
    assert acked.reason_code == 0
    assert [entry["log_level"] for entry in logs if entry["event"] == "mqtt.old_broker"] == [
        "warning"
    ]


async def test_a_broker_that_just_closes_on_mqtt_5_is_spoken_to_in_3_1_1():
    """A silent close is tried out with 3.1.1 at once, and what was found is remembered."""
    levels = []

    async def play(script, level):
        levels.append(level)
        await closes_on_5(script, level)

    async with scripted(play) as port, linked(port) as it:
        connected = await it.connected()
        it.mqtt_client._up.drop("cut by the test")
        await it.connected(2)

    assert connected.protocol == "3.1.1"
    assert levels == [5, 4, 4]
    assert len(it.seen(MqttDisconnected)) == 1


async def test_a_server_that_always_closes_is_not_taken_for_an_old_broker():
    """When 3.1.1 fares no better, MQTT 5 is tried again, with a pause."""
    levels = []

    async def play(script, level):
        levels.append(level)

    async with scripted(play) as port, linked(port) as it:
        lost = await it.disconnected()
        await until(lambda: len(levels) >= 4)

    assert levels[:4] == [5, 4, 5, 4]
    assert "closed without an answer; does it require TLS?" in lost.reason


@pytest.mark.parametrize(
    "behaviour", [closes_on_5, refuses_5_in_its_own_words, refuses_5_in_mqtt_5]
)
async def test_a_bridge_set_to_5_says_that_the_broker_is_older(behaviour):
    """The operator reads which setting to change, however the broker refused; auto just works."""
    async with scripted(behaviour) as port:
        with pytest.raises(ConnectionLost, match=r"set mqtt\.version to auto or 3\.1\.1"):
            await check_connection(MqttSettings(host="127.0.0.1", port=port, version="5"))
        found = await check_connection(
            MqttSettings(host="127.0.0.1", port=port), subscriptions=("a",)
        )

    assert found.startswith("MQTT 3.1.1")
    assert "does not support MQTT 5" in found


@pytest.mark.fault("F17")
async def test_a_refused_subscription_is_named():
    """A filter that SUBACK refuses is told with its name; the link is up all the same."""

    async def play(script, level):
        script.say(CONNACK_5)
        await script.packet()
        script.say(SUBACK_DENIED)
        await script.until_closed()

    async with scripted(play) as port, linked(port) as it:
        await it.connected()
        await until(lambda: it.seen(MqttSubscribed))
        with pytest.raises(ConnectionLost, match=r"refused the subscription 'charger/\+/get/\+'"):
            await check_connection(MqttSettings(host="127.0.0.1", port=port), subscriptions=FILTERS)

    assert it.seen(MqttSubscribed) == [MqttSubscribed(("charger/+/get/+",))]
    assert not it.seen(MqttDisconnected)


async def test_a_refused_heartbeat_costs_nothing_but_the_heartbeat():
    """Everything else was granted: the connection is up, and says that it cannot hear itself."""

    async def play(script, level):
        script.say(CONNACK_5)
        await script.packet()
        script.say(SUBACK_DEAF)
        await script.until_closed()

    async with scripted(play) as port, linked(port, loopback=("charger/bridge/heartbeat",)) as it:
        connected = await it.connected()

    assert connected.loopback is False


async def test_a_broker_that_says_why_it_hangs_up_is_quoted():
    """A DISCONNECT packet with a reason becomes a sentence with what to do."""

    async def play(script, level):
        script.say(CONNACK_5)
        await script.packet()
        script.say(b"\x90\x05\x00\x01\x00\x01\x01" + b"\xe0\x02\x8e\x00")
        await script.until_closed()

    async with scripted(play) as port, linked(port) as it:
        await it.connected()
        lost = await it.disconnected()

    assert "Session taken over" in lost.reason
    assert "mqtt.client_id" in lost.reason


@pytest.mark.fault("F44")
@pytest.mark.parametrize(
    ("goodbye", "message"),
    [
        (
            b"\xe0\x01\x8e",
            "client with the id bridge took over the connection to the broker 3 times",
        ),
        (b"", "the broker closed 3 connections in a row soon after they were made"),
    ],
)
async def test_another_client_with_our_id_is_named_by_every_broker(goodbye, message, monkeypatch):
    """Mosquitto 2.1 sends the reason code 0x8E alone, 2.0 nothing at all."""
    monkeypatch.setattr(client, "FIRST_WAIT_S", 0.01)

    async def play(script, level):
        script.say(CONNACK_5)
        await script.packet()
        script.say(b"\x90\x05\x00\x01\x00\x01\x01" + goodbye)

    topics = Topics()
    neighbours = Neighbours(topics, Alerts(), client_id="bridge", instance="m")
    told = []
    async with scripted(play) as port, linked(port, version="5") as it:
        for times in range(1, 4):
            await it.connected(times)
            neighbours.connected(SystemClock().now())
            lost = await it.disconnected(times)
            told += neighbours.disconnected(lost, SystemClock().now())

    assert message in told[-1].message


@pytest.mark.fault("F19")
async def test_an_undecodable_topic_is_dropped_and_acknowledged():
    """A topic that is no UTF-8 neither reaches the core nor comes again nor cuts the link."""
    received = []

    async def play(script, level):
        script.say(CONNACK_311)
        await script.packet()
        script.say(SUBACK_311 + b"\x32\x06\x00\x02\xff\xfe\x00\x07")
        received.append(await script.packet())
        script.say(b"\x32\x1b\x00\x16" + SET.encode()[:22] + b"\x00\x08" + b"1")
        await script.until_closed()

    async with scripted(play) as port, linked(port, version="3.1.1") as it:
        message = await it.message()

    assert received == [b"\x40\x02\x00\x07"]
    assert (message.ack_token.message_id, message.payload) == (8, b"1")
    assert not it.seen(MqttDisconnected)


@pytest.mark.parametrize(
    "garbage",
    [b"\x00" * 40, b"\xff" * 40, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x30\x01\x00", b"\x40\x00"],
    ids=["zeros", "ones", "http", "short publish", "empty puback"],
)
async def test_garbage_ends_the_connection_and_nothing_else(garbage):
    """Whatever a server sends, the link reports a loss and goes on trying."""
    visits = []

    async def play(script, level):
        visits.append(level)
        script.say(CONNACK_5 if len(visits) > 1 else b"")
        script.say(garbage)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(script.until_closed(), 0.3)

    async with scripted(play) as port, linked(port, version="5") as it:
        await it.disconnected()
        await until(lambda: len(visits) >= 2)

    assert not it.seen(MqttMessage)
