"""How often things may happen."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.delivery.value_queue import BURST, PER_GRANT_S, value_rate
from bridge.core.rate_limiter import TokenBucket, free_at_s


def test_a_burst_goes_at_once_and_the_rest_in_time():
    """Of 3,000 values a broker as shipped gets 500 now and 2,000 in each second after."""
    bucket = TokenBucket(*value_rate(20))
    sent = []
    left, now_s = 3000, 100.0
    while left:
        count = min(20, left, int(bucket.available(now_s)))
        if not count:
            now_s += 0.01
            continue
        bucket.consume(count)
        left -= count
        sent.append((now_s, count))
    assert sum(count for at_s, count in sent if at_s == 100.0) == BURST
    for start_s, _ in sent:
        window = sum(count for at_s, count in sent if start_s <= at_s < start_s + 1.0)
        assert window <= BURST + 20 * PER_GRANT_S
    assert 1.2 < now_s - 100.0 < 1.4


def test_a_broker_that_takes_much_is_not_held_back():
    """1,000 in flight mean 100,000 a second: more than can be sent."""
    bucket = TokenBucket(BURST, 0.0)
    bucket.set_rate(*value_rate(1000))
    bucket.consume(bucket.available(1.0))
    assert bucket.available(1.01) == 1000


def test_a_clock_that_stands_still_gives_nothing_and_takes_nothing():
    """The same moment twice is no time, and a step back is none either."""
    bucket = TokenBucket(*value_rate(20))
    bucket.available(5.0)
    bucket.consume(BURST)
    assert (bucket.available(5.0), bucket.available(4.0)) == (0, 0)


@given(
    st.lists(st.floats(0, 100), max_size=60).map(sorted),
    st.integers(1, 5),
    st.floats(0.1, 20),
)
def test_no_window_ever_holds_more_than_its_limit(wanted_s, most, window_s):
    """Whoever waits until a use is free never has more uses in any window than it may hold."""
    used_s: list[float] = []
    for at_s in wanted_s:
        if at_s >= free_at_s(used_s, most, window_s):
            used_s.append(at_s)

    for first_s in used_s:
        assert sum(first_s <= at_s < first_s + window_s for at_s in used_s) <= most
