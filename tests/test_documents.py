"""What the documents say of each other, of the configuration and of topics is so."""

import ast
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bridge.config.loading import load
from bridge.core import containment
from bridge.core.chargers import offline_access_alerts
from bridge.core.delivery import rejected_publications
from bridge.core.sessions import unread
from bridge.core.status import TROUBLES
from tests.judge import Judge

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL
)


def named(path: Path) -> str:
    """Name a document in a report of the tests."""
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> Iterator[str]:
    """Yield the fenced blocks of one language, without their indentation."""
    for found in FENCE.finditer(path.read_text()):
        if found["language"] == language:
            yield re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """Name the places of a document that a link can lead to."""
    text = FENCE.sub("", path.read_text())
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {heading.strip().replace(" ", "-") for heading in plain}


def broken(path: Path, text: str) -> list[str]:
    """List the relative links of a text that lead nowhere."""
    nowhere = []
    for target in LINK.findall(FENCE.sub("", text)):
        name, _, anchor = target.partition("#")
        if "://" in name or name.startswith("mailto:"):
            continue
        leads_to = path.parent / name if name else path
        if not leads_to.exists() or (anchor and anchor not in anchors(leads_to)):
            nowhere.append(target)
    return nowhere


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(path):
    """A link to a file or a heading of ours finds it."""
    assert broken(path, path.read_text()) == []


def test_a_link_that_leads_nowhere_is_found():
    """A file or a heading that is not there is told, and one that is there is not."""
    text = "[a](docs/storage.md#files) [b](docs/none.md) [c](docs/storage.md#none) [d](https://e.f)"

    assert broken(ROOT / "README.md", text) == ["docs/none.md", "docs/storage.md#none"]


CONFIGURATION_SECTIONS = {"easee", "mqtt", "publish", "commands", "store", "log", "http"} | {
    "homeassistant"
}


def configurations() -> Iterator[tuple[str, str]]:
    """Yield each configuration that a document shows, with the document's name."""
    for path in DOCUMENTS:
        for text in blocks(path, "yaml"):
            read = yaml.safe_load(text)
            if isinstance(read, dict) and read.keys() <= CONFIGURATION_SECTIONS:
                yield named(path), text


def test_configurations_are_found():
    """Documents show configurations, or the next test would check nothing."""
    assert {name for name, _ in configurations()} >= {
        "docs/home-assistant.md",
        "docs/operations.md",
    }


@pytest.mark.parametrize(("name", "text"), list(configurations()))
def test_what_a_document_configures_is_accepted(name, text, tmp_path):
    """An example in a document is taken by the loader, together with an account."""
    shown = yaml.safe_load(text)
    shown["easee"] = {"username": "someone@example.com", **(shown.get("easee") or {})}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(shown))

    load(path, {"CHARGER_BRIDGE_EASEE__PASSWORD": "a-password"})


COMMAND = re.compile(
    r"mosquitto_pub .*-t '?(charger/\S+/(?:set|get)/\w+)'? .*-m (?:'([^']*)'|(\S+))"
)


def published() -> Iterator[tuple[str, str]]:
    """Yield topic and payload of every mosquitto_pub in a document."""
    for path in DOCUMENTS:
        for text in blocks(path, "sh"):
            for topic, quoted, plain in COMMAND.findall(text):
                yield topic, quoted or plain


def as_json(payload: str) -> bytes:
    """Spell a bare word as the JSON text that the schemas of commands speak of."""
    is_word = re.fullmatch(r"[A-Za-z_]+", payload) and payload not in {"true", "false"}
    return (json.dumps(payload) if is_word else payload).encode()


def test_what_a_document_sends_fits_its_schema():
    """A command line of a document names a command we have, with a payload it takes."""
    judge = Judge()
    sent = [(judge.message(topic), as_json(payload)) for topic, payload in published()]

    assert len(sent) > 1
    assert [judge.invalid(message, payload) for message, payload in sent] == [None] * len(sent)


# -- alerts and modules ---------------------------------------------------------------------------

CORE, CONVENTIONS = (
    [p for p in sorted((ROOT / "bridge" / part).rglob("*.py")) if p.name != "__init__.py"]
    for part in ("core", "conventions")
)
# Raised through a variable.
VARIABLE = {t.kind for t in TROUBLES.values()} | {
    *rejected_publications.HINTS,
    offline_access_alerts.OPEN,
    offline_access_alerts.NOBODY,
}


def raised() -> Iterator[str]:
    """Find every kind of alert in the code: a word, or a constant of its module."""
    yield from VARIABLE | {unread.ALERT, containment.ALERT}
    for path in CORE + CONVENTIONS:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "raise_":
                kind = node.args[0]
                if isinstance(kind, ast.Constant):
                    yield kind.value
                elif isinstance(kind, ast.Name) and kind.id.isupper():
                    yield getattr(importlib.import_module(name), kind.id)
    for path in sorted((ROOT / "bridge" / "adapters" / "store").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "StoreProblem":
                yield ast.literal_eval(node.args[0])


@pytest.mark.parametrize("kind", sorted(set(raised())))
def test_every_alert_is_in_the_table_of_symptoms(kind):
    """Whoever sees an alert finds a row with its cause and what to do."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]

    assert [row for row in rows if re.search(rf"\b{kind}\b", row.split("|")[1])]


def test_every_alert_is_found():
    """The test above looks at all there are."""
    assert len(set(raised())) >= 31


def test_every_module_of_the_core_is_in_the_architecture():
    """Whoever looks for a question finds the file that answers it."""
    text = (ROOT / "docs" / "architecture.md").read_text()

    assert [p.name for p in CORE if not re.search(rf"\b{re.escape(p.name)}", text)] == []


# -- Sparkplug -----------------------------------------------------------------------------------

STATEMENT = re.compile(r"^\| `([a-z0-9-]+)` \| (.+) \|$", re.MULTILINE)
NAMED_TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_statement_of_sparkplug_has_a_test_or_a_reason():
    """Each once, and the tests that are named exist."""
    text = (ROOT / "docs" / "sparkplug.md").read_text().partition("## The specification")[2]
    rows = STATEMENT.findall(text)
    kept = (ROOT / "tests" / "data" / "sparkplug-statements.txt").read_text()
    assert [statement for statement, _ in rows] == kept.partition("\n\n")[2].split()
    without = [(name, shown) for name, shown in rows if not NAMED_TEST.fullmatch(shown)]
    assert all(len(reason.split()) > 2 and "`tests/" not in reason for _, reason in without)
    named = {found.groups() for _, shown in rows if (found := NAMED_TEST.fullmatch(shown))}
    for path, test in named:
        tree = ast.parse((ROOT / path).read_text())
        functions = ast.FunctionDef | ast.AsyncFunctionDef
        assert test in {one.name for one in tree.body if isinstance(one, functions)}, (path, test)
    assert len(named) > 20
