"""A lock is whole, and installs next year: with an old pip, when newer releases are out."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distributions

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.locks.stubs import imitate, newer, wanted_by
from tools import check_lock
from tools.check_lock import (
    CONTENTS,
    PYTHONS,
    ROOT,
    Asked,
    Locked,
    installed,
    problems,
    read,
    roots,
)

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OLD_PIP = ROOT / ".venv" / "pip-23.0.1"
# Debian's ends with Python 3.11, and on 3.12 it does not start.
LAST_WITH_OLD_PIP = (3, 11)
LOCKED = ("install", "--no-deps", "--require-hashes")
TEXTS = {name: (ROOT / "requirements" / f"{name}.txt").read_text() for name in CONTENTS}
WITH_EXTRAS = {name for name, text in TEXTS.items() if any(each.extras for each in read(text))}
ROOTS = roots("dev", PYPROJECT)
INSTALLED = ("run", "demo", "cluster", "amqp", "all", "dev")


def made_up(**asked: tuple[str, ...]):
    """Make distributions of version 1 that ask for something."""
    held = {name: Asked("1", tuple(map(Requirement, each))) for name, each in asked.items()}
    return held.get


def is_here(each: Locked):
    """Say whether a line of a lock is for this Python."""
    return each.marker is None or each.marker.evaluate()


# -- whole ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INSTALLED)
def test_a_lock_holds_everything_that_is_asked_for(name):
    """Every requirement of everything in it, extras included, on every Python we support."""
    assert problems(read(TEXTS[name]), roots(name, PYPROJECT), installed) == []


@pytest.mark.parametrize("start", range(0, 80, 10))
def test_a_package_that_is_taken_out_is_missed(start, monkeypatch):
    """The check above notices it; every tenth, as each asks for all the others."""
    lock = [each for each in read(TEXTS["dev"]) if is_here(each)]
    gone = lock[start % len(lock)]
    here = dict(default_environment())
    monkeypatch.setattr(check_lock, "environments", lambda: [here])
    found = problems([each for each in lock if each is not gone], ROOTS, installed)
    missed = {canonicalize_name(re.findall(r" wants ([\w.-]+)", one)[0]) for one in found}

    assert missed == {gone.name}


def test_every_lock_is_there_and_says_what_it_is_for():
    """The locks whose distributions are not here hold at least what they were made for."""
    assert {path.stem for path in (ROOT / "requirements").glob("*.txt")} == {*CONTENTS}
    for name, text in TEXTS.items():
        lock = read(text)
        alone = {each.name: Asked(each.version) for each in lock if is_here(each)}.get
        assert problems(lock, roots(name, PYPROJECT), alone) == []


def test_the_lock_of_the_packages_has_every_extra():
    """An extra that asks for something is in the lock that the packages bundle."""
    extras = PYPROJECT["project"]["optional-dependencies"]

    assert set(CONTENTS["all"][1]) == {name for name, wanted in extras.items() if wanted}


def test_every_lock_is_checked_where_it_is_installed():
    """Two locks are not in this environment; what installs them asks their distributions."""
    installing = re.findall(r"tools/install\.sh \S+ (\w+)", (ROOT / "Makefile").read_text())

    # What runs is a part of all the others, and the extras are a part of dev.
    assert {*installing, "run", "cluster", "amqp", "all"} == set(CONTENTS)
    assert "tools/check_lock.py" in (ROOT / "tools" / "install.sh").read_text()


def test_what_an_extra_asks_for_must_be_there():
    """A package that is wanted with an extra brings what the extra asks for."""
    asked = made_up(a=("b[x]>=1",), b=('c; extra == "x"',), c=())

    assert problems(read("a==1\nb[x]==1\nc==1\n"), [Requirement("a")], asked) == []
    (problem,) = {each.partition(" (")[0] for each in problems(read("a==1\nb==1\n"), [], asked)}
    assert problem == 'b wants c; extra == "x", which is not in the lock'


def test_an_extra_that_only_the_lock_names_is_looked_at_too():
    """Who strips the line of its wanter finds the same."""
    asked = made_up(b=('c; extra == "x"',))

    assert problems(read("b[x]==1\n"), [], asked)


@pytest.mark.parametrize("python", PYTHONS)
def test_what_one_python_asks_for_must_be_there(python):
    """Markers are evaluated for each Python we support, not for the one that runs."""
    asked = made_up(a=(f'b; python_version == "{python}"',))
    found = problems(read("a==1\n"), [], asked)

    assert found
    assert all(f"on Python {python}," in each for each in found)


def test_another_version_for_another_python_is_looked_at_there():
    """A package may be locked twice; what is installed is compared with its own line only."""
    old, new = 'python_full_version < "3.14"', 'python_full_version >= "3.14"'
    lock = read(f"a==1 ; {old}\na==2 ; {new}\n")
    wanted = [Requirement(f"a<2; {old}"), Requirement(f"a>=2; {new}")]
    asked = {"a": Asked("2" if sys.version_info >= (3, 14) else "1")}.get

    assert problems(lock, wanted, asked) == []
    missed = " ".join(problems(lock[:1], wanted, asked))
    assert "on Python 3.14" in missed
    assert "on Python 3.13" not in missed
    other = problems(lock, wanted, {"a": Asked("3")}.get)
    assert [each.partition(",")[0] for each in other] == ["a is installed as 3"]


def test_every_python_we_support_has_wheels_to_fuzz_with():
    """No version of the fuzzer is built for all of them: there are two lines, one for each."""
    lock = [each for each in read(TEXTS["fuzz"]) if each.name == "atheris"]

    for environment in check_lock.environments():
        applying = [each for each in lock if each.marker and each.marker.evaluate(environment)]
        assert len(applying) == 1


def test_a_version_that_is_not_what_is_asked_for_is_found():
    """A version that was moved by hand, and one that is not the installed one."""
    asked = made_up(a=("b>=2",), b=())

    assert "a wants b>=2, and the lock has 1" in problems(read("a==1\nb==1\n"), [], asked)[0]
    assert "a is installed as 1, and locked as 3" in problems(read("a==3\n"), [], asked)


def test_no_folder_of_the_source_looks_like_a_package():
    """A folder of a locked package's name would be imported in its place, where that is missing."""
    names = sorted({each.name.replace("-", "_") for text in TEXTS.values() for each in read(text)})
    code = (
        "import sys; from importlib.util import find_spec;"
        "print(*(name for name in sys.argv[1:] if find_spec(name)))"
    )
    # -S: without the packages of this environment, as in a new one.
    done = subprocess.run(
        (sys.executable, "-S", "-c", code, *names),
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.split() == []


# -- installed with an old pip -------------------------------------------------------------------


def old_pip(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the pip of Debian 12, far from every index and setting."""
    if sys.version_info[:2] > LAST_WITH_OLD_PIP:
        pytest.skip("pip 23.0.1 does not run on Python 3.12")
    if not OLD_PIP.is_dir():
        if os.environ.get("CI"):
            pytest.fail("make test puts pip 23.0.1 beside the environment: CI has to use it")
        pytest.skip("pip 23.0.1 is not here; make test puts it beside the environment")
    return subprocess.run(
        [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", *words],
        env={
            "PYTHONPATH": str(OLD_PIP),
            "PATH": os.environ["PATH"],
            "PIP_CONFIG_FILE": "/dev/null",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_the_old_pip_is_the_one_that_is_meant():
    """What is tried below is tried with the version that had the trouble."""
    assert old_pip("--version").stdout.startswith("pip 23.0.1 ")


@pytest.mark.parametrize("name", CONTENTS)
def test_a_lock_installs_when_newer_releases_are_out(name, tmp_path):
    """With pip 23.0.1, the way we install, each lock brings exactly what it pins."""
    lock = imitate(tmp_path, TEXTS[name])
    place = tmp_path / "installed"
    offline = ("--no-index", "--find-links", str(tmp_path), "--no-compile")
    ran = old_pip(*LOCKED, *offline, "--target", str(place), "-r", str(lock))

    assert ran.returncode == 0, ran.stderr
    here = {each.metadata["Name"]: each.version for each in distributions(path=[str(place)])}
    assert here == {each.name: each.version for each in read(TEXTS[name]) if is_here(each)}


def test_the_old_way_would_have_failed(tmp_path):
    """Resolved, and without its extras, a lock is refused: the test above tests something."""
    name = min(WITH_EXTRAS, key=lambda name: len(TEXTS[name]))
    lock = imitate(tmp_path, TEXTS[name], with_extras=False)
    offline = ("--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "installed"))
    ran = old_pip("install", "--require-hashes", *offline, "-r", str(lock))

    assert ran.returncode != 0
    assert "all requirements must have their versions pinned with ==" in ran.stderr


def test_the_locks_of_the_tests_and_of_the_audit_have_extras():
    """They are the ones that could not be installed."""
    assert {"demo", "dev", "audit"} <= WITH_EXTRAS


def test_every_command_that_installs_a_lock_does_it_that_way():
    """The Makefile's tool, the image, the documents and what the program prints."""
    files = [ROOT / "Dockerfile", ROOT / "README.md", ROOT / "tools" / "install.sh"]
    files += [*(ROOT / "docs").glob("*.md"), *(ROOT / "bridge").rglob("*.py")]
    lines = [line for path in files for line in path.read_text().splitlines()]
    installing = [line for line in lines if re.search(r"install .*-r \S*requirements/", line)]

    assert len(installing) >= 5
    assert [line for line in installing if "--no-deps --require-hashes" not in line] == []


def test_the_made_up_index_has_a_newer_release_of_everything(tmp_path):
    """And each package there asks for what the lock says it does, extras included."""
    imitate(tmp_path, TEXTS["dev"])
    for each in read(TEXTS["dev"]):
        stem = each.name.replace("-", "_")
        for version in (each.version, newer(each.version)):
            assert (tmp_path / f"{stem}-{version}-py3-none-any.whl").is_file()
    assert "pytest-cov" in wanted_by(TEXTS["dev"])["coverage"]
