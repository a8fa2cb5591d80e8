"""Whose clock is right."""

import httpx
import pytest

from bridge.adapters.easee.clock_skew import clock_skew_s
from bridge.errors import CloudUnavailable

pytestmark = pytest.mark.anyio

URL = "https://api.example"


def answering(**headers):
    """Make a transport that answers with these headers and keeps what it was asked."""
    asked = []

    def answer(request):
        asked.append(request)
        return httpx.Response(404, headers=headers)

    return httpx.MockTransport(answer), asked


async def test_the_difference_is_ours_minus_theirs(clock):
    """A clock that is ahead is positive; nothing of the account is sent."""
    clock.advance(90)
    transport, asked = answering(date="Sun, 22 Nov 2026 12:00:00 GMT")
    found = await clock_skew_s(URL, clock, transport=transport)
    assert found == pytest.approx(90, abs=24 * 3600)
    assert "authorization" not in asked[0].headers


@pytest.mark.parametrize("date", ["", "yesterday", "99999999999999999999", "Mon, 99 Foo 2026"])
async def test_a_date_that_cannot_be_read_is_none(clock, date):
    """An answer without a usable date is no measurement, and no error."""
    transport, _ = answering(date=date)
    assert await clock_skew_s(URL, clock, transport=transport) is None


async def test_nobody_answers(clock):
    """An unreachable cloud is our own error, without the library's words."""

    def fail(request):
        raise httpx.ConnectError("[Errno 111] Connection refused") from ConnectionRefusedError(111)

    with pytest.raises(CloudUnavailable, match=f"{URL}: it refuses the connection$"):
        await clock_skew_s(URL, clock, transport=httpx.MockTransport(fail))
