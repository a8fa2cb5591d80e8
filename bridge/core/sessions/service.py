"""Session service: passes events to the parts that handle session reports."""

import math
from collections.abc import Iterable, Iterator
from datetime import timedelta

from bridge.core.alerts import Alerts
from bridge.core.changes import ReportCounts
from bridge.core.domain_events import (
    NOTHING,
    ChargersAdded,
    ChargersRemoved,
    ConsumerMessageReceived,
    Input,
    Outputs,
    UnreadableSession,
)
from bridge.core.effects import Acknowledge, Effect, KeepReports, LogEntry
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    ReportSaved,
    ReportSaveFailed,
    ReportsDelivered,
    ReportsRead,
    ReportsReadFailed,
    StoreMaintained,
    StoreOpened,
    StreamOpened,
    Tick,
)
from bridge.core.messages import Publish
from bridge.core.records.moment import Timestamp
from bridge.core.records.unread_text import UnreadText
from bridge.core.sessions.backfill import Backfill, BackfillRead
from bridge.core.sessions.consumer_messages import read_ack, read_replay
from bridge.core.sessions.delivery import NAME, ReportDelivery
from bridge.core.sessions.replay import Replay
from bridge.core.sessions.retention import Retention
from bridge.core.sessions.retry_buffer import SaveRetryBuffer
from bridge.core.sessions.suspects import Suspects
from bridge.core.sessions.unread import Unread
from bridge.core.topics import SessionAckTopic, SessionReplayTopic
from bridge.core.value_format import iso_utc
from bridge.errors import DecodeError
from bridge.settings import Settings

AT_ONCE_S = -math.inf
REDELIVERY_ALERT = "reports_unsettled"
# A host that is away over night is no alarm.
HOST_MISSING_AFTER = timedelta(days=1)
HOST_ALERT = "sparkplug_host_missing"
_HOST_HINT = (
    "start the primary host that sparkplug.host_id names, or set sparkplug.enabled: false; a report"
    " is kept for it for store.keep_days"
)
_REDELIVERY_MESSAGE = (
    "session reports go out again at every connection: none of the last ones to the broker held"
    " for 45 minutes, and no consumer acknowledges"
)
_REDELIVERY_HINT = "acknowledge keys on bridge/session/ack, or find out why the connection breaks"


class SessionService:
    """Everything about finished sessions: which event concerns which part of it."""

    name = NAME
    interests = frozenset(
        {
            StreamOpened,
            StoreOpened,
            StoreMaintained,
            ReportSaved,
            ReportSaveFailed,
            ReportsDelivered,
            MqttConnected,
            MqttDisconnected,
            ConsumerMessageReceived,
            UnreadableSession,
            ChargersAdded,
            ChargersRemoved,
        }
    )

    def __init__(
        self,
        settings: Settings,
        alerts: Alerts,
        *,
        salt: bytes,
        channels: Iterable[str] = (),
    ) -> None:
        """Start with nothing.

        Args:
            settings: Of the bridge.
            alerts: Where the operator is told.
            salt: For hashing tags.
            channels: Names of the conventions that deliver reports in their own way.
        """
        self._alerts = alerts
        self._delivery = ReportDelivery(
            personal_data=settings.publish.personal_data,
            salt=salt,
            require_subscriber=settings.publish.require_subscriber,
            require_acknowledgement=settings.publish.require_acknowledgement,
            channels=channels,
        )
        keep_days = settings.store.keep_days
        self._keep = timedelta(days=keep_days)
        self._unread = Unread(alerts, keep_days=keep_days)
        self._suspects = Suspects(alerts)
        self._backfill = Backfill(alerts, self._unread, keep_days=keep_days)
        self._replay = Replay()
        self._retention = Retention(alerts, keep_days=keep_days)
        self._unsaved = SaveRetryBuffer()
        self._kept = 0
        # Something happened since the last look at the time.
        self._touched = True

    def handle(self, event: Input, now: Timestamp) -> Outputs:  # noqa: C901, PLR0912 - one case per event
        """Handle results of the store, messages of consumers, and ticks."""
        match event:
            case MqttAcked(message, reason_code):
                return self.acked(message, reason_code, now)
            case ReportSaved():
                return self.saved(event, now)
            case ReportSaveFailed():
                return self.not_saved(event, now)
            case ReportsDelivered(channel, reports):
                return self.delivered(channel, reports)
            case ReportsRead():
                return self.reports_read(event, now)
            case ReportsReadFailed():
                return self.reports_not_read(event, now)
            case CloudResponse():
                return self.answered(event, now)
            case CloudFailed():
                return self.failed(event, now)
            case ConsumerMessageReceived(message, target):
                return self.message(message, target, now)
            case UnreadableSession(text):
                return self.unreadable(text, now)
            case StreamOpened():
                self.stream_opened(now)
            case ChargersAdded(charger_ids):
                return self.serve(charger_ids)
            case ChargersRemoved(charger_ids):
                return self.leave(charger_ids, now)
            case MqttConnected():
                return self.connected(now, holds=event.maximum_qos > 0)
            case MqttDisconnected():
                self.disconnected()
            case StoreOpened():
                return self.opened(event, now)
            case StoreMaintained():
                return self.tended(event, now)
            case Tick():
                return self.tick(now)
        return NOTHING

    @property
    def standing(self) -> ReportCounts:
        """Return how many reports are in which state."""
        delivery = self._delivery
        return ReportCounts(
            delivery.pending, delivery.unsettled, delivery.refused, len(self._unsaved), self._kept
        )

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None.

        Behind everything that happened it has: what one part did may concern another.
        """
        if self._touched:
            return AT_ONCE_S
        wanted = (
            self._delivery.deadline_s(),
            self._backfill.deadline_s(),
            self._retention.deadline_s(),
            self._unsaved.deadline_s(),
        )
        return min((at for at in wanted if at is not None), default=None)

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """Do what is due."""
        self._touched = False
        yield from self._delivery.tick(now.mono_s)
        if self._alerts.is_open(REDELIVERY_ALERT) and not self._delivery.is_looping:
            yield from self._alerts.clear(REDELIVERY_ALERT)
        yield from self._backfill.tick(now)
        yield from self._retention.tick(now)
        yield from self._unsaved.tick(now.mono_s)
        if self._replay.waiting:
            yield from self._replay.due(self._delivery.moving)

    # -- chargers and the stream -------------------------------------------------------------

    def serve(self, charger_ids: Iterable[str]) -> Iterator[Effect]:
        """Add chargers."""
        self._touched = True
        yield from self._backfill.serve(charger_ids)

    def leave(self, charger_ids: Iterable[str], now: Timestamp) -> Iterator[Effect]:
        """Stop backfill for these chargers; their pending reports stay pending."""
        self._touched = True
        yield from self._backfill.leave(charger_ids, now)

    def stream_opened(self, now: Timestamp) -> None:
        """Record that sessions may have been missed until now."""
        self._touched = True
        self._backfill.stream_opened(now.mono_s)

    # -- the store ---------------------------------------------------------------------------

    def opened(self, event: StoreOpened, now: Timestamp) -> Iterator[Effect]:
        """Handle the undelivered reports and the contents of an opened store."""
        self._touched = True
        self._retention.opened(now.mono_s)
        self._unsaved.retry_now(now.mono_s)
        yield from self._backfill.store_opened(damaged=bool(event.problems))
        yield from self._unread.opened(event.texts, now)
        yield from self._delivery.opened(event.owed, now.mono_s, has_consumer=event.has_consumer)

    def unreadable(self, text: UnreadText, now: Timestamp) -> Iterator[Effect]:
        """Handle a session report that cannot be read."""
        self._touched = True
        yield from self._unread.take(text, now)
        self._backfill.unreadable(text.charger_id, now.mono_s)

    def saved(self, event: ReportSaved, now: Timestamp) -> Iterator[Effect]:
        """Handle a committed report."""
        self._touched = True
        self._unsaved.saved()
        stored, changed = event.stored, event.changed
        yield from self._delivery.saved(stored, changed, now.mono_s)
        yield from self._backfill.saved(stored, changed, now)
        is_new = changed and stored.revision == 1
        yield from self._unread.saved(stored.report, now, is_new=is_new)
        yield from self._suspects.saved((stored,), now)

    def delivered(self, channel: str, reports: tuple[tuple[str, int], ...]) -> Iterator[Effect]:
        """Handle reports that another channel delivered."""
        self._touched = True
        yield from self._delivery.delivered(channel, reports)

    def not_saved(self, event: ReportSaveFailed, now: Timestamp) -> Iterator[Effect]:
        """Handle a report that could not be committed."""
        self._touched = True
        report, error = event.report, event.error
        self._backfill.refused(report, now.mono_s)
        yield from self._alerts.raise_("storage", str(error), error.hint, now)
        if self._unsaved.add(report, now.mono_s):
            yield LogEntry("error", "session.not_saved", {"charger_id": report.charger_id})

    def reports_read(self, event: ReportsRead, now: Timestamp) -> Iterator[Effect]:
        """Handle stored reports that were requested."""
        self._touched = True
        if isinstance(event.tag.ref, BackfillRead):
            if self._backfill.waits_for(event.tag.ref):
                yield from self._backfill.read(event, now)
                yield from self._suspects.saved(event.reports, now)
        elif self._replay.waits_for(event.tag.ref):
            yield from self._delivery.replay(self._replay.read(event), now.mono_s)

    def reports_not_read(self, event: ReportsReadFailed, _now: Timestamp) -> Iterator[Effect]:
        """Handle a failed read of the store."""
        self._touched = True
        if isinstance(event.tag.ref, BackfillRead):
            self._backfill.not_read(event)
        elif self._replay.waits_for(event.tag.ref):
            yield from self._replay.not_read(event)

    def tended(self, event: StoreMaintained, now: Timestamp) -> Iterator[Effect]:
        """Handle the usage of the store."""
        self._touched = True
        self._kept = event.kept
        yield from self._retention.maintained(event, now)
        yield from self._suspects.tick(now)
        if now.trusted:
            yield from self._watch_channels(now)

    def _watch_channels(self, now: Timestamp) -> Iterator[Effect]:
        """Give up what waited too long for another channel, and raise or clear its alert."""
        delivery = self._delivery
        yield from delivery.give_up(now.wall - self._keep)
        oldest = delivery.oldest_waiting
        if oldest is not None and oldest < now.wall - HOST_MISSING_AFTER:
            message = f"session reports wait for a Sparkplug host, the oldest of {iso_utc(oldest)}"
            yield from self._alerts.raise_(HOST_ALERT, message, _HOST_HINT, now)
        else:
            yield from self._alerts.clear(HOST_ALERT)

    # -- the cloud ---------------------------------------------------------------------------

    def answered(self, event: CloudResponse, now: Timestamp) -> Iterator[Effect]:
        """Handle the cloud's list of sessions."""
        self._touched = True
        yield from self._backfill.answered(event, now)

    def failed(self, event: CloudFailed, now: Timestamp) -> Iterator[Effect]:
        """Handle a failed request for the list."""
        self._touched = True
        yield from self._backfill.failed(event, now)

    # -- the broker and consumers ------------------------------------------------------------

    def connected(self, now: Timestamp, *, holds: bool = True) -> Iterator[Effect]:
        """Handle a new connection, with or without storing at the broker."""
        self._touched = True
        yield from self._delivery.connected(now.mono_s, holds=holds)
        if self._delivery.is_looping:
            yield from self._alerts.raise_(
                REDELIVERY_ALERT, _REDELIVERY_MESSAGE, _REDELIVERY_HINT, now
            )

    def disconnected(self) -> None:
        """Handle the end of the connection."""
        self._touched = True
        self._delivery.disconnected()

    def acked(self, message: Publish, reason_code: int, now: Timestamp) -> Iterator[Effect]:
        """Handle the broker's acknowledgement of a publication."""
        self._touched = True
        for effect in self._delivery.acked(message, reason_code, now.mono_s):
            if isinstance(effect, KeepReports):
                self._kept += len(effect.reports)  # until the store counts again
            yield effect

    def message(
        self, message: MqttMessage, target: SessionAckTopic | SessionReplayTopic, now: Timestamp
    ) -> Iterator[Effect]:
        """Handle a consumer's message; an unreadable one is logged and changes nothing."""
        self._touched = True
        yield Acknowledge(message.ack_token)
        is_ack = isinstance(target, SessionAckTopic)
        why = "it is retained" if message.retained else ""
        try:
            if why:
                pass
            elif is_ack:
                yield from self._delivery.acknowledged(read_ack(message.payload), now.mono_s)
            elif self._replay.request(read_replay(message.payload)):
                self._delivery.heard_of_somebody()
            else:
                why = f"{self._replay.waiting} replays wait, or this one does already"
        except DecodeError as error:
            why = str(error)
        if why:
            facts = {"topic": "ack" if is_ack else "replay", "error": why}
            yield LogEntry("warning", "session.message_ignored", facts)
