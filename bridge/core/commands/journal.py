"""The journal: every command has one life and one final answer.

The states and the steps between them are the table in :mod:`bridge.core.commands.lifecycle`; this
module takes the steps.

Rules:

1. One request per charger at a time, first come, first served: the next command goes out when the
   cloud has answered the one before. Different chargers do not wait for each other.
2. The time of a command is looked at right before every request, on the monotonic clock, and a
   request gets no longer than what is left of it.
3. What the charger says may arrive before the cloud's answer. It is kept until that answer is in.
4. Total: no message and no answer raises.
"""

import math
from collections import deque
from collections.abc import Callable, Container, Iterator
from itertools import chain

from bridge.core.chargers.observations import Observation
from bridge.core.cloud.requests import CloudRequest, site_request
from bridge.core.cloud.rest import Circuit, charger_site, command_tickets, observations
from bridge.core.commands.admission import Order, admit, ask_of, query_refusal
from bridge.core.commands.answers import Ask, answer_to
from bridge.core.commands.calls import Call, Calls
from bridge.core.commands.catalogue import WATCHED, Place
from bridge.core.commands.dedupe import Memory
from bridge.core.commands.evidence import (
    Readings,
    is_after,
    is_exact,
    owner,
    reflects,
    take_response,
)
from bridge.core.commands.lanes import Lanes
from bridge.core.commands.lifecycle import FINAL, UNDER_WAY, Command, State, Step
from bridge.core.commands.replies import reply, tell, turn_away
from bridge.core.commands.verdicts import GiveUp, InDoubt, RetryIn, decide
from bridge.core.effects import Acknowledge, CallCloud, Effect, Note
from bridge.core.events import (
    CloudAnswered,
    CloudFailed,
    CommandResponse,
    Moment,
    MqttMessage,
    Observed,
)
from bridge.core.topics import GetTopic, SetTopic, Topics
from bridge.errors import CloudRejected, CommandRefused, DecodeError
from bridge.settings import CommandSettings

# A normal round trip is below a second, 10 s were too short for evcc (#10780); the contract's 30 s.
CONFIRM_WITHIN_S = 30.0
MOST_ASKS = 10
MOST_EARLY = 16
MOST_SETTLED = 64
NOT_FOUND = 404


class Journal:
    """Commands from their arrival to their final answer."""

    def __init__(
        self,
        topics: Topics,
        settings: CommandSettings,
        *,
        next_call_id: Callable[[], int],
        observe: Callable[[Observed, Moment], Iterator[Effect]],
        settled: Callable[[Command, Moment], Iterator[Effect]],
    ) -> None:
        """Start empty.

        Args:
            topics: Names.
            settings: What is allowed.
            next_call_id: Draws the number of a REST call.
            observe: Applies observations that a command brought (``refresh``).
            settled: Says what follows elsewhere from a command that has its final state.
        """
        self._topics = topics
        self._settings = settings
        self._observe = observe
        self._followed_by = settled
        self._lanes = Lanes()
        self._live: dict[Command, None] = {}
        self._calls = Calls(next_call_id)
        self._settled: deque[Command] = deque(maxlen=MOST_SETTLED)
        self._early: dict[str, list[CommandResponse]] = {}
        self._memory = Memory()
        self._readings = Readings()
        self._circuits: dict[str, Circuit] = {}
        # math.nan: something changed since it was last worked out.
        self._deadline_s: float | None = None

    # -- what others ask ---------------------------------------------------------------------

    def owns(self, call_id: int) -> bool:
        """Say whether a REST call is one of ours."""
        return call_id in self._calls

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        if self._deadline_s is not None and math.isnan(self._deadline_s):
            dues = (x.due_s for x in chain[Command | Call](self._live, self._calls.open))
            due_s = min(dues, default=math.inf)
            self._deadline_s = due_s if due_s < math.inf else None
        return self._deadline_s

    def expects(self, charger_id: str, observation_id: int, now: Moment) -> bool:
        """Say whether a command of ours may be why an observation changes now."""
        if observation_id not in WATCHED:
            return False
        return any(
            observation_id in command.spec.moves and charger_id in command.devices
            for command in chain(self._live, self._just_settled(now))
        )

    def matches(self, response: CommandResponse, now: Moment) -> bool:
        """Say whether a charger may be answering a command of ours."""
        return self._owner(response, now) is not None or self._in_flight(response) is not None

    # -- messages ----------------------------------------------------------------------------

    def receive(
        self, message: MqttMessage, target: SetTopic, known: Container[str], now: Moment
    ) -> Iterator[Effect]:
        """Take a command, refuse it, or recognise it."""
        ask = ask_of(message, self._topics)
        try:
            order = admit(message, target, known, self._settings, now)
            yield from self._enter(order, ask, now)
        except CommandRefused as refusal:
            whom = (target.charger_id, target.command)
            yield from turn_away(refusal, message, whom, self._topics, now)
        yield Acknowledge(message.receipt)
        yield from self._pump(now)

    def query(
        self, message: MqttMessage, target: GetTopic, known: Container[str], now: Moment
    ) -> Iterator[Effect]:
        """Answer a query."""
        refusal = query_refusal(message, target, known)
        whom = (target.charger_id, target.query)
        yield from turn_away(refusal, message, whom, self._topics, now)
        yield Acknowledge(message.receipt)

    def _enter(self, order: Order, ask: Ask, now: Moment) -> Iterator[Effect]:
        """Let an order wait for its turn, or answer what was asked before."""
        fate = self._memory.find(order.name, now.mono_s)
        if fate is not None:
            if fate.content != (order.spec.name, order.argument):
                raise CommandRefused("conflict", "this id was used for another command")
            if fate.command is not None:
                yield from self._join(fate.command, ask, now)
            else:
                yield from answer_to(
                    ask, self._topics, order.charger_id, order.spec.name, fate.answer
                )
            return
        self._lanes.check_room(order.charger_id)
        command = Command(order, now, now.mono_s + order.ttl_s, [ask])
        self._memory.begin(command)
        self._live[command] = None
        if command.expires_s <= now.mono_s:
            yield from self._finish(command, Step.LATE, now)
            return
        command.step(Step.QUEUE)
        command.due_s = command.expires_s
        self._lanes.put(command)
        self._touch()

    def _join(self, command: Command, ask: Ask, now: Moment) -> Iterator[Effect]:
        """Let somebody who asks again wait for the same answers."""
        if len(command.asks) >= MOST_ASKS:
            raise CommandRefused("busy", "this command was asked for too often")
        command.asks.append(ask)
        if command.state is State.ACCEPTED:
            document = reply(command, now).document()
            yield from answer_to(ask, self._topics, command.charger_id, command.spec.name, document)

    # -- the cloud's answers -----------------------------------------------------------------

    def answered(self, event: CloudAnswered, now: Moment) -> Iterator[Effect]:
        """Take the cloud's answer to one of our calls."""
        call = self._end(event.call_id)
        if call is None:
            return
        command = call.command
        if call.is_lookup:
            yield from self._located(command, event.body, now)
        else:
            command.http_status = event.status
            yield from self._taken(command, event.body, now)
        yield from self._sort_early(command.charger_id, now)
        yield from self._pump(now)

    def failed(self, event: CloudFailed, now: Moment) -> Iterator[Effect]:
        """Take the failure of one of our calls."""
        call = self._end(event.call_id)
        if call is None:
            return
        command, error = call.command, event.error
        if command.state not in FINAL:
            command.http_status = error.status
            verdict = decide(
                error,
                idempotent=command.spec.idempotent,
                attempts=command.attempts,
                left_s=command.expires_s - now.mono_s,
                is_lookup=call.is_lookup,
            )
            if _is_already_gone(call, event):
                yield from self._finish(command, Step.SKIP, now)
            else:
                yield from self._judge(command, verdict, str(error), now)
        if isinstance(error, CloudRejected):
            # It may hang on another circuit by now.
            self._circuits.pop(command.charger_id, None)
        yield from self._sort_early(command.charger_id, now)
        yield from self._pump(now)

    def _located(self, command: Command, body: bytes, now: Moment) -> Iterator[Effect]:
        """Take the answer to a lookup; the command still waits at the head of its lane."""
        try:
            self._circuits[command.charger_id] = charger_site(body, command.charger_id)
        except DecodeError as error:
            if command.state is State.WAITING:
                self._lanes.remove(command)
                yield from self._finish(command, Step.DENY, now, "no_circuit", error.reason)

    def _taken(self, command: Command, body: bytes, now: Moment) -> Iterator[Effect]:
        """Go on from a 2xx answer to a command."""
        on_200 = command.spec.on_200
        if on_200 == "read":
            yield from self._read(command, body, now)
            return
        try:
            tickets = tuple(t for t in command_tickets(body) if t.ticks or t.accepted is not None)
            is_empty = not tickets
        except DecodeError as error:
            # The status says it was taken; what the charger does will tell the rest.
            yield Note("warning", "command.answer_unreadable", {"error": str(error)})
            tickets, is_empty = (), False
        command.tickets = tickets
        if is_empty and on_200 != "wait":
            step = Step.CONFIRM if on_200 == "confirmed" else Step.SKIP
            yield from self._finish(command, step, now)
            return
        command.step(Step.TAKE)
        command.due_s = now.mono_s + CONFIRM_WITHIN_S
        yield from tell(command, self._topics, reply(command, now).document())
        command.answered.update(i for i, ticket in enumerate(tickets) if ticket.accepted)
        if any(ticket.accepted is False for ticket in tickets):
            yield from self._finish(command, Step.REJECT, now, detail="the charger said no")
        elif command.is_reflected or (tickets and len(command.answered) == len(tickets)):
            yield from self._finish(command, Step.CONFIRM, now)

    def _read(self, command: Command, body: bytes, now: Moment) -> Iterator[Effect]:
        """Apply the observations that a command asked for."""
        try:
            found = observations(body, command.charger_id)
        except DecodeError as error:
            yield from self._finish(command, Step.DENY, now, "unreadable", error.reason)
            return
        yield from self._observe(Observed(found, "poll"), now)
        yield from self._finish(command, Step.CONFIRM, now)

    def _judge(
        self, command: Command, verdict: RetryIn | GiveUp | InDoubt, detail: str, now: Moment
    ) -> Iterator[Effect]:
        """Go on from a call that failed."""
        if isinstance(verdict, RetryIn):
            command.not_before_s = now.mono_s + verdict.wait_s
            command.due_s = min(command.expires_s, command.not_before_s)
            if command.state is State.SENT:
                command.step(Step.RETRY)
                self._lanes.put_back(command)
            facts: dict[str, object] = {"in_s": verdict.wait_s, "error": detail}
            facts |= {"charger_id": command.charger_id, "command": command.spec.name}
            yield Note("info", "command.retried", facts)
        elif isinstance(verdict, GiveUp):
            if command.state is State.WAITING:
                self._lanes.remove(command)
            yield from self._finish(command, Step.DENY, now, verdict.reason, detail)
        else:
            command.step(Step.LOSE)
            sent_s = now.mono_s if command.sent is None else command.sent.mono_s
            command.due_s = sent_s + CONFIRM_WITHIN_S
            if command.is_reflected:
                yield from self._finish(command, Step.CONFIRM, now)

    # -- the charger's answers ---------------------------------------------------------------

    def responded(self, response: CommandResponse, now: Moment) -> Iterator[Effect]:
        """Take what a charger answers to a command, ours or not."""
        command = self._owner(response, now)
        in_flight = self._in_flight(response)
        if in_flight is not None and (command is None or not is_exact(response, command)):
            early = self._early.setdefault(in_flight.charger_id, [])
            early[:] = [*early, response][-MOST_EARLY:]
        elif command is None:
            facts = {"charger_id": response.charger_id, "command_id": response.command_id}
            yield Note("info", "command.foreign", facts)
        elif command.state not in FINAL:
            if not response.accepted:
                detail = f"the charger said no (result code {response.result_code})"
                yield from self._finish(command, Step.REJECT, now, detail=detail)
            elif take_response(command, response):
                yield from self._finish(command, Step.CONFIRM, now)

    def observed(self, observation: Observation, now: Moment) -> Iterator[Effect]:
        """Take an observation that may reflect a command."""
        if observation.spec.id not in WATCHED:
            return
        changed = self._readings.changed(observation)
        for command in tuple(self._live):
            if (
                command.state in UNDER_WAY
                and command.sent is not None
                and observation.charger_id in command.devices
                and (changed or is_after(observation, command.sent))
                and reflects(command, observation)
                and command.state is not State.SENT
            ):
                yield from self._finish(command, Step.CONFIRM, now)

    def _sort_early(self, charger_id: str, now: Moment) -> Iterator[Effect]:
        """Look again at responses that came before the cloud's answer."""
        for response in self._early.pop(charger_id, ()):
            yield from self.responded(response, now)

    def _owner(self, response: CommandResponse, now: Moment) -> Command | None:
        waiting = (c for c in self._live if c.state in {State.ACCEPTED, State.IN_DOUBT})
        return owner(response, chain(waiting, self._just_settled(now)))

    def _in_flight(self, response: CommandResponse) -> Command | None:
        """Return the command whose cloud answer is awaited, if the charger may mean that one."""
        sent = (c for c in self._live if c.state is State.SENT)
        return next((c for c in sent if response.charger_id in c.devices), None)

    def _just_settled(self, now: Moment) -> Iterator[Command]:
        """Yield commands the charger may still answer although somebody else told us the end."""
        return (c for c in self._settled if now.mono_s - c.settled_s < CONFIRM_WITHIN_S)

    # -- time --------------------------------------------------------------------------------

    def tick(self, now: Moment) -> Iterator[Effect]:
        """Do what is due. Costs nothing while nothing is."""
        deadline_s = self.deadline_s()
        if deadline_s is None or now.mono_s < deadline_s:
            return
        self._touch()
        for call in self._calls.lost(now.mono_s):
            yield from self._lost(call, now)
        for command in [c for c in self._live if c.due_s <= now.mono_s]:
            if command.state is not State.WAITING:
                yield from self._finish(command, Step.SILENCE, now)
            elif command.expires_s <= now.mono_s:
                self._lanes.remove(command)
                yield from self._finish(command, Step.LATE, now)
            else:
                command.due_s = command.expires_s
        yield from self._pump(now)

    def _lost(self, call: Call, now: Moment) -> Iterator[Effect]:
        """Go on from a call that nobody answered."""
        yield Note("error", "command.call_lost", {"command": call.command.spec.name})
        if call.command.state is State.SENT:
            yield from self._judge(call.command, InDoubt(), "no answer", now)
            yield from self._sort_early(call.command.charger_id, now)

    def _pump(self, now: Moment) -> Iterator[Effect]:
        """Send what may be sent."""
        for command in self._lanes.first(self._calls.busy):
            if not self._calls.has_room:
                return
            if command.not_before_s <= now.mono_s < command.expires_s:
                yield self._send(command, now)

    def _send(self, command: Command, now: Moment) -> CallCloud:
        """Send the head of a lane, or ask for its circuit first."""
        request, devices = self._request_of(command)
        command.attempts += 1
        command.due_s = command.expires_s
        self._touch()
        if request is None:
            self._lanes.served(command.charger_id)
            return self._calls.make(command, site_request(command.charger_id), now, is_lookup=True)
        self._lanes.remove(command)
        self._lanes.served(command.charger_id)
        command.go(now, devices)
        return self._calls.make(command, request, now, is_lookup=False)

    def _request_of(self, command: Command) -> tuple[CloudRequest | None, frozenset[str]]:
        """Return the request, None while the circuit is not known, and who may answer."""
        charger_id, spec = command.charger_id, command.spec
        request = spec.request(Place(charger_id), command.argument)
        circuit = self._circuits.get(charger_id)
        if request is not None or circuit is None:
            return request, frozenset({charger_id})
        place = Place(charger_id, circuit.site_id, circuit.circuit_id)
        return spec.request(place, command.argument), frozenset({charger_id, *circuit.charger_ids})

    # -- the end -----------------------------------------------------------------------------

    def _finish(
        self,
        command: Command,
        step: Step,
        now: Moment,
        reason: str | None = None,
        detail: str | None = None,
    ) -> Iterator[Effect]:
        """Give a command its final state and answer everybody who waits."""
        command.step(step)
        command.due_s = math.inf
        command.settled_s = now.mono_s
        del self._live[command]
        if command.sent is not None:
            self._settled.append(command)
        answer = reply(command, now, reason, detail)
        document = answer.document()
        self._memory.settle(command, document)
        self._touch()
        yield from tell(command, self._topics, document)
        command.asks.clear()
        facts = {
            "charger_id": command.charger_id,
            "command": command.spec.name,
            "state": command.state.value,
            "reason": reason,
            "http_status": command.http_status,
            "elapsed_ms": answer.elapsed_ms,
        }
        yield Note("info", "command.finished", facts)
        yield from self._followed_by(command, now)

    def _end(self, call_id: int) -> Call | None:
        self._touch()
        return self._calls.end(call_id)

    def _touch(self) -> None:
        self._deadline_s = math.nan


def _is_already_gone(call: Call, event: CloudFailed) -> bool:
    """Say whether something was to be deleted that is not there."""
    return (
        isinstance(event.error, CloudRejected)
        and event.error.status == NOT_FOUND
        and call.request.method == "DELETE"
    )
