"""The way to the cloud: whose turn it is, what is sent, and what follows from the answer.

Rules:

1. One command per charger at a time; what concerns a circuit keeps all its chargers. Different
   chargers do not wait for each other.
2. That a command leaves is on disk before it does. Where its first row is written when its turn
   has come already, that is one commit and not two.
3. The time of a command is looked at right before every request, on the monotonic clock, and a
   request gets no longer than what is left of it.
4. One call per charger at a time: two overlapping ones left a charger inconsistent (evcc#8398).
   Looking what became of a command changes nothing and holds up nobody.
5. A call that nobody answers is lost after its time and a grace; it must not hold a lane for ever.
"""

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from bridge.core.commands.active_commands import ActiveCommands
from bridge.core.commands.confirmation import ApplyObservations, CommandConfirmation
from bridge.core.commands.queues import CommandQueues
from bridge.core.commands.retry_policy import (
    Expire,
    GiveUp,
    InDoubt,
    RetryDecision,
    RetryIn,
    Taken,
    decide,
)
from bridge.core.commands.send_policy import Defer, NoChange, Refuse, SendPolicy
from bridge.core.commands.state_machine import BLOCKING, FINAL, Command, State, Transition
from bridge.core.easee.command_catalogue import CommandTarget
from bridge.core.easee.rest_requests import CloudRequest, site_request
from bridge.core.easee.rest_responses import (
    Circuit,
    CommandReference,
    charger_site,
    command_tickets,
    is_noop_response,
    observations,
)
from bridge.core.effects import Effect, LogEntry, SendRequest
from bridge.core.events import CloudFailed, CloudResponse, ObservationsReceived
from bridge.core.records.moment import Timestamp
from bridge.errors import CloudRejected, DecodeError

MAX_REQUESTS: Final = 4
MAX_VERIFICATIONS: Final = 2
REQUEST_TIMEOUT_S: Final = 30.0
VERIFICATION_TIMEOUT_S: Final = 10.0
GRACE_S: Final = 5.0
NOT_FOUND: Final = 404


class Purpose(enum.Enum):
    """What a call is for."""

    SEND = "carry the command out"
    LOCATE = "ask for the circuit, before it can be sent"
    VERIFY = "ask what became of it"


@dataclass(frozen=True, slots=True)
class PendingRequest:
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


class PendingRequests:
    """Calls by number."""

    def __init__(self, next_call_id: Callable[[], int]) -> None:
        self._next_call_id = next_call_id
        self._pending: dict[int, PendingRequest] = {}

    def __contains__(self, call_id: object) -> bool:
        return call_id in self._pending

    def count(self, *purposes: Purpose) -> int:
        """How many calls of these kinds are open."""
        return sum(pending.purpose in purposes for pending in self._pending.values())

    @property
    def locating(self) -> frozenset[str]:
        """Chargers whose circuit is being asked for."""
        return frozenset(
            pending.command.charger_id
            for pending in self._pending.values()
            if pending.purpose is Purpose.LOCATE
        )

    @property
    def open(self) -> Iterable[PendingRequest]:
        """All of them."""
        return self._pending.values()

    def start(
        self, command: Command, request: CloudRequest, purpose: Purpose, now: Timestamp
    ) -> SendRequest:
        """Make a call that takes no longer than its command may wait."""
        within_s = min(REQUEST_TIMEOUT_S, command.expires_s - now.mono_s)
        if purpose is Purpose.VERIFY:
            within_s = VERIFICATION_TIMEOUT_S
        request = replace(request, command=True)
        call_id = self._next_call_id()
        due_s = now.mono_s + within_s + GRACE_S
        self._pending[call_id] = PendingRequest(command, request, purpose, due_s)
        return SendRequest(call_id, request, within_s)

    def end(self, call_id: int) -> PendingRequest | None:
        """Take out a call that was answered; None when it is not one of ours."""
        return self._pending.pop(call_id, None)

    def timed_out(self, mono_s: float) -> list[PendingRequest]:
        """Take out the calls that nobody answered in time."""
        overdue = [call_id for call_id, pending in self._pending.items() if pending.due_s <= mono_s]
        return [self._pending.pop(call_id) for call_id in overdue]


class CommandDispatcher:
    """Sends what waits in the lanes."""

    def __init__(
        self,
        active: ActiveCommands,
        queues: CommandQueues,
        send_policy: SendPolicy,
        confirmation: CommandConfirmation,
        *,
        next_call_id: Callable[[], int],
        observe: ApplyObservations,
    ) -> None:
        """Begin with nothing under way.

        Args:
            active: The commands.
            queues: Those that wait.
            send_policy: What was sent lately.
            confirmation: Takes over what the cloud took.
            next_call_id: Draws the number of a REST call.
            observe: Applies observations that a command brought (``refresh``).
        """
        self._active = active
        self._queues = queues
        self._send_policy = send_policy
        self._confirmation = confirmation
        self._observe = observe
        self._circuits: dict[str, Circuit] = {}
        self._picked: dict[Command, CloudRequest] = {}
        self.requests = PendingRequests(next_call_id)

    def forget(self, charger_id: str) -> None:
        """Give back what is held of a charger."""
        self._circuits.pop(charger_id, None)

    # -- out ---------------------------------------------------------------------------------

    def pump(self, now: Timestamp) -> Iterator[Effect]:
        """Send what may be sent."""
        busy = set(self.requests.locating)
        room = MAX_REQUESTS - self.requests.count(Purpose.SEND, Purpose.LOCATE)
        for command in self._active.live:
            if command.state in BLOCKING:
                busy |= command.devices
                room -= command.state is State.LEAVING
        again = True
        while again:
            again = False
            for command in self._queues.ready(busy):
                if room <= 0:
                    return
                if command.not_before_s <= now.mono_s < command.expires_s:
                    before = len(busy)
                    yield from self._consider(command, busy, now)
                    room -= len(busy) > before
                    again = again or command.state in FINAL

    def _consider(self, command: Command, busy: set[str], now: Timestamp) -> Iterator[Effect]:
        """Decide about the head of a lane; what is under way then is added to ``busy``."""
        request, devices = self._request_of(command)
        if request is None:
            command.attempts += 1
            self._queues.rotate(command.charger_id)
            busy.add(command.charger_id)
            site = site_request(command.charger_id)
            yield self.requests.start(command, site, Purpose.LOCATE, now)
            return
        self._queues.put(command, devices)
        if not self._queues.is_ready(command, busy):
            return
        match self._send_policy.evaluate(command, now):
            case Defer(until_s):
                command.due_s = min(command.expires_s, until_s)
            case NoChange():
                self._queues.remove(command)
                yield from self._active.finish(command, Transition.SKIP, now)
            case Refuse(reason, detail):
                self._queues.remove(command)
                yield from self._active.finish(command, Transition.REFUSE, now, reason, detail)
            case None:
                self._queues.remove(command)
                self._queues.rotate(command.charger_id)
                command.apply(Transition.PICK)
                command.devices = devices
                command.wrote_flash = command.spec.flash
                command.due_s = command.expires_s
                self._picked[command] = request
                busy |= devices
                self._active.persistence.mark_dirty(command)

    def send(self, command: Command, now: Timestamp) -> Iterator[Effect]:
        """Send a command: that it leaves is on disk, or cannot be had there."""
        request = self._picked.pop(command)
        if now.mono_s >= command.expires_s:
            command.wrote_flash = False
            yield from self._active.finish(command, Transition.LATE, now)
            return
        command.attempts += 1
        command.mark_sent(now, command.devices)
        self._send_policy.sent(command, now)
        yield self.requests.start(command, request, Purpose.SEND, now)

    def _request_of(self, command: Command) -> tuple[CloudRequest | None, frozenset[str]]:
        """Return the request, None while the circuit is not known, and whom it concerns."""
        charger_id, spec = command.charger_id, command.spec
        request = spec.request(CommandTarget(charger_id), command.argument)
        circuit = self._circuits.get(charger_id)
        if request is not None or circuit is None:
            return request, frozenset({charger_id})
        target = CommandTarget(charger_id, circuit.site_id, circuit.circuit_id)
        return spec.request(target, command.argument), frozenset({charger_id, *circuit.charger_ids})

    def discard(self, command: Command) -> None:
        """Forget a command that was picked and will not leave."""
        command.wrote_flash = False
        self._picked.pop(command, None)

    def verify(self, now: Timestamp) -> Iterator[SendRequest]:
        """Ask what became of commands whose charger is not heard."""
        for command in tuple(self._active.live):
            if command.look_at_s > now.mono_s:
                continue
            if self.requests.count(Purpose.VERIFY) >= MAX_VERIFICATIONS:
                command.look_at_s = now.mono_s + 1.0
                continue
            self._confirmation.verification_started(command, now)
            if (request := self._confirmation.verification_request(command)) is not None:
                yield self.requests.start(command, request, Purpose.VERIFY, now)

    # -- back --------------------------------------------------------------------------------

    def answered(self, event: CloudResponse, now: Timestamp) -> Iterator[Effect]:
        """Take the cloud's answer to one of our calls."""
        pending = self.requests.end(event.call_id)
        if pending is None:
            return
        command = pending.command
        match pending.purpose:
            case Purpose.LOCATE:
                yield from self._located(command, event.body, now)
            case Purpose.VERIFY:
                yield from self._confirmation.verification_received(
                    command, pending.request, event.body, now
                )
            case Purpose.SEND:
                command.http_status = event.status
                self._send_policy.answered(command, now)
                yield from self._taken(command, event, now)
                yield from self._confirmation.replay_early_responses(command.charger_id, now)

    def failed(self, event: CloudFailed, now: Timestamp) -> Iterator[Effect]:
        """Take the failure of one of our calls."""
        pending = self.requests.end(event.call_id)
        if pending is None or pending.purpose is Purpose.VERIFY:
            return
        command, error = pending.command, event.error
        awaited = State.SENT if pending.purpose is Purpose.SEND else State.WAITING
        if command.state is awaited:
            command.http_status = error.status
            decision = decide(
                error,
                idempotent=command.spec.idempotent,
                attempts=command.attempts,
                left_s=command.expires_s - now.mono_s,
                is_lookup=pending.purpose is Purpose.LOCATE or command.spec.on_200 == "read",
            )
            if pending.purpose is Purpose.SEND:
                self._unsent(command, decision, now)
            if _is_already_gone(pending, event):
                yield from self._active.finish(command, Transition.SKIP, now)
            else:
                yield from self._judge(command, decision, str(error), now)
        if isinstance(error, CloudRejected):
            # It may hang on another circuit by now.
            self._circuits.pop(command.charger_id, None)
        yield from self._confirmation.replay_early_responses(command.charger_id, now)

    def time_out(self, now: Timestamp) -> Iterator[Effect]:
        """Go on from calls that nobody answered."""
        for pending in self.requests.timed_out(now.mono_s):
            yield LogEntry(
                "error", "command.request_timed_out", {"command": pending.command.spec.name}
            )
            if pending.purpose is Purpose.SEND:
                self._send_policy.answered(pending.command, now)
                yield from self._judge(pending.command, InDoubt(), "no answer", now)
                yield from self._confirmation.replay_early_responses(
                    pending.command.charger_id, now
                )

    def _unsent(self, command: Command, decision: RetryDecision, now: Timestamp) -> None:
        """Take back what was counted for a sending that came to nothing."""
        if isinstance(decision, InDoubt | Taken):
            self._send_policy.answered(command, now)
        else:
            command.wrote_flash = False
            self._send_policy.undo(command)

    def _located(self, command: Command, body: bytes, now: Timestamp) -> Iterator[Effect]:
        """Take the answer to a lookup; the command still waits at the head of its lane."""
        try:
            self._circuits[command.charger_id] = charger_site(body, command.charger_id)
        except DecodeError as error:
            if command.state is State.WAITING:
                self._queues.remove(command)
                yield from self._active.finish(
                    command, Transition.DENY, now, "no_circuit", error.reason
                )

    def _taken(self, command: Command, event: CloudResponse, now: Timestamp) -> Iterator[Effect]:
        """Go on from a 2xx answer to a command."""
        body, on_200 = event.body, command.spec.on_200
        if on_200 == "read":
            yield from self._read(command, body, now)
            return
        try:
            tickets = tuple(t for t in command_tickets(body) if t.ticks or t.accepted is not None)
            is_empty = not tickets
        except DecodeError as error:
            yield from self._taken_without_a_word(command, str(error), now)
            return
        if is_empty and on_200 == "confirmed":
            yield from self._active.finish(command, Transition.CONFIRM, now)
            return
        if is_empty and on_200 == "noop" and is_noop_response(event.status, body):
            command.wrote_flash = False
            self._send_policy.undo(command)
            yield from self._active.finish(command, Transition.SKIP, now)
            return
        yield from self._accept(command, tickets, now)

    def _taken_without_a_word(self, command: Command, why: str, now: Timestamp) -> Iterator[Effect]:
        """The status says it was taken; what the charger does will tell the rest."""
        yield LogEntry("warning", "command.answer_unreadable", {"error": why})
        yield from self._accept(command, (), now)

    def _accept(
        self, command: Command, tickets: tuple[CommandReference, ...], now: Timestamp
    ) -> Iterator[Effect]:
        """Go on from what the cloud took for the charger."""
        command.tickets = tickets
        command.apply(Transition.TAKE)
        self._confirmation.start_timeout(command, now, since_s=now.mono_s)
        self._active.persistence.mark_dirty(command)
        yield from self._active.publish_progress(command, now)
        command.answered.update(i for i, ticket in enumerate(tickets) if ticket.accepted)
        if any(ticket.accepted is False for ticket in tickets):
            detail = "the charger said no"
            yield from self._active.finish(command, Transition.REJECT, now, detail=detail)
        elif command.is_reflected or (tickets and len(command.answered) == len(tickets)):
            yield from self._active.finish(command, Transition.CONFIRM, now)

    def _read(self, command: Command, body: bytes, now: Timestamp) -> Iterator[Effect]:
        """Apply the observations that a command asked for."""
        try:
            found = observations(body, command.charger_id).observations
        except DecodeError as error:
            yield from self._active.finish(
                command, Transition.DENY, now, "unreadable", error.reason
            )
            return
        yield from self._observe(ObservationsReceived(found, "poll"), now)
        yield from self._active.finish(command, Transition.CONFIRM, now)

    def _judge(
        self, command: Command, decision: RetryDecision, detail: str, now: Timestamp
    ) -> Iterator[Effect]:
        """Go on from a call that failed."""
        if isinstance(decision, RetryIn):
            command.not_before_s = now.mono_s + decision.wait_s
            command.due_s = min(command.expires_s, command.not_before_s)
            if command.state is State.SENT:
                command.apply(Transition.RETRY)
                self._queues.put(command, command.devices)
                self._active.persistence.mark_dirty(command)
            facts: dict[str, object] = {"in_s": decision.wait_s, "error": detail}
            facts |= {"charger_id": command.charger_id, "command": command.spec.name}
            yield LogEntry("info", "command.retried", facts)
        elif isinstance(decision, GiveUp | Expire):
            if command.state is State.WAITING:
                self._queues.remove(command)
            if isinstance(decision, Expire):
                yield from self._active.finish(command, Transition.LATE, now, detail=detail)
            else:
                yield from self._active.finish(
                    command, Transition.DENY, now, decision.reason, detail
                )
        elif isinstance(decision, Taken):
            yield from self._taken_without_a_word(command, detail, now)
        else:
            command.apply(Transition.LOSE)
            since = now if command.sent is None else command.sent
            self._confirmation.start_timeout(command, now, since_s=since.mono_s)
            self._active.persistence.mark_dirty(command)
            if command.is_reflected:
                yield from self._active.finish(command, Transition.CONFIRM, now)


def _is_already_gone(pending: PendingRequest, event: CloudFailed) -> bool:
    """Say whether something was to be deleted that is not there."""
    return (
        isinstance(event.error, CloudRejected)
        and event.error.status == NOT_FOUND
        and pending.request.method == "DELETE"
    )
