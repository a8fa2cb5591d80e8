"""Event loop of the gateway: events to the core, effects to the adapters, clean shutdown.

Rules:

1. Whatever happens becomes an event in the :class:`EventQueue`; putting one there never blocks and
   never raises. One pump takes events in order, asks the core, and carries the effects out.
2. Nothing is awaited in the pump: an effect that takes time is a task of the one TaskGroup, and its
   answer is a new event.
3. The pump gives the loop back after a few milliseconds however much is queued, and sooner while
   a caller waits for a commit or an answer of the cloud. What comes with the stream, and what
   follows from it, waits behind everything else. So commands, reports and pings are never held up
   by values, nor values by commands: each turn of the pump takes some of both.
"""

import asyncio
import contextlib
import functools
import math
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar, assert_never

import structlog

from bridge.convention_connection import ConventionConnection, hand_over
from bridge.conventions.convention import Convention
from bridge.conventions.native.requests import native_message
from bridge.core.changes import Change, ValuesChanged
from bridge.core.composition import Assembly
from bridge.core.delivery.outbox import SET_ASIDE, Outbox
from bridge.core.delivery.source_receipts import Delivery, SourceReceipts
from bridge.core.delivery.value_queue import BURST, ValueQueue, value_rate
from bridge.core.effects import (
    Acknowledge,
    Action,
    ForgetTexts,
    KeepReports,
    KeepText,
    Listen,
    LogEntry,
    MaintainStore,
    MarkPublished,
    ReadReports,
    ReadRetained,
    Reconnect,
    RetryRejectedPublications,
    SaveChargerList,
    SaveCommand,
    SavePublishedDiscovery,
    SaveReport,
    SaveState,
    SendRequest,
    SettleReports,
    Subscribe,
)
from bridge.core.events import (
    ChargerResponse,
    CloudFailed,
    CloudResponse,
    CommandSaved,
    CommandSaveFailed,
    ComponentFailed,
    Event,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    ObservationsReceived,
    ProcessSuspended,
    ReportSaved,
    ReportSaveFailed,
    ReportsRead,
    ReportsReadFailed,
    Started,
    Stopping,
    StoreFailed,
    StoreMaintained,
    StoreOpened,
    StreamAnomaly,
    StreamClosed,
    StreamOpened,
    StreamSubscription,
    Tick,
    ValueConnectionClosed,
    ValueConnectionOpened,
    ValuesAcked,
)
from bridge.core.messages import Publish
from bridge.core.rate_limiter import TokenBucket
from bridge.core.records.command_row import CommandRow
from bridge.core.records.discovery_record import PublishedDiscovery
from bridge.core.records.moment import Timestamp, shared_wait_s
from bridge.core.records.unread_text import UnreadText
from bridge.core.store_status import store_opened
from bridge.errors import (
    BridgeError,
    CloudError,
    OutcomeUnknown,
    RecordError,
    StoreError,
    TaskFailed,
)
from bridge.monitoring.metrics import Counting
from bridge.monitoring.watchdog import LivenessRegistry
from bridge.ports import Clock, Cloud, MqttLink, ObservationSource, QueueDepth, Store
from bridge.recorder.recording import Excerpt, Recorder

log = structlog.get_logger()

# A replay of thousands of observations is taken in slices, long enough to be worth the switch. A
# command takes some ten turns of the loop from its message to its answer, so slices are shorter
# while one is under way.
MAX_STEP_S = 0.001
# Observations handled as one event, and values sent in one write: each less than a millisecond, and
# a fraction of it in a short step.
MAX_BATCH = 50
MAX_BULK_BATCH = 200
BUSY_DIVISOR = 8
# So many events of the stream are a few milliseconds' work: more need not be read yet.
BULK_HIGH_WATER = 4
FLUSH_TIMEOUT_S = 2.0
# How long values wait that are held back for their readers' sake.
PACED_S = 0.01
STORE_RETRY_S = 30.0
# Why a record is written.
COMPONENT_FAILED = "component_failed"
BEAT_EVERY_S = 10.0
# The beat has the pump turn at least so often. Less is a busy machine; what waits in a socket then
# counts as having just arrived.
SUSPENDED_S = BEAT_EVERY_S + 5.0
# How long a piece of work may take before it counts as stuck. An SD card at its end takes minutes;
# a request has a deadline of its own, and then some for what comes around it.
STORE_TIMEOUT_S = 300.0
CLOUD_SPARE_S = 120.0
PUMP_TIMEOUT_S = 60.0
# While events may not be processed.
LOOK_AGAIN_S = 0.05


T = TypeVar("T")


def always() -> bool:
    """Return True."""
    return True


NOTHING_REMEMBERED = Started()
NO_SERVICES: Mapping[str, Callable[[], Awaitable[None]]] = MappingProxyType({})


# What comes by the thousand, with what must keep its order with it: all that the stream says, and
# all that happens to the connection for values.
BULK_EVENTS: frozenset[type] = frozenset(
    {
        ObservationsReceived, ChargerResponse, StreamOpened, StreamClosed, StreamSubscription,
        StreamAnomaly, ValuesAcked, ValueConnectionOpened, ValueConnectionClosed,
    }
)  # fmt: skip


class EventQueue:
    """The events that wait for the core: two queues, each in order of arrival.

    Adapters are made before the gateway that joins them, and need a place to put events from the
    first moment; this is it.

    Attributes:
        first: Events that a caller may be waiting for.
        bulk: What comes with the stream; see :data:`BULK_EVENTS`.
        is_closed: No more of the stream should be read.
    """

    def __init__(self) -> None:
        self.first: deque[Event] = deque()
        self.bulk: deque[Event] = deque()
        self.is_closed = False
        self.wake: Callable[[], None] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not (self.first or self.bulk)

    def is_full(self) -> bool:
        """Return whether enough observations are queued for now."""
        return self.is_closed or len(self.bulk) >= BULK_HIGH_WATER

    def put(self, event: Event) -> None:
        """Queue an event."""
        (self.bulk if type(event) in BULK_EVENTS else self.first).append(event)
        if self.wake is not None:
            self.wake()


class EventLoop:
    """Joins the core to the outside world."""

    def __init__(
        self,
        core: Assembly,
        queue: EventQueue,
        *,
        conventions: Sequence[Convention] = (),
        connections: Sequence[ConventionConnection] = (),
        link: MqttLink,
        cloud: Cloud,
        source: ObservationSource | None,
        store: Store,
        clock: Clock,
        beat: Callable[[float], object] | None = None,
        liveness: LivenessRegistry | None = None,
        remember: Callable[[SaveChargerList], None] | None = None,
        metrics: Counting | None = None,
        save_published: Callable[[Mapping[str, PublishedDiscovery]], None] | None = None,
        save_state: Callable[[str, Mapping[str, object]], None] | None = None,
        recorder: Recorder | None = None,
        save_record: Callable[[Excerpt, str], None] | None = None,
        is_clear: Callable[[], bool] = always,
    ) -> None:
        """Join them; nothing runs yet.

        Args:
            core: Everything that is decided.
            queue: Where the adapters put their events.
            conventions: Make messages of the changes that the core yields, each of all of them.
            connections: Of conventions that have one of their own.
            link: To the broker.
            cloud: REST.
            source: Pushes observations, or None where values are polled.
            store: The ledger's.
            clock: Time.
            remember: Keeps serials, and who left when, for the next start; called in a thread.
            save_published: Keeps what the broker holds of descriptions, likewise.
            save_state: Keeps a document of a component by its name, likewise.
            beat: Called with the monotonic time every so often, while nothing is overdue.
            liveness: Registry of expected signs of life.
            metrics: Counters, if enabled.
            recorder: Records what the core handles, if enabled.
            save_record: Writes a record, given what was recorded and why; called in a thread.
            is_clear: Tells whether events may be processed now; asked in each turn.
        """
        self._metrics = metrics
        self._is_clear = is_clear
        self._recorder = recorder
        self._save_record = save_record
        self._recorded: frozenset[str] = frozenset()
        self._beat = beat
        self._liveness = liveness or LivenessRegistry(clock)
        self._remember = remember
        self._save_published = save_published
        self._save_state = save_state
        self._to_keep: dict[str, Callable[[], None]] = {}
        self._keeping: set[str] = set()
        self._core = core
        self._conventions = tuple(conventions)
        self._connections = {each.need.name: each for each in connections}
        self._link = link
        self._cloud = cloud
        self._source = source
        self._store = store
        self._clock = clock
        self._outbox = Outbox()
        self._values = ValueQueue(self._outbox)
        # A source that replays has nothing to be acknowledged.
        takes_receipts = source is not None and not source.replays
        self._receipts = SourceReceipts() if takes_receipts else None
        self._bucket = TokenBucket(BURST, 0.0)
        self._is_paced = False
        self._event_queue = queue
        self._scheduled = False
        self._idle = asyncio.Event()
        self._turned_s = clock.now().mono_s
        self._is_started = False
        self._bulk_from_s = -math.inf
        self._connected = False
        self._at_work = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s: float | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._given_up: set[asyncio.Task[None]] = set()
        self._sending: set[asyncio.Task[None]] = set()

    async def run(
        self,
        stop: asyncio.Event,
        *,
        opened: StoreOpened | StoreFailed,
        started: Started = NOTHING_REMEMBERED,
        services: Mapping[str, Callable[[], Awaitable[None]]] = NO_SERVICES,
        finish_s: float = 0.0,
        patience_s: float = 0.0,
        is_last: Callable[[], bool] = always,
    ) -> None:
        """Run until ``stop`` is set, then flush, and publish ``offline``.

        Args:
            stop: Set when it is time to go.
            opened: What became of the store.
            started: What an earlier run remembered.
            services: Run beside the sources, by name, until cancelled.
            finish_s: So long the end waits for the cloud's answers to commands.
            patience_s: So long the first observations wait for the broker: until it is connected
                the values of all chargers would be held in memory.
            is_last: Tells whether ``offline`` is published: nobody goes on. Otherwise values are
                not waited for.
        """
        self._event_queue.wake = self._wake
        self._bulk_from_s = self._clock.now().mono_s + patience_s
        patience = asyncio.get_running_loop().call_later(patience_s + PACED_S, self._wake)
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            endless: dict[str, Callable[[], Awaitable[None]]] = {"mqtt": self._link.run, **services}
            for name, connection in self._connections.items():
                endless[f"mqtt {name}"] = connection.run
            if self._source is not None:
                endless["stream"] = self._source.run
            if self._beat is not None:
                endless["beat"] = functools.partial(self._beats, self._beat)
            sources = [
                tasks.create_task(self._part(name, work, stop), name=name)
                for name, work in endless.items()
            ]
            if isinstance(opened, StoreFailed):
                sources.append(tasks.create_task(self._reopen(), name="store"))
            self._event_queue.put(opened)
            self._event_queue.put(started)
            await stop.wait()
            log.info("bridge.stopping")
            patience.cancel()
            self._bulk_from_s = -math.inf
            self._event_queue.put(Stopping())
            if finish_s and self._sending:
                await asyncio.wait(self._sending, timeout=finish_s)
            self._event_queue.is_closed = not is_last()
            await self._drained()
            self._event_queue.wake = None
            offline = Publish(self._core.topics.bridge_state, b"offline")
            farewell = offline if is_last() else None
            others = (connection.close() for connection in self._connections.values())
            await asyncio.gather(self._link.close(farewell), *others)
            for task in (*sources, *self._given_up):
                task.cancel()
            self._tasks = None
        if self._timer is not None:
            self._timer.cancel()

    @property
    def backlog(self) -> QueueDepth:
        """Return how many messages wait for the broker."""
        return self

    @property
    def waiting(self) -> int:
        """How many messages are not sent yet."""
        return self._outbox.waiting + self._values.waiting

    @property
    def in_flight(self) -> int:
        """How many messages are sent and not acknowledged."""
        return self._outbox.in_flight + self._values.in_flight

    @property
    def _owed(self) -> int:
        """How many messages must be acknowledged before the end.

        Values are not, where another gateway goes on: it publishes all of them.
        """
        if self._event_queue.is_closed:
            return self._outbox.waiting + self._outbox.in_flight
        return self.waiting + self.in_flight

    @property
    def _waits_for_broker(self) -> bool:
        """Whether observations wait for the connection to the broker."""
        return not self._connected and self._turned_s < self._bulk_from_s

    # -- the pump ---------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _take_answer(self, event: Event) -> None:
        """Queue the answer that a command waits for, and process it now, not in the next turn."""
        if self._scheduled or self._event_queue.wake is None:
            self._event_queue.put(event)
        else:
            self._scheduled = True
            self._event_queue.put(event)
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001 - it must not end the task, nor the gateway
                failed = {"message": "a turn of the pump failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(failed)

    def _turn(self) -> None:
        if self._is_clear():
            self._pump()
        else:
            asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._turn)

    def _pump(self) -> None:
        self._scheduled = False
        turned_s, self._turned_s = self._turned_s, self._clock.now().mono_s
        first, bulk = self._event_queue.first, self._event_queue.bulk
        if self._beat is not None and self._turned_s - turned_s > SUSPENDED_S:
            first.appendleft(ProcessSuspended(self._turned_s - turned_s))
        if self._recorder is not None and self._recorder.is_copying(self._turned_s):
            self._wake()
            return
        # What follows from these waits for the next turn.
        self._take_until(self._turned_s + MAX_STEP_S, first, len(first))
        # What the stream brings waits until the first events are handled: store and chargers.
        self._is_started = self._is_started or not (first or self._waits_for_broker)
        share = BUSY_DIVISOR if self._at_work else 1
        if self._is_started:
            until_s = self._turned_s + MAX_STEP_S / share
            self._take_until(until_s, bulk, sys.maxsize, MAX_BATCH // share)
        if first or (bulk and self._is_started):
            self._wake()
        try:
            self._flush(MAX_BULK_BATCH // share)
        except Exception as error:  # noqa: BLE001 - what is to be sent must not cost the time
            self._mishap(None, "gateway", "flush", error)
        self._arm()
        if self._event_queue.is_empty and not (self._connected and self._owed):
            self._idle.set()
        self._liveness.expect("pump", PUMP_TIMEOUT_S)
        if self._recorder is not None and self._event_queue.is_empty:
            self._recorder.pack(self._turned_s)

    def _take_until(
        self, until_s: float, events: deque[Event], most: int, together: int = 1
    ) -> None:
        """Process one event, and more of them until the time is over.

        Args:
            until_s: The monotonic time after which nothing is begun.
            events: The queue.
            most: At most so many.
            together: Observations that are processed as one event.
        """
        while events and most:
            self._take(_next(events, together))
            if self._clock.now().mono_s > until_s:
                return
            most -= 1

    def _take(self, event: Event) -> None:
        """Process an event in the core and execute its effects."""
        now = self._clock.now()
        if isinstance(event, MqttMessage):
            event = self._as_native(event)
        try:
            self._notice(event)
        except Exception as error:  # noqa: BLE001 - one event must not end the bridge
            self._mishap(event, "gateway", type(event).__name__, error)
        try:
            effects = self._core.handle(event, now)
            if self._recorder is not None:
                self._recorder.handled(event, now, effects)
                if self._core.contained.failing.keys() != self._recorded:
                    self._record_failures()
            for effect in effects:
                try:
                    if isinstance(effect, Change):  # nearly all
                        self._publish(effect, event, now)
                    else:
                        self._carry_out(effect)
                except Exception as error:  # noqa: BLE001 - one effect must not cost the next
                    self._mishap(event, "gateway", type(effect).__name__, error)
        except Exception as error:  # noqa: BLE001 - the border of the core
            if self._recorder is not None:
                self._recorder.handled(event, now, None)
            self._mishap(event, "core", type(event).__name__, error)

    def _record_failures(self) -> None:
        """Write a record when a component failed that did not fail before."""
        failing = frozenset(self._core.contained.failing)
        is_new = not failing <= self._recorded
        self._recorded = failing
        if is_new:
            self.write_record(COMPONENT_FAILED)

    def write_record(self, reason: str) -> None:
        """Write what is recorded to a file, without keeping anything waiting."""
        if self._recorder is None or self._save_record is None:
            return
        try:
            excerpt = self._recorder.excerpt()
        except RecordError as error:
            log.warning("record.none", reason=reason, detail=str(error))
        else:
            self._keep("record", functools.partial(self._save_record, excerpt, reason))

    def _as_native(self, message: MqttMessage) -> MqttMessage:
        """Return the native message that asks for what a convention reads in this one."""
        for convention in self._conventions:
            try:
                if convention.connection is None and (request := convention.parse(message)):
                    return native_message(request, message, self._core.topics)
            except Exception as error:  # noqa: BLE001 - the border of a convention
                self._mishap(message, convention.name, type(message).__name__, error)
        return message

    def _publish(self, change: Change, event: Event, now: Timestamp) -> None:
        """Queue what each convention makes of a change; one that fails costs no other."""
        for convention in self._conventions:
            try:
                self._queue(convention.publish(change, now))
            except Exception as error:  # noqa: BLE001 - the border of a convention
                if isinstance(change, ValuesChanged) and len(change.values) > 1:
                    self._publish_singly(convention, change, event, now)
                else:
                    self._mishap(event, convention.name, type(change).__name__, error)
        if self._metrics is not None:
            self._metrics.change(change)

    def _publish_singly(
        self, convention: Convention, change: ValuesChanged, event: Event, now: Timestamp
    ) -> None:
        """Queue each value by itself: one that cannot be published must not cost the next."""
        for value in change.values:
            try:
                self._queue(convention.publish(ValuesChanged((value,)), now))
            except Exception as error:  # noqa: BLE001 - the border of a convention
                self._mishap(event, convention.name, type(change).__name__, error)

    def _queue(self, messages: Iterable[Publish]) -> None:
        """Queue messages, each for its connection."""
        metrics, put_value, put = self._metrics, self._values.put, self._outbox.put
        receipts = self._receipts
        for message in messages:
            if message.telemetry:  # nearly all
                put_value(message)
                if receipts is not None:
                    receipts.queued(message)
            elif message.link:
                self._connections[message.link].put(message)
            else:
                put(message)
            if metrics is not None:
                metrics.published(message)

    def _mishap(self, event: Event | None, name: str, doing: str, error: Exception) -> None:
        """Report an internal error to the core; an error in reporting is only logged."""
        if isinstance(event, ComponentFailed):
            with contextlib.suppress(Exception):
                log.error("component.failed", component=name, doing=doing, exc_info=error)
        else:
            self._event_queue.put(ComponentFailed(name, doing, error))

    def _notice(self, event: Event) -> None:
        """Update the outboxes when connections change, and what counts events."""
        if self._metrics is not None:
            self._metrics.event(event)
        if self._receipts is not None:
            self._receipts.received(getattr(event, "receipt", None))
        if isinstance(event, ValuesAcked):
            self._values.acked(event.messages)
            self._values.returned(event.returned)
            self._acked(event.messages)
        elif isinstance(event, MqttAcked):
            self._outbox.acked(event.message, event.reason_code)
            self._values.refused(event.message, event.reason_code)
            self._acked((event.message,))
        elif isinstance(event, ValueConnectionOpened):
            self._values.opened(event.receive_maximum)
            self._bucket.set_rate(*value_rate(event.receive_maximum))
        elif isinstance(event, ValueConnectionClosed):
            self._values.closed(in_doubt=event.in_doubt)
        elif isinstance(event, MqttConnected):
            self._connected = True
            self._outbox.granted(event.receive_maximum)
        elif isinstance(event, MqttDisconnected):
            self._connected = False
            self._outbox.connection_lost(event.code, self._clock.now().mono_s)

    def _acked(self, messages: Iterable[Publish]) -> None:
        """Record for the source that the broker has these values, or refused them."""
        if self._receipts is not None:
            for message in messages:
                self._receipts.acked(message)

    def _committing(self, subject: object) -> Delivery | None:
        """Return the delivery of the source that waits for a commit, if one does."""
        return None if self._receipts is None else self._receipts.committing(subject)

    def _carry_out(self, effect: Action) -> None:  # noqa: C901, PLR0912, PLR0915 - a case each
        """Execute an effect, except for changes."""
        if self._metrics is not None:
            self._metrics.effect(effect)
        match effect:
            case Publish():
                self._queue((effect,))
            case Acknowledge(receipt):
                link = self._connections[receipt.link] if receipt.link else self._link
                link.acknowledge(receipt)
            case LogEntry(level, event, fields):
                getattr(log, level)(event, **fields)
            case SendRequest():
                # From now on: the process may stand still before the task begins.
                until_s = self._clock.now().mono_s + effect.within_s
                within_s = effect.within_s + CLOUD_SPARE_S
                changes = effect.request.command and effect.request.method != "GET"
                self._spawn(
                    self._call(effect, until_s),
                    "cloud",
                    within_s,
                    given_up_at_stop=True,
                    finished_at_stop=changes,
                    for_command=effect.request.command,
                )
            case SaveReport():
                self._spawn(self._save(effect, self._committing(effect.report)))
            case MarkPublished():
                self._spawn(self._mark(effect))
            case SaveCommand(row):
                if self._tasks is not None:
                    saving = self._save_command(row, self._store.save_command(row))
                    self._spawn(saving, for_command=True)
            case SettleReports(reports):
                self._spawn(self._noted(self._store.settle(reports)))
            case KeepReports(reports):
                self._spawn(self._noted(self._store.keep(reports)))
            case KeepText(text):
                self._spawn(self._keep_text(text, self._committing(text)))
            case ForgetTexts(keys):
                self._spawn(self._noted(self._store.forget_texts(keys)))
            case ReadReports():
                self._spawn(self._read_reports(effect), given_up_at_stop=True)
            case MaintainStore():
                self._spawn(self._tend(effect))
            case RetryRejectedPublications():
                self._outbox.retry_rejected()
            case SaveChargerList():
                if self._remember is not None:
                    self._keep("roster", functools.partial(self._remember, effect))
            case ReadRetained(topic_filter):
                self._link.ask_retained(topic_filter)
            case Listen(filters, echoes):
                self._link.listen(filters, echoes)
            case Reconnect(reason):
                self._link.reconnect(reason)
            case SavePublishedDiscovery(announced):
                if self._save_published is not None:
                    self._keep("announced", functools.partial(self._save_published, announced))
            case SaveState(name, document):
                if self._save_state is not None:
                    self._keep(name, functools.partial(self._save_state, name, document))
            case Subscribe(charger_ids):
                if self._source is not None:
                    self._source.subscribe(charger_ids)
            case _:
                assert_never(effect)

    def _flush(self, most: int) -> None:
        """Send as much as the windows allow, and at most this many values."""
        self._outbox.try_again(self._clock.now().mono_s)
        if self._connected:
            self._connected = hand_over(self._outbox, self._link, self._event_queue.put)
        while self._outbox.given_up:
            self._event_queue.put(MqttAcked(self._outbox.given_up.popleft(), SET_ASIDE))
        for connection in self._connections.values():
            connection.flush()
        room = int(self._bucket.available(self._clock.now().mono_s))
        if batch := self._values.take(min(room, most)):
            self._bucket.consume(len(batch))
            self._link.publish_values(batch)
        self._acknowledge_source()
        if len(batch) == min(room, most) and self._values.waiting:
            if most < room:
                self._wake()
            elif not self._is_paced:
                self._is_paced = True
                asyncio.get_running_loop().call_later(PACED_S, self._go_on)

    def _acknowledge_source(self) -> None:
        """Acknowledge the deliveries of the source that are safe."""
        receipt = None if self._receipts is None else self._receipts.due()
        if receipt is not None and self._source is not None:
            self._source.acknowledge(receipt)

    def _go_on(self) -> None:
        """Send what had to wait for its time."""
        self._is_paced = False
        if self._tasks is not None:
            self._wake()

    def _arm(self) -> None:
        """Schedule the core's next ``Tick``."""
        wanted = [self._core.deadline_s()]
        if self._recorder is not None:
            self._recorder.asked()
        wanted += (connection.deadline_s() for connection in self._connections.values())
        deadline_s = min((at for at in wanted if at is not None), default=None)
        if deadline_s == self._timer_at_s and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at_s = deadline_s
        if deadline_s is not None:
            wait_s = max(0.0, deadline_s - self._clock.now().mono_s)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._event_queue.put(Tick())

    # -- effects that take time -----------------------------------------------------------------

    async def _part(
        self, name: str, work: Callable[[], Awaitable[None]], stop: asyncio.Event
    ) -> None:
        """Run what must not end before the gateway does.

        Raises:
            TaskFailed: It did. Without it we would be half alive.
        """
        try:
            await work()
        except Exception as exc:
            log.exception("task.failed", part=name)
            raise TaskFailed(f"{name} failed: {type(exc).__name__}") from exc
        if not stop.is_set():
            raise TaskFailed(f"{name} ended by itself")

    def _spawn(
        self,
        work: Coroutine[object, object, None],
        name: str = "store",
        within_s: float = STORE_TIMEOUT_S,
        *,
        given_up_at_stop: bool = False,
        finished_at_stop: bool = False,
        for_command: bool = False,
    ) -> None:
        """Start work on an effect.

        Args:
            work: What to do.
            name: Who is waited for.
            within_s: Longer than this, and it counts as stuck.
            given_up_at_stop: It may last longer than a service manager waits, or is not needed any
                more. A commit may not be given up.
            finished_at_stop: A hand-over waits for it for a while.
            for_command: A command waits for it, so steps are short meanwhile.
        """
        if self._tasks is None:
            work.close()
            return
        try:
            task = self._tasks.create_task(work)
        except RuntimeError:  # the group is ending; Python before 3.13 leaves the coroutine open
            work.close()
            raise
        sign = f"{name} {id(task)}"
        self._liveness.expect(sign, within_s)
        self._at_work += for_command
        task.add_done_callback(lambda _: self._was_done(sign, for_command=for_command))
        if given_up_at_stop:
            self._given_up.add(task)
            task.add_done_callback(self._given_up.discard)
        if finished_at_stop:
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _was_done(self, sign: str, *, for_command: bool) -> None:
        self._at_work -= for_command
        self._liveness.done(sign)

    async def _call(self, effect: SendRequest, until_s: float) -> None:
        left_s = max(0.0, until_s - self._clock.now().mono_s)
        try:
            work = self._cloud.send(effect.request, within_s=left_s)
            answer = await self._answered("cloud", work, OutcomeUnknown)
        except CloudError as error:
            self._take_answer(CloudFailed(effect.tag, error))
        else:
            self._take_answer(CloudResponse(effect.tag, answer.status, answer.body))

    async def _answered(
        self, name: str, work: Awaitable[T], kind: Callable[[str], BridgeError]
    ) -> T:
        """Await an adapter; an undocumented error is reported and converted to a documented one.

        Raises:
            BridgeError: What the adapter says, or of ``kind``.
        """
        try:
            return await work
        except BridgeError:
            raise
        except Exception as error:
            self._mishap(None, name, type(error).__name__, error)
            raise kind("an error of the bridge itself") from error

    async def _save(self, effect: SaveReport, delivery: Delivery | None) -> None:
        try:
            stored, changed = await self._answered(
                "store", self._store.save(effect.report), StoreError
            )
        except StoreError as error:
            self._was_committed(delivery, effect.report, done=False)
            self._event_queue.put(ReportSaveFailed(effect.report, error))
        else:
            self._was_committed(delivery, effect.report, done=True)
            self._event_queue.put(ReportSaved(stored, changed))

    async def _keep_text(self, text: UnreadText, delivery: Delivery | None) -> None:
        try:
            await self._answered("store", self._store.keep_text(text), StoreError)
        except StoreError as error:
            self._was_committed(delivery, text, done=False)
            self._event_queue.put(StoreFailed(str(error), error.hint))
        else:
            self._was_committed(delivery, text, done=True)

    def _was_committed(self, delivery: Delivery | None, subject: object, *, done: bool) -> None:
        """Record what became of a commit that a delivery of the source waits for."""
        if self._receipts is None:
            return
        if done:
            self._receipts.committed(delivery)
        else:
            self._receipts.failed(subject, delivery)
        self._wake()

    async def _save_command(self, row: CommandRow, saving: Awaitable[None]) -> None:
        try:
            await self._answered("store", saving, StoreError)
        except StoreError as error:
            self._take_answer(CommandSaveFailed(row.key, error))
        else:
            self._take_answer(CommandSaved(row.key, row.state))

    async def _mark(self, effect: MarkPublished) -> None:
        try:
            at = self._clock.now().wall
            await self._answered(
                "store", self._store.mark_published(effect.key, effect.revision, at), StoreError
            )
        except StoreError as error:
            self._event_queue.put(StoreFailed(str(error), error.hint))

    async def _noted(self, change: Awaitable[None]) -> None:
        """Await a change of the store whose result is not reported."""
        try:
            await self._answered("store", change, StoreError)
        except StoreError as error:
            self._event_queue.put(StoreFailed(str(error), error.hint))

    async def _read_reports(self, effect: ReadReports) -> None:
        try:
            reading = self._store.reports(
                charger_id=effect.charger_id,
                since=effect.since,
                until=effect.until,
                limit=effect.limit,
            )
            found = await self._answered("store", reading, StoreError)
        except StoreError as error:
            self._event_queue.put(ReportsReadFailed(effect.tag, error))
        else:
            self._event_queue.put(ReportsRead(effect.tag, found))

    def _keep(self, name: str, write: Callable[[], None]) -> None:
        """Write a file in a thread; the newest content of a name is written last."""
        self._to_keep[name] = write
        if name not in self._keeping:
            self._keeping.add(name)
            self._spawn(self._keep_all(name), name)

    async def _keep_all(self, name: str) -> None:
        try:
            while (write := self._to_keep.pop(name, None)) is not None:
                await asyncio.to_thread(write)
        finally:
            self._keeping.discard(name)

    async def _tend(self, effect: MaintainStore) -> None:
        forgotten = 0
        try:
            if effect.settled_before is not None and effect.commands_before is not None:
                removing = self._store.forget(
                    settled_before=effect.settled_before, commands_before=effect.commands_before
                )
                forgotten = await self._answered("store", removing, StoreError)
            usage = await self._answered("store", self._store.usage(), StoreError)
        except StoreError as error:
            self._event_queue.put(StoreFailed(str(error), error.hint))
        else:
            tended = StoreMaintained(usage.used_share, usage.free_bytes, forgotten, usage.kept)
            self._event_queue.put(tended)

    async def _reopen(self) -> None:
        while True:
            await self._clock.sleep(STORE_RETRY_S)
            with contextlib.suppress(StoreError):
                self._event_queue.put(store_opened(await self._store.open()))
                return

    async def _beats(self, beat: Callable[[float], object]) -> None:
        told: tuple[str, ...] = ()
        before: tuple[str, ...] = ()
        while True:
            # Twice in a row: after a long stop everything is late once.
            overdue = self._liveness.overdue()
            stuck = tuple(sorted({name.split()[0] for name in overdue if name in before}))
            if stuck and stuck != told:
                log.error("task.stuck", parts=stuck)
                told = stuck
            before = overdue
            if not overdue:
                beat(self._clock.now().mono_s)
            self._event_queue.put(Tick())  # what is asked of the pump
            await self._clock.sleep(shared_wait_s(self._clock.now().mono_s, BEAT_EVERY_S))

    async def _drained(self) -> None:
        """Wait a limited time until all messages are sent and acknowledged."""
        self._idle.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await self._idle.wait()


def _next(events: deque[Event], most: int) -> Event:
    """Return the next event; consecutive observations are merged, up to a limit.

    What the core does once for an event is a third of what it does for a single observation. An
    event with a receipt is not divided: its receipt stands for all of it.
    """
    first = events.popleft()
    if not isinstance(first, ObservationsReceived):
        return first
    together, receipt = list(first.observations), first.receipt
    while events and len(together) < most:
        following = events[0]
        if not isinstance(following, ObservationsReceived) or following.source != first.source:
            break
        if (following.receipt is None) != (receipt is None):
            break
        if receipt is not None and len(together) + len(following.observations) > most:
            break
        together += following.observations
        receipt = following.receipt
        events.popleft()
    if len(together) > most and receipt is None:
        events.appendleft(ObservationsReceived(tuple(together[most:]), first.source))
        del together[most:]
    return ObservationsReceived(tuple(together), first.source, receipt)
