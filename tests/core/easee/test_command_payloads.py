import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.command_payloads import Payload, id_in, read_payload
from bridge.errors import CommandRefused

LIKE_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"16", 16),
        (b" 16\n", 16),
        (b"16.5", 16.5),
        (b"true", True),
        (b"PRESS", "PRESS"),
        (b'"PRESS"', "PRESS"),
        (b"on", "on"),
        (b"null", None),
        (b"{}", {}),
        (b'{"id":"a"}', {}),
        (b'{"value":16}', 16),
        (b'{"value":{"amps":16}}', {"amps": 16}),
        (b'{"amps":16,"minutes":3}', {"amps": 16, "minutes": 3}),
        (b'{"value":16,"minutes":3}', {"value": 16, "minutes": 3}),
    ],
)
def test_a_value_is_bare_or_in_an_envelope(payload, value):
    """Bare values, JSON scalars, envelopes and a command's own keys are all read."""
    assert read_payload(payload).value == value


def test_the_envelope_carries_id_and_time():
    """The caller's id, its time to live and its deadline are read with the value."""
    payload = b'{"value":1,"id":"a-1","ttl_s":30,"expires_at":"2026-11-22T13:00:00.5+01:00"}'
    expires_at = datetime(2026, 11, 22, 12, 0, 0, 500_000, tzinfo=UTC)

    assert read_payload(payload) == Payload(1, "a-1", 30, expires_at)


@pytest.mark.parametrize("payload", [b"", b" ", b"\r\n\t"])
def test_an_empty_payload_is_never_a_command(payload):
    """Nothing, or nothing but white space, is refused as empty."""
    with pytest.raises(CommandRefused) as refused:
        read_payload(payload)

    assert refused.value.reason == "empty_payload"


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"x" * 4097,
        b"NaN",
        b"-Infinity",
        b"1e999",
        b'{"value":1,"value":2}',
        b'{"value":{"a":1,"a":2}}',
        b"[" * 9 + b"]" * 9,
        b"[" * 2000 + b"]" * 2000,
        b'{"value":' * 300,
        b'{"value":1',
        b'["',
        b'"\\ud800"',
        b'{"\\ud800":1}',
        b'{"id":""}',
        b'{"id":5}',
        b'{"id":"a\\u0000"}',
        json.dumps({"id": "x" * 65}).encode(),
        b'{"ttl_s":0}',
        b'{"ttl_s":-1}',
        b'{"ttl_s":true}',
        b'{"ttl_s":"soon"}',
        b'{"expires_at":1763812800}',
        b'{"expires_at":"2026-11-22T12:00:00"}',
        b'{"expires_at":"2026-13-22T12:00:00Z"}',
        b'{"expires_at":"2026-11-22T24:00:00Z"}',
        b'{"expires_at":"9999-12-31T23:59:59-23:59"}',
        b'{"expires_at":"0001-01-01T00:00:00+23:59"}',
        '{"expires_at":"٢٠٢٦-11-22T12:00:00Z"}'.encode(),
    ],
)
@pytest.mark.fault("F19")
def test_a_hostile_payload_is_an_invalid_value(payload):
    """Broken, deep, ambiguous, infinite and overlong payloads are refused with a sentence."""
    with pytest.raises(CommandRefused) as refused:
        read_payload(payload)

    assert refused.value.reason == "invalid_value"
    assert refused.value.detail


@given(
    st.binary(max_size=200) | st.text().map(str.encode) | LIKE_JSON.map(json.dumps).map(str.encode)
)
def test_reading_raises_nothing_but_a_refusal(payload):
    """Any bytes give a payload or a refusal, and the id can be spelled."""
    try:
        read = read_payload(payload)
    except CommandRefused:
        return
    assert read.id is None or read.id.encode()


@pytest.mark.parametrize("key", ["id", "ttl_s", "expires_at"])
def test_null_is_as_good_as_nothing(key):
    """Flows that fill in every key of the envelope leave some of them null."""
    assert read_payload(b'{"value":16,"%b":null}' % key.encode()) == Payload(16)


@given(st.binary(max_size=64) | st.text().map(lambda text: json.dumps({"id": text}).encode()))
def test_an_id_is_found_or_not_and_nothing_raises(payload):
    """Whatever the bytes are, what is found may stand in an answer."""
    found = id_in(payload)

    assert found is None or (1 <= len(found) <= 64 and found.isprintable())
