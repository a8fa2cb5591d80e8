import pytest

from bridge.core.commands.queues import (
    MAX_WAITING,
    MAX_WAITING_PER_CHARGER,
    RESERVED,
    RESERVED_PER_CHARGER,
    CommandQueues,
)
from bridge.core.commands.state_machine import Command
from bridge.core.commands.validation import CommandRequest
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.records.moment import Timestamp
from bridge.errors import CommandRefused
from tests.conftest import NOON


def _command(charger_id, seq=0):
    request = CommandRequest(charger_id, CATALOGUE["start"], None, None, None, 60.0)
    return Command(request, Timestamp(NOON, 0.0), 60.0, [], seq=seq)


def test_a_lane_is_first_come_first_served():
    """Commands of one charger leave in the order they came; a retry goes first again."""
    queues = CommandQueues()
    first, second = _command("A", 1), _command("A", 2)
    queues.put(first)
    queues.put(second)
    assert list(queues.ready(())) == [first]
    queues.remove(first)
    assert list(queues.ready(())) == [second]
    queues.put(first)
    assert list(queues.ready(())) == [first]


def test_lanes_take_turns():
    """A charger that was served goes behind the others; a busy one is passed over."""
    queues = CommandQueues()
    for charger_id in ("A", "A", "B", "C"):
        queues.put(_command(charger_id))
    queues.rotate("A")
    queues.rotate("nobody")

    assert [c.charger_id for c in queues.ready(())] == ["B", "C", "A"]
    assert [c.charger_id for c in queues.ready({"C"})] == ["B", "A"]


def test_lanes_are_bounded():
    """A full lane is busy by itself, and all of them together are bounded too."""
    queues = CommandQueues()
    for number in range(MAX_WAITING // MAX_WAITING_PER_CHARGER):
        for _ in range(MAX_WAITING_PER_CHARGER):
            queues.check_capacity(f"C{number}")
            queues.put(_command(f"C{number}"))
        with pytest.raises(CommandRefused, match="busy"):
            queues.check_capacity(f"C{number}")
    with pytest.raises(CommandRefused, match="busy"):
        queues.check_capacity("another")
    queues.remove(next(queues.ready(())))
    queues.check_capacity("another")


def test_a_flood_leaves_room_to_stop():
    """Where everything else is busy some stops still find a place, and those are bounded too."""
    queues = CommandQueues()
    for _ in range(MAX_WAITING_PER_CHARGER):
        queues.put(_command("A"))
    for _ in range(RESERVED_PER_CHARGER):
        with pytest.raises(CommandRefused, match="busy"):
            queues.check_capacity("A")
        queues.check_capacity("A", reduces=True)
        queues.put(_command("A"))
    with pytest.raises(CommandRefused, match="busy"):
        queues.check_capacity("A", reduces=True)


def test_a_circuits_command_waits_in_the_lanes_of_all_its_chargers():
    """It goes when it is the first everywhere, and nothing that came later goes before it."""
    queues = CommandQueues()
    before, circuit, after = _command("B", 1), _command("A", 2), _command("B", 3)
    for command in (before, after, circuit):
        queues.put(command)
    queues.put(circuit, {"A", "B"})
    assert list(queues.waiting("B")) == [before, circuit, after]
    assert list(queues.ready(())) == [before]

    queues.remove(before)
    assert list(queues.ready(())) == [circuit]
    assert list(queues.ready({"B"})) == []
    assert not queues.is_ready(after, ())
    queues.put(circuit)  # again, and for fewer of them
    queues.remove(circuit)
    assert list(queues.ready(())) == [after]
    assert list(queues.waiting("A")) == []


def test_what_is_ending_takes_room_too():
    """Commands that left the lane and are not on disk yet count for its charger."""
    queues = CommandQueues()
    queues.check_capacity("A", MAX_WAITING_PER_CHARGER - 1)
    with pytest.raises(CommandRefused, match="busy"):
        queues.check_capacity("A", MAX_WAITING_PER_CHARGER)


def test_floods_of_all_chargers_leave_room_to_stop():
    """Where no lane has room for anything else some stops still find a place, and no more."""
    queues = CommandQueues()
    for number in range(MAX_WAITING):
        queues.put(_command(f"C{number}"))
    for number in range(RESERVED):
        with pytest.raises(CommandRefused, match="busy"):
            queues.check_capacity(f"D{number}")
        queues.check_capacity(f"D{number}", reduces=True)
        queues.put(_command(f"D{number}"))
    with pytest.raises(CommandRefused, match="busy"):
        queues.check_capacity("another", reduces=True)
