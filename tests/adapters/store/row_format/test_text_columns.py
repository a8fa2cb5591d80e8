"""A text's row is what was written, or it is not handed out."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.store.row_format.text_columns import TEXT_WIDTH, from_row, to_row
from bridge.core.records.unread_text import UnreadText

moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
words = st.text(st.characters(exclude_categories=["Cs"]))
rows = st.builds(
    UnreadText,
    **dict.fromkeys(("charger_id", "text", "reason", "source"), words),
    measured_at=moments,
    received_at=moments,
    session_id=st.none() | st.integers(0, 2**63 - 1),
    started_at=st.none() | moments,
    ended_at=st.none() | moments,
)


@given(rows)
def test_a_row_comes_back_as_it_was_written(text):
    """Nothing is rounded, cut or reinterpreted."""
    assert from_row(to_row(text)) == text


@given(rows, st.integers(0, TEXT_WIDTH - 1), st.none() | st.integers() | st.text() | st.binary())
def test_a_row_with_one_other_column_is_not_handed_out(text, column, value):
    """A change of any column to anything is noticed."""
    row = list(to_row(text))
    unchanged = repr(row[column]) == repr(value)
    row[column] = value

    assert from_row(row) == (text if unchanged else None)


def test_a_row_of_another_width_is_not_handed_out():
    """Whatever is in it."""
    assert from_row(("too", "short")) is None
