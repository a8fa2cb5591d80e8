"""Commands of an earlier process: what becomes of them.

Rules:

1. What waited goes on while its time is not over. Only a wall clock that can be believed says so;
   without one it is expired.
2. What was leaving or sent is in doubt: it is never sent again. What the charger reports, or the
   cloud's record, proves it or not; where nothing could ever prove it, it is unknown at once.
3. What has its final answer is remembered for the rest of its day. An answer that no broker
   acknowledged is published again as it was.
4. What was allowed then and is not allowed now is refused.
5. What this process was asked for again while it could not read the store is its own by now: it has
   or gets one answer here, and the old row is closed without a word. So the next start does not
   bring it back either.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.core.commands.active_commands import Book
from bridge.core.commands.confirmation import Witness
from bridge.core.commands.idempotency import REDELIVERED_WITHIN_S, REMEMBERED_S
from bridge.core.commands.persistence import Page, name_of, page_of, revived, state_of
from bridge.core.commands.queues import Lanes
from bridge.core.commands.result_messages import reply
from bridge.core.commands.send_policy import Flow
from bridge.core.commands.state_machine import FINAL, Command, State, Step
from bridge.core.easee.command_catalogue import CATALOGUE, allowed
from bridge.core.effects import Effect, Note
from bridge.core.records.command_row import CommandRow
from bridge.core.records.moment import Moment
from bridge.errors import CommandRefused, DecodeError
from bridge.settings import CommandSettings


@dataclass(frozen=True, slots=True)
class _Own:
    """What this process made of an order before it could read the store.

    Attributes:
        command: It, running or not; None when only its end is known, or it was refused.
        answer: Document of the final answer, where a name was kept with it.
    """

    command: Command | None
    answer: bytes


class Recovery:
    """Brings rows back to life.

    Attributes:
        alive_at: When an earlier process took its last command, or None.
    """

    def __init__(
        self, book: Book, lanes: Lanes, flow: Flow, witness: Witness, settings: CommandSettings
    ) -> None:
        self._book = book
        self._lanes = lanes
        self._flow = flow
        self._witness = witness
        self._settings = settings
        self.alive_at: datetime | None = None

    def restore(self, rows: tuple[CommandRow, ...], now: Moment) -> Iterator[Effect]:
        """Take the rows of the store, in any order."""
        readable: list[tuple[CommandRow, Page]] = []
        for row in rows:
            try:
                readable.append((row, page_of(row)))
            except DecodeError as error:
                yield _unreadable(error)
        # Before any of them is remembered: only then is what is known this process's own.
        ours = {row.key: self._taken_here(row, page, now) for row, page in readable}
        for row, page in sorted(readable, key=_arrival):
            self._book.skip_seq(page.seq)
            if page.received_trusted:
                self.alive_at = max(row.received_at, self.alive_at or row.received_at)
            try:
                state = state_of(row)
                if (own := ours[row.key]) is not None:
                    yield from self._close(row, page, own, now)
                elif state in FINAL:
                    yield from self._recall(row, page, state, now)
                else:
                    command = revived(row, page, now)
                    self._book.revive(command)
                    yield from self._go_on(command, now)
            except DecodeError as error:
                yield _unreadable(error)

    def _taken_here(self, row: CommandRow, page: Page, now: Moment) -> _Own | None:
        """Say what this process made of the same order before it could read the store."""
        try:
            fate = self._book.memory.find(name_of(row), now.mono_s)
        except DecodeError:
            return None  # it is read again, and noted then
        if fate is not None and fate.content == (row.command, page.argument):
            return _Own(fate.command, fate.answer)
        delivery = self._book.deliveries.inherited(row.digest, page.message_id)
        return None if delivery is None else _Own(delivery.command, b"")

    def _close(self, row: CommandRow, page: Page, own: _Own, now: Moment) -> Iterator[Effect]:
        """End the row of a command that this process has as its own."""
        old = revived(row, page, now)
        if row.flash:
            self._flow.wrote(row.charger_id, row.command, now.mono_s - _age_s(row, now))
        if old.state not in FINAL:
            old.step(Step.RESTART)
            old.step(Step.REPLACE if old.state is State.WAITING else Step.SILENCE)
        # Before the row of this process in the next start, whose answer then counts.
        old.seq, old.asks, old.is_told = 0, [], True
        command, answer = own.command, own.answer
        if command is not None and command.state not in FINAL:
            missing = [ask for ask in page.asks if ask not in command.asks]
            command.asks += missing
            if missing:
                self._book.scribe.touch(command)
        elif command is not None:
            answer = command.answer
        old.answer = answer or reply(old, now).document()
        if answer and len(page.asks) > 1:
            # Others asked too, and only the one whose message came again was answered here.
            old.asks, old.is_told = list(page.asks), False
            yield from self._book.repeat(old)
        self._book.scribe.touch(old)

    def _recall(self, row: CommandRow, page: Page, state: State, now: Moment) -> Iterator[Effect]:
        """Remember a command that has its final answer."""
        age_s = _age_s(row, now)
        since_s = now.mono_s - age_s
        if age_s < REMEMBERED_S:
            if row.flash:
                self._flow.wrote(row.charger_id, row.command, since_s)
            if state is not State.REFUSED:
                content = (row.command, page.argument)
                self._book.memory.recall(name_of(row), content, since_s, row.answer)
        if age_s < REDELIVERED_WITHIN_S:
            # That the broker has the answer of an earlier connection says that it had our PUBACK
            # before it: only one that restored an older memory delivers the message again, and its
            # packet identifier may name another one by now. What must not run twice is guarded
            # against the former, everything else is taken for the latter.
            spec = CATALOGUE.get(row.command)
            if not page.is_told or spec is None or not spec.idempotent:
                self._book.deliveries.add(row.digest, page.message_id, None, since_s)
        if not page.is_told:
            command = revived(row, page, now)
            command.answer = row.answer
            yield from self._book.repeat(command)

    def _go_on(self, command: Command, now: Moment) -> Iterator[Effect]:
        """Decide about a command that has no final answer."""
        if command.wrote_flash:
            self._flow.wrote(command.charger_id, command.spec.name, command.received.mono_s)
        if command.state is not State.WAITING:
            command.step(Step.RESTART)
            self._witness.watch(command, now, since_s=now.mono_s, is_restored=True)
            self._book.scribe.touch(command)
            if self._witness.request(command) is None:
                yield from self._book.finish(command, Step.SILENCE, now)
            return
        command.sent = None
        command.step(Step.RESTART)
        try:
            self._check(command)
        except CommandRefused as refusal:
            yield from self._book.finish(command, Step.REFUSE, now, refusal.reason, refusal.detail)
            return
        if command.expires_s <= now.mono_s:
            yield from self._book.finish(command, Step.LATE, now)
            return
        command.due_s = command.expires_s
        self._lanes.put(command)

    def _check(self, command: Command) -> None:
        spec = command.spec
        if not allowed(spec, self._settings.allow):
            raise CommandRefused(
                "not_allowed", f"commands.allow does not name {spec.name} any more"
            )
        spec.read(command.order.value, self._settings.max_current_a)


def _arrival(readable: tuple[CommandRow, Page]) -> int:
    return readable[1].seq


def _unreadable(error: DecodeError) -> Note:
    return Note("error", "command.row_unreadable", {"error": str(error)})


def _age_s(row: CommandRow, now: Moment) -> float:
    """Return the age of a row; nothing is old by a clock that cannot be believed."""
    return max(0.0, (now.wall - row.received_at) / timedelta(seconds=1)) if now.trusted else 0.0
