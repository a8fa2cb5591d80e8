import json

import pytest

from bridge.simulator.offline import LISTED_TAG, UNKNOWN_TAG, come_back
from bridge.simulator.sessions import Car
from tests.simulator.lab import FIRST, values


def reports(happened) -> list[dict[str, object]]:
    """Every session report, in order."""
    return [json.loads(text) for text in values(happened, 129)]


def test_offline_sessions_come_in_a_burst(lab):
    """Several reports at once, AuthReason 3 and 4 in turn, inside the outage, meters joined."""
    bench = lab(offline=(1,))
    before = bench.first.next_session
    come_back(bench.first, 4)
    told = bench.happened()
    found = reports(told)

    assert [one["AuthReason"] for one in found] == [3, 4, 3, 4]
    assert [one["Auth"] for one in found[:2]] == [LISTED_TAG, UNKNOWN_TAG]
    assert [one["Id"] for one in found] == list(range(before, before + 4))
    assert all(one["Start"] < one["Stop"] for one in found)
    assert [one["MeterValueStop"] for one in found[:-1]] == pytest.approx(
        [one["MeterValueStart"] for one in found[1:]], abs=1e-5
    )
    stamps = {one.reading.measured_at for one in told if one.observation_id == 129}
    assert len(stamps) == 1
    assert values(told, 250) == [True]


def test_a_session_that_was_running_is_reported_first(lab):
    """The car that was there has left meanwhile; its session keeps its own reason."""
    bench = lab(authorization_required=False)
    bench.first.plug_in(Car())
    bench.wait(120)
    bench.first.go_offline()
    bench.wait(3600)
    come_back(bench.first, 2)

    assert [one["AuthReason"] for one in reports(bench.happened())] == [0, 3, 4]
    assert bench.first.car is None


def test_only_the_last_report_is_replayed(lab):
    """Whoever was not listening finds one report only."""
    bench = lab(offline=(1,))
    come_back(bench.first, 3)
    last = json.loads(bench.first.value(129))

    assert last["Id"] == bench.first.next_session - 1
    assert len([s for s in bench.first.sessions if s.auth_reason in (3, 4)]) == 3


def test_coming_back_without_sessions_goes_on(lab):
    """A short outage changes nothing for the car."""
    bench = lab(authorization_required=False)
    bench.first.plug_in(Car())
    bench.wait(60)
    bench.first.go_offline()
    bench.wait(60)
    come_back(bench.first, 0)
    bench.wait(1)

    assert bench.first.number(109) == 3
    assert reports(bench.happened()) == []


def test_an_online_charger_has_nothing_to_bring(lab):
    """Coming back without having been away says nothing."""
    bench = lab()
    come_back(bench.world.chargers[FIRST], 3)

    assert bench.happened() == []
