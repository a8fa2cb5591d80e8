"""The device of the gateway itself: what it shows, and the address of its page."""

import json

import pytest

from bridge.conventions.homeassistant.discovery_messages import GATEWAY, DeviceInfo, describe
from bridge.conventions.homeassistant.gateway_entities import (
    CLOUD_STATES,
    gateway_entities,
    page_address,
)
from bridge.core.topics import HomeAssistantTopics, Topics
from bridge.settings import HttpSettings


def described(base="charger", form="device", page=""):
    """Return the messages of a gateway, by topic."""
    topics = Topics(base)
    device = DeviceInfo(GATEWAY, firmware="1.2.3", page=page)
    found = describe(
        device,
        gateway_entities(topics),
        form=form,
        topics=topics,
        places=HomeAssistantTopics(),
        version="1.2.3",
    )
    return json.loads(json.dumps(found.documents))


def test_state_cloud_alerts_and_version():
    """Each reads a topic of the gateway, and all but the state are unavailable while it is away."""
    (document,) = described().values()
    topics = Topics()
    shown = {key: one["state_topic"] for key, one in document["components"].items()}

    assert shown["binary_sensor_state"] == topics.bridge_state
    assert shown["sensor_cloud"] == topics.bridge_cloud
    assert shown["sensor_alerts"] == shown["binary_sensor_problem"] == topics.bridge_health
    assert shown["sensor_version"] == topics.bridge_info
    assert document["components"]["sensor_cloud"]["options"] == list(CLOUD_STATES)
    for key, one in document["components"].items():
        assert ("availability" in one) is (key != "binary_sensor_state")


@pytest.mark.parametrize("form", ["device", "component"])
def test_two_accounts_have_devices_of_their_own(form):
    """Nothing of two gateways with different base topics is the same: topics, ids, devices."""
    one, two = described("home", form), described("work", form)

    def ids(documents):
        parts = [part for d in documents.values() for part in d.get("components", {"": d}).values()]
        devices = {name for d in documents.values() for name in d["device"]["identifiers"]}
        return {part["unique_id"] for part in parts} | devices

    assert not set(one) & set(two)
    assert not ids(one) & ids(two)
    assert {d["device"]["name"] for d in one.values()} == {"charger-bridge home"}
    assert {d["device"]["name"] for d in described().values()} == {"charger-bridge"}


@pytest.mark.parametrize(
    ("http", "address"),
    [
        (HttpSettings(), ""),
        (HttpSettings(enabled=True), ""),
        (HttpSettings(enabled=True, page=True), "http://127.0.0.1:8480/"),
        (HttpSettings(enabled=True, page=True, host="::1", port=80), "http://[::1]:80/"),
        (HttpSettings(enabled=True, page=True, host="0.0.0.0"), ""),
        (HttpSettings(True, "0.0.0.0", 8480, ("pi.lan",), page=True), "http://pi.lan:8480/"),
    ],
)
def test_the_address_of_the_status_page(http, address):
    """The device links to it where it has an address that can be named."""
    assert page_address(http) == address
    (document,) = described(page=address).values()
    assert document["device"].get("configuration_url", "") == address
