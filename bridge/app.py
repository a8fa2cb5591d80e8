"""Composition of the program: adapters, core, event loop, start and stop."""

import asyncio
import contextlib
import functools
import math
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import msgspec
import structlog

import bridge
from bridge import logs, process_tuning
from bridge.adapters.clock import SystemClock
from bridge.adapters.easee.rest_client import EaseeCloud
from bridge.adapters.easee.signalr_source import HubStream
from bridge.adapters.easee.vendor_notes import VendorNotes
from bridge.adapters.local_socket import SOCKET_FILE, LocalSocket
from bridge.adapters.mqtt.client import MqttClient
from bridge.adapters.state_files.charger_list import KeptChargerList
from bridge.adapters.state_files.component_state import KeptComponentState
from bridge.adapters.state_files.last_seen import KeptLastSeen
from bridge.adapters.state_files.private_file import TOKEN_FILE
from bridge.adapters.state_files.published_discovery import KeptDiscovery
from bridge.adapters.store.backends import cluster_of
from bridge.cluster.account_lists import AccountLists, PartitionCloud
from bridge.cluster.partition import Partition
from bridge.config.reload import change
from bridge.convention_connection import ConventionConnection, connection_of
from bridge.conventions.convention import Convention
from bridge.conventions.homeassistant.publisher import DiscoveryPublisher
from bridge.conventions.native.convention import Native
from bridge.core.composition import Assembly, Core
from bridge.core.easee.partner_feed import FeedLogin
from bridge.core.events import (
    ClusterSeen,
    DivisionSeen,
    Event,
    ReconfigurationFailed,
    Reconfigured,
    Started,
    StoreFailed,
    StoreOpened,
)
from bridge.core.messages import Publish
from bridge.core.partitions import SPEAKER, Division
from bridge.core.records.command_row import SESSION_S
from bridge.core.records.lease import ClusterView, Lease
from bridge.core.records.stored_tokens import account_of
from bridge.core.speaker.merging import MergedStatus
from bridge.core.store_status import store_opened
from bridge.core.topics import Topics
from bridge.errors import (
    ConfigError,
    RecordError,
    StoreError,
    StoreLocked,
    TaskFailed,
)
from bridge.gateway import BEAT_EVERY_S, NO_SERVICES, EventLoop, EventQueue
from bridge.monitoring.healthcheck import alive_path, beat
from bridge.monitoring.metrics import Counting, Metrics
from bridge.monitoring.part_metrics import PartMetrics
from bridge.monitoring.status_page import StatusModel
from bridge.monitoring.systemd_notify import SystemdNotifier
from bridge.monitoring.watchdog import LivenessRegistry, Watchdog
from bridge.ports import Clock, Cloud, ObservationSource, QueueDepth, Store
from bridge.questions import Questions, SavedRecord, answered
from bridge.recorder.links import own_conventions, report_channels
from bridge.recorder.recording import Excerpt, Recorder
from bridge.settings import ClusterSettings, HttpSettings, RecorderSettings, Settings

log = structlog.get_logger()

SALT_BYTES = 32
MIB = 1024 * 1024
# Its discovery, among the documents of partition 0.
SPEAKER_DISCOVERY = "announced-gateway.json"
# Of a host name in the name of a worker.
MAX_HOST_NAME = 40
# A partition was taken just now, so the database is there.
OPEN_AGAIN_S = 0.5
# A hand-over waits so long for answers of the vendor.
FINISH_S = 5.0
# And the first observations so long for the broker, behind a takeover.
PATIENCE_S = 5.0
# The gateway of a partition beats so often that this is stuck.
GATEWAY_TIMEOUT_S = 60.0
# A will is published so long after the TTL: a takeover comes before.
WILL_DELAY_BEHIND_TTL_S = 6


def will_delay_s(settings: ClusterSettings) -> int:
    """Return how long a broker waits for another worker before it publishes the will."""
    return settings.lease_ttl_s + WILL_DELAY_BEHIND_TTL_S


ReloadConfig = Callable[[], Settings]


class ActiveSettings(msgspec.Struct):
    """The configuration that is in force."""

    settings: Settings


class Process:
    """What all gateways of this process share.

    Attributes:
        active: The configuration.
        clock: Time.
        backend: Leases, and the store of each partition.
        liveness: Registry of expected signs of life.
        metrics: Counters, if enabled.
        queues: Events of the gateways that run, by partition.
        gateways: Those that run, by partition.
        questions: Answer what the command line asks of them, by partition.
        merged: Status of the partitions that run here, where there are several.
        waiting_keys: Keys of the configuration that wait for a restart.
        speaker: Events of the gateway that speaks for all partitions, while it runs here.
        lists: Lists of the account for all partitions; None where there is one.
    """

    def __init__(self, settings: Settings) -> None:
        self.active = ActiveSettings(settings)
        self.clock = SystemClock()
        self.backend = cluster_of(settings, self.clock)
        self.liveness = LivenessRegistry(self.clock)
        model = None
        if settings.http.page:
            model = StatusModel(lambda: self.clock.now().wall, dict(settings.easee.names))
        self.metrics = Metrics(model) if settings.http.enabled else None
        self.queues: dict[int, EventQueue] = {}
        self.gateways: dict[int, EventLoop] = {}
        self.questions: dict[int, Questions] = {}
        self.merged = MergedStatus()
        # The configured chargers that the gateway of a partition was given.
        self.chosen: dict[int, tuple[str, ...]] = {}
        self.waiting_keys: tuple[str, ...] = ()
        self.speaker: EventQueue | None = None
        self.lists: AccountLists | None = None
        listings = self.backend.listings() if settings.cluster.is_divided else None
        if listings is not None:
            self.lists = AccountLists(
                listings,
                self.clock,
                configured=lambda: self.active.settings.easee.chargers,
                divided=self.divided,
            )

    def settings_of(self, partition: int) -> Settings:
        """Return the settings of the gateway of a partition."""
        settings, lists = self.active.settings, self.lists
        return partition_settings(settings, partition, None if lists is None else lists.division)

    def divided(self, division: Division) -> None:
        """Hand on which chargers a partition serves, where that changed anything."""
        if self.speaker is not None:
            self.speaker.put(DivisionSeen(devices_of(division), is_listed=True))
        for number, queue in self.queues.items():
            settings = self.settings_of(number)
            if settings.easee.chargers != self.chosen.get(number, ()):
                self.chosen[number] = settings.easee.chargers
                queue.put(Reconfigured(settings, self.waiting_keys))

    @property
    def waiting(self) -> int:
        """How many messages are not sent yet."""
        return sum(each.waiting for each in self.gateways.values())

    @property
    def in_flight(self) -> int:
        """How many messages are sent and not acknowledged."""
        return sum(each.in_flight for each in self.gateways.values())

    def put(self, event: Event) -> None:
        """Give an event to every gateway."""
        for queue in self.queues.values():
            queue.put(event)

    def cluster_seen(self, view: ClusterView) -> None:
        """Note the members and leases of the cluster, if anybody asks for them."""
        settings = self.active.settings.cluster
        if self.speaker is not None:
            self.speaker.put(ClusterSeen(view))
        if self.metrics is not None:
            self.metrics.cluster_seen(settings.worker or "", view, settings.lease_ttl_s)

    def write_records(self) -> None:
        """Have every gateway write what it recorded."""
        for gateway in self.gateways.values():
            gateway.write_record("signal")

    def services(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return what runs beside gateways, by name, until cancelled."""
        settings = self.active.settings
        found: dict[str, Callable[[], Awaitable[None]]] = {
            "log": functools.partial(_tell_repeated, self.clock),
            "questions": LocalSocket(
                Path(settings.state_folder) / SOCKET_FILE,
                functools.partial(answered, self.questions),
            ).run,
        }
        if self.metrics is not None:
            found["http"] = _web(settings.http, self.metrics, self, self.clock)
        return found


async def run(settings: Settings, reload_config: ReloadConfig | None = None) -> int:
    """Run the gateway until SIGTERM or SIGINT; SIGHUP has the configuration read again.

    Args:
        settings: The configuration.
        reload_config: Reads it again, or raises ``ConfigError``; None where that cannot be done.

    Returns:
        The exit status: 0 after a clean stop, 75 when another process owns the store or a lease.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    notifier = SystemdNotifier(os.environ)

    def end() -> None:
        notifier.stopping()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    process = Process(named(settings))
    if reload_config is not None:
        reloading = functools.partial(_reload, process, reload_config, notifier)
        loop.add_signal_handler(signal.SIGHUP, reloading)
    loop.add_signal_handler(signal.SIGUSR1, process.write_records)
    # It is never stopped: the end of the process must not hang either.
    watchdog = Watchdog(notifier)
    if settings.store.url is None:
        return await _serve_alone(process, stop, watchdog)
    return await _serve_cluster(process, stop, watchdog)


def named(settings: Settings) -> Settings:
    """Return settings in which a worker of a cluster has a name."""
    if settings.store.url is None or settings.cluster.worker is not None:
        return settings
    worker = f"{socket.gethostname()[:MAX_HOST_NAME]}-{os.getpid()}"
    return replace(settings, cluster=replace(settings.cluster, worker=worker))


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    watchdog: Watchdog | None = None,
    queue: EventQueue | None = None,
    conventions: Sequence[Convention] = (),
) -> int:
    """Run one gateway on a store of its own until ``stop`` is set; see :func:`run`.

    Args:
        settings: The configuration.
        stop: Set to end it.
        watchdog: May end the process; None where the process is not ours.
        queue: Where events are put; None makes one.
        conventions: To publish by besides the native one.
    """
    return await _serve_alone(Process(settings), stop, watchdog, queue, conventions)


async def _serve_alone(
    process: Process,
    stop: asyncio.Event,
    watchdog: Watchdog | None,
    queue: EventQueue | None = None,
    conventions: Sequence[Convention] = (),
) -> int:
    """Run the one gateway of a process without a cluster."""
    place = Place(
        process.active.settings,
        (await process.backend.leases.take(1))[0],
        process.queues.setdefault(0, queue or EventQueue()),
        stop,
        process.liveness,
        _beat(watchdog),
        process.services(),
    )
    logs.limit_lines(lambda: process.clock.now().mono_s)
    try:
        await _gateway(process, place, conventions, watchdog)
    except StoreLocked as error:
        log.error("store.locked", error=str(error), hint=error.hint)
        return os.EX_TEMPFAIL
    finally:
        logs.end_limit()
    log.info("bridge.stopped")
    return os.EX_OK


async def _serve_cluster(process: Process, stop: asyncio.Event, watchdog: Watchdog) -> int:
    """Run a worker: a gateway for each partition whose lease it has."""
    from bridge.cluster.supervisor import Supervisor  # noqa: PLC0415 - most are no worker

    settings = process.active.settings
    beat = _beat(watchdog)
    _import_early(settings)

    async def beats() -> None:
        while True:
            if beat is not None and not process.liveness.overdue():
                beat(process.clock.now().mono_s)
            await process.clock.sleep(BEAT_EVERY_S)

    async def serve_partition(partition: Partition) -> None:
        number = partition.lease.partition
        name = f"partition {number}"
        await _divided(process, partition.stop)
        settings = process.settings_of(number)
        process.queues[number], process.chosen[number] = partition.queue, settings.easee.chargers
        place = Place(
            settings,
            partition.lease,
            partition.queue,
            partition.stop,
            LivenessRegistry(process.clock),
            lambda _mono_s: process.liveness.expect(name, GATEWAY_TIMEOUT_S),
            partition=partition,
        )
        try:
            if number == 0 and process.lists is not None:
                salt = asyncio.get_running_loop().create_future()
                place = msgspec.structs.replace(place, salt=salt)
                await _together(_gateway(process, place), _speaker(process, place, salt))
            else:
                await _gateway(process, place)
        finally:
            process.liveness.done(name)
            process.queues.pop(number, None)

    supervisor = Supervisor(
        settings.cluster,
        process.backend.leases,
        process.clock,
        serve_partition,
        slept_s=process.clock.slept_s,
        seen=process.cluster_seen,
    )
    log.info("bridge.started", version=bridge.__version__, worker=settings.cluster.worker)
    logs.limit_lines(lambda: process.clock.now().mono_s)
    watchdog.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(_beside(name, work), name=name)
                for name, work in (*process.services().items(), ("beat", beats))
            ]
            status = await supervisor.run(stop)
            for task in beside:
                task.cancel()
    finally:
        await process.backend.close()
        logs.end_limit()
    log.info("bridge.stopped")
    return status


def _import_early(settings: Settings) -> None:
    """Import what a gateway may need: a takeover has no time for that."""
    if settings.cluster.is_divided:
        from bridge.core.speaker import composition  # noqa: F401, PLC0415 - for workers alone
    if settings.easee.source == "amqp":
        from bridge.adapters.amqp import divider, source  # noqa: F401, PLC0415 - an extra
        from bridge.adapters.mqtt import read_back  # noqa: F401, PLC0415 - for it alone


async def _beside(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run what a worker cannot do without.

    Raises:
        TaskFailed: It failed.
    """
    try:
        await work()
    except Exception as exc:
        log.exception("task.failed", part=name)
        raise TaskFailed(f"{name} failed: {type(exc).__name__}") from exc


def partition_settings(
    settings: Settings, number: int, division: Division | None = None
) -> Settings:
    """Return the settings of the gateway of one partition: of several each has names of its own.

    Args:
        settings: The configuration.
        number: Of the partition.
        division: Which chargers it serves; of those that are configured it is given its own.
    """
    if not settings.cluster.is_divided:
        return settings
    client_id = f"{settings.mqtt.client_id}-p{number:02}"
    edge_node_id = f"{settings.sparkplug.edge_node_id}-p{number:02}"
    own = division or Division()
    chosen = tuple(one for one in settings.easee.chargers if own.partition_of(one) == number)
    return replace(
        settings,
        easee=replace(settings.easee, chargers=chosen),
        mqtt=replace(settings.mqtt, client_id=client_id),
        sparkplug=replace(settings.sparkplug, edge_node_id=edge_node_id),
        recorder=_recorder_part(settings),
        cluster=replace(settings.cluster, partition=number),
    )


def devices_of(division: Division) -> dict[int, frozenset[str]]:
    """Return what each partition serves."""
    found: dict[int, set[str]] = {number: set() for number in range(division.partitions)}
    for device, site in division.devices.items():
        if (number := division.sites.get(site)) is not None:
            found.setdefault(number, set()).add(device)
    return {number: frozenset(devices) for number, devices in found.items()}


async def _together(*work: Coroutine[object, object, None]) -> None:
    """Run several things until all have ended; an error of one of them ends the others."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for each in work:
                tasks.create_task(each)
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


async def _divided(process: Process, stop: asyncio.Event) -> None:
    """Read the division before a gateway starts, until it can be read."""
    while process.lists is not None and not stop.is_set():
        try:
            await process.lists.load()
        except StoreError as error:
            log.warning("division.not_read", error=str(error))
            await process.clock.sleep(OPEN_AGAIN_S)
        else:
            return


class Place(msgspec.Struct, frozen=True):
    """Where one gateway runs.

    Attributes:
        settings: Its configuration.
        lease: Of its partition.
        queue: Its events.
        stop: Set to end it.
        liveness: Registry of its signs of life.
        beat: Called while none is overdue.
        services: Run beside it.
        partition: Its lease in a cluster; None where it is alone.
        salt: Is given the key of tag hashes; None where nothing waits for it.
    """

    settings: Settings
    lease: Lease
    queue: EventQueue
    stop: asyncio.Event
    liveness: LivenessRegistry
    beat: Callable[[float], object] | None
    services: Mapping[str, Callable[[], Awaitable[None]]] = msgspec.field(default_factory=dict)
    partition: Partition | None = None
    salt: asyncio.Future[bytes] | None = None

    def left_s(self) -> float:
        """Return for how long the lease holds."""
        return math.inf if self.partition is None else self.partition.left_s()

    def is_clear(self) -> bool:
        """Return whether events may be processed."""
        return self.partition is None or self.partition.is_clear()

    @property
    def is_last(self) -> bool:
        """Return whether nobody serves the partition after this gateway."""
        return self.partition is None or self.partition.is_last


async def _gateway(
    process: Process,
    place: Place,
    conventions: Sequence[Convention] = (),
    watchdog: Watchdog | None = None,
) -> None:
    """Run the gateway of one partition until it is stopped.

    Raises:
        StoreLocked: Another process has the store, or the partition.
    """
    settings, clock, queue, liveness = place.settings, process.clock, place.queue, place.liveness
    state_dir, number = Path(settings.state_folder), place.lease.partition
    store = process.backend.store(place.lease, queue.put)
    documents = process.backend.documents(place.lease)
    opened, salt = await _open_in(place, store, clock)
    if place.salt is not None:
        place.salt.set_result(salt)
    version = bridge.__version__
    discovery = DiscoveryPublisher(settings, version=version, salt=salt)
    links = own_conventions(settings)
    conventions = (*conventions, *links)
    core = Core(
        settings,
        version=version,
        salt=salt,
        guests=(discovery,),
        report_channels=report_channels(conventions),
    )
    topics = core.topics
    cloud = EaseeCloud(
        settings.easee,
        token_path=state_dir / TOKEN_FILE,
        clock=clock,
        emit=queue.put,
        allowance=process.backend.allowance(),
        tokens=process.backend.tokens(),
        lease_left_s=place.left_s,
    )
    seen = cloud if process.lists is None else PartitionCloud(number, cloud, process.lists)
    metrics = _metrics(process, number)
    source = _source(process, place, cloud)
    sender, services = _sender(place, seen, clock)
    services = {**services, **_divider(process, place, cloud)}
    conventions = (Native(topics, settings.publish), *conventions)
    recorder = _recorder(settings, core, clock, conventions)
    if recorder is not None:
        conventions = recorder.watched(conventions)
    connections = _connections(place, conventions, topics)
    over_main = (each.subscriptions for each in conventions if each.connection is None)
    mqtt_client = MqttClient(
        settings.mqtt,
        will=Publish(topics.bridge_state, b"offline"),
        subscriptions=core.subscriptions + tuple(chain.from_iterable(over_main)),
        echoes=topics.echoes,
        loopback=(topics.bridge_heartbeat,),
        clock=clock,
        emit=queue.put,
        session_expiry_s=round(SESSION_S),
        heartbeat=functools.partial(liveness.expect, "mqtt"),
        may_connect=lambda: place.left_s() > 0,
        will_delay_s=0 if place.partition is None else will_delay_s(settings.cluster),
    )
    charger_list = KeptChargerList(documents, account_of(settings.easee))
    published = KeptDiscovery(documents, settings.mqtt)
    last_seen = KeptLastSeen(documents)
    kept_state = KeptComponentState(documents)
    if place.partition is None:
        log.info("bridge.started", version=bridge.__version__, store=settings.store.path)
    write_record = functools.partial(_write_record, settings, salt, clock)
    process.questions[number] = Questions(
        core, recorder, clock, salt=salt, save=write_record, conventions=links
    )
    gateway = process.gateways[number] = EventLoop(
        core,
        queue,
        conventions=conventions,
        connections=connections,
        link=mqtt_client,
        cloud=sender,
        source=source,
        store=store,
        clock=clock,
        remember=charger_list.save,
        save_published=published.save,
        save_state=kept_state.save,
        beat=place.beat,
        liveness=liveness,
        metrics=metrics,
        recorder=recorder,
        save_record=functools.partial(_save_record, write_record),
        is_clear=place.is_clear,
    )
    if watchdog is not None:
        watchdog.start()
    try:
        started = await _remembered(place, charger_list, published, last_seen, kept_state)
        await gateway.run(
            place.stop,
            opened=opened,
            started=started,
            services=services,
            finish_s=0.0 if place.partition is None else FINISH_S,
            patience_s=0.0 if place.partition is None else PATIENCE_S,
            is_last=lambda: place.is_last,
        )
        await asyncio.to_thread(last_seen.save, clock.now())
    finally:
        process.gateways.pop(number, None)
        process.questions.pop(number, None)
        if isinstance(metrics, PartMetrics):
            metrics.ended()
        await sender.close()
        await store.close()


def _metrics(process: Process, partition: int) -> Counting | None:
    """Return what counts for the gateway of a partition, if enabled."""
    if process.metrics is None or not process.active.settings.cluster.is_divided:
        return process.metrics
    return PartMetrics(process.metrics, process.merged, partition)


async def _remembered(
    place: Place,
    charger_list: KeptChargerList,
    published: KeptDiscovery,
    last_seen: KeptLastSeen,
    kept_state: KeptComponentState,
) -> Started:
    """Return what an earlier gateway of the partition kept."""
    known = await asyncio.to_thread(charger_list.load)
    announced = await asyncio.to_thread(published.load)
    alive_at = await asyncio.to_thread(last_seen.load)
    if place.partition is not None and place.partition.alive_at is not None:
        alive_at = max(place.partition.alive_at, alive_at or place.partition.alive_at)
    state = await asyncio.to_thread(kept_state.load)
    return Started(
        known.charger_ids, announced, alive_at, known.left, known.former, state, known.equalizers
    )


async def _speaker(process: Process, place: Place, made: asyncio.Future[bytes]) -> None:
    """Run the gateway that speaks for all partitions, beside that of partition 0.

    It has a session of its own at the broker, under the configured client id. It serves no charger:
    its store and its cloud are never used.

    Args:
        process: What all gateways share.
        place: Of partition 0.
        made: The key of this installation, once it was read.
    """
    from bridge.core.speaker.composition import Speaker  # noqa: PLC0415 - for workers alone

    salt = await made
    settings, clock = process.active.settings, process.clock
    queue = process.speaker = EventQueue()
    store = process.backend.store(place.lease, queue.put)
    documents = process.backend.documents(place.lease)
    lists, version = process.lists, bridge.__version__
    liveness = LivenessRegistry(clock)
    cloud = EaseeCloud(
        settings.easee, token_path=Path(settings.state_folder) / TOKEN_FILE, clock=clock,
        emit=queue.put, allowance=process.backend.allowance(), tokens=process.backend.tokens(),
    )  # fmt: skip
    try:
        core = Speaker(
            settings,
            version=version,
            salt=salt,
            devices={} if lists is None else devices_of(lists.division),
            guests=(DiscoveryPublisher(settings, version=version, salt=salt),),
        )
        mqtt_client = MqttClient(
            settings.mqtt,
            will=Publish(core.topics.bridge_state, b"offline"),
            subscriptions=core.subscriptions,
            echoes=core.echoes,
            loopback=(core.topics.bridge_heartbeat,),
            clock=clock,
            emit=queue.put,
            session_expiry_s=round(SESSION_S),
            has_values=False,
            heartbeat=functools.partial(liveness.expect, "mqtt"),
            may_connect=lambda: place.left_s() > 0,
            will_delay_s=will_delay_s(settings.cluster),
        )
        recorder = _recorder(replace(settings, recorder=_recorder_part(settings)), core, clock)
        write_record = functools.partial(_write_record, settings, salt, clock)
        process.questions[SPEAKER] = Questions(core, recorder, clock, salt=salt, save=write_record)
        published = KeptDiscovery(documents, settings.mqtt, SPEAKER_DISCOVERY)
        gateway = EventLoop(
            core,
            queue,
            conventions=(Native(core.topics, settings.publish),),
            link=mqtt_client,
            cloud=cloud,
            source=None,
            store=store,
            clock=clock,
            save_published=published.save,
            beat=lambda _mono_s: process.liveness.expect("speaker", GATEWAY_TIMEOUT_S),
            liveness=liveness,
            recorder=recorder,
            save_record=functools.partial(_save_record, write_record),
            is_clear=place.is_clear,
        )
        process.gateways[SPEAKER] = gateway
        await gateway.run(
            place.stop,
            opened=StoreOpened(()),
            started=Started(announced=await asyncio.to_thread(published.load)),
            is_last=lambda: place.is_last,
        )
    finally:
        process.speaker = None
        process.gateways.pop(SPEAKER, None)
        process.questions.pop(SPEAKER, None)
        process.liveness.done("speaker")
        await cloud.close()
        await store.close()


def _connections(
    place: Place, conventions: Sequence[Convention], topics: Topics
) -> list[ConventionConnection]:
    """Create the connections of conventions that have one of their own."""
    clock, made = SystemClock(), []
    for convention in conventions:
        need = convention.connection
        if need is None:
            continue
        connection = connection_of(
            convention, need, topics=topics, clock=clock, put=place.queue.put
        )
        mqtt_client = MqttClient(
            replace(
                place.settings.mqtt,
                client_id=need.client_id,
                keepalive_s=min(place.settings.mqtt.keepalive_s, need.keepalive_s),
            ),
            will=connection.will,
            subscriptions=convention.subscriptions,
            clock=clock,
            emit=connection.emit,
            session_expiry_s=need.keeps_s,
            has_values=False,
            heartbeat=functools.partial(place.liveness.expect, f"mqtt {need.name}"),
            may_connect=lambda: place.left_s() > 0,
        )
        connection.attach(mqtt_client)
        made.append(connection)
    return made


def _source(process: Process, place: Place, cloud: Cloud) -> ObservationSource | None:
    """Create the configured source of observations; None where values are polled."""
    settings, clock, queue = place.settings, process.clock, place.queue
    heartbeat = functools.partial(place.liveness.expect, "stream")
    if settings.easee.source == "amqp":
        return _feed(process, place, cloud)
    if settings.easee.source != "stream":
        return None
    return HubStream(
        settings.easee,
        cloud=cloud,
        clock=clock,
        emit=queue.put,
        heartbeat=heartbeat,
        crowded=queue.is_full,
    )


def _feed(process: Process, place: Place, cloud: Cloud) -> ObservationSource:
    """Create the reader of the partner feed, or of a partition's part of it."""
    from bridge.adapters.amqp import login, partition_queues  # noqa: PLC0415 - an extra
    from bridge.adapters.amqp.source import AmqpSource  # noqa: PLC0415 - likewise
    from bridge.adapters.mqtt.read_back import read_back  # noqa: PLC0415 - for it alone

    settings, clock, queue = place.settings, process.clock, place.queue
    heartbeat = functools.partial(place.liveness.expect, "stream")
    last = Topics.of(settings).bridge_state
    read = functools.partial(read_back, settings.mqtt, last, clock, queue.put)
    url = settings.amqp.own_url
    if url is None or not settings.cluster.is_divided:
        return AmqpSource(
            functools.partial(login.feed_login, settings.amqp, cloud),
            clock=clock,
            emit=queue.put,
            heartbeat=heartbeat,
            read_back=lambda _charger_ids: read(),
            notes=VendorNotes(clock, queue.put),
        )

    async def own_login() -> FeedLogin:
        installation = process.active.settings.mqtt.client_id
        number = place.lease.partition
        return partition_queues.partition_login(url.reveal(), installation, number)

    return AmqpSource(
        own_login,
        clock=clock,
        emit=queue.put,
        heartbeat=heartbeat,
        read_back=read,
        prefetch=partition_queues.PREFETCH,
        arguments=partition_queues.QUORUM,
        notes=VendorNotes(clock, queue.put),
    )


def _divider(
    process: Process, place: Place, cloud: Cloud
) -> Mapping[str, Callable[[], Awaitable[None]]]:
    """Return what divides the partner feed: beside partition 0, where there are several."""
    settings, lists, url = process.active.settings, process.lists, place.settings.amqp.own_url
    is_reader = settings.easee.source == "amqp" and place.lease.partition == 0
    if not is_reader or lists is None or url is None:
        return NO_SERVICES
    from bridge.adapters.amqp.divider import FeedDivider  # noqa: PLC0415 - an extra
    from bridge.adapters.amqp.login import feed_login  # noqa: PLC0415 - likewise
    from bridge.adapters.amqp.partition_queues import PartitionQueues  # noqa: PLC0415 - likewise

    def partition_of(charger_id: str) -> int | None:
        return lists.division.partition_of(charger_id)

    divider = FeedDivider(
        functools.partial(feed_login, settings.amqp, cloud),
        functools.partial(
            PartitionQueues, url.reveal(), settings.mqtt.client_id, settings.cluster.partitions
        ),
        partition_of,
        clock=process.clock,
        heartbeat=functools.partial(place.liveness.expect, "feed"),
    )
    return {"feed": divider.run}


def _sender(
    place: Place, cloud: Cloud, clock: Clock
) -> tuple[Cloud, Mapping[str, Callable[[], Awaitable[None]]]]:
    """Return what sends requests, and what runs beside the gateway: with or without an exchange."""
    if not place.settings.uses_exchange:
        return cloud, place.services
    from bridge.adapters.amqp.exchange import CommandExchange  # noqa: PLC0415 - an extra

    exchange = CommandExchange(
        place.settings.amqp,
        cloud,
        clock=clock,
        emit=place.queue.put,
        lease_left_s=place.left_s,
        heartbeat=functools.partial(place.liveness.expect, "exchange"),
    )
    return exchange, {**place.services, "exchange": exchange.run}


def _recorder_part(settings: Settings) -> RecorderSettings:
    """Return the recorder's part of one gateway: those of a worker keep about what one would."""
    mib = -(-settings.recorder.max_mib // settings.cluster.partitions)
    return replace(settings.recorder, max_mib=mib)


def _recorder(
    settings: Settings, core: Assembly, clock: Clock, conventions: Sequence[Convention] = ()
) -> Recorder | None:
    """Create the recorder if enabled."""
    if not settings.recorder.max_mib:
        return None
    max_bytes = settings.recorder.max_mib * MIB
    return Recorder(
        core,
        max_bytes=max_bytes,
        read_s=lambda: clock.now().mono_s,
        conventions=conventions,
    )


def _write_record(
    settings: Settings, salt: bytes, clock: Clock, excerpt: Excerpt, reason: str
) -> SavedRecord:
    """Write a record into the state directory.

    Raises:
        RecordError: It cannot be made.
        OSError: It cannot be written.
    """
    from bridge.adapters.state_files import record_files  # noqa: PLC0415 - few are ever written
    from bridge.recorder.writing import content_of  # noqa: PLC0415 - likewise

    now = clock.now()
    content, serials = content_of(
        excerpt, settings, salt, version=bridge.__version__, reason=reason, now=now
    )
    cluster = settings.cluster
    part = record_files.part_of(cluster.partition, is_divided=cluster.is_divided)
    path = str(record_files.save(Path(settings.state_folder), content, now.wall, part))
    log.warning("record.written", path=path, reason=reason)
    return SavedRecord(path, serials)


def _save_record(
    write: Callable[[Excerpt, str], SavedRecord], excerpt: Excerpt, reason: str
) -> None:
    """Write a record; a failure is logged."""
    try:
        write(excerpt, reason)
    except (RecordError, OSError) as error:
        log.error("record.failed", reason=reason, error=str(error))


async def _tell_repeated(clock: Clock) -> None:
    """Log which lines were suppressed, less and less often while it goes on."""
    wait_s = logs.REPEATED_EVERY_S
    while True:
        await clock.sleep(wait_s)
        wait_s = logs.tell_repeated()


def _beat(watchdog: Watchdog | None) -> Callable[[float], object] | None:
    """Return the heartbeat callback: for the watchdog in this process and the file outside.

    It comes often enough, and never while anything is late, to clean up after bursts too.
    """
    alive = alive_path(os.environ)
    if watchdog is None and alive is None:
        return None
    trimming = process_tuning.Trimming()

    def say(mono_s: float) -> None:
        if watchdog is not None:
            watchdog.beat()
        if alive is not None:
            beat(alive, mono_s)
        trimming.trim()

    return say


def _reload(process: Process, reload_config: ReloadConfig, notifier: SystemdNotifier) -> None:
    """Read the configuration again, and take it or say why not. A file of 256 KiB at most."""
    notifier.reloading(SystemClock().now().mono_s)
    active = process.active
    try:
        changed = change(active.settings, named(reload_config()))
    except ConfigError as error:
        for problem in error.problems:
            log.error("config.refused", problem=problem)
        process.put(ReconfigurationFailed(error.problems))
    else:
        active.settings, process.waiting_keys = changed.settings, changed.waiting
        logs.configure(changed.settings.log)
        log.info("config.reloaded", taken=changed.taken, waiting=changed.waiting)
        if process.metrics is not None and process.metrics.model is not None:
            process.metrics.model.rename(dict(changed.settings.easee.names))
        for number, queue in process.queues.items():
            settings = process.settings_of(number)
            process.chosen[number] = settings.easee.chargers
            queue.put(Reconfigured(settings, changed.waiting))
        if process.speaker is not None:
            process.speaker.put(Reconfigured(changed.settings, changed.waiting))
    notifier.ready()


def _web(
    settings: HttpSettings, counters: Metrics, backlog: QueueDepth, clock: Clock
) -> Callable[[], Awaitable[None]]:
    """Create the web server if enabled."""
    from bridge.adapters.http import health, metrics, page  # noqa: PLC0415 - most do not need them
    from bridge.adapters.http.server import HttpServer  # noqa: PLC0415 - likewise

    routes = health.routes(counters) | metrics.routes(counters, bridge.__version__, backlog)
    if counters.model is not None:
        routes |= page.routes(counters.model, clock)
    return HttpServer(settings, routes, clock).run


async def _open_in(
    place: Place, store: Store, clock: Clock
) -> tuple[StoreOpened | StoreFailed, bytes]:
    """Open the store; in a cluster, where the key of tag hashes is shared, until it is open.

    Raises:
        StoreLocked: Another process has the store, or the partition.
    """
    opened, salt = await _open(store)
    while place.partition is not None and isinstance(opened, StoreFailed):
        if place.stop.is_set():
            break
        await clock.sleep(OPEN_AGAIN_S)
        opened, salt = await _open(store)
    return opened, salt


async def _open(store: Store) -> tuple[StoreOpened | StoreFailed, bytes]:
    """Open the store; a store that cannot be opened does not keep the bridge from starting.

    Raises:
        StoreLocked: Another bridge runs on this store; two of them would answer twice.
    """
    try:
        opened = await store.open()
        return store_opened(opened), await store.tag_hash_key()
    except StoreLocked:
        raise
    except StoreError as error:
        log.error("store.failed", error=str(error), hint=error.hint)
        salt = os.urandom(SALT_BYTES)
        with contextlib.suppress(StoreError):
            salt = await store.tag_hash_key()  # there is a copy beside a store that once was open
        return StoreFailed(str(error), error.hint), salt
