"""What of the commands is on disk, and what is on its way there.

Rules:

1. Of one command at most one row is being written. What changes meanwhile is written next, in one
   row, however much it was.
2. A write that is not answered in :data:`WRITE_WITHIN_S` counts as failed: a disk that hangs must
   not hold up a stop. Its answer, when it comes, is taken all the same. Until then whatever changes
   in that command counts as failed at once: its end is told without the disk.
3. What could not be written is kept, and written when the store takes something again, or after
   :data:`RETRY_AFTER_S`. So the store does not go on believing what is long over.
4. That an answer was told is written :data:`LATER_S` afterwards: nobody waits for it, and it must
   not stand in the way of the next command. A crash before only repeats the answer.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from bridge.core.commands.pages import row_of
from bridge.core.commands.state_machine import Command
from bridge.core.effects import SaveCommand
from bridge.core.events import Moment

WRITE_WITHIN_S = 5.0
RETRY_AFTER_S = 30.0
LATER_S = 1.0
# A failing store is mended within minutes or for good; more than this is not worth the memory.
MOST_OWED = 256


@dataclass(slots=True)
class _Write:
    """A row that is being written.

    Attributes:
        version: Of the command, as it is written.
        due_s: Monotonic time at which it counts as failed; never, once it did.
        failed: The newest version that counts as failed with it.
    """

    command: Command
    version: int
    due_s: float
    failed: int = 0


class Scribe:
    """Rows by key: changed, being written, owed to the store."""

    def __init__(self) -> None:
        self._changed: dict[Command, None] = {}
        self._writes: dict[str, _Write] = {}
        self._owed: OrderedDict[str, Command] = OrderedDict()
        self._later: dict[Command, None] = {}
        self._later_at_s = math.inf
        self._retry_at_s = math.inf

    @property
    def is_busy(self) -> bool:
        """Something is to be written or being written."""
        return bool(self._changed or self._writes)

    def touch(self, command: Command) -> None:
        """Note that a command changed in a way that belongs on disk."""
        command.version += 1
        self._changed[command] = None

    def touch_later(self, command: Command, mono_s: float) -> None:
        """Note a change that may be written when there is nothing better to do."""
        self._later[command] = None
        self._later_at_s = min(self._later_at_s, mono_s + LATER_S)

    def hurry(self) -> None:
        """Write now what was put off."""
        for command in self._later:
            self.touch(command)
        self._later.clear()
        self._later_at_s = math.inf

    def flush(self, now: Moment) -> Iterator[SaveCommand]:
        """Write what changed and is not being written."""
        for command in [c for c in self._changed if c.key not in self._writes]:
            del self._changed[command]
            due_s = now.mono_s + WRITE_WITHIN_S
            self._writes[command.key] = _Write(command, command.version, due_s)
            yield SaveCommand(row_of(command))

    def saved(self, key: str) -> Command | None:
        """Note that a row is committed; return its command, or None when nobody waits for it."""
        write = self._writes.pop(key, None)
        if write is None:
            return None
        write.command.durable = write.version
        if self._owed.pop(key, None) is not None and write.command.version != write.version:
            self._changed[write.command] = None
        return write.command

    def not_saved(self, key: str, mono_s: float) -> Command | None:
        """Note that a row is not committed; return its command, or None as above."""
        write = self._writes.pop(key, None)
        if write is None:
            return None
        self.owe(write.command, mono_s)
        # None when the failure was acted upon already, because it took too long.
        return write.command if write.due_s < math.inf else None

    def overdue(self, mono_s: float) -> list[Command]:
        """Return the commands whose write takes too long, each once; take up what is due."""
        if self._later_at_s <= mono_s:
            self.hurry()
        if self._retry_at_s <= mono_s:
            self.retry()
        late = [write for write in self._writes.values() if write.due_s <= mono_s]
        for write in late:
            write.due_s, write.failed = math.inf, write.command.version
        return [write.command for write in late]

    def held_up(self) -> list[Command]:
        """Return commands that changed behind a write that counts as failed, each change once."""
        held = []
        for command in self._changed:
            write = self._writes.get(command.key)
            if write is not None and 0 < write.failed < command.version:
                write.failed = command.version
                held.append(command)
        return held

    def deadline_s(self) -> float:
        """Return when a write counts as failed, is tried again or was put off to."""
        dues = [write.due_s for write in self._writes.values()]
        return min(self._retry_at_s, self._later_at_s, *dues)

    def retry(self) -> None:
        """Write again what is owed: the store takes something again."""
        for command in self._owed.values():
            self._changed[command] = None
        self._owed.clear()
        self._retry_at_s = math.inf

    def owe(self, command: Command, mono_s: float) -> None:
        """Keep a command that could not be written, until the store takes something again."""
        self._changed.pop(command, None)
        self._owed[command.key] = command
        self._owed.move_to_end(command.key)
        self._retry_at_s = min(self._retry_at_s, mono_s + RETRY_AFTER_S)
        while len(self._owed) > MOST_OWED:
            self._owed.popitem(last=False)
