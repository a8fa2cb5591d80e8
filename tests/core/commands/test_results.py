import json
from datetime import timedelta

import pytest

from bridge.core.commands.results import CommandResult, refuse_message, result_messages
from bridge.core.commands.validation import ReplyTo
from bridge.core.effects import LogEntry
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from bridge.errors import CommandRefused
from tests.conftest import NOON

TOPICS = Topics("charger")
NOW = Timestamp(NOON, 0.0)


def test_the_document_has_the_contracts_keys_in_order():
    """An answer is spelled exactly as published: ticks as text, times with Z, whole ms."""
    result = CommandResult(
        id="a-1",
        command="start",
        state="confirmed",
        final=True,
        received=Timestamp(NOON, 10.0),
        at=Timestamp(NOON + timedelta(seconds=0.412), 10.4123),
        http_status=202,
        ticks=639086870099692230,
    )

    assert result.document() == (
        b'{"id":"a-1","command":"start","state":"confirmed","final":true,"reason":null,'
        b'"detail":null,"http_status":202,"ticks":"639086870099692230",'
        b'"received_at":"2026-11-22T12:00:00Z","at":"2026-11-22T12:00:00.412Z","elapsed_ms":412}'
    )
    assert json.loads(result.document())


def test_both_topics_are_answered():
    """The result topic always, the Response Topic with the correlation byte for byte."""
    ask = ReplyTo("charger/reply/x", b"\x00\xff")

    assert result_messages(ask, "charger/EH123456/result/start", b"{}") == [
        Publish("charger/EH123456/result/start", b"{}", retained=False),
        Publish("charger/reply/x", b"{}", retained=False, correlation=b"\x00\xff"),
    ]


@pytest.mark.parametrize(("charger_id", "command"), [("a+b", "start"), ("EH123456", "sta#rt")])
def test_no_name_from_outside_becomes_a_topic(charger_id, command):
    """What is no topic level gets no result topic, and is not named in the log."""
    message = MqttMessage("ignored", b"PRESS", AckToken(1, 1, 1))
    refusal = CommandRefused("unknown_charger", "no charger of this name is served")
    (note,) = refuse_message(refusal, message, (charger_id, command), TOPICS, NOW)

    assert isinstance(note, LogEntry)
    named = {note.fields["charger_id"], note.fields["command"]}
    assert named in ({None, "start"}, {None, "EH123456"})


def test_a_refusal_is_answered_and_noted():
    """The caller hears the reason and a sentence; the log hears no word of the payload."""
    message = MqttMessage("ignored", b'{"id":"a","value":"sesame"}', AckToken(1, 1, 1))
    refusal = CommandRefused("invalid_value", "a switch takes true or false")
    publish, note = refuse_message(refusal, message, ("EH123456", "enabled"), TOPICS, NOW)

    assert isinstance(publish, Publish)
    answer = json.loads(publish.payload)
    assert (answer["id"], answer["state"], answer["reason"], answer["detail"]) == (
        "a",
        "refused",
        "invalid_value",
        "a switch takes true or false",
    )
    assert isinstance(note, LogEntry)
    assert "sesame" not in str(note) + str(publish.payload)
