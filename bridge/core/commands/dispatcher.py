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

from bridge.core.commands.active_commands import Book
from bridge.core.commands.confirmation import Observe, Witness
from bridge.core.commands.queues import Lanes
from bridge.core.commands.retry_policy import (
    GiveUp,
    InDoubt,
    RetryIn,
    Taken,
    TooLate,
    Verdict,
    decide,
)
from bridge.core.commands.send_policy import Deny, Flow, Hold, Skip
from bridge.core.commands.state_machine import FINAL, HOLDING, Command, State, Step
from bridge.core.easee.command_catalogue import Place
from bridge.core.easee.rest_requests import CloudRequest, site_request
from bridge.core.easee.rest_responses import (
    Circuit,
    CommandTicket,
    charger_site,
    command_tickets,
    observations,
    says_nothing_to_do,
)
from bridge.core.effects import CallCloud, Effect, Note
from bridge.core.events import CloudAnswered, CloudFailed, Observed
from bridge.core.records.moment import Moment
from bridge.errors import CloudRejected, DecodeError

MOST_CALLS: Final = 4
MOST_LOOKS: Final = 2
LONGEST_CALL_S: Final = 30.0
LONGEST_LOOK_S: Final = 10.0
GRACE_S: Final = 5.0
NOT_FOUND: Final = 404


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


class Sender:
    """Sends what waits in the lanes."""

    def __init__(
        self,
        book: Book,
        lanes: Lanes,
        flow: Flow,
        witness: Witness,
        *,
        next_call_id: Callable[[], int],
        observe: Observe,
    ) -> None:
        """Begin with nothing under way.

        Args:
            book: The commands.
            lanes: Those that wait.
            flow: What was sent lately.
            witness: Takes over what the cloud took.
            next_call_id: Draws the number of a REST call.
            observe: Applies observations that a command brought (``refresh``).
        """
        self._book = book
        self._lanes = lanes
        self._flow = flow
        self._witness = witness
        self._observe = observe
        self._circuits: dict[str, Circuit] = {}
        self._picked: dict[Command, CloudRequest] = {}
        self.calls = Calls(next_call_id)

    def forget(self, charger_id: str) -> None:
        """Give back what is held of a charger."""
        self._circuits.pop(charger_id, None)

    # -- out ---------------------------------------------------------------------------------

    def pump(self, now: Moment) -> Iterator[Effect]:
        """Send what may be sent."""
        busy = set(self.calls.located)
        room = MOST_CALLS - self.calls.count(Purpose.SEND, Purpose.LOCATE)
        for command in self._book.live:
            if command.state in HOLDING:
                busy |= command.devices
                room -= command.state is State.LEAVING
        again = True
        while again:
            again = False
            for command in self._lanes.first(busy):
                if room <= 0:
                    return
                if command.not_before_s <= now.mono_s < command.expires_s:
                    before = len(busy)
                    yield from self._consider(command, busy, now)
                    room -= len(busy) > before
                    again = again or command.state in FINAL

    def _consider(self, command: Command, busy: set[str], now: Moment) -> Iterator[Effect]:
        """Decide about the head of a lane; what is under way then is added to ``busy``."""
        request, devices = self._request_of(command)
        if request is None:
            command.attempts += 1
            self._lanes.served(command.charger_id)
            busy.add(command.charger_id)
            site = site_request(command.charger_id)
            yield self.calls.make(command, site, Purpose.LOCATE, now)
            return
        self._lanes.put(command, devices)
        if not self._lanes.may_go(command, busy):
            return
        match self._flow.judge(command, now):
            case Hold(until_s):
                command.due_s = min(command.expires_s, until_s)
            case Skip():
                self._lanes.remove(command)
                yield from self._book.finish(command, Step.SKIP, now)
            case Deny(reason, detail):
                self._lanes.remove(command)
                yield from self._book.finish(command, Step.REFUSE, now, reason, detail)
            case None:
                self._lanes.remove(command)
                self._lanes.served(command.charger_id)
                command.step(Step.PICK)
                command.devices = devices
                command.wrote_flash = command.spec.flash
                command.due_s = command.expires_s
                self._picked[command] = request
                busy |= devices
                self._book.scribe.touch(command)

    def leave(self, command: Command, now: Moment) -> Iterator[Effect]:
        """Send a command: that it leaves is on disk, or cannot be had there."""
        request = self._picked.pop(command)
        if now.mono_s >= command.expires_s:
            command.wrote_flash = False
            yield from self._book.finish(command, Step.LATE, now)
            return
        command.attempts += 1
        command.go(now, command.devices)
        self._flow.sent(command, now)
        yield self.calls.make(command, request, Purpose.SEND, now)

    def _request_of(self, command: Command) -> tuple[CloudRequest | None, frozenset[str]]:
        """Return the request, None while the circuit is not known, and whom it concerns."""
        charger_id, spec = command.charger_id, command.spec
        request = spec.request(Place(charger_id), command.argument)
        circuit = self._circuits.get(charger_id)
        if request is not None or circuit is None:
            return request, frozenset({charger_id})
        place = Place(charger_id, circuit.site_id, circuit.circuit_id)
        return spec.request(place, command.argument), frozenset({charger_id, *circuit.charger_ids})

    def withdraw(self, command: Command) -> None:
        """Forget a command that was picked and will not leave."""
        command.wrote_flash = False
        self._picked.pop(command, None)

    def look(self, now: Moment) -> Iterator[CallCloud]:
        """Ask what became of commands whose charger is not heard."""
        for command in tuple(self._book.live):
            if command.look_at_s > now.mono_s:
                continue
            if self.calls.count(Purpose.LOOK) >= MOST_LOOKS:
                command.look_at_s = now.mono_s + 1.0
                continue
            self._witness.looking(command, now)
            if (request := self._witness.request(command)) is not None:
                yield self.calls.make(command, request, Purpose.LOOK, now)

    # -- back --------------------------------------------------------------------------------

    def answered(self, event: CloudAnswered, now: Moment) -> Iterator[Effect]:
        """Take the cloud's answer to one of our calls."""
        call = self.calls.end(event.call_id)
        if call is None:
            return
        command = call.command
        match call.purpose:
            case Purpose.LOCATE:
                yield from self._located(command, event.body, now)
            case Purpose.LOOK:
                yield from self._witness.looked(command, call.request, event.body, now)
            case Purpose.SEND:
                command.http_status = event.status
                self._flow.answered(command, now)
                yield from self._taken(command, event, now)
                yield from self._witness.sort_early(command.charger_id, now)

    def failed(self, event: CloudFailed, now: Moment) -> Iterator[Effect]:
        """Take the failure of one of our calls."""
        call = self.calls.end(event.call_id)
        if call is None or call.purpose is Purpose.LOOK:
            return
        command, error = call.command, event.error
        awaited = State.SENT if call.purpose is Purpose.SEND else State.WAITING
        if command.state is awaited:
            command.http_status = error.status
            verdict = decide(
                error,
                idempotent=command.spec.idempotent,
                attempts=command.attempts,
                left_s=command.expires_s - now.mono_s,
                is_lookup=call.purpose is Purpose.LOCATE or command.spec.on_200 == "read",
            )
            if call.purpose is Purpose.SEND:
                self._unsent(command, verdict, now)
            if _is_already_gone(call, event):
                yield from self._book.finish(command, Step.SKIP, now)
            else:
                yield from self._judge(command, verdict, str(error), now)
        if isinstance(error, CloudRejected):
            # It may hang on another circuit by now.
            self._circuits.pop(command.charger_id, None)
        yield from self._witness.sort_early(command.charger_id, now)

    def lost(self, now: Moment) -> Iterator[Effect]:
        """Go on from calls that nobody answered."""
        for call in self.calls.lost(now.mono_s):
            yield Note("error", "command.call_lost", {"command": call.command.spec.name})
            if call.purpose is Purpose.SEND:
                self._flow.answered(call.command, now)
                yield from self._judge(call.command, InDoubt(), "no answer", now)
                yield from self._witness.sort_early(call.command.charger_id, now)

    def _unsent(self, command: Command, verdict: Verdict, now: Moment) -> None:
        """Take back what was counted for a sending that came to nothing."""
        if isinstance(verdict, InDoubt | Taken):
            self._flow.answered(command, now)
        else:
            command.wrote_flash = False
            self._flow.not_carried_out(command)

    def _located(self, command: Command, body: bytes, now: Moment) -> Iterator[Effect]:
        """Take the answer to a lookup; the command still waits at the head of its lane."""
        try:
            self._circuits[command.charger_id] = charger_site(body, command.charger_id)
        except DecodeError as error:
            if command.state is State.WAITING:
                self._lanes.remove(command)
                yield from self._book.finish(command, Step.DENY, now, "no_circuit", error.reason)

    def _taken(self, command: Command, event: CloudAnswered, now: Moment) -> Iterator[Effect]:
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
            yield from self._book.finish(command, Step.CONFIRM, now)
            return
        if is_empty and on_200 == "noop" and says_nothing_to_do(event.status, body):
            command.wrote_flash = False
            self._flow.not_carried_out(command)
            yield from self._book.finish(command, Step.SKIP, now)
            return
        yield from self._accept(command, tickets, now)

    def _taken_without_a_word(self, command: Command, why: str, now: Moment) -> Iterator[Effect]:
        """The status says it was taken; what the charger does will tell the rest."""
        yield Note("warning", "command.answer_unreadable", {"error": why})
        yield from self._accept(command, (), now)

    def _accept(
        self, command: Command, tickets: tuple[CommandTicket, ...], now: Moment
    ) -> Iterator[Effect]:
        """Go on from what the cloud took for the charger."""
        command.tickets = tickets
        command.step(Step.TAKE)
        self._witness.watch(command, now, since_s=now.mono_s)
        self._book.scribe.touch(command)
        yield from self._book.tell(command, now)
        command.answered.update(i for i, ticket in enumerate(tickets) if ticket.accepted)
        if any(ticket.accepted is False for ticket in tickets):
            detail = "the charger said no"
            yield from self._book.finish(command, Step.REJECT, now, detail=detail)
        elif command.is_reflected or (tickets and len(command.answered) == len(tickets)):
            yield from self._book.finish(command, Step.CONFIRM, now)

    def _read(self, command: Command, body: bytes, now: Moment) -> Iterator[Effect]:
        """Apply the observations that a command asked for."""
        try:
            found = observations(body, command.charger_id).observations
        except DecodeError as error:
            yield from self._book.finish(command, Step.DENY, now, "unreadable", error.reason)
            return
        yield from self._observe(Observed(found, "poll"), now)
        yield from self._book.finish(command, Step.CONFIRM, now)

    def _judge(
        self, command: Command, verdict: Verdict, detail: str, now: Moment
    ) -> Iterator[Effect]:
        """Go on from a call that failed."""
        if isinstance(verdict, RetryIn):
            command.not_before_s = now.mono_s + verdict.wait_s
            command.due_s = min(command.expires_s, command.not_before_s)
            if command.state is State.SENT:
                command.step(Step.RETRY)
                self._lanes.put(command, command.devices)
                self._book.scribe.touch(command)
            facts: dict[str, object] = {"in_s": verdict.wait_s, "error": detail}
            facts |= {"charger_id": command.charger_id, "command": command.spec.name}
            yield Note("info", "command.retried", facts)
        elif isinstance(verdict, GiveUp | TooLate):
            if command.state is State.WAITING:
                self._lanes.remove(command)
            if isinstance(verdict, TooLate):
                yield from self._book.finish(command, Step.LATE, now, detail=detail)
            else:
                yield from self._book.finish(command, Step.DENY, now, verdict.reason, detail)
        elif isinstance(verdict, Taken):
            yield from self._taken_without_a_word(command, detail, now)
        else:
            command.step(Step.LOSE)
            since = now if command.sent is None else command.sent
            self._witness.watch(command, now, since_s=since.mono_s)
            self._book.scribe.touch(command)
            if command.is_reflected:
                yield from self._book.finish(command, Step.CONFIRM, now)


def _is_already_gone(call: Call, event: CloudFailed) -> bool:
    """Say whether something was to be deleted that is not there."""
    return (
        isinstance(event.error, CloudRejected)
        and event.error.status == NOT_FOUND
        and call.request.method == "DELETE"
    )
