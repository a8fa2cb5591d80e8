import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.commands import persistence as module
from bridge.core.commands.persistence import (
    LATER_S,
    RETRY_AFTER_S,
    WRITE_WITHIN_S,
    Scribe,
    name_of,
    page_of,
    revived,
    row_of,
    state_of,
)
from bridge.core.commands.reply_to import Ask
from bridge.core.commands.state_machine import Command, State
from bridge.core.commands.validation import Order
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import Current
from bridge.core.easee.rest_responses import CommandTicket
from bridge.core.records.command_row import CommandRow
from bridge.core.records.moment import Moment
from bridge.errors import DecodeError
from tests.conftest import NOON

ID = "EH123456"
TICKS = 639086870099692230
LATER = Moment(NOON + timedelta(seconds=10), 5.0)

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


def _current(name=(ID, "a")):
    spec = CATALOGUE["dynamic_charger_current"]
    value = {"amps": 16, "minutes": 5}
    order = Order(ID, spec, Current(16, 5), "a", name, 60.0, value, "digest")
    asks = [Ask(), Ask("charger/reply/x", b"\x00\xff")]
    command = Command(order, Moment(NOON, 1000.0), 1060.0, asks, "k1", 3, 77)
    command.state = State.ACCEPTED
    command.sent = Moment(NOON + timedelta(seconds=1), 1001.0)
    command.devices = frozenset({ID, "EH999999"})
    command.tickets = (CommandTicket(ID, 48, TICKS), CommandTicket("", None, None, True))
    command.answered = {1}
    command.http_status = 202
    return command


def test_a_command_comes_back_from_its_row():
    """After a restart everything is there that is needed to go on: asks, tickets, times."""
    row = row_of(_current())
    back = revived(row, page_of(row), LATER)

    assert back.state is State.ACCEPTED
    assert (back.order.argument, back.order.name, back.order.digest) == (
        Current(16, 5),
        (ID, "a"),
        "digest",
    )
    assert back.asks == [Ask(), Ask("charger/reply/x", b"\x00\xff")]
    assert back.tickets == _current().tickets
    assert (back.answered, back.devices) == ({1}, {ID, "EH999999"})
    assert (back.received.mono_s, back.sent.mono_s, back.expires_s) == (-5.0, -4.0, 55.0)
    assert (back.key, back.seq, back.message_id, back.http_status) == ("k1", 3, 77, 202)
    assert row_of(back) == row


@pytest.mark.parametrize("name", [None, (ID, "with:colon"), (ID, b"\x00\xff")])
def test_a_name_comes_back_as_what_it_was(name):
    """An id stays a text and correlation data stay bytes."""
    assert name_of(row_of(_current(name))) == name


@pytest.mark.parametrize(
    ("trusted", "back_s", "was_trusted"),
    [(False, 0, True), (True, 100, True), (True, 0, False)],
)
def test_no_time_is_left_where_the_clock_cannot_tell(trusted, back_s, was_trusted):
    """An untrusted clock, then or now, or one that was put back, lets nothing go on."""
    command = _current()
    command.received = replace(command.received, trusted=was_trusted)
    row = row_of(command)
    now = Moment(LATER.wall - timedelta(seconds=back_s), 5.0, trusted)

    assert revived(row, page_of(row), now).expires_s == 5.0


def test_what_was_leaving_counts_as_sent_when_it_arrived():
    """Nobody noted the sending; it was not before the arrival."""
    command = _current()
    command.sent = None
    row = row_of(command)

    assert revived(row, page_of(row), LATER).sent == Moment(NOON, -5.0)


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
    row = replace(row_of(_current()), **damage)

    with pytest.raises(DecodeError):
        revived(row, page_of(row), LATER)


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
        assert revived(row, page_of(row), LATER).key == row.key
