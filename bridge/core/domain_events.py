"""Domain events: exchanged between the components of the core.

A component yields a domain event like an effect. The router gives it to the components that are
interested, at once and in their order, before it takes the next thing that the component yields.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from bridge.core.changes import ValueChanged
from bridge.core.easee.decode import Observation
from bridge.core.easee.derived_state import DerivedValue, LatestValues
from bridge.core.easee.rest_responses import ChargerList
from bridge.core.easee.schedules import Schedules
from bridge.core.easee.sites import SiteList
from bridge.core.effects import Effect
from bridge.core.events import ChargerResponse, Event, MqttMessage
from bridge.core.records.observation import RawObservation
from bridge.core.records.unread_text import UnreadText
from bridge.core.topics import Echo, GetTopic, SessionAckTopic, SessionReplayTopic, SetTopic
from bridge.settings import Settings

# -- time ---------------------------------------------------------------------------------------


class EventHandled(msgspec.Struct, frozen=True):
    """An event was handled by every component it concerns, and so was each ``Tick`` behind it.

    The router delivers this behind each event, for what depends on all that happened.
    """


# -- MQTT messages, by topic --------------------------------------------------------------------


class CommandArrived(msgspec.Struct, frozen=True):
    """A command arrived; before it is handled, it is checked for being a retained message.

    Attributes:
        message: As it arrived.
        is_served: Its charger is one of ours.
    """

    message: MqttMessage
    is_served: bool


class CommandReceived(msgspec.Struct, frozen=True):
    """A command for this bridge.

    Attributes:
        message: As it arrived; its expiry is shorter by the time it may have waited in a socket.
        target: Its topic.
        held_s: For so long it has been here.
        is_unsure_of_retained: It may have been published with the retain flag.
    """

    message: MqttMessage
    target: SetTopic
    held_s: float = 0.0
    is_unsure_of_retained: bool = False


class QueryReceived(msgspec.Struct, frozen=True):
    """A query for this bridge."""

    message: MqttMessage
    target: GetTopic


class RequestReceived(msgspec.Struct, frozen=True):
    """A command or a query for a charger, served by this gateway or not."""

    message: MqttMessage
    target: SetTopic | GetTopic


class ConsumerMessageReceived(msgspec.Struct, frozen=True):
    """A consumer of session reports acknowledges one, or asks for a replay."""

    message: MqttMessage
    target: SessionAckTopic | SessionReplayTopic


class ForgetReceived(msgspec.Struct, frozen=True):
    """A message on ``bridge/forget``: the topics of a charger that left are to be emptied now."""

    message: MqttMessage


class HeartbeatReceived(msgspec.Struct, frozen=True):
    """A message on the heartbeat topic, from this or another bridge."""

    message: MqttMessage


class EchoReceived(msgspec.Struct, frozen=True):
    """A message on a topic that this bridge publishes on."""

    message: MqttMessage
    topic: Echo


class PartitionReported(msgspec.Struct, frozen=True):
    """The gateway of a partition published something of itself.

    Attributes:
        partition: Its number.
        rest: Levels of the topic, as below ``bridge``.
        payload: As received.
    """

    partition: int
    rest: str
    payload: bytes


class OtherMessageReceived(msgspec.Struct, frozen=True):
    """A message on a topic outside of the bridge's tree."""

    message: MqttMessage


class BridgeInfoReceived(msgspec.Struct, frozen=True):
    """``bridge/info`` of any bridge on this base topic; kept: it may be of an earlier process."""

    message: MqttMessage
    is_kept: bool


class BridgeStateReceived(msgspec.Struct, frozen=True):
    """``bridge/state`` as it was published; kept: before this connection."""

    payload: bytes
    is_kept: bool


class ForeignAvailabilityReceived(msgspec.Struct, frozen=True):
    """The availability of a charger that is neither served here nor left."""

    charger_id: str
    payload: bytes


# -- connection and bridge ----------------------------------------------------------------------


class BrokerAbsenceKnown(msgspec.Struct, frozen=True):
    """How long the messages of this connection may have waited at the broker.

    Attributes:
        session_present: It kept what came meanwhile.
        waited_s: At most so long; None where this process had no connection before.
        alive_at: When an earlier process ended in order, or None.
    """

    session_present: bool
    waited_s: float | None
    alive_at: datetime | None


class RetainFlagKnown(msgspec.Struct, frozen=True):
    """Whether the retain flag of a live command can be seen."""

    is_told: bool


class BridgeInfoWanted(msgspec.Struct, frozen=True):
    """``bridge/info`` is to be published: it changed, or another bridge does not know it."""


class StoreWorks(msgspec.Struct, frozen=True):
    """The store works, or does not."""

    is_ok: bool


class SettingsChanged(msgspec.Struct, frozen=True):
    """These settings are in force from now on."""

    settings: Settings


# -- chargers -----------------------------------------------------------------------------------


class ChargersListed(msgspec.Struct, frozen=True):
    """The account's list was read.

    Attributes:
        listed: The account's list.
        decides: Which chargers are served is not configured: the list says it.
        left: Chargers that have left the account.
        missing: Configured chargers that it does not name.
        doubtful: Chargers that were missed more than once, and have not left yet.
    """

    listed: ChargerList
    decides: bool
    left: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


class SitesListed(msgspec.Struct, frozen=True):
    """The sites of the account were read.

    Attributes:
        listed: They, with their circuits, chargers and Equalizers.
        left: Equalizers that have left the account.
        left_sites: Sites that have left it.
    """

    listed: SiteList
    left: tuple[str, ...] = ()
    left_sites: tuple[int, ...] = ()


class EqualizersChanged(msgspec.Struct, frozen=True):
    """Which Equalizers are served now.

    Attributes:
        serials: All of them.
        added: Those that are served from now on.
        removed: Those that have left the account.
    """

    serials: tuple[str, ...]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


class EqualizerValuesReceived(msgspec.Struct, frozen=True):
    """Observations of Equalizers arrived.

    Attributes:
        observations: As they came, in order.
        source: ``"stream"`` or ``"poll"``.
    """

    observations: tuple[RawObservation, ...]
    source: str


class EqualizerFirmware(msgspec.Struct, frozen=True):
    """The firmware release of an Equalizer."""

    serial: str
    release: str


class ChargersConfigured(msgspec.Struct, frozen=True):
    """Other chargers were configured; none: those that the account lists are served."""

    charger_ids: tuple[str, ...]


class ChargersAdded(msgspec.Struct, frozen=True):
    """These chargers are served from now on."""

    charger_ids: tuple[str, ...]


class ChargersRemoved(msgspec.Struct, frozen=True):
    """These chargers are not served any more.

    Attributes:
        charger_ids: Serials.
        strange: Names of their observations that are in no table, by charger.
    """

    charger_ids: tuple[str, ...]
    strange: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)


class ChargersTakenOut(msgspec.Struct, frozen=True):
    """These chargers were removed from the configuration: their topics are emptied now."""

    charger_ids: tuple[str, ...]


class ServedChargersChanged(msgspec.Struct, frozen=True):
    """Which chargers are served now.

    Attributes:
        charger_ids: All of them.
        removed: Those that were removed just now.
    """

    charger_ids: tuple[str, ...]
    removed: tuple[str, ...] = ()


class ChargerForgotten(msgspec.Struct, frozen=True):
    """All topics of a charger that left were emptied."""

    charger_id: str


class AvailabilityDoubted(msgspec.Struct, frozen=True):
    """Another bridge published these as offline: their availability is published again.

    Attributes:
        charger_ids: Chargers, and Equalizers.
    """

    charger_ids: tuple[str, ...]


class SubscriptionsRefused(msgspec.Struct, frozen=True):
    """The chargers whose values the open stream refuses."""

    charger_ids: frozenset[str]


class ObservationApplied(msgspec.Struct, frozen=True):
    """An observation that other components follow was applied to its charger.

    Attributes:
        observation: The decoded observation.
        readings: What the charger shows now.
    """

    observation: Observation
    readings: LatestValues


class SchedulesWanted(msgspec.Struct, frozen=True):
    """The schedules of a charger are to be read now: a command waits for what they say."""

    charger_id: str


class SchedulesRead(msgspec.Struct, frozen=True):
    """The cloud told the schedules of a charger.

    Attributes:
        charger_id: Serial.
        schedules: They.
        asked_s: Monotonic time at which it was asked.
    """

    charger_id: str
    schedules: Schedules
    asked_s: float


class DerivedTold(msgspec.Struct, frozen=True):
    """A derived value of a charger that follows from more than its observations.

    Attributes:
        charger_id: Serial.
        name: Of the derived value.
        value: It, or None.
    """

    charger_id: str
    name: str
    value: DerivedValue


class UnreadableSession(msgspec.Struct, frozen=True):
    """A charger reported a finished session that cannot be read."""

    text: UnreadText


# -- commands -----------------------------------------------------------------------------------


class UnmatchedResponse(msgspec.Struct, frozen=True):
    """A charger response that matches no command of this gateway."""

    response: ChargerResponse


class CommandFinished(msgspec.Struct, frozen=True):
    """A command has its final state.

    Attributes:
        charger_id: Serial.
        command: Name.
        argument: Of the command.
        is_carried_out: It is confirmed, or was so already.
    """

    charger_id: str
    command: str
    argument: object
    is_carried_out: bool


DomainEvent = (
    EventHandled
    | CommandArrived
    | CommandReceived
    | QueryReceived
    | RequestReceived
    | ConsumerMessageReceived
    | ForgetReceived
    | HeartbeatReceived
    | EchoReceived
    | PartitionReported
    | OtherMessageReceived
    | BridgeInfoReceived
    | BridgeStateReceived
    | ForeignAvailabilityReceived
    | BrokerAbsenceKnown
    | RetainFlagKnown
    | BridgeInfoWanted
    | StoreWorks
    | SettingsChanged
    | ChargersListed
    | SitesListed
    | EqualizersChanged
    | EqualizerValuesReceived
    | EqualizerFirmware
    | ChargersConfigured
    | ChargersAdded
    | ChargersRemoved
    | ChargersTakenOut
    | ServedChargersChanged
    | ChargerForgotten
    | AvailabilityDoubted
    | SubscriptionsRefused
    | ObservationApplied
    | SchedulesWanted
    | SchedulesRead
    | DerivedTold
    | UnreadableSession
    | UnmatchedResponse
    | CommandFinished
)

# What a component can handle, and what it can yield.
Input = Event | DomainEvent
Output = Effect | Event | DomainEvent
Outputs = Iterable[Output]

# What follows from an observation, before values are put together.
Found = Output | ValueChanged

# What a component returns when nothing follows.
NOTHING: Final[tuple[()]] = ()
HANDLED: Final = EventHandled()
