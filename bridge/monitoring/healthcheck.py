"""Health check of the running gateway: ``python -m bridge.monitoring.healthcheck``.

The gateway writes its monotonic clock into a file every 10 s, from the loop that does everything
else. The file is young only while that loop turns and nothing in it is stuck, which a process table
or a lock cannot show. The monotonic clock is the machine's, so both sides read the same one and a
clock set by NTP changes nothing.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge.adapters.clock import SystemClock
from bridge.adapters.state_files.plain_file import open_plain, read_plain
from bridge.ports import Clock

ALIVE_FILE = "alive"
MAX_BEAT_BYTES = 32
# Nine beats. A gateway that is stuck has ended itself before (bridge.monitoring.watchdog).
OLDEST_S = 95.0


def alive_path(environ: Mapping[str, str]) -> Path | None:
    """Return the path of the heartbeat file in the run-time directory; None where there is none.

    A run-time directory is in memory. Elsewhere the heartbeat would wear an SD card for no purpose.
    """
    folder = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return Path(folder) / ALIVE_FILE if folder else None


def beat(path: Path, mono_s: float) -> bool:
    """Write a beat; return False when it could not be written, and never raise."""
    try:
        # In full: rounded up, a young beat would be from the future.
        handle = open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        with os.fdopen(handle, "wb") as file:
            file.write(f"{mono_s!r}\n".encode("ascii"))
    except OSError:
        return False
    return True


def verdict(path: Path, clock: Clock) -> str | None:
    """Return what is wrong, or None when the last heartbeat is recent enough."""
    try:
        age_s = clock.now().mono_s - float(read_plain(path, MAX_BEAT_BYTES))
    except OSError as error:
        return f"no beat in {path}: {error.strerror}"
    except ValueError:
        return f"no beat in {path}: it holds something else"
    if not 0 <= age_s <= OLDEST_S:
        return f"the last beat in {path} is {age_s:.0f} s old"
    return None


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Check the file that is named, or the one the environment leads to."""
    path = Path(argv[0]) if argv else alive_path(environ)
    if path is None:
        problem: str | None = "name the file, or set RUNTIME_DIRECTORY as the gateway has it"
    else:
        problem = verdict(path, SystemClock())
    print(problem or "alive")  # noqa: T201 - the answer goes to whoever asked
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
