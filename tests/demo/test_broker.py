"""The embedded broker, met by other clients."""

import asyncio
import contextlib
import re
import sys

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from bridge.demo import broker as demo_broker
from bridge.demo.broker import LOOPBACK, broker, broker_on_usable_port
from bridge.errors import BridgeError
from bridge.extras import missing_extra
from tests.conftest import PATIENCE_S
from tests.mosquitto import until

pytestmark = pytest.mark.anyio


@contextlib.contextmanager
def listening(port, topics):
    """A client of MQTT 3.1.1 and the topics it received, oldest first."""
    heard = []
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *_: client.subscribe(topics, qos=1)
    client.on_message = lambda _client, _data, message: heard.append(message.topic)
    client.connect_async(LOOPBACK, port)
    client.loop_start()
    try:
        yield client, heard
    finally:
        client.disconnect()
        client.loop_stop()


async def test_a_client_gets_only_what_it_subscribed_to(free_port):
    """Nothing that is retained for another client's subscription reaches a new client."""
    async with broker(free_port):
        with listening(free_port, "a/#") as (everyone, all_topics):
            for name in ("a/one", "a/two", "a/three"):
                everyone.publish(name, b"1", 1, retain=True)
            await until(lambda: len(all_topics) == 3)
            with listening(free_port, "a/two") as (_, heard):
                await until(lambda: heard)
                everyone.publish("a/two", b"2", 1)
                await until(lambda: len(heard) > 1)

    assert heard == ["a/two", "a/two"]


async def test_what_was_acknowledged_is_passed_on_though_its_client_left(free_port):
    """Two hundred messages and DISCONNECT in one piece: each reaches the other client, in order."""
    async with broker(free_port):
        with listening(free_port, "a/#") as (client, heard):
            client.publish("a/ready", b"1", 1, retain=True)
            await until(lambda: heard)
            reader, writer = await asyncio.open_connection(LOOPBACK, free_port)
            writer.write(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01x")
            assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
            topics = [f"a/{number:03}" for number in range(200)]
            for number, topic in enumerate(topics, start=1):
                body = b"\x00\x05" + topic.encode() + number.to_bytes(2) + b"1"
                writer.write(b"\x32" + bytes([len(body)]) + body)
            writer.write(b"\xe0\x00")
            await until(lambda: topics[-1] in heard)
            writer.close()

    assert [topic for topic in heard if topic != "a/ready"] == topics


async def test_a_port_that_was_taken_meanwhile_is_passed_over(free_port, monkeypatch):
    """Two demonstrations that start at once get a broker each."""
    answers = [free_port]
    real = demo_broker.usable_port
    monkeypatch.setattr(
        demo_broker, "usable_port", lambda *wanted: answers.pop() if answers else real(*wanted)
    )
    async with broker(free_port), broker_on_usable_port() as port:
        assert port != free_port
        with listening(port, "a") as (client, heard):
            client.publish("a", b"1", 1, retain=True)
            await until(lambda: heard)


def test_a_missing_library_is_named(monkeypatch):
    """Where the extra was not installed, one line says what to install."""
    monkeypatch.setitem(sys.modules, "amqtt.broker", None)
    monkeypatch.delitem(sys.modules, "bridge.demo.broker")

    with pytest.raises(BridgeError, match=re.escape(missing_extra("demo", "amqtt"))):
        __import__("bridge.demo.broker")


async def test_a_broker_that_does_not_end_does_not_block_the_demo(free_port, monkeypatch):
    """A connection that is left open keeps amqtt waiting forever from Python 3.12 on."""

    class Stuck(demo_broker.DiscreetBroker):
        async def shutdown(self):
            await super().shutdown()
            await asyncio.Event().wait()

    monkeypatch.setattr(demo_broker, "DiscreetBroker", Stuck)
    monkeypatch.setattr(demo_broker, "SHUTDOWN_WITHIN_S", 0.1)
    async with asyncio.timeout(PATIENCE_S), broker(free_port):
        pass
