"""Queries on ``<base>/<id>/get/<query>``, each answered once.

A query changes nothing, so it needs no journal: it is not repeated after a restart, and who asks
twice is answered twice.

Rules:

1. Every query gets one final answer, whatever happens: a call without an answer is given up.
2. A query costs request budget like everything else. When there is none, or when too many are under
   way, the answer is ``refused`` with ``busy``, and nothing is queued.
3. What a query asks for and how its answer is made is a row of
   :data:`~bridge.core.queries.catalogue.QUERIES`.
"""

import itertools
from collections.abc import Container, Hashable, Iterator, Mapping
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from bridge.core.addressees import NOT_SERVED, SITE, Kind, kind_of
from bridge.core.changes import CommandAnswered
from bridge.core.commands.results import refuse_message
from bridge.core.commands.validation import id_of, reply_to_of
from bridge.core.domain_events import (
    NOTHING,
    Input,
    Output,
    Outputs,
    QueryReceived,
    SchedulesRead,
)
from bridge.core.easee.command_payloads import Payload, read_payload
from bridge.core.easee.rest_requests import CloudRequest, is_serial
from bridge.core.easee.sites import Site
from bridge.core.effects import Acknowledge, Effect, LogEntry, ReadReports, SendRequest
from bridge.core.events import (
    CloudFailed,
    CloudResponse,
    MqttMessage,
    ObservationsReceived,
    ReportsRead,
    ReportsReadFailed,
    Tick,
)
from bridge.core.messages import Tag
from bridge.core.queries.catalogue import (
    QUERIES,
    Part,
    PersonalDataPolicy,
    QueryParams,
    QueryResult,
    QuerySpec,
    StoredReportsPart,
)
from bridge.core.records.command_result import CommandResult
from bridge.core.records.moment import Timestamp
from bridge.core.records.reply_to import ReplyTo
from bridge.core.topics import GetTopic, Topics
from bridge.core.value_format import shortened
from bridge.errors import (
    AnswerUnusable,
    AuthFailed,
    Blocked,
    BridgeError,
    CloudRejected,
    CommandRefused,
    DecodeError,
    RateLimited,
    StoreError,
)

TIMEOUT_S = 30.0
NO_SITES: Mapping[str, Site] = MappingProxyType({})
# The adapters end everything in time; this only guards against an event that was lost.
LOST_EVENT_GRACE_S = 5.0
MAX_RUNNING = 16
MAX_PER_CHARGER = 4
MAX_DETAIL_LENGTH = 200


class _Query(msgspec.Struct, eq=False):
    """A query under way.

    Attributes:
        waiting: Parts that were asked for, by the number of the call or read.
        parts: Parts that came.
        due_s: When it is given up.
    """

    query_spec: QuerySpec
    charger_id: str
    params: QueryParams
    ask: ReplyTo
    id: str | None
    received: Timestamp
    due_s: float
    waiting: dict[Hashable, str] = msgspec.field(default_factory=dict)
    parts: dict[str, Part] = msgspec.field(default_factory=dict)
    statuses: list[int] = msgspec.field(default_factory=list)


class QueryService:
    """Queries from their arrival to their answer."""

    name = "queries"
    interests = frozenset({QueryReceived})

    def __init__(
        self,
        topics: Topics,
        privacy: PersonalDataPolicy,
        chargers: Container[str],
        sites: Mapping[str, Site] = NO_SITES,
    ) -> None:
        """Start with none.

        Args:
            topics: Names.
            privacy: What becomes of personal data.
            chargers: What is served: chargers, or everything by kind.
            sites: The sites of the account by name.
        """
        self._topics = topics
        self._privacy = privacy
        self._chargers = chargers
        self._sites = sites
        self._numbers = itertools.count(1)
        self._running: dict[_Query, None] = {}
        self._owners: dict[Hashable, _Query] = {}

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle a query, a partial response, or a tick."""
        match event:
            case QueryReceived(message, target):
                return self.receive(message, target, self._chargers, now)
            case CloudResponse():
                return self.answered(event, now)
            case CloudFailed():
                return self.failed(event, now)
            case ReportsRead(tag, reports):
                return self._came(tag.ref, reports, now)
            case ReportsReadFailed(tag, error):
                return self._came(tag.ref, error, now)
            case Tick():
                return self.tick(now)
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which :meth:`tick` has something to do, or None."""
        return min((query.due_s for query in self._running), default=None)

    # -- from the message to the parts -------------------------------------------------------

    def receive(
        self, message: MqttMessage, target: GetTopic, known: Container[str], now: Timestamp
    ) -> Iterator[Effect]:
        """Send the requests for a query, or refuse it."""
        try:
            yield from self._begin(message, target, known, now)
        except CommandRefused as refusal:
            whom = (target.charger_id, target.query)
            yield from refuse_message(refusal, message, whom, self._topics, now)
        yield Acknowledge(message.ack_token)

    def _begin(
        self, message: MqttMessage, target: GetTopic, known: Container[str], now: Timestamp
    ) -> Iterator[Effect]:
        charger_id = target.charger_id
        if message.retained:
            raise CommandRefused("retained", "a query is never retained: publish without retain")
        kind = kind_of(known, charger_id)
        if kind is None or not (is_serial(charger_id) or kind == SITE):
            raise CommandRefused("unknown_charger", NOT_SERVED)
        query_spec = QUERIES.get(target.query)
        if query_spec is None:
            raise CommandRefused("unknown_command", f"queries are {', '.join(QUERIES)}")
        self._check(query_spec, kind)
        payload = _payload(message)
        params = query_spec.read(payload.value, now)
        if query_spec.needs_site:
            params = replace(params, site=self._site_of(charger_id))
        of_one = sum(query.charger_id == charger_id for query in self._running)
        if len(self._running) >= MAX_RUNNING or of_one >= MAX_PER_CHARGER:
            raise CommandRefused("busy", "too many queries are under way")
        within_s = _within_s(payload, message, now)
        query = _Query(
            query_spec=query_spec,
            charger_id=charger_id,
            params=params,
            ask=reply_to_of(message, self._topics),
            id=id_of(message),
            received=now,
            due_s=now.mono_s + within_s + LOST_EVENT_GRACE_S,
        )
        self._running[query] = None
        if within_s <= 0:
            yield from self._answer(query, now, "expired", detail="its time ran out")
            return
        for name, wanted in query_spec.parts(charger_id, params):
            number = next(self._numbers)
            query.waiting[number] = name
            self._owners[number] = query
            yield _effect(Tag(self.name, number), wanted, charger_id, within_s)

    def _check(self, query_spec: QuerySpec, kind: Kind) -> None:
        """Refuse a query that is not answered for what it is addressed to, or not at all."""
        if kind not in query_spec.of:
            kinds = ", ".join(sorted(query_spec.of))
            raise CommandRefused("unknown_command", f"{query_spec.name} is a query of: {kinds}")
        if query_spec.is_personal and not self._privacy.personal_data:
            raise CommandRefused(
                "not_allowed", "personal data: it is answered with publish.personal_data only"
            )

    def _site_of(self, name: str) -> Site:
        """Return the site of this name, or the site of a device."""
        for site in self._sites.values():
            if name in (site.addressee, *site.charger_ids, *site.equalizers):
                return site
        raise CommandRefused("busy", "its site is not known yet: ask again in a minute")

    # -- from the parts to the answer --------------------------------------------------------

    def answered(self, event: CloudResponse, now: Timestamp) -> Iterator[Output]:
        """Handle a partial response of the cloud."""
        yield from self._came(event.tag.ref, event.body, now, status=event.status)

    def failed(self, event: CloudFailed, now: Timestamp) -> Iterator[Output]:
        """Handle the failure of a request."""
        yield from self._came(event.tag.ref, event.error, now, status=event.error.status)

    def tick(self, now: Timestamp) -> Iterator[Effect]:
        """End queries that were not answered in time."""
        for query in [query for query in self._running if query.due_s <= now.mono_s]:
            yield from self._answer(
                query, now, "failed", reason="no_answer", detail="no answer in time"
            )

    def _came(
        self, number: Hashable, part: Part, now: Timestamp, *, status: int | None = None
    ) -> Iterator[Output]:
        query = self._owners.pop(number, None)
        if query is None:
            return  # it was given up
        if status is not None:
            query.statuses.append(status)
        query.parts[query.waiting.pop(number)] = part
        if query.waiting:
            return
        try:
            found = query.query_spec.answer(
                query.charger_id, query.params, query.parts, self._privacy
            )
        except BridgeError as error:
            state, reason = _verdict(error)
            told = getattr(error, "status", None)
            query.statuses = [] if told is None else [told]
            yield from self._answer(query, now, state, reason=reason, detail=str(error))
            return
        if found.observations:
            yield ObservationsReceived(found.observations, "poll")
        if found.schedules is not None:
            yield SchedulesRead(query.charger_id, found.schedules, query.received.mono_s)
        yield from self._answer(query, now, "confirmed", detail=found.detail, found=found)

    def _answer(
        self,
        query: _Query,
        now: Timestamp,
        state: str,
        *,
        reason: str | None = None,
        detail: str | None = None,
        found: QueryResult | None = None,
    ) -> Iterator[Effect]:
        """Publish the final result and drop the query."""
        del self._running[query]
        for number in query.waiting:
            del self._owners[number]
        name = query.query_spec.name
        result = CommandResult(
            id=query.id,
            command=name,
            state=state,
            final=True,
            received_at=query.received.wall,
            at=now.wall,
            elapsed_ms=round(1000 * (now.mono_s - query.received.mono_s)),
            reason=reason,
            detail=detail and shortened(detail, MAX_DETAIL_LENGTH),
            # Of several parts the best one counts: without any plan all are 404, and that is said.
            http_status=min(query.statuses, default=None),
        )
        value = None if found is None else found.value
        yield CommandAnswered(query.charger_id, result, (query.ask,), value)
        facts = {"charger_id": query.charger_id, "query": name, "state": state, "reason": reason}
        yield LogEntry("info", "query.answered", {**facts, "elapsed_ms": result.elapsed_ms})


def _effect(
    tag: Tag, wanted: CloudRequest | StoredReportsPart, charger_id: str, within_s: float
) -> Effect:
    if isinstance(wanted, StoredReportsPart):
        return ReadReports(tag, charger_id, wanted.since, wanted.until, wanted.limit)
    return SendRequest(tag, wanted, within_s)


def _payload(message: MqttMessage) -> Payload:
    """Read a payload; an empty one asks without conditions, for nothing can go wrong by it."""
    return read_payload(message.payload) if message.payload.strip() else Payload({})


def _within_s(payload: Payload, message: MqttMessage, now: Timestamp) -> float:
    """Return how long an answer is worth waiting for."""
    limits = [TIMEOUT_S, payload.ttl_s, message.expiry_s]
    if payload.expires_at is not None and now.trusted:
        limits.append((payload.expires_at - now.wall).total_seconds())
    return min(limit for limit in limits if limit is not None)


def _verdict(error: BridgeError) -> tuple[str, str]:
    """Return state and reason of a query that failed."""
    match error:
        case RateLimited():
            return "refused", "busy"
        case AuthFailed():
            return "failed", "auth_failed"
        case Blocked():
            return "failed", "blocked"
        case CloudRejected():
            return "failed", error.reason
        case AnswerUnusable():
            return "failed", error.reason
        case DecodeError():
            return "failed", "unreadable"
        case StoreError():
            return "refused", "storage"
        case _:
            return "failed", "cloud_unavailable"
