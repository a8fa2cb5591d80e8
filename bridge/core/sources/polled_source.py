"""Reads observations over REST at the times of :mod:`bridge.core.sources.polling`."""

from collections import Counter
from collections.abc import Iterator

from bridge.core.domain_events import (
    NOTHING,
    EqualizersChanged,
    EventHandled,
    Input,
    Output,
    Outputs,
    ServedChargersChanged,
    SubscriptionsRefused,
)
from bridge.core.easee import rest_responses
from bridge.core.easee.equalizer import EQUALIZER_IDS
from bridge.core.easee.observation_registry import POLLED_IDS
from bridge.core.easee.rest_requests import READ_TIMEOUT_S, observations_request
from bridge.core.effects import LogEntry, SendRequest, not_answered
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    ObservationsReceived,
    Started,
    Stopping,
    StreamClosed,
    StreamOpened,
    Tick,
)
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.sources.polling import Polling
from bridge.core.status import CloudStatus
from bridge.errors import CloudError, DecodeError


class PolledSource:
    """Read observations over REST while the stream is not available.

    Args:
        polling: Says when.
        cloud: What is known of the cloud: whether values come by polling is noted there.
        counters: What is counted for the status.
    """

    name = "polling"
    interests = frozenset(
        {
            Started,
            StreamOpened,
            StreamClosed,
            SubscriptionsRefused,
            ServedChargersChanged,
            EqualizersChanged,
            Stopping,
            EventHandled,
        }
    )

    def __init__(self, polling: Polling, cloud: CloudStatus, counters: Counter[str]) -> None:
        self._polling = polling
        self._cloud = cloud
        self._counters = counters
        self._chargers: tuple[str, ...] = ()
        self._equalizers: tuple[str, ...] = ()

    def handle(self, event: Input, now: Timestamp) -> Outputs:  # noqa: C901 - one case per event
        """Handle changes of the stream and of the chargers, answers, and the time."""
        polling = self._polling
        match event:
            case EventHandled():
                self._cloud.polling = polling.active and polling.delivering(now.mono_s)
            case Tick():
                return tuple(map(self._read_of, polling.due(now.mono_s)))
            case CloudResponse(tag, body=body):
                return self._read(str(tag.ref), body, now)
            case CloudFailed(tag, error):
                return self._failed(str(tag.ref), error, now)
            case StreamOpened():
                polling.stream_up(now.mono_s)
            case StreamClosed():
                polling.stream_down(now.mono_s, refused=event.refused)
            case Started():
                polling.stream_down(now.mono_s)
            case SubscriptionsRefused(charger_ids):
                polling.refused(charger_ids)
            case ServedChargersChanged(charger_ids):
                self._chargers = charger_ids
                self._watch(now)
            case EqualizersChanged(serials):
                self._equalizers = serials
                self._watch(now)
            case Stopping():
                polling.stop()
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return when the next charger is read, or None."""
        return self._polling.deadline_s()

    def _watch(self, now: Timestamp) -> None:
        self._polling.watch((*self._chargers, *self._equalizers), now.mono_s)

    def _read_of(self, serial: str) -> SendRequest:
        ids = EQUALIZER_IDS if serial in self._equalizers else POLLED_IDS
        request = observations_request(serial, ids)
        return SendRequest(Tag(self.name, serial), request, READ_TIMEOUT_S)

    def _read(self, charger_id: str, body: bytes, now: Timestamp) -> Iterator[Output]:
        try:
            read = rest_responses.observations(body, charger_id)
        except DecodeError as error:
            self._counters["polls_unreadable"] += 1
            self._polling.failed(charger_id, now.mono_s)
            yield LogEntry("warning", "poll.unreadable", {"error": str(error)})
            return
        self._polling.answered(charger_id, now.mono_s)
        if read.dropped:
            self._counters["poll_bad_records"] += read.dropped
            facts = {"charger_id": charger_id, "count": read.dropped}
            yield LogEntry("warning", "poll.records_without_an_id", facts)
        yield ObservationsReceived(read.observations, "poll")

    def _failed(self, charger_id: str, error: CloudError, now: Timestamp) -> Iterator[Output]:
        self._polling.failed(charger_id, now.mono_s, error.retry_after_s)
        yield not_answered("poll.failed", error)
