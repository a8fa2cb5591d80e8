"""SECURITY.md names a test for every control, and the test exists."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)


def cases_of(path: Path) -> set[str]:
    """List the tests in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return {node.name for node in functions if node.name.startswith("test_")}


def test_every_control_has_a_test_that_exists():
    """Each row of the table ends in tests, and none of them is gone or renamed."""
    table = PAGE[PAGE.index("| threat | control | tested by |") :].split("\n\n")[0]
    rows = table.splitlines()[2:]
    missing = [
        f"{path}::{name}"
        for path, name in NAMED
        if not (ROOT / path).is_file() or (name and name not in cases_of(ROOT / path))
    ]

    assert len(rows) >= 15
    assert [row for row in rows if "`tests/" not in row.rsplit("|", 2)[1]] == []
    assert missing == []


def test_every_test_of_this_room_is_in_the_table():
    """A control that is tested is one an operator can read about."""
    here = {f"tests/security/{path.name}" for path in Path(__file__).parent.glob("test_*.py")}

    assert here - {path for path, _ in NAMED} == set()
