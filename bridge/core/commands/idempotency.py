"""Commands that were taken before: the same name twice, or the same message twice.

Rules:

1. The same name twice is one command. Names are remembered for a day, and 10,000 at most. A name
   belongs to one charger: callers count their correlation data from 1, and two chargers' first
   commands are not one.
2. What was refused is not remembered: nothing was done, and the next time the answer may be yes.
3. A message that the broker delivers again (DUP) with the packet identifier, topic, payload and
   wish for an answer of one we have is that one. Without a session at the broker nothing is
   delivered again, and packet identifiers start anew: then all of them are forgotten.
4. A message delivered again that nobody here has seen was an earlier process's. That is kept, for
   the store may be opened later and bring what that process made of it.
"""

from collections import OrderedDict
from dataclasses import dataclass

from bridge.core.commands.state_machine import Command, State
from bridge.core.commands.validation import IdempotencyKey, message_digest
from bridge.core.events import MqttMessage
from bridge.core.records.command_row import SESSION_S

CACHE_TTL_S = 24 * 3600.0
CACHE_SIZE = 10_000
# As long as the session at the broker; the rest is for a connection that died unnoticed.
REDELIVERY_WINDOW_S = SESSION_S + 300.0
MAX_SEEN_MESSAGES = 2_000


@dataclass(slots=True)
class KnownCommand:
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
    """Fates by name, oldest first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[IdempotencyKey, KnownCommand] = OrderedDict()

    def find(self, name: IdempotencyKey | None, mono_s: float) -> KnownCommand | None:
        """Return what became of a command of this name, or None when it is new."""
        while self._entries and next(iter(self._entries.values())).since_s < mono_s - CACHE_TTL_S:
            self._entries.popitem(last=False)
        return None if name is None else self._entries.get(name)

    def begin(self, command: Command) -> None:
        """Remember a command that was taken, if it has a name."""
        name = command.request.name
        if name is not None:
            self._put(name, KnownCommand(command, command.request.content, command.received.mono_s))

    def restore(
        self, name: IdempotencyKey | None, content: tuple[str, str], since_s: float, answer: bytes
    ) -> None:
        """Remember a command of an earlier process that has its final answer."""
        if name is not None:
            self._put(name, KnownCommand(None, content, since_s, answer))

    def complete(self, command: Command, answer: bytes) -> None:
        """Keep the final answer and let go of the rest; forget what was refused."""
        name = command.request.name
        entry = None if name is None else self._entries.get(name)
        if name is None or entry is None or entry.command is not command:
            return
        if command.state is State.REFUSED:
            del self._entries[name]
        else:
            entry.command = None
            entry.answer = answer

    def _put(self, name: IdempotencyKey, entry: KnownCommand) -> None:
        self._entries[name] = entry
        if len(self._entries) > CACHE_SIZE:
            self._entries.popitem(last=False)


@dataclass(frozen=True, slots=True)
class SeenMessage:
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
        """Return the first delivery of a message, or None when this is the first."""
        if not message.duplicate or message.retained or not message.ack_token.message_id:
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
        """Remember a message that was taken."""
        if not message_id:
            return
        self._taken[digest, message_id] = SeenMessage(command, since_s)
        self._taken.move_to_end((digest, message_id))
        if len(self._taken) > MAX_SEEN_MESSAGES:
            self._taken.popitem(last=False)

    def clear(self) -> None:
        """Forget all of them: the broker has no session of ours."""
        self._taken.clear()
