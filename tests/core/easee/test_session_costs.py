"""Costs of sessions as the cloud lists them."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.session_costs import SessionCost, match_costs, session_costs
from bridge.errors import DecodeError

AT = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def test_what_has_a_cost_is_read():
    """Keys in any case; entries without a cost or a start are left out."""
    entry = {"id": 7, "carConnected": "2026-11-01T12:00:00Z", "currency": "NOK"}
    entries = [
        {**entry, "costIncludingVat": 12.5},
        {**entry, "CostIncludingVat": 3, "currency": None, "id": None},
        {**entry, "costIncludingVat": None},
        {**entry, "costIncludingVat": True},
        {"costIncludingVat": 1.0},
        "x",
    ]
    assert session_costs(json.dumps(entries).encode()) == (
        SessionCost(7, AT, 12.5, "NOK"),
        SessionCost(None, AT, 3, ""),
    )
    with pytest.raises(DecodeError):
        session_costs(b"{}")


HOUR = timedelta(hours=1)


def matched(sessions, *costs):
    """Return the costs of sessions by place; a key is the place of a session."""
    named = [(str(place), number, at) for place, (number, at) in enumerate(sessions)]
    return {int(key): cost.cost for key, cost in match_costs(named, costs).items()}


def test_a_cost_belongs_to_the_session_of_its_number():
    """Also where the charger tells another start than the cloud; the nearest where two have it."""
    costs = (SessionCost(1, AT, 1.0, ""), SessionCost(1, AT + 2 * HOUR, 2.0, ""))
    assert matched([(1, AT + HOUR / 2), (2, AT)], *costs[:1]) == {0: 1.0}
    assert matched([(1, AT + 2 * HOUR), (1, AT + HOUR / 2)], *costs) == {0: 2.0, 1: 1.0}
    assert matched([(1, AT + 2 * HOUR), (1, AT)], costs[1]) == {0: 2.0}
    assert matched([(1, AT + 25 * HOUR)], *costs[:1]) == {}


def test_without_a_number_it_belongs_to_the_session_of_its_start():
    """Times may differ by seconds."""
    unnumbered = SessionCost(None, AT, 1.0, "NOK")
    assert matched([(8, AT + timedelta(seconds=90))], unnumbered) == {0: 1.0}
    assert matched([(None, AT), (None, AT + HOUR)], SessionCost(7, AT, 1.0, "NOK")) == {0: 1.0}
    assert matched([(8, AT + timedelta(minutes=3))], unnumbered) == {}


def test_a_cloud_that_numbers_otherwise_is_matched_by_start():
    """Where one session has its number in the cloud, another number is another session."""
    strange = [SessionCost(9_000_001, AT, 1.0, ""), SessionCost(9_000_002, AT + HOUR, 2.0, "")]
    assert matched([(7, AT), (8, AT + HOUR)], *strange) == {0: 1.0, 1: 2.0}
    alike = [SessionCost(7, AT, 1.0, ""), SessionCost(9, AT + HOUR, 2.0, "")]
    assert matched([(7, AT), (8, AT + HOUR)], *alike) == {0: 1.0}


@given(
    st.lists(st.tuples(st.none() | st.integers(1, 5), st.integers(0, 200)), max_size=6), st.data()
)
def test_no_cost_is_counted_twice(sessions, data):
    """Whatever the cloud lists: the costs that are found are some of its own, each once."""
    listed = data.draw(
        st.lists(st.tuples(st.none() | st.integers(1, 5), st.integers(0, 200)), max_size=6)
    )
    costs = [
        SessionCost(number, AT + timedelta(minutes=at), float(2**place), "")
        for place, (number, at) in enumerate(listed)
    ]
    told = [(number, AT + timedelta(minutes=at)) for number, at in sessions]
    found = list(matched(told, *costs).values())
    assert len(set(found)) == len(found)
    assert set(found) <= {cost.cost for cost in costs}
