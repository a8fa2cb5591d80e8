"""The unit that is installed is the shipped one, with the places of the installation."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.cli.setup import unit
from bridge.cli.setup.answers import CREDENTIALS, secret_file
from bridge.cli.setup.unit import (
    STATE_FOLDER,
    TEMPLATE,
    UNIT,
    Systemd,
    hands_over,
    name_for,
    render,
    start,
    texts_for,
)
from bridge.config.keys import BY_PATH

ROOT = Path(__file__).parents[3]
PROGRAM = Path("/opt/charger-bridge/bin/charger-bridge")
CONFIG = Path("/etc/charger-bridge/config.yaml")
HOME = CONFIG.with_name("home.yaml")
STORE = STATE_FOLDER / "bridge.db"


def effective(text: str) -> list[str]:
    """The lines of a unit that mean something."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.fixture
def systemd(tmp_path, monkeypatch) -> Systemd:
    """A machine that systemd runs, with a systemctl that notes what it is told."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("running", "own", "other", "bin"):
        (tmp_path / name).mkdir()
    fake = tmp_path / "bin" / "systemctl"
    fake.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/told\n'
        f'if [ "$1" = "$(cat {tmp_path}/fails 2>/dev/null)" ]; then echo "no way" >&2; exit 4; fi\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return Systemd(tmp_path / "running", tmp_path / "own", (tmp_path / "other",))


def test_with_the_usual_places_it_is_the_shipped_unit():
    """Nothing else is changed than the head that says how to install it by hand."""
    shipped = (ROOT / "deploy" / UNIT).read_text()

    assert effective(render(PROGRAM, CONFIG, has_broker_password=False)) == effective(shipped)


def test_other_places_are_put_in():
    """Program, configuration and both passwords are those of this installation."""
    program, config = Path("/srv/a b/charger-bridge"), Path("/srv/100%/config.yaml")
    lines = effective(render(program, config, has_broker_password=True))

    assert 'ExecStart="/srv/a b/charger-bridge" run --config /srv/100%%/config.yaml' in lines
    assert "LoadCredential=easee_password:/srv/100%%/easee_password" in lines
    assert "LoadCredential=mqtt_password:/srv/100%%/mqtt_password" in lines
    assert "Environment=CHARGER_BRIDGE_MQTT__PASSWORD_FILE=%d/mqtt_password" in lines
    assert not any("/opt/" in line or "/etc/charger-bridge" in line for line in lines)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_reads_it(tmp_path):
    """The rendered unit has no line that systemd does not understand."""
    program = tmp_path / "charger-bridge"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / UNIT
    path.write_text(render(program, tmp_path / "config.yaml", has_broker_password=True))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert UNIT not in done.stderr


def test_it_is_offered_where_it_can_run(systemd):
    """Root on a machine that systemd runs, with the program outside of every home."""
    assert systemd.obstacle(PROGRAM, CONFIG, STORE) is None
    assert systemd.installed(CONFIG) is None


@pytest.mark.parametrize(
    ("program", "config", "store", "words"),
    [
        (None, CONFIG, STORE, "not started as charger-bridge"),
        (Path("/root/.local/bin/charger-bridge"), CONFIG, STORE, "cannot reach /root"),
        (PROGRAM, Path("/home/me/config.yaml"), STORE, "cannot reach /home/me"),
        (PROGRAM, CONFIG, Path("/srv/bridge.db"), "keeps its store in /var/lib/charger-bridge"),
    ],
)
def test_what_the_service_could_not_reach_is_said(systemd, program, config, store, words):
    """The unit sees no home and writes below its own folder only."""
    assert words in (systemd.obstacle(program, config, store) or "")


def test_it_is_not_offered_to_others_or_elsewhere(systemd, tmp_path, monkeypatch):
    """A user who is not root, or a container, gets a reason instead."""
    elsewhere = Systemd(tmp_path / "none", tmp_path / "own", ())
    assert "does not run" in (elsewhere.obstacle(PROGRAM, CONFIG, STORE) or "")

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root" in (systemd.obstacle(PROGRAM, CONFIG, STORE) or "")


def test_an_installed_unit_is_found_and_needs_no_place(systemd, tmp_path):
    """A package's unit knows its own program: only its start is offered."""
    (tmp_path / "other" / UNIT).write_text("LoadCredential=easee_password:/\n#LoadCredential=b:/\n")

    assert systemd.installed(CONFIG) == tmp_path / "other" / UNIT
    assert systemd.obstacle(None, CONFIG, Path("/srv/x")) is None
    assert hands_over(tmp_path / "other" / UNIT, "easee_password")
    assert not hands_over(tmp_path / "other" / UNIT, "b")


def test_a_unit_of_another_configuration_is_not_started_for_this_one(systemd, tmp_path):
    """What an installed unit reads is compared with what was written, %i included."""
    shipped = (ROOT / "deploy" / UNIT).read_text()
    (tmp_path / "other" / UNIT).write_text(shipped)
    (tmp_path / "other" / TEMPLATE).write_text((ROOT / "deploy" / TEMPLATE).read_text())
    other = Path("/srv/config.yaml")

    assert systemd.obstacle(PROGRAM, CONFIG, STORE) is None
    assert systemd.obstacle(PROGRAM, HOME, STORE) is None
    assert systemd.obstacle(PROGRAM, other, STORE) == (
        f"{tmp_path}/other/{UNIT} reads {CONFIG}, not {other}"
    )


def test_the_configuration_of_an_account_is_run_by_its_instance(systemd, tmp_path):
    """Name, client id, base topic, store and password file are those of the template unit."""
    assert TEMPLATE in (systemd.obstacle(PROGRAM, HOME, STORE) or "")
    assert systemd.installed(HOME) is None
    template = (ROOT / "deploy" / TEMPLATE).read_text()
    (tmp_path / "own" / TEMPLATE).write_text(template)

    assert systemd.installed(HOME) == tmp_path / "own" / TEMPLATE
    assert (name_for(HOME), name_for(CONFIG)) == ("charger-bridge@home.service", UNIT)
    assert texts_for(CONFIG) == {}
    lines = effective(template.replace("%i", "home"))
    for path, text in texts_for(HOME).items():
        assert f"Environment={BY_PATH[path].variable}={text}" in lines
    for path, name in CREDENTIALS.items():
        assert f"LoadCredential={name}:{secret_file(path, HOME)}" in template.replace(
            "%i", "home"
        ).replace("#", "")


@pytest.mark.parametrize(
    "path", ["/etc/charger-bridge/Home.yaml", "/etc/charger-bridge/a b.yaml", "/srv/home.yaml"]
)
def test_other_names_and_places_are_no_account(path):
    """What the template unit could not read is not left to it."""
    assert name_for(Path(path)) == UNIT


def test_it_is_enabled_and_started(systemd, tmp_path):
    """Systemd reads its units again, then starts ours now and at boot."""
    assert start() is None
    assert (tmp_path / "told").read_text().splitlines() == [
        "daemon-reload",
        f"enable {UNIT}",
        f"restart {UNIT}",
    ]


def test_what_systemctl_says_is_passed_on(systemd, tmp_path):
    """The first thing that fails is named, and nothing is tried behind it."""
    (tmp_path / "fails").write_text("enable")

    assert start() == f"systemctl enable {UNIT}: no way"
    assert "restart" not in (tmp_path / "told").read_text()


def test_the_shipped_unit_is_the_one_in_the_package():
    """deploy/ shows the file that the package holds."""
    assert (ROOT / "deploy" / UNIT).resolve() == Path(unit.__file__).with_name(UNIT)
