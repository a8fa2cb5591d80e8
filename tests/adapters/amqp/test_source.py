"""The operator's queue as a source of observations; the queue itself is in tests/acceptance."""

import asyncio
import contextlib
import json
from typing import ClassVar

import pytest

from bridge.adapters.amqp import source as amqp
from bridge.adapters.amqp.source import MAX_BATCH, AmqpSource
from bridge.adapters.easee.vendor_notes import VendorNotes
from bridge.core.easee.partner_feed import FeedLogin
from bridge.core.events import (
    ChargerResponse,
    ObservationsReceived,
    StreamAnomaly,
    StreamClosed,
    StreamOpened,
    VendorOdd,
    VendorReplied,
)
from bridge.core.records.source_receipt import SourceReceipt
from bridge.errors import CloudUnavailable, ConnectionLost

pytestmark = pytest.mark.anyio

LOGIN = FeedLogin("feed.example", 5671, True, "/", "operator", "canary-feed", "Q", "")


async def login():
    """Return where the queue is."""
    return LOGIN


class FakeConnection:
    """A connection that a test ends."""

    made: ClassVar[list["FakeConnection"]] = []

    def __init__(self, login, arrived, *, prefetch, arguments):
        self.prefetch, self.arguments = prefetch, arguments
        self.login, self.arrived = login, arrived
        self.lost = asyncio.get_running_loop().create_future()
        self.acknowledged, self.closed = [], False
        self.opening = asyncio.get_running_loop().create_future()
        FakeConnection.made.append(self)

    async def open(self):
        await self.opening

    def acknowledge(self, delivery):
        self.acknowledged.append(delivery)

    def close(self):
        self.closed = True


@pytest.fixture
def clock(clock, monkeypatch):
    """A clock whose sleep lets others run, as the real one does."""
    sleep = clock.sleep

    async def yielding(seconds):
        await sleep(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(clock, "sleep", yielding)
    return clock


@pytest.fixture
def events():
    """What was emitted."""
    return []


@pytest.fixture
def source(clock, events, monkeypatch):
    """A source on fake connections, whose chargers are known."""
    monkeypatch.setattr(amqp, "FeedConnection", FakeConnection)
    FakeConnection.made = []
    made = AmqpSource(login, clock=clock, emit=events.append)
    made.subscribe(("EH123456",))
    return made


async def settled():
    """Let the loop do what is due."""
    for _ in range(10):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(source):
    """Run a source until the block ends."""
    task = asyncio.get_running_loop().create_task(source.run())
    await settled()
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def body(value):
    """Make the body of an observation."""
    return json.dumps({"Timestamp": "2026-11-30T12:00:00Z", "Value": value}).encode()


async def test_deliveries_of_one_turn_are_one_event_with_the_last_receipt(source, events):
    """What the receipt acknowledges besides the observations is handled before them."""
    async with running(source):
        (connection,) = FakeConnection.made
        connection.opening.set_result(None)
        await settled()
        connection.arrived(1, "EH123456.O.120", body(1.5))
        connection.arrived(2, "EH123456.CR.48.5", b'{"WasAccepted":true}')
        connection.arrived(3, "EH123456.O.121", body(2.5))
        connection.arrived(4, "EH123456.O.121", b"{")
        await settled()

    opened, response, oddity, observed = events
    assert isinstance(opened, StreamOpened)
    assert isinstance(observed, ObservationsReceived)
    assert [each.id for each in observed.observations] == [120, 121]
    assert observed.receipt == SourceReceipt(1, 4)
    assert isinstance(response, ChargerResponse)
    assert isinstance(oddity, StreamAnomaly)


async def test_what_arrives_is_looked_at_for_changes_of_the_vendor(clock, events, monkeypatch):
    """Unknown observations, and the fields of each kind of message, as of the hub."""
    monkeypatch.setattr(amqp, "FeedConnection", FakeConnection)
    FakeConnection.made = []
    notes = VendorNotes(clock, events.append)
    source = AmqpSource(login, clock=clock, emit=events.append, notes=notes)
    source.subscribe(("EH123456",))
    async with running(source):
        (connection,) = FakeConnection.made
        connection.opening.set_result(None)
        await settled()
        connection.arrived(1, "EH123456.O.4711", body(1.5))
        await settled()
        connection.arrived(2, "EH123456.X.1", b'{"New":1}')
        await settled()

    (odd,) = [event for event in events if isinstance(event, VendorOdd)]
    assert odd.found == (("observation 4711", "observation 4711 is unknown"),)
    shapes = {each.endpoint: each.shape for each in events if isinstance(each, VendorReplied)}
    assert shapes == {
        "feed O": ("|Timestamp|text", "|Value|number"), "feed other": ("|New|number",),
    }  # fmt: skip


async def test_a_batch_is_bounded(source, events):
    """More than a batch in one turn are several events, each with its own receipt."""
    async with running(source):
        (connection,) = FakeConnection.made
        connection.opening.set_result(None)
        await settled()
        for number in range(1, MAX_BATCH + 11):
            connection.arrived(number, "EH123456.O.120", body(number))
        await settled()

    receipts = [event.receipt.delivery for event in events[1:]]
    assert receipts == [MAX_BATCH, MAX_BATCH + 10]


async def test_a_delivery_without_observations_has_a_receipt_too(source, events):
    """Else nothing behind it could ever be acknowledged."""
    async with running(source):
        (connection,) = FakeConnection.made
        connection.opening.set_result(None)
        await settled()
        connection.arrived(1, "EH123456.P.1", b"")
        await settled()

    assert events[1] == ObservationsReceived((), receipt=SourceReceipt(1, 1))


async def test_a_receipt_of_an_earlier_connection_is_not_used(source, clock, events):
    """Delivery numbers begin again with each connection."""
    async with running(source):
        FakeConnection.made[0].opening.set_result(None)
        await settled()
        FakeConnection.made[0].lost.set_result(ConnectionLost("gone"))
        while len(FakeConnection.made) < 2:
            await settled()
        FakeConnection.made[1].opening.set_result(None)
        await settled()
        source.acknowledge(SourceReceipt(1, 7))
        source.acknowledge(SourceReceipt(2, 3))

        assert FakeConnection.made[0].closed
        assert FakeConnection.made[0].acknowledged == []
        assert FakeConnection.made[1].acknowledged == [3]
    assert [type(each) for each in events] == [StreamOpened, StreamClosed, StreamOpened]


async def test_what_is_retained_is_read_when_the_chargers_are_known(clock, events, monkeypatch):
    """Once; the connection is made meanwhile."""
    monkeypatch.setattr(amqp, "FeedConnection", FakeConnection)
    FakeConnection.made = []
    release = asyncio.get_running_loop().create_future()
    read = []

    async def read_back(charger_ids):
        read.append(charger_ids)
        await release

    source = AmqpSource(login, clock=clock, emit=events.append, read_back=read_back)
    async with running(source):
        assert read == []  # no charger is known yet
        source.subscribe(())
        source.subscribe(("EH123456",))
        await settled()
        assert (read, len(FakeConnection.made)) == ([("EH123456",)], 1)
        release.set_result(None)
        await settled()
        assert len(FakeConnection.made) == 1


async def test_the_cloud_is_asked_for_an_address_that_is_not_configured(clock, events):
    """An account that is no integration's is a loss in words, said once."""
    asked = []

    async def refused():
        asked.append(True)
        raise CloudUnavailable("HTTP 403", status=403)

    source = AmqpSource(refused, clock=clock, emit=events.append)
    source.subscribe(("EH123456",))
    async with running(source):
        while len(asked) < 3:
            await settled()

    assert events == [StreamClosed("HTTP 403")]


@pytest.fixture
async def read_back():
    """What is read back, until a test says that it is over."""
    return asyncio.get_running_loop().create_future()


@pytest.fixture
async def reading(clock, events, monkeypatch, read_back):
    """A source that reads back what is retained, on fake connections."""
    monkeypatch.setattr(amqp, "FeedConnection", FakeConnection)
    FakeConnection.made = []

    async def wait(_charger_ids):
        await read_back

    made = AmqpSource(login, clock=clock, emit=events.append, read_back=wait)
    made.subscribe(("EH123456",))
    return made


async def test_what_is_delivered_waits_for_what_is_retained(reading, events, read_back):
    """The connection is made meanwhile; then it is handed on in its order, in batches."""
    async with running(reading):
        (connection,) = FakeConnection.made
        connection.opening.set_result(None)
        await settled()
        for number in range(1, MAX_BATCH + 3):
            connection.arrived(number, "EH123456.O.120", body(number))
        await settled()
        assert [type(event) for event in events] == [StreamOpened]
        read_back.set_result(None)
        await settled()

    first, second = events[1:]
    values = [float(one.value) for one in (*first.observations, *second.observations)]
    assert values == list(range(1, MAX_BATCH + 3))
    assert (first.receipt, second.receipt) == (None, SourceReceipt(1, MAX_BATCH + 2))


async def test_what_waits_comes_again_when_its_connection_is_lost(reading, events, read_back):
    """It was not acknowledged: nothing of it is handed on with the receipt of another."""
    async with running(reading):
        connection = FakeConnection.made[0]
        connection.opening.set_result(None)
        await settled()
        connection.arrived(7, "EH123456.O.120", body(1))
        await settled()
        connection.lost.set_result(ConnectionLost("gone"))
        await settled()
        read_back.set_result(None)
        await settled()
        again = FakeConnection.made[-1]
        again.opening.set_result(None)
        await settled()
        again.arrived(1, "EH123456.O.120", body(1))
        await settled()

    observed = [event for event in events if isinstance(event, ObservationsReceived)]
    assert [event.receipt for event in observed] == [SourceReceipt(2, 1)]
