"""Purposes of a setup: the configuration of each, and the first commands to try.

Rules:

1. A purpose is a row of :data:`PURPOSES`. Its steps end with a command or an action that a charger
   confirms.
2. A command is written for this configuration: its broker, its base topic, its first charger.
   A password is not in it, only the file that holds it.
"""

import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bridge.cli.setup.answers import MQTT_PASSWORD, secret_file
from bridge.core.topics import Topics
from bridge.exports.mosquitto_clients import client_options
from bridge.settings import Settings

PLACEHOLDER = "SERIAL"
LIMIT = "dynamic_charger_current"
ALLOWED = "charging_allowed"
# A limit that every car charges with, and that no installation is too small for.
AMPERES = "10"
CLIENTS = "mosquitto_pub"
# Where the Debian package has them.
DOCUMENTS: Final = Path("/usr/share/doc/charger-bridge")


@dataclass(frozen=True, slots=True)
class Context:
    """What the steps are written for.

    Attributes:
        settings: The configuration.
        config: Its file.
        program: How the command line is called here.
        charger: A serial, or :data:`PLACEHOLDER` where none is known.
    """

    settings: Settings
    config: Path
    program: str
    charger: str

    @property
    def topics(self) -> Topics:
        """Return the topic tree."""
        return Topics(self.settings.mqtt.base_topic)

    def command_line(self, *words: str) -> str:
        """Return a command line of ours with this configuration."""
        return f"{self.program} {shlex.join(words)} --config {shlex.quote(str(self.config))}"


@dataclass(frozen=True, slots=True)
class Step:
    """One line to read, or to copy.

    Attributes:
        text: What to do, or a command line.
        is_command: It is to be copied as it is.
    """

    text: str
    is_command: bool = False


@dataclass(frozen=True, slots=True)
class Purpose:
    """One row.

    Attributes:
        title: What people call it.
        steps: What to do once the gateway runs, to the first confirmed command.
        texts: Configuration keys that it sets.
        names_chargers: The serials belong in the configuration, because files are made from it.
    """

    title: str
    steps: Callable[[Context], tuple[Step, ...]]
    texts: Mapping[str, str] = field(default_factory=dict)
    names_chargers: bool = False


def _document(name: str) -> str:
    """Return where a document is on this machine, or its name in the source."""
    installed = DOCUMENTS / name
    return str(installed) if installed.exists() else name


def _home_assistant(context: Context) -> tuple[Step, ...]:
    return (
        Step(
            "In Home Assistant add the integration MQTT with the same broker. The device 'Easee"
            f" {context.charger}' appears by itself. Set its number 'Set charger limit' to"
            f" {AMPERES}: it moves when the charger confirmed."
        ),
    )


def _node_red(context: Context) -> tuple[Step, ...]:
    topic = context.topics.command(context.charger, LIMIT)
    return (
        Step(
            "In Node-RED connect an inject node to an 'mqtt out' node with the same broker (QoS 1,"
            f" retain false). Payload: the number {AMPERES}. Topic:"
        ),
        Step(topic, is_command=True),
        Step("The answer arrives at an 'mqtt in' node on:"),
        Step(context.topics.result(context.charger, LIMIT), is_command=True),
        Step(
            f"Flows to import are in {_document('examples/node-red')};"
            f" {_document('docs/node-red.md')} explains them."
        ),
    )


def _openhab(context: Context) -> tuple[Step, ...]:
    return (
        Step("Write the things and items for openHAB; the output has two parts, for two files:"),
        Step(context.command_line("topics", "--format", "openhab"), is_command=True),
        Step("Then in openHAB's console or in a rule:"),
        Step(f"Charger_{context.charger}_{LIMIT}.sendCommand({AMPERES})", is_command=True),
    )


def _evcc(context: Context) -> tuple[Step, ...]:
    topics, charger = context.topics, context.charger
    return (
        Step(
            "For evcc's custom charger with the plugin mqtt, in this order: status, enabled, enable"
            f" and maxcurrent. The whole configuration is in {_document('docs/evcc.md')}."
        ),
        *(
            Step(topic, is_command=True)
            for topic in (
                topics.state(charger, "pilot_mode"),
                topics.state(charger, ALLOWED),
                topics.command(charger, ALLOWED),
                topics.command(charger, LIMIT),
            )
        ),
        *_shell(context),
    )


def _scada(context: Context) -> tuple[Step, ...]:
    return (
        Step("Write the tag list: every topic with its access, type, unit and values:"),
        Step(f"{context.command_line('topics', '--format', 'csv')} > tags.csv", is_command=True),
        Step(f"Then write {AMPERES} to the first topic, not retained, and read the second:"),
        Step(context.topics.command(context.charger, LIMIT), is_command=True),
        Step(context.topics.result(context.charger, LIMIT), is_command=True),
    )


def _shell(context: Context) -> tuple[Step, ...]:
    mqtt = context.settings.mqtt
    secret = secret_file(MQTT_PASSWORD, context.config)
    options = client_options(mqtt, secret if mqtt.password is not None else None)
    listen = f"mosquitto_sub{options} -v -t '{context.topics.result(context.charger, '#')}'"
    limit = context.topics.command(context.charger, LIMIT)
    install = () if shutil.which(CLIENTS) else (Step("apt install mosquitto-clients", True),)
    return (
        Step("In one terminal, listen for answers:"),
        *install,
        Step(listen, is_command=True),
        Step(
            f"In another, limit the charger to {AMPERES} A; the result is accepted, then confirmed:"
        ),
        Step(f"{CLIENTS}{options} -t {limit} -m {AMPERES}", is_command=True),
    )


PURPOSES: Final[dict[str, Purpose]] = {
    "home-assistant": Purpose(
        "Home Assistant", _home_assistant, texts={"homeassistant.enabled": "true"}
    ),
    "node-red": Purpose("Node-RED", _node_red),
    "openhab": Purpose("openHAB", _openhab, names_chargers=True),
    "evcc": Purpose("evcc", _evcc),
    "scada": Purpose("SCADA, PLC or Loxone", _scada, names_chargers=True),
    "shell": Purpose("a shell, or a program of your own", _shell),
}
