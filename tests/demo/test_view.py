"""What the demonstration shows: nothing cut, in every size, on dark and light ground."""

import io
import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME

from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.enumerations import LED_MEANING, NO_CURRENT_REASON, OP_MODE
from bridge.demo import view
from bridge.demo.board import Board, ChargerRow
from bridge.demo.view import CHARGERS, COMMANDS, Screen, continued, fitting, screen, strip

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
ADDRESS = "mqtt://127.0.0.1:1883"
TRIES = tuple(
    f"mosquitto_pub -t charger/EH000002/set/{name} -m {payload}"
    for name, payload in (("pause", "PRESS"), ("resume", "PRESS"), ("dynamic_charger_current", 10))
)
CHARGER = {
    "EH000001": {
        "op_mode": "awaiting_authorization", "led": "awaiting_authorization",
        "led_color": "white", "led_pattern": "flashing", "total_power": "0",
        "session_energy": "0", "no_current_reason": "pending_authorization",
        "dynamic_charger_current": "32",
    },
    "EH000002": {
        "op_mode": "charging", "led": "charging", "led_color": "green", "led_pattern": "pulsing",
        "total_power": "6.912", "session_energy": "12.3456", "no_current_reason": "ok",
        "dynamic_charger_current": "10",
    },
    "EH000003": {
        "op_mode": "charging", "led": "smart_charging", "led_color": "blue",
        "led_pattern": "steady", "total_power": "10.9", "session_energy": "3.2",
        "no_current_reason": "limited_by_dynamic_charger_limit", "dynamic_charger_current": "16",
    },
}  # fmt: skip
ANSWERS = (
    ("pause", "PRESS", '{"state": "confirmed", "final": true}'),
    ("resume", "PRESS", '{"state": "confirmed", "final": true}'),
    ("dynamic_charger_current", "40", '{"state":"refused","reason":"over_limit","final":true}'),
    ("dynamic_charger_current", "10", '{"state": "accepted", "final": false}'),
)


@pytest.fixture
def board() -> Board:
    """Three chargers, and four commands of different fates."""
    found = Board("charger")
    found.take("charger/bridge/state", b"online")
    found.take("charger/bridge/cloud", b"connected")
    for serial, state in CHARGER.items():
        found.take(f"charger/{serial}/availability", b"online")
        for name, value in state.items():
            found.take(f"charger/{serial}/state/{name}", value.encode())
    for name, payload, answer in ANSWERS:
        found.take(f"charger/EH000002/set/{name}", payload.encode())
        found.take(f"charger/EH000002/result/{name}", answer.encode())
    return found


def drawn(board: Board, width: int, height: int, frame: int = 0) -> Console:
    """Draw one picture on a console that remembers it."""
    console = Console(
        width=width, height=height, record=True, file=io.StringIO(), force_terminal=True,
        color_system="truecolor", legacy_windows=False, _environ={},
    )  # fmt: skip
    console.print(screen(board, ADDRESS, TRIES, (width, height), frame))
    return console


def text_of(board: Board, width: int, height: int) -> list[str]:
    """The lines of one picture."""
    return drawn(board, width, height).export_text().splitlines()


def test_eighty_columns_hold_everything_that_counts(board):
    """Serial, LED, state, kW with one decimal, kWh with two, and commands with their reasons."""
    lines = text_of(board, 80, 24)
    text = "\n".join(lines)

    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for words in (
        ("EH000001", "awaiting_authorization", "0.0", "0.00"),
        ("EH000002", "●●●●●●", "charging", "6.9", "12.35"),
        ("EH000002", "dynamic_charger_current", "40", "refused", "over_limit"),
        ("EH000002", "dynamic_charger_current", "10", "accepted"),
    ):
        assert any(all(word in line for word in words) for line in lines), words
    assert "bridge online  cloud connected" in text
    assert lines[1:4] == list(TRIES)
    assert "…" not in text


@given(width=st.integers(40, 200), height=st.integers(16, 60), frame=st.integers(0, 7))
def test_no_size_cuts_a_word_or_a_line_to_try(width, height, frame):
    """In whatever window: what is shown is shown whole, and what to try is there."""
    board = Board("charger")
    for serial, state in CHARGER.items():
        board.take(f"charger/{serial}/availability", b"online")
        for name, value in state.items():
            board.take(f"charger/{serial}/state/{name}", value.encode())
    board.take("charger/EH000002/set/pause", b"PRESS")
    lines = text_of(board, width, height)

    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    copied = " ".join("\n".join(lines).replace("\\\n", "").split())
    assert all(command in copied for command in TRIES)
    known = {*CHARGER, *OP_MODE.values(), *NO_CURRENT_REASON.values(), *LED_MEANING.values()}
    known |= {*CATALOGUE, "sent", "PRESS", "charger", "command", "value", "state", "reason"}
    known |= {column.title for column in CHARGERS} | {"limit", "A", "light"}
    table = lines[next(n for n, line in enumerate(lines) if line.startswith("charger ")) :]
    for word in " ".join(table).split():
        number = word.replace(".", "").isdigit()
        others = {"and", "more", "Ctrl-C", "ends", "the", "demonstration.", "●●●●●●", "○○○○○○"}
        assert number or word in known | others, word


def test_columns_leave_in_the_order_of_their_value():
    """A narrower window has a subset of a wider one's columns; the serial stays to the last."""
    for columns in (CHARGERS, COMMANDS):
        kept = [{column.title for column in fitting(columns, width)} for width in range(5, 200)]
        assert all(narrow <= wide for narrow, wide in itertools.pairwise(kept))
        assert len(kept[0]) == 1
        assert kept[-1] == {column.title for column in columns}
    titles = [column.title for column in fitting(CHARGERS, 80)]
    assert titles[:5] == ["charger", "LED", "state", "kW", "kWh"]
    assert "reason" in [column.title for column in fitting(CHARGERS, 100)]


def test_more_chargers_than_rows_are_counted(board):
    """What has no room is said to be missing; the commands stay."""
    for number in range(4, 60):
        board.take(f"charger/EH{number:06}/availability", b"online")
    lines = text_of(board, 80, 24)

    assert len(lines) <= 24
    assert any(line.startswith("and ") and line.rstrip().endswith(" more") for line in lines)
    assert any("over_limit" in line for line in lines)


@pytest.mark.parametrize("width", range(20, 120, 7))
def test_a_continued_line_is_one_line_for_a_shell(width):
    """Taking backslash and line break away gives the command back."""
    for command in TRIES:
        lines = continued(command, width)
        assert "\n".join(lines).replace("\\\n", "").split() == command.split()
        assert max(map(len, lines)) <= width


def test_a_reason_without_room_has_a_line_of_its_own(board):
    """It is never left out and never cut."""
    lines = text_of(board, 60, 30)
    at = next(number for number, line in enumerate(lines) if "refused" in line)

    assert "over_limit" in lines[at] or lines[at + 1].strip() == "over_limit"


# -- colours -------------------------------------------------------------------------------------


def test_the_strip_shows_colour_and_motion():
    """White flashing is lit and dark in turn; steady stays; an unknown colour is empty."""
    flashing = ChargerRow("online", {"led_color": "white", "led_pattern": "flashing"})
    steady = ChargerRow("online", {"led_color": "blue", "led_pattern": "steady"})

    assert len({strip(flashing, frame).plain for frame in range(4)}) == 2
    assert {str(strip(steady, frame).style) for frame in range(4)} == {"bright_blue on black"}
    assert strip(ChargerRow("online"), 0).plain != strip(steady, 0).plain
    assert strip(ChargerRow("offline", steady.state), 0).plain != strip(steady, 0).plain


def test_text_keeps_the_terminals_own_colours(board):
    """No white, yellow or bright text that a light ground would swallow, except on black."""
    for line in screen(board, ADDRESS, TRIES, (200, 40), 0).renderables:
        for span in line.spans:
            words = str(span.style).split()
            if "black" not in words:
                assert set(words) <= {"bold", "green", "red", "blue"}, span


@pytest.mark.parametrize(
    ("name", "theme"), [("demo-dark", SVG_EXPORT_THEME), ("demo-light", DEFAULT_TERMINAL_THEME)]
)
def test_the_pictures_of_the_readme_are_what_it_shows(board, name, theme):
    """docs/images holds this very screen; IMAGES=docs/images writes it anew."""
    svg = drawn(board, 80, 24).export_svg(
        title="charger-bridge demo", theme=theme, code_format=without_fonts(), unique_id=name
    )
    if wanted := os.environ.get("IMAGES"):
        (Path(wanted) / f"{name}.svg").write_text(svg)

    assert (IMAGES / f"{name}.svg").read_text() == svg


def without_fonts() -> str:
    """Rich's SVG without what a viewer would fetch from elsewhere."""
    before, _, rest = CONSOLE_SVG_FORMAT.partition("    @font-face")
    return before + rest[rest.index("    .{unique_id}-matrix") :]


# -- lines ---------------------------------------------------------------------------------------


def test_where_the_output_is_no_terminal_lines_are_printed(capsys):
    """The address first, what to try, then what happens."""
    plain = Screen(Board("charger"), address=ADDRESS, tries=lambda _: TRIES, usual="EH000002")
    with plain:
        plain.take("charger/bridge/state", b"online")
        plain.take("charger/EH000001/state/total_power", b"7")
        plain.draw()
    lines = [line[10:] for line in capsys.readouterr().out.splitlines()]

    assert lines == [ADDRESS, *(f"try: {line}" for line in TRIES), "charger/bridge/state online"]


def test_a_closed_output_is_told_and_not_written_to_again(monkeypatch):
    """After the first broken pipe the demonstration is asked to end, and nothing is raised."""
    told = []
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(view.sys, "stdout", stream)
        shown = Screen(
            Board("charger"), address=ADDRESS, tries=lambda _: TRIES, usual="EH000002",
            closed=lambda: told.append("closed"),
        )  # fmt: skip
        with shown:
            shown.take("charger/bridge/state", b"online")

    assert told == ["closed"]


def test_an_equalizer_is_the_load_of_the_house_and_no_charger(board):
    """Its serial is in no row; its value is beside the state of bridge and cloud."""
    board.take("charger/QP000001/availability", b"online")
    board.take("charger/QP000001/state/active_power_import", b"1.3456")
    shown = drawn(board, 80, 24).export_text()

    assert "QP000001" not in shown
    assert "cloud connected  house 1.3 kW" in shown
