"""Entry point of the Home Assistant add-on: its options and the MQTT service become settings.

Rules:

1. Each option sets one key of the gateway, by its environment variable. A variable that is set
   already stays: that is how the tests name a simulated cloud.
2. The broker is the one that an option names. Without it, it is the one the Supervisor knows, with
   the account that the Supervisor made for this add-on.
3. Options are read as root, since only root may; the gateway runs as a user of its own.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

SUPERVISOR: Final = "http://supervisor"
ANSWERS_WITHIN_S: Final = 10
UID: Final = 10001
PREFIX: Final = "CHARGER_BRIDGE_"
# Each option and the key it sets.
OPTIONS: Final = {
    "username": "EASEE__USERNAME",
    "password": "EASEE__PASSWORD",
    "chargers": "EASEE__CHARGERS",
    "commands": "COMMANDS__ALLOW",
    "max_current_a": "COMMANDS__MAX_CURRENT_A",
    "personal_data": "PUBLISH__PERSONAL_DATA",
    "log_level": "LOG__LEVEL",
    "mqtt_host": "MQTT__HOST",
    "mqtt_port": "MQTT__PORT",
    "mqtt_tls": "MQTT__TLS__ENABLED",
    "mqtt_username": "MQTT__USERNAME",
    "mqtt_password": "MQTT__PASSWORD",
    "base_topic": "MQTT__BASE_TOPIC",
}
# What the Supervisor tells of the broker, as options.
SERVICE: Final = {
    "host": "mqtt_host",
    "port": "mqtt_port",
    "ssl": "mqtt_tls",
    "username": "mqtt_username",
    "password": "mqtt_password",
}
# What an add-on always has. Ingress comes from the Supervisor's address, and nothing else may ask.
FIXED: Final = {
    "STORE__PATH": "{data}/store/bridge.db",
    "HOMEASSISTANT__ENABLED": "true",
    "HTTP__ENABLED": "true",
    "HTTP__PAGE": "true",
    "HTTP__HOST": "0.0.0.0",  # noqa: S104 - the container's own network
    "HTTP__PORT": "8480",
    "HTTP__PROXY": "172.30.32.2",
    "LOG__FORMAT": "console",
}


class Unusable(Exception):
    """What keeps the gateway from being started, and what to do."""


def main(environ: Mapping[str, str]) -> None:
    """Become the gateway."""
    data = Path(environ.get("ADDON_DATA", "/data"))
    try:
        options = read_options(data / "options.json")
        if not options.get("mqtt_host"):
            options |= mqtt_service(environ.get("SUPERVISOR", SUPERVISOR), environ)
        variables = settings(options, data)
    except Unusable as problem:
        sys.exit(f"charger-bridge: {problem}")
    become_user(data / "store", int(environ.get("ADDON_UID", UID)))
    program = str(Path(sys.executable).with_name("charger-bridge"))
    inherited = {name: value for name, value in environ.items() if name != "SUPERVISOR_TOKEN"}
    os.execve(program, (program, "run"), variables | inherited)  # noqa: S606


def read_options(path: Path) -> dict[str, Any]:
    """Read what the user set in Home Assistant."""
    try:
        options = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Unusable(f"cannot read {path}: {error}") from error
    for name in ("username", "password"):
        if not options.get(name):
            raise Unusable(f"set the option {name} of the Easee account")
    return {name: value for name, value in options.items() if value is not None}


def mqtt_service(supervisor: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Ask the Supervisor for the broker; return it as options."""
    request = urllib.request.Request(  # noqa: S310 - the Supervisor's address
        f"{supervisor}/services/mqtt",
        headers={"Authorization": f"Bearer {environ.get('SUPERVISOR_TOKEN', '')}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN_S) as answer:  # noqa: S310
            told = json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        error.close()
        raise Unusable(
            "no MQTT broker: install the add-on Mosquitto broker, or set mqtt_host"
            f" (the Supervisor answered {error.code})"
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise Unusable(f"the Supervisor cannot be asked for the broker: {error}") from error
    return {SERVICE[name]: told[name] for name in SERVICE if told.get(name) is not None}


def settings(options: Mapping[str, Any], data: Path) -> dict[str, str]:
    """Return the environment variables that the options and the add-on set."""
    found = {PREFIX + name: value.format(data=data) for name, value in FIXED.items()}
    for name, variable in OPTIONS.items():
        if name in options and options[name] != "":
            found[PREFIX + variable] = text(options[name])
    return found


def text(value: Any) -> str:
    """Write a value as an environment variable has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return json.dumps(value)
    return str(value)


def become_user(store: Path, uid: int) -> None:
    """Give the store to a user and become that user, where this is root."""
    store.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() != 0:
        return
    for path in (store, *store.iterdir()):
        os.chown(path, uid, uid, follow_symlinks=False)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


if __name__ == "__main__":
    main(os.environ)
