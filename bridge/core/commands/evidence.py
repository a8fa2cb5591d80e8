"""Who is meant by what a charger says: its command responses and its observations.

Rules:

1. Where the cloud told the ticks of a command, only a CommandResponse with these ticks answers it:
   another controller's command of the same kind may be milliseconds away.
2. Where it did not, the command id has to do, as long as no other command of that id is under way,
   or ended without the charger's word a moment ago. The ticks that come with such an answer are the
   command's from then on.
3. An observation proves a command only if it was measured after the command was sent, or changed
   since. A replay of an old value proves nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.core.commands.state_machine import FINAL, Command, State
from bridge.core.easee.decode import Observation, Value
from bridge.core.easee.rest_responses import CommandTicket
from bridge.core.events import CommandResponse, Moment

# The charger's clock against ours.
SLACK = timedelta(seconds=2)
# Ends at which the charger may not have answered yet. The others never reached it.
ANSWERABLE = frozenset({State.CONFIRMED, State.REJECTED, State.UNCONFIRMED, State.UNKNOWN})


def owner(response: CommandResponse, commands: Iterable[Command]) -> Command | None:
    """Find the command a charger answers; None when it answers none of them, or none for certain.

    Args:
        response: The answer.
        commands: Those that were sent.
    """
    concerned = [c for c in commands if response.charger_id in c.devices]
    exact = next((c for c in concerned if is_exact(response, c)), None)
    if exact is not None:
        return exact
    alike = [c for c in concerned if is_alike(response, c) and _is_owed(c, response)]
    if len(alike) != 1 or _without_ticks(alike[0], response) is None:
        return None
    return alike[0]


def _is_owed(command: Command, response: CommandResponse) -> bool:
    """Say whether a charger may still answer a command; it may while that is under way."""
    if command.state not in FINAL:
        return True
    left = [t.ticks for i, t in enumerate(command.tickets) if i not in command.answered]
    may_be = any(not ticks or response.ticks in (None, ticks) for ticks in left)
    return command.state in ANSWERABLE and (may_be or not command.tickets)


def is_exact(response: CommandResponse, command: Command) -> bool:
    """Say whether a response carries the very ticks of a command."""
    return any(t.ticks and t.ticks == response.ticks for t in command.tickets)


def is_alike(response: CommandResponse, command: Command) -> bool:
    """Say whether a response is to a command of this kind, this one or another."""
    ids = {ticket.command_id for ticket in command.tickets} or {None}
    return response.command_id in ids or (
        None in ids and response.command_id in command.spec.response_ids
    )


def take_response(command: Command, response: CommandResponse) -> bool:
    """Note that the charger answered one ticket; say whether it has answered all of them."""
    tickets = command.tickets
    exact = (i for i, t in enumerate(tickets) if t.ticks and t.ticks == response.ticks)
    index = next(exact, None)
    if index is None:
        index = _without_ticks(command, response)
        if index is None:
            return False
        named = CommandTicket("", response.command_id, response.ticks)
        command.tickets = (*tickets[:index], named, *tickets[index + 1 :])
    command.answered.add(index)
    return len(command.answered) == len(command.tickets)


def _without_ticks(command: Command, response: CommandResponse) -> int | None:
    """Return which ticket a response may be to by its id, or None: its ticks must be the same."""
    if not command.tickets:
        return 0
    return next(
        (
            index
            for index, ticket in enumerate(command.tickets)
            if not ticket.ticks
            and index not in command.answered
            and ticket.command_id in (None, response.command_id)
        ),
        None,
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest value of an observation.

    Attributes:
        value: It.
        measured_at: By the charger's clock.
        arrived_s: Monotonic time at which it reached us.
    """

    value: Value
    measured_at: datetime
    arrived_s: float


class Readings:
    """The newest value of every observation that may prove a command."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, int], Reading] = {}

    def get(self, charger_id: str, number: int) -> Reading | None:
        """Return the newest reading, or None before the first."""
        return self._held.get((charger_id, number))

    def forget(self, charger_id: str) -> None:
        """Give back what is held of a charger."""
        for key in [key for key in self._held if key[0] == charger_id]:
            del self._held[key]

    def changed(self, observation: Observation, mono_s: float = 0.0) -> bool:
        """Take an observation; say whether it is newer than, and other than, the one before."""
        key = (observation.charger_id, observation.spec.id)
        held = self._held.get(key)
        if held is not None and observation.measured_at < held.measured_at:
            return False
        self._held[key] = Reading(observation.value, observation.measured_at, mono_s)
        return (
            held is not None
            and held.measured_at < observation.measured_at
            and held.value != observation.value
        )


def is_after(observation: Observation, sent: Moment) -> bool:
    """Say whether an observation was measured after something was sent, as far as can be told."""
    return sent.trusted and observation.measured_at >= sent.wall - SLACK


def reflects(command: Command, observation: Observation) -> bool:
    """Note what an observation says about a command; say whether it is proved now."""
    number = observation.spec.id
    for alternative, evidence in enumerate(command.spec.reflects(command.argument)):
        expected = evidence.get(number)
        if expected is None:
            continue
        if expected(observation.value):
            command.seen.add((alternative, number))
        else:
            command.seen.discard((alternative, number))
        if all((alternative, key) in command.seen for key in evidence):
            command.is_reflected = True
    return command.is_reflected
