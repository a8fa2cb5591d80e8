"""The answer to a command: its document, and where it goes.

Rules:

1. An answer goes to the fixed result topic (for MQTT 3.1.1 callers), and to the caller's Response
   Topic where that is one we may publish to.
2. Correlation Data goes back byte for byte, on the Response Topic.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from bridge.core.commands.reply_to import ReplyTo
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics, is_topic_level
from bridge.core.value_format import iso_utc


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
                "elapsed_ms": self.elapsed_ms,
            }
        )


def result_messages(
    reply_to: ReplyTo, topics: Topics, charger_id: str, command: str, document: bytes
) -> Iterator[Publish]:
    """Yield the publications of one answer to one asker.

    The names come from outside where a command was refused; what is no topic level gets no result
    topic.
    """
    if is_topic_level(charger_id) and is_topic_level(command):
        yield Publish(topics.result(charger_id, command), document, retained=False)
    if reply_to.response_topic is not None:
        yield Publish(
            reply_to.response_topic, document, retained=False, correlation=reply_to.correlation
        )
