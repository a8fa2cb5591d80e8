"""Events: what the core can handle, a closed set of types.

Adapters make events; :mod:`bridge.core.router` takes them one at a time, each with the
:class:`Timestamp` it arrived at. An event carries what was seen, never what it means.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bridge.core.messages import AckToken, Publish, Tag
from bridge.core.records.command_row import CommandRow
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.core.records.lease import ClusterView
from bridge.core.records.observation import RawObservation
from bridge.core.records.session_report import SessionReport
from bridge.core.records.source_receipt import SourceReceipt
from bridge.core.records.store_problem import StoreProblem
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.errors import CloudError, StoreError
from bridge.settings import Settings

# -- the observation source -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The hub delivers: a value arrived, or a subscription was accepted, or there is none."""


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """The hub connection ended or could not be made.

    Attributes:
        reason: In words.
        refused: The hub is there, and does not want us.
    """

    reason: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class StreamSubscription:
    """The hub answered the subscription of a charger.

    Attributes:
        charger_id: Serial.
        error: What it said against it; None when it took it.
    """

    charger_id: str
    error: str | None


@dataclass(frozen=True, slots=True)
class ObservationsReceived:
    """Observations arrived together.

    Attributes:
        observations: In the order of their arrival.
        source: ``"stream"`` or ``"poll"``.
        receipt: What a source that takes acknowledgements wants back when they are safe.
    """

    observations: tuple[RawObservation, ...]
    source: str = "stream"
    receipt: SourceReceipt | None = None


@dataclass(frozen=True, slots=True)
class ChargerResponse:
    """A charger responded to a command, own or foreign.

    Attributes:
        charger_id: ``serialNumber`` of the frame; not yet checked.
        command_id: The vendor's *command* id (another number space than observation ids).
        ticks: .NET ticks that name the command, or None when absent. Over 2**53: keep it an int.
        accepted: ``wasAccepted``.
        result_code: Data, not a verdict; None when absent.
    """

    charger_id: str
    command_id: int | None
    ticks: int | None
    accepted: bool
    result_code: int | None


@dataclass(frozen=True, slots=True)
class StreamAnomaly:
    """Something on the stream that was skipped and is counted.

    Attributes:
        kind: ``"unknown_target"``, ``"broken_frame"``, ``"bad_arguments"`` or ``"oversized"``.
        detail: A short text, safe to log.
        times: How often; the text is of the first one.
    """

    kind: str
    detail: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class ExchangeStatusChanged:
    """The exchange of the partner feed began or ended to take commands.

    Attributes:
        problem: Why commands go over REST although it could carry them; empty: they do not.
    """

    problem: str


# -- the cloud's REST interface ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CloudStatusChanged:
    """The REST side changed its mind about the account.

    Attributes:
        state: ``"ok"``, or a key of :data:`bridge.core.status.TROUBLES`.
        detail: One sentence for the operator; empty when ok.
    """

    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CloudResponse:
    """A request was accepted: REST answered with a 2xx status, or the exchange confirmed it.

    Attributes:
        tag: Of the :class:`~bridge.core.effects.SendRequest` it answers.
        status: HTTP status; None where the exchange of the partner feed confirmed a command.
        body: The body, capped by the adapter.
    """

    tag: Tag
    status: int | None
    body: bytes

    @property
    def owner(self) -> str:
        """The component that asked."""
        return self.tag.owner


@dataclass(frozen=True, slots=True)
class CloudFailed:
    """A REST call did not succeed."""

    tag: Tag
    error: CloudError

    @property
    def owner(self) -> str:
        """The component that asked."""
        return self.tag.owner


@dataclass(frozen=True, slots=True)
class VendorReplied:
    """What an answer of the vendor was like; emitted when that may be news.

    Attributes:
        endpoint: Method and path without ids, or ``hub`` and the name of a message.
        status: HTTP status; 0 for a message of the hub.
        deprecation: The ``Deprecation`` header, made safe to show; empty without one.
        sunset: The ``Sunset`` header, likewise.
        limit: How many requests it says are allowed; None when it does not say.
        shape: Fields and types, see :mod:`bridge.core.easee.vendor_shapes`; empty when not taken.
        has_code: A refusal that has an error code of the vendor's.
    """

    endpoint: str
    status: int = 0
    deprecation: str = ""
    sunset: str = ""
    limit: int | None = None
    shape: tuple[str, ...] = ()
    has_code: bool = False


@dataclass(frozen=True, slots=True)
class VendorOdd:
    """Observations are not as the program knows them.

    Attributes:
        found: A key and a sentence for each, see :mod:`bridge.core.easee.vendor_oddities`.
    """

    found: tuple[tuple[str, str], ...]


# -- MQTT --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MqttConnected:
    """The broker accepted the connection and granted the subscriptions.

    Attributes:
        session_present: False when the broker knows nothing of us: everything retained goes out
            again.
        protocol: ``"5"`` or ``"3.1.1"``.
        receive_maximum: How many unacknowledged messages the broker takes.
        loopback: Whether it lets us hear our own heartbeat; None when it was not asked.
        keeps_s: How long it keeps commands for us while we are away; 0 where it does not.
        largest_packet_bytes: It takes no larger packets; None when it named no limit.
        maximum_qos: 0 where it takes or grants nothing else: it acknowledges and keeps nothing.
    """

    session_present: bool
    protocol: str
    receive_maximum: int
    loopback: bool | None = None
    keeps_s: int = 0
    largest_packet_bytes: int | None = None
    maximum_qos: int = 1


@dataclass(frozen=True, slots=True)
class MqttDisconnected:
    """The broker connection ended; nothing in flight will be acknowledged.

    Attributes:
        reason: A sentence.
        code: The reason code the broker gave, 0x80 where it gave none; None where it was not the
            broker that ended it.
        was_busy: Something of ours was under way that may have ended it: a message that was not
            acknowledged, or a subscription that was not answered.
    """

    reason: str
    code: int | None = None
    was_busy: bool = False


@dataclass(frozen=True, slots=True)
class MqttUnreachable:
    """There is no connection to the broker: it ended, or an attempt failed for another reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class MqttSubscribed:
    """The broker's response to the subscriptions; emitted for refusals and their changes.

    Attributes:
        refused: The filters it does not grant; empty when it grants all of them by now.
    """

    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MqttMessage:
    """A message arrived on a subscribed topic.

    Attributes:
        topic: As received.
        payload: As received, size already capped by the adapter.
        ack_token: For the acknowledgement.
        retained: It was waiting at the broker as a retained message, or published as one.
        duplicate: The DUP flag: delivered before.
        expiry_s: MQTT 5 message expiry that is left, or None.
        response_topic: MQTT 5 Response Topic, or None.
        correlation: MQTT 5 Correlation Data, or None.
    """

    topic: str
    payload: bytes
    ack_token: AckToken
    retained: bool = False
    duplicate: bool = False
    expiry_s: int | None = None
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class MqttAcked:
    """The broker acknowledged a publication.

    Attributes:
        message: What was published.
        reason_code: 0 success, 16 no matching subscribers, 128 and above refused.
    """

    message: Publish
    reason_code: int

    @property
    def owner(self) -> str:
        """The component that published it and waits; empty where none does."""
        return self.message.owner


@dataclass(frozen=True, slots=True)
class ValueConnectionOpened:
    """Values have a connection of their own.

    What an earlier one had in flight has arrived by now or never will: the broker ended it when it
    took this one, which has the same client id.

    Attributes:
        receive_maximum: How many unacknowledged messages the broker takes on it.
    """

    receive_maximum: int


@dataclass(frozen=True, slots=True)
class ValueConnectionClosed:
    """Values have no connection of their own, now or any more.

    Attributes:
        in_doubt: What was in flight may still arrive. Told again without doubt when it cannot.
    """

    in_doubt: bool


@dataclass(frozen=True, slots=True)
class ValuesAcked:
    """The broker acknowledged values on their own connection.

    Attributes:
        messages: Done with.
        returned: Not allowed there, perhaps on the other connection.
    """

    messages: tuple[Publish, ...]
    returned: tuple[Publish, ...] = ()


# -- the store ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoreOpened:
    """The store is open, or well again; see :class:`~bridge.core.store_status.StoreContents`.

    Attributes:
        owed: Reports that are not delivered, oldest end first.
        problems: What was lost or is damaged.
        commands: An earlier process's, oldest first; empty when the store became well again.
        texts: What should be sessions and could not be read.
        has_consumer: A consumer received a report since the store was created.
    """

    owed: tuple[StoredReport, ...]
    problems: tuple[StoreProblem, ...] = ()
    commands: tuple[CommandRow, ...] = ()
    texts: tuple[UnreadText, ...] = ()
    has_consumer: bool = True


@dataclass(frozen=True, slots=True)
class ReportSaved:
    """A report is committed.

    Attributes:
        stored: The row as it now stands.
        changed: False when the very same content was there before.
    """

    stored: StoredReport
    changed: bool


@dataclass(frozen=True, slots=True)
class ReportSaveFailed:
    """A report could not be committed; it is not accepted."""

    report: SessionReport
    error: StoreError


@dataclass(frozen=True, slots=True)
class ReportsDelivered:
    """A convention delivered session reports in its own way.

    Attributes:
        channel: Name of the convention.
        reports: Key and revision of each.
    """

    channel: str
    reports: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ReportsRead:
    """Stored reports were read.

    Attributes:
        tag: Of the :class:`~bridge.core.effects.ReadReports` it answers.
        reports: Oldest end first.
    """

    tag: Tag
    reports: tuple[StoredReport, ...]

    @property
    def owner(self) -> str:
        """The component that asked."""
        return self.tag.owner


@dataclass(frozen=True, slots=True)
class ReportsReadFailed:
    """Stored reports could not be read."""

    tag: Tag
    error: StoreError

    @property
    def owner(self) -> str:
        """The component that asked."""
        return self.tag.owner


@dataclass(frozen=True, slots=True)
class StoreMaintained:
    """The store was tidied and measured.

    Attributes:
        used_share: Of its quota, see :class:`~bridge.core.store_status.StoreUsage`.
        free_bytes: What the filesystem has left for us.
        forgotten: How many rows were removed.
        kept: How many kept reports it holds.
    """

    used_share: float
    free_bytes: int
    forgotten: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class CommandSaved:
    """A command is committed.

    Attributes:
        key: Of its row.
        state: Of its row; the command may have moved on since.
    """

    key: str
    state: str


@dataclass(frozen=True, slots=True)
class CommandSaveFailed:
    """A command could not be committed."""

    key: str
    error: StoreError


@dataclass(frozen=True, slots=True)
class StoreFailed:
    """The store cannot be used, or holds something the operator must know of.

    Attributes:
        message: What happened.
        hint: What the operator can do about it.
    """

    message: str
    hint: str


# -- life --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The process is up; nothing is connected yet.

    Attributes:
        remembered: The chargers that were configured, or that the account listed when we last
            asked it.
        announced: What the broker keeps of descriptions an earlier process wrote, by topic.
        left: Since when which charger is away that left the account, UTC.
        alive_at: When an earlier process ended in order, UTC; None when unknown.
        former: Chargers that an earlier process served for another account.
        state: Documents that components of an earlier process kept, by name.
        equalizers: The Equalizers that the account listed when it was asked last.
    """

    remembered: tuple[str, ...] = ()
    announced: Mapping[str, PublishedDiscovery] = field(default_factory=dict)
    alive_at: datetime | None = None
    left: Mapping[str, datetime] = field(default_factory=dict)
    former: tuple[str, ...] = ()
    state: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    equalizers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessSuspended:
    """The process did nothing for a while: it was stopped, or the machine was.

    What comes next may have waited in a socket all that time.

    Attributes:
        seconds: At most this long.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """The operator changed the configuration, and it can be used.

    Attributes:
        settings: What is in force from now on.
        waiting: Keys that changed and need a restart.
    """

    settings: Settings
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReconfigurationFailed:
    """The operator changed the configuration, and it cannot be used.

    Attributes:
        problems: What is wrong with it, a sentence each.
    """

    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClusterSeen:
    """The members and leases of the cluster were read, about once a second."""

    view: ClusterView


@dataclass(frozen=True, slots=True)
class DivisionSeen:
    """The division of the account's devices among the partitions was read.

    Attributes:
        devices: Chargers and Equalizers of each partition.
        is_listed: The account's list was read before.
    """

    devices: Mapping[int, frozenset[str]]
    is_listed: bool = False


@dataclass(frozen=True, slots=True)
class ComponentFailed:
    """An internal error was contained: outside the core, or by a component itself.

    Attributes:
        name: Of what failed, for ``bridge/alert/internal_error``.
        doing: What it was doing, a name; empty: what the event that is being handled says.
        error: The error.
    """

    name: str
    doing: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Stopping:
    """The process was asked to end; what is yielded now is the last that goes out."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that :meth:`~bridge.core.router.Router.deadline_s` named has come."""


# What a component asked for or published: it goes to the component that did, besides the others.
Result = CloudResponse | CloudFailed | MqttAcked | ReportsRead | ReportsReadFailed

Event = (
    StreamOpened
    | StreamClosed
    | StreamSubscription
    | ObservationsReceived
    | ChargerResponse
    | StreamAnomaly
    | ExchangeStatusChanged
    | CloudStatusChanged
    | CloudResponse
    | CloudFailed
    | VendorReplied
    | VendorOdd
    | MqttConnected
    | MqttDisconnected
    | MqttUnreachable
    | MqttSubscribed
    | MqttMessage
    | MqttAcked
    | ValueConnectionOpened
    | ValueConnectionClosed
    | ValuesAcked
    | StoreOpened
    | ReportSaved
    | ReportSaveFailed
    | ReportsDelivered
    | ReportsRead
    | ReportsReadFailed
    | StoreMaintained
    | CommandSaved
    | CommandSaveFailed
    | StoreFailed
    | Started
    | Reconfigured
    | ReconfigurationFailed
    | ProcessSuspended
    | ClusterSeen
    | DivisionSeen
    | ComponentFailed
    | Stopping
    | Tick
)
