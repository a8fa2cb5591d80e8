"""The counters in the Prometheus format; see :mod:`bridge.adapters.http.metrics`."""

from collections.abc import Callable, Iterator

from msgspec.structs import asdict
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from bridge.adapters.http.server import Reply
from bridge.core.changes import HealthChanged
from bridge.core.partitions import is_free
from bridge.monitoring.metrics import COUNTERS, Metrics
from bridge.ports import QueueDepth

PREFIX = "charger_bridge_"
CLOUD_STATES = ("connected", "degraded", "disconnected", "auth_failed", "blocked")


class MetricsCollector(Collector):
    """Reads the counters when metrics are requested."""

    def __init__(self, metrics: Metrics, version: str, backlog: QueueDepth) -> None:
        self._metrics = metrics
        self._version = version
        self._backlog = backlog

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its samples."""
        yield InfoMetricFamily("charger_bridge", "The program.", {"version": self._version})
        yield from self._counters()
        yield from self._gauges()
        yield self._latency()

    def _counters(self) -> Iterator[Metric]:
        families = {
            name: CounterMetricFamily(PREFIX + name, metric.help, labels=metric.labels)
            for name, metric in COUNTERS.items()
        }
        for (name, labels), count in sorted(self._metrics.counts.items()):
            families[name].add_metric(labels, count)
        for name, metric in COUNTERS.items():
            # What never happened is 0, not absent, wherever that can be said.
            if not metric.labels and (name, ()) not in self._metrics.counts:
                families[name].add_metric((), 0)
        yield from families.values()

    def _gauges(self) -> Iterator[Metric]:
        metrics, health = self._metrics, self._metrics.health
        yield _gauge("broker_up", "Connected to the MQTT broker.", metrics.broker_up)
        yield _gauge("stream_up", "Connected to the vendor's stream.", metrics.stream_up)
        yield _gauge("store_ok", "The store accepts writes.", metrics.store_ok)
        cloud = GaugeMetricFamily(
            f"{PREFIX}cloud_state", "1 for the state of bridge/cloud.", labels=("state",)
        )
        for state in CLOUD_STATES:
            cloud.add_metric((state,), float(state == metrics.cloud))
        yield cloud
        yield _gauge("chargers", "Chargers served.", health and health.chargers)
        online = health and health.chargers_online
        yield _gauge("chargers_online", "Chargers that are online.", online)
        yield _gauge("alerts", "Open alerts.", len(health.alerts) if health else 0)
        trusted = health and health.clock_trusted
        yield _gauge("clock_trusted", "The wall clock is believed.", trusted)
        yield from self._store_gauges(health)
        yield from self._cluster_gauges()
        yield _gauge("mqtt_waiting", "Messages that wait for the broker.", self._backlog.waiting)
        yield _gauge("mqtt_in_flight", "Messages without PUBACK.", self._backlog.in_flight)

    def _cluster_gauges(self) -> Iterator[Metric]:
        cluster = self._metrics.cluster
        if cluster is None:
            return
        members = len(cluster.members)
        yield _gauge("cluster_members", "Workers of the cluster that live.", members)
        owned = GaugeMetricFamily(
            f"{PREFIX}partition_owned", "1 while a worker serves it.", labels=("partition",)
        )
        held = GaugeMetricFamily(
            f"{PREFIX}partition_held", "1 while this worker serves it.", labels=("partition",)
        )
        epoch = GaugeMetricFamily(
            f"{PREFIX}partition_epoch", "Takes of its lease so far.", labels=("partition",)
        )
        for each in cluster.leases:
            label = (f"{each.partition:02}",)
            owned.add_metric(label, float(not is_free(each)))
            held.add_metric(label, float(each.partition in cluster.held))
            epoch.add_metric(label, each.epoch)
        yield from (owned, held, epoch)

    def _store_gauges(self, health: HealthChanged | None) -> Iterator[Metric]:
        reports = GaugeMetricFamily(
            f"{PREFIX}session_reports", "Session reports that are not done with.", labels=("where",)
        )
        for where, count in asdict(health.reports).items() if health else ():
            reports.add_metric((where,), count)
        yield reports
        if self._metrics.used_share is not None:
            yield _gauge("store_used_ratio", "Of the store's quota.", self._metrics.used_share)
        if self._metrics.free_bytes is not None:
            text = "What the store's filesystem has left."
            yield _gauge("store_free_bytes", text, self._metrics.free_bytes)

    def _latency(self) -> Metric:
        histogram = HistogramMetricFamily(
            f"{PREFIX}answer_seconds", "From a command's arrival to its final answer."
        )
        buckets = [
            ("+Inf" if bound is None else str(bound), count)
            for bound, count in self._metrics.command_s.cumulative()
        ]
        histogram.add_metric((), buckets, self._metrics.command_s.sum_s)
        return histogram


def exposition(metrics: Metrics, version: str, backlog: QueueDepth) -> Callable[[], Reply]:
    """Return what makes the answer to a request."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(MetricsCollector(metrics, version, backlog))
    return lambda: Reply(generate_latest(registry), CONTENT_TYPE_LATEST)


def _gauge(name: str, text: str, value: object) -> GaugeMetricFamily:
    number = float(value) if isinstance(value, bool | int | float) else 0.0
    return GaugeMetricFamily(PREFIX + name, text, value=number)
