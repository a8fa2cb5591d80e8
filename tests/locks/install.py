"""Each lock really installed, by each pip, while newer releases of everything are out.

``make test-locks``, or ``python -m tests.locks.install [--pips 23.0.1,newest] [LOCK...]``. It
downloads everything that is locked, for each pip anew unless pip keeps it; a few minutes.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.locks.stubs import newer_releases
from tools.check_lock import CONTENTS, ROOT, read

PIPS = ("23.0.1", "23.2.1", "newest")
NEWEST = "newest"


def say(text: str) -> None:
    """Tell how it goes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(*words: str | Path) -> str:
    """Run a command; return what it complained of, nothing when it went well."""
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return ""
    return (ran.stderr or ran.stdout).strip() or f"status {ran.returncode}"


def environment(folder: Path, pip: str) -> Path:
    """Make an environment with a pip; return its interpreter."""
    python = folder / "bin" / "python"
    wanted = "pip" if pip == NEWEST else f"pip=={pip}"
    made = run(sys.executable, "-m", "venv", folder)
    if made or (made := run(python, "-m", "pip", "install", "--upgrade", wanted)):
        raise SystemExit(f"no environment with pip {pip}: {made}")
    return python


def problems(name: str, pip: str, folder: Path) -> Iterator[str]:
    """Install a lock the way we do; yield what went wrong."""
    newer = folder / "newer"
    newer.mkdir()
    lock = ROOT / "requirements" / f"{name}.txt"
    newer_releases(newer, read(lock.read_text()))
    python = environment(folder / "environment", pip)
    install = (python, "-m", "pip", "install", "--find-links", newer)
    locked = ("--no-deps", "--require-hashes", "-r", lock)
    if problem := run(*install, *locked):
        yield f"does not install: {problem.splitlines()[-1]}"
        return
    if problem := run(python, "-m", "pip", "check"):
        yield problem
    # Not every lock has what the check itself needs.
    has_packaging = not run(python, "-c", "import packaging")
    if has_packaging and (problem := run(python, "tools/check_lock.py", name)):
        yield problem
    if "build" in CONTENTS[name][2]:  # what builds the bridge is locked too: nothing is fetched
        if problem := run(*install, "--no-deps", "--no-build-isolation", "-e", "."):
            yield f"the bridge itself does not install: {problem.splitlines()[-1]}"
        elif problem := run(python, "-m", "pip", "check"):
            yield problem


def main() -> int:
    """Try what is asked for; return 1 when something does not install."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("locks", nargs="*", default=list(CONTENTS), metavar="LOCK")
    parser.add_argument("--pips", default=",".join(PIPS), help="versions of pip, or newest")
    arguments = parser.parse_args()
    failed = 0
    for pip in arguments.pips.split(","):
        for name in arguments.locks:
            with tempfile.TemporaryDirectory(prefix="charger-bridge-locks-") as folder:
                found = list(problems(name, pip, Path(folder)))
            failed += bool(found)
            say(f"pip {pip:<7} {name:<6} {'; '.join(found) or 'installs'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
