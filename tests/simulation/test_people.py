"""The judge of commands: what it excuses, and that it excuses nothing else."""

import json
import random

import pytest

from bridge.simulator.scenario import Scenario
from bridge.simulator.world import World
from tests.conftest import NOON
from tests.simulation.cloud import Request
from tests.simulation.engine import SimulatedClock, Timeline
from tests.simulation.oracle import Oracle
from tests.simulation.people import Asking, People

CHARGER = "EH000001"


def _asking(number, amps, *deliveries):
    """Make a limit that was asked for, with the times at which one process got it."""
    what = ("dynamic_charger_current", amps)
    asking = Asking(number, CHARGER, what, None, 1000.0, 60.0, None, retained=False, jumps=0)
    asking.deliveries += [(at_s, 1) for at_s in deliveries]
    return asking


@pytest.mark.parametrize("dies", [True, False])
def test_only_an_older_memory_of_the_broker_excuses_the_wrong_order(dies):
    """A broker brings back what was lost before, behind what was asked for later (seed 50269)."""
    timeline = Timeline()
    rng = random.Random(1)
    clock = SimulatedClock(timeline, rng)
    oracle = Oracle(timeline, World(Scenario(chargers=1, traffic=False), NOON), lambda *_: None)
    people = People(timeline, rng, clock, oracle, [CHARGER], protocol="5")
    people.life = 1
    now_s = timeline.now_s
    people.askings += [_asking(0, 6), _asking(1, 7, now_s)]

    def leave(amps):
        path = f"/api/chargers/{CHARGER}/commands/set_dynamic_charger_current"
        people.left(Request(1, "POST", path, json.dumps({"amps": amps}).encode(), now_s))

    leave(7)
    if dies:
        people.broker_died()
    people.askings[0].deliveries.append((now_s, 1))
    leave(6)

    assert (oracle.violation is None) == dies
