"""The result of a command as a document, stored and published."""

from collections.abc import Iterator

import msgspec

from bridge.core.changes import CommandAnswered
from bridge.core.commands.state_machine import State
from bridge.core.commands.validation import id_of, reply_to_of
from bridge.core.effects import Effect, LogEntry
from bridge.core.events import MqttMessage
from bridge.core.records.command_result import CommandResult
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics, is_addressee, is_topic_level
from bridge.core.value_format import iso_utc, read_utc
from bridge.errors import CommandRefused, DecodeError


class _Document(msgspec.Struct):
    """A result as JSON, keys in the contract's order."""

    id: str | None
    command: str
    state: str
    final: bool
    reason: str | None
    detail: str | None
    http_status: int | None
    ticks: str | None  # over 2**53
    received_at: str
    at: str
    elapsed_ms: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Document).decode


def result_document(result: CommandResult) -> bytes:
    """Write a result."""
    return _encode(
        _Document(
            result.id,
            result.command,
            result.state,
            result.final,
            result.reason,
            result.detail,
            result.http_status,
            None if result.ticks is None else str(result.ticks),
            iso_utc(result.received_at),
            iso_utc(result.at),
            result.elapsed_ms,
        )
    )


def read_result(document: bytes) -> CommandResult:
    """Read a result that was stored; written again it is the same document.

    Raises:
        DecodeError: It is none.
    """
    try:
        found = _decode(document)
        ticks = None if found.ticks is None else int(found.ticks)
    except (msgspec.MsgspecError, ValueError) as exc:
        raise DecodeError("not the document of a result", source="result", raw=document) from exc
    return CommandResult(
        id=found.id,
        command=found.command,
        state=found.state,
        final=found.final,
        received_at=read_utc(found.received_at),
        at=read_utc(found.at),
        elapsed_ms=found.elapsed_ms,
        reason=found.reason,
        detail=found.detail,
        http_status=found.http_status,
        ticks=ticks,
    )


def sentence_of(document: bytes) -> str:
    """Return the document of a result as a sentence without its end.

    Raises:
        DecodeError: It is none.
    """
    found = read_result(document)
    reason = "" if found.reason is None else f" ({found.reason})"
    detail = "" if found.detail is None else f": {found.detail}"
    status = "" if found.http_status is None else f", by HTTP status {found.http_status}"
    at = f", at {iso_utc(found.at)}, {found.elapsed_ms / 1000:g} s after it arrived"
    return f"{found.state}{reason}{status}{at}{detail}"


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
        received_at=now.wall,
        at=now.wall,
        elapsed_ms=0,
    )
    yield CommandAnswered(charger_id, result, (reply_to_of(message, topics),))
    facts = {
        "charger_id": charger_id if is_addressee(charger_id) else None,
        "command": name if is_topic_level(name) else None,
        "reason": refusal.reason,
    }
    yield LogEntry("info", "command.refused", facts)
