"""Watches the vendor's interface for changes, and names them in one alert.

Rules:

1. What the program knows itself is reported at once when it is not so: ids and types of
   observations, labelled codes, HTTP statuses, messages of the hub.
2. What it cannot know is learned: the fields of each object in an answer, for a day and at least
   three answers. Then a new field, a new type, and a field that always was there and is missing
   twice in a row are changes. A field that is missing now and then is optional and none.
3. A path that worked is gone when it is answered 410 once, or 404 twice in a row without an error
   code of the vendor's.
4. A limit is tighter when the vendor names a lower one, or refuses three requests within a day.
5. A change is in the alert for a week, and counted ever after. What is known survives a restart;
   it is written when a change is found, and at most once an hour while something is learned.
6. No value of others is kept: names of fields and types, numbers of ids and codes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from bridge.core.alerts import MAX_NAMED, Alerts
from bridge.core.domain_events import NOTHING, Input, Outputs
from bridge.core.easee.error_responses import EXPECTED_STATUSES, SUCCESS
from bridge.core.easee.vendor_shapes import NULL
from bridge.core.effects import Effect, LogEntry, SaveState
from bridge.core.events import (
    Started,
    Stopping,
    StreamAnomaly,
    Tick,
    VendorOdd,
    VendorReplied,
)
from bridge.core.records.moment import Timestamp
from bridge.core.value_format import iso_utc, read_utc
from bridge.errors import DecodeError

NAME: Final = "vendor"
ALERT: Final = "vendor_change"
HINT: Final = (
    "nothing to do while values and commands work; charger-bridge doctor lists it in vendor.md,"
    " please report it"
)
NAMED_FOR: Final = timedelta(days=7)
LEARNED_AFTER: Final = timedelta(days=1)
LEARNED_FROM: Final = 3
MISSING_IN_A_ROW: Final = 2
NOT_FOUND, GONE, TOO_MANY = 404, 410, 429
NOT_FOUND_IN_A_ROW: Final = 2
REFUSED_A_DAY: Final = 3
# The longest time over which the vendor counts: until then it counts an earlier process too.
COUNTS_AFTER_S: Final = 3600.0
DAY_S: Final = 24 * 3600.0
SAVE_EVERY_S: Final = 3600.0
MAX_FACTS: Final = 200
MAX_ENDPOINTS: Final = 100


class VendorFact(msgspec.Struct):
    """A change of the vendor's interface.

    Attributes:
        sentence: What is another than before.
        since: When it was first seen, UTC, ISO 8601.
        seen: When it was last seen.
        count: How often.
    """

    sentence: str
    since: str
    seen: str
    count: int = 1


class _Field(msgspec.Struct):
    """A field of an object.

    Attributes:
        types: Of its values.
        missing: In so many answers in a row it was not there.
        optional: It was missing, and is there again.
    """

    types: list[str] = msgspec.field(default_factory=list)
    missing: int = 0
    optional: bool = False


class _Object(msgspec.Struct):
    """An object in the answers of an endpoint.

    Attributes:
        since: When it was first seen.
        answers: How many had it, up to :data:`LEARNED_FROM`.
        fields: By name.
    """

    since: str
    answers: int = 0
    fields: dict[str, _Field] = msgspec.field(default_factory=dict)


class _Endpoint(msgspec.Struct):
    """A path of the vendor's, or a message of the hub.

    Attributes:
        worked: It was answered with success.
        limit: The lowest limit that it named.
        objects: By their path in an answer.
        not_found: So often in a row it was answered 404.
        refused_s: When it was answered 429.
    """

    worked: bool = False
    limit: int | None = None
    objects: dict[str, _Object] = msgspec.field(default_factory=dict)
    not_found: int = 0
    refused_s: list[float] = msgspec.field(default_factory=list)


class VendorWatch:
    """What is known of the vendor's interface.

    Args:
        alerts: Where changes are named.
        counters: Where they are counted.
    """

    name = NAME
    interests = frozenset({Started, Stopping, VendorOdd, VendorReplied, StreamAnomaly})

    def __init__(self, alerts: Alerts, counters: Counter[str]) -> None:
        self._alerts = alerts
        self._counters = counters
        self._endpoints: dict[str, _Endpoint] = {}
        self.facts: dict[str, VendorFact] = {}
        self._dirty = False
        self._saved_s = float("-inf")
        self._counts_from_s = 0.0
        self._due_s: float | None = None

    def handle(self, event: Input, now: Timestamp) -> Outputs:
        """Handle what the vendor says, and ticks."""
        match event:
            case VendorReplied():
                return self._replied(event, now)
            case VendorOdd(found):
                return self._odd(found, now)
            case StreamAnomaly("unknown_target", detail):
                return self._found(f"hub {detail}", f"the hub sends {detail}", now)
            case Tick():
                return self._tick(now)
            case Started(state=state):
                self._counts_from_s = now.mono_s + COUNTS_AFTER_S
                return self._restore(state.get(NAME, {}), now)
            case Stopping():
                return self._save(now)
        return NOTHING

    def deadline_s(self) -> float | None:
        """Return when something is to be written, or an alert may be over."""
        return self._due_s

    # -- answers -----------------------------------------------------------------------------

    def _replied(self, event: VendorReplied, now: Timestamp) -> Iterator[Effect]:
        held = self._endpoints.get(event.endpoint)
        if held is None:
            if len(self._endpoints) >= MAX_ENDPOINTS:
                return
            held = self._endpoints[event.endpoint] = _Endpoint()
        yield from self._status(held, event, now)
        for header, text in (("Deprecation", event.deprecation), ("Sunset", event.sunset)):
            if text:
                sentence = f"{event.endpoint} is announced to end ({header}: {text})"
                yield from self._found(f"{header} {event.endpoint}", sentence, now)
        if event.limit is not None:
            if held.limit is not None and event.limit < held.limit:
                sentence = f"{event.endpoint} allows {event.limit} requests instead of {held.limit}"
                yield from self._found(f"limit {event.endpoint}", sentence, now)
            if held.limit is None or event.limit < held.limit:
                held.limit, self._dirty = event.limit, True
        if event.shape and now.trusted:
            yield from self._shape(held, event.endpoint, event.shape, now)
        self._plan(now)

    def _status(self, held: _Endpoint, event: VendorReplied, now: Timestamp) -> Iterator[Effect]:
        status, endpoint = event.status, event.endpoint
        is_success = status in SUCCESS
        if status and status not in EXPECTED_STATUSES:
            sentence = f"{endpoint} is answered with the unknown status {status}"
            yield from self._found(f"status {status} {endpoint}", sentence, now)
        is_missing = status == GONE or (status == NOT_FOUND and not event.has_code)
        held.not_found = held.not_found + 1 if is_missing else 0
        enough = 1 if status == GONE else NOT_FOUND_IN_A_ROW
        if is_missing and held.worked and held.not_found >= enough:
            sentence = f"{endpoint} worked and is answered with {status}"
            yield from self._found(f"gone {endpoint}", sentence, now)
        if status == TOO_MANY and now.mono_s >= self._counts_from_s:
            held.refused_s = [at_s for at_s in held.refused_s if now.mono_s - at_s < DAY_S]
            held.refused_s = [*held.refused_s[1 - REFUSED_A_DAY :], now.mono_s]
            if len(held.refused_s) >= REFUSED_A_DAY:
                sentence = f"{endpoint} is refused for too many requests again and again"
                yield from self._found(f"limit {endpoint}", sentence, now)
        if is_success and not held.worked:
            held.worked = self._dirty = True

    def _shape(
        self, held: _Endpoint, endpoint: str, shape: Iterable[str], now: Timestamp
    ) -> Iterator[Effect]:
        told: dict[str, dict[str, list[str]]] = {}
        for one in shape:
            path, name, kind = one.split("|")
            told.setdefault(path, {}).setdefault(name, []).append(kind)
        for path, fields in told.items():
            known = held.objects.get(path)
            if known is None:
                known = held.objects[path] = _Object(iso_utc(now.wall))
            is_learned = _is_learned(known, now)
            known.answers = min(LEARNED_FROM, known.answers + 1)
            where = f"{endpoint}: {path or 'the document'}"
            for name, types in fields.items():
                yield from self._told(known, where, name, types, now, is_learned=is_learned)
            for name, kept in known.fields.items():
                if name not in fields:
                    yield from self._left(kept, where, name, now, is_learned=is_learned)
            self._dirty = self._dirty or not is_learned

    def _told(
        self,
        known: _Object,
        where: str,
        name: str,
        types: list[str],
        now: Timestamp,
        *,
        is_learned: bool,
    ) -> Iterator[Effect]:
        kept = known.fields.get(name)
        if kept is None:
            known.fields[name] = _Field(types, optional=known.answers > 1)
            self._dirty = True
            if is_learned:
                yield from self._found(
                    f"came {where} {name}", f"{where} has a new field {name}", now
                )
            return
        if kept.missing:
            kept.missing, kept.optional, self._dirty = 0, True, True
        new = [kind for kind in types if kind not in kept.types]
        if not new:
            return
        before = [kind for kind in kept.types if kind != NULL]
        kept.types = [*kept.types, *new]
        self._dirty = True
        shown = [kind for kind in new if kind != NULL]
        if is_learned and before and shown:
            sentence = f"{where} has {name} as {shown[0]} instead of {before[0]}"
            yield from self._found(f"type {where} {name} {shown[0]}", sentence, now)

    def _left(
        self, kept: _Field, where: str, name: str, now: Timestamp, *, is_learned: bool
    ) -> Iterator[Effect]:
        if kept.optional:
            return
        kept.missing += 1
        self._dirty = True
        if kept.missing < MISSING_IN_A_ROW:
            return
        kept.optional = True
        if is_learned:
            yield from self._found(
                f"left {where} {name}", f"{where} has no field {name} any more", now
            )

    # -- what was found ----------------------------------------------------------------------

    def _odd(self, found: Iterable[tuple[str, str]], now: Timestamp) -> Iterator[Effect]:
        for key, sentence in found:
            yield from self._found(key, sentence, now)

    def _found(self, key: str, sentence: str, now: Timestamp) -> Iterator[Effect]:
        """Record a change; name it when it is new."""
        at = iso_utc(now.wall)
        fact = self.facts.get(key)
        if fact is not None:
            fact.count += 1
            fact.seen = at
            return
        if len(self.facts) >= MAX_FACTS:
            return
        self.facts[key] = VendorFact(sentence, at, at)
        self._counters["vendor_changes"] += 1
        yield LogEntry("warning", "vendor.changed", {"change": sentence})
        yield from self._tell(now)
        self._saved_s = float("-inf")
        self._dirty = True
        yield from self._save(now)
        self._plan(now)

    def _tell(self, now: Timestamp) -> Iterator[Effect]:
        """Open, change or close the alert."""
        named = [fact.sentence for fact in self.facts.values() if _is_new(fact, now)]
        if not named:
            yield from self._alerts.clear(ALERT)
            return
        more = len(named) - MAX_NAMED
        shown = named[-MAX_NAMED:]
        text = "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
        yield from self._alerts.raise_(ALERT, f"the vendor changed something: {text}", HINT, now)

    def _plan(self, now: Timestamp) -> None:
        """Schedule the next look at the alert and the next writing."""
        if self._dirty or self._alerts.is_open(ALERT):
            self._due_s = max(now.mono_s, self._saved_s + SAVE_EVERY_S)
            if not self._dirty:
                self._due_s = now.mono_s + SAVE_EVERY_S
        else:
            self._due_s = None

    def _tick(self, now: Timestamp) -> Outputs:
        if self._due_s is None or now.mono_s < self._due_s:
            return NOTHING
        return self._renewed(now)

    def _renewed(self, now: Timestamp) -> Iterator[Effect]:
        yield from self._tell(now)
        yield from self._save(now)
        self._due_s = None
        self._plan(now)

    # -- what survives a restart -------------------------------------------------------------

    def _save(self, now: Timestamp) -> Iterator[Effect]:
        if not self._dirty:
            return
        self._dirty, self._saved_s = False, now.mono_s
        facts = {key: msgspec.to_builtins(fact) for key, fact in self.facts.items()}
        endpoints = {
            name: {
                "worked": held.worked,
                "limit": held.limit,
                "objects": {path: msgspec.to_builtins(each) for path, each in held.objects.items()},
            }
            for name, held in self._endpoints.items()
        }
        yield SaveState(NAME, {"facts": facts, "endpoints": endpoints})

    def _restore(self, document: Mapping[str, object], now: Timestamp) -> Iterator[Effect]:
        """Restore what an earlier process knew; what cannot be read is learned again."""
        for key, said in _items(document.get("facts")):
            texts = [said.get(name) for name in ("sentence", "since", "seen")]
            count = said.get("count")
            if isinstance(count, int) and all(isinstance(text, str) for text in texts):
                sentence, since, seen = map(str, texts)
                self.facts[key] = VendorFact(sentence, since, seen, count)
        for name, said in _items(document.get("endpoints")):
            limit = said.get("limit")
            self._endpoints[name] = _Endpoint(
                said.get("worked") is True,
                limit if isinstance(limit, int) else None,
                {path: _object(one) for path, one in _items(said.get("objects"))},
            )
        yield from self._tell(now)
        self._plan(now)


def _items(value: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    if isinstance(value, dict):
        yield from ((key, one) for key, one in value.items() if isinstance(one, dict))


def _object(said: Mapping[str, object]) -> _Object:
    answers = said.get("answers")
    fields = {
        name: _Field(
            [kind for kind in _list(one.get("types")) if isinstance(kind, str)],
            optional=one.get("optional") is True,
        )
        for name, one in _items(said.get("fields"))
    }
    return _Object(str(said.get("since")), answers if isinstance(answers, int) else 0, fields)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _is_new(fact: VendorFact, now: Timestamp) -> bool:
    since = _time(fact.since)
    return since is None or now.wall - since < NAMED_FOR


def _is_learned(known: _Object, now: Timestamp) -> bool:
    since = _time(known.since)
    is_old = since is not None and now.wall - since >= LEARNED_AFTER
    return is_old and known.answers >= LEARNED_FROM


def _time(text: str) -> datetime | None:
    try:
        return read_utc(text)
    except DecodeError:
        return None
