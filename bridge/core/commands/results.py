"""The answer to a command: its document, and where it goes.

Rules:

1. An answer goes to the fixed result topic (for MQTT 3.1.1 callers), and to the caller's Response
   Topic where that is one we may publish to.
2. Correlation Data goes back byte for byte, on the Response Topic.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from bridge.core.commands.state_machine import State
from bridge.core.commands.validation import ReplyTo, id_of, reply_to_of
from bridge.core.effects import Effect, LogEntry
from bridge.core.events import MqttMessage
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics, is_topic_level
from bridge.core.value_format import iso_utc
from bridge.errors import CommandRefused


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What is said about a command.

    Attributes:
        id: The caller's name for it, or None.
        command: Name of the command or query.
        state: A word of the contract.
        final: No other answer follows.
        received: When the command arrived.
        at: When this was found out.
        reason: A snake_case word for why not, or None.
        detail: A sentence for people, or None.
        http_status: Status of the cloud's answer, or None.
        ticks: The vendor's name for the command, or None. Text in the document: over 2**53.
    """

    id: str | None
    command: str
    state: str
    final: bool
    received: Timestamp
    at: Timestamp
    reason: str | None = None
    detail: str | None = None
    http_status: int | None = None
    ticks: int | None = None

    @property
    def elapsed_ms(self) -> int:
        """How long the caller has waited."""
        return round(1000 * (self.at.mono_s - self.received.mono_s))

    def document(self) -> bytes:
        """Spell it as JSON, keys in the contract's order."""
        elapsed_ms = self.elapsed_ms
        return msgspec.json.encode(
            {
                "id": self.id,
                "command": self.command,
                "state": self.state,
                "final": self.final,
                "reason": self.reason,
                "detail": self.detail,
                "http_status": self.http_status,
                "ticks": None if self.ticks is None else str(self.ticks),
                "received_at": iso_utc(self.received.wall),
                "at": iso_utc(self.at.wall),
                "elapsed_ms": elapsed_ms,
            }
        )


def result_messages(reply_to: ReplyTo, topic: str | None, document: bytes) -> list[Publish]:
    """Return the publications of one answer.

    Args:
        reply_to: Where else it goes.
        topic: The fixed result topic, or None where there is none.
        document: The answer.
    """
    messages = [] if topic is None else [Publish(topic, document, retained=False)]
    if reply_to.response_topic is not None:
        messages.append(
            Publish(
                reply_to.response_topic, document, retained=False, correlation=reply_to.correlation
            )
        )
    return messages


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
        reply_to_of(message, topics), _topic(topics, *whom), result.document()
    )
    facts = {
        "charger_id": charger_id if is_topic_level(charger_id) else None,
        "command": name if is_topic_level(name) else None,
        "reason": refusal.reason,
    }
    yield LogEntry("info", "command.refused", facts)


def _topic(topics: Topics, charger_id: str, name: str) -> str | None:
    """Return the result topic of names from outside; None where one is no topic level."""
    is_topic = is_topic_level(charger_id) and is_topic_level(name)
    return topics.result(charger_id, name) if is_topic else None
