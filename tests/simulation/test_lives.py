"""Lives of 6 hours, of 72 hours and of 100 days: long enough for what the program remembers."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.simulation.options import CHATTER, FAULTS, NEEDS_CHATTER, draw
from tests.simulation.play import explained
from tests.simulation.simulation import Simulation

DAYS = 100
KEPT = timedelta(days=90)


def played(seed, hours, rarer):
    """Play one life of that length; say how it failed if it did."""
    simulation = Simulation(draw(seed, longest_hours=hours, exactly=True, rarer=rarer))
    try:
        simulation.run()
    except Exception as why:  # noqa: BLE001 - whatever it is, the seed is told
        drawn = f"--hours {hours:g} --exactly --rarer {rarer:g}"
        pytest.fail(explained(simulation, why, drawn))
    return simulation


@pytest.mark.parametrize(
    ("seed", "hours", "rarer"), [(1, 6, 4), (2, 6, 4), (3, 6, 4), (1, 72, 60), (3, 72, 60)]
)
def test_promises_hold_for_hours_and_days(seed, hours, rarer):
    """What counts in 20 minutes, 45 minutes and 24 hours is lived through."""
    simulation = played(seed, hours, rarer)

    assert simulation.timeline.now_s > hours * 3600
    assert simulation.fired


def test_promises_hold_for_a_hundred_days():
    """A hundred days, in which rows of the first are removed and none of the last is."""
    simulation = played(22, DAYS * 24.0, 3000)
    now, held = simulation.timeline.wall, simulation.disk.rows.reports
    forgotten = [
        one.report.ended_at for key, one in simulation.oracle.accepted.items() if key not in held
    ]

    assert forgotten
    assert all(now - ended_at > KEPT for ended_at in forgotten)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_silent_charger_is_found_out_by_a_clock_that_was_not_set(seed):
    """What arrived before the time was known is judged when it is (777012 and 777022)."""
    options = replace(
        draw(seed, longest_hours=1.5, exactly=True),
        poll=False,
        commands_per_hour=6.0,
        chatter=frozenset(),
        faults={"clock_unset": 6.0, "charger_silent": 6.0},
    )
    simulation = Simulation(options)
    simulation.run()

    assert simulation.fired["clock_unset"]
    assert simulation.fired["charger_silent"]


def test_lengths_are_drawn_up_to_the_longest():
    """Not every life is short, and a longer one is no name for a short one."""
    for longest in (6.0, 72.0, 2400.0):
        drawn = [draw(seed, longest_hours=longest).hours for seed in range(200)]
        assert max(drawn) == longest
        assert min(drawn) == pytest.approx(longest / 20)
        assert sum(hours == longest for hours in drawn) > 15
        assert draw(1, longest_hours=longest, exactly=True).hours == longest


def test_everything_is_rarer_in_a_rarer_life():
    """And what needs the chatter that is left out does not come."""
    usual, rare = draw(7), draw(7, rarer=10.0)

    assert rare.commands_per_hour == usual.commands_per_hour / 10
    assert rare.sessions_per_hour == usual.sessions_per_hour / 10
    assert rare.faults == {
        name: rate / 10 for name, rate in usual.faults.items() if name not in NEEDS_CHATTER
    }
    assert not rare.chatter


def test_a_fault_comes_with_what_finds_it():
    """A deaf broker is found by the heartbeat, a process that stood still by its beats."""
    assert set(FAULTS) >= set(CHATTER.values())
    for seed in range(200):
        options = draw(seed)
        assert {name for name, fault in CHATTER.items() if fault in options.faults} <= (
            options.chatter
        )
