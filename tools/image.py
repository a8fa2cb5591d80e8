"""Build the container image into a folder, without an engine: ``python -m tools.image dist``.

The bases are small Debians made with mmdebstrap from the archive that this machine's apt uses; the
image is built from the Dockerfile by buildah with chroot isolation, with the wheels of the release
and no index. Only root can do it. What comes out is for `docker load` and `podman load`.
"""

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bridge import __version__
from tools.release import (
    CACHE,
    NotReleasableError,
    copy_source,
    gzip_tar,
    source_date,
    wheel_folder,
    write_sums,
)
from tools.wheels import MACHINES

SUITE: Final = "trixie"
REFERENCE: Final = f"charger-bridge:{__version__}"
NEEDED: Final = ("buildah", "mmdebstrap")
# What each stage of the Dockerfile stands on.
BASES: Final = {"PYTHON": "python3-venv", "RUNTIME": "python3"}
# Documents have no reader in a container; licences stay.
LEFT_OUT: Final = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
)
# Of the machine it was made on, or of the moment.
NOT_OURS: Final = re.compile(
    r"\./(etc/(apt|hostname|hosts|resolv\.conf|machine-id)|var/lib/apt|var/(cache|log)/.+|proc/.+|"
    r"sys/.+|dev/.+|.*-$)"
)


def main(argv: Sequence[str]) -> int:
    """Build the image for one machine."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition(",")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architecture", choices=sorted(MACHINES), default="amd64")
    parser.add_argument("--twice", action="store_true", help="build again and compare")
    arguments = parser.parse_args(argv)
    try:
        require_tools()
        archive = arguments.folder / file_name(arguments.architecture)
        epoch = source_date()
        build(archive, arguments.architecture, epoch)
        if arguments.twice:
            _compare(archive, arguments.architecture, epoch)
    except NotReleasableError as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    write_sums(arguments.folder)
    print(f"{_sha256(archive)}  {archive.name}")
    return 0


def file_name(architecture: str) -> str:
    """Name the archive."""
    return f"charger-bridge-{__version__}-{architecture}.image.tar.gz"


def require_tools() -> None:
    """Refuse where the image cannot be built."""
    if os.geteuid() != 0:
        raise NotReleasableError("only root can build the image; the rest of the release is built")
    if lacking := [name for name in NEEDED if shutil.which(name) is None]:
        raise NotReleasableError(f"missing here, install with apt-get: {', '.join(lacking)}")


def build(archive: Path, architecture: str, epoch: int) -> None:
    """Build the image and write it as an archive."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        buildah = Buildah(work, epoch)
        names = {name: f"localhost/{name.lower()}" for name in BASES}
        for name, package in BASES.items():
            buildah.load(base(package, architecture, epoch), names[name], architecture)
        copy_source(work / "source")
        wheels = wheel_folder(MACHINES[architecture])
        arguments = {
            **names,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "/wheels",
            "SOURCE_DATE_EPOCH": str(epoch),
        }
        buildah.build(work / "source", architecture, arguments, f"--volume={wheels}:/wheels:ro")
        archive.parent.mkdir(parents=True, exist_ok=True)
        buildah.write(work / "image.tar")
        repack(work / "image.tar", archive)


class Buildah:
    """buildah with a store of its own, which goes with the folder."""

    image: Final = "localhost/charger-bridge"

    def __init__(self, work: Path, epoch: int) -> None:
        self._command = (
            "buildah", "--root", str(work / "store"), "--runroot", str(work / "run"),
            "--storage-driver", "overlay",
        )  # fmt: skip
        self._time = ("--timestamp", str(epoch))

    def load(self, tar: Path, name: str, architecture: str) -> None:
        """Make an image from a root file system."""
        container = self._run("from", "--arch", architecture, "scratch")
        self._run("add", container, str(tar), "/")
        self._run("commit", "--quiet", "--rm", *self._time, container, name)

    def build(
        self, source: Path, architecture: str, arguments: Mapping[str, str], *options: str
    ) -> None:
        """Build the Dockerfile of a folder."""
        given = (f"--build-arg={name}={value}" for name, value in arguments.items())
        label = f"--label=org.opencontainers.image.version={__version__}"
        self._run(
            "build", "--quiet", "--isolation=chroot", "--format=docker", "--pull=never", "--squash",
            f"--arch={architecture}", label, *given, *options, *self._time, "--tag", self.image,
            str(source),
        )  # fmt: skip

    def write(self, archive: Path) -> None:
        """Write the image as `docker save` does."""
        self._run("push", "--quiet", self.image, f"docker-archive:{archive}:{REFERENCE}")

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603
            (*self._command, *arguments), check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise NotReleasableError(
                f"buildah {arguments[0]} failed: {done.stderr.strip()[-2000:]}"
            )
        return done.stdout.strip()


def repack(saved: Path, archive: Path) -> None:
    """Pack an image without what the builder made up: the names of a container and its host."""
    with tarfile.open(saved) as old, gzip_tar(archive) as new:
        (manifest,) = json.loads(content(old, "manifest.json"))
        described = json.loads(content(old, manifest["Config"]))
        described.pop("container", None)
        for part in ("config", "container_config"):
            described.get(part, {})["Hostname"] = ""
        config = json.dumps(described, sort_keys=True).encode()
        manifest["Config"] = f"{hashlib.sha256(config).hexdigest()}.json"
        files = {
            manifest["Config"]: config,
            "manifest.json": json.dumps([manifest], sort_keys=True).encode(),
        }
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            new.addfile(member, io.BytesIO(text))
        for name in manifest["Layers"]:
            layer = old.getmember(name)
            new.addfile(layer, old.extractfile(layer))


def content(archive: tarfile.TarFile, name: str) -> bytes:
    """Read one file of an archive."""
    file = archive.extractfile(name)
    if file is None:
        raise NotReleasableError(f"{name} is no file")
    return file.read()


def base(package: str, architecture: str, epoch: int) -> Path:
    """Make a small Debian with one package and what it needs; keep it for the next time."""
    CACHE.mkdir(exist_ok=True)
    kept = CACHE / f"{SUITE}-{package}-{architecture}.tar"
    if kept.exists():
        return kept
    print(f"image: making a Debian {SUITE} with {package}", file=sys.stderr)
    raw = kept.with_suffix(".raw")
    command = (
        "mmdebstrap", "--quiet", "--format=tar", "--variant=essential",
        f"--architectures={architecture}",
        f"--include={package},ca-certificates", *(f"--dpkgopt={each}" for each in LEFT_OUT),
        SUITE, str(raw), *_sources(),
    )  # fmt: skip
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    done = subprocess.run(command, check=False, env=environ, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise NotReleasableError(f"mmdebstrap failed: {done.stderr.strip()[-2000:]}")
    draft = kept.with_suffix(".draft")
    with tarfile.open(raw) as old, tarfile.open(draft, "w", format=tarfile.PAX_FORMAT) as new:
        for member in old:
            if not NOT_OURS.fullmatch(member.name) and not member.name.startswith("./etc/apt/"):
                member.mtime = min(int(member.mtime), epoch)
                new.addfile(member, old.extractfile(member) if member.isreg() else None)
    raw.unlink()
    draft.rename(kept)
    return kept


def _sources() -> tuple[str, ...]:
    """Return sources.list lines of the release and its security updates."""
    wanted = ("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)")
    asked = subprocess.run(  # noqa: S603
        (*wanted, "Created-By: Packages"), check=True, capture_output=True, text=True
    )
    told = {line.split()[1]: line.split()[0] for line in asked.stdout.splitlines()}
    suites = {"Debian": SUITE, "Debian-Security": f"{SUITE}-security"}
    found = tuple(
        f"deb {url} {suites[label]} main" for url, label in told.items() if label in suites
    )
    if not found:
        raise NotReleasableError("apt knows no archive of Debian's")
    return found


def _compare(archive: Path, architecture: str, epoch: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        second = Path(temporary) / archive.name
        build(second, architecture, epoch)
        if _sha256(second) != _sha256(archive):
            raise NotReleasableError("built twice, the images differ")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
