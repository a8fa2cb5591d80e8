"""Commands that wait, one lane per charger: who may go next, and who has to go away.

Rules:

1. A lane is first come, first served. Nothing overtakes, a retry least of all.
2. Lanes take turns. A flooded one holds up nobody but itself.
3. Both a lane and all of them together are bounded; beyond that the answer is ``busy``.
"""

from collections import OrderedDict, deque
from collections.abc import Container, Iterator

from bridge.core.commands.lifecycle import Command
from bridge.errors import CommandRefused

MOST_WAITING_PER_CHARGER = 20
MOST_WAITING = 200


class Lanes:
    """Waiting commands by charger."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[str, deque[Command]] = OrderedDict()
        self._waiting = 0

    def check_room(self, charger_id: str) -> None:
        """Say no where no more may wait.

        Raises:
            CommandRefused: ``busy``.
        """
        if len(self._lanes.get(charger_id, ())) >= MOST_WAITING_PER_CHARGER:
            raise CommandRefused(
                "busy", f"{MOST_WAITING_PER_CHARGER} commands wait for this charger"
            )
        if self._waiting >= MOST_WAITING:
            raise CommandRefused("busy", f"{MOST_WAITING} commands wait")

    def put(self, command: Command) -> None:
        """Let a command wait behind the others."""
        self._lanes.setdefault(command.charger_id, deque()).append(command)
        self._waiting += 1

    def put_back(self, command: Command) -> None:
        """Let a command that was sent in vain go first again."""
        self._lanes.setdefault(command.charger_id, deque()).appendleft(command)
        self._waiting += 1

    def remove(self, command: Command) -> None:
        """Take a command out, wherever it stands."""
        lane = self._lanes[command.charger_id]
        lane.remove(command)
        self._waiting -= 1
        if not lane:
            del self._lanes[command.charger_id]

    def first(self, busy: Container[str]) -> Iterator[Command]:
        """Yield the head of each lane that nothing is under way for, in turn."""
        for charger_id in [lane for lane in self._lanes if lane not in busy]:
            yield self._lanes[charger_id][0]

    def served(self, charger_id: str) -> None:
        """Note that a lane had its turn."""
        if charger_id in self._lanes:
            self._lanes.move_to_end(charger_id)
