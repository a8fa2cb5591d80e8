"""Simulated lives of a Sparkplug node: reboots of host, broker, gateway; messages lost and twice.

Real are the convention, its connection, and the delivery of reports in the core. The broker, both
links, the store and time are simulated. The host is the one of ``tests/sparkplug_host.py``.
"""

import json
import random
from collections import deque
from dataclasses import replace
from datetime import timedelta

from msgspec import structs

from bridge.convention_connection import connection_of
from bridge.conventions.convention import EndConnection
from bridge.conventions.sparkplug.convention import Sparkplug
from bridge.core.alerts import Alerts
from bridge.core.changes import (
    AvailabilityChanged,
    Change,
    DerivedChanged,
    ReportDue,
    ReportPending,
    ValueChanged,
    ValuesChanged,
)
from bridge.core.easee.decode import spec_of
from bridge.core.effects import KeepReports, SettleReports
from bridge.core.events import (
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    ReportSaved,
    ReportsDelivered,
    StoreOpened,
)
from bridge.core.messages import AckToken, Publish
from bridge.core.records.moment import Timestamp
from bridge.core.records.stored_report import StoredReport
from bridge.core.sessions.service import SessionService
from bridge.core.topics import SessionAckTopic, Topics
from bridge.errors import ConnectionLost
from bridge.recorder.links import LinkCall, Links, recorded
from bridge.recorder.state import copied, restored
from bridge.recorder.values import plain, value_of
from bridge.settings import EaseeSettings, Secret, Settings, SparkplugSettings
from tests.core.sessions.rows import NOON, REPORT
from tests.sparkplug_host import SparkplugHost

CHARGERS = ("EH000001", "EH000002", "EH000003")
STATE = "spBv1.0/STATE/scada"
VALUES = (31, 46, 109, 120, 124)
# A broker notices a host that vanished within one and a half times 60 s, and a node after 45 s.
HOST_NOTICED_S, NODE_NOTICED_S = 90.0, 45.0
NEVER_S = float("inf")


class Link:
    """The gateway's connection of the convention."""

    def __init__(self, world):
        self.world, self.is_up, self.dead_since_s = world, False, None
        self.will = None

    def publish(self, message):
        """Send, or lose in a connection that is dead already."""
        if not self.is_up:
            raise ConnectionLost("gone")
        if self.dead_since_s is None:
            self.world.to_host(message.topic, message.payload)
        self.world.later.append(lambda: self.world.gateway.emit(self, MqttAcked(message, 0)))

    def reconnect(self, reason, farewell=None):
        """End it in an orderly way: an MQTT 5 broker publishes the will too."""
        for message in (farewell, self.will):
            if self.dead_since_s is None and message is not None:
                self.world.to_host(message.topic, message.payload, is_safe=True)
        self.world.later.append(lambda: self.world.gateway.lost(self, reason))

    def acknowledge(self, _ack_token):
        """Nothing: everything comes at QoS 0."""


class Spy:
    """A session that remembers what each call returned."""

    def __init__(self, session, results):
        self.session, self.results = session, results

    def __getattr__(self, name):
        """Return a method of the session that notes its results."""
        method = getattr(self.session, name)

        def noted(*arguments):
            found = method(*arguments)
            if name != "deadline_s" and found is not None:
                self.results += [found] if isinstance(found, Publish | EndConnection) else found
            return found

        return noted


class Replay:
    """Records a convention as the recorder does, and replays it from a random moment on."""

    def __init__(self, convention, settings, world):
        self.settings, self.world = settings, world
        self.original = convention
        (self.watched,) = recorded((convention,), self.note)
        self.results = []
        need = self.watched.connection
        self.watched.connection = structs.replace(need, session=Spy(need.session, self.results))
        self.calls, self.began = [], copied((convention,))

    def note(self, call, now, results):
        """Record a call."""
        self.calls.append((call, now, results))

    def publish(self, change, now):
        """Record a change, and have it published."""
        self.began_anew()
        self.calls.append((change, now, 0))
        self.watched.publish(change, now)

    def began_anew(self):
        """Now and then begin with a later state."""
        if self.world.random.random() < 0.01:
            self.check()
            self.calls.clear()
            self.results.clear()
            self.began = copied((self.original,))

    def check(self):
        """Replay what was recorded; return how many results were the same."""
        written = [[plain(call), plain(now)] for call, now, _ in self.calls]
        (fresh,) = restored(self.began, (Sparkplug(self.settings),))
        links, found = Links((fresh,)), []
        for said, at in written:
            call, now = value_of(said), value_of(at)
            if isinstance(call, LinkCall):
                found += links.call(call, now)
            else:
                links.publish((call,), now)
        assert found == self.results
        assert len(found) == sum(results for *_, results in self.calls)
        assert copied((fresh,)) == copied((self.original,))
        return len(found)


class Gateway:
    """One life of the gateway's process."""

    def __init__(self, world):
        self.world = world
        account = EaseeSettings("x@example.com", Secret("p"))
        plant = SparkplugSettings(True, "plant", "gate", world.host_id, world.aliases)
        settings = Settings(account, sparkplug=plant)
        self.replay = Replay(Sparkplug(settings), settings, world)
        self.convention = self.replay.watched
        self.service = SessionService(settings, Alerts(), salt=b"s", channels=("sparkplug",))
        need = self.convention.connection
        self.connection = connection_of(
            self.convention, need, topics=Topics(), clock=world, put=self.put
        )
        self.link = None
        self.connects_at_s = world.now_s + world.random.uniform(0, 5)
        owed = tuple(row for row in world.rows.values() if not row.settled)
        self.do(self.service.opened(StoreOpened(owed), world.now()))
        self.do(self.service.connected(world.now()))
        for charger_id in CHARGERS:
            world.say(self, charger_id)

    def put(self, event):
        """Take what the connection has for the core."""
        if isinstance(event, ReportsDelivered):
            self.do(self.service.handle(event, self.world.now()))
        else:
            assert isinstance(event, MqttMessage), event

    def do(self, effects):
        """Carry effects out; the native broker acknowledges everything, its consumer most of it."""
        for effect in effects:
            if isinstance(effect, Change):
                self.replay.publish(effect, self.world.now())
            if isinstance(effect, ReportDue):
                self.world.later.append(lambda due=effect: self.native_ack(due))
            elif isinstance(effect, SettleReports | KeepReports):
                self.world.settle(effect.reports)
            else:
                assert isinstance(effect, ReportPending | Change) or not isinstance(effect, Publish)

    def native_ack(self, due):
        """Acknowledge a report on the native topics."""
        if self.world.gateway is not self:
            return
        message = Publish("charger/x/session/report", b"", False, due.tag, owner="sessions")
        self.do(self.service.acked(message, 0, self.world.now()))
        if self.world.random.random() < 0.8:
            text = json.dumps({"key": due.stored.key, "revision": due.stored.revision}).encode()
            taken = MqttMessage("x", text, AckToken(1, 0, 0))
            self.do(self.service.message(taken, SessionAckTopic(), self.world.now()))

    def change(self, change):
        """Have a change published by the convention."""
        self.replay.publish(change, self.world.now())

    def emit(self, link, event):
        """Hand over an event of a link, if it is the present one."""
        if link is self.link and self.world.gateway is self:
            self.connection.emit(event)

    def lost(self, link, reason):
        """Handle the end of a link."""
        if link is self.link:
            link.is_up = False
            self.emit(link, MqttDisconnected(reason))
            self.link = None
            self.connects_at_s = self.world.now_s + self.world.random.uniform(0.5, 10)

    def tick(self):
        """Connect when it is time, and look at the time."""
        world = self.world
        if self.link is None and world.broker_up and self.connects_at_s <= world.now_s:
            link = self.link = Link(world)
            link.will = self.connection.will()
            link.is_up = True
            self.connection.attach(link)
            self.emit(link, MqttConnected(False, "5", 20))
            if world.retained is not None and world.host_id is not None:
                self.emit(link, MqttMessage(STATE, world.retained, AckToken(1, 0, 0), True))
        link = self.link
        dead_since_s = NEVER_S if link is None else link.dead_since_s or NEVER_S
        if dead_since_s + NODE_NOTICED_S <= world.now_s:
            world.to_host(link.will.topic, link.will.payload, is_safe=True)
            self.lost(link, "keep alive")
        self.connection.flush()
        self.do(self.service.tick(world.now()))


class World:
    """Everything, on simulated time.

    Attributes:
        faults: What may happen.
        archive: What the plant stored of reports: key, revision, history, session of the host.
        late: Reports that were settled before the plant had them.
        gaps: How often any host missed a sequence number.
        violations: Rules that were broken.
        replayed: How many results of the convention a replay repeated.
    """

    def __init__(self, seed, *, host_id="scada", aliases=False, losses=0.0, repeats=0.0):
        self.random = random.Random(seed)
        self.host_id, self.aliases = host_id, aliases
        self.losses, self.repeats = losses, repeats
        self.now_s = 0.0
        self.later = deque()
        self.rows: dict[str, StoredReport] = {}
        self.archive: list[tuple[str, int, bool, int]] = []
        self.early: list[str] = []
        self.violations: list[str] = []
        self.gaps = self.replayed = 0
        self.truth = {one: self.some_values() for one in CHARGERS}
        self.online = dict.fromkeys(CHARGERS, True)
        self.native: dict[str, dict[str, object]] = {one: {} for one in CHARGERS}
        self.broker_up = True
        self.retained: bytes | None = None
        self.host: SparkplugHost | None = None
        self.host_session = 0
        self.vanished_s = NEVER_S
        self.is_quiet = self.is_host_waiting = False
        self.host_back_s = NEVER_S
        self.gateway: Gateway | None = None
        self.boot_host()
        self.gateway = Gateway(self)

    # -- time ------------------------------------------------------------------------------------

    def now(self):
        """Return the time, as the clock of the gateway does."""
        return Timestamp(NOON + timedelta(seconds=self.now_s), self.now_s)

    def run(self, seconds):
        """Let time pass; what follows from things happens in order."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + self.random.uniform(0.2, 3))
            if self.vanished_s + HOST_NOTICED_S <= self.now_s:
                self.end_host()
            if self.host_back_s <= self.now_s:
                self.host_back_s = NEVER_S
                self.boot_host()
            if self.gateway is not None:
                self.gateway.tick()
            self.settle_down()

    def settle_down(self):
        """Do what was put off."""
        for _ in range(100_000):
            if not self.later:
                return
            self.later.popleft()()
        raise AssertionError("it does not come to rest")

    # -- the chargers ------------------------------------------------------------------------------

    def some_values(self):
        """Draw the values of a charger."""
        draw = self.random
        return {
            31: draw.random() < 0.5,
            46: draw.randint(0, 30),
            109: draw.randint(1, 6),
            120: round(draw.uniform(0, 11), 3),
            124: round(draw.uniform(0, 9999), 2),
        }

    def say(self, gateway, charger_id):
        """Have the gateway publish what a charger says, natively and to the host."""
        at = self.now().wall
        found = self.truth[charger_id]
        values = tuple(
            ValueChanged(charger_id, spec_of(number), value, at, at, "stream")
            for number, value in found.items()
        )
        native = self.native[charger_id]
        native.update({one.spec.name: one.value for one in values})
        native["op_mode"] = f"mode_{found[109]}"
        gateway.change(ValuesChanged(values))
        gateway.change(DerivedChanged(charger_id, "op_mode", native["op_mode"]))
        gateway.change(AvailabilityChanged(charger_id, self.online[charger_id]))

    def measure(self, charger_id):
        """Change some values of a charger."""
        fresh = self.some_values()
        for number in self.random.sample(VALUES, self.random.randint(1, len(VALUES))):
            self.truth[charger_id][number] = fresh[number]
        if self.gateway is not None:
            self.say(self.gateway, charger_id)

    def finish(self, charger_id):
        """Have a session end: the gateway commits its report, or learns of it later."""
        number = len(self.rows) + 1
        at = self.now().wall
        report = replace(
            REPORT, charger_id=charger_id, session_id=number, started_at=at, ended_at=at
        )
        row = StoredReport(f"{charger_id}-{number}", 1, report)
        if self.gateway is not None:
            self.rows[row.key] = row
            saved = ReportSaved(row, True)
            self.gateway.do(self.gateway.service.saved(saved, self.now()))

    def revise(self):
        """Change the content of a report."""
        if self.rows and self.gateway is not None:
            key = self.random.choice(list(self.rows))
            old = self.rows[key]
            row = self.rows[key] = structs.replace(
                old, revision=old.revision + 1, settled=False, published=False
            )
            self.gateway.do(self.gateway.service.saved(ReportSaved(row, True), self.now()))

    def settle(self, reports):
        """Note in the store that reports are delivered."""
        for key, revision in reports:
            row = self.rows[key]
            if row.revision == revision:
                self.rows[key] = structs.replace(row, settled=True)
                if not any(one[:2] == (key, revision) for one in self.archive):
                    self.early.append(key)

    # -- the broker ----------------------------------------------------------------------------

    def to_host(self, topic, payload, *, is_safe=False):
        """Deliver a message of the node to the host, or not."""
        count = 1
        if not (is_safe or self.is_quiet):
            draw = self.random.random()
            count = 0 if draw < self.losses else 2 if draw > 1 - self.repeats else 1
        for _ in range(count):
            self.later.append(lambda: self.hear(self.host, topic, payload))

    def hear(self, host, topic, payload):
        """Have the host handle a message, and the plant store its reports."""
        if host is None or host is not self.host or self.vanished_s < NEVER_S:
            return
        host.feed(topic, payload)
        for report in host.reports:
            fields = report.fields
            self.archive.append(
                (fields["Session/key"], fields["Session/revision"], report.is_historical,
                 self.host_session)
            )  # fmt: skip
        host.reports.clear()
        self.violations += host.violations
        host.violations.clear()

    def to_node(self, topic, payload):
        """Deliver a command of the host to the node."""
        gateway = self.gateway
        link = None if gateway is None else gateway.link
        if link is not None and link.dead_since_s is None and self.vanished_s == NEVER_S:
            message = MqttMessage(topic, payload, AckToken(1, 0, 0))
            self.later.append(lambda: gateway.emit(link, message))

    def state(self, online, timestamp):
        """Publish the STATE of the host."""
        payload = json.dumps({"online": online, "timestamp": timestamp}).encode()
        self.retained = payload
        if self.host_id is not None:
            self.to_node(STATE, payload)

    def kill_broker(self):
        """End the broker: both connections are lost, its memory perhaps too.

        A host that is there comes back with the broker. One that went just then is a case that no
        node can tell: the broker remembers that it is online.
        """
        self.broker_up = False
        is_there = self.host is not None and self.vanished_s == NEVER_S
        if not is_there or self.random.random() < 0.3:
            self.retained = None
        self.is_host_waiting = self.is_host_waiting or is_there
        self.forget_host()
        if self.gateway is not None and self.gateway.link is not None:
            self.gateway.lost(self.gateway.link, "the broker went")

    # -- the host ------------------------------------------------------------------------------

    def boot_host(self):
        """Start the host: it subscribes, then says that it is there."""
        if self.host is not None or not self.broker_up or self.host_back_s < NEVER_S:
            return
        self.host = SparkplugHost("plant", "gate", self.to_node)
        self.vanished_s = NEVER_S
        self.host_session = max(self.host_session + 1, int(self.now_s * 1000))
        self.state(True, self.host_session)

    def forget_host(self):
        """End the host's process."""
        if self.host is not None:
            self.gaps += self.host.gaps
        self.host, self.vanished_s = None, NEVER_S

    def end_host(self):
        """Have the broker publish the will of the host."""
        session = self.host_session
        self.forget_host()
        self.state(False, session)

    def restart_host(self):
        """Start the host again before the broker noticed: its will comes at any time."""
        session = self.host_session
        is_late = self.random.random() < 0.5
        self.forget_host()
        if not is_late:
            self.state(False, session)
        self.boot_host()
        if is_late:
            self.state(False, session)
            # It hears that itself, and says again that it is there.
            self.state(True, self.host_session)

    # -- lives ---------------------------------------------------------------------------------

    def step(self):
        """Have something happen, and time pass."""
        gateway = self.gateway
        happenings = [
            (30, lambda: self.measure(self.random.choice(CHARGERS))),
            (8, lambda: self.finish(self.random.choice(CHARGERS))),
            (2, self.revise),
            (5, self.toggle),
            (2, lambda: None if self.host is None else self.host.rebirth()),
            (2, self.kill_broker),
            (6, self.start_broker),
            (2, self.vanish),
            (2, lambda: self.end_host() if self.host is not None else None),
            (2, lambda: self.restart_host() if self.host is not None else None),
            (6, self.boot_host),
            (2, self.kill_gateway),
            (8, lambda: self.boot_gateway() if gateway is None else None),
            (2, self.cut),
            (10, lambda: self.run(self.random.uniform(1, 200))),
        ]
        weights, actions = zip(*happenings, strict=True)
        self.random.choices(actions, weights)[0]()
        self.run(self.random.uniform(0.1, 20))

    def toggle(self):
        """Have a charger go or come."""
        charger_id = self.random.choice(CHARGERS)
        self.online[charger_id] = not self.online[charger_id]
        if self.gateway is not None:
            self.say(self.gateway, charger_id)

    def start_broker(self):
        """Start the broker; the host connects again when it finds it, before the node or after."""
        self.broker_up = True
        if self.is_host_waiting:
            self.is_host_waiting = False
            self.host_back_s = self.now_s + self.random.uniform(0, 20)

    def vanish(self):
        """Have the host be cut off; the broker notices later."""
        if self.host is not None and self.vanished_s == NEVER_S:
            self.vanished_s = self.now_s

    def kill_gateway(self):
        """End the gateway's process; its broker publishes the will."""
        if self.gateway is not None:
            link = self.gateway.link
            if link is not None:
                self.to_host(link.will.topic, link.will.payload, is_safe=True)
            self.replayed += self.gateway.replay.check()
            self.gateway = None
            self.later.clear()
            if link is not None:
                self.to_host(link.will.topic, link.will.payload, is_safe=True)

    def boot_gateway(self):
        """Start the gateway."""
        self.gateway = Gateway(self)

    def cut(self):
        """Have the node's connection die without a word."""
        if self.gateway is not None and self.gateway.link is not None:
            self.gateway.link.dead_since_s = self.now_s

    def come_to_rest(self):
        """Mend everything, lose nothing any more, and let enough time pass."""
        self.is_quiet = True
        self.start_broker()
        self.run(100)
        self.boot_host()
        if self.gateway is None:
            self.boot_gateway()
        self.online = dict.fromkeys(CHARGERS, True)
        for _ in range(4):
            self.run(100)
            self.boot_host()
            for charger_id in CHARGERS:
                self.measure(charger_id)
        for _ in range(40):  # longer than the native delivery takes to settle
            self.run(100)
        self.gaps += self.host.gaps
        self.replayed += self.gateway.replay.check()


def differences(world):
    """Return what the host has other than the native topics."""
    found = {}
    for charger_id, values in world.native.items():
        member = world.host.devices.get(charger_id)
        for name, value in values.items():
            known = None if member is None else member.values.get(name)
            if known != value:
                found[charger_id, name] = (known, value)
    return found


def live(seed, steps=60, **facts):
    """Live through a life, and come to rest."""
    world = World(seed, **facts)
    for _ in range(steps):
        world.step()
    world.come_to_rest()
    return world
