"""Build what is released: ``python -m tools.release dist``; the same bytes every time.

Wheel, source distribution, a Debian package per machine, the Home Assistant add-on repository and
the licences of what is bundled; ``SHA256SUMS`` names them all. ``--twice`` builds everything a
second time elsewhere, with another time zone, language, hash seed and umask, and compares.

Time in every file: SOURCE_DATE_EPOCH, or the time of the last commit.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bridge import __version__
from tools import addon, deb
from tools.check_lock import PYTHONS, ROOT
from tools.check_lock import read as read_lock
from tools.wheels import MACHINES, PLATFORMS, Wheel, fetch, missing, read_wheel, read_wheels

# Builds the wheel; what runs does without it.
BUILD_TOOLS: Final = ("setuptools",)
# What the Debian package and the image bundle: every extra. The add-on has no option for any.
LOCK: Final = ROOT / "requirements" / "all.txt"
ADDON_LOCK: Final = ROOT / "requirements" / "run.txt"
CACHE: Final = ROOT / ".release"
LICENCES: Final = "THIRD-PARTY-LICENSES.txt"
SUMS: Final = "SHA256SUMS"
OUR_LICENCE: Final = """charger-bridge: Apache-2.0
On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.

The packages below are bundled, unchanged.
"""
# A hundredth larger than with 9, in a third of the time.
GZIP_LEVEL: Final = 6
ELSEWHERE: Final = {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "4711"}


class NotReleasableError(Exception):
    """Something that a release needs is not there."""


def main(argv: Sequence[str]) -> int:
    """Build, and build again where asked."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition(":")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--twice", action="store_true", help="build again elsewhere and compare")
    arguments = parser.parse_args(argv)
    try:
        epoch = source_date()
        build(arguments.folder, epoch)
        if arguments.twice:
            compare_with_second(arguments.folder, epoch)
    except NotReleasableError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print((arguments.folder / SUMS).read_text(), end="")
    return 0


def source_date() -> int:
    """Return the time that every file of the release has."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    told = _git("log", "-1", "--format=%ct")
    if told is None:
        raise NotReleasableError("no git history here: set SOURCE_DATE_EPOCH to the release's time")
    return int(told)


def build(folder: Path, epoch: int) -> None:
    """Build everything into a folder that is emptied of earlier releases first."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        wheel = read_wheel(python_packages(work, folder, epoch))
        bundled = {machine: bundle(machine) for machine in MACHINES.values()}
        everything = [w for each in bundled.values() for w in each]
        text = licences(everything)
        (folder / LICENCES).write_text(text)
        for architecture, machine in MACHINES.items():
            wheels = (wheel, *bundled[machine])
            package = deb.Package(__version__, architecture, wheels, text, epoch)
            tree = work / architecture
            deb.lay_out(package, tree)
            deb.pack(tree, folder / package.file_name, epoch)
        plain = named_in(ADDON_LOCK, everything)
        repository = addon.Addon(__version__, (wheel, *plain), licences(plain))
        addon.lay_out(repository, work / repository.name)
        pack_folder(work / repository.name, folder / f"{repository.name}.tar.gz", epoch)
    write_sums(folder)


def write_sums(folder: Path) -> None:
    """Name every file of a release with its hash."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    (folder / SUMS).write_text("".join(f"{_sha256(folder / name)}  {name}\n" for name in names))


def compare_with_second(folder: Path, epoch: int) -> None:
    """Build again in a process of its own, under other circumstances, and compare the bytes."""
    with tempfile.TemporaryDirectory() as temporary:
        command = (sys.executable, str(Path(__file__).resolve()), temporary)
        environ = {**os.environ, **ELSEWHERE, "SOURCE_DATE_EPOCH": str(epoch)}
        environ["PYTHONPATH"] = str(ROOT)
        subprocess.run(  # noqa: S603
            command, check=True, env=environ, cwd="/", umask=0o077, stdout=subprocess.DEVNULL
        )
        first, second = (
            set((each / SUMS).read_text().splitlines()) for each in (folder, Path(temporary))
        )
    if first != second:
        names = sorted({line.split()[1] for line in first ^ second})
        raise NotReleasableError(f"built twice, these differ: {', '.join(names)}")


# -- Python packages ---------------------------------------------------------------------------


def unpack(archive: tarfile.TarFile, folder: Path) -> None:
    """Extract an archive; Python before 3.11.4 has no filter for what may be extracted."""
    archive.extraction_filter = getattr(tarfile, "data_filter", None)
    archive.extractall(folder)  # noqa: S202 - made by ourselves


def python_packages(work: Path, folder: Path, epoch: int) -> Path:
    """Build the source distribution, and the wheel from it; return the wheel."""
    source = work / "source"
    copy_source(source)
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    sdist = folder / _backend("build_sdist", source, work, environ)
    repack(work / sdist.name, sdist, epoch)
    with tarfile.open(sdist) as archive:
        unpack(archive, work)
    return folder / _backend(
        "build_wheel", work / sdist.name.removesuffix(".tar.gz"), folder, environ
    )


def copy_source(target: Path) -> None:
    """Copy what git knows, or everything where there is no git, with plain modes."""
    listed = _git("ls-files", "-z")
    if listed is None:
        shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(".*", "dist", "__pycache__"))
    else:
        for name in filter(None, listed.split("\0")):
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path)
    for path in (target, *target.rglob("*")):
        runs = path.is_dir() or path.stat().st_mode & 0o100
        path.chmod(0o755 if runs else 0o644)


def _backend(hook: str, source: Path, out: Path, environ: dict[str, str]) -> str:
    """Ask setuptools for a file, in a process of its own; return the file's name."""
    code = f"import sys; from setuptools import build_meta; print(build_meta.{hook}(sys.argv[1]))"
    command = (sys.executable, "-W", "ignore", "-c", code, str(out.resolve()))
    try:
        done = subprocess.run(  # noqa: S603
            command,
            check=True,
            cwd=source,
            env=environ,
            capture_output=True,
            text=True,
            umask=0o022,
        )
    except subprocess.CalledProcessError as error:
        raise NotReleasableError(f"{hook} failed: {error.stderr.strip()}") from error
    return done.stdout.splitlines()[-1]


def repack(archive: Path, target: Path, epoch: int) -> None:
    """Write a tar.gz again with sorted names, plain owners and modes, and one time."""
    with tarfile.open(archive) as old, gzip_tar(target) as new:
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            new.addfile(_plain(member, epoch), old.extractfile(member) if member.isfile() else None)


def pack_folder(folder: Path, target: Path, epoch: int) -> None:
    """Write a folder as tar.gz: the same bytes from the same files."""
    with gzip_tar(target) as archive:
        for path in (folder, *sorted(folder.rglob("*"))):
            member = archive.gettarinfo(path, str(path.relative_to(folder.parent)))
            with path.open("rb") if path.is_file() else io.BytesIO() as content:
                archive.addfile(_plain(member, epoch), content if member.isfile() else None)


@contextlib.contextmanager
def gzip_tar(target: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar.gz that holds no time and no name of its own."""
    with (
        target.open("wb") as raw,
        gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        yield archive


def _plain(member: tarfile.TarInfo, epoch: int) -> tarfile.TarInfo:
    member.mtime = epoch
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    member.pax_headers = {}
    return member


# -- what is bundled ---------------------------------------------------------------------------


def bundle(machine: str) -> tuple[Wheel, ...]:
    """Return the locked wheels for a machine, without those that only build."""
    wheels = tuple(w for w in read_wheels(wheel_folder(machine)) if w.name not in BUILD_TOOLS)
    lock = LOCK.read_text()
    if changed := [wheel.path.name for wheel in wheels if f"sha256:{wheel.sha256}" not in lock]:
        raise NotReleasableError(f"not what the lock says, remove {CACHE}: {', '.join(changed)}")
    if lacking := tuple(missing(wheels, machine)):
        raise NotReleasableError(f"no wheel of {', '.join(lacking)}")
    return wheels


def wheel_folder(machine: str) -> Path:
    """Return a folder with the locked wheels for a machine, fetched where the lock is a new one."""
    key = hashlib.sha256(LOCK.read_bytes() + repr((PYTHONS, PLATFORMS)).encode())
    folder = CACHE / f"{machine}-{key.hexdigest()[:16]}"
    if not folder.is_dir():
        print(f"release: fetching the wheels for {machine}", file=sys.stderr)
        draft = Path(tempfile.mkdtemp(dir=_made(CACHE)))
        fetch(LOCK, draft, machine)
        draft.rename(folder)
    return folder


def named_in(lock: Path, wheels: Iterable[Wheel]) -> tuple[Wheel, ...]:
    """Return the wheels whose distribution a lock names."""
    names = {each.name for each in read_lock(lock.read_text())}
    return tuple(wheel for wheel in wheels if wheel.name in names)


def licences(wheels: Iterable[Wheel]) -> str:
    """Return one text with the licence of the bridge and of everything bundled with it."""
    parts = [OUR_LICENCE]
    for _, wheel in sorted({wheel.name: wheel for wheel in wheels}.items()):
        texts = wheel.licence_texts()
        if not texts:
            raise NotReleasableError(f"{wheel.path.name} holds no licence")
        parts.append(f"{wheel.name} {wheel.version}: {wheel.licence()}\n\n" + "\n".join(texts))
    return f"\n{'-' * 78}\n\n".join(part.rstrip() + "\n" for part in parts)


# -- helpers -----------------------------------------------------------------------------------


def _git(*arguments: str) -> str | None:
    """Ask git; None where this is no checkout."""
    command = ("git", "-C", str(ROOT), *arguments)
    with contextlib.suppress(FileNotFoundError, subprocess.CalledProcessError):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return None


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
