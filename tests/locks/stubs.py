"""Wheels of nothing, made on the spot: an index in which newer releases exist."""

import hashlib
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from packaging.version import Version

from tools.check_lock import Locked, read


def wheel(folder: Path, name: str, version: str, wants: Iterable[str] = ()) -> Path:
    """Make a wheel that holds nothing but its metadata, and return where it is."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    asked = "".join(f"Requires-Dist: {each}\n" for each in wants)
    files = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{asked}",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{stem}.dist-info/{each},,\n" for each in (*files, "RECORD"))
    with zipfile.ZipFile(path, "w") as made:
        for each, text in (files | {"RECORD": record}).items():
            made.writestr(f"{stem}.dist-info/{each}", text)
    return path


def newer(version: str) -> str:
    """Return a release that is not there yet."""
    return f"{Version(version).major + 1}.0"


def wanted_by(text: str) -> dict[str, set[str]]:
    """Read from a lock who wants each package; its own remarks say it."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        remarks = re.findall(r"^    # *(?:via)? +(\S.*)$", block, flags=re.MULTILINE)
        name = re.split(r"[\[=]", block, maxsplit=1)[0]
        found[name] = {who for who in remarks if re.fullmatch(r"[a-z0-9-]+", who)}
    return found


def newer_releases(folder: Path, lock: Iterable[Locked]) -> None:
    """Put a newer release of everything that is locked into a folder."""
    for each in lock:
        wheel(folder, each.name, newer(each.version))


def imitate(folder: Path, text: str, *, with_extras: bool = True) -> Path:
    """Make an index that looks like a lock's, a day later, and the lock for it.

    Every package is there in the version that is locked and in a newer one, and asks for what the
    lock says that it does: for the extras, too.

    Args:
        folder: Where everything is put.
        text: The lock.
        with_extras: Write them into the new lock.
    """
    lock = read(text)
    spelled = {each.name: f"{each.name}[{','.join(sorted(each.extras))}]" for each in lock}
    asks: dict[str, set[str]] = {each.name: set() for each in lock}
    for name, others in wanted_by(text).items():
        for other in others & asks.keys():
            asks[other].add(spelled[name].replace("[]", ""))
    lines = []
    for each in lock:
        made = wheel(folder, each.name, each.version, sorted(asks[each.name]))
        digest = hashlib.sha256(made.read_bytes()).hexdigest()
        marker = f" ; {each.marker}" if each.marker else ""
        pinned = spelled[each.name].replace("[]", "") if with_extras else each.name
        lines.append(f"{pinned}=={each.version}{marker} --hash=sha256:{digest}\n")
    newer_releases(folder, lock)
    path = folder / "lock.txt"
    path.write_text("".join(lines))
    return path
