import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.easee.error_responses import (
    ErrorResponse,
    block_notice,
    impersonal,
    is_from_between,
    read_error,
    retry_after_s,
)

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def body(document):
    """Write JSON."""
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("status", "raw", "expected"),
    [
        (
            400,
            body(
                {
                    "errorCode": 410,
                    "errorCodeName": "ChargerDisconnected",
                    "title": "No car",
                    "detail": "[Empty in production]",
                }
            ),
            ErrorResponse(410, "charger_disconnected", "No car"),
        ),
        (
            400,
            body({"title": "One or more.", "errors": {"phaseMode": ["must be 1 to 3", "x"]}}),
            ErrorResponse(None, "validation_error", "One or more. phaseMode: must be 1 to 3"),
        ),
        (
            400,
            body({"ErrorCode": "104", "ErrorCodeName": "AccountLocked", "Title": "Locked"}),
            ErrorResponse(104, "account_locked", "Locked"),
        ),
        (
            400,
            body({"error": "invalid_grant", "error_description": "Account is not set up"}),
            ErrorResponse(None, "invalid_grant", "Account is not set up"),
        ),
        (400, b"", ErrorResponse(None, "bad_request", "")),
        (403, body({"errorCodeName": "x\ny"}), ErrorResponse(None, "forbidden", "")),
        (404, body([1]), ErrorResponse(None, "not_found", "")),
        (
            405,
            b"<html><h1>Not\x1b[0m allowed</h1>",
            ErrorResponse(None, "method_not_allowed", "Not [0m allowed"),
        ),
        (418, body({"message": "tea"}), ErrorResponse(None, "http_418", "tea")),
    ],
)
def test_a_refusal_is_named(status, raw, expected):
    """The vendor's name comes first, the status otherwise, and text is one safe line."""
    assert read_error(status, raw) == expected


@given(st.integers(min_value=300, max_value=599), st.binary(max_size=300))
def test_any_refusal_is_read(status, raw):
    """Nothing in a refused body raises, and what is kept can be logged."""
    read = read_error(status, raw)

    assert read.reason.isidentifier()
    assert len(read.message) <= 200
    assert read.message.isprintable()
    block_notice(status, raw)
    is_from_between(status, raw)
    assert impersonal(read.message).isprintable()


@pytest.mark.parametrize(
    ("status", "raw", "by_login", "by_rest"),
    [
        (403, b"<html><title>Attention Required! | Cloudflare</title>blocked</html>", True, True),
        (403, b"\xef\xbb\xbf\n <!DOCTYPE html><h1>Access denied</h1>", True, True),
        (403, b"error code: 1020", True, True),
        (401, b"<html>Authorization Required</html>", True, False),
        (400, b"<html>Bad Request</html>", True, False),
        (404, b"<html>not found</html>", True, False),
        (407, b"<html>proxy</html>", True, True),
        (200, b"<!doctype html><title>Sign in</title>", True, True),
        (511, b"<html>network</html>", True, True),
        (503, b"<html><body>Please log in to the hotel's WiFi</body></html>", True, True),
        (503, b"<html><title>Just a moment...</title></html>", True, True),
        (503, b"<html><h1>503 Service Temporarily Unavailable</h1></html>", False, False),
        (502, b"<html><h1>502 Bad Gateway</h1>POST /api/accounts/login</html>", False, False),
        (429, b"<html>slow down</html>", False, False),
        (403, b'{"title": "<html>"}', False, False),
        (403, b"forbidden", False, False),
        (403, b"", False, False),
        (302, b"<html>moved</html>", False, False),
    ],
)
def test_a_page_in_the_clouds_place_is_recognised(status, raw, by_login, by_rest):
    """The vendor refuses in JSON; a page that tells of an outage may be its own."""
    assert is_from_between(status, raw, login=True) == by_login
    assert is_from_between(status, raw) == by_rest


def test_people_are_taken_out_of_a_text():
    """Addresses and telephone numbers; codes and times stay."""
    said = "user a.b+c@x.example (+47 123 45 678) failed with 10045 at 12:30"

    assert impersonal(said) == "user *** (***) failed with 10045 at 12:30"


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (403, b"Too many requests. Your IP 10.0.0.1 is now blocked, please contact support"),
        (429, body({"message": "IP blocked for 24 h from the last request"})),
        (403, body({"message": "Forbidden"})),
    ],
)
def test_a_block_is_recognised(status, raw):
    """The three texts that were seen mean a block."""
    assert block_notice(status, raw)


@pytest.mark.parametrize(
    ("status", "raw"),
    [
        (403, body({"errorCode": 1, "title": "Forbidden", "status": 403})),
        (403, b""),
        (429, body({"message": "Forbidden"})),
        (429, b"slow down"),
        (403, b"this user is blocked from the charger"),
        (400, b"your IP is blocked"),
    ],
)
def test_another_refusal_is_no_block(status, raw):
    """A refusal of one charger or one call does not silence everything."""
    assert block_notice(status, raw) is None


@pytest.mark.parametrize(
    ("header", "expected_s"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("999999999", 86_400.0),
        ("Sun, 22 Nov 2026 12:01:00 GMT", 60.0),
        ("Sun, 22 Nov 2026 11:00:00 GMT", 0.0),
        ("Sun, 99 Nov 2026 11:00:00 GMT", None),
        ("Sun, 22 Foo 2026 11:00:00 GMT", None),
        ("-5", None),
        ("soon", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
@pytest.mark.fault("F25")
def test_retry_after_is_seconds_a_date_or_nothing(header, expected_s):
    """Seconds and HTTP dates are read and capped at a day, garbage is None."""
    assert retry_after_s(header, NOON) == expected_s


def test_a_date_means_nothing_while_the_clock_is_not_believed():
    """Without a trusted clock a date cannot be turned into a wait."""
    assert retry_after_s("Sun, 22 Nov 2026 12:01:00 GMT", None) is None


@given(st.text(max_size=60))
def test_any_retry_after_is_sane(header):
    """No header makes us wait less than nothing or longer than a day."""
    wait_s = retry_after_s(header, NOON)

    assert wait_s is None or 0 <= wait_s <= 86_400
