import json

import pytest

from bridge.core.commands.reply_to import ReplyTo
from bridge.core.commands.result_messages import build_result, publish_result, refuse_message
from bridge.core.commands.state_machine import Command, Transition
from bridge.core.commands.validation import CommandRequest
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.rest_responses import CommandReference
from bridge.core.effects import LogEntry
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics
from bridge.errors import CommandRefused
from tests.conftest import NOON

TOPICS = Topics("charger")
NOW = Timestamp(NOON, 0.0)


def _command(*steps):
    request = CommandRequest("EH123456", CATALOGUE["authorization_required"], True, "a", None, 60.0)
    command = Command(request, NOW, 60.0, [ReplyTo(), ReplyTo("charger/reply/x", b"c")])
    for step in steps:
        command.apply(step)
    return command


@pytest.mark.parametrize(
    ("steps", "given", "shown"),
    [
        (
            (Transition.QUEUE, Transition.PICK, Transition.SEND, Transition.TAKE),
            None,
            "local_pre_authorize_enabled becomes false",
        ),
        ((Transition.QUEUE, Transition.LATE), None, "its time ran out"),
        (
            (Transition.QUEUE, Transition.PICK, Transition.SEND, Transition.DENY),
            "the cloud said no",
            "the cloud said no",
        ),
        (
            (Transition.QUEUE, Transition.PICK, Transition.SEND, Transition.DENY),
            "x" * 1000,
            "x" * 200,
        ),
    ],
)
def test_the_detail_is_what_helps_most(steps, given, shown):
    """What is known of this failure comes first, then what the state means, then side effects."""
    detail = build_result(_command(*steps), NOW, detail=given).detail

    assert detail.startswith(shown)
    assert len(detail) <= 200


def test_a_caveat_is_part_of_every_answer():
    """What a caller must know of this command is told with whatever else is to be said."""
    command = _command(Transition.QUEUE, Transition.LATE)
    command.caveat = "the journal could not be written"

    assert build_result(command, NOW).detail == (
        "its time ran out before it could be sent; the journal could not be written"
    )


def test_a_reply_names_the_first_ticket_that_has_ticks():
    """The answer carries the vendor's name for the command."""
    command = _command(Transition.QUEUE, Transition.PICK, Transition.SEND, Transition.TAKE)
    command.tickets = (CommandReference("", 42, None), CommandReference("", 42, 7))

    result = build_result(command, NOW)

    assert (result.ticks, result.final, result.state) == (7, False, "accepted")


def test_everybody_who_waits_is_told():
    """Each asking gets the result topic, and its own Response Topic."""
    topics = [publish.topic for publish in publish_result(_command(), TOPICS, b"{}")]

    result = "charger/EH123456/result/authorization_required"
    assert topics == [result, result, "charger/reply/x"]


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
