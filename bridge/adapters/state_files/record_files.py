"""Records of the recorder beside the store: ``record-<UTC time>.rec``, the newest five.

Of several partitions each has five of its own, ``record-<UTC time>-p03.rec``, and the gateway that
speaks for all of them ``record-<UTC time>-all.rec``.

Rules:

1. A record is written once, for its owner alone, and never changed.
2. Only files with a name of ours are counted and removed, and only when a newer one is written;
   with them what a process left that was killed while it wrote.
"""

import contextlib
import re
from datetime import datetime
from pathlib import Path
from typing import Final

from bridge.adapters.state_files.plain_file import read_plain
from bridge.adapters.state_files.private_file import RECORD_FILES, draft_of, replace

KEPT: Final = 5
# Nothing is written for so long.
DRAFT_S: Final = 3600.0
_NAME: Final = re.compile(
    r"record-(?P<at>\d{8}T\d{6}Z)(?P<part>-p\d+|-all)?(?:-(?P<number>\d+))?\.rec", re.ASCII
)


def records(folder: Path) -> list[Path]:
    """List the records of a folder, oldest first."""
    found = ((_NAME.fullmatch(path.name), path) for path in folder.glob(RECORD_FILES))
    ordered = sorted((_order(match), path) for match, path in found if match is not None)
    return [path for _, path in ordered]


def newest(folder: Path) -> list[Path]:
    """Return the newest record of each part of the installation."""
    by_part = {_part(path): path for path in records(folder)}
    return [by_part[part] for part in sorted(by_part)]


def _part(path: Path) -> str:
    match = _NAME.fullmatch(path.name)
    return "" if match is None else match["part"] or ""


def _number(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int((match and match["number"]) or 0)


def _order(match: re.Match[str]) -> tuple[str, int]:
    return match["at"], int(match["number"] or 0)


def part_of(partition: int | None, *, is_divided: bool) -> str:
    """Return what the names of a gateway's records have behind their time.

    Args:
        partition: The one that it serves; None: it serves all, or speaks for all.
        is_divided: There are several.
    """
    if not is_divided:
        return ""
    return "-all" if partition is None else f"-p{partition:02}"


def save(folder: Path, content: bytes, at: datetime, part: str = "") -> Path:
    """Write a record and remove the oldest ones; return its path.

    Args:
        folder: The state directory.
        content: Of the file.
        at: UTC, for its name.
        part: Likewise, from :func:`part_of`.

    Raises:
        OSError: It cannot be written.
    """
    name = f"record-{at:%Y%m%dT%H%M%SZ}{part}"
    own = [path for path in records(folder) if _part(path) == part]
    same = [_number(path) for path in own if path.stem.startswith(name)]
    path = folder / f"{name}{f'-{max(1, *same) + 1}' if same else ''}.rec"
    _clear_drafts(folder, at)
    replace(path, content)
    for old in [*own, path][:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def _clear_drafts(folder: Path, at: datetime) -> None:
    """Remove drafts that no living process can still be writing."""
    for draft in folder.glob(draft_of(folder / RECORD_FILES).name):
        name = draft.name.removeprefix(".").removesuffix(".new")
        with contextlib.suppress(OSError):
            if _NAME.fullmatch(name) and at.timestamp() - draft.lstat().st_mtime > DRAFT_S:
                draft.unlink()


def load(path: Path, largest: int) -> bytes:
    """Read a record, at most one byte more than ``largest``.

    Raises:
        OSError: It cannot be read.
    """
    return read_plain(path, largest + 1)
