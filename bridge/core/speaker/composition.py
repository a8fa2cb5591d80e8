"""Composition of the gateway that speaks for several partitions.

It serves no charger, and has neither cloud nor store: it answers for what no partition serves, and
publishes the status of the installation below ``bridge`` from that of its partitions.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Final

from bridge.core.addressees import SITE
from bridge.core.alerts import Alerts
from bridge.core.bridge_topics import BridgeTopics, Health
from bridge.core.broker import BrokerWatch
from bridge.core.commands.addressing import Addressing, Questions
from bridge.core.composition import Assembly, Guest, capabilities_of, instance_of
from bridge.core.containment import Containment
from bridge.core.delivery.broker_heartbeat import BrokerHeartbeat
from bridge.core.delivery.rejected_publications import RejectedPublications
from bridge.core.easee.observation_registry import RETAINED_ONCE
from bridge.core.inbound import Acknowledging, Inbound
from bridge.core.neighbours import Neighbours
from bridge.core.reconfiguration import Reconfiguration
from bridge.core.retained_echoes import Others, RetainedEchoes
from bridge.core.router import Component
from bridge.core.speaker.partition_watch import MergedCloud, PartitionWatch
from bridge.core.speaker.unknown_addressees import UnknownAddressees
from bridge.core.status import Status
from bridge.core.topics import Topics
from bridge.settings import Settings

BEFORE_GUESTS: Final = ("heartbeat", "addressing")
BEHIND_GUESTS: Final = ("neighbours", "rejected", "broker")


class Speaker(Assembly):
    """The components of the gateway that speaks for all partitions.

    Attributes:
        echoes: Filters of retained topics that it listens to.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        version: str,
        salt: bytes,
        devices: Mapping[int, frozenset[str]],
        guests: Sequence[Guest] = (),
    ) -> None:
        """Create the components and the router.

        Args:
            settings: The configuration.
            version: Of the program.
            salt: Of this installation.
            devices: What each partition serves by the division.
            guests: Components of conventions.
        """
        self.topics = topics = Topics.of(settings)
        alerts = Alerts()
        contained = Containment(alerts)
        client_id, instance = settings.mqtt.client_id, instance_of(salt)
        cloud = MergedCloud()
        status = Status(
            alerts, version, capabilities_of(settings), client_id, instance, cloud=cloud
        )
        cluster = settings.cluster
        watch = PartitionWatch(
            topics,
            status,
            cloud,
            devices,
            partitions=cluster.partitions,
            ttl_s=cluster.lease_ttl_s,
        )
        neighbours = Neighbours(topics, alerts, client_id=client_id, instance=instance)
        ask = contained.question
        keepalive_s = settings.mqtt.keepalive_s
        components: tuple[Component, ...] = (
            BrokerWatch(topics, alerts),
            BrokerHeartbeat(
                topics, alerts, client_id=client_id, keepalive_s=keepalive_s, instance=instance
            ),
            neighbours,
            BridgeTopics(status, capabilities_of),
            RejectedPublications(alerts, status.counters, heartbeat=topics.bridge_heartbeat),
            *guests,
            watch,
            Reconfiguration(settings, alerts),
            Acknowledging(Inbound(topics)),
            Acknowledging(UnknownAddressees(topics, settings.commands, watch)),
            Acknowledging(
                Addressing(
                    watch,
                    Questions(
                        ask(neighbours.name, neighbours.is_left), _is_never_over, _is_never_unsure
                    ),
                    status.counters,
                    ttl_s=settings.commands.ttl_s,
                )
            ),
            RetainedEchoes(
                topics,
                alerts,
                (watch,),
                Others(
                    ask(neighbours.name, neighbours.is_there),
                    ask(neighbours.name, neighbours.shared),
                    lambda: status.is_online,
                ),
            ),
            Health(status),
        )
        heard = (each.subscriptions for each in guests)
        self.subscriptions = topics.requests + tuple(chain.from_iterable(heard))
        self.echoes = _echoes(topics)
        self.settings, self.status, self.chargers = settings, status, {}
        names = tuple(each.name for each in guests)
        self.join(components, contained, (*BEFORE_GUESTS, *names, *BEHIND_GUESTS))


def _echoes(topics: Topics) -> tuple[str, ...]:
    """Return the retained topics of the installation that no partition listens to."""
    values = (topics.observation, topics.state)
    once = (topic("+", name) for name in RETAINED_ONCE for topic in values)
    return (
        topics.bridge_state,
        topics.bridge_info,
        topics.availability("+"),
        topics.alert("+"),
        topics.alert("session_unreadable/+"),
        *topics.partition_status,
        f"{topics.base}/{SITE}/+/info",
        *once,
    )


def _is_never_over(_message: object) -> bool:
    """Return False: retained commands are cleared by the partition of their charger."""
    return False


def _is_never_unsure() -> bool:
    """Return False, likewise."""
    return False
