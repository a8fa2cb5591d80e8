"""Markdown tables and code spans of the generated references."""

from collections.abc import Iterable, Sequence


def code(text: str) -> str:
    """Mark a text as code."""
    return f"`{text}`"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table; a ``|`` inside a cell does not end it."""
    lines = [_row(heads), _row(["---"] * len(heads)), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
