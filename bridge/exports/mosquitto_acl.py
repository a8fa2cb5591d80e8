"""Access list for mosquitto, generated from the topics of the program.

Rules:

1. The bridge may do what it does and nothing else: it cannot command itself.
2. Who may command may only send what ``commands.allow`` carries out, and to the served chargers
   where the configuration names them.
3. Reading is for all three, so that a dashboard needs no rights to command. What answers go to
   Response Topics is for those who ask. A Sparkplug host has its own topics only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bridge.core.addressees import CHARGER, EQUALIZER, SITE, Kind
from bridge.core.easee.command_catalogue import CATALOGUE, allowed
from bridge.core.queries.catalogue import QUERIES
from bridge.core.topics import ANY_SITE, HomeAssistantTopics, SparkplugTopics, Topics
from bridge.settings import Settings

BRIDGE: Final = "charger-bridge"
AUTOMATION: Final = "automation"
READER: Final = "reader"
HOST: Final = "sparkplug-host"

_HEAD: Final = """\
# Access list for mosquitto, made by `charger-bridge topics --format acl`.
#
#   acl_file /etc/mosquitto/charger-bridge.acl
#   password_file /etc/mosquitto/passwd
#   allow_anonymous false
#
# Three roles: rename the users, or copy a block for another one. Without a block a user may do
# nothing. mosquitto grants subscriptions that reach further, and delivers only what is listed."""


@dataclass(frozen=True, slots=True)
class Role:
    """What one user may do.

    Attributes:
        user: Name at the broker.
        about: For whom it is.
        read: Topic filters it receives.
        write: Topic filters it publishes to.
    """

    user: str
    about: str
    read: tuple[str, ...]
    write: tuple[str, ...] = ()


def roles(settings: Settings) -> tuple[Role, ...]:
    """Return the bridge, who commands it, who only looks, and the Sparkplug host if there is one.

    Args:
        settings: Base topic, reply prefixes, chargers, and what may be commanded.
    """
    topics = Topics.of(settings)
    parts = topics.partition_publications if settings.cluster.is_divided else ()
    shown = topics.publications + parts
    replies = tuple(f"{prefix}#" for prefix in topics.answer_prefixes)
    name = settings.mqtt.username
    own = settings.homeassistant
    places = HomeAssistantTopics(own.discovery_prefix, own.status_topic)
    described, born = (places.publications, (places.status,)) if own.enabled else ((), ())
    plant = _sparkplug(settings)
    heard, told = ((), ()) if plant is None else (plant.subscriptions, plant.publications)
    own_roles = (
        Role(
            # One user of two blocks would have the rights of both.
            BRIDGE if name in (None, AUTOMATION, READER, HOST) else str(name),
            "The bridge itself. No other user should have these rights.",
            (*topics.subscriptions, *topics.echoes, topics.bridge_heartbeat, *parts, *born, *heard),
            # A retained command is emptied.
            (
                *(*shown, *replies, *described, *told),
                *(topics.command(name, "+") for name in ("+", ANY_SITE)),
            ),
        ),
        Role(
            AUTOMATION,
            "Flows and dashboards that command. Delete what they need not.",
            (*shown, *replies, *described),
            (*_asked(topics, settings), *born),
        ),
        Role(READER, "Read-only clients.", shown),
    )
    if plant is None:
        return own_roles
    state = () if plant.state is None else (plant.state,)
    host = Role(HOST, "The Sparkplug host.", (*plant.publications, *state), plant.subscriptions)
    return (*own_roles, host)


def _sparkplug(settings: Settings) -> SparkplugTopics | None:
    """Return the topics of the edge node, where the bridge is one."""
    own = settings.sparkplug
    if not own.enabled:
        return None
    return SparkplugTopics(own.group_id, own.edge_node_id, own.host_id)


def _asked(topics: Topics, settings: Settings) -> Iterator[str]:
    """List what may be published for the bridge to take."""
    chargers = settings.easee.chargers or ("+",)
    # Equalizers and sites are found, not configured.
    named: dict[Kind, tuple[str, ...]] = {CHARGER: chargers, EQUALIZER: ("+",), SITE: (ANY_SITE,)}
    asked: dict[str, None] = {}
    for kind, names in named.items():
        for name in names:
            for spec in CATALOGUE.values():
                if kind in spec.of and allowed(spec, settings.commands.allow):
                    asked[topics.command(name, spec.name)] = None
            for query_spec in QUERIES.values():
                if kind in query_spec.of:
                    asked[topics.query(name, query_spec.name)] = None
    yield from asked
    yield topics.session_ack
    yield topics.session_replay
    yield topics.forget


def mosquitto_acl(settings: Settings) -> str:
    """Write the access list of a configuration.

    Args:
        settings: The configuration; see :func:`roles`.
    """
    return "\n\n".join((_HEAD, *map(_block, roles(settings))))


def _block(role: Role) -> str:
    both = [one for one in role.read if one in role.write]
    lines = (
        *(f"topic readwrite {one}" for one in both),
        *(f"topic read {one}" for one in role.read if one not in both),
        *(f"topic write {one}" for one in role.write if one not in both),
    )
    return "\n".join((f"# {role.about}", f"user {role.user}", *lines))
