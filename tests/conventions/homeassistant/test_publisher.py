"""When Home Assistant is told, and when what it was told is taken back."""

import gc
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conventions.homeassistant.discovery_messages import (
    Description,
    DeviceInfo,
    describe,
)
from bridge.conventions.homeassistant.entities import entities
from bridge.conventions.homeassistant.publisher import (
    BIRTH_FIRST_S,
    BIRTH_SPREAD_S,
    HANDED_OVER_S,
    MIGRATE,
    SETTLE_S,
    DiscoveryPublisher,
)
from bridge.core.delivery.outbox import Outbox
from bridge.core.domain_events import (
    ChargerForgotten,
    EqualizerFirmware,
    EqualizersChanged,
    SettingsChanged,
)
from bridge.core.easee.rest_responses import ChargerList
from bridge.core.effects import SavePublishedDiscovery
from bridge.core.messages import Publish
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.core.records.moment import Timestamp
from bridge.core.subjects import Subject
from bridge.core.topics import HomeAssistantTopics, Topics
from bridge.settings import (
    CommandSettings,
    EaseeSettings,
    HomeAssistantSettings,
    Secret,
    Settings,
)
from tests.conftest import NOON

ONE, TWO = "EH123456", "EH654321"
DEVICE = "homeassistant/device/charger_{}/config"


@pytest.fixture(autouse=True)
def _chargers_alone(request, monkeypatch):
    """Leave the gateway's own device out, except where a test is about it."""
    if "gateway" not in request.node.name:
        nothing = Description({}, {})
        monkeypatch.setattr(DiscoveryPublisher, "_gateway", lambda _: nothing)


class Broker:
    """An announcer, a clock, and a broker that keeps and acknowledges what it is given."""

    def __init__(self, chargers=(ONE,), *, kept=None, salt=b"salt", allow=("control",), **own):
        easee = EaseeSettings("x@example.com", Secret("p"), chargers)
        settings = Settings(easee, homeassistant=HomeAssistantSettings(**{"enabled": True, **own}))
        settings = replace(settings, commands=replace(settings.commands, allow=allow))
        self.settings = settings
        self.announcer = DiscoveryPublisher(settings, version="1", salt=salt)
        self.seconds = 0.0
        self.retained = {}
        self.log = []
        self.kept = dict(kept or {})
        self.reason_code = 0
        self.takes_bytes = 1_000_000
        self.announcer.started(self.kept)
        if chargers:
            self.announcer.add_chargers(chargers, self.now)

    @property
    def now(self):
        return Timestamp(NOON + timedelta(seconds=self.seconds), 1000.0 + self.seconds)

    def take(self, effects, *, acknowledge=True):
        waiting = list(effects)
        while waiting:
            effect = waiting.pop(0)
            if isinstance(effect, SavePublishedDiscovery):
                self.kept = dict(effect.published)
            elif isinstance(effect, Publish):
                self.log.append(effect)
                if effect.retained and effect.payload:
                    self.retained[effect.topic] = json.loads(effect.payload)
                elif effect.retained:
                    self.retained.pop(effect.topic, None)
                if acknowledge:
                    code = 0x95 if len(effect.payload) > self.takes_bytes else self.reason_code
                    waiting += self.announcer.acked(effect, code, self.now)

    def connect(self, largest_packet_bytes=None):
        self.announcer.connected(self.now, largest_packet_bytes)
        self.run()

    def due(self):
        """Return what is done until something is waited for."""
        effects = []
        while not effects:
            assert self.announcer.deadline_s() <= self.now.mono_s
            effects = list(self.announcer.tick(self.now))
        return effects

    def run(self):
        """Let time pass until nothing is due any more; return what was sent."""
        before = len(self.log)
        while (deadline_s := self.announcer.deadline_s()) is not None:
            self.seconds = max(self.seconds, deadline_s - 1000.0)
            self.take(self.announcer.tick(self.now))
        return self.log[before:]

    def lists(self, *charger_ids, products=None):
        found = ChargerList(charger_ids, 0, products=products or {})
        self.announcer.listed(found, self.now, decides=True)
        return self.run()

    def births(self, payload=b"online"):
        return self.announcer.handles("homeassistant/status", payload, self.now)


@pytest.fixture
def broker():
    """One configured charger, announced."""
    broker = Broker()
    broker.connect()
    return broker


def test_a_charger_is_announced_once_it_settled(broker):
    """The message goes out a moment after the connection, with what came by then."""
    assert list(broker.retained) == [DEVICE.format(ONE)]
    assert broker.seconds == SETTLE_S
    assert broker.announcer.deadline_s() is None


def test_what_settles_is_explained_with_the_time_that_is_left():
    """Until the first description goes out, its explanation names the seconds to wait."""
    broker = Broker()
    broker.announcer.connected(broker.now)
    subject = Subject("homeassistant/device", f"charger_{ONE}", "config")
    waited = "descriptions are published in 3 s"

    assert waited in tuple(broker.announcer.explain(subject, broker.now))
    broker.run()
    assert tuple(broker.announcer.explain(subject, broker.now)) == (
        f"the broker acknowledged the description of {ONE}",
    )


def test_what_came_by_then_is_in_the_first_message():
    """One message says model and firmware; it is not written twice."""
    broker = Broker()
    broker.announcer.connected(broker.now)
    broker.announcer.firmware(ONE, "347", broker.now)
    broker.announcer.listed(ChargerList((ONE,), 0, products={ONE: 1}), broker.now, decides=False)

    assert len(broker.run()) == 1
    assert broker.retained[DEVICE.format(ONE)]["device"]["sw_version"] == "347"
    assert broker.retained[DEVICE.format(ONE)]["device"]["model"] == "Easee Home"


def test_the_list_that_brings_a_charger_tells_its_model():
    """A charger that is served because of a list has the model of that list."""
    broker = Broker(chargers=())
    broker.announcer.connected(broker.now)
    found = ChargerList((ONE,), 0, products={ONE: 1})
    broker.announcer.listed(found, broker.now, decides=True)
    broker.announcer.add_chargers((ONE,), broker.now)
    broker.run()

    assert broker.retained[DEVICE.format(ONE)]["device"]["model"] == "Easee Home"


def test_nothing_is_written_twice(broker):
    """The same firmware again changes nothing; another one does, once."""
    broker.announcer.firmware(ONE, "347", broker.now)
    assert len(broker.run()) == 1
    broker.announcer.firmware(ONE, "347", broker.now)
    broker.announcer.add_chargers((ONE,), broker.now)
    assert broker.run() == []
    broker.announcer.firmware(ONE, "348", broker.now)
    assert len(broker.run()) == 1


def test_what_the_broker_has_is_not_kept_here_too(broker):
    """Once a description is acknowledged its text is not held: 80 KB for every charger."""
    seen, waiting = set(), [broker.announcer]
    while waiting:
        held = waiting.pop()
        if id(held) not in seen and not isinstance(held, type):
            seen.add(id(held))
            assert not (isinstance(held, bytes) and len(held) > 1000)
            waiting += gc.get_referents(held)


def test_a_stranger_is_ignored(broker):
    """The firmware of a charger that is not served announces nobody."""
    broker.announcer.firmware("EH999999", "1", broker.now)

    assert broker.run() == []


def test_everything_is_said_again_after_a_reconnect(broker):
    """The broker may have lost what it kept."""
    broker.announcer.disconnected()
    assert broker.announcer.deadline_s() is None
    broker.connect()

    assert [message.topic for message in broker.log] == [DEVICE.format(ONE)] * 2


def test_a_birth_is_answered_after_a_delay_of_its_own(broker):
    """Home Assistant is told again, not at once, not always after the same time."""
    waits = []
    for _ in range(20):
        assert broker.births()
        at = broker.seconds
        assert len(broker.run()) == 1
        waits.append(broker.seconds - at)

    assert all(BIRTH_FIRST_S <= wait < BIRTH_FIRST_S + BIRTH_SPREAD_S for wait in waits)
    assert len({round(wait, 3) for wait in waits}) > 15


def test_installations_do_not_answer_in_step():
    """Each installation has delays of its own."""
    waits = set()
    for salt in (b"one", b"two", b"three"):
        broker = Broker(salt=salt)
        broker.connect()
        broker.births()
        waits.add(broker.announcer.deadline_s())

    assert len(waits) == 3


def test_only_a_birth_counts(broker):
    """Its will, an empty message and other topics announce nothing."""
    assert broker.births(b"offline")
    assert broker.births(b"")
    assert not broker.announcer.handles("homeassistant/other", b"online", broker.now)
    assert broker.run() == []


def test_switched_off_it_neither_listens_nor_speaks():
    """Who does not use Home Assistant sees nothing of it."""
    broker = Broker(enabled=False)
    broker.connect()

    assert broker.announcer.subscriptions == ()
    assert not broker.births()
    assert broker.log == []


def test_switched_off_it_takes_back_what_an_earlier_run_said(broker):
    """What the broker keeps is emptied, and forgotten once the broker acknowledged it."""
    later = Broker(enabled=False, kept=broker.kept)
    later.connect()

    assert [(m.topic, m.payload, m.retained) for m in later.log] == [
        (DEVICE.format(ONE), b"", True)
    ]
    assert later.kept == {}


def test_what_the_broker_refuses_to_empty_stays_known(broker):
    """It is tried again with the next connection."""
    later = Broker(enabled=False, kept=broker.kept)
    later.reason_code = 135
    later.connect()
    assert later.kept == broker.kept
    later.reason_code = 0
    later.announcer.disconnected()
    later.connect()

    assert later.kept == {}


def test_what_is_published_is_remembered_first():
    """A crash right behind the message leaves a file that knows of it."""
    broker = Broker()
    broker.announcer.connected(broker.now)
    broker.seconds = SETTLE_S
    effects = broker.due()
    kinds = [type(effect) for effect in effects]

    assert kinds.index(SavePublishedDiscovery) < kinds.index(Publish)
    assert effects[0].published.keys() == {DEVICE.format(ONE)}


def test_a_charger_that_is_no_longer_configured_is_taken_away():
    """The next run empties what the one before wrote of it, and nothing else."""
    both = Broker((ONE, TWO))
    both.connect()
    later = Broker((ONE,), kept=both.kept)
    later.connect()

    emptied = [m.topic for m in later.log if not m.payload]
    assert emptied == [DEVICE.format(TWO)]
    assert later.kept.keys() == {DEVICE.format(ONE)}


def test_a_charger_that_left_is_taken_away_with_its_values():
    """Until then its description stands, over a restart too; coming back it is announced again."""
    broker = Broker(())
    broker.announcer.add_chargers((ONE, TWO), broker.now)
    broker.lists(ONE, TWO)
    broker.connect()
    broker.announcer.leave((TWO,))
    assert broker.lists(ONE) == []
    assert broker.births()
    broker.run()
    assert broker.retained.keys() == {DEVICE.format(ONE), DEVICE.format(TWO)}

    later = Broker((), kept=broker.kept)
    later.announcer.leave((TWO,))
    later.announcer.add_chargers((ONE,), later.now)
    later.connect()
    later.lists(ONE)
    assert later.kept.keys() == {DEVICE.format(ONE), DEVICE.format(TWO)}
    later.announcer.forget(TWO, later.now)
    assert [m.topic for m in later.run() if not m.payload] == [DEVICE.format(TWO)]
    later.announcer.add_chargers((TWO,), later.now)
    assert [m.topic for m in later.run()] == [DEVICE.format(TWO)]


def test_nobody_is_taken_away_before_the_chargers_are_known():
    """After a start without a cloud, what an earlier run said stands until a list comes."""
    kept = {DEVICE.format(TWO): PublishedDiscovery(TWO, {"sensor_x": "sensor"})}
    broker = Broker((), kept=kept)
    broker.connect()
    assert broker.log == []
    broker.announcer.add_chargers((ONE,), broker.now)
    broker.lists(ONE)

    assert [m.topic for m in broker.log if not m.payload] == [DEVICE.format(TWO)]


@pytest.mark.parametrize(("before", "after"), [("component", "device"), ("device", "component")])
def test_the_form_can_change(before, after):
    """The old topics hand their entities over, then the new ones come, then the old are emptied."""
    first = Broker(form=before)
    first.connect()
    later = Broker(form=after, kept=first.kept)
    later.retained = dict(first.retained)
    later.connect()

    handed, new, emptied = [], [], []
    for message in later.log:
        kind = handed if message.payload == MIGRATE else new if message.payload else emptied
        kind.append(message)
    assert later.log == handed + new + emptied
    assert not any(message.retained for message in handed)
    assert {m.topic for m in handed} == {m.topic for m in emptied} == first.kept.keys()
    assert later.retained.keys() == later.kept.keys() == {m.topic for m in new}


def test_a_broker_that_names_its_limit_gets_a_device_in_parts():
    """Nothing it does not take is tried; where it takes more, the device is one message again."""
    broker = Broker()
    broker.connect(largest_packet_bytes=8_092)
    assert DEVICE.format(ONE) not in {message.topic for message in broker.log}
    assert len(broker.retained) > 20
    assert max(len(m.payload) for m in broker.log) < 8_092

    broker.connect()
    assert set(broker.retained) == {DEVICE.format(ONE)}


@pytest.mark.fault("F43")
def test_a_broker_that_refuses_a_device_gets_it_in_parts():
    """By reason code, or because it ends connections: once, and not again with each birth."""
    broker = Broker()
    broker.takes_bytes = 20_000
    broker.connect()
    assert DEVICE.format(ONE) not in broker.kept
    assert len(broker.kept) > 20
    tried = sum(len(m.payload) > 20_000 for m in broker.log)
    broker.connect()

    assert (tried, sum(len(m.payload) > 20_000 for m in broker.log)) == (1, 1)


def test_a_broker_that_takes_neither_form_is_asked_for_the_one_that_was_wanted():
    """It is refused, and told of, once for each time it is due."""
    broker = Broker()
    broker.connect(largest_packet_bytes=100)
    broker.takes_bytes = 50

    assert [m.topic for m in broker.log] == [DEVICE.format(ONE)]
    broker.connect(largest_packet_bytes=100)
    assert [m.topic for m in broker.log] == [DEVICE.format(ONE)] * 2


def test_each_step_waits_for_the_one_before():
    """Nothing new is said before the hand-over is acknowledged, nothing emptied before the new."""
    first = Broker(form="component")
    first.connect()
    later = Broker(form="device", kept=first.kept)
    later.announcer.connected(later.now)
    later.seconds = SETTLE_S
    later.take(later.due(), acknowledge=False)
    handed = list(later.log)
    assert {message.payload for message in handed} == {MIGRATE}
    for message in handed[:-1]:
        later.take(later.announcer.acked(message, 0, later.now))
    assert later.announcer.deadline_s() is None
    later.take(later.announcer.acked(handed[-1], 0, later.now))
    assert later.announcer.deadline_s() == later.now.mono_s + HANDED_OVER_S
    assert list(later.announcer.tick(later.now)) == []
    later.run()
    assert later.log[len(handed)].topic == DEVICE.format(ONE)
    assert later.kept.keys() == {DEVICE.format(ONE)}


def test_a_lost_connection_starts_the_steps_again():
    """What was half done is done from the start; acknowledgements of old are nobody's."""
    first = Broker(form="component")
    first.connect()
    later = Broker(form="device", kept=first.kept)
    later.announcer.connected(later.now)
    later.seconds = SETTLE_S
    later.take(later.due(), acknowledge=False)
    later.announcer.disconnected()
    assert list(later.announcer.acked(later.log[0], 0, later.now)) == []
    later.connect()

    assert later.kept.keys() == {DEVICE.format(ONE)}


def test_another_prefix_leaves_nothing_behind(broker):
    """What was said below the old prefix is emptied."""
    later = Broker(discovery_prefix="ha", kept=broker.kept)
    later.connect()

    assert later.kept.keys() == {f"ha/device/charger_{ONE}/config"}
    assert [m.topic for m in later.log if not m.payload] == [DEVICE.format(ONE)]


def test_a_control_that_is_no_longer_allowed_is_forgotten(broker):
    """The device form names it with its platform alone, as long as this process runs."""
    later = Broker(allow=("pause",), kept=broker.kept)
    later.connect()
    components = later.retained[DEVICE.format(ONE)]["components"]
    kept = later.kept[DEVICE.format(ONE)].components

    assert components["button_start"] == {"platform": "button"}
    assert "command_topic" in components["button_pause"]
    assert "button_start" not in kept
    last = Broker(allow=("pause",), kept=later.kept)
    last.connect()
    assert "button_start" not in last.retained[DEVICE.format(ONE)]["components"]


def test_a_control_is_emptied_in_the_component_form():
    """There it has a topic of its own."""
    first = Broker(form="component")
    first.connect()
    later = Broker(form="component", allow=("pause",), kept=first.kept)
    later.connect()

    emptied = {m.topic for m in later.log if not m.payload}
    assert f"homeassistant/button/charger_{ONE}/button_start/config" in emptied
    assert f"homeassistant/button/charger_{ONE}/button_pause/config" not in emptied
    assert MIGRATE not in {m.payload for m in later.log}


def test_another_name_is_told_without_a_restart(broker):
    """The device is called so when the configuration was read again."""
    easee = replace(broker.settings.easee, names=((ONE, "Garage"),))
    broker.announcer.handle(SettingsChanged(replace(broker.settings, easee=easee)), broker.now)
    broker.run()

    assert broker.retained[DEVICE.format(ONE)]["device"]["name"] == "Garage"


# -- any story ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["device", "component"])
def test_one_device_is_described_at_a_time(form, monkeypatch):
    """No turn of the core describes two devices, and none is published before another is taken."""
    described, waiting = [], []
    real = DiscoveryPublisher._in_form
    monkeypatch.setattr(
        DiscoveryPublisher,
        "_in_form",
        lambda self, charger_id, form: described.append(charger_id) or real(self, charger_id, form),
    )
    chargers = tuple(f"EH00000{number}" for number in range(5))
    broker = Broker(chargers, form=form)
    broker.announcer.connected(broker.now)
    broker.seconds = SETTLE_S
    while broker.announcer.deadline_s() is not None or waiting:
        described.clear()
        sent = [one for one in broker.announcer.tick(broker.now) if isinstance(one, Publish)]
        assert len(described) <= 1
        assert not (sent and waiting)
        waiting += sent
        for message in waiting[:1]:
            waiting.remove(message)
            broker.take([message])

    assert {kept.charger_id for kept in broker.kept.values()} <= {*chargers}
    assert len(broker.log) >= len(chargers)


def test_a_device_that_comes_while_others_are_described_keeps_its_entities():
    """What an earlier process described of it is not taken away before it is described again."""
    first = Broker((ONE, TWO))
    first.connect()
    later = Broker((ONE,), kept=first.kept)
    later.announcer.connected(later.now)
    later.seconds = SETTLE_S
    assert list(later.announcer.tick(later.now)) == []
    later.announcer.add_chargers((TWO,), later.now)
    later.run()

    assert all(message.payload for message in later.log)
    assert {kept.charger_id for kept in later.kept.values()} == {ONE, TWO}


def test_a_device_that_leaves_while_others_are_described_is_not_published():
    """Neither the comparison nor the publication describes it."""
    broker = Broker((ONE, TWO))
    broker.announcer.connected(broker.now)
    broker.seconds = SETTLE_S
    broker.take(broker.due())
    broker.announcer.leave((TWO,))
    broker.run()

    assert broker.retained.keys() == {DEVICE.format(ONE)}


class Life:
    """One process after another at one broker, with the real outbox in between."""

    def __init__(self):
        self.file, self.retained = {}, {}
        self.seconds = 0.0
        self.start((ONE,), "device", "control", enabled=True)

    @property
    def now(self):
        return Timestamp(NOON + timedelta(seconds=self.seconds), 1000.0 + self.seconds)

    def start(self, chargers, form, group, *, enabled):
        """Run a new process with this configuration; the one before is gone as by a power cut."""
        self.outbox, self.up = Outbox(), False
        self.wanted = {}
        own = HomeAssistantSettings(enabled=enabled, form=form)
        easee = EaseeSettings("x@example.com", Secret("p"), chargers)
        settings = replace(
            Settings(easee, homeassistant=own), commands=CommandSettings(allow=(group,))
        )
        self.announcer = DiscoveryPublisher(settings, version="1", salt=b"salt")
        self.announcer.started(self.file)
        self.announcer.add_chargers(chargers, self.now)
        self.settings = settings
        for charger_id in chargers:
            self.want(charger_id)

    def want(self, charger_id):
        """Expect the description of a charger."""
        if self.settings.homeassistant.enabled:
            self.wanted |= describe(
                DeviceInfo(charger_id),
                entities(charger_id, Topics(), self.settings.commands),
                form=self.settings.homeassistant.form,
                topics=Topics(),
                places=HomeAssistantTopics(),
                version="1",
            ).documents

    def come(self):
        """Have a charger come in the middle of everything."""
        self.announcer.add_chargers((TWO,), self.now)
        self.want(TWO)

    def connect(self):
        if not self.up:
            self.up = True
            self.announcer.connected(self.now)

    def disconnect(self):
        if self.up:
            self.up = False
            self.outbox.connection_lost()
            self.announcer.disconnected()

    def carry(self, effects):
        for effect in effects:
            if isinstance(effect, SavePublishedDiscovery):
                self.file = dict(effect.published)
            elif isinstance(effect, Publish):
                self.outbox.put(effect)

    def flow(self, count, *, acknowledged=True):
        """Let so many messages reach the broker; without its answers the connection is lost."""
        for _ in range(count):
            message = self.outbox.take() if self.up else None
            if message is None:
                break
            if message.retained and message.payload:
                self.retained[message.topic] = message.payload
            elif message.retained:
                self.retained.pop(message.topic, None)
            if acknowledged:
                self.outbox.acked(message)
                self.carry(self.announcer.acked(message, 0, self.now))
        if not acknowledged:
            self.disconnect()

    def wait(self):
        """Let time pass until something is due."""
        deadline_s = self.announcer.deadline_s()
        if deadline_s is not None:
            self.seconds = max(self.seconds, deadline_s - 1000.0)
            self.carry(self.announcer.tick(self.now))

    def come_to_rest(self):
        """Stay connected until nothing is left to do."""
        self.connect()
        while self.announcer.deadline_s() is not None or self.outbox.waiting:
            self.wait()
            self.flow(1000)


START = st.tuples(
    st.just("start"),
    st.sampled_from([(ONE,), (TWO,), (ONE, TWO)]),
    st.sampled_from(["device", "component"]),
    st.sampled_from(["control", "current"]),
    st.booleans(),
)
FLOW = st.tuples(st.just("flow"), st.integers(1, 250), st.booleans())
PLAIN = st.sampled_from(
    [("wait",), ("connect",), ("disconnect",), ("birth",), ("come",), ("come_to_rest",)]
)
# What a process lives through, and then another one.
CHAPTER = st.tuples(START, st.lists(st.one_of(FLOW, PLAIN), max_size=6))
STORY = st.lists(CHAPTER, max_size=5).map(
    lambda chapters: [step for start, lived in chapters for step in (start, *lived)]
)


@given(STORY)
def test_whatever_happens_the_broker_ends_with_what_is_wanted(steps):
    """Through crashes, lost answers and changed configurations nothing is left and nothing missing.

    At no moment does the broker keep a topic that the file does not know.
    """
    life = Life()
    for step in steps:
        match step:
            case ("flow", count, acknowledged):
                life.flow(count, acknowledged=acknowledged)
            case ("start", chargers, form, group, enabled):
                life.start(chargers, form, group, enabled=enabled)
            case ("birth",):
                life.announcer.handles("homeassistant/status", b"online", life.now)
            case (name,):
                getattr(life, name)()
        assert life.retained.keys() <= life.file.keys()
    life.come_to_rest()

    assert life.retained.keys() == life.wanted.keys() == life.file.keys()
    for topic, document in life.wanted.items():
        found = json.loads(life.retained[topic])
        components = found.pop("components", {})
        alive = {key: c for key, c in components.items() if c.keys() != {"platform"}}
        assert alive == document.get("components", {})
        assert found == {key: part for key, part in document.items() if key != "components"}


def test_an_equalizer_is_a_device_of_its_own(broker):
    """With its model and firmware, and without controls; it goes when its values go."""
    list(broker.announcer.handle(EqualizersChanged(("QP1",), added=("QP1",)), broker.now))
    list(broker.announcer.handle(EqualizerFirmware("QP1", "305"), broker.now))
    broker.run()
    document = broker.retained[DEVICE.format("QP1")]
    assert document["device"]["model"] == "Easee Equalizer"
    assert document["device"]["sw_version"] == "305"
    assert {part["platform"] for part in document["components"].values()} == {
        "sensor",
        "binary_sensor",
    }
    assert "sensor_meter_id" not in document["components"]
    list(broker.announcer.handle(EqualizersChanged((), removed=("QP1",)), broker.now))
    broker.run()
    assert DEVICE.format("QP1") in broker.retained
    list(broker.announcer.handle(ChargerForgotten("QP1"), broker.now))
    broker.run()
    assert DEVICE.format("QP1") not in broker.retained


GATEWAY = "homeassistant/device/charger_bridge/config"


def test_the_gateway_has_a_device_of_its_own():
    """It comes first, the chargers refer to it, and it is there before any charger is."""
    broker = Broker()
    broker.connect()

    assert [message.topic for message in broker.log if message.payload] == [
        GATEWAY,
        DEVICE.format(ONE),
    ]
    gateway, charger = broker.retained[GATEWAY], broker.retained[DEVICE.format(ONE)]
    assert charger["device"]["via_device"] in gateway["device"]["identifiers"]
    assert gateway["device"]["sw_version"] == "1"
    assert "availability" not in gateway

    alone = Broker(chargers=())
    alone.connect()
    assert list(alone.retained) == [GATEWAY]


def test_the_gateway_is_taken_away_when_discovery_is_switched_off():
    """What an earlier run published of it is emptied like everything else."""
    broker = Broker()
    broker.connect()
    off = Broker(kept=broker.kept, enabled=False)
    off.retained = dict(broker.retained)
    off.connect()

    assert off.retained == {}
