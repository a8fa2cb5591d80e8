"""The journal: every command has one life and one final answer.

The states and the steps between them are the table in :mod:`bridge.core.commands.state_machine`.
The steps are taken by those who know when: :mod:`~bridge.core.commands.dispatcher` on the way to
the cloud, :mod:`~bridge.core.commands.confirmation` when a charger speaks,
:mod:`~bridge.core.commands.active_commands` at the end. This module
lets commands in, and puts the others to work when something happened.

Rules:

1. A message is acknowledged when what became of it is on disk, or when nothing will: it was
   refused, it is a repetition, or the store failed.
2. Where the store fails, what can only stop a charge or make it smaller runs all the same, and its
   answers say so; the rest is refused.
3. A message that may have waited at the broker, and does not say when it is too late, must not let
   a charge begin or grow; one that may have waited longer than it lives is not carried out at all.
4. Total: no message, no answer and no row raises.
"""

import math
from collections.abc import Callable, Container, Iterator
from datetime import datetime
from itertools import chain
from typing import Final

from bridge.core.commands.active_commands import ActiveCommands, OnFinished
from bridge.core.commands.confirmation import (
    ApplyObservations,
    CommandConfirmation,
    OnUnmatchedResponse,
)
from bridge.core.commands.dispatcher import CommandDispatcher
from bridge.core.commands.idempotency import KnownCommand
from bridge.core.commands.queues import CommandQueues
from bridge.core.commands.recovery import Recovery
from bridge.core.commands.reply_to import ReplyTo
from bridge.core.commands.result_messages import build_result, refuse_message
from bridge.core.commands.results import result_messages
from bridge.core.commands.send_policy import SendPolicy
from bridge.core.commands.state_machine import FINAL, Command, State, Transition
from bridge.core.commands.validation import CommandRequest, message_digest, reply_to_of, validate
from bridge.core.easee.decode import Observation
from bridge.core.effects import Acknowledge, Effect, LogEntry
from bridge.core.events import (
    ChargerResponse,
    CloudFailed,
    CloudResponse,
    CommandSaved,
    CommandSaveFailed,
    MqttMessage,
)
from bridge.core.records.command_row import MAX_TTL_S, CommandRow
from bridge.core.records.moment import Timestamp
from bridge.core.topics import SetTopic, Topics
from bridge.errors import CommandRefused
from bridge.settings import CommandSettings

MAX_WAITERS: Final = 10
# What a broker kept for us arrives within moments of a resumed session.
RESUMED_S: Final = 5.0
# A long queue takes longer: while it comes without a pause of this length, up to that time.
PAUSE_S: Final = 1.0
MAX_RESUMED_S: Final = 60.0
CANNOT_JUDGE: Final = "expires_at was not judged: this machine's clock is not set"
# Another command between two limits may be what the first of them was for.
LIMIT_BARRIER: Final = "control"
NOT_WRITTEN: Final = "the journal could not be written"


class CommandService:
    """Commands from their arrival to their final answer.

    Attributes:
        is_unsure_of_retained: A live command may have been published with the retain flag.
    """

    def __init__(
        self,
        topics: Topics,
        settings: CommandSettings,
        *,
        next_call_id: Callable[[], int],
        observe: ApplyObservations,
        foreign: OnUnmatchedResponse,
        settled: OnFinished,
    ) -> None:
        """Start empty.

        Args:
            topics: Names.
            settings: What is allowed.
            next_call_id: Draws the number of a REST call.
            observe: Applies observations that a command brought (``refresh``).
            foreign: Announces a response to somebody else's command.
            settled: Says what follows elsewhere from a command that has its final state.
        """
        self._topics = topics
        self._settings = settings
        self._active = ActiveCommands(topics, settled)
        self._queues = CommandQueues()
        self._send_policy = SendPolicy(self._active.shown, settings.flash_writes_per_day)
        self._confirmation = CommandConfirmation(
            self._active, self._send_policy, observe=observe, foreign=foreign
        )
        self._dispatcher = CommandDispatcher(
            self._active,
            self._queues,
            self._send_policy,
            self._confirmation,
            next_call_id=next_call_id,
            observe=observe,
        )
        self._recovery = Recovery(
            self._active, self._queues, self._send_policy, self._confirmation, settings
        )
        # Until the broker said whether it knows us, everything may have waited there.
        self._fresh_from_s = math.inf
        self._resumed_s = -math.inf
        self._waited_s = 0.0
        self._stopping = False
        self.is_unsure_of_retained = False
        # math.nan: something changed since it was last worked out.
        self._deadline_s: float | None = None

    def allow(self, settings: CommandSettings) -> None:
        """Judge by these settings whatever comes from now on; what was taken goes on."""
        self._settings = settings
        self._send_policy.set_flash_limit(settings.flash_writes_per_day)

    def forget(self, charger_id: str) -> None:
        """Give back what is held of a charger that left; commands under way go on."""
        self._send_policy.forget(charger_id)
        self._dispatcher.forget(charger_id)

    # -- what others ask ---------------------------------------------------------------------

    def owns(self, call_id: int) -> bool:
        """Say whether a REST call is one of ours."""
        return call_id in self._dispatcher.requests

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        if self._deadline_s is not None and math.isnan(self._deadline_s):
            calls = (pending.due_s for pending in self._dispatcher.requests.open)
            due_s = min(chain(self._active.due_s(), calls), default=math.inf)
            self._deadline_s = due_s if due_s < math.inf else None
        return self._deadline_s

    def expects(self, charger_id: str, observation_id: int, now: Timestamp) -> bool:
        """Say whether a command of ours may be why an observation changes now."""
        return self._active.may_cause(charger_id, observation_id, now)

    # -- connections -------------------------------------------------------------------------

    @property
    def alive_at(self) -> datetime | None:
        """When an earlier process took its last command, wall clock; None when nobody knows."""
        return self._recovery.alive_at

    def connected(self, now: Timestamp, *, session_present: bool, waited_s: float = 0.0) -> None:
        """Note that the broker took us.

        Args:
            now: The time.
            session_present: It has kept what came meanwhile.
            waited_s: For so long at most; infinite where nobody knows.
        """
        self._fresh_from_s = now.mono_s + RESUMED_S if session_present else -math.inf
        self._resumed_s, self._waited_s = now.mono_s, waited_s
        if not session_present:
            self._active.redeliveries.clear()

    def disconnected(self) -> None:
        """Note that the broker is gone: what comes next may have waited there."""
        self._fresh_from_s = math.inf

    def stream(self, now: Timestamp, *, is_up: bool) -> None:
        """Note that the chargers can be heard, or cannot any more."""
        self._confirmation.stream(now, is_up=is_up)
        self._touch()

    def stop(self, now: Timestamp) -> Iterator[Effect]:
        """Send nothing more: what waits goes on after the restart, if there is time."""
        self._stopping = True
        self._active.persistence.flush_deferred()
        yield from self._pump(now)

    # -- messages ----------------------------------------------------------------------------

    def receive(
        self,
        message: MqttMessage,
        target: SetTopic,
        known: Container[str],
        now: Timestamp,
        *,
        held_s: float = 0.0,
    ) -> Iterator[Effect]:
        """Take a command, refuse it, or recognise it.

        Args:
            message: As it arrived.
            target: Its topic.
            known: Chargers that are served.
            now: The time.
            held_s: For so long it has been here; its life is shorter by that.
        """
        seen = self._active.redeliveries.find(message, now.mono_s)
        if seen is not None:
            facts = {"charger_id": target.charger_id, "command": target.command}
            yield LogEntry("info", "command.redelivered", facts)
            command = seen.command
            if command is None or not command.ack_tokens:
                yield Acknowledge(message.ack_token)
            else:
                command.ack_tokens.append((command.version, message.ack_token))
            return
        try:
            request = validate(message, target, known, self._settings, now)
            yield from self._enqueue(request, message, now, held_s)
        except CommandRefused as refusal:
            whom = (target.charger_id, target.command)
            yield from refuse_message(refusal, message, whom, self._topics, now)
            yield Acknowledge(message.ack_token)
            # Delivered again it must not be carried out: its caller was told that it is not.
            digest, packet = message_digest(message), message.ack_token.message_id
            self._active.redeliveries.add(digest, packet, None, now.mono_s)
        yield from self._pump(now)

    def _enqueue(
        self, request: CommandRequest, message: MqttMessage, now: Timestamp, held_s: float
    ) -> Iterator[Effect]:
        """Let an order wait for its turn, or answer what was asked before."""
        reply_to = reply_to_of(message, self._topics)
        entry = self._active.cache.find(request.name, now.mono_s)
        if entry is not None:
            command = entry.command
            yield from self._answer_duplicate(request, entry, reply_to, now)
            packet = message.ack_token.message_id
            self._active.redeliveries.add(request.digest, packet, command, now.mono_s)
            if command is None:
                yield Acknowledge(message.ack_token)
            else:
                command.ack_tokens.append((command.version, message.ack_token))
            return
        waited_s = self._waited(message, now)
        self._check_age(request, waited_s, now)
        self._check_retained(request, now)
        ending = self._active.finishing_count(request.charger_id)
        self._queues.check_capacity(request.charger_id, ending, reduces=request.spec.reduces)
        seq = self._active.next_seq()
        key = f"{round(now.wall.timestamp() * 1000)}-{seq}-{request.charger_id}"
        left_s = request.ttl_s if request.dated_s is not None else request.ttl_s - (waited_s or 0.0)
        command = Command(request, now, now.mono_s + left_s - held_s, [reply_to], key, seq)
        command.caveat = CANNOT_JUDGE if request.is_timeless else None
        command.message_id = message.ack_token.message_id
        command.ack_tokens.append((1, message.ack_token))
        command.devices = frozenset({request.charger_id})
        self._active.add(command)
        if command.expires_s <= now.mono_s:
            yield from self._active.finish(command, Transition.LATE, now)
            return
        command.apply(Transition.QUEUE)
        command.due_s = command.expires_s
        yield from self._replace(command, now)
        self._queues.put(command)

    def _waited(self, message: MqttMessage, now: Timestamp) -> float | None:
        """Return how long a message may have waited at the broker; None when it did not."""
        if now.mono_s >= self._fresh_from_s:
            return self._waited_s if message.duplicate else None
        latest_s = self._resumed_s + MAX_RESUMED_S
        if self._fresh_from_s < latest_s:
            self._fresh_from_s = min(latest_s, max(self._fresh_from_s, now.mono_s + PAUSE_S))
        return self._waited_s

    def _check_age(self, request: CommandRequest, waited_s: float | None, now: Timestamp) -> None:
        """Refuse what may be too old, as far as anybody can tell.

        Args:
            request: What is to be done. Its own date says when it is too late; one that is further
                away than any command may live says nothing of a command that waited so long.
            waited_s: How long it may have waited; None when it did not.
            now: The time.

        Raises:
            CommandRefused: ``age_unknown``.
        """
        if request.is_timeless and self._active.shown.energizes(request, now):
            raise CommandRefused(
                "age_unknown",
                "expires_at cannot be judged, this machine's clock is not set: leave it out",
            )
        if waited_s is None:
            return
        is_dated = request.dated_s is not None and min(request.dated_s, waited_s) < MAX_TTL_S
        if is_dated:
            return
        if waited_s >= request.ttl_s or self._active.shown.energizes(request, now):
            raise CommandRefused(
                "age_unknown",
                "it may have waited at the broker: send it again, or give it expires_at",
            )

    def _check_retained(self, request: CommandRequest, now: Timestamp) -> None:
        unsure = self.is_unsure_of_retained and self._settings.unsure_retained != "run"
        if unsure and self._active.shown.energizes(request, now):
            raise CommandRefused(
                "retained",
                "the broker does not tell whether it is: see commands.unsure_retained, use MQTT 5",
            )

    def _replace(self, command: Command, now: Timestamp) -> Iterator[Effect]:
        """End what a new command makes pointless before it was sent."""
        spec = command.spec
        for earlier in reversed(tuple(self._queues.waiting(command.charger_id))):
            if spec.replaces(command.argument, earlier.spec.name, earlier.argument) and (
                earlier.charger_id == command.charger_id
            ):
                self._queues.remove(earlier)
                detail = f"{spec.name} was asked for before it was sent"
                yield from self._active.finish(earlier, Transition.REPLACE, now, detail=detail)
            elif spec.is_paced and earlier.spec.group == LIMIT_BARRIER:
                return

    def _answer_duplicate(
        self, request: CommandRequest, entry: KnownCommand, reply_to: ReplyTo, now: Timestamp
    ) -> Iterator[Effect]:
        """Answer somebody who asks for what was asked for before."""
        command = entry.command
        if entry.content != request.content:
            raise CommandRefused("conflict", "this id was used for another command")
        whom = (request.charger_id, request.spec.name)
        if command is None:
            yield from result_messages(reply_to, self._topics, *whom, entry.answer)
            return
        if len(command.waiters) >= MAX_WAITERS:
            raise CommandRefused("busy", "this command was asked for too often")
        command.waiters.append(reply_to)
        self._active.persistence.mark_dirty(command)
        if command.state is State.ACCEPTED:
            yield from result_messages(
                reply_to, self._topics, *whom, build_result(command, now).document()
            )

    # -- what comes back ---------------------------------------------------------------------

    def answered(self, event: CloudResponse, now: Timestamp) -> Iterator[Effect]:
        """Take the cloud's answer to one of our calls."""
        yield from self._dispatcher.answered(event, now)
        yield from self._pump(now)

    def failed(self, event: CloudFailed, now: Timestamp) -> Iterator[Effect]:
        """Take the failure of one of our calls."""
        yield from self._dispatcher.failed(event, now)
        yield from self._pump(now)

    def responded(self, response: ChargerResponse, now: Timestamp) -> Iterator[Effect]:
        """Take what a charger answers to a command, ours or not."""
        yield from self._confirmation.responded(response, now)
        yield from self._pump(now)

    @property
    def is_busy(self) -> bool:
        """Whether any command is under way: then every observation is of interest."""
        return bool(self._active.live) or self._active.persistence.is_busy

    def observed(self, observation: Observation, now: Timestamp) -> Iterator[Effect]:
        """Take an observation that may reflect a command."""
        yield from self._confirmation.observed(observation, now)
        if self.is_busy:
            yield from self._pump(now)

    def acked(self, tag: str, now: Timestamp) -> None:
        """Note that the broker has an answer, or refuses it for good."""
        if self._active.acked(tag, now.mono_s):
            self._touch()

    # -- the store ---------------------------------------------------------------------------

    def opened(self, rows: tuple[CommandRow, ...], now: Timestamp) -> Iterator[Effect]:
        """Go on with the commands of an earlier process; write what could not be written."""
        yield from self._recovery.restore(rows, now)
        self._active.persistence.retry()
        yield from self._pump(now)

    def saved(self, event: CommandSaved, now: Timestamp) -> Iterator[Effect]:
        """Go on with a command whose row is on disk."""
        self._active.persistence.retry()
        command = self._active.persistence.saved(event.key)
        if command is not None:
            is_newest = command.durable == command.version
            yield from self._active.persisted(command)
            if is_newest and command.state is State.LEAVING:
                yield from self._dispatcher.send(command, now)
        yield from self._pump(now)

    def not_saved(self, event: CommandSaveFailed, now: Timestamp) -> Iterator[Effect]:
        """Go on with a command that cannot be written down."""
        command = self._active.persistence.not_saved(event.key, now.mono_s)
        if command is not None:
            yield _unsaved(command, str(event.error))
            yield from self._continue_without_store(command, now)
        yield from self._pump(now)

    def _continue_without_store(self, command: Command, now: Timestamp) -> Iterator[Effect]:
        """Go on without the disk."""
        waits = command.state in (State.WAITING, State.LEAVING)
        if waits and (command.durable == 0 or command.state is State.LEAVING):
            if self._active.shown.reduces(command, now):
                unwritten = f"{NOT_WRITTEN}: a repetition after a restart is not recognised"
                command.caveat = "; ".join(filter(None, (unwritten, command.caveat)))
                if command.state is State.LEAVING:
                    yield from self._dispatcher.send(command, now)
            else:
                if command.state is State.WAITING:
                    self._queues.remove(command)
                self._dispatcher.discard(command)
                detail = f"{NOT_WRITTEN}, and what is not on disk is not carried out"
                yield from self._active.finish(command, Transition.REFUSE, now, "storage", detail)
                self._active.persistence.retry_later(command, now.mono_s)
        yield from self._active.acknowledge(command)
        yield from self._active.publish(command)

    # -- time --------------------------------------------------------------------------------

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """Do what is due. Costs nothing while nothing is."""
        deadline_s = self.deadline_s()
        if deadline_s is None or now.mono_s < deadline_s:
            return
        self._touch()
        yield from self._dispatcher.time_out(now)
        for command in self._active.persistence.overdue(now.mono_s):
            yield _unsaved(command, "the store does not answer")
            yield from self._continue_without_store(command, now)
        for command in [c for c in self._active.live if c.due_s <= now.mono_s]:
            yield from self._due(command, now)
        yield from self._dispatcher.verify(now)
        yield from self._pump(now)

    def _due(self, command: Command, now: Timestamp) -> Iterator[Effect]:
        if command.state in FINAL:
            return
        if command.state is State.LEAVING:
            self._dispatcher.discard(command)
            yield from self._active.finish(command, Transition.LATE, now)
        elif command.state is not State.WAITING:
            yield from self._active.finish(command, Transition.TIMEOUT, now)
        elif command.expires_s <= now.mono_s:
            self._queues.remove(command)
            yield from self._active.finish(command, Transition.LATE, now)
        else:
            command.due_s = command.expires_s

    def _pump(self, now: Timestamp) -> Iterator[Effect]:
        """Send what may be sent, write what changed."""
        self._touch()
        held = None
        while held is None or held:
            if not self._stopping:
                yield from self._dispatcher.pump(now)
            held = self._active.persistence.blocked()
            for command in held:
                yield from self._continue_without_store(command, now)
        yield from self._active.persistence.flush(now)

    def _touch(self) -> None:
        self._deadline_s = math.nan


def _unsaved(command: Command, why: str) -> LogEntry:
    facts = {"charger_id": command.charger_id, "command": command.spec.name, "error": why}
    return LogEntry("warning", "command.not_saved", facts)
