"""State of one charger, or of another device with values, and the changes that publish it.

Rules:

1. The newest by the charger's own time wins, per observation id, whatever order things arrive in;
   on equal stamps, which have whole seconds mostly, the later arrival wins (evcc#9047, evcc#10175).
2. A stamp from the future is published as it is but does not outrank what is measured after it.
   Where all stamps seem to lie there it is our clock that is slow, and their own order counts.
3. A replay brings values, never life: liveness is the age of the newest measurement, not of the
   newest message (evcc#10075). What the cloud says about the charger (250, 251) is no sign of life.
   The age is told by our clock, and where that is not believed by the cloud's ``Date``.
4. Personal data is never retained. A retained text goes out without the fields that carry a tag or
   name somebody, and one that cannot be cleared does not go out.
5. Everything retained can be published again at any time, exactly as it was.
"""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta

import msgspec

from bridge.core.changes import (
    AvailabilityChanged,
    Change,
    DerivedChanged,
    ValueChanged,
    ValuesChanged,
)
from bridge.core.domain_events import Found
from bridge.core.easee import derived_state, roles
from bridge.core.easee.decode import (
    REGISTRY,
    Observation,
    ObservationSpec,
    Value,
    spec_of,
)
from bridge.core.easee.redaction import publishable, redact_auth_fields
from bridge.core.easee.selection import UNNAMED_BELOW, Selection, hidden_names
from bridge.core.effects import Effect, LogEntry
from bridge.core.records.moment import Timestamp
from bridge.core.subjects import Subject
from bridge.core.value_format import format_scalar, iso_utc, pseudonymize
from bridge.settings import PublishSettings

# More than two clocks differ by, less than what counts as recent.
FUTURE = timedelta(minutes=5)
# An idle charger reports about every 15 minutes; a limit below 20 was tried and taken back (evcc
# pull request 28362).
OFFLINE_AFTER_S = 20 * 60.0
_NEVER = datetime.min.replace(tzinfo=UTC)
CLOUD_GENERATED_IDS = frozenset({roles.CLOUD_LINK, roles.CLOUD_LINK_REASON})
# What derived values follow.
_FOLLOWED = derived_state.BY_SOURCE.keys() | {roles.SMART_CHARGING}
# The registry and as many unnamed ids as are worth holding; ids come from outside.
MAX_IDS = len(REGISTRY) + 256


class _LatestValue(msgspec.Struct, frozen=True, gc=False):
    """The newest observation of one id.

    Attributes:
        ranked_at: What it is compared by: ``measured_at``, or if that lies in the future what the
            one before was compared by.
        judged: The wall clock could be believed when it came.
    """

    value: Value
    measured_at: datetime
    ranked_at: datetime
    received_at: datetime
    source: str
    judged: bool


class ChargerState:
    """One charger: newest values, derived state, freshness, availability.

    Attributes:
        registry: The observations of such a device.
        derived_by: The derived values that depend on an observation.
        followed: Observations that something is derived from.
        stale: How many observations came after a newer one of their id.
        online: Whether it was available when that was last asked; None before that.
        heard_at: The charger's time of its newest sign of life; year 1 before the first.
    """

    registry: Mapping[int, ObservationSpec] = REGISTRY
    derived_by: Mapping[int, tuple[derived_state.DerivedTopic, ...]] = derived_state.BY_SOURCE
    followed: AbstractSet[int] = _FOLLOWED
    spec_of = staticmethod(spec_of)
    hidden_by = staticmethod(hidden_names)

    def __init__(self, charger_id: str, publish: PublishSettings, salt: bytes) -> None:
        self.charger_id = charger_id
        self.stale = 0
        self._publish = publish
        self._salt = salt
        self._selection = Selection.of(publish)
        self._hidden = self.hidden_by(self._selection)
        self._latest: dict[int, _LatestValue] = {}
        self._derived: dict[str, derived_state.DerivedValue] = {}
        self._switched_at: Timestamp | None = None
        self.online: bool | None = None
        # The newest sign of life: when it was made, on the monotonic clock, and its stamp.
        self._heard_s = float("-inf")
        self.heard_at = _NEVER

    # -- what is known ------------------------------------------------------------------------

    def value(self, observation_id: int) -> Value | None:
        """Return the newest value of an observation; None before the first."""
        held = self._latest.get(observation_id)
        return None if held is None else held.value

    def measured_at(self, observation_id: int) -> datetime | None:
        """Return when the charger measured it; None before the first."""
        held = self._latest.get(observation_id)
        return None if held is None else held.measured_at

    def received_at(self, observation_id: int) -> datetime | None:
        """Return when it came, by our clock; None before the first."""
        held = self._latest.get(observation_id)
        return None if held is None else held.received_at

    def names_beyond(self, lowest_id: int) -> tuple[str, ...]:
        """Return the names of what it sent under ids from this one on."""
        names = (self.spec_of(number).name for number in self._latest if number >= lowest_id)
        return tuple(names)

    @property
    def awaiting_authorization(self) -> bool:
        """Whether a car waits for authorization."""
        return derived_state.awaiting_authorization(self) is True

    # -- observations -------------------------------------------------------------------------

    def apply(
        self,
        observation: Observation,
        source: str,
        now: Timestamp,
        effects: list[Found],
    ) -> bool:
        """Apply one observation.

        Args:
            observation: Of this charger.
            source: ``"stream"`` or ``"poll"``.
            now: When it arrived.
            effects: What follows from it is added to them.

        Returns:
            Whether it was measured no earlier than the one that was shown before.
        """
        spec = observation.spec
        number = spec.id
        measured_at = observation.measured_at
        old = self._latest.get(number)
        is_in_order = old is None or old.measured_at <= measured_at
        if number not in CLOUD_GENERATED_IDS:
            self._hear(measured_at, source, now)
        value = observation.value
        if spec.auth_field or (isinstance(value, str) and not spec.personal):
            stripped = redact_auth_fields(value) if spec.auth_field else publishable(str(value))
            if stripped is None:
                effects.append(self._note("observation.withheld", spec))
                return is_in_order
            value = stripped
        # Nearly always it is newer than the one before, and neither is from the future.
        is_plain = now.trusted and measured_at <= now.wall + FUTURE
        ranked_at = measured_at if is_plain else _ordering_time(measured_at, old, now)
        new = _LatestValue(value, measured_at, ranked_at, now.wall, source, now.trusted)
        is_same = False
        if old is None:
            if len(self._latest) >= MAX_IDS and number not in self.registry:
                effects.append(self._note("observation.one_too_many", spec))
                return is_in_order
        else:
            is_newer = is_plain and old.measured_at < measured_at
            if not is_newer and _is_stale(new, old, now):
                self.stale += 1
                effects.append(self._note("observation.stale", spec))
                return is_in_order
            is_same = old.value == value and type(old.value) is type(value)
            if is_same and old.measured_at == measured_at:
                return is_in_order
        self._latest[number] = new
        if not (self._hidden and self._is_hidden(spec)):
            effects.append(self._change(spec, new, is_new=not is_same, stamp=observation.stamp))
        if number in self.followed:
            effects += self._follow(number, old, new)
        return is_in_order

    def _follow(self, number: int, old: _LatestValue | None, new: _LatestValue) -> Iterator[Effect]:
        if number == roles.SMART_CHARGING:
            yield from self._smart_charging_seen(old, new)
        else:
            yield from self._derive(number)

    def told(self, name: str, value: derived_state.DerivedValue) -> Iterator[Effect]:
        """Record a derived value that follows from more than observations."""
        return self._set_derived(name, value)

    def smart_charging_setting(self, enabled: bool, now: Timestamp) -> Iterator[Effect]:
        """Record a confirmed setting of smart charging: false disables the touch button."""
        self._switched_at = None if enabled else now
        yield from self._set_derived(
            derived_state.TOUCH_BUTTON, "enabled" if enabled else "disabled"
        )

    def _smart_charging_seen(self, old: _LatestValue | None, new: _LatestValue) -> Iterator[Effect]:
        """Enable the touch button again when smart charging becomes true."""
        off = self._switched_at
        if off is None or new.value is not True:
            return
        later = not off.trusted or new.measured_at > off.wall
        if old.value is False if old is not None else later:
            self._switched_at = None
            yield from self._set_derived(derived_state.TOUCH_BUTTON, "enabled")

    def _derive(self, observation_id: int) -> Iterator[Effect]:
        for row in self.derived_by[observation_id]:
            value = row.derive(self)
            if value is derived_state.UNTOLD and row.name in self._derived:
                value = None  # it was known, and what is known now does not tell any more
            if value is not derived_state.UNTOLD:
                yield from self._set_derived(row.name, value)

    def _set_derived(self, name: str, value: derived_state.DerivedValue) -> Iterator[Effect]:
        if self._derived.get(name, derived_state.UNTOLD) != value:
            self._derived[name] = value
            if name not in self._hidden:
                yield DerivedChanged(self.charger_id, name, value)

    def _is_hidden(self, spec: ObservationSpec) -> bool:
        """Return whether the filters of the configuration leave an observation out."""
        if spec.id < UNNAMED_BELOW:
            return spec.name in self._hidden
        return not self._selection.has(spec)

    def _note(self, event: str, spec: ObservationSpec) -> LogEntry:
        return LogEntry("debug", event, {"charger_id": self.charger_id, "observation": spec.name})

    # -- changes ------------------------------------------------------------------------------

    def publications(self, now: Timestamp) -> Iterator[Change]:
        """Yield everything retained again, as after the broker lost its memory."""
        held = ((self.spec_of(number), one) for number, one in self._latest.items())
        values = tuple(
            self._change(spec, one)
            for spec, one in held
            if not spec.personal and not self._is_hidden(spec)
        )
        if values:
            yield ValuesChanged(values)
        for name, value in self._derived.items():
            if name not in self._hidden:
                yield DerivedChanged(self.charger_id, name, value)
        if self.online is not None:
            yield self.availability_again(now)

    def _change(
        self, spec: ObservationSpec, held: _LatestValue, *, is_new: bool = True, stamp: str = ""
    ) -> ValueChanged:
        """Return what is held of an observation as it may be published.

        Args:
            spec: Of the observation.
            held: The value shown now.
            is_new: The value differs from the one before.
            stamp: ``held.measured_at`` spelled, if it is known.
        """
        value = held.value
        if spec.personal and value != "" and not self._publish.personal_data:
            value = pseudonymize(format_scalar(value).decode(), self._salt)
        return ValueChanged(
            self.charger_id,
            spec,
            value,
            held.measured_at,
            held.received_at,
            held.source,
            is_new,
            stamp,
        )

    # -- availability -------------------------------------------------------------------------

    def available(self, link_ok: bool, now: Timestamp) -> bool:
        """Return whether bridge, cloud and charger are all reachable.

        Args:
            link_ok: The bridge hears from the cloud.
            now: For the age of what was heard.
        """
        return (
            link_ok
            and derived_state.flag(self, roles.CLOUD_LINK) is not False
            and derived_state.code(self, roles.OP_MODE) != derived_state.OFFLINE
            and self._heard_lately(now)
        )

    def explain(self, subject: Subject, now: Timestamp) -> Iterator[str]:
        """Say why a value, or the availability, is what it is."""
        if subject.branch == "availability":
            yield from self._explain_availability(now)
            return
        for number, held in self._latest.items():
            if self.spec_of(number).name == subject.name:
                yield from self._explain_value(number, held)
                return
        for topics in self.derived_by.values():
            for topic in topics:
                if topic.name == subject.name:
                    yield from self._explain_derived(topic)
                    return
        yield f"no value of {subject.name} was received since the start of the bridge"

    def _explain_value(self, number: int, held: _LatestValue) -> Iterator[str]:
        spec = self.spec_of(number)
        shown = "a personal value" if spec.personal else format_scalar(held.value).decode()
        yield (
            f"observation {number} ({spec.name}) is {shown}: measured by the charger at"
            f" {iso_utc(held.measured_at)}, received at {iso_utc(held.received_at)} by"
            f" {held.source}"
        )
        if self._hidden and self._is_hidden(spec):
            yield "it is not published: publish.only or publish.except leaves it out"
        if not held.judged:
            yield "the clock of this machine was not trusted when it arrived"
        yield (
            "the newest measured value counts, whatever arrives later;"
            f" {self.stale} older ones of this charger were ignored"
        )

    def _explain_derived(self, topic: derived_state.DerivedTopic) -> Iterator[str]:
        yield f"{topic.name} is {self._derived.get(topic.name)!r}: {topic.meaning}"
        for number in topic.sources:
            held = self._latest.get(number)
            if held is None:
                yield f"it follows observation {number}, which was not received yet"
            else:
                yield from list(self._explain_value(number, held))[:1]

    def _explain_availability(self, now: Timestamp) -> Iterator[str]:
        yield f"the charger is {'online' if self.online else 'offline'}"
        if self.heard_at == _NEVER:
            yield "nothing was received from it since the start of the bridge"
            return
        quiet_s = max(0.0, now.mono_s - self._last_heard_s(now))
        yield (
            f"its newest observation is of {iso_utc(self.heard_at)}, {quiet_s / 60:.0f} min ago;"
            f" after {OFFLINE_AFTER_S / 60:.0f} minutes without one it counts as offline"
        )
        held = self._latest.get(roles.CLOUD_LINK)
        if held is not None:
            yield from list(self._explain_value(roles.CLOUD_LINK, held))[:1]

    def availability(self, link_ok: bool, now: Timestamp) -> Iterator[Effect]:
        """Yield the availability if it changed."""
        online = self.available(link_ok, now)
        if online != self.online:
            self.online = online
            yield AvailabilityChanged(self.charger_id, online)

    def availability_again(self, now: Timestamp) -> AvailabilityChanged:
        """Return the change that publishes the availability again."""
        is_online = bool(self.online) and self._heard_lately(now)
        return AvailabilityChanged(self.charger_id, is_online)

    def deadline_s(self, now: Timestamp) -> float | None:
        """Return the monotonic second at which silence will make it unavailable.

        None when it is silent already. The answer moves later with every observation, and earlier
        only when it turns out what time it is.
        """
        return self._last_heard_s(now) + OFFLINE_AFTER_S if self._heard_lately(now) else None

    def _heard_lately(self, now: Timestamp) -> bool:
        return now.mono_s < self._last_heard_s(now) + OFFLINE_AFTER_S

    def _hear(self, measured_at: datetime, source: str, now: Timestamp) -> None:
        """Record a sign of life, moved back on the monotonic clock by the age of its timestamp.

        While nobody knows what time it is, arriving on the stream counts; the newest stamp among it
        is judged as soon as somebody does.
        """
        known = now.wall if now.trusted else now.told
        if known is not None:
            age_s = (known - measured_at).total_seconds()
            heard_s = now.mono_s - age_s if age_s > 0 else now.mono_s
            # Nearly always it is the newest, and then it was also made last.
            if measured_at >= self.heard_at or heard_s >= self._last_heard_s(now):
                self._heard_s, self.heard_at = heard_s, measured_at
        elif source == "stream":
            self._heard_s = now.mono_s
            self.heard_at = max(self.heard_at, measured_at)

    def _last_heard_s(self, now: Timestamp) -> float:
        """Return when it was heard last, by what is known of the time now and not by what was."""
        known = now.known
        if known is None:
            return self._heard_s
        return min(self._heard_s, now.mono_s - _age_s(self.heard_at, known))


def _age_s(measured_at: datetime, known: datetime) -> float:
    return (known - measured_at).total_seconds() if known > measured_at else 0.0


def _ordering_time(measured_at: datetime, old: _LatestValue | None, now: Timestamp) -> datetime:
    """Choose what an observation is compared by.

    A stamp from the future is worth no more than the one before it: whatever was measured after
    that will replace it, also what is on its way to us right now.
    """
    if not now.trusted or measured_at <= now.wall + FUTURE:
        return measured_at
    if old is None:
        return _NEVER
    mark = _mark(old, now)
    return mark if old.judged else min(mark, now.wall)


def _mark(old: _LatestValue, now: Timestamp) -> datetime:
    """Return what the next one must not be older than; a stamp whose time has come is good."""
    is_past = now.trusted and old.measured_at <= now.wall
    return old.measured_at if is_past else old.ranked_at


def _is_stale(new: _LatestValue, old: _LatestValue, now: Timestamp) -> bool:
    """Return whether a value is older than the current one.

    A mark that lies in the future and was set by a clock nobody could believe binds nobody. Where
    both lie there, our own clock may be slow: their order is right all the same. What has the very
    stamp of the one before a future one is that one again, and was not measured after it.
    """
    if now.trusted:
        horizon = now.wall + FUTURE
        if min(new.measured_at, old.measured_at) > horizon:
            return new.measured_at < old.measured_at
        if not old.judged and _mark(old, now) > horizon:
            return False
    mark = _mark(old, now)
    return new.ranked_at < mark or new.measured_at == mark < old.measured_at
