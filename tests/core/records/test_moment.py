"""Waits that end together."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.records.moment import MIN_SHARED_S, SHARED_S, shared_wait_s


@given(
    st.floats(0, 1e9, allow_nan=False, allow_subnormal=False),
    st.floats(MIN_SHARED_S, 3600, allow_nan=False),
)
def test_a_wait_is_never_longer_than_it_may_be(mono_s, wait_s):
    """It is shortened by less than the others' interval, and never to nothing."""
    shared_s = shared_wait_s(mono_s, wait_s)

    assert MIN_SHARED_S <= shared_s <= wait_s
    assert wait_s - shared_s < SHARED_S


@given(st.integers(0, 10**6), st.floats(0, 0.5, exclude_max=True))
def test_waits_that_began_together_end_together(number, late_s):
    """What began just after a shared time ends at the next one, however late it began."""
    began_s = number * SHARED_S + late_s

    ends_s = began_s + shared_wait_s(began_s, SHARED_S)

    assert abs(ends_s - (number + 1) * SHARED_S) < 1e-6
