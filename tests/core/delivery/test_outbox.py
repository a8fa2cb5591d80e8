"""The outbox keeps order, conflates values, and hands over no more than the broker takes."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.core.delivery.outbox import (
    ALWAYS_ACCEPTED_BYTES,
    BLAMELESS,
    FIRST_TERM_S,
    MAX_WAITING,
    QUEUED_IN_A_ROW,
    RECEIVE_MAXIMUM_EXCEEDED,
    Outbox,
)
from bridge.core.messages import Publish


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

    outbox.retry_rejected()
    assert take_all(outbox) == [value("a", 1)]
    outbox.retry_rejected()
    assert take_all(outbox) == []


def test_a_refused_value_never_comes_after_a_newer_one():
    """What was put since takes its place, whether it waits, was sent, or stood behind it."""
    outbox = Outbox()
    outbox.put(value("a", 1))
    outbox.take()
    outbox.put(value("a", 2))
    outbox.acked(value("a", 1), 0x87)
    outbox.retry_rejected()
    assert take_all(outbox) == [value("a", 2)]

    outbox.put(value("a", 3))
    outbox.acked(outbox.take(), 0x87)
    outbox.put(value("a", 4))
    outbox.retry_rejected()
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

    assert outbox.take_back_values() == [second, third]
    assert [outbox.contains(t) for t in ("a", "b", "state")] == [True, False, True]
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
    for number in range(MAX_WAITING + 9):
        outbox.put(event(f"event/{number % 3}", number))
    taken = take_all(outbox)

    assert outbox.dropped == 10
    assert len(taken) == MAX_WAITING
    assert taken[0].tag == "report:x:1"
    assert {int(m.payload) for m in taken[1:]} == set(range(10, MAX_WAITING + 9))


def test_tagged_messages_alone_are_never_dropped():
    """The bound is for events only."""
    outbox = Outbox()
    for number in range(MAX_WAITING + 5):
        outbox.put(event("report", number, tag=f"t{number}"))

    assert outbox.waiting == MAX_WAITING + 5
    assert outbox.dropped == 0


def test_events_dropped_while_their_topic_is_in_flight_leave_no_trace():
    """A stuck topic does not collect what was dropped behind it."""
    outbox = Outbox()
    outbox.put(event("stuck", "first"))
    outbox.take()
    for number in range(3 * MAX_WAITING):
        outbox.put(event("stuck", number))

    assert outbox.waiting == MAX_WAITING
    assert len(outbox._queues["stuck"]) == MAX_WAITING


def test_an_event_that_is_alone_and_dropped_frees_its_topic():
    """A topic whose only event was dropped is not asked for one."""
    outbox = Outbox()
    outbox.put(event("e", 0))
    for number in range(MAX_WAITING):
        outbox.put(event("report", number, tag=f"t{number}"))

    assert outbox.dropped == 1
    assert outbox.take().topic == "report"


def test_a_tagged_message_that_waits_is_not_queued_twice():
    """The ledger may repeat what is owed after a reconnect without doubling it."""
    outbox = Outbox()
    report = event("report", "content", tag="report:x:1")
    outbox.put(report)
    outbox.take()
    outbox.connection_lost()
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
    outbox.connection_lost()
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
    outbox.connection_lost()

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


# -- one message ends the connection ---------------------------------------------------------------

CLOSED = 0x80
# The bridge says something on each new connection.
HELLO = value("bridge/state", "online")


class Picky:
    """A broker that closes when a message comes that it does not like."""

    def __init__(self, outbox, dislikes):
        self.outbox, self.dislikes = outbox, dislikes
        self.taken, self.ends, self.now_s = [], 0, 0.0
        outbox.granted(20)

    def serve(self, connections=20):
        """Serve connections until one is quiet; nothing is acknowledged behind the bad message."""
        for _ in range(connections):
            self.outbox.try_again(self.now_s)
            if not self._one():
                return
        raise AssertionError("the broker closes again and again")

    def _one(self):
        self.outbox.put(HELLO)
        while True:
            batch = []
            while (message := self.outbox.take()) is not None:
                batch.append(message)
            for message in batch:
                if self.dislikes(message):
                    self.ends += 1
                    self.outbox.connection_lost(CLOSED, self.now_s)
                    return True
                if message != HELLO:
                    self.taken.append(message)
                self.outbox.acked(message)
            if not batch:
                return False


def large(topic, size=60_000, **more):
    """Make a message that is larger than some brokers take."""
    return Publish(topic, b"x" * size, **more)


@pytest.mark.fault("F43")
@pytest.mark.parametrize("place", [0, 7, 19, 45])
def test_the_one_that_ends_connections_is_found_and_nobody_else_waits(place):
    """Wherever it stands: three connections at most, everybody else arrives, it is given back."""
    outbox = Outbox()
    bad = large("homeassistant/device/x/config")
    innocent = [value(f"state/{n}", n) for n in range(30)]
    innocent += [event("result", n, tag=f"t{n}") for n in range(20)]
    for number, message in enumerate(innocent):
        if number == place:
            outbox.put(bad)
        outbox.put(message)
    broker = Picky(outbox, lambda message: len(message.payload) > 20_000)
    broker.serve()

    assert broker.ends <= 3
    assert sorted(broker.taken, key=str) == sorted(innocent, key=str)
    assert list(outbox.given_up) == [bad]
    assert (outbox.waiting, outbox.in_flight) == (0, 0)


def test_what_is_set_aside_stays_so_until_its_time_and_costs_one_connection_then():
    """The same or a larger message waits; a smaller one of its topic goes at once."""
    outbox = Outbox()
    outbox.put(value("ok", 1))
    outbox.put(large("big"))
    broker = Picky(outbox, lambda message: len(message.payload) > 20_000)
    broker.serve()
    found = broker.ends
    for size in (60_000, 70_000):
        outbox.put(large("big", size))
        broker.serve()
    assert (broker.ends, outbox.waiting) == (found, 0)
    # Its owner hears of each: it may have something smaller to say.
    assert [len(m.payload) for m in outbox.given_up] == [60_000, 60_000, 70_000]

    broker.now_s = FIRST_TERM_S
    outbox.put(value("ok", 2))
    broker.serve()
    assert broker.ends == found + 1
    broker.now_s = 2 * FIRST_TERM_S  # the second term is longer
    broker.serve()
    assert broker.ends == found + 1

    outbox.put(large("big", 10_000))
    broker.serve()
    assert broker.taken[-1].payload == b"x" * 10_000
    broker.dislikes = lambda _: False
    broker.now_s = 100 * FIRST_TERM_S
    broker.serve()
    assert len(broker.taken[-1].payload) == 10_000  # nothing older comes behind it


def test_one_large_message_speaks_for_all_of_its_size():
    """Fifty descriptions cost no more connections than one, and come when the broker changed."""
    outbox = Outbox()
    for number in range(50):
        outbox.put(large(f"device/{number}", 50_000 + number))
        outbox.put(value(f"state/{number}", 1))
    broker = Picky(outbox, lambda message: len(message.payload) > 20_000)
    broker.serve()
    assert broker.ends <= 6
    assert len(outbox.given_up) == 50

    broker.dislikes = lambda _: False
    broker.now_s = FIRST_TERM_S
    broker.serve()
    outbox.try_again(broker.now_s)
    broker.serve()
    assert len({m.topic for m in broker.taken if len(m.payload) > 1}) == 50


def test_a_small_message_that_is_disliked_speaks_for_itself_only():
    """A broker that closes for one topic takes everything else, larger or not."""
    outbox = Outbox()
    for number in range(30):
        outbox.put(value(f"state/{number}", "y" * (ALWAYS_ACCEPTED_BYTES - 1)))
    outbox.put(value("forbidden", "z" * 50))
    broker = Picky(outbox, lambda message: message.topic == "forbidden")
    broker.serve()
    outbox.put(large("later"))
    broker.serve()

    assert broker.ends <= 3
    assert len(broker.taken) == 31


@pytest.mark.fault("F43")
def test_two_that_are_disliked_speak_for_a_place_where_nothing_is_taken():
    """An access list that denies a whole prefix costs a few connections, not one for each topic."""
    outbox = Outbox()
    for number in range(100):
        outbox.put(value(f"homeassistant/{number}", number))
        outbox.put(value(f"charger/{number}", number))
    broker = Picky(outbox, lambda message: message.topic.startswith("homeassistant/"))
    broker.serve()
    ends = broker.ends
    assert ends <= 8
    assert len(broker.taken) == 100
    assert len(outbox.given_up) == 100

    broker.now_s = FIRST_TERM_S
    broker.serve()
    assert broker.ends <= ends + 2
    broker.dislikes, broker.now_s = (lambda _: False), 20 * FIRST_TERM_S
    broker.serve()
    assert len(broker.taken) == 200


def test_a_report_that_ends_connections_is_given_back_each_time_it_is_offered():
    """Its owner keeps it owed; it is not sent before its time, and not forgotten after it."""
    outbox = Outbox()
    bad = event("session/report", "x" * 30_000, tag="report:k:1")
    for message in (value("ok", 1), bad, event("session/report", "next", tag="report:l:1")):
        outbox.put(message)
    broker = Picky(outbox, lambda message: len(message.payload) > 20_000)
    broker.serve()
    ends = broker.ends
    outbox.put(bad)
    broker.serve()
    assert list(outbox.given_up) == [bad, bad]
    assert (broker.ends, broker.taken[-1].payload) == (ends, b"next")

    broker.dislikes, broker.now_s = (lambda _: False), FIRST_TERM_S
    outbox.try_again(broker.now_s)
    outbox.put(bad)
    broker.serve()
    assert broker.taken[-1] == bad


def test_a_broker_that_takes_nothing_at_all_convicts_nobody():
    """Without proof that the broker takes anything, no message is to blame."""
    outbox = Outbox()
    for number in range(3):
        outbox.put(value(f"state/{number}", number))
    broker = Picky(outbox, lambda _: True)
    with pytest.raises(AssertionError, match="again and again"):
        broker.serve()
    broker.dislikes = lambda _: False
    broker.serve()

    assert len(broker.taken) == 3
    assert not outbox.given_up


@pytest.mark.parametrize("code", [None, *sorted(BLAMELESS)])
def test_an_end_that_is_no_messages_doing_makes_nobody_suspect(code):
    """A lost line, a second client of the same id or a restart: everything goes as before."""
    outbox = Outbox()
    for _ in range(5):
        for number in range(3):
            outbox.put(value(f"state/{number}", number))
        outbox.acked(outbox.take())
        assert [outbox.take().topic for _ in range(2)]
        outbox.connection_lost(code)
    outbox.granted(20)

    assert len([outbox.take() for _ in range(2)]) == 2
    assert not outbox.given_up


def test_a_suspect_nobody_answers_is_set_aside_too():
    """It holds up everything while it is alone: an end we made ourselves counts then."""
    outbox = Outbox()
    swallowed = value("hole", 1)
    outbox.put(swallowed)
    outbox.take()
    for number in range(2):
        outbox.connection_lost(CLOSED if number == 0 else None)
        outbox.put(value("ok", number))
        while (message := outbox.take()) != swallowed:
            outbox.acked(message)
        outbox.put(value("late", number))
        assert outbox.take() is None
    outbox.connection_lost(None)
    assert swallowed not in take_all(outbox)

    assert list(outbox.given_up) == [swallowed]


def test_a_small_value_does_not_answer_for_a_large_one():
    """A line that fails under a small value adds nothing to what a large one of the topic did."""
    outbox = Outbox()
    large, small = value("a", 1), Publish("a", b"")
    outbox.put(large)
    outbox.take()
    outbox.connection_lost(CLOSED)
    for suspect in (large, small):
        outbox.put(value("ok", 1))
        while (message := outbox.take()) != suspect:
            outbox.acked(message)
        outbox.put(small)
        outbox.connection_lost(CLOSED if suspect is large else None)

    assert small in take_all(outbox)


def test_a_broker_that_counts_otherwise_gets_fewer_at_a_time():
    """After Receive maximum exceeded the window is half of it, on later connections too."""
    outbox = Outbox()
    outbox.granted(20)
    for window in (10, 5, 2, 1, 1):
        outbox.connection_lost(RECEIVE_MAXIMUM_EXCEEDED)
        outbox.granted(65_535)
        assert outbox.window == window


def test_what_could_not_be_handed_over_is_first_again():
    """It was never sent, so the end of the connection is not its doing."""
    outbox = Outbox()
    for name in "ab":
        outbox.put(value(name, 1))
    outbox.unsent(outbox.take())
    outbox.connection_lost(CLOSED)

    assert take_all(outbox) == [value("a", 1), value("b", 1)]


class Hatred(RuleBasedStateMachine):
    """A broker that closes for some topics or above some size, and a line that fails as well."""

    def __init__(self):
        super().__init__()
        self.outbox = Outbox(window=4)
        self.limit = ALWAYS_ACCEPTED_BYTES + 10
        self.hated = "d"
        self.newest = {}
        self.events = []
        self.taken = []
        self.flying = []
        self.ends = {}
        self.number = 0

    def _bad(self, message):
        return message.topic == self.hated or len(message.payload) > self.limit

    @rule(topic=st.sampled_from("abcd"), is_large=st.booleans())
    def a_value(self, topic, is_large):
        self.number += 1
        payload = b"%d" % self.number + b" " * (self.limit * is_large)
        self.newest[topic] = Publish(topic, payload)
        self.outbox.put(self.newest[topic])

    @rule(topic=st.sampled_from("xy"), is_large=st.booleans())
    def a_report(self, topic, is_large):
        self.number += 1
        payload = b"%d" % self.number + b" " * (self.limit * is_large)
        message = Publish(topic, payload, retained=False, tag=f"t{self.number}")
        self.events.append(message)
        self.outbox.put(message)

    @rule()
    def send(self):
        if (message := self.outbox.take()) is not None:
            self.flying.append(message)

    @precondition(lambda self: self.flying)
    @rule()
    def broker_reads(self):
        message = self.flying.pop(0)
        if self._bad(message):
            self.ends[message] = self.ends.get(message, 0) + 1
            self.outbox.connection_lost(CLOSED)
            self.flying.clear()
        else:
            self.taken.append(message)
            self.outbox.acked(message)

    @rule(code=st.sampled_from([None, 0x8E]))
    def line_fails(self, code):
        self.outbox.connection_lost(code)
        self.flying.clear()

    def teardown(self):
        """In the end every innocent message arrived, and every report did or was given back."""
        for turn in range(500):
            self.outbox.put(Publish("state", b"%d" % turn))
            while (message := self.outbox.take()) is not None:
                self.flying.append(message)
            if not self.flying:
                break
            while self.flying:
                self.broker_reads()
        assert self.outbox.waiting == self.outbox.in_flight == 0
        for topic, message in self.newest.items():
            last = [m for m in self.taken if m.topic == topic][-1:]
            assert self._bad(message) or last == [message]
        for message in self.events:
            assert message in self.taken or message in self.outbox.given_up
        given_up = set(self.outbox.given_up)
        assert not any(m in given_up for m in self.events if not self._bad(m))


TestHatred = Hatred.TestCase


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
        self.outbox.connection_lost()
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
