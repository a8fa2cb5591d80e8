"""The fleet benchmark at a tiny size: that it runs, never how fast."""

from benchmarks import fleet
from benchmarks.records import Fleet


def test_every_observation_is_published_twice():
    """The cost is that of work done: a document and a bare value for each observation."""
    bench = fleet.Bench(Fleet(3, 4))
    bench.feed(1, 1)
    before = bench.messages

    bench.feed(2, 5)

    assert bench.messages - before == 2 * 5 * 3 * 4
