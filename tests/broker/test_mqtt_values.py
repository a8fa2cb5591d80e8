"""The connection for values, and the whole gateway around it, at a real mosquitto."""

import asyncio
import contextlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from bridge.adapters.clock import SystemClock
from bridge.adapters.mqtt.client import MqttClient
from bridge.core.events import (
    MqttAcked,
    MqttConnected,
    ObservationsReceived,
    Started,
    StoreOpened,
    ValueConnectionClosed,
    ValueConnectionOpened,
    ValuesAcked,
)
from bridge.core.messages import Publish
from bridge.core.topics import Topics
from bridge.gateway import EventLoop, EventQueue
from bridge.settings import MqttSettings, Secret
from tests.broker.conftest import FILTERS, OFFLINE, linked
from tests.broker.test_mqtt_tls import serving, trusting
from tests.mosquitto import outsider, until

pytestmark = [pytest.mark.broker, pytest.mark.anyio]

PASSWD = shutil.which("mosquitto_passwd", path="/usr/bin:/usr/local/bin:/usr/sbin") or ""
VALUES = "charger/+/state/+"


def value(number: int, payload: object, size: int = 0) -> Publish:
    """Make a value."""
    topic = f"charger/EH123456/state/v{number}"
    return Publish(topic, str(payload).encode() + b" " * size, telemetry=True)


def locked_with(folder: Path, password: str) -> str:
    """Write a password file and return mosquitto's line for it."""
    path = folder / "passwords"
    subprocess.run([PASSWD, "-b", "-c", str(path), "bridge", password], check=True)
    return f"password_file {path}"


class Source:
    """A machine that only knows values: each event of measurements becomes what is in it."""

    def __init__(self) -> None:
        self.topics = Topics()
        self.events = []
        self.latest = {}

    def handle(self, event, _now):
        self.events.append(event)
        if isinstance(event, MqttConnected):
            yield from self.latest.values()
        if isinstance(event, ObservationsReceived):
            for message in event.observations:
                if message.telemetry:
                    self.latest[message.topic] = message
                yield message

    def deadline_s(self):
        return None

    def seen(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


class Nothing:
    """A cloud, a stream and a store nobody asks for anything."""

    async def run(self):
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def bridged(port: int, **changes: object):
    """Run a gateway with a real link; yield a function that feeds values, and the machine."""
    queue, source, stop = EventQueue(), Source(), asyncio.Event()
    settings = replace(MqttSettings(host="127.0.0.1", port=port, client_id="bridge"), **changes)
    mqtt_client = MqttClient(
        settings,
        will=OFFLINE,
        subscriptions=FILTERS,
        clock=SystemClock(),
        emit=queue.put,
    )
    nothing = Nothing()
    gateway = EventLoop(
        source,
        queue,
        link=mqtt_client,
        cloud=nothing,
        source=None,
        store=nothing,
        clock=SystemClock(),
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(gateway.run(stop, opened=StoreOpened(()), started=Started()))
        await until(lambda: source.seen(ValueConnectionOpened) or source.seen(MqttConnected))

        def feed(*messages):
            queue.put(ObservationsReceived(messages))

        yield feed, source, gateway
        stop.set()


def arrived(other, number: int) -> bytes | None:
    """Return the newest payload of a value."""
    return next(iter(other.payloads(value(number, 0).topic)[-1:]), None)


async def test_values_arrive_retained_over_their_own_connection(broker):
    """A subscriber that comes later finds them, and the main connection did not carry them."""
    async with linked(broker.port) as it:
        await until(lambda: it.seen(ValueConnectionOpened))
        assert it.seen(ValueConnectionOpened) == [ValueConnectionOpened(20)]
        it.mqtt_client.publish_values([value(n, n) for n in range(20)])
        await until(lambda: sum(len(e.messages) for e in it.seen(ValuesAcked)) == 20)
        with outsider(broker.port, VALUES) as other:
            await until(lambda: len(other.messages) == 20)

    assert {payload for _, payload, _ in other.messages} == {str(n).encode() for n in range(20)}
    assert all(retained for _, _, retained in other.messages)
    assert not it.seen(MqttAcked)
    assert "bridge-telemetry" in broker.log


@pytest.mark.parametrize("granted", [1, 20])
async def test_a_small_receive_maximum_is_kept(make_broker, granted):
    """However little the broker takes at once, all of it arrives and nothing is closed."""
    broker = make_broker(listener=(f"max_inflight_messages {granted}",))
    with outsider(broker.port, VALUES) as other:
        async with bridged(broker.port) as (feed, source, _):
            await until(lambda: source.seen(ValueConnectionOpened))
            assert source.seen(ValueConnectionOpened) == [ValueConnectionOpened(granted)]
            feed(*(value(n, n) for n in range(300)))
            await until(lambda: len({topic for topic, _, _ in other.messages}) == 300)

    assert source.seen(ValueConnectionClosed)[:-1] == []


async def test_a_value_larger_than_the_broker_takes_does_not_stop_the_others(make_broker):
    """It is answered as refused; the connection stays."""
    broker = make_broker(listener=("max_packet_size 2000",))
    with outsider(broker.port, VALUES) as other:
        async with bridged(broker.port) as (feed, source, _):
            await until(lambda: source.seen(ValueConnectionOpened))
            feed(value(1, "large", 3000), value(2, "small"))
            await until(lambda: arrived(other, 2) == b"small" and source.seen(MqttAcked))

    assert source.seen(MqttAcked)[0].reason_code == 0x95
    assert arrived(other, 1) is None


async def test_credentials_hold_for_both_connections(make_broker, tmp_path):
    """The second connection logs in like the first."""
    broker = make_broker(listener=(locked_with(tmp_path, "hunter2"),), anonymous=False)
    async with linked(broker.port, username="bridge", password=Secret("hunter2")) as it:
        await until(lambda: it.seen(ValueConnectionOpened))


async def test_over_tls_the_second_connection_is_as_safe(make_broker, tmp_path):
    """It uses the context of the first, which verified the broker."""
    authority = trustme.CA()
    broker = make_broker(listener=serving(tmp_path, authority))
    tls = trusting(tmp_path, authority)
    async with linked(broker.port, host="localhost", tls=tls) as it:
        await until(lambda: it.seen(ValueConnectionOpened))
        it.mqtt_client.publish_values([value(1, "on")])
        await until(lambda: it.seen(ValuesAcked))


async def test_after_a_restart_without_memory_everything_is_there_again(broker):
    """What the broker forgot is published again, whatever connection it went over."""
    async with bridged(broker.port) as (feed, source, _):
        await until(lambda: source.seen(ValueConnectionOpened))
        feed(*(value(n, n) for n in range(100)))
        broker.kill()
        await until(lambda: source.seen(ValueConnectionClosed))
        broker.start()
        await until(lambda: len(source.seen(ValueConnectionOpened)) == 2)
        with outsider(broker.port, VALUES) as other:
            await until(lambda: len({topic for topic, _, _ in other.messages}) == 100)
            feed(*(value(n, n + 1000) for n in range(100)))
            await until(lambda: all(arrived(other, n) == b"%d" % (n + 1000) for n in range(100)))


async def test_a_frozen_broker_makes_values_fewer_and_the_newest_arrives(broker):
    """While nothing is acknowledged, each topic waits with one value, and only the newest."""
    rounds = 500
    with outsider(broker.port, VALUES) as other:
        async with bridged(broker.port) as (feed, source, gateway):
            await until(lambda: source.seen(ValueConnectionOpened))
            broker.freeze()
            for number in range(rounds):
                feed(*(value(n, number) for n in range(20)))
                await asyncio.sleep(0)
            held = gateway._values.waiting + gateway._values.in_flight
            broker.thaw()
            await until(lambda: all(arrived(other, n) == b"%d" % (rounds - 1) for n in range(20)))

    assert held <= 40
    for number in range(20):
        seen = [int(payload) for payload in other.payloads(value(number, 0).topic)]
        assert seen == sorted(seen)


async def test_where_its_client_id_may_not_write_values_go_over_the_main_connection(
    make_broker, tmp_path
):
    """An access list that names the client id is no reason to lose a value."""
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite charger/+/set/+\npattern readwrite charger/%c/#\n")
    broker = make_broker(listener=(f"acl_file {rules}",))
    async with bridged(broker.port, client_id="bridge") as (feed, source, _):
        await until(lambda: source.seen(ValueConnectionOpened))
        own = Publish("charger/bridge/state/x", b"1", telemetry=True)
        feed(own)
        await until(lambda: source.seen(ValueConnectionClosed))
        await until(lambda: source.seen(MqttAcked))

    assert source.seen(MqttAcked)[0] == MqttAcked(own, source.seen(MqttAcked)[0].reason_code)
    assert source.seen(MqttAcked)[0].reason_code < 0x80


async def test_mqtt_3_1_1_carries_everything_over_one_connection(broker):
    """There is no second connection, and the values arrive all the same."""
    with outsider(broker.port, VALUES) as other:
        async with bridged(broker.port, version="3.1.1") as (feed, source, _):
            feed(value(1, "on"))
            await until(lambda: arrived(other, 1) == b"on")

    assert not source.seen(ValueConnectionOpened)
    assert "bridge-telemetry" not in broker.log


async def test_a_command_does_not_wait_behind_values(broker):
    """A result goes out while thousands of values wait for their acknowledgement."""
    result = Publish("charger/EH123456/result/start", b"{}", retained=False)
    with outsider(broker.port, result.topic) as other:
        async with bridged(broker.port) as (feed, source, gateway):
            await until(lambda: source.seen(ValueConnectionOpened))
            feed(*(value(n, n) for n in range(20_000)), result)
            await until(lambda: source.seen(MqttAcked))
            left = gateway._values.waiting
            await until(lambda: other.payloads(result.topic))

    assert left > 10_000
