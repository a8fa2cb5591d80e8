"""A command's row is what was written, or it is not handed out."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.store.row_format.command_columns import from_row, to_row
from bridge.core.records.command_row import CommandRow

moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
texts = st.text(st.characters(exclude_categories=["Cs"]))
rows = st.builds(
    CommandRow,
    **dict.fromkeys(("key", "charger_id", "command", "name", "digest", "state"), texts),
    received_at=moments,
    expires_at=moments,
    body=st.binary(),
    answer=st.binary(),
    flash=st.booleans(),
)


@given(rows)
def test_a_row_comes_back_as_it_was_written(command):
    """Nothing is rounded, cut or reinterpreted."""
    assert from_row(to_row(command)) == command


@given(rows, st.integers(0, 11), st.none() | st.integers() | st.text() | st.binary())
def test_a_row_with_one_other_column_is_not_handed_out(command, column, value):
    """A change of any column to anything is noticed."""
    row = list(to_row(command))
    unchanged = repr(row[column]) == repr(value)
    row[column] = value

    assert from_row(row) == (command if unchanged else None)
