"""What a store says when it is opened reaches the core whole, or without what the core knows."""

from datetime import UTC, datetime

from bridge.core.events import StoreOpened
from bridge.core.records.command_row import CommandRow
from bridge.core.store_status import StoreContents, store_opened

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
COMMAND = CommandRow("k", "EH123456", "start", "", "", "waiting", NOON, NOON, b"{}", b"", False)
OPENED = StoreContents((), (COMMAND,), "bridge.db.corrupt.1", 2, 3, incomplete=True)


def test_the_core_hears_everything_at_the_start():
    """Counts and commands: an operator is told of the one, and the other go on."""
    assert store_opened(OPENED) == StoreOpened(
        (), "bridge.db.corrupt.1", 2, (COMMAND,), 3, incomplete=True
    )


def test_a_store_that_is_well_again_brings_no_commands():
    """A store that became well again brings no command that this process is already at."""
    assert store_opened(OPENED, again=True).commands == ()
    assert store_opened(OPENED, again=True).damaged == 2
