"""Reaching the hub."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.hub_session import (
    Keepalive,
    Negotiation,
    count_failure,
    read_negotiation,
    retry_in_s,
)
from bridge.core.easee.hub_session import socket_url as url
from bridge.errors import DecodeError

V0 = {
    "negotiateVersion": 0,
    "connectionId": "aB-c_d",
    "availableTransports": [{"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}],
}


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        (V0, "aB-c_d"),
        (V0 | {"negotiateVersion": 1, "connectionToken": "t0k"}, "t0k"),
        (V0 | {"connectionToken": None, "error": None, "url": None}, "aB-c_d"),
    ],
)
def test_both_versions_of_a_negotiation_are_read(answer, token):
    """Version 1 names the connection by token, version 0 by id."""
    assert read_negotiation(json.dumps(answer).encode()) == Negotiation(token)


@pytest.mark.parametrize(
    "answer",
    [
        V0 | {"error": "no\nroom"},
        V0 | {"url": "https://evil.example/hub", "accessToken": "x"},
        V0 | {"connectionId": 5},
        V0 | {"connectionId": ""},
        V0 | {"connectionId": "a" * 513},
        {},
        [],
        None,
    ],
)
def test_a_negotiation_that_names_no_connection_of_ours_is_an_error(answer):
    """An error, a redirection and nonsense are refused by name."""
    with pytest.raises(DecodeError):
        read_negotiation(json.dumps(answer).encode())


def test_an_unreadable_negotiation_is_not_kept():
    """The body holds a token; the error holds neither, nor does what it came from."""
    with pytest.raises(DecodeError) as caught:
        read_negotiation(b'{"connectionToken":"canary\xff"}')

    assert caught.value.__cause__ is None
    assert "canary" not in str(caught.value) + caught.value.excerpt


@given(st.binary(max_size=100))
def test_any_negotiation_raises_nothing_else(body):
    """The border is total."""
    with suppress(DecodeError):
        read_negotiation(body)


def test_a_deep_negotiation_is_refused():
    """A recursion bomb is no crash."""
    with pytest.raises(DecodeError):
        read_negotiation(b"[" * 100_000 + b"]" * 100_000)


@pytest.mark.parametrize(
    ("stream_url", "token", "expected"),
    [
        ("https://s.example/hubs/chargers", "a", "wss://s.example/hubs/chargers?id=a"),
        ("http://127.0.0.1:8800/hubs/x", "a", "ws://127.0.0.1:8800/hubs/x?id=a"),
        ("wss://s.example/h?v=1", "a b&c=/+", "wss://s.example/h?v=1&id=a%20b%26c%3D%2F%2B"),
    ],
)
def test_the_socket_is_where_the_hub_is(stream_url, token, expected):
    """The scheme changes, the host never does, and the token cannot add a parameter."""
    assert url(stream_url, token) == expected


def test_pings_follow_our_silence_and_death_follows_the_hubs():
    """Sending moves the next ping, hearing moves the end; 45 s is never passed."""
    keepalive = Keepalive(100.0)
    assert (keepalive.ping_at_s, keepalive.dead_at_s) == (115.0, 135.0)

    keepalive.sent(110.0)
    keepalive.heard(104.0)

    assert (keepalive.ping_at_s, keepalive.dead_at_s) == (125.0, 139.0)
    assert keepalive.dead_at_s - 104.0 <= 45.0


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_pace_of_retries_is_one_the_vendor_can_live_with(failures, jitter):
    """First within 1 to 2 s, from the third failure never under 30 s, never over 10 min."""
    wait_s = retry_in_s(failures, jitter)

    assert 1.0 <= wait_s <= 600.0
    assert failures > 1 or wait_s <= 2.0
    assert failures < 3 or wait_s >= 30.0


def test_a_wait_that_was_asked_for_is_kept():
    """Retry-After prolongs the wait and never shortens it."""
    assert retry_in_s(1, 0.0, 7200.0) == 7200.0
    assert retry_in_s(12, 0.0, 1.0) == 300.0


@pytest.mark.parametrize(
    ("lived_s", "before", "after"), [(None, 0, 1), (None, 4, 5), (5.0, 4, 5), (60.0, 4, 1)]
)
def test_only_a_connection_that_lasted_clears_the_count(lived_s, before, after):
    """A hub that drops us at once is not a hub that works."""
    assert count_failure(lived_s, before) == after
