"""What the broker refuses is told for as long as that is so, and sent again."""

import json
from collections import Counter

from bridge.core.alerts import Alerts
from bridge.core.delivery.outbox import SET_ASIDE, TOO_LARGE
from bridge.core.delivery.rejected_publications import ALERT_FOR_S, RETRY_S, RejectedPublications
from bridge.core.effects import RetryRejectedPublications
from bridge.core.events import MqttConnected
from bridge.core.messages import Publish, packet_bytes
from bridge.core.records.moment import Timestamp
from tests.conftest import NOON
from tests.native import publishes

NOT_AUTHORIZED = 0x87
TOPIC_NAME_INVALID = 0x90
VALUE = Publish("charger/EH000001/state/op_mode", b"charging")
OTHER = Publish("charger/EH000002/state/op_mode", b"charging")
EVENT = Publish("charger/EH000001/event/error", b"{}", retained=False)


def at(mono_s):
    """A moment of which only the monotonic clock counts."""
    return Timestamp(NOON, mono_s)


def alerts(effects):
    """Return what is published as the alert, in order."""
    topic = "charger/bridge/alert/publication_refused"
    return [e.payload for e in publishes(effects) if e.topic == topic]


def test_the_alert_stands_until_what_was_refused_is_taken():
    """Other acknowledgements do not make it flicker."""
    rejected = RejectedPublications(Alerts(), Counter())
    (raised,) = alerts(rejected.acked(VALUE, NOT_AUTHORIZED, at(0)))
    assert VALUE.topic in json.loads(raised)["message"]

    assert alerts(rejected.acked(OTHER, 0, at(1))) == []
    assert alerts(rejected.acked(OTHER, NOT_AUTHORIZED, at(2))) == []
    assert alerts(rejected.acked(VALUE, 0, at(3))) == []
    assert alerts(rejected.acked(OTHER, 0, at(4))) == [b""]
    assert rejected.deadline_s() is None


def test_the_hint_is_true_of_a_topic_that_is_not_below_the_base_topic():
    """The discovery topics of Home Assistant are elsewhere, and may be what is refused."""
    config = Publish("homeassistant/device/charger_EH000001/config", b"{}")
    (raised,) = alerts(
        RejectedPublications(Alerts(), Counter()).acked(config, NOT_AUTHORIZED, at(0))
    )
    assert config.topic in json.loads(raised)["message"]
    assert "base topic" not in json.loads(raised)["hint"]
    assert "topics --format acl" in json.loads(raised)["hint"]


def test_what_is_refused_is_sent_again_every_half_minute():
    """For as long as it is refused, and not before its time."""
    rejected = RejectedPublications(Alerts(), Counter())
    list(rejected.acked(VALUE, NOT_AUTHORIZED, at(0)))
    assert rejected.deadline_s() == RETRY_S
    assert list(rejected.tick(at(RETRY_S - 1))) == []

    for time in (1, 2):
        assert list(rejected.tick(at(time * RETRY_S))) == [RetryRejectedPublications()]
        list(rejected.acked(VALUE, NOT_AUTHORIZED, at(time * RETRY_S)))
    list(rejected.acked(VALUE, 0, at(3 * RETRY_S)))
    assert list(rejected.tick(at(4 * RETRY_S))) == []


def test_what_is_not_tried_again_is_told_for_half_a_minute():
    """An event is over; a topic the broker cannot take stays one."""
    for message, reason_code in ((EVENT, NOT_AUTHORIZED), (VALUE, TOPIC_NAME_INVALID)):
        rejected = RejectedPublications(Alerts(), Counter())
        assert len(alerts(rejected.acked(message, reason_code, at(0)))) == 1

        (cleared,) = (e for e in publishes(rejected.tick(at(RETRY_S))))
        assert cleared.payload == b""
        assert rejected.deadline_s() is None


def test_a_value_taken_on_another_connection_is_not_refused_any_more():
    """The alert ends with it, and nothing is due."""
    rejected = RejectedPublications(Alerts(), Counter())
    assert list(rejected.accepted([VALUE])) == []
    list(rejected.acked(VALUE, NOT_AUTHORIZED, at(0)))

    assert alerts(rejected.accepted([OTHER])) == []
    assert alerts(rejected.accepted([OTHER, VALUE])) == [b""]
    assert rejected.deadline_s() is None


# -- too large, or set aside -----------------------------------------------------------------------

CONFIG = Publish("homeassistant/device/x/config", b"x" * 61_000)
REPORT = Publish("charger/EH000001/session/report", b"{}", retained=False, tag="report:k:1")


def said(effects, kind):
    """Return what is published as one alert, as documents; None for an empty one."""
    topic = f"charger/bridge/alert/{kind}"
    found = [e.payload for e in publishes(effects) if e.topic == topic]
    return [(payload and json.loads(payload)) or None for payload in found]


def test_what_is_over_the_brokers_limit_is_named_with_both_sizes():
    """The topic, what it is, what the broker takes, and where that is set."""
    rejected = RejectedPublications(Alerts(), Counter())
    rejected.connected(MqttConnected(False, "5", 20, largest_packet_bytes=8_092))
    (alert,) = said(rejected.acked(CONFIG, TOO_LARGE, at(0)), "message_too_large")

    size = packet_bytes(CONFIG, properties=True)
    assert alert["message"] == f"{CONFIG.topic} is {size:,} bytes, the broker accepts 8,092"
    assert "message_size_limit" in alert["hint"]


def test_a_size_the_broker_only_refuses_is_named_too():
    """Without a limit in CONNACK the reason code or the ended connection says it."""
    for code, word in ((TOO_LARGE, "too large"), (SET_ASIDE, "disconnected")):
        rejected = RejectedPublications(Alerts(), Counter())
        (alert,) = said(rejected.acked(CONFIG, code, at(0)), "message_too_large")
        assert "61,0" in alert["message"]
        assert word in alert["message"]


def test_it_stands_until_something_of_that_topic_is_taken():
    """Neither time nor other topics end it; others of its kind are counted."""
    rejected = RejectedPublications(Alerts(), Counter())
    list(rejected.acked(CONFIG, TOO_LARGE, at(0)))
    again = Publish("homeassistant/device/y/config", b"x" * 61_000)
    (alert,) = said(rejected.acked(again, TOO_LARGE, at(1)), "message_too_large")
    assert "1 more like it" in alert["message"]
    assert said(rejected.acked(again, TOO_LARGE, at(2)), "message_too_large") == []
    assert said(rejected.tick(at(9 * ALERT_FOR_S)), "message_too_large") == []
    assert said(rejected.acked(OTHER, 0, at(3)), "message_too_large") == []

    assert said(rejected.acked(Publish(CONFIG.topic, b""), 0, at(4)), "message_too_large") == []
    assert said(rejected.accepted([again]), "message_too_large") == [None]


def test_a_small_message_that_ended_connections_is_not_called_large():
    """It is refused for reasons only the broker's log knows."""
    rejected = RejectedPublications(Alerts(), Counter())
    effects = list(rejected.acked(REPORT, SET_ASIDE, at(0)))
    (alert,) = said(effects, "publication_refused")

    assert REPORT.topic in alert["message"]
    assert said(effects, "message_too_large") == []


def test_a_report_is_told_of_for_as_long_as_it_is_refused():
    """Each refusal keeps it up; when none came for a while it is over."""
    rejected = RejectedPublications(Alerts(), Counter())
    for mono_s in (0, 300, 600):
        list(rejected.acked(REPORT, SET_ASIDE, at(mono_s)))
        assert said(rejected.tick(at(mono_s + 200)), "publication_refused") == []

    assert said(rejected.tick(at(600 + ALERT_FOR_S)), "publication_refused") == [None]
    assert rejected.deadline_s() is None
