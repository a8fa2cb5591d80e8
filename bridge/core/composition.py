"""Composition of the core: its components in the order in which they receive events."""

from collections.abc import Container, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from typing import Final, Protocol

from bridge.core.addressees import CHARGER, EQUALIZER, SITE, Addressees
from bridge.core.alerts import Alerts
from bridge.core.bridge_topics import BridgeTopics, Health
from bridge.core.broker import BrokerWatch
from bridge.core.chargers.control_owner import ControlOwner
from bridge.core.chargers.departures import Departures
from bridge.core.chargers.energy_service import EnergyService
from bridge.core.chargers.equalizers import Equalizers, EqualizerService
from bridge.core.chargers.firmware_releases import FirmwareReleases
from bridge.core.chargers.fleet import Charger, ChargerRegistry
from bridge.core.chargers.hidden_values import HiddenValues
from bridge.core.chargers.observation_service import ObservationService, SessionDisplay
from bridge.core.chargers.offline_access_alerts import ACCESS_IDS, OfflineAccessAlerts
from bridge.core.chargers.served_chargers import ServedChargers
from bridge.core.commands.addressing import Addressing, Questions
from bridge.core.commands.broker_absence import BrokerAbsence
from bridge.core.commands.retained import RetainedWatch
from bridge.core.commands.service import CommandService
from bridge.core.containment import Containment
from bridge.core.delivery.broker_heartbeat import BrokerHeartbeat
from bridge.core.delivery.rejected_publications import RejectedPublications
from bridge.core.easee import roles
from bridge.core.easee.command_catalogue import CATALOGUE, REFLECTING_IDS, allowed
from bridge.core.easee.derived_state import ENERGY_TOTAL
from bridge.core.easee.selection import Selection
from bridge.core.easee.sites import Site
from bridge.core.inbound import Acknowledging, Inbound
from bridge.core.neighbours import Neighbours
from bridge.core.queries.catalogue import QUERIES, PersonalDataPolicy
from bridge.core.queries.service import QueryService
from bridge.core.reconfiguration import Reconfiguration
from bridge.core.records.moment import Timestamp
from bridge.core.retained_echoes import Others, RetainedEchoes
from bridge.core.router import Component, Router
from bridge.core.sessions.service import SessionService
from bridge.core.site_service import SiteService
from bridge.core.sources.charger_list import ChargerListReader
from bridge.core.sources.polled_source import PolledSource
from bridge.core.sources.polling import Polling
from bridge.core.sources.recovery_probe import RecoveryProbe
from bridge.core.sources.schedule_reader import ScheduleReader
from bridge.core.sources.site_reader import SiteReader
from bridge.core.sources.stream_status import StreamStatus
from bridge.core.sources.vendor_watch import VendorWatch
from bridge.core.status import Status
from bridge.core.store_alerts import StoreAlerts
from bridge.core.subjects import BRIDGE, subject_of
from bridge.core.subscriptions import DeviceSubscriptions
from bridge.core.topics import Topics
from bridge.settings import Settings

# Observations that other components follow.
OBSERVED_BY_OTHERS: Final = (
    REFLECTING_IDS | ACCESS_IDS | {roles.CHARGING_SCHEDULE, roles.FIRMWARE, roles.LED_MODE}
)
# The order in which components get a ``Tick`` when several are due.
BEFORE_GUESTS: Final = (
    "discovery",
    "probe",
    "polling",
    "site_reader",
    "sites",
    "equalizers",
    "heartbeat",
    "addressing",
    "commands",
    "sessions",
    "queries",
    "schedules",
)
BEHIND_GUESTS: Final = (
    "retained",
    "neighbours",
    "energy",
    "firmware",
    "departures",
    "hidden_values",
    "rejected",
    "broker",
    "vendor",
)


class Guest(Component, Protocol):
    """A component that a convention brings along: it acts in time, and may listen to topics."""

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters over the main connection."""
        ...


class Elsewhere:
    """Tells what is asked of a partition that does not serve the device or the site.

    Args:
        served: What it serves.
        sites: Those it published too, before the account's list is read.
        neighbours: Other bridges.
    """

    def __init__(self, served: Container[str], sites: SiteService, neighbours: Neighbours) -> None:
        self._served = served
        self._sites = sites
        self._neighbours = neighbours

    def is_left(self, charger_id: str, now: Timestamp) -> bool:
        """Return whether another partition or another bridge answers."""
        is_here = charger_id in self._served or charger_id in self._sites.published
        return not is_here or self._neighbours.is_left(charger_id, now)


class Assembly:
    """Components behind two methods.

    Attributes:
        handle: See :meth:`~bridge.core.router.Router.handle`.
        deadline_s: See :meth:`~bridge.core.router.Router.deadline_s`.
        topics: The tree of this configuration.
        subscriptions: Every filter the bridge subscribes to, besides its own retained topics.
        components: By name.
        settings: As they were at the start.
        status: What is known of the bridge.
        contained: Errors of components.
        chargers: Those that are served, by serial.
        alerts: Those that are open.
    """

    topics: Topics
    subscriptions: tuple[str, ...]
    settings: Settings
    status: Status
    chargers: Mapping[str, Charger]

    def join(
        self, components: Sequence[Component], contained: Containment, by_time: Sequence[str]
    ) -> None:
        """Create the router of the components.

        Args:
            components: In the order in which they are given an event.
            contained: Keeps their errors.
            by_time: Names of those that get a ``Tick``, in order.
        """
        router = Router(components, contained, by_time)
        self.components = router.components
        self.handle, self.deadline_s = router.handle, router.deadline_s
        self.alerts, self.contained = self.status.alerts, contained

    def explain(self, topic: str, now: Timestamp) -> tuple[str, ...]:
        """Return why a topic has its value, in sentences of the components concerned."""
        subject = subject_of(topic, self.topics.base)
        if subject.device != BRIDGE:
            asked = [getattr(each, "inner", each) for each in self.components.values()]
            explain = [each.explain for each in asked if hasattr(each, "explain")]
            return tuple(chain.from_iterable(one(subject, now) for one in explain))
        if subject.branch == "alert":
            return tuple(self.alerts.explain(subject.name))
        said = [*self.status.cloud.explain(), f"the cloud is {self.status.cloud.state}"]
        if subject.branch != "cloud":
            said += [f"the alert {kind} is open" for kind in self.alerts.kinds]
        return tuple(said)


class Core(Assembly):
    """All components of a gateway that serves chargers: of the account, or of a partition."""

    def __init__(
        self,
        settings: Settings,
        *,
        version: str,
        salt: bytes,
        guests: Sequence[Guest] = (),
        report_channels: Sequence[str] = (),
    ) -> None:
        """Create the components and the router.

        Args:
            settings: The configuration.
            version: Of the program.
            salt: Of this installation.
            guests: Components of conventions.
            report_channels: Names of the conventions that deliver reports in their own way.
        """
        self.topics = topics = Topics.of(settings)
        alerts = Alerts(settings.easee.names)
        contained = Containment(alerts)
        client_id, instance = settings.mqtt.client_id, instance_of(salt)
        status = Status(alerts, version, capabilities_of(settings), client_id, instance)
        status.is_part = topics.is_part
        cloud, counters = status.cloud, status.counters
        equalizers: Equalizers = {}
        status.equalizers = equalizers
        fleet = ChargerRegistry(settings.publish, salt, status)
        selection = Selection.of(settings.publish)
        configured, chargers = settings.easee.chargers, fleet.chargers
        sites: dict[str, Site] = {}
        served = Addressees({CHARGER: chargers, EQUALIZER: equalizers, SITE: sites})
        site_service = SiteService(sites, served, is_personal=settings.publish.personal_data)
        commands = CommandService(
            topics, settings.commands, served, uses_exchange=settings.uses_exchange
        )
        sessions = SessionService(settings, alerts, salt=salt, channels=report_channels)
        status.reports = lambda: sessions.standing
        neighbours = Neighbours(topics, alerts, client_id=client_id, instance=instance)
        retained = RetainedWatch(topics, alerts)
        heard = (each.subscriptions for each in guests)
        self.subscriptions = topics.subscriptions + tuple(chain.from_iterable(heard))
        ask = contained.question
        departures = Departures(chargers, ask(neighbours.name, neighbours.serves))
        is_left = neighbours.is_left
        if topics.is_part:
            is_left = Elsewhere(served, site_service, neighbours).is_left
        components: tuple[Component, ...] = (
            PolledSource(
                Polling(settings.easee.source, float(settings.easee.poll_interval_s)),
                cloud,
                counters,
            ),
            RecoveryProbe(),
            StoreAlerts(alerts),
            BrokerWatch(topics, alerts),
            BrokerHeartbeat(
                topics,
                alerts,
                client_id=client_id,
                keepalive_s=settings.mqtt.keepalive_s,
                instance=instance,
            ),
            retained,
            neighbours,
            StreamStatus(cloud, served, alerts, counters),
            BridgeTopics(status, capabilities_of),
            ObservationService(
                fleet,
                status,
                followed=OBSERVED_BY_OTHERS,
                expects=ask(commands.name, commands.expects),
                equalizers=equalizers,
            ),
            RejectedPublications(alerts, counters, heartbeat=topics.bridge_heartbeat),
            departures,
            HiddenValues(selection, ask(neighbours.name, neighbours.serves)),
            Acknowledging(sessions),
            ControlOwner(),
            OfflineAccessAlerts(alerts),
            Acknowledging(commands),
            Acknowledging(
                QueryService(
                    topics,
                    PersonalDataPolicy(settings.publish.personal_data, salt),
                    served,
                    sites,
                )
            ),
            ScheduleReader(),
            SessionDisplay(fleet),
            EqualizerService(
                equalizers,
                chargers,
                configured,
                publish=settings.publish,
                salt=salt,
                cloud=cloud,
                counters=counters,
                undecodable=fleet.undecodable,
            ),
            FirmwareReleases(selection),
            EnergyService(
                fleet,
                is_published=selection.has_derived(ENERGY_TOTAL),
                has_documents=settings.publish.json,
            ),
            *guests,
            ChargerListReader(configured, chargers, cloud, alerts, is_part=topics.is_part),
            site_service,
            SiteReader(equalizers, alerts, site_service.published),
            *((DeviceSubscriptions(topics, sites),) if topics.is_part else ()),
            ServedChargers(configured, chargers, departures, alerts, equalizers),
            Reconfiguration(settings, alerts),
            Acknowledging(Inbound(topics)),
            Acknowledging(
                Addressing(
                    served,
                    Questions(
                        ask(neighbours.name, is_left),
                        ask(retained.name, retained.needs_no_answer),
                        lambda: retained.is_unsure,
                    ),
                    counters,
                    ttl_s=settings.commands.ttl_s,
                )
            ),
            RetainedEchoes(
                topics,
                alerts,
                (served, departures),
                Others(
                    ask(neighbours.name, neighbours.is_there),
                    ask(neighbours.name, neighbours.shared),
                ),
            ),
            BrokerAbsence(settings.mqtt.keepalive_s),
            VendorWatch(alerts, counters),
            Health(status),
        )
        self.settings, self.status, self.chargers = settings, status, chargers
        names = tuple(each.name for each in guests)
        self.join(components, contained, (*BEFORE_GUESTS, *names, *BEHIND_GUESTS))


def instance_of(salt: bytes) -> str:
    """Return a stable name of this installation that does not reveal the salt."""
    return sha256(b"instance\0" + salt).hexdigest()[:12]


def capabilities_of(settings: Settings) -> dict[str, object]:
    """Return what a configuration offers, for ``bridge/info``."""
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
