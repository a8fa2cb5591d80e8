"""What the configuration promises: strict, complete, and silent about secrets."""

import ast
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.file import MAX_FILE_BYTES, read_text
from bridge.config.keys import BY_PATH, KEYS, REQUIRED, SECTIONS
from bridge.config.loading import load, load_with_warnings
from bridge.errors import ConfigError
from bridge.extras import missing_extra
from bridge.settings import Secret, Settings

ENVIRON = {
    "CHARGER_BRIDGE_EASEE__USERNAME": "user@example.com",
    "CHARGER_BRIDGE_EASEE__PASSWORD": "correct horse",
}
CANARY = "canary-5f2b9"


def problems_of(text: str, folder: Path, environ: dict[str, str] | None = None) -> list[str]:
    """Load a text and return what is wrong with it."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, ENVIRON if environ is None else environ)
    return list(caught.value.problems)


def settings_of(text: str, folder: Path, environ: dict[str, str] | None = None) -> Settings:
    """Load a text that is right."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, ENVIRON | (environ or {}))


# -- sources -------------------------------------------------------------------------------------


def test_the_environment_alone_is_enough():
    """Without a file the environment and the defaults make a configuration."""
    settings = load(None, ENVIRON)

    assert settings.easee.username == "user@example.com"
    assert settings.easee.password == Secret("correct horse")
    assert settings.mqtt.host == "localhost"
    assert settings.commands.allow == ("control", "access", "current")


def test_an_empty_file_is_a_file_of_defaults(tmp_path):
    """A file with nothing in it, or with empty sections, changes nothing."""
    assert settings_of("", tmp_path) == load(None, ENVIRON)
    assert settings_of("# nothing\n", tmp_path) == load(None, ENVIRON)
    assert settings_of("mqtt:\npublish: {}\neasee: null\n", tmp_path) == load(None, ENVIRON)


def test_the_environment_goes_before_the_file_and_the_file_before_the_default(tmp_path):
    """Precedence is environment, file, default."""
    text = "mqtt: {host: broker, port: 1884}\n"
    settings = settings_of(text, tmp_path, {"CHARGER_BRIDGE_MQTT__PORT": "1885"})

    assert (settings.mqtt.host, settings.mqtt.port, settings.mqtt.keepalive_s) == (
        "broker",
        1885,
        20,
    )


def test_every_field_of_the_settings_is_a_key_and_the_other_way_round():
    """The table and the settings classes cannot drift apart."""

    def paths(section: type, prefix: str = "") -> set[str]:
        found = set()
        for field in fields(section):
            if is_dataclass(field.type):
                found |= paths(field.type, f"{prefix}{field.name}.")
            else:
                found.add(prefix + field.name.rstrip("_"))
        return found

    files = {f"{key.path}_file" for key in KEYS if key.secret}
    # Set for each gateway of several, by the program alone.
    assert {key.path for key in KEYS} == paths(Settings) - {"cluster.partition"} | files
    assert {key.path.rpartition(".")[0] for key in KEYS} - {""} == set(SECTIONS)


# What each key is set to, as text, and what the settings then hold.
EVERY_KEY = {
    "state_dir": ("/data", "/data"),
    "easee.username": ("+4712345678", "+4712345678"),
    "easee.chargers": ("EH123456, EH654321", ("EH123456", "EH654321")),
    "easee.api_url": ("http://127.0.0.1:8800/api", "http://127.0.0.1:8800"),
    "easee.stream_url": (
        "ws://localhost:8800/hubs/products",
        "http://localhost:8800/hubs/products",
    ),
    "easee.source": ("poll", "poll"),
    "easee.poll_interval_s": ("30", 30),
    "mqtt.host": ("192.168.1.9", "192.168.1.9"),
    "mqtt.port": ("8883", 8883),
    "mqtt.version": ("3.1.1", "3.1.1"),
    "mqtt.client_id": ("garage", "garage"),
    "mqtt.username": ("bridge", "bridge"),
    "mqtt.base_topic": ("home/garage", "home/garage"),
    "mqtt.keepalive_s": ("5", 5),
    "mqtt.reply_prefixes": ("[flows/answers, apps/replies/]", ("flows/answers/", "apps/replies/")),
    "mqtt.tls.enabled": ("true", True),
    "mqtt.tls.allow_plaintext": ("yes", True),
    "publish.json": ("off", False),
    "publish.scalar": ("FALSE", False),
    "publish.personal_data": ("true", True),
    "publish.require_subscriber": ("false", False),
    "publish.require_acknowledgement": ("true", True),
    "easee.names": ("EH123456=Garage, EH654321=2", (("EH123456", "Garage"), ("EH654321", "2"))),
    "publish.only": ("phases, 120", ("phases", "120")),
    "publish.except": ("[radio, op_mode]", ("radio", "op_mode")),
    "publish.equalizer_interval_s": ("10", 10),
    "publish.tags": ("04AA=Kari, sha256:ab=2", (("04AA", "Kari"), ("sha256:ab", "2"))),
    "publish.tags_file": ("/tags", "/tags"),
    "commands.allow": ("control,reboot", ("control", "reboot")),
    "commands.ttl_s": ("600", 600),
    "commands.max_current_a": ("6", 6),
    "commands.flash_writes_per_day": ("0", 0),
    "commands.unsure_retained": ("refuse_energizing", "refuse_energizing"),
    "store.path": ("/data/bridge.db", "/data/bridge.db"),
    "store.max_mib": ("1", 1),
    "store.keep_days": ("3650", 3650),
    "store.url": ("postgresql://bridge@db.lan/bridge", "postgresql://bridge@db.lan/bridge"),
    "cluster.partitions": ("1", 1),
    "cluster.worker": ("pi-1", "pi-1"),
    "cluster.lease_ttl_s": ("10", 10),
    "http.enabled": ("true", True),
    "http.host": ("0.0.0.0", "0.0.0.0"),
    "http.port": ("9000", 9000),
    "http.names": ("pi.lan,garage", ("pi.lan", "garage")),
    "http.proxy": ("172.30.32.2", "172.30.32.2"),
    "http.page": ("true", True),
    "amqp.queue": ("Operator_7.Q", "Operator_7.Q"),
    "amqp.commands": ("true", True),
    "log.level": ("debug", "debug"),
    "log.format": ("console", "console"),
    "homeassistant.enabled": ("true", True),
    "homeassistant.discovery_prefix": ("ha/discovery", "ha/discovery"),
    "homeassistant.form": ("component", "component"),
    "homeassistant.status_topic": ("ha/status", "ha/status"),
    "recorder.max_mib": ("0", 0),
    "sparkplug.enabled": ("true", True),
    "sparkplug.group_id": ("Plant 1", "Plant 1"),
    "sparkplug.edge_node_id": ("garage", "garage"),
    "sparkplug.host_id": ("ignition", "ignition"),
    "sparkplug.aliases": ("true", True),
}
SECRETS = {"amqp.own_url", "amqp.url", "easee.password", "mqtt.password", "store.password"}
SECRET_FILES = {f"{path}_file" for path in SECRETS}
FILES = SECRET_FILES | {f"mqtt.tls.{name}_file" for name in ("ca", "cert", "key")}


def held(settings: Settings, path: str) -> object:
    """Walk to a field."""
    found: object = settings
    for name in path.split("."):
        found = getattr(found, f"{name}_" if name == "except" else name)
    return found


def test_every_key_is_tried_below():
    """The table of the next test names every key."""
    assert set(EVERY_KEY) | FILES | SECRETS == set(BY_PATH)


@pytest.mark.parametrize("path", EVERY_KEY)
def test_every_key_can_be_set_by_its_variable(path):
    """Each key has an environment variable of its name."""
    text, value = EVERY_KEY[path]
    variable = "CHARGER_BRIDGE_" + path.upper().replace(".", "__")

    assert held(load(None, ENVIRON | {variable: text}), path) == value


@pytest.mark.parametrize("path", sorted(EVERY_KEY))
def test_every_key_can_be_set_in_the_file(path, tmp_path):
    """Each key can be set in YAML, written as a person would write it."""
    text, value = EVERY_KEY[path]
    kind = BY_PATH[path].kind
    line = f"[{text.strip('[]')}]" if kind.many else text
    if kind.pairs:
        line = f"{{{text.replace('=', ': ')}}}"
    for name in reversed(path.split(".")):
        line = f"{{{name}: {line}}}"

    environ = {k: v for k, v in ENVIRON.items() if k != BY_PATH[path].variable}
    assert held(load_text(line, tmp_path, environ), path) == value


def load_text(text: str, folder: Path, environ: dict[str, str]) -> Settings:
    """Load a text with exactly this environment."""
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, environ)


@pytest.mark.parametrize("path", sorted(FILES - SECRET_FILES))
def test_files_may_be_relative_to_the_configuration(path, tmp_path):
    """A relative path in the file starts at the folder of the file."""
    (tmp_path / "one.pem").write_text("x")
    both = "cert_file: one.pem, key_file: one.pem" if "ca_" not in path else "ca_file: one.pem"
    settings = settings_of(f"mqtt: {{tls: {{enabled: true, {both}}}}}", tmp_path)

    assert held(settings, path) == str(tmp_path / "one.pem")


def test_optional_values_can_be_taken_back():
    """An empty variable means "none" where a key may be null, and an empty list for a list."""
    environ = ENVIRON | {"CHARGER_BRIDGE_MQTT__USERNAME": "", "CHARGER_BRIDGE_COMMANDS__ALLOW": ""}
    settings = load(None, environ)

    assert settings.mqtt.username is None
    assert settings.commands.allow == ()


def test_a_list_with_every_item_commented_out_is_empty(tmp_path):
    """`chargers:` with nothing behind it is the empty list."""
    assert settings_of("easee:\n  chargers:\n  #- EH123456\n", tmp_path).easee.chargers == ()


# -- every problem at once -------------------------------------------------------------------------


def test_every_problem_is_told_at_once_and_begins_with_its_path(tmp_path):
    """One run of `check` shows everything that has to be mended."""
    text = """
easee: {chargers: [EH123456, abc], poll_interval_s: 5}
mqtt: {port: abc, tls: {enabled: maybe}}
log: {colour: red}
"""
    found = problems_of(text, tmp_path, {"CHARGER_BRIDGE_STORE__MAX_MIB": "0"})

    assert [problem.partition(":")[0] for problem in found] == [
        "easee.chargers",
        "easee.poll_interval_s",
        "mqtt.port",
        "mqtt.tls.enabled",
        "log.colour",
        "store.max_mib",
        "easee.username",
        "easee.password",
    ]
    assert "mqtt.port: must be 1 to 65535, not 'abc'" in found


REFUSED = {
    "mqtt: {port: 0}": "mqtt.port: must be 1 to 65535, not '0'",
    "mqtt: {port: 65536}": "mqtt.port: must be 1 to 65535, not '65536'",
    "mqtt: {port: true}": "mqtt.port: must be 1 to 65535, not 'true'",
    "mqtt: {port: 1883.0}": "mqtt.port: must be 1 to 65535, not '1883.0'",
    "mqtt: {port: 1_883}": "underscored",
    "mqtt: {port: 01883}": "mqtt.port: must be 1 to 65535, not '01883'",
    "mqtt: {port: 0123}": "octal",
    "mqtt: {port: 31:23}": "sexagesimal",
    "mqtt: {port: 0x75b}": "hexadecimal",
    "mqtt: {port: ١٨٨٣}": "mqtt.port: must be 1 to 65535",
    'mqtt: {port: "1883"}': "mqtt.port: must be without quotes",
    "mqtt: {port: null}": "mqtt.port: needs a value",
    "mqtt: {port: [1883]}": "mqtt.port: must be one value",
    "mqtt: {port: {a: b}}": "mqtt.port: must be one value",
    "publish: {json: 1}": "publish.json: must be true or false, not '1'",
    'publish: {json: "true"}': "publish.json: must be without quotes",
    "mqtt: {client_id: yes}": "mqtt.client_id: must be",
    "mqtt: {client_id: a b}": "mqtt.client_id: must be",
    "mqtt: {version: 4}": "mqtt.version: must be auto, 5 or 3.1.1, not '4'",
    "mqtt: {base_topic: a/#}": "wildcards",
    "mqtt: {base_topic: +/a}": "wildcards",
    "mqtt: {base_topic: /a}": "start or end with /",
    "mqtt: {base_topic: a/}": "start or end with /",
    "mqtt: {base_topic: a//b}": "nor hold //",
    "mqtt: {base_topic: $SYS}": "must not start with $",
    'mqtt: {base_topic: "a\\0b"}': "control characters",
    'mqtt: {base_topic: ""}': "must not be empty",
    "mqtt: {reply_prefixes: [charger/EH123456/set]}": "overlaps",
    "mqtt: {reply_prefixes: [charger]}": "overlaps",
    "mqtt: {base_topic: a/b, reply_prefixes: [a]}": "overlaps",
    "mqtt: {host: mqtt://broker}": "must be a host name or address alone",
    "mqtt: {host: 'broker:1883'}": "must be a host name or address alone",
    "mqtt: {host: a b}": "must be a host name or an IP address",
    "mqtt: {host: 134744072}": "must be a host name or an IP address",
    "mqtt: {host: 0x8080808}": "must be a host name or an IP address",
    "mqtt: {host: broker.example.com}": "neither loopback nor private",
    "mqtt: {host: 8.8.8.8}": "neither loopback nor private",
    "mqtt: {host: '2001:db8::1'}": "neither loopback nor private",
    "mqtt: {tls: {cert_file: /dev/null, enabled: true}}": "needs mqtt.tls.key_file",
    "mqtt: {tls: {key_file: /dev/null, enabled: true}}": "needs mqtt.tls.cert_file",
    "mqtt: {tls: {ca_file: none.pem}}": "mqtt.tls.ca_file: cannot read",
    "mqtt: {tls: {insecure: true}}": "mqtt.tls.insecure: unknown key",
    "mqtt: yes": "mqtt: must be a section",
    "mqtt: [a]": "mqtt: must be a section",
    "mqtt:\n  - host: a": "mqtt: must be a section with keys of its own, without the dashes",
    "mqtt:\n  host:a": "keys of its own; a colon needs a space behind it",
    "commands: {ttl_s: 601}": "commands.ttl_s: must be 1 to 600",
    "commands: {max_current_a: 5}": "commands.max_current_a: must be 6 to 80",
    "commands: {allow: [strat]}": "did you mean start?",
    "commands: {allow: control}": "commands.allow: must be a list",
    "commands: {allow: [[control]]}": "commands.allow: must be a flat list",
    "commands: {allow: [control, control]}": "commands.allow: names 'control' twice",
    "easee: {api_url: http://api.easee.com}": "loopback",
    "easee: {api_url: 'https://u:p@api.easee.com'}": "must not hold a user name",
    "easee: {api_url: 'https://api.easee.com?x=1'}": "query",
    "easee: {api_url: https://api.easee.com/v2}": "without a path",
    "easee: {api_url: ftp://api.easee.com}": "must start with https://",
    "easee: {api_url: 'https://api.easee.com:99999'}": "valid host and port",
    "easee: {api_url: 'http://localhost.example.com'}": "loopback",
    "easee: {stream_url: ws://streams.easee.com/hubs/chargers}": "must start with wss://",
    "easee: {stream_url: https://streams.easee.com}": "path of the hub",
    "easee: {stream_url: https://streams.easee.com/hubs/../x}": "path of the hub",
    "easee: {chargers: [eh123456]}": "charger serials",
    "easee: {chargers: ['EH12345/']}": "charger serials",
    "easee: {source: both}": "must be stream, poll or amqp",
    "easee: {names: {eh123456: Garage}}": "charger serials",
    "easee: {names: {EH123456: [Garage]}}": "easee.names: must be a flat mapping",
    "easee: {names: Garage}": "easee.names: must be a mapping of serials to names",
    "easee: {names: {EH123456: ''}}": "easee.names: must not be empty",
    "publish: {only: [tempratures]}": "did you mean temperatures or temperature_monitor_state?",
    "publish: {except: [xyzzy]}": "groups are access, circuit, diagnostic",
    "log: {level: loud}": "must be debug, info, warning or error",
    "log: {level: off}": "must be debug, info, warning or error",
    "store: {max_mib: 10241}": "must be 1 to 10240",
    "nonsense: 1": "nonsense: unknown key",
    "esaee: {username: x}": "did you mean easee?",
    "just words": "must hold sections",
    "[a, b]": "must hold sections",
    "mqtt: {port: 1883, port: 1884}": "mqtt.port: given twice",
    "mqtt: {}\nmqtt: {}": "mqtt: given twice, in lines 1 and 2",
    "mqtt: &a {port: 1883}": "anchors",
    "mqtt: &a {port: 1883}\nstore: *a": "store: aliases",
    "mqtt: {port: !!int 1883}": "mqtt.port: tags",
    "mqtt: !!python/object:os.system {}": "mqtt: tags",
    "<<: {port: 1}": "unknown key",
    "mqtt: {port: 1}\n---\nmqtt: {}": "more than one document",
    "mqtt: [unclosed": "not valid YAML",
    "mqtt: {? [a, b] : c}": "a key must be a word",
    "[" * 5000: "nested deeper",
    "a: {b: {c: {d: {e: {f: {g: {h: 1}}}}}}}": "nested deeper",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text, tmp_path):
    """Each of these is a mistake, and the message says which."""
    assert any(REFUSED[text] in problem for problem in problems_of(text, tmp_path))


ACCEPTED = {
    "mqtt: {version: 5}": ("mqtt.version", "5"),
    'mqtt: {version: "5"}': ("mqtt.version", "5"),
    "mqtt: {version: 3.1.1}": ("mqtt.version", "3.1.1"),
    "mqtt: {client_id: 0x10}": ("mqtt.client_id", "0x10"),
    'mqtt: {client_id: "yes"}': ("mqtt.client_id", "yes"),
    "mqtt: {host: nas.local}": ("mqtt.host", "nas.local"),
    "mqtt: {host: mqtt.home.arpa}": ("mqtt.host", "mqtt.home.arpa"),
    "mqtt: {host: mosquitto}": ("mqtt.host", "mosquitto"),
    "mqtt: {host: 10.1.2.3}": ("mqtt.host", "10.1.2.3"),
    "mqtt: {host: '::1'}": ("mqtt.host", "::1"),
    "mqtt: {host: 'fd00::1'}": ("mqtt.host", "fd00::1"),
    "mqtt: {host: a.example.com, tls: {enabled: true}}": ("mqtt.host", "a.example.com"),
    "mqtt: {host: a.example.com, tls: {allow_plaintext: true}}": ("mqtt.host", "a.example.com"),
    "mqtt: {base_topic: maison/garage à gauche}": ("mqtt.base_topic", "maison/garage à gauche"),
    "mqtt: {reply_prefixes: [charger/reply/x]}": ("mqtt.reply_prefixes", ("charger/reply/x/",)),
    "easee: {chargers: [123456]}": ("easee.chargers", ("123456",)),
    "easee: {chargers: [12E456]}": ("easee.chargers", ("12E456",)),
    "easee: {api_url: 'http://127.9.9.9:1/'}": ("easee.api_url", "http://127.9.9.9:1"),
    "easee: {api_url: 'http://[::1]:80'}": ("easee.api_url", "http://[::1]:80"),
    "easee: {stream_url: 'wss://S.example.com/hubs/chargers'}": (
        "easee.stream_url",
        "https://s.example.com/hubs/chargers",
    ),
    "commands: {allow: []}": ("commands.allow", ()),
    "store: {path: data/b.db}": ("store.path", None),
}


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_is_accepted(text, tmp_path):
    """Each of these is what a person may reasonably write."""
    path, value = ACCEPTED[text]
    expected = str(tmp_path / "data/b.db") if value is None else value

    assert held(settings_of(text, tmp_path), path) == expected


def test_a_section_that_is_none_is_the_only_problem(tmp_path):
    """Its required keys were not left out: they cannot be read."""
    (problem,) = problems_of("easee:\n  username:me@example.com\n", tmp_path, {})

    assert problem.startswith("easee: must be a section")


def test_a_second_document_is_told_with_the_files_name(tmp_path):
    """As every other problem of the whole file."""
    (problem,) = problems_of("mqtt: {port: 1}\n---\nmqtt: {}", tmp_path)

    assert problem.startswith(str(tmp_path))


def test_a_password_file_of_a_variable_is_told_with_the_variable(tmp_path):
    """The configuration file may name another one, which is right."""
    variable = "CHARGER_BRIDGE_EASEE__PASSWORD_FILE"
    text = "easee: {username: me@example.com, password_file: pw}"
    (problem,) = problems_of(text, tmp_path, {variable: str(tmp_path / "none")})

    assert problem.endswith(f"No such file or directory (from {variable})")


def test_unknown_variables_are_errors():
    """A misspelled variable is told, with the one that was meant, and never with its value."""
    with pytest.raises(ConfigError) as caught:
        load(None, ENVIRON | {"CHARGER_BRIDGE_MQTT__PASWORD": CANARY})

    (problem,) = caught.value.problems
    assert problem.startswith("CHARGER_BRIDGE_MQTT__PASWORD: unknown variable; did you mean")
    assert CANARY not in problem


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path):
    """Missing, too large, not text: each is one sentence."""
    large, binary = tmp_path / "large.yaml", tmp_path / "binary.yaml"
    large.write_text("#" * (MAX_FILE_BYTES + 1))
    binary.write_bytes(b"\xff\xfe\x00")

    for path in (tmp_path / "none.yaml", tmp_path, large, binary):
        with pytest.raises(ConfigError) as caught:
            load(path, ENVIRON)
        assert caught.value.problems[0].startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("mqtt:\n\thost: a\n", 2),
        ("mqtt:\n  host:\ta\n \tport: 1\n", 2),
        ("mqtt:\n  host: a\n\t\tport: 1\n", 3),
    ],
)
def test_a_tab_is_called_a_tab(text, line, tmp_path):
    """YAML does not indent with tabs; the message says that it is one, and where."""
    (problem,) = problems_of(text, tmp_path)

    assert "a tab character; YAML allows only spaces here" in problem
    assert f"in line {line}," in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mqtt:\n  username: @me\n", "a value begins with a special character; put it in quotes"),
        ("mqtt:\n  host: a: b\n", "an unexpected colon"),
        ("mqtt:\n  host: a\nport 1\neasee:\n", "a key without a colon"),
        ("mqtt:\n  host: a\n   port: 1\n", "an unexpected colon; check the indentation"),
        ("mqtt:\n   host: a\n  port: 1\n", "the indentation differs"),
        ("commands: {allow: [control}\n", "a bracket or brace is not closed"),
        ("mqtt: {host: ]\n", "a value is missing"),
        ("mqtt: {host: !a!b c}\n", "quote a text that begins with !"),
        ('mqtt:\n  host: "a\\q"\n', "a backslash in double quotes"),
        ('mqtt:\n  host: "a\n', "a quote is not closed"),
    ],
)
def test_a_mistake_of_yaml_is_in_words(text, words, tmp_path):
    """The usual mistakes are named as what to change, not in the parser's terms."""
    (problem,) = problems_of(text, tmp_path)

    assert words in problem


@given(st.text(max_size=200))
def test_no_text_ends_in_anything_but_a_document(text):
    """Whatever a file holds, reading it ends, with a tree or with problems."""
    document = read_text(text, name="file")

    assert isinstance(document.problems, tuple)


YAMLISH = st.lists(
    st.sampled_from(
        [
            "mqtt",
            "port",
            ": ",
            ":",
            " ",
            "\n",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "&a ",
            "*a ",
            "!x ",
            "- ",
            "'",
            '"',
            "? ",
            ">",
            "%",
            "#",
            "---",
            "...",
            "\t",
            "1",
            "null",
            "\x00",
        ]
    ),
    max_size=40,
).map("".join)


def problems_or_nothing(path: Path | None, environ: dict[str, str]) -> tuple[str, ...]:
    """Load, and return the problems; any error but ConfigError fails the test."""
    try:
        load(path, environ)
    except ConfigError as error:
        return error.problems
    return ()


@given(YAMLISH)
def test_no_yaml_ends_in_anything_but_settings_or_a_config_error(tmp_path_factory, text):
    """Broken YAML of every kind is a ConfigError, never another exception."""
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")

    assert all(isinstance(problem, str) for problem in problems_or_nothing(path, ENVIRON))


@given(st.sampled_from(KEYS), st.text(st.characters(exclude_characters="\0"), max_size=60))
def test_no_variable_ends_in_anything_but_settings_or_a_config_error(key, text):
    """Whatever a variable holds, it is a value or a problem of a key."""
    problems = problems_or_nothing(None, ENVIRON | {key.variable: text})

    assert all(problem.partition(":")[0] in BY_PATH for problem in problems)


# -- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", ["easee", "mqtt"])
def test_a_secret_in_the_file_is_refused_and_not_repeated(section, tmp_path):
    """The message names the two right places and holds nothing of the secret."""
    (problem,) = problems_of(f"{section}: {{password: {CANARY}}}", tmp_path)

    assert f"{section}.password_file" in problem
    assert f"CHARGER_BRIDGE_{section.upper()}__PASSWORD" in problem
    assert CANARY not in problem


def test_a_secret_comes_from_its_file_without_the_line_break(tmp_path):
    """A secret file may end in a line break, and its path is relative to the configuration."""
    secret = tmp_path / "secret"
    secret.write_text(f"{CANARY} \r\n")
    secret.chmod(0o600)
    text = "easee: {username: a@example.com, password_file: secret}\n"
    path = tmp_path / "config.yaml"
    path.write_text(text)

    loaded = load_with_warnings(path, {})

    assert loaded.settings.easee.password == Secret(f"{CANARY} ")
    (warning,) = loaded.warnings
    assert warning.startswith("easee.password_file: the secret begins or ends with a blank")


@pytest.mark.parametrize(
    "written",
    [
        b"\xef\xbb\xbf%s",
        b"%s\n",
        b"%s\r\n",
        b"%s\r",
        b"%s\n\n\r\n",
        b"\n%s\n",
        b"\xef\xbb\xbf\r\n%s\r\n",
        b"\xef\xbb\xbf\xef\xbb\xbf%s",
    ],
)
@pytest.mark.parametrize("section", ["easee", "mqtt"])
def test_a_secret_is_what_was_meant_whatever_the_editor_added(section, written, tmp_path):
    """Byte order marks and line breaks around a password belong to the editor."""
    (tmp_path / "secret").write_bytes(written % CANARY.encode())
    (tmp_path / "secret").chmod(0o600)
    text = "easee: {username: a, password_file: secret}\nmqtt: {username: b, password_file: secret}"
    (tmp_path / "config.yaml").write_text(text)

    loaded = load_with_warnings(tmp_path / "config.yaml", {})

    assert getattr(loaded.settings, section).password == Secret(CANARY)
    assert loaded.warnings == ()


def test_a_variable_is_what_was_meant_whatever_a_file_of_variables_added():
    """An --env-file with Windows line ends gives every variable a carriage return."""
    plain = ENVIRON | {"CHARGER_BRIDGE_MQTT__HOST": "pi.lan", "CHARGER_BRIDGE_MQTT__PORT": "8883"}
    strange = {name: f"\ufeff{value}\r" for name, value in plain.items()}

    assert load(None, strange) == load(None, plain)


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_file_is_what_was_meant_whatever_the_editor_added(mark, line_end, tmp_path):
    """A configuration from any editor says the same."""
    text = mark + line_end.join(("# a comment", "mqtt:", "  host: pi.lan", "  port: 8883", ""))
    (tmp_path / "config.yaml").write_bytes(text.encode())

    mqtt = load(tmp_path / "config.yaml", ENVIRON).mqtt

    assert (mqtt.host, mqtt.port) == ("pi.lan", 8883)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_wide_file_says_how_to_save_it(encoding, tmp_path):
    """What Windows calls Unicode is refused in words its owner can act on."""
    (tmp_path / "config.yaml").write_bytes("mqtt: {host: pi.lan}\r\n".encode(encoding))
    (tmp_path / "secret").write_bytes(f"{CANARY}\r\n".encode(encoding))
    environ = ENVIRON | {"CHARGER_BRIDGE_MQTT__PASSWORD_FILE": str(tmp_path / "secret")}

    for path, variables in ((tmp_path / "config.yaml", ENVIRON), (None, environ)):
        with pytest.raises(ConfigError) as caught:
            load(path, variables)
        (problem,) = caught.value.problems
        assert re.search(r"is UTF-(16|32) text; save it as UTF-8", problem)
        assert CANARY not in problem


def test_a_secret_file_can_be_named_by_a_variable_and_beaten_by_the_secret_itself(tmp_path):
    """Environment before file, and the secret before the name of its file in the YAML."""
    secret = tmp_path / "secret"
    secret.write_text("from file")
    environ = {
        "CHARGER_BRIDGE_EASEE__USERNAME": "a",
        "CHARGER_BRIDGE_EASEE__PASSWORD_FILE": str(secret),
    }
    assert load(None, environ).easee.password == Secret("from file")

    text = f"easee: {{password_file: {tmp_path}/missing}}"
    assert settings_of(text, tmp_path).easee.password == Secret("correct horse")


def test_two_variables_for_one_secret_are_an_error(tmp_path):
    """Nobody should have to know which of the two counts."""
    environ = ENVIRON | {"CHARGER_BRIDGE_EASEE__PASSWORD_FILE": "/somewhere"}
    with pytest.raises(ConfigError, match="keep one"):
        load(None, environ)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No such file"),
        (b"", "must not be empty"),
        (b"\n", "must not be empty"),
        (b"one\ntwo\n", "control characters or line breaks"),
        (b"\xff", "not UTF-8"),
        (b"x" * 5000, "longer than 4096 bytes"),
    ],
)
@pytest.mark.fault("F39")
def test_a_secret_file_that_is_no_secret_is_a_problem(content, expected, tmp_path):
    """Missing, empty or strange secret files are named, and their content is not."""
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    environ = {
        "CHARGER_BRIDGE_EASEE__USERNAME": "a",
        "CHARGER_BRIDGE_EASEE__PASSWORD_FILE": str(secret),
    }
    with pytest.raises(ConfigError) as caught:
        load(None, environ)

    (problem,) = caught.value.problems
    assert problem.startswith("easee.password_file: ")
    assert expected in problem
    assert (str(secret) in problem) == (content in (None, b"\xff"))


def test_a_secret_file_for_everybody_is_accepted_with_a_warning(tmp_path):
    """Container secrets are 0444, so this is advice and not an error."""
    secret = tmp_path / "secret"
    secret.write_text("x" * 8)
    secret.chmod(0o444)
    environ = {
        "CHARGER_BRIDGE_EASEE__USERNAME": "a",
        "CHARGER_BRIDGE_EASEE__PASSWORD_FILE": str(secret),
    }

    (warning,) = load_with_warnings(None, environ).warnings

    assert str(secret) in warning


def test_a_broker_password_needs_a_user(tmp_path):
    """MQTT 3.1.1 has no password without a user name."""
    with pytest.raises(ConfigError, match=r"mqtt\.password: needs mqtt\.username"):
        load(None, ENVIRON | {"CHARGER_BRIDGE_MQTT__PASSWORD": CANARY})


@pytest.mark.parametrize(
    "text",
    [
        f"easee: {{password: '{CANARY}', username: [}}",
        f"easee: {{password: *{CANARY}}}",
        f"easee: {{password: !{CANARY}!x y}}",
        f"easee: {{password: &{CANARY} x}}",
        f"easee: {{pasword: {CANARY}}}",
        f"easee: {CANARY}",
        f"easee: {{api_url: 'https://me:{CANARY}@api.easee.com'}}",
        f"{CANARY} in the wrong place",
        f'easee: {{password: "{CANARY}\\q"}}',
        f"easee: {{password: @{CANARY}}}",
    ],
)
def test_no_message_repeats_what_may_be_a_secret(text, tmp_path):
    """A password that broke the file is not shown by the message about it."""
    assert CANARY not in " ".join(problems_of(text, tmp_path))


# -- advice --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("mqtt: {tls: {enabled: true}}", "mqtt.port"),
        ("mqtt: {port: 8883}", "mqtt.port"),
        ("mqtt: {username: bridge}", "mqtt.username"),
        ("mqtt: {tls: {ca_file: config.yaml}}", "mqtt.tls.ca_file"),
        ("mqtt: {host: 8.8.8.8, tls: {allow_plaintext: true}}", "mqtt.tls.allow_plaintext"),
    ],
)
def test_what_is_unwise_is_said(text, path, tmp_path):
    """Some configurations work and are probably not meant."""
    config = tmp_path / "config.yaml"
    config.write_text(text)

    (warning,) = load_with_warnings(config, ENVIRON).warnings

    assert warning.startswith(f"{path}: ")


def test_home_assistant_needs_the_bare_values(tmp_path):
    """Its entities read the state topics; without them it would show nothing."""
    text = "homeassistant: {enabled: true}\npublish: {scalar: false}\n"

    assert problems_of(text, tmp_path) == [
        "homeassistant.enabled: needs publish.scalar: true, whose topics the entities read"
    ]
    assert settings_of("homeassistant: {enabled: true}\n", tmp_path).homeassistant.enabled


def test_required_keys_are_the_account():
    """Only the account has no default."""
    assert [key.path for key in KEYS if key.default is REQUIRED] == [
        "easee.username",
        "easee.password",
    ]
    with pytest.raises(ConfigError) as caught:
        load(None, {})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "easee.username",
        "easee.password",
    ]


# -- what messages suggest -----------------------------------------------------------------------

HUB = "https://streams.easee.com/hubs/chargers"
LISTS = [key for key in KEYS if key.kind.many]


def written(path: str, value: str) -> str:
    """Write one key as YAML in one line."""
    *sections, name = path.split(".")
    opened = "".join(f"{section}: {{" for section in sections)
    return f"{opened}{name}: {value}{'}' * len(sections)}"


def suggested(problem: str) -> str:
    """Return what a message says could be written."""
    return problem.partition("e.g. ")[2].partition(" (from ")[0]


@pytest.mark.parametrize("given", ["all", "control", "'x, y'", "{a: b}", '"[a]"', "on"])
@pytest.mark.parametrize("key", LISTS, ids=lambda key: key.path)
def test_a_list_that_is_none_is_answered_with_a_real_one(key, given, tmp_path):
    """What the message shows can be written as it stands, whatever was there."""
    if (key.path, given) == ("publish.tags", "{a: b}"):
        assert settings_of(written(key.path, given), tmp_path).publish.tags == (("a", "b"),)
        return
    problem = problems_of(written(key.path, given), tmp_path)[0]
    if given.startswith("{"):
        assert problem.startswith(key.path)
        return

    assert settings_of(written(key.path, suggested(problem)), tmp_path)


@pytest.mark.parametrize("key", LISTS, ids=lambda key: key.path)
def test_a_list_in_a_variable_is_answered_with_a_real_one(key):
    """The same where the list comes from the environment."""
    with pytest.raises(ConfigError) as caught:
        load(None, ENVIRON | {key.variable: "[unclosed"})

    assert load(None, ENVIRON | {key.variable: suggested(caught.value.problems[0])})


def test_the_hub_that_a_message_shows_is_taken(tmp_path):
    """An address without its path is answered with a whole one."""
    text = "easee: {stream_url: https://streams.easee.com}"
    (problem,) = problems_of(text, tmp_path)

    assert settings_of(written("easee.stream_url", suggested(problem)), tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in KEYS if key.kind.bare for value in ("maybe", "0x10", "-1", "99999")],
    ids=lambda part: getattr(part, "path", part),
)
def test_quotes_are_named_only_where_they_are_what_is_wrong(key, value, tmp_path):
    """Taking the quotes away, as the message says, must not end in the next refusal."""
    (problem,) = problems_of(written(key.path, f'"{value}"'), tmp_path)
    if "without quotes" in problem:
        assert settings_of(written(key.path, value), tmp_path)
    else:
        assert problems_of(written(key.path, value), tmp_path) == [problem]


@given(st.text(st.sampled_from("abcdelmnopqrstuwy_"), min_size=1, max_size=24))
def test_a_name_that_is_suggested_is_one_the_file_takes(tmp_path_factory, name):
    """No suggestion leads to the next refusal: a secret has no place in the file."""
    folder = tmp_path_factory.mktemp("meant")
    for section in SECTIONS:
        for problem in problems_of(written(f"{section}.{name}", "x"), folder):
            meant = problem.partition("did you mean ")[2].removesuffix("?")
            assert not meant or not BY_PATH[meant].secret


@pytest.mark.parametrize("near", ["pasword", "passwrd", "password_fil", "passwort"])
def test_who_mistypes_a_secret_is_sent_to_its_file(near, tmp_path):
    """The nearest name is the secret's, and that is refused in the file."""
    (problem,) = problems_of(f"easee: {{{near}: x}}", tmp_path)

    assert problem.endswith("did you mean easee.password_file?")


def test_a_command_that_stands_there_already_is_not_suggested(tmp_path):
    """Naming one twice is refused too."""
    (problem,) = problems_of("commands: {allow: [start, strat]}", tmp_path)
    meant = problem.partition("did you mean ")[2].removesuffix("?")

    assert settings_of(f"commands: {{allow: [start, {meant or 'control'}]}}", tmp_path)


def sentences(part: str = "") -> list[str]:
    """List every text of the program that has a blank in it, f-strings in pieces.

    What names the topics and keys of other programs (exports/other_*.py) is left out.
    """
    found = []
    for path in (Path(__file__).parents[2] / "bridge" / part).rglob("*.py"):
        if path.name.startswith("other_"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value
        ]
    return found


def test_every_key_that_a_message_names_exists():
    """Hints tell people to set keys; a key that was renamed is renamed there too."""
    named = re.compile(rf"(?<![\w./-])(?:{'|'.join(SECTIONS)})\.[a-z_]+(?:\.[a-z_]+)?(?![\w(/-])")
    words = {word for text in sentences() for word in named.findall(text)}

    assert len(words) > 20
    assert sorted(word for word in words if word not in BY_PATH and word not in SECTIONS) == []


def test_every_value_that_a_message_names_is_taken(tmp_path):
    """A hint such as ``mqtt.tls.enabled: true`` can be written as it stands."""
    paths = "|".join(map(re.escape, BY_PATH))
    pairs = {
        pair
        for text in sentences()
        for pair in re.findall(rf"(?<![\w.])({paths}): (true|false|\[[a-z, ]*\]|[0-9]+)", text)
    }

    assert ("mqtt.tls.enabled", "true") in pairs
    for path, value in pairs:
        assert settings_of(written(path, value), tmp_path)


def test_no_other_message_of_the_configuration_shows_an_example():
    """Whoever adds one adds it to the tests above."""
    shown = [text for text in sentences("config") if "e.g. " in text and "``" not in text]
    shown.remove(BY_PATH["easee.password_file"].doc)  # an explanation, not a value

    assert sorted(shown) == sorted(
        [", e.g. [", ", e.g. {", ", e.g. ", "must end in the path of the hub, e.g. " + HUB]
    )


@pytest.mark.parametrize(
    ("written", "variable", "overridden"),
    [("file.lan", "other.lan", ("mqtt.host",)), ("same.lan", "same.lan", ())],
)
def test_what_the_environment_overrides_is_told(tmp_path, written, variable, overridden):
    """A key of the file is named where the environment has another value for it, and only there."""
    path = tmp_path / "config.yaml"
    path.write_text(f"easee: {{username: a@example.com}}\nmqtt: {{host: {written}}}\n")
    environ = {"CHARGER_BRIDGE_EASEE__PASSWORD": "x" * 8, "CHARGER_BRIDGE_MQTT__HOST": variable}
    environ["CHARGER_BRIDGE_MQTT__PORT"] = "1884"
    loaded = load_with_warnings(path, environ)
    assert (loaded.settings.mqtt.host, loaded.overridden) == (variable, overridden)


STORE_URLS = [
    ("postgresql://bridge@127.0.0.1/bridge", ""),
    ("postgresql://bridge@db:5433/bridge", ""),
    ("postgresql://bridge@/bridge?host=/run/postgresql", ""),
    ("postgresql://bridge@db.example.com/bridge?sslmode=verify-full", ""),
    ("postgresql://bridge:canary@127.0.0.1/bridge", "must not hold a password"),
    ("postgresql://bridge@127.0.0.1/bridge?password=canary", "must not hold the parameter"),
    ("postgresql://bridge@db.example.com/bridge", "must end in ?sslmode=verify-full"),
    ("postgresql://bridge@db.example.com/bridge?sslmode=require", "must end in"),
    ("postgresql://127.0.0.1/bridge", "must name user and database"),
    ("postgresql://bridge@127.0.0.1", "must name user and database"),
    ("postgresql://bridge@/bridge", "must name one host"),
    ("postgresql://bridge@127.0.0.1:x/bridge", "must be a URL"),
    ("mysql://bridge@127.0.0.1/bridge", "must start with postgresql://"),
]


@pytest.mark.parametrize(("url", "wrong"), STORE_URLS)
def test_the_address_of_a_postgresql_has_no_password_and_is_encrypted_outside(url, wrong, tmp_path):
    """What is wrong is said without the address, which may hold a password."""
    text = f"store: {{url: '{url}'}}"
    if not wrong:
        assert settings_of(text, tmp_path).store.url == url
        return
    (problem,) = problems_of(text, tmp_path)

    assert problem.startswith(f"store.url: {wrong}")
    assert "canary" not in problem


def test_partitions_and_a_password_need_an_address_of_postgresql(tmp_path):
    """SQLite has one partition and no password."""
    assert [
        problem.partition(";")[0] for problem in problems_of("cluster: {partitions: 2}", tmp_path)
    ] == ["cluster.partitions: needs store.url"]
    several = "store: {url: postgresql://u@localhost/d}\ncluster: {partitions: 2}"
    assert settings_of(several, tmp_path).cluster.is_divided
    fed = f"{several}\neasee: {{source: amqp}}\namqp: {{queue: q}}"
    (problem,) = problems_of(fed, tmp_path)
    assert problem.startswith("cluster.partitions: with easee.source: amqp several need amqp.own_")
    own = {"CHARGER_BRIDGE_AMQP__OWN_URL": "amqp://u:canary@localhost"}
    assert settings_of(fed, tmp_path, own).amqp.own_url == Secret("amqp://u:canary@localhost")
    far = {"CHARGER_BRIDGE_AMQP__OWN_URL": "amqp://u:canary@feed.example"}
    (problem,) = problems_of(fed, tmp_path, ENVIRON | far)
    assert problem.startswith("amqp.own_url: must start with amqps://")
    assert "canary" not in problem
    (tmp_path / "password").write_text("canary")
    (tmp_path / "password").chmod(0o600)
    named = f"password_file: {tmp_path}/password"
    assert problems_of(f"store: {{{named}}}", tmp_path) == ["store.password: needs store.url"]
    url = "postgresql://bridge@127.0.0.1/bridge"
    settings = settings_of(f"store: {{url: '{url}', {named}}}", tmp_path)
    assert settings.store.password == Secret("canary")
    assert settings.store.kind == "postgres"
    assert settings.state_folder == "/var/lib/charger-bridge"


@pytest.mark.parametrize("key", ["group_id", "edge_node_id", "host_id"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plant/1", "must not hold / + or #, not 'plant/1'; leave out the /"),
        ("plant+1", "must not hold / + or #, not 'plant+1'; leave out the +"),
        ("'plant#1'", "must not hold / + or #, not 'plant#1'; leave out the #"),
        ("STATE", "must not be STATE, which is a word of the topics of hosts"),
        ("x" * 129, "must be at most 128 bytes long"),
    ],
)
def test_a_sparkplug_name_cannot_be_a_part_of_a_topic(tmp_path, key, text, said):
    """One line for each, with its place."""
    assert problems_of(f"sparkplug: {{{key}: {text}}}\n", tmp_path) == [f"sparkplug.{key}: {said}"]


# -- the partner feed ----------------------------------------------------------------------------

FEED = ENVIRON | {"CHARGER_BRIDGE_EASEE__SOURCE": "amqp", "CHARGER_BRIDGE_AMQP__QUEUE": "Q"}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://u:p@feed.example", "must look like amqps://"),
        ("amqps://feed.example", "must hold user and password"),
        ("amqps://u@feed.example", "must hold user and password"),
        ("amqp://u:p@feed.example", "must start with amqps://"),
        ("amqps://u:p@feed.example:99999", "a valid host and port"),
        ("amqps://u:p@", "must look like amqps://"),
    ],
)
def test_an_address_of_the_feed_is_judged_without_being_shown(url, words, tmp_path):
    """It holds a password: the message says what is wrong and repeats none of it."""
    environ = FEED | {"CHARGER_BRIDGE_AMQP__URL": url.replace("u:p@", f"u:{CANARY}@")}
    (problem,) = problems_of("", tmp_path, environ)

    assert problem.startswith("amqp.url: ")
    assert words in problem
    assert CANARY not in problem


def test_a_feed_needs_its_queue_and_documents(tmp_path):
    """A configured address needs the queue's name; what is retained is read back from JSON."""
    environ = ENVIRON | {
        "CHARGER_BRIDGE_EASEE__SOURCE": "amqp",
        "CHARGER_BRIDGE_AMQP__URL": "amqp://u:p@localhost",
    }
    problems = problems_of("publish: {json: false}\n", tmp_path, environ)

    assert [problem.partition(": ")[0] for problem in problems] == ["easee.source", "amqp.queue"]
    assert load(None, FEED).amqp.url is None  # the cloud is asked


def test_commands_through_the_exchange_need_the_queue_and_a_name_it_follows_from(tmp_path):
    """Responses come with the feed; the exchange is named after a configured queue."""
    commands = "amqp: {commands: true}\n"
    environ = FEED | {"CHARGER_BRIDGE_AMQP__URL": "amqp://u:p@localhost"}
    (problem,) = problems_of(commands, tmp_path, environ)
    assert problem.startswith("amqp.queue: must end with .Q")

    environ["CHARGER_BRIDGE_AMQP__QUEUE"] = "Operator_7.Q"
    assert settings_of(commands, tmp_path, environ).uses_exchange
    assert not settings_of("", tmp_path, environ).uses_exchange


def test_a_feed_without_its_library_says_how_to_install_it(tmp_path, monkeypatch):
    """The extra is named in the line."""
    monkeypatch.setattr("bridge.config.rules.find_spec", lambda _name: None)
    (problem,) = problems_of("", tmp_path, FEED)

    assert problem.endswith(missing_extra("amqp", "pika"))
