"""The live view: a terminal screen, or plain lines where the output is no terminal."""

import time
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bridge.demo.board import Board, ChargerRow

LED = "●●●●●●"
COLORS = {"white": "bright_white", "blue": "bright_blue", "red": "bright_red", "green": "green"}
# How the strip moves: phases of dim and lit, a quarter of a second each.
PATTERNS = {
    "flashing": (True, True, False, False),
    "fast_flashing": (True, False, True, False),
    "pulsing": (True, True, True, False),
}
FRAMES_PER_S = 4
TEXT_COLUMNS = 60


def strip(row: ChargerRow, frame: int) -> Text:
    """Draw a charger's LED strip as it looks in this frame."""
    color = COLORS.get(row.get("led_color"))
    if color is None:
        return Text("○○○○○○", style="dim")
    phases = PATTERNS.get(row.get("led_pattern"), (True,))
    lit = phases[frame % len(phases)]
    return Text(LED, style=color if lit else f"dim {color}")


def screen(board: Board, address: str, hint: str, frame: int) -> Group:
    """Draw everything."""
    table = Table(expand=True, title="chargers", title_justify="left")
    columns = ("charger", "", "LED", "meaning", "op mode", "power kW", "session kWh", "reason")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for charger_id, row in sorted(board.chargers.items()):
        online = row.availability == "online"
        table.add_row(
            charger_id,
            Text(row.availability, style="green" if online else "red"),
            strip(row, frame),
            row.get("led"),
            row.get("op_mode"),
            row.get("total_power"),
            row.get("session_energy"),
            row.get("no_current_reason"),
        )
    news = Table(expand=True, title="newest topics", title_justify="left", show_header=False)
    news.add_column("topic", no_wrap=True)
    news.add_column("payload", no_wrap=True, overflow="ellipsis")
    for topic, payload in board.newest:
        news.add_row(topic, payload[:TEXT_COLUMNS])
    bridge = board.bridge
    head = (
        f"{address}   bridge {bridge.get('state', '…')}   cloud {bridge.get('cloud', '…')}   "
        f"{board.messages} messages"
    )
    return Group(
        Panel(Text(head), title="charger-bridge demo"),
        table,
        news,
        Panel(Text(hint), title="try this in another terminal (Ctrl-C ends the demo)"),
    )


class Screen:
    """A live screen, or lines, over one board."""

    def __init__(self, board: Board, *, address: str, hint: str) -> None:
        self._board = board
        self._address = address
        self._hint = hint
        self._console = Console()
        self._frame = 0
        self._live = (
            Live(console=self._console, auto_refresh=False, screen=False)
            if self._console.is_terminal
            else None
        )
        self._started_s = time.perf_counter()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        else:
            self._line(self._address)
            self._line(f"try: {self._hint}")
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live is not None:
            self._live.stop()

    def take(self, topic: str, payload: bytes) -> None:
        """Show one message."""
        line = self._board.take(topic, payload)
        if line is not None and self._live is None:
            self._line(line)

    def draw(self) -> None:
        """Draw the next frame; does nothing where the output is no terminal."""
        if self._live is not None:
            self._frame += 1
            picture = screen(self._board, self._address, self._hint, self._frame)
            self._live.update(picture, refresh=True)

    def _line(self, text: str) -> None:
        elapsed_s = time.perf_counter() - self._started_s
        print(f"{elapsed_s:7.2f}s  {text}", flush=True)  # noqa: T201 - this is what the demo is for
