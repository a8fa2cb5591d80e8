"""Reads files written by operators; refuses pipes, devices and directories.

Rules:

1. What stands there is looked at before it is opened: opening a device can do something.
2. It is opened without waiting and looked at again: it can have been replaced in between.
   A pipe would hold the process up for ever.
3. The error says what it is; it is an ``OSError`` like any other that names a path.
4. A byte order mark and line breaks at either end are an editor's, not part of what was meant.
"""

import codecs
import errno
import os
import stat
from pathlib import Path

_NAMES = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a link"),
)


def kind(path: str | Path, *, follow: bool = True) -> str | None:
    """Return what is in the place of a file; None for a file and for nothing at all.

    Args:
        path: Path of the file.
        follow: Look behind a link; else a link is not a file.
    """
    try:
        return _kind_of(Path(path).stat(follow_symlinks=follow).st_mode)
    except OSError:  # nothing is there, or opening it says what is wrong
        return None


def require_plain(path: str | Path) -> None:
    """Raise ``OSError`` when something that is no file stands there; it is not opened."""
    _refuse(kind(path), path)


def reason(error: OSError) -> str:
    """Return why a file cannot be used, with the user's number where that is what is wrong."""
    text = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{text} for uid {os.geteuid()}"
    return text


def open_plain(path: str | Path, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
    """Open a file and nothing else, never waiting; return its descriptor.

    Args:
        path: Path of the file.
        flags: Those of ``os.open``; with ``O_NOFOLLOW`` a link is an error too.
        mode: Of a file that is made.

    Raises:
        OSError: It cannot be opened, or it is something else; ``strerror`` says what.
    """
    _refuse(kind(path, follow=not flags & os.O_NOFOLLOW), path)
    flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    handle = os.open(path, flags, mode)
    try:
        _refuse(_kind_of(os.fstat(handle).st_mode), path)
    except OSError:
        os.close(handle)
        raise
    return handle


def read_plain(path: str | Path, largest: int) -> bytes:
    """Read a file from its beginning.

    Args:
        path: Path of the file.
        largest: Bytes that are read of it.

    Raises:
        OSError: It cannot be read, or it is no file.
    """
    with os.fdopen(open_plain(path), "rb") as stream:
        return stream.read(largest)


class NotText(ValueError):
    """What was read is no UTF-8; the message is the rest of a sentence after its name."""


# UTF-32 little-endian begins with the mark of UTF-16: the longer ones first.
_WIDE_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def refuse_wide(raw: bytes) -> None:
    """Refuse UTF-16 and UTF-32, by the first four bytes.

    Raises:
        NotText: It is that.
    """
    wide = next((name for mark, name in _WIDE_MARKS if raw.startswith(mark)), None)
    if wide is None and b"\0" in raw[:4]:  # without a mark: every other byte of ASCII
        wide = "UTF-16"
    if wide is not None:
        raise NotText(f"is {wide} text; save it as UTF-8")


def text_of(raw: bytes) -> str:
    """Decode text written with an editor, without a byte order mark.

    Raises:
        NotText: It is no UTF-8; the message says what to do and repeats nothing of it.
    """
    refuse_wide(raw)
    try:
        return without_marks(raw.decode())
    except UnicodeDecodeError as exc:
        raise NotText(f"is not UTF-8 text (byte {exc.start}); save it as UTF-8") from None


def without_marks(text: str) -> str:
    """Remove byte order marks from the beginning of a text."""
    return text.lstrip("\ufeff")


def as_meant(text: str) -> str:
    """Remove what an editor or an environment file adds around a value."""
    return without_marks(text).strip("\r\n")


def _kind_of(mode: int) -> str | None:
    if stat.S_ISREG(mode):
        return None
    return next((name for is_it, name in _NAMES if is_it(mode)), "no file")


def _refuse(found: str | None, path: str | Path) -> None:
    if found is not None:
        raise OSError(errno.EINVAL, f"it is {found}, not a file", str(path))
