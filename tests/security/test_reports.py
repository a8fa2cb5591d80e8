"""What a report shows of others: nothing, from any feature, in any of its files and texts.

One life has each canary of the table in each place where a text like it can come from.
"""

import json
from dataclasses import replace

import pytest

from bridge.cli.main import main
from bridge.core.events import (
    CloudFailed,
    ClusterSeen,
    ComponentFailed,
    DivisionSeen,
    ExchangeStatusChanged,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    MqttUnreachable,
    ObservationsReceived,
    Started,
    StoreFailed,
    StreamAnomaly,
    StreamClosed,
    StreamOpened,
    Tick,
    VendorOdd,
)
from bridge.core.messages import AckToken, Tag
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.core.records.lease import ClusterView, HeldLease, Member, MemberStatus
from bridge.core.records.source_receipt import SourceReceipt
from bridge.errors import CloudUnavailable
from bridge.recorder.record_file import read
from bridge.recorder.replaying import machine_of, replay
from bridge.recorder.writing import content_of
from bridge.settings import (
    AmqpSettings,
    ClusterSettings,
    CommandSettings,
    HomeAssistantSettings,
    HttpSettings,
    Secret,
    StoreSettings,
)
from tests.canaries import OTHERS, others_in, unpacked
from tests.recorder.recorded import ONE, SECRET, VERSION, command, said
from tests.recorder.test_links import GROUP, NODE, SETTINGS, Plant

# 04AABBCCDD7180 as a charger shows it.
TAG = OTHERS["a tag"]
ALLOWED = ("control", "access", "current", "schedule", "equalizer", "device", "maintenance")
NAME, STREET, PERSON = (OTHERS[what] for what in ("a charger", "a street", "the person of a tag"))
EVERYTHING = replace(
    SETTINGS,
    easee=replace(SETTINGS.easee, chargers=(), names=((ONE, NAME),), username=OTHERS["an account"]),
    mqtt=replace(SETTINGS.mqtt, reply_prefixes=(OTHERS["a reply topic"],)),
    publish=replace(SETTINGS.publish, tags=((TAG, PERSON),)),
    commands=CommandSettings(allow=ALLOWED),
    store=StoreSettings(
        url=f"postgresql://canaryrole@{OTHERS['a host']}/canarybase", password=Secret("canary-pg")
    ),
    homeassistant=HomeAssistantSettings(enabled=True, discovery_prefix=OTHERS["a prefix"]),
    http=HttpSettings(names=(OTHERS["a host"],)),
    cluster=ClusterSettings(worker=OTHERS["a worker"]),
    amqp=AmqpSettings(
        url=Secret("amqps://canaryuser:canary-amqp@canaryqueue.example/canaryhost"),
        queue=OTHERS["a queue"],
    ),
    state_dir="/home/canaryhome/bridge",
)
SITE = {
    "id": 471147, "siteKey": "CANA-RY47", "name": STREET, "ratedCurrent": 25,
    "address": {"street": STREET, "zip": "4713", "city": "Canaryville", "country": {"id": "NO"}},
    "costPerKWh": 1.25, "currencyId": "NOK", "vat": 25,
    "contactInfo": {"installerName": "Canary Electric", "installerPhoneNumber": OTHERS["a phone"]},
    "circuits": [
        {"id": 471148, "circuitPanelId": 1, "panelName": "Canary panel", "ratedCurrent": 16,
         "chargers": [{"id": ONE, "name": NAME, "backPlate": {"id": "canaryplate"}}]}
    ],
    "equalizers": [{"id": "QP471149", "name": "Canary meter"}],
}  # fmt: skip
SESSION = {
    "Auth": TAG, "AuthReason": 3, "EnergyKwh": 1.5, "Id": 77, "MeterValueStart": 1.0,
    "MeterValueStop": 2.5, "Start": "2026-11-22T10:00:00Z", "Stop": "2026-11-22T11:00:00Z",
}  # fmt: skip
SCHEDULE = {
    "name": "Canary nights", "periods": [{"start": "22:00", "stop": "06:00", "days": ["monday"]}],
}  # fmt: skip
HEARTBEAT = {
    "client_id": "canary-second", "instance": "ffffffffffff", "count": 3,
    "started_at": "2026-11-22T10:00:00Z", "at": "2026-11-22T10:00:00Z",
}  # fmt: skip


def message(topic, payload, number, **more):
    """Return a message on a topic."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return MqttMessage(topic, body, AckToken(1, number, 1), **more)


class Everything(Plant):
    """A life with every feature, in which everything of others is a canary."""

    settings_used = EVERYTHING

    def body_of(self, effect):
        """Answer whatever the cloud is asked."""
        path = effect.request.path
        if path == "/api/chargers":
            return [{"id": ONE, "name": NAME, "productCode": 1, "serialNumber": "canary"}]
        if "products" in path:
            return [SITE]
        if "/sites/" in path and effect.request.method == "GET":
            return SITE
        if "sessions" in path:
            return [{**SESSION, "chargerId": ONE, "authToken": TAG, "userName": PERSON}]
        if effect.request.method == "GET":
            return {**SCHEDULE, "email": OTHERS["an account"]}
        return None

    def everything(self):
        """Let each feature meet a canary."""
        self.handle(Started(announced={"canaryold/device/x/config": PublishedDiscovery(ONE)}))
        self.live_on()
        self.handle(
            ObservationsReceived(
                (
                    said(129, json.dumps(SESSION)), said(223, json.dumps(SESSION)),
                    said(20, json.dumps(SITE)), said(128, TAG), said(4711, "canary unknown"),
                    said(62, f'{{"ssid": "canarynet", "owner": "{PERSON}"'),
                ),
                "amqp",
                SourceReceipt(1, 7),
            ),
            command("dynamic_charger_current", {"value": 16, "id": OTHERS["a command"]}),
            command("basic_schedule", SCHEDULE, number=2),
            command("canary_command", {"value": 1}, number=3),
            message("charger/site/471147/set/price", {"per_kwh": 1.25, "currency": "NOK",
                    "vat": 25, "owner": PERSON}, 4, response_topic=OTHERS["a reply topic"]),
            message("charger/Canaryville/set/start", b"canary", 5, correlation=b"canary\xff"),
            message(f"charger/{ONE}/get/sessions", {"id": OTHERS["a command"]}, 6),
            message("homeassistant/status", b"canary came up", 7),
            message("charger/bridge/heartbeat", HEARTBEAT, 8),
            message(f"charger/{ONE}/set/start", b"canary retained", 9, retained=True),
            StreamAnomaly("unknown_target", "CanaryUpdate"),
            ExchangeStatusChanged(f"the queue {OTHERS['a queue']} refused canaryuser"),
            CloudFailed(Tag("charger_list"), CloudUnavailable("no route to canaryproxy.example")),
            StoreFailed("/home/canaryhome/bridge.db: no space left", "remove canarylarge.iso"),
            ComponentFailed("canary part", "x", ValueError("canary in an error")),
            VendorOdd((("observation 4711", "observation 4711 is unknown"),)),
            StreamClosed(f"connection to {OTHERS['a host']} lost"),
            MqttDisconnected(f"{OTHERS['a host']}: refused for canaryuser"),
            MqttUnreachable(f"cannot connect to {OTHERS['a host']}"),
        )  # fmt: skip
        for seconds in (1, 60, 600, 3600):
            self.handle(Tick(), StreamOpened(), MqttConnected(False, "5", 20), after_s=seconds)

    def written(self):
        """Return the content of a record file."""
        return content_of(
            self.recorder.excerpt(), self.settings, SECRET,
            version=VERSION, reason="signal", now=self.now,
        )[0]  # fmt: skip


class Together(Everything):
    """The gateway that speaks for all partitions, of workers with names."""

    settings_used = replace(
        EVERYTHING, cluster=ClusterSettings(partitions=2, worker=OTHERS["a worker"])
    )

    def everything(self):
        """Let it see members with names, and what partitions say."""
        members = tuple(
            Member(f"{OTHERS['a worker']}-{each}", 0.1, VERSION, MemberStatus()) for each in "ab"
        )
        leases = (HeldLease(0, members[0].name, 1, 3.0), HeldLease(1, None, 1, -60.0))
        alert = {"message": f"{ONE}: canary text", "hint": "canary hint", "since": ""}
        self.handle(
            Started(),
            MqttConnected(False, "5", 20),
            DivisionSeen({0: frozenset({ONE}), 1: frozenset({"EH471150"})}, is_listed=True),
            ClusterSeen(ClusterView(members, leases)),
            message("charger/bridge/partition/00/cloud", b"connected", 1, retained=True),
            message("charger/bridge/partition/00/alert/store", alert, 2, retained=True),
            message(
                "charger/bridge/partition/01/info",
                {"worker": members[1].name, "client_id": "canaryclient-p01"}, 3, retained=True,
            ),
            command("start", {"value": True, "id": OTHERS["a command"]}),
            message("charger/Canaryville/set/start", b"canary", 5),
            Tick(),
        )  # fmt: skip


TOPICS = (
    "charger/+/state/op_mode", "charger/bridge/cloud", "charger/bridge/alert/second_bridge",
    "charger/bridge/alert/internal_error", "homeassistant/status", "charger/site/1/info",
)  # fmt: skip


@pytest.fixture(params=[Everything, Together])
def content(request):
    """Return a record of a life with everything."""
    life = request.param(request.param.settings_used)
    life.everything()
    assert life.recorder.problem == ""
    return life.written()


def test_a_life_with_everything_meets_each_canary():
    """Unredacted, each of the table is in what was recorded."""
    life = Everything(EVERYTHING)
    life.everything()
    record = life.record()
    held = repr((record.settings, record.state, record.entries)).lower()

    assert [what for what, text in OTHERS.items() if text.lower() not in held] == []
    assert others_in(held.encode())


def test_no_file_and_no_text_of_a_record_shows_anything_of_others(content, tmp_path, capsys):
    """Its file, each form of a replay, explanations of it, and the test that is written."""
    path, test = tmp_path / "record-20261122T120000Z.rec", tmp_path / "test_it.py"
    path.write_bytes(content)
    words = [[], ["--compare"], ["--only", "#"], ["--as-test", str(test), "--never", "x"]]
    words += [["--explain", topic.replace("+", "EH000001")] for topic in TOPICS]
    said = []
    for each in words:
        assert main(["replay", str(path), *each]) == 0
        said.append(capsys.readouterr().out)

    assert others_in(unpacked(content)) == []
    assert others_in("".join(said).encode()) == []
    assert others_in(test.read_bytes()) == []
    assert others_in(unpacked(test.with_suffix(".rec").read_bytes())) == []
    assert "the same effects as recorded" in said[1]
    assert len(said[0]) > 2000


def test_a_record_of_everything_is_replayed_without_a_failure(content):
    """Redaction breaks no document: the only failure is the one that was reported."""
    machine = machine_of(read(content))
    steps = list(replay(read(content), machine))

    assert [step.number for step in steps if step.expected not in (-1, len(step.effects))] == []
    assert len(machine.core.contained.failing) <= 1
    assert (GROUP, NODE) == ("CanaryPlant", "canarygate")
