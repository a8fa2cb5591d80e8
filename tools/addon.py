"""Lay out the Home Assistant add-on repository: its source, with version and wheels in place."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.check_lock import ROOT
from tools.deb import requirements
from tools.wheels import MACHINES, Wheel, supported_tags

SOURCE: Final = ROOT / "deploy" / "home-assistant"
NAME: Final = "charger_bridge"
PYTHON: Final = re.compile(r"^ARG PYTHON=python:(\d+\.\d+)-", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Addon:
    """What the repository is made of.

    Attributes:
        version: The version.
        wheels: Wheels of every machine and Python, the bridge's own among them.
        licences: The text about the licences of what is bundled.
    """

    version: str
    wheels: tuple[Wheel, ...]
    licences: str

    @property
    def name(self) -> str:
        """The name of the packed repository's folder."""
        return f"charger-bridge-{self.version}-home-assistant"


def lay_out(addon: Addon, folder: Path) -> None:
    """Write the repository into a folder that is not there yet."""
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__", "README.md"))
    target = folder / NAME
    config = target / "config.yaml"
    config.write_text(with_version(config.read_text(), addon.version))
    python = PYTHON.findall((target / "Dockerfile").read_text())[0]
    wheels = usable(addon.wheels, python)
    (target / "wheels").mkdir()
    for wheel in wheels:
        shutil.copyfile(wheel.path, target / "wheels" / wheel.path.name)
    (target / "requirements.txt").write_text(requirements(wheels))
    (target / "THIRD-PARTY-LICENSES.txt").write_text(addon.licences)
    for name in ("CHANGELOG.md", "LICENSE"):
        shutil.copyfile(ROOT / name, target / name)


def with_version(config: str, version: str) -> str:
    """Put the version into the add-on's configuration.

    Raises:
        ValueError: There is no place for it.
    """
    written, count = re.subn(r'(?m)^# .*\nversion: "0"$', f'version: "{version}"', config)
    if count != 1:
        raise ValueError('config.yaml of the add-on must have the line version: "0" once')
    return written


def usable(wheels: Iterable[Wheel], python: str) -> tuple[Wheel, ...]:
    """Return, once each, the wheels that one Python installs on any of our machines."""
    listed = tuple(wheels)
    best: dict[tuple[str, str], tuple[int, Wheel]] = {}
    for machine in MACHINES.values():
        ranks = {tag: rank for rank, tag in enumerate(supported_tags(python, machine))}
        for wheel in listed:
            rank = min((ranks[tag] for tag in wheel.tags if tag in ranks), default=None)
            key = (wheel.name, machine)
            if rank is not None and (key not in best or rank < best[key][0]):
                best[key] = (rank, wheel)
    return tuple({wheel.path.name: wheel for _, wheel in best.values()}.values())
