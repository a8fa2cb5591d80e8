"""The outbox keeps order, conflates values, and hands over no more than the broker takes."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.core.messages import Publish
from bridge.core.outbox import MOST_WAITING, QUEUED_IN_A_ROW, Outbox


def value(topic: str, payload: object) -> Publish:
    """Make a retained message."""
    return Publish(topic, str(payload).encode())


def event(topic: str, payload: object, tag: str = "") -> Publish:
    """Make a message that is not retained."""
    return Publish(topic, str(payload).encode(), retained=False, tag=tag)


def take_all(outbox: Outbox) -> list[Publish]:
    """Take and acknowledge until nothing is left."""
    taken = []
    while (message := outbox.take()) is not None:
        taken.append(message)
        outbox.acked(message)
    return taken


def test_an_empty_outbox_has_nothing_to_send():
    """Taking from an empty outbox gives None."""
    outbox = Outbox()

    assert outbox.take() is None
    assert (outbox.waiting, outbox.in_flight) == (0, 0)


def test_a_newer_value_takes_the_place_of_the_one_that_waits():
    """Of the values of one retained topic only the newest unsent one goes out."""
    outbox = Outbox()
    for message in (value("a", 1), value("b", 1), value("a", 2)):
        outbox.put(message)

    assert outbox.waiting == 2
    assert take_all(outbox) == [value("a", 2), value("b", 1)]


def test_a_refused_value_can_be_sent_again():
    """It is kept; an event that is refused, and a value that never can be sent, are not."""
    outbox = Outbox()
    for message, reason_code in (
        (value("a", 1), 0x87),
        (event("b", 1), 0x87),
        (value("c", 1), 0x90),
    ):
        outbox.put(message)
        assert outbox.take() == message
        outbox.acked(message, reason_code)
    assert take_all(outbox) == []

    outbox.send_denied()
    assert take_all(outbox) == [value("a", 1)]
    outbox.send_denied()
    assert take_all(outbox) == []


def test_a_refused_value_never_comes_after_a_newer_one():
    """What was put since takes its place, whether it waits, was sent, or stood behind it."""
    outbox = Outbox()
    outbox.put(value("a", 1))
    outbox.take()
    outbox.put(value("a", 2))
    outbox.acked(value("a", 1), 0x87)
    outbox.send_denied()
    assert take_all(outbox) == [value("a", 2)]

    outbox.put(value("a", 3))
    outbox.acked(outbox.take(), 0x87)
    outbox.put(value("a", 4))
    outbox.send_denied()
    assert take_all(outbox) == [value("a", 4)]


@pytest.mark.fault("F15")
def test_a_newer_value_waits_for_the_acknowledgement_of_the_older():
    """Two values of one topic are never in flight together."""
    outbox = Outbox()
    outbox.put(value("a", 1))
    assert outbox.take() == value("a", 1)
    outbox.put(value("a", 2))
    outbox.put(value("a", 3))

    assert outbox.take() is None
    assert (outbox.waiting, outbox.in_flight) == (1, 1)
    outbox.acked(value("a", 1))
    assert outbox.take() == value("a", 3)


def test_an_acknowledgement_of_something_else_changes_nothing():
    """A message that is not in flight cannot be acknowledged."""
    outbox = Outbox()
    outbox.put(value("a", 2))
    outbox.take()
    outbox.acked(value("a", 1))
    outbox.acked(value("b", 1))

    assert outbox.in_flight == 1


def test_telemetry_that_waits_can_be_taken_back():
    """It may go another way, in its order; what is in flight or waits behind that may not."""
    outbox = Outbox()
    first, second, third = (Publish(t, b"1", telemetry=True) for t in "abc")
    for message in (first, value("state", 1), second, third):
        outbox.put(message)
    outbox.take()

    assert outbox.withdraw() == [second, third]
    assert [outbox.holds(t) for t in ("a", "b", "state")] == [True, False, True]
    assert take_all(outbox) == [value("state", 1)]


def test_queued_messages_go_before_values_and_cannot_starve_them():
    """Results and events go first, and after some of them a value gets its turn."""
    outbox = Outbox()
    outbox.put(value("state", 1))
    for number in range(2 * QUEUED_IN_A_ROW):
        outbox.put(event("result", number))

    assert take_all(outbox).index(value("state", 1)) == QUEUED_IN_A_ROW


def test_topics_with_queued_messages_take_turns():
    """A long queue of one topic does not hold up another topic."""
    outbox = Outbox()
    for number in range(3):
        outbox.put(event("a", number))
    outbox.put(event("b", 0))

    assert [m.topic for m in take_all(outbox)] == ["a", "b", "a", "a"]


def test_too_many_events_drop_the_oldest_event_never_a_tagged_message():
    """Beyond the bound the oldest untagged message goes, and is counted."""
    outbox = Outbox()
    outbox.put(event("report", 0, tag="report:x:1"))
    for number in range(MOST_WAITING + 9):
        outbox.put(event(f"event/{number % 3}", number))
    taken = take_all(outbox)

    assert outbox.dropped == 10
    assert len(taken) == MOST_WAITING
    assert taken[0].tag == "report:x:1"
    assert {int(m.payload) for m in taken[1:]} == set(range(10, MOST_WAITING + 9))


def test_tagged_messages_alone_are_never_dropped():
    """The bound is for events only."""
    outbox = Outbox()
    for number in range(MOST_WAITING + 5):
        outbox.put(event("report", number, tag=f"t{number}"))

    assert outbox.waiting == MOST_WAITING + 5
    assert outbox.dropped == 0


def test_events_dropped_while_their_topic_is_in_flight_leave_no_trace():
    """A stuck topic does not collect what was dropped behind it."""
    outbox = Outbox()
    outbox.put(event("stuck", "first"))
    outbox.take()
    for number in range(3 * MOST_WAITING):
        outbox.put(event("stuck", number))

    assert outbox.waiting == MOST_WAITING
    assert len(outbox._queues["stuck"]) == MOST_WAITING


def test_an_event_that_is_alone_and_dropped_frees_its_topic():
    """A topic whose only event was dropped is not asked for one."""
    outbox = Outbox()
    outbox.put(event("e", 0))
    for number in range(MOST_WAITING):
        outbox.put(event("report", number, tag=f"t{number}"))

    assert outbox.dropped == 1
    assert outbox.take().topic == "report"


def test_a_tagged_message_that_waits_is_not_queued_twice():
    """The ledger may repeat what is owed after a reconnect without doubling it."""
    outbox = Outbox()
    report = event("report", "content", tag="report:x:1")
    outbox.put(report)
    outbox.take()
    outbox.lost()
    outbox.put(report)

    assert take_all(outbox) == [report]
    outbox.put(report)
    assert take_all(outbox) == [report]


def test_what_was_in_flight_returns_to_the_front_when_the_connection_is_lost():
    """After a loss the same messages go out first, in the same order."""
    outbox = Outbox()
    first = [event("r1", 1), event("r2", 1, tag="t"), value("a", 1), value("b", 1)]
    for message in (*first, event("r1", 2), value("c", 1)):
        outbox.put(message)
    in_flight = [outbox.take() for _ in range(4)]
    outbox.lost()
    outbox.put(value("d", 1))

    assert sorted(in_flight, key=str) == sorted(first, key=str)
    assert outbox.in_flight == 0
    assert take_all(outbox) == [
        *first[:2],
        event("r1", 2),
        *first[2:],
        value("c", 1),
        value("d", 1),
    ]


def test_a_lost_value_gives_way_to_a_newer_one():
    """What was in flight does not come back when a newer value of its topic waits."""
    outbox = Outbox()
    outbox.put(value("a", 1))
    outbox.take()
    outbox.put(value("a", 2))
    outbox.lost()

    assert take_all(outbox) == [value("a", 2)]


def test_a_topic_used_both_ways_has_one_message_in_flight():
    """Retained and queued messages of one topic wait for each other."""
    outbox = Outbox()
    outbox.put(value("a", "kept"))
    outbox.put(event("a", "said"))

    assert outbox.take() == event("a", "said")
    assert outbox.take() is None
    outbox.acked(event("a", "said"))
    assert outbox.take() == value("a", "kept")


def test_the_window_can_shrink_to_the_brokers_receive_maximum():
    """No more is handed over than the broker takes."""
    outbox = Outbox()
    outbox.window = 1
    outbox.put(value("a", 1))
    outbox.put(value("b", 1))

    assert outbox.take() == value("a", 1)
    assert outbox.take() is None


class Traffic(RuleBasedStateMachine):
    """Anything that can happen to an outbox, checked against plain lists."""

    def __init__(self):
        super().__init__()
        self.outbox = Outbox(window=3)
        self.put: dict[str, list[Publish]] = {}
        self.acked: dict[str, list[Publish]] = {}
        self.flying: list[Publish] = []
        self.number = 0

    def _put(self, topic: str, *, retained: bool, tagged: bool = False) -> None:
        self.number += 1
        tag = f"t{self.number}" if tagged else ""
        message = Publish(topic, b"%d" % self.number, retained=retained, tag=tag)
        self.put.setdefault(topic, []).append(message)
        self.outbox.put(message)

    def _ack(self, message: Publish) -> None:
        self.outbox.acked(message)
        self.acked.setdefault(message.topic, []).append(message)

    @rule(topic=st.sampled_from("abc"))
    def a_value(self, topic):
        self._put(topic, retained=True)

    @rule(topic=st.sampled_from("xyz"), tagged=st.booleans())
    def an_event_or_report(self, topic, tagged):
        self._put(topic, retained=False, tagged=tagged)

    @rule()
    def take(self):
        message = self.outbox.take()
        if message is not None:
            assert len(self.flying) < self.outbox.window
            self.flying.append(message)

    @precondition(lambda self: self.flying)
    @rule(which=st.integers(0, 9))
    def ack(self, which):
        self._ack(self.flying.pop(which % len(self.flying)))

    @rule()
    def lose(self):
        self.outbox.lost()
        self.flying.clear()

    @rule(window=st.integers(1, 4))
    def resize(self, window):
        self.outbox.window = window

    @invariant()
    def one_in_flight_for_each_topic(self):
        topics = [message.topic for message in self.flying]
        assert len(topics) == len(set(topics)) == self.outbox.in_flight

    def teardown(self):
        """In the end every topic is told its last value, and every event in order."""
        while self.flying:
            self._ack(self.flying.pop())
        while (message := self.outbox.take()) is not None:
            self._ack(message)
        for topic, messages in self.put.items():
            if messages[0].retained:
                assert self.acked[topic][-1] == messages[-1]
            else:
                assert self.acked[topic] == messages
        assert self.outbox.waiting == self.outbox.in_flight == 0


TestTraffic = Traffic.TestCase
