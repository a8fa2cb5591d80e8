"""Parses messages of consumers: ``bridge/session/ack`` and ``bridge/session/replay``.

Rules:

1. An acknowledgement is the bare key, a JSON text, ``{"key": …}`` with or without ``"revision"``,
   or a JSON list of these. One that cannot be read acknowledges nothing: half of a list is none.
2. A replay asks with ``{"since": "…Z", "charger": "…"}``; each may be left out, and without either
   everything that is stored is asked for.
3. Nothing is taken from a retained message: it would be said again at every start, long after
   whoever said it meant something else.

Total: nothing but ``DecodeError`` leaves.
"""

import re
from datetime import datetime

import msgspec

from bridge.core.easee.json_fields import integer
from bridge.core.easee.rest_requests import is_serial
from bridge.core.sessions.delivery import ReportAck
from bridge.core.value_format import read_utc
from bridge.errors import DecodeError

MAX_BYTES = 64 * 1024
MAX_KEYS = 1000
# Keys are made of a serial, a counter and a day; nothing else is looked up.
_KEY = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_SOURCE_ACK = "session/ack"
_SOURCE_REPLAY = "session/replay"


class ReplayRequest(msgspec.Struct, frozen=True):
    """The stored reports a consumer requests again.

    Attributes:
        since: Only sessions that ended then or later; None for all.
        charger_id: Only this charger's; None for all.
    """

    since: datetime | None = None
    charger_id: str | None = None


def read_ack(payload: bytes) -> tuple[ReportAck, ...]:
    """Read what a consumer says it has.

    Raises:
        DecodeError: It is no acknowledgement.
    """
    document = _document(payload, _SOURCE_ACK)
    entries = document if isinstance(document, list) else [document]
    if not 0 < len(entries) <= MAX_KEYS:
        raise DecodeError(f"1 to {MAX_KEYS} keys", source=_SOURCE_ACK)
    return tuple(map(_taken, entries))


def read_replay(payload: bytes) -> ReplayRequest:
    """Parse a replay request.

    Raises:
        DecodeError: It cannot be told; nothing is replayed by guess.
    """
    document = _document(payload, _SOURCE_REPLAY)
    if not isinstance(document, dict) or not document.keys() <= {"since", "charger"}:
        raise DecodeError('an object with "since" and "charger"', source=_SOURCE_REPLAY)
    since, charger_id = document.get("since"), document.get("charger")
    if charger_id is not None and not (isinstance(charger_id, str) and is_serial(charger_id)):
        raise DecodeError('"charger" is a serial', source=_SOURCE_REPLAY)
    if since is not None and not isinstance(since, str):
        raise DecodeError('"since" is a UTC time', source=_SOURCE_REPLAY)
    return ReplayRequest(None if since is None else read_utc(since), charger_id)


def _taken(entry: object) -> ReportAck:
    match entry:
        case str(key) | {"key": str(key)} if _KEY.fullmatch(key):
            revision = entry.get("revision") if isinstance(entry, dict) else None
            number = integer(revision)
            if revision is None or number is not None:
                return ReportAck(key, number)
    raise DecodeError("the key of a report", source=_SOURCE_ACK)


def _document(payload: bytes, source: str) -> object:
    """Return the JSON value of a payload, or its text where it is a bare word."""
    if len(payload) > MAX_BYTES:
        raise DecodeError(f"over {MAX_BYTES} bytes", source=source)
    try:
        text = payload.decode().strip()
        document: object = msgspec.json.decode(text) if text[:1] in ("{", "[", '"') else text
    except (ValueError, RecursionError):
        raise DecodeError("no JSON", source=source) from None
    return document
