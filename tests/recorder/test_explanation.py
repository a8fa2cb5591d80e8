"""Explanations: which events led to a message, why another one did not, and who is waited for."""

from dataclasses import replace
from datetime import timedelta

import pytest

from bridge.core.chargers.equalizer_state import EqualizerState
from bridge.core.events import (
    MqttAcked,
    MqttMessage,
    ObservationsReceived,
    StreamClosed,
    Tick,
)
from bridge.core.messages import AckToken
from bridge.core.subjects import Subject
from bridge.errors import RecordError
from bridge.recorder.explanation import MAX_LINES, explanation, moment_of
from bridge.settings import HomeAssistantSettings
from tests.conftest import NOON
from tests.recorder.recorded import ONE, SECRET, TWO, Recorded, command, said, settings_of
from tests.recorder.test_links import GROUP, NODE, Plant
from tests.recorder.test_links import SETTINGS as PLANT

EQUALIZER = "QP123456"
TOPIC = f"charger/{ONE}/state/op_mode"


@pytest.fixture
def lived():
    """Return a core that lived a little."""
    recorded = Recorded()
    recorded.live()
    return recorded


def text_of(recorded, topic, **more):
    """Return an explanation as one text."""
    return "\n".join(explanation(recorded.record(), topic, **more))


def test_a_value_is_explained_by_the_observation_it_came_with(lived):
    """When it was published, and because of what; its source and its times."""
    text = text_of(lived, TOPIC)

    assert f"published charging on {TOPIC}, because observation 109 measured at" in text
    assert "arrived by stream" in text
    assert "op_mode is 'charging'" in text
    assert "observation 109 (charger_op_mode) is 3: measured by the charger at 2026-" in text


def test_a_value_that_was_not_published_has_a_reason(lived):
    """It was measured before what is held, repeats it, or cannot be read."""
    lived.handle(
        ObservationsReceived((said(109, "3"),)), ObservationsReceived((said(109, "x", second=9),))
    )
    text = text_of(lived, f"charger/{ONE}/observation/charger_op_mode")

    assert "before the value that is held (2026-11-22T12:00:00Z): the newest measured" in text
    assert "not published: observation 109 repeats what is held" in text
    assert "not published: observation 109 cannot be read: " in text
    assert "1 older ones of this charger were ignored" in text


def test_a_command_is_explained_by_its_message_and_who_is_waited_for(lived):
    """Its message, what it waits for, and the result of a refused one."""
    text = text_of(lived, f"charger/{ONE}/result/start")
    assert f"a message arrived on charger/{ONE}/set/start" in text
    assert "canary-command" in text
    assert "is leaving: the store is to write down that it leaves" in text
    lived.handle(command("reboot", "PRESS", number=9))
    text = text_of(lived, f"{ONE}/set/reboot")

    assert "published refused (not_allowed), at 2026-11-22T12:00:1" in text
    assert f"on charger/{ONE}/result/reboot, because a message arrived on" in text
    assert f"no command reboot of {ONE} is under way" in text


def test_availability_and_the_bridge_are_explained(lived):
    """Since when nothing was heard; what the cloud is like; which alerts are open."""
    lived.handle(StreamClosed("the hub closed"), Tick(), after_s=1500.0)

    text = text_of(lived, f"charger/{ONE}/availability")
    assert "the charger is offline" in text
    assert "after 20 minutes without one it counts as offline" in text
    assert "the stream is not open" in text_of(lived, "charger/bridge/cloud")
    assert "the alert no_such is not open" in text_of(lived, "charger/bridge/alert/no_such")
    assert "is not served" in text_of(lived, "charger/XX999999/state/op_mode")


def test_topics_outside_of_chargers_are_explained_without_a_word_too_much(lived):
    """An Equalizer explains its values; no site and no convention is called a charger."""
    state = EqualizerState(EQUALIZER, lived.settings.publish, SECRET)
    lived.core.status.equalizers[EQUALIZER] = state
    subject, now = Subject(EQUALIZER, "availability"), lived.now
    explained = lived.core.explain(f"charger/{EQUALIZER}/availability", now)

    assert explained == tuple(state.explain(subject, now))
    assert explained
    assert not any("is not served" in one for one in explained)
    for topic in ("site/471147/info", "homeassistant/sensor/x/config", "spBv1.0/a/NDATA/b"):
        text = text_of(lived, topic)
        assert "is not served" not in text
        assert f"nothing recorded concerns {topic}" in text


def test_topics_of_home_assistant_are_explained():
    """What the broker has of a description, and when Home Assistant said that it came up."""
    settings = replace(settings_of(), homeassistant=HomeAssistantSettings(enabled=True))
    recorded = Recorded(settings)
    recorded.live()
    recorded.handle(
        MqttMessage("homeassistant/status", b"online", AckToken(1, 9, 0)), Tick(), after_s=9.0
    )
    topic = f"homeassistant/device/charger_{ONE}/config"

    def sent_to(place):
        steps = recorded.effects
        (sent,) = [one for step in steps for one in step if getattr(one, "topic", "") == place]
        return sent

    recorded.handle(Tick(), Tick())  # both devices are described, then the first is published
    recorded.handle(MqttAcked(sent_to(topic.replace(ONE, "bridge")), 0), Tick())
    sent = sent_to(topic)

    text = text_of(recorded, topic)
    assert f"on {topic}, because " in text
    assert f"the description of {ONE} is to be published" in text
    recorded.handle(MqttAcked(sent, 0))
    assert f"the broker acknowledged the description of {ONE}" in text_of(recorded, topic)
    assert "nothing is described there" in text_of(recorded, "homeassistant/sensor/x/y/config")
    text = text_of(recorded, "homeassistant/status")
    assert "a message arrived on homeassistant/status: online" in text
    assert "Home Assistant said 1 times that it came up" in text


def test_topics_of_sparkplug_are_explained():
    """The metrics of a message instead of its bytes, the connection, the host, and the device."""
    plant = Plant(replace(PLANT, sparkplug=replace(PLANT.sparkplug, host_id="scada")))
    plant.live_on()
    births, commands = (f"spBv1.0/{GROUP}/{kind}/{NODE}/{ONE}" for kind in ("DBIRTH", "DCMD"))
    text = text_of(plant, births)
    assert "the primary host scada is not online: nothing is published without it" in text
    state = MqttMessage(
        "spBv1.0/STATE/scada", b'{"online":true,"timestamp":1795348800000}', AckToken(1, 0, 0)
    )
    plant.refuses = 0
    plant.emit(state)
    plant.acked()
    text = text_of(plant, births)

    assert "metrics: " in text
    assert "total_power=" in text
    assert f"on {births}, because the connection sparkplug had room for a message" in text
    assert "the connection sparkplug was lost" in text
    assert "is online, by its STATE of 2026-11-22T12:00:00Z" in text
    assert f"{ONE} is online, and born" in text
    text = text_of(plant, commands)
    assert f"the connection sparkplug brought a message on {commands}: 1 metrics: " in text
    assert f"{TWO}x is no device of the node" in text_of(plant, births.replace(ONE, f"{TWO}x"))


def test_what_is_open_is_explained_with_what_to_do(lived):
    """An alert says since when, why and what to do."""
    lived.handle(ObservationsReceived((said(129, "{", second=5),)))
    kind = next(iter(lived.core.alerts.kinds))
    text = text_of(lived, f"charger/bridge/alert/{kind}")

    assert "the alert is open since 2026-11-22T" in text
    assert "what to do: " in text


def test_an_explanation_ends_where_it_is_asked_to(lived):
    """By the number of an event, or by a time."""
    early = text_of(lived, TOPIC, until=3)
    assert "nothing recorded concerns" in early
    assert text_of(lived, TOPIC, until=NOON + timedelta(seconds=4)) == early
    assert moment_of("17") == 17
    assert moment_of("2026-11-22T12:00:00Z") == NOON
    assert moment_of("noon") is None


@pytest.mark.parametrize("topic", ["", "#", "charger/+/state/op_mode"])
def test_one_topic_is_explained(lived, topic):
    """A filter names many; it is refused in one line."""
    with pytest.raises(RecordError, match="name one topic, without"):
        explanation(lived.record(), topic)


def test_the_end_is_told_once_where_somebody_else_tells_it(lived):
    """The running bridge tells what is now, which is the end of its record."""
    lines = explanation(lived.record(), TOPIC, tells_end=False)

    assert lines
    assert not [line for line in lines if line.startswith("at ")]


def test_an_explanation_has_an_end():
    """Of very many lines the newest are shown."""
    recorded = Recorded()
    recorded.live()
    for number in range(3 * MAX_LINES):
        value = str(2 + number % 2)
        recorded.handle(ObservationsReceived((said(109, value, second=number),)))
    lines = explanation(recorded.record(), TOPIC)

    assert lines[0].endswith("earlier lines left out)")
    assert len(lines) < MAX_LINES + 10
