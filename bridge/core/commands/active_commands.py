"""The records of commands, and the registry that owns them until the final answer is acknowledged.

A record is found by what came in: a command that waits by its charger, a repetition by its name, a
message that is delivered again by its packet identifier, the store's answer by the key of the row,
an acknowledgement by its tag. Its state is changed by the registry, by the table in
:mod:`bridge.core.commands.state_machine`.

Rules:

1. A final answer is committed before it is published. So a restart knows which answer was given,
   and never gives another one.
2. A final answer is published until the broker acknowledged every publication of it. After a
   restart it is published again, word for word.
3. Where the store fails, the answer is published all the same, once.
4. A queue is first come, first served. Nothing overtakes, a retry least of all.
5. What concerns all chargers of a circuit waits in the queues of all of them, in order of arrival,
   and is ready when it is the first in each.
6. Queues take turns. A full one delays no other.
7. Each queue and all of them together are bounded; beyond that the answer is ``busy``. Some places
   are reserved for what can only stop a charge.
8. The same name twice is one command. Names are remembered for a day, and 10,000 at most. A name
   belongs to one charger: callers count their correlation data from 1, and two chargers' first
   commands are not one.
9. What was refused is not remembered: nothing was done, and the next time the answer may be yes.
10. A message that the broker delivers again (DUP) with the packet identifier, topic, payload and
    wish for an answer of one we have is that one. Without a session at the broker nothing is
    delivered again, and packet identifiers start anew: then all of them are forgotten.
11. A command that the gateway issues itself has nobody to answer. A step of a command of several
    steps has the place of that command in the order of arrival, and while those steps last nothing
    else is sent to their charger.
12. A redelivered message unknown to this process was an earlier process's. That is kept, for
    the store may be opened later and bring what that process made of it.
"""

import math
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import Any, Final

import msgspec

from bridge.core.changes import CommandAnswered
from bridge.core.commands.results import read_result, result_document, sentence_of
from bridge.core.commands.shown_state import ShownState
from bridge.core.commands.state_machine import FINAL, NAME, TRANSITIONS, State, Transition
from bridge.core.commands.validation import CommandRequest, IdempotencyKey, message_digest
from bridge.core.domain_events import CommandFinished, Output
from bridge.core.easee.command_catalogue import (
    CATALOGUE,
    REFLECTING_IDS,
    CommandSpec,
    CommandTarget,
)
from bridge.core.easee.rest_requests import CloudRequest
from bridge.core.easee.rest_responses import CommandReference
from bridge.core.effects import Acknowledge, LogEntry
from bridge.core.events import ChargerResponse, MqttMessage
from bridge.core.messages import AckToken, Publish
from bridge.core.records.command_result import CommandResult
from bridge.core.records.command_row import SESSION_S
from bridge.core.records.moment import Timestamp
from bridge.core.records.reply_to import ReplyTo
from bridge.core.value_format import iso_utc, shortened
from bridge.errors import CommandRefused

# A normal round trip is below a second, 10 s were too short for evcc (#10780); the contract's 30 s.
CONFIRM_TIMEOUT_S = 30.0
MAX_RECENTLY_FINISHED = 64
MAX_WAITING_PER_CHARGER = 20
MAX_WAITING = 200
RESERVED_PER_CHARGER = 4
RESERVED = 20
TAG = "command:"
ARRIVAL = attrgetter("seq")

CACHE_TTL_S = 24 * 3600.0
CACHE_SIZE = 10_000
# As long as the session at the broker; the rest is for a connection that died unnoticed.
REDELIVERY_WINDOW_S = SESSION_S + 300.0
MAX_SEEN_MESSAGES = 2_000
MAX_DETAIL_LENGTH = 200
# What was allowed once may be over the limit by now, and what the gateway sends was allowed before.
ANY_CURRENT_A = 1_000_000

DETAILS: Final = {
    State.EXPIRED: "its time ran out before it could be sent",
    State.NOOP: "nothing to change",
    State.UNCONFIRMED: "accepted by the cloud, but no response of the charger within 30 s",
    State.UNKNOWN: "it was sent, no answer came, and the charger did not show it in 30 s",
}


@dataclass(slots=True, eq=False)
class Command:
    """One command.

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
        finished_s: Monotonic time of the final state.
        http_status: Of the newest answer from the cloud, or None.
        devices: Chargers it concerns: all of the circuit for a circuit's limit.
        queues: Chargers in whose queue it waits.
        tickets: What the cloud gave for it.
        answered: Indices of tickets the charger has answered.
        early: Responses that came before the cloud's answer and may be to this command.
        seen: Reflecting observations so far, as (alternative, observation id).
        is_reflected: An alternative is complete.
        look_at_s: Monotonic time at which the cloud is asked what became of it.
        looks: How often that was done.
        wrote_flash: It was sent and wears the charger's flash memory.
        version: Raised by every change that belongs on disk.
        durable: The newest version that is on disk; 0 for none.
        writing: The version that is being written; 0 for none.
        write_due_s: Monotonic time at which that write counts as failed; never, once it did.
        write_failed: The newest version that counts as failed with that write; 0 for none.
        caveat: A sentence every answer carries, or None.
        answer: Document of the final answer; empty while there is none.
        outcome: The final answer; None while there is none, and where an earlier process gave it.
        is_published: The final answer was handed over.
        acknowledged: Tags of the publications of the final answer that the broker acknowledged.
        is_told: It has acknowledged all of them.
        parent: The command it is a step of, or None.
        origin: Why the gateway issued it itself: the key of ``parent``, or a word; empty where it
            was asked for.
        progress: The newest step that was carried out, as a sentence.
        target: Where it goes, as far as that is known.
        cloud_request: What is sent; set when its turn comes.
        charger_id: Whom it is for.
        spec: Its row of the catalogue.
        argument: What its row read from the payload.
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
    finished_s: float = math.inf
    http_status: int | None = None
    devices: frozenset[str] = frozenset()
    queues: frozenset[str] = frozenset()
    tickets: tuple[CommandReference, ...] = ()
    answered: set[int] = field(default_factory=set)
    early: list[ChargerResponse] = field(default_factory=list)
    seen: set[tuple[int, int]] = field(default_factory=set)
    is_reflected: bool = False
    look_at_s: float = math.inf
    looks: int = 0
    wrote_flash: bool = False
    version: int = 0
    durable: int = 0
    writing: int = 0
    write_due_s: float = math.inf
    write_failed: int = 0
    caveat: str | None = None
    answer: bytes = b""
    outcome: CommandResult | None = None
    is_published: bool = False
    acknowledged: set[str] = field(default_factory=set)
    is_told: bool = False
    parent: "Command | None" = None
    origin: str = ""
    progress: str = ""
    target: CommandTarget = field(init=False)
    cloud_request: CloudRequest = field(init=False, repr=False)
    charger_id: str = field(init=False)
    spec: CommandSpec[Any] = field(init=False)
    argument: Any = field(init=False)

    def __post_init__(self) -> None:
        request = self.request
        self.charger_id, self.spec, self.argument = (
            request.charger_id,
            request.spec,
            request.argument,
        )
        self.target = CommandTarget(request.charger_id)

    def apply(self, transition: Transition) -> None:
        """Move on; raise ``KeyError`` where the table has no such step."""
        self.state = TRANSITIONS[self.state][transition]

    def mark_sent(self, now: Timestamp) -> None:
        """Mark the command as sent; observations before this do not count."""
        self.state = TRANSITIONS[self.state][Transition.SEND]
        self.sent = now
        self.due_s = math.inf
        self.seen.clear()
        self.is_reflected = False

    def result(
        self, now: Timestamp, reason: str | None = None, detail: str | None = None
    ) -> CommandResult:
        """Return the result for the command's current state.

        Args:
            now: When it got there.
            reason: Why not, or None.
            detail: A sentence; without one the state's, or what the command does besides.
        """
        state = State.ACCEPTED if self.state is State.RUNNING else self.state
        said = detail or DETAILS.get(state)
        if not said and self.spec.side_effects is not None:
            said = self.spec.side_effects(self.argument)
        if self.caveat:
            said = f"{said}; {self.caveat}" if said else self.caveat
        ticks = None
        for ticket in self.tickets:
            ticks = ticks or ticket.ticks
        return CommandResult(
            id=self.request.id,
            command=self.spec.name,
            state=state.value,
            final=state in FINAL,
            reason=reason,
            detail=shortened(said, MAX_DETAIL_LENGTH) if said else None,
            http_status=self.http_status,
            ticks=ticks or None,
            received_at=self.received.wall,
            at=now.wall,
            elapsed_ms=round(1000 * (now.mono_s - self.received.mono_s)),
        )


class KnownCommand(msgspec.Struct):
    """What became of a named command.

    Attributes:
        command: The command while it runs, then None.
        content: Command and argument: the same name with another content is a conflict.
        answer: The final answer's document; empty while it runs.
        since_s: Monotonic time of its arrival.
    """

    command: Command | None
    content: tuple[str, str]
    since_s: float
    answer: bytes = b""


class IdempotencyCache:
    """Known commands by name, oldest first."""

    def __init__(self) -> None:
        self._known: OrderedDict[IdempotencyKey, KnownCommand] = OrderedDict()

    def find(self, name: IdempotencyKey, mono_s: float) -> KnownCommand | None:
        """Return what became of a command of this name, or None when it is new."""
        while self._known and next(iter(self._known.values())).since_s < mono_s - CACHE_TTL_S:
            self._known.popitem(last=False)
        return self._known.get(name)

    def begin(self, name: IdempotencyKey, command: Command) -> None:
        """Record an admitted command."""
        self._put(name, KnownCommand(command, command.request.content, command.received.mono_s))

    def restore(
        self, name: IdempotencyKey | None, content: tuple[str, str], since_s: float, answer: bytes
    ) -> None:
        """Restore a command of an earlier process that has its final result."""
        if name is not None:
            self._put(name, KnownCommand(None, content, since_s, answer))

    def complete(self, name: IdempotencyKey, command: Command, answer: bytes) -> None:
        """Store the final result and drop the rest; drop refused commands."""
        known = self._known.get(name)
        if known is None or known.command is not command:
            return
        if command.state is State.REFUSED:
            del self._known[name]
        else:
            known.command = None
            known.answer = answer

    def _put(self, name: IdempotencyKey, known: KnownCommand) -> None:
        self._known[name] = known
        if len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)


class SeenMessage(msgspec.Struct, frozen=True):
    """A message that was taken.

    Attributes:
        command: What was made of it; None after a restart, when its end is known.
        since_s: Monotonic time of its arrival.
    """

    command: Command | None
    since_s: float


class RedeliveryFilter:
    """Messages that the broker may deliver again."""

    def __init__(self) -> None:
        self._taken: OrderedDict[tuple[str, int], SeenMessage] = OrderedDict()
        self._inherited: OrderedDict[tuple[str, int], None] = OrderedDict()

    def find(self, message: MqttMessage, mono_s: float) -> SeenMessage | None:
        """Return the first delivery of a message that is marked as delivered again, or None."""
        if message.retained or not message.ack_token.message_id:
            return None
        key = message_digest(message), message.ack_token.message_id
        found = self._taken.get(key)
        if found is not None and mono_s - found.since_s < REDELIVERY_WINDOW_S:
            return found
        self._inherited[key] = None
        if len(self._inherited) > MAX_SEEN_MESSAGES:
            self._inherited.popitem(last=False)
        return None

    def of_earlier_process(self, digest: str, message_id: int) -> SeenMessage | None:
        """Return what this process made of a message that an earlier one had, or None."""
        key = digest, message_id
        return self._taken.get(key) if key in self._inherited else None

    def add(self, digest: str, message_id: int, command: Command | None, since_s: float) -> None:
        """Record an admitted message."""
        if not message_id:
            return
        self._taken[digest, message_id] = SeenMessage(command, since_s)
        self._taken.move_to_end((digest, message_id))
        if len(self._taken) > MAX_SEEN_MESSAGES:
            self._taken.popitem(last=False)

    def clear(self) -> None:
        """Drop all entries: the broker has no session."""
        self._taken.clear()


# Who is waited for in a state without a final answer.
AWAITED: Final[Mapping[State, str]] = {
    State.RECEIVED: "the store is to write it down",
    State.WAITING: "its turn has not come, or the charger, the cloud or the budget is not ready",
    State.LEAVING: "the store is to write down that it leaves",
    State.SENT: "the cloud is to answer",
    State.IN_DOUBT: "the cloud did not answer; the charger is looked at",
    State.ACCEPTED: "the cloud accepted it; the charger is to confirm it",
    State.RUNNING: "its steps are carried out one after the other",
}


class ActiveCommands:
    """Commands from their arrival to the acknowledgement of their final answer.

    Attributes:
        live: Those without a final state, in order of arrival.
        queues: Those that wait, by charger, in the order in which the chargers have their turn.
        dirty: Those that changed and are to be written, in the order in which they changed.
        writing: Those whose row is being written, by its key.
        finished: Those that have a final state and were sent, the newest last: their charger may
            still answer for :data:`CONFIRM_TIMEOUT_S`.
        is_holding: A limit is held.
        ended: Those that ended and may begin or end a held limit, until that was looked at.
        uncertain: Responses that were taken for those to limits whose ticks are not known, until
            that was looked at: they may be to another controller.
        guided: Those whose steps are carried out, by charger.
        named: Those that have a name, and what became of those that are finished.
        messages: The messages they came with.
        last_seq: The last place in the order of arrival; 0 before the first command.
    """

    def __init__(self, shown: ShownState) -> None:
        """Start without commands.

        Args:
            shown: What the chargers show: told what a finished command set.
        """
        self.live: dict[Command, None] = {}
        self.queues: OrderedDict[str, list[Command]] = OrderedDict()
        self.dirty: dict[Command, None] = {}
        self.writing: dict[str, Command] = {}
        self.ended: list[Command] = []
        self.uncertain: list[ChargerResponse] = []
        self.is_holding = False
        self.guided: dict[str, Command] = {}
        self.named = IdempotencyCache()
        self.messages = RedeliveryFilter()
        self._shown = shown
        self.finished: deque[Command] = deque(maxlen=MAX_RECENTLY_FINISHED)
        self._unacknowledged: dict[str, Command] = {}
        self.last_seq = 0

    # -- what others ask ---------------------------------------------------------------------

    def explain(self, charger_id: str, name: str, now: Timestamp) -> Iterator[str]:
        """Say where a charger's commands of a name are, and who is waited for."""
        of_it = [
            one
            for one in chain(self.finished, self.live)
            if charger_id == one.charger_id and one.spec.name == name
        ]
        if not of_it:
            yield f"no command {name} of {charger_id} is under way, and none was sent lately"
        for one in of_it:
            arrived = f"the command {name} that arrived at {iso_utc(one.received.wall)}"
            if one.answer:
                yield f"{arrived} ended: {sentence_of(one.answer)}"
                continue
            yield f"{arrived} is {one.state.value}: {AWAITED[one.state]}"
            left_s = one.expires_s - now.mono_s
            if one.sent is None:
                yield f"it is not sent when {max(0.0, left_s):.0f} s more are over"
            else:
                yield f"it was sent at {iso_utc(one.sent.wall)}, attempt {one.attempts}"
        ahead = [one for one in self.waiting(charger_id) if one.spec.name != name]
        if ahead and any(one.state is State.WAITING for one in of_it):
            yield f"ahead of it: {', '.join(one.spec.name for one in ahead)}"

    def may_cause(self, charger_id: str, observation_id: int, now: Timestamp) -> bool:
        """Return whether a command may be the cause of an observation's change now."""
        if observation_id not in REFLECTING_IDS:
            return False
        return any(
            observation_id in command.spec.moves and charger_id in command.devices
            for command in chain(self.live, self.finished)
            if command.sent is not None and now.mono_s - command.finished_s < CONFIRM_TIMEOUT_S
        )

    def next_seq(self) -> int:
        """Return a command's place in the order of arrival; continues after a restart."""
        self.last_seq += 1
        return self.last_seq

    def reserve_sequence(self, seq: int) -> None:
        """Reserve a place that an earlier process has used."""
        self.last_seq = max(self.last_seq, seq)

    # -- the way -----------------------------------------------------------------------------

    def add(self, command: Command) -> None:
        """Add a command."""
        self.live[command] = None
        if command.request.name is not None:
            self.named.begin(command.request.name, command)
        self.messages.add(
            command.request.digest, command.message_id, command, command.received.mono_s
        )

    def issue(
        self,
        charger_id: str,
        name: str,
        value: object,
        now: Timestamp,
        *,
        ttl_s: float,
        origin: str = "",
        parent: Command | None = None,
    ) -> Command:
        """Queue a command of the gateway itself.

        Args:
            charger_id: Whom it is for.
            name: In the catalogue.
            value: As a payload would have it.
            now: The time.
            ttl_s: Seconds until it is not sent any more.
            origin: Why, where it is no step.
            parent: The command it is a step of.
        """
        spec = CATALOGUE[name]
        request = CommandRequest(
            charger_id, spec, spec.read(value, ANY_CURRENT_A), None, None, ttl_s, value
        )
        seq = self.next_seq()
        key = f"{round(now.wall.timestamp() * 1000)}-{seq}-{charger_id}"
        command = Command(request, now, now.mono_s + ttl_s, [], key, seq)
        command.is_told = True
        command.devices = frozenset({charger_id})
        command.parent, command.origin = parent, origin
        if parent is not None:
            command.seq, command.origin = parent.seq, parent.key
        command.apply(Transition.QUEUE)
        command.due_s = command.expires_s
        self.live[command] = None
        self.mark_dirty(command)
        self.enqueue(command)
        return command

    def mark_dirty(self, command: Command) -> None:
        """Record that a command has changes to be stored."""
        command.version += 1
        self.dirty[command] = None

    def finish(
        self,
        command: Command,
        transition: Transition,
        effects: list[Output],
        now: Timestamp,
        *,
        reason: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Set a command's final state; its result is published when that is stored."""
        command.apply(transition)
        command.due_s = command.look_at_s = math.inf
        command.finished_s = now.mono_s
        self.live.pop(command, None)
        if command.queues:
            self.dequeue(command)
        if command.sent is not None:
            self.finished.append(command)
        if self.is_holding or command.spec.is_paced or command.spec.is_guided:
            self.ended.append(command)
        command.outcome = result = command.result(now, reason, detail)
        command.answer = result_document(result)
        if command.spec.skips_equal:
            self._shown.command_finished(command.request, command.state)
        self.mark_dirty(command)
        facts = {
            "charger_id": command.charger_id,
            "command": command.spec.name,
            "state": command.state.value,
            "reason": reason,
            "http_status": command.http_status,
            "elapsed_ms": result.elapsed_ms,
        }
        effects.append(LogEntry("info", "command.finished", facts))
        effects.append(
            CommandFinished(
                command.charger_id,
                command.spec.name,
                command.argument,
                is_carried_out=command.state in (State.CONFIRMED, State.NOOP),
            )
        )

    def publish_progress(self, command: Command, effects: list[Output], now: Timestamp) -> None:
        """Publish the progress of a command that has no final state."""
        if command.waiters:
            waiters = tuple(command.waiters)
            result = command.result(now, detail=command.progress or None)
            effects.append(CommandAnswered(command.charger_id, result, waiters))

    # -- queues ------------------------------------------------------------------------------

    def check_capacity(self, charger_id: str, ending: int = 0, *, reduces: bool = False) -> None:
        """Refuse a command where no more may wait.

        Args:
            charger_id: Whose queue.
            ending: Commands of this charger that left the queue and whose end is being written.
            reduces: It can only stop a charge, so the reserved places count too.

        Raises:
            CommandRefused: ``busy``.
        """
        reserved = RESERVED_PER_CHARGER if reduces else 0
        if len(self.queues.get(charger_id, ())) + ending >= MAX_WAITING_PER_CHARGER + reserved:
            raise CommandRefused(
                "busy", f"{MAX_WAITING_PER_CHARGER} commands wait for this charger"
            )
        waiting = 0
        for command in self.live:
            waiting += bool(command.queues)
        if waiting >= MAX_WAITING + (RESERVED if reduces else 0):
            raise CommandRefused("busy", f"{MAX_WAITING} commands wait")

    def waiting(self, charger_id: str) -> Sequence[Command]:
        """Return what waits for a charger, in order."""
        return self.queues.get(charger_id, ())

    def enqueue(self, command: Command, chargers: Iterable[str] = ()) -> None:
        """Insert a command into its queues by its order of arrival.

        Args:
            command: It; may wait already, in fewer queues.
            chargers: In whose queues besides that of its own charger.
        """
        wanted = frozenset({command.charger_id, *chargers})
        for charger_id in sorted(wanted - command.queues):
            insort(self.queues.setdefault(charger_id, []), command, key=ARRIVAL)
        command.queues |= wanted

    def dequeue(self, command: Command) -> None:
        """Remove a command from every queue."""
        for charger_id in command.queues:
            queue = self.queues[charger_id]
            queue.remove(command)
            if not queue:
                del self.queues[charger_id]
        command.queues = frozenset()

    def ready(self, busy: Container[str]) -> Iterator[Command]:
        """Yield what may go next, queues in turn.

        Args:
            busy: Chargers that something is under way for; looked at anew for each queue.
        """
        for charger_id in tuple(self.queues):
            queue = self.queues.get(charger_id)
            if queue and queue[0].charger_id == charger_id and self.is_ready(queue[0], busy):
                yield queue[0]

    def is_ready(self, command: Command, busy: Container[str]) -> bool:
        """Return whether a command is first in all its queues and none of its chargers is busy."""
        for charger_id in command.queues:
            if charger_id in busy or self.queues[charger_id][0] is not command:
                return False
            if self.guided and self.guided.get(charger_id) not in (None, command.parent):
                return False
        return bool(command.queues)

    def rotate(self, charger_id: str) -> None:
        """Move a queue to the end of the rotation."""
        if charger_id in self.queues:
            self.queues.move_to_end(charger_id)

    # -- the end -----------------------------------------------------------------------------

    def saved(self, key: str, effects: list[Output]) -> Command | None:
        """Continue a command whose row is committed.

        Returns:
            It; None when nothing waits for that row.
        """
        command = self.writing.pop(key, None)
        if command is None:
            return None
        command.durable, command.writing = command.writing, 0
        if command.ack_tokens:
            self.acknowledge(command, effects, command.durable)
        if command.durable == command.version and command.state in FINAL:
            self.publish(command, effects)
        return command

    def acknowledge(
        self, command: Command, effects: list[Output], version: int | None = None
    ) -> None:
        """Acknowledge the messages of a command.

        Args:
            command: The command.
            effects: Where the acknowledgements go.
            version: What is on disk; None: nothing will be, they are acknowledged all the same.
        """
        waiting, command.ack_tokens = command.ack_tokens, []
        for since, ack_token in waiting:
            if version is None or since <= version:
                effects.append(Acknowledge(ack_token))
            else:
                command.ack_tokens.append((since, ack_token))

    def publish(self, command: Command, effects: list[Output]) -> None:
        """Publish a final answer, once."""
        if command.state not in FINAL or command.is_published:
            return
        if command.request.name is not None:
            self.named.complete(command.request.name, command, command.answer)
        self.republish(command, effects)

    def republish(self, command: Command, effects: list[Output]) -> None:
        """Publish a final answer that the broker has not acknowledged yet."""
        command.is_published = True
        if command.waiters:
            tag = f"{TAG}{command.key}"
            self._unacknowledged[tag] = command
            result, waiters = command.outcome, tuple(command.waiters)
            if result is None:
                result = read_result(command.answer)
            effects.append(
                CommandAnswered(command.charger_id, result, waiters, tag=tag, owner=NAME)
            )

    def acknowledged(self, message: Publish) -> Command | None:
        """Record that the broker acknowledged or finally refused a result.

        Returns:
            The command, once every caller has its result; None until then, and for a
            message that is none of ours.
        """
        tag = message.tag.rpartition(":")[0]
        command = self._unacknowledged.get(tag)
        if command is None:
            return None
        command.acknowledged.add(message.tag)
        if len(command.acknowledged) < message.parts:
            return None
        del self._unacknowledged[tag]
        command.is_told = True
        command.waiters.clear()
        return command
