"""Limits that are held: sent again where the charger forgot them.

The vendor's dynamic limits are volatile. A charger forgets its limit when a car is plugged in, when
a charge is resumed and when it restarts, and goes to its maximum.

Rules:

1. A held limit is on disk before its result is published, and its end before the result of what
   ended it.
2. It ends when a newer limit is sent, by this gateway or by another controller; when it is
   released; when its minutes are over. Only a value at the charger's maximum, with a reason for the
   charger to have forgotten the limit, counts as forgotten. Every other value is a newer command,
   and nothing is ever sent against that. A value of the second in which the limit was sent may be
   newer, and counts as such.
3. A charger that is paused stays so: its limit is sent again when the charge was resumed.
4. Nothing is sent while a command for the same limit waits or is in progress, or phases are
   switched. So each limit has one owner at every moment.
5. The limit of a circuit is held by the charger it was sent for. Another charger of the circuit
   that restarts may have forgotten it for all of them, and may be the one that responds to another
   controller.
6. It is sent as a command of the gateway itself, with the same pace, retries and request budget.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from bridge.core.backoff import exponential_delay_s
from bridge.core.commands.active_commands import ANY_CURRENT_A, ActiveCommands, Command
from bridge.core.commands.persistence import CommandRecord
from bridge.core.commands.shown_state import ShownState
from bridge.core.commands.state_machine import FINAL, State
from bridge.core.domain_events import DerivedTold, Output
from bridge.core.easee import roles
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import Current, Phases, Release
from bridge.core.easee.decode import Observation
from bridge.core.easee.derived_state import (
    DISCONNECTED,
    HELD_LIMIT,
    OFFLINE,
    LatestValues,
    amount,
    code,
)
from bridge.core.effects import LogEntry, SaveCommand
from bridge.core.events import ChargerResponse
from bridge.core.records.command_row import CommandRow
from bridge.core.records.moment import Timestamp
from bridge.errors import CommandRefused

CHARGER_LIMIT: Final = "dynamic_charger_current"
CIRCUIT_LIMIT: Final = "dynamic_circuit_current"
ORIGIN: Final = "held"
HELD, RELEASED = "held", "released"
# What follows a plug-in arrives in any order, within seconds; a resume takes effect within 5 s.
REVIEW_AFTER_S: Final = 6.0
# For so long a reason to have forgotten the limit stays one.
REASON_LASTS_S: Final = 60.0
SHOWN_WITHIN_S: Final = 12.0
# Between an observation and the response to the command that caused it.
RESPONSE_DELAY_S: Final = 3.0
CLOCKS_DIFFER: Final = timedelta(seconds=3)
# Most stamps of the charger have whole seconds: within one they do not tell what was first.
STAMP_STEP: Final = timedelta(seconds=1)
STEP_TTL_S: Final = 60.0
RETRY_S: Final = 60.0
MAX_RETRY_S: Final = 900.0
WRITE_AGAIN_S: Final = 30.0
# No charger of the vendor goes higher; one without a limit shows at least this.
HIGHEST_A: Final = 32.0
# It was sent, and may have been carried out.
IN_FORCE: Final = frozenset({State.CONFIRMED, State.NOOP, State.UNCONFIRMED, State.UNKNOWN})
UNSENT: Final = frozenset({State.WAITING, State.LEAVING})
# The installer's limit of each dynamic one: what that is reset to.
MAXIMA: Final[Mapping[int, int]] = {
    roles.DYNAMIC_LIMIT: roles.CHARGER_LIMIT,
    roles.DYNAMIC_CIRCUIT_LIMIT_P1: roles.CIRCUIT_LIMIT_P1,
    roles.DYNAMIC_CIRCUIT_LIMIT_P2: roles.CIRCUIT_LIMIT_P2,
    roles.DYNAMIC_CIRCUIT_LIMIT_P3: roles.CIRCUIT_LIMIT_P3,
}

Key = tuple[str, str]


class HeldLimit(msgspec.Struct):
    """One limit that is held.

    Attributes:
        key: Charger and command.
        argument: The limit.
        devices: Chargers it concerns: all of the circuit for a circuit's limit.
        since: When it was sent first.
        ends_s: Monotonic time at which its minutes are over.
        forgot: Since when the charger may have forgotten it, or None.
        is_resumed: It may have, because a charge was resumed.
        is_unsure: It has to show the limit anew; else it is sent again though it is shown.
        foreign_s: Monotonic time of the newest command of another controller for this limit.
        was_shown: The charger showed it since it was sent, or it was not sent because of that.
        due_s: Monotonic time at which it is looked at.
        step: The command that sends it again, while that is in progress.
        failures: How often that failed in a row, or was confirmed and not shown.
    """

    key: Key
    argument: Current | Phases
    devices: frozenset[str]
    since: Timestamp
    ends_s: float = math.inf
    forgot: Timestamp | None = None
    is_resumed: bool = False
    is_unsure: bool = False
    foreign_s: float = -math.inf
    was_shown: bool = False
    due_s: float = math.inf
    step: Command | None = None
    failures: int = 0

    def may_have_forgotten(
        self, now: Timestamp, *, is_resumed: bool = False, is_unsure: bool = False
    ) -> None:
        """Record a reason for the charger to have forgotten it."""
        self.forgot, self.is_resumed, self.is_unsure = now, is_resumed, is_unsure
        self.due_s = now.mono_s + REVIEW_AFTER_S


class _Row(msgspec.Struct):
    """A row and whether it is on disk."""

    row: CommandRow
    is_dirty: bool = True
    is_writing: bool = False
    not_before_s: float = -math.inf


class _Body(msgspec.Struct):
    """What the row of a held limit holds besides its columns."""

    value: dict[str, Any]
    ends_at: datetime | None = None
    trusted: bool = True
    devices: tuple[str, ...] = ()


class HeldLimits:
    """The limits that are held, by charger and command.

    Attributes:
        is_unwritten: A row changed that is not being written.
    """

    def __init__(self, commands: ActiveCommands, shown: ShownState) -> None:
        self._commands = commands
        self._shown = shown
        self._held: dict[Key, HeldLimit] = {}
        # By charger: the one that holds the limit of its circuit, or did.
        self._holders: dict[str, str] = {}
        self._rows: dict[str, _Row] = {}
        # Decided by this process: what a store that opens later says of them is older.
        self._decided: set[Key] = set()
        # Place in the order of arrival of the newest limit that may be in force.
        self._newest: dict[Key, int] = {}
        # Chargers that were served before the store told what is held.
        self._unannounced: dict[str, None] = {}
        self._modes: dict[str, int] = {}
        self._amps: dict[str, float] = {}
        self._is_open = False
        self.is_unwritten = False

    def deadline_s(self) -> float:
        """Return the monotonic time at which :meth:`advance` has something to do."""
        dues = [min(each.due_s, each.ends_s) for each in self._held.values()]
        writes = (
            each.not_before_s
            for each in self._rows.values()
            if each.is_dirty and not each.is_writing and each.not_before_s > -math.inf
        )
        return min((*dues, *writes), default=math.inf)

    def amps(self, charger_id: str) -> float | None:
        """Return the limit that is held for a charger, or None."""
        found: list[int] = []
        for name in (CHARGER_LIMIT, CIRCUIT_LIMIT):
            held = self._held.get((charger_id, name))
            if held is not None:
                amps = held.argument.amps
                found.append(min(amps) if isinstance(amps, tuple) else amps)
        return min(found, default=None)

    # -- what begins and ends it -------------------------------------------------------------

    def take(self, effects: list[Output], now: Timestamp) -> None:
        """Handle the commands that ended, and what may have ended them.

        The response that confirmed a limit whose ticks are not known may be to another controller,
        which the limit that is shown tells.
        """
        ended, self._commands.ended = self._commands.ended, []
        for command in ended:
            if command.origin == ORIGIN:
                self._sent_again(command, now)
            elif command.parent is not None:
                self._look_again(command.charger_id, now)
            elif command.state in IN_FORCE:
                self._in_force(command, effects, now)
            else:
                self._look_again(command.charger_id, now)
        uncertain, self._commands.uncertain = self._commands.uncertain, []
        for response in uncertain:
            self.foreign(response, now)

    def _in_force(self, command: Command, effects: list[Output], now: Timestamp) -> None:
        spec, argument = command.spec, command.argument
        key = (command.charger_id, spec.name)
        if spec.is_paced:
            if command.seq < self._newest.get(key, 0):
                return  # a newer limit ended first
            self._newest |= {(one, spec.name): command.seq for one in command.devices}
        if spec.name == CIRCUIT_LIMIT and not isinstance(argument, Release):
            for charger_id in command.devices - {command.charger_id}:
                self._end((charger_id, spec.name), "a newer limit of the circuit", effects, now)
        if spec.is_paced and getattr(argument, "is_held", False):
            self._begin(command, effects, now)
        elif spec.is_paced and not isinstance(argument, Release):
            self._end(key, "a newer limit", effects, now)
        elif spec.is_guided and argument.amps is not None:
            self._end((command.charger_id, CHARGER_LIMIT), f"a newer {spec.name}", effects, now)
        for held in self._of(command.charger_id):
            is_lost = spec.name == "reboot" or (
                spec.lags(argument) and held.key[0] == command.charger_id
            )
            if is_lost and command.state is not State.NOOP:
                held.may_have_forgotten(now, is_unsure=True)
        self._look_again(command.charger_id, now)

    def _begin(self, command: Command, effects: list[Output], now: Timestamp) -> None:
        argument, key = command.argument, (command.charger_id, command.spec.name)
        sent = command.sent or now
        minutes = argument.minutes
        held = HeldLimit(key, argument, command.devices, sent)
        held.was_shown = command.state is State.NOOP
        held.ends_s = sent.mono_s + 60 * minutes if minutes else math.inf
        held.due_s = now.mono_s + REVIEW_AFTER_S
        if command.state in (State.UNCONFIRMED, State.UNKNOWN):
            held.may_have_forgotten(now, is_unsure=True)
        self._hold(held)
        self._note_shown(command.charger_id)
        self._write(key, held, HELD, now)
        self._tell(command.charger_id, effects)

    def _hold(self, held: HeldLimit) -> None:
        charger_id, name = held.key
        self._held[held.key] = held
        self._commands.is_holding = True
        if name == CIRCUIT_LIMIT:
            self._holders |= dict.fromkeys(held.devices, charger_id)

    def release(self, charger_id: str, name: str, effects: list[Output], now: Timestamp) -> bool:
        """End a held limit that its owner releases; return whether there was one.

        The limit of a circuit is released by any of its chargers.
        """
        for held in self._of(charger_id):
            if held.key[1] == name:
                return self._end(held.key, "released", effects, now)
        return self._end((charger_id, name), "released", effects, now)

    def _end(self, key: Key, why: str, effects: list[Output], now: Timestamp) -> bool:
        held = self._held.pop(key, None)
        self._commands.is_holding = bool(self._held)
        if not self._is_open:
            self._decided.add(key)
        if held is None:
            return False
        _call_off(held.step, now)
        self._write(key, held, RELEASED, now)
        facts = {"charger_id": key[0], "command": key[1], "why": why}
        effects.append(LogEntry("info", "limit.released", facts))
        self._tell(key[0], effects)
        return True

    def forget(self, charger_id: str, effects: list[Output], now: Timestamp) -> None:
        """End what is held for a charger that left."""
        for name in (CHARGER_LIMIT, CIRCUIT_LIMIT):
            self._end((charger_id, name), "the charger left", effects, now)
        for name in (CHARGER_LIMIT, CIRCUIT_LIMIT):
            self._newest.pop((charger_id, name), None)
        for kept in (self._modes, self._amps, self._holders):
            kept.pop(charger_id, None)

    def recall(self, row: CommandRow, record: CommandRecord) -> None:
        """Record a limit of an earlier process: no older one begins to be held.

        Args:
            row: Of a command that has its final state.
            record: Its body.
        """
        spec = CATALOGUE.get(row.command)
        is_ours = bool(record.origin)
        if spec is None or not spec.is_paced or is_ours or State(row.state) not in IN_FORCE:
            return
        for charger_id in record.devices:
            key = (charger_id, row.command)
            self._newest[key] = max(record.seq, self._newest.get(key, 0))

    # -- what may have made the charger forget it --------------------------------------------

    def observed(self, observation: Observation, now: Timestamp) -> None:
        """Handle an observation of a charger."""
        charger_id, number = observation.charger_id, observation.spec.id
        limits = tuple(self._of(charger_id))
        values = self._shown.latest.get(charger_id)
        if not limits or values is None:
            return
        is_resumed = number == roles.DYNAMIC_LIMIT and self._rose(charger_id, values)
        is_connected = number == roles.OP_MODE and self._came(charger_id, values)
        for held in limits:
            is_restarted = (
                number == roles.REBOOT_REASON and observation.measured_at > held.since.wall
            )
            is_own = held.key[0] == charger_id
            if is_restarted or (is_own and (is_resumed or is_connected)):
                held.may_have_forgotten(
                    now, is_resumed=is_resumed, is_unsure=is_restarted or is_connected
                )
            elif number in MAXIMA and number in CATALOGUE[held.key[1]].limits(held.argument):
                self._look_first(held, now)

    def _rose(self, charger_id: str, values: LatestValues) -> bool:
        """Return whether the limit of a charger rose from 0 A."""
        amps, before = amount(values, roles.DYNAMIC_LIMIT), self._amps.get(charger_id)
        if amps is not None:
            self._amps[charger_id] = amps
        return before == 0 and bool(amps)

    def _came(self, charger_id: str, values: LatestValues) -> bool:
        """Return whether a car was plugged in, or the charger is connected to the cloud again."""
        mode, before = code(values, roles.OP_MODE), self._modes.get(charger_id)
        if mode is not None:
            self._modes[charger_id] = mode
        was_away = before in (DISCONNECTED, OFFLINE)
        return was_away and mode not in (before, DISCONNECTED, OFFLINE, None)

    def foreign(self, response: ChargerResponse, now: Timestamp) -> None:
        """Handle a command of another controller."""
        for held in self._of(response.charger_id):
            is_about = response.command_id in CATALOGUE[held.key[1]].response_ids
            if is_about and response.accepted:
                held.foreign_s = now.mono_s
                self._look_first(held, now)

    def _look_first(self, held: HeldLimit, now: Timestamp) -> None:
        """Look at what the charger shows before a limit that was not sent yet is sent again."""
        held.due_s = min(held.due_s, now.mono_s + REVIEW_AFTER_S)
        if held.step is not None and held.step.state in UNSENT:
            _call_off(held.step, now)
            held.step = None

    # -- time --------------------------------------------------------------------------------

    def advance(self, effects: list[Output], now: Timestamp) -> None:
        """Do what is due."""
        for key, held in tuple(self._held.items()):
            if held.ends_s <= now.mono_s:
                self._end(key, "its minutes are over", effects, now)
            elif held.due_s <= now.mono_s:
                held.due_s = math.inf
                self._review(key, held, effects, now)

    def _review(self, key: Key, held: HeldLimit, effects: list[Output], now: Timestamp) -> None:
        """Compare what the charger shows with the limit, and send it again or end it."""
        charger_id, spec = key[0], CATALOGUE[key[1]]
        limits = spec.limits(held.argument)
        values = self._shown.latest.get(charger_id)
        if values is None:
            return
        if self._is_under_way(charger_id, limits) or self._is_away(held, now):
            held.due_s = now.mono_s + REVIEW_AFTER_S
            return
        shown = {number: amount(values, number) for number in limits}
        if any(amps is None for amps in shown.values()) or shown.get(roles.DYNAMIC_LIMIT) == 0:
            return
        forgot = held.forgot
        if shown == limits:
            self._shows(key, held, effects, now)
            return
        is_max = all(
            (amps or 0.0) >= min(amount(values, MAXIMA[number]) or HIGHEST_A, HIGHEST_A)
            for number, amps in shown.items()
        )
        if not held.was_shown and not self._is_newer(charger_id, shown, held, is_max=is_max):
            self._not_shown(key, held, effects, now)
            return
        # The response to the resume of another controller comes behind what it causes, or before.
        within_s = RESPONSE_DELAY_S if held.is_resumed else 0.0
        is_foreign = forgot is not None and held.foreign_s > forgot.mono_s + within_s
        if forgot is None or not is_max or is_foreign:
            self._end(key, "another controller set a limit", effects, now)
        else:
            self._send_again(key, held, effects, now)

    def _shows(self, key: Key, held: HeldLimit, effects: list[Output], now: Timestamp) -> None:
        """Handle that the charger shows the limit."""
        held.was_shown, held.failures, forgot = True, 0, held.forgot
        if forgot is None:
            return
        earlier = replace(forgot, wall=forgot.wall - CLOCKS_DIFFER)
        if held.is_unsure and not self._is_later(key[0], CATALOGUE[key[1]].limits(held.argument),
                                                 earlier):  # fmt: skip
            self._send_again(key, held, effects, now)
        elif now.mono_s - forgot.mono_s > REASON_LASTS_S:
            held.forgot = None
        else:
            held.due_s = forgot.mono_s + REASON_LASTS_S + 1.0

    def _not_shown(self, key: Key, held: HeldLimit, effects: list[Output], now: Timestamp) -> None:
        """Handle that what the charger shows was measured before the limit was sent.

        The effect of an earlier resume may have been the last of it, within the same second. Or
        the limit did not arrive: what confirmed it was a response to another controller.
        """
        is_late = now.mono_s - held.since.mono_s >= SHOWN_WITHIN_S
        if held.is_unsure:
            self._send_again(key, held, effects, now)
        elif is_late and self._shown.stream_since_s is not None:
            held.failures += 1
            self._send_again(key, held, effects, now)
        elif not is_late:
            held.due_s = now.mono_s + REVIEW_AFTER_S

    def _is_newer(
        self, charger_id: str, shown: Iterable[int], held: HeldLimit, *, is_max: bool
    ) -> bool:
        """Return whether what the charger shows instead of a limit was set after that was sent.

        The maximum is what a charger goes to by itself, any other value is set by a command.
        """
        since = held.since
        if not is_max:
            since = replace(since, wall=since.wall - STAMP_STEP)
        is_answered = not is_max and held.foreign_s > since.mono_s
        return is_answered or self._is_later(charger_id, shown, since)

    def _is_later(self, charger_id: str, shown: Iterable[int], since: Timestamp) -> bool:
        """Return whether what the charger shows was measured after a moment."""
        values = self._shown.latest[charger_id]
        stamps = [values.measured_at(number) for number in shown]
        return since.trusted and any(at is not None and at > since.wall for at in stamps)

    def _is_away(self, held: HeldLimit, now: Timestamp) -> bool:
        """Return whether a charger restarts: a command would not reach it."""
        is_recent = held.forgot is not None and now.mono_s - held.forgot.mono_s < REASON_LASTS_S
        return is_recent and any(self._shown.is_offline(one) for one in held.devices)

    def _moving(self, charger_id: str, limits: Mapping[int, float]) -> Iterator[Command]:
        """Yield the commands that move a limit and have no final state."""
        for command in self._commands.live:
            if charger_id in command.devices and not limits.keys().isdisjoint(command.spec.moves):
                yield command

    def _is_under_way(self, charger_id: str, limits: Mapping[int, float]) -> bool:
        """Return whether a command that may have caused what is shown has no final state."""
        if charger_id in self._commands.guided:
            return True
        return any(one.state is not State.WAITING for one in self._moving(charger_id, limits))

    def _send_again(self, key: Key, held: HeldLimit, effects: list[Output], now: Timestamp) -> None:
        charger_id, name = key
        limits = CATALOGUE[name].limits(held.argument)
        if any(self._moving(charger_id, limits)):  # it or a newer one waits for its turn
            held.due_s = now.mono_s + REVIEW_AFTER_S
            return
        left = math.inf if held.ends_s == math.inf else (held.ends_s - now.mono_s) // 60
        if left < 1:
            return  # the vendor's own time for it is over as well
        value = _value_of(held.argument, None if left == math.inf else int(left))
        self._shown.doubt(charger_id, limits, now)
        held.step = self._commands.issue(
            charger_id, name, value, now, ttl_s=STEP_TTL_S, origin=ORIGIN
        )
        facts = {"charger_id": charger_id, "command": name}
        effects.append(LogEntry("info", "limit.sent_again", facts))

    def _sent_again(self, command: Command, now: Timestamp) -> None:
        held = self._held.get((command.charger_id, command.spec.name))
        if held is None:
            return
        if held.step is not command:  # of an earlier process, or called off
            held.due_s = min(held.due_s, now.mono_s + REVIEW_AFTER_S)
            return
        held.step = None
        if command.state in (State.CONFIRMED, State.NOOP):
            held.since, held.is_unsure = command.sent or now, False
            held.was_shown = command.state is State.NOOP
        else:
            held.failures += 1
            if held.forgot is not None:  # the reason does not become older while it cannot be sent
                held.forgot = replace(held.forgot, mono_s=now.mono_s)
        held.due_s = now.mono_s + REVIEW_AFTER_S
        if held.failures:
            held.due_s = now.mono_s + exponential_delay_s(
                held.failures, first_s=RETRY_S, longest_s=MAX_RETRY_S
            )

    def _look_again(self, charger_id: str, now: Timestamp) -> None:
        for held in self._of(charger_id):
            held.due_s = min(held.due_s, now.mono_s + REVIEW_AFTER_S)

    def _of(self, charger_id: str) -> Iterator[HeldLimit]:
        """Yield what concerns a charger: its limit, and that of its circuit."""
        holder = self._holders.get(charger_id, charger_id)
        for key in ((charger_id, CHARGER_LIMIT), (holder, CIRCUIT_LIMIT)):
            held = self._held.get(key)
            if held is not None and charger_id in held.devices:
                yield held

    def _note_shown(self, charger_id: str) -> None:
        """Note what the charger shows when its limit begins to be held."""
        values = self._shown.latest.get(charger_id)
        if values is None:
            return
        mode, amps = code(values, roles.OP_MODE), amount(values, roles.DYNAMIC_LIMIT)
        if mode is not None:
            self._modes[charger_id] = mode
        if amps is not None:
            self._amps[charger_id] = amps

    # -- what is published -------------------------------------------------------------------

    def announce(self, charger_ids: Iterable[str], effects: list[Output]) -> None:
        """Publish what is held for chargers that are served from now on."""
        if self._is_open:
            for charger_id in charger_ids:
                self._tell(charger_id, effects)
        else:
            self._unannounced.update(dict.fromkeys(charger_ids))

    def _tell(self, charger_id: str, effects: list[Output]) -> None:
        effects.append(DerivedTold(charger_id, HELD_LIMIT, self.amps(charger_id)))

    # -- the store ---------------------------------------------------------------------------

    def restore(self, rows: Iterable[CommandRow], effects: list[Output], now: Timestamp) -> None:
        """Continue with the limits of an earlier process."""
        is_first, self._is_open = not self._is_open, True
        for each in self._rows.values():
            each.is_writing, each.is_dirty, each.not_before_s = False, True, -math.inf
            self.is_unwritten = True
        for row in rows:
            key = (row.charger_id, row.command)
            is_newer = key in self._decided or key in self._held or not is_first
            if row.state == HELD and not is_newer:
                self._restore(key, row, effects, now)
            elif row.state == HELD and key not in self._held:
                self._rows[row.key] = _Row(replace(row, state=RELEASED, answer=RELEASED.encode()))
                self.is_unwritten = True
            self._unannounced[row.charger_id] = None
        self._decided.clear()
        self.announce(tuple(self._unannounced), effects)
        self._unannounced.clear()

    def _restore(self, key: Key, row: CommandRow, effects: list[Output], now: Timestamp) -> None:
        try:
            body = msgspec.json.decode(row.body, type=_Body)
            argument = CATALOGUE[row.command].read(body.value, ANY_CURRENT_A)
        except (msgspec.MsgspecError, UnicodeError, KeyError, CommandRefused):
            facts = {"error": f"the held limit {row.key} cannot be read"}
            effects.append(LogEntry("error", "command.row_unreadable", facts))
            return
        since = Timestamp(row.received_at, now.mono_s, body.trusted)
        devices = frozenset(body.devices) | {row.charger_id}
        held = HeldLimit(key, argument, devices, since, was_shown=True)
        if body.ends_at is not None:
            is_told = now.trusted and body.trusted
            left_s = (body.ends_at - now.wall).total_seconds() if is_told else 60 * argument.minutes
            held.ends_s = now.mono_s + left_s
        held.may_have_forgotten(now)
        self._hold(held)
        self._rows[row.key] = _Row(row, is_dirty=False)

    def _write(self, key: Key, held: HeldLimit, state: str, now: Timestamp) -> None:
        ends_at = None
        if held.ends_s < math.inf:
            ends_at = now.wall + timedelta(seconds=held.ends_s - now.mono_s)
        body = _Body(_value_of(held.argument), ends_at, now.trusted, tuple(sorted(held.devices)))
        row = CommandRow(
            key=f"{ORIGIN}-{key[0]}-{key[1]}",
            charger_id=key[0],
            command=key[1],
            name="",
            digest="",
            state=state,
            received_at=now.wall,
            expires_at=ends_at or now.wall,
            body=msgspec.json.encode(body),
            answer=b"" if state == HELD else RELEASED.encode(),
            flash=False,
        )
        known = self._rows.setdefault(row.key, _Row(row))
        known.row, known.is_dirty, known.not_before_s = row, True, -math.inf
        self.is_unwritten = True

    def flush(self, effects: list[Output], now: Timestamp) -> None:
        """Write what changed."""
        for each in self._rows.values():
            if each.is_dirty and not each.is_writing and each.not_before_s <= now.mono_s:
                each.is_dirty, each.is_writing = False, True
                effects.append(SaveCommand(each.row))
        self.is_unwritten = any(each.is_dirty for each in self._rows.values())

    def saved(self, key: str) -> None:
        """Record that a row is committed."""
        each = self._rows.get(key)
        if each is not None:
            each.is_writing = False
            if each.row.state == RELEASED and not each.is_dirty:
                del self._rows[key]

    def not_saved(self, key: str, now: Timestamp) -> None:
        """Record that a row could not be written: it is written again."""
        each = self._rows.get(key)
        if each is not None:
            each.is_writing, each.is_dirty, self.is_unwritten = False, True, True
            each.not_before_s = now.mono_s + WRITE_AGAIN_S


def _call_off(step: Command | None, now: Timestamp) -> None:
    """End a command that sends a limit again, where that has not ended."""
    if step is not None and step.state not in FINAL:
        step.expires_s = min(step.expires_s, now.mono_s)
        step.due_s = min(step.due_s, now.mono_s)


def is_of_held_limit(row: CommandRow) -> bool:
    """Return whether a row is that of a held limit, and not of a command."""
    return row.state in (HELD, RELEASED)


def _value_of(argument: Current | Phases, minutes: int | None = None) -> dict[str, Any]:
    """Return a limit as a payload has it."""
    left = argument.minutes if minutes is None else minutes
    if isinstance(argument, Current):
        return {"amps": argument.amps, "minutes": left, "hold": True}
    phases = {f"phase{number}": amps for number, amps in enumerate(argument.amps, 1)}
    return {**phases, "minutes": left, "hold": True}
