"""The options of mosquitto's clients lead to the configured broker and show no password."""

from pathlib import Path

import pytest

from bridge.exports.mosquitto_clients import client_options
from bridge.settings import MqttSettings, Secret, TlsSettings

GUARDED = MqttSettings(
    host="broker.lan",
    port=8883,
    username="it's me",
    password=Secret("canary-55"),
    tls=TlsSettings(enabled=True),
)


@pytest.mark.parametrize(
    ("mqtt", "options"),
    [
        (MqttSettings(), ""),
        (MqttSettings(host="127.0.0.1", port=40001), " -p 40001"),
        (MqttSettings(host="pi"), " -h pi -p 1883"),
        (GUARDED, " -h broker.lan -p 8883 --tls-use-os-certs -u 'it'\"'\"'s me'"),
        (
            MqttSettings(tls=TlsSettings(enabled=True, ca_file="/a b.pem"), port=8883),
            " -h localhost -p 8883 --cafile '/a b.pem'",
        ),
    ],
)
def test_the_clients_get_the_options_they_need(mqtt, options):
    """Host and port only where they are not the usual ones; TLS names the host it verifies."""
    assert client_options(mqtt) == options


def test_a_password_is_named_by_its_file():
    """The shell reads it when the command runs; it is not in the line."""
    options = client_options(GUARDED, Path("/etc/a b/mqtt_password"))

    assert options.endswith(" -P \"$(cat '/etc/a b/mqtt_password')\"")
    assert "canary" not in options
