from bridge.core.commands import persistence as module
from bridge.core.commands.persistence import LATER_S, RETRY_AFTER_S, WRITE_WITHIN_S, Scribe
from bridge.core.commands.state_machine import Command
from bridge.core.commands.validation import Order
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.events import Moment
from tests.conftest import NOON

NOW = Moment(NOON, 100.0)


def _command(key="k"):
    order = Order("EH123456", CATALOGUE["start"], None, None, None, 60.0)
    return Command(order, NOW, 160.0, [], key)


def _written(scribe, now=NOW):
    return [effect.row.key for effect in scribe.flush(now)]


def test_several_changes_are_one_row():
    """However often a command changes before it is written, it is written once."""
    scribe, one = Scribe(), _command()
    scribe.touch(one)
    scribe.touch(one)

    assert _written(scribe) == ["k"]
    assert scribe.saved("k") is one
    assert one.durable == one.version == 2
    assert not scribe.is_busy


def test_one_row_of_a_command_is_written_at_a_time():
    """What changes during a write is written when that is through, in one row."""
    scribe, one = Scribe(), _command()
    scribe.touch(one)
    assert _written(scribe) == ["k"]
    scribe.touch(one)
    scribe.touch(one)
    assert _written(scribe) == []
    assert scribe.saved("k") is one
    assert (one.durable, one.version) == (1, 3)
    assert _written(scribe) == ["k"]
    assert scribe.saved("k").durable == 3


def test_commands_do_not_wait_for_each_other():
    """Rows of different commands are written at the same time."""
    scribe = Scribe()
    for key in "ab":
        scribe.touch(_command(key))

    assert _written(scribe) == ["a", "b"]


def test_what_was_not_written_is_written_later():
    """A failed row is owed, and tried again after a while or when the store is well."""
    scribe, one = Scribe(), _command()
    scribe.touch(one)
    _written(scribe)
    assert scribe.not_saved("k", 100.0) is one
    assert _written(scribe) == []
    assert scribe.deadline_s() == 100.0 + RETRY_AFTER_S

    assert scribe.overdue(100.0 + RETRY_AFTER_S) == []
    assert _written(scribe) == ["k"]
    assert scribe.not_saved("k", 130.0) is one
    scribe.retry()
    assert _written(scribe) == ["k"]


def test_a_write_that_takes_too_long_counts_as_failed_once():
    """A disk that hangs is told once; its answer is taken whenever it comes."""
    scribe, one = Scribe(), _command()
    scribe.touch(one)
    _written(scribe)
    assert scribe.deadline_s() == 100.0 + WRITE_WITHIN_S
    assert scribe.overdue(100.0 + WRITE_WITHIN_S) == [one]
    assert scribe.overdue(200.0) == []
    assert scribe.not_saved("k", 200.0) is None

    late, two = Scribe(), _command()
    late.touch(two)
    _written(late)
    late.overdue(200.0)
    late.touch(two)
    late.owe(two, 200.0)
    assert late.saved("k") is two
    assert _written(late) == ["k"]


def test_what_changes_behind_a_late_write_counts_as_failed_once():
    """Each change is told once while the disk hangs, and written when it answers."""
    scribe, one = Scribe(), _command()
    scribe.touch(one)
    _written(scribe)
    scribe.touch(one)
    assert scribe.held_up() == []
    scribe.overdue(100.0 + WRITE_WITHIN_S)
    assert scribe.held_up() == []
    scribe.touch(one)
    assert scribe.held_up() == [one]
    assert scribe.held_up() == []

    assert _written(scribe) == []
    assert scribe.saved("k") is one
    assert scribe.held_up() == []
    assert _written(scribe) == ["k"]


def test_answers_to_nobody_change_nothing():
    """A row that nobody waits for is ignored."""
    scribe = Scribe()

    assert scribe.saved("x") is None
    assert scribe.not_saved("x", 0.0) is None


def test_what_is_owed_is_bounded(monkeypatch):
    """A store that fails for long costs no more memory than so many commands."""
    monkeypatch.setattr(module, "MOST_OWED", 2)
    scribe = Scribe()
    for key in "abc":
        scribe.touch(_command(key))
    _written(scribe)
    for key in "abc":
        scribe.not_saved(key, 100.0)
    scribe.retry()

    assert _written(scribe) == ["b", "c"]


def test_what_nobody_waits_for_is_put_off():
    """Several of them are written together, a second later or when somebody hurries."""
    scribe, one, two = Scribe(), _command("a"), _command("b")
    scribe.touch_later(one, 100.0)
    scribe.touch_later(two, 100.5)
    assert _written(scribe) == []
    assert scribe.deadline_s() == 100.0 + LATER_S
    scribe.overdue(100.0 + LATER_S)
    assert _written(scribe) == ["a", "b"]

    scribe.touch_later(_command("c"), 102.0)
    scribe.hurry()
    assert _written(scribe) == ["c"]


def test_what_is_owed_is_not_written_before_its_time():
    """A change that is owed waits with it; what another write committed is not written again."""
    scribe, one, two = Scribe(), _command("a"), _command("b")
    scribe.touch(one)
    scribe.touch(two)
    scribe.owe(one, 100.0)
    assert _written(scribe) == ["b"]
    scribe.owe(two, 110.0)
    assert scribe.deadline_s() == 100.0 + WRITE_WITHIN_S
    assert scribe.saved("b") is two
    assert _written(scribe) == []
    assert scribe.deadline_s() == 100.0 + RETRY_AFTER_S
    scribe.overdue(100.0 + RETRY_AFTER_S)
    assert _written(scribe) == ["a"]
