"""Who is meant by what a charger says: its command responses and its observations.

Rules:

1. A CommandResponse belongs to the command with the same ticks; where none has them, to the one
   with the same command id and the nearest ticks. The ticks the charger reports differ a little
   from the cloud's answer now and then (evcc's dispatcher).
2. An observation proves a command only if it was measured after the command was sent, or changed
   since. A replay of an old value proves nothing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.core.chargers.observations import Observation, Value
from bridge.core.commands.lifecycle import Command
from bridge.core.events import CommandResponse, Moment

TICKS_A_SECOND = 10_000_000
# Two load balancers' clocks differ by seconds at most; another controller's command of the same
# kind within that time cannot be told apart.
TICKS_APART = 30 * TICKS_A_SECOND
# The charger's clock against ours.
SLACK = timedelta(seconds=2)


def owner(response: CommandResponse, commands: Iterable[Command]) -> Command | None:
    """Find the command a charger answers.

    Args:
        response: The answer.
        commands: Those that were sent, the likelier ones first.
    """
    best: Command | None = None
    best_apart = TICKS_APART + 1
    for command in commands:
        if response.charger_id in command.devices:
            apart = min(_apart(response, command), default=TICKS_APART + 1)
            if apart < best_apart:
                best, best_apart = command, apart
    return best


def is_exact(response: CommandResponse, command: Command) -> bool:
    """Say whether a response carries the very ticks of a command."""
    return any(t.ticks and t.ticks == response.ticks for t in command.tickets)


def _apart(response: CommandResponse, command: Command) -> Iterator[int]:
    """Yield for each way in which a response may be meant how far off it is, in ticks."""
    if not command.tickets and response.command_id in command.spec.response_ids:
        yield TICKS_APART
    for ticket in command.tickets:
        if response.ticks and ticket.ticks:
            apart = abs(response.ticks - ticket.ticks)
            if apart == 0 or (_same_id(response, command, ticket.command_id)):
                yield apart
        elif _same_id(response, command, ticket.command_id):
            yield TICKS_APART


def _same_id(response: CommandResponse, command: Command, command_id: int | None) -> bool:
    if command_id is None:
        return response.command_id in command.spec.response_ids
    return response.command_id == command_id


def take_response(command: Command, response: CommandResponse) -> bool:
    """Note the charger's yes to one ticket; say whether it said yes to all of them."""
    tickets = command.tickets
    exact = [i for i, t in enumerate(tickets) if t.ticks and t.ticks == response.ticks]
    unanswered = [i for i in range(len(tickets)) if i not in command.answered]
    same_id = [i for i in unanswered if tickets[i].command_id == response.command_id]
    command.answered.update((exact or same_id or unanswered)[:1])
    return len(command.answered) == len(tickets)


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
