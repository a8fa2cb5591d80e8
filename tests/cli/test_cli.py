"""What the command line promises: exit statuses, one-line errors, and quick help."""

import asyncio
import csv
import inspect
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

import bridge
from bridge import logs
from bridge.adapters.state_files.private_file import OUR_FILES
from bridge.adapters.store.sqlite.database_file import BESIDE
from bridge.adapters.store.sqlite.store import SqliteStore
from bridge.cli import check as cli_check
from bridge.cli import doctor as cli_doctor
from bridge.cli import main as cli
from bridge.cli import options as cli_options
from bridge.cli import report_files
from bridge.cli.check import store_problem
from bridge.cli.main import main
from bridge.conventions.homeassistant.publisher import DiscoveryPublisher
from bridge.core.chargers.state import ChargerState
from bridge.core.composition import Core
from bridge.core.records.session_report import SessionReport
from bridge.core.records.unread_text import UnreadText
from bridge.errors import (
    AuthFailed,
    BridgeError,
    CloudUnavailable,
    ConfigError,
    ConnectionLost,
    RateLimited,
    StoreLocked,
)
from bridge.exports.other_projects import PROJECTS
from bridge.recorder.writing import content_of
from bridge.settings import (
    EaseeSettings,
    HomeAssistantSettings,
    LogSettings,
    MqttSettings,
    Secret,
    Settings,
    StoreSettings,
    TlsSettings,
)
from bridge.simulator.scenario import Scenario
from tests.intruders import INTRUDERS, place
from tests.recorder.recorded import SECRET, VERSION, Recorded

ROOT = Path(__file__).parents[2]
ENVIRON = {
    "CHARGER_BRIDGE_EASEE__USERNAME": "user@example.com",
    "CHARGER_BRIDGE_EASEE__PASSWORD": "canary-77aa",
}
STARTED_AT = datetime(2026, 11, 20, 8, tzinfo=UTC)
DOCUMENTED = """A class, as the parser of Python 3.12 and before leaves its docstring.

    Attributes:
        first: One line.
        second: Two lines: the other,
            with a colon.
    """


def command(
    *words: str,
    environ: dict[str, str] | None = None,
    timeout_s: float = 60.0,
    folder: Path = ROOT,
):
    """Run the command as a process of its own."""
    bare = {k: v for k, v in os.environ.items() if not k.startswith("CHARGER_BRIDGE_")}
    return subprocess.run(
        [sys.executable, "-m", "bridge", *words],
        cwd=folder,
        env=bare | (environ or {}),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration that works, with its store in a folder of its own."""
    for name in list(os.environ):
        if name.startswith("CHARGER_BRIDGE_"):
            monkeypatch.delenv(name)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "config.yaml"
    path.write_text("store: {path: data/bridge.db}\n")
    return path


def report(session_id: int, *, auth: str = "04AABBCC") -> SessionReport:
    """One finished session."""
    started_at = STARTED_AT + timedelta(hours=session_id)
    return SessionReport(
        charger_id="EH000001",
        session_id=session_id,
        started_at=started_at,
        ended_at=started_at + timedelta(minutes=30),
        energy_kwh=3.25,
        meter_start_kwh=100.0,
        meter_stop_kwh=103.25,
        auth_reason=3,
        auth=auth,
        source="stream",
        measured_at=started_at + timedelta(minutes=30),
        received_at=started_at + timedelta(minutes=31),
    )


async def fill(path: Path, *reports: SessionReport) -> None:
    """Put reports into a store, the first one published, the third settled."""
    logs.configure(LogSettings("error"))
    store = SqliteStore(path, max_mib=8)
    await store.open()
    for number, each in enumerate(reports):
        stored, _ = await store.save(each)
        if number == 0:
            await store.mark_published(stored.key, stored.revision)
        if number == 2:
            await store.settle(((stored.key, stored.revision),))
    await store.close()


# -- as a process --------------------------------------------------------------------------------


def test_help_names_every_command_and_imports_no_adapter():
    """`--help` is quick because nothing is imported that it does not need."""
    shown = command("--help")
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bridge", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stderr

    assert shown.returncode == 0
    for name in cli.COMMANDS:
        assert f"    {name} " in shown.stdout
    for heavy in ("httpx", "paho", "websockets", "aiohttp", "amqtt", "yaml", "structlog"):
        assert f" {heavy}\n" not in loaded


def test_version_is_told():
    """`--version` names the program and its version."""
    shown = command("--version")

    assert (shown.returncode, shown.stdout) == (0, f"charger-bridge {bridge.__version__}\n")


def test_a_wrong_command_line_is_one_line_and_status_1():
    """1 is anything else: 2 would mean nothing to a service manager."""
    shown = command("rnu")

    assert shown.returncode == 1
    assert len(shown.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["run", "check"])
@pytest.mark.fault("F39")
def test_a_wrong_configuration_is_status_78_and_every_problem_a_line(name, tmp_path):
    """Nothing is connected, nothing is created, and no traceback is shown."""
    path = tmp_path / "config.yaml"
    path.write_text("mqtt: {port: abc}\nstore: {path: data/b.db, max_mib: 0}\n")
    shown = command(name, "--config", str(path))

    assert shown.returncode == os.EX_CONFIG
    assert [line.split(": ")[1] for line in shown.stderr.splitlines()] == [
        "mqtt.port",
        "store.max_mib",
        "easee.username",
        "easee.password",
    ]
    assert not (tmp_path / "data").exists()


def test_check_says_what_will_be_used_and_leaves_no_trace(config, tmp_path):
    """A right configuration is listed, ends with `ok`, and checking it creates nothing."""
    shown = command("check", "--config", str(config), environ=ENVIRON)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.splitlines() == [
        "broker: mqtt://localhost:1883, without a user name, topics below charger/",
        "account: u***@example.com at https://api.easee.com",
        "chargers: every charger that the account lists",
        f"store: {tmp_path}/data/bridge.db",
        "ok",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize(
    ("account", "shown"),
    [("user@example.com", "u***@example.com"), ("+4712345678", "***78"), ("@x", "***@x")],
)
def test_an_account_is_shortened(account, shown):
    """Its owner knows it again; who reads a pasted output does not."""
    assert cli_check.shortened(account) == shown


def test_check_lists_chargers_and_tls(tmp_path):
    """Serials of the configuration, the user and the scheme are listed as they are."""
    settings = Settings(
        easee=EaseeSettings("user@example.com", Secret("x"), chargers=("EH000001", "EH000002")),
        mqtt=MqttSettings(
            host="broker", port=8883, username="bridge", tls=TlsSettings(enabled=True)
        ),
    )
    listed = dict(cli_check.in_use(settings))

    assert listed["broker"] == "mqtts://broker:8883, user bridge, topics below charger/"
    assert listed["chargers"] == "EH000001, EH000002"


@pytest.mark.parametrize(
    ("yaml", "text"),
    [
        ("easee: {username: someone@example.com}", "is the account of the example"),
        ("mqtt: {port: 8883}", "8883 is usually the port with TLS"),
        ("mqtt: {port: 1883, tls: {enabled: true}}", "with TLS it is 8883"),
        ("mqtt: {username: bridge}", "without a password"),
    ],
)
def test_check_warns_of_what_looks_wrong(yaml, text, config, capsys, monkeypatch):
    """What can be meant and mostly is not is a warning; the configuration counts as valid."""
    if "username: someone" in yaml:
        monkeypatch.delenv("CHARGER_BRIDGE_EASEE__USERNAME")
    config.write_text(f"{yaml}\nstore: {{path: data/bridge.db}}\n")

    assert main(["check", "--config", str(config)]) == 0
    said = capsys.readouterr()
    assert text in said.err
    assert said.err.count("warning") == 1
    assert said.out.endswith("ok\n")


def test_a_command_that_answers_logs_as_text(config):
    """JSON is for programs: `log.format: auto` means text for every command but `run`."""
    environ = ENVIRON | {"CHARGER_BRIDGE_LOG__LEVEL": "debug"}
    shown = command("check", "--config", str(config), "--connect", environ=environ | {
        "CHARGER_BRIDGE_EASEE__API_URL": "http://127.0.0.1:9",
        "CHARGER_BRIDGE_MQTT__PORT": "9",
    })  # fmt: skip

    assert "{" not in shown.stderr


def bundle_of(output: Path) -> dict[str, str]:
    """Read a bundle."""
    with zipfile.ZipFile(output) as bundle:
        return {name: bundle.read(name).decode() for name in bundle.namelist()}


def test_doctor_goes_on_without_a_password_file(config, tmp_path, capsys, monkeypatch):
    """The missing file is a finding; what needs no password is looked at, and packed."""
    monkeypatch.delenv("CHARGER_BRIDGE_EASEE__PASSWORD")
    config.write_text(
        "easee: {password_file: gone, api_url: 'http://127.0.0.1:9'}\n"
        "mqtt: {port: 9, username: bridge, password_file: gone-too}\n"
        "store: {path: data/bridge.db}\n"
    )
    output = tmp_path / "bundle.zip"

    assert main(["doctor", "--config", str(config), "--output", str(output)]) == 1
    said = capsys.readouterr().out
    assert "✗ easee.password_file: cannot read" in said
    assert "✗ mqtt.password_file: cannot read" in said
    assert "✗ broker: not tried without its password" in said
    assert "✗ cloud: cannot connect to http://127.0.0.1:9: it refuses the connection" in said
    assert "✓ files with secrets" in said
    packed = bundle_of(output)
    assert packed["report.txt"].startswith("✗ ")
    assert len(packed["report.txt"]) == len(said.partition("bundle: ")[0])
    assert packed["no record.txt"].startswith("no record: no running bridge answers at ")
    assert "No change was found." in packed["vendor.md"]
    assert packed["alerts.txt"] == "no alert is open\n"


def test_doctor_packs_the_record_the_alerts_and_what_the_vendor_changed(
    config, record_file, tmp_path
):
    """The newest record as it is, and the other texts with the same stand-ins."""
    config.write_text(
        "easee: {username: canary@example.com, chargers: [EH765432], api_url: 'http://127.0.0.1:9'}\n"
        "mqtt: {port: 9, client_id: canaryclient}\n"
        f"state_dir: {tmp_path}\n"
        "store: {path: data/bridge.db}\n"
    )
    fact = {"sentence": "observation 300 is unknown", "since": "2026-11-22T12:00:00Z"}
    (tmp_path / "vendor.json").write_text(json.dumps({"facts": {"observation 300": fact}}))
    (tmp_path / "vendor.json").chmod(0o600)
    output = tmp_path / "bundle.zip"
    main(["doctor", "--config", str(config), "--output", str(output)])
    with zipfile.ZipFile(output) as bundle:
        assert bundle.read(record_file.name) == record_file.read_bytes()
        texts = {
            name: bundle.read(name).decode()
            for name in bundle.namelist()
            if not name.endswith(".rec")
        }

    assert (
        "| observation 300 is unknown | 2026-11-22T12:00:00Z | None | None |" in texts["vendor.md"]
    )
    everything = "".join(texts.values())
    assert "canary" not in everything
    assert "EH765432" not in everything
    assert "EH000001" in texts["configuration.json"]


def test_alerts_are_packed_as_text():
    """Since when, what and what to do; one that cannot be read is named."""
    retained = {
        "alert/no_chargers": '{"message":"none","hint":"share one","since":"2026-11-22T12:00:00Z"}',
        "alert/odd": "[",
        "state": "online",
    }

    assert report_files.alerts(retained) == (
        "no_chargers, since 2026-11-22T12:00:00Z\n  none\n  share one\nodd, since ?\n  ?\n  ?\n"
    )


def test_doctor_packs_a_configuration_that_cannot_be_used(config, tmp_path, capsys):
    """Status 78, and a bundle that says why."""
    config.write_text("mqtt: {port: abc}\n")
    output = tmp_path / "bundle.zip"

    assert main(["doctor", "--config", str(config), "--output", str(output)]) == os.EX_CONFIG
    packed = bundle_of(output)
    assert packed["report.txt"].startswith("✗ mqtt.port: ")
    assert "charger-bridge" in packed["versions.json"]
    shown = capsys.readouterr()
    assert str(output) in shown.out
    assert (shown.out + shown.err).count("mqtt.port: ") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("topics", "--like", "ha"), "charger/SERIAL/state/total_power"),
        (("doctor", "--output", "bundle.zip"), "bundle: bundle.zip"),
    ],
)
def test_a_terminal_that_lacks_a_character_is_no_obstacle(config, tmp_path, words, said):
    """A degree sign, a check mark: written as UTF-8 to a pipe, whatever the locale says."""
    if words[0] == "doctor":
        config.write_text("mqtt: {port: abc}\n")
    environ = ENVIRON | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    done = command(*words, "--config", str(config), environ=environ, folder=tmp_path)

    assert said in done.stdout
    assert {"°", "✗"} & set(done.stdout)
    assert "UnicodeEncodeError" not in done.stderr


@pytest.mark.parametrize("is_set_up", [False, True])
@pytest.mark.parametrize("words", [("run",), ("check",), ("topics",)])
def test_a_command_without_a_configuration_names_one(
    words, is_set_up, tmp_path, capsys, monkeypatch
):
    """Neither a file nor an account in the environment: one more line, the file or the setup."""
    usual = tmp_path / "config.yaml"
    if is_set_up:
        usual.touch()
    monkeypatch.setattr("bridge.cli.setup.options.default_config", lambda: usual)
    for name in [each for each in os.environ if each.startswith("CHARGER_BRIDGE_")]:
        monkeypatch.delenv(name)

    assert main(list(words)) == os.EX_CONFIG
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("charger-bridge: easee.username: required")
    assert said[-1].startswith("charger-bridge: no file was named; ")
    assert (f"--config {usual}" if is_set_up else "`charger-bridge setup`") in said[-1]


def test_a_file_that_is_not_there_is_called_that(tmp_path, capsys):
    """The path, what is wrong, and what writes such a file; without the hint for no file at all."""
    missing = tmp_path / "config.yaml"

    assert main(["check", "--config", str(missing)]) == os.EX_CONFIG
    (said,) = capsys.readouterr().err.splitlines()
    assert f"{missing}: there is no such file" in said
    assert "charger-bridge setup" in said


def test_a_limit_of_the_cloud_says_when_to_try_again(capsys):
    """Seconds are rounded up."""
    assert cli._failed(RateLimited("fewer requests", retry_after_s=7.2)) == os.EX_TEMPFAIL
    assert capsys.readouterr().err == "charger-bridge: fewer requests; try again in 8 s\n"


def test_doctor_survives_what_nobody_foresaw(config, tmp_path, capsys, monkeypatch):
    """An error while looking is a finding, and the bundle is written."""

    def explode(_settings):
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(cli_doctor, "_store", explode)
    output = tmp_path / "bundle.zip"

    assert main(["doctor", "--config", str(config), "--output", str(output)]) == 1
    assert "✗ store: internal error: ZeroDivisionError: boom" in capsys.readouterr().out
    assert output.exists()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (None, ""),
        (
            Path("none/x.zip"),
            "charger-bridge: none/x.zip: No such file or directory; the bundle is",
        ),
        (Path("/dev/full"), "charger-bridge: /dev/full: it is a device"),
    ],
)
def test_a_bundle_that_cannot_be_written_there_goes_elsewhere(
    tmp_path, monkeypatch, capsys, *, output, said
):
    """It is in a folder for temporary files; a place that was asked for is told."""
    (tmp_path / cli_doctor.BUNDLE).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    path = cli_doctor.pack(output, {"a.txt": "b"})

    assert bundle_of(path) == {"a.txt": "b"}
    assert capsys.readouterr().err.startswith(said)
    assert path.parent.parent == tmp_path
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_check_connect_tries_both_and_is_worth_a_retry(config, free_port):
    """Neither cloud nor broker answers: both are told, and the status is 75."""
    environ = ENVIRON | {
        "CHARGER_BRIDGE_EASEE__API_URL": f"http://127.0.0.1:{free_port}",
        "CHARGER_BRIDGE_MQTT__HOST": "127.0.0.1",
        "CHARGER_BRIDGE_MQTT__PORT": str(free_port),
        "CHARGER_BRIDGE_LOG__LEVEL": "debug",
    }
    shown = command("check", "--connect", "--config", str(config), environ=environ)

    assert shown.returncode == os.EX_TEMPFAIL
    told = [line for line in shown.stderr.splitlines() if line.startswith("charger-bridge: ")]
    assert len(told) == 2
    assert "canary" not in shown.stderr + shown.stdout


def test_simulate_prints_its_urls_and_stops_at_once():
    """One line when it is ready, status 0 on SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "simulate", "--port", "0", "--chargers", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line
        assert "/api" in line
        assert "/hubs/chargers" in line
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.communicate()


# -- statuses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError(("a.b: no",)), 78),
        (StoreLocked("in use", hint="stop the other one"), 75),
        (ConnectionLost("no broker"), 75),
        (CloudUnavailable("no cloud"), 75),
        (BridgeError("no aiohttp"), 1),
        (OSError(98, "address in use"), 1),
        (ZeroDivisionError("oops"), 1),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [ConnectionLost("gone")])]), 75),
        (KeyboardInterrupt(), 0),
    ],
)
def test_every_error_has_a_status_and_at_most_a_line(error, status, monkeypatch, capsys):
    """What goes wrong says so in one line and never shows a traceback."""

    def fail(_arguments: object) -> int:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "run", cli.Command("x", lambda _parser: None, fail))

    assert main(["run"]) == status
    written = capsys.readouterr().err
    assert len(written.splitlines()) == (0 if status == 0 else 1)
    assert "Traceback" not in written


def test_a_file_that_cannot_be_written_is_named_first(capsys):
    """A number of the operating system tells nobody anything."""
    cli._failed(PermissionError(13, "Permission denied", "charger-bridge-doctor.zip"))

    assert capsys.readouterr().err == (
        f"charger-bridge: charger-bridge-doctor.zip: Permission denied for uid {os.geteuid()}\n"
    )


def test_an_error_without_a_file_is_told_in_words(capsys):
    """A full disk under the output: no number of the operating system."""
    cli._failed(OSError(28, "No space left on device"))

    assert capsys.readouterr().err == "charger-bridge: No space left on device\n"


def test_what_a_trial_tells_is_not_logged_too(config, free_port):
    """A cloud that has blocked this address is one line."""
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", "simulate", "--port", "0", "--blocked"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as simulator:
        try:
            _, api_url, _, _ = simulator.stdout.readline().split()
            environ = ENVIRON | {
                "CHARGER_BRIDGE_EASEE__API_URL": api_url,
                "CHARGER_BRIDGE_MQTT__HOST": "127.0.0.1",
                "CHARGER_BRIDGE_MQTT__PORT": str(free_port),
            }
            shown = command("check", "--connect", "--config", str(config), environ=environ)
        finally:
            simulator.terminate()

    blocked, away = shown.stderr.splitlines()
    assert blocked.startswith("charger-bridge: the vendor blocked this address")
    assert away.startswith("charger-bridge: nothing listens at")


def test_a_hint_is_part_of_the_line(capsys):
    """What the operator can do stands behind what went wrong."""
    cli._failed(StoreLocked("the store is in use", hint="stop the other bridge"))

    assert capsys.readouterr().err == (
        "charger-bridge: the store is in use; stop the other bridge\n"
    )


@pytest.mark.anyio
@pytest.mark.parametrize(("wrong", "status"), [(True, 78), (False, 75)])
async def test_a_wrong_password_is_not_worth_a_retry(wrong, status, monkeypatch, capsys):
    """Bad credentials are configuration, everything else passes."""

    async def refused(_settings: object) -> str:
        raise AuthFailed("no", credentials_wrong=wrong, retry_after_s=1800.0)

    async def fine(_settings: object) -> str:
        return "MQTT 5"

    monkeypatch.setattr(cli_check, "_probe_cloud", refused)
    monkeypatch.setattr(cli_check, "probe_broker", fine)

    assert await cli._connect(None) == status
    told = capsys.readouterr()
    assert told.out == "mqtt: MQTT 5\n"
    assert "no" in told.err
    assert "next try" not in told.err


def test_the_store_is_checked_without_being_made(tmp_path):
    """A folder, a file in the way: told before the gateway starts."""
    (tmp_path / "file").write_text("")

    def problem(path: Path) -> str:
        return store_problem(StoreSettings(str(path)), path.parent) or ""

    assert problem(tmp_path / "new" / "er" / "b.db") == ""
    assert problem(tmp_path / "file") == ""
    assert "is a folder" in problem(tmp_path)
    assert "is not a folder" in problem(tmp_path / "file" / "b.db")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert "is a link" in problem(tmp_path / "link")


# What each file of a configuration that uses all of them is called.
NAMED_FILES = {
    "easee.password_file": "easee_password",
    "mqtt.password_file": "mqtt_password",
    "mqtt.tls.ca_file": "ca.pem",
    "mqtt.tls.cert_file": "client.pem",
    "mqtt.tls.key_file": "client.key",
}
BESIDE_THE_STORE = [f"data/bridge.db{suffix}" for suffix in BESIDE] + [
    f"data/{name}" for name in OUR_FILES
]


@pytest.fixture
def all_files(config, monkeypatch):
    """A configuration that names every file it can; returns its folder."""
    folder = config.parent
    monkeypatch.delenv("CHARGER_BRIDGE_EASEE__PASSWORD")
    for name in ("easee_password", "mqtt_password"):
        (folder / name).write_text("canary-77aa")
        (folder / name).chmod(0o600)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client = authority.issue_cert("bridge")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    config.write_text(
        "easee: {password_file: easee_password}\n"
        "mqtt: {host: pi.lan, port: 8883, username: u, password_file: mqtt_password, tls: {"
        "enabled: true, ca_file: ca.pem, cert_file: client.pem, key_file: client.key}}\n"
        "store: {path: data/bridge.db}\n"
    )
    (folder / "data").mkdir()
    return folder


def test_a_configuration_with_every_file_is_well(all_files, capsys):
    """The tests below break one thing only."""
    assert main(["check", "--config", str(all_files / "config.yaml")]) == 0, capsys.readouterr()


@pytest.mark.fault("F39")
@pytest.mark.usefixtures("never_hangs")
@pytest.mark.parametrize("intruder", INTRUDERS)
@pytest.mark.parametrize("name", ["config.yaml", *NAMED_FILES.values(), *BESIDE_THE_STORE])
def test_what_is_no_file_is_refused_at_once_by_its_name(name, intruder, all_files, capsys):
    """A pipe, a socket, a folder or a device where a file must be keeps nothing waiting."""
    path = all_files / name
    path.unlink(missing_ok=True)
    with place(intruder, path):
        status = main(["check", "--config", str(all_files / "config.yaml")])

    complaint = capsys.readouterr().err
    assert status == os.EX_CONFIG
    assert name.rpartition("/")[2] in complaint
    # A link to a device is a link first, where links are refused.
    assert INTRUDERS[intruder] in complaint or (intruder == "device" and "a link" in complaint)
    for key, named in NAMED_FILES.items():
        if named == name:
            assert complaint.startswith(f"charger-bridge: {key.rpartition('.')[0]}.")


@pytest.mark.parametrize("name", ["easee_password", "data/bridge.db-wal", "data/tokens.json"])
def test_the_gateway_does_not_start_on_a_pipe(name, all_files):
    """The process ends by itself with the status of a wrong configuration."""
    (all_files / name).unlink(missing_ok=True)
    os.mkfifo(all_files / name)
    environ = {"CHARGER_BRIDGE_EASEE__USERNAME": "someone@example.com"}
    ended = command("run", "--config", str(all_files / "config.yaml"), environ=environ)

    assert (ended.returncode, ended.stdout) == (os.EX_CONFIG, "")
    assert f"{name.rpartition('/')[2]}" in ended.stderr
    assert "is a named pipe" in ended.stderr


@pytest.mark.usefixtures("never_hangs")
def test_reading_sessions_waits_for_no_pipe(all_files, capsys):
    """What only reads the store, or writes what it read, does not hang either."""
    config = str(all_files / "config.yaml")
    asyncio.run(fill(all_files / "data" / "bridge.db", report(1), report(2), report(3)))
    os.mkfifo(all_files / "out.csv")
    output = str(all_files / "out.csv")
    assert main(["sessions", "export", "--config", config, "--output", output]) == 1
    assert "out.csv" in capsys.readouterr().err

    (all_files / "data" / "bridge.db-wal").unlink(missing_ok=True)
    os.mkfifo(all_files / "data" / "bridge.db-wal")
    assert main(["sessions", "list", "--config", config]) == os.EX_TEMPFAIL
    assert "bridge.db-wal is a named pipe" in capsys.readouterr().err


# -- options -------------------------------------------------------------------------------------


def test_every_field_of_a_scenario_is_an_option():
    """What a test can set in Python, a person can set on the command line."""
    words = [
        "simulate",
        "--chargers",
        "5",
        "--no-traffic",
        "--offline",
        "1,EH000003",
        "--offline-sessions",
        "7",
        "--token-ttl-s",
        "60",
        "--username",
        "me",
        "--blocked",
    ]
    arguments = cli._parser(words).parse_args(words)

    assert Scenario(**cli_options.given_fields(arguments)) == Scenario(
        chargers=5,
        traffic=False,
        offline=(1, "EH000003"),
        offline_sessions=7,
        token_ttl_s=60,
        username="me",
        blocked=True,
    )
    assert arguments.port == 8800


def test_scenario_options_are_explained(capsys):
    """The help of an option is the docstring of its field."""
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])

    assert "Answer 429 to every n-th REST request" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("take_indentation", [str, inspect.cleandoc])
def test_every_option_is_explained_on_every_python(take_indentation):
    """Docstrings lose their indentation from Python 3.13 on; the help is the same."""
    explained = cli_options._attribute_docs(take_indentation(DOCUMENTED))

    assert explained == {"first": "One line.", "second": "Two lines: the other, with a colon."}


def test_no_scenario_option_is_without_help():
    """Whoever adds a field to the scenario explains it."""
    explained = cli_options._attribute_docs(Scenario.__doc__)

    assert [field.name for field in fields(Scenario) if not explained.get(field.name)] == []


def test_demo_options():
    """The demo takes the contract's options, with or without a scheme before the broker."""
    words = ["demo", "--chargers", "2", "--mqtt", "mqtt://[::1]:1884", "--duration", "20"]
    arguments = cli._parser(words).parse_args(words)

    assert (arguments.chargers, arguments.mqtt, arguments.duration) == (2, ("::1", 1884), 20.0)


def test_the_address_that_a_message_shows_is_taken(capsys):
    """The example of a broker's address can be typed as it stands."""
    with pytest.raises(SystemExit):
        main(["demo", "--mqtt", "localhost"])
    shown = capsys.readouterr().err.partition("e.g. ")[2].partition(",")[0]

    assert cli_options.endpoint(shown) == ("localhost", 1883)


@pytest.mark.parametrize(
    "words",
    [
        ["demo", "--chargers", "0"],
        ["demo", "--duration", "-1"],
        ["demo", "--duration", "nan"],
        ["demo", "--mqtt", "localhost"],
        ["demo", "--mqtt", "a b:1"],
        ["simulate", "--port", "70000"],
        ["sessions", "list", "--since", "yesterday"],
        ["sessions", "list", "--charger", "../x"],
    ],
)
def test_wrong_options_are_one_line(words, capsys):
    """A wrong option is status 1 and one line that names it."""
    with pytest.raises(SystemExit) as ended:
        main(words)

    assert ended.value.code == 1
    written = capsys.readouterr().err
    assert len(written.splitlines()) == 1
    assert words[-2] in written


# -- sessions and topics ---------------------------------------------------------------------------


def test_topics_are_printed_for_the_configuration(config, capsys):
    """The reference uses the base topic people chose."""
    config.write_text("mqtt: {base_topic: garage}\n")

    assert main(["topics", "--config", str(config)]) == 0
    assert "garage/bridge/state" in capsys.readouterr().out


def test_what_connects_to_nobody_needs_no_password(tmp_path, capsys, monkeypatch):
    """A copy of the configuration on somebody's PC is enough for a tag list or a bill."""
    for name in ENVIRON:
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "bridge.yaml"
    config.write_text(
        "easee: {username: someone@example.com, password_file: /run/secrets/nobody}\n"
        "mqtt: {username: bridge, password_file: /run/secrets/nobody}\n"
    )

    assert main(["topics", "--config", str(config), "--format", "csv"]) == 0
    assert "set/start" in capsys.readouterr().out
    config.write_text(config.read_text() + f"store: {{path: {tmp_path / 'bridge.db'}}}\n")
    main(["sessions", "list", "--config", str(config)])
    assert "/run/secrets/nobody" not in capsys.readouterr().err
    assert main(["check", "--config", str(config)]) != 0
    assert "/run/secrets/nobody" in capsys.readouterr().err


@pytest.mark.anyio
async def test_sessions_are_listed_without_tags(config, tmp_path, capsys):
    """One line per session, and nobody's tag."""
    await fill(tmp_path / "data/bridge.db", report(1), report(2), report(3))
    words = ["sessions", "list", "--config", str(config)]

    assert _in_thread([*words, "--charger", "EH000001"]) == 0
    _, first, second, third = capsys.readouterr().out.splitlines()
    assert third.endswith("settled")
    assert first.split()[0] == "EH000001-1"
    assert first.endswith("stream    published")
    assert second.endswith("owed")
    assert "04AABBCC" not in first + second


@pytest.mark.anyio
async def test_what_was_kept_and_what_cannot_be_read_is_listed(config, tmp_path, capsys):
    """Kept reports say so, odd clocks and fields too, and texts are shown without tags."""
    path = tmp_path / "data/bridge.db"
    odd = replace(report(2), doubtful=("ended_at",), incomplete=("auth_reason",), auth_reason=None)
    await fill(path)
    store = SqliteStore(path, max_mib=8)
    await store.open()
    for each in (report(1), odd):
        stored, _ = await store.save(each)
        await store.keep(((stored.key, stored.revision),))
    at = STARTED_AT
    await store.keep_text(UnreadText("EH000001", '{"Id":7,"Auth":"04AA', "no JSON", "poll", at, at))
    await store.close()

    assert _in_thread(["sessions", "list", "--config", str(config)]) == 0
    _, first, second, text = capsys.readouterr().out.splitlines()
    assert first.endswith("kept")
    assert second.endswith("kept, no auth_reason, clock suspect")
    assert text.endswith('cannot be read, no JSON: {"Id":7,"…')


@pytest.mark.anyio
async def test_sessions_are_exported_as_csv_and_json(config, tmp_path, capsys):
    """The export has the fields of the report, a file that only its owner reads, and no tag."""
    await fill(tmp_path / "data/bridge.db", report(1), report(2))
    output = tmp_path / "sessions.json"
    words = ["sessions", "export", "--config", str(config)]

    assert _in_thread(words) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["key"] for row in rows] == ["EH000001-1", "EH000001-2"]
    assert (rows[0]["energy_kwh"], rows[0]["offline"]) == ("3.25", "true")
    assert rows[0]["auth"].startswith("sha256:")

    since = (STARTED_AT + timedelta(hours=2)).isoformat()
    assert _in_thread([*words, "--format", "json", "--output", str(output), "--since", since]) == 0
    (document,) = json.loads(output.read_text())
    assert (document["session_id"], document["energy_kwh"]) == (2, 3.25)
    assert document["auth"] == rows[1]["auth"]
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


@pytest.mark.anyio
async def test_an_export_names_the_chargers_that_have_a_name(config, tmp_path, capsys):
    """As a last column and member; without names the export is that of the report alone."""
    await fill(tmp_path / "data/bridge.db", report(1))
    words = ["sessions", "export", "--config", str(config)]
    assert _in_thread(words) == 0
    plain = capsys.readouterr().out.splitlines()
    named = "store: {path: data/bridge.db}\neasee: {names: {EH000001: Garåge, EH000009: Yard}}\n"
    config.write_text(named)

    assert _in_thread(words) == 0
    assert capsys.readouterr().out.splitlines() == [f"{plain[0]},charger", f"{plain[1]},Garåge"]
    assert _in_thread([*words, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["charger"] == "Garåge"
    config.write_text(named.replace("EH000001", "EH000002"))
    assert _in_thread([*words, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["charger"] is None


@pytest.mark.anyio
async def test_a_tag_cannot_be_a_formula(config, tmp_path, capsys):
    """Where tags are published as they are, a spreadsheet still shows them as text."""
    config.write_text("store: {path: data/bridge.db}\npublish: {personal_data: true}\n")
    await fill(tmp_path / "data/bridge.db", report(1, auth="=1+1"))

    assert _in_thread(["sessions", "export", "--config", str(config)]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["auth"] == "'=1+1"


@pytest.mark.anyio
async def test_a_negative_number_is_no_formula(config, tmp_path, capsys):
    """What a spreadsheet shall add up stays a number."""
    await fill(tmp_path / "data/bridge.db", replace(report(1), meter_start_kwh=-0.25))

    assert _in_thread(["sessions", "export", "--config", str(config)]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["meter_start_kwh"] == "-0.25"


@pytest.mark.anyio
async def test_replayed_sessions_are_owed_again(config, tmp_path, capsys):
    """After a replay a published session counts as owed."""
    await fill(tmp_path / "data/bridge.db", report(1))

    assert _in_thread(["sessions", "replay", "--config", str(config)]) == 0
    assert capsys.readouterr().out.startswith("1 sessions will be published")
    assert _in_thread(["sessions", "list", "--config", str(config)]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("owed")


@pytest.mark.anyio
async def test_a_running_bridge_is_asked_over_mqtt_instead(config, tmp_path, capsys):
    """While another process owns the store the answer names the topic."""
    store = SqliteStore(tmp_path / "data/bridge.db", max_mib=8)
    await store.open()
    try:
        assert _in_thread(["sessions", "replay", "--config", str(config)]) == os.EX_TEMPFAIL
    finally:
        await store.close()

    assert "publish {} to charger/bridge/session/replay" in capsys.readouterr().err


@pytest.mark.anyio
async def test_without_its_salt_a_tag_is_left_out(config, tmp_path, capsys):
    """A hash that anybody can try all tags against would hide nothing."""
    await fill(tmp_path / "data/bridge.db", report(1))
    (tmp_path / "data/bridge.db.salt").unlink()

    assert _in_thread(["sessions", "export", "--config", str(config)]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["auth"] == ""


def test_a_missing_store_is_told(config, capsys):
    """Listing or replaying nothing says so and creates nothing."""
    for action in ("list", "export", "replay"):
        assert main(["sessions", action, "--config", str(config)]) == os.EX_TEMPFAIL
        assert "there is no store" in capsys.readouterr().err


def _in_thread(words: list[str]) -> int:
    """Run a command that starts its own loop, from inside one."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only here

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(main, words).result()


def test_check_finds_what_run_would_stumble_over(tmp_path, capsys, monkeypatch):
    """A place nobody can write to and a certificate that is none are told before any connection."""
    junk = tmp_path / "ca.pem"
    junk.write_text("not a certificate")
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CHARGER_BRIDGE_STORE__PATH", "/proc/nowhere/bridge.db")
    monkeypatch.setenv("CHARGER_BRIDGE_MQTT__TLS__ENABLED", "1")
    monkeypatch.setenv("CHARGER_BRIDGE_MQTT__TLS__CA_FILE", str(junk))

    assert main(["check"]) == os.EX_CONFIG
    told = capsys.readouterr().err
    assert "store.path: cannot write in /proc" in told
    assert "mqtt.tls.ca_file" in told


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("openhab", "// Things and items"),
        ("csv", "charger,tag,"),
        ("acl", "# Access list"),
        ("asyncapi", "asyncapi: 3.0.0"),
        ("schema", "{"),
    ],
)
def test_topics_are_written_for_others(name, first, config, capsys):
    """Each format prints its own text, and nothing of the account."""
    assert main(["topics", "--config", str(config), "--format", name]) == 0
    text = capsys.readouterr().out

    assert text.startswith(first)
    assert "someone@example.com" not in text


@pytest.mark.parametrize("name", PROJECTS)
def test_topics_are_printed_beside_the_names_of_another_program(name, config, capsys):
    """Each program that people move over from has its table, under the base topic of the file."""
    config.write_text("mqtt: {base_topic: garage}\neasee: {chargers: [EH123456, EH654321]}\n")

    assert main(["topics", "--config", str(config), "--like", name]) == 0
    text = capsys.readouterr().out

    assert text.startswith(f"# Moving over from {PROJECTS[name].title}\n")
    assert re.findall("^## (.+)$", text, re.MULTILINE) == ["EH123456", "EH654321"]
    assert "garage/EH654321/set/" in text


def test_the_broker_check_asks_for_what_run_would_subscribe_to(monkeypatch):
    """A broker that refuses Home Assistant's status topic is found out before the start."""
    asked = []

    async def probe(_mqtt, *, subscriptions):
        asked.append(subscriptions)
        return "fine"

    monkeypatch.setattr(cli_check, "check_connection", probe)
    settings = Settings(EaseeSettings("x@example.com", Secret("p")))
    on = replace(settings, homeassistant=HomeAssistantSettings(enabled=True))
    for one in (settings, on):
        assert asyncio.run(cli_check.probe_broker(one)) == "fine"

    assert asked[1] == (*asked[0], "homeassistant/status")
    discovery = DiscoveryPublisher(on, version="1", salt=b"")
    assert asked[1] == Core(on, version="1", salt=b"", guests=(discovery,)).subscriptions


def test_topics_marks_what_this_configuration_refuses(tmp_path, capsys, monkeypatch):
    """The reference is of this configuration: commands that are not allowed say so."""
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CHARGER_BRIDGE_COMMANDS__ALLOW", "start")

    assert main(["topics"]) == 0
    rows = [row for row in capsys.readouterr().out.splitlines() if row.startswith("| `st")]
    marked = {row.split("`")[1]: "not allowed here" in row for row in rows}
    assert (marked["start"], marked["stop"]) == (False, True)


# -- records -------------------------------------------------------------------------------------


@pytest.fixture
def record_file(tmp_path):
    """Return the path of a record of a short life."""
    recorded = Recorded()
    recorded.live()
    path = tmp_path / "record-20261122T120000Z.rec"
    content, _ = content_of(
        recorded.recorder.excerpt(),
        recorded.settings,
        SECRET,
        version=bridge.__version__,
        reason="signal",
        now=recorded.now,
    )
    path.write_bytes(content)
    return path


def test_a_record_is_replayed_twice_with_the_same_output(record_file, capsys):
    """Every event with its time and number, and its effects, byte for byte the same."""
    assert main(["replay", str(record_file)]) == 0
    shown = capsys.readouterr().out
    assert main(["replay", str(record_file)]) == 0

    assert capsys.readouterr().out == shown
    assert shown.startswith(
        f"# charger-bridge {bridge.__version__}, signal, written 2026-11-22T12:00:"
    )
    assert " #0 StoreOpened(" in shown
    assert "  publish charger/EH000001/state/op_mode charging (retained)\n" in shown


def test_a_replay_is_cut_and_filtered(record_file, capsys):
    """``--until`` takes a number or a time, ``--only`` a topic or a filter."""
    assert main(["replay", str(record_file), "--only", "charger/+/state/op_mode"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" publish ")[1] for line in lines] == [
        "charger/EH000001/state/op_mode charging (retained)",
        "charger/EH000002/state/op_mode awaiting_start (retained)",
    ]
    for until in ("3", lines[0].split()[0]):
        assert main(["replay", str(record_file), "--until", until]) == 0
        assert "StreamOpened" in capsys.readouterr().out
    assert main(["replay", str(record_file), "--only", "no/topic"]) == 0
    assert capsys.readouterr().out == "# nothing is published on no/topic\n"


def test_a_replay_is_compared(record_file, capsys, monkeypatch):
    """The same program finds no difference; another one names the event and ends with 1."""
    assert main(["replay", str(record_file), "--compare"]) == 0
    assert capsys.readouterr().out == "the same effects as recorded\n"
    with monkeypatch.context() as changed:
        changed.setattr(ChargerState, "apply", lambda *_, **__: None)
        assert main(["replay", str(record_file), "--compare"]) == 1
    assert "ObservationsReceived: " in capsys.readouterr().out
    monkeypatch.setattr(bridge, "__version__", "9.9.9")
    assert main(["replay", str(record_file), "--compare"]) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"# the record is of charger-bridge {VERSION}, this is 9.9.9: ")
    assert last == "the same effects as recorded"


def test_a_record_of_an_earlier_format_is_compared_by_numbers_and_says_so(capsys):
    """No difference is shown without the remark of what it means."""
    first = Path(__file__).parent.parent / "data" / "record-format-1.rec"
    assert main(["replay", str(first), "--compare"]) == 0
    remark, last = capsys.readouterr().out.splitlines()

    assert last == "the same number of effects as recorded"
    assert remark.startswith("# the record is of charger-bridge ")
    assert "only their number is compared" in remark


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--until", "noon"], "--until: must be the number of an event or a UTC time"),
        (["--as-test", "x.py", "--expect", "topic"], "--expect: must be TOPIC=PAYLOAD"),
        (["--as-test", "x.py", "--only", "no/topic"], "nothing is published on no/topic"),
    ],
)
def test_wrong_words_about_a_record_are_one_line(words, why, record_file, capsys):
    """They are named, and the status is 1."""
    assert main(["replay", str(record_file), *words]) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"charger-bridge record 1\n", None])
def test_a_damaged_record_is_one_line(content, record_file, capsys):
    """Its name, what is wrong, and status 1."""
    record_file.write_bytes(record_file.read_bytes()[:-9] if content is None else content)

    assert main(["replay", str(record_file)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert str(record_file) in told.err


def test_a_record_becomes_a_test(record_file, tmp_path, capsys):
    """The written test passes as things are, and fails with an expectation that is missed."""
    topic = "charger/EH000001/state/op_mode"
    for name, words, status in (
        ("test_same.py", ["--only", topic], 0),
        ("test_other.py", ["--expect", f"{topic}=error"], 1),
        ("test_never.py", ["--never", topic], 1),
    ):
        path = tmp_path / name
        assert main(["replay", str(record_file), "--as-test", str(path), *words]) == 0
        assert f"{path}: written" in capsys.readouterr().out
        assert path.with_suffix(".rec").read_bytes() == record_file.read_bytes()
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path)],
            check=False,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(bridge.__file__).parent.parent)},
        )
        assert ran.returncode == status, ran.stdout


def test_a_name_reaches_a_file_whatever_the_locale(monkeypatch):
    """A report that is written through a pipe is UTF-8, also where the locale knows ASCII only."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    says = cli.Command("", lambda _: None, lambda _: 0 * sys.stdout.write("Gården 😀 \ud800"))
    monkeypatch.setitem(cli.COMMANDS, "topics", says)

    assert main(["topics"]) == 0
    assert written.getvalue() == "Gården 😀 \\ud800".encode()


def test_check_warns_of_a_file_of_tags_that_cannot_be_read(config, tmp_path, capsys, monkeypatch):
    """The gateway runs without it, so the configuration is valid; a report would end there."""
    monkeypatch.setenv("CHARGER_BRIDGE_PUBLISH__TAGS_FILE", str(tmp_path / "tags"))
    assert main(["check", "--config", str(config)]) == 0
    assert "warning: publish.tags_file: cannot read" in capsys.readouterr().err
    (tmp_path / "tags").write_text("04AA=Kari\n04BB\n")
    assert main(["check", "--config", str(config)]) == 0
    assert "line 2 of" in capsys.readouterr().err
    (tmp_path / "tags").write_text("04AA=Kari\n")
    assert main(["check", "--config", str(config)]) == 0
    assert "tags_file" not in capsys.readouterr().err
