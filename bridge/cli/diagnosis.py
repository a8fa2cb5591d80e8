"""Evaluates the data of ``doctor``: facts in, findings out; no I/O.

Rules:

1. A finding says what is wrong and what to do, worst first. What passed is listed too, last.
2. What could not be looked at is a finding of its own, and no reason to stop looking.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final


class Severity(IntEnum):
    """How bad it is; the lowest comes first."""

    BROKEN = 0
    WORRYING = 1
    GOOD = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: How bad.
        what: A sentence.
        todo: What to do about it; empty when nothing.
    """

    severity: Severity
    what: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the store holds.

    Attributes:
        used_bytes: Size of the file and what belongs to it.
        quota_bytes: Its limit.
        free_bytes: What its filesystem has left.
        reports: Session reports in it.
        owed: Of them, those that are not delivered.
        mode: Permissions of the file.
    """

    used_bytes: int
    quota_bytes: int
    free_bytes: int
    reports: int
    owed: int
    mode: int


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What the database knows of a cluster.

    Attributes:
        members: Workers that live and stay.
        free: Partitions that nobody serves.
        parameters: Of the database.
        partitions: How many there are.
    """

    members: tuple[str, ...]
    free: tuple[int, ...]
    parameters: Mapping[str, str]
    partitions: int = 1


@dataclass(frozen=True, slots=True)
class DiagnosticData:
    """Everything that was looked at; what failed is a text in ``errors``.

    Attributes:
        base: The base topic.
        warnings: What the configuration's reader advises.
        problems: What is wrong with the configuration's secrets.
        broker: What the broker offers, in one line; empty when it was not reached.
        retained: What the broker keeps below ``<base>/bridge/``, by the rest of the topic.
        skew_s: How far this machine's clock is ahead of the cloud's; None when unknown.
        store: What the store holds; None when it could not be read.
        cluster: Members and leases; None without a cluster, or where they could not be read.
        open_files: Files with secrets that others may read, with their mode.
        errors: By what was tried (``broker``, ``cloud``, ``store``): what went wrong.
    """

    base: str
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    broker: str = ""
    retained: Mapping[str, str] = field(default_factory=dict)
    skew_s: float | None = None
    store: StoreFacts | None = None
    cluster: ClusterStatus | None = None
    open_files: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


# A command's expires_at is judged by our clock; a quarter of the usual 60 s is trouble.
SKEW_S = 15.0
ALMOST_FULL = 0.8
LITTLE_SPACE_BYTES = 100 * 1024 * 1024
OTHERS = 0o077
NEEDED_TO_TAKE_OVER = 2
FEW_IN_FLIGHT = 100


def findings(facts: DiagnosticData) -> tuple[Finding, ...]:
    """Return the findings of every check, worst first, what passed last."""
    found = [finding for look in CHECKS for finding in look(facts)]
    return tuple(sorted(found, key=lambda finding: finding.severity))


def _passed(what: str) -> Finding:
    return Finding(Severity.GOOD, what)


def _unreached(facts: DiagnosticData) -> Iterator[Finding]:
    for name, error in facts.errors.items():
        yield Finding(Severity.BROKEN, f"{name}: {error}")
    if facts.broker:
        yield _passed(f"broker: {facts.broker}")


def _running(facts: DiagnosticData) -> Iterator[Finding]:
    if "broker" in facts.errors:
        return
    state = facts.retained.get("state")
    if state is None:
        yield Finding(
            Severity.BROKEN,
            f"no bridge has ever been seen at {facts.base}/bridge/state",
            "start it with this configuration; check mqtt.base_topic",
        )
    elif state != "online":
        yield Finding(
            Severity.BROKEN,
            f"the bridge is not connected to this broker ({facts.base}/bridge/state is {state})",
            "check whether its service is running, and its log",
        )
    else:
        yield _passed("the bridge is connected to this broker")


_CLOUD: Final = {
    "auth_failed": (Severity.BROKEN, "check easee.username and the password, then restart"),
    "blocked": (Severity.BROKEN, "stop other programs that use this account, then wait"),
    "disconnected": (Severity.BROKEN, "check the internet connection; values are stale"),
    "degraded": (Severity.WORRYING, "values arrive late until the stream is back; nothing to do"),
}


def _cloud(facts: DiagnosticData) -> Iterator[Finding]:
    word = facts.retained.get("cloud", "")
    if facts.retained.get("state") != "online":
        return
    if word in _CLOUD:
        severity, todo = _CLOUD[word]
        yield Finding(severity, f"the bridge reports that the cloud is {word}", todo)
    elif word:
        yield _passed(f"the bridge reports that the cloud is {word}")


def _alerts(facts: DiagnosticData) -> Iterator[Finding]:
    alerts = {t: p for t, p in sorted(facts.retained.items()) if t.startswith("alert/")}
    for topic, payload in alerts.items():
        try:
            alert = json.loads(payload)
            message, hint = str(alert["message"]), str(alert["hint"])
        except (ValueError, TypeError, KeyError):
            message, hint = f"{facts.base}/bridge/{topic} cannot be read", ""
        yield Finding(Severity.WORRYING, f"alert {topic[6:]}: {message}", hint)
    if not alerts and facts.retained.get("state") == "online":
        yield _passed("no alert")


def _clock(facts: DiagnosticData) -> Iterator[Finding]:
    if facts.skew_s is None:
        return
    if abs(facts.skew_s) <= SKEW_S:
        yield _passed(f"this machine's clock agrees with the cloud's within {SKEW_S:.0f} s")
    else:
        way = "ahead" if facts.skew_s > 0 else "behind"
        yield Finding(
            Severity.BROKEN,
            f"this machine's clock is {abs(facts.skew_s):.0f} s {way} of the cloud's",
            "switch on NTP; commands with expires_at are judged by this clock",
        )


def _store(facts: DiagnosticData) -> Iterator[Finding]:
    store = facts.store
    if store is None:
        return
    if store.used_bytes > ALMOST_FULL * store.quota_bytes:
        share = store.used_bytes / store.quota_bytes
        yield Finding(
            Severity.WORRYING,
            f"the store uses {share:.0%} of store.max_mib",
            "raise store.max_mib, or lower store.keep_days",
        )
    if store.free_bytes < LITTLE_SPACE_BYTES:
        free = store.free_bytes // 1024 // 1024
        yield Finding(Severity.WORRYING, f"the store's disk has {free} MiB left", "make room")
    if store.owed:
        yield Finding(
            Severity.WORRYING,
            f"{store.owed} of {store.reports} session reports are not delivered",
            f"normal within 45 minutes of a session; else subscribe to {facts.base}/+/session/"
            f"report, and publish each key to {facts.base}/bridge/session/ack",
        )
    else:
        share = store.used_bytes / store.quota_bytes
        yield _passed(f"the store holds {store.reports} session reports, {share:.0%} of its quota")


def _cluster(facts: DiagnosticData) -> Iterator[Finding]:
    cluster = facts.cluster
    if cluster is None:
        return
    for number in cluster.free:
        yield Finding(
            Severity.BROKEN,
            f"no worker serves partition {number:02}",
            "start a worker; see its log",
        )
    if cluster.partitions > 1 and facts.broker:
        yield from _partitions(cluster, facts.retained)
    if len(cluster.members) < NEEDED_TO_TAKE_OVER:
        yield Finding(
            Severity.WORRYING,
            f"{len(cluster.members)} worker lives: no other takes over",
            "start charger-bridge with this configuration on another machine",
        )
    if not cluster.parameters.get("synchronous_standby_names"):
        yield Finding(
            Severity.WORRYING,
            "PostgreSQL has no synchronous standby: its loss can cost what was acknowledged last",
            "set synchronous_standby_names once there is a standby",
        )
    if cluster.parameters.get("fsync") == "off":
        yield Finding(
            Severity.BROKEN,
            "PostgreSQL runs with fsync off",
            "set fsync = on: a power cut loses it",
        )
    if facts.broker and not facts.broker.startswith("MQTT 5"):
        yield Finding(
            Severity.WORRYING,
            "the broker has no Will Delay (MQTT 3.1.1): bridge/state is offline at each takeover",
            "use a broker with MQTT 5",
        )
    in_flight = re.search(r"(\d+) messages in flight", facts.broker)
    if in_flight and int(in_flight[1]) < FEW_IN_FLIGHT:
        yield Finding(
            Severity.WORRYING,
            f"the broker allows {in_flight[1]} messages in flight: takeovers take long",
            f"mosquitto: max_inflight_messages {FEW_IN_FLIGHT} or more",
        )


def _partitions(cluster: ClusterStatus, retained: Mapping[str, str]) -> Iterator[Finding]:
    """Find partitions that have an owner and are not connected to the broker."""
    owned = [number for number in range(cluster.partitions) if number not in cluster.free]
    away = [n for n in owned if retained.get(f"partition/{n:02}/state") != "online"]
    for number in away:
        yield Finding(
            Severity.BROKEN,
            f"partition {number:02} has an owner, which is not connected to this broker",
            "see the log of its worker: charger-bridge cluster status names it",
        )
    if not away and not cluster.free:
        yield _passed(f"all {cluster.partitions} partitions are served")


def _modes(facts: DiagnosticData) -> Iterator[Finding]:
    for path, mode in facts.open_files.items():
        yield Finding(Severity.BROKEN, f"others may read {path} (mode {mode:04o})", "chmod 600")
    if not facts.open_files:
        yield _passed("files with secrets are readable by their owner only")


def _advice(facts: DiagnosticData) -> Iterator[Finding]:
    for problem in facts.problems:
        yield Finding(Severity.BROKEN, problem)
    for warning in facts.warnings:
        yield Finding(Severity.WORRYING, warning)
    if not (facts.problems or facts.warnings):
        yield _passed("the configuration is valid")


CHECKS: Final[tuple[Callable[[DiagnosticData], Iterator[Finding]], ...]] = (
    _unreached,
    _running,
    _cloud,
    _clock,
    _modes,
    _store,
    _cluster,
    _alerts,
    _advice,
)
