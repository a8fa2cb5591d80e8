"""Decides whether the first command of a queue is sent now, later, or not at all.

Rules:

1. What the charger shows already is not sent, where that is all a command does.
2. Flash memory wears. The installer's limits, which the vendor names, are sent once in
   :data:`FLASH_SPACING_S` per charger and setting, and so many times a day per charger altogether.
   The other settings may be sent :data:`OTHERS_TIMES` as often. Beyond that the answer is
   ``flash_budget``, at once, because a command behind it may stop a charge.
3. Dynamic limits of one charger are :data:`PACE_S` apart on average: a few may follow each other
   at once, a stream of them may not. One that lowers always may.
4. ``resume`` and ``toggle`` put the dynamic limit to its maximum a moment after their answer. A
   limit behind them waits until that was seen, or for :data:`RESUME_EFFECT_DELAY_S`, so that it
   stands afterwards.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec

from bridge.core.commands.active_commands import Command
from bridge.core.commands.shown_state import ShownState, is_lower
from bridge.core.easee import roles
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.decode import Observation
from bridge.core.rate_limiter import free_at_s
from bridge.core.records.moment import Timestamp

# evcc waits 10 s between two limits; the vendor takes one a second. A load balancer with a period
# of a few seconds must not be delayed, and a few values tried by hand go out at once.
PACE_S: Final = 2.0
BURST: Final = 3
# Seconds were seen between the answer to a resume and its effect (evcc pull requests 1823, 8588).
RESUME_EFFECT_DELAY_S: Final = 5.0
FLASH_SPACING_S: Final = 60.0
OTHERS_TIMES: Final = 10
DAY_S: Final = 24 * 3600.0
SCHEDULED: Final = "a schedule holds the charge: send override_schedule, or disable the schedule"
# The step of a guided switch that is written to flash memory.
PHASE_MODE_COMMAND: Final = "phase_mode"


class Defer(msgspec.Struct, frozen=True):
    """Not yet."""

    until_s: float


class NoChange(msgspec.Struct, frozen=True):
    """There is nothing to change."""


class Refuse(msgspec.Struct, frozen=True):
    """No.

    Attributes:
        reason: A refusal word of the contract.
        detail: A sentence for the caller.
    """

    reason: str
    detail: str


class SendPolicy:
    """What was sent lately, per charger."""

    def __init__(self, shown: ShownState, flash_writes_per_day: int) -> None:
        self._shown = shown
        self._most_writes = flash_writes_per_day
        self._limits: dict[tuple[str, str], Mapping[int, float]] = {}
        self._limits_s: dict[tuple[str, str], deque[float]] = {}
        self._lagging: dict[str, float] = {}
        self._writes: dict[str, deque[tuple[float, str]]] = {}

    def set_flash_limit(self, flash_writes_per_day: int) -> None:
        """Set another limit of writes a day."""
        self._most_writes = flash_writes_per_day

    def forget(self, charger_id: str) -> None:
        """Drop everything held of a charger."""
        self._shown.forget(charger_id)
        for held in (self._limits, self._limits_s):
            for key in [key for key in held if key[0] == charger_id]:
                del held[key]
        self._lagging.pop(charger_id, None)
        self._writes.pop(charger_id, None)

    def evaluate(self, command: Command, now: Timestamp) -> Defer | NoChange | Refuse | None:
        """Decide about a command whose turn it is; None when it is sent now."""
        spec = command.spec
        if self._lagging and (until_s := self._held_until_s(command, now)) > now.mono_s:
            return Defer(until_s)
        if spec.is_held_by_schedule and self._shown.waits_for_schedule(command.request, now):
            return Refuse("controlled_by_schedule", SCHEDULED)
        if spec.skips_equal and self._shown.already_set(command.request, now):
            return NoChange()
        if spec.is_paced and (until_s := self._paced_until_s(command)) > now.mono_s:
            return Defer(until_s)
        if spec.is_guided:
            return self._flash(command.charger_id, PHASE_MODE_COMMAND, now)
        return self._flash(command.charger_id, spec.name, now) if spec.flash else None

    def sent(self, command: Command, now: Timestamp) -> None:
        """Record that a command is sent."""
        spec, charger_id = command.spec, command.charger_id
        if spec.is_paced:
            key = (charger_id, spec.name)
            self._limits[key] = spec.limits(command.argument)
            self._limits_s.setdefault(key, deque(maxlen=BURST)).append(now.mono_s)
        if spec.lags(command.argument):
            self._lagging[charger_id] = math.inf
        if spec.flash:
            self.count_flash_write(charger_id, spec.name, now.mono_s)
        self._shown.sent(command.request, command.devices, now)

    def answered(self, command: Command, now: Timestamp) -> None:
        """Record the answer or failure of a request: a delayed effect counts from here."""
        if (
            command.spec.lags(command.argument)
            and self._lagging.get(command.charger_id) == math.inf
        ):
            self._lagging[command.charger_id] = now.mono_s + RESUME_EFFECT_DELAY_S

    def undo(self, command: Command) -> None:
        """Undo what was recorded for a sending that had no effect."""
        if command.spec.lags(command.argument):
            self._lagging.pop(command.charger_id, None)
        writes = self._writes.get(command.charger_id)
        if command.spec.flash and writes:
            writes.pop()

    def observed(self, observation: Observation, now: Timestamp) -> bool:
        """Record an observation; return whether it changed something."""
        changed = self._shown.observed(observation, now)
        if changed and observation.spec.id == roles.DYNAMIC_LIMIT and observation.value:
            self._lagging.pop(observation.charger_id, None)
        return changed

    def count_flash_write(self, charger_id: str, name: str, mono_s: float) -> None:
        """Count a write of the flash memory, ours or of an earlier process."""
        self._writes.setdefault(charger_id, deque()).append((mono_s, name))

    def _held_until_s(self, command: Command, now: Timestamp) -> float:
        """Return when the effect of an earlier command is surely over."""
        until_s = self._lagging.get(command.charger_id, 0.0)
        if not until_s or roles.DYNAMIC_LIMIT not in command.spec.limits(command.argument):
            return 0.0
        # Its answer is awaited: the queue is held anyhow, and looked at again when it is in.
        return until_s if until_s < math.inf else now.mono_s

    def _paced_until_s(self, command: Command) -> float:
        key = (command.charger_id, command.spec.name)
        sent_s = self._limits_s.get(key, deque())
        until_s = free_at_s(sent_s, BURST, BURST * PACE_S)
        is_free = until_s and is_lower(command.spec.limits(command.argument), self._limits[key])
        return 0.0 if is_free else until_s

    def _flash(self, charger_id: str, name: str, now: Timestamp) -> Refuse | None:
        writes = self._writes.get(charger_id, deque())
        while writes and writes[0][0] <= now.mono_s - DAY_S:
            writes.popleft()
        is_limit = _is_lasting_limit(name)
        alike = [write for write in writes if _is_lasting_limit(write[1]) == is_limit]
        same = [at_s for at_s, written in alike if written == name]
        if is_limit and same and now.mono_s < same[-1] + FLASH_SPACING_S:
            wait_s = math.ceil(same[-1] + FLASH_SPACING_S - now.mono_s)
            return Refuse("flash_budget", f"it was written just now: again in {wait_s} s")
        most = self._most_writes * (1 if is_limit else OTHERS_TIMES)
        if len(alike) >= most:
            detail = f"{most} a day, by commands.flash_writes_per_day"
            if alike:
                hours = (alike[0][0] + DAY_S - now.mono_s) / 3600.0
                detail += f": again in {hours:.1f} h"
            return Refuse("flash_budget", detail)
        return None


def _is_lasting_limit(command: str) -> bool:
    """Return whether a command sets an installer's limit, which is written rarely."""
    spec = CATALOGUE.get(command)
    return spec is not None and spec.group == "installer"
