"""Lives of the limits of one charger: one owner, never charging when it should be paused."""

import os

import pytest

from bridge.core.commands import phase_switch
from bridge.core.commands.held_limits import HeldLimits
from bridge.core.commands.phase_switch import PhaseSwitches
from tests.simulation.limits import play
from tests.simulation.lives import play_many

LIVES = int(os.environ.get("LIMIT_LIVES", "25"))


def test_limits_have_one_owner_in_every_life():
    """Switches and held limits through crashes, losses, refusals and other controllers.

    No phases are switched under load, no held limit is sent against a newer one or to a charger
    that is paused, what is called paused is paused, each command has one result, and what is held
    is there in the end.
    """
    counts, broken = play_many(play, range(1, LIVES + 1))

    assert broken == []
    assert all(counts[name] for name in ("crashes", "foreign", "phase modes", "sent again"))


def _does_not_wait_for_0_a(monkeypatch):
    monkeypatch.setattr(phase_switch, "HUB_DELAY_S", 0.0)
    monkeypatch.setattr(PhaseSwitches, "_is_without_current", lambda *_: True)


def _does_not_pause_behind_an_early_end(monkeypatch):
    def retreat(self, switch, effects, now):
        self._finish_early(switch, effects, now, is_paused=True)
        return True

    monkeypatch.setattr(PhaseSwitches, "_retreat", retreat)


def _sends_against_every_other_value(monkeypatch):
    end = HeldLimits._end

    def insist(self, key, why, effects, now):
        if why != "another controller set a limit":
            return end(self, key, why, effects, now)
        self._send_again(key, self._held[key], effects, now)
        return False

    monkeypatch.setattr(HeldLimits, "_end", insist)


@pytest.mark.parametrize(
    ("defect", "found"),
    [
        (_does_not_wait_for_0_a, "phases were switched under load"),
        (_does_not_pause_behind_an_early_end, "called paused"),
        (_sends_against_every_other_value, "against a newer one"),
    ],
)
def test_deliberate_defects_are_found(defect, found, monkeypatch):
    """A judge that finds nothing says nothing."""
    defect(monkeypatch)
    broken: list[str] = []
    for seed in range(1, 121):
        broken += play_many(play, [seed])[1]
        if any(found in one for one in broken):
            return
    pytest.fail(f"not found: {broken}")
