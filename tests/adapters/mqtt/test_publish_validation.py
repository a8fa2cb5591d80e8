"""What may be published."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from bridge.adapters.mqtt.paho_translation import publish_properties
from bridge.adapters.mqtt.publish_validation import check_publish
from bridge.core.messages import Publish, packet_bytes

GOOD = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), exclude_characters="+#"), max_size=200
)
SPOILERS = ["\x00", "\x07", "\x1f", "\x7f", "\x9f", "\ud800", "\ufdd0", "\ufffe", "\uffff"]
PAIRS = st.lists(st.tuples(GOOD, GOOD), max_size=3).map(tuple)


def check(message: Publish, *, properties: bool = True, largest: int | None = None) -> None:
    """Check a message against a broker's limit."""
    check_publish(message, properties=properties, largest_packet_bytes=largest)


@pytest.mark.parametrize("spoiler", [*SPOILERS, "+", "#"])
def test_topics_no_broker_takes_are_refused(spoiler):
    """NUL, control characters, surrogates, non-characters and wildcards stay here."""
    with pytest.raises(ValueError, match="topic"):
        check(Publish(f"charger/{spoiler}x", b""))


@pytest.mark.parametrize("topic", ["", "x" * 65_536, "é" * 32_768])
def test_topics_must_have_a_length_mqtt_can_say(topic):
    """Empty topics and those above 65,535 bytes of UTF-8 are refused."""
    with pytest.raises(ValueError, match="topic"):
        check(Publish(topic, b""))


@pytest.mark.parametrize("pair", [("unit", "\x00"), ("\ufffe", "kW"), ("unit", "x" * 65_536)])
def test_properties_are_checked_where_they_are_sent(pair):
    """A bad property is refused on MQTT 5, and of no interest on 3.1.1, which has none."""
    message = Publish("charger/a", b"", user_properties=(pair,))

    check(message, properties=False)
    with pytest.raises(ValueError, match="property"):
        check(message)


def test_correlation_data_has_a_limit():
    """Correlation data longer than its length field is refused."""
    check(Publish("charger/a", b"", correlation=b"x" * 65_535))
    with pytest.raises(ValueError, match="correlation"):
        check(Publish("charger/a", b"", correlation=b"x" * 65_536))


@pytest.mark.parametrize("properties", [False, True])
def test_the_brokers_limit_is_exact(properties):
    """A message of just the Maximum Packet Size goes, one byte less is refused."""
    message = Publish("charger/a", b"x" * 500, user_properties=(("a", "b"),), correlation=b"c")
    size = packet_bytes(message, properties=properties)

    check(message, properties=properties, largest=size)
    with pytest.raises(ValueError, match=f"{size} bytes"):
        check(message, properties=properties, largest=size - 1)


@given(GOOD.filter(bool), st.binary(max_size=300), PAIRS, st.none() | st.binary(max_size=200))
def test_sizes_are_what_the_library_sends(topic, payload, pairs, correlation):
    """The size is counted to the byte as paho packs it, on either protocol."""
    message = Publish(topic, payload, user_properties=pairs, correlation=correlation)
    for protocol, with_properties in (
        (MQTTProtocolVersion.MQTTv5, True),
        (MQTTProtocolVersion.MQTTv311, False),
    ):
        client = Client(CallbackAPIVersion.VERSION2, "x", protocol=protocol)
        packed = []
        client._sock = object()
        client._packet_queue = lambda _c, packet, *_, to=packed: to.append(bytes(packet))
        client._send_publish(
            1,
            topic.encode(),
            payload,
            1,
            properties=publish_properties(message) if with_properties else None,
        )
        client._sock = None

        assert len(packed[0]) == packet_bytes(message, properties=with_properties)


@given(st.text(max_size=100), PAIRS)
def test_any_text_is_taken_or_refused_with_one_error(topic, pairs):
    """Hostile names never raise anything but ValueError."""
    try:
        check(Publish(topic, b"", user_properties=pairs))
    except ValueError as error:
        assert not isinstance(error, UnicodeError)  # noqa: PT017 - the other way is fine too
