"""The budget of one process follows the clock it is given."""

import pytest

from bridge.adapters.easee.local_allowance import LocalAllowance
from bridge.core.easee.rest_requests import Endpoint, charger_list_request

pytestmark = pytest.mark.anyio
LIST = charger_list_request()


async def test_what_has_no_room_is_not_reserved_and_comes_later(clock):
    """A third charger list in a minute waits; asking for it does not count."""
    allowance = LocalAllowance(clock)

    assert [await allowance.reserve(LIST) for _ in range(2)] == [0.0, 0.0]
    wait_s = await allowance.reserve(LIST)
    assert wait_s == await allowance.reserve(LIST) > 0
    clock.advance(wait_s)
    assert await allowance.reserve(LIST) == 0.0


async def test_a_429_holds_its_group_until_another_answer(clock):
    """The time that was named counts, and the answer of the trial ends it."""
    allowance = LocalAllowance(clock)
    assert await allowance.too_many_requests(Endpoint.CHARGER_LIST, "", 40.0) == 40.0

    assert await allowance.reserve(LIST) == 40.0
    clock.advance(40.0)
    assert await allowance.reserve(LIST) == 0.0
    assert await allowance.reserve(LIST) > 0
    await allowance.accepted(LIST)
    assert await allowance.reserve(LIST) == 0.0


async def test_a_block_silences_everything_for_its_time(clock):
    """And no longer."""
    allowance = LocalAllowance(clock)
    assert await allowance.silent_for_s() == 0.0
    await allowance.block(3600.0)

    clock.advance(3599.0)
    assert await allowance.silent_for_s() == await allowance.reserve(LIST) == 1.0
    clock.advance(1.0)
    assert await allowance.silent_for_s() == await allowance.reserve(LIST) == 0.0
