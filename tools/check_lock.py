"""Check that a lock is whole: ``python tools/check_lock.py NAME...``, where it is installed.

Locks are installed without resolving, so nobody else would notice that a distribution asks for
something that is not in the lock. Here each is asked (its metadata, markers and extras evaluated)
for every Python and every kind of machine we support. ``pip check`` does not look at extras.
"""

import functools
import itertools
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
MACHINES: Final = ("x86_64", "aarch64", "armv7l")


@dataclass(frozen=True, slots=True)
class Locked:
    """One line of a lock.

    Attributes:
        name: Canonical.
        extras: Those it is locked with.
        version: The one version.
        marker: Where it is wanted; None for everywhere.
    """

    name: str
    extras: frozenset[str]
    version: str
    marker: Marker | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What an installed distribution says of itself.

    Attributes:
        version: Its version.
        requirements: What it asks for.
    """

    version: str
    requirements: tuple[Requirement, ...] = ()


# Project or not, its extras, its groups: as `make lock` has them.
CONTENTS: Final[dict[str, tuple[bool, tuple[str, ...], tuple[str, ...]]]] = {
    "run": (True, (), ("build",)),
    "demo": (True, ("demo",), ("build",)),
    "cluster": (True, ("cluster",), ("build",)),
    "amqp": (True, ("amqp",), ("build",)),
    "all": (True, ("demo", "cluster", "amqp"), ("build",)),
    "dev": (True, ("demo", "cluster", "amqp"), ("build", "dev")),
    "fuzz": (True, (), ("fuzz",)),
    "audit": (False, (), ("audit",)),
}

AskedOf = Callable[[str], Asked | None]


def read(text: str) -> list[Locked]:
    """Read the lines of a lock."""
    line = re.compile(
        r"^([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?==(\S+?)(?: *; *(.+?))? *\\?$", re.MULTILINE
    )
    return [
        Locked(
            canonicalize_name(name),
            frozenset(extra.strip() for extra in extras.split(",") if extra),
            version,
            Marker(marker) if marker else None,
        )
        for name, extras, version, marker in line.findall(text)
    ]


def roots(name: str, project: dict[str, Any]) -> list[Requirement]:
    """List what a lock was made for.

    Args:
        name: Of the lock, without its suffix.
        project: What is in ``pyproject.toml``.
    """
    with_project, extras, groups = CONTENTS[name]
    wanted = list(project["project"]["dependencies"]) if with_project else []
    for extra in extras:
        wanted += project["project"]["optional-dependencies"][extra]
    for group in groups:
        wanted += project["dependency-groups"][group]
    return [Requirement(each) for each in wanted]


def environments() -> Iterator[dict[str, str]]:
    """Yield the markers' variables of everything we support."""
    for python, machine in itertools.product(PYTHONS, MACHINES):
        yield {
            **{key: str(value) for key, value in default_environment().items()},
            "python_version": python,
            "python_full_version": f"{python}.0",
            "implementation_version": f"{python}.0",
            "platform_machine": machine,
        }


@functools.cache
def installed(name: str) -> Asked | None:
    """Ask an installed distribution; None when it is not here."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return Asked(found.version, tuple(Requirement(each) for each in found.requires or ()))


def problems(lock: Sequence[Locked], wanted: Sequence[Requirement], asked_of: AskedOf) -> list[str]:
    """Say what is missing in a lock, a sentence each.

    Args:
        lock: Its lines.
        wanted: What it was made for.
        asked_of: Tells what a distribution asks for.
    """
    found: dict[str, None] = {}
    for environment in environments():
        held = {
            each.name: each for each in lock if not each.marker or each.marker.evaluate(environment)
        }
        for problem in _missing(held, wanted, asked_of, environment):
            found[problem] = None
    return list(found)


def _missing(
    held: dict[str, Locked],
    wanted: Sequence[Requirement],
    asked_of: AskedOf,
    environment: dict[str, str],
) -> Iterator[str]:
    """Follow every requirement, and every extra that somebody asks for."""
    where = f"on Python {environment['python_version']}, {environment['platform_machine']}"
    waiting = [(each, extra) for each in held for extra in ("", *held[each].extras)]
    seen = set(waiting)
    asking = [("this project", each) for each in _marked(wanted, environment)]
    while asking or waiting:
        for who, each in asking:
            name: str = canonicalize_name(each.name)
            if name not in held:
                yield f"{who} wants {each}, which is not in the lock ({where})"
                continue
            if not each.specifier.contains(held[name].version, prereleases=True):
                yield f"{who} wants {each}, and the lock has {held[name].version} ({where})"
            new = {(name, extra) for extra in each.extras} - seen
            seen |= new
            waiting += sorted(new)
        asking = []
        if waiting:
            name, extra = waiting.pop()
            asked = asked_of(name)
            yield from _strange(held[name], asked)
            if asked is not None and asked.version != held[name].version:
                asked = None
            asking = [(name, each) for each in _applying(asked, extra, environment)]


def _marked(wanted: Sequence[Requirement], environment: dict[str, str]) -> list[Requirement]:
    """List what is wanted in an environment."""
    return [each for each in wanted if not each.marker or each.marker.evaluate(environment)]


def _strange(locked: Locked, asked: Asked | None) -> Iterator[str]:
    """Say when what is installed is not what is locked."""
    if locked.marker is not None and not locked.marker.evaluate():
        return  # what only another Python wants is looked at there
    if asked is None:
        yield f"{locked.name} is not installed here, so nobody knows what it asks for"
    elif asked.version != locked.version:
        yield f"{locked.name} is installed as {asked.version}, and locked as {locked.version}"


def _applying(
    asked: Asked | None, extra: str, environment: dict[str, str]
) -> Iterator[Requirement]:
    """Yield what is asked for with an extra, "" for none, and would not be asked for without."""
    for each in asked.requirements if asked else ():
        marker = each.marker
        if marker is None or marker.evaluate({**environment, "extra": ""}):
            if not extra:
                yield each
        elif extra and marker.evaluate({**environment, "extra": extra}):
            yield each


def main(names: Sequence[str]) -> int:
    """Check the locks that are named, as they are installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    status = 0
    for name in names:
        lock = read((ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8"))
        found = problems(lock, roots(name, project), installed)
        for problem in found:
            print(f"requirements/{name}.txt: {problem}", file=sys.stderr)
        status = status or int(bool(found))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
