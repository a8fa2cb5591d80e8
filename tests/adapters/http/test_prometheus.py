"""What Prometheus reads."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bridge.adapters.http.prometheus import CLOUD_STATES, PREFIX, exposition
from bridge.core.changes import CloudStateChanged, ReportCounts
from bridge.core.delivery.outbox import Outbox
from bridge.core.events import MqttConnected, ObservationsReceived, StoreMaintained
from bridge.core.records.lease import ClusterView, HeldLease, Member, MemberStatus
from bridge.monitoring.metrics import COUNTERS, Metrics
from tests.health import health


def samples(tally):
    """Render the metrics and read them with Prometheus' own parser."""
    text = exposition(tally, "1.2.3", Outbox())().body.decode()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_was_counted_is_read_back():
    """Prometheus' own parser finds every number where it belongs."""
    metrics = Metrics()
    metrics.event(ObservationsReceived((), "poll"))
    metrics.event(ObservationsReceived((None, None), "stream"))
    metrics.event(MqttConnected(session_present=False, protocol="5", receive_maximum=20))
    metrics.event(StoreMaintained(0.5, 4096))
    metrics.change(CloudStateChanged("degraded"))
    metrics.change(
        health(
            verdict="degraded",
            cloud="degraded",
            stream=False,
            polling=True,
            chargers=3,
            chargers_online=2,
            alerts=("a",),
            reports=ReportCounts(pending=1, published=2),
        )
    )
    found = samples(metrics)
    assert found[f"{PREFIX}observations_total", "stream"] == 2
    assert found[f"{PREFIX}mqtt_connections_total",] == 1
    assert [found[f"{PREFIX}cloud_state", state] for state in CLOUD_STATES] == [0, 1, 0, 0, 0]
    assert found[f"{PREFIX}session_reports", "published"] == 2
    assert (found[f"{PREFIX}chargers_online",], found[f"{PREFIX}alerts",]) == (2, 1)
    assert (found[f"{PREFIX}store_used_ratio",], found[f"{PREFIX}store_free_bytes",]) == (0.5, 4096)
    assert found["charger_bridge_info", "1.2.3"] == 1


def test_what_never_happened_is_zero():
    """A counter without labels exists from the start, so that a rate can be asked for."""
    found = samples(Metrics())
    for name, metric in COUNTERS.items():
        if not metric.labels:
            assert found[f"{PREFIX}{name}_total",] == 0


def test_the_documentation_names_every_counter():
    """Who writes an alarm finds each counter with its meaning in the documentation."""
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    for name, metric in COUNTERS.items():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        assert f"| `{name}` | {labels} | {metric.help} |" in page


def test_a_cluster_is_counted_where_there_is_one():
    """Members, and for each partition whether it is served, and here; else no such line."""
    metrics = Metrics()
    assert f"{PREFIX}cluster_members" not in {name for name, *_ in samples(metrics)}
    alive, gone = Member("a", 1, "1", MemberStatus()), Member("b", 9, "1", MemberStatus())
    leases = (HeldLease(0, "a", 7, 2.0), HeldLease(1, "b", 3, -5.0))
    metrics.cluster_seen("a", ClusterView((alive, gone), leases), 4)
    found = samples(metrics)

    assert found[(f"{PREFIX}cluster_members",)] == 1
    assert found[f"{PREFIX}partition_epoch", "00"] == 7
    for name in ("partition_owned", "partition_held"):
        assert (found[PREFIX + name, "00"], found[PREFIX + name, "01"]) == (1, 0)
