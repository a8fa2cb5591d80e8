"""Protocols of the adapters.

An adapter implements one of them; tests put a twin in its place. Adapters push what happens
through the ``emit`` function they are given, which never blocks and never raises.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from bridge.core.easee.rest_requests import CloudRequest, Endpoint
from bridge.core.events import Event
from bridge.core.messages import AckToken, Publish
from bridge.core.partitions import Division
from bridge.core.records.command_row import CommandRow
from bridge.core.records.lease import ClusterView, Lease, MemberStatus, Owed
from bridge.core.records.moment import Timestamp
from bridge.core.records.observation import RawObservation
from bridge.core.records.session_report import SessionReport
from bridge.core.records.source_receipt import SourceReceipt
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.stored_tokens import StoredTokens
from bridge.core.records.unread_text import UnreadText
from bridge.core.store_status import StoreContents, StoreSpace, StoreUsage
from bridge.settings import StoreSettings

Emit = Callable[[Event], None]
# Called with seconds: the caller will be heard of again within them, or is stuck.
Heartbeat = Callable[[float], object]


def no_heartbeat(_within_s: float) -> None:
    """No-op heartbeat for tests and the CLI."""


class Clock(Protocol):
    """Time, jitter and waiting: the only way to any of them."""

    def now(self) -> Timestamp:
        """Read both clocks."""
        ...

    def jitter(self) -> float:
        """Return a random number in [0, 1)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep on the monotonic clock."""
        ...

    def update_server_time(self, wall: datetime) -> None:
        """Handle the cloud's time; a wall clock far from it is not trusted."""
        ...


class QueueDepth(Protocol):
    """The queue of messages for the broker, for monitoring."""

    @property
    def waiting(self) -> int:
        """How many messages are not sent yet."""
        ...

    @property
    def in_flight(self) -> int:
        """How many messages are sent and not acknowledged."""
        ...


class CloudAnswer(Protocol):
    """The answer to a REST call that the cloud took."""

    @property
    def status(self) -> int | None:
        """A 2xx HTTP status; None where a command did not go over HTTP."""
        ...

    @property
    def body(self) -> bytes:
        """Return the body, capped."""
        ...


class Cloud(Protocol):
    """The vendor's REST interface, logged in and within its limits."""

    async def send(self, request: CloudRequest, *, within_s: float) -> CloudAnswer:
        """Send one request, waiting for the budget if that fits the time.

        Raises:
            CloudError: It was not answered with a 2xx status.
        """
        ...

    async def token(self, *, rejected: str | None = None) -> str:
        """Return a valid access token for the hub.

        Args:
            rejected: A token the other side just refused; it is not returned again.

        Raises:
            CloudError: There is none to be had now.
        """
        ...

    async def negotiate(self, stream_url: str, token: str) -> bytes:
        """Request a connection from the hub: the negotiate request of its protocol.

        Args:
            stream_url: The hub, without ``/negotiate``; its host is one of the configured ones.
            token: From :meth:`token`.

        Returns:
            The response body, capped.

        Raises:
            BridgeError: There is no negotiation to be had now.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


class ObservationSource(Protocol):
    """A source that pushes observations."""

    @property
    def replays(self) -> bool:
        """Return whether it repeats the current values after each connection."""
        ...

    async def run(self) -> None:
        """Keep a connection open until cancelled, and emit what arrives."""
        ...

    def subscribe(self, charger_ids: tuple[str, ...]) -> None:
        """Subscribe exactly these chargers, now and after every reconnect."""
        ...

    def acknowledge(self, receipt: SourceReceipt) -> None:
        """Acknowledge a delivery of the source, so that it is not repeated.

        Does nothing for a receipt of an earlier connection, or where the source takes none.
        """
        ...


class VendorEye(Protocol):
    """What looks at messages of the vendor for changes of its interface."""

    def observed(self, observations: Sequence[RawObservation]) -> None:
        """Look at observations."""
        ...

    def message(self, endpoint: str, body: bytes) -> None:
        """Look at the shape of a message, in a while.

        Args:
            endpoint: A name for all messages of its kind.
            body: JSON, or something else.
        """
        ...


class MqttLink(Protocol):
    """One MQTT connection after the other."""

    async def run(self) -> None:
        """Keep a connection open until cancelled, and emit what arrives."""
        ...

    def publish(self, message: Publish) -> None:
        """Send one message; acknowledged by an ``MqttAcked`` event.

        Raises:
            ConnectionLost: There is no connection; nothing was sent.
            ValueError: The message can never be sent (topic or size).
        """
        ...

    def publish_values(self, messages: Sequence[Publish]) -> None:
        """Send values on the value connection, while it is open.

        It is open between ``ValueConnectionOpened`` and ``ValueConnectionClosed``.

        Acknowledged by ``ValuesAcked`` events; refused ones by ``MqttAcked``. What is handed over
        too late is not sent.
        """
        ...

    def acknowledge(self, ack_token: AckToken) -> None:
        """Acknowledge an incoming message; does nothing for an older connection's receipt."""
        ...

    def ask_retained(self, topic_filter: str) -> None:
        """Subscribe again, so that the broker sends what it keeps; not without a connection."""
        ...

    def listen(self, filters: tuple[str, ...], echoes: tuple[str, ...]) -> None:
        """Subscribe to exactly these filters besides those of every connection, from now on.

        What is published behind this call is published behind the subscription.

        Args:
            filters: Where others speak to us.
            echoes: Our own retained topics.
        """
        ...

    def reconnect(self, reason: str, farewell: Publish | None = None) -> None:
        """Close the connection and make a new one; does nothing without a connection.

        Args:
            reason: For the log.
            farewell: Published before, and then the broker is told of the end.
        """
        ...

    async def close(self, farewell: Publish | None) -> None:
        """Publish a last message, wait shortly for its acknowledgement, and disconnect.

        Args:
            farewell: The last message; None where another worker goes on.
        """
        ...


class Store(Protocol):
    """Durable reports and commands. Every method that returns has committed.

    A store that fails while it is in use mends itself: it emits ``StoreFailed`` when it begins to
    and ``StoreOpened``, without commands, when it is well again.

    A store of one partition (:meth:`ClusterBackend.store`) writes only while its lease has the
    epoch it was opened with. After another worker took the lease over, every method that writes
    and :meth:`open` raise ``LeaseLost``, commit nothing, and do so for good; the store does not
    mend itself, and the gateway of the partition ends.
    """

    async def open(self) -> StoreContents:
        """Open or create the store and return what it holds.

        Raises:
            StoreError: It cannot be opened; ``StoreLocked`` when another process has it.
        """
        ...

    async def tag_hash_key(self) -> bytes:
        """Return the key that hashes of tags are made with: this installation's own, made once.

        It outlives the loss of the store's content, and is also found while a store that once was
        open cannot be opened.

        Raises:
            StoreError: There is none and none could be kept.
        """
        ...

    async def save(self, report: SessionReport) -> tuple[StoredReport, bool]:
        """Commit a report; return its row and whether its content is new.

        Raises:
            StoreError: It is not committed.
        """
        ...

    async def mark_published(self, key: str, revision: int, at: datetime | None = None) -> None:
        """Record that the broker acknowledged this revision.

        Args:
            key: Of the report.
            revision: A newer one stays pending.
            at: When, wall clock, UTC.

        Raises:
            StoreError: It is not noted; the report will go out again.
        """
        ...

    async def settle(self, reports: tuple[tuple[str, int], ...]) -> None:
        """Mark these reports delivered: acknowledged by a consumer, or after the settle window.

        Args:
            reports: Key and revision of each; a newer revision stays pending.

        Raises:
            StoreError: It is not noted; they may go out again.
        """
        ...

    async def keep(self, reports: tuple[tuple[str, int], ...]) -> None:
        """Mark these reports kept instead of pending: there is no consumer yet.

        Args:
            reports: Key and revision of each; a newer revision stays pending.

        Raises:
            StoreError: It is not noted; they may go out again.
        """
        ...

    async def keep_text(self, text: UnreadText) -> None:
        """Store the text of a session report that cannot be read.

        Raises:
            StoreError: It is not kept.
        """
        ...

    async def forget_texts(self, keys: tuple[str, ...]) -> None:
        """Delete texts that are done with, by key.

        Raises:
            StoreError: They are still there.
        """
        ...

    def save_command(self, row: CommandRow) -> Awaitable[None]:
        """Begin to commit a command, in the place of the row with its key; awaited for the end.

        Raises:
            StoreError: It is not committed; ``StoreFull`` when there is no room for a new one.
        """
        ...

    async def mark_pending(
        self, *, since: datetime | None = None, charger_id: str | None = None
    ) -> tuple[StoredReport, ...]:
        """Mark stored reports pending again and return them, oldest first.

        Args:
            since: Only sessions that ended then or later.
            charger_id: Only this charger's.

        Raises:
            StoreError: Nothing was changed.
        """
        ...

    async def reports(
        self,
        *,
        charger_id: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> tuple[StoredReport, ...]:
        """Read stored reports, oldest end first.

        Args:
            charger_id: Only this charger's.
            since: Only sessions that ended then or later.
            until: Only sessions that ended before.
            limit: No more than this many.

        Raises:
            StoreError: They cannot be read.
        """
        ...

    async def forget(self, *, settled_before: datetime, commands_before: datetime) -> int:
        """Delete old delivered reports and answered commands, never pending ones.

        To be called only while the wall clock is trusted.

        Args:
            settled_before: Settled reports of which nothing was heard since.
            commands_before: Answered commands received earlier.

        Returns:
            How many rows are gone.

        Raises:
            StoreError: Perhaps not all of it is done.
        """
        ...

    async def usage(self) -> StoreUsage:
        """Return the usage of the store.

        Raises:
            StoreError: It cannot be read.
        """
        ...

    async def close(self) -> None:
        """Finish what is queued and close."""
        ...


class StoreReader(Protocol):
    """What a store holds, for the command line: read without disturbing a bridge that has it."""

    def require(self) -> None:
        """Raise ``StoreError`` unless there is a store.

        Raises:
            StoreError: There is none.
        """
        ...

    def reports(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        charger_id: str | None = None,
    ) -> Iterator[StoredReport]:
        """Read stored reports, oldest end first.

        Args:
            since: Only sessions that ended then or later.
            until: Only sessions that ended before.
            charger_id: Only this charger's.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        ...

    def texts(self) -> tuple[UnreadText, ...]:
        """Read the texts that should be sessions, oldest first.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        ...

    def decisions(self, most: int) -> tuple[tuple[str, str, str, str], ...]:
        """Read what became of the newest commands: arrival, charger, command and state of each.

        Args:
            most: At most so many, newest first.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        ...

    def tag_hash_key(self) -> bytes | None:
        """Return the key that hashes of tags are made with; None when there is none yet."""
        ...

    def space(self) -> StoreSpace:
        """Return size and free space of the store.

        Raises:
            StoreError: It cannot be looked at.
            OSError: Likewise.
        """
        ...

    def files(self) -> tuple[Path, ...]:
        """List the files of the store that exist; only their owner may read them."""
        ...

    def obstacle(self) -> str | None:
        """Return what would keep the store from being opened, without creating anything."""
        ...


class StoreBackend(Protocol):
    """A kind of store, as the configuration names one."""

    def store(self, settings: StoreSettings, emit: Emit) -> Store:
        """Return the store; nothing is opened yet.

        Args:
            settings: Where it is and how large it may become.
            emit: Takes ``StoreFailed`` and ``StoreOpened`` while it is in use.
        """
        ...

    def reader(self, settings: StoreSettings) -> StoreReader:
        """Return a reader of the store, which need not exist."""
        ...


class Leases(Protocol):
    """Leases on the partitions, and the members that hold them. Called by the supervisor only.

    The database's clock decides when a lease ends: ``lease_ttl_s`` seconds after it was taken or
    renewed. Every method is one transaction. None waits for the database longer than a renewal may
    take: a lease cannot be kept by waiting.
    """

    async def join(self) -> ClusterView:
        """Connect, create or migrate what the database needs, and register this member.

        Raises:
            StoreError: The database cannot be used, has another number of partitions than
                ``cluster.partitions``, or is of a newer program; the hint says what to do.
        """
        ...

    async def take(self, most: int) -> tuple[Lease, ...]:
        """Take free leases, at epoch + 1 each, and at most so many.

        As many as are missing for this member's share, the number of partitions divided by that of
        the members that live and do not drain, rounded up; besides any that ended a second ago or
        earlier and nobody took. A lease that another worker is taking is passed over. A fenced
        transaction of the former owner ends before a lease is taken; see :class:`Store`.

        Raises:
            StoreError: Nothing was taken, as far as this side knows; a lease taken without an
                answer ends by itself.
        """
        ...

    async def renew(
        self, held: Sequence[Lease], status: MemberStatus
    ) -> tuple[tuple[Lease, ...], ClusterView]:
        """Renew leases at their epochs, and record that this member lives.

        A lease that ended and that nobody took meanwhile is renewed too.

        Args:
            held: What this worker holds; may be empty.
            status: Broker, cloud and draining, as the other members see them.

        Returns:
            The leases that are held, with a new ``asked_at_s``, and members and leases as they are.
            A lease of ``held`` that is missing was taken by another worker.

        Raises:
            StoreError: It is not known whether they were renewed; the old ``asked_at_s`` counts.
        """
        ...

    async def give_up(self, leases: Sequence[Lease]) -> None:
        """End leases now, so that another worker takes them at once; does nothing for lost ones.

        Raises:
            StoreError: They end by themselves.
        """
        ...

    async def view(self) -> ClusterView:
        """Return members and leases without being a member (``cluster status``).

        Raises:
            StoreError: The database cannot be read.
        """
        ...

    async def ask_to_leave(self, name: str) -> bool:
        """Ask a member to hand everything over and end (``cluster drain``); see ``Member``.

        Returns:
            Whether there is a member of that name.

        Raises:
            StoreError: It is not known to have been asked.
        """
        ...

    async def leave(self) -> None:
        """Remove this member and close the connection. Never fails; others forget it anyway."""
        ...


class Allowance(Protocol):
    """What may be sent to the vendor for one account: the request budget, 429s and blocks.

    One for all that use the account, however many processes they are. Called by the REST client
    before and after each request, logins and negotiations included. Seconds are durations.
    """

    async def reserve(self, request: CloudRequest) -> float:
        """Reserve a request that leaves at once; return 0.0.

        Returns:
            Where there is no room, after a 429 or during a block: seconds until it is worth asking
            again; nothing is reserved then.

        Raises:
            CloudUnavailable: The shared budget cannot be reached; nothing may be sent.
        """
        ...

    async def accepted(self, request: CloudRequest) -> None:
        """Record any response except 429: its group of endpoints is free again. Never fails."""
        ...

    async def too_many_requests(
        self, endpoint: Endpoint, scope: str, retry_after_s: float | None
    ) -> float:
        """Record a 429; return how long this group of endpoints waits. Never fails.

        Args:
            endpoint: What was asked.
            scope: For what.
            retry_after_s: What the vendor named, or None: then it is longer every time.
        """
        ...

    async def block(self, silence_s: float) -> None:
        """Allow nothing for so long: the vendor blocked us. Never fails."""
        ...

    async def silent_for_s(self) -> float:
        """Return how much of a block is left; 0.0 when there is none.

        Raises:
            CloudUnavailable: The shared budget cannot be reached; nothing may be sent.
        """
        ...


class TokenVault(Protocol):
    """The tokens of one account at one cloud: one login for all that use it.

    Called by the token manager: :meth:`load` and :meth:`save` block and never fail (a failure is a
    warning, and costs a login).
    """

    def load(self) -> StoredTokens:
        """Return what is kept; nothing usable is an empty value."""
        ...

    def save(self, tokens: StoredTokens) -> None:
        """Replace what is kept. Blocking: called from a thread, never from the loop."""
        ...

    def renewing(self) -> AbstractAsyncContextManager[StoredTokens | None]:
        """Keep all others from renewing meanwhile.

        Returns:
            A context with what is kept now, which another worker may have renewed; None where no
            other process uses these tokens.

        Raises:
            CloudUnavailable: Another worker renews them and does not end, or the shared tokens
                cannot be reached.
        """
        ...


class KeptDocuments(Protocol):
    """Small documents beside a store: charger list, published discovery, last shutdown.

    Each is replaced as a whole. Names are those of the files in ``state_dir``, in
    :mod:`bridge.adapters.state_files.private_file`. Blocking: call it from a thread.
    """

    def read(self, name: str, *, largest: int) -> bytes | None:
        """Return a document; None when there is none.

        Args:
            name: Of the document.
            largest: Bytes that are read; a longer one is cut off and then cannot be parsed.

        Raises:
            OSError: It cannot be read, or is not ours alone.
            StoreError: It cannot be read.
        """
        ...

    def replace(self, name: str, content: bytes) -> None:
        """Replace a document.

        Raises:
            OSError: It is as it was.
            StoreError: Likewise; ``LeaseLost`` where the documents are a partition's.
        """
        ...


class Listing(msgspec.Struct, frozen=True):
    """A list of the account.

    Attributes:
        content: The vendor's answer.
        age_s: Seconds since it was asked for.
    """

    content: bytes
    age_s: float


class Listings(Protocol):
    """Lists of the account that one worker reads for all, and the division by them.

    Every method raises ``StoreError`` where the database cannot be used.
    """

    async def division(self, known: Division | None = None) -> Division:
        """Return which partition serves what.

        Args:
            known: As it was read before; returned where nothing was added.
        """
        ...

    async def place(self, sites: Mapping[str, int], devices: Mapping[str, str]) -> None:
        """Write down partitions and sites, once and for all; what is written already stays.

        Args:
            sites: Partition by site.
            devices: Site by charger or Equalizer.
        """
        ...

    async def read(self, name: str, *, within_s: float) -> Listing | None:
        """Return a list as it was read last; None before that.

        Args:
            name: Of the list.
            within_s: It must have been requested within this time.
        """
        ...

    async def claim(self, name: str, *, every_s: float) -> bool:
        """Return whether the caller is to read a list.

        Args:
            name: Of the list.
            every_s: Not where it was claimed within this time.
        """
        ...

    async def release(self, name: str, *, asked_ago_s: float) -> None:
        """Count a claim as made so long ago, because the list could not be read."""
        ...

    async def replace(self, name: str, content: bytes) -> None:
        """Keep a list that was claimed and read."""
        ...


class ClusterBackend(Protocol):
    """What the partitions of an installation share, and the slice of the store of each.

    ``bridge.adapters.store.backends.cluster_of`` returns the one that the configuration names. With
    SQLite there is one partition whose lease is the lock of the store's file, and everything else
    is as without a cluster. Made once in a process; :meth:`close` ends it.
    """

    @property
    def leases(self) -> Leases:
        """The leases and members; everything below needs :meth:`Leases.join` first."""
        ...

    def store(self, lease: Lease, emit: Emit) -> Store:
        """Return the slice of one partition, fenced by the epoch of its lease; open it once.

        Args:
            lease: From :meth:`Leases.take`; a renewal needs no new store.
            emit: Takes ``StoreFailed`` and ``StoreOpened`` while it is in use.
        """
        ...

    def documents(self, lease: Lease) -> KeptDocuments:
        """Return the documents of one partition, fenced likewise."""
        ...

    def allowance(self) -> Allowance | None:
        """Return the shared budget of the account; None where one process uses it alone."""
        ...

    def tokens(self) -> TokenVault | None:
        """Return the shared tokens of the account; None where one process uses it alone."""
        ...

    def listings(self) -> Listings | None:
        """Return the shared lists of the account; None where there is one process."""
        ...

    async def parameters(self) -> Mapping[str, str]:
        """Return the parameters of the database that decide what its loss would cost (``doctor``).

        Raises:
            StoreError: The database cannot be read.
        """
        ...

    async def owed(self) -> Mapping[int, Owed]:
        """Return what is not finished, by partition (``cluster status``).

        Raises:
            StoreError: The database cannot be read.
        """
        ...

    async def close(self) -> None:
        """Close connections; the stores are closed before."""
        ...
