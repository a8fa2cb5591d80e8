"""Builds and parses all topic names.

Rules:

1. What we build holds only levels that passed :func:`is_topic_level`: no ``/ + #``, no control
   characters, not empty. An id or name from outside cannot grow into another topic.
2. What we parse is either one of the shapes below or None. Nothing in between.
"""

import re
from typing import Final

import msgspec

from bridge.core.addressees import MAX_ID_DIGITS, SITE, site_name
from bridge.core.easee.derived_state import ENERGY_TOTAL
from bridge.core.easee.observation_registry import RETAINED_ONCE
from bridge.settings import Settings

MAX_LEVEL_LENGTH = 64
# What is told of sessions; see Topics.session.
SESSIONS: Final = ("current", "last", "report")
ANY_SITE: Final = f"{SITE}/+"
BRIDGE: Final = "bridge"
PARTITION: Final = f"{BRIDGE}/partition"
_LEVEL = re.compile(r"[A-Za-z0-9_.:@=,~-]{1,64}", re.ASCII)


def is_topic_level(text: str) -> bool:
    """Return whether a text can be one level of a published topic."""
    return _LEVEL.fullmatch(text) is not None


def is_addressee(name: str) -> bool:
    """Return whether a text can name a device, or a site by two levels, in a published topic."""
    return is_topic_level(name.removeprefix(f"{SITE}/"))


def _folded(levels: list[str]) -> list[str]:
    """Put the two levels that name a site into one."""
    is_request = len(levels) == len(("site", "<id>", "set", "<command>")) and levels[0] == SITE
    return ["/".join(levels[:2]), *levels[2:]] if is_request else levels


class SetTopic(msgspec.Struct, frozen=True):
    """``<base>/<id>/set/<command>``: a command."""

    charger_id: str
    command: str


class GetTopic(msgspec.Struct, frozen=True):
    """``<base>/<id>/get/<query>``: a query."""

    charger_id: str
    query: str


class SessionAckTopic(msgspec.Struct, frozen=True):
    """``<base>/bridge/session/ack``: a consumer has a report."""


class SessionReplayTopic(msgspec.Struct, frozen=True):
    """``<base>/bridge/session/replay``: a consumer wants reports again."""


class ForgetTopic(msgspec.Struct, frozen=True):
    """``<base>/bridge/forget``: a charger that left is to be emptied now."""


class AvailabilityTopic(msgspec.Struct, frozen=True):
    """``<base>/<id>/availability``: the retained availability, of this or an earlier process."""

    charger_id: str


class AlertTopic(msgspec.Struct, frozen=True):
    """``<base>/bridge/alert/<kind>`` and ``…/<kind>/<charger>``: likewise.

    Attributes:
        kind: Both levels where there are two.
    """

    kind: str


class BridgeStateTopic(msgspec.Struct, frozen=True):
    """``<base>/bridge/state``: likewise."""


class PersonalTopic(msgspec.Struct, frozen=True):
    """Personal data of a charger, as an older version retained it under this topic."""

    topic: str


class EnergyTotalTopic(msgspec.Struct, frozen=True):
    """The total energy of a charger, as this or an earlier process retained it.

    Attributes:
        charger_id: As in the topic.
        is_document: The JSON document, not the bare value.
    """

    charger_id: str
    is_document: bool


class BridgeInfoTopic(msgspec.Struct, frozen=True):
    """``<base>/bridge/info``: the info message of this or another bridge."""


class HeartbeatTopic(msgspec.Struct, frozen=True):
    """``<base>/bridge/heartbeat``: the heartbeat of this or another bridge."""


class PartitionTopic(msgspec.Struct, frozen=True):
    """``<base>/bridge/partition/<nn>/…``: what the gateway of a partition says of itself.

    Attributes:
        partition: Its number.
        rest: The levels below, as the gateway of a whole installation has them below ``bridge``.
    """

    partition: int
    rest: str


# What the broker keeps of us, or of another bridge.
Echo = (
    AvailabilityTopic
    | AlertTopic
    | BridgeStateTopic
    | BridgeInfoTopic
    | PersonalTopic
    | EnergyTotalTopic
)
Incoming = (
    SetTopic
    | GetTopic
    | SessionAckTopic
    | SessionReplayTopic
    | ForgetTopic
    | HeartbeatTopic
    | PartitionTopic
    | Echo
)


# What consumers tell all partitions of an installation.
_CONSUMERS: Final[dict[str, Incoming]] = {
    "session/ack": SessionAckTopic(),
    "session/replay": SessionReplayTopic(),
    "forget": ForgetTopic(),
}
_STATUS: Final[dict[str, Incoming]] = {
    "state": BridgeStateTopic(),
    "info": BridgeInfoTopic(),
    "heartbeat": HeartbeatTopic(),
}


class Topics(msgspec.Struct, frozen=True):
    """The topic tree under one base.

    Attributes:
        base: Without a slash at either end, e.g. ``"charger"`` or ``"home/garage/charger"``.
        reply_prefixes: Further prefixes a Response Topic may lie under.
        root: Below which a gateway tells its own status: ``bridge``, or that of its partition.
    """

    base: str = "charger"
    reply_prefixes: tuple[str, ...] = ()
    root: str = BRIDGE

    @classmethod
    def of(cls, settings: Settings) -> "Topics":
        """Return the tree of a configuration, or of the partition that a gateway serves."""
        mqtt, number = settings.mqtt, settings.cluster.partition
        root = BRIDGE if number is None else f"{PARTITION}/{number:02}"
        return cls(mqtt.base_topic, mqtt.reply_prefixes, root)

    @property
    def is_part(self) -> bool:
        """Return whether they are those of one of several partitions."""
        return self.root != BRIDGE

    # -- what the bridge publishes --------------------------------------------------------

    @property
    def bridge_state(self) -> str:
        """Retained, also the will: ``online`` or ``offline``."""
        return f"{self.base}/{self.root}/state"

    @property
    def bridge_cloud(self) -> str:
        """Retained: how we stand with the vendor's cloud."""
        return f"{self.base}/{self.root}/cloud"

    @property
    def bridge_info(self) -> str:
        """Retained: version, chargers, capabilities."""
        return f"{self.base}/{self.root}/info"

    @property
    def bridge_health(self) -> str:
        """Retained: one summary."""
        return f"{self.base}/{self.root}/health"

    @property
    def bridge_heartbeat(self) -> str:
        """Return the heartbeat topic; see :mod:`bridge.core.delivery.broker_heartbeat`."""
        return f"{self.base}/{self.root}/heartbeat"

    def alert(self, kind: str) -> str:
        """Retained, emptied when solved.

        Args:
            kind: One level, or two where each charger has an alert of its own.
        """
        return f"{self.base}/{self.root}/alert/{kind}"

    def availability(self, charger_id: str) -> str:
        """Retained: ``online`` or ``offline``."""
        return f"{self.base}/{charger_id}/availability"

    def observation(self, charger_id: str, name: str) -> str:
        """Return the topic of the JSON document of one observation."""
        return f"{self.base}/{charger_id}/observation/{name}"

    def state(self, charger_id: str, name: str) -> str:
        """Return the topic of the bare value of one observation, or of a derived value."""
        return f"{self.base}/{charger_id}/state/{name}"

    def event(self, charger_id: str, kind: str) -> str:
        """Return the topic of an event; not retained."""
        return f"{self.base}/{charger_id}/event/{kind}"

    def session(self, charger_id: str, which: str) -> str:
        """Return a topic of :data:`SESSIONS`; ``current`` and ``last`` are retained."""
        return f"{self.base}/{charger_id}/session/{which}"

    def schedule(self, charger_id: str) -> str:
        """Return the topic of the schedules that the cloud holds for a charger; retained."""
        return f"{self.base}/{charger_id}/schedule/current"

    def site_info(self, site_id: int) -> str:
        """Retained: what a site has."""
        return f"{self.base}/{site_name(site_id)}/info"

    def circuit_state(self, site_id: int, circuit_id: int, name: str) -> str:
        """Retained: one bare value of a circuit."""
        return f"{self.base}/{site_name(site_id)}/circuit/{circuit_id}/state/{name}"

    def result(self, charger_id: str, command: str) -> str:
        """Return the topic of a command's or query's result; not retained."""
        return f"{self.base}/{charger_id}/result/{command}"

    @property
    def publications(self) -> tuple[str, ...]:
        """Filters of everything the bridge publishes, but for answers on Response Topics."""
        return (
            self.bridge_state,
            self.bridge_cloud,
            self.bridge_info,
            self.bridge_health,
            self.bridge_heartbeat,
            self.alert("+"),
            self.alert("session_unreadable/+"),
            self.availability("+"),
            self.observation("+", "+"),
            self.state("+", "+"),
            self.event("+", "+"),
            # Not "+": bridge/session/ack is a consumer's.
            *(self.session("+", which) for which in SESSIONS),
            self.schedule("+"),
            self.result("+", "+"),
            self.result(ANY_SITE, "+"),
            f"{self.base}/{ANY_SITE}/info",
            f"{self.base}/{ANY_SITE}/circuit/+/state/+",
        )

    @property
    def answer_prefixes(self) -> tuple[str, ...]:
        """Under which a Response Topic may lie."""
        return (f"{self.base}/reply/", *self.reply_prefixes)

    # -- what it listens to ---------------------------------------------------------------

    def command(self, charger_id: str, name: str) -> str:
        """Return the topic of a command."""
        return f"{self.base}/{charger_id}/set/{name}"

    def query(self, charger_id: str, name: str) -> str:
        """Return the topic of a query."""
        return f"{self.base}/{charger_id}/get/{name}"

    @property
    def session_ack(self) -> str:
        """Return the topic on which consumers acknowledge reports."""
        return f"{self.base}/bridge/session/ack"

    @property
    def session_replay(self) -> str:
        """Return the topic on which consumers request stored reports again."""
        return f"{self.base}/bridge/session/replay"

    @property
    def forget(self) -> str:
        """Return the topic on which a removed charger's topics are cleared at once."""
        return f"{self.base}/bridge/forget"

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Every filter the bridge subscribes to at every connection.

        A partition subscribes to those of single devices besides: :meth:`requests_of`.
        """
        if self.is_part:
            return (self.session_ack, self.session_replay, self.forget)
        return (
            self.command("+", "+"),
            self.query("+", "+"),
            self.session_ack,
            self.session_replay,
            self.forget,
            self.command(ANY_SITE, "+"),
            self.query(ANY_SITE, "+"),
        )

    @property
    def echoes(self) -> tuple[str, ...]:
        """Our own retained topics that are listened to: what an earlier run left may be untrue.

        First those that tell of another bridge, whose topics are left alone. A partition listens to
        those of single devices besides: :meth:`echoes_of`.
        """
        own = (
            self.bridge_state,
            self.bridge_info,
            self.alert("+"),
            self.alert("session_unreadable/+"),
        )
        if self.is_part:
            return own
        return (
            self.bridge_state,
            self.bridge_info,
            f"{self.base}/+/availability",
            self.alert("+"),
            self.alert("session_unreadable/+"),
            self.observation("+", ENERGY_TOTAL),
            self.state("+", ENERGY_TOTAL),
            *(
                topic("+", name)
                for name in RETAINED_ONCE
                for topic in (self.observation, self.state)
            ),
        )

    # -- several partitions ---------------------------------------------------------------

    @property
    def partition_status(self) -> tuple[str, ...]:
        """Return filters of what the gateways of all partitions say of themselves."""
        kinds = ("state", "cloud", "info", "health", "alert/+", "alert/session_unreadable/+")
        return tuple(f"{self.base}/{PARTITION}/+/{kind}" for kind in kinds)

    @property
    def partition_publications(self) -> tuple[str, ...]:
        """Return filters of everything that the gateways of partitions publish below theirs."""
        return (*self.partition_status, f"{self.base}/{PARTITION}/+/heartbeat")

    @property
    def requests(self) -> tuple[str, ...]:
        """Return the filters of commands and queries for everything."""
        names = ("+", ANY_SITE)
        return tuple(topic(name, "+") for name in names for topic in (self.command, self.query))

    def requests_of(self, name: str) -> tuple[str, ...]:
        """Return the filters of commands and queries for one device or site."""
        return (self.command(name, "+"), self.query(name, "+"))

    def echoes_of(self, name: str) -> tuple[str, ...]:
        """Return the retained topics of one device that are listened to."""
        energy = (self.observation(name, ENERGY_TOTAL), self.state(name, ENERGY_TOTAL))
        return (self.availability(name), *energy)

    # -- reading --------------------------------------------------------------------------

    def parse(self, topic: str) -> Incoming | None:
        """Read a topic that arrived; None when it is not for us."""
        if not topic.startswith(f"{self.base}/"):
            return None
        if topic.startswith(f"{self.base}/{BRIDGE}/"):
            return self._of_bridge(topic)
        match _folded(topic[len(self.base) + 1 :].split("/")):
            case [charger_id, "availability"]:
                return AvailabilityTopic(charger_id)
            case [charger_id, "observation" | "state" as kind, name] if name == ENERGY_TOTAL:
                return EnergyTotalTopic(charger_id, is_document=kind == "observation")
            case [_, "observation" | "state", name] if name in RETAINED_ONCE:
                return PersonalTopic(topic)
            case [charger_id, "set", command]:
                return SetTopic(charger_id, command)
            case [charger_id, "get", query]:
                return GetTopic(charger_id, query)
            case _:
                return None

    def _of_bridge(self, topic: str) -> Incoming | None:
        """Read a topic below ``bridge``: of consumers, of this gateway, or of a partition."""
        if consumer := _CONSUMERS.get(topic[len(self.base) + len(BRIDGE) + 2 :]):
            return consumer
        own = f"{self.base}/{self.root}/"
        match topic[len(own) :].split("/") if topic.startswith(own) else ():
            case ["alert", kind]:
                return AlertTopic(kind)
            case ["alert", kind, charger_id]:
                return AlertTopic(f"{kind}/{charger_id}")
            case ["partition", number, *rest] if self.root == BRIDGE and rest:
                is_number = number.isascii() and number.isdigit() and len(number) <= MAX_ID_DIGITS
                return PartitionTopic(int(number), "/".join(rest)) if is_number else None
            case rest:
                return _STATUS.get("/".join(rest))

    def may_reply_to(self, topic: str) -> bool:
        """Return whether a caller's Response Topic may be published to.

        We publish with our own rights, so a caller may only name topics set aside for answers.
        """
        prefix = next((p for p in self.answer_prefixes if topic.startswith(p)), None)
        if prefix is None:
            return False
        rest = topic[len(prefix) :].split("/")
        return len(topic) <= 4 * MAX_LEVEL_LENGTH and all(is_topic_level(level) for level in rest)


class HomeAssistantTopics(msgspec.Struct, frozen=True):
    """Topics of Home Assistant: the discovery prefix and the birth message.

    Attributes:
        prefix: First level or levels, without a slash at either end.
        status: Where its birth message comes.
    """

    prefix: str = "homeassistant"
    status: str = "homeassistant/status"

    @property
    def publications(self) -> tuple[str, ...]:
        """Filters of everything that is described, in both forms."""
        return (self.device("+"), self.component("+", "+", "+"))

    def device(self, node: str) -> str:
        """Retained: one device with everything it has."""
        return f"{self.prefix}/device/{node}/config"

    def component(self, platform: str, node: str, key: str) -> str:
        """Retained: one entity."""
        return f"{self.prefix}/{platform}/{node}/{key}/config"


class SparkplugTopics(msgspec.Struct, frozen=True):
    """Topics of a Sparkplug edge node.

    Attributes:
        group: Of the node.
        node: Its name.
        host: The primary host, or None.
    """

    group: str
    node: str
    host: str | None = None

    @property
    def state(self) -> str | None:
        """Topic of the state of the primary host, or None without one."""
        return None if self.host is None else f"{SPARKPLUG_NAMESPACE}/STATE/{self.host}"

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Filters of what hosts publish for the node."""
        state = () if self.state is None else (self.state,)
        return self.of("NCMD"), self.of("DCMD", "+"), *state

    @property
    def publications(self) -> tuple[str, ...]:
        """Filters of everything that the node publishes."""
        of_node = (self.of(kind) for kind in ("NBIRTH", "NDATA", "NDEATH"))
        return *of_node, *(self.of(kind, "+") for kind in ("DBIRTH", "DDATA", "DDEATH"))

    def of(self, kind: str, *device: str) -> str:
        """Return the topic of a message type, of the node or of a device."""
        return "/".join((SPARKPLUG_NAMESPACE, self.group, kind, self.node, *device))


SPARKPLUG_NAMESPACE = "spBv1.0"
