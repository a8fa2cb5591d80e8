"""Costs of sessions as the cloud lists them."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.easee.session_costs import SessionCost, cost_of, session_costs
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


def test_a_cost_belongs_to_the_session_of_its_start_and_number():
    """Times may differ by seconds; a number of 1 after a reset is another session."""
    costs = (SessionCost(7, AT, 1.0, "NOK"), SessionCost(None, AT + timedelta(hours=1), 2.0, ""))
    assert cost_of(7, AT + timedelta(seconds=90), costs) is costs[0]
    assert cost_of(None, AT, costs) is costs[0]
    assert cost_of(8, AT, costs) is None
    assert cost_of(8, AT + timedelta(hours=1), costs) is costs[1]
    assert cost_of(7, AT + timedelta(minutes=30), costs) is None
