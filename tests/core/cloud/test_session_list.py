"""The cloud's list of sessions: what is complete is read, what is not is left out."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.cloud.session_list import session_list
from bridge.core.sessions.reports import SessionReport
from bridge.errors import DecodeError
from tests.conftest import NOON

ENTRY = {
    "id": 191,
    "chargerId": "EH123456",
    "carConnected": "2026-11-22T10:00:00+00:00",
    "carDisconnected": "2026-11-22T11:00:00",
    "kiloWattHours": 7.5,
    "isComplete": True,
    "authToken": "04AA",
    "pricePrKwhIncludingVat": 0.3,
}


def read(*entries):
    """Read a list of entries."""
    return session_list(json.dumps(entries).encode(), "EH123456", received_at=NOON)


def test_an_entry_becomes_a_report_that_says_what_it_does_not_know():
    """No auth_reason and no meters: the interface has none. Bare times are UTC."""
    (report,) = read(ENTRY).reports

    assert report == SessionReport(
        charger_id="EH123456",
        session_id=191,
        started_at=datetime(2026, 11, 22, 10, 0, tzinfo=UTC),
        ended_at=datetime(2026, 11, 22, 11, 0, tzinfo=UTC),
        energy_kwh=7.5,
        meter_start_kwh=None,
        meter_stop_kwh=None,
        auth_reason=None,
        auth="04AA",
        source="backfill",
        measured_at=datetime(2026, 11, 22, 11, 0, tzinfo=UTC),
        received_at=NOON,
    )


def test_an_entry_needs_no_more_than_what_bills():
    """Number, times and energy; old answers have no chargerId and no isComplete."""
    bare = {k: ENTRY[k] for k in ("id", "carConnected", "carDisconnected", "kiloWattHours")}

    assert read(bare).reports[0].auth == ""


@pytest.mark.parametrize("change", [{"isComplete": False}, {"carDisconnected": None}])
def test_a_running_session_is_none_yet(change):
    """It is neither a report nor a mistake."""
    assert read({**ENTRY, **change}) == read()


@pytest.mark.parametrize(
    "change",
    [
        {"id": None},
        {"id": -1},
        {"id": 2**63},
        {"id": "abc"},
        {"chargerId": "EH999999"},
        {"carConnected": None},
        {"carConnected": 5},
        {"carDisconnected": "2026-11-22T09:00:00Z"},
        {"carDisconnected": "soon"},
        {"kiloWattHours": None},
        {"kiloWattHours": True},
        {"kiloWattHours": "7"},
        {"kiloWattHours": -0.1},
        {"kiloWattHours": 10**400},
    ],
)
def test_half_a_record_is_none_and_the_others_stay(change):
    """What cannot be billed by is counted and left out."""
    broken = {**ENTRY, **change}
    found = read(broken, ENTRY)

    assert (len(found.reports), found.dropped) == (1, 1)
    with pytest.raises(DecodeError, match="nothing readable"):
        read(broken)


def test_a_tag_of_any_shape_spoils_nothing():
    """What bills nobody may be missing or nonsense."""
    for tag in (None, 7, {"a": 1}, "x" * 5000):
        assert read({**ENTRY, "authToken": tag}).reports[0].auth == ""


def test_the_oldest_comes_first():
    """In whatever order the cloud lists them."""
    later = {**ENTRY, "id": 192, "carDisconnected": "2026-11-22T12:00:00Z"}

    assert [one.session_id for one in read(later, ENTRY).reports] == [191, 192]


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"null", b"[1]", b"[" * 9999])
def test_what_is_no_list_is_refused(body):
    """An outage's web page is no empty list."""
    with pytest.raises(DecodeError):
        session_list(body, "EH123456", received_at=NOON)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ENTRY]), inner),
    max_leaves=15,
)


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(ENTRY, JSON)) | JSON))
def test_any_json_is_read_or_refused(entries):
    """Nothing but the named error leaves, and what is read can be billed by."""
    try:
        found = read(*entries, ENTRY)
    except DecodeError:
        return
    assert all(
        one.started_at <= one.ended_at <= NOON + timedelta(days=36525) for one in found.reports
    )
    assert all(one.energy_kwh >= 0 and one.session_id >= 0 for one in found.reports)
