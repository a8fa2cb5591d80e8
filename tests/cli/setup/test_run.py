"""The command as people use it: at a terminal, in scripts, and broken off anywhere."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli.main import main
from bridge.cli.setup import run as setup_run
from bridge.cli.setup.purposes import PURPOSES
from bridge.cli.setup.unit import UNIT, Systemd
from bridge.config.loading import load
from tests.cli.setup.newcomer import ACCOUNT, PASSWORD, SERIALS, places, setup, tree
from tests.conftest import PATIENCE_S, unused_port
from tests.terminal import Terminal

ROOT = Path(__file__).parents[3]


def script(broker: int) -> list[tuple[str, str]]:
    """Every question of the dialogue, in its order, with an answer; wrong ones come in between."""
    return [
        ("E-mail or phone", ACCOUNT),
        ("Password (not shown)", "canary-wrong"),
        ("E-mail or phone", ""),
        ("Password (not shown)", PASSWORD),
        ("Chargers to serve", ""),
        ("Host", "127.0.0.1"),
        ("TLS", "n"),
        ("Port", str(unused_port())),
        ("User", ""),
        ("Choice", "1"),
        ("Host", ""),
        ("TLS", ""),
        ("Port", str(broker)),
        ("User", "me"),
        ("Password (not shown)", "canary-broker"),
        ("Choice", "shell"),
        ("Write", "y"),
    ]


QUESTIONS = len(script(0))


def shell(*words: str, stdin: str = "", environ: dict[str, str] | None = None):
    """Run the command as a script would; its input is no terminal."""
    bare = {k: v for k, v in os.environ.items() if not k.startswith("CHARGER_BRIDGE_")}
    return subprocess.run(
        [sys.executable, "-m", "bridge", "setup", *words],
        cwd=ROOT,
        env=bare | (environ or {}),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def at_terminal(*words: str, folder: Path, **size: int) -> Terminal:
    """Run the command at a terminal."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
    return Terminal("setup", *words, environ=environ, **size)


# -- at a terminal -------------------------------------------------------------------------------


def test_a_newcomer_gets_a_configuration_that_works(folder, cloud, broker):
    """Questions in 80 columns, passwords not shown, and the files pass `check --connect`."""
    with at_terminal(*places(folder), *cloud.options, folder=folder) as terminal:
        for question, answer in script(broker):
            terminal.expect(question)
            if "not shown" in question:
                terminal.expect(": ")
                assert not terminal.echoes
            terminal.type(f"{answer}\n")
        assert terminal.wait() == 0, terminal.shown
    text = terminal.shown

    assert "canary" not in text
    assert "The first command to try" in text
    assert text.rstrip().endswith("charger/EH000001/set/dynamic_charger_current -m 10")
    long = [line for line in text.splitlines() if len(line) > 80 and not line.startswith("  ")]
    assert long == []
    assert "\x1b[" in terminal.written
    config = folder / "etc/config.yaml"
    assert stat.S_IMODE((folder / "etc/easee_password").stat().st_mode) == 0o600
    assert (folder / "etc/mqtt_password").read_text() == "canary-broker\n"
    assert "canary" not in config.read_text()
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "check", "--connect", "--config", str(config)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ", ".join(SERIALS) in done.stdout


# The questions that are left when the options below answer the others, in their order.
SHORT = [
    ("E-mail", ACCOUNT),
    ("Password (not shown): ", "canary-1"),
    ("User", "me"),
    ("Password (not shown): ", "canary-2"),
    ("Choice", "shell"),
    ("Write [Y/n]: ", "y"),
]
ANSWERED = ["--no-connect", "--mqtt-host", "pi", "--mqtt-port", "1883", "--no-tls"]


@pytest.mark.parametrize("key", ["\x03", "\x04", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("number", [1, 5])
def test_a_key_or_a_signal_ends_it_without_a_trace(folder, key, number):
    """Ctrl-C, Ctrl-D, a closed window: status 1, nothing written, and the echo is back."""
    with at_terminal(*places(folder), *ANSWERED, folder=folder) as terminal:
        for question, answer in SHORT[:number]:
            terminal.answer(question, answer)
        terminal.expect(SHORT[number][0])
        terminal.expect_reading()
        if key.startswith("SIG"):
            os.kill(terminal.pid, getattr(signal, key))
        else:
            terminal.type(key)
        terminal.expect("interrupted; nothing was written")
        assert terminal.echoes
        assert terminal.wait() == 1

    assert tree(folder) == {}


def test_a_trial_that_hangs_can_be_broken_off(folder, broker, cloud):
    """Ctrl-C while a broker does not answer ends it at once."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        words = ["--username", ACCOUNT, "--mqtt-host", "127.0.0.1", "--mqtt-port", port, "--no-tls"]
        with at_terminal(*places(folder), *cloud.options, *words, folder=folder) as terminal:
            terminal.answer("Password (not shown): ", PASSWORD)
            terminal.answer("Chargers", "")
            terminal.answer("User", "")
            terminal.expect("Connecting to")
            terminal.type("\x03")
            terminal.expect("nothing was written")
            assert terminal.wait() == 1

    assert tree(folder) == {}


# -- broken off ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "end"),
    [
        *((number, KeyboardInterrupt) for number in range(QUESTIONS)),
        *((number, EOFError) for number in range(0, QUESTIONS, 4)),
    ],
)
def test_broken_off_at_any_question_nothing_is_written(
    folder, cloud, broker, typist, *, number, end
):
    """Whatever was answered and tried so far, the folder is as empty as before."""
    answers = [answer for _, answer in script(broker)]
    typist.script = [*answers[:number], end()]

    assert setup(*places(folder), *cloud.options) == 1
    assert tree(folder) == {}
    assert typist.asked[-1].startswith(script(broker)[number][0])


@pytest.mark.parametrize("number", range(0, QUESTIONS + 1, 4))
def test_broken_off_what_was_to_be_replaced_stays(folder, cloud, broker, typist, number):
    """The yes to replacing counts at the end and not before."""
    existing(folder)
    before = tree(folder)
    answers = ["y", *(answer for _, answer in script(broker))]
    typist.script = [*answers[:number], KeyboardInterrupt()]

    assert setup(*places(folder), *cloud.options) == 1
    assert tree(folder) == before


def test_a_no_at_the_end_writes_nothing(folder, cloud, broker, typist):
    """The last question can still be answered with no."""
    typist.script = [*(answer for _, answer in script(broker)[:-1]), "n"]

    assert setup(*places(folder), *cloud.options) == 1
    assert tree(folder) == {}


def existing(folder: Path) -> None:
    """Put a configuration there that must not get lost."""
    (folder / "etc").mkdir()
    (folder / "etc/config.yaml").write_text("# mine\n")


# -- what stands there ---------------------------------------------------------------------------


@pytest.mark.parametrize("agreed", [True, False])
def test_nothing_is_replaced_without_a_yes(folder, cloud, broker, typist, agreed):
    """Asked at the beginning, replaced at the end; Enter is a no."""
    existing(folder)
    typist.script = ["y" if agreed else "", *(answer for _, answer in script(broker))]
    status = setup(*places(folder), *cloud.options)

    assert status == (0 if agreed else 1)
    assert ((folder / "etc/config.yaml").read_text() == "# mine\n") is not agreed
    assert len(typist.asked) == (QUESTIONS + 1 if agreed else 1)


@pytest.mark.parametrize("account", ["someone@example.com", "me@example.com"])
def test_the_packages_configuration_is_replaced_by_enter(folder, cloud, broker, typist, account):
    """It holds nobody's settings before an account is in it; it is asked for all the same."""
    existing(folder)
    shipped = Path("deploy/deb/config.yaml").read_text().replace("someone@example.com", account)
    (folder / "etc/config.yaml").write_text(shipped)
    typist.script = ["", *(answer for _, answer in script(broker))]
    is_shipped = account == "someone@example.com"

    assert setup(*places(folder), *cloud.options) == (0 if is_shipped else 1)
    assert ((folder / "etc/config.yaml").read_text() == shipped) is not is_shipped


def complete(folder: Path, cloud: object, broker: int) -> list[str]:
    """Options that answer everything."""
    (folder / "account").write_text(f"{PASSWORD}\n")
    return [
        *places(folder), *cloud.options, "--username", ACCOUNT,
        "--password-file", str(folder / "account"), "--mqtt-host", "127.0.0.1",
        "--mqtt-port", str(broker), "--non-interactive",
    ]  # fmt: skip


def test_a_script_needs_force_to_replace(folder, cloud, broker, capsys):
    """Status 78 and the file's name; with --force it is replaced whole."""
    existing(folder)
    words = complete(folder, cloud, broker)

    assert setup(*words) == 78
    assert f"{folder}/etc/config.yaml: exists; --force replaces it" in capsys.readouterr().err
    assert (folder / "etc/config.yaml").read_text() == "# mine\n"
    assert setup(*words, "--force") == 0
    assert load(folder / "etc/config.yaml", {}).easee.username == ACCOUNT


def test_a_password_may_be_where_it_belongs_already(folder, cloud, broker):
    """A password's file beside the configuration is taken over, not in the way."""
    words = complete(folder, cloud, broker)
    (folder / "etc").mkdir()
    place = folder / "etc/easee_password"
    (folder / "account").rename(place)
    place.chmod(0o644)
    words[words.index(str(folder / "account"))] = str(place)

    assert setup(*words) == 0
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert place.read_text() == f"{PASSWORD}\n"


# -- in scripts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_script_answers_everything_by_options(folder, cloud, broker, purpose):
    """Without a terminal: plain text in 80 columns, status 0, a configuration that loads."""
    done = shell(*complete(folder, cloud, broker), "--for", purpose, environ={"HOME": str(folder)})
    settings = load(folder / "etc/config.yaml", {})

    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert f"({PURPOSES[purpose].title})" in done.stdout
    assert settings.mqtt.port == broker
    assert settings.homeassistant.enabled is (purpose == "home-assistant")


def test_the_password_can_come_by_standard_input(folder, cloud, broker):
    """`--password-stdin` reads one line; the broker's comes by the environment."""
    words = complete(folder, cloud, broker)
    at = words.index("--password-file")
    words[at : at + 2] = ["--password-stdin"]
    environ = {"CHARGER_BRIDGE_MQTT__PASSWORD": "canary-9", "CHARGER_BRIDGE_MQTT__USERNAME": "me"}
    done = shell(*words, stdin=f"{PASSWORD}\nmore\n", environ=environ)

    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "etc/easee_password").read_text() == f"{PASSWORD}\n"
    assert (folder / "etc/mqtt_password").read_text() == "canary-9\n"
    assert "canary" not in done.stdout


def test_missing_and_wrong_options_are_all_named_at_once(folder):
    """Status 78, one line each, with the option that answers it; nothing is written."""
    missing = shell(*places(folder))
    wrong = shell(*places(folder), "--mqtt-port", "http", "--api-url", "http://example.com")

    assert missing.returncode == wrong.returncode == 78
    assert "--username" in missing.stderr
    assert "--password-file" in missing.stderr
    assert "mqtt.port: must be 1 to 65535" in wrong.stderr
    assert "easee.api_url: must start with https://" in wrong.stderr
    assert tree(folder) == {}


@pytest.mark.parametrize(
    ("changed", "status", "words"),
    [
        ({"--username": "other@example.com"}, 78, "the cloud refuses user or password"),
        ({"--mqtt-port": "1"}, 75, "nothing listens at 127.0.0.1:1"),
        ({"--api-url": "http://127.0.0.1:1"}, 75, "it refuses the connection"),
        ({"--user": "no-such-user"}, 78, "there is no user 'no-such-user'"),
        ({"--config": "/proc/x/config.yaml"}, 78, "--config: "),
    ],
)
def test_what_does_not_work_has_its_status_and_leaves_nothing(
    folder, cloud, broker, capsys, *, changed, status, words
):
    """Wrong credentials are configuration (78), what is away is worth a retry (75)."""
    given = complete(folder, cloud, broker)
    before = tree(folder)
    for option, value in changed.items():
        given += [option, value]  # the last one counts

    assert setup(*given) == status
    assert words in capsys.readouterr().err
    assert tree(folder) == before


def test_no_password_is_in_the_arguments_of_any_process(folder, cloud, broker):
    """What `ps` shows of the command, and of those it starts, holds none."""
    with at_terminal(*places(folder), *cloud.options, folder=folder) as terminal:
        terminal.answer("E-mail", ACCOUNT)
        terminal.answer("Password (not shown): ", PASSWORD)
        terminal.expect("Chargers to serve")
        shown = Path(f"/proc/{terminal.pid}/cmdline").read_bytes()
        shown += Path(f"/proc/{terminal.pid}/environ").read_bytes()

    assert b"canary" not in shown


# -- places and the service ----------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_told_before_the_first_question(folder, typist, capsys):
    """A folder in the place of the file, a file in the place of the folder."""
    (folder / "file").write_text("")
    store = ["--store", f"{folder}/data/bridge.db"]

    assert setup("--config", str(folder), *store) == 78
    assert setup("--config", f"{folder}/file/config.yaml", *store) == 78
    assert setup("--config", f"{folder}/c.yaml", "--store", f"{folder}/file/b.db") == 78
    told = capsys.readouterr().err
    assert "is a folder; name a file in it" in told
    assert "is not a folder" in told
    assert "store.path" in told
    assert typist.asked == []


@pytest.fixture
def machine(folder, monkeypatch) -> Systemd:
    """A machine that systemd runs; what systemctl is told is in the file ``told``."""
    for name in ("running", "own", "bin"):
        (folder / name).mkdir()
    for name, text in {
        "systemctl": f'#!/bin/sh\necho "$*" >> {folder}/told\n',
        "charger-bridge": "#!/bin/sh\n",
    }.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "argv", ["charger-bridge"])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    systemd = Systemd(folder / "running", folder / "own", ())
    monkeypatch.setattr(setup_run, "Systemd", lambda: systemd)
    monkeypatch.setattr(setup_run.unit, "STATE_FOLDER", folder / "data")
    return systemd


def test_the_unit_is_offered_written_and_started(folder, cloud, broker, typist, machine):
    """With a yes the unit names this program and configuration, and runs."""
    script_ = script(broker)
    typist.script = [*(answer for _, answer in script_[:-1]), "", "y"]

    assert setup(*places(folder), *cloud.options) == 0
    assert typist.asked[-2] == "Start it with systemd, now and at boot [Y/n]: "
    text = (folder / "own" / UNIT).read_text()
    assert f"ExecStart={folder}/bin/charger-bridge run --config {folder}/etc/config.yaml" in text
    assert f"\nLoadCredential=mqtt_password:{folder}/etc/mqtt_password" in text
    assert (folder / "told").read_text().split("\n")[0] == "daemon-reload"


def test_an_installed_unit_is_left_as_it_is(folder, cloud, broker, machine, capsys):
    """A package's unit is started; what it does not hand over is said."""
    (folder / "own" / UNIT).write_text("# the package's\n")
    (folder / "broker").write_text("canary-8\n")
    words = ["--mqtt-username", "me", "--mqtt-password-file", str(folder / "broker"), "--service"]

    assert setup(*complete(folder, cloud, broker), *words) == 0
    assert (folder / "own" / UNIT).read_text() == "# the package's\n"
    assert "does not hand over mqtt_password" in " ".join(capsys.readouterr().out.split())
    assert "restart" in (folder / "told").read_text()


def test_a_service_that_cannot_be_is_an_error_in_a_script(folder, cloud, broker, capsys):
    """Asked for by option it is not silently left out."""
    assert setup(*complete(folder, cloud, broker), "--service", "--force") == 78
    assert "--service: " in capsys.readouterr().err


def test_a_service_that_does_not_start_is_told(folder, cloud, broker, machine, capsys):
    """The files stay, the status is 1, and what systemctl said is shown."""
    (folder / "bin" / "systemctl").write_text("#!/bin/sh\necho masked >&2\nexit 1\n")

    assert setup(*complete(folder, cloud, broker), "--service") == 1
    assert "systemctl daemon-reload: masked" in capsys.readouterr().out
    assert (folder / "etc/config.yaml").exists()


def test_a_signal_behind_the_writing_does_not_deny_it(folder, cloud, broker, monkeypatch, capsys):
    """Ctrl-C while the last lines are shown never says that nothing was written."""

    def interrupted(_self: object, _outcome: object, *, has_unit: bool) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup_run.Setup, "_finish", interrupted)

    assert setup(*complete(folder, cloud, broker)) == 0
    assert "nothing was written" not in capsys.readouterr().err
    assert (folder / "etc/config.yaml").exists()


def test_help_says_what_is_written_and_names_no_password_option(capsys):
    """`--help` works without a terminal and tells the default place."""
    with pytest.raises(SystemExit):
        main(["setup", "--help"])
    shown = capsys.readouterr().out

    assert "config.yaml" in shown
    assert "--password TEXT" not in shown


# -- the first hour ------------------------------------------------------------------------------


@contextlib.contextmanager
def running(line: str, **streams: int) -> Iterator[subprocess.Popen[str]]:
    """Run a copied line in a shell until the block ends; its output can be read."""
    process = subprocess.Popen(
        ["sh", "-c", f"exec {line}"], cwd=ROOT, text=True, **{"stdout": subprocess.PIPE, **streams}
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.acceptance
@pytest.mark.usefixtures("never_hangs")
@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="needs mosquitto-clients")
def test_the_lines_it_ends_with_lead_to_a_confirmed_command(folder, cloud, broker):
    """What is printed is copied into shells: the gateway starts, and a charger confirms."""
    done = shell(*complete(folder, cloud, broker), "--for", "shell", environ={"HOME": str(folder)})
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    run, listen, publish = (
        next(line for line in lines if word in line)
        for word in (" run --config ", "mosquitto_sub ", "mosquitto_pub ")
    )
    # What is retained comes when both are subscribed to.
    availability = listen.rpartition(" -t ")[2].replace("result/#", "availability")
    with (
        running(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
        running(f"{listen} -t {availability}") as answers,
    ):
        lines = iter(answers.stdout.readline, "")
        assert any(line.endswith("/availability online\n") for line in lines)
        subprocess.run(["sh", "-c", publish], check=True)
        states = []
        while states[-1:] != ["confirmed"]:
            topic, _, text = next(lines).partition(" ")
            states += [json.loads(text)["state"]] if "/result/" in topic else []

    assert states == ["accepted", "confirmed"]
