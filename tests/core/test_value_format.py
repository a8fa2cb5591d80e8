import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.value_format import (
    format_json,
    format_scalar,
    iso_utc,
    pseudonymize,
    read_stamp,
    read_utc,
    shortened,
)
from bridge.errors import DecodeError

SALT = b"salt of a test"


@pytest.mark.parametrize(
    ("value", "bare", "in_json"),
    [
        (7, b"7", b"7"),
        (-1, b"-1", b"-1"),
        (6.053, b"6.053", b"6.053"),
        (63.0, b"63", b"63"),
        (-40.0, b"-40", b"-40"),
        (1e-05, b"0.00001", b"0.00001"),
        (1.5e300, b"15" + b"0" * 299, b"15" + b"0" * 299),
        (True, b"true", b"true"),
        (False, b"false", b"false"),
        (None, b"null", b"null"),
        ("Yes", b"Yes", b'"Yes"'),
        ("", b"", b'""'),
        ('a"b\n', b'a"b\n', b'"a\\"b\\n"'),
        ("blå", "blå".encode(), '"blå"'.encode()),
    ],
)
def test_spelling(value, bare, in_json):
    """Each kind of value has one spelling bare and one in JSON."""
    assert (format_scalar(value), format_json(value)) == (bare, in_json)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63))
def test_numbers_never_have_an_exponent(value):
    """Whatever the number, it is a plain decimal that reads back as the same number."""
    text = format_scalar(value).decode()

    assert "e" not in text.lower()
    assert type(value)(text) == value


@given(st.text())
def test_any_text_survives_json(text):
    """A JSON reader gets back the text that was put in."""
    assert json.loads(format_json(text)) == text


def test_half_a_surrogate_pair_is_no_reason_to_stop():
    """Text that is no Unicode is spelled with a replacement instead of raising."""
    assert (format_scalar("a\ud800"), format_json("a\ud800")) == (b"a?", b'"a?"')


@pytest.mark.parametrize(
    ("microsecond", "expected"),
    [
        (0, "2026-11-22T12:00:00Z"),
        (250_000, "2026-11-22T12:00:00.250Z"),
        (1, "2026-11-22T12:00:00.000001Z"),
    ],
)
def test_times_have_as_many_digits_as_they_need(microsecond, expected):
    """Whole seconds have no fraction, milliseconds three digits, anything finer six."""
    assert iso_utc(datetime(2026, 11, 22, 12, 0, 0, microsecond, tzinfo=UTC)) == expected


def test_times_of_other_zones_are_published_in_utc():
    """An offset is worked in, and a time without a zone is UTC."""
    east = datetime(2026, 11, 22, 14, 0, tzinfo=timezone(timedelta(hours=2)))

    assert iso_utc(east) == "2026-11-22T12:00:00Z"
    assert iso_utc(east.replace(tzinfo=None)) == "2026-11-22T14:00:00Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-01-22T12:51:47Z", datetime(2025, 1, 22, 12, 51, 47, tzinfo=UTC)),
        ("2025-01-22T12:51:47", datetime(2025, 1, 22, 12, 51, 47, tzinfo=UTC)),
        ("2025-01-22 12:51:47+00:00", datetime(2025, 1, 22, 12, 51, 47, tzinfo=UTC)),
        ("2025-01-22T14:51:47+02:00", datetime(2025, 1, 22, 12, 51, 47, tzinfo=UTC)),
        ("2025-01-22T12:51:47.1Z", datetime(2025, 1, 22, 12, 51, 47, 100_000, tzinfo=UTC)),
        ("2025-01-22T12:51:47.000Z", datetime(2025, 1, 22, 12, 51, 47, tzinfo=UTC)),
        ("2025-01-22T12:51:47.1234567Z", datetime(2025, 1, 22, 12, 51, 47, 123_456, tzinfo=UTC)),
        ("2025-01-22T12:51:47.123456789", datetime(2025, 1, 22, 12, 51, 47, 123_456, tzinfo=UTC)),
    ],
)
def test_stamps_seen_in_the_field(text, expected):
    """Every form of stamp that has been seen is read, naive ones as UTC."""
    at = read_utc(text)

    assert at == expected
    assert at.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2025-01-22",
        "20250122T125147Z",
        "2025-W04-3T12:51:47Z",
        "2025-02-30T12:51:47Z",
        "2025-01-22T24:00:00Z",
        "2025-01-22T12:51:47,5Z",
        "2025-01-22T12:51:47.1234567890Z",
        "2025-01-22T12:51:47+99:00",
        "2025-01-22T12:51:47Z\n",
        "٢٠٢٥-01-22T12:51:47Z",
        "1970-01-01T00:00:00Z",
        "2000-01-01T00:00:00+14:00",
        "2101-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00Z",
    ],
)
def test_what_is_no_time_of_this_century_is_refused(text):
    """A stamp that cannot be true is an error, not a guess."""
    with pytest.raises(DecodeError):
        read_utc(text)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_times_are_read_as_they_are_written(at):
    """What is published can be read back without loss."""
    assert read_utc(iso_utc(at)) == at


@given(st.text(max_size=60))
def test_reading_a_time_raises_only_decode_errors(text):
    """No text stops the reader with anything but the named error."""
    try:
        at = read_utc(text)
    except DecodeError:
        return
    assert at.tzinfo is UTC


def test_hash_depends_on_text_and_salt():
    """Equal tags are recognizably equal within one installation and nowhere else."""
    assert pseudonymize("04A1B2C3", SALT) == pseudonymize("04A1B2C3", SALT)
    assert pseudonymize("04A1B2C3", SALT) != pseudonymize("04A1B2C4", SALT)
    assert pseudonymize("04A1B2C3", SALT) != pseudonymize("04A1B2C3", b"other")
    assert pseudonymize("04A1B2C3", SALT).startswith("sha256:")
    assert len(pseudonymize("\ud800", SALT)) == len("sha256:") + 64


@given(
    st.integers(86_400, 3_000_000_000),
    st.integers(0, 999_999) | st.sampled_from([0, 500_000, 120, 999_000]),
    st.integers(0, 7),
    st.sampled_from(["Z", "+00:00", "+02:00", ""]),
    st.sampled_from("T "),
)
def test_a_time_is_read_together_with_our_spelling_of_it(seconds, micro, digits, zone, between):
    """What is not spelled again, because it came in our spelling, would come out the same."""
    at = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    fraction = f".{micro:06}0"[: digits + 1] if digits else ""
    text = at.strftime(f"%Y-%m-%d{between}%H:%M:%S") + fraction + zone

    at = read_utc(text)
    assert read_stamp(text) == (at, iso_utc.__wrapped__(at))


def test_a_long_text_is_cut_behind_a_word():
    """What is short stays as it is; a word that fills everything is cut."""
    assert shortened("a car is connected", 18) == "a car is connected"
    assert shortened("a car is connected", 17) == "a car is…"
    assert shortened("x" * 20, 10) == f"{'x' * 9}…"
