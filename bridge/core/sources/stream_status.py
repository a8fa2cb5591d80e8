"""The state of the stream: whether it is open, what it refuses, and what it sends unexpectedly.

A hub that refuses the connection is named in an alert; one that is out of reach is not: values are
polled meanwhile. A charger whose subscription is refused is named for as long as that is so. So is
an exchange of the partner feed that does not take commands.
"""

from collections import Counter
from collections.abc import Container, Iterator

from bridge.core.alerts import Alerts
from bridge.core.domain_events import (
    NOTHING,
    EqualizersChanged,
    Input,
    Output,
    Outputs,
    ServedChargersChanged,
    SubscriptionsRefused,
)
from bridge.core.effects import LogEntry
from bridge.core.events import (
    ExchangeStatusChanged,
    Stopping,
    StreamAnomaly,
    StreamClosed,
    StreamOpened,
    StreamSubscription,
)
from bridge.core.records.moment import Timestamp
from bridge.core.status import CloudStatus

ALERT = "stream_refused"
EXCHANGE_ALERT = "exchange_refused"


class StreamStatus:
    """Keep the state of the stream.

    Args:
        cloud: What is known of the cloud; the stream's part of it is changed here only.
        chargers: Those that are served.
        alerts: Where refusals are raised.
        counters: What is counted for the status.
    """

    name = "stream"
    interests = frozenset(
        {
            StreamOpened,
            StreamClosed,
            StreamSubscription,
            StreamAnomaly,
            ExchangeStatusChanged,
            ServedChargersChanged,
            EqualizersChanged,
            Stopping,
        }
    )

    def __init__(
        self,
        cloud: CloudStatus,
        chargers: Container[str],
        alerts: Alerts,
        counters: Counter[str],
    ) -> None:
        self._cloud = cloud
        self._chargers = chargers
        self._alerts = alerts
        self._counters = counters

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle events of the stream, and chargers that are removed."""
        cloud = self._cloud
        match event:
            case StreamOpened():
                cloud.stream_up = True
                return NOTHING if cloud.refused else self._alerts.clear(ALERT)
            case StreamClosed():
                return self._closed(event, now)
            case StreamSubscription():
                return self._subscribed(event, now)
            case StreamAnomaly(kind, detail, times):
                self._counters[f"stream_{kind}"] += times
                facts = {"kind": kind, "detail": detail, "times": times}
                return (LogEntry("debug", "stream.anomaly", facts),)
            case ExchangeStatusChanged(""):
                return self._alerts.clear(EXCHANGE_ALERT)
            case ExchangeStatusChanged(problem):
                return self._alerts.raise_(
                    EXCHANGE_ALERT,
                    f"commands go over REST: {problem}",
                    "ask Easee whether your account may publish to its exchange, or set"
                    " amqp.commands: false",
                    now,
                )
            case ServedChargersChanged(removed=removed) | EqualizersChanged(removed=removed) if (
                removed
            ):
                cloud.refused.difference_update(removed)
                return NOTHING if cloud.refused else self._alerts.clear(ALERT)
            case Stopping():
                cloud.stream_up = False
        return NOTHING

    def deadline_s(self) -> None:
        """Return None: no ``Tick`` is wanted."""

    def _closed(self, event: StreamClosed, now: Timestamp) -> Iterator[Output]:
        """Raise the alert where the hub refuses the connection, and clear it otherwise."""
        self._cloud.stream_up = False
        self._cloud.refused.clear()
        yield SubscriptionsRefused(frozenset())
        if event.refused:
            yield from self._alerts.raise_(
                ALERT,
                f"the stream refuses the connection: {event.reason}",
                "nothing to do: values are polled meanwhile, and the stream is tried again"
                " automatically",
                now,
            )
        else:
            yield from self._alerts.clear(ALERT)

    def _subscribed(self, event: StreamSubscription, now: Timestamp) -> Iterator[Output]:
        """Handle the answer of the hub to the subscription of one charger."""
        refused = self._cloud.refused
        if event.error is not None and event.charger_id in self._chargers:
            refused.add(event.charger_id)
        else:
            refused.discard(event.charger_id)
        yield SubscriptionsRefused(frozenset(refused))
        if not refused:
            yield from self._alerts.clear(ALERT)
        elif event.error is not None:
            yield from self._alerts.raise_(
                ALERT,
                f"the stream refuses {', '.join(sorted(refused))}: {event.error}",
                "check that this account may see the charger; it is tried again automatically",
                now,
            )
