"""The messages for Home Assistant: both forms, one truth, and the rules of the device form."""

import json
import re

import pytest

from bridge.conventions.homeassistant.discovery_messages import (
    DeviceInfo,
    describe,
    encoded,
    node_of,
)
from bridge.conventions.homeassistant.entities import entities
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.topics import HomeAssistantTopics, Topics
from bridge.settings import CommandSettings

ONE = "EH123456"
COMMANDS = CommandSettings(allow=tuple({spec.group for spec in CATALOGUE.values()}))


def description(form, facts=None, base="charger"):
    """Describe a charger with everything allowed."""
    topics = Topics(base)
    return describe(
        facts or DeviceInfo(ONE, 1, "347"),
        entities(facts.charger_id if facts else ONE, topics, COMMANDS),
        form=form,
        topics=topics,
        places=HomeAssistantTopics(),
        version="1.2.3",
    )


def device_message():
    """Read the device form back."""
    (document,) = description("device").documents.values()
    return json.loads(encoded(document, {}))


def test_the_device_form_is_one_message_for_each_charger():
    """Everything of a charger is in one retained message on its own topic."""
    assert list(description("device").documents) == [f"homeassistant/device/charger_{ONE}/config"]


def test_the_device_form_keeps_its_rules():
    """Device and origin stand at the root alone, each component names platform and unique id."""
    message = device_message()

    assert message["origin"] == {"name": "charger-bridge", "sw_version": "1.2.3"}
    assert message["device"] == {
        "identifiers": [f"charger_{ONE}"],
        "name": f"Easee {ONE}",
        "manufacturer": "Easee",
        "serial_number": ONE,
        "model": "Easee Home",
        "sw_version": "347",
        "via_device": "charger_bridge",
    }
    unique = [component["unique_id"] for component in message["components"].values()]
    assert len(unique) == len(set(unique))
    for component in message["components"].values():
        assert component.keys().isdisjoint({"device", "origin", "availability"})
        assert len(component.keys() - {"platform", "unique_id"}) > 0


def test_availability_asks_for_all_three():
    """Bridge, cloud and charger must all be well; a degraded cloud still delivers."""
    message = device_message()
    topics = [item["topic"] for item in message["availability"]]

    assert topics == ["charger/bridge/state", "charger/bridge/cloud", f"charger/{ONE}/availability"]
    assert message["availability_mode"] == "all"
    assert "degraded" in message["availability"][1]["value_template"]


def test_both_forms_say_the_same():
    """Unique ids, device and everything else of an entity do not depend on the form."""
    device = device_message()
    single = description("component").documents
    root = {key: device[key] for key in device.keys() - {"components"}}

    assert len(single) == len(device["components"])
    for key, component in device["components"].items():
        platform = component.pop("platform")
        topic = f"homeassistant/{platform}/charger_{ONE}/{key}/config"
        assert json.loads(encoded(single[topic], {})) == root | component


@pytest.mark.parametrize("form", ["device", "component"])
def test_every_topic_is_one_home_assistant_looks_at(form):
    """Prefix, platform, node and object id, made of letters, digits, _ and -."""
    shape = re.compile(r"homeassistant/\w+/(?:[a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config")

    assert all(shape.fullmatch(topic) for topic in description(form).documents)


def test_what_is_not_known_is_left_out():
    """No made-up model, no empty version."""
    (document,) = description("device", DeviceInfo(ONE)).documents.values()

    assert document["device"].keys().isdisjoint({"model", "sw_version"})
    (document,) = description("device", DeviceInfo(ONE, 999)).documents.values()
    assert "model" not in document["device"]


def test_bridges_with_other_base_topics_do_not_meet():
    """Two accounts on one broker may both serve a charger; neither overwrites the other."""
    assert node_of(Topics("home/garage é"), ONE) == f"home_garage___{ONE}"
    assert set(description("device").documents).isdisjoint(
        description("device", base="other").documents
    )


def test_a_component_that_is_no_more_is_named_with_its_platform_alone():
    """That is how Home Assistant is told to forget it; the others stay."""
    (document,) = description("device").documents.values()
    message = json.loads(encoded(document, {"button_old": "button"}))

    assert message["components"].pop("button_old") == {"platform": "button"}
    assert message["components"] == device_message()["components"]


def test_what_the_broker_keeps_is_known():
    """The record names every topic, and every component with its platform in the device form."""
    device, single = description("device"), description("component")

    assert device.published.keys() == device.documents.keys()
    (kept,) = device.published.values()
    assert kept.components["sensor_total_power"] == "sensor"
    assert single.published.keys() == single.documents.keys()
    assert not any(each.components for each in single.published.values())


def test_chargers_that_are_alike_share_what_is_remembered_of_them():
    """What is kept for each announced charger is one table, so fifty of them cost one."""
    ours, other = (
        published
        for one in (ONE, "EH654321")
        for published in description("device", DeviceInfo(one, 1, "347")).published.values()
    )

    assert ours.components is other.components
    assert len(ours.components) > 100
    with pytest.raises(TypeError):
        ours.components["switch_enabled"] = "light"
