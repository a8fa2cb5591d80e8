"""Changes of the core as metrics of the node."""

import subprocess
import sys
from datetime import timedelta

import pytest

from bridge.conventions.sparkplug.convention import Sparkplug
from bridge.conventions.sparkplug.metrics import ALERTS, CLOUD, HEALTH, VERSION
from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    AvailabilityChanged,
    BridgeInfoChanged,
    ChargerCleared,
    ChargerEvent,
    CloudStateChanged,
    CommandAnswered,
    DerivedChanged,
    LastSessionChanged,
    ReportPending,
    ReportsGivenUp,
    ValueChanged,
    ValuesChanged,
)
from bridge.core.easee.decode import spec_of
from bridge.core.easee.equalizer import EQUALIZER as EQUALIZER_ROWS
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.records.command_result import CommandResult
from bridge.core.records.moment import Timestamp
from bridge.core.records.reply_to import ReplyTo
from bridge.core.records.session_report import UNNAMED
from bridge.settings import (
    CommandSettings,
    EaseeSettings,
    MqttSettings,
    Secret,
    Settings,
    SparkplugSettings,
)
from tests.core.sessions.rows import NOON, REPORT, row
from tests.health import WELL
from tests.sparkplug_host import SparkplugHost

ONE = "EH123456"
NOW = Timestamp(NOON, 100.0)
SETTINGS = Settings(
    EaseeSettings("x@example.com", Secret("p")),
    MqttSettings(client_id="garage"),
    commands=CommandSettings(allow=("start",)),
    sparkplug=SparkplugSettings(True),
)


class Desk:
    """The convention and a host that listens to it."""

    def __init__(self):
        self.convention = Sparkplug(SETTINGS)
        self.node = self.convention.connection.session
        self.host = SparkplugHost("charging", "charger-bridge", lambda *_: None)
        self.node.will(NOW)
        self.node.connected(NOW)

    def say(self, *changes):
        for change in changes:
            assert tuple(self.convention.publish(change, NOW)) == ()
        while (message := self.node.take(NOW)) is not None:
            self.host.feed(message.topic, message.payload)
        assert self.host.violations == []

    def value(self, name):
        return self.host.devices[ONE].values[name]


@pytest.fixture
def desk():
    """A charger that is available."""
    made = Desk()
    made.say(AvailabilityChanged(ONE, True))
    return made


def value(number, found, seconds=0):
    """Return an observation."""
    at = NOON + timedelta(seconds=seconds)
    return ValueChanged(ONE, spec_of(number), found, at, at, "stream")


def result(command="start", state="confirmed", **facts):
    """Return an answer."""
    answer = CommandResult("7", command, state, True, NOON, NOON, 1, **facts)
    return CommandAnswered(ONE, answer, (ReplyTo(),))


def info(*chargers, commands=("start",), equalizers=()):
    """Return what the bridge says of itself."""
    offered = {"commands": list(commands)}
    return BridgeInfoChanged("1.0.0", "garage", "i", None, chargers, offered, equalizers=equalizers)


def test_its_connection_is_its_own(desk):
    """Clean at every start, with a session that makes the wills."""
    need = desk.convention.connection

    assert (need.name, need.client_id, need.keeps_s) == ("sparkplug", "garage-sparkplug", 0)
    assert need.session is desk.node
    assert desk.convention.subscriptions == desk.node.topics.subscriptions
    assert tuple(desk.convention.snapshot(NOW)) == ()
    assert desk.convention.parse(None) is None


def test_values_are_metrics_with_the_charger_s_time(desk):
    """Derived values have that of the gateway."""
    desk.say(ValuesChanged((value(120, 7.28, -30),)), DerivedChanged(ONE, "op_mode", "charging"))
    times = desk.host.devices[ONE].times

    assert (desk.value("total_power"), desk.value("op_mode")) == (7.28, "charging")
    assert times["op_mode"] - times["total_power"] == 30_000
    desk.say(DerivedChanged(ONE, "op_mode", None))
    assert desk.value("op_mode") is None


def test_an_id_that_nobody_has_named_is_a_metric_too(desk):
    """By the name of its topic, once it comes."""
    desk.say(ValuesChanged((value(9999, 5),)))

    assert desk.value("observation_9999") == "5"


def test_an_equalizer_is_a_device_of_its_own_kind(desk):
    """Told by the list, or by the first of its values."""
    spec = EQUALIZER_ROWS[min(EQUALIZER_ROWS)]
    reading = ValueChanged("QP000001", spec, 1, NOON, NOON, "stream")
    desk.say(ValuesChanged((reading,)), info(ONE, equalizers=("QP000002",)))

    for serial in ("QP000001", "QP000002"):
        assert "Session/key" not in desk.host.devices[serial].types
        assert spec.name in desk.host.devices[serial].types


def test_personal_data_is_no_metric(desk):
    """Whatever it is, also hashed."""
    personal = [spec.id for spec in REGISTRY.values() if spec.personal]
    events = len(desk.host.events)
    desk.say(ValuesChanged(tuple(value(number, "sha256:1") for number in personal)))

    assert len(desk.host.events) == events


def test_a_charger_that_is_not_available_dies(desk):
    """And one that left is forgotten."""
    desk.say(AvailabilityChanged(ONE, False))
    assert not desk.host.devices[ONE].is_alive
    desk.say(AvailabilityChanged(ONE, True))
    assert desk.host.devices[ONE].is_alive
    desk.say(ChargerCleared(ONE, (), (), True, "t"))

    assert not desk.host.devices[ONE].is_alive
    assert ONE not in desk.node.devices


def test_a_result_has_its_reason_as_a_property(desk):
    """The value is the word of the contract."""
    desk.say(result(state="refused", reason="retained", detail="not retained, please"))

    ((device, name, word, properties),) = desk.host.results
    assert (device, name, word) == (ONE, "Result/start", "refused")
    assert properties["reason"] == "retained"
    assert (properties["id"], properties["final"]) == ("7", True)
    assert desk.value("Result/start") == "refused"


def test_a_result_of_what_is_no_metric_is_left_out(desk):
    """Names come from outside where a command was refused."""
    events = len(desk.host.events)
    stranger = CommandAnswered("EH000000", result().result, (ReplyTo(),))
    desk.say(result("fly"), stranger)

    assert len(desk.host.events) == events


def test_the_bridge_is_the_node(desk):
    """Version, cloud, health and the open alerts."""
    raised = [AlertRaised(kind, "m", "h", NOON) for kind in ("storage", "second_bridge")]
    desk.say(info(ONE), CloudStateChanged("connected"), WELL, *raised, AlertCleared("storage"))
    values = desk.host.node.values

    assert (values[VERSION], values[CLOUD], values[HEALTH]) == ("1.0.0", "connected", "ok")
    assert values[ALERTS] == "second_bridge"


def test_every_charger_that_is_served_is_a_device(desk):
    """Also before anything is known of it; a list that is told again changes nothing."""
    desk.say(info(ONE, "EH999999"))
    assert desk.host.devices.keys() == {ONE, "EH999999"}
    events = len(desk.host.events)
    desk.say(info(ONE, "EH999999"))

    assert len(desk.host.events) == events


def test_other_commands_are_other_metrics(desk):
    """They may change while the program runs."""
    assert "Command/start" in desk.host.devices[ONE].types
    desk.say(info(ONE, commands=("start", "stop")))

    assert "Command/stop" in desk.host.devices[ONE].types


def test_a_report_goes_to_the_host(desk):
    """As history where it comes from the store."""
    desk.say(ReportPending(row(1), is_late=True), ReportPending(row(2), is_late=False))

    assert [(one.key, one.is_historical) for one in desk.host.reports] == [
        (f"{ONE}-1", True),
        (f"{ONE}-2", False),
    ]


def test_a_report_that_is_given_up_is_not_sent(desk):
    """Its host was away for as long as reports are kept."""
    desk.node.disconnected(NOW)
    desk.say(ReportPending(row(1), is_late=True), ReportPending(row(2), is_late=True))
    desk.say(ReportsGivenUp(((f"{ONE}-1", 1),)))
    desk.node.will(NOW)
    desk.node.connected(NOW)
    desk.say()

    assert [one.key for one in desk.host.reports] == [f"{ONE}-2"]


def test_the_last_session_is_in_the_births(desk):
    """Once it is stored; it is no news by itself."""
    events = len(desk.host.events)
    desk.say(LastSessionChanged(ONE, REPORT, UNNAMED))
    desk.say(LastSessionChanged(ONE, REPORT, (f"{ONE}-435", 1)))
    assert len(desk.host.events) == events
    desk.node.disconnected(NOW)
    desk.node.will(NOW)
    desk.node.connected(NOW)
    desk.say()

    assert desk.value("Session/key") == f"{ONE}-435"


def test_other_changes_are_no_metrics(desk):
    """What is no state is not in a birth either."""
    events = len(desk.host.events)
    desk.say(ChargerEvent(ONE, "smart_button", NOON, NOON, {}))

    assert len(desk.host.events) == events


def test_nothing_of_it_is_loaded_while_it_is_off():
    """The program, its command line and its exports start without it, and it needs no library."""
    program = """
import sys
import bridge.app, bridge.cli.main, bridge.exports.mosquitto_acl, bridge.exports.topic_reference
from bridge.recorder.links import own_conventions
from bridge.settings import EaseeSettings, Secret, Settings, SparkplugSettings
account = EaseeSettings("x@example.com", Secret("p"))
assert own_conventions(Settings(account)) == ()
assert not [name for name in sys.modules if name.startswith("bridge.conventions.sparkplug")]
before = set(sys.modules)
(made,) = own_conventions(Settings(account, sparkplug=SparkplugSettings(True)))
assert made.name == "sparkplug"
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() in (["bridge"], ["bridge", "struct"])
