"""Check that every module has a test file of its name, and every test file a module.

``bridge/core/state.py`` is tested by ``tests/core/test_state.py``. A module that was split off
another and kept its name in front, ``adapters/mqtt_tls.py`` beside ``adapters/mqtt.py``, may be
tested with it, by ``tests/adapters/test_mqtt.py``.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bridge"
TESTS = ROOT / "tests"

# Vocabularies and protocols: values without behaviour, used by every other test.
WITHOUT_TESTS = {
    "core/effects.py",
    "core/events.py",
    "core/messages.py",
    "ports.py",
}
# Tests of the house as a whole; the folders hold scenarios, not mirrors.
SCENARIOS = {"acceptance", "broker", "simulation"}
WITHOUT_MODULES = {"test_packaging.py"}


def modules() -> set[str]:
    """List the modules that need a test file, relative to the package."""
    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    return {name for name in found if not Path(name).name.startswith("__")} - WITHOUT_TESTS


def tests() -> set[str]:
    """List the test files that mirror a module, relative to the tests."""
    found = (path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))
    mirrors = (path for path in found if path.parts[0] not in SCENARIOS)
    return {str(path) for path in mirrors} - WITHOUT_MODULES


def test_of(module: str) -> str:
    """Name the test file of a module."""
    path = Path(module)
    return str(path.with_name(f"test_{path.name}"))


def homes_of(module: str, known: set[str]) -> list[str]:
    """Name the test files a module may be tested in, its own first."""
    path = Path(module)
    words = path.stem.split("_")
    stems = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    candidates = (path.with_name(f"{stem}.py") for stem in stems)
    return [test_of(str(each)) for each in candidates if str(each) in known]


def main() -> int:
    """Print what is missing on either side."""
    known, present = modules(), tests()
    untested = sorted(name for name in known if not present & set(homes_of(name, known)))
    strays = sorted(present - {test_of(name) for name in known})
    for name in untested:
        print(f"bridge/{name} has no tests/{test_of(name)}")
    for name in strays:
        print(f"tests/{name} has no module of its name")
    return 1 if untested or strays else 0


if __name__ == "__main__":
    sys.exit(main())
