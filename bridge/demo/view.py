"""The live view: a terminal screen, or plain lines where the output is no terminal.

Rules:

1. Nothing is cut. A column that has no room leaves, the least valuable first; a command line that
   has none is continued with a backslash, so that it can still be copied.
2. What to try comes first, and stays when there are fewer rows than lines.
3. Colours are those of the terminal's own palette, and text has its own colour, so that it is read
   on a dark and on a light ground. The LEDs shine on black: a white one is seen everywhere.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Self, TypeVar

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.text import Text

from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.enumerations import LED_MEANING, NO_CURRENT_REASON, OP_MODE
from bridge.demo.board import HOUSE_LOAD, MAX_VALUE_LENGTH, Board, ChargerRow, CommandRow

FRAMES_PER_S = 4
GAP = "  "
DARK, LIT = "○○○○○○", "●●●●●●"
GROUND = "on black"
COLORS: Final = {
    "white": "bright_white",
    "blue": "bright_blue",
    "red": "bright_red",
    "green": "bright_green",
}
# How the strip moves: phases of dim and lit, a quarter of a second each.
PATTERNS: Final = {
    "flashing": (True, True, False, False),
    "fast_flashing": (True, False, True, False),
    "pulsing": (True, True, True, False),
}
STATE_STYLES: Final = {
    "charging": "green",
    "error": "red",
    "offline": "red",
    "confirmed": "green",
    "noop": "green",
    "accepted": "blue",
    "sent": "blue",
}
USUAL_SERIAL = len("EH123456")
# What a command's state can be, for the width of its column.
STATES: Final = (
    "sent", "accepted", "confirmed", "noop", "rejected", "failed", "refused", "expired",
    "superseded", "unconfirmed", "unknown",
)  # fmt: skip
# Head, one of them, and how many more there are; head and two of them.
FEWEST_CHARGER_LINES, FEWEST_COMMAND_LINES = 3, 3
TITLE = "Copy into a second terminal:"
END = "Ctrl-C ends the demonstration."
NEXT = "The demonstration has ended. For your own charger: charger-bridge setup"


def strip(row: ChargerRow, frame: int) -> Text:
    """Render a charger's LED strip as it looks in this frame."""
    color = COLORS.get(row.get("led_color"))
    phases = PATTERNS.get(row.get("led_pattern"), (True,))
    if color is None or row.availability != "online":
        return Text(f" {DARK} ", style=f"bright_black {GROUND}")
    if phases[frame % len(phases)]:
        return Text(f" {LIT} ", style=f"{color} {GROUND}")
    return Text(f" {DARK} ", style=f"{color} {GROUND}")


# -- tables ------------------------------------------------------------------------------------

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Column(Generic[_T]):
    """One column of a table.

    Attributes:
        title: Its head.
        width: Of the longest thing it holds.
        value: The higher, the longer it stays when there is no room for all.
        cell: A row and the frame to what is shown.
        is_number: It is aligned to the right.
    """

    title: str
    width: int
    value: int
    cell: Callable[[_T, int], Text]
    is_number: bool = False

    def padded(self, text: Text) -> Text:
        """Return a cell in its width; what is longer stays whole."""
        text.align("right" if self.is_number else "left", max(self.width, len(text)))
        return text


def fitting(columns: Sequence[Column[_T]], width: int) -> tuple[Column[_T], ...]:
    """Return the columns that have room, in their order from left to right."""
    kept: list[Column[_T]] = []
    used = -len(GAP)
    for column in sorted(columns, key=lambda column: -column.value):
        used += column.width + len(GAP)
        if used > width and kept:
            break
        kept.append(column)
    return tuple(column for column in columns if column in kept)


def table(
    columns: Sequence[Column[_T]], rows: Iterable[_T], width: int, frame: int = 0
) -> list[Text]:
    """Return the lines of a table, its head first."""
    shown = fitting(columns, width)
    lines = [[column.padded(Text(column.title, style="bold")) for column in shown]]
    lines += [[column.padded(column.cell(row, frame)) for column in shown] for row in rows]
    return [Text(GAP).join(cells) for cells in lines]


def _longest(words: Iterable[str]) -> int:
    return max(map(len, words))


Charger = tuple[str, ChargerRow]


def _state(charger: Charger, _frame: int) -> Text:
    _, row = charger
    word = row.get("op_mode") if row.availability == "online" else row.availability
    return Text(word, style=STATE_STYLES.get(word, ""))


def _number(name: str, decimals: int) -> Callable[[Charger, int], Text]:
    return lambda charger, _frame: Text(charger[1].number(name, decimals))


def _word(name: str) -> Callable[[Charger, int], Text]:
    return lambda charger, _frame: Text(charger[1].get(name))


CHARGERS: Final[tuple[Column[Charger], ...]] = (
    Column("charger", USUAL_SERIAL, 8, lambda charger, _frame: Text(charger[0])),
    Column("LED", len(LIT) + 2, 5, lambda charger, frame: strip(charger[1], frame)),
    Column("state", _longest(OP_MODE.values()), 7, _state),
    Column("kW", 5, 6, _number("total_power", 1), is_number=True),
    Column("kWh", 6, 4, _number("session_energy", 2), is_number=True),
    Column("limit A", 7, 3, _number("dynamic_charger_current", 0), is_number=True),
    Column("reason", _longest(NO_CURRENT_REASON.values()), 2, _word("no_current_reason")),
    Column("light", _longest(LED_MEANING.values()), 1, _word("led")),
)


def _answer(row: CommandRow, _frame: int) -> Text:
    return Text(row.state, style=STATE_STYLES.get(row.state, "red" if row.is_final else ""))


COMMANDS: Final[tuple[Column[CommandRow], ...]] = (
    Column("charger", USUAL_SERIAL, 2, lambda row, _frame: Text(row.charger_id)),
    Column("command", _longest(CATALOGUE), 4, lambda row, _frame: Text(row.name)),
    Column("value", MAX_VALUE_LENGTH, 1, lambda row, _frame: Text(row.value)),
    Column("state", _longest(STATES), 3, _answer),
)


def _commands(board: Board, width: int) -> list[Text]:
    """Return the newest commands, head first; a reason without room has a line of its own."""
    head, *lines = table(COMMANDS, board.commands, width)
    has_title = len(head) + len(f"{GAP}reason") <= width
    found = [head.append(f"{GAP}reason" if has_title else "", style="bold")]
    if not lines:
        return [*found, Text("none yet; yours appears here, with what became of it")]
    for row, line in zip(board.commands, lines, strict=True):
        has_room = len(line) + len(GAP) + len(row.reason) <= width
        found.append(line.append(f"{GAP}{row.reason}" if row.reason and has_room else ""))
        if not has_room:
            found.append(Text(f"{GAP}{row.reason}"))
    return found


# -- the screen --------------------------------------------------------------------------------


def continued(command: str, width: int) -> list[str]:
    """Break a command line for a narrow terminal, so that a shell still reads it as one."""
    lines: list[str] = []
    for word in command.split(" "):
        # Two for the blank and the backslash that a line which goes on ends with.
        if lines and len(lines[-1]) + 1 + len(word) + 2 <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}" if lines else word)
    broken = [f"{line} \\" for line in lines[:-1]] + lines[-1:]
    return [piece for line in broken for piece in _pieces(line, width)]


def _pieces(line: str, width: int) -> list[str]:
    """Break a line inside a word that is longer than the window; a shell joins it again."""
    if len(line) <= width:
        return [line]
    room = width - 1
    pieces = [line[at : at + room] for at in range(0, len(line), room)]
    return [f"{piece}\\" for piece in pieces[:-1]] + pieces[-1:]


def _status(board: Board, address: str, width: int) -> Text:
    """Return the line that says how everything is, with as much as there is room for."""
    state, cloud = (board.bridge.get(name, "...") for name in ("state", "cloud"))
    houses = (row for row in board.chargers.values() if row.is_equalizer)
    loads = (f"house {row.number(HOUSE_LOAD, 1)} kW" for row in houses)
    parts = (address, f"bridge {state}", f"cloud {cloud}", *loads, f"{board.messages} messages")
    text = parts[0]
    for part in parts[1:]:
        if len(text) + len(GAP) + len(part) <= width:
            text += GAP + part
    return Text(text)


def screen(
    board: Board, address: str, tries: Sequence[str], size: tuple[int, int], frame: int
) -> Group:
    """Render the whole screen.

    Args:
        board: What is known.
        address: Of the broker.
        tries: Command lines to copy.
        size: Columns and rows of the terminal.
        frame: Counts up; the LEDs move with it.
    """
    width, height = size
    head = [Text(TITLE, style="bold")]
    head += [Text(line) for command in tries for line in continued(command, width)]
    head += [Text(), _status(board, address, width), Text()]
    rows = sorted(each for each in board.chargers.items() if not each[1].is_equalizer)
    chargers = table(CHARGERS, rows, width, frame)
    commands = _commands(board, width)
    end = [Text(), Text(END)]
    room = height - len(head) - 1
    if len(chargers) + len(commands) + len(end) > room:
        end = []
    commands = commands[: max(room - len(chargers), FEWEST_COMMAND_LINES)]
    chargers = _shortened(chargers, room - len(commands))
    lines = [*head, *chargers, Text(), *commands, *end][:height]
    for line in lines:
        line.no_wrap = True
    return Group(*lines)


def _shortened(chargers: list[Text], room: int) -> list[Text]:
    """Return as many chargers as there is room for, and how many are missing."""
    room = max(room, FEWEST_CHARGER_LINES)
    if len(chargers) <= room:
        return chargers
    return [*chargers[: room - 1], Text(f"and {len(chargers) - room + 1} more")]


class Screen:
    """A live screen, or lines, over one board.

    Args:
        board: What is shown.
        address: Of the broker.
        tries: A serial to command lines to copy.
        usual: The serial they are for while no charger can be controlled.
        closed: Called when nothing can be shown any more, because the output was closed.
    """

    def __init__(
        self,
        board: Board,
        *,
        address: str,
        tries: Callable[[str], Sequence[str]],
        usual: str,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._board = board
        self._address = address
        self._tries = tries
        self._usual = usual
        self._closed = closed
        self._console = Console()
        self._frame = 0
        self._size = self._console.size
        is_screen = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = (
            Live(console=self._console, auto_refresh=False, screen=True) if is_screen else None
        )
        self._started_s = time.perf_counter()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        else:
            self._line(self._address)
            for command in self._tries(self._usual):
                self._line(f"try: {command}")
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        if self._live is not None:
            self._live.stop()
            if kind is None:
                print(NEXT)  # noqa: T201 - the one line that stays

    def take(self, topic: str, payload: bytes) -> None:
        """Handle one message."""
        line = self._board.take(topic, payload)
        if line is not None and self._live is None:
            self._line(line)

    def draw(self) -> None:
        """Render the next frame; does nothing where the output is no screen."""
        if self._live is None:
            return
        self._frame += 1
        size = self._console.size
        if size != self._size:  # what the old size left is not painted over everywhere
            self._console.control(Control.clear())
            self._size = size
        tries = self._tries(self._board.offered(self._usual))
        shape = (size.width, size.height)
        picture = screen(self._board, self._address, tries, shape, self._frame)
        self._live.update(picture, refresh=True)

    def _line(self, text: str) -> None:
        elapsed_s = time.perf_counter() - self._started_s
        try:
            print(f"{elapsed_s:7.2f}s  {text}", flush=True)  # noqa: T201 - this is what it is for
        except BrokenPipeError:  # `| head` has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            self._closed()
