"""Publishes bridge/state, cloud, info and health.

Rules:

1. The word for the cloud says what is, not what is hoped: ``connected`` only while the stream is
   open, ``degraded`` while values come by polling, the hub refuses a charger, or REST does not
   answer, ``disconnected`` otherwise.
   ``auth_failed`` and ``blocked`` win over all of them: the operator has to act. A token that REST
   refuses while the hub takes it is ``degraded`` only.
2. The health is told at once when its verdict changes, and at most once a minute otherwise.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from bridge.core.alerts import Alerts
from bridge.core.changes import (
    BridgeInfoChanged,
    BridgeOnline,
    BridgeStatusChanged,
    Change,
    CloudStateChanged,
    HealthChanged,
    ReportCounts,
)
from bridge.core.effects import Effect, LogEntry
from bridge.core.events import CloudStatusChanged
from bridge.core.records.command_row import SESSION_S
from bridge.core.records.moment import Timestamp
from bridge.core.value_format import iso_utc

HEALTH_EVERY_S = 60.0


class Trouble(msgspec.Struct, frozen=True):
    """What a state of the REST side means for the operator.

    Attributes:
        kind: Of its alert.
        hint: What to do.
        word: Of ``bridge/cloud``; empty where that depends on what is delivered.
    """

    kind: str
    hint: str
    word: str = ""


AGAIN: Final = "it is tried again automatically"
# The login works, and the token it brought does not.
HALF: Final = "token_refused"
TROUBLES: Final[Mapping[str, Trouble]] = {
    "auth_failed": Trouble(
        "auth_failed", "check easee.username and the password, then restart", "auth_failed"
    ),
    "login_refused": Trouble(
        "login_refused",
        f"log in with the vendor's app to check the account; {AGAIN}",
        "auth_failed",
    ),
    HALF: Trouble(
        "auth_failed", f"the password is correct; contact the vendor; {AGAIN}", "auth_failed"
    ),
    "blocked": Trouble("blocked", "stop other programs that use this account; wait", "blocked"),
    "kept_out": Trouble(
        "blocked",
        "check for a firewall, a proxy, a DNS filter or a network with a sign-in page: open"
        f" easee.api_url in a browser here; {AGAIN}",
        "blocked",
    ),
    "unavailable": Trouble(
        "cloud_unreachable", f"check the network, DNS and clock of this machine; {AGAIN}"
    ),
    "limited": Trouble(
        "cloud_unreachable", f"stop other programs that use this account or address; {AGAIN}"
    ),
}


class CloudStatus(msgspec.Struct):
    """What is known of the vendor's cloud.

    Attributes:
        rest: State of the REST side, see :class:`~bridge.core.events.CloudStatusChanged`.
        stream_up: The hub connection is open.
        polling: Values are being read over REST, with success.
        refused: Chargers whose subscription the hub refuses.
    """

    rest: str = "ok"
    stream_up: bool = False
    polling: bool = False
    refused: set[str] = msgspec.field(default_factory=set)

    @property
    def delivering(self) -> bool:
        """True while observations can reach us by one way or the other."""
        return self.stream_up or self.polling

    @property
    def state(self) -> str:
        """Return the payload of ``bridge/cloud``."""
        trouble = TROUBLES.get(self.rest)
        if trouble is not None and trouble.word and not (self.rest == HALF and self.stream_up):
            return trouble.word
        if self.stream_up and self.rest == "ok" and not self.refused:
            return "connected"
        return "degraded" if self.delivering else "disconnected"

    def explain(self) -> Iterator[str]:
        """Say why the cloud's state is what it is."""
        trouble = TROUBLES.get(self.rest)
        if trouble is not None:
            yield f"the REST interface is in trouble: {self.rest}"
        yield f"the stream is {'open' if self.stream_up else 'not open'}"
        yield f"values are {'' if self.polling else 'not '}read over REST"
        if self.refused:
            named = ", ".join(sorted(self.refused))
            yield f"the hub refuses the subscription of {named}"


class Status(msgspec.Struct):
    """The status of the bridge as published.

    Attributes:
        version: Of the program.
        capabilities: What this configuration offers, for ``bridge/info``.
        client_id: Ours, at the broker.
        instance: Tells this installation from every other; stable, and no secret.
        cloud: What is known of the cloud; changed by the sources.
        counters: How often what happened since the start; keys are snake_case.
        has_value_connection: Values have a connection to the broker of their own.
        keeps_s: How long the broker keeps commands for us while we are away.
        tells_retained: Live commands with the retain flag are told from those without.
        reports: Tells how many session reports are where.
        is_online: What ``bridge/state`` says; False where a partition has no owner.
        is_part: It serves a partition, which may have no charger.
        cluster: Of several partitions, the workers and who serves what; else None.
    """

    alerts: Alerts
    version: str
    capabilities: dict[str, object]
    client_id: str = ""
    instance: str = ""
    cloud: CloudStatus = msgspec.field(default_factory=CloudStatus)
    counters: Counter[str] = msgspec.field(default_factory=Counter)
    started_at: str = ""
    mqtt_protocol: str | None = None
    has_value_connection: bool = False
    keeps_s: int = 0
    tells_retained: bool = False
    chargers: tuple[str, ...] = ()
    equalizers: Collection[str] = ()
    online: int = 0
    store_ok: bool = True
    reports: Callable[[], ReportCounts] = ReportCounts
    is_online: bool = True
    is_part: bool = False
    cluster: Mapping[str, object] | None = None
    _began_at: datetime | None = None
    _word: str | None = None
    _verdict: str | None = None
    _health_due_s: float | None = None

    def started(self, now: Timestamp) -> None:
        """Record the start of the process."""
        self._began_at, self.started_at = now.wall, iso_utc(now.wall)

    def rest_changed(self, link: CloudStatusChanged, now: Timestamp) -> Iterator[Effect]:
        """Handle a new state of the REST interface."""
        self.cloud.rest = link.state
        trouble = TROUBLES.get(link.state)
        for kind in sorted({each.kind for each in TROUBLES.values()}):
            if trouble is not None and trouble.kind == kind:
                yield from self.alerts.raise_(kind, link.detail, trouble.hint, now)
            else:
                yield from self.alerts.clear(kind)
        yield from self.refresh(now)

    def value_connection_changed(self, *, is_open: bool) -> Iterator[Effect]:
        """Handle the opening or closing of the value connection."""
        if is_open != self.has_value_connection:
            self.has_value_connection = is_open
            yield self.info()

    def refresh(self, now: Timestamp) -> Iterator[Effect]:
        """Publish what changed: the cloud's word, and the health when it is due."""
        word = self.cloud.state
        if word != self._word:
            yield LogEntry("info", "cloud.state", {"state": word, "before": self._word})
            self._word = word
            yield CloudStateChanged(word)
        due = self._health_due_s is None or now.mono_s >= self._health_due_s
        if self.health != self._verdict or due:
            self._verdict = self.health
            self._health_due_s = now.mono_s + HEALTH_EVERY_S
            yield self._health(now)

    def is_due(self, now: Timestamp) -> bool:
        """Return whether :meth:`refresh` has something to publish."""
        word = self.cloud.state
        is_time = self._health_due_s is None or now.mono_s >= self._health_due_s
        return is_time or word != self._word or self._judged(word) != self._verdict

    def deadline_s(self) -> float | None:
        """Return when the health message is published next."""
        return self._health_due_s

    def publications(self, now: Timestamp) -> Iterator[Change]:
        """Yield everything of the bridge itself again, first that it is there."""
        yield BridgeOnline(self.is_online)
        yield self.info()
        yield CloudStateChanged(self.cloud.state)
        yield self._health(now)
        yield from self.alerts.publications()

    def info(self) -> BridgeStatusChanged:
        """Return what this bridge is and offers."""
        return BridgeInfoChanged(
            version=self.version,
            client_id=self.client_id,
            instance=self.instance,
            started_at=self._began_at,
            chargers=self.chargers,
            equalizers=tuple(self.equalizers),
            capabilities={
                **self.capabilities,
                "mqtt": self.mqtt_protocol,
                "telemetry_connection": self.has_value_connection,
                "tells_retained": self.tells_retained,
                "answers_while_away": self.keeps_s >= SESSION_S,
                "commands_kept_s": self.keeps_s,
            },
            cluster=self.cluster,
        )

    @property
    def health(self) -> str:
        """``ok``, ``degraded`` (something is missing) or ``failed`` (the main job is not done)."""
        return self._judged(self.cloud.state)

    def _judged(self, word: str) -> str:
        if word in ("auth_failed", "blocked", "disconnected") or not self.store_ok:
            return "failed"
        if not self.is_online:
            return "degraded"
        if word == "degraded" or self.alerts.has_trouble:
            return "degraded"
        if self.online < len(self.chargers) or not (self.chargers or self.is_part):
            return "degraded"
        return "ok"

    def _health(self, now: Timestamp) -> HealthChanged:
        return HealthChanged(
            verdict=self.health,
            at=now.wall,
            cloud=self.cloud.state,
            stream=self.cloud.stream_up,
            polling=self.cloud.polling,
            store=self.store_ok,
            clock_trusted=now.trusted,
            chargers=len(self.chargers),
            chargers_online=self.online,
            alerts=self.alerts.kinds,
            reports=self.reports(),
            counters=dict(sorted(self.counters.items())),
        )
