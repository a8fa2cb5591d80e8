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
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.conftest import PATIENCE_S

ROOT = Path(__file__).parents[1]
# Colours, cursor movements and modes: what a terminal obeys and does not show.
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
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
        give_up_at = time.perf_counter() + PATIENCE_S
        while text not in self.shown[self._seen :]:
            if not self._read() or time.perf_counter() > give_up_at:
                raise AssertionError(f"{text!r} did not come: {self.shown[self._seen :]!r}")
        start = self._seen
        self._seen = self.shown.index(text, start) + len(text)
        return self.shown[start : self._seen]

    def type(self, text: str) -> None:
        """Type keys: a text, or a control character such as Ctrl-C (3) or Ctrl-D (4)."""
        os.write(self._handle, text.encode())

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
