"""Salt file beside the store: keeps the hashes of tags stable if the store is lost.

The file also remembers that there was a store, so that one that vanished is not begun anew in
silence.
"""

import contextlib
import hashlib
import secrets
import sqlite3
from pathlib import Path

from bridge.adapters.state_files.private_file import read_own, replace

SALT_BYTES = 32
CHECK_BYTES = 8


def salt_file(path: Path) -> Path:
    """Return the path of a store's salt file."""
    return Path(f"{path}.salt")


def read_salt(path: Path) -> bytes | None:
    """Return the salt beside a store; None when there is none or it is damaged."""
    try:
        data = read_own(salt_file(path))
    except OSError:
        return None
    salt, check = data[:SALT_BYTES], data[SALT_BYTES:]
    return salt if len(salt) == SALT_BYTES and check == _check(salt) else None


def write_salt(path: Path, salt: bytes) -> None:
    """Write the salt file atomically."""
    replace(salt_file(path), salt + _check(salt))


def keep_salt(db: sqlite3.Connection, path: Path) -> bytes:
    """Return the salt of a store, and see that it is in it and beside it.

    Where the two differ the copy beside is right: the file can have been begun anew.
    """
    row = db.execute("SELECT value FROM meta WHERE name = 'salt'").fetchone()
    held = row[0] if row and isinstance(row[0], bytes) else None
    beside = read_salt(path)
    salt = beside or held or secrets.token_bytes(SALT_BYTES)
    if salt != held:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('salt', ?)", (salt,))
    if salt != beside:
        with contextlib.suppress(OSError):  # a full disk must not keep the store from opening
            write_salt(path, salt)
    return salt


def _check(salt: bytes) -> bytes:
    return hashlib.sha256(salt).digest()[:CHECK_BYTES]
