"""Every purpose ends with something to try, written for this configuration."""

from pathlib import Path

import pytest

from bridge.cli.setup import purposes
from bridge.cli.setup.purposes import PLACEHOLDER, PURPOSES, Context
from bridge.config.keys import BY_PATH
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.settings import EaseeSettings, MqttSettings, Secret, Settings, TlsSettings

CONFIG = Path("/etc/charger-bridge/config.yaml")
PLAIN = MqttSettings()
GUARDED = MqttSettings(
    host="broker.lan",
    port=8883,
    username="it's me",
    password=Secret("canary-55"),
    base_topic="cars",
    tls=TlsSettings(enabled=True),
)


def context(mqtt: MqttSettings = PLAIN, charger: str = "EH123456") -> Context:
    """A configuration to write steps for."""
    settings = Settings(EaseeSettings("someone@example.com", Secret("canary-54")), mqtt)
    return Context(settings, CONFIG, "charger-bridge", charger)


@pytest.mark.parametrize("name", PURPOSES)
@pytest.mark.parametrize("mqtt", [PLAIN, GUARDED])
def test_steps_name_the_charger_and_no_password(name, mqtt):
    """What is to be copied fits the configuration, and secrets stay in their files."""
    steps = PURPOSES[name].steps(context(mqtt))
    text = "\n".join(step.text for step in steps)

    assert "EH123456" in text or "topics --format" in text
    assert "canary" not in text
    if name not in ("home-assistant", "openhab"):  # these two spell no topic
        assert mqtt.base_topic in text


@pytest.mark.parametrize("name", PURPOSES)
def test_what_a_purpose_sets_is_a_key_of_the_configuration(name):
    """Its answers are valid values of their keys."""
    for path, text in PURPOSES[name].texts.items():
        BY_PATH[path].kind.read(text)


def test_home_assistant_is_told_of_the_chargers():
    """Choosing it switches discovery on."""
    assert PURPOSES["home-assistant"].texts == {"homeassistant.enabled": "true"}


def test_the_command_is_one_that_the_default_configuration_allows():
    """The first thing a newcomer tries is not refused."""
    allowed = context().settings.commands.allow

    for name in (purposes.LIMIT, "pause", "resume"):
        assert CATALOGUE[name].group in allowed


def test_documents_are_named_where_they_are(tmp_path, monkeypatch):
    """The Debian package has them in its folder; elsewhere they are in the source."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/node-red.md").touch()
    monkeypatch.setattr(purposes, "DOCUMENTS", tmp_path)
    text = PURPOSES["node-red"].steps(context())[-1].text

    assert f"{tmp_path}/docs/node-red.md explains" in text
    assert " in examples/node-red;" in text
    assert Path("examples/node-red").is_dir()


def test_evcc_gets_the_topics_of_its_page():
    """What is to be copied for evcc is in the configuration of docs/evcc.md."""
    page = Path("docs/evcc.md").read_text()
    topics = [s.text for s in purposes._evcc(context(charger="EH000002")) if s.is_command][:4]

    assert [f"topic: {topic}" in page for topic in topics] == [True] * 4


@pytest.mark.parametrize("has_clients", [True, False])
def test_missing_clients_are_named(monkeypatch, has_clients):
    """Where mosquitto_pub is missing, the way to get it comes first."""
    monkeypatch.setattr(purposes.shutil, "which", lambda _: "/x" if has_clients else None)
    steps = PURPOSES["shell"].steps(context())

    assert any("apt install" in step.text for step in steps) is not has_clients


def test_lines_to_copy_fit_a_terminal_of_80_columns():
    """With a broker on this machine no topic and no client's command is longer than a line."""
    for purpose in PURPOSES.values():
        for step in purpose.steps(context()):
            assert not step.is_command or " topics " in step.text or len(step.text) <= 78


def test_without_a_charger_the_place_of_its_serial_is_marked():
    """An account that lists none yet still gets a command to complete."""
    steps = PURPOSES["shell"].steps(context(charger=PLACEHOLDER))

    assert any(PLACEHOLDER in step.text for step in steps)
