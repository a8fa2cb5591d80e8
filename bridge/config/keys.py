"""Every key of the configuration, in one table.

Loading, the environment variables, ``config.example.yaml`` and ``docs/configuration.md`` all come
from :data:`KEYS`. The defaults are in :mod:`bridge.settings`.
"""

from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Final

from bridge.config.kinds import (
    ADDRESS,
    API_URL,
    CLIENT_ID,
    COMMANDS,
    FILE,
    HOST,
    HOSTS,
    NAMES,
    PREFIXES,
    SERIALS,
    SPARKPLUG_ID,
    STORE_URL,
    STREAM_URL,
    SWITCH,
    TAGS,
    TEXT,
    TOPIC,
    VALUES,
    ValueType,
    choice,
    integer,
)
from bridge.settings import Settings

PREFIX = "CHARGER_BRIDGE_"


class Required:
    """The default of a key that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = Required()


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
        path: Sections and name, e.g. ``"mqtt.tls.ca_file"``.
        kind: Allowed values.
        doc: Description for the operator.
        unit: Unit of a quantity, else empty.
        secret: Refused in the file; read from the environment or from the file that the key with
            ``_file`` behind its name points to.
        example: Value in ``config.example.yaml``, where the default is not helpful.
    """

    path: str
    kind: ValueType
    doc: str
    unit: str = ""
    secret: bool = False
    example: str = ""

    @property
    def variable(self) -> str:
        """Name of its environment variable."""
        return PREFIX + self.path.replace(".", "__").upper()

    @property
    def default(self) -> object:
        """The default of the settings class, or ``REQUIRED``.

        The name of a secret's file is no setting of its own: it defaults to None.
        """
        return _DEFAULTS.get(self.path)

    def of(self, settings: Settings) -> object:
        """Return its value; None for a secret's file, which is no setting of its own."""
        found: object = settings
        for name in self.path.split("."):
            found = getattr(found, "except_" if name == "except" else name, None)
        return found

    @property
    def nullable(self) -> bool:
        """Whether the default is None."""
        return self.default is None


def _defaults(section: type, prefix: str) -> dict[str, object]:
    """Collect the defaults of a settings class and of the sections inside it."""
    found: dict[str, object] = {}
    for each in fields(section):
        path = prefix + each.name.rstrip("_")  # a key may be a word of Python
        if isinstance(each.type, type) and is_dataclass(each.type):
            found |= _defaults(each.type, f"{path}.")
        else:
            found[path] = REQUIRED if each.default is MISSING else each.default
    return found


_DEFAULTS: Final = _defaults(Settings, "")

SECTIONS: Final = {
    "easee": "The vendor's cloud.",
    "mqtt": "The broker.",
    "mqtt.tls": "TLS towards the broker. Certificates and host names are always verified.",
    "publish": "What is published.",
    "commands": "Commands and their limits.",
    "store": "Where session reports are kept until they are delivered.",
    "amqp": "The partner feed; used where easee.source is amqp.",
    "cluster": "Several workers on one PostgreSQL; docs/cluster.md.",
    "http": "Read-only web server: health checks, metrics, status page.",
    "log": "Logs go to standard error.",
    "homeassistant": "Discovery by Home Assistant; docs/home-assistant.md lists the entities.",
    "recorder": "Records of what the bridge handled, for reports of defects; docs/reporting.md.",
    "sparkplug": "Sparkplug B for SCADA hosts such as Ignition; docs/sparkplug.md.",
}

KEYS: Final = (
    Key(
        "state_dir",
        FILE,
        "Folder of the small state files: tokens, charger list, published discovery. Null: the"
        " folder of store.path, with store.url /var/lib/charger-bridge.",
    ),
    Key(
        "easee.username",
        TEXT,
        "E-mail address of the account, or its phone number with country code. Use an account of"
        " its own with access to the chargers of the bridge only.",
        example="someone@example.com",
    ),
    Key(
        "easee.password",
        TEXT,
        "Password of the account. Not allowed in this file: use password_file"
        " or the environment variable.",
        secret=True,
    ),
    Key(
        "easee.password_file",
        FILE,
        "File that holds the password of the account, e.g. a container or systemd secret. Line"
        " breaks at its end and a byte order mark are ignored. Make it readable by the bridge"
        " only.",
        example="/run/secrets/easee_password",
    ),
    Key(
        "easee.chargers",
        SERIALS,
        "Serials of the chargers to serve. Empty: every charger the account lists. Equalizers of"
        " their sites are found by themselves and are not listed here.",
    ),
    Key(
        "easee.names",
        NAMES,
        "What people call the chargers, as {EH123456: Garage}: on the status page, in Home"
        " Assistant, openHAB, messages of alerts and lists of sessions. Topics and the log keep the"
        " serial.",
    ),
    Key(
        "easee.api_url",
        API_URL,
        "Base of the REST interface. Change it only to use a simulated cloud.",
    ),
    Key(
        "easee.stream_url",
        STREAM_URL,
        "The vendor's hub (SignalR) that sends observations. Change it only to use a simulated"
        " cloud.",
    ),
    Key(
        "easee.source",
        choice("stream", "poll", "amqp"),
        "stream: the hub sends observations; they are read over REST only while the stream is down."
        " poll: they are always read over REST, with more delay and at the cost of the request"
        " budget. amqp: the operator's queue sends them (partners only, extra amqp, docs/amqp.md).",
    ),
    Key(
        "easee.poll_interval_s",
        integer(10, 3600),
        "Time between two reads of one charger while polling. The request budget may lengthen"
        " it. Above 300 an idle charger, which reports every 15 minutes, is offline at times.",
        unit="s",
    ),
    Key("mqtt.host", HOST, "Name or address of the broker."),
    Key("mqtt.port", integer(1, 65535), "Port of the broker; usually 1883, with TLS 8883."),
    Key(
        "mqtt.version",
        choice("auto", "5", "3.1.1"),
        "Protocol version. auto: 5, and 3.1.1 with a warning when the broker is older. With 3.1.1"
        " commands sent while the bridge is disconnected are lost without a result, and the retain"
        " flag of a live message cannot be seen (commands.unsure_retained).",
    ),
    Key(
        "mqtt.client_id",
        CLIENT_ID,
        "Client identifier. Two programs with the same one disconnect each other. "
        "The value connection appends -telemetry.",
    ),
    Key("mqtt.username", TEXT, "User name at the broker; null for none."),
    Key(
        "mqtt.password",
        TEXT,
        "Password at the broker. Not allowed in this file: use password_file"
        " or the environment variable.",
        secret=True,
    ),
    Key(
        "mqtt.password_file",
        FILE,
        "File that holds the password at the broker; null for none.",
    ),
    Key("mqtt.base_topic", TOPIC, "First level or levels of every topic."),
    Key(
        "mqtt.keepalive_s",
        integer(2, 3600),
        "A dead connection is detected within twice this time. At least 5 except on loopback.",
        unit="s",
    ),
    Key(
        "mqtt.reply_prefixes",
        PREFIXES,
        "Topic prefixes, besides <base>/reply/, under which an MQTT 5 Response Topic is honoured."
        " The bridge publishes there with its own rights, so use prefixes for nothing else.",
    ),
    Key(
        "mqtt.tls.enabled",
        SWITCH,
        "Use TLS. Needed for a broker that is neither loopback nor on a private network.",
    ),
    Key(
        "mqtt.tls.ca_file",
        FILE,
        "PEM file with the trusted certificate authorities; null for those of the system.",
    ),
    Key(
        "mqtt.tls.cert_file",
        FILE,
        "PEM file with the client certificate; null for none. It needs key_file.",
    ),
    Key("mqtt.tls.key_file", FILE, "PEM file with the key of the client certificate."),
    Key(
        "mqtt.tls.allow_plaintext",
        SWITCH,
        "Permit MQTT without TLS to a host that is neither loopback nor private. Anyone on the"
        " network path can then read the broker's password and control the chargers.",
    ),
    Key(
        "publish.json",
        SWITCH,
        "Publish <base>/<id>/observation/<name>: JSON with value, unit, times and source.",
    ),
    Key(
        "publish.scalar",
        SWITCH,
        "Publish <base>/<id>/state/<name>: the bare value of each observation. Derived values are"
        " always published.",
    ),
    Key(
        "publish.personal_data",
        SWITCH,
        "Publish RFID tags, addresses, positions and network names in plain text instead of hashed."
        " They are never retained.",
    ),
    Key(
        "publish.only",
        VALUES,
        "Values that are published: names (total_power), ids (120) or groups (access, circuit,"
        " diagnostic, energy, firmware, limits, phases, radio, session, settings, status,"
        " temperatures; docs/topics.md lists them). Empty: all. Availability, events, sessions and"
        " results are always published. Topics of values that are no longer published are cleared"
        " at the next start.",
    ),
    Key(
        "publish.except",
        VALUES,
        "Values that are not published, likewise; it has precedence over publish.only.",
    ),
    Key(
        "publish.require_subscriber",
        SWITCH,
        "A session report without a subscriber stays pending and is published again until there is"
        " one. Before the first consumer it is kept instead, and the first consumer requests a"
        " replay. Only an MQTT 5 broker reports it; with 3.1.1 its acknowledgement always counts.",
    ),
    Key(
        "publish.require_acknowledgement",
        SWITCH,
        "True: a session report is delivered only when a consumer acknowledges it on"
        " <base>/bridge/session/ack; without that it is published again every 45 minutes. Use it"
        " if no report may be lost: a broker can lose messages it acknowledged. False: 45 minutes"
        " of"
        " one connection also count as delivered.",
    ),
    Key(
        "publish.tags",
        TAGS,
        "Names of RFID tags, by tag or by published hash (sha256:…), for `sessions report`. Names"
        " are never published.",
    ),
    Key(
        "publish.tags_file",
        FILE,
        "File with more of them, TAG=NAME on each line; null for none.",
    ),
    Key(
        "publish.equalizer_interval_s",
        integer(0, 3600),
        "An Equalizer sends values every few seconds: they are published at most this often, the"
        " newest of each. 0 publishes all of them.",
        unit="s",
    ),
    Key(
        "commands.allow",
        COMMANDS,
        "Groups (control, access, current, device, installer, maintenance, equalizer, schedule,"
        " site) or single commands that are carried out; everything else is refused. An empty list"
        " makes the bridge read-only.",
    ),
    Key(
        "commands.ttl_s",
        integer(1, 600),
        "A command that could not be sent within this time gets the result expired and is never"
        " executed late.",
        unit="s",
    ),
    Key(
        "commands.max_current_a",
        integer(6, 80),
        "Highest current of a command. Does not replace the installer's limits.",
        unit="A",
    ),
    Key(
        "commands.flash_writes_per_day",
        integer(0, 1000),
        "The installer's limits wear a charger's flash memory: this many are sent in 24 hours"
        " per charger, and ten times as many of other settings; beyond that a command is refused"
        " (flash_budget).",
    ),
    Key(
        "commands.unsure_retained",
        choice("run", "refuse_energizing"),
        "With MQTT 3.1.1, and with brokers that ignore Retain As Published, the retain flag of a"
        " live command cannot be seen. run: it is executed once, then found and cleared."
        " refuse_energizing: on such connections energizing commands are refused (retained).",
    ),
    Key(
        "store.path",
        FILE,
        "The SQLite file. The cloud's tokens are stored beside it, so its directory must be"
        " readable"
        " by the bridge only; it is created that way.",
    ),
    Key(
        "store.url",
        STORE_URL,
        "PostgreSQL as the store instead of the SQLite file: postgresql://user@host/database. It"
        " keeps tokens and other small documents too, and needs the extra cluster (asyncpg)."
        " Parameters: sslmode, sslrootcert, sslcert, sslkey, and host for a socket's folder. A host"
        " that is neither loopback nor private needs sslmode=verify-full. Null: SQLite at"
        " store.path.",
    ),
    Key(
        "store.password",
        TEXT,
        "Password at PostgreSQL. Not allowed in this file: use password_file or the environment"
        " variable.",
        secret=True,
    ),
    Key(
        "store.password_file",
        FILE,
        "File that holds the password at PostgreSQL; null for none.",
    ),
    Key(
        "store.max_mib",
        integer(1, 10240),
        "Largest size of the store; in PostgreSQL of all partitions together.",
        unit="MiB",
    ),
    Key(
        "store.keep_days",
        integer(1, 3650),
        "Delivered reports are deleted after this time. Pending reports are kept.",
        unit="days",
    ),
    Key(
        "amqp.url",
        TEXT,
        "Address of the queue's broker: amqps://user:password@host:5671/vhost (amqp:// for loopback"
        " and private hosts). Not allowed in this file: use url_file or the environment variable.",
        secret=True,
    ),
    Key(
        "amqp.url_file",
        FILE,
        "File that holds the address of the queue's broker; null: the cloud is asked for it, which"
        " needs an integration account.",
    ),
    Key(
        "amqp.queue",
        TEXT,
        "Queue to consume from; needed with amqp.url_file. Null: the one that the cloud names.",
    ),
    Key(
        "amqp.own_url",
        TEXT,
        "Address of a RabbitMQ of your own; see own_url_file. Not allowed in this file.",
        secret=True,
    ),
    Key(
        "amqp.own_url_file",
        FILE,
        "File that holds the address of a RabbitMQ of your own, through which the partitions get"
        " their messages; needed with cluster.partitions above 1. Form: as url_file.",
    ),
    Key(
        "amqp.commands",
        SWITCH,
        "Send commands through the feed's exchange where it can carry them (docs/amqp.md), and the"
        " others over REST. false: all of them over REST.",
    ),
    Key(
        "cluster.partitions",
        integer(1, 1024),
        "Number of partitions the sites are divided into, the same for all workers. It is fixed"
        " when the database is created. 1: one worker acts and the others stand by.",
    ),
    Key(
        "cluster.worker",
        CLIENT_ID,
        "Name of this worker, unique in the cluster; null for host name and process id.",
    ),
    Key(
        "cluster.lease_ttl_s",
        integer(3, 60),
        "A worker that is not heard of for this time loses its partitions to another one.",
        unit="s",
    ),
    Key(
        "http.enabled",
        SWITCH,
        "Serve /healthz for supervisors and /metrics for Prometheus.",
    ),
    Key(
        "http.host",
        HOST,
        "Address to listen on. There is no password: any client that can connect sees when the"
        " chargers are used. Use an authenticating proxy for access from other machines.",
    ),
    Key("http.port", integer(1, 65535), "Port to listen on."),
    Key(
        "http.names",
        HOSTS,
        "Allowed host names in requests, besides addresses, localhost and http.host. Any other name"
        " is refused, so that pages of other sites cannot read it.",
    ),
    Key(
        "http.proxy",
        ADDRESS,
        "Address of a reverse proxy that controls access. Only it and this machine may then"
        " connect, and it may use any host name. Null: any client.",
    ),
    Key("http.page", SWITCH, "Serve the status page at /."),
    Key(
        "log.level",
        choice("debug", "info", "warning", "error"),
        "Lowest level to write. Tracebacks are written at debug only.",
    ),
    Key(
        "log.format",
        choice("auto", "json", "console"),
        "json: one object per line. console: text. auto: console on a terminal, json if"
        " standard error is anything else.",
    ),
    Key(
        "homeassistant.enabled",
        SWITCH,
        "Publish Home Assistant discovery for every charger. When switched off again, the bridge"
        " clears it.",
    ),
    Key(
        "homeassistant.discovery_prefix",
        TOPIC,
        "Discovery prefix, as set in Home Assistant's MQTT integration.",
    ),
    Key(
        "homeassistant.form",
        choice("device", "component"),
        "device: one message per charger, for Home Assistant 2024.11 and newer. component: one per"
        " entity, for older ones and for openHAB.",
    ),
    Key(
        "homeassistant.status_topic",
        TOPIC,
        "Topic of Home Assistant's birth message, after which discovery is published again.",
    ),
    Key(
        "recorder.max_mib",
        integer(0, 1024),
        "Memory for what the bridge handled in the last 30 minutes. It is written without personal"
        " data as record-<time>.rec beside the store when a component fails, on SIGUSR1 and by"
        " doctor; the newest five are kept. 8 MiB are enough for 500 chargers. 0 switches it off.",
        unit="MiB",
    ),
    Key(
        "sparkplug.enabled",
        SWITCH,
        "Publish every charger as a Sparkplug B device, over a connection of its own. Its client"
        " identifier is mqtt.client_id with -sparkplug appended.",
    ),
    Key("sparkplug.group_id", SPARKPLUG_ID, "Group of the edge node."),
    Key(
        "sparkplug.edge_node_id",
        SPARKPLUG_ID,
        "Name of the edge node. No other node of the group may have it.",
    ),
    Key(
        "sparkplug.host_id",
        SPARKPLUG_ID,
        "Name of the primary host. Nothing is published, and no session report counts as delivered,"
        " while its STATE is not online. null: publish always.",
    ),
    Key(
        "sparkplug.aliases",
        SWITCH,
        "Number the metrics in the births and use the numbers instead of names after that, which"
        " makes messages half as large. Not every host can read it: mqtt-spb-wrapper cannot.",
    ),
)

BY_PATH: Final = {key.path: key for key in KEYS}
BY_VARIABLE: Final = {key.variable: key for key in KEYS}
