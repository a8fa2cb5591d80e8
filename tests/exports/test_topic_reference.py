import subprocess
import sys
from pathlib import Path

from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.derived_state import DERIVED
from bridge.core.easee.enumerations import LED_MODE
from bridge.core.easee.equalizer_derived import EQUALIZER_DERIVED
from bridge.core.easee.observation_registry import REGISTRY
from bridge.core.queries.catalogue import QUERIES
from bridge.core.topics import Topics
from bridge.exports.topic_reference import topic_reference

ROOT = Path(__file__).parents[2]


def test_the_reference_names_everything():
    """Every observation, derived topic, LED meaning, command and query is in the reference."""
    text = topic_reference(Topics())
    names = [
        *(spec.name for spec in REGISTRY.values()),
        *(topic.name for topic in (*DERIVED, *EQUALIZER_DERIVED)),
        *(mode.meaning for mode in LED_MODE.values()),
        *CATALOGUE,
        *QUERIES,
    ]

    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_reference_is_about_the_configured_tree():
    """With another base topic every topic in the reference has it."""
    text = topic_reference(Topics("home/garage"))

    assert "`home/garage/<id>/observation/<name>`" in text
    assert "`home/garage/bridge/session/ack`" in text
    assert "`charger/" not in text


def test_tables_are_well_formed():
    """No cell breaks its row: all rows of a table have as many cells as its head."""
    width = 0
    for line in topic_reference(Topics()).splitlines():
        cells = line.replace("\\|", "").count("|")
        assert not cells or not width or cells == width, line
        width = cells


def test_the_page_in_the_repository_is_current():
    """docs/topics.md is what the program would write now."""
    check = subprocess.run(
        [sys.executable, "-m", "tools.gen_topics", "--check"], cwd=ROOT, check=False
    )

    assert check.returncode == 0
