"""Results of commands as documents."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.core.changes import CommandAnswered
from bridge.core.commands.results import read_result, refuse_message, result_document
from bridge.core.effects import LogEntry
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken
from bridge.core.records.command_result import CommandResult
from bridge.core.records.moment import Timestamp
from bridge.core.records.reply_to import ReplyTo
from bridge.core.topics import Topics
from bridge.errors import CommandRefused, DecodeError
from tests.conftest import NOON

TOPICS = Topics("charger")
NOW = Timestamp(NOON, 0.0)
RESULT = CommandResult(
    id="a-1",
    command="start",
    state="confirmed",
    final=True,
    received_at=NOON,
    at=NOON + timedelta(seconds=0.412),
    elapsed_ms=412,
    http_status=202,
    ticks=639086870099692230,
)
CENTURY = timedelta(days=36_000)
TIMES = st.timedeltas(timedelta(0), CENTURY).map(lambda age: datetime(2001, 1, 1, tzinfo=UTC) + age)
TEXTS = st.text(max_size=20)


def test_the_document_has_the_contracts_keys_in_order():
    """A result is spelled exactly as published: ticks as text, times with Z, whole ms."""
    assert result_document(RESULT) == (
        b'{"id":"a-1","command":"start","state":"confirmed","final":true,"reason":null,'
        b'"detail":null,"http_status":202,"ticks":"639086870099692230",'
        b'"received_at":"2026-11-22T12:00:00Z","at":"2026-11-22T12:00:00.412Z","elapsed_ms":412}'
    )


@given(
    st.builds(
        CommandResult,
        id=st.none() | TEXTS,
        command=TEXTS,
        state=TEXTS,
        final=st.booleans(),
        received_at=TIMES,
        at=TIMES,
        elapsed_ms=st.integers(0, 10**12),
        reason=st.none() | TEXTS,
        detail=st.none() | TEXTS,
        http_status=st.none() | st.integers(100, 599),
        ticks=st.none() | st.integers(0, 2**63),
    )
)
def test_a_stored_result_is_published_word_for_word(result):
    """Read from the store and written again it is the same document, and the same result."""
    document = result_document(result)
    assert read_result(document) == result
    assert result_document(read_result(document)) == document


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{}",
        result_document(RESULT).replace(b"639086870099692230", b"many"),
        result_document(replace(RESULT, id="x")).replace(b"2026-11-22T12:00:00Z", b"noon"),
    ],
)
def test_what_is_no_result_is_an_error(document):
    """A damaged row is found, not guessed at."""
    with pytest.raises(DecodeError):
        read_result(document)


@pytest.mark.parametrize(("charger_id", "command"), [("a+b", "start"), ("EH123456", "sta#rt")])
def test_no_name_from_outside_is_in_the_log(charger_id, command):
    """What is no topic level is told to its caller only."""
    message = MqttMessage("ignored", b"PRESS", AckToken(1, 1, 1))
    refusal = CommandRefused("unknown_charger", "no charger of this name is served")
    told, note = refuse_message(refusal, message, (charger_id, command), TOPICS, NOW)

    assert (told.charger_id, told.result.command) == (charger_id, command)
    named = {note.fields["charger_id"], note.fields["command"]}
    assert named in ({None, "start"}, {None, "EH123456"})


def test_a_refusal_is_answered_and_noted():
    """The caller hears the reason and a sentence; the log hears no word of the payload."""
    message = MqttMessage("ignored", b'{"id":"a","value":"sesame"}', AckToken(1, 1, 1))
    refusal = CommandRefused("invalid_value", "a switch takes true or false")
    told, note = refuse_message(refusal, message, ("EH123456", "enabled"), TOPICS, NOW)

    expected = CommandResult(
        id="a",
        command="enabled",
        state="refused",
        final=True,
        received_at=NOON,
        at=NOON,
        elapsed_ms=0,
        reason="invalid_value",
        detail="a switch takes true or false",
    )
    assert told == CommandAnswered("EH123456", expected, (ReplyTo(),))
    assert isinstance(note, LogEntry)
    assert "sesame" not in str(note) + str(told)
