"""Changes: what the core yields for the conventions to publish.

Rules:

1. A change holds no topic and no encoded payload. How it is named and spelled at the broker is a
   convention's business (:mod:`bridge.conventions.convention`).
2. A change holds nothing that may not be published: personal data is hashed before, unless the
   operator says otherwise.
3. The current value of everything retained can be yielded again at any time, exactly as it was.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from bridge.core.easee.observation_spec import ObservationSpec
from bridge.core.easee.schedule_times import Standing
from bridge.core.easee.schedules import Schedules
from bridge.core.easee.sites import Site
from bridge.core.records.command_result import CommandResult
from bridge.core.records.reply_to import ReplyTo
from bridge.core.records.session_report import ReportId, SessionReport
from bridge.core.records.stored_report import StoredReport
from bridge.core.value_format import Value


# A struct, not a dataclass: one is made for every observation, in a sixth of the time.
class ValueChanged(msgspec.Struct, frozen=True, gc=False):
    """The newest observation of an id.

    Attributes:
        charger_id: Serial of the charger or Equalizer.
        spec: Its row of the registry. Personal data is never retained.
        value: In the vendor's unit.
        measured_at: When the charger measured it, UTC.
        received_at: When it arrived.
        source: ``"stream"`` or ``"poll"``.
        is_new: The value differs from the one before; False where only its time is newer.
        stamp: ``measured_at`` as :func:`~bridge.core.value_format.iso_utc` spells it; empty where
            it is not spelled yet.
    """

    charger_id: str
    spec: ObservationSpec
    value: Value
    measured_at: datetime
    received_at: datetime
    source: str
    is_new: bool = True
    stamp: str = ""


class ValuesChanged(msgspec.Struct, frozen=True, gc=False):
    """The newest observations of an event, in order."""

    values: tuple[ValueChanged, ...]


class Estimate(msgspec.Struct, frozen=True):
    """What a derived value is worth that is measured now and then, and estimated in between.

    Attributes:
        measured_at: When the value held, UTC: the time of the reading, or of the estimate.
        received_at: When it was learned.
        is_estimated: It is not a reading.
        kw: The power that is added to it from then on.
    """

    measured_at: datetime
    received_at: datetime
    is_estimated: bool
    kw: float


class DerivedChanged(msgspec.Struct, frozen=True):
    """A derived value of a charger.

    Attributes:
        charger_id: Serial.
        name: Of :data:`~bridge.core.easee.derived_state.DERIVED`.
        value: It, or None where it is not known any more.
        estimate: Of a value that is estimated between readings; None for all others.
    """

    charger_id: str
    name: str
    value: Value | None
    estimate: Estimate | None = None


class AvailabilityChanged(msgspec.Struct, frozen=True):
    """A charger can be relied on, or not any more."""

    charger_id: str
    is_online: bool


class ChargerCleared(msgspec.Struct, frozen=True):
    """Everything retained of a charger that left is to be taken away.

    Attributes:
        charger_id: Serial.
        observations: Names of every observation that may have been published.
        derived: Names of the derived values.
        is_urgent: It was served until now, so a value may be on its way still.
        tag: As in :class:`CommandAnswered`.
        owner: Likewise.
    """

    charger_id: str
    observations: tuple[str, ...]
    derived: tuple[str, ...]
    is_urgent: bool
    tag: str
    owner: str = ""


class ValuesHidden(msgspec.Struct, frozen=True):
    """Retained values of a charger that the filters leave out now are to be taken away.

    Attributes:
        charger_id: Serial.
        names: Of observations and derived values.
        tag: As in :class:`CommandAnswered`.
        owner: Likewise.
    """

    charger_id: str
    names: tuple[str, ...]
    tag: str
    owner: str = ""


class ChargerEvent(msgspec.Struct, frozen=True):
    """Something happened at a charger; published once and not retained.

    Attributes:
        charger_id: Serial.
        kind: A snake_case word of the contract.
        measured_at: When, by the charger, or None.
        received_at: When it was learned.
        facts: Everything else, in order.
    """

    charger_id: str
    kind: str
    measured_at: datetime | None
    received_at: datetime
    facts: Mapping[str, Value | None]


class AlertRaised(msgspec.Struct, frozen=True):
    """An alert is open, or its words changed.

    Attributes:
        kind: Snake_case; ``<kind>/<charger>`` where each charger has an alert of its own.
        message: What is wrong.
        hint: What to do about it.
        since: When it was first raised.
    """

    kind: str
    message: str
    hint: str
    since: datetime


class AlertCleared(msgspec.Struct, frozen=True):
    """The condition of an alert is over."""

    kind: str


class BridgeOnline(msgspec.Struct, frozen=True):
    """The gateway is connected to the broker; the will publishes the opposite.

    Attributes:
        is_online: False where it speaks for several partitions, and one of them has no owner.
    """

    is_online: bool = True


class CloudStateChanged(msgspec.Struct, frozen=True):
    """How the gateway is connected to the vendor's cloud, as a word of the contract."""

    state: str


class BridgeInfoChanged(msgspec.Struct, frozen=True):
    """What this gateway is and offers.

    Attributes:
        version: Of the program.
        client_id: At the broker.
        instance: Tells this installation from every other.
        started_at: When the process came up; None before that.
        chargers: Serials of those that are served.
        capabilities: What this configuration and this connection offer, by name.
        equalizers: Serials of the Equalizers that are served.
        cluster: Of several partitions, the workers that live and who serves what; else None.
    """

    version: str
    client_id: str
    instance: str
    started_at: datetime | None
    chargers: tuple[str, ...]
    capabilities: Mapping[str, object]
    equalizers: tuple[str, ...] = ()
    cluster: Mapping[str, object] | None = None


class ReportCounts(msgspec.Struct, frozen=True):
    """How many session reports are where.

    Attributes:
        pending: Committed, and not acknowledged by the broker.
        published: Acknowledged by the broker, and not settled.
        set_aside: Of the pending ones, those the broker refuses.
        unsaved: Not committed: the store takes nothing.
        kept: Never asked for: the first consumer gets them by a replay.
    """

    pending: int = 0
    published: int = 0
    set_aside: int = 0
    unsaved: int = 0
    kept: int = 0


class HealthChanged(msgspec.Struct, frozen=True):
    """One summary of how the gateway is.

    Attributes:
        verdict: ``ok``, ``degraded`` or ``failed``.
        at: When that was found.
        cloud: As in :class:`CloudStateChanged`.
        stream: The hub is connected.
        polling: Values are read over REST, with success.
        store: The store takes rows.
        clock_trusted: The wall clock can be believed.
        chargers: How many are served.
        chargers_online: How many of them are available.
        alerts: Kinds of the open ones, oldest first.
        reports: How many are where.
        counters: How often what happened since the start, by name.
    """

    verdict: str
    at: datetime
    cloud: str
    stream: bool
    polling: bool
    store: bool
    clock_trusted: bool
    chargers: int
    chargers_online: int
    alerts: tuple[str, ...]
    reports: ReportCounts
    counters: Mapping[str, int]


class RunningSession(msgspec.Struct, frozen=True):
    """The running session as far as known; fields known only from its start are None without one.

    Attributes:
        session_id: The charger's own counter.
        started_at: When it began.
        meter_start_kwh: Meter at the start.
        energy_kwh: Energy delivered so far.
        auth_reason: The vendor's number.
        incomplete: Fields that were told and could not be read.
        clock: ``ok``, or ``suspect`` where its start cannot be.
    """

    session_id: int | None
    started_at: datetime | None
    meter_start_kwh: float | None
    energy_kwh: float | None
    auth_reason: int | None
    incomplete: tuple[str, ...]
    clock: str


class CurrentSessionChanged(msgspec.Struct, frozen=True):
    """The running session of a charger, or that none runs."""

    charger_id: str
    session: RunningSession | None


class LastSessionChanged(msgspec.Struct, frozen=True):
    """The newest finished session of a charger.

    Attributes:
        charger_id: Serial.
        report: The session, without its tag.
        name: Key and revision of its row; of neither while it is not stored.
    """

    charger_id: str
    report: SessionReport
    name: ReportId


class SchedulesChanged(msgspec.Struct, frozen=True):
    """The schedules that the cloud holds for a charger.

    Attributes:
        charger_id: Serial.
        schedules: They, and which one is in force.
        standing: What that one means now.
        read_at: When the cloud was asked; None while the clock cannot be believed.
    """

    charger_id: str
    schedules: Schedules
    standing: Standing
    read_at: datetime | None


class ReportDue(msgspec.Struct, frozen=True):
    """A finished session is to be handed over to its consumer.

    Attributes:
        stored: Its row, with the tag as it may be published.
        tag: Comes back with the acknowledgement of the one message that hands it over.
        owner: Name of the component that is given the acknowledgement.
    """

    stored: StoredReport
    tag: str
    owner: str = ""


class ReportPending(msgspec.Struct, frozen=True):
    """A finished session is committed, for the conventions that deliver reports in their own way.

    Yielded once for each revision, and only where there is such a convention.

    Attributes:
        stored: Its row, with the tag as it may be published.
        is_late: It comes from the store, after a start.
    """

    stored: StoredReport
    is_late: bool


class ReportsGivenUp(msgspec.Struct, frozen=True):
    """Conventions that deliver in their own way no longer owe these reports: they had their time.

    Attributes:
        reports: Key and revision of each.
    """

    reports: tuple[tuple[str, int], ...]


SessionChanged = CurrentSessionChanged | LastSessionChanged


class CommandAnswered(msgspec.Struct, frozen=True):
    """A command or a query has a result, for those who wait for it.

    Attributes:
        charger_id: As the request names it; anything may stand there, and in ``result.command``,
            where the request was refused.
        result: The result of the command.
        reply_to: Each of the callers.
        value: What a query found: plain values, sequences and mappings; None for everything else.
        tag: Not empty: each of the messages carries it, a colon and its number, and how many
            there are, so that the acknowledgement of all of them can be told.
        owner: Name of the component that is given the acknowledgements.
    """

    charger_id: str
    result: CommandResult
    reply_to: tuple[ReplyTo, ...]
    value: object = None
    tag: str = ""
    owner: str = ""


class SiteChanged(msgspec.Struct, frozen=True):
    """What a site has.

    Attributes:
        site: The site.
        is_personal: Its name and address may be published.
    """

    site: Site
    is_personal: bool


class CircuitChanged(msgspec.Struct, frozen=True):
    """Values of a circuit.

    Attributes:
        site_id: Of its site.
        circuit_id: Of the circuit.
        values: By published name; None where the cloud does not tell a value any more.
    """

    site_id: int
    circuit_id: int
    values: Mapping[str, Value | None]


class SiteCleared(msgspec.Struct, frozen=True):
    """Everything retained of some circuits of a site is to be taken away.

    Attributes:
        site_id: Of the site.
        circuit_ids: Of the circuits.
        is_whole: The site is gone too.
    """

    site_id: int
    circuit_ids: tuple[int, ...]
    is_whole: bool


AlertChanged = AlertRaised | AlertCleared
BridgeStatusChanged = BridgeOnline | CloudStateChanged | BridgeInfoChanged | HealthChanged
Change = (
    ValuesChanged
    | DerivedChanged
    | AvailabilityChanged
    | ChargerCleared
    | ValuesHidden
    | ChargerEvent
    | SessionChanged
    | SchedulesChanged
    | CommandAnswered
    | ReportDue
    | ReportPending
    | ReportsGivenUp
    | SiteChanged
    | CircuitChanged
    | SiteCleared
    | AlertChanged
    | BridgeStatusChanged
)
