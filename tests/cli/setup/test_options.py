"""Options and the environment answer beforehand, and passwords are never arguments."""

import argparse
import io
import os
import sys
from pathlib import Path

import pytest

from bridge.cli.setup import options
from bridge.cli.setup.answers import EASEE_PASSWORD, MQTT_PASSWORD
from bridge.cli.setup.options import add_arguments, given_secret, given_texts
from bridge.errors import ConfigError


def parsed(*words: str) -> argparse.Namespace:
    """Read a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.usefixtures("folder")
def test_every_option_answers_its_key(monkeypatch):
    """What is given stands for the key; switches become true and false."""
    monkeypatch.chdir("/tmp")
    words = ["--username", "a@b.c", "--mqtt-port", "8883", "--tls", "--no-allow-plaintext"]
    texts = given_texts(parsed(*words, "--mqtt-ca-file", "ca.pem"))

    assert texts == {
        "easee.username": "a@b.c",
        "mqtt.port": "8883",
        "mqtt.tls.enabled": "true",
        "mqtt.tls.allow_plaintext": "false",
        "mqtt.tls.ca_file": "/tmp/ca.pem",
    }


@pytest.mark.usefixtures("folder")
def test_an_option_comes_before_the_environment(monkeypatch):
    """The environment answers what no option does."""
    monkeypatch.setenv("CHARGER_BRIDGE_MQTT__HOST", "env.lan")
    monkeypatch.setenv("CHARGER_BRIDGE_MQTT__PORT", "1884")
    texts = given_texts(parsed("--mqtt-host", "option.lan"))

    assert (texts["mqtt.host"], texts["mqtt.port"]) == ("option.lan", "1884")


def test_no_option_takes_a_password():
    """Whatever is typed behind an option with that word is a file or nothing."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    named = [action for action in parser._actions if "password" in action.dest]

    assert {action.dest: action.metavar for action in named} == {
        "password_file": "FILE",
        "mqtt_password_file": "FILE",
        "password_stdin": None,
    }
    with pytest.raises(SystemExit):
        parser.parse_args(["--password", "canary"])


@pytest.mark.parametrize("way", ["option", "variable", "variable_file", "stdin"])
def test_a_password_comes_by_file_input_or_environment(folder, monkeypatch, way):
    """What an editor puts around it is taken off; blanks inside stay."""
    file = folder / "secret"
    file.write_text("\ufeffcanary 1\r\n")
    words = {"option": ["--password-file", str(file)], "stdin": ["--password-stdin"]}
    variables = {
        "variable": ("CHARGER_BRIDGE_EASEE__PASSWORD", "canary 1"),
        "variable_file": ("CHARGER_BRIDGE_EASEE__PASSWORD_FILE", str(file)),
    }
    if way in variables:
        monkeypatch.setenv(*variables[way])
    monkeypatch.setattr(sys, "stdin", io.StringIO("canary 1\nnot this line\n"))

    assert given_secret(EASEE_PASSWORD, parsed(*words.get(way, []))) == "canary 1"


def test_nothing_given_is_nothing(folder):
    """Without any of them the password is asked for."""
    assert given_secret(MQTT_PASSWORD, parsed()) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00"])
def test_a_password_file_that_holds_none_is_refused(folder, content):
    """The message names the key and repeats nothing of the file."""
    file = folder / "secret"
    file.write_bytes(content)

    with pytest.raises(ConfigError, match=r"easee\.password"):
        given_secret(EASEE_PASSWORD, parsed("--password-file", str(file)))
    with pytest.raises(ConfigError, match="No such file"):
        given_secret(EASEE_PASSWORD, parsed("--password-file", str(folder / "missing")))


def test_root_writes_to_the_systems_place_and_others_to_their_own(folder, monkeypatch):
    """XDG folders count where they are absolute."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert options.default_config() == Path("/etc/charger-bridge/config.yaml")

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert options.default_config() == folder / ".config/charger-bridge/config.yaml"
    assert options.own_store() == folder / ".local/state/charger-bridge/bridge.db"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/srv/conf")
    assert options.default_config() == Path("/srv/conf/charger-bridge/config.yaml")
