"""A partition has its share of the quota, and counts what it adds itself."""

import pytest

from bridge.adapters.store.postgres import command_rows
from bridge.adapters.store.postgres.quota import ROWS_BETWEEN_COUNTS, Quota
from bridge.errors import StoreFull
from tests.adapters.store.rows import command

pytestmark = pytest.mark.anyio


async def test_what_is_counted_here_is_about_what_the_database_counts(database, lease):
    """So that a full store is noticed without asking for each row."""
    commands = [command(number) for number in range(200)]
    quota, asked = Quota(0, 10**6), Quota(0, 10**6)
    await command_rows.put(database, lease, commands)
    for each in commands:
        quota.added(each.body, each.answer)
    await asked.count(database)

    assert asked.used_share / 1.5 < quota.used_share < asked.used_share * 1.5
    assert asked.free_bytes == 10**6 - round(asked.used_share * 10**6)


def test_a_full_share_takes_nothing_new():
    """With a hint; 1.0 is the end of it."""
    quota = Quota(0, 1000)
    quota.require()
    for _ in range(5):
        quota.added("key")
    with pytest.raises(StoreFull) as caught:
        quota.require()
    assert caught.value.hint == "raise store.max_mib"
    assert (quota.used_share, quota.free_bytes, quota.is_count_due) == (1.0, 0, True)


def test_a_crowded_share_is_counted_now_and_then():
    """Not for each row: a count reads all of them."""
    quota = Quota(0, 100_000)
    while not quota.is_crowded:
        quota.added(b"x" * 1000)
    assert 0.95 <= quota.used_share < 1.0
    small = Quota(0, 10**6)
    for _ in range(ROWS_BETWEEN_COUNTS):
        assert not small.is_count_due
        small.added(b"x" * 18_900)
    assert small.is_crowded
    assert small.is_count_due
