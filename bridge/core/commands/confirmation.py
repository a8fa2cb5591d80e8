"""What the chargers say, and which command that proves or refutes.

Rules:

1. What a charger says may arrive before the cloud's answer. It is kept until that answer is in, or
   the request over: the cloud may tell ticks that make it somebody else's.
2. A response that belongs to none of our commands is somebody else's, and is announced; also when
   it is found out late, because a call of ours was under way when it came.
3. Where the charger cannot be heard, the cloud is asked: what became of the command by its ticks,
   or what the charger shows where there are none. Gently, a few times within the 30 s; once, near
   their end, when the charger could be heard and said nothing.
4. Where the cloud told the ticks of a command, only a CommandResponse with these ticks answers it:
   another controller's command of the same kind may be milliseconds away.
5. Where it did not, the command id has to do, as long as no other command of that id is under way,
   or ended without the charger's word a moment ago. The ticks that come with such an answer are the
   command's from then on.
6. An observation proves a command only if it was measured after the command was sent, or changed
   since. A replay of an old value proves nothing.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import chain
from typing import Final

from bridge.core.commands.active_commands import CONFIRM_TIMEOUT_S, ActiveCommands
from bridge.core.commands.send_policy import SendPolicy
from bridge.core.commands.state_machine import FINAL, IN_PROGRESS, Command, State, Transition
from bridge.core.easee.command_catalogue import REFLECTING_IDS
from bridge.core.easee.decode import Observation
from bridge.core.easee.rest_requests import (
    CloudRequest,
    command_state_request,
    observations_request,
)
from bridge.core.easee.rest_responses import CommandReference, command_state, observations
from bridge.core.effects import Effect
from bridge.core.events import ChargerResponse, ObservationsReceived
from bridge.core.records.moment import Timestamp
from bridge.errors import CommandRefused, DecodeError

# The charger's clock against ours.
SLACK = timedelta(seconds=2)
# Ends at which the charger may not have answered yet. The others never reached it.
ANSWERABLE = frozenset({State.CONFIRMED, State.REJECTED, State.UNCONFIRMED, State.UNKNOWN})
MAX_EARLY_RESPONSES: Final = 16
# Seconds after the cloud took it. Most answers are there within one.
VERIFY_AFTER_S: Final = (2.0, 5.0, 11.0, 20.0)
# After a restart the stream needs some seconds to come up and replay.
VERIFY_FIRST_S: Final = 3.0

ApplyObservations = Callable[[ObservationsReceived, Timestamp], Iterator[Effect]]
OnUnmatchedResponse = Callable[[ChargerResponse, Timestamp], Iterator[Effect]]


def match_response(response: ChargerResponse, commands: Iterable[Command]) -> Command | None:
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


def _is_owed(command: Command, response: ChargerResponse) -> bool:
    """Say whether a charger may still answer a command; it may while that is under way."""
    if command.state not in FINAL:
        return True
    left = [t.ticks for i, t in enumerate(command.tickets) if i not in command.answered]
    may_be = any(not ticks or response.ticks in (None, ticks) for ticks in left)
    return command.state in ANSWERABLE and (may_be or not command.tickets)


def is_exact(response: ChargerResponse, command: Command) -> bool:
    """Say whether a response carries the very ticks of a command."""
    return any(t.ticks and t.ticks == response.ticks for t in command.tickets)


def is_alike(response: ChargerResponse, command: Command) -> bool:
    """Say whether a response is to a command of this kind, this one or another."""
    ids = {ticket.command_id for ticket in command.tickets} or {None}
    return response.command_id in ids or (
        None in ids and response.command_id in command.spec.response_ids
    )


def record_ticket_ack(command: Command, response: ChargerResponse) -> bool:
    """Note that the charger answered one ticket; say whether it has answered all of them."""
    tickets = command.tickets
    exact = (i for i, t in enumerate(tickets) if t.ticks and t.ticks == response.ticks)
    index = next(exact, None)
    if index is None:
        index = _without_ticks(command, response)
        if index is None:
            return False
        named = CommandReference("", response.command_id, response.ticks)
        command.tickets = (*tickets[:index], named, *tickets[index + 1 :])
    command.answered.add(index)
    return len(command.answered) == len(command.tickets)


def _without_ticks(command: Command, response: ChargerResponse) -> int | None:
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


def is_after(observation: Observation, sent: Timestamp) -> bool:
    """Say whether an observation was measured after something was sent, as far as can be told."""
    return sent.trusted and observation.measured_at >= sent.wall - SLACK


def record_reflection(command: Command, observation: Observation) -> bool:
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


class CommandConfirmation:
    """Matches responses, observations and the cloud's records with commands."""

    def __init__(
        self,
        active: ActiveCommands,
        send_policy: SendPolicy,
        *,
        observe: ApplyObservations,
        foreign: OnUnmatchedResponse,
    ) -> None:
        """Begin without anything heard.

        Args:
            active: The commands.
            send_policy: Told of every observation.
            observe: Applies observations that were read over REST.
            foreign: Announces a response to somebody else's command.
        """
        self._active = active
        self._send_policy = send_policy
        self._observe = observe
        self._foreign = foreign
        self._early: dict[str, list[ChargerResponse]] = {}

    # -- responses ---------------------------------------------------------------------------

    def responded(self, response: ChargerResponse, now: Timestamp) -> Iterator[Effect]:
        """Take what a charger answers to a command, ours or not."""
        command = self._owner(response, now)
        in_flight = self._in_flight(response)
        if in_flight is not None and (command is None or not is_exact(response, command)):
            yield from self._keep(response, in_flight, now)
        elif command is None:
            yield from self._foreign(response, now)
        else:
            is_complete = record_ticket_ack(command, response)
            if command.state in FINAL:
                return
            if not response.accepted:
                detail = f"the charger said no (result code {response.result_code})"
                yield from self._active.finish(command, Transition.REJECT, now, detail=detail)
            elif is_complete:
                yield from self._active.finish(command, Transition.CONFIRM, now)

    def _keep(
        self, response: ChargerResponse, in_flight: Command, now: Timestamp
    ) -> Iterator[Effect]:
        """Keep a response until the cloud's answer tells whose it is."""
        early = self._early.setdefault(in_flight.charger_id, [])
        early.append(response)
        if len(early) > MAX_EARLY_RESPONSES:
            yield from self._foreign(early.pop(0), now)

    def replay_early_responses(self, charger_id: str, now: Timestamp) -> Iterator[Effect]:
        """Look again at responses that came before the cloud's answer."""
        early = self._early.pop(charger_id, [])
        for response in early:
            command = self._owner(response, now)
            if command is None or is_exact(response, command) or _is_sure(command, early):
                yield from self.responded(response, now)
            else:
                yield from self._foreign(response, now)

    def _owner(self, response: ChargerResponse, now: Timestamp) -> Command | None:
        waiting = (c for c in self._active.live if c.state in {State.ACCEPTED, State.IN_DOUBT})
        return match_response(response, chain(waiting, self._active.recently_finished(now)))

    def _in_flight(self, response: ChargerResponse) -> Command | None:
        """Return the command whose cloud answer is awaited, if the charger may mean that one."""
        sent = (c for c in self._active.live if c.state is State.SENT)
        return next((c for c in sent if response.charger_id in c.devices), None)

    # -- observations ------------------------------------------------------------------------

    def observed(self, observation: Observation, now: Timestamp) -> Iterator[Effect]:
        """Take an observation that may reflect a command."""
        if observation.spec.id not in REFLECTING_IDS:
            return
        changed = self._send_policy.observed(observation, now)
        for command in tuple(self._active.live):
            if (
                command.state in IN_PROGRESS
                and command.sent is not None
                and observation.charger_id in command.devices
                and (changed or is_after(observation, command.sent))
                and record_reflection(command, observation)
                and command.state is not State.SENT
            ):
                yield from self._active.finish(command, Transition.CONFIRM, now)

    # -- asking the cloud ---------------------------------------------------------------------

    def start_timeout(
        self, command: Command, now: Timestamp, *, since_s: float, is_restored: bool = False
    ) -> None:
        """Begin to wait for the charger: decide when the cloud is asked instead.

        Args:
            command: It.
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
        """Note that the chargers can be heard, or cannot any more."""
        self._active.shown.stream(now, is_up=is_up)
        for command in self._active.live:
            if command.state in {State.ACCEPTED, State.IN_DOUBT} and not is_up:
                command.look_at_s = min(command.look_at_s, now.mono_s + VERIFY_AFTER_S[0])

    def verification_request(self, command: Command) -> CloudRequest | None:
        """Return what to ask the cloud about a command; None where nothing would tell."""
        for index, ticket in enumerate(command.tickets):
            if index not in command.answered and ticket.ticks and ticket.command_id is not None:
                device = ticket.device or command.charger_id
                try:
                    return command_state_request(device, ticket.command_id, ticket.ticks)
                except CommandRefused:
                    continue
        wanted = {n for evidence in command.spec.reflects(command.argument) for n in evidence}
        return observations_request(command.charger_id, tuple(sorted(wanted))) if wanted else None

    def verification_received(
        self, command: Command, request: CloudRequest, body: bytes, now: Timestamp
    ) -> Iterator[Effect]:
        """Take what the cloud said about a command."""
        if command.state not in {State.ACCEPTED, State.IN_DOUBT}:
            return
        try:
            if request.path.startswith("/state/"):
                found = observations(body, command.charger_id).observations
                yield from self._observe(ObservationsReceived(found, "poll"), now)
                return
            record = command_state(body)
        except DecodeError:
            return
        if record.accepted is None:
            return
        asked = int(request.path.rsplit("/", 1)[-1])
        ticket = next((t for t in command.tickets if t.ticks == asked), None)
        if ticket is not None:
            response = ChargerResponse(
                command.charger_id, ticket.command_id, asked, record.accepted, record.result_code
            )
            if not record.accepted:
                detail = f"the charger said no (result code {record.result_code})"
                yield from self._active.finish(command, Transition.REJECT, now, detail=detail)
            elif record_ticket_ack(command, response):
                yield from self._active.finish(command, Transition.CONFIRM, now)
            else:
                command.look_at_s = now.mono_s  # the next of its tickets

    def verification_started(self, command: Command, now: Timestamp) -> None:
        """Note that the cloud is being asked, and plan the next time."""
        command.looks += 1
        self._plan(command, now)

    def _plan(self, command: Command, now: Timestamp) -> None:
        since_s = command.due_s - CONFIRM_TIMEOUT_S
        wanted: tuple[float, ...] = VERIFY_AFTER_S
        if self._active.shown.is_stream_up:
            wanted = () if command.looks else VERIFY_AFTER_S[-1:]
        times = (since_s + after_s for after_s in wanted)
        command.look_at_s = min((at for at in times if at > now.mono_s), default=math.inf)


def _is_sure(command: Command, early: Iterable[ChargerResponse]) -> bool:
    """Say whether all responses that may be to a command are to one and the same command."""
    return len({(r.command_id, r.ticks) for r in early if is_alike(r, command)}) <= 1
