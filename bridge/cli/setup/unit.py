"""Installs the systemd unit with the paths of this installation, and starts it.

Rules:

1. A unit that is there already, a package's or an operator's, is never changed, only started.
2. What the unit could not run is said before it is offered: it sees no home, and it keeps its
   store in ``/var/lib/charger-bridge``.
3. ``/etc/charger-bridge/home.yaml`` is run by ``charger-bridge@home``, whose unit is a package's or
   an operator's; a unit that reads another configuration is not started for this one.
"""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from bridge.cli.setup.answers import CONFIG, CREDENTIALS, EASEE_PASSWORD, MQTT_PASSWORD, secret_file

UNIT = "charger-bridge.service"
TEMPLATE = "charger-bridge@.service"
STATE_FOLDER = Path("/var/lib/charger-bridge")
# Where ProtectHome= hides everything.
HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_SHIPPED_FOLDER = "/etc/charger-bridge"
_ACCOUNT = re.compile(r"[a-z0-9]+", re.ASCII)
_READS = re.compile(r"^ExecStart=.* --config (.*)$", re.MULTILINE)
_SHIPPED_PROGRAM = "/opt/charger-bridge/bin/charger-bridge"


@dataclass(frozen=True, slots=True)
class Systemd:
    """Where systemd keeps things; tests have a place of their own.

    Attributes:
        running: Exists while systemd runs the machine.
        own_units: Where an operator's units are.
        other_units: Where packages put theirs.
    """

    running: Path = Path("/run/systemd/system")
    own_units: Path = Path("/etc/systemd/system")
    other_units: tuple[Path, ...] = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))

    @property
    def place(self) -> Path:
        """Return where the unit is written."""
        return self.own_units / UNIT

    def installed(self, config: Path) -> Path | None:
        """Return the unit for a configuration that is there already."""
        name = UNIT if account_of(config) is None else TEMPLATE
        folders = (self.own_units, *self.other_units)
        return next((folder / name for folder in folders if (folder / name).exists()), None)

    def obstacle(self, program: Path | None, config: Path, store: Path) -> str | None:
        """Return why the unit cannot be used here, or None.

        Args:
            program: The executable, or None where it has no file of its own.
            config: The configuration file.
            store: The store's file.
        """
        if os.geteuid() != 0:
            return "only root can install a systemd unit"
        if not self.running.is_dir() or shutil.which("systemctl") is None:
            return "systemd does not run this machine"
        if (installed := self.installed(config)) is not None:
            return _other_configuration(installed, config)
        if account_of(config) is not None:
            return f"{config.name} is run by {TEMPLATE}, which is not installed"
        if program is None:
            return "the program was not started as charger-bridge"
        for path in (program, config):
            if any(path.is_relative_to(home) for home in HOMES):
                return f"the service cannot reach {path}: it sees no home folder"
        if store.parent != STATE_FOLDER:
            return f"the service keeps its store in {STATE_FOLDER}, not in {store.parent}"
        return None


def account_of(config: Path) -> str | None:
    """Return the instance of the template unit that runs a configuration, or None."""
    if str(config.parent) != _SHIPPED_FOLDER or config.name == CONFIG or config.suffix != ".yaml":
        return None
    return config.stem if _ACCOUNT.fullmatch(config.stem) else None


def name_for(config: Path) -> str:
    """Return the name of the unit that runs a configuration."""
    account = account_of(config)
    return UNIT if account is None else TEMPLATE.replace("@", f"@{account}")


def texts_for(config: Path) -> dict[str, str]:
    """Return what the unit of an account sets in any case, by the path of its key."""
    if (account := account_of(config)) is None:
        return {}
    return {
        "mqtt.client_id": f"charger-bridge-{account}",
        "mqtt.base_topic": f"charger-{account}",
        "store.path": str(STATE_FOLDER / account / "bridge.db"),
    }


def render(program: Path, config: Path, *, has_broker_password: bool) -> str:
    """Return the shipped unit for an installation.

    Args:
        program: The executable.
        config: The configuration file; the passwords are beside it.
        has_broker_password: Hand over the broker's password too.
    """
    shipped = resources.files("bridge.cli.setup").joinpath(UNIT).read_text()
    _, _, body = shipped.partition("\n[Unit]\n")
    text = body.replace(
        f"{_SHIPPED_PROGRAM} run --config {_SHIPPED_FOLDER}/config.yaml",
        f"{_word(program)} run --config {_word(config)}",
    )
    for key in (EASEE_PASSWORD, MQTT_PASSWORD):
        name = CREDENTIALS[key]
        text = text.replace(
            f"LoadCredential={name}:{_SHIPPED_FOLDER}/{name}",
            f"LoadCredential={name}:{_specifiers_off(secret_file(key, config))}",
        )
    if has_broker_password:
        for start in ("#LoadCredential=", "#Environment="):
            text = text.replace(start, start[1:])
    head = "# systemd unit of charger-bridge, written by `charger-bridge setup`.\n\n[Unit]\n"
    return head + text


def hands_over(unit: Path, name: str) -> bool:
    """Return whether a unit passes a password file to the service.

    Raises:
        OSError: It cannot be read.
    """
    return any(
        line.startswith(f"LoadCredential={name}:")
        for line in unit.read_text(errors="replace").splitlines()
    )


def start(name: str = UNIT, systemctl: str = "systemctl") -> str | None:
    """Enable and start a unit; return what went wrong, or None."""
    for words in (("daemon-reload",), ("enable", name), ("restart", name)):
        done = subprocess.run(  # noqa: S603 - fixed words
            [systemctl, *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            told = (done.stderr or done.stdout).strip() or f"status {done.returncode}"
            return f"systemctl {' '.join(words)}: {told.splitlines()[0]}"
    return None


def _other_configuration(unit: Path, config: Path) -> str | None:
    """Return what is wrong where a unit reads another configuration than this one."""
    found = _READS.search(unit.read_text(errors="replace"))
    if found is None or found[1].replace("%i", config.stem) in (str(config), _word(config)):
        return None
    return f"{unit} reads {found[1]}, not {config}"


def _word(path: Path) -> str:
    """Write a path as one word of ``ExecStart=``."""
    text = _specifiers_off(path).replace("$", "$$")
    plain = text.isascii() and not any(char in text for char in " \t\"'\\;")
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return text if plain else f'"{quoted}"'


def _specifiers_off(path: Path) -> str:
    return str(path).replace("%", "%%")
