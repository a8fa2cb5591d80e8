from datetime import timedelta

import pytest

from bridge.simulator import usage
from bridge.simulator.sessions import Car
from tests.simulator.lab import NOON

LONG_AGO = NOON - timedelta(days=60)


def test_a_running_session_is_ongoing_and_newest(lab):
    """Without one there is no ongoing session, and the newest is a finished one."""
    bench = lab(authorization_required=False)
    assert usage.ongoing(bench.first) is None
    assert usage.newest(bench.first)["sessionEnd"] is not None

    bench.first.plug_in(Car())
    bench.wait(300)
    running = usage.ongoing(bench.first)
    assert running == usage.newest(bench.first)
    assert running["sessionEnd"] is None
    assert running["sessionEnergy"] > 0
    assert running["chargeDurationInSeconds"] == 300


def test_lists_hold_finished_sessions_with_the_chargers_own_numbers(lab):
    """Ranges are oldest first, descending is newest first, numbers are those of 129."""
    charger = lab().first
    rows = usage.between(charger, LONG_AGO, NOON)

    assert [row["id"] for row in rows] == [one.number for one in charger.sessions]
    assert [row["id"] for row in usage.descending(charger, 2)] == [
        rows[-1]["id"],
        rows[-2]["id"],
    ]
    assert usage.between(charger, NOON, NOON + timedelta(days=1)) == []


def test_energies_add_up(lab):
    """Total, hours and years agree."""
    charger = lab().first
    total = usage.total_kwh(charger, LONG_AGO, NOON)
    hours = usage.hourly_usage(charger, NOON - timedelta(days=30), NOON)

    assert total == pytest.approx(sum(one.energy_kwh for one in charger.sessions))
    assert sum(hour["totalEnergy"] for hour in hours) == pytest.approx(total, abs=1e-3)
    for period in usage.PERIODS:
        rows = usage.by_period(charger, period)
        assert sum(row["totalEnergyUsage"] for row in rows) == pytest.approx(total, abs=1e-3)
        consumed = sum(row["consumption"] for row in usage.lifetime(charger, period))
        assert consumed == pytest.approx(total, abs=1e-3)


def test_history_has_what_moved_and_what_did_not(lab):
    """A setting that moved shows both values, one that did not its only one."""
    bench = lab()
    bench.first.change(44, True)
    now = bench.now + timedelta(seconds=1)

    assert [one["value"] for one in usage.history(bench.first, 44, LONG_AGO, now)] == [False, True]
    assert [one["value"] for one in usage.history(bench.first, 30, LONG_AGO, now)] == [False]
    assert usage.history(bench.first, 65000, LONG_AGO, now) == []
