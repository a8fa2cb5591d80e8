"""The reader of the feed gives each partition its messages; real servers are in tests/workers."""

import asyncio
import contextlib
import json

import pytest

from bridge.adapters.amqp import divider as module
from bridge.adapters.amqp.divider import DividedConnection, FeedDivider
from bridge.core.easee.partner_feed import FeedLogin
from bridge.errors import CloudUnavailable, ConnectionLost

pytestmark = pytest.mark.anyio

LOGIN = FeedLogin("feed.example", 5671, True, "/", "operator", "canary-feed", "Q", "")
PARTITIONS = {"EH000001": 0, "EH000002": 1, "EH000003": 2}


async def turn():
    """Let others run once."""
    await asyncio.sleep(0)


class FakeSide:
    """One of the two connections."""

    def __init__(self, told=None, arrived=None):
        self.confirmed, self.arrived = told, arrived
        self.lost = asyncio.get_running_loop().create_future()
        self.published, self.acknowledged, self.closed = [], [], False
        self.opens = True

    async def open(self):
        if not self.opens:
            raise ConnectionLost("nothing listens")

    def close(self):
        self.closed = True

    def publish(self, partition, key, body):
        if self.closed:
            raise ConnectionLost("gone")
        self.published.append((partition, key, body))
        return len(self.published)

    def acknowledge(self, delivery):
        self.acknowledged.append(delivery)


@pytest.fixture
def sides(monkeypatch):
    """The connections that were made: queues and feed, in turn."""
    made = []

    def feed(_login, arrived):
        made.append(FakeSide(arrived=arrived))
        return made[-1]

    monkeypatch.setattr(module, "FeedConnection", feed)
    return made


def queues(sides):
    """Return what makes the connection to the queues."""

    def make(told):
        sides.append(FakeSide(told=told))
        return sides[-1]

    return make


@pytest.fixture
async def joined(sides):
    """An open connection of both sides."""
    it = DividedConnection(LOGIN, queues(sides), PARTITIONS.get)
    await it.open()
    return it, *sides


async def test_each_message_goes_to_the_partition_of_its_charger(joined):
    """By its routing key, or by its body; what belongs to none goes to partition 0."""
    _, own, feed = joined
    body = json.dumps([{"mid": "EH000003", "id": 120, "value": "1"}]).encode()
    feed.arrived(1, "EH000002.O.120", b"1")
    feed.arrived(2, "odd", body)
    feed.arrived(3, "EH999999.O.120", b"3")
    feed.arrived(4, "odd", b"{")

    assert own.published == [
        (1, "EH000002.O.120", b"1"),
        (2, "odd", body),
        (0, "EH999999.O.120", b"3"),
        (0, "odd", b"{"),
    ]


async def test_a_delivery_is_acknowledged_when_its_queue_has_it(joined):
    """With all before it; what is not confirmed is not."""
    _, own, feed = joined
    for delivery in (4, 5, 6):
        feed.arrived(delivery, "EH000001.O.120", b"")
    own.confirmed(2)
    assert feed.acknowledged == [5]
    own.confirmed(2)
    own.confirmed(3)

    assert feed.acknowledged == [5, 6]


@pytest.mark.parametrize("which", [0, 1])
async def test_the_end_of_either_is_the_end_of_both(joined, which):
    """What is under way comes again over the next two."""
    it, *sides = joined
    sides[which].lost.set_result(ConnectionLost("gone"))
    assert str(await it.lost) == "gone"
    it.close()

    assert all(side.closed for side in sides)


async def test_what_cannot_be_published_ends_it(joined):
    """It was not acknowledged."""
    it, own, feed = joined
    own.close()
    feed.arrived(1, "EH000001.O.120", b"")
    feed.arrived(2, "EH000001.O.120", b"")

    assert str(it.lost.result()) == "gone"
    assert feed.acknowledged == []


async def test_one_is_made_after_the_other(sides, clock):
    """Behind an address that is not told, and behind two connections that end."""
    answers = [CloudUnavailable("HTTP 403"), CloudUnavailable("HTTP 403"), LOGIN, LOGIN, LOGIN]

    async def login():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    task = asyncio.get_running_loop().create_task(
        FeedDivider(login, queues(sides), PARTITIONS.get, clock=clock).run()
    )
    async with asyncio.timeout(30):
        for count in (2, 4):
            while len(sides) < count:
                await turn()
            for _ in range(5):
                await turn()
            sides[-1].lost.set_result(ConnectionLost("gone"))
        while len(sides) < 6:
            await turn()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert all(side.closed for side in sides)
    assert len(clock.slept_s) == 4
