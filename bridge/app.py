"""Composition of the program: adapters, core, event loop, start and stop."""

import asyncio
import contextlib
import functools
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import structlog

import bridge
from bridge import logs, process_tuning
from bridge.adapters.clock import SystemClock
from bridge.adapters.easee.rest_client import EaseeCloud
from bridge.adapters.easee.signalr_source import HubStream
from bridge.adapters.easee.token_file import account_of
from bridge.adapters.mqtt.client import MqttClient
from bridge.adapters.state_files.charger_list import ChargerListFile
from bridge.adapters.state_files.component_state import KeptComponentState
from bridge.adapters.state_files.documents import FileDocuments
from bridge.adapters.state_files.last_seen import LastSeenFile
from bridge.adapters.state_files.private_file import (
    CHARGER_LIST_FILE,
    LAST_SEEN_FILE,
    PUBLISHED_DISCOVERY_FILE,
    TOKEN_FILE,
)
from bridge.adapters.state_files.published_discovery import PublishedDiscoveryFile
from bridge.adapters.store.backends import backend_of
from bridge.config.reload import change
from bridge.convention_connection import ConventionConnection
from bridge.conventions.convention import Convention
from bridge.conventions.homeassistant.publisher import DiscoveryPublisher
from bridge.conventions.native.convention import Native
from bridge.core.composition import Core
from bridge.core.events import (
    ReconfigurationFailed,
    Reconfigured,
    Started,
    StoreFailed,
    StoreOpened,
)
from bridge.core.messages import Publish
from bridge.core.records.command_row import SESSION_S
from bridge.core.store_status import store_opened
from bridge.core.topics import Topics
from bridge.errors import ConfigError, RecordError, StoreError, StoreLocked
from bridge.gateway import EventLoop, EventQueue
from bridge.monitoring.healthcheck import alive_path, beat
from bridge.monitoring.metrics import Metrics
from bridge.monitoring.status_page import StatusModel
from bridge.monitoring.systemd_notify import SystemdNotifier
from bridge.monitoring.watchdog import LivenessRegistry, Watchdog
from bridge.ports import Clock, Cloud, ObservationSource, QueueDepth, Store
from bridge.recorder.recording import Excerpt, Recorder
from bridge.settings import HttpSettings, MqttSettings, Settings

log = structlog.get_logger()

SALT_BYTES = 32
MIB = 1024 * 1024
REPEATED_EVERY_S = 60.0


ReloadConfig = Callable[[], Settings]


@dataclass(slots=True)
class ActiveSettings:
    """The configuration that is in force."""

    settings: Settings


async def run(settings: Settings, reload_config: ReloadConfig | None = None) -> int:
    """Run the gateway until SIGTERM or SIGINT; SIGHUP has the configuration read again.

    Args:
        settings: The configuration.
        reload_config: Reads it again, or raises ``ConfigError``; None where that cannot be done.

    Returns:
        The exit status: 0 after a clean stop, 75 when another process owns the store.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    notifier = SystemdNotifier(os.environ)

    def end() -> None:
        notifier.stopping()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    queue = EventQueue()
    if reload_config is not None:
        reloading = functools.partial(
            _reload, ActiveSettings(settings), reload_config, queue, notifier
        )
        loop.add_signal_handler(signal.SIGHUP, reloading)
    # It is never stopped: the end of the process must not hang either.
    return await serve(settings, stop, Watchdog(notifier), queue)


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    watchdog: Watchdog | None = None,
    queue: EventQueue | None = None,
    conventions: Sequence[Convention] = (),
) -> int:
    """Run the gateway until ``stop`` is set; see :func:`run`.

    Args:
        settings: The configuration.
        stop: Set to end it.
        watchdog: May end the process; None where the process is not ours.
        queue: Where events are put; None makes one.
        conventions: To publish by besides the native one.
    """
    clock = SystemClock()
    liveness = LivenessRegistry(clock)
    queue = queue or EventQueue()
    path, state_dir = Path(settings.store.path), Path(settings.state_folder)
    store = backend_of(settings.store).store(settings.store, queue.put)
    try:
        opened, salt = await _open(store)
    except StoreLocked as error:
        log.error("store.locked", error=str(error), hint=error.hint)
        return os.EX_TEMPFAIL
    version = bridge.__version__
    discovery = DiscoveryPublisher(settings, version=version, salt=salt)
    core = Core(settings, version=version, salt=salt, guests=(discovery,))
    topics = core.topics
    cloud = EaseeCloud(
        settings.easee, token_path=state_dir / TOKEN_FILE, clock=clock, emit=queue.put
    )
    source = _source(settings, cloud, clock, liveness, queue)
    conventions = (Native(topics, settings.publish), *conventions)
    connections = _connections(settings.mqtt, conventions, topics, liveness, queue)
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
    )
    charger_list_file = ChargerListFile(state_dir / CHARGER_LIST_FILE, account_of(settings.easee))
    published_file = PublishedDiscoveryFile(state_dir / PUBLISHED_DISCOVERY_FILE, settings.mqtt)
    kept_state = KeptComponentState(FileDocuments(state_dir))
    log.info("bridge.started", version=bridge.__version__, store=str(path))
    recorder = _recorder(settings, core, clock)
    names = dict(settings.easee.names)
    model = StatusModel(lambda: clock.now().wall, names) if settings.http.page else None
    metrics = Metrics(model) if settings.http.enabled else None
    gateway = EventLoop(
        core,
        queue,
        conventions=conventions,
        connections=connections,
        link=mqtt_client,
        cloud=cloud,
        source=source,
        store=store,
        clock=clock,
        remember=charger_list_file.save,
        save_published=published_file.save,
        save_state=kept_state.save,
        beat=_beat(watchdog),
        liveness=liveness,
        metrics=metrics,
        recorder=recorder,
        save_record=functools.partial(_save_record, settings, salt, clock),
    )
    if watchdog is not None:
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGUSR1, functools.partial(gateway.write_record, "signal")
        )
    web = None if metrics is None else _web(settings.http, metrics, gateway.backlog, clock)
    services: dict[str, Callable[[], Awaitable[None]]] = {
        "log": functools.partial(_tell_repeated, clock)
    }
    if web is not None:
        services["http"] = web
    logs.limit_lines(lambda: clock.now().mono_s)
    if watchdog is not None:
        watchdog.start()
    try:
        last_seen = LastSeenFile(state_dir / LAST_SEEN_FILE)
        known = charger_list_file.load()
        started = Started(
            known.charger_ids,
            published_file.load(),
            last_seen.load(),
            known.left,
            known.former,
            kept_state.load(),
        )
        await gateway.run(stop, opened=opened, started=started, services=services)
        last_seen.save(clock.now())
    finally:
        await cloud.close()
        await store.close()
        logs.end_limit()
    log.info("bridge.stopped")
    return os.EX_OK


def _connections(
    settings: MqttSettings,
    conventions: Sequence[Convention],
    topics: Topics,
    liveness: LivenessRegistry,
    queue: EventQueue,
) -> list[ConventionConnection]:
    """Create the connections of conventions that have one of their own."""
    clock, made = SystemClock(), []
    for convention in conventions:
        need = convention.connection
        if need is None:
            continue
        connection = ConventionConnection(
            convention, need, topics=topics, clock=clock, put=queue.put
        )
        mqtt_client = MqttClient(
            replace(settings, client_id=need.client_id),
            will=need.will,
            subscriptions=convention.subscriptions,
            clock=clock,
            emit=connection.emit,
            has_values=False,
            heartbeat=functools.partial(liveness.expect, f"mqtt {need.name}"),
        )
        connection.attach(mqtt_client)
        made.append(connection)
    return made


def _source(
    settings: Settings,
    cloud: Cloud,
    clock: Clock,
    liveness: LivenessRegistry,
    queue: EventQueue,
) -> ObservationSource | None:
    """Create the configured source of observations; None where values are polled."""
    if settings.easee.source != "stream":
        return None
    return HubStream(
        settings.easee,
        cloud=cloud,
        clock=clock,
        emit=queue.put,
        heartbeat=functools.partial(liveness.expect, "stream"),
        crowded=queue.is_full,
    )


def _recorder(settings: Settings, core: Core, clock: Clock) -> Recorder | None:
    """Create the recorder if enabled."""
    if not settings.recorder.max_mib:
        return None
    max_bytes = settings.recorder.max_mib * MIB
    return Recorder(core, max_bytes=max_bytes, read_s=lambda: clock.now().mono_s)


def _save_record(
    settings: Settings, salt: bytes, clock: Clock, excerpt: Excerpt, reason: str
) -> None:
    """Write a record into the state directory."""
    from bridge.adapters.state_files import record_files  # noqa: PLC0415 - few are ever written
    from bridge.recorder.writing import content_of  # noqa: PLC0415 - likewise

    now = clock.now()
    try:
        content = content_of(
            excerpt, settings, salt, version=bridge.__version__, reason=reason, now=now
        )
        path = record_files.save(Path(settings.state_folder), content, now.wall)
    except (RecordError, OSError) as error:
        log.error("record.failed", reason=reason, error=str(error))
    else:
        log.warning("record.written", path=str(path), reason=reason)


async def _tell_repeated(clock: Clock) -> None:
    """Log once a minute which lines were suppressed."""
    while True:
        await clock.sleep(REPEATED_EVERY_S)
        logs.tell_repeated()


def _beat(watchdog: Watchdog | None) -> Callable[[float], object] | None:
    """Return the heartbeat callback: for the watchdog in this process and the file outside.

    It comes often enough, and never while anything is late, to clean up after bursts too.
    """
    alive = alive_path(os.environ)
    if watchdog is None and alive is None:
        return None

    def say(mono_s: float) -> None:
        if watchdog is not None:
            watchdog.beat()
        if alive is not None:
            beat(alive, mono_s)
        process_tuning.trim_heap()

    return say


def _reload(
    active: ActiveSettings,
    reload_config: ReloadConfig,
    queue: EventQueue,
    notifier: SystemdNotifier,
) -> None:
    """Read the configuration again, and take it or say why not. A file of 256 KiB at most."""
    notifier.reloading(SystemClock().now().mono_s)
    try:
        changed = change(active.settings, reload_config())
    except ConfigError as error:
        for problem in error.problems:
            log.error("config.refused", problem=problem)
        queue.put(ReconfigurationFailed(error.problems))
    else:
        active.settings = changed.settings
        logs.configure(changed.settings.log)
        log.info("config.reloaded", taken=changed.taken, waiting=changed.waiting)
        queue.put(Reconfigured(changed.settings, changed.waiting))
    notifier.ready()


def _web(
    settings: HttpSettings, counters: Metrics, backlog: QueueDepth, clock: Clock
) -> Callable[[], Awaitable[None]]:
    """Create the web server if enabled."""
    from bridge.adapters.http import health, metrics, page  # noqa: PLC0415 - 3 MB most do not need
    from bridge.adapters.http.server import HttpServer  # noqa: PLC0415 - likewise

    routes = health.routes(counters) | metrics.routes(counters, bridge.__version__, backlog)
    if counters.model is not None:
        routes |= page.routes(counters.model, clock)
    return HttpServer(settings, routes, clock).run


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
