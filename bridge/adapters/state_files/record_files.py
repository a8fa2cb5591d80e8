"""Records of the recorder beside the store: ``record-<UTC time>.rec``, the newest five.

Rules:

1. A record is written once, for its owner alone, and never changed.
2. Only files with a name of ours are counted and removed, and only when a newer one is written.
"""

import re
from datetime import datetime
from pathlib import Path
from typing import Final

from bridge.adapters.state_files.plain_file import read_plain
from bridge.adapters.state_files.private_file import RECORD_FILES, replace

KEPT: Final = 5
_NAME: Final = re.compile(r"record-\d{8}T\d{6}Z(?:-\d+)?\.rec", re.ASCII)


def records(folder: Path) -> list[Path]:
    """List the records of a folder, oldest first."""
    found = (path for path in folder.glob(RECORD_FILES) if _NAME.fullmatch(path.name))
    return sorted(found, key=_order)


def _order(path: Path) -> tuple[str, int]:
    at, _, number = path.stem.removeprefix("record-").partition("-")
    return at, int(number or 0)


def save(folder: Path, content: bytes, at: datetime) -> Path:
    """Write a record and remove the oldest ones; return its path.

    Args:
        folder: The state directory.
        content: Of the file.
        at: UTC, for its name.

    Raises:
        OSError: It cannot be written.
    """
    name = f"record-{at:%Y%m%dT%H%M%SZ}"
    same = [_order(path)[1] for path in records(folder) if path.stem.startswith(name)]
    number = f"-{max(1, *same) + 1}" if same else ""
    path = folder / f"{name}{number}.rec"
    replace(path, content)
    for old in records(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def load(path: Path, largest: int) -> bytes:
    """Read a record, at most one byte more than ``largest``.

    Raises:
        OSError: It cannot be read.
    """
    return read_plain(path, largest + 1)
