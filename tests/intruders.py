"""What can stand in the place of a file and is none, for tests."""

import contextlib
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

HANGS_AFTER_S = 60
# What the program calls it.
INTRUDERS = {
    "pipe": "a named pipe",
    "socket": "a socket",
    "folder": "a folder",
    "device": "a device",
}
PLACED = {
    "pipe": stat.S_ISFIFO,
    "socket": stat.S_ISSOCK,
    "folder": stat.S_ISDIR,
    "device": stat.S_ISCHR,
}


@contextlib.contextmanager
def place(intruder: str, path: Path) -> Iterator[None]:
    """Put something at a path that is no file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        match intruder:
            case "pipe":
                os.mkfifo(path)
            case "folder":
                path.mkdir()
            case "device":
                path.symlink_to("/dev/zero")  # making one needs more rights than a test has
            case _:
                bound = stack.enter_context(socket.socket(socket.AF_UNIX))
                with contextlib.chdir(path.parent):  # the name of a socket is short
                    bound.bind(path.name)
        yield


@contextlib.contextmanager
def alarm() -> Iterator[None]:
    """Fail instead of hanging."""

    def ring(*_: object) -> NoReturn:
        raise AssertionError(f"hung for {HANGS_AFTER_S} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANGS_AFTER_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
