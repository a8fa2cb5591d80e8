"""Check that every module has a test file of its name, and every test file a module.

``bridge/core/chargers/state.py`` is tested by ``tests/core/chargers/test_state.py``. A package that
has one door may be tested through it: ``bridge/cli`` by ``tests/cli/test_cli.py``.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "bridge"
TESTS = ROOT / "tests"

# Vocabularies and protocols: values without behaviour, used by every other test.
WITHOUT_TESTS = {
    "core/records/command_result.py",
    "core/records/command_row.py",
    "conventions/convention.py",
    "core/changes.py",
    "core/domain_events.py",
    "core/events.py",
    "core/records/discovery_record.py",
    "core/records/lease.py",
    "core/records/observation.py",
    "core/records/source_receipt.py",
    "core/records/store_problem.py",
    "core/records/stored_report.py",
    "core/messages.py",
    "core/records/reply_to.py",
    "core/requests.py",
    "ports.py",
}
# Tests of the house as a whole; the folders hold scenarios, not mirrors.
SCENARIOS = {
    "acceptance",
    "benchmarks",
    "broker",
    "faults",
    "fuzz",
    "locks",
    "packages",
    "release",
    "security",
    "simulation",
    "soak",
    "workers",
}
WITHOUT_MODULES = {
    "adapters/store/test_contract.py",
    "core/easee/test_added_rows.py",
    "core/test_call_counts.py",
    "test_documents.py",
    "test_packaging.py",
    "test_quick_starts.py",
}


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


def package_test_of(module: str) -> str:
    """Name the test file of a module's package as a whole."""
    folder = Path(module).parent
    return str(folder / f"test_{folder.name}.py")


def main() -> int:
    """Print what is missing on either side."""
    known, present = modules(), tests()
    untested = sorted(
        name for name in known if not present & {test_of(name), package_test_of(name)}
    )
    strays = sorted(
        present - {test_of(name) for name in known} - {package_test_of(name) for name in known}
    )
    for name in untested:
        print(f"bridge/{name} has no tests/{test_of(name)}")
    for name in strays:
        print(f"tests/{name} has no module of its name")
    return 1 if untested or strays else 0


if __name__ == "__main__":
    sys.exit(main())
