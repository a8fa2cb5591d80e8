"""The Equalizer: what the house draws, every few seconds, the same for the same seed."""

import random
from datetime import timedelta

import pytest

from bridge.core.easee.equalizer import EQUALIZER
from bridge.simulator.equalizer import CONFIG, EVERY, EXPORT, IMPORT, STATE, Equalizer
from bridge.simulator.sessions import Car
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

    assert equalizer.readings.keys() <= EQUALIZER.keys()
    named = {**CONFIG, **{key: number for key, number in STATE.items() if key != "isOnline"}}
    assert {key: EQUALIZER[number].vendor_name for key, number in named.items()} == {
        key: key for key in named
    }


def test_chargers_share_what_the_house_leaves():
    """Equally; where a car would get less than 6 A the last ones get nothing."""
    equalizer, _ = meter()
    equalizer.house_a = 5.0
    assert equalizer.share(1) == (20.0, 1)
    assert equalizer.share(3) == (6.7, 3)
    equalizer.house_a = 12.0
    assert equalizer.share(3) == (6.5, 2)
    equalizer.house_a = 20.0
    assert equalizer.share(3) == (0.0, 0)
    equalizer.house_a = -10.0
    assert equalizer.charging_a() == 25.0


def test_on_surplus_only_what_is_fed_in_and_what_may_be_added_is_left():
    """Off again, the limit is all that counts."""
    equalizer, _ = meter()
    equalizer.house_a = -4.0
    added = {"eligible": True, "maximumImportAddedCurrent": 6}
    equalizer.configure({"mode": "chargingWithImport", "chargingWithImport": added}, NOON)
    assert equalizer.charging_a() == 10.0
    equalizer.house_a = 3.0
    assert equalizer.charging_a() == 3.0
    equalizer.configure({"mode": "none"}, NOON)
    assert equalizer.charging_a() == 22.0


def test_a_charger_follows_the_equalizer_where_it_balances(lab):
    """It shows the reason and what is left (230 to 232); without balancing it does not."""
    currents = []
    for balances in (True, False):
        bench = lab(chargers=1, equalizers=1, load_balancing=balances, authorization_required=False)
        bench.world.equalizers[SERIAL].allocate(8, NOON)
        bench.first.plug_in(Car())
        bench.wait(60.0)
        charger = bench.first
        currents.append((charger.limit().amps, charger.value(96), charger.value(230)))
    assert currents[0] == (8.0, 28, 8.0)
    assert currents[1][0] > 8.0
    assert currents[1][2] != 8.0
