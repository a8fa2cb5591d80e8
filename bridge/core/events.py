"""Events: what the core can handle, a closed set of types.

Adapters make events; :mod:`bridge.core.router` takes them one at a time, each with the
:class:`Timestamp` it arrived at. An event carries what was seen, never what it means.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

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


class StreamOpened(msgspec.Struct, frozen=True):
    """The hub delivers: a value arrived, or a subscription was accepted, or there is none."""


class StreamClosed(msgspec.Struct, frozen=True):
    """The hub connection ended or could not be made.

    Attributes:
        reason: In words.
        refused: The hub is there, and does not want us.
    """

    reason: str
    refused: bool = False


class StreamSubscription(msgspec.Struct, frozen=True):
    """The hub answered the subscription of a charger.

    Attributes:
        charger_id: Serial.
        error: What it said against it; None when it took it.
    """

    charger_id: str
    error: str | None


class ObservationsReceived(msgspec.Struct, frozen=True):
    """Observations arrived together.

    Attributes:
        observations: In the order of their arrival.
        source: ``"stream"`` or ``"poll"``.
        receipt: What a source that takes acknowledgements wants back when they are safe.
    """

    observations: tuple[RawObservation, ...]
    source: str = "stream"
    receipt: SourceReceipt | None = None


class ChargerResponse(msgspec.Struct, frozen=True):
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


class StreamAnomaly(msgspec.Struct, frozen=True):
    """Something on the stream that was skipped and is counted.

    Attributes:
        kind: ``"unknown_target"``, ``"broken_frame"``, ``"bad_arguments"`` or ``"oversized"``.
        detail: A short text, safe to log.
        times: How often; the text is of the first one.
    """

    kind: str
    detail: str
    times: int = 1


class ExchangeStatusChanged(msgspec.Struct, frozen=True):
    """The exchange of the partner feed began or ended to take commands.

    Attributes:
        problem: Why commands go over REST although it could carry them; empty: they do not.
    """

    problem: str


# -- the cloud's REST interface ----------------------------------------------------------------


class CloudStatusChanged(msgspec.Struct, frozen=True):
    """The REST side changed its mind about the account.

    Attributes:
        state: ``"ok"``, or a key of :data:`bridge.core.status.TROUBLES`.
        detail: One sentence for the operator; empty when ok.
    """

    state: str
    detail: str = ""


class CloudResponse(msgspec.Struct, frozen=True):
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


class CloudFailed(msgspec.Struct, frozen=True):
    """A REST call did not succeed."""

    tag: Tag
    error: CloudError

    @property
    def owner(self) -> str:
        """The component that asked."""
        return self.tag.owner


class VendorReplied(msgspec.Struct, frozen=True):
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


class VendorOdd(msgspec.Struct, frozen=True):
    """Observations are not as the program knows them.

    Attributes:
        found: A key and a sentence for each, see :mod:`bridge.core.easee.vendor_oddities`.
    """

    found: tuple[tuple[str, str], ...]


# -- MQTT --------------------------------------------------------------------------------------


class MqttConnected(msgspec.Struct, frozen=True):
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


class MqttDisconnected(msgspec.Struct, frozen=True):
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


class MqttUnreachable(msgspec.Struct, frozen=True):
    """There is no connection to the broker: it ended, or an attempt failed for another reason."""

    reason: str


class MqttSubscribed(msgspec.Struct, frozen=True):
    """The broker's response to the subscriptions; emitted for refusals and their changes.

    Attributes:
        refused: The filters it does not grant; empty when it grants all of them by now.
    """

    refused: tuple[str, ...]


class MqttMessage(msgspec.Struct, frozen=True):
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


class MqttAcked(msgspec.Struct, frozen=True):
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


class ValueConnectionOpened(msgspec.Struct, frozen=True):
    """Values have a connection of their own.

    What an earlier one had in flight has arrived by now or never will: the broker ended it when it
    took this one, which has the same client id.

    Attributes:
        receive_maximum: How many unacknowledged messages the broker takes on it.
    """

    receive_maximum: int


class ValueConnectionClosed(msgspec.Struct, frozen=True):
    """Values have no connection of their own, now or any more.

    Attributes:
        in_doubt: What was in flight may still arrive. Told again without doubt when it cannot.
    """

    in_doubt: bool


class ValuesAcked(msgspec.Struct, frozen=True):
    """The broker acknowledged values on their own connection.

    Attributes:
        messages: Done with.
        returned: Not allowed there, perhaps on the other connection.
    """

    messages: tuple[Publish, ...]
    returned: tuple[Publish, ...] = ()


# -- the store ---------------------------------------------------------------------------------


class StoreOpened(msgspec.Struct, frozen=True):
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


class ReportSaved(msgspec.Struct, frozen=True):
    """A report is committed.

    Attributes:
        stored: The row as it now stands.
        changed: False when the very same content was there before.
    """

    stored: StoredReport
    changed: bool


class ReportSaveFailed(msgspec.Struct, frozen=True):
    """A report could not be committed; it is not accepted."""

    report: SessionReport
    error: StoreError


class ReportsDelivered(msgspec.Struct, frozen=True):
    """A convention delivered session reports in its own way.

    Attributes:
        channel: Name of the convention.
        reports: Key and revision of each.
    """

    channel: str
    reports: tuple[tuple[str, int], ...]


class ReportsRead(msgspec.Struct, frozen=True):
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


class ReportsReadFailed(msgspec.Struct, frozen=True):
    """Stored reports could not be read."""

    tag: Tag
    error: StoreError

    @property
    def owner(self) -> str:
        """The component that asked."""
        return self.tag.owner


class StoreMaintained(msgspec.Struct, frozen=True):
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


class CommandSaved(msgspec.Struct, frozen=True):
    """A command is committed.

    Attributes:
        key: Of its row.
        state: Of its row; the command may have moved on since.
    """

    key: str
    state: str


class CommandSaveFailed(msgspec.Struct, frozen=True):
    """A command could not be committed."""

    key: str
    error: StoreError


class StoreFailed(msgspec.Struct, frozen=True):
    """The store cannot be used, or holds something the operator must know of.

    Attributes:
        message: What happened.
        hint: What the operator can do about it.
    """

    message: str
    hint: str


# -- life --------------------------------------------------------------------------------------


class Started(msgspec.Struct, frozen=True):
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
    announced: Mapping[str, PublishedDiscovery] = msgspec.field(default_factory=dict)
    alive_at: datetime | None = None
    left: Mapping[str, datetime] = msgspec.field(default_factory=dict)
    former: tuple[str, ...] = ()
    state: Mapping[str, Mapping[str, object]] = msgspec.field(default_factory=dict)
    equalizers: tuple[str, ...] = ()


class ProcessSuspended(msgspec.Struct, frozen=True):
    """The process did nothing for a while: it was stopped, or the machine was.

    What comes next may have waited in a socket all that time.

    Attributes:
        seconds: At most this long.
    """

    seconds: float


class Reconfigured(msgspec.Struct, frozen=True):
    """The operator changed the configuration, and it can be used.

    Attributes:
        settings: What is in force from now on.
        waiting: Keys that changed and need a restart.
    """

    settings: Settings
    waiting: tuple[str, ...] = ()


class ReconfigurationFailed(msgspec.Struct, frozen=True):
    """The operator changed the configuration, and it cannot be used.

    Attributes:
        problems: What is wrong with it, a sentence each.
    """

    problems: tuple[str, ...]


class ClusterSeen(msgspec.Struct, frozen=True):
    """The members and leases of the cluster were read, about once a second."""

    view: ClusterView


class DivisionSeen(msgspec.Struct, frozen=True):
    """The division of the account's devices among the partitions was read.

    Attributes:
        devices: Chargers and Equalizers of each partition.
        is_listed: The account's list was read before.
    """

    devices: Mapping[int, frozenset[str]]
    is_listed: bool = False


class ComponentFailed(msgspec.Struct, frozen=True):
    """An internal error was contained: outside the core, or by a component itself.

    Attributes:
        name: Of what failed, for ``bridge/alert/internal_error``.
        doing: What it was doing, a name; empty: what the event that is being handled says.
        error: The error.
    """

    name: str
    doing: str
    error: Exception


class Stopping(msgspec.Struct, frozen=True):
    """The process was asked to end; what is yielded now is the last that goes out."""


class Tick(msgspec.Struct, frozen=True):
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
