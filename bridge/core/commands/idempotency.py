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
from bridge.core.commands.validation import Name, digest_of
from bridge.core.events import MqttMessage
from bridge.core.records.command_row import SESSION_S

REMEMBERED_S = 24 * 3600.0
MOST_REMEMBERED = 10_000
# As long as the session at the broker; the rest is for a connection that died unnoticed.
REDELIVERED_WITHIN_S = SESSION_S + 300.0
MOST_DELIVERIES = 2_000


@dataclass(slots=True)
class Fate:
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


class Memory:
    """Fates by name, oldest first."""

    def __init__(self) -> None:
        self._fates: OrderedDict[Name, Fate] = OrderedDict()

    def find(self, name: Name | None, mono_s: float) -> Fate | None:
        """Return what became of a command of this name, or None when it is new."""
        while self._fates and next(iter(self._fates.values())).since_s < mono_s - REMEMBERED_S:
            self._fates.popitem(last=False)
        return None if name is None else self._fates.get(name)

    def begin(self, command: Command) -> None:
        """Remember a command that was taken, if it has a name."""
        name = command.order.name
        if name is not None:
            self._put(name, Fate(command, command.order.content, command.received.mono_s))

    def recall(
        self, name: Name | None, content: tuple[str, str], since_s: float, answer: bytes
    ) -> None:
        """Remember a command of an earlier process that has its final answer."""
        if name is not None:
            self._put(name, Fate(None, content, since_s, answer))

    def settle(self, command: Command, answer: bytes) -> None:
        """Keep the final answer and let go of the rest; forget what was refused."""
        name = command.order.name
        fate = None if name is None else self._fates.get(name)
        if name is None or fate is None or fate.command is not command:
            return
        if command.state is State.REFUSED:
            del self._fates[name]
        else:
            fate.command = None
            fate.answer = answer

    def _put(self, name: Name, fate: Fate) -> None:
        self._fates[name] = fate
        if len(self._fates) > MOST_REMEMBERED:
            self._fates.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that was taken.

    Attributes:
        command: What was made of it; None after a restart, when its end is known.
        since_s: Monotonic time of its arrival.
    """

    command: Command | None
    since_s: float


class Deliveries:
    """Messages that the broker may deliver again."""

    def __init__(self) -> None:
        self._taken: OrderedDict[tuple[str, int], Delivery] = OrderedDict()
        self._inherited: OrderedDict[tuple[str, int], None] = OrderedDict()

    def find(self, message: MqttMessage, mono_s: float) -> Delivery | None:
        """Return the first delivery of a message, or None when this is the first."""
        if not message.duplicate or message.retained or not message.receipt.message_id:
            return None
        key = digest_of(message), message.receipt.message_id
        found = self._taken.get(key)
        if found is not None and mono_s - found.since_s < REDELIVERED_WITHIN_S:
            return found
        self._inherited[key] = None
        if len(self._inherited) > MOST_DELIVERIES:
            self._inherited.popitem(last=False)
        return None

    def inherited(self, digest: str, message_id: int) -> Delivery | None:
        """Return what this process made of a message that an earlier one had, or None."""
        key = digest, message_id
        return self._taken.get(key) if key in self._inherited else None

    def add(self, digest: str, message_id: int, command: Command | None, since_s: float) -> None:
        """Remember a message that was taken."""
        if not message_id:
            return
        self._taken[digest, message_id] = Delivery(command, since_s)
        self._taken.move_to_end((digest, message_id))
        if len(self._taken) > MOST_DELIVERIES:
            self._taken.popitem(last=False)

    def clear(self) -> None:
        """Forget all of them: the broker has no session of ours."""
        self._taken.clear()
