"""Quarantine of unusable database files; the three newest are kept.

While its rows are being saved a file is called ``….damaged``; what is called so was not finished
with. Then it is one of the ``….corrupt.<n>``, of which the newest :data:`KEPT` are kept: all of
them would fill the disk.
"""

import contextlib
from pathlib import Path

import structlog

from bridge.adapters.store.sqlite.database_file import SIDECARS, sync_directory

log = structlog.get_logger()

KEPT = 3


def half_way(path: Path) -> Path:
    """Return the path of an unfinished quarantine."""
    return Path(f"{path}.damaged")


def unfinished(path: Path) -> Path | None:
    """Return what was moved aside and is not finished with, or None. It can be a log alone."""
    aside = half_way(path)
    return aside if any(Path(f"{aside}{suffix}").exists() for suffix in SIDECARS) else None


def quarantine(path: Path, reason: str) -> None:
    """Move a store's files aside; its rows are still to be saved."""
    if unfinished(path) is not None:
        rotate_quarantine(path)
    log.error("store.quarantined", reason=reason)
    _move(path, half_way(path))


def finish_moving(path: Path) -> None:
    """Move along what a process that died left behind: a file and its log belong together."""
    if half_way(path).exists() and not path.exists():
        _move(path, half_way(path))


def rotate_quarantine(path: Path) -> Path:
    """Move the unfinished quarantine to the others, delete the oldest; return its path."""
    numbers = sorted(
        int(file.suffix[1:])
        for file in path.parent.glob(f"{path.name}.corrupt.*")
        if file.suffix[1:].isdecimal()
    )
    kept = Path(f"{path}.corrupt.{max(numbers, default=0) + 1}")
    _move(half_way(path), kept)
    for number in numbers[: 1 - KEPT]:
        for suffix in SIDECARS:
            Path(f"{path}.corrupt.{number}{suffix}").unlink(missing_ok=True)
    return kept


def _move(path: Path, to: Path) -> None:
    """Move a file and what belongs to it, the file first."""
    for suffix in SIDECARS:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{to}{suffix}")
    sync_directory(path.parent)
