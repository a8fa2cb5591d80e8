"""Every time of the program is in docs/simulation.md, with a life that is long enough for it."""

import importlib
import re
from datetime import timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/simulation.md").read_text()
# What takes less passes in every life.
MIN_S = 60.0
UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
ROW = re.compile(r"^\| `([\w.]+)` \| ([\d.]+) (s|min|h|d) \| (.+) \|$", re.MULTILINE)
TABLE = {
    name: (float(number) * UNITS[unit], where) for name, number, unit, where in ROW.findall(PAGE)
}
LIVES = ("6 h", "72 h", "100 d")
TEST = re.compile(r"\[(\w+)\]\(\.\./(tests/[\w/]+\.py)\)")


def _modules():
    """Name every module that decides or waits, and the gateway."""
    for part in ("core", "conventions", "monitoring", "adapters"):
        for path in sorted((ROOT / "bridge" / part).rglob("*.py")):
            if path.stem != "__init__":
                yield ".".join(path.relative_to(ROOT).with_suffix("").parts)
    yield "bridge.gateway"


def _seconds(name, value):
    """Read a constant as the longest time in it; None when it is no time."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not re.fullmatch(r"[A-Z_]+_(S|DAYS)", name):
        return None
    held = value.values() if isinstance(value, dict) else value
    longest = max(held) if isinstance(held, tuple | type({}.values())) else held
    return longest * (86_400.0 if name.endswith("_DAYS") else 1.0)


def _constants():
    """Find all times of a minute and more, by the name they have in the table."""
    found = {}
    for module in _modules():
        written = set(re.findall(r"^([A-Z_]+)(?:: [^=]+)? = ", _source(module), re.MULTILINE))
        for name, value in vars(importlib.import_module(module)).items():
            seconds = _seconds(name, value) if name in written else None
            if seconds is not None and MIN_S <= seconds < float("inf"):
                found[f"{module.removeprefix('bridge.')}.{name}"] = seconds
    return found


def _source(module):
    return (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()


def test_every_time_is_in_the_table():
    """A time nobody waits for is a promise nobody has seen kept; and none is there that is not."""
    constants = _constants()

    assert len(constants) > 50
    assert {
        name: seconds for name, (seconds, _) in TABLE.items() if name[-1].isupper()
    } == constants


@pytest.mark.parametrize("name", TABLE)
def test_a_life_that_is_named_is_long_enough(name):
    """It lasts longer than the time; or a test is named that is there."""
    seconds, where = TABLE[name]
    if (life := next((one for one in LIVES if where.startswith(one)), None)) is not None:
        number, unit = life.split()
        assert seconds < float(number) * UNITS[unit]
        return
    tests = TEST.findall(where)
    assert tests
    for test, path in tests:
        assert f"def test_{test}(" in (ROOT / path).read_text()
