"""Parses the vendor's error responses: refusals, blocks, waits. Never raises.

A refusal without a readable reason is a refusal as well, so every function has an answer for any
body and any header. Text of the other side is one capped line before it is kept.
"""

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from bridge.core.easee.json_fields import MAX_TEXT_BYTES, body_text, integer, one_line, parse_json
from bridge.core.easee.observation_json import lowered
from bridge.errors import DecodeError

# "Invalid user or password": it comes as a 400, like business refusals do.
INVALID_USER_PASSWORD = 100

MAX_REASON_LENGTH = 64
MAX_FIELDS = 8
# The longest wait seen so far is the 24 h of an address block (ioBroker.easee#73).
MAX_RETRY_AFTER_S = 86_400.0

# What a web service answers; any other status is news.
EXPECTED_STATUSES: Final = frozenset({
    200, 201, 202, 204, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 406, 408, 409, 410, 413,
    415, 422, 423, 429, 451, 500, 501, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 530,
})  # fmt: skip

# What a status means where the body does not say it better.
REASONS: dict[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "validation_error",
}


class ErrorResponse(msgspec.Struct, frozen=True):
    """Why the cloud said no.

    Attributes:
        code: The vendor's ``errorCode``, or None. An open set: 100, 105 and 410 are known.
        reason: A snake_case word, from ``errorCodeName`` or from the status.
        message: One line for people, safe to log; empty when the body said nothing.
    """

    code: int | None
    reason: str
    message: str


def read_error(status: int, body: bytes) -> ErrorResponse:
    """Read the body of a refusal.

    The vendor's form is RFC 7807 with ``errorCode`` and ``errorCodeName`` added; a gateway in
    front of it answers ``{"message": "…"}``, plain text or a page, its login service may answer
    OAuth's ``error`` and ``error_description``. Keys are read in any case.
    """
    by_status = REASONS.get(status, f"http_{status}")
    try:
        document = parse_json(body, "refusal")
    except DecodeError:
        return ErrorResponse(None, by_status, one_line(body_text(body)))
    if not isinstance(document, dict):
        return ErrorResponse(None, by_status, "")
    told = lowered(document)
    fields = _field_errors(told.get("errors"))
    said = [
        part
        for key in ("title", "detail", "message", "error_description")
        # The vendor's production detail is a placeholder in brackets that says it is empty.
        if isinstance(part := told.get(key), str) and not part.startswith("[Empty")
    ]
    return ErrorResponse(
        code=integer(told.get("errorcode")),
        reason=_word(told.get("errorcodename"))
        or _word(told.get("error"))
        or ("validation_error" if fields else by_status),
        message=one_line(" ".join([*said, *fields])),
    )


def _field_errors(errors: object) -> list[str]:
    """Return the fields of a validation error, e.g. ``{"enabled": ["is no boolean"]}``."""
    if not isinstance(errors, dict):
        return []
    return [f"{field}: {_first(errors[field])}" for field in list(errors)[:MAX_FIELDS]]


def _first(reasons: object) -> str:
    chosen = reasons[0] if isinstance(reasons, list) and reasons else reasons
    return chosen if isinstance(chosen, str) else "refused"


_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


def _word(name: object) -> str:
    """Convert ``ChargerDisconnected`` to ``charger_disconnected``; empty when it is no name."""
    if not isinstance(name, str) or len(name) > MAX_REASON_LENGTH:
        return ""
    word = _HUMP.sub("_", name.strip()).lower()
    return word if _WORD.fullmatch(word) else ""


# -- pages ---------------------------------------------------------------------------------------

# "error code: 1020" is what a content network says where no page fits.
_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body|title|meta|script|\?xml)|\s*error code: 1\d{3}")
_OUTAGE = re.compile(
    r"bad gateway|gateway time-?out|unavailable|internal server error|server error|maintenance"
    r"|overload|temporar"
)
_KEEPS_OUT = re.compile(
    r"(?<![/\w])(?:log|sign)[ -]?in|captive|hotspot|firewall|denied|forbidden|blocked|captcha"
    r"|challenge|checking your browser|not allowed|content filter"
)
_REFUSING = frozenset({403, 406, 407, 451})
NETWORK_LOGIN = 511
SERVER_ERRORS = 500
CLIENT_ERRORS = range(400, 500)
SUCCESS = range(200, 300)


def is_from_between(status: int, body: bytes, *, login: bool = False) -> bool:
    """Return whether the response came from something in between: the cloud answers in JSON.

    A firewall, a content network, the sign-in page of a guest network. A page that tells of an
    outage may be the vendor's own.

    Args:
        status: HTTP status.
        body: Of the answer.
        login: To a login: the vendor refuses one in JSON, or without a word.
    """
    text = body[:MAX_TEXT_BYTES].decode("utf-8-sig", errors="replace").lower()
    if _PAGE.match(text) is None:
        return False
    if status == NETWORK_LOGIN:
        return True
    if status >= SERVER_ERRORS:
        return _KEEPS_OUT.search(text) is not None or _OUTAGE.search(text) is None
    if login and status in CLIENT_ERRORS and status != TOO_MANY:
        return True
    return status in _REFUSING or status in SUCCESS


# -- blocks ---------------------------------------------------------------------------------------

_ADDRESS = re.compile(r"\bip\b", re.IGNORECASE)
FORBIDDEN = 403
TOO_MANY = 429
BARE_NOTICE = "Forbidden"


def block_notice(status: int, body: bytes) -> str | None:
    """Recognise that the vendor shut this address out; return what it said, safe to log.

    Seen: 403 with a text that the IP is now blocked (evcc#3835), 429 with a text that it is
    blocked for 24 h from the last request (ioBroker.easee#73), and the gateway's bare
    ``{"message":"Forbidden"}`` with 403 (evcc#8140). The last one could be another refusal of the
    gateway; asking again to find out is what a block punishes, so it is taken for one.
    """
    if status not in {FORBIDDEN, TOO_MANY}:
        return None
    text = body_text(body)
    if "blocked" in text.lower() and _ADDRESS.search(text):
        return read_error(status, body).message or "address blocked"
    try:
        bare = status == FORBIDDEN and parse_json(body, "refusal") == {"message": "Forbidden"}
    except DecodeError:
        return None
    return BARE_NOTICE if bare else None


# -- what a login says ---------------------------------------------------------------------------

# A refusal may contain personal data: an address, a telephone number.
_SOMEBODY = re.compile(r"[^\s\"'<>(),;:]+@[^\s\"'<>(),;:]+|\+?[0-9](?:[ -]?[0-9]){6,}")


def impersonal(text: str) -> str:
    """Remove addresses and telephone numbers from a text."""
    return _SOMEBODY.sub("***", text)


# -- Retry-After ----------------------------------------------------------------------------------

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# The one form of a date that RFC 9110 permits to send. Parsed by hand: strptime uses the locale.
_HTTP_DATE = re.compile(
    r"[A-Z][a-z]{2}, (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT", re.ASCII
)
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)


def retry_after_s(header: str | None, wall: datetime | None) -> float | None:
    """Read a ``Retry-After`` header.

    Args:
        header: Seconds or an HTTP date; None when there is none.
        wall: The time now, or None while the clock cannot be believed: a date is then unreadable.

    Returns:
        Seconds from now, 0 to a day, or None when it cannot be read.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_RETRY_AFTER_S)
    found = _HTTP_DATE.fullmatch(text)
    if found is None or wall is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[group]) for group in (1, 3, 4, 5, 6))
    try:
        due = datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return min(max((due - wall).total_seconds(), 0.0), MAX_RETRY_AFTER_S)
