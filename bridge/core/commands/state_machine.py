"""The life of a command: one table, and the record that moves through it.

Rules:

1. Every change of state is a row of :data:`TRANSITIONS`. A step that is not in the table is a
   mistake in this program and raises ``KeyError``.
2. A state without a row is final. A command gets there once, so it has one final answer.
3. There is no way from :data:`State.IN_DOUBT` back to :data:`State.WAITING`: what may have been
   carried out is never sent again.
4. :data:`State.LEAVING` is committed before the request goes out. A row that says so after a
   restart may have been carried out, and is therefore in doubt.

The diagram in ``docs/commands.md`` is drawn from the table.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.core.commands.reply_to import ReplyTo
from bridge.core.commands.validation import CommandRequest
from bridge.core.easee.command_catalogue import CommandSpec
from bridge.core.easee.rest_responses import CommandReference
from bridge.core.messages import AckToken
from bridge.core.records.moment import Timestamp


class State(enum.Enum):
    """Where a command is. Those with an answer have the contract's word as value."""

    RECEIVED = "received"
    WAITING = "waiting"
    LEAVING = "leaving"
    SENT = "sent"
    IN_DOUBT = "in_doubt"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    NOOP = "noop"
    REJECTED = "rejected"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    UNCONFIRMED = "unconfirmed"
    UNKNOWN = "unknown"


class Transition(enum.Enum):
    """What happens to a command."""

    REFUSE = "the bridge says no"
    QUEUE = "the bridge takes it"
    LATE = "its time runs out"
    REPLACE = "a newer one takes its place"
    PICK = "its turn comes"
    SEND = "that is on disk, and the request goes out"
    RETRY = "nothing happened; there is time for another attempt"
    TAKE = "the cloud takes it"
    SKIP = "there is nothing to change"
    DENY = "the cloud says no"
    LOSE = "no answer comes from the cloud"
    CONFIRM = "the charger has it"
    REJECT = "the charger says no"
    TIMEOUT = "30 s pass"
    RESTART = "the bridge starts again"


TRANSITIONS: Final[Mapping[State, Mapping[Transition, State]]] = {
    State.RECEIVED: {
        Transition.REFUSE: State.REFUSED,
        Transition.QUEUE: State.WAITING,
        Transition.LATE: State.EXPIRED,
    },
    State.WAITING: {
        Transition.PICK: State.LEAVING,
        Transition.SKIP: State.NOOP,
        Transition.REFUSE: State.REFUSED,
        Transition.LATE: State.EXPIRED,
        Transition.REPLACE: State.SUPERSEDED,
        Transition.DENY: State.FAILED,
        Transition.RESTART: State.WAITING,
    },
    State.LEAVING: {
        Transition.SEND: State.SENT,
        Transition.REFUSE: State.REFUSED,
        Transition.LATE: State.EXPIRED,
        Transition.RESTART: State.IN_DOUBT,
    },
    State.SENT: {
        Transition.TAKE: State.ACCEPTED,
        Transition.SKIP: State.NOOP,
        Transition.CONFIRM: State.CONFIRMED,
        Transition.DENY: State.FAILED,
        Transition.RETRY: State.WAITING,
        Transition.LATE: State.EXPIRED,
        Transition.LOSE: State.IN_DOUBT,
        Transition.RESTART: State.IN_DOUBT,
    },
    State.ACCEPTED: {
        Transition.CONFIRM: State.CONFIRMED,
        Transition.REJECT: State.REJECTED,
        Transition.TIMEOUT: State.UNCONFIRMED,
        Transition.RESTART: State.ACCEPTED,
    },
    State.IN_DOUBT: {
        Transition.CONFIRM: State.CONFIRMED,
        Transition.REJECT: State.REJECTED,
        Transition.TIMEOUT: State.UNKNOWN,
        Transition.RESTART: State.IN_DOUBT,
    },
}

FINAL: Final = frozenset(State) - TRANSITIONS.keys()
# The charger may answer a command in these.
IN_PROGRESS: Final = frozenset({State.SENT, State.ACCEPTED, State.IN_DOUBT})
# It keeps the chargers it concerns to itself in these.
BLOCKING: Final = frozenset({State.LEAVING, State.SENT})


@dataclass(slots=True, eq=False)
class Command:
    """One command on its way.

    Attributes:
        request: What is to be done.
        received: When it arrived.
        expires_s: Monotonic time after which it is not sent.
        waiters: Who waits for the answer: one entry for every time it was asked for.
        key: Of its row in the store.
        seq: Its place in the order of arrival.
        message_id: Packet identifier it arrived with: a redelivery carries the same one.
        ack_tokens: Messages to acknowledge, each once that version is on disk.
        state: Where it is.
        due_s: Monotonic time at which something is to be done about it.
        not_before_s: Monotonic time before which it is not tried again.
        attempts: How often it was tried, lookups included.
        sent: When it was sent last, or None.
        settled_s: Monotonic time of the final answer.
        http_status: Of the newest answer from the cloud, or None.
        devices: Chargers it concerns: all of the circuit for a circuit's limit.
        tickets: What the cloud gave for it.
        answered: Indices of tickets the charger has answered.
        seen: Reflecting observations so far, as (alternative, observation id).
        is_reflected: An alternative is complete.
        look_at_s: Monotonic time at which the cloud is asked what became of it.
        looks: How often that was done.
        wrote_flash: It was sent and wears the charger's flash memory.
        version: Raised by every change that belongs on disk.
        durable: The newest version that is on disk; 0 for none.
        caveat: A sentence every answer carries, or None.
        answer: Document of the final answer; empty while there is none.
        is_told: Everybody who waited has the final answer, as far as the broker says.
        is_published: The final answer was handed over.
    """

    request: CommandRequest
    received: Timestamp
    expires_s: float
    waiters: list[ReplyTo]
    key: str = ""
    seq: int = 0
    message_id: int = 0
    ack_tokens: list[tuple[int, AckToken]] = field(default_factory=list)
    state: State = State.RECEIVED
    due_s: float = math.inf
    not_before_s: float = 0.0
    attempts: int = 0
    sent: Timestamp | None = None
    settled_s: float = math.inf
    http_status: int | None = None
    devices: frozenset[str] = frozenset()
    tickets: tuple[CommandReference, ...] = ()
    answered: set[int] = field(default_factory=set)
    seen: set[tuple[int, int]] = field(default_factory=set)
    is_reflected: bool = False
    look_at_s: float = math.inf
    looks: int = 0
    wrote_flash: bool = False
    version: int = 0
    durable: int = 0
    caveat: str | None = None
    answer: bytes = b""
    is_told: bool = False
    is_published: bool = False

    @property
    def charger_id(self) -> str:
        """Whom it is for."""
        return self.request.charger_id

    @property
    def spec(self) -> CommandSpec[Any]:
        """Its row of the catalogue."""
        return self.request.spec

    @property
    def argument(self) -> Any:
        """What its row read from the payload."""
        return self.request.argument

    def apply(self, transition: Transition) -> None:
        """Move on; raise ``KeyError`` where the table has no such step."""
        self.state = TRANSITIONS[self.state][transition]

    def mark_sent(self, now: Timestamp, devices: frozenset[str]) -> None:
        """Be sent: what an earlier attempt seemed to show counts no more."""
        self.apply(Transition.SEND)
        self.sent = now
        self.due_s = math.inf
        self.devices = devices
        self.seen.clear()
        self.is_reflected = False
