"""What a connection does when paho or its own callbacks misbehave; no socket is opened here."""

import asyncio
import socket
from types import SimpleNamespace

import pytest
from paho.mqtt.enums import MQTTErrorCode

from bridge.adapters.mqtt.connect_errors import AttemptFailed
from bridge.adapters.mqtt.connection import SUBACK_DEADLINE_S, Connection
from bridge.adapters.mqtt.paho_translation import ConnectOptions
from bridge.core.messages import AckToken, Publish
from bridge.errors import ConnectionLost
from bridge.settings import MqttSettings
from tests.conftest import PATIENCE_S

pytestmark = pytest.mark.anyio


def connection(arrived=lambda _: None, mono_s=lambda: 0.0) -> Connection:
    """Build a connection that is not open."""
    return Connection(
        MqttSettings(),
        ConnectOptions("5", "bridge"),
        epoch=3,
        arrived=arrived,
        acked=lambda *_: None,
        mono_s=mono_s,
    )


@pytest.mark.fault("F20")
async def test_an_error_in_a_callback_stays_in_it():
    """A handler that raises ends neither the loop nor the connection."""

    def explode(_message):
        raise RuntimeError("boom")

    it = connection(explode)
    message = SimpleNamespace(
        topic="a", payload=b"1", mid=1, qos=0, retain=False, dup=False, properties=None
    )
    it._guarded(it._on_message)(None, None, message)

    assert not it.lost.done()


@pytest.mark.fault("F20")
async def test_an_error_inside_the_library_ends_the_connection_only():
    """When paho itself fails, the connection is over, once, with a reason."""

    def explode():
        raise IndexError("boom")

    it = connection()
    it._run(explode)
    it._run(explode)

    assert it.lost.result() == "the MQTT client failed (IndexError)"


async def test_nothing_is_sent_when_there_is_no_connection():
    """A publication before or after the connection's life is told, not queued."""
    it = connection()
    with pytest.raises(ConnectionLost):
        it.publish(Publish("charger/a", b"1"))
    it.drop("over")
    with pytest.raises(ConnectionLost, match="over"):
        it.publish(Publish("charger/a", b"1"))
    it.acknowledge(AckToken(3, 1, 1))
    it.acknowledge(AckToken(2, 1, 1))


@pytest.mark.parametrize(("each_s", "read"), [(0.0, 500), (0.0004, 3), (0.1, 1)])
async def test_what_is_readable_is_read_for_a_moment_and_not_one_packet(each_s, read):
    """Retained messages of thousands of topics come before the answer to a subscription."""
    now_s = [0.0]
    it = connection(mono_s=lambda: now_s[0])
    it._client.socket = object
    packets = list(range(500))
    arrived = it._guarded(lambda: None)

    def loop_read():
        if packets:
            packets.pop()
            now_s[0] += each_s
            arrived()

    it._client.loop_read = loop_read
    it._readable()

    assert len(packets) == 500 - read


async def test_a_broker_that_is_heard_has_longer_for_its_answer(monkeypatch):
    """What it sends first may take longer than an answer; a broker that is silent has not."""
    now_s = [0.0]
    it = connection(mono_s=lambda: now_s[0])
    it._connack.set_result((None, False, None))
    answer, waits = asyncio.get_running_loop().create_future(), []

    async def first_of(_answer, within_s):
        waits.append(within_s)
        now_s[0] += within_s
        if len(waits) < 4:
            it._heard_s = now_s[0]

    monkeypatch.setattr(it, "_first_of", first_of)
    with pytest.raises(AttemptFailed, match="no SUBACK"):
        await it._answer(answer)
    assert len(waits) == 4

    waits.clear()
    monkeypatch.setattr(it, "_heard_s", now_s[0])

    async def heard_for_ever(_answer, within_s):
        waits.append(within_s)
        now_s[0] += within_s
        it._heard_s = now_s[0]

    monkeypatch.setattr(it, "_first_of", heard_for_ever)
    with pytest.raises(AttemptFailed, match="no SUBACK"):
        await it._answer(answer)
    assert sum(waits) == SUBACK_DEADLINE_S


async def test_a_connection_is_lost_once():
    """Of two reports of one loss, which paho makes, only the first reason counts."""
    it = connection()
    flags = SimpleNamespace(is_disconnect_packet_from_server=False)
    it._on_disconnect(None, None, flags, SimpleNamespace(value=0x8D), None)
    it._on_disconnect(None, None, flags, SimpleNamespace(value=0x80), None)
    it.drop("dropped")

    assert "nothing received from the broker" in it.lost.result()


async def test_a_connection_closed_in_the_turn_in_which_dialling_ends_is_not_adopted(monkeypatch):
    """The socket is closed by then; the attempt ends with the reason it was closed for."""
    it = connection()
    loop = asyncio.get_running_loop()

    def dial(client, *_):
        ours, theirs = socket.socketpair()
        theirs.close()
        client._sock = ours
        loop.call_soon_threadsafe(loop.call_soon, it.drop, "closed by us")
        return 0

    monkeypatch.setattr("bridge.adapters.mqtt.connection.connect", dial)

    with pytest.raises(AttemptFailed, match="closed by us"):
        await it.open()


async def test_the_end_of_dialling_finds_out_that_nobody_waits(monkeypatch):
    """A connection given up while it was being made closes the socket that comes late."""
    closed = []
    dialling = asyncio.Event()
    release = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    it = connection()

    def close(client):  # also called by the late thread of a test before this one
        if client is it._client:
            closed.append(client)

    def slow(*_):
        loop.call_soon_threadsafe(dialling.set)
        asyncio.run_coroutine_threadsafe(asyncio.wait_for(release, 5), loop).result()
        return 0

    monkeypatch.setattr("bridge.adapters.mqtt.connection.connect", slow)
    monkeypatch.setattr("bridge.adapters.mqtt.connection.close_socket", close)
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(it.open())
        await dialling.wait()
        opening.cancel()
    before = len(closed)
    release.set_result(None)
    async with asyncio.timeout(PATIENCE_S):
        while len(closed) == before:  # noqa: ASYNC110 - the thread has no event to set
            await asyncio.sleep(0.01)

    assert closed == [it._client] * 2


async def test_the_keepalive_is_run_again_when_a_side_may_have_been_silent_for_long():
    """Bytes read or written put it off, each side for itself; overdue it is 0 or less."""
    now_s = 100.0
    it = connection(mono_s=lambda: now_s)
    keepalive_s = it._client.keepalive
    assert it.keep_alive() == keepalive_s
    now_s += 5.0
    it._readable()
    assert it.keep_alive() == keepalive_s - 5.0
    now_s += 2.0
    it._writable()
    assert it.keep_alive() == keepalive_s - 2.0
    now_s += keepalive_s
    assert it.keep_alive() <= 0


async def test_a_message_is_written_when_it_is_published():
    """Not in the next turn of the loop; what the socket does not take waits until it has room."""
    it, written = connection(), []
    it._client = SimpleNamespace(
        publish=lambda *_: SimpleNamespace(rc=MQTTErrorCode.MQTT_ERR_SUCCESS, mid=7),
        loop_write=lambda: written.append(1),
    )
    assert it.publish(Publish("a/b", b"1")) == 7
    assert written == [1]


async def test_what_a_callback_publishes_is_written_behind_it():
    """Paho holds a lock in its callbacks that the end of a write at QoS 0 takes."""
    published, written = [], []

    it = connection(lambda _message: published.append(it.publish(Publish("a/b", b"1"))))
    it._client = SimpleNamespace(
        publish=lambda *_: SimpleNamespace(rc=MQTTErrorCode.MQTT_ERR_SUCCESS, mid=7),
        loop_write=lambda: written.append(1),
    )
    message = SimpleNamespace(
        topic="a", payload=b"1", mid=1, qos=0, retain=False, dup=False, properties=None
    )
    it._guarded(it._on_message)(None, None, message)
    assert (published, written) == ([7], [])
    it.publish(Publish("a/b", b"1"))
    assert written == [1]


async def test_at_qos_0_the_write_comes_after_the_identifier():
    """Paho acknowledges it when it is written: the caller could not tell yet what that is of."""
    it, written = connection(), []
    it._client = SimpleNamespace(
        publish=lambda *_: SimpleNamespace(rc=MQTTErrorCode.MQTT_ERR_SUCCESS, mid=7),
        loop_write=lambda: written.append(1),
    )
    assert it.publish(Publish("a/b", b"1", qos=0)) == 7
    assert written == []
