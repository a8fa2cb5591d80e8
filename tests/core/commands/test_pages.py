import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.commands.pages import name_of, page_of, revived, row_of, state_of
from bridge.core.commands.results import Ask
from bridge.core.commands.state_machine import Command, State
from bridge.core.commands.validation import Order
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.command_payloads import Current
from bridge.core.easee.rest_responses import CommandTicket
from bridge.core.events import Moment
from bridge.core.records.command_row import CommandRow
from bridge.errors import DecodeError
from tests.conftest import NOON

ID = "EH123456"
TICKS = 639086870099692230
LATER = Moment(NOON + timedelta(seconds=10), 5.0)


def _command(name=(ID, "a")):
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
    row = row_of(_command())
    back = revived(row, page_of(row), LATER)

    assert back.state is State.ACCEPTED
    assert (back.order.argument, back.order.name, back.order.digest) == (
        Current(16, 5),
        (ID, "a"),
        "digest",
    )
    assert back.asks == [Ask(), Ask("charger/reply/x", b"\x00\xff")]
    assert back.tickets == _command().tickets
    assert (back.answered, back.devices) == ({1}, {ID, "EH999999"})
    assert (back.received.mono_s, back.sent.mono_s, back.expires_s) == (-5.0, -4.0, 55.0)
    assert (back.key, back.seq, back.message_id, back.http_status) == ("k1", 3, 77, 202)
    assert row_of(back) == row


@pytest.mark.parametrize("name", [None, (ID, "with:colon"), (ID, b"\x00\xff")])
def test_a_name_comes_back_as_what_it_was(name):
    """An id stays a text and correlation data stay bytes."""
    assert name_of(row_of(_command(name))) == name


@pytest.mark.parametrize(
    ("trusted", "back_s", "was_trusted"),
    [(False, 0, True), (True, 100, True), (True, 0, False)],
)
def test_no_time_is_left_where_the_clock_cannot_tell(trusted, back_s, was_trusted):
    """An untrusted clock, then or now, or one that was put back, lets nothing go on."""
    command = _command()
    command.received = replace(command.received, trusted=was_trusted)
    row = row_of(command)
    now = Moment(LATER.wall - timedelta(seconds=back_s), 5.0, trusted)

    assert revived(row, page_of(row), now).expires_s == 5.0


def test_what_was_leaving_counts_as_sent_when_it_arrived():
    """Nobody noted the sending; it was not before the arrival."""
    command = _command()
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
    row = replace(row_of(_command()), **damage)

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
