"""The log stays small whatever comes from outside, and says what it left out."""

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from bridge.log_limit import (
    BURST,
    LINES_PER_MINUTE,
    MAX_BYTES_PER_HOUR,
    SAME_BURST,
    SAME_PER_HOUR,
    LineLimit,
)

HOUR_S = 3600.0


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_repeated_line_is_written_now_and_then_and_counted():
    """The first lines are written, then so many a minute; the others are in the sum, once."""
    hand = Hand()
    limit = LineLimit(hand)
    written = sum(limit.admits("command.refused", f"{n}", is_error=False) for n in range(3000))
    assert written == BURST
    assert limit.left_out() == {"command.refused": 3000 - BURST}
    assert limit.left_out() == {}
    hand.now_s = 60.0
    again = sum(limit.admits("command.refused", f"{-n}", is_error=False) for n in range(3000))
    assert again == LINES_PER_MINUTE


def test_lines_of_the_same_content_are_written_a_few_times_an_hour():
    """A connection that comes and goes says the same for hours; another reason is another line."""
    hand = Hand()
    limit = LineLimit(hand)
    written = Counter()
    for second in range(0, 3 * 3600, 5):
        hand.now_s = float(second)
        for name, content in (("mqtt.disconnected", "reset"), ("mqtt.connected", "")):
            written[name] += limit.admits(name, content, is_error=False)
    most = SAME_BURST + 3 * SAME_PER_HOUR
    assert most - 1 <= written["mqtt.disconnected"] == written["mqtt.connected"] <= most
    assert limit.admits("mqtt.disconnected", "refused", is_error=False)


def test_what_is_repeated_costs_other_lines_nothing():
    """An event that happens for the first time is written while another one floods."""
    limit = LineLimit(Hand())
    for _ in range(10_000):
        limit.admits("command.refused", "", is_error=False)
    assert limit.admits("store.failed", "", is_error=False)


def test_errors_are_written_when_the_bytes_are_nearly_spent():
    """Other lines leave the last bytes to errors, and errors end too."""
    limit = LineLimit(Hand())
    admitted = Counter()
    for number in range(1000):
        for is_error in (False, True):
            if limit.admits(f"event.{number}.{is_error}", "", is_error=is_error):
                admitted[is_error] += 1
                limit.wrote(1000)
    assert 0 < admitted[False] < admitted[True] < 1000


@given(
    st.lists(
        st.tuples(
            st.floats(0, 600),
            st.integers(0, 40),
            st.booleans(),
            st.integers(1, 400),
            st.integers(80, 4000),
        ),
        max_size=60,
    )
)
def test_no_hour_has_more_than_a_megabyte_and_nothing_is_lost(bursts):
    """Whatever happens when: any hour's bytes are bounded, and written plus counted is all."""
    hand = Hand()
    limit = LineLimit(hand)
    hour: deque[tuple[float, int]] = deque()
    said: Counter[str] = Counter()
    written: Counter[str] = Counter()
    counted: Counter[str] = Counter()
    in_hour = 0
    for wait_s, number, is_error, times, size in bursts:
        hand.now_s += wait_s
        for time in range(times):
            name = f"event.{number}"
            said[name] += 1
            if limit.admits(name, f"{time % 7}", is_error=is_error):
                limit.wrote(size)
                written[name] += 1
                hour.append((hand.now_s, size))
                in_hour += size
        while hour and hour[0][0] <= hand.now_s - HOUR_S:
            in_hour -= hour.popleft()[1]
        assert in_hour <= MAX_BYTES_PER_HOUR
        counted.update(limit.left_out())
    assert written + counted == said


def test_names_are_forgotten_before_they_are_too_many():
    """The table of events does not grow for ever."""
    limit = LineLimit(Hand())
    for number in range(5000):
        limit.admits(f"event.{number}", "", is_error=True)
    assert len(limit._lines) <= 1000
    assert len(limit._same) <= 1000
