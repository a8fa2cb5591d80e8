"""The charger list of the account: request it, read it, and raise alerts about it.

When it is asked for is decided in :mod:`bridge.core.sources.discovery`, which chargers have left by
it in :mod:`bridge.core.sources.absence`.
"""

from collections.abc import Collection, Iterator

from bridge.core.alerts import Alerts
from bridge.core.domain_events import (
    NOTHING,
    ChargerForgotten,
    ChargersConfigured,
    ChargersListed,
    Input,
    Output,
    Outputs,
)
from bridge.core.easee import rest_responses
from bridge.core.easee.rest_requests import READ_TIMEOUT_S, charger_list_request
from bridge.core.effects import LogEntry, SendRequest, not_answered
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    Started,
    StreamAnomaly,
    StreamOpened,
    Tick,
)
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.sources.absence import Absence
from bridge.core.sources.discovery import ChargerDiscovery
from bridge.core.status import TROUBLES, CloudStatus
from bridge.errors import (
    TOO_LARGE,
    AnswerUnusable,
    CloudError,
    CloudRejected,
    DecodeError,
    RateLimited,
)

SHARE_ONE = "share a charger with this account, or name serials in easee.chargers"
DIVIDE_THEM = "serve a part of the chargers with another account, and report this message"
NAME_THEM = "name the serials in easee.chargers, spelled as on the charger, and report this message"


class ChargerListReader:
    """Read the list, and raise an alert where no charger is served.

    Args:
        configured: Serials that are configured; none: the list decides.
        chargers: Those that are served.
        cloud: What is known of the cloud.
        alerts: Where problems are raised.
        is_part: A partition, whose part of the list may be empty.
    """

    name = "discovery"
    interests = frozenset(
        {Started, StreamOpened, StreamAnomaly, ChargersConfigured, ChargerForgotten}
    )

    def __init__(
        self,
        configured: tuple[str, ...],
        chargers: Collection[str],
        cloud: CloudStatus,
        alerts: Alerts,
        *,
        is_part: bool = False,
    ) -> None:
        self._is_part = is_part
        self._configured = configured
        self._chargers = chargers
        self._cloud = cloud
        self._alerts = alerts
        self._schedule = ChargerDiscovery(configured)
        self._absence = Absence()

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle the list, what suggests that it changed, and the time."""
        match event:
            case CloudResponse(body=body):
                return self._listed(body, now)
            case CloudFailed(error=error):
                return self._failed(error, now)
            case StreamOpened() | StreamAnomaly() | ChargerForgotten():
                self._schedule.schedule_soon(now)
            case ChargersConfigured(charger_ids):
                self._configure(charger_ids, now)
            case Started(remembered):
                self._schedule.start(now)
                if not self._configured:
                    self._absence.remembered(remembered)
            case Tick() if self._schedule.poll_due(now):
                return (SendRequest(Tag(self.name), charger_list_request(), READ_TIMEOUT_S),)
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return when the list is requested next, or None while it is awaited."""
        return self._schedule.deadline_s()

    def _configure(self, configured: tuple[str, ...], now: Timestamp) -> None:
        self._configured = configured
        self._schedule.configure(configured, now)
        if not configured:
            self._absence.remembered(tuple(self._chargers))

    def _listed(self, body: bytes, now: Timestamp) -> Iterator[Output]:
        try:
            listed = rest_responses.charger_list(body)
        except DecodeError as error:
            self._schedule.failed(now, None)
            yield LogEntry("warning", "discovery.unreadable", {"error": str(error)})
            yield from self._without_chargers(f"the list cannot be read: {error}", NAME_THEM, now)
            return
        yield from self._alerts.clear("charger_list_too_large")
        if self._cloud.rest == "ok":
            yield from self._alerts.clear("cloud_unreachable")
        yield from self._not_understood(listed, now)
        absence, ids = self._absence, listed.charger_ids
        left = absence.listed(ids, self._chargers, now, is_whole=not listed.dropped)
        missing = self._schedule.listed(ids, now, is_doubtful=absence.is_counting)
        decides = not self._configured
        yield ChargersListed(listed, decides, left, missing, absence.doubtful)
        if self._is_part:
            yield from self._alerts.clear("no_chargers")  # others may serve some
        if not decides or self._is_part:
            return
        if listed.dropped:
            reason = f"of {listed.dropped} entries none was understood: {listed.shapes}"
            yield from self._without_chargers(f"the account's list: {reason}", NAME_THEM, now)
        else:
            yield from self._without_chargers("the account lists none", SHARE_ONE, now)

    def _failed(self, error: CloudError, now: Timestamp) -> Iterator[Output]:
        self._schedule.failed(now, error.retry_after_s)
        if isinstance(error, AnswerUnusable) and error.reason == TOO_LARGE:
            message = f"the account's list of chargers is not read: {error}"
            yield from self._alerts.raise_("charger_list_too_large", message, DIVIDE_THEM, now)
            return
        yield not_answered("discovery.failed", error)
        yield from self._not_listed(error, now)

    def _without_chargers(self, reason: str, hint: str, now: Timestamp) -> Iterator[Output]:
        """Raise the alert that no charger is served, or clear it."""
        if self._chargers:
            yield from self._alerts.clear("no_chargers")
        else:
            yield from self._alerts.raise_("no_chargers", f"no charger: {reason}", hint, now)

    def _not_listed(self, error: CloudError, now: Timestamp) -> Iterator[Output]:
        """Raise an alert that says why no charger is served, unless another one says it."""
        link_ok = self._cloud.rest == "ok"
        match error:
            case CloudRejected():
                yield from self._without_chargers(f"the list is refused: {error}", NAME_THEM, now)
            case RateLimited(local=True):
                pass  # nothing was sent, so nothing else is known
            case RateLimited() if not self._chargers and link_ok:
                message = f"{error}; no charger before that is over"
                hint = TROUBLES["limited"].hint
                yield from self._alerts.raise_("cloud_unreachable", message, hint, now)
            case _:
                yield from self._alerts.clear("no_chargers")

    def _not_understood(
        self, listed: rest_responses.ChargerList, now: Timestamp
    ) -> Iterator[Output]:
        """Raise or clear the alert about entries that cannot be read."""
        if not listed.dropped:
            yield from self._alerts.clear("charger_not_understood")
            return
        facts = {"count": listed.dropped, "shapes": listed.shapes}
        yield LogEntry("warning", "discovery.entries_dropped", facts)
        if self._is_part or listed.charger_ids or self._chargers:
            yield from self._alerts.raise_(
                "charger_not_understood",
                f"the account's list: {listed.dropped} entries not understood: {listed.shapes}",
                NAME_THEM,
                now,
            )
