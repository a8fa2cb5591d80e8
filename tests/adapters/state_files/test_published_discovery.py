"""What the broker keeps of us: known again after a restart, and nothing else gets in."""

import json

import pytest

from bridge.adapters.state_files.documents import FileDocuments
from bridge.adapters.state_files.private_file import replace
from bridge.adapters.state_files.published_discovery import KeptDiscovery
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.settings import MqttSettings

HERE, THERE = MqttSettings(), MqttSettings(host="elsewhere")
TOPIC = "homeassistant/device/charger_EH123456/config"
ONE = PublishedDiscovery("EH123456", {"sensor_total_power": "sensor"})


def kept(path, mqtt):
    """Return the descriptions in a file."""
    return KeptDiscovery(FileDocuments(path.parent), mqtt, path.name)


def test_what_was_said_comes_back(tmp_path):
    """Topics and components are known at the next start, at the same broker only."""
    kept(tmp_path / "announced.json", HERE).save({TOPIC: ONE})

    assert kept(tmp_path / "announced.json", HERE).load() == {TOPIC: ONE}
    assert kept(tmp_path / "announced.json", THERE).load() == {}
    assert kept(tmp_path / "missing.json", HERE).load() == {}


def test_many_chargers_fit(tmp_path):
    """A hundred chargers with a message for every entity are read back whole."""
    many = {
        f"homeassistant/sensor/charger_EH{charger:06}/sensor_number_{entity:030}/config": ONE
        for charger in range(100)
        for entity in range(180)
    }
    kept(tmp_path / "announced.json", HERE).save(many)

    assert kept(tmp_path / "announced.json", HERE).load() == many


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"broker": "localhost:1883"}',
        b'{"broker": "localhost:1883", "announced": []}',
        b"[" * 20_000,
        b"\xff",
    ],
)
def test_a_broken_file_is_an_empty_one(tmp_path, content):
    """The file is a hint; whatever it holds, the start goes on."""
    replace(tmp_path / "announced.json", content)

    assert kept(tmp_path / "announced.json", HERE).load() == {}


@pytest.mark.parametrize(
    ("topic", "entry"),
    [
        ("charger/EH123456/set/start", {"charger": "EH123456", "components": {}}),
        ("homeassistant/+/x/config", {"charger": "EH123456", "components": {}}),
        ("homeassistant/\x00/config", {"charger": "EH123456", "components": {}}),
        ("x" * 2000 + "/config", {"charger": "EH123456", "components": {}}),
        (TOPIC, {"charger": 7, "components": {}}),
        (TOPIC, {"charger": "EH123456", "components": {"a": 1}}),
        (TOPIC, {"charger": "EH123456", "components": []}),
        (TOPIC, "x"),
    ],
)
def test_what_cannot_be_ours_is_left_out(tmp_path, topic, entry):
    """We publish to what is named there: nothing but topics of descriptions gets in."""
    document = {"broker": "localhost:1883", "announced": {topic: entry}}
    replace(tmp_path / "announced.json", json.dumps(document).encode())

    assert kept(tmp_path / "announced.json", HERE).load() == {}


def test_a_file_that_cannot_be_written_is_no_error(tmp_path):
    """A full disk costs the hint, not the bridge."""
    (tmp_path / "file").touch()

    kept(tmp_path / "file" / "announced.json", HERE).save({TOPIC: ONE})
