"""How fast values may go."""

from bridge.core.delivery.rate_limiter import BURST, PER_GRANT_S, TokenBucket


def test_a_burst_goes_at_once_and_the_rest_in_time():
    """Of 3,000 values a broker as shipped gets 500 now and 2,000 in each second after."""
    pace = TokenBucket()
    pace.set_rate(20)
    sent = []
    left, now_s = 3000, 100.0
    while left:
        count = min(20, left, pace.available(now_s))
        if not count:
            now_s += 0.01
            continue
        pace.consume(count)
        left -= count
        sent.append((now_s, count))
    assert sum(count for at_s, count in sent if at_s == 100.0) == BURST
    for start_s, _ in sent:
        window = sum(count for at_s, count in sent if start_s <= at_s < start_s + 1.0)
        assert window <= BURST + 20 * PER_GRANT_S
    assert 1.2 < now_s - 100.0 < 1.4


def test_a_broker_that_takes_much_is_not_held_back():
    """1,000 in flight mean 100,000 a second: more than anybody can send."""
    pace = TokenBucket()
    pace.set_rate(1000)
    pace.consume(pace.available(1.0))
    assert pace.available(1.01) == 1000


def test_a_clock_that_stands_still_gives_nothing_and_takes_nothing():
    """The same moment twice is no time, and a step back is none either."""
    pace = TokenBucket()
    pace.set_rate(20)
    pace.available(5.0)
    pace.consume(BURST)
    assert (pace.available(5.0), pace.available(4.0)) == (0, 0)
