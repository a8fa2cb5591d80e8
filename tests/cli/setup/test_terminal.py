"""Questions are asked until they are answered, and what is shown fits the terminal."""

import io

import pytest

from bridge.cli.setup.terminal import WIDEST, BrokenOff, Terminal

LONG = "a sentence that is longer than any line of a terminal of eighty columns " * 3
OPTIONS = {"one": "the first", "two": "the second"}


class Tty(io.StringIO):
    """An output that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def output() -> io.StringIO:
    """Where everything is written."""
    return io.StringIO()


def test_an_answer_that_cannot_be_used_is_asked_for_again(typist, output):
    """What is wrong is said, and the question comes once more."""
    typist.script = ["abc", " 12 "]
    answer = Terminal(output).ask(
        "Port", problem=lambda text: None if text.isdigit() else "must be a number"
    )

    assert answer == "12"
    assert typist.asked == ["Port: ", "Port: "]
    assert output.getvalue() == "  failed: it must be a number\n"


def test_enter_is_the_default_and_an_empty_answer_without_one(typist, output):
    """The default is shown in brackets."""
    typist.script = ["", ""]

    assert Terminal(output).ask("Host", "localhost") == "localhost"
    assert Terminal(output).ask("User") == ""
    assert typist.asked == ["Host [localhost]: ", "User: "]


def test_a_secret_is_judged_and_not_shown(typist, output):
    """An empty password is asked for again; neither is written anywhere."""
    typist.script = ["", "canary-77"]
    found = Terminal(output).ask_secret("Password", lambda text: None if text else "is empty")

    assert found == "canary-77"
    assert output.getvalue() == "  failed: it is empty\n"


@pytest.mark.parametrize(
    ("typed", "default", "means"),
    [("", True, True), ("", False, False), ("y", False, True), ("No", True, False)],
)
def test_yes_and_no(typist, output, typed, default, means):
    """Enter is the capital one."""
    typist.script = ["what?", typed]

    assert Terminal(output).confirm("Write", default=default) is means
    assert typist.asked[0] == f"Write [{'Y/n' if default else 'y/N'}]: "


@pytest.mark.parametrize(("typed", "word"), [("1", "one"), ("two", "two"), ("", "two")])
def test_a_choice_is_made_by_number_or_word(typist, output, typed, word):
    """Anything else is asked for again."""
    typist.script = ["3", "²", "-1", typed]

    assert Terminal(output).choose("Choice", OPTIONS, "two") == word
    assert "1  the first" in output.getvalue()
    assert typist.asked[-1] == "Choice [2]: "


@pytest.mark.parametrize("method", ["ask", "ask_secret", "confirm", "choose"])
def test_the_end_of_the_input_ends_the_dialogue(typist, output, method):
    """Ctrl-D is an end, not an empty answer."""
    typist.script = [EOFError()]
    terminal = Terminal(output)
    ways = {
        "ask": lambda: terminal.ask("x", "default"),
        "ask_secret": lambda: terminal.ask_secret("x", lambda _: None),
        "confirm": lambda: terminal.confirm("x", default=True),
        "choose": lambda: terminal.choose("x", OPTIONS, "one"),
    }

    with pytest.raises(BrokenOff):
        ways[method]()


@pytest.mark.parametrize("columns", ["40", "80", "300"])
def test_text_is_wrapped_and_a_line_to_copy_is_not(output, monkeypatch, columns):
    """Prose fits into the window, and into 80 columns of a wider one."""
    monkeypatch.setenv("COLUMNS", columns)
    terminal = Terminal(output)
    terminal.say(LONG)
    for mark in (terminal.good, terminal.bad, terminal.warn):
        mark(LONG)
    prose = output.getvalue().splitlines()
    terminal.line(LONG)

    assert max(map(len, prose)) <= min(int(columns), WIDEST)
    assert output.getvalue().splitlines()[len(prose) :] == [f"  {LONG}"]


def test_colour_only_where_a_terminal_shows_it(monkeypatch):
    """A pipe, a dumb terminal and NO_COLOR get plain text."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def written(output: io.StringIO) -> str:
        terminal = Terminal(output)
        terminal.heading("Broker")
        terminal.good("connected")
        return output.getvalue()

    assert "\033[" in written(Tty())
    assert written(io.StringIO()) == "\nBroker\n  ok: connected\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033[" not in written(Tty())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\033[" not in written(Tty())


def test_what_others_say_cannot_move_the_cursor(output):
    """Control characters of a broker's or a cloud's text are escaped."""
    Terminal(output).bad("evil \033[2J text")

    assert "\033" not in output.getvalue()
