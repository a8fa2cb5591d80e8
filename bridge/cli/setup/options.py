"""The options of ``charger-bridge setup``: each answers one question beforehand.

Rules:

1. A password is never an argument: it is read from a file, standard input or the environment.
2. An option comes before the environment variable of the same key, which comes before a question.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from bridge.adapters.state_files.plain_file import NotText, as_meant, read_plain, text_of
from bridge.cli.setup.answers import (
    CONFIG,
    EASEE_PASSWORD,
    MQTT_PASSWORD,
    absolute,
    problem_with,
)
from bridge.cli.setup.dialogue import CHARGERS, PLAINTEXT, TLS
from bridge.cli.setup.purposes import PURPOSES
from bridge.config.keys import BY_PATH
from bridge.config.loading import MAX_SECRET_BYTES
from bridge.errors import ConfigError
from bridge.settings import StoreSettings

PROGRAM = "charger-bridge"

# Options that answer one key of the configuration each.
KEY_OPTIONS: Final = {
    "username": ("easee.username", "TEXT", "account: e-mail or phone number"),
    "chargers": (CHARGERS, "LIST", "serials with commas (default: all of the account)"),
    "mqtt-host": ("mqtt.host", "HOST", "broker (default localhost)"),
    "mqtt-port": ("mqtt.port", "PORT", "its port (default 1883, with TLS 8883)"),
    "mqtt-ca-file": ("mqtt.tls.ca_file", "FILE", "authority of its certificate (PEM)"),
    "mqtt-username": ("mqtt.username", "TEXT", "user at the broker (default none)"),
    "base-topic": ("mqtt.base_topic", "TOPIC", "first level of every topic (default charger)"),
    "client-id": ("mqtt.client_id", "TEXT", "client identifier (default charger-bridge)"),
    "store": ("store.path", "FILE", "where session reports are kept"),
    "api-url": ("easee.api_url", "URL", "a simulated cloud"),
    "stream-url": ("easee.stream_url", "URL", "the hub of a simulated cloud"),
}
SWITCH_OPTIONS: Final = {
    "tls": (TLS, "TLS to the broker"),
    "allow-plaintext": (PLAINTEXT, "no TLS although the broker is not on a private network"),
}
# Passwords in the environment, as the gateway itself takes them.
SECRET_OPTIONS: Final = {
    EASEE_PASSWORD: ("password_file", "file that holds the account's password; it is copied"),
    MQTT_PASSWORD: ("mqtt_password_file", "file that holds the broker's password; it is copied"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options; each answers one question."""
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help=f"what is written (default {default_config()})")
    for name, (path, metavar, text) in KEY_OPTIONS.items():
        add(f"--{name}", dest=path, metavar=metavar, help=text)
    for name, (path, text) in SWITCH_OPTIONS.items():
        add(f"--{name}", dest=path, action=argparse.BooleanOptionalAction, help=text)
    for destination, text in SECRET_OPTIONS.values():
        option = f"--{destination.replace('_', '-')}"
        add(option, type=Path, metavar="FILE", help=text)
    add(
        "--password-stdin",
        action="store_true",
        help="read the account's password from the first line of standard input",
    )
    add(
        "--for",
        dest="purpose",
        choices=PURPOSES,
        help="purpose: decides which first steps are shown",
    )
    add("--user", metavar="NAME", help=f"service user (default {PROGRAM}, where it exists)")
    add(
        "--service",
        action=argparse.BooleanOptionalAction,
        help="install the systemd unit and start it",
    )
    add("--force", action="store_true", help="replace what was written before")
    add("--non-interactive", action="store_true", help="ask no questions; use defaults")
    add("--no-connect", action="store_true", help="try neither the account nor the broker")


def default_config() -> Path:
    """Return where the configuration goes: the system's place for root, else the user's own."""
    if os.geteuid() == 0:
        return Path("/etc/charger-bridge") / CONFIG
    return _own_folder("XDG_CONFIG_HOME", ".config") / CONFIG


def _own_folder(variable: str, usual: str) -> Path:
    named = Path(os.environ.get(variable) or "")
    return (named if named.is_absolute() else Path.home() / usual) / PROGRAM


def given_texts(arguments: argparse.Namespace) -> dict[str, str]:
    """Return answers by key: an option, else the variable of the key."""
    texts: dict[str, str] = {}
    for path in (each[0] for each in (*KEY_OPTIONS.values(), *SWITCH_OPTIONS.values())):
        option = getattr(arguments, path)
        if isinstance(option, bool):
            texts[path] = str(option).lower()
        elif text := option or as_meant(os.environ.get(BY_PATH[path].variable, "")):
            texts[path] = absolute(text) if BY_PATH[path].kind.is_file else text
    return texts


def given_secret(path: str, arguments: argparse.Namespace) -> str | None:
    """Return a password from its file, standard input or the environment.

    Raises:
        ConfigError: It cannot be read or used.
    """
    named = getattr(arguments, SECRET_OPTIONS[path][0])
    variable = BY_PATH[path].variable
    if named is None and os.environ.get(f"{variable}_FILE"):
        named = Path(os.environ[f"{variable}_FILE"])
    if named is not None:
        text = _read_secret(path, Path(named))
    elif path == EASEE_PASSWORD and arguments.password_stdin:
        text = sys.stdin.readline()
    elif (text := os.environ.get(variable, "")) == "":
        return None
    secret = as_meant(text)
    if (problem := problem_with(path, secret)) is not None:
        raise ConfigError((f"{path}: the secret {problem}",))
    return secret


def _read_secret(path: str, file: Path) -> str:
    try:
        return text_of(read_plain(file, MAX_SECRET_BYTES))
    except OSError as exc:
        raise ConfigError((f"{path}_file: cannot read {file}: {exc.strerror}",)) from exc
    except NotText as exc:
        raise ConfigError((f"{path}_file: {file} {exc}",)) from None


def own_store() -> Path:
    """Return where a user who is not root keeps the store."""
    return _own_folder("XDG_STATE_HOME", ".local/state") / Path(StoreSettings().path).name
