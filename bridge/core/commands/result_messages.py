"""What is said to those who wait for a command."""

from collections.abc import Iterator
from typing import Final

from bridge.core.commands.results import CommandResult, result_messages
from bridge.core.commands.state_machine import FINAL, Command, State
from bridge.core.commands.validation import id_of, reply_to_of
from bridge.core.effects import Effect, LogEntry
from bridge.core.events import MqttMessage
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics, is_topic_level
from bridge.errors import CommandRefused

MAX_DETAIL_LENGTH = 200

DETAILS: Final = {
    State.EXPIRED: "its time ran out before it could be sent",
    State.NOOP: "there was nothing to change",
    State.UNCONFIRMED: "the cloud took it, and the charger did not answer in 30 s",
    State.UNKNOWN: "it was sent, no answer came, and the charger did not show it in 30 s",
}


def build_result(
    command: Command, now: Timestamp, reason: str | None = None, detail: str | None = None
) -> CommandResult:
    """Say where a command is.

    Args:
        command: It.
        now: When it got there.
        reason: Why not, or None.
        detail: A sentence; without one the state's, or what the command does besides.
    """
    said = detail or DETAILS.get(command.state) or command.spec.side_effects(command.argument)
    sentence = "; ".join(part for part in (said, command.caveat) if part) or None
    return CommandResult(
        id=command.request.id,
        command=command.spec.name,
        state=command.state.value,
        final=command.state in FINAL,
        reason=reason,
        detail=sentence and sentence[:MAX_DETAIL_LENGTH],
        http_status=command.http_status,
        ticks=next((t.ticks for t in command.tickets if t.ticks), None),
        received=command.received,
        at=now,
    )


def publish_result(command: Command, topics: Topics, document: bytes) -> Iterator[Publish]:
    """Answer everybody who waits for a command."""
    for reply_to in command.waiters:
        yield from result_messages(
            reply_to, topics, command.charger_id, command.spec.name, document
        )


def refuse_message(
    refusal: CommandRefused,
    message: MqttMessage,
    whom: tuple[str, str],
    topics: Topics,
    now: Timestamp,
) -> Iterator[Effect]:
    """Answer a message that no command was made of.

    Args:
        refusal: Why.
        message: As it arrived.
        whom: Charger and command (or query) as its topic names them; anything may stand there.
        topics: Names.
        now: When it arrived.
    """
    charger_id, name = whom
    result = CommandResult(
        id=id_of(message),
        command=name,
        state=State.REFUSED.value,
        final=True,
        reason=refusal.reason,
        detail=refusal.detail,
        received=now,
        at=now,
    )
    yield from result_messages(
        reply_to_of(message, topics), topics, charger_id, name, result.document()
    )
    facts = {
        "charger_id": charger_id if is_topic_level(charger_id) else None,
        "command": name if is_topic_level(name) else None,
        "reason": refusal.reason,
    }
    yield LogEntry("info", "command.refused", facts)
