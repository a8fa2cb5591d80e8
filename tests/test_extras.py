"""What a missing extra is answered with."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from bridge import extras
from bridge.extras import missing_extra

ROOT = Path(__file__).parent.parent

# What `run` imports, and a check of the example, where no extra is installed.
WITHOUT_EXTRAS = """
import sys
for library in ("aiohttp", "amqtt", "asyncpg", "pika", "rich"):
    sys.modules[library] = None  # importing it is an error
import bridge.app
from bridge.__main__ import main
sys.argv[1:] = ["check", "--config", "config.example.yaml"]
sys.exit(main())
"""


def test_the_command_adds_to_what_is_installed():
    """Pip accepts the command as printed, without an index, and keeps the installed bridge."""
    told = missing_extra("amqp", "a library")
    command = shlex.split(told.partition("run: ")[2])
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )

    assert told.startswith("a library is not installed")
    assert command[0] == sys.executable
    assert ran.returncode == 0, ran.stderr
    assert "Requirement already satisfied: charger-bridge[" in ran.stdout
    assert "Successfully installed" not in ran.stdout


def test_without_pip_the_bridge_is_to_be_installed_again(monkeypatch):
    """An environment of uv has no pip, so no command of pip is printed."""
    monkeypatch.setattr(extras, "find_spec", lambda _name: None)

    told = missing_extra("amqp", "a library")
    assert told == "a library is not installed; install the bridge again, as charger-bridge[amqp]"


def test_nothing_of_an_extra_is_imported_without_need():
    """The gateway's modules load, and a configuration without extras is checked, without them."""
    ran = subprocess.run(
        (sys.executable, "-c", WITHOUT_EXTRAS),
        cwd=ROOT,
        env={**os.environ, "CHARGER_BRIDGE_EASEE__PASSWORD": "secret", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr + ran.stdout
