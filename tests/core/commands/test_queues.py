import pytest

from bridge.core.commands.queues import (
    KEPT,
    KEPT_PER_CHARGER,
    MOST_WAITING,
    MOST_WAITING_PER_CHARGER,
    Lanes,
)
from bridge.core.commands.state_machine import Command
from bridge.core.commands.validation import Order
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.records.moment import Moment
from bridge.errors import CommandRefused
from tests.conftest import NOON


def _command(charger_id, seq=0):
    order = Order(charger_id, CATALOGUE["start"], None, None, None, 60.0)
    return Command(order, Moment(NOON, 0.0), 60.0, [], seq=seq)


def test_a_lane_is_first_come_first_served():
    """Commands of one charger leave in the order they came; a retry goes first again."""
    lanes = Lanes()
    first, second = _command("A", 1), _command("A", 2)
    lanes.put(first)
    lanes.put(second)
    assert list(lanes.first(())) == [first]
    lanes.remove(first)
    assert list(lanes.first(())) == [second]
    lanes.put(first)
    assert list(lanes.first(())) == [first]


def test_lanes_take_turns():
    """A charger that was served goes behind the others; a busy one is passed over."""
    lanes = Lanes()
    for charger_id in ("A", "A", "B", "C"):
        lanes.put(_command(charger_id))
    lanes.served("A")
    lanes.served("nobody")

    assert [c.charger_id for c in lanes.first(())] == ["B", "C", "A"]
    assert [c.charger_id for c in lanes.first({"C"})] == ["B", "A"]


def test_lanes_are_bounded():
    """A full lane is busy by itself, and all of them together are bounded too."""
    lanes = Lanes()
    for number in range(MOST_WAITING // MOST_WAITING_PER_CHARGER):
        for _ in range(MOST_WAITING_PER_CHARGER):
            lanes.check_room(f"C{number}")
            lanes.put(_command(f"C{number}"))
        with pytest.raises(CommandRefused, match="busy"):
            lanes.check_room(f"C{number}")
    with pytest.raises(CommandRefused, match="busy"):
        lanes.check_room("another")
    lanes.remove(next(lanes.first(())))
    lanes.check_room("another")


def test_a_flood_leaves_room_to_stop():
    """Where everything else is busy some stops still find a place, and those are bounded too."""
    lanes = Lanes()
    for _ in range(MOST_WAITING_PER_CHARGER):
        lanes.put(_command("A"))
    for _ in range(KEPT_PER_CHARGER):
        with pytest.raises(CommandRefused, match="busy"):
            lanes.check_room("A")
        lanes.check_room("A", reduces=True)
        lanes.put(_command("A"))
    with pytest.raises(CommandRefused, match="busy"):
        lanes.check_room("A", reduces=True)


def test_a_circuits_command_waits_in_the_lanes_of_all_its_chargers():
    """It goes when it is the first everywhere, and nothing that came later goes before it."""
    lanes = Lanes()
    before, circuit, after = _command("B", 1), _command("A", 2), _command("B", 3)
    for command in (before, after, circuit):
        lanes.put(command)
    lanes.put(circuit, {"A", "B"})
    assert list(lanes.waiting("B")) == [before, circuit, after]
    assert list(lanes.first(())) == [before]

    lanes.remove(before)
    assert list(lanes.first(())) == [circuit]
    assert list(lanes.first({"B"})) == []
    assert not lanes.may_go(after, ())
    lanes.put(circuit)  # again, and for fewer of them
    lanes.remove(circuit)
    assert list(lanes.first(())) == [after]
    assert list(lanes.waiting("A")) == []


def test_what_is_ending_takes_room_too():
    """Commands that left the lane and are not on disk yet count for its charger."""
    lanes = Lanes()
    lanes.check_room("A", MOST_WAITING_PER_CHARGER - 1)
    with pytest.raises(CommandRefused, match="busy"):
        lanes.check_room("A", MOST_WAITING_PER_CHARGER)


def test_floods_of_all_chargers_leave_room_to_stop():
    """Where no lane has room for anything else some stops still find a place, and no more."""
    lanes = Lanes()
    for number in range(MOST_WAITING):
        lanes.put(_command(f"C{number}"))
    for number in range(KEPT):
        with pytest.raises(CommandRefused, match="busy"):
            lanes.check_room(f"D{number}")
        lanes.check_room(f"D{number}", reduces=True)
        lanes.put(_command(f"D{number}"))
    with pytest.raises(CommandRefused, match="busy"):
        lanes.check_room("another", reduces=True)
