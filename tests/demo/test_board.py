"""The demo's board: messages in, rows out."""

from bridge.demo.board import NEWEST, Board


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


def test_the_list_of_news_is_bounded():
    """However much arrives, only the newest is kept."""
    board = Board("charger")
    for number in range(100):
        board.take("charger/EH000001/state/total_power", str(number).encode())

    assert len(board.newest) == NEWEST
    assert board.newest[0] == ("charger/EH000001/state/total_power", b"99".decode())
    assert board.messages == 100
