"""A connection of a convention's own."""

import asyncio
from datetime import UTC, datetime

import pytest

from bridge.convention_connection import ConventionConnection
from bridge.conventions.convention import ConnectionNeed
from bridge.core.events import (
    ComponentFailed,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    MqttSubscribed,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.core.requests import IncomingCommand
from bridge.core.topics import Topics
from bridge.errors import ConnectionLost, TooLarge

pytestmark = pytest.mark.anyio
NEED = ConnectionNeed("plant", "plant-1", Publish("plant/alive", b"0", link="plant"))
STATE = Publish("plant/EH1/power", b"7", link="plant")
UP = MqttConnected(False, "5", 20)


class Plant:
    """A convention that repeats one value, and reads commands of one charger."""

    name = "plant"
    connection = NEED
    subscriptions = ("plant/+/do",)

    def publish(self, _change, _now):
        return ()

    def snapshot(self, _now):
        return (STATE,)

    def parse(self, message):
        if message.payload == b"broken":
            raise KeyError("a defect")
        return IncomingCommand("EH1", "start", b"PRESS") if message.payload == b"charge" else None


class Link:
    """An adapter that keeps what it is given."""

    def __init__(self):
        self.published, self.acknowledged, self.said, self.failure = [], [], [], None

    def publish(self, message):
        if self.failure is not None:
            raise self.failure
        self.published.append(message)

    def acknowledge(self, receipt):
        self.acknowledged.append(receipt)

    async def run(self):
        self.said.append("run")

    async def close(self, farewell):
        self.said.append(farewell)


class Clock:
    """A clock that stands still."""

    def now(self):
        return Timestamp(datetime(2026, 11, 22, 12, tzinfo=UTC), 1000.0)


@pytest.fixture
def put():
    """Take what goes to the core."""
    return []


@pytest.fixture
def link():
    """An adapter."""
    return Link()


@pytest.fixture
def plant(put, link):
    """The connection of the convention, not connected yet."""
    made = ConventionConnection(Plant(), NEED, topics=Topics(), clock=Clock(), put=put.append)
    made.attach(link)
    return made


def message(payload):
    """Make a message of one of its subscriptions."""
    return MqttMessage("plant/EH1/do", payload, AckToken(1, 7, 1))


def test_everything_is_said_again_at_every_connection(plant, link):
    """What was queued before goes out too, and nothing without a connection."""
    plant.put(Publish("plant/EH1/volts", b"230", link="plant"))
    plant.flush()
    assert link.published == []
    plant.emit(UP)
    assert [one.topic for one in link.published] == ["plant/EH1/volts", STATE.topic]
    for sent in tuple(link.published):
        plant.emit(MqttAcked(sent, 0))
    plant.emit(MqttDisconnected("gone"))
    plant.emit(UP)
    assert [one.topic for one in link.published[2:]] == [STATE.topic]


def test_what_was_not_acknowledged_goes_out_again(plant, link):
    """After a connection is lost, the newest of each topic."""
    plant.emit(UP)
    plant.emit(MqttDisconnected("gone"))
    plant.put(Publish(STATE.topic, b"8", link="plant"))
    plant.flush()
    assert len(link.published) == 1
    plant.emit(UP)
    assert link.published[1:] == [STATE]  # the snapshot is newer than what waited


def test_a_request_reaches_the_core_as_a_native_message(plant, link, put):
    """Its receipt names the connection, so that the acknowledgement goes back over it."""
    plant.emit(message(b"charge"))
    ack_token = AckToken(1, 7, 1, "plant")
    assert put == [MqttMessage("charger/EH1/set/start", b"PRESS", ack_token)]
    assert link.acknowledged == []
    plant.acknowledge(ack_token)
    assert link.acknowledged == [ack_token]


@pytest.mark.parametrize("payload", [b"nothing", b"broken"])
def test_what_is_no_request_is_acknowledged_at_once(plant, link, put, payload):
    """Also where the convention fails at it: it would come back for ever."""
    plant.emit(message(payload))
    assert link.acknowledged == [AckToken(1, 7, 1)]
    assert [(type(one), one.name) for one in put] == [(ComponentFailed, "plant")] * (
        payload == b"broken"
    )


def test_a_connection_that_breaks_off_keeps_what_it_did_not_take(plant, link):
    """It is sent with the next one."""
    link.failure = ConnectionLost("gone")
    plant.emit(UP)
    link.failure = None
    plant.flush()
    assert link.published == []
    plant.emit(UP)
    assert link.published == [STATE]


@pytest.mark.parametrize("failure", [TooLarge("large"), ValueError("never")])
def test_what_can_never_be_sent_holds_up_nothing(plant, link, failure):
    """The next message of its topic is tried."""
    link.failure = failure
    plant.emit(UP)
    link.failure = None
    plant.put(STATE)
    plant.flush()
    assert link.published == [STATE]


def test_other_words_of_the_adapter_change_nothing(plant, link, put):
    """What the main connection needs to know of is not of interest here."""
    plant.emit(MqttSubscribed(()))
    assert (link.published, put) == ([], [])


async def test_it_runs_with_its_adapter_and_publishes_its_will_at_the_end(plant, link):
    """Nobody has to wait for the broker to notice."""
    await plant.run()
    await plant.close()
    assert link.said == ["run", NEED.will]


async def test_without_an_adapter_nothing_happens(put):
    """It can be made, and given up, before there is one."""
    made = ConventionConnection(Plant(), NEED, topics=Topics(), clock=Clock(), put=put.append)
    made.emit(UP)
    made.acknowledge(AckToken(1, 7, 1))
    await asyncio.gather(made.run(), made.close())
    assert put == []
