"""Counters and histograms for /metrics.

It decides nothing and nothing depends on it. Whoever shows the bridge to a machine, as metrics,
or to a person, as a page, asks here; with nobody to ask it does not exist.

What can be counted stands in :data:`COUNTERS`, each with the labels it is split by. Values of
labels are words of our own, never texts from outside, so their number is bounded.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from bridge.core.changes import (
    AlertCleared,
    AlertRaised,
    Change,
    CloudStateChanged,
    CommandAnswered,
    HealthChanged,
)
from bridge.core.delivery.outbox import REFUSED
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.effects import Action, LogEntry, SendRequest
from bridge.core.events import (
    CloudFailed,
    CommandSaved,
    CommandSaveFailed,
    Event,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    ObservationsReceived,
    ReportSaved,
    ReportSaveFailed,
    StoreFailed,
    StoreMaintained,
    StoreOpened,
    StreamAnomaly,
    StreamClosed,
    StreamOpened,
    ValuesAcked,
)
from bridge.core.messages import Publish
from bridge.core.partitions import is_free
from bridge.core.queries.catalogue import QUERIES
from bridge.core.records.command_result import CommandResult
from bridge.core.records.lease import ClusterView, HeldLease
from bridge.errors import RateLimited
from bridge.monitoring.status_page import StatusModel

# Any name may be requested; the number of labels is bounded.
UNKNOWN = "other"
# Upper bounds in seconds; the contract's final answer comes within 30 s, one that waited for its
# turn later.
LATENCY_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Alerts that say why the broker or the cloud is out of reach.
OF_A_LINK: Final = (
    "broker_unreachable",
    "cloud_unreachable",
    "login_refused",
    "auth_failed",
    "blocked",
)
VALUES_PUBLISHED: Final = ("mqtt_publications", ("true",))


class Metric(msgspec.Struct, frozen=True):
    """One thing that is counted.

    Attributes:
        help: What, in one sentence.
        labels: Names of what it is split by.
    """

    help: str
    labels: tuple[str, ...] = ()


COUNTERS: Final[Mapping[str, Metric]] = {
    "observations": Metric("Observations that arrived, repeats included.", ("source",)),
    "stream_connections": Metric("Connections to the hub that were opened."),
    "stream_losses": Metric("Connections to the hub that ended or could not be made."),
    "stream_oddities": Metric("Parts of the stream that were skipped.", ("kind",)),
    "mqtt_connections": Metric("Connections to the broker."),
    "mqtt_losses": Metric("Connections to the broker that ended."),
    "mqtt_received": Metric("Messages from the broker, commands and echoes."),
    "mqtt_publications": Metric("Messages for the broker, before conflation.", ("retained",)),
    "mqtt_acknowledged": Metric("Messages that the broker acknowledged.", ("result",)),
    "cloud_requests": Metric("REST calls, those that wait for the budget included.", ("endpoint",)),
    "cloud_failures": Metric("REST calls that failed, by kind of error.", ("error",)),
    "cloud_rate_limited": Metric("REST calls delayed by the vendor's limit or the request budget."),
    "answers": Metric(
        "Final answers to commands and queries, repeated ones included.",
        ("command", "state", "reason"),
    ),
    "store_commits": Metric("Rows that were committed.", ("kind",)),
    "store_failures": Metric("Rows that were not committed.", ("kind",)),
    "log_lines": Metric("Lines the core wrote, by level.", ("level",)),
}


class Histogram:
    """A histogram of durations in seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Record one duration."""
        place = next((i for i, bound in enumerate(LATENCY_S) if seconds <= bound), len(LATENCY_S))
        self.counts[place] += 1
        self.sum_s += seconds

    def cumulative(self) -> tuple[tuple[float | None, int], ...]:
        """Return (upper bound, how many are not above it); the last bound is None."""
        total, found = 0, []
        for bound, count in zip((*LATENCY_S, None), self.counts, strict=True):
            total += count
            found.append((bound, total))
        return tuple(found)


class ClusterFacts(msgspec.Struct, frozen=True):
    """What this worker knows of its cluster.

    Attributes:
        worker: Its own name.
        members: Names of the workers that live, itself included.
        leases: As they were last seen.
    """

    worker: str
    members: tuple[str, ...]
    leases: tuple[HeldLease, ...]

    @property
    def held(self) -> tuple[int, ...]:
        """Return the partitions that this worker serves."""
        return tuple(
            each.partition
            for each in self.leases
            if each.owner == self.worker and not is_free(each)
        )

    @property
    def is_standing_by(self) -> bool:
        """Return whether this worker serves nothing, and others serve everything."""
        return not self.held and not any(is_free(each) for each in self.leases)


class Counting(Protocol):
    """Is given what a gateway handles."""

    def event(self, event: Event) -> None:
        """Count one event."""
        ...

    def effect(self, effect: Action) -> None:
        """Count one effect."""
        ...

    def change(self, change: Change) -> None:
        """Count one change."""
        ...

    def published(self, message: Publish) -> None:
        """Count one message for the broker."""
        ...


class Metrics:
    """Counters, and where things stand.

    Attributes:
        counts: By metric and its labels' values.
        command_s: From a command's arrival to its final answer.
        broker_up: Connected to the MQTT broker.
        stream_up: Connected to the vendor's stream.
        store_ok: The last thing the store said was no failure.
        used_share: Of the store's quota; None while it was not measured.
        free_bytes: What its filesystem has left; likewise.
        cloud: The word for the cloud; empty before the first.
        health: The newest summary; None before the first.
        why: What is wrong with what this bridge cannot do without, by kind of alert, in words.
        model: The model of the status page; None if disabled.
        cluster: Members and leases; None without a cluster.
    """

    def __init__(self, model: StatusModel | None = None) -> None:
        self.model = model
        self.counts: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.command_s = Histogram()
        self.broker_up = False
        self.stream_up = False
        self.store_ok = False
        self.used_share: float | None = None
        self.free_bytes: int | None = None
        self.cloud = ""
        self.why: dict[str, str] = {}
        self.health: HealthChanged | None = None
        self.cluster: ClusterFacts | None = None

    def cluster_seen(self, worker: str, view: ClusterView, ttl_s: float) -> None:
        """Note the members and leases of a cluster."""
        members = tuple(each.name for each in view.members if each.seen_ago_s < ttl_s)
        self.cluster = ClusterFacts(worker, members, view.leases)
        if self.model is not None:
            self.model.cluster(worker, members, view.leases)

    def event(self, event: Event) -> None:  # noqa: C901, PLR0912 - one case per event
        """Count one event."""
        if self.model is not None:
            self.model.event(event)
        match event:
            case ObservationsReceived(observations, source):
                self._count("observations", source, by=len(observations))
            case MqttAcked(_, reason_code):
                self._count("mqtt_acknowledged", "refused" if reason_code >= REFUSED else "ok")
            case ValuesAcked(messages):
                self._count("mqtt_acknowledged", "ok", by=len(messages))
            case MqttMessage():
                self._count("mqtt_received")
            case MqttConnected():
                self.broker_up = True
                self._count("mqtt_connections")
            case MqttDisconnected():
                self.broker_up = False
                self._count("mqtt_losses")
            case StreamOpened():
                self.stream_up = True
                self._count("stream_connections")
            case StreamClosed():
                self.stream_up = False
                self._count("stream_losses")
            case StreamAnomaly(kind, _, times):
                self._count("stream_oddities", kind, by=times)
            case CloudFailed(_, error):
                self._count("cloud_failures", type(error).__name__)
                if isinstance(error, RateLimited):
                    self._count("cloud_rate_limited")
            case CommandSaved() | ReportSaved():
                self.store_ok = True
                self._count("store_commits", _kind(event))
            case CommandSaveFailed() | ReportSaveFailed():
                self.store_ok = False
                self._count("store_failures", _kind(event))
            case StoreOpened():
                self.store_ok = True
            case StoreFailed():
                self.store_ok = False
            case StoreMaintained(used_share, free_bytes):
                self.used_share, self.free_bytes = used_share, free_bytes
            case _:
                pass

    def effect(self, effect: Action) -> None:
        """Count one effect."""
        match effect:
            case SendRequest(_, request):
                self._count("cloud_requests", request.endpoint.value)
            case LogEntry(level):
                self._count("log_lines", level)
            case _:
                pass

    def change(self, change: Change) -> None:
        """Count one change."""
        if self.model is not None:
            self.model.change(change)
        match change:
            case HealthChanged():
                self.health = change
            case CommandAnswered(_, result, callers) if result.final:
                for _ in callers:
                    self._answered(result)
            case CloudStateChanged(state):
                self.cloud = state
            case AlertRaised(kind, message) if kind in OF_A_LINK:
                self.why[kind] = message
            case AlertCleared(kind):
                self.why.pop(kind, None)
            case _:
                pass

    def published(self, message: Publish) -> None:
        """Count one message for the broker."""
        if message.telemetry:  # nearly all
            self.counts[VALUES_PUBLISHED] += 1
            return
        self._count("mqtt_publications", "true" if message.retained else "false")

    def _answered(self, result: CommandResult) -> None:
        known = result.command in CATALOGUE or result.command in QUERIES
        command = result.command if known else UNKNOWN
        self._count("answers", command, result.state, result.reason or "")
        self.command_s.add(result.elapsed_ms / 1000)

    def _count(self, name: str, *labels: str, by: int = 1) -> None:
        self.counts[name, labels] += by


def _kind(event: CommandSaved | CommandSaveFailed | ReportSaved | ReportSaveFailed) -> str:
    return "command" if isinstance(event, CommandSaved | CommandSaveFailed) else "report"
