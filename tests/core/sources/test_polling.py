"""Polling while the stream is away."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.sources.polling import (
    GRACE_S,
    MIN_INTERVAL_S,
    READ_TIMEOUT_S,
    REFUSED_GRACE_S,
    WINDOW_S,
    Polling,
)

THREE = ("EH000001", "EH000002", "EH000003")


def fleet(count: int) -> tuple[str, ...]:
    """Name so many chargers."""
    return tuple(f"EH{number:06}" for number in range(count))


def play(polling: Polling, start_s: float, end_s: float, *, late_s: float = 0.0):
    """Ask at every deadline, answer at once, and list (moment, charger)."""
    reads, now_s = [], start_s
    while (deadline_s := polling.deadline_s()) is not None and deadline_s <= end_s:
        now_s = max(now_s, deadline_s + late_s)
        for charger_id in polling.due(now_s):
            reads.append((now_s, charger_id))
            polling.answered(charger_id, now_s)
    return reads


def test_nothing_is_read_while_the_stream_is_up():
    """The stream comes first."""
    polling = Polling("stream", 60)
    polling.watch(THREE, 0.0)
    polling.stream_down(0.0)
    polling.stream_up(10.0)

    assert polling.deadline_s() is None
    assert polling.due(1e6) == ()
    assert not polling.active


def test_polling_takes_over_ten_seconds_after_the_hub_refused():
    """Case D8: another token was tried by then, and waiting brings no other answer."""
    polling = Polling("stream", 60)
    polling.watch(THREE, 0.0)
    polling.stream_down(5.0)
    polling.stream_down(6.0, refused=True)
    assert polling.deadline_s() == 6.0 + REFUSED_GRACE_S

    polling.stream_down(7.0, refused=True)
    assert polling.deadline_s() == 6.0 + REFUSED_GRACE_S
    polling.stream_up(8.0)
    assert polling.deadline_s() is None


def test_polling_takes_over_after_a_minute_and_rests_at_once():
    """60 s without the stream start it, the stream's return ends it."""
    polling = Polling("stream", 60)
    polling.watch(THREE, 0.0)
    polling.stream_down(0.0)
    assert polling.deadline_s() == GRACE_S
    assert polling.due(GRACE_S - 0.1) == ()

    assert play(polling, 0.0, 70.0) == [
        (60.0, THREE[0]),
        (63.75, THREE[1]),
        (67.5, THREE[2]),
    ]
    assert polling.active

    polling.stream_up(71.0)
    assert not polling.active
    assert polling.due(1e6) == ()


def test_a_failed_reconnect_does_not_start_the_minute_again():
    """Being told twice that the stream is away changes nothing."""
    polling = Polling("stream", 60)
    polling.watch(THREE, 0.0)
    polling.stream_down(0.0)
    polling.stream_down(50.0)

    assert polling.deadline_s() == 60.0


def test_a_stream_that_comes_and_goes_does_not_keep_polling_away():
    """A connection shorter than the grace time was none; a longer one was."""
    polling = Polling("stream", 60)
    polling.watch(THREE, 0.0)
    polling.stream_down(0.0)
    polling.stream_up(40.0)
    polling.stream_down(75.0)
    assert polling.due(75.0) == (THREE[0],)

    polling.stream_up(100.0)
    polling.stream_down(200.0)
    assert polling.deadline_s() == 260.0


def test_with_source_poll_there_is_no_stream_to_wait_for():
    """source: poll reads from the first moment, whatever the stream does."""
    polling = Polling("poll", 60)
    assert polling.active
    assert polling.deadline_s() is None

    polling.watch(THREE, 0.0)
    polling.stream_up(0.0)

    assert polling.active
    assert polling.due(5.0) == (THREE[0],)


def test_a_stream_that_never_came_is_away_from_the_start():
    """The minute begins with the first charger, if nothing is heard of the stream."""
    polling = Polling("stream", 60)
    polling.watch(THREE, 10.0)
    polling.watch(THREE, 20.0)

    assert polling.deadline_s() == 10.0 + GRACE_S


def test_polling_delivers_while_reads_are_answered():
    """Active is not enough: some read must have been answered within three intervals."""
    polling = Polling("stream", 60)
    polling.watch(THREE, 0.0)
    polling.answered(THREE[0], 1.0)
    assert not polling.delivering(1.0)

    assert polling.due(60.0) == (THREE[0],)
    assert polling.delivering(60.0)
    assert not polling.delivering(300.0)
    polling.answered(THREE[0], 301.0)
    assert polling.delivering(301.0 + 180.0)

    polling.stream_up(302.0)
    assert not polling.delivering(302.0)


def test_nothing_is_read_after_the_stop():
    """A program that ends asks for nothing more."""
    polling = Polling("poll", 60)
    polling.watch(THREE, 0.0)
    polling.stop()
    polling.watch(THREE, 0.0)

    assert polling.deadline_s() is None
    assert polling.due(5.0) == ()


def test_reads_settle_evenly_over_the_interval():
    """After the first round the chargers share the interval."""
    polling = Polling("poll", 60)
    polling.watch(THREE, 0.0)

    reads = play(polling, 0.0, 400.0)

    assert [moment for moment, _ in reads[:3]] == [0.0, 3.75, 7.5]
    late = [moment for moment, _ in reads if moment > 100.0]
    assert {round(b - a, 6) for a, b in pairwise(late)} == {20.0}


def test_a_charger_that_joins_is_read_at_once_and_one_that_left_is_not():
    """watch() takes effect at the next read, and a late answer of a lost charger is harmless."""
    polling = Polling("poll", 60)
    polling.watch(("EH000001",), 0.0)
    assert polling.due(0.0) == ("EH000001",)
    polling.watch(("EH000002",), 0.0)
    polling.answered("EH000001", 1.0)
    polling.failed("EH000001", 1.0)

    assert polling.deadline_s() == MIN_INTERVAL_S
    assert polling.due(MIN_INTERVAL_S) == ("EH000002",)
    polling.watch((), 0.0)
    assert polling.deadline_s() is None


def test_one_read_at_a_time():
    """A charger with a read under way is not read again, until that read is surely lost."""
    polling = Polling("poll", 10)
    polling.watch(("EH000001",), 0.0)
    assert polling.due(0.0) == ("EH000001",)

    assert polling.due(50.0) == ()
    assert polling.deadline_s() == READ_TIMEOUT_S
    assert polling.due(READ_TIMEOUT_S) == ("EH000001",)


@pytest.mark.fault("F26")
def test_failures_are_asked_again_less_and_less_often():
    """The wait doubles up to 15 minutes, and one success ends it."""
    polling = Polling("poll", 60)
    polling.watch(("EH000001",), 0.0)
    now_s, waits = 0.0, []
    for _ in range(7):
        assert polling.due(now_s) == ("EH000001",)
        polling.failed("EH000001", now_s)
        waits.append(polling.deadline_s() - now_s)
        now_s = polling.deadline_s()

    assert waits == [60, 120, 240, 480, 900, 900, 900]
    assert polling.due(now_s) == ("EH000001",)
    polling.answered("EH000001", now_s)
    assert polling.deadline_s() == now_s + 60


def test_a_retry_after_holds_every_charger():
    """The limit is the account's, so nobody is read before it ends."""
    polling = Polling("poll", 60)
    polling.watch(THREE, 0.0)
    assert polling.due(0.0) == (THREE[0],)

    polling.failed(THREE[0], 1.0, retry_after_s=300.0)

    assert polling.deadline_s() == 301.0
    assert polling.due(300.0) == ()
    assert polling.due(301.0) == (THREE[1],)


def test_a_read_somebody_else_asked_for_counts():
    """A refresh postpones the next read of that charger."""
    polling = Polling("poll", 60)
    polling.watch(("EH000001",), 0.0)
    polling.started("EH000001", 0.0)
    polling.answered("EH000001", 1.0)
    polling.started("EH999999", 0.0)

    assert polling.deadline_s() == 60.0


@pytest.mark.parametrize("count", [1, 16, 81, 300])
def test_every_charger_gets_its_turn(count):
    """In two stretched intervals everybody is read at least once, even when asked late."""
    polling = Polling("poll", 60)
    polling.watch(fleet(count), 0.0)

    reads = play(polling, 0.0, 2 * polling.period_s, late_s=0.2)

    assert {charger_id for _, charger_id in reads} == set(fleet(count))


@given(
    st.integers(1, 400),
    st.floats(0.1, 120.0),
    st.lists(st.tuples(st.sampled_from("audfw"), st.floats(0, 40)), min_size=100, max_size=300),
)
def test_the_endpoint_limit_is_never_passed(count, interval_s, moves):
    """Never more than 100 reads in 300 s, whatever the fleet, the stream and the answers do."""
    polling = Polling("stream", interval_s, grace_s=5.0)
    polling.watch(fleet(count), 0.0)
    polling.stream_down(0.0)
    now_s, reads = 0.0, []
    for kind, step_s in moves:
        now_s += step_s / 10
        match kind:
            case "u":
                polling.stream_up(now_s)
            case "d":
                polling.stream_down(now_s)
            case "f" if reads:
                polling.failed(reads[-1][1], now_s)
            case "w":
                count = count % 400 + 7
                polling.watch(fleet(count), 0.0)
            case _:
                for charger_id in polling.due(now_s):
                    reads.append((now_s, charger_id))
                    polling.answered(charger_id, now_s)

    moments = [moment for moment, _ in reads]
    assert all(b - a >= MIN_INTERVAL_S - 1e-6 for a, b in pairwise(moments))
    assert all(sum(a <= b < a + WINDOW_S for b in moments) <= 100 for a in moments)


def test_a_charger_that_an_open_stream_refuses_is_read_and_no_other():
    """From the moment it is refused until it is taken; polling starts anew when the stream goes."""
    polling = Polling("stream", 60.0)
    polling.watch(("EH1", "EH2"), 0.0)
    polling.stream_up(1.0)
    assert polling.deadline_s() is None

    polling.refused({"EH2"})
    assert polling.due(2.0) == ("EH2",)
    polling.answered("EH2", 2.5)
    assert polling.due(3.0) == ()
    assert polling.due(63.0) == ("EH2",)

    polling.refused(())
    assert polling.deadline_s() is None
    polling.stream_down(100.0)
    assert polling.deadline_s() == 160.0


def test_a_source_that_repeats_nothing_has_each_charger_read_once():
    """With the queue open each charger is read, and none a second time; a new one once more."""
    polling = Polling("amqp", 60)
    polling.watch(THREE, 0.0)
    polling.stream_up(1.0)

    reads = play(polling, 1.0, 1e5)
    assert sorted(charger_id for _, charger_id in reads) == sorted(THREE)
    assert all(b - a >= MIN_INTERVAL_S for (a, _), (b, _) in pairwise(reads))
    assert not polling.delivering(20.0)  # the queue is the source

    polling.stream_down(2e5)
    polling.stream_up(2e5 + 1)
    assert play(polling, 2e5, 3e5) == []
    polling.watch((*THREE, "EH000009"), 3e5)
    assert [charger_id for _, charger_id in play(polling, 3e5, 4e5)] == ["EH000009"]


def test_a_read_that_fails_is_tried_again_while_the_queue_is_open():
    """Once means one answer, not one attempt."""
    polling = Polling("amqp", 60)
    polling.watch(("EH000001",), 0.0)
    polling.stream_up(1.0)
    assert polling.due(1.0) == ("EH000001",)
    polling.failed("EH000001", 2.0)

    reads = play(polling, 2.0, 1e5)
    assert [charger_id for _, charger_id in reads] == ["EH000001"]
