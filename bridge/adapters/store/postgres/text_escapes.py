"""Texts that PostgreSQL cannot hold: U+0000 is written as an escape.

What a charger or a caller sent may hold it. Hashes are made of the text as it is.
"""

from bridge.adapters.store.row_format.digest import Row


def escaped(row: Row) -> tuple[object, ...]:
    """Return the columns of a row as PostgreSQL can hold them."""
    return tuple(_escaped(each) if isinstance(each, str) else each for each in row)


def unescaped(row: Row) -> tuple[object, ...]:
    """Return the columns of a row as they were."""
    return tuple(_unescaped(each) if isinstance(each, str) else each for each in row)


def _escaped(text: str) -> str:
    if "\0" not in text and "\\" not in text:
        return text
    return text.replace("\\", "\\\\").replace("\0", "\\0")


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    # Of two backslashes the first is the escape: what lies between pairs of them has no other.
    return "\\".join(part.replace("\\0", "\0") for part in text.split("\\\\"))
