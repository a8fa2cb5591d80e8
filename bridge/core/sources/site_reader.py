"""The sites of the account: when they are read, and which Equalizers and sites have left.

Rules:

1. The sites are read once the list of chargers is known, again when that list changed, and every
   ten minutes. A failure is repeated later and later.
2. What is missing has left by the rules of :mod:`bridge.core.sources.absence`; while something is
   missing the sites are read more often.
"""

from collections.abc import Collection, Iterator
from typing import Final

from bridge.core.addressees import site_id_of
from bridge.core.alerts import Alerts
from bridge.core.backoff import exponential_delay_s
from bridge.core.domain_events import NOTHING, ChargersListed, Input, Output, Outputs, SitesListed
from bridge.core.easee.rest_requests import READ_TIMEOUT_S, products_request
from bridge.core.easee.sites import SiteList, site_list
from bridge.core.effects import LogEntry, SendRequest, not_answered
from bridge.core.events import CloudFailed, CloudResponse, Started, Tick
from bridge.core.messages import Tag
from bridge.core.records.moment import Timestamp
from bridge.core.sources.absence import Absence
from bridge.core.sources.charger_list import DIVIDE_THEM
from bridge.errors import TOO_LARGE, AnswerUnusable, BridgeError, DecodeError

EVERY_S: Final = 600.0
# Three lists within the quarter of an hour in which somebody has left.
MISSING_EVERY_S: Final = 300.0
FIRST_RETRY_S: Final = 30.0
MAX_RETRY_S: Final = 900.0


class SiteReader:
    """Read the sites of the account.

    Args:
        equalizers: Those that are served.
        alerts: Where a list that is too large is reported.
        sites: Those that are published, of an earlier process too, by name.
    """

    name = "site_reader"
    interests = frozenset({Started, ChargersListed})

    def __init__(
        self, equalizers: Collection[str], alerts: Alerts, sites: Collection[str] = ()
    ) -> None:
        self._alerts = alerts
        self._equalizers = equalizers
        self._sites = sites
        self._absence = Absence()
        self._absence_of_sites = Absence()
        self._chargers: frozenset[str] | None = None
        self._due_s: float | None = None
        self._is_awaited = False
        self._failures = 0

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle the list of chargers, the list of sites, and the time."""
        match event:
            case CloudResponse(body=body):
                return self._read(body, now)
            case CloudFailed(error=error):
                return self._failed(error, now)
            case ChargersListed(listed):
                self._chargers_listed(frozenset(listed.charger_ids), now)
            case Started(equalizers=serials):
                self._absence.remembered(serials)
                self._absence_of_sites.remembered(self._sites)
            case Tick() if self._due_s is not None and now.mono_s >= self._due_s:
                self._due_s, self._is_awaited = None, True
                return (SendRequest(Tag(self.name), products_request(), READ_TIMEOUT_S),)
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return when the sites are read next, or None."""
        return self._due_s

    def _chargers_listed(self, charger_ids: frozenset[str], now: Timestamp) -> None:
        if charger_ids != self._chargers and not self._is_awaited:
            self._due_s = now.mono_s
        self._chargers = charger_ids

    def _read(self, body: bytes, now: Timestamp) -> Iterator[Output]:
        self._is_awaited = False
        try:
            listed = site_list(body)
        except DecodeError as error:
            yield from self._failed(error, now)
            return
        self._failures = 0
        yield from self._alerts.clear("site_list_too_large")
        left, left_sites = self._left(listed, now)
        is_counting = self._absence.is_counting or self._absence_of_sites.is_counting
        self._due_s = now.mono_s + (MISSING_EVERY_S if is_counting else EVERY_S)
        if listed.dropped:
            yield LogEntry("warning", "sites.entries_dropped", {"count": listed.dropped})
        yield SitesListed(listed, left, left_sites)

    def _left(self, listed: SiteList, now: Timestamp) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Return the Equalizers and the sites that have left the account."""
        is_whole = not listed.dropped
        left = self._absence.listed(listed.equalizers, self._equalizers, now, is_whole=is_whole)
        names = [site.addressee for site in listed.sites]
        gone = self._absence_of_sites.listed(names, self._sites, now, is_whole=is_whole)
        ids = (site_id_of(name) for name in gone)
        return left, tuple(one for one in ids if one is not None)

    def _failed(self, error: BridgeError, now: Timestamp) -> Iterator[Output]:
        self._is_awaited = False
        self._failures += 1
        wait_s = exponential_delay_s(self._failures, first_s=FIRST_RETRY_S, longest_s=MAX_RETRY_S)
        self._due_s = now.mono_s + max(wait_s, error.retry_after_s or 0.0)
        if isinstance(error, AnswerUnusable) and error.reason == TOO_LARGE:
            message = f"the account's list of sites is not read: {error}"
            yield from self._alerts.raise_("site_list_too_large", message, DIVIDE_THEM, now)
        else:
            yield not_answered("sites.failed", error)
