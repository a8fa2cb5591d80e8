"""Handles a database file that was deleted or replaced while the bridge runs.

What is open stays readable for as long as it is open, and what is written to it is gone when it is
closed. So before each commit the name is looked at, and where it means another file, everything
that is open is written down anew under the name. Another file in its place is moved aside; rows of
it that we do not have are saved, like those of a damaged one.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

import structlog

from bridge.adapters.state_files.plain_file import kind
from bridge.adapters.store.sqlite.database_file import SIDECARS, private, sync_directory
from bridge.adapters.store.sqlite.recovery.quarantine import half_way, quarantine, rotate_quarantine

log = structlog.get_logger()


def rewrite_under_name(db: sqlite3.Connection, path: Path) -> None:
    """Write an open store to a new file of its name, and close it.

    Args:
        db: Open, on a file that has lost its name.
        path: The name.

    Raises:
        sqlite3.Error: It cannot be written; the connection is still open.
        OSError: Likewise.
    """
    fresh = Path(f"{path}.rescued")
    fresh.unlink(missing_ok=True)
    os.close(private(str(fresh)))
    db.execute("VACUUM INTO ?", (str(fresh),))
    handle = os.open(fresh, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    if path.exists():
        quarantine(path, "another file was put in its place")
        if kind(half_way(path)) is not None:
            rotate_quarantine(path)  # a pipe or a folder: no rows to look for
    for suffix in SIDECARS[1:]:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    fresh.rename(path)
    sync_directory(path.parent)
    # Last: until then it is all there is. It takes its own log away by name, so before the next.
    with contextlib.suppress(sqlite3.Error):
        db.close()
    log.error("store.file_replaced", path=str(path))
