"""Results as messages, for each caller."""

import json
from datetime import UTC, datetime

import pytest

from bridge.conventions.native.results import ResultMessages
from bridge.core.changes import CommandAnswered
from bridge.core.commands.results import result_document
from bridge.core.messages import Publish
from bridge.core.records.command_result import CommandResult
from bridge.core.records.reply_to import ReplyTo
from bridge.core.topics import Topics

ONE = "EH123456"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RESULT = CommandResult("a", "start", "confirmed", True, NOON, NOON, 412)
DOCUMENT = result_document(RESULT)
CALLER = ReplyTo("charger/reply/x", b"\x00\xff")


def messages(*callers, charger_id=ONE, result=RESULT, **more):
    """Return the messages of a result."""
    change = CommandAnswered(charger_id, result, callers, **more)
    return ResultMessages(Topics("charger")).answered(change)


def test_both_topics_are_answered():
    """The result topic always, the Response Topic with the correlation byte for byte."""
    assert messages(CALLER) == [
        Publish(f"charger/{ONE}/result/start", DOCUMENT, retained=False),
        Publish("charger/reply/x", DOCUMENT, retained=False, correlation=b"\x00\xff"),
    ]


def test_everybody_who_waits_is_told():
    """Each caller gets the result topic, and its own Response Topic."""
    result = f"charger/{ONE}/result/start"
    told = messages(ReplyTo(), CALLER)
    assert [message.topic for message in told] == [result, result, "charger/reply/x"]
    assert messages() == []


@pytest.mark.parametrize(("charger_id", "command"), [("a+b", "start"), (ONE, "sta#rt")])
def test_no_name_from_outside_becomes_a_topic(charger_id, command):
    """What is no topic level gets no result topic, and the caller its answer all the same."""
    result = CommandResult("a", command, "refused", True, NOON, NOON, 0)
    told = messages(CALLER, charger_id=charger_id, result=result)
    assert [message.topic for message in told] == ["charger/reply/x"]


def test_what_is_waited_for_has_a_number_of_its_own():
    """So the acknowledgements of all of them can be told from those of some."""
    told = messages(ReplyTo(), CALLER, tag="command:k")
    assert [(message.tag, message.parts) for message in told] == [
        ("command:k:0", 3),
        ("command:k:1", 3),
        ("command:k:2", 3),
    ]


def test_what_a_query_found_stands_behind_everything_else():
    """As ``value``, times spelled as everywhere."""
    (message,) = messages(ReplyTo(), value=[{"value": 7.4, "measured_at": NOON}])
    assert message.payload.startswith(DOCUMENT[:-1])
    assert json.loads(message.payload)["value"] == [
        {"value": 7.4, "measured_at": "2026-11-22T12:00:00Z"}
    ]
