"""What a store says when it is opened reaches the core whole, or without what the core knows."""

from datetime import UTC, datetime

from bridge.core.events import StoreOpened
from bridge.core.records.command_row import CommandRow
from bridge.core.records.store_problem import StoreProblem
from bridge.core.store_status import StoreContents, store_opened

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
COMMAND = CommandRow("k", "EH123456", "start", "", "", "waiting", NOON, NOON, b"{}", b"", False)
PROBLEMS = (StoreProblem("store_incomplete", "a part is gone", "check the disk"),)
OPENED = StoreContents((), (COMMAND,), PROBLEMS)


def test_the_core_hears_everything_at_the_start():
    """Problems and commands: an operator is told of the one, and the other go on."""
    assert store_opened(OPENED) == StoreOpened((), PROBLEMS, (COMMAND,))


def test_a_store_that_is_well_again_brings_no_commands():
    """A store that became well again brings no command that this process is already at."""
    assert store_opened(OPENED, again=True).commands == ()
    assert store_opened(OPENED, again=True).problems == PROBLEMS
