"""Small Debians to install into: a debootstrap root per release, and a layer of one's own above it.

Each command runs in a mount namespace of its own, where the layer is put over the root, so nothing
stays mounted whatever happens. A booted root runs systemd as its first process; it shares the
network of this machine, so brokers and clouds on loopback are in reach.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOME: Final = Path(os.environ.get("ROOTS_HOME", "/tmp/charger-bridge-roots"))
SUITES: Final = ("bookworm", "trixie")
NATIVE: Final = subprocess.run(
    ("dpkg", "--print-architecture"), capture_output=True, text=True, check=False
).stdout.strip()
# What a Debian with a server on it has anyway, and what the package depends on.
INCLUDED: Final = (
    "adduser,ca-certificates,init-system-helpers,procps,python3-venv,systemd-sysv,tzdata"
)
WITHIN_S: Final = 1200.0
BOOT_WITHIN_S: Final = 120.0
POLL_S: Final = 0.2
RESOLVER: Final = Path("/etc/resolv.conf")

# Of each namespace the shell below is the first process: its mounts end with it.
_MOUNTED: Final = """
set -e
lower=$1 layer=$2 files=$3; shift 3
root=$layer/root
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$layer/upper,workdir=$layer/work" "$root"
mkdir -p "$root/files"
mount --bind "$files" "$root/files"
"""
_CHROOT: Final = """
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
exec chroot "$root" "$@"
"""
_BOOT: Final = """
exec systemd-nspawn --quiet --register=no --keep-unit --directory="$root" --bind="$files:/files" \
    --console=pipe --boot
"""


class CannotBeMade(Exception):
    """Why there is no root."""


def made(suite: str, architecture: str = NATIVE) -> Path:
    """Return the root of a Debian release, made where it is missing.

    Another architecture than this machine's needs Debian's qemu-user-static and binfmt-support.

    Raises:
        CannotBeMade: It is not to be had here.
    """
    name = suite if architecture == NATIVE else f"{suite}-{architecture}"
    root = HOME / name
    if (root / ".made").exists():
        return root
    if os.geteuid() != 0:
        raise CannotBeMade(f"only root can make a Debian {name}")
    HOME.mkdir(parents=True, exist_ok=True)
    command = (
        "unshare", "--mount", "--propagation", "private",
        "debootstrap", "--variant=minbase", f"--arch={architecture}", f"--include={INCLUDED}",
        suite, str(root), archive(),
    )  # fmt: skip
    with (HOME / f"{name}.log").open("wb") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise CannotBeMade(f"debootstrap failed, see {log.name}")
    (root / ".made").touch()
    return root


def archive() -> str:
    """Return the archive that this machine's apt uses."""
    wanted = ("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)")
    told = subprocess.run(
        (*wanted, "Created-By: Packages"), capture_output=True, text=True, check=True
    )
    for line in told.stdout.splitlines():
        if line.startswith("Debian Debian "):
            return line.split()[2]
    raise CannotBeMade("apt knows no archive of Debian's")


@dataclass(frozen=True)
class Layer:
    """A root with a layer of its own.

    Attributes:
        lower: What lies below and is never written to, as overlayfs names it.
        folder: Where the layer lies.
        files: A folder of this machine that is seen as ``/files``.
    """

    lower: str
    folder: Path
    files: Path

    def __post_init__(self) -> None:
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True)

    def above(self, folder: Path) -> "Layer":
        """Return a fresh layer above this one, which must not be written to any more."""
        return Layer(f"{self.folder / 'upper'}:{self.lower}", folder, self.files)

    def run(
        self, *command: str, offline: bool = True, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the root and wait for it; without a network unless asked."""
        net = ("--net",) if offline else ()
        if not offline and RESOLVER.exists():
            (self.folder / "upper" / "etc").mkdir(exist_ok=True)
            shutil.copy(RESOLVER, self.folder / "upper" / "etc")
        script = _MOUNTED + _CHROOT
        done = subprocess.run(
            (*self._enter(*net), script, "sh", *self._places(), *command),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}\n{done.stdout}"
        return done

    def shell(self, script: str, **options: bool) -> str:
        """Run lines of a shell in the root and return what they print."""
        return self.run("sh", "-ec", script, **options).stdout

    @contextlib.contextmanager
    def booted(self) -> Iterator["Booted"]:
        """Start systemd in the root, and end it."""
        command = (*self._enter("--pid", "--fork", "--kill-child"), _MOUNTED + _BOOT)
        log = self.folder / "boot.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                (*command, "sh", *self._places()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield Booted(_first_process(process.pid, log))
        finally:
            process.kill()
            process.wait(timeout=10)

    def _enter(self, *options: str) -> tuple[str, ...]:
        return ("unshare", "--mount", "--propagation", "private", *options, "sh", "-c")

    def _places(self) -> tuple[str, str, str]:
        return self.lower, str(self.folder), str(self.files)


@dataclass(frozen=True)
class Booted:
    """A root in which systemd runs.

    Attributes:
        pid: Of systemd.
    """

    pid: int

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in it and wait for it."""
        done = subprocess.run(
            ("nsenter", f"--target={self.pid}", "--all", "--root", "--wd", *command),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.returncode}\n{done.stdout}"
        return done

    def shell(self, script: str, *, check: bool = True) -> str:
        """Run lines of a shell in it and return what they print."""
        return self.run("sh", "-ec", script, check=check).stdout


def _first_process(pid: int, log: Path) -> int:
    """Wait until the systemd below a process answers; return its pid on this machine."""
    give_up_at = time.perf_counter() + BOOT_WITHIN_S
    while time.perf_counter() < give_up_at:
        for each in _below(pid):
            with contextlib.suppress(OSError, AssertionError):
                if Path(f"/proc/{each}/comm").read_text().strip() == "systemd":
                    state = Booted(each).run("systemctl", "is-system-running", check=False).stdout
                    if state.strip() in ("running", "degraded"):
                        return each
        time.sleep(POLL_S)
    raise CannotBeMade(f"systemd did not come up:\n{log.read_text()[-2000:]}")


def _below(pid: int) -> Sequence[int]:
    """List the processes below one, itself first."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{each}/task/{each}/children").read_text()
            found.extend(int(child) for child in children.split())
    return found
