"""Persistence of commands: their rows, and the writes in progress.

Rules:

1. A row holds all that is needed to go on after a restart: what was asked for, who waits for the
   answer, what the cloud gave for it. Nothing in it is believed unread.
2. Total: any row gives a :class:`CommandRecord` or :class:`~bridge.errors.DecodeError`. A row may
   be of an older program, or of one whose catalogue and limits were others.
3. Of one command at most one row is being written. What changes meanwhile is written next, in one
   row, however much it was.
4. A write that is not answered in :data:`WRITE_TIMEOUT_S` counts as failed: a disk that hangs must
   not hold up a stop. Its answer, when it comes, is taken all the same. Until then whatever changes
   in that command counts as failed at once: its end is told without the disk.
5. What could not be written is kept, and written when the store takes something again, or after
   :data:`RETRY_AFTER_S`. So the store does not go on believing what is long over.
6. That an answer was acknowledged is written :data:`DEFERRED_WRITE_S` afterwards: nothing waits for
   it, and it must not delay the next command. A crash before only repeats the answer.
"""

import math
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any

import msgspec

from bridge.core.commands.active_commands import ANY_CURRENT_A, ActiveCommands, Command
from bridge.core.commands.state_machine import FINAL, State
from bridge.core.commands.validation import (
    CommandRequest,
    IdempotencyKey,
    key_from_correlation,
)
from bridge.core.domain_events import Output
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.rest_requests import is_serial
from bridge.core.easee.rest_responses import CommandReference
from bridge.core.effects import SaveCommand
from bridge.core.records.command_row import CommandRow
from bridge.core.records.moment import Timestamp
from bridge.core.records.reply_to import ReplyTo
from bridge.errors import CommandRefused, DecodeError

WRITE_TIMEOUT_S = 5.0
RETRY_AFTER_S = 30.0
DEFERRED_WRITE_S = 1.0
# A failing store is mended within minutes or for good; more than this is not worth the memory.
MAX_RETRY_QUEUE = 256


class CommandPersistence:
    """Writes the rows of commands that changed, and again what could not be written.

    Attributes:
        retries: Commands that could not be written.
    """

    def __init__(self, commands: ActiveCommands) -> None:
        self._dirty = commands.dirty
        self._writing = commands.writing
        self.retries: OrderedDict[Command, None] = OrderedDict()
        self._retry_at_s = math.inf
        self._deferred: dict[Command, None] = {}
        self._deferred_at_s = math.inf
        self._mark_dirty = commands.mark_dirty

    @property
    def is_busy(self) -> bool:
        """Return whether anything is to be written or being written."""
        return bool(self._dirty or self._writing)

    def finishing_count(self, charger_id: str) -> int:
        """Return how many commands of a charger have a final state that is not stored yet."""
        count = 0
        for command in self._writing.values():
            is_ending = command.state in FINAL and not command.is_published
            count += is_ending and command.charger_id == charger_id
        return count

    def deadline_s(self) -> float:
        """Return when a write counts as failed, is tried again or was put off to."""
        dues = [command.write_due_s for command in self._writing.values()]
        return min(self._retry_at_s, self._deferred_at_s, *dues)

    # -- to the store ------------------------------------------------------------------------

    def mark_dirty_later(self, command: Command, mono_s: float) -> None:
        """Record a change that may be written when the store is idle."""
        self._deferred[command] = None
        self._deferred_at_s = min(self._deferred_at_s, mono_s + DEFERRED_WRITE_S)

    def flush_deferred(self) -> None:
        """Write now what was put off."""
        for command in self._deferred:
            self._mark_dirty(command)
        self._deferred.clear()
        self._deferred_at_s = math.inf

    def flush(self, effects: list[Output], now: Timestamp) -> list[Command]:
        """Write what changed and is not being written.

        Returns:
            Commands that changed behind a write that counts as failed, each change once. They go on
            without the disk; where there are any, nothing is written before they did.
        """
        blocked = []
        for command in self._dirty:
            if command.writing and 0 < command.write_failed < command.version:
                command.write_failed = command.version
                blocked.append(command)
        if blocked:
            return blocked
        for command in tuple(self._dirty):
            if not command.writing:
                del self._dirty[command]
                self._writing[command.key] = command
                command.writing = command.version
                command.write_due_s = now.mono_s + WRITE_TIMEOUT_S
                command.write_failed = 0
                effects.append(SaveCommand(to_row(command)))
        return blocked

    def retry(self) -> None:
        """Write again what could not be written: the store takes something again."""
        self._dirty.update(self.retries)
        self.retries.clear()
        self._retry_at_s = math.inf

    def retry_later(self, command: Command, mono_s: float) -> None:
        """Keep a command that could not be written, until the store accepts writes again."""
        self._dirty.pop(command, None)
        self.retries[command] = None
        self.retries.move_to_end(command)
        self._retry_at_s = min(self._retry_at_s, mono_s + RETRY_AFTER_S)
        while len(self.retries) > MAX_RETRY_QUEUE:
            self.retries.popitem(last=False)

    # -- from the store ----------------------------------------------------------------------

    def not_saved(self, key: str, mono_s: float) -> Command | None:
        """Record that a row is not committed; return its command.

        None also where the failure was acted upon already, because it took too long.
        """
        command = self._writing.pop(key, None)
        if command is None:
            return None
        command.writing = 0
        self.retry_later(command, mono_s)
        return command if command.write_due_s < math.inf else None

    def overdue(self, mono_s: float) -> list[Command]:
        """Return the commands whose write takes too long, each once; take up what is due."""
        if self._deferred_at_s <= mono_s:
            self.flush_deferred()
        if self._retry_at_s <= mono_s:
            self.retry()
        late = [c for c in self._writing.values() if c.write_due_s <= mono_s]
        for command in late:
            command.write_due_s, command.write_failed = math.inf, command.version
        return late


# -- rows ----------------------------------------------------------------------------------------


class CommandRecord(msgspec.Struct, frozen=True):
    """The body of a row.

    Attributes:
        value: The payload's value.
        argument: What was made of it, as a text to compare with.
        id: What the answer calls it, or None.
        asks: Who waits for the answer.
        seq: Its place in the order of arrival, which no clock can change.
        message_id: Packet identifier it arrived with.
        devices: Chargers it concerns.
        tickets: What the cloud gave for it.
        answered: Indices of tickets the charger has answered.
        received_trusted: The wall clock could be believed when it arrived.
        sent_at: When it was sent, or None.
        sent_trusted: The wall clock could be believed then.
        http_status: Of the newest answer from the cloud.
        caveat: A sentence every answer carries, or None.
        is_told: Every caller has the final result.
        origin: As in :class:`Command`.
        progress: Likewise.
    """

    value: Any = None
    argument: str = ""
    id: str | None = None
    asks: tuple[ReplyTo, ...] = ()
    seq: int = 0
    message_id: int = 0
    devices: tuple[str, ...] = ()
    tickets: tuple[CommandReference, ...] = ()
    answered: tuple[int, ...] = ()
    received_trusted: bool = True
    sent_at: datetime | None = None
    sent_trusted: bool = False
    http_status: int | None = None
    caveat: str | None = None
    is_told: bool = False
    origin: str = ""
    progress: str = ""


def to_row(command: Command) -> CommandRow:
    """Write a command down as it stands."""
    request, received = command.request, command.received
    record = CommandRecord(
        request.value,
        request.content[1],
        request.id,
        tuple(command.waiters),
        command.seq,
        command.message_id,
        tuple(sorted(command.devices)),
        command.tickets,
        tuple(sorted(command.answered)),
        received.trusted,
        None if command.sent is None else command.sent.wall,
        command.sent is not None and command.sent.trusted,
        command.http_status,
        command.caveat,
        command.is_told,
        command.origin,
        command.progress,
    )
    return CommandRow(
        command.key,
        command.charger_id,
        command.spec.name,
        _name_text(request.name) if request.name else "",
        request.digest,
        command.state.value,
        received.wall,
        received.wall + timedelta(seconds=command.expires_s - received.mono_s),
        msgspec.json.encode(record),
        command.answer,
        command.wrote_flash,
    )


def state_of(row: CommandRow) -> State:
    """Read the state of a row.

    Raises:
        DecodeError: There is no such state, none that is written, or a final one without an answer.
    """
    try:
        state = State(row.state)
    except ValueError as exc:
        raise DecodeError("unknown state", source=f"command {row.key}", raw=row.state) from exc
    if state is State.RECEIVED:  # it is written when it waits, not before
        raise DecodeError("a state that is not written", source=f"command {row.key}", raw=row.state)
    if state in FINAL and not row.answer:
        raise DecodeError("an end without an answer", source=f"command {row.key}", raw=row.state)
    return state


def read_record(row: CommandRow) -> CommandRecord:
    """Read the body of a row.

    Raises:
        DecodeError: It is no body of ours.
    """
    try:
        return msgspec.json.decode(row.body, type=CommandRecord)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        source = f"command {row.key}"
        # Not chained: a codec error holds the whole body.
        raise DecodeError("unreadable body", source=source, raw=row.body[:80]) from None


def read_idempotency_key(row: CommandRow) -> IdempotencyKey | None:
    """Read what a row's command is remembered by.

    Raises:
        DecodeError: It is no name of ours.
    """
    kind, _, text = row.name.partition(":")
    if not row.name:
        return None
    if kind == "id":
        return row.charger_id, text
    try:
        if kind == "data":
            return key_from_correlation(row.charger_id, bytes.fromhex(text))
    except ValueError as exc:
        raise DecodeError("unreadable name", source=f"command {row.key}", raw=row.name) from exc
    raise DecodeError("no name of ours", source=f"command {row.key}", raw=row.name)


def restore_command(row: CommandRow, record: CommandRecord, now: Timestamp) -> Command:
    """Return the command of a row without a final result; its transition is still to be applied.

    How long ago things happened is told by the wall clock. Where that cannot be believed, now or
    then, the command counts as just received, with no time left.

    Args:
        row: As the store kept it.
        record: Its body.
        now: When it was read.

    Raises:
        DecodeError: The catalogue has no such command, or does not take its value any more.
    """
    source = f"command {row.key}"
    spec = CATALOGUE.get(row.command)
    if spec is None or not is_serial(row.charger_id):
        raise DecodeError("no such command", source=source, raw=row.command)
    try:
        argument = spec.read(record.value, ANY_CURRENT_A)
    except CommandRefused as exc:
        raise DecodeError("its value is not taken any more", source=source) from exc
    # A row from the future was written by a clock that was put back since: its end means nothing.
    can_tell = now.trusted and record.received_trusted and now.wall >= row.received_at
    left_s = (row.expires_at - now.wall).total_seconds() if can_tell else 0.0
    received = _ago(row.received_at, now, trusted=record.received_trusted)
    request = CommandRequest(
        row.charger_id,
        spec,
        argument,
        record.id,
        read_idempotency_key(row),
        left_s,
        record.value,
        row.digest,
    )
    command = Command(
        request, received, now.mono_s + left_s, list(record.asks), row.key, record.seq
    )
    command.state = state_of(row)
    command.message_id = record.message_id
    command.devices = frozenset(record.devices) or frozenset({row.charger_id})
    command.tickets = record.tickets
    command.answered = {i for i in record.answered if 0 <= i < len(record.tickets)}
    command.http_status = record.http_status
    command.caveat = record.caveat
    command.wrote_flash = row.flash
    command.origin, command.progress = record.origin, record.progress
    command.is_told = record.is_told
    command.version = command.durable = 1
    # Leaving is written down before the sending: no later than then counts as sent.
    sent_at = row.received_at if record.sent_at is None else record.sent_at
    trusted = record.received_trusted if record.sent_at is None else record.sent_trusted
    command.sent = _ago(sent_at, now, trusted=trusted)
    return command


def _ago(wall: datetime, now: Timestamp, *, trusted: bool) -> Timestamp:
    age_s = (now.wall - wall).total_seconds() if now.trusted and trusted else 0.0
    return Timestamp(wall, now.mono_s - max(0.0, age_s), trusted)


def _name_text(name: IdempotencyKey) -> str:
    given = name[1]
    return f"id:{given}" if isinstance(given, str) else f"data:{given.hex()}"
