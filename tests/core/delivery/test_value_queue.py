"""Values go over one of two connections, and nothing older ever overtakes something newer."""

from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.core.delivery.outbox import Outbox
from bridge.core.delivery.value_queue import MAX_WINDOW, ValueQueue
from bridge.core.messages import Publish


def value(topic: str, payload: object) -> Publish:
    """Make a value."""
    return Publish(topic, str(payload).encode(), telemetry=True)


def boxes(window: int = 0) -> tuple[Outbox, ValueQueue]:
    """Make both, the own connection open if it has a window."""
    main = Outbox()
    telemetry = ValueQueue(main)
    if window:
        telemetry.opened(window)
    return main, telemetry


def test_without_a_connection_of_their_own_values_go_over_the_main_one():
    """Nothing waits for a value connection that may never come."""
    main, telemetry = boxes()
    telemetry.put(value("a", 1))

    assert telemetry.take() == []
    assert main.take() == value("a", 1)


def test_with_one_the_main_connection_has_nothing_to_do_with_them():
    """Commands and reports do not queue behind values."""
    main, telemetry = boxes(10)
    telemetry.put(value("a", 1))
    telemetry.put(value("b", 1))

    assert main.take() is None
    assert telemetry.take() == [value("a", 1), value("b", 1)]


def test_a_slow_broker_gets_the_newest_value_of_each_topic():
    """What waits is replaced, so a stalled broker costs a topic two values at most."""
    _, telemetry = boxes(10)
    for number in range(1000):
        telemetry.put(value("a", number))
        telemetry.put(value("b", number))
        if number == 0:
            first = telemetry.take()

    assert (telemetry.in_flight, telemetry.waiting) == (2, 2)
    telemetry.acked(first)
    assert telemetry.take() == [value("a", 999), value("b", 999)]


def test_a_value_that_is_refused_is_tried_over_the_main_connection_later():
    """It is kept there, and a newer one of its topic goes there too and takes its place."""
    main, telemetry = boxes(10)
    telemetry.put(value("a", 1))
    (sent,) = telemetry.take()
    telemetry.refused(sent, 0x97)
    main.retry_rejected()
    assert main.take() == value("a", 1)
    main.acked(value("a", 1), 0x97)

    telemetry.put(value("a", 2))
    assert telemetry.take() == []
    main.retry_rejected()
    assert (main.take(), main.waiting) == (value("a", 2), 0)


def test_a_refused_value_with_a_newer_one_behind_it_is_given_up():
    """What waits behind it goes out in its place."""
    main, telemetry = boxes(10)
    telemetry.put(value("a", 1))
    (sent,) = telemetry.take()
    telemetry.put(value("a", 2))
    telemetry.refused(sent, 0x97)

    assert telemetry.take() == [value("a", 2)]
    main.retry_rejected()
    assert main.take() is None


def test_no_more_is_in_flight_than_the_broker_takes():
    """The Receive Maximum holds, and so does our own bound."""
    for granted, window in ((1, 1), (20, 20), (65_535, MAX_WINDOW)):
        _, telemetry = boxes(granted)
        for number in range(MAX_WINDOW + 9):
            telemetry.put(value(f"t{number}", number))
        batch = telemetry.take()

        assert len(batch) == window
        assert telemetry.take() == []
        telemetry.acked(batch[:1])
        assert len(telemetry.take()) == 1


def test_a_topic_in_flight_on_the_main_connection_stays_there():
    """A value connection that opens takes what waits, not what is in flight or behind that."""
    main, telemetry = boxes()
    for topic in ("a", "b"):
        telemetry.put(value(topic, 1))
    main.take()
    telemetry.put(value("a", 2))
    telemetry.opened(10)
    telemetry.put(value("a", 3))

    assert telemetry.take() == [value("b", 1)]
    main.acked(value("a", 1))
    assert main.take() == value("a", 3)
    main.acked(value("a", 3))
    telemetry.put(value("a", 4))
    assert telemetry.take() == [value("a", 4)]


def test_other_retained_messages_stay_on_the_main_connection():
    """Opening a value connection moves values only."""
    main, telemetry = boxes()
    main.put(Publish("charger/bridge/state", b"online"))
    telemetry.put(value("a", 1))
    telemetry.opened(10)

    assert telemetry.take() == [value("a", 1)]
    assert main.take() == Publish("charger/bridge/state", b"online")


def test_topics_in_doubt_wait_and_the_others_do_not():
    """A value on a lost connection may arrive late: its topic is held back until it cannot."""
    main, telemetry = boxes(1)
    telemetry.put(value("a", 1))
    telemetry.put(value("b", 1))
    telemetry.take()
    telemetry.closed(in_doubt=True)
    telemetry.put(value("a", 2))

    assert main.take() == value("b", 1)
    assert main.take() is None
    telemetry.closed(in_doubt=False)
    assert main.take() == value("a", 2)


def test_a_new_connection_ends_the_doubt_and_sends_again():
    """What was not acknowledged goes out again, the newest of it, over the main connection."""
    main, telemetry = boxes(10)
    for topic in ("a", "b"):
        telemetry.put(value(topic, 1))
    telemetry.take()
    telemetry.closed(in_doubt=True)
    telemetry.put(value("b", 2))
    telemetry.opened(10)

    assert telemetry.take() == []
    assert [main.take(), main.take()] == [value("a", 1), value("b", 2)]


def test_an_answer_of_a_connection_that_is_ending_counts():
    """An acknowledgement in doubt frees the topic for the main connection."""
    main, telemetry = boxes(10)
    telemetry.put(value("a", 1))
    telemetry.put(value("b", 1))
    a, b = telemetry.take()
    telemetry.closed(in_doubt=True)
    telemetry.put(value("a", 2))
    telemetry.acked([a])
    telemetry.returned([b, a])

    assert main.take() == value("a", 2)
    assert main.take() == value("b", 1)
    assert (telemetry.waiting, telemetry.in_flight) == (0, 0)


def test_an_acknowledgement_of_something_else_changes_nothing():
    """Only what is in flight can be acknowledged or returned."""
    main, telemetry = boxes(10)
    telemetry.put(value("a", 1))
    telemetry.take()
    telemetry.acked([value("b", 1), value("a", 0)])
    telemetry.returned([value("b", 1)])

    assert telemetry.in_flight == 1
    assert main.take() is None


class TwoConnections(RuleBasedStateMachine):
    """A broker that reads two connections at its own pace, and what is left of lost ones.

    Bytes of a lost connection lie in the broker's buffers and are read whenever it likes, until it
    takes a connection with the same client id or has dropped the silent one.
    """

    def __init__(self):
        super().__init__()
        self.main, self.telemetry = Outbox(3), None
        self.telemetry = ValueQueue(self.main)
        self.numbers = {}
        self.retained = {}
        self.main_up = self.values_up = False
        self.main_pipe, self.values_pipe, self.ghosts = deque(), deque(), deque()
        self.main_acks, self.values_acks = deque(), deque()

    @rule(topic=st.sampled_from("abcd"))
    def measure(self, topic):
        self.numbers[topic] = self.numbers.get(topic, 0) + 1
        self.telemetry.put(value(topic, self.numbers[topic]))

    @rule()
    def flush(self):
        if self.values_up:
            self.values_pipe.extend(self.telemetry.take())
        while self.main_up and (message := self.main.take()) is not None:
            self.main_pipe.append(message)

    def _read(self, pipe, acks):
        message = pipe.popleft()
        number = int(message.payload)
        assert number >= self.retained.get(message.topic, 0), "something older overtook"
        self.retained[message.topic] = number
        if acks is not None:
            acks.append(message)

    @precondition(lambda self: self.main_pipe)
    @rule()
    def broker_reads_main(self):
        self._read(self.main_pipe, self.main_acks)

    @precondition(lambda self: self.values_pipe)
    @rule()
    def broker_reads_values(self):
        self._read(self.values_pipe, self.values_acks)

    @precondition(lambda self: self.ghosts)
    @rule()
    def broker_reads_what_a_lost_connection_left(self):
        self._read(self.ghosts, None)

    @precondition(lambda self: self.main_acks)
    @rule()
    def main_ack(self):
        self.main.acked(self.main_acks.popleft())

    @precondition(lambda self: self.values_acks)
    @rule()
    def values_acks_of_one_read(self):
        self.telemetry.acked(self.values_acks)
        self.values_acks.clear()

    @precondition(lambda self: self.values_acks)
    @rule()
    def value_connection_is_not_allowed_one(self):
        """The broker refused what it read: nothing became of it."""
        self.telemetry.closed(in_doubt=True)
        self.values_up = False
        self.telemetry.returned([self.values_acks.pop()])
        self.telemetry.acked(self.values_acks)
        self.values_acks.clear()
        self.ghosts.extend(self.values_pipe)
        self.values_pipe.clear()

    @precondition(lambda self: not self.main_up)
    @rule()
    def main_connects(self):
        self.main_up = True

    @precondition(lambda self: self.main_up and not self.values_up)
    @rule(window=st.integers(1, 3))
    def value_connection_opens(self, window):
        self.ghosts.clear()  # the broker ended the old one before it took the new one
        self.values_up = True
        self.telemetry.opened(window)

    @precondition(lambda self: self.values_up)
    @rule()
    def value_connection_is_lost(self):
        self.values_up = False
        self.ghosts.extend(self.values_pipe)
        self.values_pipe.clear()
        self.values_acks.clear()
        self.telemetry.closed(in_doubt=True)

    @precondition(lambda self: not self.values_up)
    @rule()
    def doubt_is_over(self):
        self.ghosts.clear()
        self.telemetry.closed(in_doubt=False)

    @precondition(lambda self: self.main_up and not self.values_up)
    @rule()
    def main_is_lost(self):
        self.main_up = False
        self.main_pipe.clear()  # it comes back with its own id before anything is sent again
        self.main_acks.clear()
        self.main.connection_lost()

    @invariant()
    def nothing_piles_up(self):
        held = self.main.waiting + self.main.in_flight
        held += self.telemetry.waiting + self.telemetry.in_flight
        assert held <= 2 * len(self.numbers)

    def teardown(self):
        """In the end the broker has the newest of everything."""
        if not self.main_up:
            self.main_connects()
        if not self.values_up:
            self.doubt_is_over()
        for _ in range(20):
            self.flush()
            while self.main_pipe:
                self.broker_reads_main()
            while self.values_pipe:
                self.broker_reads_values()
            while self.main_acks:
                self.main_ack()
            if self.values_acks:
                self.values_acks_of_one_read()
        assert self.retained == self.numbers


TestTwoConnections = TwoConnections.TestCase
