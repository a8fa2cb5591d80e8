"""A gateway that dies in the middle of a command; `make soak-crash` does it at every step."""

import pytest

from tests.soak import crash_points

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]


@pytest.mark.fault("F3")
async def test_a_toggle_survives_the_death_of_the_gateway_once(tmp_path):
    """Killed before the PUBACK, before the next commit, behind the request: one answer each.

    Before the PUBACK the broker keeps the message in our MQTT 5 session and delivers it again.
    """
    points = (("acknowledge", 1, "before"), ("commit", 2, "before"), ("call", 1, "after"))
    problems, table = await crash_points.torment(1, tmp_path, points)

    assert problems == [], table
