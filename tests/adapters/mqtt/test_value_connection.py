"""The connection for values against a broker that is told what to do, over a loopback socket."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field

import mqtt5
import pytest
from structlog.testing import capture_logs

from bridge.adapters.mqtt.paho_translation import PeerAddress
from bridge.adapters.mqtt.value_connection import DOUBT_KEEPALIVES, ValueConnection
from bridge.core.events import MqttAcked, ValueConnectionClosed, ValueConnectionOpened, ValuesAcked
from bridge.core.messages import Publish
from bridge.core.records.moment import SHARED_S
from bridge.settings import MqttSettings
from tests.conftest import PATIENCE_S, FakeClock

pytestmark = pytest.mark.anyio

SETTINGS = MqttSettings(client_id="bridge", keepalive_s=20)
NO_ID = mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.CLIENT_ID_NOT_VALID)
BUSY = mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.QUOTA_EXCEEDED)
DENIED = mqtt5.PubAckReasonCode.NOT_AUTHORIZED


def value(number: int, size: int = 1) -> Publish:
    """Make a value."""
    return Publish(f"charger/EH1/state/v{number}", b"7" * size, telemetry=True)


async def until(condition):
    """Let the loop turn until a condition holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - asks from outside; nobody would set an event
            await asyncio.sleep(0.001)


class SteppedClock(FakeClock):
    """Time passes in sleeps of others, but only while it is let to."""

    def __init__(self):
        super().__init__()
        self.runs = asyncio.Event()

    async def sleep(self, seconds):
        await self.runs.wait()
        await asyncio.sleep(0)
        await super().sleep(seconds)


@dataclass
class Broker:
    """Answers CONNECT from a list, PUBLISH with a code, and keeps what it hears."""

    connacks: list = field(default_factory=lambda: [mqtt5.ConnAckPacket()])
    code: mqtt5.PubAckReasonCode | None = field(
        default_factory=lambda: mqtt5.PubAckReasonCode.SUCCESS
    )
    says: bytes = b""
    unheard: str = ""
    hellos: list = field(default_factory=list)
    heard: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    address: tuple = ()

    async def serve(self, reader, writer):
        self.lines.append(writer)
        held = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                held += data
                while held:
                    try:
                        packet, size = mqtt5.read(memoryview(held))
                    except IndexError:
                        break
                    held = held[size:]
                    self.answer(packet, writer)
        writer.close()

    def answer(self, packet, writer):
        match packet:
            case mqtt5.ConnectPacket():
                answers = self.connacks
                self.hellos.append(packet)
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if answer is not None:
                    writer.write(answer.write() + self.says)
            case mqtt5.PublishPacket() if self.code is not None and packet.topic != self.unheard:
                self.heard.append(packet)
                writer.write(mqtt5.PubAckPacket(packet.packet_id, reason_code=self.code).write())
            case _:
                self.heard.append(packet)

    def of(self, kind):
        return [packet for packet in self.heard if isinstance(packet, kind)]


@dataclass
class Running:
    """A value connection that runs, and what it told."""

    value_connection: ValueConnection
    clock: SteppedClock
    events: list
    times_s: list  # when each of them was told

    def seen(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    async def opened(self, times=1):
        await until(lambda: len(self.seen(ValueConnectionOpened)) >= times)
        return self.seen(ValueConnectionOpened)[times - 1]


@contextlib.asynccontextmanager
async def running(broker: Broker, settings: MqttSettings = SETTINGS):
    """Run a value connection to a broker; both end with the block."""
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.address = server.sockets[0].getsockname()
    events, times_s, clock = [], [], SteppedClock()

    def emit(event):
        events.append(event)
        times_s.append(clock.mono_s)

    value_connection = ValueConnection(settings, clock=clock, emit=emit)
    async with server, asyncio.TaskGroup() as tasks:
        peer = PeerAddress(socket.AF_INET, broker.address, None)
        task = tasks.create_task(value_connection.serve(peer))
        yield Running(value_connection, clock, events, times_s)
        task.cancel()
    for line in broker.lines:
        line.close()


async def test_it_has_an_id_of_its_own_and_says_how_much_the_broker_takes():
    """The id tells it from the main connection, which the broker would end otherwise."""
    broker = Broker([mqtt5.ConnAckPacket(receive_max=20)])
    async with running(broker) as it:
        assert await it.opened() == ValueConnectionOpened(20)

    assert broker.hellos[0].client_id == "bridge-telemetry"
    assert it.events[-1] == ValueConnectionClosed(in_doubt=False)


async def test_values_are_acknowledged_by_the_object_that_was_given():
    """The outbox knows them by identity."""
    async with running(Broker()) as it:
        await it.opened()
        values = [value(n) for n in range(300)]
        it.value_connection.publish(values)
        await until(lambda: sum(len(e.messages) for e in it.seen(ValuesAcked)) == 300)
        acked = [message for event in it.seen(ValuesAcked) for message in event.messages]

    assert all(a is b for a, b in zip(acked, values, strict=True))


async def test_a_broker_that_wants_to_choose_the_id_may():
    """The refused id is not insisted on, and the given one is used again."""
    chosen = mqtt5.ConnAckPacket(assigned_client_id="auto-7")
    broker = Broker([NO_ID, chosen])
    async with running(broker) as it:
        it.clock.runs.set()
        await it.opened()
        broker.lines[-1].close()
        await it.opened(2)

    assert [hello.client_id for hello in broker.hellos][:3] == ["bridge-telemetry", "", "auto-7"]


async def test_a_broker_without_room_for_it_is_asked_ever_more_rarely():
    """A refusal is logged once, and the pauses grow to ten minutes."""
    broker = Broker([BUSY])
    with capture_logs() as logs:
        async with running(broker) as it:
            it.clock.runs.set()
            await until(lambda: len(broker.hellos) >= 14)

    assert [line["event"] for line in logs] == ["mqtt.value_connection_unavailable"]
    assert it.events == []
    assert it.clock.slept_s[:3] == [0.75, 1.5, 3.0]
    assert max(it.clock.slept_s) == 450.0


async def test_where_its_id_may_not_publish_the_main_connection_does():
    """An access list by client id: what was refused comes back, without any doubt."""
    broker = Broker(code=DENIED)
    async with running(broker) as it:
        await it.opened()
        values = [value(n) for n in range(3)]
        it.value_connection.publish(values)
        await until(lambda: ValueConnectionClosed(in_doubt=False) in it.events)
        it.value_connection.publish([value(9)])

    assert it.events[:2] == [ValueConnectionOpened(65_535), ValueConnectionClosed(in_doubt=True)]
    returned = [message for event in it.seen(ValuesAcked) for message in event.returned]
    assert returned == values
    assert not it.seen(MqttAcked)


async def test_rights_that_never_come_are_not_waited_for():
    """A broker that refuses one value and keeps silent about another is left all the same."""
    broker = Broker(code=DENIED, unheard=value(2).topic)
    async with running(broker) as it:
        await it.opened()
        it.value_connection.publish([value(1), value(2)])
        await until(lambda: it.seen(ValuesAcked))
        it.clock.runs.set()
        await until(lambda: len(it.seen(ValueConnectionClosed)) >= 2)


async def test_another_refusal_is_the_owners_to_hear():
    """A quota or a topic the broker does not like: the core raises its alert."""
    quota = mqtt5.PubAckReasonCode.QUOTA_EXCEEDED
    async with running(Broker(code=quota)) as it:
        await it.opened()
        it.value_connection.publish([value(1)])
        await until(lambda: it.seen(MqttAcked))

    assert it.seen(MqttAcked) == [MqttAcked(value(1), 0x97)]


async def test_a_value_too_large_for_the_broker_is_refused_here():
    """It would end the connection; it is answered instead."""
    async with running(Broker([mqtt5.ConnAckPacket(max_packet_size=200)])) as it:
        await it.opened()
        it.value_connection.publish([value(1, 500)])

    assert it.seen(MqttAcked) == [MqttAcked(value(1, 500), 0x95)]


async def test_a_lost_connection_leaves_doubt_that_ends_with_the_brokers_patience():
    """What was not acknowledged may arrive until the broker has dropped the connection."""
    broker = Broker([mqtt5.ConnAckPacket(), BUSY], code=None)
    async with running(broker) as it:
        await it.opened()
        it.value_connection.publish([value(1)])
        broker.lines[0].close()
        await until(lambda: it.seen(ValueConnectionClosed))
        lost_s = it.clock.mono_s
        assert it.seen(ValueConnectionClosed) == [ValueConnectionClosed(in_doubt=True)]
        it.clock.runs.set()
        await until(lambda: len(it.seen(ValueConnectionClosed)) == 2)

    assert it.seen(ValueConnectionClosed)[1] == ValueConnectionClosed(in_doubt=False)
    assert it.clock.mono_s >= lost_s + DOUBT_KEEPALIVES * SETTINGS.keepalive_s


async def test_a_new_connection_comes_soon_after_a_lost_one():
    """A single loss is healed by the next attempt, and says nothing of doubt any more."""
    broker = Broker(code=None)
    async with running(broker) as it:
        await it.opened()
        it.value_connection.publish([value(1)])
        broker.lines[0].close()
        it.clock.runs.set()
        await it.opened(2)

    assert it.events[:3] == [
        ValueConnectionOpened(65_535),
        ValueConnectionClosed(in_doubt=True),
        ValueConnectionOpened(65_535),
    ]


async def test_a_broker_that_falls_silent_is_asked_and_then_left():
    """A half-open socket is noticed within one and a half times the keepalive."""
    broker = Broker()
    async with running(broker) as it:
        await it.opened()
        started_s = it.clock.mono_s
        it.clock.runs.set()
        await until(lambda: it.seen(ValueConnectionClosed) and broker.of(mqtt5.PingReqPacket))

    assert it.clock.mono_s >= started_s + DOUBT_KEEPALIVES * SETTINGS.keepalive_s


async def test_pings_go_out_when_the_process_wakes_up_anyway():
    """The first one comes sooner than it has to, and then each with the beat of the loop."""
    broker, slept = Broker(), []
    async with running(broker) as it:
        await it.opened()
        it.clock.mono_s += 1.5
        real = it.clock.sleep

        async def sleep(seconds):
            slept.append((it.clock.mono_s, seconds))
            await real(seconds)

        it.clock.sleep = sleep
        it.clock.runs.set()
        await until(lambda: len(broker.of(mqtt5.PingReqPacket)) >= 3)

    (late_s, first_s), (then_s, second_s) = slept[:2]
    assert late_s % SHARED_S == 1.5
    assert (late_s + first_s, then_s + second_s) == (then_s, then_s + SHARED_S)
    assert then_s % SHARED_S == 0


async def test_the_brokers_own_keepalive_is_obeyed():
    """A broker that wants to hear from us more often does."""
    broker = Broker([mqtt5.ConnAckPacket(server_keep_alive=4)])
    async with running(broker) as it:
        await it.opened()
        started_s = it.clock.mono_s
        it.clock.runs.set()
        await until(lambda: it.seen(ValueConnectionClosed))

    closed_s = it.times_s[it.events.index(ValueConnectionClosed(in_doubt=False))]
    assert DOUBT_KEEPALIVES * 4 <= closed_s - started_s < SETTINGS.keepalive_s


async def test_a_broker_that_answers_with_nonsense_is_left():
    """Malformed bytes end the connection, and the value connection goes on."""
    broker = Broker(says=b"\x40\x01\x00")
    async with running(broker) as it:
        it.clock.runs.set()
        await until(lambda: len(broker.hellos) >= 2)


async def test_a_broker_that_never_answers_is_not_waited_for_forever(monkeypatch):
    """Without CONNACK the attempt fails."""
    monkeypatch.setattr("bridge.adapters.mqtt.value_connection.ANSWER_DEADLINE_S", 0.01)
    broker = Broker([None])
    async with running(broker) as it:
        it.clock.runs.set()
        await until(lambda: len(broker.hellos) >= 2)

    assert it.events == []


async def test_an_orderly_end_is_told_to_the_broker():
    """Closing sends DISCONNECT, and nobody is warned of it."""
    broker = Broker()
    with capture_logs() as logs:
        async with running(broker) as it:
            it.value_connection.close()
            await it.opened()
            it.value_connection.close()
            await until(lambda: broker.of(mqtt5.DisconnectPacket))
    assert "mqtt.value_connection_unavailable" not in {line["event"] for line in logs}


async def test_a_port_where_nobody_listens_is_a_failed_attempt():
    """The error is a sentence in the log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    clock = SteppedClock()
    value_connection = ValueConnection(SETTINGS, clock=clock, emit=lambda _: None)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(
                value_connection.serve(PeerAddress(socket.AF_INET, address, None))
            )
            await until(lambda: logs)
            task.cancel()

    assert "nothing listens" in logs[0]["reason"]


async def test_without_a_route_it_says_why_once_and_ends():
    """On MQTT 3.1.1 there is one connection for everything."""
    value_connection = ValueConnection(SETTINGS, clock=SteppedClock(), emit=lambda _: None)
    with capture_logs() as logs:
        await value_connection.serve(None, without="the broker supports only MQTT 3.1.1")
        await value_connection.serve(None, without="the broker supports only MQTT 3.1.1")

    assert [line["event"] for line in logs] == ["mqtt.value_connection_disabled"]


async def test_an_unexpected_error_ends_the_attempt_and_not_the_bridge(monkeypatch):
    """Whatever fails in here is a failed attempt."""

    def explode(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr("bridge.adapters.mqtt.value_connection.read_grant", explode)
    broker = Broker()
    async with running(broker) as it:
        it.clock.runs.set()
        await until(lambda: len(broker.hellos) >= 2)

    assert it.events == []
