"""The released image, unpacked and run by an OCI runtime: its own user, a read-only root.

crun runs it without an engine. It shares the network of this machine, so brokers and clouds on
loopback are in reach.
"""

import contextlib
import gzip
import json
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

WITHIN_S: Final = 60.0
POLL_S: Final = 0.1
UID: Final = 10001
CAPABILITY_SETS: Final = ("bounding", "effective", "permitted", "inheritable")
# What an engine leaves to root, as far as it matters here.
ROOTS_RIGHTS: Final = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID"]
# crun wants version 2 of the control groups alone, which not every machine has mounted so.
_CRUN: Final = (
    "unshare", "--mount", "--propagation", "private", "sh", "-ec",
    'umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec crun "$@"', "sh",
    "--cgroup-manager=disabled",
)  # fmt: skip


@dataclass(frozen=True)
class Image:
    """An image.

    Attributes:
        root: Its files.
        config: What it says of itself, as Docker names it.
    """

    root: Path
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Container:
    """A container that was started.

    Attributes:
        name: What the runtime calls it.
        user: Of the image.
        process: The runtime's, which ends with it.
        log: Where its output goes.
    """

    name: str
    user: str
    process: subprocess.Popen[bytes]
    log: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside it, as the image's user, which its health check runs as."""
        return subprocess.run(
            (*_CRUN, "exec", f"--user={self.user}", self.name, *command),
            input="",
            capture_output=True,
            text=True,
            check=False,
        )

    def stop(self, signal: str) -> int:
        """Send the image's signal and return the exit status."""
        subprocess.run((*_CRUN, "kill", self.name, signal), check=True)
        return self.process.wait(timeout=WITHIN_S)

    def ended(self) -> int:
        """Wait until it ends by itself and return the exit status."""
        return self.process.wait(timeout=WITHIN_S)


@contextlib.contextmanager
def unpacked(archive: Path, folder: Path) -> Iterator[Image]:
    """Unpack what `docker load` would take."""
    buildah = (
        "buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run"),
        "--storage-driver", "vfs",
    )  # fmt: skip

    def ask(*arguments: str) -> str:
        return subprocess.run(
            (*buildah, *arguments), check=True, capture_output=True, text=True
        ).stdout.strip()

    plain = archive
    if archive.suffix == ".gz":  # as `docker load` and `podman load` do
        plain = folder / archive.stem
        with gzip.open(archive) as packed, plain.open("wb") as output:
            shutil.copyfileobj(packed, output)
    container = ask("from", "--quiet", f"docker-archive:{plain}")
    root = Path(ask("mount", container))
    try:
        yield Image(root, json.loads(ask("inspect", container))["Docker"]["config"])
    finally:
        ask("rm", container)


@dataclass
class Runner:
    """Starts containers of one image.

    Attributes:
        image: The image.
        folder: For the bundles; one each.
    """

    image: Image
    folder: Path
    _count: int = field(default=0)

    @contextlib.contextmanager
    def run(
        self, mounts: Mapping[str, Path], environ: Mapping[str, str], *arguments: str
    ) -> Iterator[Container]:
        """Run the image's command, or its program with other arguments, and kill it in the end.

        Args:
            mounts: Folders and files of this machine by their place inside; folders can be written.
            environ: Variables besides the image's.
            arguments: In the place of the image's.
        """
        self._count += 1
        bundle = self.folder / f"bundle-{self._count}"
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(self._spec(mounts, environ, arguments)))
        name = f"charger-bridge-{self.folder.name}-{self._count}"
        log = bundle / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                (*_CRUN, "run", f"--bundle={bundle}", name),
                stdin=subprocess.PIPE,  # the runtime gives its streams to the container's user
                stdout=output,
                stderr=output,
            )
        try:
            yield Container(name, self.image.config.get("User") or "0:0", process, log)
        finally:
            subprocess.run((*_CRUN, "delete", "--force", name), check=False, capture_output=True)
            process.stdin.close()
            process.wait(timeout=WITHIN_S)

    def _spec(
        self, mounts: Mapping[str, Path], environ: Mapping[str, str], arguments: tuple[str, ...]
    ) -> dict[str, Any]:
        config = self.image.config
        user, _, group = (config.get("User") or "0:0").partition(":")
        own = {"uid": int(user), "gid": int(group)}
        rights = ROOTS_RIGHTS if user == "0" else []
        bound = [
            {
                "destination": inside,
                "type": "bind",
                "source": str(outside),
                "options": ["rbind", "rw" if outside.is_dir() else "ro"],
            }
            for inside, outside in mounts.items()
        ]
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(self.image.root), "readonly": True},
            "process": {
                "args": [*config["Entrypoint"], *(arguments or config.get("Cmd") or ())],
                "env": [*config["Env"], *(f"{name}={value}" for name, value in environ.items())],
                "cwd": "/",
                "user": own,
                "noNewPrivileges": True,
                "capabilities": dict.fromkeys(
                    ("bounding", "effective", "permitted", "inheritable"), rights
                ),
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
                },
                {
                    "destination": "/run/charger-bridge",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": [f"uid={user}", f"gid={group}", "mode=0700", "size=8m"],
                },
                *bound,
            ],
            "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "mount"}]},
        }


def until(condition, within_s: float = WITHIN_S) -> None:
    """Wait until a condition holds, or fail."""
    give_up_at = time.perf_counter() + within_s
    while not condition():
        assert time.perf_counter() < give_up_at, "it did not happen in time"
        time.sleep(POLL_S)
