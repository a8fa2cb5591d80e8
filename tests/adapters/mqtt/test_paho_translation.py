"""What is asked of a broker, in paho's terms."""

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.adapters.mqtt.paho_translation import (
    NO_RECEIVE_MAXIMUM,
    ConnackLimits,
    ConnectOptions,
    Subscriptions,
    new_client,
    publish_properties,
    read_grant,
    subscription,
)
from bridge.core.messages import Publish
from bridge.settings import MqttSettings

FILTERS = ("charger/+/set/+", "charger/+/get/+")


def test_subscriptions_ask_for_what_the_core_needs_to_know():
    """On MQTT 5 the retain flag is kept, our own messages and known retained ones stay away."""
    asked = subscription(ConnectOptions("5", "bridge"), Subscriptions(FILTERS))

    assert [name for name, _ in asked] == list(FILTERS)
    assert {(o.QoS, o.noLocal, o.retainAsPublished, o.retainHandling) for _, o in asked} == {
        (1, True, True, 1)
    }


def test_our_own_heartbeat_is_heard_and_waits_nowhere():
    """QoS 0 and with our own messages: it needs no session, no window and no acknowledgement."""
    heartbeat = ("charger/bridge/heartbeat",)
    *_, (name, options) = subscription(
        ConnectOptions("5", "bridge"), Subscriptions(FILTERS, (), heartbeat)
    )

    assert (name, options.QoS, options.noLocal, options.retainHandling) == (*heartbeat, 0, False, 2)
    assert subscription(ConnectOptions("3.1.1", "b"), Subscriptions(FILTERS, (), heartbeat))[
        -1
    ] == (
        *heartbeat,
        0,
    )


def test_what_is_kept_of_our_own_topics_overtakes_the_commands_that_wait():
    """QoS 0 needs no window; a look at retained commands leaves their subscription as it was."""
    asked = subscription(ConnectOptions("5", "bridge"), Subscriptions((), FILTERS))
    assert {(o.QoS, o.noLocal, o.retainHandling) for _, o in asked} == {(0, True, 0)}

    asked = subscription(ConnectOptions("5", "bridge"), Subscriptions(FILTERS), as_new=True)
    assert {(o.QoS, o.noLocal, o.retainHandling) for _, o in asked} == {(1, True, 0)}


def test_a_poisoned_link_declines_retained_messages():
    """After something that could not be parsed, retained messages are not asked for."""
    asked = subscription(ConnectOptions("5", "bridge", want_retained=False), Subscriptions(FILTERS))

    assert {o.retainHandling for _, o in asked} == {2}


def test_older_brokers_are_asked_plainly():
    """3.1.1 knows a QoS and nothing else."""
    assert subscription(ConnectOptions("3.1.1", "bridge"), Subscriptions(FILTERS)) == [
        (name, 1) for name in FILTERS
    ]


def test_a_broker_that_names_no_limit_has_none():
    """An empty CONNACK grants everything, as the standard says."""
    options = ConnectOptions("5", "bridge", session_expiry_s=87_000)
    assert read_grant(options, False, None) == ConnackLimits(
        False, NO_RECEIVE_MAXIMUM, None, 1, 87_000
    )


def test_limits_of_connack_are_read():
    """Receive Maximum, Maximum Packet Size and Maximum QoS are taken over."""
    properties = Properties(PacketTypes.CONNACK)
    properties.ReceiveMaximum, properties.MaximumPacketSize, properties.MaximumQoS = 5, 1000, 0

    assert read_grant(ConnectOptions("5", "bridge"), True, properties) == ConnackLimits(
        True, 5, 1000, 0
    )


@pytest.mark.parametrize(
    ("wish", "granted", "keeps_s"),
    [
        (ConnectOptions("5", "bridge", session_expiry_s=87_000), {}, 87_000),
        (
            ConnectOptions("5", "bridge", session_expiry_s=87_000),
            {"SessionExpiryInterval": 3600},
            3600,
        ),
        (ConnectOptions("5", "bridge", session_expiry_s=87_000), {"SessionExpiryInterval": 0}, 0),
        (
            ConnectOptions("5", "bridge", session_expiry_s=87_000),
            {"SessionExpiryInterval": 99_999},
            87_000,
        ),
        (ConnectOptions("5", "bridge", session_expiry_s=87_000), {"MaximumQoS": 0}, 0),
        (ConnectOptions("3.1.1", "bridge", session_expiry_s=87_000), {}, 0),
    ],
)
def test_a_broker_keeps_commands_as_long_as_it_grants(wish, granted, keeps_s):
    """The wish counts unless CONNACK says less; at QoS 0 and on 3.1.1 nothing is kept."""
    properties = Properties(PacketTypes.CONNACK)
    for name, value in granted.items():
        setattr(properties, name, value)
    assert read_grant(wish, False, properties).keeps_s == keeps_s


def test_a_message_without_properties_carries_none():
    """The common case sends the shortest packet."""
    assert publish_properties(Publish("a", b"")) is None


def test_properties_keep_their_order_and_repeat():
    """User properties are a list, and correlation is bytes."""
    packed = publish_properties(
        Publish("a", b"", user_properties=(("k", "1"), ("k", "2")), correlation=b"\x00")
    )

    assert packed.UserProperty == [("k", "1"), ("k", "2")]
    assert packed.CorrelationData == b"\x00"


def test_a_client_holds_the_will_and_no_window_of_its_own():
    """The will is retained at QoS 1, and paho queues nothing by itself."""
    client = new_client(
        MqttSettings(),
        ConnectOptions("5", "bridge", will=Publish("charger/bridge/state", b"offline")),
    )

    assert (client.will_topic, client.will_payload) == ("charger/bridge/state", b"offline")
    assert client.max_inflight_messages == 0


@pytest.mark.parametrize(("of_will", "of_broker", "qos"), [(0, 1, 0), (1, 0, 0), (1, 1, 1)])
def test_a_will_goes_out_at_the_qos_that_both_want(of_will, of_broker, qos):
    """The lower one of what a convention wants and what the broker takes."""
    will = Publish("plant/alive", b"0", qos=of_will)
    client = new_client(MqttSettings(), ConnectOptions("5", "plant", will=will, qos=of_broker))

    assert client._will_qos == qos


@pytest.mark.parametrize(("protocol", "delay_s"), [("5", 10), ("3.1.1", None)])
def test_a_will_may_be_delayed(protocol, delay_s):
    """Only MQTT 5 knows it."""
    options = ConnectOptions(protocol, "x", will=Publish("a", b"0"), will_delay_s=10)
    client = new_client(MqttSettings(), options)
    properties = client._will_properties

    assert getattr(properties, "WillDelayInterval", None) == delay_s


def test_subscriptions_are_parted_in_order():
    """Every name comes once, and not more than so many at a time."""
    asked = Subscriptions(("a", "b", "c"), ("d",), ("e",))

    assert [part.names for part in asked.parts(2)] == [("a", "b"), ("c", "d"), ("e",)]
    assert list(asked.parts(9)) == [asked]
    assert list(Subscriptions().parts(9)) == [Subscriptions()]
