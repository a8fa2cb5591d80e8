"""The cloud's list of sessions: what is complete is read, what is not is left out."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.session_list import session_list
from bridge.core.records.session_report import SessionReport
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


@pytest.mark.parametrize(
    "change", [{"isComplete": False}, {"isComplete": None, "carDisconnected": None}]
)
def test_a_running_session_is_none_yet(change):
    """It is neither a report nor a mistake."""
    assert read({**ENTRY, **change}) == read()


@pytest.mark.parametrize(
    "change",
    [
        {"carConnected": None},
        {"carConnected": 5},
        {"carDisconnected": "soon"},
        {"carDisconnected": None},
        {"kiloWattHours": None},
        {"kiloWattHours": True},
        {"kiloWattHours": "much"},
        {"kiloWattHours": -0.1},
        {"kiloWattHours": 10**400},
    ],
)
def test_half_a_record_is_told_as_its_text_and_the_others_stay(change):
    """Case B3: what cannot be billed by is somebody's bill all the same."""
    found = read({**ENTRY, **change}, ENTRY)
    (text,) = found.unread

    assert len(found.reports) == 1
    assert (text.charger_id, text.session_id, text.source) == ("EH123456", 191, "backfill")
    assert json.loads(text.text) == {**ENTRY, **change}
    assert read({**ENTRY, **change}).unread == (text,)


@pytest.mark.parametrize("number", [None, -1, 2**63, "abc", 1.5])
def test_a_number_that_is_none_costs_no_session(number):
    """Case B3: it is recognised by its times."""
    (report,) = read({**ENTRY, "id": number}).reports

    assert (report.session_id, report.incomplete) == (None, ("session_id",))


@pytest.mark.parametrize("named", [None, "", 7, "EH123456", " eh123456"])
def test_a_session_without_a_charger_is_of_the_one_that_was_asked_about(named):
    """Case B3: nobody else was."""
    assert read({**ENTRY, "chargerId": named}) == read(ENTRY)
    assert read({**ENTRY, "chargerId": "EH999999"}) == read()


@pytest.mark.parametrize("spelled", [str.upper, str.lower, str.title])
def test_keys_are_read_in_any_case(spelled):
    """A cloud that spells its keys otherwise costs nobody a session."""
    assert read({spelled(key): value for key, value in ENTRY.items()}) == read(ENTRY)


@pytest.mark.parametrize("entry", [{"session": 191}, {"id": 191, "isComplete": None}])
def test_an_entry_of_another_shape_is_told_as_its_text(entry):
    """It may be a finished session: it is not taken for a running one."""
    (text,) = read(entry, ENTRY).unread

    assert json.loads(text.text) == entry


def test_what_is_negative_by_a_rounding_is_nothing_and_a_text_is_a_number():
    """Case B3: the meaning is certain."""
    (report,) = read({**ENTRY, "kiloWattHours": -0.004}).reports
    assert report.energy_kwh == 0.0
    (report,) = read({**ENTRY, "kiloWattHours": "7.5", "id": "191"}).reports
    assert (report.energy_kwh, report.session_id) == (7.5, 191)


def test_times_that_cannot_be_are_marked():
    """Case B3: an end before the start, and an end in 2036."""
    (report,) = read({**ENTRY, "carDisconnected": "2026-11-22T09:00:00Z"}).reports
    assert report.clock == "suspect"
    (report,) = read({**ENTRY, "carDisconnected": "2036-11-22T09:00:00Z"}).reports
    assert (report.doubtful, report.at, report.measured_at) == (("ended_at",), NOON, NOON)


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
    assert all(one.doubtful or one.started_at <= one.ended_at for one in found.reports)
    assert all(one.at <= NOON for one in found.reports)
    assert all(one.energy_kwh >= 0 and (one.session_id or 0) >= 0 for one in found.reports)
