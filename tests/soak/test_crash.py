"""A gateway that dies in the middle of a command; `make soak-crash` does it at every step."""

import pytest

from tests.soak import crash_points

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]


async def test_a_toggle_survives_the_death_of_the_gateway_once(tmp_path, free_port):
    """Killed before the request is on disk and right behind it: one answer, one request at most."""
    points = (("commit", 2, "before"), ("call", 1, "after"))
    problems, table = await crash_points.torment(1, tmp_path, free_port, points)

    assert problems == [], table
