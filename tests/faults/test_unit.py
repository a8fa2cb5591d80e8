"""The systemd unit: what systemd itself says of it, and that it fits the program."""

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "charger-bridge.service"
ANALYZE = shutil.which("systemd-analyze")
# systemd's own scale from 0 to 10, times ten.
WORST_EXPOSURE = "15"

with_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def analyze(*arguments):
    """Ask systemd; return its status and what it said."""
    done = subprocess.run(
        [str(ANALYZE), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


@with_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    """No unknown key, no bad value; only the program's own path is another one here."""
    unit = tmp_path / UNIT.name
    text = UNIT.read_text().replace("/opt/charger-bridge/bin/charger-bridge", shutil.which("true"))
    unit.write_text(text)

    assert analyze("verify", str(unit)) == (0, "")


@with_systemd
def test_its_exposure_stays_low():
    """`systemd-analyze security` gives it 1.5 or less; docs/running.md names the figure."""
    status, said = analyze("security", "--offline=true", f"--threshold={WORST_EXPOSURE}", str(UNIT))

    assert status == 0, said[-400:]


def test_it_fits_the_program():
    """Status 78 is not restarted, 75 is; readiness, watchdog, store and passwords are wired."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string(UNIT.read_text())
    service = parser["Service"]

    assert service["Type"] == "notify"
    assert service["Restart"] == "on-failure"
    assert service["RestartPreventExitStatus"] == "78"
    assert float(service["WatchdogSec"]) > 60  # our own watchdog bites first, and says where
    assert service["StateDirectory"] == "charger-bridge"
    assert "RuntimeDirectory" in service
    assert "Environment=CHARGER_BRIDGE_EASEE__PASSWORD_FILE=%d/easee_password" in UNIT.read_text()
