"""REST calls of the journal that are not answered yet.

Rules:

1. One call per charger at a time: two overlapping ones left a charger inconsistent (evcc#8398).
   Looking what became of a command changes nothing and holds up nobody.
2. A call that nobody answers is lost after its time and a grace; it must not hold a lane for ever.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from bridge.core.commands.state_machine import Command
from bridge.core.easee.rest_requests import CloudRequest
from bridge.core.effects import CallCloud
from bridge.core.events import Moment

MOST_CALLS: Final = 4
MOST_LOOKS: Final = 2
LONGEST_CALL_S: Final = 30.0
LONGEST_LOOK_S: Final = 10.0
GRACE_S: Final = 5.0


class Purpose(enum.Enum):
    """What a call is for."""

    SEND = "carry the command out"
    LOCATE = "ask for the circuit, before it can be sent"
    LOOK = "ask what became of it"


@dataclass(frozen=True, slots=True)
class Call:
    """A call without an answer.

    Attributes:
        command: On whose behalf.
        request: What was sent.
        purpose: What for.
        due_s: Monotonic time at which it counts as lost.
    """

    command: Command
    request: CloudRequest
    purpose: Purpose
    due_s: float


class Calls:
    """Calls by number."""

    def __init__(self, next_call_id: Callable[[], int]) -> None:
        self._next_call_id = next_call_id
        self._calls: dict[int, Call] = {}

    def __contains__(self, call_id: object) -> bool:
        return call_id in self._calls

    def count(self, *purposes: Purpose) -> int:
        """How many calls of these kinds are open."""
        return sum(call.purpose in purposes for call in self._calls.values())

    @property
    def located(self) -> frozenset[str]:
        """Chargers whose circuit is being asked for."""
        return frozenset(
            call.command.charger_id
            for call in self._calls.values()
            if call.purpose is Purpose.LOCATE
        )

    @property
    def open(self) -> Iterable[Call]:
        """All of them."""
        return self._calls.values()

    def make(
        self, command: Command, request: CloudRequest, purpose: Purpose, now: Moment
    ) -> CallCloud:
        """Make a call that takes no longer than its command may wait."""
        within_s = min(LONGEST_CALL_S, command.expires_s - now.mono_s)
        if purpose is Purpose.LOOK:
            within_s = LONGEST_LOOK_S
        request = replace(request, command=True)
        call_id = self._next_call_id()
        due_s = now.mono_s + within_s + GRACE_S
        self._calls[call_id] = Call(command, request, purpose, due_s)
        return CallCloud(call_id, request, within_s)

    def end(self, call_id: int) -> Call | None:
        """Take out a call that was answered; None when it is not one of ours."""
        return self._calls.pop(call_id, None)

    def lost(self, mono_s: float) -> list[Call]:
        """Take out the calls that nobody answered in time."""
        overdue = [call_id for call_id, call in self._calls.items() if call.due_s <= mono_s]
        return [self._calls.pop(call_id) for call_id in overdue]
