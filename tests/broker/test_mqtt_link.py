"""The link against a real broker: what it promises while brokers come, go, lie and hang."""

import pytest
from structlog.testing import capture_logs

from bridge.adapters.mqtt.client import check_connection
from bridge.core.events import MqttAcked, MqttConnected, MqttDisconnected, MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.errors import ConnectionLost
from bridge.settings import MqttSettings, Secret
from tests.broker.conftest import FILTERS, OFFLINE, ONLINE, SET, STATE, linked
from tests.mosquitto import outsider, until
from tests.ports import unused_port

pytestmark = [pytest.mark.broker, pytest.mark.anyio]


@pytest.mark.parametrize("version", ["auto", "5", "3.1.1"])
async def test_messages_go_both_ways_and_are_acknowledged(broker, version):
    """On either protocol a publication is acknowledged and a command arrives, once each."""
    with outsider(broker.port, "charger/#") as other:
        async with linked(broker.port, version=version) as it:
            connected = await it.connected()
            it.mqtt_client.publish(ONLINE)
            assert await it.acked() == MqttAcked(ONLINE, 0)
            await until(lambda: other.payloads(STATE) == [b"online"])
            other.publish(SET, b"PRESS")
            message = await it.message()
            it.mqtt_client.acknowledge(message.ack_token)

    assert connected.protocol == ("3.1.1" if version == "3.1.1" else "5")
    assert connected.session_present is False
    assert (message.topic, message.payload, message.ack_token.qos) == (SET, b"PRESS", 1)
    assert (message.retained, message.duplicate) == (False, False)
    assert len(it.seen(MqttMessage)) == 1


async def test_properties_of_mqtt_5_go_both_ways(broker):
    """Expiry, response topic and correlation arrive; user properties and correlation go out."""
    answer = Publish(
        "charger/EH123456/result/start",
        b"{}",
        retained=False,
        user_properties=(("unit", "kW"), ("id", "120")),
        correlation=b"\x00\xff",
    )
    async with (
        linked(broker.port) as it,
        linked(broker.port, client_id="caller", filters=("charger/EH123456/result/+",)) as caller,
    ):
        await it.connected()
        await caller.connected()
        with outsider(broker.port) as other:
            other.publish(
                SET,
                b"1",
                MessageExpiryInterval=30,
                ResponseTopic="charger/reply/me",
                CorrelationData=b"\x01\x02",
            )
        message = await it.message()
        it.mqtt_client.publish(answer)
        received = await caller.message()

    assert message.expiry_s in (29, 30)
    assert (message.response_topic, message.correlation) == ("charger/reply/me", b"\x01\x02")
    assert received.correlation == b"\x00\xff"


@pytest.mark.fault("F22")
async def test_retained_commands_are_marked_and_come_once(broker):
    """Retained flags are seen, stored or live; a kept session is not sent them again."""
    with outsider(broker.port) as other:
        other.publish(SET, b"old", retain=True)
        async with linked(broker.port) as it:
            old = await it.message()
            it.mqtt_client.acknowledge(old.ack_token)
            other.publish(SET, b"live", retain=True)
            live = await it.message(2)
            it.mqtt_client.acknowledge(live.ack_token)
            it.mqtt_client.publish(ONLINE)  # whose acknowledgement tells that ours went out before
            await it.acked()
            it.mqtt_client._up.drop("cut by the test")
            again = await it.connected(2)
            other.publish(SET, b"last")
            last = await it.message(3)

    assert [old.payload, live.payload, last.payload] == [b"old", b"live", b"last"]
    assert [old.retained, live.retained, last.retained] == [True, True, False]
    assert again.session_present is True


@pytest.mark.fault("F22")
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_what_the_broker_keeps_can_be_asked_for_again(broker, version):
    """Behind a live message with the flag comes its copy, marked; a live one still comes once."""
    with outsider(broker.port) as other:
        async with linked(broker.port, version=version) as it:
            await it.connected()
            other.publish(SET, b"live", retain=True)
            live = await it.message()
            it.mqtt_client.ask_retained(FILTERS[0])
            copy = await it.message(2)
            other.publish(SET, b"next")
            following = await it.message(3)
            for message in (live, copy, following):
                it.mqtt_client.acknowledge(message.ack_token)
            it.mqtt_client.publish(ONLINE)
            await it.acked()

    assert [live.payload, copy.payload, following.payload] == [b"live", b"live", b"next"]
    assert [live.retained, copy.retained, following.retained] == [version == "5", True, False]
    assert len(it.seen(MqttMessage)) == 3


async def test_nothing_arrives_before_connected_is_emitted(broker):
    """Events are in order: the connection first, then what it brought."""
    with outsider(broker.port) as other:
        other.publish(SET, b"old", retain=True)
        async with linked(broker.port) as it:
            await it.message()

    assert isinstance(it.events[0], MqttConnected)


@pytest.mark.fault("F11")
async def test_a_restarted_broker_is_found_again_within_five_seconds(broker):
    """A polite restart and a power cut both heal by themselves, with one event for each loss."""
    async with linked(broker.port) as it:
        await it.connected()
        broker.kill()
        await it.disconnected()
        broker.start()
        forgotten = await it.connected(2)
        broker.stop()
        await it.disconnected(2)
        broker.start()
        kept = await it.connected(3)
        it.mqtt_client.publish(ONLINE)
        await it.acked()

    met = [type(e) for e in it.events if isinstance(e, MqttConnected | MqttDisconnected)]
    assert met == [
        MqttConnected,
        MqttDisconnected,
        MqttConnected,
        MqttDisconnected,
        MqttConnected,
    ]
    assert (forgotten.session_present, kept.session_present) == (False, True)


@pytest.mark.fault("F23")
async def test_commands_sent_while_away_are_kept_by_the_session(broker):
    """After a short absence comes what was published meanwhile, and what was not acknowledged."""
    with outsider(broker.port) as other:
        async with linked(broker.port) as it:
            await it.connected()
            other.publish(SET, b"unacknowledged")
            await it.message()
            it.mqtt_client._up.drop("cut by the test")
            other.publish(SET, b"away")
            await it.message(3)

    first, again, away = it.seen(MqttMessage)
    assert [first.payload, again.payload, away.payload] == [b"unacknowledged"] * 2 + [b"away"]
    assert (first.duplicate, again.duplicate, away.duplicate) == (False, True, False)
    assert first.ack_token.epoch < again.ack_token.epoch


async def test_a_late_acknowledgement_does_not_acknowledge_another_message(broker):
    """A receipt of an older connection is void, though message ids start again."""
    with outsider(broker.port) as other:
        async with linked(broker.port) as it:
            await it.connected()
            other.publish(SET, b"first")
            first = await it.message()
            broker.kill()
            await it.disconnected()
            broker.start()
            await it.connected(2)
            with outsider(broker.port) as second:
                second.publish(SET, b"second")
            fresh = await it.message(2)
            assert fresh.ack_token.message_id == first.ack_token.message_id
            it.mqtt_client.acknowledge(first.ack_token)
            it.mqtt_client._up.drop("cut by the test")
            again = await it.message(3)

    assert (again.payload, again.duplicate) == (b"second", True)


@pytest.mark.fault("F14")
async def test_a_half_open_broker_is_noticed(broker):
    """A broker that just falls silent is taken for lost, by the keepalive of the protocol."""
    async with linked(broker.port, keepalive_s=2) as it:
        await it.connected()
        broker.freeze()
        lost = await it.disconnected()
        broker.thaw()
        await it.connected(2)

    assert "nothing received" in lost.reason
    assert len(it.seen(MqttDisconnected)) == 1


@pytest.mark.fault("F17")
async def test_a_denied_publication_is_told(make_broker, tmp_path):
    """On MQTT 5 an access list that says no is a reason code, and the link stays up."""
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite charger/#\n")
    broker = make_broker(listener=(f"acl_file {acl}",))
    async with linked(broker.port) as it:
        await it.connected()
        it.mqtt_client.publish(Publish("elsewhere/x", b"1"))
        denied = await it.acked()
        it.mqtt_client.publish(ONLINE)
        allowed = await it.acked(2)

    assert (denied.reason_code, allowed.reason_code) == (135, 16)
    assert not it.seen(MqttDisconnected)


HEARTBEAT = "charger/bridge/heartbeat"


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_the_bridge_hears_itself_where_it_may(broker, version):
    """A heartbeat goes round, on either protocol; what else we publish does not come back on 5."""
    async with linked(broker.port, version=version, loopback=(HEARTBEAT,)) as it:
        connected = await it.connected()
        it.mqtt_client.publish(Publish(SET, b"PRESS", retained=False))
        it.mqtt_client.publish(Publish(HEARTBEAT, b"1", retained=False))
        await until(lambda: [m for m in it.seen(MqttMessage) if m.topic == HEARTBEAT])

    assert connected.loopback
    assert [m.topic for m in it.seen(MqttMessage)] == [SET, HEARTBEAT][version == "5" :]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("may", ["read", "write"])
@pytest.mark.fault("F17")
async def test_an_access_list_can_make_us_deaf(make_broker, tmp_path, version, may):
    """Mosquitto grants the subscription all the same: only the missing heartbeat tells."""
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite charger/EH123456/#\ntopic {may} {HEARTBEAT}\n")
    broker = make_broker(listener=(f"acl_file {acl}",))
    async with linked(broker.port, version=version, loopback=(HEARTBEAT,)) as it:
        connected = await it.connected()
        it.mqtt_client.publish(Publish(HEARTBEAT, b"1", retained=False))
        await it.acked()
        with outsider(broker.port) as flow:
            flow.publish(SET, b"later")
        await it.message()

    assert connected.loopback
    assert [m.topic for m in it.seen(MqttMessage)] == [SET]
    assert not it.seen(MqttDisconnected)


async def test_a_connection_that_is_no_use_is_made_anew(broker):
    """The core may give it up; without one, or while closing, there is nothing to give up."""
    async with linked(broker.port) as it:
        await it.connected()
        it.mqtt_client.reconnect("it is deaf")
        lost = await it.disconnected()
        it.mqtt_client.reconnect("again")
        await it.connected(2)

    assert lost.reason == "it is deaf"


@pytest.mark.parametrize(("version", "wills"), [("5", 2), ("3.1.1", 1)])
async def test_a_connection_without_a_session_ends_with_its_will(broker, version, wills):
    """Told before, and once more by an MQTT 5 broker; each attempt has a will of its own."""
    numbers = iter(range(10))
    options = {"version": version, "session_expiry_s": 0}
    with outsider(broker.port, STATE) as other:
        async with linked(
            broker.port, will=lambda: Publish(STATE, b"%d" % next(numbers), False), **options
        ) as it:
            first = await it.connected()
            asked = it.mqtt_client._up.options
            assert (asked.clean_start, asked.session_expiry_s) == (True, 0)
            it.mqtt_client.reconnect("the host went", Publish(STATE, b"bye", False))
            lost = await it.disconnected()
            second = await it.connected(2)
            assert (first.session_present, second.session_present) == (False, False)
            await until(lambda: len(other.messages) == wills)
            said = [b"bye", b"0"][:wills]
            assert sorted(other.payloads(STATE)) == sorted(said)
            it.mqtt_client._up.drop("cut by the test")
            await until(lambda: other.payloads(STATE)[-1] == b"1")

    assert lost.reason == "closed by us"


async def test_the_will_is_published_when_the_process_vanishes(broker):
    """A connection that just ends leaves `offline`, retained."""
    async with linked(broker.port) as it:
        await it.connected()
        it.mqtt_client.publish(ONLINE)
        await it.acked()
    with outsider(broker.port, STATE) as other:
        await until(lambda: other.messages)

    assert other.messages == [(STATE, b"offline", True)]


async def test_a_clean_end_says_goodbye_itself(broker):
    """Closing publishes the farewell, waits for it, sends no will, and ends `run`."""
    farewell = Publish(STATE, b"gone fishing")
    with outsider(broker.port, STATE) as other:
        async with linked(broker.port) as it:
            await it.connected()
            it.mqtt_client.publish(ONLINE)
            await it.mqtt_client.close(farewell)
            with pytest.raises(ConnectionLost):
                it.mqtt_client.publish(ONLINE)
            await it.disconnected()
        with outsider(broker.port) as later:
            later.publish(STATE, b"a will would have come before this")
        await until(lambda: len(other.messages) >= 3)

    assert other.payloads(STATE)[:2] == [b"online", b"gone fishing"]
    assert len(other.messages) == 3
    assert isinstance(it.events[-1], MqttDisconnected)


async def test_a_client_that_another_replaces_says_nothing(broker):
    """No farewell and no will: the other one goes on under the same id."""
    with outsider(broker.port, STATE) as other:
        async with linked(broker.port) as it:
            await it.connected()
            await it.mqtt_client.close(None)
            await it.disconnected()
        with outsider(broker.port) as later:
            later.publish(STATE, b"a will would have come before this")
        await until(lambda: other.messages)

    assert len(other.messages) == 1


async def test_no_connection_is_made_without_leave(broker):
    """Two workers that both reconnect would throw each other out for ever."""
    may = []
    with outsider(broker.port, STATE) as other:
        async with linked(broker.port, may_connect=lambda: bool(may)) as it:
            other.publish(STATE, b"the broker is there")
            await until(lambda: other.messages)
            assert not it.events
            may.append(True)
            await it.connected()
            may.clear()
            it.mqtt_client.reconnect("test")
            await it.disconnected()
            await it.mqtt_client.close(None)

    assert len(it.seen(MqttConnected)) == 1


async def test_a_will_waits_for_the_next_connection_of_the_session(broker):
    """A takeover within the delay leaves `online`; without one the will comes in the end."""
    with outsider(broker.port, STATE) as other:
        async with linked(broker.port, will_delay_s=2) as first:
            await first.connected()
        async with linked(broker.port, will_delay_s=2) as second:
            connected = await second.connected()
            second.mqtt_client.publish(ONLINE)
            await second.acked()
        await until(lambda: len(other.messages) >= 2)

    assert connected.session_present
    assert other.payloads(STATE) == [b"online", b"offline"]


async def test_many_subscriptions_are_asked_for_in_parts(broker):
    """A charger has filters of its own where a worker serves some of them."""
    filters = tuple(f"charger/EH{number:06}/set/+" for number in range(2_500))
    async with linked(broker.port, filters=filters) as it:
        await it.connected()
        with outsider(broker.port) as other:
            other.publish("charger/EH002499/set/start", b"1")
        message = await it.message()

    assert message.topic == "charger/EH002499/set/start"


async def test_closing_ends_the_run_also_without_a_broker():
    """A program that is told to stop does not wait for a broker that is not there."""
    async with linked(unused_port()) as it:
        lost = await it.disconnected()
        await it.mqtt_client.close(OFFLINE)

    assert "nothing listens" in lost.reason
    assert len(it.events) == 1


@pytest.mark.fault("F18")
async def test_messages_that_can_never_be_sent_are_refused(make_broker):
    """A hostile topic or an oversized message is an error here, and not a reconnect loop."""
    broker = make_broker(listener=("max_packet_size 1000",))
    fits = Publish("charger/a", b"x" * (1000 - 17))
    async with linked(broker.port) as it:
        with pytest.raises(ConnectionLost):
            it.mqtt_client.publish(ONLINE)
        await it.connected()
        for topic in ("", "a/\x00", "a/\x07", "a/+/b", "a/#", "a/\ud800", "a/\uffff", "x" * 65_536):
            with pytest.raises(ValueError, match="topic"):
                it.mqtt_client.publish(Publish(topic, b"1"))
        with pytest.raises(ValueError, match="1001 bytes"):
            it.mqtt_client.publish(Publish(fits.topic, fits.payload + b"x"))
        it.mqtt_client.publish(fits)
        await it.acked()

    assert not it.seen(MqttDisconnected)


@pytest.mark.fault("F19")
async def test_oversized_commands_are_cut_and_named_once(broker):
    """A payload no command has reaches the core cut, still too long, and gets its answer there."""
    with outsider(broker.port) as other, capture_logs() as logs:
        async with linked(broker.port) as it:
            await it.connected()
            other.publish(SET, b"x" * 65_537)
            other.publish(SET, b"x" * 500_000)
            for number in (1, 2):
                it.mqtt_client.acknowledge((await it.message(number)).ack_token)
            it.mqtt_client.publish(ONLINE)
            await it.acked()
            it.mqtt_client._up.drop("cut by the test")
            await it.connected(2)
            other.publish(SET, b"next")
            following = await it.message(3)

    sizes = [len(message.payload) for message in it.seen(MqttMessage)]
    assert (sizes, following.payload) == ([65_536, 65_536, 4], b"next")
    assert [entry["topic"] for entry in logs if entry["event"] == "mqtt.message_truncated"] == [SET]


@pytest.mark.fault("F41")
async def test_hostile_properties_of_others_pass_through_a_real_broker(broker):
    """What mosquitto lets through costs no connection, and the command behind it arrives."""
    odd = "\ufeff"
    with outsider(broker.port) as other:
        async with linked(broker.port) as it:
            await it.connected()
            for number in range(1_000):
                named = (
                    {"UserProperty": [(odd, odd)] * 3},
                    {"ContentType": odd, "PayloadFormatIndicator": 1},
                    {"ResponseTopic": f"charger/{odd}", "CorrelationData": b"\0" * number},
                )[number % 3]
                topic = (SET, f"charger/{odd}/set/x")[number % 2]
                other.publish(topic, b"1", retain=number % 50 == 0, **named)
                if number % 25 == 24:  # within our Receive Maximum
                    await it.message(number + 1)
                    for message in it.seen(MqttMessage)[-25:]:
                        it.mqtt_client.acknowledge(message.ack_token)
            other.publish(SET, b"good")
            message = await it.message(1_001)

    assert message.payload == b"good"
    assert (len(it.seen(MqttConnected)), it.seen(MqttDisconnected)) == (1, [])


@pytest.mark.fault("F16")
async def test_a_second_client_with_the_same_id_is_not_fought(broker):
    """Two links with one id slow down instead of throwing each other out for ever."""
    async with linked(broker.port) as it:
        await it.connected()
        async with linked(broker.port) as twin:
            await twin.connected()
            await it.disconnected()
            await it.connected(2)
            await twin.disconnected()

    assert len(it.seen(MqttConnected)) <= 3
    assert not any(lost.was_busy for lost in it.seen(MqttDisconnected))


async def test_a_wrong_password_is_named_and_never_shown(make_broker, tmp_path):
    """The operator reads which settings to check; the password is in no text."""
    broker = make_broker(anonymous=False)
    secret = Secret("hunter2-hunter2")
    with capture_logs() as logs:
        async with linked(broker.port, username="someone", password=secret) as it:
            lost = await it.disconnected()

    assert "mqtt.password_file" in lost.reason
    assert "hunter2" not in f"{logs} {it.events}"


async def test_a_broker_with_qos_0_only_is_used_as_it_is(make_broker):
    """A broker that grants no QoS 1 is served at QoS 0, and says so in the log."""
    broker = make_broker(listener=("max_qos 0",))
    with outsider(broker.port, STATE) as other, capture_logs() as logs:
        async with linked(broker.port) as it:
            await it.connected()
            it.mqtt_client.publish(ONLINE)
            await it.acked()
            await until(lambda: other.payloads(STATE) == [b"online"])

    assert "mqtt.only_qos_0" in [entry["event"] for entry in logs]


async def test_a_probe_describes_the_broker_and_leaves_the_bridge_alone(broker):
    """Checking a configuration connects, says what it found, and throws nobody out."""
    settings = MqttSettings(host="127.0.0.1", port=broker.port, client_id="bridge")
    async with linked(broker.port) as it:
        await it.connected()
        found = await check_connection(settings, subscriptions=FILTERS)
        it.mqtt_client.publish(ONLINE)
        await it.acked()

    assert found.startswith(f"MQTT 5 at 127.0.0.1:{broker.port}, without TLS, 2 subscriptions")
    assert not it.seen(MqttDisconnected)


async def test_a_probe_says_what_to_do_when_nobody_listens():
    """A broker that is not there is named with the settings to look at."""
    settings = MqttSettings(host="127.0.0.1", port=unused_port())
    with pytest.raises(ConnectionLost, match=r"nothing listens at 127.0.0.1:.*mqtt\.port"):
        await check_connection(settings)


async def test_acknowledging_without_a_connection_does_nothing():
    """A receipt may outlive its connection."""
    async with linked(unused_port()) as it:
        it.mqtt_client.acknowledge(AckToken(1, 1, 1))
        await it.disconnected()

    assert len(it.events) == 1
