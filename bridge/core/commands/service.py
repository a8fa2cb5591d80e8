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

from bridge.core.commands.active_commands import Book, Settled
from bridge.core.commands.confirmation import Foreign, Observe, Witness
from bridge.core.commands.dispatcher import Sender
from bridge.core.commands.idempotency import Fate
from bridge.core.commands.queues import Lanes
from bridge.core.commands.recovery import Recovery
from bridge.core.commands.reply_to import Ask
from bridge.core.commands.result_messages import reply, turn_away
from bridge.core.commands.results import answer_to
from bridge.core.commands.send_policy import Flow
from bridge.core.commands.state_machine import FINAL, Command, State, Step
from bridge.core.commands.validation import Order, admit, ask_of, digest_of
from bridge.core.easee.decode import Observation
from bridge.core.effects import Acknowledge, Effect, Note
from bridge.core.events import (
    CloudAnswered,
    CloudFailed,
    CommandNotSaved,
    CommandResponse,
    CommandSaved,
    MqttMessage,
)
from bridge.core.records.command_row import LONGEST_TTL_S, CommandRow
from bridge.core.records.moment import Moment
from bridge.core.topics import SetTopic, Topics
from bridge.errors import CommandRefused
from bridge.settings import CommandSettings

MOST_ASKS: Final = 10
# What a broker kept for us arrives within moments of a resumed session.
RESUMED_S: Final = 5.0
# A long queue takes longer: while it comes without a pause of this length, up to that time.
PAUSE_S: Final = 1.0
LONGEST_RESUMED_S: Final = 60.0
CANNOT_JUDGE: Final = "expires_at was not judged: this machine's clock is not set"
# Another command between two limits may be what the first of them was for.
LIMIT_BARRIER: Final = "control"
NOT_WRITTEN: Final = "the journal could not be written"


class Journal:
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
        observe: Observe,
        foreign: Foreign,
        settled: Settled,
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
        self._book = Book(topics, settled)
        self._lanes = Lanes()
        self._flow = Flow(self._book.known, settings.flash_writes_per_day)
        self._witness = Witness(self._book, self._flow, observe=observe, foreign=foreign)
        self._sender = Sender(
            self._book,
            self._lanes,
            self._flow,
            self._witness,
            next_call_id=next_call_id,
            observe=observe,
        )
        self._recovery = Recovery(self._book, self._lanes, self._flow, self._witness, settings)
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
        self._flow.allow(settings.flash_writes_per_day)

    def forget(self, charger_id: str) -> None:
        """Give back what is held of a charger that left; commands under way go on."""
        self._flow.forget(charger_id)
        self._sender.forget(charger_id)

    # -- what others ask ---------------------------------------------------------------------

    def owns(self, call_id: int) -> bool:
        """Say whether a REST call is one of ours."""
        return call_id in self._sender.calls

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        if self._deadline_s is not None and math.isnan(self._deadline_s):
            calls = (call.due_s for call in self._sender.calls.open)
            due_s = min(chain(self._book.due_s(), calls), default=math.inf)
            self._deadline_s = due_s if due_s < math.inf else None
        return self._deadline_s

    def expects(self, charger_id: str, observation_id: int, now: Moment) -> bool:
        """Say whether a command of ours may be why an observation changes now."""
        return self._book.expects(charger_id, observation_id, now)

    # -- connections -------------------------------------------------------------------------

    @property
    def alive_at(self) -> datetime | None:
        """When an earlier process took its last command, wall clock; None when nobody knows."""
        return self._recovery.alive_at

    def connected(self, now: Moment, *, session_present: bool, waited_s: float = 0.0) -> None:
        """Note that the broker took us.

        Args:
            now: The time.
            session_present: It has kept what came meanwhile.
            waited_s: For so long at most; infinite where nobody knows.
        """
        self._fresh_from_s = now.mono_s + RESUMED_S if session_present else -math.inf
        self._resumed_s, self._waited_s = now.mono_s, waited_s
        if not session_present:
            self._book.deliveries.clear()

    def disconnected(self) -> None:
        """Note that the broker is gone: what comes next may have waited there."""
        self._fresh_from_s = math.inf

    def stream(self, now: Moment, *, is_up: bool) -> None:
        """Note that the chargers can be heard, or cannot any more."""
        self._witness.stream(now, is_up=is_up)
        self._touch()

    def stop(self, now: Moment) -> Iterator[Effect]:
        """Send nothing more: what waits goes on after the restart, if there is time."""
        self._stopping = True
        self._book.scribe.hurry()
        yield from self._work(now)

    # -- messages ----------------------------------------------------------------------------

    def receive(
        self,
        message: MqttMessage,
        target: SetTopic,
        known: Container[str],
        now: Moment,
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
        delivery = self._book.deliveries.find(message, now.mono_s)
        if delivery is not None:
            facts = {"charger_id": target.charger_id, "command": target.command}
            yield Note("info", "command.redelivered", facts)
            command = delivery.command
            if command is None or not command.receipts:
                yield Acknowledge(message.receipt)
            else:
                command.receipts.append((command.version, message.receipt))
            return
        try:
            order = admit(message, target, known, self._settings, now)
            yield from self._enter(order, message, now, held_s)
        except CommandRefused as refusal:
            whom = (target.charger_id, target.command)
            yield from turn_away(refusal, message, whom, self._topics, now)
            yield Acknowledge(message.receipt)
            # Delivered again it must not be carried out: its caller was told that it is not.
            digest, packet = digest_of(message), message.receipt.message_id
            self._book.deliveries.add(digest, packet, None, now.mono_s)
        yield from self._work(now)

    def _enter(
        self, order: Order, message: MqttMessage, now: Moment, held_s: float
    ) -> Iterator[Effect]:
        """Let an order wait for its turn, or answer what was asked before."""
        ask = ask_of(message, self._topics)
        fate = self._book.memory.find(order.name, now.mono_s)
        if fate is not None:
            command = fate.command
            yield from self._again(order, fate, ask, now)
            packet = message.receipt.message_id
            self._book.deliveries.add(order.digest, packet, command, now.mono_s)
            if command is None:
                yield Acknowledge(message.receipt)
            else:
                command.receipts.append((command.version, message.receipt))
            return
        waited_s = self._waited(message, now)
        self._check_age(order, waited_s, now)
        self._check_retained(order, now)
        ending = self._book.ending(order.charger_id)
        self._lanes.check_room(order.charger_id, ending, reduces=order.spec.reduces)
        seq = self._book.next_seq()
        key = f"{round(now.wall.timestamp() * 1000)}-{seq}-{order.charger_id}"
        left_s = order.ttl_s if order.dated_s is not None else order.ttl_s - (waited_s or 0.0)
        command = Command(order, now, now.mono_s + left_s - held_s, [ask], key, seq)
        command.caveat = CANNOT_JUDGE if order.is_timeless else None
        command.message_id = message.receipt.message_id
        command.receipts.append((1, message.receipt))
        command.devices = frozenset({order.charger_id})
        self._book.enter(command)
        if command.expires_s <= now.mono_s:
            yield from self._book.finish(command, Step.LATE, now)
            return
        command.step(Step.QUEUE)
        command.due_s = command.expires_s
        yield from self._replace(command, now)
        self._lanes.put(command)

    def _waited(self, message: MqttMessage, now: Moment) -> float | None:
        """Return how long a message may have waited at the broker; None when it did not."""
        if now.mono_s >= self._fresh_from_s:
            return self._waited_s if message.duplicate else None
        latest_s = self._resumed_s + LONGEST_RESUMED_S
        if self._fresh_from_s < latest_s:
            self._fresh_from_s = min(latest_s, max(self._fresh_from_s, now.mono_s + PAUSE_S))
        return self._waited_s

    def _check_age(self, order: Order, waited_s: float | None, now: Moment) -> None:
        """Refuse what may be too old, as far as anybody can tell.

        Args:
            order: What is to be done. Its own date says when it is too late; one that is further
                away than any command may live says nothing of a command that waited so long.
            waited_s: How long it may have waited; None when it did not.
            now: The time.

        Raises:
            CommandRefused: ``age_unknown``.
        """
        if order.is_timeless and self._book.known.energizes(order, now):
            raise CommandRefused(
                "age_unknown",
                "expires_at cannot be judged, this machine's clock is not set: leave it out",
            )
        if waited_s is None:
            return
        is_dated = order.dated_s is not None and min(order.dated_s, waited_s) < LONGEST_TTL_S
        if is_dated:
            return
        if waited_s >= order.ttl_s or self._book.known.energizes(order, now):
            raise CommandRefused(
                "age_unknown",
                "it may have waited at the broker: send it again, or give it expires_at",
            )

    def _check_retained(self, order: Order, now: Moment) -> None:
        unsure = self.is_unsure_of_retained and self._settings.unsure_retained != "run"
        if unsure and self._book.known.energizes(order, now):
            raise CommandRefused(
                "retained",
                "the broker does not tell whether it is: see commands.unsure_retained, use MQTT 5",
            )

    def _replace(self, command: Command, now: Moment) -> Iterator[Effect]:
        """End what a new command makes pointless before it was sent."""
        spec = command.spec
        for earlier in reversed(tuple(self._lanes.waiting(command.charger_id))):
            if spec.replaces(command.argument, earlier.spec.name, earlier.argument) and (
                earlier.charger_id == command.charger_id
            ):
                self._lanes.remove(earlier)
                detail = f"{spec.name} was asked for before it was sent"
                yield from self._book.finish(earlier, Step.REPLACE, now, detail=detail)
            elif spec.is_paced and earlier.spec.group == LIMIT_BARRIER:
                return

    def _again(self, order: Order, fate: Fate, ask: Ask, now: Moment) -> Iterator[Effect]:
        """Answer somebody who asks for what was asked for before."""
        command = fate.command
        if fate.content != order.content:
            raise CommandRefused("conflict", "this id was used for another command")
        whom = (order.charger_id, order.spec.name)
        if command is None:
            yield from answer_to(ask, self._topics, *whom, fate.answer)
            return
        if len(command.asks) >= MOST_ASKS:
            raise CommandRefused("busy", "this command was asked for too often")
        command.asks.append(ask)
        self._book.scribe.touch(command)
        if command.state is State.ACCEPTED:
            yield from answer_to(ask, self._topics, *whom, reply(command, now).document())

    # -- what comes back ---------------------------------------------------------------------

    def answered(self, event: CloudAnswered, now: Moment) -> Iterator[Effect]:
        """Take the cloud's answer to one of our calls."""
        yield from self._sender.answered(event, now)
        yield from self._work(now)

    def failed(self, event: CloudFailed, now: Moment) -> Iterator[Effect]:
        """Take the failure of one of our calls."""
        yield from self._sender.failed(event, now)
        yield from self._work(now)

    def responded(self, response: CommandResponse, now: Moment) -> Iterator[Effect]:
        """Take what a charger answers to a command, ours or not."""
        yield from self._witness.responded(response, now)
        yield from self._work(now)

    @property
    def is_busy(self) -> bool:
        """Whether any command is under way: then every observation is of interest."""
        return bool(self._book.live) or self._book.scribe.is_busy

    def observed(self, observation: Observation, now: Moment) -> Iterator[Effect]:
        """Take an observation that may reflect a command."""
        yield from self._witness.observed(observation, now)
        if self.is_busy:
            yield from self._work(now)

    def acked(self, tag: str, now: Moment) -> None:
        """Note that the broker has an answer, or refuses it for good."""
        if self._book.acked(tag, now.mono_s):
            self._touch()

    # -- the store ---------------------------------------------------------------------------

    def opened(self, rows: tuple[CommandRow, ...], now: Moment) -> Iterator[Effect]:
        """Go on with the commands of an earlier process; write what could not be written."""
        yield from self._recovery.restore(rows, now)
        self._book.scribe.retry()
        yield from self._work(now)

    def saved(self, event: CommandSaved, now: Moment) -> Iterator[Effect]:
        """Go on with a command whose row is on disk."""
        self._book.scribe.retry()
        command = self._book.scribe.saved(event.key)
        if command is not None:
            is_newest = command.durable == command.version
            yield from self._book.on_disk(command)
            if is_newest and command.state is State.LEAVING:
                yield from self._sender.leave(command, now)
        yield from self._work(now)

    def not_saved(self, event: CommandNotSaved, now: Moment) -> Iterator[Effect]:
        """Go on with a command that cannot be written down."""
        command = self._book.scribe.not_saved(event.key, now.mono_s)
        if command is not None:
            yield _unsaved(command, str(event.error))
            yield from self._unwritten(command, now)
        yield from self._work(now)

    def _unwritten(self, command: Command, now: Moment) -> Iterator[Effect]:
        """Go on without the disk."""
        waits = command.state in (State.WAITING, State.LEAVING)
        if waits and (command.durable == 0 or command.state is State.LEAVING):
            if self._book.known.reduces(command, now):
                unwritten = f"{NOT_WRITTEN}: a repetition after a restart is not recognised"
                command.caveat = "; ".join(filter(None, (unwritten, command.caveat)))
                if command.state is State.LEAVING:
                    yield from self._sender.leave(command, now)
            else:
                if command.state is State.WAITING:
                    self._lanes.remove(command)
                self._sender.withdraw(command)
                detail = f"{NOT_WRITTEN}, and what is not on disk is not carried out"
                yield from self._book.finish(command, Step.REFUSE, now, "storage", detail)
                self._book.scribe.owe(command, now.mono_s)
        yield from self._book.acknowledge(command)
        yield from self._book.publish(command)

    # -- time --------------------------------------------------------------------------------

    def tick(self, now: Moment) -> Iterator[Effect]:
        """Do what is due. Costs nothing while nothing is."""
        deadline_s = self.deadline_s()
        if deadline_s is None or now.mono_s < deadline_s:
            return
        self._touch()
        yield from self._sender.lost(now)
        for command in self._book.scribe.overdue(now.mono_s):
            yield _unsaved(command, "the store does not answer")
            yield from self._unwritten(command, now)
        for command in [c for c in self._book.live if c.due_s <= now.mono_s]:
            yield from self._due(command, now)
        yield from self._sender.look(now)
        yield from self._work(now)

    def _due(self, command: Command, now: Moment) -> Iterator[Effect]:
        if command.state in FINAL:
            return
        if command.state is State.LEAVING:
            self._sender.withdraw(command)
            yield from self._book.finish(command, Step.LATE, now)
        elif command.state is not State.WAITING:
            yield from self._book.finish(command, Step.SILENCE, now)
        elif command.expires_s <= now.mono_s:
            self._lanes.remove(command)
            yield from self._book.finish(command, Step.LATE, now)
        else:
            command.due_s = command.expires_s

    def _work(self, now: Moment) -> Iterator[Effect]:
        """Send what may be sent, write what changed."""
        self._touch()
        held = None
        while held is None or held:
            if not self._stopping:
                yield from self._sender.pump(now)
            held = self._book.scribe.held_up()
            for command in held:
                yield from self._unwritten(command, now)
        yield from self._book.scribe.flush(now)

    def _touch(self) -> None:
        self._deadline_s = math.nan


def _unsaved(command: Command, why: str) -> Note:
    facts = {"charger_id": command.charger_id, "command": command.spec.name, "error": why}
    return Note("warning", "command.not_saved", facts)
