"""The tag list: one row per topic, as programs that know no MQTT discovery want it."""

import csv
import io
from dataclasses import replace

from bridge.core.easee.derived_state import DERIVED
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
from bridge.core.easee.observation_registry import REGISTRY
from bridge.exports.tag_list import ANY_CHARGER, ANY_EQUALIZER, tag_list
from bridge.settings import (
    CommandSettings,
    EaseeSettings,
    MqttSettings,
    PublishSettings,
    Secret,
    Settings,
)

ONE, TWO = "EH123456", "EH654321"
SETTINGS = Settings(EaseeSettings("x@example.com", Secret("p"), (ONE, TWO)))


def rows(settings=SETTINGS):
    """Read the list the way a spreadsheet does."""
    return list(csv.DictReader(io.StringIO(tag_list(settings), newline="")))


def test_every_charger_has_every_topic_once():
    """Observations, derived values and availability of each configured charger, no row twice."""
    topics = [row["topic"] for row in rows()]

    assert len(topics) == len(set(topics))
    for charger in (ONE, TWO):
        assert f"charger/{charger}/availability" in topics
        for name in [s.name for s in REGISTRY.values()] + [d.name for d in DERIVED]:
            assert f"charger/{charger}/state/{name}" in topics
    for topic in EQUALIZER_DERIVED:
        assert f"charger/{ANY_EQUALIZER}/state/{topic.name}" in topics


def test_a_row_says_how_its_value_is_read():
    """Type, unit and the meaning of codes stand in columns of their own."""
    by_tag = {row["tag"]: row for row in rows()}

    assert by_tag["total_power"]["type"] == "number"
    assert by_tag["total_power"]["unit"] == "kW"
    assert "3=locked_3_phase" in by_tag["phase_mode"]["values"].split()
    assert by_tag["awaiting_authorization"]["type"] == "boolean"
    assert by_tag["charging_session"]["type"] == "json"
    assert by_tag["user_id_token"]["retained"] == "no"


def test_only_what_is_allowed_can_be_written():
    """A command that would be refused is not in the list."""
    settings = replace(SETTINGS, commands=CommandSettings(allow=("pause",)))
    written = [row["topic"] for row in rows(settings) if row["access"] == "write"]

    assert written == [f"charger/{charger}/set/pause" for charger in (ONE, TWO)]


def test_the_list_follows_the_configuration():
    """Base topic and switched-off values are those of the configuration."""
    settings = replace(
        SETTINGS, mqtt=MqttSettings(base_topic="home/ev"), publish=PublishSettings(scalar=False)
    )
    found = rows(settings)

    assert all(row["topic"].startswith("home/ev/") for row in found)
    assert "total_power" not in {row["tag"] for row in found}


def test_without_a_serial_there_is_one_to_replace():
    """An account whose chargers are not configured gets a list for any of them."""
    settings = replace(SETTINGS, easee=replace(SETTINGS.easee, chargers=()))

    assert {row["charger"] for row in rows(settings)} == {ANY_CHARGER, ANY_EQUALIZER}
