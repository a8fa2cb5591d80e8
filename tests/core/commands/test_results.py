import json
from datetime import timedelta

import pytest

from bridge.core.commands.reply_to import ReplyTo
from bridge.core.commands.results import CommandResult, result_messages
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from tests.conftest import NOON

TOPICS = Topics("charger")


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
    reply_to = ReplyTo("charger/reply/x", b"\x00\xff")

    assert list(result_messages(reply_to, TOPICS, "EH123456", "start", b"{}")) == [
        Publish("charger/EH123456/result/start", b"{}", retained=False),
        Publish("charger/reply/x", b"{}", retained=False, correlation=b"\x00\xff"),
    ]


@pytest.mark.parametrize(("charger_id", "command"), [("a+b", "start"), ("EH123456", "sta#rt")])
def test_no_name_from_outside_becomes_a_topic(charger_id, command):
    """What is no topic level gets no result topic."""
    assert not list(result_messages(ReplyTo(), TOPICS, charger_id, command, b"{}"))
