"""What consumers say about reports is read to the letter, or not at all."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.sessions.consumer_messages import (
    MAX_BYTES,
    MAX_KEYS,
    ReplayRequest,
    read_ack,
    read_replay,
)
from bridge.core.sessions.delivery import ReportAck
from bridge.errors import DecodeError
from tests.core.sessions.rows import NOON

KEY = "EH123456-435"


@pytest.mark.parametrize(
    ("payload", "taken"),
    [
        (KEY, [ReportAck(KEY)]),
        (f" {KEY}\n", [ReportAck(KEY)]),
        (f'"{KEY}"', [ReportAck(KEY)]),
        (f'{{"key":"{KEY}"}}', [ReportAck(KEY)]),
        (f'{{"key":"{KEY}","revision":2,"energy_kwh":1}}', [ReportAck(KEY, 2)]),
        (f'["{KEY}",{{"key":"EH1-2","revision":"3"}}]', [ReportAck(KEY), ReportAck("EH1-2", 3)]),
        ("EH123456-435-20270101", [ReportAck("EH123456-435-20270101")]),
        ("EH123456-s1795348800", [ReportAck("EH123456-s1795348800")]),
    ],
)
def test_an_acknowledgement_may_be_spelled_in_several_ways(payload, taken):
    """Bare, as JSON, with its revision, or the whole report sent back."""
    assert list(read_ack(payload.encode())) == taken


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "  ",
        "two words",
        "a/b",
        "x" * 65,
        "[]",
        "{}",
        "[1]",
        "[null]",
        '{"key":1}',
        f'["{KEY}",{{"no":1}}]',
        f'{{"key":"{KEY}","revision":"new"}}',
        f'{{"key":"{KEY}","revision":1.5}}',
        '{"key":',
        "[" * 5000,
        json.dumps([KEY] * (MAX_KEYS + 1)),
        "x" * (MAX_BYTES + 1),
        b"\xff\xfe",
    ],
)
def test_what_is_no_acknowledgement_acknowledges_nothing(payload):
    """Not even the half of a list that could be read."""
    with pytest.raises(DecodeError):
        read_ack(payload if isinstance(payload, bytes) else payload.encode())


@pytest.mark.parametrize(
    ("payload", "wish"),
    [
        ("{}", ReplayRequest()),
        ('{"since":"2026-11-22T12:00:00Z"}', ReplayRequest(NOON)),
        ('{"since":"2026-11-22T13:00:00+01:00","charger":null}', ReplayRequest(NOON)),
        ('{"since":null,"charger":"EH123456"}', ReplayRequest(None, "EH123456")),
    ],
)
def test_a_replay_names_a_time_and_a_charger_or_neither(payload, wish):
    """Each may be left out."""
    assert read_replay(payload.encode()) == wish


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "all",
        "[]",
        '{"since":"yesterday"}',
        '{"since":1}',
        '{"charger":"../x"}',
        '{"charger":7}',
        '{"sinse":"2026-11-22T12:00:00Z"}',
    ],
)
def test_a_replay_that_cannot_be_read_replays_nothing(payload):
    """A misspelled wish would otherwise publish everything."""
    with pytest.raises(DecodeError):
        read_replay(payload.encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8")))
def test_any_bytes_are_read_or_refused(payload):
    """Nothing but the named error leaves."""
    for read in (read_ack, read_replay):
        try:
            read(payload)
        except DecodeError as error:
            assert error.source.startswith("session/")  # noqa: PT017 - most payloads are refused


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["key", "revision", "since", "charger"]), inner)
        ),
        max_leaves=8,
    )
)
def test_any_json_is_read_or_refused(document):
    """Nothing but the named error leaves, and what is read has the shape of a key."""
    payload = json.dumps(document).encode()
    with contextlib.suppress(DecodeError):
        assert all(one.key.isascii() and 0 < len(one.key) <= 64 for one in read_ack(payload))
    with contextlib.suppress(DecodeError):
        assert read_replay(payload) == ReplayRequest() or document
