"""What the publish-only connection writes, and that nothing it reads can escape from it."""

import asyncio

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.mqtt.connect_errors import AttemptFailed
from bridge.adapters.mqtt.mqtt5_codec import ConnAck
from bridge.adapters.mqtt.paho_translation import ConnackLimits
from bridge.adapters.mqtt.value_protocol import MAX_RESPONSE_BYTES, ValueProtocol, read_grant
from bridge.core.messages import Publish
from bridge.settings import MqttSettings, Secret

pytestmark = pytest.mark.anyio
SETTINGS = MqttSettings(username="bridge", password=Secret("hunter2"))
PROPERTIES = (("measured_at", "2026-11-22T12:00:00Z"), ("unit", "kW"), ("id", "120"))


def value(number: int, size: int = 1) -> Publish:
    """Make a value."""
    return Publish(
        f"charger/EH1/state/v{number}", b"7" * size, user_properties=PROPERTIES, telemetry=True
    )


class Wire:
    """A transport that keeps what is written."""

    def __init__(self):
        self.written = bytearray()
        self.writes = 0
        self.closed = ""

    def write(self, data):
        self.written += data
        self.writes += 1

    def is_closing(self):
        return bool(self.closed)

    def abort(self):
        self.closed = self.closed or "aborted"

    def close(self):
        self.closed = self.closed or "closed"

    def packets(self):
        """Return what was written, packet by packet, and forget it."""
        found, view = [], memoryview(bytes(self.written))
        while view:
            packet, size = mqtt5.read(view)
            found.append(packet)
            view = view[size:]
        self.written.clear()
        return found


class Line:
    """A pipeline that is up, its wire, and what it acknowledged."""

    def __init__(self, limits: ConnackLimits | None = None):
        self.done, self.refused, self.reads = [], [], 0
        self.wire = Wire()
        self.mono_s = 100.0
        self.pipeline = ValueProtocol(SETTINGS, "bridge-telemetry", mono_s=lambda: self.mono_s)
        self.pipeline.acked = self._acked
        self.pipeline.connection_made(self.wire)
        self.hello = self.wire.packets()
        self.pipeline.start(limits or ConnackLimits(session_present=False))

    def _acked(self, done, refused):
        self.reads += 1
        self.done += done
        self.refused += refused


def line_for(data: bytes) -> Line:
    """Feed bytes to a fresh pipeline, on a loop of its own."""

    async def feed():
        line = Line()
        line.pipeline.publish([value(n) for n in range(3)])
        line.pipeline.data_received(data)
        return line

    return asyncio.run(feed())


async def test_it_introduces_itself_with_credentials_and_without_a_will():
    """CONNECT carries id, credentials, keepalive and a clean start, and no will."""
    (hello,) = Line().hello

    assert (hello.client_id, hello.username, hello.password) == (
        "bridge-telemetry",
        "bridge",
        b"hunter2",
    )
    assert (hello.clean_start, hello.keep_alive, hello.will) == (True, SETTINGS.keepalive_s, None)
    assert hello.max_packet_size == MAX_RESPONSE_BYTES


async def test_all_messages_of_one_call_leave_in_one_write():
    """Many values cost one system call, and each is retained, at QoS 1, with its properties."""
    line = Line()
    before = line.wire.writes
    line.pipeline.publish([value(n) for n in range(100)])
    sent = line.wire.packets()

    assert line.wire.writes == before + 1
    assert [packet.topic for packet in sent] == [value(n).topic for n in range(100)]
    assert len({packet.packet_id for packet in sent}) == 100
    assert all(packet.qos == mqtt5.QoS.AT_LEAST_ONCE and packet.retain for packet in sent)
    assert all(packet.user_properties == list(PROPERTIES) for packet in sent)


async def test_an_id_is_free_again_after_its_acknowledgement_and_not_before():
    """A window of three serves any number of messages, three at a time."""
    line = Line(ConnackLimits(session_present=False, receive_maximum=3))
    for start in range(0, 12, 3):
        batch = [value(n) for n in range(start, start + 3)]
        line.pipeline.publish(batch)
        ids = [packet.packet_id for packet in line.wire.packets()]
        assert sorted(ids) == [1, 2, 3]
        line.pipeline.data_received(b"".join(mqtt5.PubAckPacket(i).write() for i in ids))

    assert line.done == [value(n) for n in range(12)]
    assert line.reads == 4
    assert line.pipeline.in_flight == 0


async def test_what_the_broker_refuses_comes_with_its_reason_code():
    """A refusal is told apart from an acknowledgement; no subscriber is none."""
    line = Line()
    line.pipeline.publish([value(0), value(1)])
    one, two = (packet.packet_id for packet in line.wire.packets())
    nobody = mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS
    denied = mqtt5.PubAckReasonCode.NOT_AUTHORIZED
    line.pipeline.data_received(mqtt5.PubAckPacket(one, reason_code=nobody).write())
    line.pipeline.data_received(mqtt5.PubAckPacket(two, reason_code=denied).write())

    assert line.done == [value(0)]
    assert line.refused == [(value(1), 0x87)]


async def test_a_message_larger_than_the_broker_takes_is_handed_back_unsent():
    """The broker would close the connection, and everything else with it."""
    line = Line(ConnackLimits(session_present=False, largest_packet_bytes=300))

    assert line.pipeline.publish([value(1, 200), value(2, 400), value(3)]) == [value(2, 400)]
    sent = line.wire.packets()
    assert [packet.topic for packet in sent] == [value(1).topic, value(3).topic]
    assert all(len(packet.write()) <= 300 for packet in sent)


@given(st.lists(st.integers(1, 3), max_size=4), st.integers(1, 7))
def test_how_the_bytes_are_cut_makes_no_difference(ids, step):
    """Acknowledgements may come in any pieces."""
    data = b"".join(mqtt5.PubAckPacket(i).write() for i in ids)

    async def feed():
        line = Line()
        line.pipeline.publish([value(n) for n in range(3)])
        for at in range(0, len(data), step):
            line.pipeline.data_received(data[at : at + step])
        return line

    whole, cut = line_for(data), asyncio.run(feed())
    assert whole.done == cut.done
    assert not cut.pipeline.lost.done()


@given(st.binary(max_size=200))
def test_nothing_the_broker_sends_escapes_into_the_loop(data):
    """Any bytes are read, kept for later, or end the connection with a reason."""
    line = line_for(data)

    assert line.pipeline.lost.done() or not line.wire.closed
    assert len(line.done) <= 3


PACKETS = st.one_of(
    st.builds(mqtt5.PubAckPacket, st.integers(1, 9)),
    st.builds(mqtt5.ConnAckPacket),
    st.builds(mqtt5.PingRespPacket),
    st.builds(mqtt5.PublishPacket, st.just("a/b"), st.binary(max_size=9)),
    st.builds(mqtt5.SubAckPacket, st.integers(1, 9), st.just([])),
    st.builds(mqtt5.DisconnectPacket),
    st.builds(mqtt5.AuthPacket),
)


@given(st.lists(PACKETS, max_size=6), st.data())
def test_damaged_packets_do_not_escape_either(packets, data):
    """What looks like MQTT and is not quite is as harmless."""
    stream = bytearray(b"".join(packet.write() for packet in packets))
    for _ in range(data.draw(st.integers(0, 3)) if stream else 0):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    line = line_for(bytes(stream))

    assert line.pipeline.lost.done() or not line.wire.closed


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x00", "no use"),
        (b"\x40\x01\x00", "not MQTT"),
        (mqtt5.PublishPacket("a", b"b").write(), "no use"),
        (mqtt5.ConnAckPacket().write() * 2, "no use"),
        (b"\x30\xff\xff\x7f" + b"x" * (MAX_RESPONSE_BYTES + 1), "not MQTT"),
    ],
)
async def test_a_broker_that_breaks_the_protocol_is_told_so_and_left(data, reason):
    """The connection ends with a DISCONNECT that names why, and a sentence for the log."""
    line = Line()
    line.pipeline.data_received(data)

    assert reason in line.pipeline.lost.result()
    (goodbye,) = line.wire.packets()
    assert goodbye.reason_code in (
        mqtt5.DisconnectReasonCode.MALFORMED_PACKET,
        mqtt5.DisconnectReasonCode.PROTOCOL_ERROR,
    )
    assert line.wire.closed == "closed"


async def test_what_the_broker_says_in_parting_reaches_the_log_with_a_hint():
    """A DISCONNECT ends the connection, and names what an operator can do."""
    line = Line()
    taken_over = mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER
    line.pipeline.data_received(mqtt5.DisconnectPacket(reason_code=taken_over).write())
    line.pipeline.connection_lost(None)

    assert "mqtt.client_id" in line.pipeline.lost.result()


async def test_nothing_is_written_after_the_end():
    """A connection that is over swallows what comes too late."""
    line = Line()
    line.pipeline.drop("over")
    line.pipeline.drop("twice")
    line.pipeline.ping()

    assert line.wire.packets() == []
    assert line.pipeline.lost.result() == "over"


@pytest.mark.parametrize(
    "answer",
    [
        ConnAck(0x87),
        ConnAck(0, maximum_qos=0),
        ConnAck(0, retain_available=False),
    ],
)
async def test_a_connection_that_cannot_keep_values_is_no_use(answer):
    """A refusal, QoS 0 only or no retained messages: values go another way."""
    with pytest.raises(AttemptFailed):
        read_grant(answer, SETTINGS)


async def test_what_the_broker_grants_is_kept():
    """Receive Maximum and Maximum Packet Size come out of CONNACK."""
    answer = ConnAck(0, receive_maximum=20, largest_packet_bytes=1000)

    assert read_grant(answer, SETTINGS) == ConnackLimits(
        session_present=False, receive_maximum=20, largest_packet_bytes=1000
    )


async def test_the_password_is_in_no_repr():
    """Neither the pipeline nor its hello is there to be read afterwards."""
    line = Line()

    assert "hunter2" not in repr(vars(line.pipeline))


async def test_it_knows_when_each_side_spoke_last():
    """The keepalive sleeps until one of them has been silent for long enough."""
    line = Line()
    line.mono_s = 107.0
    line.pipeline.ping()
    line.mono_s = 109.0
    line.pipeline.data_received(b"\xd0\x00")
    assert (line.pipeline.spoke_s, line.pipeline.heard_s) == (107.0, 109.0)
