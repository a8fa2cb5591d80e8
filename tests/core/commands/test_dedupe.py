from bridge.core.commands import dedupe
from bridge.core.commands.admission import Order
from bridge.core.commands.catalogue import CATALOGUE
from bridge.core.commands.dedupe import REMEMBERED_S, Memory
from bridge.core.commands.lifecycle import Command
from bridge.core.events import Moment
from tests.conftest import NOON


def _command(name, at_s=0.0):
    order = Order("EH123456", CATALOGUE["start"], None, None, name, 60.0)
    return Command(order, Moment(NOON, at_s), at_s + 60.0, [])


def test_a_name_leads_to_the_command_and_then_to_its_answer():
    """While a command runs its name finds it; afterwards its name finds the final answer."""
    memory, one = Memory(), _command(("EH123456", "a"))
    memory.begin(one)
    assert memory.find(("EH123456", "a"), 1.0).command is one
    memory.settle(one, b"done")
    fate = memory.find(("EH123456", "a"), 2.0)
    assert (fate.command, fate.answer, fate.content) == (None, b"done", ("start", None))


def test_names_of_other_chargers_and_kinds_are_other_names():
    """A name belongs to one charger, and an id is not the same bytes of correlation data."""
    memory = Memory()
    memory.begin(_command(("EH123456", "a")))

    assert memory.find(("EH999999", "a"), 1.0) is None
    assert memory.find(("EH123456", b"a"), 1.0) is None
    assert memory.find(None, 1.0) is None


def test_names_are_forgotten_after_a_day(monkeypatch):
    """A name is free again after 24 hours, and the oldest go when there are too many."""
    memory = Memory()
    memory.begin(_command(("EH123456", "a")))
    assert memory.find(("EH123456", "a"), REMEMBERED_S) is not None
    assert memory.find(("EH123456", "a"), REMEMBERED_S + 1.0) is None

    monkeypatch.setattr(dedupe, "MOST_REMEMBERED", 2)
    commands = [_command(("EH123456", text)) for text in "abc"]
    for one in commands:
        memory.begin(one)
    memory.settle(commands[0], b"too late")
    found = [memory.find(("EH123456", text), 1.0) is not None for text in "abc"]
    assert found == [False, True, True]


def test_a_command_without_a_name_is_not_remembered():
    """Nothing is kept for a caller who gave no name."""
    memory, one = Memory(), _command(None)
    memory.begin(one)
    memory.settle(one, b"done")

    assert memory.find(None, 1.0) is None
