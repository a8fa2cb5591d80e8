"""Lists that one worker reads for all, and a division that is written once."""

import pytest

from bridge.adapters.store.postgres.listings import CLAIMED_FOR_S, PostgresListings

pytestmark = pytest.mark.anyio

AGE = (
    "UPDATE listing SET asked_at = asked_at - interval '{0} s',"
    " read_at = read_at - interval '{0} s'"
)


@pytest.fixture
def lists(database):
    """The lists of an account in four partitions, as a worker sees them."""
    return PostgresListings(database, "someone", 4)


async def test_what_is_placed_first_stays(lists):
    """Whoever asks, and whatever they want."""
    await lists.place({"site/1": 0, "site/2": 3}, {"a": "site/1"})
    await lists.place({"site/2": 1, "site/3": 2}, {"a": "site/2", "b": "site/3"})
    division = await lists.division()

    assert division.sites == {"site/1": 0, "site/2": 3, "site/3": 2}
    assert division.devices == {"a": "site/1", "b": "site/3"}
    assert (division.partitions, division.partition_of("b")) == (4, 2)


async def test_a_division_is_read_when_something_was_added(lists):
    """Not with every list: that of a large account has many rows."""
    empty = await lists.division()
    await lists.place({"site/1": 0}, {"a": "site/1"})
    one = await lists.division(empty)

    assert (empty.partitions, one.devices) == (4, {"a": "site/1"})
    assert await lists.division(one) is one
    await lists.place({}, {"b": "site/1"})
    assert (await lists.division(one)).devices == {"a": "site/1", "b": "site/1"}


async def test_a_list_of_a_large_account_is_kept_whole(lists):
    """Some tens of megabytes."""
    content = b"".join(b'{"id":"EH%06d","name":"x","createdOn":null},' % n for n in range(200_000))
    await lists.claim("chargers", every_s=30.0)
    await lists.replace("chargers", content)

    assert (await lists.read("chargers", within_s=60.0)).content == content


async def test_one_of_all_reads_a_list_in_its_time(lists, database):
    """The next one when that is over."""
    assert await lists.read("chargers", within_s=60.0) is None
    assert await lists.claim("chargers", every_s=30.0)
    assert not await lists.claim("chargers", every_s=30.0)
    await lists.replace("chargers", b"[]")
    await database.execute(AGE.format(20))
    assert await lists.read("chargers", within_s=10.0) is None
    found = await lists.read("chargers", within_s=60.0)

    assert found.content == b"[]"
    assert 20.0 <= found.age_s < 40.0
    assert not await lists.claim("chargers", every_s=30.0)
    await database.execute(AGE.format(10))
    assert await lists.claim("chargers", every_s=30.0)


async def test_a_claim_of_a_worker_that_died_ends_sooner(lists, database):
    """It never read the list."""
    assert await lists.claim("chargers", every_s=30.0)
    await database.execute(AGE.format(CLAIMED_FOR_S))
    assert await lists.claim("chargers", every_s=30.0)


async def test_a_list_that_could_not_be_read_is_asked_for_again_soon(lists):
    """As if the claim had been made before."""
    assert await lists.claim("chargers", every_s=30.0)
    await lists.release("chargers", asked_ago_s=30.0)
    assert await lists.claim("chargers", every_s=30.0)


async def test_each_account_has_lists_of_its_own(lists, database):
    """Another one does not get them."""
    await lists.claim("chargers", every_s=30.0)
    await lists.replace("chargers", b"[]")

    assert await PostgresListings(database, "else", 4).read("chargers", within_s=60.0) is None
