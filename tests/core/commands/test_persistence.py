import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from bridge.core.commands import persistence as module
from bridge.core.commands.active_commands import ActiveCommands, Command
from bridge.core.commands.persistence import (
    DEFERRED_WRITE_S,
    RETRY_AFTER_S,
    WRITE_TIMEOUT_S,
    CommandPersistence,
    read_idempotency_key,
    read_record,
    restore_command,
    state_of,
    to_row,
)
from bridge.core.commands.shown_state import ShownState
from bridge.core.commands.state_machine import State
from bridge.core.commands.validation import CommandRequest, ReplyTo
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import Current
from bridge.core.easee.rest_responses import CommandReference
from bridge.core.records.command_row import CommandRow
from bridge.core.records.moment import Timestamp
from bridge.errors import DecodeError
from tests.conftest import NOON

NOW = Timestamp(NOON, 100.0)


def _changed(key="k"):
    request = CommandRequest("EH123456", CATALOGUE["start"], None, None, None, 60.0)
    return Command(request, NOW, 160.0, [], key)


@pytest.fixture
def commands():
    """A registry without commands."""
    return ActiveCommands(ShownState())


@pytest.fixture
def persistence(commands):
    """What is on disk of them: nothing."""
    return CommandPersistence(commands)


def _written(persistence, now=NOW):
    effects = []
    persistence.flush(effects, now)
    return [effect.row.key for effect in effects]


def test_several_changes_are_one_row(commands, persistence):
    """However often a command changes before it is written, it is written once."""
    one = _changed()
    commands.mark_dirty(one)
    commands.mark_dirty(one)

    assert _written(persistence) == ["k"]
    assert commands.saved("k", []) is one
    assert one.durable == one.version == 2
    assert not persistence.is_busy


def test_one_row_of_a_command_is_written_at_a_time(commands, persistence):
    """What changes during a write is written when that is through, in one row."""
    one = _changed()
    commands.mark_dirty(one)
    assert _written(persistence) == ["k"]
    commands.mark_dirty(one)
    commands.mark_dirty(one)
    assert _written(persistence) == []
    assert commands.saved("k", []) is one
    assert (one.durable, one.version) == (1, 3)
    assert _written(persistence) == ["k"]
    assert commands.saved("k", []).durable == 3


def test_commands_do_not_wait_for_each_other(commands, persistence):
    """Rows of different commands are written at the same time."""
    for key in "ab":
        commands.mark_dirty(_changed(key))

    assert _written(persistence) == ["a", "b"]


def test_what_was_not_written_is_written_later(commands, persistence):
    """A failed row is owed, and tried again after a while or when the store is well."""
    one = _changed()
    commands.mark_dirty(one)
    _written(persistence)
    assert persistence.not_saved("k", 100.0) is one
    assert _written(persistence) == []
    assert persistence.deadline_s() == 100.0 + RETRY_AFTER_S

    assert persistence.overdue(100.0 + RETRY_AFTER_S) == []
    assert _written(persistence) == ["k"]
    assert persistence.not_saved("k", 130.0) is one
    persistence.retry()
    assert _written(persistence) == ["k"]


def test_a_write_that_takes_too_long_counts_as_failed_once(commands, persistence):
    """A disk that hangs is told once; its answer is taken whenever it comes."""
    one = _changed()
    commands.mark_dirty(one)
    _written(persistence)
    assert persistence.deadline_s() == 100.0 + WRITE_TIMEOUT_S
    assert persistence.overdue(100.0 + WRITE_TIMEOUT_S) == [one]
    assert persistence.overdue(200.0) == []
    assert persistence.not_saved("k", 200.0) is None


def test_a_late_answer_of_the_store_is_an_answer(commands, persistence):
    """What changed behind the late write, and could not be written either, is written then."""
    one = _changed()
    commands.mark_dirty(one)
    _written(persistence)
    persistence.overdue(200.0)
    commands.mark_dirty(one)
    persistence.retry_later(one, 200.0)
    assert commands.saved("k", []) is one
    persistence.retry()
    assert _written(persistence) == ["k"]


def test_what_changes_behind_a_late_write_counts_as_failed_once(commands, persistence):
    """Each change is told once while the disk hangs, and written when it answers."""
    one = _changed()
    commands.mark_dirty(one)
    _written(persistence)
    commands.mark_dirty(one)
    assert persistence.flush([], NOW) == []
    persistence.overdue(100.0 + WRITE_TIMEOUT_S)
    assert persistence.flush([], NOW) == []
    commands.mark_dirty(one)
    assert persistence.flush([], NOW) == [one]
    assert persistence.flush([], NOW) == []

    assert _written(persistence) == []
    assert commands.saved("k", []) is one
    assert _written(persistence) == ["k"]


def test_nothing_is_written_before_what_is_blocked_went_on(commands, persistence):
    """A command behind a late write goes on without the disk first; then the others are written."""
    one, two, effects = _changed("a"), _changed("b"), []
    commands.mark_dirty(one)
    _written(persistence)
    persistence.overdue(100.0 + WRITE_TIMEOUT_S)
    commands.mark_dirty(one)
    commands.mark_dirty(two)

    assert persistence.flush(effects, NOW) == [one]
    assert effects == []
    assert _written(persistence) == ["b"]


def test_answers_to_nobody_change_nothing(commands, persistence):
    """A row that nobody waits for is ignored."""
    assert commands.saved("x", []) is None
    assert persistence.not_saved("x", 0.0) is None


def test_what_is_owed_is_bounded(commands, persistence, monkeypatch):
    """A store that fails for long costs no more memory than so many commands."""
    monkeypatch.setattr(module, "MAX_RETRY_QUEUE", 2)
    for key in "abc":
        commands.mark_dirty(_changed(key))
    _written(persistence)
    for key in "abc":
        persistence.not_saved(key, 100.0)
    persistence.retry()

    assert _written(persistence) == ["b", "c"]


def test_what_nobody_waits_for_is_put_off(commands, persistence):
    """Several of them are written together, a second later or when somebody hurries."""
    one, two = _changed("a"), _changed("b")
    persistence.mark_dirty_later(one, 100.0)
    persistence.mark_dirty_later(two, 100.5)
    assert _written(persistence) == []
    assert persistence.deadline_s() == 100.0 + DEFERRED_WRITE_S
    persistence.overdue(100.0 + DEFERRED_WRITE_S)
    assert _written(persistence) == ["a", "b"]

    persistence.mark_dirty_later(_changed("c"), 102.0)
    persistence.flush_deferred()
    assert _written(persistence) == ["c"]


def test_what_is_to_be_tried_again_is_not_written_before_its_time(commands, persistence):
    """A change that waits for another attempt waits with it, until a row is committed."""
    one, two = _changed("a"), _changed("b")
    commands.mark_dirty(one)
    commands.mark_dirty(two)
    persistence.retry_later(one, 100.0)
    assert _written(persistence) == ["b"]
    persistence.overdue(100.0 + RETRY_AFTER_S - 1.0)
    assert _written(persistence) == []
    assert persistence.deadline_s() == 100.0 + RETRY_AFTER_S

    assert commands.saved("b", []) is two
    persistence.retry()
    assert _written(persistence) == ["a"]
    assert persistence.deadline_s() == 100.0 + WRITE_TIMEOUT_S


# -- rows ------------------------------------------------------------------------------------------

ID = "EH123456"
TICKS = 639086870099692230
LATER = Timestamp(NOON + timedelta(seconds=10), 5.0)


def _command(name=(ID, "a")):
    spec = CATALOGUE["dynamic_charger_current"]
    value = {"amps": 16, "minutes": 5}
    request = CommandRequest(ID, spec, Current(16, 5), "a", name, 60.0, value, "digest")
    asks = [ReplyTo(), ReplyTo("charger/reply/x", b"\x00\xff")]
    command = Command(request, Timestamp(NOON, 1000.0), 1060.0, asks, "k1", 3, 77)
    command.state = State.ACCEPTED
    command.sent = Timestamp(NOON + timedelta(seconds=1), 1001.0)
    command.devices = frozenset({ID, "EH999999"})
    command.tickets = (CommandReference(ID, 48, TICKS), CommandReference("", None, None, True))
    command.answered = {1}
    command.http_status = 202
    return command


def test_a_command_comes_back_from_its_row():
    """After a restart everything is there that is needed to go on: asks, tickets, times."""
    row = to_row(_command())
    back = restore_command(row, read_record(row), LATER)

    assert back.state is State.ACCEPTED
    assert (back.request.argument, back.request.name, back.request.digest) == (
        Current(16, 5),
        (ID, "a"),
        "digest",
    )
    assert back.waiters == [ReplyTo(), ReplyTo("charger/reply/x", b"\x00\xff")]
    assert back.tickets == _command().tickets
    assert (back.answered, back.devices) == ({1}, {ID, "EH999999"})
    assert (back.received.mono_s, back.sent.mono_s, back.expires_s) == (-5.0, -4.0, 55.0)
    assert (back.key, back.seq, back.message_id, back.http_status) == ("k1", 3, 77, 202)
    assert to_row(back) == row


@pytest.mark.parametrize("name", [None, (ID, "with:colon"), (ID, b"\x00\xff")])
def test_a_name_comes_back_as_what_it_was(name):
    """An id stays a text and correlation data stay bytes."""
    assert read_idempotency_key(to_row(_command(name))) == name


@pytest.mark.parametrize(
    ("trusted", "back_s", "was_trusted"),
    [(False, 0, True), (True, 100, True), (True, 0, False)],
)
def test_no_time_is_left_where_the_clock_cannot_tell(trusted, back_s, was_trusted):
    """An untrusted clock, then or now, or one that was put back, lets nothing go on."""
    command = _command()
    command.received = replace(command.received, trusted=was_trusted)
    row = to_row(command)
    now = Timestamp(LATER.wall - timedelta(seconds=back_s), 5.0, trusted)

    assert restore_command(row, read_record(row), now).expires_s == 5.0


def test_what_was_leaving_counts_as_sent_when_it_arrived():
    """Nobody noted the sending; it was not before the arrival."""
    command = _command()
    command.sent = None
    row = to_row(command)

    assert restore_command(row, read_record(row), LATER).sent == Timestamp(NOON, -5.0)


@pytest.mark.parametrize(
    "damage",
    [
        {"state": "flying"},
        {"state": "received"},
        {"state": "confirmed"},
        {"command": "explode"},
        {"charger_id": "../x"},
        {"name": "nonsense"},
        {"name": "data:xyz"},
        {"body": b"{"},
        {"body": b'{"argument":"\x8e"}'},
        {"body": b'{"asks":7}'},
        {"body": b'{"value":{"amps":"many"}}'},
    ],
)
def test_a_row_that_cannot_be_read_says_so(damage):
    """A row of another program or of a broken disk is one named error, whatever is wrong."""
    row = replace(to_row(_command()), **damage)

    with pytest.raises(DecodeError) as caught:
        restore_command(row, read_record(row), LATER)

    assert caught.value.source == "command k1"


@given(
    st.builds(
        CommandRow,
        key=st.text(),
        charger_id=st.sampled_from([ID, "", "../x"]),
        command=st.sampled_from([*CATALOGUE, "x"]),
        name=st.text(),
        digest=st.text(),
        state=st.sampled_from([*(s.value for s in State), "x"]),
        received_at=st.just(NOON),
        expires_at=st.just(NOON),
        body=st.binary() | st.sampled_from([b"{}", b'{"value":16}', b'{"value":true}']),
        answer=st.binary(),
        flash=st.booleans(),
    )
)
def test_any_row_is_read_or_refused(row):
    """Nothing but the named error comes out of a row."""
    with contextlib.suppress(DecodeError):
        assert state_of(row) is State(row.state)
        assert restore_command(row, read_record(row), LATER).key == row.key
