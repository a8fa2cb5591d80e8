"""A new observation is one line of the registry, and a new command one line of the catalogue.

Two lines are added to a copy of the package, which then runs: nothing else knows of them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[3]
TABLES = {
    "observation_registry.py": (
        'row(777, "NightLight", _BOOL, None, "The strip is dark at night", visibility=_MAIN),'
    ),
    "command_catalogue.py": (
        'setting("night_light", "device", "Keep the strip dark at night.", "nightLight", 777),'
    ),
}
END_OF_TABLE = ")  # fmt: skip\n"
ON_STATE = "charger/EH123456/state/night_light"
ON_SET = "charger/EH123456/set/night_light"


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """What a gateway with one more observation and one more command does and says."""
    house = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "bridge", house / "bridge", ignore=shutil.ignore_patterns("*.pyc"))
    for name, line in TABLES.items():
        table = house / "bridge" / "core" / "easee" / name
        text = table.read_text(encoding="utf-8")
        assert text.count(END_OF_TABLE) == 1
        written = text.replace(END_OF_TABLE, f"    {line}\n{END_OF_TABLE}")
        table.write_text(written, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.core.easee.added_rows"],
        cwd=house,
        env={**os.environ, "PYTHONPATH": f"{house}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: Mapping[str, Any] = json.loads(ran.stdout)
    assert Path(found["package"]).is_relative_to(house)
    return found


def test_it_is_decoded_by_the_type_of_its_row(facts):
    """A message without a type is read as the row says."""
    assert facts["decoded"] is True


def test_it_is_published_as_document_and_as_bare_value(facts):
    """Both topics carry it under the name that follows from the vendor's."""
    document = json.loads(facts["published"]["charger/EH123456/observation/night_light"])

    assert (document["id"], document["name"], document["value"]) == (777, "night_light", True)
    assert facts["published"][ON_STATE] == "true"


def test_home_assistant_has_a_switch_that_shows_it(facts):
    """The control sets by the command and shows the observation, never what was asked for."""
    (key,) = facts["home_assistant"]
    config = facts["home_assistant"][key]

    assert key == "switch_night_light"
    assert (config["name"], config["command_topic"]) == ("Night light", ON_SET)
    assert (config["state_topic"], config["optimistic"]) == (ON_STATE, False)


def test_home_assistant_shows_it_where_the_command_is_not_allowed(facts):
    """Without the command there is a sensor of the kind that the row's type asks for."""
    (key,) = facts["home_assistant_without_command"]
    config = facts["home_assistant_without_command"][key]

    assert key == "binary_sensor_night_light"
    assert config["state_topic"] == ON_STATE
    assert config["enabled_by_default"] is False


def test_openhab_has_a_channel_for_both(facts):
    """One channel shows the observation and takes the command."""
    (channel,) = facts["openhab"]

    assert (channel["type"], channel["label"]) == ("switch", "Night light")
    assert channel["options"]["stateTopic"] == ON_STATE
    assert channel["options"]["commandTopic"] == ON_SET


def test_the_schemas_describe_both(facts):
    """The document of the observation and the payload of the command are checked by schema."""
    judge = jsonschema.Draft202012Validator(facts["schema"])
    document = json.loads(facts["published"]["charger/EH123456/observation/night_light"])
    takes = jsonschema.Draft202012Validator(facts["command_schema"])

    assert judge.is_valid(document)
    assert not judge.is_valid({**document, "name": "day_light"})
    assert takes.is_valid("on")
    assert not takes.is_valid("perhaps")
    assert "night_light" in facts["names"]


def test_asyncapi_has_the_channel_of_the_command(facts):
    """The command is a message of its own; the observation is among the known names."""
    channels = facts["asyncapi"]["channels"]

    assert channels["set_night_light"]["address"] == "charger/{charger}/set/night_light"
    assert "night_light" in channels["state"]["parameters"]["name"]["examples"]


def test_the_access_list_lets_automations_command_it(facts):
    """Who may command may publish to its topic."""
    assert f"topic write {ON_SET}" in facts["acl"]


def test_the_tag_list_has_a_row_to_read_and_a_row_to_write(facts):
    """A PLC finds both by name."""
    assert {(one["tag"], one["access"], one["topic"]) for one in facts["tags"]} == {
        ("night_light", "read", ON_STATE),
        ("set_night_light", "write", ON_SET),
    }


def test_the_topic_reference_lists_both(facts):
    """The generated documentation says what is published and what is listened to."""
    rows = [line for line in facts["reference"] if "`night_light`" in line]

    takes = "true or false (also on, off, 1, 0)"
    assert [" ".join(row.split()) for row in rows] == [
        "| 777 | `night_light` | boolean | | diagnostic | | The strip is dark at night |",
        f"| `night_light` | {takes} | Keep the strip dark at night. (*flash*) |",
    ]


def test_the_command_is_sent_and_confirmed_by_its_observation(facts):
    """It is accepted, asks for the vendor's key, and ends when the charger reports the value."""
    method, path, body = facts["request"]

    assert (method, path) == ("POST", "/api/chargers/EH123456/settings")
    assert body == {"nightLight": True}
    assert facts["results"] == ["accepted", "confirmed"]
