"""The Equalizer: what the house draws, every few seconds, the same for the same seed."""

import random
from datetime import timedelta

import pytest

from bridge.core.easee.equalizer import NAMES
from bridge.simulator.equalizer import CONFIG, EVERY, EXPORT, IMPORT, STATE, Equalizer
from tests.conftest import NOON

SERIAL = "QP000001"


def meter(start=NOON, seed=1):
    """An Equalizer, and what it tells."""
    told = []
    return Equalizer(SERIAL, told.append, start, random.Random(seed)), told


def test_it_measures_every_few_seconds():
    """Not sooner; and then all that a meter tells."""
    equalizer, told = meter()
    told.clear()
    equalizer.advance(NOON + EVERY - timedelta(seconds=1), 0.0)
    assert told == []
    equalizer.advance(NOON + EVERY, 0.0)
    assert {IMPORT, EXPORT, 31, 32, 33, 34, 87} <= {one.observation_id for one in told}
    assert {one.charger_id for one in told} == {SERIAL}


def test_the_same_seed_says_the_same():
    """Nothing comes from anywhere but the seed and the time."""
    tellings = []
    for seed in (1, 1, 2):
        equalizer, told = meter(seed=seed)
        for step in range(1, 50):
            equalizer.advance(NOON + step * EVERY, 0.0)
        tellings.append(told)

    assert tellings[0] == tellings[1]
    assert tellings[0] != tellings[2]


def test_at_noon_it_feeds_in_and_a_car_turns_that_round():
    """Import and export are never both; what the chargers draw is part of it, and of the meter."""
    equalizer, _ = meter()
    assert equalizer.readings[EXPORT].value > 0.0
    assert equalizer.readings[IMPORT].value == 0.0
    before = equalizer.readings[45].value
    equalizer.advance(NOON + EVERY, 11.0)
    assert equalizer.readings[EXPORT].value == 0.0
    assert equalizer.readings[IMPORT].value > 5.0
    assert equalizer.readings[45].value > before


def test_less_may_be_given_out_than_before():
    """The available current follows what is allocated at once, and is never below zero."""
    equalizer, _ = meter(NOON + timedelta(hours=8))
    before = [equalizer.readings[number].value for number in (87, 88, 89)]
    equalizer.allocate(10, NOON + timedelta(hours=8))
    after = [equalizer.readings[number].value for number in (87, 88, 89)]
    assert after == pytest.approx([one - 15.0 for one in before], abs=0.02)
    equalizer.allocate(0, NOON)
    assert [equalizer.readings[number].value for number in (87, 88, 89)] == [0.0] * 3


def test_every_observation_is_one_of_an_equalizer():
    """No id is made up, and every key of the configuration and the state is the vendor's name."""
    equalizer, _ = meter()

    assert equalizer.readings.keys() <= NAMES.keys()
    named = {**CONFIG, **{key: number for key, number in STATE.items() if key != "isOnline"}}
    assert {key: NAMES[number] for key, number in named.items()} == {key: key for key in named}
