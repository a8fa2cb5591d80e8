"""Route each event to the component that owns it, and decide what concerns several of them.

The machine is pure. :meth:`Router.handle` takes one event and the moment it happened and yields
what is to be done; :meth:`Router.deadline_s` says when it wants a ``Tick``. A rule that concerns
one component stands there. What concerns several stands here: connections, the list of chargers,
messages held after a resumption.
"""

import itertools
import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import assert_never

from bridge.conventions.homeassistant.publisher import DiscoveryPublisher
from bridge.core.alerts import Alerts
from bridge.core.broker import BrokerWatch
from bridge.core.changes import ValueChanged
from bridge.core.chargers.departures import UNNAMED_BELOW, Departures
from bridge.core.chargers.fleet import ChargerRegistry, batched
from bridge.core.chargers.offline_access_alerts import ACCESS_IDS, OfflineAccessAlerts
from bridge.core.commands.active_commands import Command
from bridge.core.commands.retained import RetainedWatch
from bridge.core.commands.service import CommandService
from bridge.core.commands.state_machine import State
from bridge.core.containment import Containment, Timed
from bridge.core.delivery.broker_heartbeat import BrokerHeartbeat
from bridge.core.delivery.outbox import REFUSED
from bridge.core.delivery.rejected_publications import RejectedPublications
from bridge.core.easee import rest_responses
from bridge.core.easee.command_catalogue import CATALOGUE, REFLECTING_IDS, allowed
from bridge.core.easee.decode import REGISTRY, Observation
from bridge.core.easee.enumerations import command_name
from bridge.core.easee.rest_requests import charger_list_request, is_serial, observations_request
from bridge.core.effects import (
    Acknowledge,
    Effect,
    LogEntry,
    SaveChargerList,
    SendRequest,
    Subscribe,
)
from bridge.core.events import (
    ChargerResponse,
    CloudFailed,
    CloudResponse,
    CloudStatusChanged,
    CommandSaved,
    CommandSaveFailed,
    ComponentFailed,
    Event,
    MqttAcked,
    MqttConnected,
    MqttDisconnected,
    MqttMessage,
    MqttSubscribed,
    MqttUnreachable,
    ObservationsReceived,
    ProcessSuspended,
    ReconfigurationFailed,
    Reconfigured,
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
from bridge.core.neighbours import Neighbours
from bridge.core.queries.catalogue import QUERIES, PersonalDataPolicy
from bridge.core.queries.service import QueryService
from bridge.core.records.moment import Timestamp
from bridge.core.records.stored_report import StoredReport
from bridge.core.sessions.service import SessionService
from bridge.core.sources.absence import Absence
from bridge.core.sources.discovery import ChargerDiscovery
from bridge.core.sources.polling import Polling
from bridge.core.sources.recovery_probe import RecoveryProbe
from bridge.core.status import TROUBLES, Status
from bridge.core.topics import (
    AlertTopic,
    AvailabilityTopic,
    BridgeInfoTopic,
    BridgeStateTopic,
    Echo,
    ForgetTopic,
    GetTopic,
    HeartbeatTopic,
    PersonalTopic,
    SessionAckTopic,
    SessionReplayTopic,
    SetTopic,
    Topics,
    is_topic_level,
)
from bridge.core.value_format import iso_utc
from bridge.errors import CloudError, CloudRejected, DecodeError, RateLimited
from bridge.settings import Settings

# Debug channels nobody polls for; everything else the registry knows is read in one call.
POLLED_IDS = tuple(sorted(REGISTRY))
READ_TIMEOUT_S = 30.0
SMART_CHARGING = "smart_charging"
FIRMWARE = 80
# Observations that somebody besides their charger wants to know of.
OBSERVED_BY_OTHERS = REFLECTING_IDS | ACCESS_IDS | {FIRMWARE}
SHARE_ONE = "share a charger with this account, or name serials in easee.chargers"
NAME_THEM = "name the serials in easee.chargers, spelled as on the charger, and report this message"
NEVER_S = float("-inf")
# After the process stood still, what was in its sockets is read within this time.
LATE_MESSAGES_S = 5.0
# The broker sends what it keeps right behind the subscription.
ECHO_TIMEOUT_S = 10.0
NAMED_IN_ALERT = 10
# What a resumed session kept for us comes before what tells of another bridge, which answers our
# first heartbeat. For so long nobody is answered, and a command that runs is late by no more.
HEARD_OUT_S = 0.5
MAX_HELD = 256
# Two bridges with one base topic must not shout at each other all day.
ASSERT_EVERY_S = 10.0


class Router:
    """The whole core behind two methods."""

    def __init__(self, settings: Settings, *, version: str, salt: bytes) -> None:
        self._settings = settings
        self.topics = Topics(settings.mqtt.base_topic, settings.mqtt.reply_prefixes)
        self._alerts = Alerts(self.topics)
        self._contained = Containment(self._alerts)
        client_id, instance = settings.mqtt.client_id, _instance(salt)
        self._status = Status(
            self.topics, self._alerts, version, _capabilities(settings), client_id, instance
        )
        self._rejected = RejectedPublications(self._alerts)
        self._broker = BrokerWatch(self.topics, self._alerts)
        self._ids = itertools.count(1)
        self._sessions = SessionService(
            self.topics, settings, self._alerts, salt=salt, next_id=self._ids.__next__
        )
        self._status.reports = lambda: self._sessions.standing
        self._chargers = ChargerRegistry(
            self.topics, settings.publish, salt, self._status, self._sessions.unreadable
        )
        self._discovery = ChargerDiscovery(settings.easee.chargers)
        self._absence = Absence()
        self._departures = Departures(self.topics, self._forgotten, self._is_served_elsewhere)
        self._polling = Polling(settings.easee.source, float(settings.easee.poll_interval_s))
        self._probe = RecoveryProbe()
        self._commands = CommandService(
            self.topics,
            settings.commands,
            next_call_id=self._ids.__next__,
            observe=self._observed,
            foreign=self._unmatched_response,
            settled=self._command_finished,
        )
        self._access = OfflineAccessAlerts(self._alerts)
        self._broker_heartbeat = BrokerHeartbeat(
            self.topics,
            self._alerts,
            client_id=client_id,
            keepalive_s=settings.mqtt.keepalive_s,
        )
        self._neighbours = Neighbours(
            self.topics, self._alerts, client_id=client_id, instance=instance
        )
        self._retained = RetainedWatch(self.topics, self._alerts)
        self._late_until_s = NEVER_S
        self._late_by_s = 0.0
        self._queries = QueryService(
            self.topics,
            PersonalDataPolicy(settings.publish.personal_data, salt),
            next_id=self._ids.__next__,
            observe=self._observed,
        )
        self._ha_publisher = DiscoveryPublisher(settings, self.topics, version=version, salt=salt)
        self._discovery_call: int | None = None
        self._probe_call: int | None = None
        # The chargers there are, as the next start is to know them; and what was written of them.
        self._remembered: tuple[str, ...] = ()
        self._written: SaveChargerList | None = None
        self._missing: tuple[str, ...] = ()
        self._connected_s = NEVER_S
        self._heard_s = NEVER_S
        self._alive_at: datetime | None = None
        self._asserted_s = NEVER_S
        self._echoed: set[str] = set()
        self._held: deque[tuple[MqttMessage, float]] = deque()
        self._held_until_s = NEVER_S
        self._reads: dict[int, str] = {}
        self._timed = self._in_order()

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Every filter the bridge subscribes to, besides its own retained topics."""
        return self.topics.subscriptions + self._ha_publisher.subscriptions

    # -- the two methods --------------------------------------------------------------------

    def handle(self, event: Event, now: Timestamp) -> Iterator[Effect]:
        """Take one event and yield what follows from it."""
        if isinstance(event, ValuesAcked) and not self._rejected.is_kept:
            return  # nothing follows, and these come with every batch of values
        self._contained.doing = type(event).__name__
        try:
            yield from self._route(event, now)
        except Exception as error:  # noqa: BLE001 - what is due is due all the same
            self._contained.failed("machine", error)
        yield from self._contained.due(self._timed, now)

    def deadline_s(self) -> float | None:
        """Return the monotonic time at which a ``Tick`` is wanted, or None."""
        return self._contained.deadline_s(self._timed)

    def _in_order(self) -> tuple[Timed, ...]:
        """Name who has something to do when time has come, in the order they are asked."""
        return (
            Timed("discovery", self._discovery.deadline_s, self._ask_for_list),
            Timed("probe", self._probe.deadline_s, self._ask_for_proof),
            Timed("polling", self._polling.deadline_s, self._poll),
            Timed("loopback", self._broker_heartbeat.deadline_s, self._broker_heartbeat.tick),
            Timed("held", self._held_deadline_s, self._release),
            Timed("journal", self._commands.deadline_s, self._commands.tick),
            Timed("sessions", self._sessions.deadline_s, self._sessions.tick),
            Timed("queries", self._queries.deadline_s, self._queries.tick),
            Timed("announcer", self._ha_publisher.deadline_s, self._ha_publisher.tick),
            Timed("retained", self._retained.deadline_s, self._retained.tick),
            Timed("neighbours", self._neighbours.deadline_s, self._neighbours.tick),
            Timed("departures", self._departures.deadline_s, self._departures.tick),
            Timed("denied", self._rejected.deadline_s, self._rejected.tick),
            Timed("broker", self._broker.deadline_s, self._broker.tick),
            Timed("fleet", self._chargers.deadline_s, self._look_for_silence),
            Timed("status", self._status.deadline_s, self._status.refresh),
        )

    # -- routing ----------------------------------------------------------------------------

    def _route(self, event: Event, now: Timestamp) -> Iterator[Effect]:  # noqa: C901, PLR0912, PLR0915 - one case per event
        run = self._contained.run  # one component's error must not silence the next
        match event:
            case ObservationsReceived():
                yield from self._observed(event, now)
            case ChargerResponse():
                yield from self._responded(event, now)
            case CommandSaved():
                self._status.store_ok = True
                yield from run("alerts", self._alerts.clear, "storage")
                yield from run("journal", self._commands.saved, event, now)
            case CommandSaveFailed(_, error):
                self._status.store_ok = False
                yield from run(
                    "alerts", self._alerts.raise_, "storage", str(error), error.hint, now
                )
                yield from run("journal", self._commands.not_saved, event, now)
            case MqttMessage():
                yield from self._acknowledged(event, "machine", self._message(event, now))
            case MqttAcked(message, reason_code):
                yield from self._acked(message, reason_code, now)
            case ValuesAcked(messages):
                yield from self._rejected.accepted(messages)
            case ValueConnectionOpened() | ValueConnectionClosed():
                yield from self._status.value_connection_changed(
                    is_open=isinstance(event, ValueConnectionOpened)
                )
            case MqttConnected():
                yield from self._mqtt_connected(event, now)
            case MqttSubscribed(refused):
                yield from run("broker", self._broker.subscribed, refused, now)
            case MqttUnreachable(reason):
                yield from run("broker", self._broker.unreachable, reason, now)
            case MqttDisconnected(reason):
                self._held.clear()  # nothing of it was acknowledged
                yield from run("neighbours", self._neighbours.disconnected, event, now)
                yield from run("retained", self._retained.disconnected)
                if self._heard_s > NEVER_S:
                    # A connection that was half open is noticed within two keepalives.
                    dead_s = 2 * self._settings.mqtt.keepalive_s
                    self._heard_s = max(self._heard_s, now.mono_s - dead_s)
                yield from run("sessions", self._sessions.disconnected)
                yield from run("journal", self._commands.disconnected)
                yield from run("loopback", self._broker_heartbeat.disconnected)
                yield from run("announcer", self._ha_publisher.disconnected)
                yield from run("broker", self._broker.unreachable, reason, now)
                yield from run("departures", self._departures.disconnected)
                yield LogEntry("warning", "mqtt.disconnected", {"reason": reason})
            case StreamOpened():
                self._status.cloud.stream_up = True
                if not self._status.cloud.refused:
                    yield from self._alerts.clear("stream_refused")
                yield from run("polling", self._polling.stream_up, now.mono_s)
                yield from run("discovery", self._discovery.schedule_soon, now)
                yield from run("sessions", self._sessions.stream_opened, now)
                yield from run("journal", self._commands.stream, now, is_up=True)
            case StreamClosed():
                self._status.cloud.stream_up = False
                unwelcome = event.refused
                yield from run("polling", self._polling.stream_down, now.mono_s, refused=unwelcome)
                yield from run("journal", self._commands.stream, now, is_up=False)
                self._status.cloud.refused.clear()
                yield from run("polling", self._polling.refused, ())
                yield from self._unwelcome(event, now)
            case StreamSubscription():
                yield from self._subscribed(event, now)
            case StreamAnomaly():
                yield from self._stream_anomaly(event, now)
            case CloudStatusChanged():
                yield from run("probe", self._probe.link, event, now)
                yield from run("status", self._status.rest_changed, event, now)
            case CloudResponse():
                yield from self._answered(event, now)
            case CloudFailed():
                yield from self._failed(event, now)
            case StoreOpened():
                yield from self._store_opened(event, now)
            case ReportsRead() | ReportsReadFailed():
                yield from self._reports_read(event, now)
            case StoreMaintained():
                yield from self._sessions.tended(event, now)
            case StoreFailed(message, hint):
                self._status.store_ok = False
                yield from self._alerts.raise_("storage", message, hint, now)
            case ReportSaved():
                self._status.store_ok = True
                yield from run("alerts", self._alerts.clear, "storage")
                yield from run("sessions", self._sessions.saved, event, now)
                yield from run("fleet", self._report_stored, event.stored)
            case ReportSaveFailed():
                self._status.store_ok = False
                yield from run("sessions", self._sessions.not_saved, event, now)
                yield from run("fleet", self._chargers.report_stored, event.report)
            case Started(remembered, announced, alive_at, left, former):
                self._alive_at = alive_at
                yield from run("announcer", self._ha_publisher.started, announced)
                yield from run("status", self._status.started, now)
                instance, started_at = self._status.instance, self._status.started_at
                yield from run("loopback", self._broker_heartbeat.started, instance, started_at)
                yield from run("neighbours", self._neighbours.started, started_at)
                yield from run("polling", self._polling.stream_down, now.mono_s)
                yield from run("discovery", self._discovery.start, now)
                yield from run("departures", self._departures.started, left, now)
                yield from self._begin(remembered, left, former, now)
            case Reconfigured(settings, waiting):
                yield from self._reconfigured(settings, waiting, now)
            case ReconfigurationFailed(problems):
                yield from self._alerts.raise_(
                    "configuration",
                    f"the changed configuration is not used: {'; '.join(problems)}",
                    "mend the file and reload again; the bridge goes on with the old one",
                    now,
                )
            case ProcessSuspended(seconds):
                self._late_until_s, self._late_by_s = now.mono_s + LATE_MESSAGES_S, seconds
                yield LogEntry("warning", "process.suspended", {"seconds": round(seconds)})
            case Stopping():
                yield from self._stopping(now)
            case ComponentFailed(name, doing, error):
                self._contained.doing = doing
                self._contained.failed(name, error)
            case Tick():
                pass
            case _:
                assert_never(event)

    # -- what time brings to those that do not do it themselves -------------------------------

    def _ask_for_list(self, now: Timestamp) -> Iterator[Effect]:
        if self._discovery.poll_due(now):
            self._discovery_call = next(self._ids)
            yield SendRequest(self._discovery_call, charger_list_request(), READ_TIMEOUT_S)

    def _ask_for_proof(self, now: Timestamp) -> Iterator[Effect]:
        if self._probe.take(now):
            self._probe_call = next(self._ids)
            yield SendRequest(self._probe_call, charger_list_request(), READ_TIMEOUT_S)

    def _poll(self, now: Timestamp) -> Iterator[Effect]:
        for charger_id in self._polling.due(now.mono_s):
            call_id = next(self._ids)
            self._reads[call_id] = charger_id
            request = observations_request(charger_id, POLLED_IDS)
            yield SendRequest(call_id, request, READ_TIMEOUT_S)
        self._status.cloud.polling = self._polling.delivering(now.mono_s)

    def _look_for_silence(self, now: Timestamp) -> Iterator[Effect]:
        yield from self._chargers.availability(now)

    # -- what the routes do when more than one room is concerned -----------------------------

    def _observed(self, event: ObservationsReceived, now: Timestamp) -> Iterator[Effect]:
        """Take observations: one after the other, and what follows from all of them at once."""
        effects: list[Effect | ValueChanged] = []
        chargers, source = self._chargers, event.source
        for raw in event.observations:
            try:
                observation = chargers.read(raw, source, now, effects)
                if observation is None:
                    continue
                if raw.id in OBSERVED_BY_OTHERS:
                    self._apply(observation, source, now, effects)
                else:
                    chargers.apply(observation, source, now, effects, ours=False)
            except Exception as error:  # noqa: BLE001 - one value must not cost the next
                self._contained.failed("fleet", error)
        yield from batched(effects)

    def _apply(
        self,
        observation: Observation,
        source: str,
        now: Timestamp,
        effects: list[Effect | ValueChanged],
    ) -> None:
        """Take one that others than its charger may wait for."""
        run, ask = self._contained.run, self._contained.ask
        charger_id, number = observation.charger_id, observation.spec.id
        ours = number in REFLECTING_IDS and bool(
            ask("journal", self._commands.expects, charger_id, number, now)
        )
        ask("fleet", self._chargers.apply, observation, source, now, effects, ours=ours)
        if number == FIRMWARE:
            value = str(observation.value)
            ask("announcer", self._ha_publisher.firmware, charger_id, value, now)
        if number in ACCESS_IDS:
            state = self._chargers.chargers[charger_id].state
            effects += run("access", self._access.observed, charger_id, state, now)
        if number in REFLECTING_IDS:
            effects += run("journal", self._commands.observed, observation, now)

    def _command_finished(self, command: Command, now: Timestamp) -> Iterator[Effect]:
        """Take a command's end: one setting cannot be read back, and shows only here."""
        took = command.state in (State.CONFIRMED, State.NOOP)
        charger = self._chargers.chargers.get(command.charger_id)
        if took and command.spec.name == SMART_CHARGING and charger is not None:
            step = charger.state.smart_charging_setting
            yield from self._contained.run("fleet", step, command.argument, now)

    def _responded(self, event: ChargerResponse, now: Timestamp) -> Iterator[Effect]:
        charger = self._chargers.chargers.get(event.charger_id)
        if charger is None:
            self._status.counters["responses_of_unknown_chargers"] += 1
            return
        yield from self._contained.run("journal", self._commands.responded, event, now)

    def _unmatched_response(self, event: ChargerResponse, now: Timestamp) -> Iterator[Effect]:
        """Announce a response that none of our commands caused."""
        charger = self._chargers.chargers.get(event.charger_id)
        self._status.counters["foreign_commands"] += 1
        if charger is not None:
            name = command_name(event.command_id or 0)
            told = self._contained.ask("fleet", charger.announcer.foreign_command, event, name, now)
            if told is not None:
                yield told

    def _message(self, event: MqttMessage, now: Timestamp) -> Iterator[Effect]:
        self._heard_s = now.mono_s
        ask = self._contained.ask
        if ask("announcer", self._ha_publisher.handles, event.topic, event.payload, now):
            yield Acknowledge(event.ack_token)
            return
        match self.topics.parse(event.topic):
            case SetTopic() | GetTopic():
                self._held.append((event, now.mono_s))
                if len(self._held) > MAX_HELD:
                    self._held_until_s = NEVER_S
                yield from self._release(now)
            case (SessionAckTopic() | SessionReplayTopic()) as target:
                step = self._sessions.message(event, target, now)
                yield from self._acknowledged(event, "sessions", step)
            case ForgetTopic():
                yield from self._contained.run("departures", self._forget, event, now)
                yield Acknowledge(event.ack_token)
            case HeartbeatTopic():
                yield from self._heartbeat(event, now)
                yield Acknowledge(event.ack_token)
            case None:
                yield Acknowledge(event.ack_token)
            case topic:
                yield from self._correct_own_retained(event, topic, now)
                yield Acknowledge(event.ack_token)

    def _held_deadline_s(self) -> float | None:
        return self._held_until_s if self._held else None

    def _release(self, now: Timestamp) -> Iterator[Effect]:
        """Take what was asked, in order, once it can be told from another bridge's."""
        if now.mono_s < self._held_until_s:
            return
        while self._held:
            event, since_s = self._held.popleft()
            match self.topics.parse(event.topic):
                case (SetTopic() | GetTopic()) as target:
                    yield from self._addressed(event, target, now.mono_s - since_s, now)

    def _addressed(
        self, event: MqttMessage, target: SetTopic | GetTopic, held_s: float, now: Timestamp
    ) -> Iterator[Effect]:
        """Take what is asked of a charger, unless it is another bridge's to answer."""
        if self._is_left(target.charger_id, now):
            self._status.counters["left_to_another_bridge"] += 1
            yield Acknowledge(event.ack_token)
        elif isinstance(target, SetTopic):
            yield from self._command(event, target, held_s, now)
        else:
            step = self._queries.receive(event, target, self._chargers.chargers, now)
            yield from self._acknowledged(event, "queries", step)

    def _command(
        self, event: MqttMessage, target: SetTopic, held_s: float, now: Timestamp
    ) -> Iterator[Effect]:
        """Take a command; what the broker keeps of ours is emptied, and answered once."""
        run, ask, watch = self._contained.run, self._contained.ask, self._retained
        chargers = self._chargers.chargers
        no_answer = ask("retained", watch.is_ours, event, now)
        no_answer = no_answer or ask("retained", watch.is_answered, event, now)
        if target.charger_id in chargers:
            take = watch.found if event.retained else watch.live
            yield from run("retained", take, event, now)
        elif event.retained:
            yield from run("retained", watch.answered, event)
        if no_answer:
            yield Acknowledge(event.ack_token)
            return
        self._commands.is_unsure_of_retained = watch.is_unsure
        aged = self._shorten_ttl(event, now)
        step = self._commands.receive(aged, target, chargers, now, held_s=held_s)
        yield from self._acknowledged(event, "journal", step)

    def _heartbeat(self, event: MqttMessage, now: Timestamp) -> Iterator[Effect]:
        run = self._contained.run
        yield from run("loopback", self._broker_heartbeat.returned, event, now)
        yield from run("retained", self._retained.tried, event, now)
        if self._status.tells_retained is self._retained.is_unsure:
            self._status.tells_retained = not self._retained.is_unsure
            yield self._status.info()
        if self._contained.ask("neighbours", self._neighbours.is_new, event):
            yield self._status.info()  # so that it knows of us and our chargers
        yield from run("neighbours", self._neighbours.heartbeat, event, now)

    def _is_left(self, charger_id: str, now: Timestamp) -> bool:
        """Say whether what is asked of a charger is another bridge's to answer."""
        ask = self._contained.ask
        if charger_id in self._chargers.chargers:
            return bool(ask("neighbours", self._neighbours.acts_for, charger_id, now))
        # Before we know our own chargers one that is kept may be ours.
        may_be_ours = not (self._chargers.chargers or self._neighbours.is_there(now))
        return not may_be_ours and bool(ask("neighbours", self._neighbours.keeps, charger_id, now))

    def _acknowledged(
        self, event: MqttMessage, name: str, step: Iterator[Effect]
    ) -> Iterator[Effect]:
        """Acknowledge a message also when its component fails: it would come back for ever."""
        is_acknowledged = False
        try:
            for effect in step:
                is_acknowledged = is_acknowledged or effect == Acknowledge(event.ack_token)
                yield effect
        except Exception as error:  # noqa: BLE001 - the border of a component
            self._contained.failed(name, error)
            if not is_acknowledged:
                yield Acknowledge(event.ack_token)

    def _shorten_ttl(self, event: MqttMessage, now: Timestamp) -> MqttMessage:
        """Shorten the life of a command that may have waited in our socket while we stood still."""
        if now.mono_s >= self._late_until_s:
            return event
        left_s = event.expiry_s if event.expiry_s is not None else self._settings.commands.ttl_s
        return replace(event, expiry_s=max(0, math.floor(left_s - self._late_by_s)))

    def _correct_own_retained(
        self,
        event: MqttMessage,
        topic: Echo,
        now: Timestamp,
    ) -> Iterator[Effect]:
        """Put right what the broker keeps of an earlier run, or somebody else said of us."""
        # One message of each topic is kept; the next one is live, whatever its flag says.
        fresh = (
            event.retained
            and now.mono_s - self._connected_s < ECHO_TIMEOUT_S
            and event.topic not in self._echoed
        )
        if fresh:
            self._echoed.add(event.topic)
        run = self._contained.run
        match topic:
            case AvailabilityTopic(charger_id) if is_serial(charger_id):
                served, left = self._chargers.chargers, self._departures.left
                if charger_id not in served and charger_id not in left:
                    take = self._neighbours.availability
                    yield from run("neighbours", take, charger_id, event.payload)
            case AlertTopic(kind):
                is_there = self._contained.ask("neighbours", self._neighbours.is_there, now)
                ours = all(map(is_topic_level, kind.split("/"))) and not is_there
                if fresh and event.payload and ours and not self._alerts.is_open(kind):
                    yield Publish(self.topics.alert(kind), b"")
            case PersonalTopic():
                if event.retained and event.payload:
                    yield LogEntry("info", "personal.emptied", {"topic": topic.topic})
                    yield Publish(topic.topic, b"")
            case BridgeInfoTopic():
                yield from run("neighbours", self._neighbours.info, event, now, is_kept=fresh)
            case BridgeStateTopic():
                yield from self._state_echo(event.payload, now, fresh=fresh)

    def _state_echo(self, payload: bytes, now: Timestamp, *, fresh: bool) -> Iterator[Effect]:
        """Assert that we are there, whoever left."""
        if payload == b"offline" and not fresh:
            # Another bridge said it of all its chargers before, ours among them.
            shared = self._contained.ask("neighbours", self._neighbours.shared, now)
            for charger_id in sorted(shared or ()):
                yield self._chargers.chargers[charger_id].state.availability_again(now)
        yield from self._contained.run(
            "neighbours", self._neighbours.state, payload, now, is_kept=fresh
        )
        # The late will of a connection that was taken over, for instance.
        if payload != b"online" and now.mono_s - self._asserted_s >= ASSERT_EVERY_S:
            self._asserted_s = now.mono_s
            yield Publish(self.topics.bridge_state, b"online")

    def _mqtt_connected(self, event: MqttConnected, now: Timestamp) -> Iterator[Effect]:
        self._status.mqtt_protocol, self._status.keeps_s = event.protocol, event.keeps_s
        waited_s = self._unheard_s(now)
        self._connected_s = self._heard_s = now.mono_s
        self._late_until_s = NEVER_S
        self._echoed.clear()
        # Who does not hear itself hears no other bridge either.
        is_heard_out = event.session_present and bool(event.loopback)
        self._held_until_s = now.mono_s + HEARD_OUT_S if is_heard_out else NEVER_S
        run = self._contained.run
        yield from run("denied", self._rejected.connected, event)
        yield from run("neighbours", self._neighbours.connected, now)
        yield from run("broker", self._broker.connected, event, now)
        yield from run("retained", self._retained.connected, event)
        self._status.tells_retained = not self._retained.is_unsure
        yield from run("loopback", self._broker_heartbeat.connected, event, now)
        yield from run("status", self._status.publications, now)
        # Also when the broker remembers our session: a mosquitto that was killed restores an older
        # store, says session_present, and has lost what was retained since.
        for charger in self._chargers.chargers.values():
            yield from run("fleet", charger.publications, now)
        yield from run("departures", self._departures.connected, now)
        holds = event.maximum_qos > 0
        yield from run("sessions", self._sessions.connected, now, holds=holds)
        yield from run(
            "journal",
            self._commands.connected,
            now,
            session_present=event.session_present,
            waited_s=waited_s,
        )
        yield from run("announcer", self._ha_publisher.connected, now, event.largest_packet_bytes)

    def _unheard_s(self, now: Timestamp) -> float:
        """Return how long the broker has not heard of us, at most: so long may a message wait."""
        if self._heard_s > NEVER_S:
            return now.mono_s - self._heard_s
        known = [at for at in (self._alive_at, self._commands.alive_at) if at is not None]
        if not known or not now.trusted or max(known) > now.wall:
            return math.inf
        return (now.wall - max(known)).total_seconds()

    def _store_opened(self, event: StoreOpened, now: Timestamp) -> Iterator[Effect]:
        self._status.store_ok = True
        yield from self._alerts.clear("storage")
        for problem in event.problems:
            yield from self._alerts.raise_(problem.kind, problem.message, problem.hint, now)
        yield from self._contained.run("sessions", self._sessions.opened, event, now)
        yield from self._contained.run("journal", self._commands.opened, event.commands, now)

    def _reports_read(
        self, event: ReportsRead | ReportsReadFailed, now: Timestamp
    ) -> Iterator[Effect]:
        run, read_id = self._contained.run, event.read_id
        is_query = self._contained.ask("queries", self._queries.owns, read_id)
        name: str = "queries" if is_query else "sessions"
        asks: QueryService | SessionService = self._queries if is_query else self._sessions
        if isinstance(event, ReportsRead):
            yield from run(name, asks.reports_read, event, now)
            for stored in event.reports[-1:]:
                yield from run("fleet", self._report_stored, stored)
        else:
            yield from run(name, asks.reports_not_read, event, now)

    def _report_stored(self, stored: StoredReport) -> Iterator[Effect]:
        yield from self._chargers.report_stored(stored.report, (stored.key, stored.revision))

    def _acked(self, message: Publish, reason_code: int, now: Timestamp) -> Iterator[Effect]:
        self._heard_s = now.mono_s
        run = self._contained.run
        yield from run("loopback", self._broker_heartbeat.acked, message, now)
        if message.topic == self.topics.bridge_heartbeat:
            return  # refused, it is missed, and that has an alert of its own
        yield from run("denied", self._rejected.acked, message, reason_code, now)
        yield from run("departures", self._departures.acked, message, now)
        if reason_code >= REFUSED:
            self._status.counters["publications_refused"] += 1
        yield from run("sessions", self._sessions.acked, message, reason_code, now)
        yield from run("journal", self._commands.acked, message.tag, now)
        yield from run("announcer", self._ha_publisher.acked, message, reason_code, now)

    def _stream_anomaly(self, event: StreamAnomaly, now: Timestamp) -> Iterator[Effect]:
        self._status.counters[f"stream_{event.kind}"] += event.times
        yield from self._contained.run("discovery", self._discovery.schedule_soon, now)
        facts = {"kind": event.kind, "detail": event.detail, "times": event.times}
        yield LogEntry("debug", "stream.anomaly", facts)

    def _asked(
        self, call_id: int
    ) -> tuple[str, CommandService | SessionService | QueryService] | None:
        """Find who made a REST call."""
        callers: tuple[tuple[str, CommandService | SessionService | QueryService], ...] = (
            ("journal", self._commands),
            ("sessions", self._sessions),
            ("queries", self._queries),
        )
        for name, caller in callers:
            if self._contained.ask(name, caller.owns, call_id):
                return name, caller
        return None

    def _answered(self, event: CloudResponse, now: Timestamp) -> Iterator[Effect]:
        if (asked := self._asked(event.call_id)) is not None:
            name, asks = asked
            yield from self._contained.run(name, asks.answered, event, now)
        elif event.call_id == self._discovery_call:
            yield from self._contained.run(
                "discovery", self._charger_list_received, event.body, now
            )
        elif (charger_id := self._reads.pop(event.call_id, None)) is not None:
            yield from self._contained.run("polling", self._read, charger_id, event.body, now)

    def _failed(self, event: CloudFailed, now: Timestamp) -> Iterator[Effect]:
        wait_s = getattr(event.error, "retry_after_s", None)
        if (asked := self._asked(event.call_id)) is not None:
            name, asks = asked
            yield from self._contained.run(name, asks.failed, event, now)
        elif event.call_id == self._discovery_call:
            self._discovery.failed(now, wait_s)
            yield LogEntry("warning", "discovery.failed", {"error": str(event.error)})
            yield from self._not_listed(event.error, now)
        elif (charger_id := self._reads.pop(event.call_id, None)) is not None:
            self._polling.failed(charger_id, now.mono_s, wait_s)
            yield LogEntry("warning", "poll.failed", {"error": str(event.error)})
        elif event.call_id == self._probe_call:
            self._probe.failed(now, wait_s)

    def _read(self, charger_id: str, body: bytes, now: Timestamp) -> Iterator[Effect]:
        try:
            read = rest_responses.observations(body, charger_id)
        except DecodeError as error:
            self._status.counters["polls_unreadable"] += 1
            self._polling.failed(charger_id, now.mono_s)
            yield LogEntry("warning", "poll.unreadable", {"error": str(error)})
            return
        self._polling.answered(charger_id, now.mono_s)
        if read.dropped:
            self._status.counters["poll_bad_records"] += read.dropped
            facts = {"charger_id": charger_id, "count": read.dropped}
            yield LogEntry("warning", "poll.records_without_an_id", facts)
        yield from self._observed(ObservationsReceived(read.observations, "poll"), now)

    def _charger_list_received(self, body: bytes, now: Timestamp) -> Iterator[Effect]:
        try:
            listed = rest_responses.charger_list(body)
        except DecodeError as error:
            self._discovery.failed(now, None)
            yield LogEntry("warning", "discovery.unreadable", {"error": str(error)})
            yield from self._without_chargers(f"the list cannot be read: {error}", NAME_THEM, now)
            return
        if self._status.cloud.rest == "ok":
            yield from self._alerts.clear("cloud_unreachable")
        yield from self._not_understood(listed, now)
        run, ids = self._contained.run, listed.charger_ids
        served, configured = self._chargers.chargers, self._settings.easee.chargers
        left = self._absence.listed(ids, served, now, is_whole=not listed.dropped)
        doubtful = self._absence.is_counting
        self._missing = self._discovery.listed(ids, now, is_doubtful=doubtful)
        yield from run("announcer", self._ha_publisher.listed, listed, now, decides=not configured)
        if left:
            yield LogEntry("warning", "chargers.left", {"left": left})
            yield from self._leave(left, now)
        wanted = (i for i in ids if not self._departures.is_emptied(i))
        yield from self._add_chargers(
            tuple(i for i in wanted if not configured or i in configured), now
        )
        yield from self._tell_absent(now)
        if not configured:
            self._remembered = tuple(served)
            if listed.dropped:
                reason = f"of {listed.dropped} entries none was understood: {listed.shapes}"
                yield from self._without_chargers(f"the account's list: {reason}", NAME_THEM, now)
            else:
                yield from self._without_chargers("the account lists none", SHARE_ONE, now)
        yield from self._remember()

    def _without_chargers(self, reason: str, hint: str, now: Timestamp) -> Iterator[Effect]:
        """Say that the main job is not done, unless it is."""
        if self._chargers.chargers:
            yield from self._alerts.clear("no_chargers")
        else:
            yield from self._alerts.raise_("no_chargers", f"no charger: {reason}", hint, now)

    def _not_listed(self, error: CloudError, now: Timestamp) -> Iterator[Effect]:
        """Say why no charger is served, unless an alert about the account or the way says it."""
        link_ok = self._status.cloud.rest == "ok"
        match error:
            case CloudRejected():
                yield from self._without_chargers(f"the list is refused: {error}", NAME_THEM, now)
            case RateLimited(local=True):
                pass  # nobody was asked, so nothing else is known
            case RateLimited() if not self._chargers.chargers and link_ok:
                message = f"{error}; no charger before that is over"
                hint = TROUBLES["limited"].hint
                yield from self._alerts.raise_("cloud_unreachable", message, hint, now)
            case _:
                yield from self._alerts.clear("no_chargers")

    def _not_understood(
        self, listed: rest_responses.ChargerList, now: Timestamp
    ) -> Iterator[Effect]:
        """Name what the account lists besides chargers that can be served."""
        if not listed.dropped:
            yield from self._alerts.clear("charger_not_understood")
            return
        facts = {"count": listed.dropped, "shapes": listed.shapes}
        yield LogEntry("warning", "discovery.entries_dropped", facts)
        if listed.charger_ids or self._chargers.chargers:
            yield from self._alerts.raise_(
                "charger_not_understood",
                f"the account's list: {listed.dropped} entries not understood: {listed.shapes}",
                NAME_THEM,
                now,
            )

    def _unwelcome(self, event: StreamClosed, now: Timestamp) -> Iterator[Effect]:
        """Name a hub that is there and does not want us; one that is away is nobody's fault."""
        if event.refused:
            yield from self._alerts.raise_(
                "stream_refused",
                f"the stream refuses us: {event.reason}",
                "nothing to do: values come by polling meanwhile, and it is tried again by itself",
                now,
            )
        else:
            yield from self._alerts.clear("stream_refused")

    def _subscribed(self, event: StreamSubscription, now: Timestamp) -> Iterator[Effect]:
        """Take the hub's answer about one charger: without its values we are not whole."""
        refused = self._status.cloud.refused
        if event.error is not None and event.charger_id in self._chargers.chargers:
            refused.add(event.charger_id)
        else:
            refused.discard(event.charger_id)
        yield from self._contained.run("polling", self._polling.refused, refused)
        if not refused:
            yield from self._alerts.clear("stream_refused")
        elif event.error is not None:
            yield from self._alerts.raise_(
                "stream_refused",
                f"the stream refuses {', '.join(sorted(refused))}: {event.error}",
                "check that this account may see the charger; it is tried again by itself",
                now,
            )

    def _add_chargers(self, charger_ids: tuple[str, ...], now: Timestamp) -> Iterator[Effect]:
        new = self._chargers.add(charger_ids)
        if not new:
            return
        self._departures.back(new)
        self._status.chargers = tuple(self._chargers.chargers)
        run = self._contained.run
        yield from run("polling", self._polling.watch, self._status.chargers, now.mono_s)
        yield LogEntry("info", "chargers.added", {"new": new, "all": len(self._status.chargers)})
        yield Subscribe(self._status.chargers)
        yield from run("neighbours", self._neighbours.serve, self._status.chargers, now)
        yield from run("retained", self._retained.served, now)
        yield from run("sessions", self._sessions.serve, new)
        yield from run("announcer", self._ha_publisher.add_chargers, new, now)
        yield self._status.info()

    # -- chargers that come and go -----------------------------------------------------------

    def _begin(
        self,
        remembered: tuple[str, ...],
        left: Mapping[str, datetime],
        former: tuple[str, ...],
        now: Timestamp,
    ) -> Iterator[Effect]:
        """Serve whom an earlier run served, but for those that left or were taken out since."""
        self._written = SaveChargerList(remembered, left)
        configured = self._settings.easee.chargers
        self._remembered = configured or remembered
        yield from self._contained.run("announcer", self._ha_publisher.leave, left)
        yield from self._add_chargers(tuple(i for i in self._remembered if i not in left), now)
        if configured:
            yield from self._take_out({*remembered, *left, *former} - set(configured), now)
        else:
            self._absence.remembered(remembered)
            if former:
                yield from self._leave(former, now)
        yield from self._remember()

    def _leave(self, charger_ids: Collection[str], now: Timestamp) -> Iterator[Effect]:
        """Serve chargers no more: they are offline, and what is held of them is given back."""
        run, served = self._contained.run, self._chargers.chargers
        strange = {
            i: served[i].state.names_beyond(UNNAMED_BELOW) for i in charger_ids if i in served
        }
        yield from run("departures", self._departures.leave, charger_ids, now, strange=strange)
        yield from run("fleet", self._chargers.remove, charger_ids, now)
        self._status.chargers = tuple(served)
        yield from run("polling", self._polling.watch, self._status.chargers, now.mono_s)
        yield from run("departures", self._departures.offline, charger_ids, now)
        yield Subscribe(self._status.chargers)
        yield from run("sessions", self._sessions.leave, charger_ids, now)
        yield from run("access", self._access.leave, charger_ids, now)
        yield from run("announcer", self._ha_publisher.leave, charger_ids)
        yield from run("neighbours", self._neighbours.serve, self._status.chargers, now)
        refused = self._status.cloud.refused
        refused.difference_update(charger_ids)
        if not refused:
            yield from run("alerts", self._alerts.clear, "stream_refused")
        yield self._status.info()

    def _take_out(self, charger_ids: Collection[str], now: Timestamp) -> Iterator[Effect]:
        """Serve chargers no more that the operator took out, and have the broker forget them."""
        if charger_ids:
            yield LogEntry("info", "chargers.taken_out", {"chargers": sorted(charger_ids)})
            yield from self._leave(sorted(charger_ids), now)
            for charger_id in charger_ids:
                self._departures.forget(charger_id, now)

    def _forget(self, event: MqttMessage, now: Timestamp) -> Iterator[Effect]:
        """Handle ``bridge/forget``: the serial of a charger that left, bare or quoted."""
        charger_id = event.payload.decode("ascii", "replace").strip().strip('"')
        if event.retained:
            why = "it is retained"
        elif not is_serial(charger_id):
            why = "it is no serial"
        elif self._departures.forget(charger_id, now):
            return
        elif charger_id in self._chargers.chargers:
            why = "that charger is served"
        else:
            why = "no charger of this serial left"
        yield LogEntry("warning", "forget.ignored", {"error": why})

    def _is_served_elsewhere(self, charger_id: str, now: Timestamp) -> bool:
        return self._neighbours.serves(charger_id, now)

    def _forgotten(self, charger_id: str, now: Timestamp) -> Iterator[Effect]:
        """Give back the rest when the broker has nothing of a charger any more."""
        run = self._contained.run
        yield from run("journal", self._commands.forget, charger_id)
        yield from run("announcer", self._ha_publisher.forget, charger_id, now)
        for kind in self._alerts.kinds:
            if kind.endswith(f"/{charger_id}"):
                yield from run("alerts", self._alerts.clear, kind)
        yield from self._tell_absent(now)
        yield from self._remember()
        # It may have come back meanwhile.
        yield from run("discovery", self._discovery.schedule_soon, now)

    def _tell_absent(self, now: Timestamp) -> Iterator[Effect]:
        """Name whom the account does not list."""
        left = self._departures.waiting
        absent = sorted({*self._missing, *self._absence.doubtful} - set(left))
        said = [f"the account does not list {', '.join(absent)}"] if absent else []
        said += [
            f"{charger_id} left the account: it is offline, and its topics are emptied a day after"
            f" {iso_utc(since)}"
            for charger_id, since in list(left.items())[:NAMED_IN_ALERT]
        ]
        if said:
            yield from self._alerts.raise_(
                "charger_not_listed",
                "; ".join(said),
                "check easee.chargers, or share the charger with this account"
                f"{'; bridge/forget with its serial empties its topics now' * bool(left)}",
                now,
            )
        else:
            yield from self._alerts.clear("charger_not_listed")

    def _remember(self) -> Iterator[Effect]:
        """Have the next start know which chargers there are, and which left."""
        charger_list = SaveChargerList(self._remembered, dict(self._departures.left))
        if charger_list != self._written:
            self._written = charger_list
            yield charger_list

    def _choose(self, chosen: tuple[str, ...], now: Timestamp) -> Iterator[Effect]:
        """Serve other chargers from now on; without any named, those the account lists."""
        self._discovery.configure(chosen, now)
        served = self._chargers.chargers
        if chosen:
            yield from self._take_out({i for i in served if i not in chosen}, now)
            wanted = tuple(i for i in chosen if not self._departures.is_emptied(i))
            yield from self._add_chargers(wanted, now)
        else:
            self._absence.remembered(tuple(served))
        self._remembered = chosen or tuple(served)
        yield from self._remember()

    def _reconfigured(
        self, settings: Settings, waiting: tuple[str, ...], now: Timestamp
    ) -> Iterator[Effect]:
        before, self._settings = self._settings, settings
        run = self._contained.run
        if settings.easee.chargers != before.easee.chargers:
            yield from self._choose(settings.easee.chargers, now)
        yield from run("journal", self._commands.allow, settings.commands)
        yield from run("announcer", self._ha_publisher.allow, settings.commands, now)
        self._status.capabilities = _capabilities(settings)
        yield self._status.info()
        if waiting:
            yield from self._alerts.raise_(
                "configuration",
                f"these keys changed and wait for a restart: {', '.join(waiting)}",
                "restart the bridge",
                now,
            )
        else:
            yield from self._alerts.clear("configuration")

    def _stopping(self, now: Timestamp) -> Iterator[Effect]:
        self._status.cloud.stream_up = False
        yield from self._contained.run("journal", self._commands.stop, now)
        yield from self._contained.run("polling", self._polling.stop)


def _instance(salt: bytes) -> str:
    """Name this installation: stable, and nothing of the salt can be told from it."""
    return sha256(b"instance\0" + salt).hexdigest()[:12]


def _capabilities(settings: Settings) -> dict[str, object]:
    commands = sorted(
        spec.name for spec in CATALOGUE.values() if allowed(spec, settings.commands.allow)
    )
    return {
        "commands": commands,
        "queries": tuple(QUERIES),
        "source": settings.easee.source,
        "json": settings.publish.json,
        "scalar": settings.publish.scalar,
        "max_current_a": settings.commands.max_current_a,
    }
