"""A process that serves several partitions is counted as one gateway."""

from msgspec.structs import replace

from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    BridgeInfoChanged,
    CloudStateChanged,
)
from bridge.core.events import MqttConnected, MqttDisconnected, StreamClosed, StreamOpened
from bridge.core.messages import Publish
from bridge.core.speaker.merging import MergedStatus
from bridge.monitoring.metrics import Metrics
from bridge.monitoring.part_metrics import PartMetrics
from bridge.monitoring.status_page import StatusModel
from tests.conftest import NOON
from tests.monitoring.test_metrics import HEALTH

CONNECTED = MqttConnected(True, "5", 20)


def info(*chargers):
    """Make what a gateway says of itself."""
    return BridgeInfoChanged("1", "x", "i", NOON, chargers, {})


def bench():
    """Two partitions of one process, each with a charger."""
    metrics, merged = Metrics(StatusModel(lambda: NOON, {})), MergedStatus()
    parts = [PartMetrics(metrics, merged, number) for number in range(2)]
    for number, part in enumerate(parts):
        part.change(info(f"EH00000{number}"))
    return metrics, parts


def test_the_page_shows_the_chargers_of_all_partitions_that_run_here():
    """And no longer those of one that was handed over."""
    metrics, (one, _) = bench()
    assert metrics.model.since(-1)["order"] == ["EH000000", "EH000001"]
    one.ended()

    assert metrics.model.since(-1)["order"] == ["EH000001"]


def test_status_is_merged():
    """Word, health and alerts."""
    metrics, (one, two) = bench()
    one.change(CloudStateChanged("connected"))
    two.change(CloudStateChanged("disconnected"))
    assert metrics.cloud == "degraded"
    one.change(replace(HEALTH, verdict="ok", chargers_online=1, cloud="connected"))
    two.change(replace(HEALTH, verdict="degraded", chargers_online=1))
    assert (metrics.health.verdict, metrics.health.chargers_online) == ("degraded", 2)
    one.change(AlertRaised("blocked", "why", "", NOON))
    two.change(AlertRaised("blocked", "why", "", NOON))
    one.change(AlertCleared("blocked"))
    assert metrics.why == {"blocked": "why"}
    two.ended()
    assert metrics.why == {}


def test_a_link_is_up_while_that_of_every_partition_is():
    """One that is down counts."""
    metrics, (one, two) = bench()
    for part in (one, two):
        part.event(CONNECTED)
        part.event(StreamOpened())
    assert (metrics.broker_up, metrics.stream_up) == (True, True)
    one.event(MqttDisconnected("gone"))
    two.event(StreamClosed("gone"))
    assert (metrics.broker_up, metrics.stream_up) == (False, False)


def test_everything_else_is_counted_as_it_is():
    """Publications and the rest."""
    metrics, (one, two) = bench()
    for part in (one, two):
        part.published(Publish("x", b"y"))

    assert metrics.counts["mqtt_publications", ("true",)] == 2
