"""Never two workers that believe they hold one partition; and the world can find a mistake.

``make simulate-leases SEEDS=10000`` plays more.
"""

import pytest
from msgspec.structs import replace

from bridge.core import partitions
from bridge.core.partitions import Holdings
from tests.simulation import leases
from tests.simulation.leases import FAULTS, Database, play
from tests.simulation.lives import play_many

SHORT = range(1, 301)


def test_no_partition_has_two_workers():
    """Whatever crashes, stands still, is slow or lost, and however clocks run."""
    fired, broken = play_many(play, SHORT)

    assert broken == []
    assert set(FAULTS) == fired.keys()


def too_long(monkeypatch):
    """Believe in a lease without a margin."""
    monkeypatch.setattr(partitions, "margin_s", lambda _ttl_s: 0.0)


def from_the_answer_on(monkeypatch):
    """Count the time of a lease from its answer, as if the request had taken none."""
    monkeypatch.setattr(
        Holdings,
        "granted",
        lambda self, one: GRANTED(self, replace(one, asked_at_s=one.asked_at_s + 1)),
    )


def taken_too_early(monkeypatch):
    """Give away what has not run out yet."""

    def take(self, owner, wanted, now):
        return TAKE(self, owner, wanted, now + 1.0)

    monkeypatch.setattr(Database, "take", take)
    monkeypatch.setattr(partitions, "is_free", lambda lease: lease.left_s < 1.0)


def without_epoch(monkeypatch):
    """Renew what belongs to the partition, whoever has it."""

    def renew(self, owner, asked, now, *, leaving):
        return asked, *RENEW(self, owner, asked, now, leaving=leaving)[1:]

    monkeypatch.setattr(Database, "renew", renew)


def sites_by_charger(monkeypatch):
    """Compute a partition for each charger instead of its site."""
    monkeypatch.setattr(leases, "assigned", lambda new, *_: {new[one]: hash(one) for one in new})


TAKE, RENEW, GRANTED = Database.take, Database.renew, Holdings.granted


@pytest.mark.parametrize(
    "mistake",
    [too_long, from_the_answer_on, taken_too_early, without_epoch, sites_by_charger],
)
def test_a_mistake_is_found(monkeypatch, mistake):
    """A rule that is left out is seen within the short run."""
    mistake(monkeypatch)

    _, broken = play_many(play, SHORT)

    assert broken
