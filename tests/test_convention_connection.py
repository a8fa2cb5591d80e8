"""A connection of a convention's own."""

import asyncio
from datetime import UTC, datetime

import pytest

from bridge.convention_connection import (
    WINDOW,
    ConventionConnection,
    SessionConnection,
    connection_of,
)
from bridge.conventions.convention import ConnectionNeed, EndConnection
from bridge.core.events import (
    ComponentFailed,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    MqttSubscribed,
    ReportsDelivered,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.core.requests import IncomingCommand
from bridge.core.topics import Topics
from bridge.errors import ConnectionLost, DecodeError, TooLarge

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

    def reconnect(self, reason, farewell=None):
        self.said.append((reason, farewell))

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


# -- sessions --------------------------------------------------------------------------------------


class Script:
    """A session that hands out what it is given, and notes what happened."""

    def __init__(self):
        self.steps, self.reports, self.noted, self.wills = [], (), [], 0

    def will(self, _now):
        self.wills += 1
        return Publish(f"plant/dead/{self.wills}", b"", link="plant")

    def farewell(self, _now):
        return Publish("plant/bye", b"", link="plant")

    def connected(self, _now):
        self.noted.append("connected")

    def disconnected(self, _now):
        self.noted.append("disconnected")

    def received(self, message, _now):
        if message.payload == b"broken":
            raise DecodeError("no such thing", source="a test", raw=message.payload)
        word = message.payload.decode()
        return [IncomingCommand("EH1", "start", b"PRESS")] * (int(word) if word.isdigit() else 0)

    def take(self, _now):
        step = self.steps.pop(0) if self.steps else None
        if isinstance(step, Exception):
            raise step
        return step

    def unsent(self, message):
        self.noted.append(message)

    def delivered(self, _now):
        reports, self.reports = self.reports, ()
        return reports

    def deadline_s(self):
        return 7.0


@pytest.fixture
def script():
    """What a session does."""
    return Script()


@pytest.fixture
def talk(put, link, script):
    """The connection of a session, not connected yet."""
    need = ConnectionNeed("plant", "plant-1", session=script, keeps_s=0)
    made = connection_of(Plant(), need, topics=Topics(), clock=Clock(), put=put.append)
    made.attach(link)
    return made


def numbered(count):
    """Make messages of one topic."""
    return [
        Publish("plant/x", b"%d" % n, retained=False, qos=0, link="plant") for n in range(count)
    ]


def test_the_need_decides_on_the_kind_of_connection(talk, put):
    """One with a session asks for messages, another one queues them."""
    other = connection_of(Plant(), NEED, topics=Topics(), clock=Clock(), put=put.append)

    assert (type(talk), type(other)) == (SessionConnection, ConventionConnection)
    assert (talk.deadline_s(), other.deadline_s()) == (7.0, None)
    with pytest.raises(ValueError, match="not of the session"):
        talk.put(STATE)
    with pytest.raises(ValueError, match="no will"):
        ConventionConnection(
            Plant(), ConnectionNeed("x", "y"), topics=Topics(), clock=Clock(), put=put.append
        ).will()


def test_a_session_is_asked_while_there_is_room(talk, link, script):
    """In its order; what is acknowledged makes room for more."""
    messages = script.steps[:] = numbered(WINDOW + 2)
    talk.flush()
    assert link.published == []
    talk.emit(UP)
    assert link.published == messages[:WINDOW]
    talk.emit(MqttAcked(messages[0], 0))

    assert link.published == messages[: WINDOW + 1]


def test_nothing_of_a_session_outlives_its_connection(talk, link, script):
    """What was in flight is not sent again; the session begins anew."""
    script.steps[:] = numbered(3)
    talk.emit(UP)
    talk.emit(MqttDisconnected("gone"))
    talk.flush()
    assert len(link.published) == 3
    script.steps[:] = numbered(WINDOW + 5)
    talk.emit(UP)

    assert script.noted == ["connected", "disconnected", "connected"]
    assert len(link.published) == 3 + WINDOW


def test_each_attempt_has_a_will_of_its_own(talk):
    """The session makes it."""
    assert [talk.will().topic for _ in range(2)] == ["plant/dead/1", "plant/dead/2"]


async def test_a_session_says_goodbye_with_its_present_will(talk, link, script):
    """Not with that of the next attempt."""
    talk.will()
    await talk.close()

    assert link.said == [script.farewell(None)]
    assert script.wills == 1


def test_a_session_can_end_its_connection(talk, link, script):
    """With a last message; nothing is sent behind it until there is another one."""
    bye = Publish("plant/bye", b"", link="plant")
    script.steps[:] = [EndConnection(bye, "enough"), *numbered(1)]
    talk.emit(UP)
    talk.flush()

    assert (link.published, link.said) == ([], [("enough", bye)])


def test_a_connection_that_breaks_off_ends_the_session_s_turn(talk, link, script):
    """The rest is asked for with the next one."""
    script.steps[:] = numbered(2)
    link.failure = ConnectionLost("gone")
    talk.emit(UP)
    link.failure = None
    talk.flush()

    assert (link.published, len(script.steps)) == ([], 1)


@pytest.mark.parametrize("failure", [TooLarge("large"), ValueError("never")])
def test_a_session_is_told_what_can_never_be_sent(talk, link, script, failure):
    """It numbers its messages, and this one did not go out."""
    message = numbered(1)[0]
    script.steps.append(message)
    link.failure = failure
    talk.emit(UP)

    assert script.noted == ["connected", message]


def test_a_session_that_fails_gets_a_new_connection(talk, link, script, put):
    """Nobody knows what it wanted to say; the core is told, and nothing else stops."""
    script.steps.append(KeyError("a defect"))
    talk.emit(UP)

    assert [(one.name, one.doing) for one in put] == [("plant", "flush")]
    assert link.said == [("the convention failed", script.farewell(None))]


def test_requests_of_a_session_share_one_acknowledgement(talk, link, put):
    """The last one has it: all of them were read then."""
    talk.emit(message(b"3"))

    assert [one.ack_token for one in put] == [AckToken(0, 0, 0, "plant")] * 2 + [
        AckToken(1, 7, 1, "plant")
    ]
    assert link.acknowledged == []


@pytest.mark.parametrize("payload", [b"broken", b"nothing"])
def test_a_message_that_asks_for_nothing_is_acknowledged(talk, link, put, payload):
    """What cannot be read is logged, and is no error of ours."""
    talk.emit(message(payload))

    assert (link.acknowledged, put) == ([AckToken(1, 7, 1)], [])


def test_delivered_reports_are_told_to_the_core(talk, script, put):
    """With the name of the convention."""
    script.reports = (("EH1-7", 1),)
    talk.flush()
    talk.flush()

    assert put == [ReportsDelivered("plant", (("EH1-7", 1),))]
