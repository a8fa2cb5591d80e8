"""Options of ``mosquitto_pub`` and ``mosquitto_sub`` for a broker, as short as they can be."""

import shlex
from pathlib import Path
from typing import Final

from bridge.settings import MqttSettings

PLAIN_PORT = 1883
# What the clients connect to without being told.
THIS_MACHINE: Final = ("localhost", "127.0.0.1")


def client_options(mqtt: MqttSettings, password_file: Path | None = None) -> str:
    """Return the options for a shell, with a blank before each.

    Args:
        mqtt: The broker.
        password_file: What holds the password; only its name is in the options.
    """
    words: list[str] = []
    if mqtt.tls.enabled or mqtt.host not in THIS_MACHINE:
        words += ["-h", mqtt.host]
    if words or mqtt.port != PLAIN_PORT:
        words += ["-p", str(mqtt.port)]
    if mqtt.tls.enabled:
        words += ["--cafile", mqtt.tls.ca_file] if mqtt.tls.ca_file else ["--tls-use-os-certs"]
    if mqtt.username:
        words += ["-u", mqtt.username]
    options = "".join(f" {shlex.quote(word)}" for word in words)
    if password_file is not None:
        options += f' -P "$(cat {shlex.quote(str(password_file))})"'
    return options
