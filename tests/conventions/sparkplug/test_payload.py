"""The encoder and decoder of payloads."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.conventions.sparkplug.payload import (
    DataType,
    Metric,
    Payload,
    decode,
    encode,
    encode_metric,
)
from bridge.errors import DecodeError

AT = 1_700_000_000_000
METRICS = (
    Metric(
        "total_power",
        70000,
        AT,
        DataType.DOUBLE,
        7.28,
        properties=(("Quality", DataType.INT32, 192), ("engUnit", DataType.STRING, "kW")),
    ),
    Metric("lock", None, AT, DataType.BOOLEAN, True, True),
    Metric("text", None, 1, DataType.STRING, "åpen"),
    Metric("small", None, 1, DataType.INT32, -5),
    Metric("f", None, 1, DataType.FLOAT, 0.5),
    Metric("at", None, 1, DataType.DATE_TIME, AT),
    Metric("none", None, 1, DataType.DOUBLE, None),
)
# What encodePayload of npm sparkplug-payload 1.0.3 (Eclipse Tahu) makes of the same.
BY_TAHU = bytes.fromhex(
    "0881d095ffbc3112460a0b746f74616c5f706f77657210f0a2041880d095ffbc31200a4a210a075175616c69"
    "74790a07656e67556e69741205080318c0011206080c42026b57691f85eb51b81e1d4012130a046c6f636b18"
    "80d095ffbc31200b2801700112110a04746578741801200c7a05c3a570656e12110a05736d616c6c18012003"
    "50fbffffff0f120c0a016618012009650000003f120f0a0261741801200d5880d095ffbc31120c0a046e6f6e"
    "651801200a380118ff01"
)

_INTEGERS = {
    DataType.INT32: (-(2**31), 2**31 - 1),
    DataType.INT64: (-(2**63), 2**63 - 1),
    DataType.UINT32: (0, 2**32 - 1),
    DataType.DATE_TIME: (0, 2**64 - 1),
}


@st.composite
def metrics(draw):
    """Draw a metric with a value of its type, or none."""
    kind = draw(st.sampled_from([*_INTEGERS, DataType.DOUBLE, DataType.BOOLEAN, DataType.STRING]))
    values = {
        DataType.DOUBLE: st.floats(allow_nan=False),
        DataType.BOOLEAN: st.booleans(),
        DataType.STRING: st.text(),
    }
    value = values[kind] if kind in values else st.integers(*_INTEGERS[kind])
    names = st.text(st.characters(codec="utf-8"))
    numbers = st.integers(0, 2**64 - 1)
    properties = st.tuples(names, st.just(DataType.STRING), st.text(st.characters(codec="utf-8")))
    return Metric(
        draw(names),
        draw(st.none() | numbers),
        draw(st.none() | numbers),
        kind,
        draw(st.none() | value),
        draw(st.booleans()),
        tuple(draw(st.lists(properties, max_size=3))),
    )


def test_the_bytes_are_those_of_eclipse_tahu():
    """Both ways: the encoder writes them, the decoder reads them."""
    assert encode(AT + 1, [encode_metric(one) for one in METRICS], 255) == BY_TAHU
    assert decode(BY_TAHU) == Payload(AT + 1, METRICS, 255)


@given(st.lists(metrics(), max_size=4), st.none() | st.integers(0, 255))
def test_what_is_written_is_read_again(found, seq):
    """Every value of every type, with name, alias, time, history and properties."""
    payload = decode(encode(AT, [encode_metric(one) for one in found], seq))

    written = [_as_text(one) for one in found]
    assert (payload.timestamp, list(payload.metrics), payload.seq) == (AT, written, seq)


def _as_text(metric):
    """Return a metric as it is read: half of a surrogate pair is no text."""
    if not isinstance(metric.value, str):
        return metric
    plain = metric.value.encode("utf-8", "replace").decode()
    return Metric(
        metric.name,
        metric.alias,
        metric.timestamp,
        metric.datatype,
        plain,
        metric.is_historical,
        metric.properties,
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_a_payload_or_a_decode_error(data):
    """Nothing else is raised."""
    try:
        found = decode(data)
    except DecodeError:
        return
    assert all(isinstance(one, Metric) for one in found.metrics)


@given(st.data())
def test_a_payload_with_changed_bytes_is_read_or_refused(data):
    """Also where only a few bytes are wrong."""
    changed = bytearray(BY_TAHU)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DecodeError):
        assert decode(bytes(changed)).metrics is not None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x08\xff", "a number does not end"),
        (b"\x08" + b"\xff" * 11, "a number does not end"),
        (b"\x12\x05ab", "it is cut"),
        (b"\x0b", "wire type 3 is none"),
        (b"\x12\x03\x0a\x01\xff", "a text is not UTF-8"),
        (b"\x12\x00" * 1001, "more than 1000 metrics"),
    ],
)
def test_a_broken_payload_says_why(data, why):
    """One sentence, for the log."""
    with pytest.raises(DecodeError, match=why):
        decode(data)


def test_an_integer_without_a_type_has_a_sign():
    """Some hosts leave the type out in a command; -1 is not four thousand million."""
    plain = decode(bytes.fromhex("12090a016150ffffffff0f"))
    unsigned = decode(bytes.fromhex("120b0a0161200750ffffffff0f"))

    assert plain.metrics[0].value == -1
    assert unsigned.metrics[0].value == 2**32 - 1


def test_fields_that_are_not_known_are_skipped():
    """Of payload, metric, property set and property, whatever their wire type."""
    unknown = bytes.fromhex("f87f01f97f0102030405060708fd7f01020304fa7f026162")
    inner = unknown + b"\x0a\x01a" + b"\x20\x0a" + b"\x69" + bytes(8)
    data = unknown + b"\x12" + bytes([len(inner)]) + inner

    assert decode(data).metrics == (Metric("a", None, None, DataType.DOUBLE, 0.0),)


def test_a_kind_of_value_that_no_command_has_is_none():
    """Bytes and data sets are not read."""
    assert decode(bytes.fromhex("120782010461626364")).metrics == (Metric(),)


def test_numbers_that_are_no_finite_double_survive():
    """The codec does not judge values."""
    (metric,) = decode(
        encode(None, [encode_metric(Metric("a", None, 1, DataType.DOUBLE, math.inf))], None)
    ).metrics

    assert metric.value == math.inf
