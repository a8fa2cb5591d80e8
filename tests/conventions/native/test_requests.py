"""Requests of other conventions as native messages."""

import json
from datetime import UTC, datetime

import pytest

from bridge.conventions.native.requests import native_message
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken
from bridge.core.requests import IncomingCommand, IncomingQuery, ReplayRequest, ReportAck
from bridge.core.topics import Topics

TOPICS = Topics("home/charger")
MESSAGE = MqttMessage(
    "plant/EH1/do",
    b"charge",
    AckToken(1, 7, 1, "plant"),
    retained=True,
    duplicate=True,
    expiry_s=30,
    response_topic="plant/answers",
    correlation=b"c",
)


@pytest.mark.parametrize(
    ("request_", "topic"),
    [
        (IncomingCommand("EH1", "start", b"PRESS"), "home/charger/EH1/set/start"),
        (IncomingQuery("EH1", "sessions", b"PRESS"), "home/charger/EH1/get/sessions"),
    ],
)
def test_what_is_asked_of_a_charger_keeps_how_it_arrived(request_, topic):
    """Topic and payload are the native ones, everything else is as it was."""
    native = native_message(request_, MESSAGE, TOPICS)
    assert (native.topic, native.payload) == (topic, b"PRESS")
    assert native == MqttMessage(
        topic,
        b"PRESS",
        MESSAGE.ack_token,
        retained=True,
        duplicate=True,
        expiry_s=30,
        response_topic="plant/answers",
        correlation=b"c",
    )


@pytest.mark.parametrize(
    ("request_", "topic", "document"),
    [
        (ReportAck("k"), TOPICS.session_ack, {"key": "k"}),
        (ReportAck("k", 2), TOPICS.session_ack, {"key": "k", "revision": 2}),
        (ReplayRequest(), TOPICS.session_replay, {}),
        (
            ReplayRequest(datetime(2026, 11, 22, tzinfo=UTC), "EH1"),
            TOPICS.session_replay,
            {"since": "2026-11-22T00:00:00Z", "charger": "EH1"},
        ),
    ],
)
def test_what_a_consumer_says_becomes_its_document(request_, topic, document):
    """What it did not say is not in it."""
    native = native_message(request_, MESSAGE, TOPICS)
    assert (native.topic, json.loads(native.payload)) == (topic, document)
