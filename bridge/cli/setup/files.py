"""Writes several files atomically, each with its owner and mode.

Rules:

1. Every file is written and synced beside its place before the first one takes its place.
2. What fails leaves nothing behind: no draft, and no folder that was made for it.
3. A signal that arrives meanwhile waits until it is done.
"""

import contextlib
import errno
import os
import pwd
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bridge.adapters.state_files.plain_file import require_plain

SERVICE_USER = "charger-bridge"
_WAITING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may read what is written.

    Attributes:
        owner: User and group id of the secrets and of the state folder; None: the user who writes.
        folder_mode: Of the configuration's folder, where it is made.
        config_mode: Of the configuration.
    """

    owner: tuple[int, int] | None
    folder_mode: int
    config_mode: int

    @property
    def config_owner(self) -> tuple[int, int] | None:
        """Return root and the service's group: a service reads its configuration only."""
        return None if self.owner is None else (0, self.owner[1])


SECRET_MODE = 0o600
STATE_MODE = 0o700


def access_for(user: str | None) -> Access:
    """Return who may read the files.

    Root without a service user writes a configuration that every user may read: the unit's user
    exists only while the service runs. The passwords are root's; systemd hands them over.

    Args:
        user: A service user that was asked for, or None for ``charger-bridge`` where it exists.

    Raises:
        KeyError: There is no such user.
        PermissionError: Only root can write for another user.
    """
    if os.geteuid() != 0:
        if user is not None and pwd.getpwnam(user).pw_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "only root can write files of another user", user)
        return Access(None, 0o700, 0o600)
    try:
        found = pwd.getpwnam(SERVICE_USER if user is None else user)
    except KeyError:
        if user is not None:
            raise
        return Access(None, 0o755, 0o644)
    return Access((found.pw_uid, found.pw_gid), 0o750, 0o640)


@dataclass(frozen=True, slots=True)
class NewFolder:
    """One folder to make, where it is missing.

    Attributes:
        path: Its place; what is missing above it is made with the same mode.
        mode: Its permissions, whatever the umask is.
        owner: User and group id; None: the user who makes it.
    """

    path: Path
    mode: int
    owner: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class NewFile:
    """One file to write.

    Attributes:
        path: Its place, in a folder that exists or is among those to make.
        content: All of it.
        mode: Its permissions, whatever the umask is.
        owner: User and group id; None: the user who writes.
        may_replace: What stands there may go.
    """

    path: Path
    content: bytes
    mode: int
    owner: tuple[int, int] | None = None
    may_replace: bool = False


def write_all(folders: Sequence[NewFolder], files: Sequence[NewFile]) -> None:
    """Create all directories and write all files, or none.

    Raises:
        OSError: Something cannot be written; nothing is.
    """
    made: list[Path] = []
    drafts: list[Path] = []
    with _signals_waiting():
        try:
            for folder in folders:
                _make(folder, made)
            for file in files:
                require_plain(file.path)
                drafts.append(file.path.with_name(f".{file.path.name}.new"))
                with _named(file.path):
                    _write(drafts[-1], file)
            for file in files:
                _require_free(file)
            for draft, file in zip(drafts, files, strict=True):
                draft.replace(file.path)
            for parent in {file.path.parent for file in files}:
                _sync(parent)
        except BaseException:
            for draft in drafts:
                with contextlib.suppress(OSError):
                    draft.unlink()
            for path in reversed(made):
                with contextlib.suppress(OSError):
                    path.rmdir()
            raise


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in an error that only says why, e.g. that the disk is full."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _make(folder: NewFolder, made: list[Path]) -> None:
    """Create a directory and its parents, recording each."""
    missing = [path for path in (folder.path, *folder.path.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(folder.mode)
        made.append(path)
        path.chmod(folder.mode)
    if missing and folder.owner is not None:
        os.chown(folder.path, *folder.owner)


def _write(draft: Path, file: NewFile) -> None:
    draft.unlink(missing_ok=True)  # of a run that was killed here
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(draft, flags, SECRET_MODE), "wb") as stream:
        if file.owner is not None:
            os.fchown(stream.fileno(), *file.owner)
        os.fchmod(stream.fileno(), file.mode)
        stream.write(file.content)
        stream.flush()
        os.fsync(stream.fileno())


def _require_free(file: NewFile) -> None:
    if not file.may_replace and os.path.lexists(file.path):
        raise FileExistsError(errno.EEXIST, "appeared meanwhile; nothing was written", file.path)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _signals_waiting() -> Iterator[None]:
    """Record signals, and raise them again at the end: a mask would apply to one thread only."""
    arrived: list[int] = []

    def note(number: int, _frame: object) -> None:
        arrived.append(number)

    previous = {number: signal.signal(number, note) for number in _WAITING}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])
