"""The commands that live, and how they end: on disk first, then told, then remembered.

Rules:

1. A final answer is committed before it is published. So whoever restarts knows which answer was
   given, and never gives another one.
2. A final answer is owed until the broker acknowledged every publication of it. After a restart it
   is published again, word for word.
3. Where the journal cannot be written, the answer is published all the same, once.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import msgspec

from bridge.core.commands.idempotency import IdempotencyCache, RedeliveryFilter
from bridge.core.commands.persistence import CommandPersistence
from bridge.core.commands.result_messages import build_result, publish_result
from bridge.core.commands.shown_state import ShownState
from bridge.core.commands.state_machine import FINAL, Command, Transition
from bridge.core.easee.command_catalogue import REFLECTING_IDS
from bridge.core.effects import Acknowledge, Effect, LogEntry
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics

# A normal round trip is below a second, 10 s were too short for evcc (#10780); the contract's 30 s.
CONFIRM_TIMEOUT_S = 30.0
MAX_RECENTLY_FINISHED = 64
TAG = "command:"

OnFinished = Callable[[Command, Timestamp], Iterator[Effect]]


class ActiveCommands:
    """Commands from their arrival to the acknowledgement of their answer.

    Attributes:
        live: Those without a final state, in order of arrival.
        cache: Those that were named.
        redeliveries: The messages they came with.
        shown: What the chargers show.
        persistence: What is on disk.
    """

    def __init__(self, topics: Topics, followed_by: OnFinished) -> None:
        self.live: dict[Command, None] = {}
        self.cache = IdempotencyCache()
        self.redeliveries = RedeliveryFilter()
        self.shown = ShownState()
        self.persistence = CommandPersistence()
        self._topics = topics
        self._followed_by = followed_by
        self._settled: deque[Command] = deque(maxlen=MAX_RECENTLY_FINISHED)
        self._ending: Counter[str] = Counter()
        # Commands whose answer the broker has not acknowledged, with the tags that are left.
        self._told: dict[Command, set[str]] = {}
        self._tags: dict[str, Command] = {}
        self._last_seq = 0

    # -- what others ask ---------------------------------------------------------------------

    def recently_finished(self, now: Timestamp) -> Iterator[Command]:
        """Yield commands the charger may still answer although somebody else told us the end."""
        return (c for c in self._settled if now.mono_s - c.settled_s < CONFIRM_TIMEOUT_S)

    def may_cause(self, charger_id: str, observation_id: int, now: Timestamp) -> bool:
        """Say whether a command of ours may be why an observation changes now."""
        if observation_id not in REFLECTING_IDS:
            return False
        return any(
            observation_id in command.spec.moves and charger_id in command.devices
            for command in chain(self.live, self.recently_finished(now))
            if command.sent is not None
        )

    def next_seq(self) -> int:
        """Draw a command's place in the order of arrival; it goes on after a restart."""
        self._last_seq += 1
        return self._last_seq

    def reserve_sequence(self, seq: int) -> None:
        """Note a place that an earlier process has drawn."""
        self._last_seq = max(self._last_seq, seq)

    def finishing_count(self, charger_id: str) -> int:
        """How many commands of a charger have an end that is not on disk yet."""
        return self._ending[charger_id]

    def due_s(self) -> Iterable[float]:
        """Yield when something is to be done."""
        yield self.persistence.deadline_s()
        for command in self.live:
            yield min(command.due_s, command.look_at_s)

    # -- the way -----------------------------------------------------------------------------

    def add(self, command: Command) -> None:
        """Take a command in."""
        self.restore(command)
        self.persistence.mark_dirty(command)

    def restore(self, command: Command) -> None:
        """Take in a command of an earlier process."""
        self.live[command] = None
        self.cache.begin(command)
        self.redeliveries.add(
            command.request.digest, command.message_id, command, command.received.mono_s
        )

    def finish(
        self,
        command: Command,
        transition: Transition,
        now: Timestamp,
        reason: str | None = None,
        detail: str | None = None,
    ) -> Iterator[Effect]:
        """Give a command its final state; its answer follows when that is on disk."""
        command.apply(transition)
        command.due_s = command.look_at_s = math.inf
        command.settled_s = now.mono_s
        self.live.pop(command, None)
        self._ending[command.charger_id] += 1
        if command.sent is not None:
            self._settled.append(command)
        result = build_result(command, now, reason, detail)
        command.answer = result.document()
        self.shown.command_finished(command)
        self.persistence.mark_dirty(command)
        facts = {
            "charger_id": command.charger_id,
            "command": command.spec.name,
            "state": command.state.value,
            "reason": reason,
            "http_status": command.http_status,
            "elapsed_ms": result.elapsed_ms,
        }
        yield LogEntry("info", "command.finished", facts)
        yield from self._followed_by(command, now)

    def publish_progress(self, command: Command, now: Timestamp) -> Iterator[Publish]:
        """Tell everybody who waits where a command is that has no final state."""
        yield from publish_result(command, self._topics, build_result(command, now).document())

    # -- the disk ----------------------------------------------------------------------------

    def persisted(self, command: Command) -> Iterator[Effect]:
        """Go on with a command whose row was written."""
        yield from self.acknowledge(command, command.durable)
        if command.durable == command.version:
            yield from self.publish(command)

    def acknowledge(self, command: Command, version: int | None = None) -> Iterator[Effect]:
        """Let the broker forget the messages a command came with.

        Args:
            command: It.
            version: What is on disk; None: nothing will be, they are acknowledged all the same.
        """
        waiting, command.ack_tokens = command.ack_tokens, []
        for since, ack_token in waiting:
            if version is None or since <= version:
                yield Acknowledge(ack_token)
            else:
                command.ack_tokens.append((since, ack_token))

    def publish(self, command: Command) -> Iterator[Effect]:
        """Publish a final answer, once."""
        if command.state not in FINAL or command.is_published:
            return
        command.is_published = True
        self._ending[command.charger_id] -= 1
        if not self._ending[command.charger_id]:
            del self._ending[command.charger_id]
        self.cache.complete(command, command.answer)
        yield from self._owe(command)

    def republish_result(self, command: Command) -> Iterator[Effect]:
        """Publish the final answer of an earlier process again: nobody acknowledged it."""
        command.is_published = True
        yield from self._owe(command)

    def _owe(self, command: Command) -> Iterator[Effect]:
        messages = list(publish_result(command, self._topics, command.answer))
        tags = [f"{TAG}{command.key}:{number}" for number in range(len(messages))]
        self._told[command] = set(tags)
        self._tags.update(dict.fromkeys(tags, command))
        for message, tag in zip(messages, tags, strict=True):
            yield msgspec.structs.replace(message, tag=tag)

    def acked(self, tag: str, mono_s: float) -> bool:
        """Note that the broker has an answer, or refuses it for good; False when it is not ours."""
        command = self._tags.pop(tag, None)
        if command is None:
            return False
        left = self._told[command]
        left.discard(tag)
        if not left:
            del self._told[command]
            command.is_told = True
            command.waiters.clear()
            self.persistence.mark_dirty_later(command, mono_s)
        return True
