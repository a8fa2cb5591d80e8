"""Which deliveries of a source may be acknowledged."""

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.delivery.source_receipts import SourceReceipts
from bridge.core.messages import Publish
from bridge.core.records.source_receipt import SourceReceipt


def receipt(delivery: int) -> SourceReceipt:
    """Make the receipt of a delivery."""
    return SourceReceipt(1, delivery)


def value(topic: str, payload: bytes = b"1") -> Publish:
    """Make a value for the broker."""
    return Publish(topic, payload, telemetry=True)


def deliver(receipts: SourceReceipts, number: int, *messages: Publish) -> None:
    """Handle one delivery from which these values follow."""
    receipts.received(receipt(number))
    for message in messages:
        receipts.queued(message)
    receipts.handled()


def test_a_delivery_without_consequences_is_done_at_once():
    """A value that is not news, or of a charger that is not served."""
    receipts = SourceReceipts()
    deliver(receipts, 1)

    assert receipts.due() == receipt(1)
    assert receipts.due() is None
    assert receipts.waiting == 0


def test_a_value_waits_for_the_broker():
    """The acknowledgement follows the PUBACK of each value."""
    receipts = SourceReceipts()
    one, two = value("a"), value("b")
    deliver(receipts, 1, one, two)

    receipts.acked(one)
    assert receipts.due() is None
    receipts.acked(two)
    assert receipts.due() == receipt(1)


def test_a_newer_value_of_the_topic_stands_for_the_older():
    """A value that was replaced while it waited is done with the one that took its place."""
    receipts = SourceReceipts()
    older, newer = value("a", b"1"), value("a", b"2")
    deliver(receipts, 1, older)
    deliver(receipts, 2, newer)

    receipts.acked(newer)
    assert receipts.due() == receipt(2)


def test_an_older_value_says_nothing_of_the_newer():
    """The value behind the one in flight waits for its own acknowledgement."""
    receipts = SourceReceipts()
    older, newer = value("a", b"1"), value("a", b"2")
    deliver(receipts, 1, older)
    deliver(receipts, 2, newer)

    receipts.acked(older)
    assert receipts.due() == receipt(1)
    receipts.acked(newer)
    assert receipts.due() == receipt(2)


def test_a_value_of_another_source_can_take_the_place_of_a_delivered_one():
    """What polling brought replaces what the queue brought, and is acknowledged for it."""
    receipts = SourceReceipts()
    delivered, polled = value("a", b"1"), value("a", b"2")
    deliver(receipts, 1, delivered)
    receipts.received(None)
    receipts.queued(polled)
    receipts.handled()

    receipts.acked(polled)
    assert receipts.due() == receipt(1)


def test_acknowledgement_is_cumulative():
    """A later delivery that is done waits for the earlier one that is not."""
    receipts = SourceReceipts()
    first = value("a")
    deliver(receipts, 1, first)
    deliver(receipts, 2)
    deliver(receipts, 3)

    assert receipts.due() is None
    receipts.acked(first)
    assert receipts.due() == receipt(3)


def test_a_commit_is_waited_for():
    """A session's delivery is done when the session is on disk."""
    receipts = SourceReceipts()
    receipts.received(receipt(1))
    delivery = receipts.committing("report")
    receipts.handled()

    assert receipts.due() is None
    receipts.committed(delivery)
    assert receipts.due() == receipt(1)


def test_a_commit_that_failed_is_waited_for_until_it_succeeds():
    """The same report, tried again outside any delivery, ends the wait."""
    receipts = SourceReceipts()
    report = object()
    receipts.received(receipt(1))
    delivery = receipts.committing(report)
    receipts.handled()
    receipts.failed(report, delivery)
    receipts.received(None)

    assert receipts.due() is None
    again = receipts.committing(report)
    receipts.committed(again)
    assert receipts.due() == receipt(1)


def test_what_follows_from_no_delivery_is_not_held():
    """Without deliveries nothing is kept: the memory is bounded by what is unacknowledged."""
    receipts = SourceReceipts()
    for number in range(100):
        receipts.received(None)
        receipts.queued(value(f"topic/{number}"))
        assert receipts.committing(number) is None
        receipts.handled()

    assert receipts._messages == {}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.lists(st.sampled_from("abc"), max_size=3)),
        st.tuples(st.just("send"), st.sampled_from("abc")),
        st.tuples(st.just("ack"), st.sampled_from("abc")),
        st.tuples(st.just("lose"), st.just("")),
    ),
    max_size=60,
)


@given(STEPS)
def test_nothing_is_acknowledged_before_the_broker_has_it_or_something_newer(steps):  # noqa: C901 - a model in one piece
    """Against a broker of one message in flight and the newest waiting, for each topic.

    ``held`` is what the broker has of each topic. Whatever is acknowledged to the source must be
    there in that version or a newer one; and when everything is acknowledged nothing is left.
    """
    receipts = SourceReceipts()
    waiting, flying, held = {}, {}, dict.fromkeys("abc", 0)
    versions, wanted, acknowledged = 0, [], 0

    def due() -> None:
        nonlocal acknowledged
        if (found := receipts.due()) is not None:
            acknowledged = found.delivery

    for step, what in steps:
        if step == "deliver":
            receipts.received(receipt(len(wanted) + 1))
            wanted.append({})
            for topic in what:
                versions += 1
                message = value(topic, str(versions).encode())
                receipts.queued(message)
                waiting[topic] = message
                wanted[-1][topic] = versions
            receipts.handled()
        elif step == "send" and what in waiting and what not in flying:
            flying[what] = waiting.pop(what)
        elif step == "ack" and what in flying:
            message = flying.pop(what)
            held[what] = int(message.payload)
            receipts.acked(message)
        elif step == "lose":
            for topic, message in flying.items():
                waiting.setdefault(topic, message)
            flying.clear()
        due()
        for followed in wanted[:acknowledged]:
            assert all(held[topic] >= version for topic, version in followed.items())
    for topic in "abc":
        for queue in (flying, waiting):
            if topic in queue:
                receipts.acked(queue.pop(topic))
    due()
    assert acknowledged == len(wanted)
    assert receipts.waiting == 0
