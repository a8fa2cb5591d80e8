"""Questions and answers on a terminal of 80 columns or fewer.

Rules:

1. A password is read without an echo and is never written.
2. End of input ends the dialogue: :class:`BrokenOff`. So does Ctrl-C, as ``KeyboardInterrupt``.
3. Text for people is wrapped; a line to copy is not, a terminal would copy the break with it.
4. Colour only where the output is a terminal that can show it and ``NO_COLOR`` is not set.
"""

import getpass
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Final, TextIO

from bridge.logs import escape

WIDEST = 80
YES_OR_NO: Final = {"y": True, "yes": True, "n": False, "no": False}
_BOLD, _RED, _GREEN, _PLAIN = "1", "31", "32", "0"


class BrokenOff(Exception):
    """The dialogue was ended before its end."""


class Terminal:
    """Writes to one stream, and asks questions where they can be answered.

    Args:
        output: Where everything is written.
        can_ask: Questions may be asked; otherwise only results are shown.
    """

    def __init__(self, output: TextIO | None = None, *, can_ask: bool = True) -> None:
        self._output = sys.stdout if output is None else output
        self.can_ask = can_ask
        self._has_color = _shows_color(self._output)

    # -- saying ----------------------------------------------------------------------------

    def say(self, text: str = "", *, indent: str = "") -> None:
        """Write a paragraph."""
        lines = textwrap.wrap(
            escape(text),
            min(WIDEST, shutil.get_terminal_size().columns),
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines or [""]:
            self._line(line)

    def heading(self, text: str) -> None:
        """Write the title of a group of questions."""
        self._line("")
        self._line(self._colored(text, _BOLD))

    def line(self, text: str) -> None:
        """Write a line as it is, to be copied."""
        self._line(f"  {escape(text)}")

    def good(self, text: str) -> None:
        """Write what a trial found."""
        self._marked("ok", _GREEN, text)

    def bad(self, text: str) -> None:
        """Write what went wrong."""
        self._marked("failed", _RED, text)

    def warn(self, text: str) -> None:
        """Write what looks unwise."""
        self._marked("warning", _BOLD, text)

    def _marked(self, mark: str, color: str, text: str) -> None:
        columns = min(WIDEST, shutil.get_terminal_size().columns)
        body = textwrap.wrap(
            f"{mark}: {escape(text)}",
            columns,
            initial_indent="  ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        first = body[0].replace(mark, self._colored(mark, color), 1)
        for line in (first, *body[1:]):
            self._line(line)

    def _colored(self, text: str, color: str) -> str:
        return f"\033[{color}m{text}\033[{_PLAIN}m" if self._has_color else text

    def _line(self, text: str) -> None:
        self._output.write(f"{text}\n")
        self._output.flush()

    # -- asking ----------------------------------------------------------------------------

    def ask(
        self, question: str, default: str = "", problem: Callable[[str], str | None] | None = None
    ) -> str:
        """Return an answer that can be used.

        Args:
            question: Without punctuation at its end.
            default: What Enter means; shown. Empty: Enter is an empty answer.
            problem: Returns what is wrong with an answer, or None. Not asked about the default.

        Raises:
            BrokenOff: The input ended.
        """
        prompt = f"{question} [{escape(default)}]: " if default else f"{question}: "
        while True:
            answer = _read(input, prompt).strip()
            if not answer and default:
                return default
            wrong = problem(answer) if problem is not None else None
            if wrong is None:
                return answer
            self.bad(f"it {wrong}")

    def ask_secret(self, question: str, problem: Callable[[str], str | None]) -> str:
        """Return a text that is not shown while it is typed.

        Raises:
            BrokenOff: The input ended.
        """
        while True:
            answer = _read(getpass.getpass, f"{question} (not shown): ")
            wrong = problem(answer)
            if wrong is None:
                return answer
            self.bad(f"it {wrong}")

    def confirm(self, question: str, *, default: bool) -> bool:
        """Return a yes or a no.

        Raises:
            BrokenOff: The input ended.
        """
        hint = "Y/n" if default else "y/N"
        while True:
            answer = _read(input, f"{question} [{hint}]: ").strip().lower()
            if not answer:
                return default
            if answer in YES_OR_NO:
                return YES_OR_NO[answer]
            self.bad("answer y or n")

    def choose(self, question: str, options: Mapping[str, str], default: str) -> str:
        """Return one of several words, chosen by its number or by itself.

        Args:
            question: What is to be chosen.
            options: Word to what it means.
            default: What Enter means.

        Raises:
            BrokenOff: The input ended.
        """
        words = list(options)
        for number, word in enumerate(words, 1):
            self.say(f"{number}  {options[word]}", indent="  ")
        while True:
            answer = _read(input, f"{question} [{words.index(default) + 1}]: ").strip().lower()
            if not answer:
                return default
            if answer in words:
                return answer
            if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(words):
                return words[int(answer) - 1]
            self.bad(f"answer 1 to {len(words)}")


def _read(reader: Callable[[str], str], prompt: str) -> str:
    try:
        return reader(prompt)
    except (EOFError, UnicodeDecodeError) as exc:
        raise BrokenOff from exc


def _shows_color(output: TextIO) -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return not plain and output.isatty()
