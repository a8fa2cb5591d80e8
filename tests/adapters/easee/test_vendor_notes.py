"""What is told of answers: news, and a shape now and then."""

import json

from msgspec.structs import replace

from bridge.adapters.easee.http_client import HttpResponse
from bridge.adapters.easee.vendor_notes import FRAME_EVERY_S, SHAPE_EVERY_S, VendorNotes
from bridge.core.easee.rest_requests import CloudRequest, Endpoint
from bridge.core.events import VendorOdd, VendorReplied
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from tests.conftest import NOON

LIST = CloudRequest("GET", "/api/chargers", Endpoint.CHARGER_LIST, idempotent=True)
LOGIN = CloudRequest("POST", "/api/accounts/login", Endpoint.LOGIN, idempotent=False)


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.moment = Timestamp(NOON, 1000.0)

    def now(self):
        return self.moment

    def wait(self, seconds):
        self.moment = replace(self.moment, mono_s=self.moment.mono_s + seconds)


def notes():
    """Return notes, their clock and what they tell."""
    clock, told = Clock(), []
    return VendorNotes(clock, told.append), clock, told


def test_an_answer_is_told_once_and_its_shape_now_and_then():
    """The same answer again is no news for ten minutes."""
    noted, clock, told = notes()
    reply = HttpResponse(200, b'[{"id":"EH123456"}]')
    for _ in range(5):
        noted.answered(LIST, reply)
    assert told == [VendorReplied("GET /api/chargers", 200, shape=("[]|id|text",))]
    clock.wait(SHAPE_EVERY_S)
    noted.answered(LIST, reply)

    assert len(told) == 2


def test_another_status_another_header_and_what_counts_are_told():
    """Headers are cut and made safe; refusals that are counted are told each time."""
    noted, _clock, told = notes()
    noted.answered(LIST, HttpResponse(200, b"[]", deprecation="\x1b@1" + "x" * 99, limit=5))
    for _ in range(2):
        noted.answered(LIST, HttpResponse(429))
    noted.answered(LIST, HttpResponse(404, json.dumps({"errorCode": 100}).encode()))
    noted.answered(LIST, HttpResponse(500))
    noted.answered(LIST, HttpResponse(500))

    assert [one.status for one in told] == [200, 429, 429, 404, 500]
    assert told[0].deprecation == "@1" + "x" * 58
    assert told[0].limit == 5
    assert told[3].has_code
    assert not told[1].has_code


def test_a_login_has_no_shape():
    """Its body is a secret; that it was answered is told."""
    noted, _clock, told = notes()
    noted.answered(LOGIN, HttpResponse(200, b'{"accessToken":"x"}'))

    assert told == [VendorReplied("POST /api/accounts/login", 200)]


def test_a_frame_is_looked_at_now_and_then():
    """Each message of it once in ten minutes, what is cut or no message not at all."""
    noted, clock, told = notes()
    frame = b'{"type":6}\x1e{"type":1,"target":"ProductUpdate","arguments":[{"id":1}]}\x1e'
    noted.frame(frame)
    noted.frame(frame)
    clock.wait(FRAME_EVERY_S)
    noted.frame(frame)
    noted.frame(b'{"target":"Cut')
    noted.frame(b'{"target":"Cut","x":')

    assert [one.endpoint for one in told] == ["hub ProductUpdate"]
    assert "arguments[]|id|number" in told[0].shape


def test_odd_observations_are_told_now_and_then():
    """From the stream and from an answer; the same again is no news for ten minutes."""
    noted, clock, told = notes()
    odd = RawObservation("EH123456", 9999, 4, "1", "x")
    for _ in range(3):
        noted.observed([odd])
    assert told == [VendorOdd((("observation 9999", "observation 9999 is unknown"),))]
    clock.wait(SHAPE_EVERY_S)
    request = CloudRequest(
        "GET", "/state/EH123456/observations", Endpoint.OBSERVATIONS, scope="EH123456",
        idempotent=True,
    )  # fmt: skip
    body = (
        b'{"observations":[{"id":9999,"value":1,"dataType":4,"timestamp":"2026-01-01T00:00:00Z"}]}'
    )
    noted.answered(request, HttpResponse(200, body))
    clock.wait(SHAPE_EVERY_S)
    noted.answered(request, HttpResponse(200, b"[[]"))

    assert told.count(told[0]) == 2


def test_a_burst_is_looked_at_in_part():
    """While observations come by the thousand, a part of them is enough."""
    noted, clock, told = notes()
    noted.observed([RawObservation("EH123456", 120, 3, "1", "x")] * 50)
    odd = [RawObservation("EH123456", 9999, 4, "1", "x")] * 50
    noted.observed(odd)
    assert told == []
    clock.wait(1)
    noted.observed(odd)

    assert len(told) == 1
