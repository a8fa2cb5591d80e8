"""The throughput benchmark at a tiny size: that it runs and judges, never how fast."""

import pytest

from benchmarks import contenders, stage, throughput
from benchmarks.records import Fleet

pytestmark = pytest.mark.broker
TINY = throughput.Load(Fleet(chargers=2, observations=3), rounds=4, window=20)


@pytest.mark.parametrize(
    "contender",
    [contenders.C_FLOOR, contenders.PYTHON_FLOOR_PROPERTIES, contenders.GATEWAY_JSON],
    ids=lambda one: one.name,
)
def test_a_contender_brings_the_last_value_of_every_topic(contender):
    """Time is only taken of a contender after which the broker holds every last value."""
    one = throughput.run(contender, TINY, each=4, count=lambda _: 0)

    assert one is None or one.observations_s > 0


def test_the_broker_says_how_many_messages_it_took():
    """The floor leaves nothing out: the broker counts at least a message an observation."""
    one = throughput.run(contenders.PYTHON_FLOOR, TINY, each=1)

    assert one.messages_s >= one.observations_s


def test_a_value_that_never_comes_is_not_taken_for_done(monkeypatch):
    """The judge gives up when the broker does not hold what was sent last."""
    monkeypatch.setattr(stage, "PATIENCE_S", 0.5)
    with stage.broker() as broker, stage.Judge(broker.port, "charger/EH1/state/1") as judge:
        wanted = {"charger/EH1/state/1": b"2"}
        with pytest.raises(stage.GaveUp):
            stage.last_arrival_ns(broker.port, judge, list(wanted), wanted)
