from hypothesis import given
from hypothesis import strategies as st

from bridge.core.backoff import exponential_delay_s, reconnect_delay_s


def test_waits_double_up_to_the_longest():
    """Every failure doubles the ceiling until it is the longest wait."""
    certain = [exponential_delay_s(n, first_s=2.0, longest_s=10.0) for n in range(1, 6)]
    waits = [reconnect_delay_s(n, 0.0, first_s=2.0, longest_s=10.0) for n in range(1, 6)]

    assert certain == [2.0, 4.0, 8.0, 10.0, 10.0]
    assert waits == [1.0, 2.0, 4.0, 5.0, 5.0]


@given(
    st.integers(min_value=-5, max_value=10**9),
    st.floats(min_value=0, max_value=1, exclude_max=True),
    st.floats(min_value=0.01, max_value=1e3),
    st.floats(min_value=1e3, max_value=1e5),
)
def test_a_wait_is_between_half_and_the_whole_ceiling(failures, jitter, first_s, longest_s):
    """Whatever is asked, the wait is never under half the first nor over the longest."""
    wait_s = reconnect_delay_s(failures, jitter, first_s=first_s, longest_s=longest_s)

    assert first_s / 2 <= wait_s <= longest_s
