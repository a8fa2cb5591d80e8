"""Commands that were named: the same name twice is one command.

Names are remembered for a day, and 10,000 at most. A name belongs to one charger: callers count
their correlation data from 1, and two chargers' first commands are not one.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from bridge.core.commands.admission import Name
from bridge.core.commands.lifecycle import Command

REMEMBERED_S = 24 * 3600.0
MOST_REMEMBERED = 10_000


@dataclass(slots=True)
class Fate:
    """What became of a named command.

    Attributes:
        command: The command while it runs, then None.
        content: Command name and argument: the same name with another content is a conflict.
        answer: The final answer's document; empty while it runs.
        since_s: Monotonic time of its arrival.
    """

    command: Command | None
    content: tuple[str, Any]
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
        if name is None:
            return
        content = (command.order.spec.name, command.order.argument)
        self._fates[name] = Fate(command, content, command.received.mono_s)
        if len(self._fates) > MOST_REMEMBERED:
            self._fates.popitem(last=False)

    def settle(self, command: Command, answer: bytes) -> None:
        """Keep the final answer and let go of the rest."""
        fate = None if command.order.name is None else self._fates.get(command.order.name)
        if fate is not None and fate.command is command:
            fate.command = None
            fate.answer = answer
