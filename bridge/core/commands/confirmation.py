"""Confirmation of commands by responses, observations and the cloud's record.

Rules:

1. Where the cloud returned the ticks of a command, only a CommandResponse with these ticks answers
   it: another controller's command of the same kind may be milliseconds away.
2. Where it did not, the command id decides, as long as no other command of that id is in progress
   or ended a moment ago without a response. The command then takes the ticks of the response.
3. An observation proves a command only if it was measured after the command was sent, or changed
   since. A replay of an old value proves nothing.
4. A response may arrive before the cloud's answer to the request. It is kept until that answer
   arrives or the request fails: the ticks in the answer may show that it is not ours.
5. A response that matches none of our commands is reported as an unmatched one, also when that is
   only known after a request in flight was answered.
6. While the stream is down, the cloud is asked: for the record of the command by its ticks, or for
   the charger's observations where there are none. A few times within the 30 s; once, near their
   end, when the stream is up and nothing arrived.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any, Final

import msgspec

from bridge.core.commands.active_commands import (
    CONFIRM_TIMEOUT_S,
    ActiveCommands,
    Command,
)
from bridge.core.commands.send_policy import SendPolicy
from bridge.core.commands.shown_state import ShownState
from bridge.core.commands.state_machine import AWAITED, FINAL, IN_PROGRESS, State, Transition
from bridge.core.domain_events import Output, UnmatchedResponse
from bridge.core.easee.command_catalogue import REFLECTING_IDS, ReadBack, target_of
from bridge.core.easee.decode import Observation
from bridge.core.easee.rest_requests import (
    CloudRequest,
    command_state_request,
    observations_request,
)
from bridge.core.easee.rest_responses import OK, CommandReference, command_state
from bridge.core.events import ChargerResponse
from bridge.core.records.moment import Timestamp
from bridge.errors import CommandRefused, DecodeError

MAX_EARLY_RESPONSES: Final = 16
# Seconds after the cloud accepted it. Most responses arrive within one.
VERIFY_AFTER_S: Final = (2.0, 5.0, 11.0, 20.0)
# What the cloud holds itself it can tell at once.
READ_BACK_AFTER_S: Final = (0.5, *VERIFY_AFTER_S)
# Of a schedule: where the cloud's answer named no command to wait for.
SCHEDULES_AFTER_S: Final = (0.2, *VERIFY_AFTER_S)
# After a restart the stream needs some seconds to come up and replay.
VERIFY_FIRST_S: Final = 3.0
# The charger's clock against ours.
SLACK = timedelta(seconds=2)
# Ends at which the charger may not have answered yet. The others never reached it.
ANSWERABLE = frozenset({State.CONFIRMED, State.REJECTED, State.UNCONFIRMED, State.UNKNOWN})


class Verification(msgspec.Struct, frozen=True):
    """What the cloud is asked about a command.

    Attributes:
        request: To be sent.
        ticks: Of the ticket it asks for; None: it reads what the charger shows.
        is_read_back: It reads what the cloud holds.
    """

    request: CloudRequest
    ticks: int | None = None
    is_read_back: bool = False


class CommandConfirmation:
    """Matches responses, observations and the cloud's records with commands."""

    def __init__(
        self,
        commands: ActiveCommands,
        shown: ShownState,
        policy: SendPolicy,
    ) -> None:
        """Start without a response.

        Args:
            commands: The commands.
            shown: What the chargers show.
            policy: Told of every observation.
        """
        self._commands = commands
        self._shown = shown
        self._policy = policy

    # -- responses ---------------------------------------------------------------------------

    def responded(self, response: ChargerResponse, effects: list[Output], now: Timestamp) -> None:
        """Handle the response of a charger to a command, ours or not."""
        command = match_response(response, self._answerable(now))
        in_flight = self._in_flight(response)
        if in_flight is not None and (command is None or exact_ticket(command, response) is None):
            in_flight.early.append(response)
            if len(in_flight.early) > MAX_EARLY_RESPONSES:
                effects.append(UnmatchedResponse(in_flight.early.pop(0)))
        elif command is None:
            effects.append(UnmatchedResponse(response))
        else:
            if command.spec.is_paced and exact_ticket(command, response) is None:
                self._commands.uncertain.append(response)
            is_complete = record_ticket_ack(command, response)
            if command.state in FINAL:
                return
            if not response.accepted:
                self._rejected(command, response.result_code, effects, now)
            elif is_complete:
                self._commands.finish(command, Transition.CONFIRM, effects, now)

    def replay_early_responses(
        self, command: Command, effects: list[Output], now: Timestamp
    ) -> None:
        """Handle the responses that arrived before the cloud's answer to a command."""
        early, command.early = command.early, []
        for response in early:
            owner = match_response(response, self._answerable(now))
            if owner is None or _is_certain(response, owner, early):
                self.responded(response, effects, now)
            else:
                effects.append(UnmatchedResponse(response))

    def _rejected(
        self, command: Command, result_code: int | None, effects: list[Output], now: Timestamp
    ) -> None:
        detail = f"rejected by the charger (result code {result_code})"
        self._commands.finish(command, Transition.REJECT, effects, now, detail=detail)

    def _answerable(self, now: Timestamp) -> list[Command]:
        """Return the commands a charger may answer: those the cloud has, then finished ones."""
        answerable = []
        for command in chain(self._commands.live, self._commands.finished):
            is_recent = 0 <= now.mono_s - command.finished_s < CONFIRM_TIMEOUT_S
            if command.state in AWAITED or is_recent:
                answerable.append(command)
        return answerable

    def _in_flight(self, response: ChargerResponse) -> Command | None:
        """Return the command whose cloud answer is awaited, if the charger may mean that one."""
        for command in self._commands.live:
            if command.state is State.SENT and response.charger_id in command.devices:
                return command
        return None

    # -- observations ------------------------------------------------------------------------

    def observed(self, observation: Observation, effects: list[Output], now: Timestamp) -> None:
        """Handle an observation that may prove a command."""
        if observation.spec.id not in REFLECTING_IDS:
            return
        changed = self._policy.observed(observation, now)
        for command in tuple(self._commands.live):
            if (
                command.state in IN_PROGRESS
                and command.sent is not None
                and observation.charger_id in command.devices
                and (changed or is_after(observation, command.sent))
                and record_reflection(command, observation)
                and command.state is not State.SENT
            ):
                self._commands.finish(command, Transition.CONFIRM, effects, now)

    # -- asking the cloud --------------------------------------------------------------------

    def start_timeout(
        self, command: Command, now: Timestamp, *, since_s: float, is_restored: bool = False
    ) -> None:
        """Start the time in which the charger has to respond, and plan when the cloud is asked.

        Args:
            command: The command to check.
            now: The time.
            since_s: Monotonic time from which on its 30 s count.
            is_restored: It is of an earlier process.
        """
        command.due_s = since_s + CONFIRM_TIMEOUT_S
        command.looks = 0
        self._plan(command, now)
        if is_restored:
            command.look_at_s = now.mono_s + VERIFY_FIRST_S

    def stream(self, now: Timestamp, *, is_up: bool) -> None:
        """Record that the stream was opened or lost."""
        self._shown.stream(now, is_up=is_up)
        for command in self._commands.live:
            if command.state in AWAITED and not is_up:
                command.look_at_s = min(command.look_at_s, now.mono_s + VERIFY_AFTER_S[0])

    def verification(self, command: Command) -> Verification | None:
        """Return what to ask the cloud about a command; None where nothing would prove it."""
        for index, ticket in enumerate(command.tickets):
            if index not in command.answered and ticket.ticks and ticket.command_id is not None:
                device = ticket.device or command.charger_id
                try:
                    request = command_state_request(device, ticket.command_id, ticket.ticks)
                    return Verification(request, ticket.ticks)
                except CommandRefused:
                    continue
        if command.spec.read_back is not None:
            return self._read_back(command, command.spec.read_back)
        wanted = {n for evidence in command.spec.reflects(command.argument) for n in evidence}
        if not wanted:
            return None
        return Verification(observations_request(command.charger_id, tuple(sorted(wanted))))

    def _read_back(self, command: Command, read_back: ReadBack[Any]) -> Verification | None:
        is_located = command.target.site_id is not None
        target = command.target if is_located else target_of(command.charger_id)
        request = read_back.request(target)
        return None if request is None else Verification(request, is_read_back=True)

    def was_read_back(
        self, command: Command, body: bytes, effects: list[Output], now: Timestamp
    ) -> None:
        """Handle what the cloud holds of what a command set."""
        read_back = command.spec.read_back
        if read_back is None or command.state not in AWAITED:
            return
        try:
            holds = read_back.holds(command.argument, body)
        except DecodeError:
            return
        if holds:
            self._commands.finish(command, Transition.CONFIRM, effects, now)

    def not_read_back(self, command: Command, effects: list[Output], now: Timestamp) -> None:
        """Handle that the cloud does not let what a command set be read: its 200 has to do."""
        if command.state is State.ACCEPTED and command.http_status == OK:
            self._commands.finish(command, Transition.CONFIRM, effects, now)

    def verification_started(self, command: Command, now: Timestamp) -> None:
        """Record that the cloud is being asked, and plan the next time."""
        command.looks += 1
        self._plan(command, now)

    def verification_received(
        self,
        command: Command,
        asked: int | None,
        body: bytes,
        effects: list[Output],
        now: Timestamp,
    ) -> None:
        """Handle the cloud's record of a command.

        Args:
            command: The command to check.
            asked: The ticks that were asked for.
            body: Of the answer.
            effects: Where what follows goes.
            now: The time.
        """
        try:
            record = command_state(body)
        except DecodeError:
            return
        if record.accepted is None or command.state not in AWAITED:
            return
        ticket = next((t for t in command.tickets if t.ticks == asked), None)
        if ticket is None:
            return
        response = ChargerResponse(
            command.charger_id, ticket.command_id, asked, record.accepted, record.result_code
        )
        if not record.accepted:
            self._rejected(command, record.result_code, effects, now)
        elif record_ticket_ack(command, response):
            self._commands.finish(command, Transition.CONFIRM, effects, now)
        else:
            command.look_at_s = now.mono_s  # the next of its tickets

    def _plan(self, command: Command, now: Timestamp) -> None:
        since_s = command.due_s - CONFIRM_TIMEOUT_S
        wanted: tuple[float, ...] = VERIFY_AFTER_S
        if command.spec.read_back is not None:
            wanted = READ_BACK_AFTER_S
        elif command.spec.shown_by_schedules is not None:
            wanted = SCHEDULES_AFTER_S[bool(command.tickets) :]
        elif self._shown.stream_since_s is not None:
            wanted = () if command.looks else VERIFY_AFTER_S[-1:]
        command.look_at_s = math.inf
        for after_s in wanted:
            if since_s + after_s > now.mono_s:
                command.look_at_s = since_s + after_s
                break


# -- whose response it is ------------------------------------------------------------------------


def match_response(response: ChargerResponse, commands: Sequence[Command]) -> Command | None:
    """Find the command a charger answers; None when it answers none of them, or none for certain.

    Args:
        response: The answer.
        commands: Those that were sent.
    """
    for command in commands:
        if response.charger_id in command.devices and exact_ticket(command, response) is not None:
            return command
    concerned = [command for command in commands if response.charger_id in command.devices]
    alike = [c for c in concerned if is_alike(response, c) and _may_still_answer(c, response)]
    if len(alike) != 1 or _without_ticks(alike[0], response) is None:
        return None
    return alike[0]


def _may_still_answer(command: Command, response: ChargerResponse) -> bool:
    """Return whether a charger may still answer a command; it may while that is in progress."""
    if command.state not in FINAL:
        return True
    left = [t.ticks for i, t in enumerate(command.tickets) if i not in command.answered]
    may_be = any(not ticks or response.ticks in (None, ticks) for ticks in left)
    return command.state in ANSWERABLE and (may_be or not command.tickets)


def exact_ticket(command: Command, response: ChargerResponse) -> int | None:
    """Return which ticket of a command has the very ticks of a response, or None."""
    for index, ticket in enumerate(command.tickets):
        if ticket.ticks and ticket.ticks == response.ticks:
            return index
    return None


def is_alike(response: ChargerResponse, command: Command) -> bool:
    """Return whether a response is to a command of this kind, this one or another."""
    ids = {ticket.command_id for ticket in command.tickets} or {None}
    return response.command_id in ids or (
        None in ids and response.command_id in command.spec.response_ids
    )


def record_ticket_ack(command: Command, response: ChargerResponse) -> bool:
    """Record the response to one ticket; return whether all of them have one."""
    index = exact_ticket(command, response)
    if index is None:
        index = _without_ticks(command, response)
        if index is None:
            return False
        tickets = command.tickets
        named = CommandReference("", response.command_id, response.ticks)
        command.tickets = (*tickets[:index], named, *tickets[index + 1 :])
    command.answered.add(index)
    return len(command.answered) == len(command.tickets)


def _without_ticks(command: Command, response: ChargerResponse) -> int | None:
    """Return which ticket a response may be to by its id, or None: its ticks must be the same."""
    if not command.tickets:
        return 0
    for index, ticket in enumerate(command.tickets):
        if (
            not ticket.ticks
            and index not in command.answered
            and ticket.command_id in (None, response.command_id)
        ):
            return index
    return None


def _is_certain(
    response: ChargerResponse, command: Command, early: Iterable[ChargerResponse]
) -> bool:
    """Return whether a response is to a command, by its ticks or as the only one of its kind."""
    if exact_ticket(command, response) is not None:
        return True
    return len({(r.command_id, r.ticks) for r in early if is_alike(r, command)}) <= 1


# -- what an observation proves ------------------------------------------------------------------


def is_after(observation: Observation, sent: Timestamp) -> bool:
    """Return whether an observation was measured after a sending, as far as the clock tells."""
    return sent.trusted and observation.measured_at >= sent.wall - SLACK


def record_reflection(command: Command, observation: Observation) -> bool:
    """Record what an observation proves of a command; return whether it is proved now."""
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
