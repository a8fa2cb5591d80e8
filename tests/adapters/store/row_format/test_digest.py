"""Times sort as text, and whatever damage made of a row is no error."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters.store.row_format.digest import (
    digest_of,
    is_intact,
    moment_or_none,
    time_or_none,
    time_text,
)
from bridge.adapters.store.row_format.report_columns import is_intact_report

moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds


@given(moments, moments)
def test_texts_of_moments_sort_as_moments_do(one, other):
    """The file can be asked for what ended since."""
    assert (time_text(one) < time_text(other)) == (one < other)


@given(st.lists(st.none() | st.integers() | st.floats() | st.text() | st.binary(), min_size=22))
def test_whatever_damage_made_of_a_row_it_is_no_error(row):
    """A row of anything is told to be damaged, not more."""
    assert not is_intact_report(row)
    assert not is_intact(row[:-1], row[-1])


@given(st.none() | moments)
def test_a_time_may_be_missing(at):
    """It then is on both sides."""
    assert moment_or_none(time_or_none(at)) == at


def test_bytes_and_text_are_not_alike():
    """A column that became text is not what it was."""
    assert digest_of((b"a",)) != digest_of(("a",))
    assert is_intact((b"a",), digest_of((b"a",)))
