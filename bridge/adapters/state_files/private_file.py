"""Private files of this process: checked before reading, replaced as a whole.

Rules:

1. Mode 0600 in a folder of 0700, a regular file of our own user. Anything else is not read.
   For root the user is the folder's: what root writes beside a service stays the service's.
2. A file is replaced, never changed: written beside its place, synced, moved, the folder synced.
"""

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bridge.adapters.state_files.plain_file import open_plain, require_plain
from bridge.errors import StoreError

MODE = 0o600
FOLDER_MODE = 0o700
OTHERS = stat.S_IRWXG | stat.S_IRWXO
# Two tokens of some 2 KiB; what is longer is not ours.
MAX_FILE_BYTES = 65_536
# What lies in the store's folder besides it.
TOKEN_FILE = "tokens.json"  # noqa: S105 - a file name
CHARGER_LIST_FILE = "chargers.json"
PUBLISHED_DISCOVERY_FILE = "announced.json"
LAST_SEEN_FILE = "last_seen.json"
RECORD_FILES = "record-*.rec"
# Documents of components, by name.
STATE_FILES: Final[Mapping[str, str]] = {
    "energy_total": "energy_total.json",
    "hidden_values": "hidden_values.json",
    "vendor": "vendor.json",
    "sites": "sites.json",
}
OUR_FILES = (
    TOKEN_FILE,
    CHARGER_LIST_FILE,
    PUBLISHED_DISCOVERY_FILE,
    LAST_SEEN_FILE,
    *STATE_FILES.values(),
)


def read_own(path: Path, *, largest: int = MAX_FILE_BYTES) -> bytes:
    """Read a file that is ours alone; a link, a foreign or an open file is an ``OSError``.

    Args:
        path: The file.
        largest: Bytes that are read of it; the rest is not ours.
    """
    handle = open_plain(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if found.st_uid != owner_of(path.parent)[0]:
            raise PermissionError(errno.EPERM, "not a file of this user", str(path))
        if found.st_mode & OTHERS:
            raise PermissionError(errno.EPERM, "open to others; its mode must be 0600", str(path))
        return file.read(largest)


def replace(path: Path, content: bytes) -> None:
    """Replace the content of a file; on an error raise ``OSError`` and change nothing."""
    require_plain(path)  # a pipe or a device is somebody's, and not ours to take away
    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    draft = draft_of(path)
    # One of a run that was killed here. O_EXCL then makes sure that the new one is ours.
    draft.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(draft, flags, MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchown(file.fileno(), *owner_of(path.parent))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)  # on a full disk its space is wanted
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def draft_of(path: Path) -> Path:
    """Return where the content of a file is until it is complete."""
    return path.with_name(f".{path.name}.new")


def owner_of(folder: Path) -> tuple[int, int]:
    """Return user and group of private files in a folder: our own, for root the folder's."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    found = folder.stat()
    return found.st_uid, found.st_gid


def why(error: Exception) -> str:
    """Return why a private file is not used, without its content."""
    if isinstance(error, StoreError):
        return str(error)
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
