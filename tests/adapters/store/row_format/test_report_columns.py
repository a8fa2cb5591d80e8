"""A report's row is what was written, or it is not handed out."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.adapters.store.row_format.digest import time_text
from bridge.adapters.store.row_format.report_columns import (
    COLUMNS,
    REPORT_WIDTH,
    from_row,
    is_newer,
    to_row,
)
from bridge.core.records.session_report import SessionReport
from bridge.core.records.stored_report import StoredReport

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
counters = st.integers(0, 2**63 - 1)
kwh = st.floats(-1e9, 1e9)
texts = st.text(st.characters(exclude_categories=["Cs"]))
rows = st.builds(
    StoredReport,
    key=texts,
    revision=st.integers(1, 2**31),
    report=st.builds(
        SessionReport,
        charger_id=texts,
        session_id=st.none() | counters,
        started_at=moments,
        ended_at=moments,
        energy_kwh=kwh,
        meter_start_kwh=st.none() | kwh,
        meter_stop_kwh=st.none() | kwh,
        auth_reason=st.none() | counters,
        auth=texts,
        source=st.sampled_from(["stream", "poll", "backfill"]),
        measured_at=moments,
        received_at=moments,
        incomplete=st.sampled_from([(), ("auth",), ("session_id", "auth_reason")]),
        doubtful=st.sampled_from([(), ("started_at",), ("started_at", "ended_at")]),
        placed_at=st.none() | moments,
        ranked_at=st.none() | moments,
    ),
    published=st.booleans(),
    settled=st.booleans(),
    published_at=st.none() | moments,
)


@given(rows)
def test_a_row_comes_back_as_it_was_written(stored):
    """Nothing is rounded, cut or reinterpreted."""
    assert from_row(to_row(stored)) == stored


@given(
    rows,
    st.integers(0, 21),
    st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.binary()),
)
def test_a_row_with_one_other_column_is_not_handed_out(stored, column, value):
    """A change of any column to anything is noticed."""
    row = list(to_row(stored))
    unchanged = repr(row[column]) == repr(value)  # -0.0 is not 0.0 here
    row[column] = value

    assert from_row(row) == (stored if unchanged else None)


def test_moments_are_kept_in_utc():
    """The zone a moment came in does not matter."""
    there = NOON.astimezone(timezone(timedelta(hours=5)))

    assert time_text(there) == time_text(NOON)
    report = SessionReport(
        "EH123456", 1, there, there, 1.0, None, None, None, "", "stream", there, there
    )
    stored = StoredReport("k", 1, report)
    assert from_row(to_row(stored)) == replace(stored, report=report)


@given(rows, rows)
def test_of_two_states_of_a_row_one_is_newer_or_they_are_alike(one, other):
    """A row only moves on: to a higher revision, to published, to settled."""
    alike = (one.revision, one.settled, one.published) == (
        other.revision,
        other.settled,
        other.published,
    )
    assert is_newer(one, other) + is_newer(other, one) + alike == 1


def test_every_column_has_a_name():
    """The names are those of the tables, in their order."""
    assert len(set(COLUMNS)) == REPORT_WIDTH
