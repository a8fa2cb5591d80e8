"""Continues or ends the commands of an earlier process after a restart.

Rules:

1. What waited goes on while its time is not over. Only a wall clock that can be believed says so;
   without one it is expired.
2. What was leaving or sent is in doubt: it is never sent again. What the charger reports, or the
   cloud's record, proves it or not; where nothing could ever prove it, it is unknown at once.
3. What has its final answer is remembered for the rest of its day. An answer that no broker
   acknowledged is published again as it was. A limit with a final answer still ends older ones.
4. What the gateway issued itself and had not sent is dropped. A switch whose steps had begun ends,
   and leaves the charger paused.
5. What was allowed then and is not allowed now is refused.
6. What this process was asked for again while it could not read the store is its own by now: it has
   or gets one answer here, and the old row is closed without a word. So the next start does not
   bring it back either.
"""

from datetime import datetime, timedelta

import msgspec

from bridge.core.commands.active_commands import (
    CACHE_TTL_S,
    REDELIVERY_WINDOW_S,
    ActiveCommands,
    Command,
)
from bridge.core.commands.confirmation import CommandConfirmation
from bridge.core.commands.held_limits import HeldLimits
from bridge.core.commands.persistence import (
    CommandRecord,
    read_idempotency_key,
    read_record,
    restore_command,
    state_of,
)
from bridge.core.commands.phase_switch import PhaseSwitches
from bridge.core.commands.results import result_document
from bridge.core.commands.send_policy import SendPolicy
from bridge.core.commands.state_machine import FINAL, State, Transition
from bridge.core.domain_events import Output
from bridge.core.easee.command_catalogue import CATALOGUE, allowed
from bridge.core.effects import LogEntry
from bridge.core.records.command_row import CommandRow
from bridge.core.records.moment import Timestamp
from bridge.errors import CommandRefused, DecodeError
from bridge.settings import CommandSettings


class _ThisProcess(msgspec.Struct, frozen=True):
    """What this process made of an order before it could read the store.

    Attributes:
        command: It, running or not; None when only its end is known, or it was refused.
        answer: Document of the final answer, where a name was kept with it.
    """

    command: Command | None
    answer: bytes


class Recovery:
    """Restores commands from their rows.

    Attributes:
        alive_at: When an earlier process took its last command, or None.
    """

    def __init__(
        self,
        commands: ActiveCommands,
        policy: SendPolicy,
        confirmation: CommandConfirmation,
        switches: PhaseSwitches,
        held: HeldLimits,
        *,
        settings: CommandSettings,
    ) -> None:
        self._commands = commands
        self._switches = switches
        self._held = held
        self._policy = policy
        self._confirmation = confirmation
        self._settings = settings
        self.alive_at: datetime | None = None

    def restore(self, rows: tuple[CommandRow, ...], effects: list[Output], now: Timestamp) -> None:
        """Restore the rows of the store, in any order."""
        readable: list[tuple[CommandRow, CommandRecord]] = []
        for row in rows:
            try:
                readable.append((row, read_record(row)))
            except DecodeError as error:
                effects.append(_unreadable(error))
        # Before any of them is remembered: only then is what is known this process's own.
        ours = {row.key: self._taken_here(row, record, now) for row, record in readable}
        # Without a command of this process the order of arrival is that of the rows.
        is_first = not self._commands.last_seq
        for row, record in sorted(readable, key=_arrival):
            self._commands.reserve_sequence(record.seq)
            if record.received_trusted:
                self.alive_at = max(row.received_at, self.alive_at or row.received_at)
            try:
                state = state_of(row)
                if (own := ours[row.key]) is not None:
                    self._close(row, record, own, effects, now)
                elif state in FINAL:
                    self._recall(row, record, state, effects, now)
                    if is_first:
                        self._held.recall(row, record)
                else:
                    command = restore_command(row, record, now)
                    self._commands.add(command)
                    self._go_on(command, effects, now)
            except DecodeError as error:
                effects.append(_unreadable(error))

    def _taken_here(
        self, row: CommandRow, record: CommandRecord, now: Timestamp
    ) -> _ThisProcess | None:
        """Return how this process handled the same command before it could read the store."""
        try:
            name = read_idempotency_key(row)
        except DecodeError:
            return None  # it is read again, and noted then
        known = None if name is None else self._commands.named.find(name, now.mono_s)
        if known is not None and known.content == (row.command, record.argument):
            return _ThisProcess(known.command, known.answer)
        delivery = self._commands.messages.of_earlier_process(row.digest, record.message_id)
        return None if delivery is None else _ThisProcess(delivery.command, b"")

    def _close(
        self,
        row: CommandRow,
        record: CommandRecord,
        own: _ThisProcess,
        effects: list[Output],
        now: Timestamp,
    ) -> None:
        """End the row of a command that this process also has."""
        old = restore_command(row, record, now)
        if row.flash:
            self._policy.count_flash_write(
                row.charger_id, row.command, now.mono_s - _age_s(row, now)
            )
        if old.state not in FINAL:
            old.apply(Transition.RESTART)
            old.apply(Transition.REPLACE if old.state is State.WAITING else Transition.TIMEOUT)
        # Before the row of this process in the next start, whose answer then counts.
        old.seq, old.waiters, old.is_told = 0, [], True
        command, answer = own.command, own.answer
        if command is not None and command.state not in FINAL:
            missing = [ask for ask in record.asks if ask not in command.waiters]
            command.waiters += missing
            if missing:
                self._commands.mark_dirty(command)
        elif command is not None:
            answer = command.answer
        old.answer = answer or result_document(old.result(now))
        if answer and len(record.asks) > 1:
            # Others asked too, and only the one whose message came again was answered here.
            old.waiters, old.is_told = list(record.asks), False
            self._commands.republish(old, effects)
        self._commands.mark_dirty(old)

    def _recall(
        self,
        row: CommandRow,
        record: CommandRecord,
        state: State,
        effects: list[Output],
        now: Timestamp,
    ) -> None:
        """Record a command that has its final result."""
        age_s = _age_s(row, now)
        since_s = now.mono_s - age_s
        if age_s < CACHE_TTL_S:
            if row.flash:
                self._policy.count_flash_write(row.charger_id, row.command, since_s)
            if state is not State.REFUSED:
                content = (row.command, record.argument)
                self._commands.named.restore(
                    read_idempotency_key(row), content, since_s, row.answer
                )
        if age_s < REDELIVERY_WINDOW_S:
            # That the broker has the answer of an earlier connection says that it had our PUBACK
            # before it: only one that restored an older memory delivers the message again, and its
            # packet identifier may name another one by now. What must not run twice is guarded
            # against the former, everything else is taken for the latter.
            spec = CATALOGUE.get(row.command)
            if not record.is_told or spec is None or not spec.idempotent:
                self._commands.messages.add(row.digest, record.message_id, None, since_s)
        if not record.is_told:
            command = restore_command(row, record, now)
            command.answer = row.answer
            self._commands.republish(command, effects)

    def _go_on(self, command: Command, effects: list[Output], now: Timestamp) -> None:
        """Decide about a command that has no final answer."""
        if command.wrote_flash:
            self._policy.count_flash_write(
                command.charger_id, command.spec.name, command.received.mono_s
            )
        if command.spec.is_guided and command.state is not State.WAITING:
            self._switches.restore(command, now)
            return
        if command.state is not State.WAITING:
            command.apply(Transition.RESTART)
            self._confirmation.start_timeout(command, now, since_s=now.mono_s, is_restored=True)
            self._commands.mark_dirty(command)
            is_read_back = command.spec.shown_by_schedules is not None
            if not is_read_back and self._confirmation.verification(command) is None:
                self._commands.finish(command, Transition.TIMEOUT, effects, now)
            return
        command.sent = None
        command.apply(Transition.RESTART)
        if command.origin:
            self._commands.finish(command, Transition.REPLACE, effects, now)
            return
        try:
            self._check(command)
        except CommandRefused as refusal:
            self._commands.finish(
                command,
                Transition.REFUSE,
                effects,
                now,
                reason=refusal.reason,
                detail=refusal.detail,
            )
            return
        if command.expires_s <= now.mono_s:
            self._commands.finish(command, Transition.LATE, effects, now)
            return
        command.due_s = command.expires_s
        self._commands.enqueue(command)

    def _check(self, command: Command) -> None:
        spec = command.spec
        if not allowed(spec, self._settings.allow):
            raise CommandRefused(
                "not_allowed", f"commands.allow does not name {spec.name} any more"
            )
        # What it asks for may depend on the limit, which was not known when it was read.
        command.argument = spec.read(command.request.value, self._settings.max_current_a)


def _arrival(readable: tuple[CommandRow, CommandRecord]) -> int:
    return readable[1].seq


def _unreadable(error: DecodeError) -> LogEntry:
    return LogEntry("error", "command.row_unreadable", {"error": str(error)})


def _age_s(row: CommandRow, now: Timestamp) -> float:
    """Return the age of a row; nothing is old by a clock that cannot be believed."""
    return max(0.0, (now.wall - row.received_at) / timedelta(seconds=1)) if now.trusted else 0.0
