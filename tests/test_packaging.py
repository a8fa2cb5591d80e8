"""What people get: an example that loads, documents that are current, locks that fit each other."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bridge.config.loading import load
from bridge.settings import EaseeSettings, Secret, Settings
from tools.check_lock import PYTHONS

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {
    name: (ROOT / "requirements" / f"{name}.txt").read_text() for name in ("run", "demo", "dev")
}
TEXTS = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".sh", ".mjs", ".cfg", ""}


def committed_files() -> list[Path]:
    """List what git knows or would add; without git, everything that is not generated."""
    asked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = asked.stdout.splitlines() if asked.returncode == 0 else []
    listed = [ROOT / name for name in names] or [
        path
        for folder in ("bridge", "tests", "tools", "docs", "requirements", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if not {"__pycache__", "node_modules"} & set(path.parts)
    ]
    return [path for path in listed if path.is_file() and path.suffix in TEXTS]


def pins(lock: str) -> dict[str, str]:
    """Read name and version of everything a lock pins."""
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", lock, re.MULTILINE))


def test_the_example_holds_the_defaults():
    """The example file loads, and but for the account it says what counts without it."""
    environ = {"CHARGER_BRIDGE_EASEE__PASSWORD": "x" * 8}
    account = EaseeSettings(username="someone@example.com", password=Secret("x" * 8))

    assert load(ROOT / "config.example.yaml", environ) == Settings(easee=account)


@pytest.mark.parametrize(
    "tool", ["gen_config.py", "gen_faults.py", "gen_states.py", "gen_topics.py"]
)
def test_generated_documents_are_current(tool):
    """What is generated was generated from the tables as they are."""
    checked = subprocess.run(
        [sys.executable, str(ROOT / "tools" / tool), "--check"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout) == (0, "")


def test_locks_fit_each_other():
    """What runs is what was tested: a package has one version in all three."""
    run, demo, dev = (pins(LOCKS[name]) for name in ("run", "demo", "dev"))

    assert run.items() <= demo.items() <= dev.items()
    for dependency in PYPROJECT["project"]["dependencies"]:
        assert re.split(r"[<>=~!]", dependency)[0] in run


def test_locks_have_hashes_and_no_addresses():
    """A lock says what, never from where; every version is held by a hash."""
    for lock in LOCKS.values():
        assert "://" not in lock
        blocks = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in block for block in blocks)


def test_a_python_that_cannot_be_had_is_said(tmp_path):
    """The run over all Pythons names the ones it leaves out, and why."""
    said = subprocess.run(
        [ROOT / "tools" / "pythons.sh", "3.1", "4.0"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()

    assert said[-2:] == [
        f"Python {version}  not run: not here, and no Debian has it" for version in ("3.1", "4.0")
    ]


def test_every_python_that_is_declared_is_run():
    """What the metadata promise, the check of the locks and the run over all Pythons agree."""
    declared = re.findall(r"Python :: (3\.[0-9]+)", "\n".join(PYPROJECT["project"]["classifiers"]))
    script = (ROOT / "tools" / "pythons.sh").read_text()

    assert tuple(declared) == PYTHONS
    assert f"set -- {' '.join(declared)}\n" in script


def test_no_file_speaks_of_the_folder_it_was_written_in():
    """The project speaks of itself alone, and works wherever it is put."""
    here = str(ROOT)
    found = [
        str(path.relative_to(ROOT))
        for path in committed_files()
        if here in path.read_text(encoding="utf-8", errors="replace")
    ]

    assert found == []


def test_the_licence_is_apache():
    """The licence text is whole and the metadata agree."""
    text = (ROOT / "LICENSE").read_text()

    assert "Apache License" in text
    assert text.rstrip().endswith("limitations under the License.")
    assert PYPROJECT["project"]["license"] == "Apache-2.0"
