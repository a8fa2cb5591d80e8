"""The one loop: sources -> core -> effects, and a clean end.

Rules:

1. Whatever happens becomes an event in the :class:`Inbox`; putting one there never blocks and
   never raises. One pump takes events in order, asks the machine, and carries the effects out.
2. Nothing is awaited in the pump: an effect that takes time is a task of the one TaskGroup, and its
   answer is a new event.
3. The pump gives the loop back after a few milliseconds however much is queued, so that commands,
   pings and acknowledgements are never held up by a replay.
"""

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import assert_never

import structlog

from bridge.core.effects import (
    Acknowledge,
    CallCloud,
    Effect,
    MarkPublished,
    Note,
    ReadReports,
    Reconnect,
    Remember,
    RememberAnnounced,
    SaveCommand,
    SaveReport,
    SendDenied,
    SettleReports,
    TendStore,
    Watch,
)
from bridge.core.events import (
    CloudAnswered,
    CloudFailed,
    CommandNotSaved,
    CommandSaved,
    Event,
    LaneClosed,
    LaneOpened,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    Observed,
    ReportNotSaved,
    ReportSaved,
    ReportsNotRead,
    ReportsRead,
    Started,
    StoodStill,
    Stopping,
    StoreFailed,
    StoreOpened,
    StoreTended,
    Tick,
    ValuesAcked,
)
from bridge.core.homeassistant.record import Announced
from bridge.core.machine import Machine
from bridge.core.messages import Publish
from bridge.core.outbox import Outbox
from bridge.core.pace import Pace
from bridge.core.storage import store_opened
from bridge.core.tally import Tally
from bridge.core.telemetry import Telemetry
from bridge.errors import CloudError, LinkLost, PartFailed, StoreError
from bridge.ports import Backlog, Clock, Cloud, MqttLink, ObservationStream, Store
from bridge.watchdog import Signs

log = structlog.get_logger()

# A replay of thousands of observations is taken in slices; 5 ms is well below what anybody who
# waits for an answer can notice, and long enough to be worth the switch.
LONGEST_STEP_S = 0.005
# Well below what takes that long on a Raspberry Pi.
MOST_TOGETHER = 100
# paho keeps what it is handed until the broker acknowledges; its memory is not our queue.
WINDOW = 20
FLUSH_WITHIN_S = 2.0
# How long values wait that are held back for their readers' sake.
PACED_S = 0.01
STORE_RETRY_S = 30.0
BEAT_EVERY_S = 10.0
# The beat has the pump turn at least so often. Less is a busy machine; what waits in a socket then
# counts as having just arrived.
STOOD_STILL_S = BEAT_EVERY_S + 5.0
# How long a piece of work may take before it counts as stuck. An SD card at its end takes minutes;
# a request has a deadline of its own, and then some for what comes around it.
STORE_WITHIN_S = 300.0
CLOUD_SPARE_S = 120.0
PUMP_WITHIN_S = 60.0
# The MQTT 5 reason code a broker would give to a message we do not even send.
TOPIC_NAME_INVALID = 0x90


NOTHING_REMEMBERED = Started()
NO_SERVICES: Mapping[str, Callable[[], Awaitable[None]]] = MappingProxyType({})


class Inbox:
    """The events that wait for the machine, in order of arrival.

    Adapters are made before the gateway that joins them, and need a place to put events from the
    first moment; this is it.
    """

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self.wake: Callable[[], None] | None = None

    def put(self, event: Event) -> None:
        """Queue an event."""
        self.events.append(event)
        if self.wake is not None:
            self.wake()


class Gateway:
    """Joins the machine to the outside world."""

    def __init__(
        self,
        machine: Machine,
        inbox: Inbox,
        *,
        link: MqttLink,
        cloud: Cloud,
        stream: ObservationStream | None,
        store: Store,
        clock: Clock,
        beat: Callable[[float], object] | None = None,
        signs: Signs | None = None,
        remember: Callable[[tuple[str, ...]], None] | None = None,
        tally: Tally | None = None,
        remember_announced: Callable[[Mapping[str, Announced]], None] | None = None,
    ) -> None:
        """Join them; nothing runs yet.

        Args:
            machine: The core.
            inbox: Where the adapters put their events.
            link: To the broker.
            cloud: REST.
            stream: The push source, or None where values are polled.
            store: The ledger's.
            clock: Time.
            remember: Keeps the account's serials for the next start; called in a thread.
            remember_announced: Keeps what the broker holds of descriptions, likewise.
            beat: Called with the monotonic time every so often, while nothing is overdue.
            signs: Where everybody promises to be heard of again.
            tally: Counts what happens, where somebody wants to know.
        """
        self._tally = tally
        self._beat = beat
        self._signs = signs or Signs(clock)
        self._remember = remember
        self._remember_announced = remember_announced
        self._to_keep: Mapping[str, Announced] | None = None
        self._is_keeping = False
        self._machine = machine
        self._link = link
        self._cloud = cloud
        self._stream = stream
        self._store = store
        self._clock = clock
        self._outbox = Outbox(WINDOW)
        self._telemetry = Telemetry(self._outbox)
        self._pace = Pace()
        self._is_paced = False
        self._inbox = inbox
        self._scheduled = False
        self._idle = asyncio.Event()
        self._turned_s = clock.now().mono_s
        self._connected = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s: float | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._given_up: set[asyncio.Task[None]] = set()

    async def run(
        self,
        stop: asyncio.Event,
        *,
        opened: StoreOpened | StoreFailed,
        started: Started = NOTHING_REMEMBERED,
        services: Mapping[str, Callable[[], Awaitable[None]]] = NO_SERVICES,
    ) -> None:
        """Serve until ``stop`` is set, then say good-bye.

        Args:
            stop: Set when it is time to go.
            opened: What became of the store.
            started: What an earlier run remembered.
            services: Run beside the sources, by name, until cancelled.
        """
        self._inbox.wake = self._wake
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            endless: dict[str, Callable[[], Awaitable[None]]] = {"mqtt": self._link.run, **services}
            if self._stream is not None:
                endless["stream"] = self._stream.run
            if self._beat is not None:
                endless["beat"] = functools.partial(self._beats, self._beat)
            sources = [
                tasks.create_task(self._part(name, work, stop), name=name)
                for name, work in endless.items()
            ]
            if isinstance(opened, StoreFailed):
                sources.append(tasks.create_task(self._reopen(), name="store"))
            self._inbox.put(opened)
            self._inbox.put(started)
            await stop.wait()
            log.info("bridge.stopping")
            self._inbox.put(Stopping())
            await self._drained()
            self._inbox.wake = None
            await self._link.close(Publish(self._machine.topics.bridge_state, b"offline"))
            for task in (*sources, *self._given_up):
                task.cancel()
            self._tasks = None
        if self._timer is not None:
            self._timer.cancel()

    @property
    def backlog(self) -> Backlog:
        """What waits for the broker."""
        return self

    @property
    def waiting(self) -> int:
        """How many messages are not sent yet."""
        return self._outbox.waiting + self._telemetry.waiting

    @property
    def in_flight(self) -> int:
        """How many messages are sent and not acknowledged."""
        return self._outbox.in_flight + self._telemetry.in_flight

    # -- the pump ---------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._scheduled = False
        turned_s, self._turned_s = self._turned_s, self._clock.now().mono_s
        if self._beat is not None and self._turned_s - turned_s > STOOD_STILL_S:
            self._inbox.events.appendleft(StoodStill(self._turned_s - turned_s))
        until_s = self._turned_s + LONGEST_STEP_S
        events = self._inbox.events
        tally, put_value = self._tally, self._telemetry.put
        while events:
            event = _next(events)
            now = self._clock.now()
            try:
                self._notice(event)
                for effect in self._machine.handle(event, now):
                    if tally is not None:
                        tally.effect(effect)
                    if isinstance(effect, Publish) and effect.telemetry:  # nearly all
                        put_value(effect)
                    else:
                        self._carry_out(effect)
            except Exception:  # the border of the core: one event must not end the bridge
                log.exception("core.event_failed", kind=type(event).__name__)
            if now.mono_s > until_s and events:
                self._wake()
                break
        self._flush()
        self._arm()
        if not events and not (self._connected and self.waiting + self.in_flight):
            self._idle.set()
        self._signs.promise("pump", PUMP_WITHIN_S)

    def _notice(self, event: Event) -> None:
        """Keep the outboxes in step with the connections."""
        if self._tally is not None:
            self._tally.event(event)
        if isinstance(event, ValuesAcked):
            self._telemetry.acked(event.messages)
            self._telemetry.returned(event.returned)
        elif isinstance(event, MqttAcked):
            self._outbox.acked(event.message, event.reason_code)
            self._telemetry.refused(event.message, event.reason_code)
        elif isinstance(event, LaneOpened):
            self._telemetry.opened(event.receive_maximum)
            self._pace.granted(event.receive_maximum)
        elif isinstance(event, LaneClosed):
            self._telemetry.closed(in_doubt=event.in_doubt)
        elif isinstance(event, MqttConnected):
            self._connected = True
            self._outbox.window = min(WINDOW, event.receive_maximum)
        elif isinstance(event, MqttDisconnected):
            self._connected = False
            self._outbox.lost()

    def _carry_out(self, effect: Effect) -> None:  # noqa: C901, PLR0912 - one case per effect
        """Do what the core wants, except for values."""
        match effect:
            case Publish():
                self._outbox.put(effect)
            case Acknowledge(receipt):
                self._link.acknowledge(receipt)
            case Note(level, event, fields):
                getattr(log, level)(event, **fields)
            case CallCloud():
                # From now on: the process may stand still before the task begins.
                until_s = self._clock.now().mono_s + effect.within_s
                within_s = effect.within_s + CLOUD_SPARE_S
                self._spawn(self._call(effect, until_s), "cloud", within_s, given_up_at_stop=True)
            case SaveReport():
                self._spawn(self._save(effect))
            case MarkPublished():
                self._spawn(self._mark(effect))
            case SaveCommand():
                self._spawn(self._save_command(effect))
            case SettleReports(reports):
                self._spawn(self._settle(reports))
            case ReadReports():
                self._spawn(self._read_reports(effect))
            case TendStore():
                self._spawn(self._tend(effect))
            case SendDenied():
                self._outbox.send_denied()
            case Remember(charger_ids):
                if self._remember is not None:
                    self._spawn(asyncio.to_thread(self._remember, charger_ids), "roster")
            case Reconnect(reason):
                self._link.reconnect(reason)
            case RememberAnnounced(announced):
                self._to_keep = announced
                if not self._is_keeping and self._remember_announced is not None:
                    self._is_keeping = True
                    self._spawn(self._keep_announced(self._remember_announced), "announced")
            case Watch(charger_ids):
                if self._stream is not None:
                    self._stream.watch(charger_ids)
            case _:
                assert_never(effect)

    def _flush(self) -> None:
        """Hand over as much as the windows allow."""
        room = self._pace.room(self._clock.now().mono_s)
        if batch := self._telemetry.take(room):
            self._pace.spent(len(batch))
            self._link.publish_values(batch)
        if len(batch) == room and self._telemetry.waiting and not self._is_paced:
            self._is_paced = True
            asyncio.get_running_loop().call_later(PACED_S, self._go_on)
        while self._connected and (message := self._outbox.take()) is not None:
            try:
                self._link.publish(message)
            except LinkLost:
                self._connected = False  # its MqttDisconnected is on the way
                self._outbox.lost()
            except ValueError as error:
                log.error("mqtt.unpublishable", topic=message.topic, error=str(error))
                self._inbox.put(MqttAcked(message, TOPIC_NAME_INVALID))

    def _go_on(self) -> None:
        """Send what had to wait for its time."""
        self._is_paced = False
        if self._tasks is not None:
            self._wake()

    def _arm(self) -> None:
        """Have a ``Tick`` come when the machine wants one."""
        deadline_s = self._machine.deadline_s()
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
        self._inbox.put(Tick())

    # -- effects that take time -----------------------------------------------------------------

    async def _part(
        self, name: str, work: Callable[[], Awaitable[None]], stop: asyncio.Event
    ) -> None:
        """Run what must not end before the gateway does.

        Raises:
            PartFailed: It did. Without it we would be half alive.
        """
        try:
            await work()
        except Exception as exc:
            log.exception("part.failed", part=name)
            raise PartFailed(f"{name} failed: {type(exc).__name__}") from exc
        if not stop.is_set():
            raise PartFailed(f"{name} ended by itself")

    def _spawn(
        self,
        work: Coroutine[object, object, None],
        name: str = "store",
        within_s: float = STORE_WITHIN_S,
        *,
        given_up_at_stop: bool = False,
    ) -> None:
        """Start work on an effect.

        Args:
            work: What to do.
            name: Who is waited for.
            within_s: Longer than this, and it counts as stuck.
            given_up_at_stop: It may last longer than a service manager waits. A commit may not.
        """
        if self._tasks is None:
            work.close()
            return
        task = self._tasks.create_task(work)
        sign = f"{name} {id(task)}"
        self._signs.promise(sign, within_s)
        task.add_done_callback(lambda _: self._signs.kept(sign))
        if given_up_at_stop:
            self._given_up.add(task)
            task.add_done_callback(self._given_up.discard)

    async def _call(self, effect: CallCloud, until_s: float) -> None:
        left_s = max(0.0, until_s - self._clock.now().mono_s)
        try:
            answer = await self._cloud.send(effect.request, within_s=left_s)
        except CloudError as error:
            self._inbox.put(CloudFailed(effect.call_id, error))
        else:
            self._inbox.put(CloudAnswered(effect.call_id, answer.status, answer.body))

    async def _save(self, effect: SaveReport) -> None:
        try:
            stored, changed = await self._store.save(effect.report)
        except StoreError as error:
            self._inbox.put(ReportNotSaved(effect.report, error))
        else:
            self._inbox.put(ReportSaved(stored, changed))

    async def _save_command(self, effect: SaveCommand) -> None:
        try:
            await self._store.save_command(effect.row)
        except StoreError as error:
            self._inbox.put(CommandNotSaved(effect.row.key, error))
        else:
            self._inbox.put(CommandSaved(effect.row.key, effect.row.state))

    async def _mark(self, effect: MarkPublished) -> None:
        try:
            at = self._clock.now().wall
            await self._store.mark_published(effect.key, effect.revision, at)
        except StoreError as error:
            self._inbox.put(StoreFailed(str(error), error.hint))

    async def _settle(self, reports: tuple[tuple[str, int], ...]) -> None:
        try:
            await self._store.settle(reports)
        except StoreError as error:
            self._inbox.put(StoreFailed(str(error), error.hint))

    async def _read_reports(self, effect: ReadReports) -> None:
        try:
            found = await self._store.reports(
                charger_id=effect.charger_id,
                since=effect.since,
                until=effect.until,
                limit=effect.limit,
            )
        except StoreError as error:
            self._inbox.put(ReportsNotRead(effect.read_id, error))
        else:
            self._inbox.put(ReportsRead(effect.read_id, found))

    async def _keep_announced(self, keep: Callable[[Mapping[str, Announced]], None]) -> None:
        """Write what is to be kept, one after the other: the newest is the last."""
        while (announced := self._to_keep) is not None:
            self._to_keep = None
            await asyncio.to_thread(keep, announced)
        self._is_keeping = False

    async def _tend(self, effect: TendStore) -> None:
        forgotten = 0
        try:
            if effect.settled_before is not None and effect.commands_before is not None:
                forgotten = await self._store.forget(
                    settled_before=effect.settled_before, commands_before=effect.commands_before
                )
            usage = await self._store.usage()
        except StoreError as error:
            self._inbox.put(StoreFailed(str(error), error.hint))
        else:
            self._inbox.put(StoreTended(usage.used_share, usage.free_bytes, forgotten))

    async def _reopen(self) -> None:
        while True:
            await self._clock.sleep(STORE_RETRY_S)
            with contextlib.suppress(StoreError):
                self._inbox.put(store_opened(await self._store.open()))
                return

    async def _beats(self, beat: Callable[[float], object]) -> None:
        told: tuple[str, ...] = ()
        before: tuple[str, ...] = ()
        while True:
            # Twice in a row: after a long stop everything is late once.
            overdue = self._signs.overdue()
            stuck = tuple(sorted({name.split()[0] for name in overdue if name in before}))
            if stuck and stuck != told:
                log.error("part.stuck", parts=stuck)
                told = stuck
            before = overdue
            if not overdue:
                beat(self._clock.now().mono_s)
            self._inbox.put(Tick())  # what is asked of the pump
            await self._clock.sleep(BEAT_EVERY_S)

    async def _drained(self) -> None:
        """Wait until what was to be said is said and acknowledged, but not long."""
        self._idle.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_WITHIN_S):
                await self._idle.wait()


def _next(events: deque[Event]) -> Event:
    """Take the next event; observations that follow each other are taken together.

    What the core does once for an event is a third of what it does for a single observation.
    """
    first = events.popleft()
    if not isinstance(first, Observed):
        return first
    together = list(first.observations)
    while events and len(together) < MOST_TOGETHER:
        following = events[0]
        if not isinstance(following, Observed) or following.source != first.source:
            break
        together += following.observations
        events.popleft()
    return Observed(tuple(together), first.source)
