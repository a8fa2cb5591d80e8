"""Conventions with a connection of their own: recorded with the core, and replayed with it."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from msgspec import structs

from bridge.convention_connection import connection_of
from bridge.conventions.convention import ConnectionNeed, EndConnection
from bridge.conventions.sparkplug.payload import DataType, Metric, decode, encode, encode_metric
from bridge.core.changes import AvailabilityChanged, Change, ValuesChanged
from bridge.core.events import (
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    ObservationsReceived,
    Tick,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.requests import IncomingCommand
from bridge.core.topics import Topics
from bridge.errors import RecordError, TooLarge
from bridge.recorder.links import (
    LinkCall,
    Links,
    is_recordable,
    own_conventions,
    recorded,
    report_channels,
)
from bridge.recorder.record_file import read, redacted, written
from bridge.recorder.recording import Recorder
from bridge.recorder.replaying import machine_of, messages, native, new_core, replay
from bridge.settings import SparkplugSettings
from tests.recorder.recorded import ONE, SECRET, TAG, TWO, VERSION, Recorded, said, settings_of

GROUP, NODE = "CanaryPlant", "canarygate"
SETTINGS = replace(
    settings_of(), sparkplug=SparkplugSettings(enabled=True, group_id=GROUP, edge_node_id=NODE)
)


class Plant(Recorded):
    """A core with a Sparkplug node, both recorded.

    Attributes:
        sent: What the node sent.
    """

    def __init__(self, settings=SETTINGS, **options):
        super().__init__(settings, conventions=own_conventions(settings), **options)
        (self.node,) = self.watched
        self.sent = []
        self.refuses = 0
        self.connection = connection_of(
            self.node,
            self.node.connection,
            topics=self.core.topics,
            clock=SimpleNamespace(now=lambda: self.now),
            put=self.later,
        )
        self.connection.attach(self)
        self.asked = []

    def later(self, event):
        """Take what the connection has for the core."""
        self.asked.append(event)

    def reconnect(self, _reason, farewell=None):
        """End the connection."""
        self.sent.append(farewell)

    def acknowledge(self, _token):
        """Acknowledge nothing: it comes at QoS 0."""

    def publish(self, message):
        """Send a message of the node, unless the next one is too large."""
        if self.refuses:
            self.refuses -= 1
            raise TooLarge("no")
        self.sent.append(message)

    def moved(self, effects):
        """Have the node handle the changes, and send what it can, as the loop does."""
        for effect in effects:
            if isinstance(effect, Change):
                self.node.publish(effect, self.now)
        self.connection.flush()

    def emit(self, *events):
        """Have something happen on the connection of the node."""
        for event in events:
            self.connection.emit(event)
            asked, self.asked = self.asked, []
            self.handle(*asked)

    def acked(self):
        """Acknowledge everything that was sent, until nothing more comes."""
        count = 0
        while count < len(self.sent):
            message, count = self.sent[count], count + 1
            self.emit(MqttAcked(message, 0))

    def live_on(self):
        """Live with a connection that is lost, and a host that gives commands."""
        self.sent.append(self.connection.will())
        self.emit(MqttConnected(False, "5", 20))
        self.live()
        self.acked()
        start = Metric(
            "Command/start", None, 1, DataType.STRING, f'{{"value": true, "id": "{TAG}"}}'
        )
        rebirth = Metric("Node Control/Rebirth", None, 1, DataType.BOOLEAN, True)
        for topic, metric in ((f"DCMD/{NODE}/{ONE}", start), (f"NCMD/{NODE}", rebirth)):
            payload = encode(1, [encode_metric(metric)], None)
            self.emit(MqttMessage(f"spBv1.0/{GROUP}/{topic}", payload, AckToken(1, 0, 0)))
            self.emit(
                MqttMessage(f"spBv1.0/{GROUP}/{topic}", b"\xff\x00rubbish", AckToken(1, 0, 0))
            )
        self.refuses = 1
        self.handle(ObservationsReceived((said(120, "3.5", second=9),)), Tick())
        self.emit(MqttDisconnected("gone"))
        self.sent.append(self.connection.will())
        self.emit(MqttConnected(False, "5", 20))
        self.handle(ObservationsReceived((said(120, "4.5", second=99, charger=TWO),)))
        self.acked()
        self.sent.append(self.connection.farewell())


def outside(record):
    """Return what a replay has the node send."""
    machine = machine_of(record)
    return [
        one.farewell if isinstance(one, EndConnection) else one
        for step in replay(record, machine)
        if isinstance(step.event, LinkCall)
        for one in step.effects
        if isinstance(one, Publish | EndConnection)
    ]


@pytest.mark.parametrize("unpacked_bytes", [0, 10**6])
def test_what_a_node_sends_is_replayed_byte_for_byte(unpacked_bytes):
    """Births, data, deaths and wills, with those that could not be sent."""
    plant = Plant(unpacked_bytes=unpacked_bytes)
    plant.live_on()
    for _ in range(100):
        plant.recorder.pack(plant.now.mono_s)
    record = plant.record()
    steps = list(replay(record))
    calls = [step for step in steps if isinstance(step.event, LinkCall)]
    found = outside(record)

    assert len(plant.sent) > 10
    assert [one for one in found if one in plant.sent] == plant.sent
    assert len(found) == len(plant.sent) + 1  # the one that was too large
    assert [len(step.effects) for step in steps] == [step.expected for step in steps]
    assert any(step.event.times > 1 for step in calls)
    assert IncomingCommand in {type(one) for step in calls for one in step.effects}


def test_a_later_generation_begins_with_the_state_of_the_node():
    """Sequence numbers and births go on where they were."""
    plant = Plant()
    plant.live_on()
    before = len(plant.sent)
    plant.handle(Tick(), after_s=11 * 60.0)
    plant.recorder._generations.popleft()
    plant.emit(MqttConnected(False, "5", 20))
    plant.handle(ObservationsReceived((said(120, "5.5", second=700),)))
    plant.acked()

    assert len(plant.sent) > before
    assert outside(plant.record()) == plant.sent[before:]


def test_a_redacted_record_has_nothing_of_the_plant_and_the_same_requests():
    """Group, node and the texts of commands are replaced, also within a binary payload."""
    plant = Plant()
    plant.live_on()
    excerpt = plant.recorder.excerpt()
    record = read(written(redacted(excerpt, SETTINGS, SECRET, version=VERSION)[0]))
    steps = list(replay(record))
    everything = repr(record).encode() + b"".join(one.payload for one in outside(record))

    for word in (GROUP, NODE, TAG, ONE):
        assert word.lower().encode() not in everything.lower()
    assert [len(step.effects) for step in steps] == [step.expected for step in steps]
    births = [one for one in outside(record) if "DBIRTH" in one.topic]
    assert {metric.name for one in births for metric in decode(one.payload).metrics} >= {
        "total_power",
        "Command/start",
    }


class Simple:
    """A convention whose messages wait in a queue, and that fails for one charger."""

    name = "simple"
    subscriptions = ("simple/do",)

    def __init__(self):
        self.connection = ConnectionNeed("simple", "simple-client", Publish("simple/alive", b"0"))
        self.told = []

    def publish(self, change, _now):
        """Publish availabilities and values."""
        if isinstance(change, AvailabilityChanged):
            self.told.append(change.charger_id)
            yield Publish("simple/there", change.charger_id.encode(), link="simple")
        if isinstance(change, ValuesChanged):
            for value in change.values:
                if value.charger_id == TWO:
                    raise ValueError("not this one")
                yield Publish("simple/value", str(value.value).encode(), link="simple")

    def snapshot(self, _now):
        """Say everything again."""
        yield from (Publish("simple/all", one.encode(), link="simple") for one in self.told)

    def parse(self, message):
        """Read a word."""
        if message.payload == b"rubbish":
            raise ValueError("rubbish")
        return IncomingCommand(ONE, "start", b"true") if message.payload == b"go" else None


def test_a_convention_without_a_session_is_replayed_too():
    """What it says after a connection, and what it reads, follow from the same calls."""
    calls, living = [], Simple()
    (watched,) = recorded_as_ours(living, lambda *call: calls.append(call))
    now = Recorded().now
    links = Links((Simple(),))
    there = AvailabilityChanged(ONE, True)
    first = list(watched.publish(there, now))
    again = list(watched.snapshot(now))
    go = MqttMessage("simple/do", b"go", AckToken(1, 0, 0))
    request = watched.parse(go)
    with pytest.raises(ValueError, match="rubbish"):
        watched.parse(structs.replace(go, payload=b"rubbish"))
    assert watched.parse(structs.replace(go, payload=b"what")) is None

    assert links.publish([there], now) == first
    found = [links.call(call, at) for call, at, _ in calls]
    assert found == [again, [request], [], []]
    assert [len(each) for each in found] == [results for *_, results in calls]


def recorded_as_ours(convention, note):
    """Return a recorded convention, as if it were of the program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bridge.recorder.links.is_recordable", lambda _convention: True)
        return recorded((convention,), note)


def test_a_value_that_cannot_be_published_costs_the_others_nothing_in_a_replay():
    """Each value is published by itself then, as the loop does."""
    one = Recorded()
    one.live()
    both = (said(120, "2.5", charger=TWO, second=9), said(120, "1.5", second=9))
    one.handle(ObservationsReceived(both))
    links = Links((Simple(),))

    assert b"1.5" in [each.payload for each in links.publish(one.effects[-1], one.now)]


def test_a_convention_of_another_package_is_left_out():
    """Its connection works as without a recorder, and everything else is recorded."""
    simple = Simple()
    core = new_core(Recorded().empty)
    recorder = Recorder(core, max_bytes=10**6, read_s=lambda: 1.0, conventions=(simple,))

    assert not is_recordable(simple)
    assert recorder.watched((simple,)) == (simple,)
    while recorder.is_copying(1.0):
        pass
    assert recorder.problem == ""


def test_a_call_of_an_unknown_connection_is_refused():
    """A record may have been made by hand."""
    links = Links(own_conventions(SETTINGS))
    now = Recorded().now

    with pytest.raises(RecordError, match="no convention with a connection x"):
        links.call(LinkCall("x", "take"), now)
    assert links.call(LinkCall("sparkplug", "unsent"), now) == []
    assert links.call(LinkCall("sparkplug", "nothing"), now) == []
    assert links.call(LinkCall("sparkplug", "take", None, 10**12), now) == []


def test_a_session_tells_which_reports_were_delivered():
    """The core waits for conventions with a session, in a replay as in the process."""
    assert report_channels(own_conventions(SETTINGS)) == ("sparkplug",)
    assert report_channels((Simple(),)) == ()
    assert own_conventions(settings_of()) == ()
    assert Topics().base == "charger"


def test_native_messages_of_such_a_record_are_as_ever():
    """The other conventions do not notice."""
    plant = Plant()
    plant.live_on()
    record = plant.record()
    machine = machine_of(record)
    conventions = native(record, machine.core)
    topics = {one.topic for step in replay(record, machine) for one in messages(step, conventions)}

    assert f"charger/{ONE}/state/op_mode" in topics
    assert f"spBv1.0/{GROUP}/DBIRTH/{NODE}/{ONE}" in topics
