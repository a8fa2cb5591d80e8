"""The guided switch between one and three phases: a command of several steps.

Switching phases under load is refused or harmful. So the charge is paused first, and the phase
mode is set only when no current flows; what charged before goes on below the limit.

Rules:

1. Each step is a command of its own: on disk before it is sent, sent at most once, never late.
2. A charge goes on only if one was running. What was paused stays paused; where no charge was
   running, or the car left once the phase mode was set, the limit is set and nothing is resumed.
3. Whatever ends a switch early leaves the charger paused, and the result says so: an error of the
   cloud or the charger, a step that was not seen in time, a command of another controller, a newer
   command that ends the charge, a restart of the gateway.
4. While it lasts, nothing else is sent to the charger. A command that waits meanwhile is sent
   behind it, or expires.
5. What the charger shows counts only while the stream is open, or after it was read for the switch.
"""

import enum
import math
from typing import Final

import msgspec

from bridge.core.commands.active_commands import DETAILS, MAX_DETAIL_LENGTH, ActiveCommands, Command
from bridge.core.commands.confirmation import SLACK
from bridge.core.commands.results import read_result
from bridge.core.commands.send_policy import PHASE_MODE_COMMAND, RESUME_EFFECT_DELAY_S
from bridge.core.commands.shown_state import ShownState
from bridge.core.commands.state_machine import AWAITED, FINAL, IN_PROGRESS, State, Transition
from bridge.core.domain_events import Output
from bridge.core.easee import roles
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import MIN_CURRENT_A, PhaseSwitch
from bridge.core.easee.derived_state import CHARGING, DISCONNECTED, code
from bridge.core.easee.error_responses import SUCCESS
from bridge.core.events import ChargerResponse
from bridge.core.records.moment import Timestamp
from bridge.core.value_format import Value, shortened

# People who do it by hand wait this long between the phase mode and the resume (evcc#29132).
SETTLE_S: Final = 30.0
# The hub delivers within 1 to 3 s: for so long an older value may pass for the present one.
HUB_DELAY_S: Final = 5.0
ZERO_TIMEOUT_S: Final = 60.0
OLD_POWER_S: Final = 20.0
READ_BACK_TIMEOUT_S: Final = 45.0
# A car that was asleep takes longer; then the vendor's own resume wakes it.
DRAW_TIMEOUT_S: Final = 15.0
# Between two reads of what the stream does not tell.
READ_EVERY_S: Final = 12.0
LOOK_EVERY_S: Final = 1.0
STEP_TTL_S: Final = 60.0
# A charger that should be paused is tried for as long as a command may live at most.
RETREAT_TTL_S: Final = 600.0
# What a charger reports of its own consumption; the least a car draws is 1.4 kW.
NO_POWER_KW: Final = 0.1
ONE_PHASE_OUTPUTS: Final = range(10, 16)
# Commands of another controller that start, stop or limit a charge, restart the charger or change
# its phases, by the vendor's command id. A load balancer's limit of the circuit is none of them.
DISTURBING: Final = frozenset(
    command_id
    for name in ("start", "stop", "pause", "override_schedule", "phase_mode", "reboot")
    for command_id in CATALOGUE[name].response_ids
)
RETREATS: Final = 3
# Reasons of a failure that say nothing about the charger: the cloud was not asked, or too often.
NOT_REACHED: Final = frozenset({"cloud_unavailable", "rate_limited", "auth_failed", "blocked"})
READ: Final = "refresh"
# The vendor's reason for refusing a pause without a car.
NO_CAR: Final = "charger_disconnected"
LIMIT_COMMAND: Final = "dynamic_charger_current"


class Stage(enum.Enum):
    """Which step is carried out, or waited for."""

    LOOK = "reading what the charger shows"
    PAUSE = "pausing"
    ZERO = "waiting until no current flows"
    MODE = "setting the phase mode"
    READ_BACK = "reading the phase mode back"
    SETTLE = "waiting before the charge goes on"
    RESUME = "resuming below the limit"
    DRAW = "waiting for the car"
    LIFT = "resuming"
    LIMIT = "setting the limit"
    RETREAT = "pausing, because the switch ended early"


class Before(enum.Enum):
    """What the charger did when the switch began."""

    CHARGING = enum.auto()
    PAUSED = enum.auto()
    IDLE = enum.auto()


# In these the charger has to stay without current.
_QUIET: Final = frozenset({Stage.MODE, Stage.READ_BACK, Stage.SETTLE})


class Switch(msgspec.Struct):
    """Where a switch is.

    Attributes:
        command: The command.
        order: What was asked for.
        since_s: Monotonic time at which its stage began.
        stage: What is done now.
        before: What the charger did when it began.
        limit_a: Limit to end with; None where none is set.
        step: The command of the stage, while it is in progress.
        due_s: Monotonic time at which it is looked at again.
        read_s: Monotonic time of the newest read of what the charger shows.
        was_read: What the charger shows was read in this stage.
        is_paused: The charger was paused, and nothing was sent since that resumes it.
        paused: When that pause was sent.
        is_sure: What confirmed that pause was no response to another controller.
        lags_until_s: Monotonic time until which a resume may still take effect.
        retreats: How often it was paused because of an early end.
        has_no_car: The cloud refused that, because no car is connected.
        is_only_limit: The phase mode was as it should be: nothing but the limit is set.
        ended: Why it ends early, as the final transition, reason and sentence; None while it runs.
    """

    command: Command
    order: PhaseSwitch
    since_s: float
    stage: Stage = Stage.LOOK
    before: Before = Before.PAUSED
    limit_a: int | None = None
    step: Command | None = None
    due_s: float = -math.inf
    read_s: float = -math.inf
    was_read: bool = False
    is_paused: bool = False
    paused: Timestamp | None = None
    is_sure: bool = True
    lags_until_s: float = -math.inf
    retreats: int = 0
    has_no_car: bool = False
    is_only_limit: bool = False
    ended: tuple[Transition, str | None, str] | None = None

    def enter(self, stage: Stage, now: Timestamp) -> None:
        """Begin a stage."""
        self.stage, self.since_s, self.due_s = stage, now.mono_s, now.mono_s
        self.was_read = False

    def pause(self, step: Command) -> None:
        """Record that the charger is paused by a step.

        Where the cloud did not answer that, the charger's response may be to another controller.
        """
        self.is_paused, self.paused = True, step.sent
        self.is_sure = step.state is State.NOOP or (step.http_status or 500) in SUCCESS

    def end_early(
        self,
        reason: str | None,
        detail: str,
        now: Timestamp,
        transition: Transition = Transition.ABORT,
    ) -> None:
        """Note why it ends early; the first reason counts."""
        if self.ended is None:
            self.ended = (transition, reason, detail)
            self.due_s = now.mono_s


class PhaseSwitches:
    """Carries out the guided switches, one for each charger at most.

    Attributes:
        max_current_a: ``commands.max_current_a``.
    """

    def __init__(self, commands: ActiveCommands, shown: ShownState, max_current_a: int) -> None:
        self._commands = commands
        self._shown = shown
        self.max_current_a = max_current_a
        self._switches: dict[str, Switch] = {}

    def deadline_s(self) -> float:
        """Return the monotonic time at which :meth:`advance` has something to do."""
        return min((each.due_s for each in self._switches.values()), default=math.inf)

    @property
    def has_ended_step(self) -> bool:
        """Whether :meth:`advance` has something to do at once."""
        return any(
            each.step is not None and each.step.state in FINAL for each in self._switches.values()
        )

    # -- begin and early end -----------------------------------------------------------------

    def begin(self, command: Command, now: Timestamp) -> None:
        """Begin a switch: that it begins is on disk."""
        command.apply(Transition.BEGIN)
        self._add(Switch(command, command.argument, now.mono_s))

    def restore(self, command: Command, now: Timestamp) -> None:
        """End the switch of an earlier process: the charger is paused."""
        is_begun = command.state is State.RUNNING
        command.apply(Transition.RESTART if is_begun else Transition.BEGIN)
        after = f" after: {command.progress}" if command.progress else ""
        switch = Switch(command, command.argument, now.mono_s)
        switch.end_early("interrupted", f"the gateway was restarted{after}", now)
        self._add(switch)

    def _add(self, switch: Switch) -> None:
        command = switch.command
        command.due_s = math.inf
        self._switches[command.charger_id] = switch
        self._commands.guided[command.charger_id] = command
        self._commands.mark_dirty(command)

    def halt(self, charger_id: str, name: str, now: Timestamp) -> None:
        """End a switch for a newer command that ends the charge."""
        if charger_id in self._switches:
            detail = f"{name} was asked for meanwhile"
            self._switches[charger_id].end_early("newer_command", detail, now)

    def foreign(self, response: ChargerResponse, now: Timestamp) -> None:
        """End a switch for a command of another controller."""
        switch = self._switches.get(response.charger_id)
        is_disturbing = response.accepted and response.command_id in DISTURBING
        if switch is not None and is_disturbing:
            switch.end_early("foreign_command", "another controller sent a command", now)

    # -- the steps ---------------------------------------------------------------------------

    def advance(self, effects: list[Output], now: Timestamp) -> None:
        """Carry out what may be carried out now."""
        for switch in tuple(self._switches.values()):
            while switch.command.state is State.RUNNING and self._act(switch, effects, now):
                pass

    def _act(self, switch: Switch, effects: list[Output], now: Timestamp) -> bool:
        """Do what comes next; return whether there may be more."""
        step = switch.step
        if step is None:
            go_on = self._stage if switch.ended is None else self._retreat
            return go_on(switch, effects, now)
        if switch.ended is not None and switch.stage is not Stage.RETREAT:
            self._call_off(step, effects, now)
        if step.state not in FINAL:
            switch.due_s = math.inf
            return False
        switch.step, switch.due_s = None, now.mono_s
        switch.command.http_status = step.http_status or switch.command.http_status
        self._stepped(switch, step, effects, now)
        return True

    def _call_off(self, step: Command, effects: list[Output], now: Timestamp) -> None:
        """End a step that is not to be sent any more, or whose response is not waited for."""
        step.expires_s = min(step.expires_s, now.mono_s)  # it is not sent when it is on disk
        if step.state is State.WAITING:
            self._commands.finish(step, Transition.LATE, effects, now)
        elif step.state in AWAITED:
            self._commands.finish(step, Transition.TIMEOUT, effects, now)

    def _stepped(
        self, switch: Switch, step: Command, effects: list[Output], now: Timestamp
    ) -> None:
        """Handle the end of a step."""
        is_done, stage = step.state in (State.CONFIRMED, State.NOOP), switch.stage
        if stage is Stage.PAUSE and is_done:
            switch.pause(step)
        elif stage is Stage.LIFT:
            switch.lags_until_s = now.mono_s + RESUME_EFFECT_DELAY_S
        if step.spec.name == READ:
            switch.read_s, switch.was_read = now.mono_s, switch.was_read or is_done
            if stage is Stage.LOOK:
                self._set_out(switch, now)
        elif stage is Stage.RETREAT:
            self._retreated(switch, step, effects, now)
        elif switch.ended is None and not is_done:
            self._failed(switch, step, effects, now)
        elif switch.ended is None:
            self._done(switch, step, effects, now)

    def _failed(self, switch: Switch, step: Command, effects: list[Output], now: Timestamp) -> None:
        """End a switch for a step that was not carried out, or may not have been."""
        result = read_result(step.answer)
        if not switch.command.progress and step.state in (State.EXPIRED, State.FAILED):
            # Nothing was done yet. A cloud that says no may take the next pause all the same.
            if step.state is State.EXPIRED:
                detail = DETAILS[State.EXPIRED]
                self._finish(switch, Transition.LATE, effects, now, detail=detail)
                return
            if result.reason in NOT_REACHED:
                detail = f"{result.detail}; nothing was changed"
                self._finish(
                    switch, Transition.ABORT, effects, now, reason=result.reason, detail=detail
                )
                return
        is_rejected = step.state is State.REJECTED
        transition = Transition.REJECT if is_rejected else Transition.ABORT
        reason = None if is_rejected else result.reason or result.state
        why = f"{switch.stage.value}: {result.detail or result.state}"
        switch.end_early(reason, why, now, transition)

    def _done(self, switch: Switch, step: Command, effects: list[Output], now: Timestamp) -> None:
        """Go on behind a step that was carried out."""
        match switch.stage:
            case Stage.PAUSE:
                self._go_on(switch, Stage.ZERO, "paused", effects, now)
            case Stage.MODE:
                done = f"phase mode {switch.order.phases} was set"
                self._go_on(switch, Stage.READ_BACK, done, effects, now)
            case Stage.RESUME:
                done = f"resumed at {MIN_CURRENT_A} A"
                self._go_on(switch, Stage.DRAW, done, effects, now)
            case Stage.LIFT:
                self._go_on(switch, Stage.LIMIT, "resumed", effects, now)
            case _:
                is_noop = switch.is_only_limit and step.state is State.NOOP
                end = Transition.SKIP if is_noop else Transition.CONFIRM
                self._finish(switch, end, effects, now)

    def _stage(  # noqa: C901 - one case per stage
        self, switch: Switch, effects: list[Output], now: Timestamp
    ) -> bool:
        """Carry out a stage that has no step in progress; return whether there may be more."""
        charger_id = switch.command.charger_id
        if switch.stage in _QUIET and self._mode(charger_id) == CHARGING:
            switch.end_early("not_paused", "it did not stay paused", now)
            return True
        match switch.stage:
            case Stage.LOOK if now.mono_s < (until_s := self._unsettled_until_s(charger_id, now)):
                return self._wait(switch, until_s)
            case Stage.LOOK if self._is_known(charger_id):
                self._set_out(switch, now)
            case Stage.LOOK:
                self._issue(switch, READ, "PRESS", now)
            case Stage.PAUSE:
                self._issue(switch, "pause", "PRESS", now)
            case Stage.ZERO:
                return self._await_zero(switch, effects, now)
            case Stage.MODE:
                self._issue(switch, PHASE_MODE_COMMAND, switch.order.phases, now)
            case Stage.READ_BACK:
                return self._read_back(switch, effects, now)
            case Stage.SETTLE if now.mono_s < switch.since_s + SETTLE_S:
                return self._wait(switch, switch.since_s + SETTLE_S)
            case Stage.SETTLE:
                is_over = switch.before is Before.IDLE or self._has_left(charger_id)
                next_stage = Stage.LIMIT if is_over else Stage.RESUME
                self._go_on(switch, next_stage, f"waited {SETTLE_S:g} s", effects, now)
            case Stage.DRAW:
                return self._await_draw(switch, now)
            case _:
                self._resume(switch, effects, now)
        return True

    def _set_out(self, switch: Switch, now: Timestamp) -> None:
        """Decide by what the charger shows how the switch ends, and begin it."""
        charger_id, order = switch.command.charger_id, switch.order
        amps, mode = self._value(charger_id, roles.DYNAMIC_LIMIT), self._mode(charger_id)
        if isinstance(amps, int | float) and amps and mode is not None:
            switch.before = Before.CHARGING if mode == CHARGING else Before.IDLE
            former_a = max(MIN_CURRENT_A, min(int(amps), self.max_current_a))
            switch.limit_a = former_a if order.amps is None else order.amps
        switch.is_only_limit = self._has_phases(charger_id, order.phases)
        if order.amps is None and (switch.is_only_limit or mode == DISCONNECTED):
            switch.limit_a = None
        if switch.is_only_limit:
            switch.enter(Stage.LIMIT, now)
        else:  # without a car there is nothing to pause
            switch.enter(Stage.ZERO if mode == DISCONNECTED else Stage.PAUSE, now)

    def _await_zero(self, switch: Switch, effects: list[Output], now: Timestamp) -> bool:
        """Go on when no current flows."""
        for_s = now.mono_s - switch.since_s
        if not switch.is_paused and not self._is_unplugged(switch.command.charger_id):
            switch.enter(Stage.PAUSE, now)  # a car was plugged in meanwhile
        elif switch.is_paused and for_s < HUB_DELAY_S:
            return self._wait(switch, switch.since_s + HUB_DELAY_S)
        elif self._was_resumed(switch):
            switch.end_early("not_paused", "it did not stay paused", now)
        elif self._is_without_current(switch, for_s):
            self._go_on(switch, Stage.MODE, "no current flows (0 A)", effects, now)
        elif for_s >= ZERO_TIMEOUT_S:
            switch.end_early("not_paused", "0 A was not seen in time", now)
        else:
            return self._read_or_wait(switch, now)
        return True

    def _read_back(self, switch: Switch, effects: list[Output], now: Timestamp) -> bool:
        """Go on when the charger shows the phase mode."""
        phases = switch.order.phases
        shown = self._value(switch.command.charger_id, roles.PHASE_MODE)
        if shown == phases and (self._is_heard or switch.was_read):
            is_over = not switch.is_paused or switch.before is Before.PAUSED
            stage = Stage.LIMIT if is_over else Stage.SETTLE
            self._go_on(switch, stage, f"phase mode {phases} was read back", effects, now)
        elif now.mono_s - switch.since_s >= READ_BACK_TIMEOUT_S:
            why = f"the charger does not show phase mode {phases}"
            switch.end_early("phase_mode_not_seen", why, now)
        else:
            return self._read_or_wait(switch, now)
        return True

    def _await_draw(self, switch: Switch, now: Timestamp) -> bool:
        """Go on when the car charges, or does not below a low limit alone."""
        charger_id = switch.command.charger_id
        if self._mode(charger_id) == CHARGING or self._has_left(charger_id):
            switch.enter(Stage.LIMIT, now)
        elif now.mono_s - switch.since_s >= DRAW_TIMEOUT_S:
            switch.enter(Stage.LIFT, now)
        else:
            return self._wait(switch, now.mono_s + LOOK_EVERY_S)
        return True

    def _resume(self, switch: Switch, effects: list[Output], now: Timestamp) -> None:
        """Resume, or set the limit; end where there is nothing to set."""
        if switch.stage is Stage.LIMIT and switch.limit_a is None:
            end = Transition.SKIP if switch.is_only_limit else Transition.CONFIRM
            self._finish(switch, end, effects, now)
            return
        switch.is_paused = False
        if switch.stage is Stage.LIFT:
            self._issue(switch, "resume", "PRESS", now)
        else:
            amps = MIN_CURRENT_A if switch.stage is Stage.RESUME else switch.limit_a
            self._issue(switch, LIMIT_COMMAND, amps, now)

    def _read_or_wait(self, switch: Switch, now: Timestamp) -> bool:
        """Read what the charger shows where the stream does not tell it in time."""
        since_s = max(switch.read_s, switch.since_s) if self._is_heard else switch.read_s
        next_s = since_s + READ_EVERY_S
        if now.mono_s < next_s:
            return self._wait(switch, min(next_s, now.mono_s + LOOK_EVERY_S))
        self._issue(switch, READ, "PRESS", now)
        return True

    # -- the end -----------------------------------------------------------------------------

    def _retreat(self, switch: Switch, effects: list[Output], now: Timestamp) -> bool:
        """Pause the charger, unless it is paused for certain; return whether there may be more."""
        charger_id = switch.command.charger_id
        if now.mono_s < switch.lags_until_s:
            return self._wait(switch, switch.lags_until_s)
        is_quiet = switch.is_paused and self._mode(charger_id) != CHARGING
        if is_quiet and not self._was_resumed(switch):
            self._finish_early(switch, effects, now, is_paused=True)
        elif self._has_left(charger_id):
            self._finish_early(switch, effects, now, is_paused=False)
        else:
            switch.enter(Stage.RETREAT, now)
            switch.retreats += 1
            self._issue(switch, "pause", "PRESS", now, ttl_s=RETREAT_TTL_S)
        return True

    def _retreated(
        self, switch: Switch, step: Command, effects: list[Output], now: Timestamp
    ) -> None:
        """End a switch behind its last pause, unless that is to be tried again."""
        if step.state in (State.CONFIRMED, State.NOOP):
            switch.pause(step)
            is_paused = not self._was_resumed(switch)  # by another controller, meanwhile
            is_over = is_paused
            if not is_paused and not switch.is_sure:  # what it shows may be older
                switch.lags_until_s = now.mono_s + HUB_DELAY_S
        else:
            is_paused = False
            is_over = step.state not in (State.UNCONFIRMED, State.UNKNOWN, State.REJECTED)
        if is_over or switch.retreats >= RETREATS:
            switch.has_no_car = read_result(step.answer).reason == NO_CAR
            self._finish_early(switch, effects, now, is_paused=is_paused)

    def _finish_early(
        self, switch: Switch, effects: list[Output], now: Timestamp, *, is_paused: bool
    ) -> None:
        transition, reason, why = switch.ended or (Transition.ABORT, "interrupted", "")
        if is_paused:
            state = "the charger is paused"
        elif switch.has_no_car or self._is_unplugged(switch.command.charger_id):
            state = "no car is connected, so it was not paused"
        else:
            state = "the charger could not be paused: pause it"
        room = MAX_DETAIL_LENGTH - len(state) - 2
        detail = f"{shortened(why, room)}; {state}"
        self._finish(switch, transition, effects, now, reason=reason, detail=detail)

    def _finish(
        self,
        switch: Switch,
        transition: Transition,
        effects: list[Output],
        now: Timestamp,
        *,
        reason: str | None = None,
        detail: str | None = None,
    ) -> None:
        command = switch.command
        del self._switches[command.charger_id], self._commands.guided[command.charger_id]
        if detail is None:
            limit = "" if switch.limit_a is None else f", limit {switch.limit_a} A"
            is_kept = switch.before is Before.PAUSED
            limit = "; it was paused before and stays so" if is_kept else limit
            detail = f"phase mode {switch.order.phases}{limit}"
        self._commands.finish(command, transition, effects, now, reason=reason, detail=detail)

    # -- the smallest parts ------------------------------------------------------------------

    def _issue(
        self,
        switch: Switch,
        name: str,
        value: object,
        now: Timestamp,
        *,
        ttl_s: float = STEP_TTL_S,
    ) -> None:
        command = switch.command
        if not command.progress and switch.ended is None:
            # What the caller allows counts until the first request.
            ttl_s = min(ttl_s, max(0.0, command.expires_s - now.mono_s))
        switch.step = self._commands.issue(
            command.charger_id, name, value, now, ttl_s=ttl_s, parent=command
        )

    def _go_on(
        self, switch: Switch, stage: Stage, done: str, effects: list[Output], now: Timestamp
    ) -> None:
        """Begin a stage; that the one before it is done goes to disk and to the callers."""
        switch.command.progress = done
        switch.enter(stage, now)
        self._commands.mark_dirty(switch.command)
        self._commands.publish_progress(switch.command, effects, now)

    def _wait(self, switch: Switch, until_s: float) -> bool:
        switch.due_s = until_s
        return False

    # -- what the charger shows --------------------------------------------------------------

    @property
    def _is_heard(self) -> bool:
        return self._shown.stream_since_s is not None

    def _value(self, charger_id: str, number: int) -> Value | None:
        values = self._shown.latest.get(charger_id)
        return None if values is None else values.value(number)

    def _mode(self, charger_id: str) -> int | None:
        values = self._shown.latest.get(charger_id)
        return None if values is None else code(values, roles.OP_MODE)

    def _is_unplugged(self, charger_id: str) -> bool:
        return self._mode(charger_id) == DISCONNECTED

    def _has_left(self, charger_id: str) -> bool:
        """Return whether the car was unplugged, as far as the charger is heard."""
        return self._is_heard and self._is_unplugged(charger_id)

    def _is_known(self, charger_id: str) -> bool:
        needed = (roles.DYNAMIC_LIMIT, roles.OP_MODE)
        return self._is_heard and all(self._value(charger_id, one) is not None for one in needed)

    def _unsettled_until_s(self, charger_id: str, now: Timestamp) -> float:
        """Return until when the charger may not show what an earlier command did."""
        for command in self._commands.live:
            if command.state in IN_PROGRESS and charger_id in command.devices:
                return now.mono_s + LOOK_EVERY_S
        ended = (
            command.finished_s
            for command in self._commands.finished
            if charger_id in command.devices
        )
        return max(ended, default=-math.inf) + HUB_DELAY_S

    def _has_phases(self, charger_id: str, phases: int) -> bool:
        """Return whether the charger has the phase mode already, and charges by it."""
        if self._value(charger_id, roles.PHASE_MODE) != phases:
            return False
        output = self._value(charger_id, roles.OUTPUT_PHASE)
        is_fitting = phases != 1 or output is None or output in ONE_PHASE_OUTPUTS
        return is_fitting or self._mode(charger_id) != CHARGING

    def _is_without_current(self, switch: Switch, for_s: float) -> bool:
        """Return whether no current flows: by the power, and by the op mode.

        A power that was measured before the pause counts only when it stays for long: it may be
        that of a car that had just begun.
        """
        power = self._value(switch.command.charger_id, roles.POWER)
        if switch.before is Before.CHARGING and for_s < OLD_POWER_S and self._is_old(switch):
            return False
        mode = self._mode(switch.command.charger_id)
        is_zero = not isinstance(power, int | float) or power <= NO_POWER_KW
        is_fresh = self._is_heard or switch.was_read
        return is_fresh and is_zero and mode is not None and mode != CHARGING

    def _is_old(self, switch: Switch) -> bool:
        """Return whether the power was measured before the pause was sent."""
        values, paused = self._shown.latest.get(switch.command.charger_id), switch.paused
        at = None if values is None else values.measured_at(roles.POWER)
        return at is not None and paused is not None and at < paused.wall - SLACK

    def _was_resumed(self, switch: Switch) -> bool:
        """Return whether the charger shows a limit above 0 A that it got behind the pause.

        Where it may not have got the pause, any limit above 0 A counts.
        """
        values = self._shown.latest.get(switch.command.charger_id)
        paused = switch.paused
        if values is None or paused is None or not switch.is_paused:
            return False
        if not switch.is_sure:
            is_fresh = self._is_heard or switch.was_read
            return is_fresh and bool(values.value(roles.DYNAMIC_LIMIT))
        if not paused.trusted:
            return False
        at = values.measured_at(roles.DYNAMIC_LIMIT)
        came = values.received_at(roles.DYNAMIC_LIMIT)
        if at is None or came is None or not values.value(roles.DYNAMIC_LIMIT):
            return False
        # Stamps have whole seconds: within that of the pause the order of arrival counts.
        is_same_second = at >= paused.wall.replace(microsecond=0) and came > paused.wall
        return at > paused.wall or is_same_second
