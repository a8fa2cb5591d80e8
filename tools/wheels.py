"""Fetch the wheels of a lock for one kind of machine, and read what they say of themselves."""

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Final

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from tools.check_lock import PYTHONS

# Debian's name of a machine, and Python's.
MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
# The oldest C library a wheel may ask for: 2.36 of Debian 12 is newer than all of these.
PLATFORMS: Final = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")
_LICENCE_FILE: Final = re.compile(
    r"[^/]+\.dist-info/(?:.*/)?[^/]*(?:licen[cs]e|copying|notice|authors)[^/]*", re.IGNORECASE
)
_CLASSIFIER: Final = "License :: OSI Approved :: "


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel file.

    Attributes:
        path: The file.
        name: Canonical name of the distribution.
        version: Its version.
        tags: The interpreters and machines it is for.
        sha256: Of the file, in hexadecimal.
    """

    path: Path
    name: str
    version: str
    tags: frozenset[Tag]
    sha256: str

    @property
    def requirement(self) -> str:
        """The line of a requirements file that admits only this file."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    def metadata(self) -> Message:
        """Return the metadata inside."""
        with zipfile.ZipFile(self.path) as file:
            (name,) = (n for n in file.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
            return Parser().parsestr(file.read(name).decode())

    def licence(self) -> str:
        """Return the licence as the metadata name it."""
        metadata = self.metadata()
        if expression := metadata["License-Expression"]:
            return str(expression)
        classifiers = metadata.get_all("Classifier", [])
        named = [c.removeprefix(_CLASSIFIER) for c in classifiers if c.startswith(_CLASSIFIER)]
        return " AND ".join(named) or str(metadata["License"] or "").strip()

    def licence_texts(self) -> tuple[str, ...]:
        """Return the licence files inside, those of copied code too."""
        with zipfile.ZipFile(self.path) as file:
            names = sorted(n for n in file.namelist() if _LICENCE_FILE.fullmatch(n))
            return tuple(file.read(name).decode(errors="replace") for name in names)


def read_wheel(path: Path) -> Wheel:
    """Read one file."""
    name, version, _, tags = parse_wheel_filename(path.name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel(path, canonicalize_name(name), str(version), tags, digest)


def read_wheels(folder: Path) -> tuple[Wheel, ...]:
    """Read every wheel of a folder, by name."""
    return tuple(read_wheel(path) for path in sorted(folder.glob("*.whl")))


def fetch(lock: Path, folder: Path, machine: str) -> None:
    """Fetch what a lock pins as wheels for one machine and every Python we support.

    Args:
        lock: Requirements with hashes.
        folder: Where they go.
        machine: Python's name of it, e.g. ``aarch64``.
    """
    platforms = (f"--platform={platform}_{machine}" for platform in PLATFORMS)
    command = (
        sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-qqq",
        "--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation=cp",
        f"--requirement={lock}", f"--dest={folder}", *platforms,
    )  # fmt: skip
    for python in PYTHONS:
        abis = ("--abi=cp" + python.replace(".", ""), "--abi=abi3", "--abi=none")
        subprocess.run((*command, f"--python-version={python}", *abis), check=True)  # noqa: S603


def supported_tags(python: str, machine: str, glibc: int = 36) -> tuple[Tag, ...]:
    """Return the tags a Python on Debian 12 or newer accepts, e.g. of ``3.11`` on ``aarch64``."""
    version = tuple(int(part) for part in python.split("."))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc, 16, -1)]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    interpreter = "cp" + python.replace(".", "")
    return (
        *cpython_tags(version, platforms=platforms),
        *compatible_tags(version, interpreter, platforms),
    )


def missing(wheels: Iterable[Wheel], machine: str) -> Iterator[str]:
    """Name every distribution that one of our Pythons could not install on a machine."""
    listed = tuple(wheels)
    for python in PYTHONS:
        accepted = frozenset(supported_tags(python, machine))
        usable = {wheel.name for wheel in listed if wheel.tags & accepted}
        yield from (
            f"{name} for Python {python} on {machine}"
            for name in sorted({wheel.name for wheel in listed} - usable)
        )
