"""The quick starts and the pages about moving over, as they are written: run, and one screen."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bridge.conventions.homeassistant.entities import entities
from bridge.core.topics import GetTopic, SetTopic, Topics
from bridge.exports.other_projects import PROJECTS
from bridge.exports.tag_list import ANY_EQUALIZER, tags
from bridge.settings import CommandSettings, EaseeSettings, Secret, Settings
from tests.judge import Judge
from tests.test_documents import (
    CONFIGURATION_SECTIONS,
    DOCUMENTS,
    LINK,
    blocks,
    named,
)

DOCS = Path(__file__).resolve().parent.parent / "docs"
STARTS = sorted((DOCS / "start").glob("*.md"))
MOVING = sorted((DOCS / "moving").glob("*.md"))
# Besides tables: a window of a browser, or a terminal beside an editor.
SCREEN = 52
ONE = "EH000002"
TOPICS = Topics()
SETTINGS = Settings(EaseeSettings("x@example.com", Secret("p"), (ONE,)))
EVERYTHING = replace(
    SETTINGS,
    commands=CommandSettings(
        ("control", "access", "current", "device", "installer", "maintenance", "schedule")
    ),
)


def test_pages_are_found():
    """There is a quick start for each ecosystem, and each moves over from a page of its own."""
    assert {path.stem for path in STARTS} == {
        "evcc",
        "home-assistant",
        "iobroker",
        "loxone",
        "node-red",
        "openhab",
        "scada",
        "shell",
    }
    pages = {project.page for project in PROJECTS.values()}
    assert {path.stem for path in MOVING} == pages | {"README"}


@pytest.mark.parametrize("path", STARTS + MOVING, ids=named)
def test_a_page_fits_on_a_screen(path):
    """What is not a table is at most one screen."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("|")]

    assert len(lines) <= SCREEN


@pytest.mark.parametrize("path", STARTS + MOVING, ids=named)
def test_a_page_is_linked(path):
    """A page can be found from another one."""
    others = [page for page in DOCUMENTS if page != path]
    links = {
        (page.parent / target.partition("#")[0]).resolve()
        for page in others
        for target in LINK.findall(page.read_text())
    }

    assert path in links


# -- topics, wherever they stand -------------------------------------------------------------------

NAMED = re.compile(rf"charger[/.]{ONE}[/.](?:\w+/[+#]|[\w/.]*\w)")


def known() -> set[str]:
    """List the topics that can be read."""
    return {tag.topic for tag in tags(EVERYTHING) if tag.access == "read"}


def is_real(topic: str) -> bool:
    """Say whether something is published or listened to there."""
    parsed = TOPICS.parse(topic)
    if isinstance(parsed, SetTopic):
        return any(tag.topic == topic for tag in tags(EVERYTHING))
    prefix = topic.rstrip("+#")
    kinds = [TOPICS.result(ONE, ""), TOPICS.state(ONE, ""), TOPICS.observation(ONE, "")]
    kinds += [TOPICS.session(ONE, ""), TOPICS.event(ONE, "")]
    if topic in known() or isinstance(parsed, GetTopic) or prefix in kinds:
        return True
    return topic.startswith(TOPICS.result(ONE, "")) and is_real(
        TOPICS.command(ONE, topic.rpartition("/")[2])
    )


@pytest.mark.parametrize("path", [*STARTS, DOCS / "evcc.md"], ids=named)
def test_every_topic_of_a_page_is_real(path):
    """A topic or datapoint in a quick start is one of ours."""
    found = {name.replace(".", "/") for name in NAMED.findall(path.read_text())}

    assert [topic for topic in sorted(found) if not is_real(topic)] == []


def test_topics_are_found():
    """The test above looks at something, and finds what is wrong."""
    assert sum(len(NAMED.findall(path.read_text())) for path in STARTS) > 20
    assert [is_real(f"charger/{ONE}/{name}") for name in ("state/power", "set/stat")] == [False] * 2


# -- files ---------------------------------------------------------------------------------------


def page(name: str) -> Path:
    """Return a quick start."""
    return DOCS / "start" / f"{name}.md"


def test_the_flow_for_node_red_hangs_together():
    """Its nodes are wired to nodes that are there, and its command is one, not retained."""
    [text] = blocks(page("node-red"), "json")
    nodes = {node["id"]: node for node in json.loads(text)}
    wired = [to for node in nodes.values() for port in node.get("wires", ()) for to in port]
    [inject] = [node for node in nodes.values() if node["type"] == "inject"]
    [out] = [node for node in nodes.values() if node["type"] == "mqtt out"]
    judge = Judge()

    assert set(wired) <= nodes.keys()
    assert {node["broker"] for node in nodes.values() if "broker" in node} >= {"qs-broker"}
    assert inject["wires"] == [[out["id"]]]
    assert out["retain"] == "false"
    assert judge.invalid(judge.message(out["topic"]), inject["payload"].encode()) is None


def test_evcc_uses_the_topics_of_the_table():
    """Each attribute of the configuration is on the topic that the table of names gives it."""
    [text] = blocks(DOCS / "evcc.md", "yaml")
    [charger] = yaml.safe_load(text)["chargers"]
    table = {old.name: f"charger/{ONE}/{old.ours}" for old in PROJECTS["evcc"].names}
    used = {name: value["topic"] for name, value in charger.items() if isinstance(value, dict)}
    for name, plugins in charger.items():
        if isinstance(plugins, list):
            used |= {f"{name} (L{n})": plugin["topic"] for n, plugin in enumerate(plugins, 1)}

    assert len(used) >= 9
    assert used == {name: table[name] for name in used}


def slug(text: str) -> str:
    """Spell a name as Home Assistant spells an entity id."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def test_entities_of_home_assistant_exist():
    """An entity id of the page is one of the device."""
    ids = {
        f"{entity.platform}.{slug(' '.join(('Easee', ONE, str(entity.config['name']))))}"
        for entity in entities(ONE, TOPICS, SETTINGS.commands)
    }
    text = "".join(blocks(page("home-assistant"), "yaml"))
    shown = set(re.findall(rf"\w+\.easee_{ONE.lower()}_\w+", text))

    assert shown
    assert shown <= ids


# -- shell ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo_port() -> Iterator[int]:
    """Run the demonstration until its car charges; the port of its broker."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "demo", "--duration", "300"],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
    )
    try:
        port = 0
        for line in process.stdout:
            found = re.search(r"mqtt://127\.0\.0\.1:(\d+)", line)
            port = int(found[1]) if found else port
            if f"{ONE}/state/op_mode charging" in line:
                break
        yield port
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture
def folder(tmp_path: Path, demo_port: int) -> Path:
    """A home where the clients of mosquitto use the demonstration's broker."""
    for client in ("mosquitto_pub", "mosquitto_sub"):
        options = tmp_path / ".config" / client
        options.parent.mkdir(exist_ok=True)
        options.write_text(f"-p {demo_port}\n")
    return tmp_path


def configuration(path: Path) -> str:
    """Return the configuration that a page shows; empty where it shows none."""
    for text in blocks(path, "yaml"):
        if yaml.safe_load(text).keys() <= CONFIGURATION_SECTIONS:
            return text
    return ""


def run(path: Path, folder: Path) -> str:
    """Run every shell block of a page in turn, as it is written, and return what it printed."""
    (folder / "config.yaml").write_text(configuration(path))
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "CHARGER_BRIDGE_EASEE__PASSWORD": "a-password",
        "CHARGER_BRIDGE_STORE__PATH": str(folder / "bridge.db"),
    }
    said = ""
    for text in blocks(path, "sh"):
        done = subprocess.run(
            ["sh", "-e", "-c", text],
            cwd=folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (text, done.stderr)
        said += done.stdout
    return said


WITH_SHELL = [path for path in STARTS if list(blocks(path, "sh"))]


@pytest.mark.acceptance
@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="needs mosquitto-clients")
@pytest.mark.parametrize("path", WITH_SHELL, ids=named)
def test_the_shell_blocks_run(path, folder):
    """Each block of a page does what it says, at the demonstration's broker."""
    said = run(path, folder)

    if path.stem in {"shell", "scada"}:
        assert '"state":"accepted"' in said
        assert '"state":"confirmed"' in said
    if path.stem == "openhab":
        items = (folder / "charger.txt").read_text()
        for text in blocks(path, "java"):
            for item in re.findall(r"^(\w+)\.sendCommand", text, re.MULTILINE):
                assert f" {item} " in items
    if path.stem == "scada":
        rows = csv.DictReader(io.StringIO((folder / "tags.csv").read_text(), newline=""))
        assert {row["charger"] for row in rows} == {ONE, ANY_EQUALIZER}
        assert ANY_EQUALIZER in path.read_text()


def test_pages_with_shell_blocks_are_found():
    """The test above runs something of every ecosystem."""
    assert len(WITH_SHELL) == len(STARTS)
