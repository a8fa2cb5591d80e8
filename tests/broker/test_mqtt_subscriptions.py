"""Subscriptions that a broker does not grant."""

import asyncio

import pytest

from bridge.adapters.mqtt import client as mqtt
from bridge.core.events import MqttConnected, MqttDisconnected, MqttMessage, MqttSubscribed
from bridge.errors import ConnectionLost
from bridge.settings import MqttSettings
from tests.broker.conftest import FILTERS, ONLINE, SET, STATE, linked
from tests.conftest import PATIENCE_S
from tests.mosquitto import outsider, until
from tests.scripted import CLOSE, SUBSCRIBE, Scripted, publish, scripted

pytestmark = [pytest.mark.broker, pytest.mark.anyio]

GET = FILTERS[1]


@pytest.mark.fault("F45")
@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("code", [0x80, 0x87, 0xB0])
async def test_the_link_goes_on_without_a_filter_that_is_refused(version, code):
    """By any reason code: what is granted is heard, what we say is taken."""
    broker = Scripted(granted=lambda name: code if name == GET else 1)
    async with scripted(broker), linked(broker.port, version=version) as it:
        await it.connected()
        it.mqtt_client.publish(ONLINE)
        await it.acked()
        if version == "5":
            broker.writers[0].write(publish(SET.encode(), b"1", packet_id=1))
            await it.message()

    assert it.seen(MqttSubscribed) == [MqttSubscribed((GET,))]
    assert broker.connects("bridge") == 1


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_with_every_filter_refused_values_are_published(version):
    """Deaf is better than dumb as well."""
    broker = Scripted(granted=lambda _: 0x80)
    async with scripted(broker), linked(broker.port, version=version) as it:
        connected = await it.connected()
        it.mqtt_client.publish(ONLINE)
        await it.acked()

    assert it.seen(MqttSubscribed) == [MqttSubscribed(FILTERS)]
    assert connected.maximum_qos == 1
    assert "charger/bridge/state" in broker.topics()


async def test_what_was_refused_is_asked_for_again(monkeypatch):
    """Rights that come later are used without a new connection, and told."""
    monkeypatch.setattr(mqtt, "RESUBSCRIBE_AFTER_S", 0.05)
    rights = set()
    broker = Scripted(granted=lambda name: 1 if name != GET or rights else 0x87)
    async with scripted(broker), linked(broker.port) as it:
        await until(lambda: broker.subscribed.count(GET) > 1)
        rights.add(GET)
        await until(lambda: len(it.seen(MqttSubscribed)) > 1)

    assert it.seen(MqttSubscribed) == [MqttSubscribed((GET,)), MqttSubscribed(())]
    assert broker.connects("bridge") == 1


async def test_a_right_that_comes_with_a_new_connection_is_told():
    """The alert ends there too."""
    rights = set()
    broker = Scripted(granted=lambda name: 1 if name != GET or rights else 0x87)
    async with scripted(broker), linked(broker.port) as it:
        await until(lambda: it.seen(MqttSubscribed))
        rights.add(GET)
        it.mqtt_client.reconnect("for the test")
        await it.connected(2)
        await until(lambda: len(it.seen(MqttSubscribed)) > 1)

    assert it.seen(MqttSubscribed)[-1] == MqttSubscribed(())


@pytest.mark.fault("F45")
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_broker_that_hangs_up_over_a_filter_loses_only_that(monkeypatch, version):
    """Asked one by one it shows at which one: the others are used, and that one is named."""
    monkeypatch.setattr(mqtt, "FIRST_WAIT_S", 0.02)

    class Rude(Scripted):
        def _is_over(self, head, body, writer, *, five):
            rude = head >> 4 == SUBSCRIBE and GET.encode() in body
            return rude or super()._is_over(head, body, writer, five=five)

    broker = Rude()
    async with scripted(broker), linked(broker.port, version=version) as it:
        await it.connected()
        it.mqtt_client.publish(ONLINE)
        await it.acked()

    assert it.seen(MqttSubscribed) == [MqttSubscribed((GET,))]
    assert broker.subscribed == [FILTERS[0]] * broker.subscribed.count(FILTERS[0])
    assert broker.connects("bridge") == 3


async def test_a_broker_that_hangs_up_over_a_question_is_told_so():
    """A connection that ended while a subscription was not answered is no idle one."""

    class Shy(Scripted):
        def _is_over(self, head, body, writer, *, five):
            again = head >> 4 == SUBSCRIBE and bool(self.subscribed)
            return again or super()._is_over(head, body, writer, five=five)

    async with scripted(Shy()) as broker, linked(broker.port, filters=(GET,)) as it:
        await it.connected()
        it.mqtt_client.ask_retained(GET)
        await it.disconnected()

    (lost,) = it.seen(MqttDisconnected)
    assert lost.was_busy


@pytest.mark.fault("F46")
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_broker_that_grants_only_qos_0_is_called_one_that_holds_nothing(version):
    """Its consumers get no more than we do."""
    broker = Scripted(granted=lambda _: 0)
    async with scripted(broker), linked(broker.port, version=version) as it:
        connected = await it.connected()
        it.mqtt_client.publish(ONLINE)
        await it.acked()

    assert connected.maximum_qos == 0
    assert not it.seen(MqttDisconnected)


async def test_a_broker_that_also_takes_only_qos_0_is_spoken_to_so(monkeypatch):
    """An older one has no way to say it: it hangs up at the first publication at QoS 1."""
    monkeypatch.setattr(mqtt, "FIRST_WAIT_S", 0.02)
    broker = Scripted(granted=lambda _: 0, answers=lambda heard: CLOSE if heard.qos else 0)
    async with scripted(broker), linked(broker.port, version="3.1.1") as it:
        await it.connected()
        it.mqtt_client.publish(ONLINE)
        await it.connected(2)
        it.mqtt_client.publish(ONLINE)
        await until(broker.topics)

    assert len(it.seen(MqttConnected)) == 2
    assert not it.seen(MqttMessage)


async def test_a_broker_that_keeps_nothing_is_left_and_named():
    """It should have refused the will that is to be kept; what we retain would be lost."""
    async with scripted(Scripted(connack=b"\x25\x00")) as broker, linked(broker.port) as it:
        lost = await it.disconnected()

    assert "it keeps no retained messages" in lost.reason
    assert not it.seen(MqttConnected)


DEVICE = ("charger/EH000001/set/+", "charger/EH000001/get/+")
ECHO = ("charger/EH000001/availability",)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_filters_come_and_go_while_connected_and_stay_for_the_next_connection(version):
    """Those of every connection stay as they are; nothing is asked for twice."""
    broker = Scripted()
    async with scripted(broker), linked(broker.port, version=version) as it:
        await it.connected()
        it.mqtt_client.listen(DEVICE, ECHO)
        it.mqtt_client.publish(ONLINE)
        await it.acked()
        first = [*broker.subscribed]
        it.mqtt_client.listen(DEVICE[:1], ECHO)
        await until(lambda: len(broker.unsubscribed) == 1)
        it.mqtt_client.reconnect("for the test")
        await it.connected(2)

    assert first == [*FILTERS, *DEVICE, *ECHO]
    assert broker.unsubscribed == [DEVICE[1]]
    assert broker.subscribed[len(first) :] == [*FILTERS, DEVICE[0], *ECHO]


async def test_filters_that_are_refused_later_are_told_with_the_others():
    """By the alert that names all of them."""
    broker = Scripted(granted=lambda name: 0x87 if name in (GET, DEVICE[0]) else 1)
    async with scripted(broker), linked(broker.port) as it:
        await it.connected()
        it.mqtt_client.listen(DEVICE, ())
        await until(lambda: len(it.seen(MqttSubscribed)) > 1)

    assert it.seen(MqttSubscribed) == [MqttSubscribed((GET,)), MqttSubscribed((GET, DEVICE[0]))]


async def test_filters_are_asked_for_in_parts(monkeypatch):
    """A broker may limit the size of a packet."""
    monkeypatch.setattr(mqtt, "MAX_FILTERS", 2)
    broker = Scripted()
    names = tuple(f"charger/EH{number:06}/set/+" for number in range(5))
    async with scripted(broker), linked(broker.port) as it:
        await it.connected()
        it.mqtt_client.listen(names, ())
        await until(lambda: len(broker.subscribed) == len(FILTERS) + 5)

    assert broker.subscribed[len(FILTERS) :] == [*names]
    assert broker.subscriptions[-3:] == [2, 2, 1]


async def test_everything_that_is_retained_comes_before_the_last(broker):
    """In as many pieces as it comes; what ends it is left out."""
    topics = {f"charger/EH{number:06}/observation/x": b"%d" % number for number in range(200)}
    with outsider(broker.port) as client:
        for topic, payload in {**topics, STATE: b"online"}.items():
            client.publish(topic, payload, retain=True)
    found: dict[str, bytes] = {}
    pieces = []

    def take(came):
        pieces.append(len(came))
        found.update(came)

    settings = MqttSettings("127.0.0.1", broker.port)
    await mqtt.collect_retained(settings, ("charger/+/observation/+",), take, last=STATE)

    assert found == topics
    assert sum(pieces) == len(topics)


async def test_what_is_published_on_the_same_topics_meanwhile_does_not_prolong_it(broker):
    """What is read is published again by the bridge: each topic counts once."""
    topics = {f"charger/EH{number:06}/observation/x": b"1" for number in range(20)}
    found: list[dict[str, bytes]] = []
    with outsider(broker.port) as client:
        for topic in topics:
            client.publish(topic, b"1", retain=True)
        client.publish(STATE, b"online", retain=True)

        def take(came):
            found.append(came)
            for topic in came:
                client.publish(topic, b"2", retain=True)

        settings = MqttSettings("127.0.0.1", broker.port)
        filters = ("charger/+/observation/+",)
        async with asyncio.timeout(PATIENCE_S):
            await mqtt.collect_retained(settings, filters, take, last=STATE)

    assert {topic: payload for came in found for topic, payload in came.items()} == topics


async def test_a_connection_that_ends_meanwhile_is_no_end_of_what_is_retained():
    """What was not read is not taken for absent."""
    broker = Scripted()
    async with scripted(broker):
        reading = asyncio.get_running_loop().create_task(
            mqtt.read_retained(MqttSettings("127.0.0.1", broker.port), ("x",), quiet_s=60.0)
        )
        await until(lambda: broker.subscribed)
        broker.writers[0].close()
        with pytest.raises(ConnectionLost):
            await reading
