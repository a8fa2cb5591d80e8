"""The fleet benchmark at a tiny size: that it runs, never how fast."""

import pytest

from benchmarks import fleet
from benchmarks.records import PLAIN, Fleet


@pytest.mark.parametrize(("chargers", "observations"), [(3, 4), (1, fleet.OBSERVATIONS)])
def test_every_observation_is_published_twice(chargers, observations):
    """The cost is that of work done: a document and a bare value for each observation."""
    bench = fleet.Bench(Fleet(chargers, observations))
    bench.feed(1, 1)
    before = bench.messages

    bench.feed(2, 5)

    assert bench.messages - before == 2 * 5 * chargers * observations


def test_more_observations_than_can_be_sent_are_refused():
    """A round that is smaller than its fleet says would make every rate wrong."""
    with pytest.raises(ValueError, match=f"at most {len(PLAIN)} can be sent"):
        Fleet(1, len(PLAIN) + 1)
