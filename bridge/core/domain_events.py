"""What the components of the core tell each other: a closed vocabulary.

A component yields a domain event like an effect. The router gives it to the components that are
interested, at once and in their order, before it takes the next thing that the component yields.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from bridge.core.changes import ValueChanged
from bridge.core.easee.decode import Observation
from bridge.core.easee.derived_state import LatestValues
from bridge.core.easee.rest_responses import ChargerList
from bridge.core.effects import Effect
from bridge.core.events import ChargerResponse, Event, MqttMessage
from bridge.core.records.unread_text import UnreadText
from bridge.core.topics import Echo, GetTopic, SessionAckTopic, SessionReplayTopic, SetTopic
from bridge.settings import Settings

# -- time ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventHandled:
    """An event, and what time brought with it, was handled by every component it concerns.

    The router says so behind each event. What depends on all of them is worked out now.
    """


# -- MQTT messages, by topic --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CommandArrived:
    """A command is to be looked at before it is taken: it may lie at the broker as retained.

    Attributes:
        message: As it arrived.
        is_served: Its charger is one of ours.
    """

    message: MqttMessage
    is_served: bool


@dataclass(frozen=True, slots=True)
class CommandReceived:
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


@dataclass(frozen=True, slots=True)
class QueryReceived:
    """A query for this bridge."""

    message: MqttMessage
    target: GetTopic


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A command or a query for a charger, ours or not."""

    message: MqttMessage
    target: SetTopic | GetTopic


@dataclass(frozen=True, slots=True)
class ConsumerMessageReceived:
    """A consumer of session reports acknowledges one, or wants some again."""

    message: MqttMessage
    target: SessionAckTopic | SessionReplayTopic


@dataclass(frozen=True, slots=True)
class ForgetReceived:
    """Somebody wants the topics of a charger that left emptied now."""

    message: MqttMessage


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """A message on the heartbeat topic, ours or another bridge's."""

    message: MqttMessage


@dataclass(frozen=True, slots=True)
class EchoReceived:
    """A message on a topic that this bridge publishes on."""

    message: MqttMessage
    topic: Echo


@dataclass(frozen=True, slots=True)
class OtherMessageReceived:
    """A message on a topic outside of the bridge's tree."""

    message: MqttMessage


@dataclass(frozen=True, slots=True)
class BridgeInfoReceived:
    """What a bridge on this base topic says of itself; kept: by an earlier process, perhaps."""

    message: MqttMessage
    is_kept: bool


@dataclass(frozen=True, slots=True)
class BridgeStateReceived:
    """``bridge/state`` as somebody published it; kept: before this connection."""

    payload: bytes
    is_kept: bool


@dataclass(frozen=True, slots=True)
class ForeignAvailabilityReceived:
    """The availability of a charger that was never served here."""

    charger_id: str
    payload: bytes


# -- connection and bridge ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BrokerAbsenceKnown:
    """How long messages may have waited at the broker that comes with this connection.

    Attributes:
        session_present: It kept what came meanwhile.
        waited_s: At most so long; None where this process had no connection before.
        alive_at: When an earlier process ended in order, or None.
    """

    session_present: bool
    waited_s: float | None
    alive_at: datetime | None


@dataclass(frozen=True, slots=True)
class RetainFlagKnown:
    """Whether a live command that was published with the retain flag can be told from others."""

    is_told: bool


@dataclass(frozen=True, slots=True)
class BridgeInfoWanted:
    """``bridge/info`` is to be published: it changed, or another bridge does not know it."""


@dataclass(frozen=True, slots=True)
class StoreWorks:
    """The store does what it is asked for, or not any more."""

    is_ok: bool


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """These settings are in force from now on."""

    settings: Settings


# -- chargers -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChargersListed:
    """The account's list was read.

    Attributes:
        listed: It.
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


@dataclass(frozen=True, slots=True)
class ChargersConfigured:
    """The operator named other chargers; none: those that the account lists."""

    charger_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChargersAdded:
    """These chargers are served from now on."""

    charger_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChargersRemoved:
    """These chargers are not served any more.

    Attributes:
        charger_ids: Serials.
        strange: Names of their observations that are in no table, by charger.
    """

    charger_ids: tuple[str, ...]
    strange: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChargersTakenOut:
    """The operator named these chargers no more: the broker is to forget them now."""

    charger_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServedChargersChanged:
    """Which chargers are served now.

    Attributes:
        charger_ids: All of them.
        removed: Those that were removed just now.
    """

    charger_ids: tuple[str, ...]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChargerForgotten:
    """The broker has nothing of a charger that left any more."""

    charger_id: str


@dataclass(frozen=True, slots=True)
class AvailabilityDoubted:
    """Somebody said that these chargers are offline: say again what they are."""

    charger_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SubscriptionsRefused:
    """The chargers whose values the open stream refuses."""

    charger_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class ObservationApplied:
    """An observation that other components follow was applied to its charger.

    Attributes:
        observation: It.
        readings: What the charger shows now.
    """

    observation: Observation
    readings: LatestValues


@dataclass(frozen=True, slots=True)
class UnreadableSession:
    """A charger told of a finished session, and it cannot be read."""

    text: UnreadText


# -- commands -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UnmatchedResponse:
    """A charger answered a command that was not ours."""

    response: ChargerResponse


@dataclass(frozen=True, slots=True)
class CommandFinished:
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
    | ChargersConfigured
    | ChargersAdded
    | ChargersRemoved
    | ChargersTakenOut
    | ServedChargersChanged
    | ChargerForgotten
    | AvailabilityDoubted
    | SubscriptionsRefused
    | ObservationApplied
    | UnreadableSession
    | UnmatchedResponse
    | CommandFinished
)

# What a component can be given, and what it can yield.
Input = Event | DomainEvent
Output = Effect | Event | DomainEvent
Outputs = Iterable[Output]

# What follows from an observation, before values are put together.
Found = Output | ValueChanged

# What a component returns that had nothing to do.
NOTHING: Final[tuple[()]] = ()
HANDLED: Final = EventHandled()
