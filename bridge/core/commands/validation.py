"""Validates MQTT messages as commands, or refuses them.

The order of the checks is the order in which a caller wants to hear of its mistakes: retained
first, because such a message will come again and again; what the payload says last.
"""

from collections.abc import Container
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from bridge.core.addressees import NOT_SERVED, SITE, Kind, kind_of
from bridge.core.easee.command_catalogue import CATALOGUE, CommandSpec, allowed
from bridge.core.easee.command_payloads import MAX_ID_LENGTH, Payload, id_in, read_payload
from bridge.core.easee.rest_requests import is_serial
from bridge.core.events import MqttMessage
from bridge.core.records.command_row import MAX_TTL_S
from bridge.core.records.moment import Timestamp
from bridge.core.records.reply_to import ReplyTo
from bridge.core.topics import SetTopic, Topics
from bridge.errors import CommandRefused
from bridge.settings import CommandSettings

MAX_CORRELATION_BYTES = 1024

# Charger, and what its caller calls the command: a text, whether it came as the payload's id or as
# Correlation Data, or bytes where Correlation Data is no such text.
IdempotencyKey = tuple[str, str | bytes]


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """A command that may be carried out.

    Attributes:
        charger_id: Whom it is for.
        spec: Its row of the catalogue.
        argument: What its row read from the payload.
        id: What the answer calls it, or None.
        name: What it is remembered by, or None when the caller gave it no name.
        ttl_s: Seconds it may wait from its arrival; 0 or less when its time is over.
        value: The payload's value: what ``argument`` can be read from again after a restart.
        digest: Hash of topic and payload.
        dated_s: Seconds until it is too late by what it says itself; None when it does not say.
        is_timeless: It says so by ``expires_at``, and no clock here can judge that.
        content: What it does: two orders of one name must not differ in this.
    """

    charger_id: str
    spec: CommandSpec[Any]
    argument: Any
    id: str | None
    name: IdempotencyKey | None
    ttl_s: float
    value: object = None
    digest: str = ""
    dated_s: float | None = None
    is_timeless: bool = False
    content: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", (self.spec.name, repr(self.argument)))


def message_digest(message: MqttMessage) -> str:
    """Hash what a redelivery has in common with the first delivery.

    Where the answer is wanted is part of it: it tells apart the same words of two callers, or of
    two calls, whose packet identifiers happen to be the same.
    """
    parts = (
        message.topic.encode(errors="replace"),
        (message.response_topic or "").encode(errors="replace"),
        (message.correlation or b"").hex().encode(),
        message.payload,
    )
    return sha256(b"\0".join(parts)).hexdigest()


def reply_to_of(message: MqttMessage, topics: Topics) -> ReplyTo:
    """Find out where the sender of a message wants the answer."""
    topic = message.response_topic
    if topic is None or not topics.may_reply_to(topic):
        return ReplyTo()
    return ReplyTo(topic, message.correlation)


def id_of(message: MqttMessage) -> str | None:
    """Return what an answer calls the command: the caller's id, or printable Correlation Data."""
    given = id_in(message.payload)
    return correlation_text(message.correlation, MAX_ID_LENGTH) if given is None else given


def correlation_text(correlation: bytes | None, longest: int) -> str | None:
    """Return Correlation Data as a text where it is one, for the ``id`` of the answer.

    Args:
        correlation: As received.
        longest: Characters; longer ones are not shown.
    """
    try:
        text = (correlation or b"").decode()
    except UnicodeDecodeError:
        return None
    return text if 0 < len(text) <= longest and text.isprintable() else None


def validate(
    message: MqttMessage,
    target: SetTopic,
    known: Container[str],
    settings: CommandSettings,
    now: Timestamp,
) -> CommandRequest:
    """Read a message to a ``set/`` topic.

    Args:
        message: As it arrived.
        target: Its topic.
        known: What is served: chargers, or everything by kind.
        settings: What is allowed.
        now: When it arrived.

    Raises:
        CommandRefused: It is not carried out.
    """
    kind = _check_addressee(message, target.charger_id, known)
    try:
        payload: Payload | CommandRefused = read_payload(message.payload)
    except CommandRefused as refusal:
        payload = refusal
        if refusal.reason == "empty_payload":
            raise
    spec = CATALOGUE.get(target.command)
    if spec is None:
        raise CommandRefused("unknown_command", "the topic reference lists the commands")
    if kind not in spec.of:
        raise CommandRefused(
            "unknown_command", f"{spec.name} is a command of: {', '.join(sorted(spec.of))}"
        )
    if not allowed(spec, settings.allow):
        raise CommandRefused(
            "not_allowed", f"commands.allow names neither {spec.name} nor {spec.group}"
        )
    if isinstance(payload, CommandRefused):
        raise payload
    if len(message.correlation or b"") > MAX_CORRELATION_BYTES:
        raise CommandRefused(
            "invalid_value", f"Correlation Data has at most {MAX_CORRELATION_BYTES} bytes"
        )
    argument = spec.read(payload.value, settings.max_current_a)
    dates = _dates(payload, message, now)
    name: IdempotencyKey | None = None
    if payload.id is not None:
        name = target.charger_id, payload.id
    elif message.correlation:
        name = key_from_correlation(target.charger_id, message.correlation)
    return CommandRequest(
        target.charger_id,
        spec,
        argument,
        name[1] if name is not None and isinstance(name[1], str) else None,
        name,
        _ttl_s(payload, dates, settings),
        payload.value,
        message_digest(message),
        min(dates, default=None),
        payload.expires_at is not None and not now.trusted,
    )


def _check_addressee(message: MqttMessage, name: str, known: Container[str]) -> Kind:
    if message.retained:
        raise CommandRefused("retained", "a command is never retained: publish without retain")
    kind = kind_of(known, name)
    if kind is None or not (is_serial(name) or kind == SITE):
        raise CommandRefused("unknown_charger", NOT_SERVED)
    return kind


def key_from_correlation(charger_id: str, correlation: bytes) -> IdempotencyKey | None:
    """Return what Correlation Data names: the same as a payload's id, where it is such a text.

    None where there is no data.

    Args:
        charger_id: Whose command.
        correlation: As received; what is too long to be an id is known by its hash.
    """
    if not correlation:
        return None
    text = correlation_text(correlation, MAX_ID_LENGTH)
    if text is not None:
        return charger_id, text
    is_long = len(correlation) > MAX_ID_LENGTH
    return charger_id, sha256(correlation).digest() if is_long else correlation


def _ttl_s(payload: Payload, dates: list[float], settings: CommandSettings) -> float:
    """Return how long a command lives: the shortest limit given, or else the configured time.

    A wall clock that cannot be believed cannot judge ``expires_at``: it is ignored then.
    """
    expiries = dates if payload.ttl_s is None else [*dates, payload.ttl_s]
    return min(MAX_TTL_S, *(expiries or [settings.ttl_s]))


def _dates(payload: Payload, message: MqttMessage, now: Timestamp) -> list[float]:
    """Return how long it has by what counts from its sending, which ``ttl_s`` does not."""
    dates = [] if message.expiry_s is None else [float(message.expiry_s)]
    if payload.expires_at is not None and now.trusted:
        dates.append((payload.expires_at - now.wall).total_seconds())
    return dates
