"""What of paho is replaced: pinned from both sides, so that it goes when paho needs it no more."""

import inspect
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt import _packet, client
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from bridge.adapters.mqtt.paho_patches import AnyReasonCode, ReadProperties, mend
from bridge.core.events import MqttConnected, MqttDisconnected, MqttMessage
from bridge.core.messages import Publish
from tests.broker.conftest import SET, linked
from tests.hostile import odd_messages
from tests.mosquitto import until
from tests.scripted import Scripted, packet, publish, scripted, text, varint

FEFF = b"\x26" + text(b"note") + text(b"\xef\xbb\xbf")
PUBACK_TOO_LARGE = b"\x00\x07\x95"


def framed(properties: bytes) -> bytes:
    """Put their length in front of properties."""
    return varint(len(properties)) + properties


def test_paho_still_refuses_what_is_legal():
    """When this fails, a new paho reads these by itself: take the replacement out."""
    with pytest.raises(MalformedPacket):
        Properties(PacketTypes.PUBLISH).unpack(framed(FEFF))
    with pytest.raises(ValueError, match="Expected exactly one name"):
        ReasonCode(PacketTypes.PUBACK).unpack(b"\x95")
    with pytest.raises(KeyError):
        ReasonCode(PacketTypes.DISCONNECT).unpack(b"\xb0")


def test_paho_still_reads_where_it_is_replaced():
    """When this fails, paho reads packets elsewhere: the replacement has no effect any more."""
    mend()
    source = inspect.getsource(client)
    for kind in ("publish", "puback", "suback", "connack", "disconnect"):
        assert f"_packet.decode_{kind}(" in source
    five = MQTTProtocolVersion.MQTTv5
    body = text(b"a") + framed(FEFF) + b"1"
    assert isinstance(_packet.decode_publish(0x30, body, five).properties, ReadProperties)
    assert _packet.decode_puback(0x40, PUBACK_TOO_LARGE, five).reason.value == 0x95
    assert _packet.decode_disconnect(0xE0, b"\xb0", five).reason.value == 0xB0
    assert _packet.decode_suback(0x90, b"\x00\x01\x00\x01\xb0", five).reason_codes[1].value == 0xB0
    assert _packet.decode_connack(0x20, b"\x00\xb0\x00", five).reason.value == 0xB0


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=40)


@given(
    expiry=st.integers(0, 2**32 - 1),
    topic=TEXTS,
    correlation=st.binary(max_size=40),
    pairs=st.lists(st.tuples(TEXTS, TEXTS), max_size=5),
    content_type=TEXTS,
)
def test_what_paho_writes_is_read_whatever_the_text(
    expiry, topic, correlation, pairs, content_type
):
    """Any legal text, in any property: what we ask for is read, byte for byte."""
    sent = Properties(PacketTypes.PUBLISH)
    sent.MessageExpiryInterval, sent.ResponseTopic = expiry, topic
    sent.CorrelationData, sent.ContentType = correlation, content_type
    sent.PayloadFormatIndicator, sent.SubscriptionIdentifier = 1, [1, 268_435_455]
    if pairs:
        sent.UserProperty = pairs
    data = sent.pack()
    read, size = ReadProperties(PacketTypes.PUBLISH).unpack(bytearray(data + b"payload"))

    assert size == len(data)
    assert (read.MessageExpiryInterval, read.ResponseTopic) == (expiry, topic)
    assert (read.CorrelationData, read.unreadable) == (correlation, False)


@given(st.binary(max_size=60))
def test_bytes_that_are_no_properties_mark_a_message_and_fail_a_connack(data):
    """A message is its sender's mistake; a CONNACK nobody can read is an error, as in paho."""
    message, size = ReadProperties(PacketTypes.PUBLISH).unpack(framed(data))
    assert size == len(framed(data))
    if message.unreadable:
        with pytest.raises(ValueError, match="propert"):
            ReadProperties(PacketTypes.CONNACK).unpack(framed(data))
    with pytest.raises(ValueError, match="cut off"):
        ReadProperties(PacketTypes.PUBLISH).unpack(varint(len(data) + 1) + data)


def test_properties_by_the_ten_thousand_are_read_in_one_pass(monkeypatch):
    """The bytes are walked over once: paho cut each property off a copy of the rest."""
    taken = []

    class Counting(bytes):
        def __getitem__(self, at):
            part = super().__getitem__(at)
            taken.append(len(part) if isinstance(part, bytes) else 1)
            return part

    data = framed(b"\x26\x00\x00\x00\x00" * 50_000)
    monkeypatch.setattr("bridge.adapters.mqtt.paho_patches.bytes", Counting, raising=False)
    ReadProperties(PacketTypes.PUBLISH).unpack(data)

    assert len(data) <= sum(taken) < 3 * len(data)


def test_a_reason_code_is_a_number_with_or_without_a_name():
    """Its name is shown where it has one for that packet."""
    code = AnyReasonCode(PacketTypes.PUBACK)
    assert code.unpack(b"\x95") == 1
    assert (code.value, str(code), code.is_failure) == (0x95, "reason code 149", True)
    assert str(AnyReasonCode(PacketTypes.PUBACK, identifier=0x87)) == "Not authorized"


# -- on a connection -------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.fault("F41")
async def test_a_thousand_legal_messages_cost_nobody_anything():
    """All of them at one connection, also what most brokers filter; others are heard behind it."""
    async with scripted(Scripted()) as broker, linked(broker.port) as it:
        await it.connected()
        await until(lambda: broker.subscribed)
        writer = broker.writers[0]
        for number, (topic, properties, payload) in enumerate(odd_messages(1_000, seed=4), 1):
            writer.write(publish(topic, payload, properties, packet_id=number))
            await writer.drain()
        writer.write(publish(SET.encode(), b"of others", packet_id=60_001))
        await until(lambda: it.seen(MqttMessage)[-1:] and it.events[-1].payload == b"of others")

    assert len(it.seen(MqttMessage)) == 1_001
    assert (broker.connects("bridge"), it.seen(MqttDisconnected)) == (1, [])


@pytest.mark.anyio
async def test_a_message_whose_properties_are_none_is_dropped_and_acknowledged():
    """It is its sender's mistake: nobody acts on it, it does not come again, all others do."""
    async with scripted(Scripted()) as broker, linked(broker.port) as it:
        await it.connected()
        writer = broker.writers[0]
        writer.write(publish(SET.encode(), b"bad", b"\x7f\x00", packet_id=5))
        writer.write(publish(SET.encode(), b"good", packet_id=6))
        message = await it.message()
        await until(lambda: broker.acked)

    assert (message.payload, broker.acked) == (b"good", [5])


@pytest.mark.anyio
@pytest.mark.parametrize("retain", [False, True])
async def test_what_is_no_mqtt_does_not_cut_the_link_for_ever(retain):
    """A packet nobody can read costs one connection, and the session that would bring it again."""
    bad = packet(0x36 | retain, text(SET.encode()) + struct.pack("!H", 1) + b"\x00bad")
    async with scripted(Scripted()) as broker, linked(broker.port) as it:
        await it.connected()
        broker.writers[0].write(bad)
        await it.connected(2)
        flags = [flags for _, flags, name in broker.hellos if name == "bridge"]

    assert [bool(flag & 0x02) for flag in flags] == [False, True]


@pytest.mark.anyio
async def test_a_reason_code_without_a_name_is_told_by_its_number():
    """Mosquitto answers a message over its limit with a code that belongs to other packets."""
    message = Publish("charger/a", b"1")
    async with scripted(Scripted(answers=lambda _: 0x95)) as broker, linked(broker.port) as it:
        await it.connected()
        it.mqtt_client.publish(message)
        acked = await it.acked()

    assert (acked.message, acked.reason_code) == (message, 0x95)
    assert len(it.seen(MqttConnected)) == 1


@pytest.mark.anyio
async def test_a_broker_that_refuses_us_does_not_cost_the_session():
    """A refusal is no poison: the next connection asks for the session that waits."""
    refusals = [0x88, 0x88]

    class Busy(Scripted):
        def _hello(self, body, writer):
            if not refusals:
                return super()._hello(body, writer)
            self.hellos.append((body[6], body[7], "bridge"))
            writer.write(packet(0x20, bytes([0, refusals.pop(), 0])))
            return True

    async with scripted(Busy()) as broker, linked(broker.port, version="5") as it:
        await it.connected()

    assert [flags & 0x02 for _, flags, name in broker.hellos if name == "bridge"] == [0, 0, 0]
