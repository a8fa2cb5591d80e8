"""Packets vanish and no command arrives late; `make soak-late` does it at length."""

import os

import pytest

from tests.soak import late
from tests.soak.late import Case
from tests.vanish import namespace

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]

CASES = [
    Case(2.0, tls=False, fate="alive", kept=True, ttls_s=(1, 5)),
    Case(2.0, tls=True, fate="killed", kept=True, ttls_s=(1, 5)),
]


@pytest.mark.fault("F42")
async def test_what_vanished_arrives_in_time_or_never():
    """A hole shorter than a command's time is survived; else, and when killed, nothing arrives."""
    if not namespace():
        why = "no network of our own: it takes root or user namespaces, nft and ip"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    found, lines = await late.torment(CASES)

    assert found == [], lines
    assert len(lines) == len(CASES)


def test_what_is_late_twice_or_not_survived_is_named():
    """The judge can say no: each kind of failure has its line."""
    case = CASES[0]
    good = late.Outcome({"1": [], "5": [2.1]}, {"5": "confirmed"}, lost=3)
    assert list(late.problems(case, good)) == []

    for bad in (
        late.Outcome({"1": [1.6], "5": [2.1]}, {"5": "confirmed"}, lost=3),
        late.Outcome({"1": [], "5": [2.1, 2.2]}, {"5": "confirmed"}, lost=3),
        late.Outcome({"1": [], "5": []}, {"5": "unknown"}, lost=3),
        late.Outcome({"1": [], "5": [2.1]}, {"5": "confirmed"}, lost=0),
    ):
        assert len(list(late.problems(case, bad))) == 1


def test_a_request_counts_when_its_last_byte_came():
    """Head and body in pieces are one request, and the frames of a socket are none."""
    came = []
    note = late._Noting(came)
    for piece in (b"POST /a HTTP/1.1\r\nContent-Le", b"ngth: 3\r\n\r\nab"):
        note(piece)
        assert came == []
    note(b"cGET /hubs/x HTTP/1.1\r\nHost: x\r\n\r\n\x81\x05")
    note(b"GET /b HTTP/1.1\r\n\r\n")

    assert [asked for _, asked in came] == ["POST /a", "GET /hubs/x"]
