"""A configuration says what it seems to say, in the file and in the environment."""

import time
from pathlib import Path

import pytest

from bridge.config.loading import load, load_with_warnings
from bridge.errors import ConfigError

ENVIRON = {
    "CHARGER_BRIDGE_EASEE__USERNAME": "someone@example.com",
    "CHARGER_BRIDGE_EASEE__PASSWORD": "canary-password-4711",
}
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    """Return what is wrong with a file and variables."""
    path = folder / "bridge.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load(path, {**ENVIRON, **environ})
    except ConfigError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "log: {level: !!python/object/apply:os.system ['echo x']}\n",
        "log: {level: !!python/name:os.system }\n",
        "mqtt: {port: !!int '1883'}\n",
        "log: {level: info}\nlog: {level: debug}\n",
        "mqtt: {port: 1883, port: 1884}\n",
        "base: &b {port: 1884}\nmqtt:\n  <<: *b\n",
        "mqtt:\n  <<: {port: 1884}\n",
        "mqtt: {port: 017}\n",
        "mqtt: {port: 0o17}\n",
        "mqtt: {port: 0x10}\n",
        "mqtt: {port: 1e3}\n",
        "mqtt: {port: 1_883}\n",
        "mqtt: {port: 31:23}\n",
        "mqtt: {port: .inf}\n",
        "mqtt: {port: .nan}\n",
        "mqtt: {host: no}\n",
        "mqtt: {client_id: off}\n",
        "mqtt: {tls: {enabled: 'false'}}\n",
        "mqtt: {tls: {enabled: 0}}\n",
        "commands: {allow: [no]}\n",
        "mqtt: {port: 1883}\n---\nmqtt: {port: 1884}\n",
        "? {mqtt: 1}\n: x\n",
        "mqtt: {Port: 1883}\n",
        "mqtt: {po\u0455t: 1883}\n",
        'mqtt: {host: "local\\nhost"}\n',
        "mqtt: {base_topic: 'a/#'}\n",
        "mqtt: {base_topic: '$SYS'}\n",
        'mqtt: {username: "a\\ntopic readwrite #"}\n',
        "[" * 100_000,
        "{a: " * 20_000,
        "\x00",
    ],
)  # fmt: skip
def test_what_yaml_would_make_something_else_of_is_refused(tmp_path, text):
    """Each trap is a problem with a path or a place, found at once, and repeats no control code."""
    started_s = time.process_time()
    found = problems(tmp_path, text)

    assert found
    assert time.process_time() - started_s < 20.0
    assert all(one.isprintable() and len(one) < 1000 for one in found)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("easee: {username: +4712345678}", ("easee", "username"), "+4712345678"),
        ("easee: {username: 047123}", ("easee", "username"), "047123"),
        ("mqtt: {version: 3.1.1}", ("mqtt", "version"), "3.1.1"),
        ("mqtt: {client_id: 1e3}", ("mqtt", "client_id"), "1e3"),
        ("mqtt: {client_id: 12:30}", ("mqtt", "client_id"), "12:30"),
        ("mqtt: {client_id: 2026-11-22}", ("mqtt", "client_id"), "2026-11-22"),
    ],
)
def test_a_text_stays_the_text_that_was_written(tmp_path, text, path, value):
    """No number, time or date is made of what is a name."""
    file = tmp_path / "bridge.yaml"
    file.write_text(text)
    environ = {**ENVIRON}
    if path == ("easee", "username"):
        del environ["CHARGER_BRIDGE_EASEE__USERNAME"]
    section, name = path

    assert getattr(getattr(load(file, environ), section), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CHARGER_BRIDGE_MQTT__PORT", "017"),
        ("CHARGER_BRIDGE_MQTT__PORT", " 1883"),
        ("CHARGER_BRIDGE_MQTT__PORT", "18\n83"),
        ("CHARGER_BRIDGE_MQTT__PORT", ""),
        ("CHARGER_BRIDGE_MQTT__PORT", "\u0661\u0668\u0668\u0663"),
        ("CHARGER_BRIDGE_MQTT__TLS__ENABLED", "maybe"),
        ("CHARGER_BRIDGE_MQTT__TLS__ENABLED", ""),
        ("CHARGER_BRIDGE_MQTT_PORT", "1883"),
        ("CHARGER_BRIDGE_mqtt__port", "1883"),
        ("CHARGER_BRIDGE_MQTT__TLS__INSECURE", "true"),
        ("CHARGER_BRIDGE_EASEE__PASSWORD_FILE", "/run/secrets/other"),
        ("CHARGER_BRIDGE_MQTT__HOST", "user:canary@broker"),
        ("CHARGER_BRIDGE_EASEE__API_URL", "https://canary:canary@api.easee.com"),
        ("CHARGER_BRIDGE_EASEE__CHARGERS", "EH123456,../x"),
        ("CHARGER_BRIDGE_COMMANDS__ALLOW", "&a [*a]"),
    ],
)
def test_a_variable_is_read_as_strictly_as_the_file(tmp_path, name, value):
    """No blank, other digit, unknown name or second source of a secret slips through."""
    found = problems(tmp_path, "", **{name: value})

    assert found
    assert not [one for one in found if "canary" in one and "@" not in value]
    assert all(one.isprintable() for one in found)


@pytest.mark.parametrize(
    "change",
    [
        {"EASEE__API_URL": "http://api.easee.com"},
        {"EASEE__API_URL": "http://192.168.1.5"},
        {"EASEE__STREAM_URL": "ws://streams.easee.com/hubs/chargers"},
        {"MQTT__HOST": "broker.example.com"},
        {"MQTT__HOST": "8.8.8.8"},
        {"MQTT__HOST": "134744072"},
        {"MQTT__HOST": "::ffff:8.8.8.8"},
    ],
)
def test_plain_text_to_far_hosts_is_refused(tmp_path, change):
    """Nothing is connected without TLS outside one's own network."""
    environ = {f"CHARGER_BRIDGE_{name}": value for name, value in change.items()}

    assert problems(tmp_path, "", **environ)


@pytest.mark.parametrize("section", ["easee", "mqtt"])
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o640])
def test_a_secret_others_can_read_is_warned_of(tmp_path, section, mode):
    """The operator hears it; a group is taken for the service's own."""
    secret = tmp_path / "secret"
    secret.write_text("canary-password-4711")
    secret.chmod(mode)
    path = tmp_path / "bridge.yaml"
    path.write_text(f"{section}: {{password_file: {secret}}}\nmqtt: {{username: x}}\n"
                    if section == "easee" else
                    f"mqtt: {{password_file: {secret}, username: x}}\n")  # fmt: skip
    environ = dict(ENVIRON)
    if section == "easee":
        del environ["CHARGER_BRIDGE_EASEE__PASSWORD"]
    warnings = load_with_warnings(path, environ).warnings

    assert any(f"{section}.password_file" in one for one in warnings) == bool(mode & 0o004)
    assert not [one for one in warnings if "canary" in one]


def test_the_example_holds_no_secret():
    """Nobody copies a password from it into a file that is world-readable."""
    text = (Path(__file__).parents[2] / "config.example.yaml").read_text(encoding="utf-8")

    assert not [line for line in text.splitlines() if line.strip().startswith("password:")]
