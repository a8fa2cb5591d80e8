"""Query catalogue: the requests of each query, and how its result is built.

Rules:

1. A row asks for parts, from the cloud or from the store, and makes one JSON value of them. What it
   cannot do without is raised as the error that came in its place.
2. Personal data leaves as it does on the topics: hashed, unless the operator says otherwise. A text
   that carries an ``Auth`` field leaves without it.
3. An answer is one message: it holds the newest :data:`MAX_ROWS` of what there is, and says so.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from bridge.core.addressees import CHARGER, EQUALIZER, SITE, Kind
from bridge.core.easee import rest_responses, roles
from bridge.core.easee.command_payloads import only_keys, read_press, refuse
from bridge.core.easee.decode import Observation, ObservationSpec, decode
from bridge.core.easee.firmware import latest_release
from bridge.core.easee.history import history
from bridge.core.easee.observation_registry import POLLED_IDS, spec_named, spec_of
from bridge.core.easee.redaction import publishable, redact_auth_fields
from bridge.core.easee.rest_requests import (
    CloudRequest,
    consumption_request,
    firmware_request,
    history_request,
    keys_request,
    observations_request,
    plan_request,
    sessions_request,
    site_cost_request,
    site_detail_request,
    site_resource_request,
)
from bridge.core.easee.schedule_times import UNKNOWN, standing
from bridge.core.easee.schedules import KINDS, SUMMARY, Schedules, missing_kinds, read_schedules
from bridge.core.easee.session_list import session_list
from bridge.core.easee.site_documents import (
    BY,
    consumption,
    key_list,
    members,
    site_document,
    told,
)
from bridge.core.easee.sites import Site
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.records.stored_report import StoredReport
from bridge.core.schedule_documents import schedules_document
from bridge.core.session_documents import stored_fields
from bridge.core.sessions.counter_reconciliation import reconcile_counters
from bridge.core.sessions.gaps import StoredSession
from bridge.core.sessions.report_merge import cleared, find_row
from bridge.core.value_format import Value, format_scalar, pseudonymize, read_utc
from bridge.errors import BridgeError, CloudRejected, DecodeError

MAX_ROWS = 1000
MAX_STORED = 5000
NOT_FOUND = 404
DEFAULT_HISTORY_PERIOD = timedelta(days=1)
DEFAULT_SESSIONS_PERIOD = timedelta(days=31)
MAX_HISTORY_PERIOD = timedelta(days=31)
MAX_SESSIONS_PERIOD = timedelta(days=366)
MAX_DIGITS = 9
CLOUD = "cloud"
LEDGER = "ledger"
SCHEDULES = {SUMMARY: SUMMARY} | {kind: f"{SUMMARY}/{kind}" for kind in KINDS}
COST = "cost"
MEMBERS = "members"
INSTALLED = "installed"

# A body of the cloud, rows of the store, or why there is none.
Part = bytes | tuple[StoredReport, ...] | BridgeError
Parts = Mapping[str, Part]


class PersonalDataPolicy(msgspec.Struct, frozen=True):
    """How personal data is published.

    Attributes:
        personal_data: It leaves as it is.
        salt: Of this installation, for the hash.
    """

    personal_data: bool
    salt: bytes


class QueryParams(msgspec.Struct, frozen=True):
    """Parameters of a query.

    Attributes:
        since: Beginning of a period; meaningless where a question has none.
        until: Its end.
        spec: An observation, or None.
        at: When it was asked.
        is_clock_right: That time can be believed.
        by: Length of the periods of a consumption.
        site: The site it is about, or None.
    """

    since: datetime
    until: datetime
    spec: ObservationSpec | None
    at: datetime
    is_clock_right: bool = True
    by: str = ""
    site: Site | None = None


class StoredReportsPart(msgspec.Struct, frozen=True):
    """A part that the store gives: reports of the charger that ended in a period."""

    since: datetime
    until: datetime
    limit: int = MAX_STORED


class QueryResult(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        value: Plain values, sequences and mappings.
        detail: What a person should know of it, or None.
        observations: To be applied as if they had been polled.
        schedules: To be published as if they had been read without a query, or None.
    """

    value: object
    detail: str | None = None
    observations: tuple[RawObservation, ...] = ()
    schedules: Schedules | None = None


class QuerySpec(msgspec.Struct, frozen=True):
    """One query.

    Attributes:
        name: Last level of its topics.
        payload: What may be sent, for the reference.
        description: What ``value`` is, for the reference.
        read: Reads a payload's value; raises ``CommandRefused``.
        parts: What to ask for, by name.
        answer: Makes the answer; raises the error that keeps it from doing so.
        of: What it may be addressed to.
        needs_site: It is about a site: that of the charger, or the one it is addressed to.
        is_personal: It is answered only where personal data may be published.
    """

    name: str
    payload: str
    description: str
    read: Callable[[object, Timestamp], QueryParams]
    parts: Callable[[str, QueryParams], Iterator[tuple[str, CloudRequest | StoredReportsPart]]]
    answer: Callable[[str, QueryParams, Parts, PersonalDataPolicy], QueryResult]
    of: frozenset[Kind] = frozenset({CHARGER})
    needs_site: bool = False
    is_personal: bool = False


# -- reading what is asked ------------------------------------------------------------------------


def _nothing(value: object, now: Timestamp) -> QueryParams:
    """Read the payload of a question without conditions."""
    read_press(value, 0)
    return QueryParams(now.wall, now.wall, None, now.wall, now.trusted)


def _period(
    value: object, now: Timestamp, usual: timedelta, longest: timedelta, required: frozenset[str]
) -> tuple[dict[str, object], datetime, datetime]:
    if not isinstance(value, dict):
        refuse('an object with "from" and "to"')
    shape = '"from" and "to"' + "".join(f' and "{key}"' for key in sorted(required))
    only_keys(value, required=required, optional={"from", "to"}, shape=shape)
    until = _moment(value["to"]) if "to" in value else now.wall
    since = _moment(value["from"]) if "from" in value else until - usual
    if not since < until or until - since > longest:
        refuse(f'"from" lies before "to", at most {longest.days} days')
    return value, since, until


def _moment(value: object) -> datetime:
    try:
        return read_utc(value if isinstance(value, str) else "").astimezone(UTC)
    except DecodeError:
        refuse('a time is spelled like "2026-11-22T12:00:00Z"')


def _sessions_params(value: object, now: Timestamp) -> QueryParams:
    _, since, until = _period(value, now, DEFAULT_SESSIONS_PERIOD, MAX_SESSIONS_PERIOD, frozenset())
    return QueryParams(since, until, None, now.wall)


def _history_params(value: object, now: Timestamp) -> QueryParams:
    given, since, until = _period(
        value, now, DEFAULT_HISTORY_PERIOD, MAX_HISTORY_PERIOD, frozenset({"name"})
    )
    return QueryParams(since, until, _spec(given["name"]), now.wall)


def _spec(name: object) -> ObservationSpec:
    """Find an observation by its name, by ``observation_<id>`` or by its id."""
    known = spec_named(name) if isinstance(name, str) else None
    if known is not None:
        return known
    text = str(name).removeprefix("observation_")
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS:
        refuse('"name" is the name of an observation, see the topic reference')
    return spec_of(int(text))


def _site_params(value: object, now: Timestamp) -> QueryParams:
    if value == {} or not isinstance(value, dict):
        read_press(value, 0)
        month = now.wall.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return QueryParams(month, now.wall, None, now.wall)
    return _sessions_params(value, now)


def _consumption_params(value: object, now: Timestamp) -> QueryParams:
    given, since, until = _period(
        value, now, DEFAULT_HISTORY_PERIOD, MAX_SESSIONS_PERIOD, frozenset({"by"})
    )
    by = given["by"]
    if by not in BY:
        refuse(f'"by" is one of {", ".join(BY)}')
    if by == "hour" and until - since > MAX_HISTORY_PERIOD:
        refuse(f"by hour at most {MAX_HISTORY_PERIOD.days} days")
    return QueryParams(since, until, None, now.wall, by=str(by))


# -- asking ----------------------------------------------------------------------------------------


def _observations_parts(
    charger_id: str, _: QueryParams
) -> Iterator[tuple[str, CloudRequest | StoredReportsPart]]:
    yield CLOUD, observations_request(charger_id, POLLED_IDS)


def _history_parts(
    charger_id: str, params: QueryParams
) -> Iterator[tuple[str, CloudRequest | StoredReportsPart]]:
    number = 0 if params.spec is None else params.spec.id
    yield CLOUD, history_request(charger_id, number, params.since, params.until)


def _sessions_parts(
    charger_id: str, params: QueryParams
) -> Iterator[tuple[str, CloudRequest | StoredReportsPart]]:
    yield LEDGER, StoredReportsPart(params.since, params.until)
    yield CLOUD, sessions_request(charger_id, params.since, params.until)


def _firmware_parts(
    charger_id: str, _: QueryParams
) -> Iterator[tuple[str, CloudRequest | StoredReportsPart]]:
    yield CLOUD, firmware_request(charger_id)
    yield INSTALLED, observations_request(charger_id, (roles.FIRMWARE,))


def _schedule_parts(
    charger_id: str, _: QueryParams
) -> Iterator[tuple[str, CloudRequest | StoredReportsPart]]:
    for name, resource in SCHEDULES.items():
        yield name, plan_request(charger_id, resource)


def _site_parts(
    _: str, params: QueryParams
) -> Iterator[tuple[str, CloudRequest | StoredReportsPart]]:
    if params.site is not None:
        site_id = params.site.site_id
        yield CLOUD, site_detail_request(site_id)
        yield COST, site_cost_request(site_id, params.since, params.until)
        yield MEMBERS, site_resource_request(site_id, "users")


def _consumption_parts(
    charger_id: str, params: QueryParams
) -> Iterator[tuple[str, CloudRequest | StoredReportsPart]]:
    yield CLOUD, consumption_request(charger_id, params.by, params.since, params.until)


def _keys_parts(_: str, __: QueryParams) -> Iterator[tuple[str, CloudRequest | StoredReportsPart]]:
    yield CLOUD, keys_request()


# -- answering -------------------------------------------------------------------------------------


def _body(part: Part) -> bytes:
    if isinstance(part, bytes):
        return part
    raise part if isinstance(part, BridgeError) else DecodeError("no body", source="query")


def _body_or_none(part: Part) -> bytes:
    """Return the body of a part; empty where the cloud has none."""
    is_missing = isinstance(part, CloudRejected) and part.status == NOT_FOUND
    return b"" if is_missing else _body(part)


def _observations(
    charger_id: str, _: QueryParams, parts: Parts, privacy: PersonalDataPolicy
) -> QueryResult:
    read = rest_responses.observations(_body(parts[CLOUD]), charger_id)
    shown, unreadable = _decoded(read.observations)
    documents = {
        one.spec.name: document
        for one in shown
        if (document := _document(one, privacy, named=True)) is not None
    }
    left_out = _left_out(unreadable + read.dropped)
    return QueryResult(documents, left_out, read.observations)


def _history(
    charger_id: str, params: QueryParams, parts: Parts, privacy: PersonalDataPolicy
) -> QueryResult:
    number = 0 if params.spec is None else params.spec.id
    shown, unreadable = _decoded(history(_body(parts[CLOUD]), charger_id, number))
    shown.sort(key=lambda one: one.measured_at)
    documents = [
        document for one in shown if (document := _document(one, privacy, named=False)) is not None
    ]
    return QueryResult(_list(documents), _left_out(unreadable) or _cut(documents))


def _decoded(raw: tuple[RawObservation, ...]) -> tuple[list[Observation], int]:
    found = []
    for one in raw:
        try:
            found.append(decode(one))
        except DecodeError:
            continue
    return found, len(raw) - len(found)


def _document(
    observation: Observation, privacy: PersonalDataPolicy, *, named: bool
) -> dict[str, object] | None:
    """Describe one value; None if personal data cannot be removed from it."""
    spec, label = observation.spec, observation.label
    value: Value | None = observation.value
    if spec.auth_field:
        value = redact_auth_fields(value)
    elif isinstance(value, str) and not spec.personal:
        value = publishable(value)
    if value is None:
        return None
    if spec.personal and value not in ("", None) and not privacy.personal_data:
        value, label = pseudonymize(format_scalar(value).decode(), privacy.salt), None
    facts: dict[str, object] = {"value": value, "label": label}
    if named:
        facts = {"id": spec.id, **facts, "unit": spec.unit}
    return {**facts, "measured_at": observation.measured_at}


def _sessions(
    charger_id: str, params: QueryParams, parts: Parts, privacy: PersonalDataPolicy
) -> QueryResult:
    """List the ledger's rows, and what only the cloud has as revision 0."""
    rows, cloud = parts[LEDGER], parts[CLOUD]
    stored = rows if isinstance(rows, tuple) else ()
    trouble = cloud if isinstance(cloud, BridgeError) else None
    listed: tuple[StoredReport, ...] = ()
    if isinstance(cloud, bytes):
        try:
            listed = _only_in_cloud(charger_id, params, cloud, stored)
        except DecodeError as error:
            trouble = error
    if isinstance(rows, BridgeError) and trouble is not None:
        raise rows
    found = sorted((*stored, *listed), key=lambda one: (one.report.ended_at, one.key))
    documents: list[dict[str, object]] = [
        dict(stored_fields(cleared(one, personal_data=privacy.personal_data, salt=privacy.salt)))
        for one in found
    ]
    return QueryResult(_list(documents), _incomplete(rows, trouble) or _cut(documents))


def _only_in_cloud(
    charger_id: str, params: QueryParams, body: bytes, stored: tuple[StoredReport, ...]
) -> tuple[StoredReport, ...]:
    """Return the cloud's sessions that the ledger has no row for."""
    listed = session_list(body, charger_id, received_at=params.at).reports
    known = [
        StoredSession(number, row.report.started_at, row.report.ended_at)
        for row in stored
        if (number := row.report.session_id) is not None
    ]
    by_number: dict[int | None, list[StoredReport]] = {}
    for row in stored:
        by_number.setdefault(row.report.session_id, []).append(row)
    found = []
    for report in reconcile_counters(listed, known)[0]:
        key, row_of_it = find_row(report, by_number.get(report.session_id, ()))
        if row_of_it is None and params.since <= report.ended_at < params.until:
            found.append(StoredReport(key, 0, report))
    return tuple(found)


def _incomplete(rows: Part, trouble: BridgeError | None) -> str | None:
    if not isinstance(rows, tuple):
        return "only what the cloud lists: the ledger could not be read"
    return None if trouble is None else f"only what the ledger has: {trouble}"


def _schedule(
    charger_id: str, params: QueryParams, parts: Parts, _: PersonalDataPolicy
) -> QueryResult:
    """Return the document of ``schedule/current``, of what the cloud holds now."""
    bodies = {SUMMARY: _body_or_none(parts[SUMMARY])}
    for kind in missing_kinds(bodies[SUMMARY]):
        bodies[kind] = _body_or_none(parts[kind])
    schedules = read_schedules(bodies)
    now = standing(schedules, params.at) if params.is_clock_right else UNKNOWN
    read_at = params.at if params.is_clock_right else None
    document = schedules_document(charger_id, schedules, now, read_at)
    found = any(schedules.of(kind) for kind in KINDS)
    detail = None if found else "there is no schedule"
    if schedules.unreadable:
        detail = f"cannot be read: {', '.join(schedules.unreadable)}"
    return QueryResult(document, detail, schedules=schedules)


def _site(_: str, params: QueryParams, parts: Parts, privacy: PersonalDataPolicy) -> QueryResult:
    """Describe a site; what the account may not read of cost and members is null."""
    if params.site is None:
        raise DecodeError("no site", source="query")
    is_personal = privacy.personal_data
    document = site_document(_body(parts[CLOUD]), params.site, is_personal=is_personal)
    missing = [name for name in (COST, MEMBERS) if not isinstance(parts[name], bytes)]
    cost, users = (parts[name] for name in (COST, MEMBERS))
    document[COST] = told(cost, COST, is_personal=is_personal) if isinstance(cost, bytes) else None
    document[MEMBERS] = (
        members(users, is_personal=is_personal) if isinstance(users, bytes) else None
    )
    return QueryResult(document, f"not told: {', '.join(missing)}" if missing else None)


def _consumption(_: str, params: QueryParams, parts: Parts, __: PersonalDataPolicy) -> QueryResult:
    rows = consumption(_body(parts[CLOUD]), params.by, params.since, params.until)
    return QueryResult(_list(rows), _cut(rows))


def _keys(_: str, __: QueryParams, parts: Parts, ___: PersonalDataPolicy) -> QueryResult:
    return QueryResult(key_list(_body(parts[CLOUD])))


def _firmware(charger_id: str, _: QueryParams, parts: Parts, __: PersonalDataPolicy) -> QueryResult:
    """Return the installed release and the newest one."""
    latest = latest_release(_body(parts[CLOUD]))
    read = rest_responses.observations(_body(parts[INSTALLED]), charger_id)
    shown, _unreadable = _decoded(read.observations)
    installed = next((one.value for one in shown if one.spec.id == roles.FIRMWARE), None)
    is_older = None if installed is None else str(installed) != str(latest)
    value = {"installed": installed, "latest": latest, "update_available": is_older}
    return QueryResult(value, None, read.observations)


def _list(documents: list[dict[str, object]]) -> list[dict[str, object]]:
    return documents[-MAX_ROWS:]


def _cut(documents: list[dict[str, object]]) -> str | None:
    return f"only the newest {MAX_ROWS}" if len(documents) > MAX_ROWS else None


def _left_out(unreadable: int) -> str | None:
    return f"{unreadable} values could not be read" if unreadable else None


QUERIES: Final = {
    query_spec.name: query_spec
    for query_spec in (
        QuerySpec(
            "observations",
            "nothing, or `PRESS`",
            "a fresh read over REST: an object of `id`, `value`, `label`, `unit`, `measured_at` by"
            " name",
            _nothing,
            _observations_parts,
            _observations,
        ),
        QuerySpec(
            "history",
            '`{"name":"smart_button_enabled","from":"…Z","to":"…Z"}`; without times the last day,'
            " at most 31 days",
            "the values of one observation, oldest first: a list of `value`, `label`,"
            " `measured_at`",
            _history_params,
            _history_parts,
            _history,
        ),
        QuerySpec(
            "sessions",
            '`{"from":"…Z","to":"…Z"}`; without times the last 31 days, at most 366',
            "finished sessions, oldest end first: a list of documents like session reports;"
            " `revision` is 0 where only the cloud has it",
            _sessions_params,
            _sessions_parts,
            _sessions,
        ),
        QuerySpec(
            "firmware",
            "nothing, or `PRESS`",
            "the `installed` release, the `latest` one the cloud offers, and `update_available`",
            _nothing,
            _firmware_parts,
            _firmware,
        ),
        QuerySpec(
            "schedule",
            "nothing, or `PRESS`",
            "the schedules that the cloud holds, as on `schedule/current`, which is published too",
            _nothing,
            _schedule_parts,
            _schedule,
        ),
        QuerySpec(
            "site",
            'nothing, `PRESS`, or `{"from":"…Z","to":"…Z"}` for the cost; without times this month',
            "the site of the charger, or the one it is addressed to: `site_id`, `rated_current`,"
            " `price` (`per_kwh`, `per_kwh_without_vat`, `vat`, `currency`), `cost` as the cloud"
            " tells it, `members` (`user_id`, `role`), `circuits`, `chargers`, `equalizers`; with"
            " `publish.personal_data` also `name`, `address` and the members as the cloud tells"
            " them",
            _site_params,
            _site_parts,
            _site,
            of=frozenset({CHARGER, EQUALIZER, SITE}),
            needs_site=True,
        ),
        QuerySpec(
            "consumption",
            '`{"from":"…Z","to":"…Z","by":"hour"}`, or `day`, `month`; without times the last day,'
            " at most 366 days, by hour 31",
            "the energy of the charger, oldest first: a list of `from`, `to`, `energy_kwh`; only"
            " periods that lie wholly inside; days and months are those of UTC",
            _consumption_params,
            _consumption_parts,
            _consumption,
        ),
        QuerySpec(
            "keys",
            "nothing, or `PRESS`",
            "the charging keys of the account as the cloud tells them; only with"
            " `publish.personal_data`, otherwise `refused` with `not_allowed`",
            _nothing,
            _keys_parts,
            _keys,
            of=frozenset({CHARGER, SITE}),
            is_personal=True,
        ),
    )
}
