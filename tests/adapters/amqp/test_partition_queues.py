"""The queues of the partitions; a real server is in tests/workers."""

from types import SimpleNamespace

import pytest

from bridge.adapters.amqp.connection import KEY_HEADER
from bridge.adapters.amqp.partition_queues import (
    QUORUM,
    PartitionQueues,
    partition_login,
    queue_of,
)
from bridge.errors import ConnectionLost

pytestmark = pytest.mark.anyio

URL = "amqp://u:p@127.0.0.1/own"


class FakeChannel:
    """A channel that keeps what is asked of it."""

    is_open = True

    def __init__(self):
        self.declared, self.bound, self.published = [], [], []

    def add_on_close_callback(self, _callback):
        """Never close."""

    def exchange_declare(self, name, kind, *, durable):
        self.declared.append((name, kind, durable))

    def queue_declare(self, name, *, durable, arguments):
        self.declared.append((name, arguments, durable))

    def queue_bind(self, queue, exchange, key):
        self.bound.append((queue, exchange, key))

    def add_on_return_callback(self, callback):
        self.returned = callback

    def confirm_delivery(self, answered, *, callback):
        self.answer = answered
        callback(None)

    def basic_publish(self, exchange, key, body, properties, *, mandatory):
        self.published.append((exchange, key, body, properties, mandatory))


@pytest.fixture
def confirmed():
    """What was told to be safe."""
    return []


@pytest.fixture
def channel():
    """A channel."""
    return FakeChannel()


@pytest.fixture
async def queues(channel, confirmed):
    """A connection whose channel is this one."""
    it = PartitionQueues(URL, "bridge", 2, confirmed.append)
    it._connection = SimpleNamespace(
        bytes_received=0, is_closing=False, is_closed=False, close=lambda: None
    )
    it._channel_opened(channel)
    yield it
    it.close()


def answer(channel, number, *, multiple=False, name="Basic.Ack"):
    """Answer as the broker does."""
    method = SimpleNamespace(NAME=name, delivery_tag=number, multiple=multiple)
    channel.answer(SimpleNamespace(method=method))


async def test_there_is_a_queue_for_each_partition(queues, channel):
    """Quorum queues with one active consumer, on one direct exchange."""
    assert channel.declared == [
        ("bridge.feed", "direct", True),
        ("bridge.feed.p00", QUORUM, True),
        ("bridge.feed.p01", QUORUM, True),
    ]
    assert channel.bound == [
        ("bridge.feed.p00", "bridge.feed", "0"),
        ("bridge.feed.p01", "bridge.feed", "1"),
    ]
    assert queues._ready.done()
    assert QUORUM == {"x-queue-type": "quorum", "x-single-active-consumer": True}


async def test_a_message_goes_to_its_partition_with_the_key_it_came_with(queues, channel):
    """Persistent, and back where no queue takes it."""
    assert [queues.publish(1, "EH1.O.120", b"a"), queues.publish(0, "EH2.O.120", b"b")] == [1, 2]

    (exchange, key, body, properties, mandatory), _ = channel.published
    assert (exchange, key, body, mandatory) == ("bridge.feed", "1", b"a", True)
    assert properties.headers == {KEY_HEADER: "EH1.O.120"}
    assert properties.delivery_mode == 2


async def test_what_is_safe_is_told_without_gaps(queues, channel, confirmed):
    """Queues confirm in any order, one by one or together."""
    for number in range(1, 7):
        queues.publish(0, "k", b"%d" % number)
    answer(channel, 2)
    assert confirmed == []
    answer(channel, 1)
    answer(channel, 5)
    answer(channel, 4, multiple=True)
    answer(channel, 6, multiple=True)

    assert confirmed == [2, 5, 6]


@pytest.mark.parametrize("how", ["nack", "return"])
async def test_a_message_that_is_not_taken_ends_the_connection(queues, channel, confirmed, how):
    """Its delivery is not acknowledged, so it comes again."""
    queues.publish(0, "k", b"")
    if how == "nack":
        answer(channel, 1, name="Basic.Nack")
    else:
        channel.returned(None, None, None, b"")

    assert isinstance(queues.lost.result(), ConnectionLost)
    assert confirmed == []


async def test_without_a_connection_nothing_is_published(queues, channel):
    """The caller learns it."""
    channel.is_open = False
    with pytest.raises(ConnectionLost):
        queues.publish(0, "k", b"")


def test_a_partition_has_its_own_queue():
    """Two digits, as its client id."""
    login = partition_login(URL, "bridge", 3)

    assert (login.host, login.virtual_host, login.queue) == ("127.0.0.1", "own", "bridge.feed.p03")
    assert queue_of("x", 12) == "x.feed.p12"
