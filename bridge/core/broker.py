"""Restrictions of the broker, published as alerts for as long as they last.

Rules:

1. ``broker_unreachable`` stands while there is no connection, with the newest reason. That is for
   the status page: over MQTT it can only come afterwards. So where the broker was away for
   :data:`ALERT_AFTER_S`, the alert says for how long, and stands :data:`ALERT_HOLDS_S` more.
2. ``subscription_refused`` names each filter the broker does not grant, and what does not work
   therefore, in words.
3. ``broker_cannot_hold_reports`` stands where nothing is acknowledged and kept (QoS 0).
"""

from collections.abc import Iterator
from typing import Final

from bridge.core.alerts import Alerts
from bridge.core.domain_events import NOTHING, Input, Outputs
from bridge.core.effects import Effect
from bridge.core.events import MqttConnected, MqttSubscribed, MqttUnreachable, Tick
from bridge.core.records.moment import Timestamp
from bridge.core.topics import Topics

ALERT_AFTER_S = 60.0
ALERT_HOLDS_S = 600.0
# Those of every connection, and some of single chargers.
MAX_FILTERS_NAMED: Final = 40
UNREACHABLE: Final = "broker_unreachable"
REFUSED: Final = "subscription_refused"
CANNOT_HOLD_REPORTS: Final = "broker_cannot_hold_reports"


class BrokerWatch:
    """The alerts about the broker.

    Args:
        topics: The topic tree.
        alerts: Where they go.
    """

    name = "broker"
    interests = frozenset({MqttConnected, MqttUnreachable, MqttSubscribed})

    def __init__(self, topics: Topics, alerts: Alerts) -> None:
        self._topics = topics
        self._alerts = alerts
        self._away: Timestamp | None = None
        self._reason = ""
        self._clear_s: float | None = None
        self._lost_without = {
            topics.command("+", "+"): "no commands are received",
            topics.query("+", "+"): "no queries are answered",
            topics.session_ack: "no consumer can acknowledge a session report",
            topics.session_replay: "no consumer can request session reports again",
            topics.bridge_state: "a wrong bridge/state is not corrected",
            topics.bridge_info: "another bridge on this base topic is not detected",
            topics.alert("+"): "alerts of an earlier run are not cleared",
            topics.availability("+"): "removed chargers may stay online",
        }

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle changes of the connection and ticks."""
        match event:
            case MqttConnected():
                return self.connected(event, now)
            case MqttUnreachable(reason):
                return self.unreachable(reason, now)
            case MqttSubscribed(refused):
                return self.subscribed(refused, now)
            case Tick():
                return self.tick(now)
        return NOTHING

    def connected(self, event: MqttConnected, now: Timestamp) -> Iterator[Effect]:
        """Handle a new connection."""
        away, self._away = self._away, None
        away_s = now.mono_s - away.mono_s if away is not None else 0.0
        if away_s >= ALERT_AFTER_S:
            self._clear_s = now.mono_s + ALERT_HOLDS_S
            message = f"the broker was out of reach for {away_s:.0f} s: {self._reason}"
            hint = (
                "nothing to do: the connection is back; missed messages are published automatically"
            )
            yield from self._alerts.raise_(UNREACHABLE, message, hint, now)
        elif self._clear_s is None:
            yield from self._alerts.clear(UNREACHABLE)
        if event.maximum_qos == 0:
            yield from self._alerts.raise_(
                CANNOT_HOLD_REPORTS,
                "the broker accepts only QoS 0, so the delivery of session reports cannot be"
                " confirmed",
                f"have the consumer publish the key of each report to {self._topics.session_ack},"
                " or use a broker with QoS 1; until then each report is published repeatedly",
                now,
            )
        else:
            yield from self._alerts.clear(CANNOT_HOLD_REPORTS)

    def unreachable(self, reason: str, now: Timestamp) -> Iterator[Effect]:
        """Handle the end of a connection, or a further failed attempt."""
        self._away = self._away or now
        self._reason, self._clear_s = reason, None
        hint = "check that the broker is running, and mqtt.host; it is tried again automatically"
        yield from self._alerts.raise_(UNREACHABLE, reason, hint, now)

    def subscribed(self, refused: tuple[str, ...], now: Timestamp) -> Iterator[Effect]:
        """Handle the filters that the broker does not grant."""
        if not refused:
            yield from self._alerts.clear(REFUSED)
            return
        what = [f"{name} ({self._without(name)})" for name in refused[:MAX_FILTERS_NAMED]]
        if len(refused) > len(what):
            what.append(f"{len(refused) - len(what)} more")
        yield from self._alerts.raise_(
            REFUSED,
            f"the broker refuses subscriptions to {', '.join(what)}",
            "allow this client to read these in the broker's access list; they are tried again"
            " automatically",
            now,
        )

    def _without(self, name: str) -> str:
        """Return what does not work without a filter."""
        if name in self._lost_without:
            return self._lost_without[name]
        if name.endswith(("/set/+", "/get/+")):
            return "its commands or queries are not received"
        if name.startswith(f"{self._topics.base}/"):
            return "retained messages of an earlier version are not cleared"
        return "descriptions are not sent again when Home Assistant starts"

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """Clear alerts that were published for long enough."""
        if self._clear_s is not None and now.mono_s >= self._clear_s:
            self._clear_s = None
            yield from self._alerts.clear(UNREACHABLE)

    def deadline_s(self) -> float | None:
        """Return when :meth:`tick` has something to do, or None."""
        return self._clear_s
