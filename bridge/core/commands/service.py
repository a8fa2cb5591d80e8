"""Command service: lifecycle, persistence and result of every ``set/`` message.

The records of commands are in :mod:`bridge.core.commands.active_commands`, their states and the
steps between them in the table of :mod:`bridge.core.commands.state_machine`. The steps are taken by
:mod:`~bridge.core.commands.dispatcher` on the way to the cloud, by
:mod:`~bridge.core.commands.confirmation` when a charger speaks, and by
:mod:`~bridge.core.commands.active_commands` at the end. This module lets commands in, and puts the
others to work when something happened.

Rules:

1. A message is acknowledged when what became of it is on disk, or when nothing will: it was
   refused, it is a repetition, or the store failed.
2. Where the store fails, what can only stop a charge or make it smaller runs all the same, and its
   answers say so; the rest is refused.
3. A message that may have waited at the broker, and does not say when it is too late, must not let
   a charge begin or grow; one that may have waited longer than it lives is not carried out at all.
4. Total: no message, no answer and no row raises. Where this program has a defect, what was decided
   before it counts.
"""

import math
from collections.abc import Container, Iterator
from datetime import datetime
from typing import Final

from bridge.core.changes import CommandAnswered
from bridge.core.commands.active_commands import (
    ActiveCommands,
    Command,
    KnownCommand,
)
from bridge.core.commands.confirmation import CommandConfirmation
from bridge.core.commands.dispatcher import CommandDispatcher, PendingRequest, Purpose
from bridge.core.commands.held_limits import HeldLimits, is_of_held_limit
from bridge.core.commands.persistence import CommandPersistence
from bridge.core.commands.phase_switch import PhaseSwitches
from bridge.core.commands.recovery import Recovery
from bridge.core.commands.results import read_result, refuse_message
from bridge.core.commands.schedule_guard import ScheduleGuard
from bridge.core.commands.send_policy import SendPolicy
from bridge.core.commands.shown_state import ShownState
from bridge.core.commands.state_machine import AWAITED, FINAL, NAME, State, Transition
from bridge.core.commands.validation import (
    CommandRequest,
    message_digest,
    reply_to_of,
    validate,
)
from bridge.core.domain_events import (
    NOTHING,
    BrokerAbsenceKnown,
    ChargerForgotten,
    ChargersAdded,
    CommandReceived,
    Input,
    ObservationApplied,
    Output,
    Outputs,
    SchedulesRead,
    SettingsChanged,
    UnmatchedResponse,
)
from bridge.core.easee.command_catalogue import REFLECTING_IDS, halts
from bridge.core.easee.decode import Observation
from bridge.core.easee.rest_responses import observations
from bridge.core.effects import Acknowledge, LogEntry
from bridge.core.events import (
    ChargerResponse,
    CloudFailed,
    CloudResponse,
    CommandSaved,
    CommandSaveFailed,
    MqttAcked,
    MqttDisconnected,
    MqttMessage,
    ObservationsReceived,
    Stopping,
    StoreOpened,
    StreamClosed,
    StreamOpened,
    Tick,
)
from bridge.core.messages import Publish
from bridge.core.records.command_row import MAX_TTL_S, CommandRow
from bridge.core.records.moment import Timestamp
from bridge.core.records.reply_to import ReplyTo
from bridge.core.subjects import Subject
from bridge.core.topics import SetTopic, Topics
from bridge.errors import CommandRefused, DecodeError
from bridge.settings import CommandSettings

MAX_WAITERS: Final = 10
# What a broker kept for us arrives within moments of a resumed session.
RESUMED_S: Final = 5.0
# A long queue takes longer: while it comes without a pause of this length, up to that time.
PAUSE_S: Final = 1.0
MAX_RESUMED_S: Final = 60.0
# A broker counts the expiry of what waits in whole seconds: what is left may be less by one.
EXPIRY_STEP_S: Final = 1.0
CANNOT_JUDGE: Final = "expires_at was not judged: this machine's clock is not set"
# Another command between two limits may be what the first of them was for.
LIMIT_BARRIER: Final = "control"
NOT_WRITTEN: Final = "the journal could not be written"


class CommandService:
    """Commands from their arrival to their final answer.

    Attributes:
        is_unsure_of_retained: A live command may have been published with the retain flag.
    """

    name = NAME
    interests = frozenset(
        {
            CommandReceived,
            ChargerResponse,
            CommandSaved,
            CommandSaveFailed,
            ObservationApplied,
            UnmatchedResponse,
            SchedulesRead,
            BrokerAbsenceKnown,
            MqttDisconnected,
            StreamOpened,
            StreamClosed,
            StoreOpened,
            ChargersAdded,
            ChargerForgotten,
            SettingsChanged,
            Stopping,
        }
    )

    def __init__(
        self,
        topics: Topics,
        settings: CommandSettings,
        chargers: Container[str],
        *,
        uses_exchange: bool = False,
    ) -> None:
        """Start empty.

        Args:
            topics: Names.
            settings: What is allowed.
            chargers: Those that are served.
            uses_exchange: Commands go through the exchange of the partner feed where it can carry
                them.
        """
        self._topics = topics
        self._settings = settings
        self._chargers = chargers
        self._shown = ShownState()
        self._active = ActiveCommands(self._shown)
        self._persistence = CommandPersistence(self._active)
        self._send_policy = SendPolicy(self._shown, settings.flash_writes_per_day)
        self._confirmation = CommandConfirmation(self._active, self._shown, self._send_policy)
        self._held = HeldLimits(self._active, self._shown)
        self._switches = PhaseSwitches(self._active, self._shown, settings.max_current_a)
        self._recovery = Recovery(
            self._active,
            self._send_policy,
            self._confirmation,
            self._switches,
            self._held,
            settings=settings,
        )
        self._schedules = ScheduleGuard(self._active)
        self._dispatcher = CommandDispatcher(
            self._active,
            self._send_policy,
            self._confirmation,
            self._schedules,
            self._held,
            uses_exchange=uses_exchange,
        )
        # Until the broker said whether it knows us, everything may have waited there.
        self._fresh_from_s = math.inf
        self._resumed_s = -math.inf
        self._waited_s = 0.0
        self._stopping = False
        self.is_unsure_of_retained = False
        # math.nan: something changed since it was last worked out.
        self._deadline_s: float | None = None

    def handle(self, event: Input, now: Timestamp) -> Outputs:  # noqa: C901, PLR0912 - one case per event
        """Handle a command, a response to one, or a tick."""
        match event:
            case ObservationApplied(observation, readings):
                if observation.spec.id in REFLECTING_IDS:
                    self._shown.latest[observation.charger_id] = readings
                    return self.observed(observation, now)
            case UnmatchedResponse(response):
                return self.foreign(response, now)
            case SchedulesRead():
                return self.schedules_read(event, now)
            case CommandReceived(message, target, held_s, is_unsure):
                self.is_unsure_of_retained = is_unsure
                return self.receive(message, target, self._chargers, now, held_s=held_s)
            case CommandSaved():
                return self.saved(event, now)
            case CommandSaveFailed():
                return self.not_saved(event, now)
            case CloudResponse():
                return self.answered(event, now)
            case CloudFailed():
                return self.failed(event, now)
            case ChargerResponse(charger_id):
                if charger_id in self._chargers:
                    return self.responded(event, now)
            case MqttAcked(message):
                self.acked(message, now)
            case StreamOpened() | StreamClosed():
                self.stream(now, is_up=isinstance(event, StreamOpened))
            case BrokerAbsenceKnown(session_present, waited_s, alive_at):
                if waited_s is None:
                    waited_s = self._away_s(alive_at, now)
                self.connected(now, session_present=session_present, waited_s=waited_s)
            case MqttDisconnected():
                self.disconnected()
            case StoreOpened(commands=rows):
                return self.opened(rows, now)
            case ChargersAdded(charger_ids):
                return self.added(charger_ids)
            case ChargerForgotten(charger_id):
                self.forget(charger_id)
                return self.release(charger_id, now)
            case SettingsChanged(settings):
                self.allow(settings.commands)
            case Stopping():
                return self.stop(now)
            case Tick():
                return self.tick(now)
        return NOTHING

    def allow(self, settings: CommandSettings) -> None:
        """Apply new settings to commands that arrive from now on."""
        self._settings = settings
        self._send_policy.set_flash_limit(settings.flash_writes_per_day)
        self._switches.max_current_a = settings.max_current_a

    def added(self, charger_ids: tuple[str, ...]) -> list[Output]:
        """Publish what is held for chargers that are served from now on."""
        effects: list[Output] = []
        self._held.announce(charger_ids, effects)
        return effects

    def forget(self, charger_id: str) -> None:
        """Drop what is held of a removed charger; commands in progress continue."""
        self._send_policy.forget(charger_id)
        self._schedules.forget(charger_id)
        self._dispatcher.forget(charger_id)

    def release(self, charger_id: str, now: Timestamp) -> Iterator[Output]:
        """End the held limits of a removed charger."""
        effects: list[Output] = []
        try:
            self._held.forget(charger_id, effects, now)
            self._pump(effects, now)
        finally:
            yield from effects

    # -- what others ask ---------------------------------------------------------------------

    def explain(self, subject: Subject, now: Timestamp) -> Iterator[str]:
        """Say where a charger's commands are, and who is waited for."""
        if subject.branch in ("result", "set"):
            yield from self._active.explain(subject.device, subject.name, now)

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        if self._deadline_s is not None and math.isnan(self._deadline_s):
            due_s = self._persistence.deadline_s()
            if self._active.guided:
                due_s = min(due_s, self._switches.deadline_s())
            if self._active.is_holding or self._held.is_unwritten:
                due_s = min(due_s, self._held.deadline_s())
            for pending in self._dispatcher.pending:
                due_s = min(due_s, pending.due_s)
            for command in self._active.live:
                due_s = min(due_s, command.due_s, command.look_at_s)
            self._deadline_s = due_s if due_s < math.inf else None
        return self._deadline_s

    def expects(self, charger_id: str, observation_id: int, now: Timestamp) -> bool:
        """Return whether a command may be the cause of an observation's change now."""
        return self._active.may_cause(charger_id, observation_id, now)

    @property
    def is_busy(self) -> bool:
        """Whether a command is in progress; then every observation is of interest."""
        return bool(self._active.live) or self._persistence.is_busy

    # -- connections -------------------------------------------------------------------------

    def _away_s(self, alive_at: datetime | None, now: Timestamp) -> float:
        """Return for how long the broker may have kept what comes with the first connection.

        Args:
            alive_at: When an earlier process ended in order; its last command says so, too.
            now: The time.
        """
        known = [at for at in (alive_at, self._recovery.alive_at) if at is not None]
        if not known or not now.trusted or max(known) > now.wall:
            return math.inf
        return (now.wall - max(known)).total_seconds()

    def connected(self, now: Timestamp, *, session_present: bool, waited_s: float = 0.0) -> None:
        """Record that the broker accepted the connection.

        Args:
            now: The time.
            session_present: It has kept what came meanwhile.
            waited_s: Upper limit of the wait; infinite when unknown.
        """
        self._fresh_from_s = now.mono_s + RESUMED_S if session_present else -math.inf
        self._resumed_s, self._waited_s = now.mono_s, waited_s
        if not session_present:
            self._active.messages.clear()

    def disconnected(self) -> None:
        """Record the end of the connection: later messages may have waited at the broker."""
        self._fresh_from_s = math.inf

    def stream(self, now: Timestamp, *, is_up: bool) -> None:
        """Record whether the chargers can be heard."""
        self._confirmation.stream(now, is_up=is_up)
        self._deadline_s = math.nan

    def stop(self, now: Timestamp) -> Iterator[Output]:
        """Send nothing more: what waits goes on after the restart, if there is time."""
        effects: list[Output] = []
        try:
            self._stopping = True
            self._persistence.flush_deferred()
            self._pump(effects, now)
        finally:
            yield from effects

    # -- messages ----------------------------------------------------------------------------

    def receive(
        self,
        message: MqttMessage,
        target: SetTopic,
        known: Container[str],
        now: Timestamp,
        *,
        held_s: float = 0.0,
    ) -> Iterator[Output]:
        """Admit a command, refuse it, or recognise it as a duplicate.

        Args:
            message: As it arrived.
            target: Its topic.
            known: Chargers that are served.
            now: The time.
            held_s: For so long it has been here; its life is shorter by that.
        """
        effects: list[Output] = []
        try:
            messages = self._active.messages
            delivery = messages.find(message, now.mono_s) if message.duplicate else None
            if delivery is not None:
                facts = {"charger_id": target.charger_id, "command": target.command}
                effects.append(LogEntry("info", "command.redelivered", facts))
                command = delivery.command
                is_pending = command is not None and bool(command.ack_tokens)
                _await_row(command if is_pending else None, message, effects)
                return
            try:
                request = validate(message, target, known, self._settings, now)
                reply_to = reply_to_of(message, self._topics)
                known_command = None
                if request.name is not None:
                    known_command = self._active.named.find(request.name, now.mono_s)
                if known_command is None:
                    self._take(request, message, reply_to, effects, now, held_s=held_s)
                else:
                    self._answer_duplicate(request, known_command, reply_to, effects, now)
                    command, packet = known_command.command, message.ack_token.message_id
                    messages.add(request.digest, packet, command, now.mono_s)
                    _await_row(command, message, effects)
            except CommandRefused as refusal:
                self._refuse(refusal, message, target, effects, now)
            self._pump(effects, now)
        finally:
            yield from effects

    def _refuse(
        self,
        refusal: CommandRefused,
        message: MqttMessage,
        target: SetTopic,
        effects: list[Output],
        now: Timestamp,
    ) -> None:
        whom = (target.charger_id, target.command)
        effects += refuse_message(refusal, message, whom, self._topics, now)
        effects.append(Acknowledge(message.ack_token))
        # Delivered again it must not be carried out: its caller was told that it is not.
        digest, packet = message_digest(message), message.ack_token.message_id
        self._active.messages.add(digest, packet, None, now.mono_s)

    def _take(
        self,
        request: CommandRequest,
        message: MqttMessage,
        reply_to: ReplyTo,
        effects: list[Output],
        now: Timestamp,
        *,
        held_s: float,
    ) -> None:
        """Queue a request, unless it is too old or too many wait."""
        commands, charger_id = self._active, request.charger_id
        waited_s = self._waited(message, now)
        if waited_s is not None or request.is_timeless:
            self._check_age(request, waited_s, now)
        if self.is_unsure_of_retained:
            self._check_retained(request, now)
        finishing = self._persistence.finishing_count(charger_id) if commands.writing else 0
        commands.check_capacity(
            charger_id, finishing, reduces=request.spec.reduces(request.argument)
        )
        seq = commands.next_seq()
        key = f"{round(now.wall.timestamp() * 1000)}-{seq}-{charger_id}"
        left_s = request.ttl_s if waited_s is None else _left_s(request, message, waited_s)
        command = Command(request, now, now.mono_s + left_s - held_s, [reply_to], key, seq)
        command.caveat = CANNOT_JUDGE if request.is_timeless else None
        command.message_id = message.ack_token.message_id
        command.ack_tokens.append((1, message.ack_token))
        command.devices = frozenset({charger_id})
        commands.add(command)
        commands.mark_dirty(command)
        if command.expires_s <= now.mono_s:
            commands.finish(command, Transition.LATE, effects, now)
            return
        command.apply(Transition.QUEUE)
        command.due_s = command.expires_s
        if charger_id in commands.queues:
            self._replace(command, effects, now)
        commands.enqueue(command)
        if commands.guided and halts(request.spec, request.argument):
            self._switches.halt(charger_id, request.spec.name, now)

    def _waited(self, message: MqttMessage, now: Timestamp) -> float | None:
        """Return how long a message may have waited at the broker; None when it did not."""
        if now.mono_s >= self._fresh_from_s:
            return self._waited_s if message.duplicate else None
        latest_s = self._resumed_s + MAX_RESUMED_S
        if self._fresh_from_s < latest_s:
            self._fresh_from_s = min(latest_s, max(self._fresh_from_s, now.mono_s + PAUSE_S))
        return self._waited_s

    def _check_age(self, request: CommandRequest, waited_s: float | None, now: Timestamp) -> None:
        """Refuse a command that may be too old.

        Args:
            request: What is to be done. Its own date says when it is too late; one that is further
                away than any command may live says nothing of a command that waited so long.
            waited_s: How long it may have waited; None when it did not.
            now: The time.

        Raises:
            CommandRefused: ``age_unknown``.
        """
        if request.is_timeless and self._shown.energizes(request, now):
            raise CommandRefused(
                "age_unknown",
                "expires_at cannot be judged, this machine's clock is not set: leave it out",
            )
        if waited_s is None:
            return
        is_dated = request.dated_s is not None and min(request.dated_s, waited_s) < MAX_TTL_S
        if is_dated:
            return
        if waited_s >= request.ttl_s or self._shown.energizes(request, now):
            raise CommandRefused(
                "age_unknown",
                "it may have waited at the broker: send it again, or give it expires_at",
            )

    def _check_retained(self, request: CommandRequest, now: Timestamp) -> None:
        """Refuse a command that lets a charge begin, where it may have been retained.

        Raises:
            CommandRefused: ``retained``.
        """
        unsure = self._settings.unsure_retained != "run"
        if unsure and self._shown.energizes(request, now):
            raise CommandRefused(
                "retained",
                "the broker does not report the retain flag: see commands.unsure_retained, use"
                " MQTT 5",
            )

    def _replace(self, command: Command, effects: list[Output], now: Timestamp) -> None:
        """End waiting commands that a new one supersedes."""
        spec = command.spec
        for earlier in reversed(tuple(self._active.waiting(command.charger_id))):
            if earlier.parent is not None:
                continue
            if spec.replaces(command.argument, earlier.spec.name, earlier.argument) and (
                earlier.charger_id == command.charger_id
            ):
                detail = f"{spec.name} was asked for before it was sent"
                self._active.finish(earlier, Transition.REPLACE, effects, now, detail=detail)
            elif spec.is_paced and earlier.spec.group == LIMIT_BARRIER:
                return

    def _answer_duplicate(
        self,
        request: CommandRequest,
        known: KnownCommand,
        reply_to: ReplyTo,
        effects: list[Output],
        now: Timestamp,
    ) -> None:
        """Answer a duplicate of an earlier command."""
        command = known.command
        if known.content != request.content:
            raise CommandRefused("conflict", "this id was used for another command")
        if command is None:
            result = read_result(known.answer)
            effects.append(CommandAnswered(request.charger_id, result, (reply_to,)))
            return
        if len(command.waiters) >= MAX_WAITERS:
            raise CommandRefused("busy", "this command was asked for too often")
        command.waiters.append(reply_to)
        self._active.mark_dirty(command)
        if command.state in (State.ACCEPTED, State.RUNNING):
            result = command.result(now, detail=command.progress or None)
            effects.append(CommandAnswered(request.charger_id, result, (reply_to,)))

    # -- what comes back ---------------------------------------------------------------------

    def answered(self, event: CloudResponse, now: Timestamp) -> Iterator[Output]:
        """Handle the cloud's response to a request."""
        effects: list[Output] = []
        try:
            pending = self._dispatcher.end(event.tag)
            if pending is not None and pending.brings_observations:
                yield from self._read(pending, event, effects, now)
            elif pending is not None:
                self._dispatcher.answered(pending, event, effects, now)
            self._pump(effects, now)
        finally:
            yield from effects

    def _read(
        self, pending: PendingRequest, event: CloudResponse, effects: list[Output], now: Timestamp
    ) -> Iterator[Output]:
        """Apply the observations that were asked for; they may prove any command."""
        command = pending.command
        is_refresh = pending.purpose is Purpose.SEND
        if is_refresh:
            self._dispatcher.note_answer(command, event, now)
        elif command.state not in AWAITED:
            return
        try:
            found = observations(event.body, command.charger_id).observations
        except DecodeError as error:
            if is_refresh:
                self._active.finish(
                    command, Transition.DENY, effects, now, reason="unreadable", detail=error.reason
                )
        else:
            yield ObservationsReceived(found, "poll")
            if is_refresh:
                self._active.finish(command, Transition.CONFIRM, effects, now)
        self._confirmation.replay_early_responses(command, effects, now)

    def failed(self, event: CloudFailed, now: Timestamp) -> Iterator[Output]:
        """Handle the failure of a request."""
        effects: list[Output] = []
        try:
            pending = self._dispatcher.end(event.tag)
            if pending is not None:
                self._dispatcher.failed(pending, event, effects, now)
            self._pump(effects, now)
        finally:
            yield from effects

    def responded(self, response: ChargerResponse, now: Timestamp) -> Iterator[Output]:
        """Handle a charger response to a command, own or foreign."""
        effects: list[Output] = []
        try:
            self._confirmation.responded(response, effects, now)
            self._pump(effects, now)
        finally:
            yield from effects

    def foreign(self, response: ChargerResponse, now: Timestamp) -> Iterator[Output]:
        """Handle a charger response that no command of this gateway caused."""
        effects: list[Output] = []
        try:
            self._held.foreign(response, now)
            self._switches.foreign(response, now)
            self._pump(effects, now)
        finally:
            yield from effects

    def observed(self, observation: Observation, now: Timestamp) -> Iterator[Output]:
        """Handle an observation that may reflect a command."""
        effects: list[Output] = []
        try:
            self._confirmation.observed(observation, effects, now)
            if self._active.is_holding:
                self._held.observed(observation, now)
                self._deadline_s = math.nan
            if self.is_busy:
                self._pump(effects, now)
        finally:
            yield from effects

    def schedules_read(self, event: SchedulesRead, now: Timestamp) -> Iterator[Output]:
        """Handle schedules that the cloud told."""
        effects: list[Output] = []
        try:
            self._schedules.read(event, effects, now)
            if self.is_busy:
                self._pump(effects, now)
        finally:
            yield from effects

    def acked(self, message: Publish, now: Timestamp) -> None:
        """Record that the broker acknowledged or finally refused a result."""
        command = self._active.acknowledged(message)
        if command is not None:
            self._persistence.mark_dirty_later(command, now.mono_s)
            self._deadline_s = math.nan

    # -- the store ---------------------------------------------------------------------------

    def opened(self, rows: tuple[CommandRow, ...], now: Timestamp) -> Iterator[Output]:
        """Continue the commands of an earlier process; write what could not be written."""
        effects: list[Output] = []
        try:
            held = [row for row in rows if is_of_held_limit(row)]
            commands = tuple(row for row in rows if not is_of_held_limit(row)) if held else rows
            self._held.restore(held, effects, now)
            self._recovery.restore(commands, effects, now)
            self._persistence.retry()
            self._pump(effects, now)
        finally:
            yield from effects

    def saved(self, event: CommandSaved, now: Timestamp) -> Iterator[Output]:
        """Continue a command whose row is stored."""
        effects: list[Output] = []
        try:
            if self._persistence.retries:
                self._persistence.retry()
            command = self._active.saved(event.key, effects)
            if command is None:
                self._held.saved(event.key)
            is_newest = command is not None and command.durable == command.version
            if command is not None and is_newest and command.state is State.LEAVING:
                if command.spec.is_guided:
                    self._switches.begin(command, now)
                else:
                    self._dispatcher.send(command, effects, now)
            self._pump(effects, now)
        finally:
            yield from effects

    def not_saved(self, event: CommandSaveFailed, now: Timestamp) -> Iterator[Output]:
        """Handle a command whose row could not be stored."""
        effects: list[Output] = []
        try:
            self._held.not_saved(event.key, now)
            command = self._persistence.not_saved(event.key, now.mono_s)
            if command is not None:
                effects.append(_unsaved(command, str(event.error)))
                self._continue_without_store(command, effects, now)
            self._pump(effects, now)
        finally:
            yield from effects

    def _continue_without_store(
        self, command: Command, effects: list[Output], now: Timestamp
    ) -> None:
        """Continue a command without storing it."""
        waits = command.state in (State.WAITING, State.LEAVING)
        if waits and (command.durable == 0 or command.state is State.LEAVING):
            if self._shown.reduces(command.request, now):
                unwritten = f"{NOT_WRITTEN}: a repetition after a restart is not recognised"
                if unwritten not in (command.caveat or ""):
                    command.caveat = "; ".join(filter(None, (unwritten, command.caveat)))
                if command.state is State.LEAVING:
                    self._dispatcher.send(command, effects, now)
            else:
                command.wrote_flash = False
                detail = f"{NOT_WRITTEN}, and what is not on disk is not carried out"
                self._active.finish(
                    command, Transition.REFUSE, effects, now, reason="storage", detail=detail
                )
                self._persistence.retry_later(command, now.mono_s)
        self._active.acknowledge(command, effects)
        self._active.publish(command, effects)

    # -- time --------------------------------------------------------------------------------

    def tick(self, now: Timestamp) -> Iterator[Output]:
        """Do what is due; returns quickly when nothing is."""
        deadline_s = self.deadline_s()
        if deadline_s is None or now.mono_s < deadline_s:
            return
        effects: list[Output] = []
        try:
            self._dispatcher.time_out(effects, now)
            if self._active.is_holding:
                self._held.advance(effects, now)
            for command in self._persistence.overdue(now.mono_s):
                effects.append(_unsaved(command, "the store does not answer"))
                self._continue_without_store(command, effects, now)
            for command in [c for c in self._active.live if c.due_s <= now.mono_s]:
                self._due(command, effects, now)
            self._dispatcher.verify(effects, now)
            self._pump(effects, now)
        finally:
            yield from effects

    def _due(self, command: Command, effects: list[Output], now: Timestamp) -> None:
        finish = self._active.finish
        if command.state in FINAL:
            return
        if command.state is State.LEAVING:
            command.wrote_flash = False
            finish(command, Transition.LATE, effects, now)
        elif command.state is not State.WAITING:
            finish(command, Transition.TIMEOUT, effects, now)
        elif command.expires_s <= now.mono_s:
            finish(command, Transition.LATE, effects, now)
        else:
            command.due_s = command.expires_s

    def _pump(self, effects: list[Output], now: Timestamp) -> None:
        """Send what may be sent, write what changed."""
        self._deadline_s = math.nan
        commands = self._active
        blocked = None
        while blocked is None or blocked:
            if commands.guided and not self._stopping:
                self._send_steps(effects, now)
            elif commands.queues and not self._stopping:
                self._dispatcher.dispatch(effects, now)
            if commands.ended or commands.uncertain:
                self._held.take(effects, now)
            if self._held.is_unwritten:
                self._held.flush(effects, now)
            blocked = self._persistence.flush(effects, now) if commands.dirty else []
            for command in blocked:
                self._continue_without_store(command, effects, now)

    def _send_steps(self, effects: list[Output], now: Timestamp) -> None:
        """Send what may be sent, and begin the steps that follow from it."""
        again = True
        while again:
            self._switches.advance(effects, now)
            self._dispatcher.dispatch(effects, now)
            again = self._switches.has_ended_step


def _left_s(request: CommandRequest, message: MqttMessage, waited_s: float) -> float:
    """Return how long a command lives that may have waited at the broker for so long."""
    if request.dated_s is None:
        return request.ttl_s - waited_s
    if message.expiry_s is None:
        return request.ttl_s
    return min(request.ttl_s, message.expiry_s - EXPIRY_STEP_S)


def _await_row(command: Command | None, message: MqttMessage, effects: list[Output]) -> None:
    """Acknowledge a repetition when what it repeats is on disk, at once where that is known."""
    if command is None:
        effects.append(Acknowledge(message.ack_token))
    else:
        command.ack_tokens.append((command.version, message.ack_token))


def _unsaved(command: Command, why: str) -> LogEntry:
    facts = {"charger_id": command.charger_id, "command": command.spec.name, "error": why}
    return LogEntry("warning", "command.not_saved", facts)
