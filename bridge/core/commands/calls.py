"""REST calls of the journal that are not answered yet.

Rules:

1. One call per charger at a time: two overlapping ones left a charger inconsistent (evcc#8398).
2. A call that nobody answers is lost after its time and a grace; it must not hold a lane for ever.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from bridge.core.cloud.requests import CloudRequest
from bridge.core.commands.lifecycle import Command
from bridge.core.effects import CallCloud
from bridge.core.events import Moment

MOST_CALLS: Final = 4
LONGEST_CALL_S: Final = 30.0
GRACE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Call:
    """A call without an answer.

    Attributes:
        command: On whose behalf.
        request: What was sent.
        is_lookup: It only asks for the circuit and carries nothing out.
        due_s: Monotonic time at which it counts as lost.
    """

    command: Command
    request: CloudRequest
    is_lookup: bool
    due_s: float


class Calls:
    """Calls by number."""

    def __init__(self, next_call_id: Callable[[], int]) -> None:
        self._next_call_id = next_call_id
        self._calls: dict[int, Call] = {}

    def __contains__(self, call_id: object) -> bool:
        return call_id in self._calls

    @property
    def has_room(self) -> bool:
        """Whether another call may be made."""
        return len(self._calls) < MOST_CALLS

    @property
    def busy(self) -> frozenset[str]:
        """Chargers that have to wait for an answer."""
        return frozenset(call.command.charger_id for call in self._calls.values())

    @property
    def open(self) -> Iterable[Call]:
        """All of them."""
        return self._calls.values()

    def make(
        self, command: Command, request: CloudRequest, now: Moment, *, is_lookup: bool
    ) -> CallCloud:
        """Make a call that takes no longer than its command may wait."""
        within_s = min(LONGEST_CALL_S, command.expires_s - now.mono_s)
        request = replace(request, command=True)
        call_id = self._next_call_id()
        due_s = now.mono_s + within_s + GRACE_S
        self._calls[call_id] = Call(command, request, is_lookup, due_s)
        return CallCloud(call_id, request, within_s)

    def end(self, call_id: int) -> Call | None:
        """Take out a call that was answered; None when it is not one of ours."""
        return self._calls.pop(call_id, None)

    def lost(self, mono_s: float) -> list[Call]:
        """Take out the calls that nobody answered in time."""
        overdue = [call_id for call_id, call in self._calls.items() if call.due_s <= mono_s]
        return [self._calls.pop(call_id) for call_id in overdue]
