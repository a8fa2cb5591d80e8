"""The demo's board: messages in, rows out."""

import pytest

from bridge.demo.board import Board, ChargerRow, CommandRow


def test_a_charger_appears_with_what_its_topics_say():
    """Availability and state land in the charger's row."""
    board = Board("charger")
    board.take("charger/EH000001/availability", b"online")
    board.take("charger/EH000001/state/op_mode", b"charging")
    board.take("charger/EH000001/state/led_color", b"null")
    row = board.chargers["EH000001"]

    assert row.availability == "online"
    assert row.get("op_mode") == "charging"
    assert row.get("led_color") == "-"
    assert row.get("never_seen") == "-"


def test_headlines_are_printed_and_telemetry_is_not():
    """Where there is no screen, only what a person would tell is printed."""
    board = Board("charger")

    assert board.take("charger/EH000001/state/op_mode", b"charging")
    assert board.take("charger/EH000001/result/pause", b"{}")
    assert board.take("charger/bridge/state", b"online")
    assert board.take("charger/EH000001/state/total_power", b"7.2") is None
    assert board.take("charger/EH000001/observation/total_power", b"{}") is None


def test_a_command_and_its_answer_are_one_row():
    """What was sent is seen at once, then what became of it, and why."""
    board = Board("charger")
    board.take("charger/EH000001/set/dynamic_charger_current", b'{"value": 40, "id": "a"}')
    assert (board.commands[0].value, board.commands[0].state) == ("40", "sent")
    board.take(
        "charger/EH000001/result/dynamic_charger_current",
        b'{"state": "refused", "reason": "over_limit", "final": true}',
    )

    assert list(board.commands) == [
        CommandRow(
            "EH000001", "dynamic_charger_current", "40", "refused", "over_limit", is_final=True
        )
    ]


def test_answers_go_to_the_oldest_command_that_waits():
    """Two of the same kind are answered in the order they were sent; others are left alone."""
    board = Board("charger")
    for serial in ("EH000001", "EH000001", "EH000002"):
        board.take(f"charger/{serial}/set/pause", b"PRESS")
    for state, final in (("accepted", "false"), ("confirmed", "true"), ("noop", "true")):
        text = f'{{"state": "{state}", "final": {final}, "reason": null}}'
        board.take("charger/EH000001/result/pause", text.encode())

    assert [row.state for row in board.commands] == ["sent", "noop", "confirmed"]
    assert board.commands[1].reason == ""


@pytest.mark.parametrize("text", [b"[]", b"nonsense", b'{"state": 5}', b"[" * 100_000])
def test_an_answer_that_cannot_be_read_is_shown_as_such(text):
    """The board never fails at what a stranger publishes."""
    board = Board("charger")
    board.take("charger/EH000001/result/pause", text)

    assert board.commands[0].name == "pause"
    assert not board.commands[0].is_final


@pytest.mark.parametrize(
    ("payload", "value"),
    [(b"16", "16"), (b"PRESS", "PRESS"), (b'{"value": true}', "true"), (b'{"amps": 16}', "JSON")],
)
def test_only_a_short_value_is_shown(payload, value):
    """A document does not fit into a table."""
    board = Board("charger")
    board.take("charger/EH000001/set/x", payload)

    assert board.commands[0].value == value


def test_the_list_of_commands_is_bounded_and_an_emptied_topic_is_none():
    """Five are kept, the newest first; emptying a retained topic is no command."""
    board = Board("charger")
    for number in range(20):
        board.take("charger/EH000001/get/sessions", str(number).encode())
    board.take("charger/EH000001/set/pause", b"")

    assert [row.value for row in board.commands] == ["19", "18", "17", "16", "15"]
    assert board.messages == 21


def test_numbers_have_their_decimals_or_are_a_dash():
    """What is no number, or not known, is a dash."""
    row = ChargerRow(state={"total_power": "7.26", "session_energy": "12.345", "bad": "null"})

    assert (row.number("total_power", 1), row.number("session_energy", 2)) == ("7.3", "12.35")
    assert row.number("bad", 1) == row.number("missing", 1) == "-"


def seen(board: Board, serial: str, op_mode: str, availability: str = "online") -> None:
    """Let a charger say how it is."""
    board.take(f"charger/{serial}/availability", availability.encode())
    board.take(f"charger/{serial}/state/op_mode", op_mode.encode())


def test_commands_are_offered_for_a_charger_that_can_do_them():
    """A charging one comes first, and it stays while it can be controlled."""
    board = Board("charger")
    assert board.offered("EH000002") == "EH000002"
    seen(board, "EH000001", "awaiting_authorization")
    seen(board, "EH000004", "awaiting_start")
    assert board.offered("EH000002") == "EH000004"
    seen(board, "EH000003", "charging")
    assert board.offered("EH000002") == "EH000004"
    seen(board, "EH000004", "charging", "offline")
    assert board.offered("EH000002") == "EH000003"
    seen(board, "EH000003", "awaiting_start")
    assert board.offered("EH000002") == "EH000003"
    seen(board, "EH000003", "disconnected")
    assert board.offered("EH000002") == "EH000003"
