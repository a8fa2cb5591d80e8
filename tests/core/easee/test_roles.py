"""Observations are named by role, and nowhere but in one package by number."""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bridge.core.easee import roles
from bridge.core.easee.observation_registry import REGISTRY

ROOT = Path(__file__).resolve().parents[3]
# What is Easee's, and what plays Easee.
OWNERS = ("bridge/core/easee/", "bridge/simulator/")
# Below this an id cannot be told from a count; the ids below it have no role and are in no rule.
MIN_ID = 10
# A constant that is called like this measures or counts something.
QUANTITIES = {
    "AT", "BURST", "BYTES", "CHARACTERS", "EVERY", "KEPT", "LENGTH", "LIMIT", "MAX", "MIN", "NAMED",
    "PAGE", "PORT", "READS", "RESERVED", "S", "SIZE", "TIMES", "WIDEST", "WIDTH", "WINDOW",
}  # fmt: skip
# Functions that calculate, and those whose numbers are times.
CALCULATE = {"divmod", "max", "min", "pow", "range", "round", "timedelta"}
NOT_WRITTEN_AS_ID = ("0x", "0b", "0o")


def ids_in(source: str) -> list[tuple[int, int]]:
    """Return line and number of every literal that stands where an observation id may stand."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and type(node.value) is int
        and node.value >= MIN_ID
        and node.value in REGISTRY
        and not (ast.get_source_segment(source, node) or "").startswith(NOT_WRITTEN_AS_ID)
        and not is_quantity(node, parents)
    ]


def is_quantity(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    """Say whether a literal is calculated with, cuts something, or has a name for a quantity."""
    parent = parents[node]
    match parent:
        case ast.BinOp() | ast.Slice() | ast.FormattedValue() | ast.UnaryOp():
            return True
        case ast.keyword(arg=str(name)):
            return name != "id" and not name.endswith(("_id", "_ids", "number", "observation"))
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name.strip("_") in CALCULATE
        case ast.Subscript(value=ast.Name(id="text")):
            return True
    return any(not QUANTITIES.isdisjoint(name.split("_")) for name in names_of(parent))


def names_of(node: ast.AST) -> Iterator[str]:
    """Yield the names a literal is assigned to."""
    targets = {ast.Assign: "targets", ast.AnnAssign: "target"}.get(type(node))
    if targets is None:
        return
    found = getattr(node, targets)
    for target in found if isinstance(found, list) else [found]:
        if isinstance(target, ast.Name):
            yield target.id.upper()


def roles_of(module: ModuleType) -> dict[str, int]:
    """Return every role with its id."""
    return {name: value for name, value in vars(module).items() if name.isupper()}


def test_every_role_is_a_row_of_the_registry() -> None:
    """A role stands for one observation that is described, and no two stand for the same."""
    held = roles_of(roles)

    assert held
    assert set(held.values()) <= REGISTRY.keys()
    assert len(set(held.values())) == len(held)


@pytest.mark.parametrize(
    "line",
    [
        "FIRMWARE = 80",
        "SMART_CHARGING: Final = 102",
        "OP_MODE, CLOUD_LINK = 109, 250",
        "SHOWN = frozenset({109, 121})",
        "IDS = {derived.LINK, 251}",
        "LIMITS = {48: 1}",
        "match number:\n    case 109:\n        pass",
        "match pair:\n    case (109, mode):\n        pass",
        "if spec.id == 129:\n    pass",
        "if spec.id in (129, 223):\n    pass",
        "held = readings.get(charger_id, 109)",
        "held = latest[250]",
        "read(observation_id=48)",
    ],
)
def test_an_id_is_found_wherever_it_may_be_written(line: str) -> None:
    """The check finds every form in which ids were written before there were roles."""
    assert ids_in(line)


@pytest.mark.parametrize(
    "line",
    [
        "WINDOW = 20",
        "MAX_WAITING = 200",
        "DAY_S: Final = 24 * 3600.0",
        "KEPT = timedelta(31)",
        "RECEIVE_MAXIMUM_EXCEEDED = 0x93",
        "shown = text[:80]",
        "wait_s = min(60, wait_s)",
        "if spec.id == roles.SESSION_REPORT:\n    pass",
    ],
)
def test_a_quantity_is_no_id(line: str) -> None:
    """The check leaves alone what measures, counts or cuts."""
    assert not ids_in(line)


def test_no_module_but_the_vendors_writes_an_observation_id() -> None:
    """Everything outside of core/easee names observations by role or by row."""
    found = {
        f"{name}:{line}: {number}"
        for place in ("core", "conventions", "monitoring", "exports")
        for path in sorted((ROOT / "bridge" / place).rglob("*.py"))
        if not (name := path.relative_to(ROOT).as_posix()).startswith(OWNERS)
        for line, number in ids_in(path.read_text(encoding="utf-8"))
    }

    assert not found, "take a role of core/easee/roles.py, or give a quantity a name such as MAX_…"
