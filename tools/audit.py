"""Ask for known vulnerabilities of everything that is locked: ``make audit``.

pip-audit says "no known vulnerabilities" also of packages it could learn nothing about. Here a
package that was not looked up is not audited, and the status says so: 0 all were looked up and
nothing is known, 1 something is known, 75 not all could be looked up and of the others nothing is
known.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = (
    "run.txt", "demo.txt", "cluster.txt", "amqp.txt", "all.txt", "dev.txt", "fuzz.txt",
    "audit.txt",
)  # fmt: skip
COMMAND: Final = (
    "--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off",
    "--timeout", "15",
)  # fmt: skip
TIMEOUT_S: Final = 300
VULNERABLE: Final = 1
NOT_ASKED: Final = os.EX_TEMPFAIL


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of one lock file.

    Attributes:
        looked_up: How many packages the advisory service knows.
        skipped: Names of those it could not be asked for.
        vulnerable: A line for each advisory.
    """

    looked_up: int = 0
    skipped: tuple[str, ...] = ()
    vulnerable: tuple[str, ...] = ()


def read(text: str) -> Found | None:
    """Read what pip-audit wrote; None when that is no report."""
    try:
        packages: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except (ValueError, LookupError, TypeError):
        return None
    known = [one for one in packages if "skip_reason" not in one]
    return Found(
        looked_up=len(known),
        skipped=tuple(one["name"] for one in packages if "skip_reason" in one),
        vulnerable=tuple(
            f"{one['name']} {one.get('version', '?')}: {advisory['id']}"
            f" (fixed in {', '.join(advisory.get('fix_versions', ())) or 'no version'})"
            for one in known
            for advisory in one.get("vulns", ())
        ),
    )


def told(name: str, found: Found | None) -> list[str]:
    """Say what was found out about a lock file, in lines."""
    if found is None:
        return [f"{name}: NOT AUDITED: the advisory service could not be asked"]
    lines = [f"{name}: VULNERABLE: {one}" for one in found.vulnerable]
    if found.skipped and not found.looked_up:
        lines.append(
            f"{name}: NOT AUDITED: the advisory service knew none of {len(found.skipped)} packages;"
            " it is probably another one that answers here"
        )
    elif found.skipped:
        lines.append(f"{name}: NOT AUDITED, not known there: {', '.join(found.skipped)}")
    if found.looked_up:
        lines.append(f"{name}: {found.looked_up} packages looked up")
    return lines


def status(results: Iterable[Found | None]) -> int:
    """Return the exit status: known vulnerabilities go before what is not known."""
    everything = list(results)
    if any(found is not None and found.vulnerable for found in everything):
        return VULNERABLE
    if any(found is None or found.skipped or not found.looked_up for found in everything):
        return NOT_ASKED
    return 0


def ask(lock: Path) -> Found | None:
    """Have pip-audit look up a lock file."""
    command = ("pip-audit", "--requirement", str(lock), *COMMAND)
    try:
        done = subprocess.run(  # noqa: S603 - a list of ours, and no shell
            command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return None
    return read(done.stdout)


def main() -> int:
    """Audit every lock file and print what is known."""
    results = []
    for name in LOCKS:
        found = ask(ROOT / "requirements" / name)
        results.append(found)
        print(*told(name, found), sep="\n", flush=True)
    return status(results)


if __name__ == "__main__":
    sys.exit(main())
