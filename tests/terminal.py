"""A terminal of a given size with a program in it: what a person would type and see."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tests.conftest import PATIENCE_S

ROOT = Path(__file__).parents[1]
# Colours, cursor movements and modes: what a terminal obeys and does not show.
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Where a full-screen program begins a picture.
HOME = "\x1b[H"
STEP_S = 0.02


class Terminal:
    """A pseudo-terminal whose other end is the program's standard input, output and error.

    Args:
        words: Arguments of ``charger-bridge``.
        environ: The whole environment of the program.
        columns: Width.
        rows: Height.
    """

    def __init__(
        self,
        *words: str,
        environ: Mapping[str, str],
        columns: int = 80,
        rows: int = 24,
    ) -> None:
        self.written = ""
        self.status: int | None = None
        self._seen = 0
        self.pid, self._handle = pty.fork()
        if self.pid == 0:  # pragma: no cover - another process
            os.chdir(ROOT)
            program = [sys.executable, "-m", "bridge", *words]
            os.execve(sys.executable, program, {"TERM": "xterm", **environ})
        self.resize(columns, rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        with contextlib.suppress(OSError):
            os.close(self._handle)

    @property
    def shown(self) -> str:
        """Everything that was written, without what a terminal does not show."""
        return ESCAPES.sub("", self.written).replace("\r\n", "\n")

    @property
    def echoes(self) -> bool:
        """Whether what is typed is shown."""
        return bool(termios.tcgetattr(self._handle)[3] & termios.ECHO)

    def resize(self, columns: int, rows: int) -> None:
        """Change the window as a person would."""
        fcntl.ioctl(self._handle, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text: str) -> str:
        """Read until a text was shown behind the last one; return what came before it."""
        self._until(lambda: text in self.shown[self._seen :], repr(text))
        start = self._seen
        self._seen = self.shown.index(text, start) + len(text)
        return self.shown[start : self._seen]

    def expect_written(self, text: str) -> None:
        """Read until a text or an escape sequence was written; forget what came before."""
        start = len(self.written)
        self._until(lambda: text in self.written[start:], repr(text))
        self._seen = len(self.shown)

    def expect_row(self, *words: str) -> None:
        """Read until all of some words stand in one line of what is shown from now on."""
        start = len(self.written)
        self._until(
            lambda: any(
                all(word in line for word in words)
                for line in ESCAPES.sub("", self.written[start:]).splitlines()
            ),
            " ".join(words),
        )

    def frames(self) -> list[list[str]]:
        """Return what a full-screen program drew so far, each picture with its lines."""
        drawn = self.written.split(HOME)[1:]
        return [[line.rstrip() for line in ESCAPES.sub("", one).splitlines()] for one in drawn]

    def type(self, text: str) -> None:
        """Type keys: a text, or a control character such as Ctrl-C (3) or Ctrl-D (4)."""
        os.write(self._handle, text.encode())

    def expect_reading(self) -> None:
        """Wait until the program sleeps in a read: a signal before that is seen at the next key."""
        stat = Path(f"/proc/{self.pid}/stat")
        self._until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", "a read")

    def answer(self, question: str, text: str) -> None:
        """Wait for a question and answer it."""
        self.expect(question)
        self.type(f"{text}\n")

    def wait(self) -> int:
        """Read to the end and return the exit status."""
        while self._read():
            pass
        _, raw = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(raw)
        return self.status

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        give_up_at = time.perf_counter() + PATIENCE_S
        while not condition():
            if not self._read() or time.perf_counter() > give_up_at:
                raise AssertionError(f"{what} did not come: {self.shown[self._seen :]!r}")

    def _read(self) -> bool:
        """Take what was written in the meantime; False when the program has closed its end."""
        if not select.select([self._handle], [], [], STEP_S)[0]:
            return True
        try:
            chunk = os.read(self._handle, 65536)
        except OSError:  # the other end is closed
            return False
        self.written += chunk.decode("utf-8", "replace")
        return bool(chunk)
