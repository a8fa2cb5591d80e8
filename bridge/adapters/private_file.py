"""Small files that are ours alone: read with suspicion, replaced whole.

Rules:

1. Mode 0600 in a folder of 0700, a regular file of our own user. Anything else is not read.
2. A file is replaced, never changed: written beside its place, synced, moved, the folder synced.
"""

import os
import stat
from pathlib import Path

MODE = 0o600
FOLDER_MODE = 0o700
OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Two tokens of some 2 KiB, or the serials of thousands of chargers; what is longer is not ours.
LARGEST_FILE = 65_536


def read_own(path: Path, *, largest: int = LARGEST_FILE) -> bytes:
    """Read a file that is ours alone; a link, a foreign or an open file is an ``OSError``.

    Args:
        path: The file.
        largest: Bytes that are read of it; the rest is not ours.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(0, "not a file of this user")
        if found.st_mode & OTHERS:
            raise PermissionError(0, "open to others; its mode must be 0600")
        return file.read(largest)


def replace(path: Path, content: bytes) -> None:
    """Put new content in the place of a file; raise ``OSError`` and change nothing otherwise."""
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    # One of a run that was killed here. O_EXCL then makes sure that the new one is ours.
    draft.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, MODE), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
