"""Translation between the program's messages and options and those of paho."""

import ssl
from collections.abc import Collection, Iterator
from typing import Any, Final

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.adapters.mqtt.paho_patches import mend
from bridge.adapters.mqtt.tls import closing_failed_handshake
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.settings import MqttSettings

# From CONNECT to CONNACK, and from SUBSCRIBE to SUBACK. A stopped broker still accepts TCP.
ANSWER_DEADLINE_S = 10.0
# Unacknowledged messages we accept: more commands than one bridge has in work at a time.
OUR_RECEIVE_MAXIMUM = 32
# An MQTT 5 broker drops what is larger, so paho never has to buffer it. Well above the payload
# that is passed on, so that what is just too large is named in our log.
MAX_PACKET_BYTES = 1_048_576
# Without a Receive Maximum in CONNACK, and on 3.1.1, only packet identifiers set a limit.
NO_RECEIVE_MAXIMUM = 65_535

VERSIONS: Final = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}


class ConnectOptions(msgspec.Struct, frozen=True):
    """What a connection asks of the broker.

    Attributes:
        protocol: ``"5"`` or ``"3.1.1"``.
        client_id: The identity of the session.
        will: Published by the broker when we vanish, or None.
        will_delay_s: MQTT 5: so long after that, unless the session goes on.
        qos: Of will and subscriptions; 0 for brokers that take nothing else.
        publish_qos: Of publications; likewise.
        session_expiry_s: MQTT 5: how long the broker keeps what is meant for us while we are away.
        clean_start: MQTT 5: forget what was kept. 3.1.1 always starts clean.
        wants_will_at_end: MQTT 5: the broker publishes the will at an intended end too.
        want_retained: Have retained messages sent to a new subscription (MQTT 5 can decline).
        connack_within_s: How long to wait for CONNACK.
    """

    protocol: str
    client_id: str
    will: Publish | None = None
    will_delay_s: int = 0
    qos: int = 1
    publish_qos: int = 1
    session_expiry_s: int = 0
    clean_start: bool = False
    wants_will_at_end: bool = False
    want_retained: bool = True
    connack_within_s: float = ANSWER_DEADLINE_S


class ConnackLimits(msgspec.Struct, frozen=True):
    """What the broker granted in CONNACK.

    Attributes:
        session_present: It knows us.
        receive_maximum: How many unacknowledged messages it takes.
        largest_packet_bytes: It takes no larger ones, or None.
        maximum_qos: 0 where it takes no more.
        keeps_s: How long it keeps what is meant for us while we are away.
    """

    session_present: bool
    receive_maximum: int = NO_RECEIVE_MAXIMUM
    largest_packet_bytes: int | None = None
    maximum_qos: int = 1
    keeps_s: int = 0


class Subscriptions(msgspec.Struct, frozen=True):
    """Topic filters by what they are for.

    Attributes:
        filters: Where others speak to us.
        echoes: Our own topics: what the broker keeps of them is wanted at every connection.
        loopback: Topics on which the bridge subscribes to its own messages.
    """

    filters: tuple[str, ...] = ()
    echoes: tuple[str, ...] = ()
    loopback: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, in the order in which they are asked for."""
        return self.filters + self.echoes + self.loopback

    def without(self, left_out: Collection[str]) -> "Subscriptions":
        """Return the others."""
        return Subscriptions(
            *(
                tuple(name for name in names if name not in left_out)
                for names in (self.filters, self.echoes, self.loopback)
            )
        )

    def parts(self, most: int) -> "Iterator[Subscriptions]":
        """Yield them in the same order, not more than so many at a time."""
        names = self.names
        for start in range(0, len(names), most):
            yield self.without(frozenset(names) - frozenset(names[start : start + most]))
        if not names:
            yield self


class PeerAddress(msgspec.Struct, frozen=True):
    """Where the main connection went.

    Attributes:
        family: Of its socket.
        address: Of its peer.
        tls: Its context, or None without TLS.
    """

    family: int
    address: Any
    tls: ssl.SSLContext | None


def new_client(settings: MqttSettings, options: ConnectOptions) -> paho.Client:
    """Build a client for one connection; nothing is connected."""
    mend()
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        clean_session=None if options.protocol == "5" else True,
        protocol=VERSIONS[options.protocol],
        reconnect_on_failure=False,
        manual_ack=True,
    )
    # The core keeps the window; a limit here would make paho a second, unordered queue.
    client.max_inflight_messages_set(0)
    if settings.username is not None:
        secret = settings.password
        client.username_pw_set(settings.username, secret.reveal() if secret else None)
    if options.will is not None:
        qos = min(options.qos, options.will.qos)
        delay = None
        if options.protocol == "5" and options.will_delay_s:
            delay = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=options.will_delay_s)
        will = options.will
        client.will_set(will.topic, will.payload, qos, will.retained, properties=delay)
    return client


def connect(client: paho.Client, settings: MqttSettings, options: ConnectOptions) -> MQTTErrorCode:
    """Connect and send CONNECT. It blocks, and raises whatever sockets and TLS raise."""
    where = (settings.host, settings.port, settings.keepalive_s)
    with closing_failed_handshake(settings.tls) as context:
        if context is not None:
            client.tls_set_context(context)
        if options.protocol != "5":
            return client.connect(*where)
        return client.connect(
            *where,
            clean_start=options.clean_start,
            properties=_properties(
                PacketTypes.CONNECT,
                SessionExpiryInterval=options.session_expiry_s,
                ReceiveMaximum=OUR_RECEIVE_MAXIMUM,
                MaximumPacketSize=MAX_PACKET_BYTES,
            ),
        )


def parting_code(options: ConnectOptions) -> ReasonCode | None:
    """Return the reason code of DISCONNECT; with MQTT 3.1.1 it has none.

    4: the broker publishes the will all the same.
    """
    if options.protocol != "5" or not options.wants_will_at_end:
        return None
    return ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message")


def close_socket(client: paho.Client) -> None:
    """Close a client's socket, if it has one, without a word to the broker."""
    sock = client.socket()
    if sock is not None:
        sock.close()


def subscription(
    options: ConnectOptions, asked: Subscriptions, *, as_new: bool = False
) -> list[tuple[str, int]] | list[tuple[str, SubscribeOptions]]:
    """Build the argument of paho's subscribe, all filters in one packet.

    Args:
        options: What the connection asks for.
        asked: Of which topics.
        as_new: Have everything sent that is kept, also where a subscription is there already.
    """
    filters, echoes, loopback = asked.filters, asked.echoes, asked.loopback
    if options.protocol != "5":
        heard = [(name, 0) for name in loopback]
        return [(name, options.qos) for name in (*filters, *echoes)] + heard
    # Retained commands are refused by the core; it must see the flag on live ones too, and is
    # spared the same ones again after each reconnect. What we publish is none of our business.
    declined = None if options.want_retained else SubscribeOptions.RETAIN_DO_NOT_SEND
    always = SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE if declined is None else declined
    is_once = declined is None and not as_new
    once = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB if is_once else always
    # With the flag, which tells whether the broker keeps it.
    ours = SubscribeOptions(
        0, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND
    )
    # At QoS 0 what is kept of our own topics comes before a long queue of commands is worked off.
    return [
        (name, SubscribeOptions(qos, noLocal=True, retainAsPublished=True, retainHandling=how))
        for names, qos, how in ((filters, options.qos, once), (echoes, 0, always))
        for name in names
    ] + [(name, ours) for name in loopback]


def read_grant(
    options: ConnectOptions, session_present: bool, properties: Properties | None
) -> ConnackLimits:
    """Read what CONNACK granted; a broker that names no limit has none."""
    maximum_qos = getattr(properties, "MaximumQoS", 1)
    requested_s = options.session_expiry_s if options.protocol == "5" and maximum_qos > 0 else 0
    return ConnackLimits(
        session_present=session_present,
        receive_maximum=getattr(properties, "ReceiveMaximum", NO_RECEIVE_MAXIMUM),
        largest_packet_bytes=getattr(properties, "MaximumPacketSize", None),
        maximum_qos=maximum_qos,
        keeps_s=min(requested_s, getattr(properties, "SessionExpiryInterval", requested_s)),
    )


def read_message(message: paho.MQTTMessage, topic: str, ack_token: AckToken) -> MqttMessage:
    """Return the event for a message of paho's; with 3.1.1 there are no properties."""
    properties = message.properties
    return MqttMessage(
        topic,
        bytes(message.payload),
        ack_token,
        retained=bool(message.retain),
        duplicate=bool(message.dup),
        expiry_s=getattr(properties, "MessageExpiryInterval", None),
        response_topic=getattr(properties, "ResponseTopic", None),
        correlation=getattr(properties, "CorrelationData", None),
    )


def publish_properties(message: Publish) -> Properties | None:
    """Build the MQTT 5 properties of a publication, or None when it has none."""
    if not message.user_properties and message.correlation is None:
        return None
    named: dict[str, object] = {}
    if message.user_properties:
        named["UserProperty"] = list(message.user_properties)
    if message.correlation is not None:
        named["CorrelationData"] = message.correlation
    return _properties(PacketTypes.PUBLISH, **named)


def _properties(packet: int, **named: object) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in named.items():
        setattr(properties, name, value)
    return properties
