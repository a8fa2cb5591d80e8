"""Lay out and pack the Debian package: the same bytes from the same wheels."""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.check_lock import PYTHONS, ROOT
from tools.wheels import Wheel

SOURCES: Final = ROOT / "deploy" / "deb"
HOME: Final = Path("usr/lib/charger-bridge")
DOC: Final = Path("usr/share/doc/charger-bridge")
UNIT: Final = Path("usr/lib/systemd/system/charger-bridge.service")
TEMPLATE: Final = Path("usr/lib/systemd/system/charger-bridge@.service")
# What a user reads and imports; `setup` names it.
DOCUMENTS: Final = ("docs", "examples")
LEFT_OUT: Final = shutil.ignore_patterns("adr", "images", "__pycache__", ".*")
SCRIPTS: Final = ("postinst", "prerm", "postrm")
CONFIG: Final = Path("etc/charger-bridge/config.yaml")
CONDITION: Final = """\
# Not before it has been set up.
ConditionPathExists=/etc/charger-bridge/easee_password
"""
# The copies of root's password files, with the comment above.
HANDED_OVER: Final = re.compile(
    r"(?:# .*\n)+LoadCredential=.*\n(?:#?(?:LoadCredential=|Environment=CHARGER_BRIDGE_).*\n)+"
)
# What the package's unit has in the place of a line of deploy/charger-bridge.service.
UNIT_CHANGES: Final = (
    (
        "ExecStart=/opt/charger-bridge/bin/charger-bridge run",
        "ExecStart=/usr/bin/charger-bridge run",
    ),
    ("DynamicUser=yes\n", "User=charger-bridge\nGroup=charger-bridge\n"),
    ("StartLimitIntervalSec=0\n", f"StartLimitIntervalSec=0\n{CONDITION}"),
)


OF_AN_ACCOUNT: Final = """\
# What must differ between accounts; the environment overrides the file.
Environment=CHARGER_BRIDGE_MQTT__CLIENT_ID=charger-bridge-%i
Environment=CHARGER_BRIDGE_MQTT__BASE_TOPIC=charger-%i
Environment=CHARGER_BRIDGE_STORE__PATH=/var/lib/charger-bridge/%i/bridge.db
"""
# What the template unit, one instance for each account, has in the place of a line of the unit. The
# environment overrides the file, so that two instances never share a client id or a topic.
TEMPLATE_CHANGES: Final = (
    (
        "Description=Gateway between MQTT and the Easee Cloud",
        "Description=Gateway between MQTT and the Easee Cloud, account %i",
    ),
    ("/etc/charger-bridge/config.yaml", "/etc/charger-bridge/%i.yaml"),
    (
        "Environment=PYTHONDONTWRITEBYTECODE=1\n",
        f"Environment=PYTHONDONTWRITEBYTECODE=1\n{OF_AN_ACCOUNT}",
    ),
    ("StateDirectory=charger-bridge\n", "StateDirectory=charger-bridge/%i\n"),
    ("RuntimeDirectory=charger-bridge\n", "RuntimeDirectory=charger-bridge/%i\n"),
)
_PASSWORD: Final = re.compile(r"(/etc/charger-bridge/)(easee|mqtt)(_password)")
_HEAD: Final = re.compile(r"\A(?:#.*\n)+")
TEMPLATE_HEAD: Final = """\
# systemd template unit of charger-bridge: one instance for each account, for example
# charger-bridge@home and charger-bridge@work. Names are lower-case letters and digits.
#
#   install -m 0644 deploy/charger-bridge@.service /etc/systemd/system/
#   install -d -m 0755 /etc/charger-bridge           # home.yaml goes here, readable by everybody
#   install -m 0600 easee_password /etc/charger-bridge/home_easee_password # readable by root only
#   systemctl daemon-reload && systemctl enable --now charger-bridge@home
#
# Written from charger-bridge.service by tools/deb.py; docs/running.md explains both.
"""


@dataclass(frozen=True, slots=True)
class Package:
    """What a package is made of.

    Attributes:
        version: The version as Python writes it.
        architecture: Debian's name of the machine.
        wheels: The wheels inside, the bridge's own among them.
        licences: The text about the licences of what is bundled.
        epoch: Time of every file, in seconds since 1970.
    """

    version: str
    architecture: str
    wheels: tuple[Wheel, ...]
    licences: str
    epoch: int

    @property
    def file_name(self) -> str:
        """The name of the package's file."""
        return f"charger-bridge_{debian_version(self.version)}_{self.architecture}.deb"


def debian_version(version: str) -> str:
    """Write a Python version so that dpkg sorts it alike: ``1.0.0rc1`` comes before ``1.0.0``."""
    return re.sub(r"(a|b|rc)(\d+)", r"~\1\2", re.sub(r"\.?dev(\d+)", r"~~dev\1", version))


def unit(text: str) -> str:
    """Turn the unit for an installation by hand into the package's.

    Raises:
        ValueError: A line that changes is not there, or not once.
    """
    body = re.sub(r"\A(?:#.*\n)+\n", "# Local changes: systemctl edit charger-bridge\n\n", text)
    body, count = HANDED_OVER.subn(
        "# Passwords are in files of this user, beside the configuration.\n", body
    )
    if count != 1:
        raise ValueError("the unit must hand over the passwords at one place")
    for old, new in UNIT_CHANGES:
        if body.count(old) != 1:
            raise ValueError(f"the unit must have {old!r} once")
        body = body.replace(old, new)
    return body


def template(text: str) -> str:
    """Turn a unit into a template unit whose instances share nothing.

    Raises:
        ValueError: A line that changes is not there, or not once.
    """
    body = _PASSWORD.sub(r"\1%i_\2\3", _HEAD.sub("", text))
    for old, new in TEMPLATE_CHANGES:
        if body.count(old) != 1:
            raise ValueError(f"the unit must have {old!r} once")
        body = body.replace(old, new)
    return TEMPLATE_HEAD + body


def template_unit(text: str) -> str:
    """Turn the unit for an installation by hand into the package's template unit."""
    return _PASSWORD.sub(r"\1%i_\2\3", unit(template(text)))


def lay_out(package: Package, tree: Path) -> None:
    """Write every file of the package below a folder."""
    home = tree / HOME
    (home / "wheels").mkdir(parents=True)
    for wheel in package.wheels:
        shutil.copyfile(wheel.path, home / "wheels" / wheel.path.name)
    _write(home / "requirements.txt", requirements(package.wheels))
    _write(home / "make-environment", (SOURCES / "make-environment").read_text(), mode=0o755)
    _write(tree / UNIT, unit((ROOT / "deploy" / "charger-bridge.service").read_text()))
    _write(tree / TEMPLATE, template_unit((ROOT / "deploy" / UNIT.name).read_text()))
    _write(tree / CONFIG, (SOURCES / "config.yaml").read_text())
    _write(tree / DOC / "copyright", package.licences)
    _write(tree / DOC / "config.example.yaml", (ROOT / "config.example.yaml").read_text())
    for folder in DOCUMENTS:
        shutil.copytree(ROOT / folder, tree / DOC / folder, ignore=LEFT_OUT)
    _write(tree / DOC / "README.md", (ROOT / "README.md").read_text())
    changes = (ROOT / "CHANGELOG.md").read_bytes()
    (tree / DOC / "CHANGELOG.md.gz").write_bytes(gzip.compress(changes, mtime=0))
    command = tree / "usr/bin/charger-bridge"
    command.parent.mkdir()
    command.symlink_to("../lib/charger-bridge/environment/bin/charger-bridge")
    _control(package, tree)


def requirements(wheels: Iterable[Wheel]) -> str:
    """Return a requirements file that admits these wheels and nothing else."""
    hashes: dict[str, list[str]] = {}
    for wheel in wheels:
        hashes.setdefault(f"{wheel.name}=={wheel.version}", []).append(wheel.sha256)
    return "".join(
        requirement + "".join(f" \\\n    --hash=sha256:{each}" for each in sorted(found)) + "\n"
        for requirement, found in sorted(hashes.items())
    )


def pack(tree: Path, out: Path, epoch: int) -> None:
    """Pack a tree: owners, modes, order and times are the same every time.

    Wheels are compressed already: packing them again takes minutes and saves nothing.
    """
    for path in (tree, *tree.rglob("*")):
        if path.is_symlink():
            continue
        runs = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if runs else 0o644)
        os.utime(path, (epoch, epoch))
    command = (
        "dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(out),
    )  # fmt: skip
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    subprocess.run(command, check=True, env=environ, stdout=subprocess.DEVNULL)  # noqa: S603


def _control(package: Package, tree: Path) -> None:
    """Write what dpkg reads: after everything else, since it counts the files."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    control = tree / "DEBIAN"
    _write(
        control / "control",
        (SOURCES / "control")
        .read_text()
        .format(
            version=debian_version(package.version),
            architecture=package.architecture,
            installed_size=sum(-(-path.stat().st_size // 1024) for path in files),
            oldest=PYTHONS[0],
            beyond=_next(PYTHONS[-1]),
        ),
    )
    sums = (
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}"
        f"  {path.relative_to(tree)}\n"
        for path in files
        if path != tree / CONFIG
    )
    _write(control / "md5sums", "".join(sums))
    _write(control / "conffiles", f"/{CONFIG}\n")
    _write(control / "triggers", (SOURCES / "triggers").read_text())
    for script in SCRIPTS:
        _write(control / script, (SOURCES / script).read_text(), mode=0o755)


def _next(python: str) -> str:
    major, minor = python.split(".")
    return f"{major}.{int(minor) + 1}"


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
