"""The judge of commands: what it excuses, and that it excuses nothing else."""

import json
import random

import pytest

from bridge.simulator.readings import Reading
from bridge.simulator.scenario import Scenario
from bridge.simulator.world import World
from tests.conftest import NOON
from tests.simulation.cloud import Request
from tests.simulation.engine import SimulatedClock, Timeline
from tests.simulation.oracle import Oracle
from tests.simulation.people import DAY_S, LIMIT_ID, MAX_FLASH_WRITES, Asking, People

CHARGER = "EH000001"


def _asking(number, amps, *deliveries):
    """Make a limit that was asked for, with the times at which one process got it."""
    what = ("dynamic_charger_current", amps)
    asking = Asking(number, CHARGER, what, None, 1000.0, 60.0, None, retained=False, jumps=0)
    asking.deliveries += [(at_s, 1) for at_s in deliveries]
    return asking


def _people():
    """Make people of one process, the oracle that hears what they find, and their clock."""
    timeline = Timeline()
    rng = random.Random(1)
    clock = SimulatedClock(timeline, rng)
    oracle = Oracle(timeline, World(Scenario(chargers=1, traffic=False), NOON), lambda *_: None)
    people = People(timeline, rng, clock, oracle, [CHARGER], protocol="5")
    people.life = 1
    return people, oracle, clock


def _leave(people, amps):
    """Let a limit leave for the cloud."""
    path = f"/api/chargers/{CHARGER}/commands/set_dynamic_charger_current"
    body = json.dumps({"amps": amps}).encode()
    people.left(Request(1, "POST", path, body, people._timeline.now_s))


@pytest.mark.parametrize("dies", [True, False])
def test_only_an_older_memory_of_the_broker_excuses_the_wrong_order(dies):
    """A broker brings back what was lost before, behind what was asked for later (seed 50269)."""
    people, oracle, _ = _people()
    now_s = people._timeline.now_s
    people.askings += [_asking(0, 6), _asking(1, 7, now_s)]

    _leave(people, 7)
    if dies:
        people.broker_died()
    people.askings[0].deliveries.append((now_s, 1))
    _leave(people, 6)

    assert (oracle.violation is None) == dies


@pytest.mark.parametrize("shown_a", [6, 20])
def test_a_limit_comes_back_from_an_older_memory_where_it_lets_nothing_grow(shown_a):
    """The charger has a higher one: it may run once more, as documented (seed 7200129)."""
    people, oracle, _ = _people()
    now_s = people._timeline.now_s
    oracle.measured.readings[CHARGER, LIMIT_ID].clear()
    oracle.measured.take(CHARGER, LIMIT_ID, Reading(shown_a, 4, NOON))
    asking = _asking(0, 14, now_s - 500)
    asking.acked_s, asking.is_spoilt = now_s - 499, True
    asking.deliveries.append((now_s, 2))
    people.askings.append(asking)

    _leave(people, 14)

    assert (oracle.violation is None) == (shown_a > 14)


@pytest.mark.parametrize("is_believed", [True, False])
def test_what_is_over_by_a_date_may_be_it_where_no_date_can_be_read(is_believed):
    """By a clock nobody believes a date binds nobody, and is no older command (seed 800293)."""
    people, oracle, clock = _people()
    clock.synchronized = is_believed
    now_s = people._timeline.now_s
    dated = _asking(2, 6, now_s)
    dated.dated_s = now_s - 1
    people.askings += [_asking(0, 6, now_s - 30), _asking(1, 7, now_s), dated]

    _leave(people, 7)
    _leave(people, 6)

    assert (oracle.violation is None) != is_believed


def test_flash_memory_is_written_so_many_times_a_day():
    """One more is found, whichever process wrote it; on the next day it counts no more."""
    people, oracle, _ = _people()
    asked = Request(1, "POST", f"/api/chargers/{CHARGER}/settings", b'{"maxChargerCurrent":9}', 0)
    for _ in range(MAX_FLASH_WRITES):
        people.executed(asked)
    people._timeline.now_s += DAY_S
    for _ in range(MAX_FLASH_WRITES):
        people.executed(asked)
    assert oracle.violation is None

    people.life += 1
    people.executed(asked)
    assert "writes of flash memory" in str(oracle.violation)
