"""The edge node: order, sequence numbers, births and deaths, the primary host."""

import json
from datetime import timedelta

import pytest

from bridge.conventions.convention import EndConnection
from bridge.conventions.sparkplug.edge_node import EdgeNode
from bridge.conventions.sparkplug.metrics import CLOUD, DOUBLE, REPORTS, STRING, device_types
from bridge.conventions.sparkplug.payload import DataType, Metric, decode, encode, encode_metric
from bridge.conventions.sparkplug.reports import HOLDS_S, PROBE_S
from bridge.core.addressees import CHARGER, EQUALIZER
from bridge.core.events import MqttMessage
from bridge.core.messages import AckToken
from bridge.core.records.moment import Timestamp
from bridge.core.requests import IncomingCommand
from bridge.errors import DecodeError
from bridge.settings import SparkplugSettings
from tests.core.sessions.rows import NOON, row
from tests.sparkplug_host import SparkplugHost

ONE, TWO = "EH123456", "EH999999"
STATE = "spBv1.0/STATE/scada"


def types(*commands):
    """Return the metrics of each kind of device."""
    return {kind: device_types(kind, commands) for kind in (CHARGER, EQUALIZER)}


class Desk:
    """A node, a host that listens to it, and the time."""

    def __init__(self, **settings):
        self.now_s = 0.0
        self.node = EdgeNode(SparkplugSettings(True, "plant", "gate", **settings))
        self.node.set_types(types("start"))
        self.host = SparkplugHost("plant", "gate", self.asked)
        self.sent, self.requests, self.ended = [], [], []

    @property
    def now(self):
        return Timestamp(NOON + timedelta(seconds=self.now_s), self.now_s)

    def asked(self, topic, payload, **facts):
        message = MqttMessage(topic, payload, AckToken(1, 0, 0), **facts)
        self.requests += self.node.received(message, self.now)

    def state(self, online, timestamp):
        self.asked(STATE, json.dumps({"online": online, "timestamp": timestamp}).encode())

    def connect(self):
        self.will = self.node.will(self.now)
        self.node.connected(self.now)
        return self.run()

    def run(self):
        """Send everything; return type and device of each message."""
        first = len(self.sent)
        while (step := self.node.take(self.now)) is not None:
            if isinstance(step, EndConnection):
                self.ended.append(step.reason)
                self.host.feed(step.farewell.topic, step.farewell.payload)
                break
            self.sent.append(step)
            self.host.feed(step.topic, step.payload)
        return [one.topic.removeprefix("spBv1.0/plant/") for one in self.sent[first:]]

    def online(self, *charger_ids):
        for charger_id in charger_ids:
            self.node.device(charger_id).is_online = True


@pytest.fixture(params=[False, True], ids=["names", "aliases"])
def desk(request):
    """A node with two chargers, one of them available, and a host that reads every message."""
    made = Desk(aliases=request.param)
    made.online(ONE)
    made.node.device(TWO)
    yield made
    assert (made.host.violations, made.host.gaps) == ([], 0)


def test_a_session_begins_with_all_births(desk):
    """The node, every device, then what is not available dies; in one sequence."""
    assert desk.connect() == [
        "NBIRTH/gate",
        f"DBIRTH/gate/{ONE}",
        f"DBIRTH/gate/{TWO}",
        f"DDEATH/gate/{TWO}",
    ]
    assert [decode(one.payload).seq for one in desk.sent] == [0, 1, 2, 3]
    assert {(one.qos, one.retained, one.link) for one in desk.sent} == {(0, False, "sparkplug")}
    assert desk.run() == []


def test_the_will_is_the_death_of_the_session(desk):
    """QoS 1, not retained, with the number that the birth repeats; each attempt has the next."""
    numbers = []
    for _ in range(258):
        desk.connect()
        numbers.append(desk.host.bdseq)
        (metric,) = decode(desk.will.payload).metrics
        assert (metric.name, metric.value) == ("bdSeq", desk.host.bdseq)
        assert decode(desk.will.payload).seq is None
        desk.node.disconnected(desk.now)

    assert (desk.will.topic, desk.will.qos, desk.will.retained) == (
        "spBv1.0/plant/NDEATH/gate",
        1,
        False,
    )
    assert numbers == [*range(256), 0, 1]


def test_the_node_s_own_metrics_come_first(desk):
    """And in its birth."""
    desk.node.set(CLOUD, "connected", desk.now)
    desk.connect()
    assert desk.host.node.values[CLOUD] == "connected"
    desk.node.device(ONE).set("total_power", 7.28, 1000, DOUBLE)
    desk.node.set(CLOUD, "degraded", desk.now)

    assert desk.run() == ["NDATA/gate", f"DDATA/gate/{ONE}"]
    assert desk.host.node.values[CLOUD] == "degraded"


def test_sequence_numbers_wrap(desk):
    """255 is followed by 0, and the host misses none."""
    desk.connect()
    for number in range(600):
        desk.node.device(ONE).set("total_power", float(number), number, DOUBLE)
        desk.run()

    assert desk.host.devices[ONE].values["total_power"] == 599.0
    assert decode(desk.sent[256].payload).seq == 0


def test_values_are_combined_until_there_is_room(desk):
    """The host is sent the newest one, in one message."""
    desk.connect()
    for number in range(10):
        desk.node.device(ONE).set("total_power", float(number), number, DOUBLE)
        desk.node.device(ONE).set("op_mode", str(number), number, STRING)

    assert desk.run() == [f"DDATA/gate/{ONE}"]
    assert desk.host.devices[ONE].values["total_power"] == 9.0


def test_a_device_that_goes_dies_behind_what_it_said(desk):
    """And is born again when it is back, with all that changed meanwhile."""
    desk.connect()
    device = desk.node.device(ONE)
    device.set("op_mode", "offline", 1000, STRING)
    device.is_online = False
    assert desk.run() == [f"DDATA/gate/{ONE}", f"DDEATH/gate/{ONE}"]
    desk.node.device(ONE).set("total_power", 0.0, 2000, DOUBLE)
    assert desk.run() == []
    desk.online(ONE)

    assert desk.run() == [f"DBIRTH/gate/{ONE}"]
    assert desk.host.devices[ONE].values["total_power"] == 0.0


def test_a_device_that_comes_later_is_born_then(desk):
    """Also where it is not available yet: the host knows of it."""
    desk.connect()
    desk.node.device("EH777777")
    desk.online("EH888888")

    assert desk.run() == [
        "DBIRTH/gate/EH777777",
        "DDEATH/gate/EH777777",
        "DBIRTH/gate/EH888888",
    ]


def test_a_device_that_is_removed_dies_and_is_forgotten(desk):
    """It has no birth in the next session; when it comes back it has its aliases again."""
    desk.connect()
    names = dict(desk.host.devices[ONE].names)
    desk.node.remove(ONE)
    desk.node.remove("EH000000")
    assert desk.run() == [f"DDEATH/gate/{ONE}"]
    assert ONE not in desk.node.devices
    desk.host.rebirth()
    assert f"DBIRTH/gate/{ONE}" not in desk.run()
    desk.online(ONE)
    desk.run()

    assert desk.host.devices[ONE].names == names


def test_a_new_metric_gives_its_device_another_birth(desk):
    """Only that one."""
    desk.connect()
    desk.node.device(ONE).set("observation_999", 1.0, 1000, DOUBLE)

    assert desk.run() == [f"DBIRTH/gate/{ONE}"]


def test_an_equalizer_has_metrics_of_its_own(desk):
    """Also where its kind is learned after its first birth."""
    desk.online("QP123456")
    desk.connect()
    assert "Session/key" in desk.host.devices["QP123456"].types
    desk.node.set_kind("QP123456", EQUALIZER)
    desk.node.set_kind("QP999999", EQUALIZER)
    assert desk.run() == ["DBIRTH/gate/QP123456"]
    desk.online("QP999999")
    assert desk.run() == ["DBIRTH/gate/QP999999"]
    desk.node.set_kind("QP999999", EQUALIZER)
    assert desk.run() == []

    for serial in ("QP123456", "QP999999"):
        assert desk.host.devices[serial].types.keys() == types()[EQUALIZER].keys()


def test_other_commands_give_every_device_another_birth(desk):
    """What is allowed may change while the program runs."""
    desk.online(TWO)
    desk.connect()
    desk.node.set_types(types("start", "stop"))

    assert sorted(desk.run()) == [f"DBIRTH/gate/{ONE}", f"DBIRTH/gate/{TWO}"]
    assert "Command/stop" in desk.host.devices[TWO].types


def test_a_rebirth_is_a_whole_sequence_with_the_same_number(desk):
    """Whatever was to be said is in it."""
    desk.connect()
    desk.node.device(ONE).set("total_power", 7.28, 1000, DOUBLE)
    desk.host.rebirth()

    assert desk.run()[:2] == ["NBIRTH/gate", f"DBIRTH/gate/{ONE}"]
    assert desk.host.bdseq == 0
    assert desk.host.devices[ONE].values["total_power"] == 7.28
    assert desk.run() == []


@pytest.mark.parametrize(
    ("metric", "facts"),
    [
        (Metric("Node Control/Rebirth", None, 1, DataType.BOOLEAN, False), {}),
        (Metric("Node Control/Rebirth", None, 1, DataType.BOOLEAN, True), {"retained": True}),
        (Metric("Node Control/Reboot", None, 1, DataType.BOOLEAN, True), {}),
    ],
)
def test_nothing_else_is_a_rebirth_request(desk, metric, facts):
    """A retained one would come with every connection."""
    desk.connect()
    desk.asked("spBv1.0/plant/NCMD/gate", encode(1, [encode_metric(metric)], None), **facts)

    assert (desk.run(), desk.requests) == ([], [])


def test_a_write_becomes_a_command(desk):
    """By name or by alias, also to a device that there is not: that is answered elsewhere."""
    desk.connect()
    desk.host.write(ONE, "Command/start", True, 5)
    desk.asked(
        f"spBv1.0/plant/DCMD/gate/{TWO}X",
        encode(5, [encode_metric(Metric("Command/start", None, 5, DataType.BOOLEAN, True))], None),
    )
    expected = b'{"value":"PRESS","id":"start:5"}'

    assert desk.requests == [
        IncomingCommand(ONE, "start", expected),
        IncomingCommand(f"{TWO}X", "start", expected),
    ]


def test_a_message_that_cannot_be_read_changes_nothing(desk):
    """Whoever logs it is told why."""
    desk.connect()
    for topic in ("spBv1.0/plant/NCMD/gate", f"spBv1.0/plant/DCMD/gate/{ONE}"):
        with pytest.raises(DecodeError):
            desk.asked(topic, b"\xff")

    assert desk.run() == []


# -- the primary host --------------------------------------------------------------------------


def test_nothing_goes_out_before_the_primary_host_is_there():
    """Its STATE is subscribed to, besides the commands."""
    desk = Desk(host_id="scada")
    desk.online(ONE)
    assert desk.node.topics.subscriptions == (
        "spBv1.0/plant/NCMD/gate",
        "spBv1.0/plant/DCMD/gate/+",
        STATE,
    )
    assert desk.connect() == []
    desk.state(False, 500)
    assert (desk.run(), desk.ended) == ([], [])
    desk.state(True, 1000)

    assert desk.run() == ["NBIRTH/gate", f"DBIRTH/gate/{ONE}"]


def test_the_node_dies_with_its_primary_host():
    """It leaves the broker, and waits there for the host with the next number."""
    desk = Desk(host_id="scada")
    desk.online(ONE)
    desk.connect()
    desk.state(True, 1000)
    desk.run()
    with pytest.raises(DecodeError):
        desk.state(False, 999)  # the will of an earlier session
    assert (desk.run(), desk.ended) == ([], [])
    desk.state(False, 1000)
    assert (desk.run(), desk.ended) == ([], ["the primary host is offline"])
    assert not desk.host.node.is_alive
    assert desk.run() == []
    desk.node.disconnected(desk.now)
    assert desk.connect() == []
    desk.state(True, 2000)

    assert desk.run() == ["NBIRTH/gate", f"DBIRTH/gate/{ONE}"]
    assert (desk.host.bdseq, desk.host.violations) == (1, [])


def test_another_session_of_the_host_begins_with_births():
    """Also where its death was never told."""
    desk = Desk(host_id="scada")
    desk.online(ONE)
    desk.connect()
    desk.state(True, 1000)
    desk.run()
    desk.state(True, 1000)
    assert desk.run() == []
    desk.state(True, 2000)

    assert desk.run() == ["NBIRTH/gate", f"DBIRTH/gate/{ONE}"]


# -- reports -----------------------------------------------------------------------------------


def test_a_report_is_sent_with_all_its_fields(desk):
    """Of the moment at which the session ended."""
    desk.connect()
    desk.node.reports.add(row(1), is_late=False)
    assert desk.run() == [f"DDATA/gate/{ONE}"]
    (report,) = desk.host.reports

    assert (report.key, report.is_historical) == (f"{ONE}-1", False)
    assert report.fields["Session/energy_kwh"] == 0.411273
    assert report.fields["Session/ended_at"] == report.fields["Session/started_at"] + 1_800_000
    times = {one.timestamp for one in decode(desk.sent[-1].payload).metrics}
    assert times == {report.fields["Session/ended_at"]}


def test_what_ended_while_the_host_was_away_is_history():
    """In order, once in each session of the host, and delivered only while it is there."""
    desk = Desk(host_id="scada")
    desk.online(ONE)
    desk.connect()
    for number in (3, 1, 2):
        desk.node.reports.add(row(number), is_late=False)
    assert desk.run() == []
    desk.now_s += 10 * HOLDS_S
    assert desk.node.delivered(desk.now) == ()
    desk.state(True, 1000)
    desk.run()
    assert [(one.key, one.is_historical) for one in desk.host.reports] == [
        (f"{ONE}-{number}", True) for number in (1, 2, 3)
    ]
    desk.host.rebirth()
    desk.run()
    assert len(desk.host.reports) == 6  # it may have missed one
    desk.state(False, 1000)
    desk.run()
    desk.now_s += 10 * HOLDS_S
    assert desk.node.delivered(desk.now) == ()
    desk.node.disconnected(desk.now)
    desk.connect()
    desk.state(True, 2000)
    desk.run()
    assert len(desk.host.reports) == 9
    assert desk.node.deadline_s() == desk.now_s + PROBE_S
    desk.now_s += PROBE_S
    assert desk.run() == ["NDATA/gate"]
    assert desk.host.node.values[REPORTS] == 9
    desk.now_s -= PROBE_S
    assert desk.node.deadline_s() == desk.now_s + HOLDS_S
    desk.now_s += HOLDS_S

    assert desk.node.delivered(desk.now) == tuple((f"{ONE}-{n}", 1) for n in (1, 2, 3))
    assert desk.host.violations == []


def test_a_dead_device_comes_back_for_its_reports(desk):
    """With bad quality, and dies again behind them."""
    desk.connect()
    for number in (1, 2):
        desk.node.reports.add(row(number, charger_id=TWO), is_late=True)

    assert desk.run() == [
        f"DBIRTH/gate/{TWO}",
        f"DDATA/gate/{TWO}",
        f"DDATA/gate/{TWO}",
        f"DDEATH/gate/{TWO}",
    ]
    assert set(desk.host.devices[TWO].quality.values()) == {0}


def test_the_report_of_a_charger_that_left_is_sent_too(desk):
    """The device is there for that moment."""
    desk.connect()
    desk.node.reports.add(row(1, charger_id="EH555555"), is_late=True)

    assert desk.run() == [
        "DBIRTH/gate/EH555555",
        "DDATA/gate/EH555555",
        "DDEATH/gate/EH555555",
    ]
    assert "EH555555" not in desk.node.devices


def test_the_newest_report_is_in_the_next_birth(desk):
    """Without the tag, which is in no birth."""
    desk.connect()
    desk.node.reports.add(row(1), is_late=False)
    desk.run()
    assert desk.host.reports[0].fields["Session/auth"] == row(1).report.auth
    desk.host.rebirth()
    desk.run()

    assert desk.host.devices[ONE].values["Session/key"] == f"{ONE}-1"
    assert desk.host.devices[ONE].values["Session/auth"] is None


# -- what cannot be sent -----------------------------------------------------------------------


def test_a_birth_that_is_too_large_costs_its_device_only(desk):
    """Its sequence number is used again, and the next connection tries anew."""
    desk.node.will(desk.now)
    desk.node.connected(desk.now)
    for kind in ("NBIRTH", "DBIRTH"):
        message = desk.node.take(desk.now)
        assert f"/{kind}/" in message.topic
        if kind == "NBIRTH":
            desk.host.feed(message.topic, message.payload)
        else:
            desk.node.unsent(message)
    assert desk.run() == [f"DBIRTH/gate/{TWO}", f"DDEATH/gate/{TWO}"]
    desk.node.device(ONE).set("total_power", 1.0, 1000, DOUBLE)
    assert desk.run() == []
    desk.node.disconnected(desk.now)

    assert f"DBIRTH/gate/{ONE}" in desk.connect()


def test_a_node_whose_birth_is_too_large_says_nothing(desk):
    """There is no session without it."""
    desk.node.will(desk.now)
    desk.node.connected(desk.now)
    desk.node.unsent(desk.node.take(desk.now))

    assert desk.run() == []


def test_data_that_is_too_large_is_left_out(desk):
    """The next message has its number."""
    desk.connect()
    desk.node.device(ONE).set("total_power", 1.0, 1000, DOUBLE)
    desk.node.unsent(desk.node.take(desk.now))
    desk.node.device(ONE).set("total_power", 2.0, 2000, DOUBLE)

    assert desk.run() == [f"DDATA/gate/{ONE}"]


def test_without_a_connection_there_is_nothing_to_send(desk):
    """Nor before the first one."""
    assert desk.run() == []
    desk.connect()
    desk.node.disconnected(desk.now)
    desk.node.device(ONE).set("total_power", 1.0, 1000, DOUBLE)

    assert desk.run() == []
