"""Sends commands to the cloud in order, and handles the responses.

Rules:

1. One command per charger at a time; what concerns a circuit keeps all its chargers. Different
   chargers do not wait for each other. Two overlapping calls left a charger inconsistent
   (evcc#8398). Asking what became of a command changes nothing and delays no other.
2. That a command is about to be sent is on disk before it is sent. Where its turn comes before its
   first row is written, that is one commit and not two.
3. The expiry of a command is checked right before every request, on the monotonic clock, and a
   request may take no longer than what is left.
4. A request without an answer counts as lost after its timeout and a grace; it must not block a
   queue.
5. What may go through the exchange of the partner feed is given its ticks before it is written
   down. They hold while it is not known to have gone another way.
"""

import enum
import itertools
from collections.abc import Hashable, Iterable
from typing import Final

import msgspec
from msgspec.structs import replace

from bridge.core.addressees import SITE, site_id_of
from bridge.core.commands.active_commands import ActiveCommands, Command
from bridge.core.commands.confirmation import CommandConfirmation, Verification
from bridge.core.commands.held_limits import HeldLimits
from bridge.core.commands.retry_policy import (
    Expire,
    GiveUp,
    InDoubt,
    RetryDecision,
    RetryIn,
    Taken,
    decide,
)
from bridge.core.commands.schedule_guard import ScheduleGuard, refusal_of
from bridge.core.commands.send_policy import Defer, NoChange, Refuse, SendPolicy
from bridge.core.commands.state_machine import BLOCKING, FINAL, NAME, State, Transition
from bridge.core.domain_events import Output, SchedulesWanted
from bridge.core.easee.command_catalogue import CommandTarget
from bridge.core.easee.command_payloads import Release
from bridge.core.easee.exchange_commands import named
from bridge.core.easee.rest_requests import CloudRequest, Endpoint
from bridge.core.easee.rest_responses import (
    Circuit,
    CommandReference,
    charger_site,
    command_tickets,
    is_noop_response,
)
from bridge.core.effects import LogEntry, SendRequest
from bridge.core.events import CloudFailed, CloudResponse
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.errors import CloudRejected, CommandRefused, DecodeError, PublishUnconfirmed

NOT_FOUND: Final = 404
MAX_REQUESTS: Final = 4
MAX_VERIFICATIONS: Final = 2
REQUEST_TIMEOUT_S: Final = 30.0
VERIFICATION_TIMEOUT_S: Final = 10.0
GRACE_S: Final = 5.0


class Purpose(enum.Enum):
    """What a request is for."""

    SEND = "carry the command out"
    LOCATE = "ask for the circuit or a schedule, before it can be sent"
    VERIFY = "ask what became of it"


class PendingRequest(msgspec.Struct, frozen=True):
    """A request without an answer; it may outlive its command.

    Attributes:
        command: On whose behalf.
        request: What was sent.
        purpose: What for.
        due_s: Monotonic time at which it counts as lost.
        brings_observations: The answer holds what a charger shows, which may prove any command.
        ticks: Of the ticket that a verification asks for, or None.
        is_read_back: The answer holds what the cloud holds of what the command set.
    """

    command: Command
    request: CloudRequest
    purpose: Purpose
    due_s: float
    brings_observations: bool
    ticks: int | None = None
    is_read_back: bool = False


class CommandDispatcher:
    """Sends what waits in the queues."""

    def __init__(
        self,
        commands: ActiveCommands,
        policy: SendPolicy,
        confirmation: CommandConfirmation,
        schedules: ScheduleGuard,
        held: HeldLimits,
        *,
        uses_exchange: bool = False,
    ) -> None:
        """Start without a request.

        Args:
            commands: The commands.
            policy: What was sent lately.
            confirmation: Handles what follows once the cloud accepted a command.
            schedules: Knows whether schedules can take effect.
            held: Limits that may be released.
            uses_exchange: Commands go through the exchange of the partner feed where it can carry
                them.
        """
        self._commands = commands
        self._policy = policy
        self._confirmation = confirmation
        self._schedules = schedules
        self._held = held
        self._uses_exchange = uses_exchange
        self._numbers = itertools.count(1)
        self._circuits: dict[str, Circuit] = {}
        self._pending: dict[Hashable, PendingRequest] = {}

    def forget(self, charger_id: str) -> None:
        """Drop everything held of a charger."""
        self._circuits.pop(charger_id, None)

    @property
    def pending(self) -> Iterable[PendingRequest]:
        """Requests that are not answered."""
        return self._pending.values()

    # -- out ---------------------------------------------------------------------------------

    def dispatch(self, effects: list[Output], now: Timestamp) -> None:
        """Send what may be sent."""
        busy, room = self._under_way()
        again = True
        while again:
            again = False
            for command in self._commands.ready(busy):
                if room <= 0:
                    return
                if command.not_before_s <= now.mono_s < command.expires_s:
                    before = len(busy)
                    if isinstance(command.argument, Release):
                        self._release(command, effects, now)
                    else:
                        self._consider(command, busy, effects, now)
                    room -= len(busy) > before
                    again = again or command.state in FINAL

    def _release(self, command: Command, effects: list[Output], now: Timestamp) -> None:
        """Carry out what needs no request: the end of a held limit."""
        was_held = self._held.release(command.charger_id, command.spec.name, effects, now)
        end = Transition.DONE if was_held else Transition.SKIP
        self._commands.finish(command, end, effects, now)

    def _under_way(self) -> tuple[set[str], int]:
        """Return the chargers with a request in flight, and how many more may be sent."""
        busy: set[str] = set()
        room = MAX_REQUESTS
        for pending in self._pending.values():
            room -= pending.purpose is not Purpose.VERIFY
            if pending.purpose is Purpose.LOCATE:
                busy.add(pending.command.charger_id)
        for command in self._commands.live:
            if command.state in BLOCKING:
                busy |= command.devices
                room -= command.state is State.LEAVING
        return busy, room

    def _consider(
        self, command: Command, busy: set[str], effects: list[Output], now: Timestamp
    ) -> None:
        """Decide about the head of a queue; the chargers it then occupies are added to ``busy``."""
        try:
            request, devices = self._request_of(command)
        except CommandRefused as refusal:
            reason, detail = refusal.reason, refusal.detail
            self._commands.finish(
                command, Transition.REFUSE, effects, now, reason=reason, detail=detail
            )
            return
        if request is None:
            self._look_up(command, busy, effects, now)
            return
        if not devices <= command.queues:
            self._commands.enqueue(command, devices)
            if not self._commands.is_ready(command, busy):
                return
        verdict: Defer | Refuse | None = None
        is_scheduled = command.spec.shown_by_schedules is not None
        if self._schedules.direct and (is_scheduled or command.spec.is_taken_by_ocpp):
            verdict = self._schedules.evaluate(command, effects, now)
        match verdict or self._policy.evaluate(command, now):
            case Defer(until_s):
                command.due_s = min(command.expires_s, until_s)
            case NoChange():
                self._commands.finish(command, Transition.SKIP, effects, now)
            case Refuse(reason, detail):
                self._commands.finish(
                    command, Transition.REFUSE, effects, now, reason=reason, detail=detail
                )
            case None:
                self._commands.dequeue(command)
                self._commands.rotate(command.charger_id)
                command.apply(Transition.PICK)
                command.cloud_request, command.devices = request, devices
                self._name(command, now)
                command.wrote_flash = command.spec.flash
                command.due_s = command.expires_s
                busy |= devices
                self._commands.mark_dirty(command)

    def _name(self, command: Command, now: Timestamp) -> None:
        """Give a command its ticks where it may go through the exchange (rule 5)."""
        request, exchange = command.cloud_request, command.cloud_request.exchange
        command.tickets = ()
        if self._uses_exchange and exchange is not None and now.trusted:
            exchange = named(exchange, now.wall, command.seq, command.expires_s - now.mono_s)
            command.cloud_request = replace(request, exchange=exchange)
            command.tickets = (
                CommandReference(exchange.charger_id, exchange.command_id, exchange.ticks),
            )

    def _look_up(
        self, command: Command, busy: set[str], effects: list[Output], now: Timestamp
    ) -> None:
        """Ask the cloud for what a command needs before it can be sent."""
        wanted = command.spec.lookup(_target(command), command.argument)
        if wanted is not None and not self._schedules.is_unsettled(command):
            command.attempts += 1
            self._commands.rotate(command.charger_id)
            busy.add(command.charger_id)
            self._start(command, wanted, Purpose.LOCATE, effects, now)

    def send(self, command: Command, effects: list[Output], now: Timestamp) -> None:
        """Send a command: that it is about to be sent is on disk, or the store failed."""
        if now.mono_s >= command.expires_s:
            command.wrote_flash = False
            self._commands.finish(command, Transition.LATE, effects, now)
            return
        command.attempts += 1
        self._start(command, command.cloud_request, Purpose.SEND, effects, now)
        command.mark_sent(now)
        self._policy.sent(command, now)

    def _request_of(self, command: Command) -> tuple[CloudRequest | None, frozenset[str]]:
        """Return the request, None while the circuit is not known, and whom it concerns."""
        charger_id, spec = command.charger_id, command.spec
        request = spec.request(_target(command), command.argument)
        circuit = self._circuits.get(charger_id)
        if request is not None or circuit is None:
            return request, frozenset({charger_id})
        site_id, circuit_id = circuit.site_id, circuit.circuit_id
        command.target = replace(command.target, site_id=site_id, circuit_id=circuit_id)
        request = spec.request(command.target, command.argument)
        return request, frozenset({charger_id, *circuit.charger_ids})

    def verify(self, effects: list[Output], now: Timestamp) -> None:
        """Request the cloud's record of commands without a charger response."""
        for command in tuple(self._commands.live):
            if command.look_at_s > now.mono_s:
                continue
            if command.spec.shown_by_schedules is not None:
                effects.append(SchedulesWanted(command.charger_id))
                self._confirmation.verification_started(command, now)
                continue
            looks = [each for each in self.pending if each.purpose is Purpose.VERIFY]
            if len(looks) >= MAX_VERIFICATIONS:
                command.look_at_s = now.mono_s + 1.0
                continue
            self._confirmation.verification_started(command, now)
            if (asked := self._confirmation.verification(command)) is not None:
                self._start(command, asked, Purpose.VERIFY, effects, now)

    def _start(
        self,
        command: Command,
        wanted: CloudRequest | Verification,
        purpose: Purpose,
        effects: list[Output],
        now: Timestamp,
    ) -> None:
        """Start a request that takes no longer than its command may wait."""
        ticks, is_read_back = None, False
        if isinstance(wanted, Verification):
            request, ticks, is_read_back = wanted.request, wanted.ticks, wanted.is_read_back
            within_s = VERIFICATION_TIMEOUT_S
            reads = ticks is None and not is_read_back
        else:
            request = wanted
            within_s = min(REQUEST_TIMEOUT_S, command.expires_s - now.mono_s)
            reads = purpose is Purpose.SEND and command.spec.on_200 == "read"
        if not request.command:
            request = replace(request, command=True)
        number = next(self._numbers)
        due_s = now.mono_s + within_s + GRACE_S
        self._pending[number] = PendingRequest(
            command, request, purpose, due_s, reads, ticks, is_read_back
        )
        effects.append(SendRequest(Tag(NAME, number), request, within_s))

    # -- back --------------------------------------------------------------------------------

    def end(self, tag: Tag) -> PendingRequest | None:
        """Remove an answered request; None when it has timed out already."""
        return self._pending.pop(tag.ref, None)

    def answered(
        self, pending: PendingRequest, event: CloudResponse, effects: list[Output], now: Timestamp
    ) -> None:
        """Handle the cloud's answer to a request, except for one that brings observations."""
        command = pending.command
        match pending.purpose:
            case Purpose.LOCATE:
                if pending.request.endpoint is Endpoint.SITE:
                    self._located(command, event.body, effects, now)
                else:
                    command.target.documents[pending.request.path] = event.body
            case Purpose.VERIFY if pending.is_read_back:
                self._confirmation.was_read_back(command, event.body, effects, now)
            case Purpose.VERIFY:
                self._confirmation.verification_received(
                    command, pending.ticks, event.body, effects, now
                )
            case Purpose.SEND:
                self.note_answer(command, event, now)
                self._taken(command, event, effects, now)
                if command.early:
                    self._confirmation.replay_early_responses(command, effects, now)

    def note_answer(self, command: Command, event: CloudResponse, now: Timestamp) -> None:
        """Record that the cloud accepted a command."""
        command.http_status = event.status
        if command.spec.lags(command.argument):
            self._policy.answered(command, now)

    def failed(
        self, pending: PendingRequest, event: CloudFailed, effects: list[Output], now: Timestamp
    ) -> None:
        """Handle the failure of a request."""
        command, error = pending.command, event.error
        if pending.purpose is Purpose.VERIFY:
            if pending.is_read_back and isinstance(error, CloudRejected):
                self._confirmation.not_read_back(command, effects, now)
            return
        awaited = State.SENT if pending.purpose is Purpose.SEND else State.WAITING
        if command.state is awaited:
            command.http_status = error.status
            if pending.purpose is Purpose.SEND and not isinstance(error, PublishUnconfirmed):
                command.tickets = ()
            decision = decide(
                error,
                idempotent=command.spec.idempotent,
                attempts=command.attempts,
                left_s=command.expires_s - now.mono_s,
                is_lookup=pending.purpose is Purpose.LOCATE or command.spec.on_200 == "read",
            )
            if pending.purpose is Purpose.SEND:
                self._unsent(command, decision, now)
            if _holds_no_document(pending, event):
                command.target.documents[pending.request.path] = b""
            elif _is_already_gone(pending, event):
                self._commands.finish(command, Transition.SKIP, effects, now)
            else:
                detail = str(error)
                if isinstance(error, CloudRejected) and isinstance(decision, GiveUp):
                    reason, detail = refusal_of(command, error)
                    decision = GiveUp(reason)
                self._judge(command, decision, detail, effects, now)
        if isinstance(error, CloudRejected):
            # It may hang on another circuit by now.
            self._circuits.pop(command.charger_id, None)
        self._confirmation.replay_early_responses(command, effects, now)

    def time_out(self, effects: list[Output], now: Timestamp) -> None:
        """Handle requests that were not answered in time."""
        overdue = [number for number, each in self._pending.items() if each.due_s <= now.mono_s]
        for pending in [self._pending.pop(number) for number in overdue]:
            command = pending.command
            effects.append(LogEntry("error", "command.call_lost", {"command": command.spec.name}))
            if pending.purpose is Purpose.SEND:
                self._policy.answered(command, now)
                command.tickets = ()
                self._judge(command, InDoubt(), "no answer", effects, now)
                self._confirmation.replay_early_responses(command, effects, now)

    def _unsent(self, command: Command, decision: RetryDecision, now: Timestamp) -> None:
        """Undo what was counted for a sending that had no effect."""
        if isinstance(decision, InDoubt | Taken):
            self._policy.answered(command, now)
        else:
            command.wrote_flash = False
            self._policy.undo(command)

    def _located(
        self, command: Command, body: bytes, effects: list[Output], now: Timestamp
    ) -> None:
        """Handle the answer to a lookup; the command still waits at the head of its queue."""
        try:
            self._circuits[command.charger_id] = charger_site(body, command.charger_id)
        except DecodeError as error:
            if command.state is State.WAITING:
                self._commands.finish(
                    command, Transition.DENY, effects, now, reason="no_circuit", detail=error.reason
                )

    def _taken(
        self, command: Command, event: CloudResponse, effects: list[Output], now: Timestamp
    ) -> None:
        """Handle a 2xx answer to a command, or the confirmation of the exchange."""
        if event.status is None:
            self._accept(command, command.tickets, effects, now)
            return
        body, on_200 = event.body, command.spec.on_200
        try:
            tickets = command_tickets(body)
        except DecodeError as error:
            self._taken_without_a_word(command, str(error), effects, now)
            return
        if not tickets and on_200 == "confirmed":
            self._commands.finish(command, Transition.CONFIRM, effects, now)
        elif not tickets and on_200 == "noop" and is_noop_response(event.status, body):
            command.wrote_flash = False
            self._policy.undo(command)
            self._commands.finish(command, Transition.SKIP, effects, now)
        else:
            self._accept(command, tickets, effects, now)

    def _taken_without_a_word(
        self, command: Command, why: str, effects: list[Output], now: Timestamp
    ) -> None:
        """Accept a command by the status alone; the charger's response decides the rest."""
        effects.append(LogEntry("warning", "command.answer_unreadable", {"error": why}))
        self._accept(command, (), effects, now)

    def _accept(
        self,
        command: Command,
        tickets: tuple[CommandReference, ...],
        effects: list[Output],
        now: Timestamp,
    ) -> None:
        """Handle that the cloud accepted a command for the charger."""
        command.tickets = tickets
        self._confirmation.start_timeout(command, now, since_s=now.mono_s)
        command.apply(Transition.TAKE)
        self._commands.mark_dirty(command)
        self._commands.publish_progress(command, effects, now)
        is_rejected = False
        for index, ticket in enumerate(tickets):
            is_rejected = is_rejected or ticket.accepted is False
            if ticket.accepted:
                command.answered.add(index)
        if is_rejected:
            detail = "rejected by the charger"
            self._commands.finish(command, Transition.REJECT, effects, now, detail=detail)
        elif command.is_reflected or (tickets and len(command.answered) == len(tickets)):
            self._commands.finish(command, Transition.CONFIRM, effects, now)

    def _judge(
        self,
        command: Command,
        decision: RetryDecision,
        detail: str,
        effects: list[Output],
        now: Timestamp,
    ) -> None:
        """Apply the decision about a failed request."""
        finish = self._commands.finish
        if isinstance(decision, RetryIn):
            command.not_before_s = now.mono_s + decision.wait_s
            command.due_s = min(command.expires_s, command.not_before_s)
            if command.state is State.SENT:
                command.apply(Transition.RETRY)
                self._commands.enqueue(command, command.devices)
                self._commands.mark_dirty(command)
            facts: dict[str, object] = {"in_s": decision.wait_s, "error": detail}
            facts |= {"charger_id": command.charger_id, "command": command.spec.name}
            effects.append(LogEntry("debug", "command.retried", facts))
        elif isinstance(decision, Expire):
            finish(command, Transition.LATE, effects, now, detail=detail)
        elif isinstance(decision, GiveUp):
            finish(command, Transition.DENY, effects, now, reason=decision.reason, detail=detail)
        elif isinstance(decision, Taken):
            self._taken_without_a_word(command, detail, effects, now)
        else:
            command.apply(Transition.LOSE)
            since = now if command.sent is None else command.sent
            self._confirmation.start_timeout(command, now, since_s=since.mono_s)
            self._commands.mark_dirty(command)
            if command.is_reflected:
                finish(command, Transition.CONFIRM, effects, now)


def _target(command: Command) -> CommandTarget:
    """Return where a command goes while its circuit is not known."""
    site_id = site_id_of(command.charger_id) if SITE in command.spec.of else None
    return CommandTarget(command.charger_id, site_id, documents=command.target.documents)


def _is_missing(event: CloudFailed) -> bool:
    return isinstance(event.error, CloudRejected) and event.error.status == NOT_FOUND


def _holds_no_document(pending: PendingRequest, event: CloudFailed) -> bool:
    """Return whether the cloud has nothing of what was asked for before the sending."""
    is_document = pending.request.endpoint is not Endpoint.SITE
    return pending.purpose is Purpose.LOCATE and is_document and _is_missing(event)


def _is_already_gone(pending: PendingRequest, event: CloudFailed) -> bool:
    """Return whether something was to be deleted or disabled that does not exist."""
    request = pending.request
    return (request.method == "DELETE" or request.path.endswith("/disable")) and _is_missing(event)
