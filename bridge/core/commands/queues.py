"""Commands that wait, one lane per charger: who may go next, and who has to go away.

Rules:

1. A lane is first come, first served. Nothing overtakes, a retry least of all.
2. What concerns all chargers of a circuit stands in the lanes of all of them, in order of arrival,
   and goes when it is the first in each.
3. Lanes take turns. A flooded one holds up nobody but itself.
4. Both a lane and all of them together are bounded; beyond that the answer is ``busy``.
5. Some places are kept for what can only stop a charge: somebody else's flood must not take them.
"""

from bisect import insort
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator, Sequence

from bridge.core.commands.state_machine import Command
from bridge.errors import CommandRefused

MAX_WAITING_PER_CHARGER = 20
MAX_WAITING = 200
RESERVED_PER_CHARGER = 4
RESERVED = 20


class CommandQueues:
    """Waiting commands by charger."""

    def __init__(self) -> None:
        self._by_charger: OrderedDict[str, list[Command]] = OrderedDict()
        self._places: dict[Command, frozenset[str]] = {}

    def check_capacity(self, charger_id: str, ending: int = 0, *, reduces: bool = False) -> None:
        """Say no where no more may wait.

        Args:
            charger_id: Whose lane.
            ending: Commands of this charger that left the lane and whose end is being written.
            reduces: It can only stop a charge, so the places that are kept for it count too.

        Raises:
            CommandRefused: ``busy``.
        """
        kept = RESERVED_PER_CHARGER if reduces else 0
        if len(self.waiting(charger_id)) + ending >= MAX_WAITING_PER_CHARGER + kept:
            raise CommandRefused(
                "busy", f"{MAX_WAITING_PER_CHARGER} commands wait for this charger"
            )
        if len(self._places) >= MAX_WAITING + (RESERVED if reduces else 0):
            raise CommandRefused("busy", f"{MAX_WAITING} commands wait")

    def put(self, command: Command, chargers: Iterable[str] = ()) -> None:
        """Let a command wait where its arrival puts it.

        Args:
            command: It; may wait already, in fewer lanes.
            chargers: Whose lanes besides that of its own charger.
        """
        wanted = frozenset({command.charger_id, *chargers})
        for charger_id in wanted - self._places.get(command, frozenset()):
            insort(self._by_charger.setdefault(charger_id, []), command, key=_arrival)
        self._places[command] = wanted | self._places.get(command, frozenset())

    def remove(self, command: Command) -> None:
        """Take a command out, wherever it stands."""
        for charger_id in self._places.pop(command):
            queue = self._by_charger[charger_id]
            queue.remove(command)
            if not queue:
                del self._by_charger[charger_id]

    def waiting(self, charger_id: str) -> Sequence[Command]:
        """Return what waits for a charger, in order."""
        return self._by_charger.get(charger_id, ())

    def ready(self, busy: Container[str]) -> Iterator[Command]:
        """Yield what may go next, lanes in turn.

        Args:
            busy: Chargers that something is under way for; looked at anew for each lane.
        """
        for charger_id in tuple(self._by_charger):
            queue = self._by_charger.get(charger_id)
            if queue and queue[0].charger_id == charger_id and self.is_ready(queue[0], busy):
                yield queue[0]

    def is_ready(self, command: Command, busy: Container[str]) -> bool:
        """Say whether a command is the first wherever it waits, and nothing is under way there."""
        places = self._places.get(command, ())
        return all(self._by_charger[place][0] is command and place not in busy for place in places)

    def rotate(self, charger_id: str) -> None:
        """Note that a lane had its turn."""
        if charger_id in self._by_charger:
            self._by_charger.move_to_end(charger_id)


def _arrival(command: Command) -> int:
    return command.seq
