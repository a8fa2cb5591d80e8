"""Who serves which partition: at most one worker at a time, each its share, and little moves."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.partitions import (
    GIVE_BACK_AFTER_S,
    MAX_DRIFT,
    UNTAKEN_S,
    Balance,
    Division,
    Holdings,
    assigned,
    balance,
    is_given_back,
    partition_of,
    placed,
    shares,
)
from bridge.core.records.lease import HeldLease, Lease

NAMES = ("a", "b", "c", "d", "e")


def row(partition, owner, left_s):
    """Make a row of the table of leases."""
    return HeldLease(partition, owner or None, 1, left_s)


def leases(*owners, left_s=3.0):
    """Make a lease for each owner; without one it is free since just now."""
    return [row(number, owner, left_s if owner else 0.0) for number, owner in enumerate(owners)]


def spread(counts):
    """Make leases held by members, so many each."""
    return leases(*(name for name, count in counts.items() for _ in range(count)))


# -- sites ----------------------------------------------------------------------------------------


def test_the_partition_of_a_site_is_the_same_for_ever():
    """It is stored, and other versions and machines compute the same."""
    assert [partition_of(site, 16) for site in ("1", "2", "12345", "EH000001")] == [1, 14, 10, 12]


@given(st.lists(st.uuids().map(str), min_size=1, max_size=50, unique=True), st.integers(1, 64))
def test_every_site_has_a_partition_and_keeps_it(sites, partitions):
    """All chargers of a site have one, and what was stored is not computed again."""
    chargers = {f"{site}/{number}": site for site in sites for number in range(3)}
    stored = assigned(chargers, {}, partitions)

    assert stored.keys() == set(sites)
    assert all(0 <= partition < partitions for partition in stored.values())
    assert assigned(chargers, stored, partitions + 1) == {}


# A list of sites: the chargers of each, in circuits of one site.
SITES = st.dictionaries(
    st.integers(1, 40).map("site/{}".format),
    st.lists(st.integers(1, 60).map("EH{:06}".format), max_size=6, unique=True),
    max_size=12,
)
LISTS = st.lists(st.tuples(SITES, st.sets(st.integers(1, 60).map("EH{:06}".format))), max_size=6)


def _placed(division, sites, listed):
    """Write down what one list of chargers and one of sites bring."""
    new = placed(listed, sites.items(), division.devices)
    sites_of = {**division.sites, **assigned(new, division.sites, division.partitions)}
    return Division(division.partitions, sites_of, {**division.devices, **new})


@given(LISTS, st.integers(1, 32))
def test_every_charger_has_exactly_one_partition_and_keeps_it(lists, partitions):
    """Whatever lists come one behind the other, and whatever moves between them."""
    division = Division(partitions)
    for sites, listed in lists:
        before, division = division, _placed(division, sites, listed)
        for device in before.devices:
            assert division.partition_of(device) == before.partition_of(device)
        for device in {*listed, *(one for members in sites.values() for one in members)}:
            of = [n for n in range(partitions) if device in division.devices_of(n)]
            assert of == [division.partition_of(device)]


@given(SITES, st.sets(st.integers(1, 60).map("EH{:06}".format)), st.integers(1, 32))
def test_all_chargers_of_a_site_have_one_partition(sites, listed, partitions):
    """So have those of a circuit: it belongs to one site."""
    first_of = {}
    for site, members in sites.items():
        for device in members:
            first_of.setdefault(device, site)
    division = _placed(Division(partitions), sites, listed)

    for site in sites:
        members = [device for device, named in first_of.items() if named == site]
        assert len({division.partition_of(device) for device in members}) <= 1
    assert {division.devices[one] for one in listed - first_of.keys()} == listed - first_of.keys()


def test_a_device_that_is_not_placed_has_no_partition():
    """It is served by none until its site is known."""
    assert Division(4).partition_of("EH000001") is None
    assert Division(4).devices_of(0) == frozenset()


# -- leases ---------------------------------------------------------------------------------------


@given(
    st.floats(3.0, 60.0),
    st.floats(0.0, 1e6),
    st.floats(0.0, 30.0),
    st.floats(1 - MAX_DRIFT, 1 + MAX_DRIFT),
)
def test_a_worker_stops_before_the_database_does(ttl_s, asked_at_s, until_commit_s, rate):
    """Whatever the request took, and with a clock that is ten percent off."""
    holdings = Holdings(ttl_s)
    holdings.granted(Lease(0, 1, asked_at_s))
    believed_s = holdings.left_s(0, asked_at_s) / rate  # by the database's clock

    assert believed_s <= until_commit_s + ttl_s + 1e-6


def test_a_lease_is_believed_for_a_while():
    """With a TTL of 4 s two renewals may fail in a row before anything ends."""
    holdings = Holdings(4.0)
    holdings.granted(Lease(7, 3, 100.0))

    assert holdings.left_s(7, 103.5) > 0
    assert holdings.left_s(7, 103.7) <= 0
    assert holdings.left_s(8, 100.0) == -math.inf


def test_a_renewal_lengthens_what_it_finds_and_loses_the_rest():
    """What another took is lost at once, whatever the clock says."""
    one, two, three = Lease(1, 5, 100.0), Lease(2, 5, 100.0), Lease(3, 5, 100.0)
    holdings = Holdings(4.0)
    for lease in (one, two, three):
        holdings.granted(lease)
    renewed = (Lease(1, 5, 101.0), Lease(3, 6, 101.0))

    assert holdings.renewed((one, two, three), renewed) == (two, three)
    assert holdings.leases == (renewed[0],)
    assert holdings.left_s(1, 101.0) == pytest.approx(3.6)


def test_a_late_answer_does_not_revive_a_lease():
    """Given back or taken anew while its renewal was under way: the answer is about an old one."""
    old, new = Lease(1, 5, 100.0), Lease(1, 6, 101.5)
    holdings = Holdings(4.0)
    holdings.granted(old)

    assert holdings.give_back(1) == old
    assert holdings.renewed((old,), (Lease(1, 5, 101.0),)) == ()
    assert holdings.leases == ()
    holdings.granted(new)
    assert holdings.renewed((old,), ()) == ()
    assert holdings.leases == (new,)
    assert Holdings(4.0).give_back(1) is None


# -- shares ---------------------------------------------------------------------------------------


@given(st.integers(1, 64), st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_shares_are_even(partitions, members):
    """They add up, and differ by one at most."""
    found = shares(members, leases(*[""] * partitions))

    assert sum(found.values()) == partitions
    assert max(found.values()) - min(found.values()) <= 1


def test_nobody_has_a_share_without_members():
    """An empty cluster is no error."""
    assert shares((), leases("")) == {}


def test_a_free_partition_is_taken_at_once():
    """The other of two workers takes the only partition when it ran out, or was handed over."""
    ran_out = [row(0, "a", -0.01)]

    assert balance("b", ("a", "b"), ran_out).take == (0,)
    assert balance("b", ("b",), leases("")).take == (0,)


def test_what_another_is_to_have_is_left_to_it_for_a_second():
    """What was handed over goes to whoever has too little, unless that one does not take it."""
    members = ("a", "b")
    fresh = [row(0, "a", 3.0), row(1, "", -0.1)]
    old = [row(0, "a", 3.0), row(1, "", -UNTAKEN_S)]

    assert balance("a", members, fresh).take == ()
    assert balance("b", members, fresh).take == (1,)
    assert balance("a", members, old).take == (1,)


def test_a_standby_changes_nothing():
    """A second worker for one partition waits; the owner keeps what it has."""
    assert balance("a", ("a", "b"), leases("a")) == balance("b", ("a", "b"), leases("a"))
    assert not balance("a", ("a", "b"), leases("a")).give_back


def test_a_worker_that_leaves_gives_everything_back():
    """And takes nothing, however much is free."""
    found = balance("a", ("b",), leases("a", "", "a"), leaving=True)

    assert (found.take, found.give_back) == ((), (0, 2))


@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 12), min_size=1).filter(
        lambda counts: sum(counts.values())
    ),
    st.sets(st.sampled_from(NAMES)),
)
def test_the_members_agree_and_little_moves(counts, joined):
    """Give back and take again end in even shares: nothing moves twice, nothing without need."""
    members = {*counts, *joined}
    before = spread(counts)
    given_back = {part for name in members for part in balance(name, members, before).give_back}
    table = [
        row(each.partition, "", 0.0) if each.partition in given_back else each for each in before
    ]
    for name in [*sorted(members)] * 2:
        for part in balance(name, members, table).take:
            table[part] = row(part, name, 3.0)
    after = Counter(each.owner for each in table)

    assert None not in after
    assert max(after[name] for name in members) - min(after[name] for name in members) <= 1
    assert all(balance(name, members, table) == Balance() for name in members)
    fewest = len(before) // len(members)
    too_few = sum(max(0, fewest - counts.get(name, 0)) for name in members)
    too_many = sum(max(0, counts.get(name, 0) - fewest - 1) for name in members)
    assert len(given_back) == max(too_few, too_many)


@given(st.integers(1, 64), st.integers(1, 8))
def test_a_join_moves_one_share(partitions, workers):
    """Where everything was even, a member more moves at most ``ceil(partitions / members)``."""
    names = [f"w{number}" for number in range(workers)]
    even = leases(*(names[part % workers] for part in range(partitions)))
    members = [*names, "new"]
    moved = sum(len(balance(name, members, even).give_back) for name in members)

    assert moved <= -(-partitions // len(members))


@given(st.integers(1, 64), st.integers(2, len(NAMES)), st.booleans(), st.data())
def test_what_a_member_leaves_is_taken_once_and_evenly(partitions, workers, is_dead, data):
    """However old the view of each, and in whatever order they look: nothing moves again."""
    names = NAMES[:workers]
    table = list(leases(*(names[part % workers] for part in range(partitions))))
    gone = data.draw(st.sampled_from(names))
    # Whoever dies may count as a member still.
    members = [each for each in names if each != gone or is_dead]
    for each in table:
        if each.owner == gone:
            table[each.partition] = row(each.partition, gone if is_dead else "", -0.1)
    views = [tuple(table)]
    there = [each for each in names if each != gone]
    order = data.draw(st.lists(st.sampled_from(there), max_size=12))
    for name, is_last in [*((name, False) for name in order), *((name, True) for name in there)]:
        view = views[-1] if is_last else data.draw(st.sampled_from(views))
        have = sum(each.owner == name and each.left_s > 0 for each in table)
        seen = sum(each.owner == name and each.left_s > 0 for each in view)
        # A member knows its own, and the database gives it any that are free.
        most = len(balance(name, members, view).take) - (have - seen)
        free = [each.partition for each in table if each.left_s <= 0]
        for part in free[: max(0, most)]:
            table[part] = row(part, name, 3.0)
        views.append(tuple(table))
    after = Counter(each.owner for each in table)

    assert all(each.left_s > 0 for each in table)
    assert max(after[name] for name in there) - min(after[name] for name in there) <= 1


# -- a worker that cannot serve -------------------------------------------------------------------


def test_a_worker_without_broker_gives_back_when_another_has_one():
    """Not before it waited a while, and never when nobody does better."""
    assert is_given_back(is_up=False, down_for_s=GIVE_BACK_AFTER_S, others_up=(False, True))
    assert not is_given_back(is_up=False, down_for_s=GIVE_BACK_AFTER_S, others_up=(False,))
    assert not is_given_back(is_up=False, down_for_s=GIVE_BACK_AFTER_S - 1, others_up=(True,))
    assert not is_given_back(is_up=True, down_for_s=0.0, others_up=(True,))


@given(st.sets(st.integers(0, 15), min_size=8, max_size=16), st.data())
def test_what_is_being_handed_over_counts_as_given_back(mine, data):
    """Whatever the numbers of those that were taken meanwhile: nothing else goes in its place."""
    rows = [HeldLease(number, "a" if number in mine else "b", 1, 3.0) for number in range(16)]
    surplus = len(mine) - shares(["a", "b"], rows)["a"]
    handing = data.draw(st.sets(st.sampled_from(sorted(mine)), max_size=surplus))
    found = balance("a", ["b"], rows, handing=handing).give_back

    assert handing <= set(found)
    assert len(found) == surplus
