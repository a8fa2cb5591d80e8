"""Our packets as another implementation of MQTT 5 reads and writes them."""

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.mqtt import mqtt5_codec
from bridge.adapters.mqtt.mqtt5_codec import ConnAck, Malformed
from bridge.core.messages import Publish

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
# What is published to has no wildcard: the other client refuses it.
TOPICS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="+#"), min_size=1, max_size=40
)
PAYLOADS = st.one_of(
    st.binary(max_size=60),
    st.integers(100, 20_000).map(bytes),
)


def judged(data: bytes):
    """Read one packet with the other implementation, which has to use all of it."""
    packet, size = mqtt5.read(memoryview(data))
    assert size == len(data)
    return packet


@given(WORDS, st.none() | WORDS, st.none() | WORDS, st.integers(0, 65_535))
def test_connect_is_what_another_client_would_send(client_id, username, password, keepalive_s):
    """Id, credentials, keepalive and the largest packet arrive; there is no will."""
    data = mqtt5_codec.connect(
        client_id,
        username=username,
        password=password,
        keepalive_s=keepalive_s,
        largest_packet_bytes=4096,
    )
    expected = mqtt5.ConnectPacket(
        client_id,
        username=username,
        password=None if password is None else password.encode(),
        clean_start=True,
        keep_alive=keepalive_s,
        max_packet_size=4096,
    )

    assert judged(data) == expected


@given(
    TOPICS,
    PAYLOADS,
    st.booleans(),
    st.integers(1, 65_535),
    st.lists(st.tuples(WORDS, WORDS), max_size=4),
)
def test_publish_is_what_another_client_would_send(topic, payload, retained, number, properties):
    """Topic, payload, retain flag, id and user properties arrive, whatever their sizes."""
    message = Publish(topic, payload, retained, user_properties=tuple(properties))
    expected = mqtt5.PublishPacket(
        topic,
        payload,
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        retain=retained,
        packet_id=number,
        user_properties=properties,
    )

    assert mqtt5_codec.publish(message, number) == expected.write()


def test_the_small_packets_are_what_another_client_would_send():
    """PINGREQ and DISCONNECT with their reason."""
    malformed = mqtt5.DisconnectReasonCode.MALFORMED_PACKET

    assert judged(mqtt5_codec.PINGREQ) == mqtt5.PingReqPacket()
    assert judged(mqtt5_codec.disconnect(mqtt5_codec.MALFORMED_PACKET)).reason_code == malformed


@given(
    st.builds(
        mqtt5.ConnAckPacket,
        session_present=st.booleans(),
        session_expiry_interval=st.none() | st.integers(0, 9),
        assigned_client_id=st.none() | WORDS.filter(bool),
        server_keep_alive=st.none() | st.integers(0, 65_535),
        reason_str=st.none() | WORDS,
        response_info=st.none() | WORDS,
        receive_max=st.integers(1, 65_535),
        topic_alias_max=st.integers(0, 65_535),
        retain_available=st.booleans(),
        max_packet_size=st.none() | st.integers(1, 2**32 - 1),
        shared_subscription_available=st.booleans(),
        user_properties=st.none() | st.lists(st.tuples(WORDS, WORDS), max_size=3),
    )
)
def test_whatever_another_broker_grants_is_read(given_by):
    """All properties are understood, those of no use are skipped."""
    kind, body, end = mqtt5_codec.split(given_by.write(), 0)

    assert (kind, end) == (mqtt5_codec.CONNACK, len(given_by.write()))
    assert mqtt5_codec.connack(body) == ConnAck(
        0,
        session_present=given_by.session_present,
        receive_maximum=given_by.receive_max,
        retain_available=given_by.retain_available,
        largest_packet_bytes=given_by.max_packet_size,
        client_id=given_by.assigned_client_id or "",
        keepalive_s=given_by.server_keep_alive,
    )


def test_a_broker_that_takes_only_qos_0_says_so():
    """Maximum QoS and a refusal come through."""
    limited = mqtt5.ConnAckPacket(max_qos=mqtt5.QoS.AT_MOST_ONCE)
    refused = mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.QUOTA_EXCEEDED)

    assert mqtt5_codec.connack(mqtt5_codec.split(limited.write(), 0)[1]).maximum_qos == 0
    assert mqtt5_codec.connack(mqtt5_codec.split(refused.write(), 0)[1]).reason_code == 0x97


@given(
    st.integers(1, 65_535),
    st.sampled_from(
        [(mqtt5.PubAckReasonCode.SUCCESS, 0), (mqtt5.PubAckReasonCode.NOT_AUTHORIZED, 0x87)]
    ),
    st.none() | WORDS,
)
def test_an_acknowledgement_is_read_with_or_without_a_reason(number, code, reason):
    """Two bytes or more: identifier and reason code."""
    written = mqtt5.PubAckPacket(number, reason_code=code[0], reason_str=reason).write()

    assert mqtt5_codec.puback(mqtt5_codec.split(written, 0)[1]) == (number, code[1])


SHORT = st.builds(
    bytes.__add__,
    st.just(b"\x40\x02") | st.just(b"\x40\x03"),
    st.integers(1, 65_535).map(lambda number: number.to_bytes(2, "big")),
).map(lambda start: start + b"\x10" * (start[1] == 3))
OTHERS = st.sampled_from([b"\xd0\x00", b"\x40\x03\x00\x07\x87", b"\x40\x04\x00\x08\x10\x00"])


@given(st.lists(SHORT | OTHERS), st.binary(max_size=5))
def test_acknowledgements_in_a_row_are_the_same_as_one_by_one(whole, rest):
    """Taking many at once ends where the first packet is that needs a look of its own."""
    data = b"\x00\x00" + b"".join(whole) + rest
    expected, at = [], 2
    while data[at : at + 2] in {b"\x40\x02", b"\x40\x03"}:
        packet = mqtt5_codec.split(data, at)
        if packet is None or mqtt5_codec.puback(packet[1])[1] >= 0x80:
            break
        expected.append(mqtt5_codec.puback(packet[1])[0])
        at = packet[2]

    assert mqtt5_codec.short_pubacks(data, 2) == (expected, at)


@given(st.binary(max_size=12), st.integers(0, 3))
def test_splitting_is_total(data, at):
    """Any bytes are a packet, not all of one yet, or malformed."""
    try:
        found = mqtt5_codec.split(data, at)
    except Malformed:
        return
    if found is not None:
        assert at < found[2] <= len(data)
        assert data.endswith(found[1] + data[found[2] :])


@given(st.binary(max_size=40))
def test_reading_is_total(body):
    """Any body is what it claims to be, or malformed."""
    for read in (mqtt5_codec.connack, mqtt5_codec.puback, mqtt5_codec.disconnect_reason):
        try:
            read(body)
        except Malformed:
            continue


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\x00",
        b"\x00\x00\x05\x27\x00",
        b"\x00\x00\x03\x21\x00\x00",
        b"\x00\x00\x02\x7f\x00",
        b"\x00\x00\x04\x12\x00\x09a",
        b"\x00\x00\x05\x27\x00\x00\x00\x00",
        b"\x00\x00\xff\xff\xff\xff\x00",
        b"\x00\x00\x02\x21\x00",
    ],
)
def test_a_broken_connack_is_malformed(body):
    """Cut off, of nothing, or with what does not belong there."""
    with pytest.raises(Malformed):
        mqtt5_codec.connack(body)
