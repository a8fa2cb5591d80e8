"""Settings of the operator, as immutable values with their defaults.

One dataclass per section of the configuration file; reading and checking it is the work of
:mod:`bridge.config.loading`. These classes are plain data so that the core may hold them.
"""

from dataclasses import dataclass, field


class Secret:
    """A string that does not show itself: not in a log line, a traceback or a repr."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, slots=True)
class EaseeSettings:
    """The vendor's cloud.

    Attributes:
        username: E-mail address, or phone number with country code.
        password: From ``password_file`` or the environment, never from the YAML file itself.
        chargers: Serials to serve; empty means every charger the account lists.
        api_url: Base of the REST interface, without a path.
        stream_url: The SignalR hub.
        source: ``"stream"`` (polling only while the stream is down), ``"poll"`` or ``"amqp"``.
        poll_interval_s: Seconds between two reads of one charger while polling.
        names: Serials with what people call them.
    """

    username: str
    password: Secret
    chargers: tuple[str, ...] = ()
    api_url: str = "https://api.easee.com"
    stream_url: str = "https://streams.easee.com/hubs/chargers"
    source: str = "stream"
    poll_interval_s: int = 60
    names: tuple[tuple[str, str], ...] = ()

    def name_of(self, serial: str) -> str:
        """Return what people call a charger; empty where the configuration has no name."""
        return dict(self.names).get(serial, "")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """TLS towards the broker. Certificates and host names are always verified.

    Attributes:
        enabled: Use TLS.
        ca_file: Authorities to trust instead of the system's.
        cert_file: Client certificate, PEM.
        key_file: Its key, PEM.
        allow_plaintext: Permit MQTT without TLS to a host that is neither loopback nor private.
    """

    enabled: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    allow_plaintext: bool = False


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """The broker.

    Attributes:
        version: ``"auto"`` (5, then 3.1.1 with a warning), ``"5"`` or ``"3.1.1"``.
        base_topic: First level or levels of every topic, without a slash at either end.
        keepalive_s: Seconds; a dead link is noticed within twice as long.
        reply_prefixes: Topic prefixes, besides ``<base>/reply/``, under which an MQTT 5 Response
            Topic is honoured.
    """

    host: str = "localhost"
    port: int = 1883
    version: str = "auto"
    client_id: str = "charger-bridge"
    username: str | None = None
    password: Secret | None = None
    base_topic: str = "charger"
    keepalive_s: int = 20
    reply_prefixes: tuple[str, ...] = ()
    tls: TlsSettings = field(default_factory=TlsSettings)


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """What is published.

    Attributes:
        json: ``<base>/<id>/observation/<name>`` documents.
        scalar: ``<base>/<id>/state/<name>`` bare values of observations. Derived state is always
            published.
        personal_data: Publish RFID tags, addresses, positions and network names as they are
            instead of hashed. They are never retained either way.
        require_subscriber: A session report without a subscriber at the broker stays pending.
        require_acknowledgement: A session report goes out again and again until a consumer
            acknowledges its key; time alone does not settle it.
        only: Names, ids and groups of the values that are published; empty for all.
        except_: Those that are not; the key is ``publish.except``.
        equalizer_interval_s: Values of an Equalizer are published at most this often.
        tags: RFID tags, or their published hashes, with the names of people.
        tags_file: File with more of them.
    """

    json: bool = True
    scalar: bool = True
    personal_data: bool = False
    require_subscriber: bool = True
    require_acknowledgement: bool = False
    only: tuple[str, ...] = ()
    except_: tuple[str, ...] = ()
    equalizer_interval_s: int = 5
    tags: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    tags_file: str | None = None


@dataclass(frozen=True, slots=True)
class CommandSettings:
    """What others may ask for.

    Attributes:
        allow: Command groups or single command names.
        ttl_s: A command older than this is not carried out; at most 600.
        max_current_a: No command may ask for more amperes.
        unsure_retained: Where it is unknown whether a command was published with the retain
            flag: ``"run"``, or ``"refuse_energizing"`` for what can let a charge begin or grow.
        flash_writes_per_day: Settings that wear a charger's flash memory are sent so often in
            24 h, per charger.
    """

    allow: tuple[str, ...] = ("control", "access", "current")
    ttl_s: int = 60
    max_current_a: int = 32
    flash_writes_per_day: int = 10
    unsure_retained: str = "run"


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where session reports are kept until they are delivered.

    Attributes:
        path: The SQLite file. Tokens are kept beside it.
        url: PostgreSQL instead of the file, ``postgresql://user@host/database``; None for SQLite.
        password: Of the user at PostgreSQL.
        max_mib: Quota in MiB.
        keep_days: Settled reports older than this are removed.
    """

    path: str = "/var/lib/charger-bridge/bridge.db"
    url: str | None = None
    password: Secret | None = None
    max_mib: int = 64
    keep_days: int = 90

    @property
    def kind(self) -> str:
        """Return the kind of the store, one of :mod:`bridge.adapters.store.backends`."""
        return "postgres" if self.url else "sqlite"


@dataclass(frozen=True, slots=True)
class AmqpSettings:
    """The partner feed, where ``easee.source`` is ``"amqp"``.

    Attributes:
        url: ``amqps://user:password@host:5671/vhost``; None: the cloud is asked.
        queue: To consume from; None: the one the cloud names.
        commands: Send commands through the feed's exchange where it has them.
        own_url: A RabbitMQ of one's own, through which partitions get their messages; None: there
            is one partition.
    """

    url: Secret | None = None
    queue: str | None = None
    commands: bool = False
    own_url: Secret | None = None


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Several workers on one PostgreSQL.

    Attributes:
        partitions: Into so many parts the sites are divided; fixed when the database is created.
        worker: Name of this process, unique; None for host name and process id.
        lease_ttl_s: After this time without a renewal another worker takes a partition over.
        partition: No key: of several partitions, the one that a gateway serves; None: it serves
            all, or speaks for all.
    """

    partitions: int = 1
    worker: str | None = None
    lease_ttl_s: int = 4
    partition: int | None = None

    @property
    def is_divided(self) -> bool:
        """Return whether the chargers are divided among several partitions."""
        return self.partitions > 1


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The bridge's own web server: health, metrics and the status page. Nothing can be changed.

    Attributes:
        enabled: Serve it.
        host: Address to listen on; who reaches it sees what the chargers do.
        port: Port to listen on.
        names: Host names it may be asked by, besides addresses, localhost and ``host``.
        proxy: Address of the reverse proxy that alone may connect, by any name; None for none.
        page: Serve the status page too.
    """

    enabled: bool = False
    host: str = "127.0.0.1"
    port: int = 8480
    names: tuple[str, ...] = ()
    proxy: str | None = None
    page: bool = False


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Logs go to standard error.

    Attributes:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        format: ``json`` (one object a line), ``console``, or ``auto``: console on a terminal, JSON
            elsewhere.
    """

    level: str = "info"
    format: str = "auto"


@dataclass(frozen=True, slots=True)
class RecorderSettings:
    """The recorder of what the bridge handled, for reports of defects.

    Attributes:
        max_mib: Memory for it; 0 switches it off.
    """

    max_mib: int = 8


@dataclass(frozen=True, slots=True)
class HomeAssistantSettings:
    """Discovery by Home Assistant, and by others that read the same messages.

    Attributes:
        enabled: Describe every charger.
        discovery_prefix: What Home Assistant looks under.
        form: ``"device"`` (one message per charger) or ``"component"`` (one per entity).
        status_topic: Where Home Assistant says that it came up.
    """

    enabled: bool = False
    discovery_prefix: str = "homeassistant"
    form: str = "device"
    status_topic: str = "homeassistant/status"


@dataclass(frozen=True, slots=True)
class SparkplugSettings:
    """Sparkplug B, for SCADA hosts.

    Attributes:
        enabled: Be an edge node.
        group_id: The group of the node.
        edge_node_id: The node; unique in its group.
        host_id: The primary host; the node publishes only while it is online. None: always.
        aliases: Use numbers instead of names in data.
    """

    enabled: bool = False
    group_id: str = "charging"
    edge_node_id: str = "charger-bridge"
    host_id: str | None = None
    aliases: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration.

    Attributes:
        state_dir: Folder of the small state files; None for the one that ``state_folder`` returns.
    """

    easee: EaseeSettings
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    publish: PublishSettings = field(default_factory=PublishSettings)
    commands: CommandSettings = field(default_factory=CommandSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    log: LogSettings = field(default_factory=LogSettings)
    homeassistant: HomeAssistantSettings = field(default_factory=HomeAssistantSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    amqp: AmqpSettings = field(default_factory=AmqpSettings)
    state_dir: str | None = None
    recorder: RecorderSettings = field(default_factory=RecorderSettings)
    sparkplug: SparkplugSettings = field(default_factory=SparkplugSettings)

    @property
    def uses_exchange(self) -> bool:
        """Return whether commands go through the exchange of the partner feed where it has them."""
        return self.amqp.commands and self.easee.source == "amqp"

    @property
    def state_folder(self) -> str:
        """Return the folder of the small state files; see the key ``state_dir``."""
        if self.state_dir is not None:
            return self.state_dir
        path = StoreSettings().path if self.store.url else self.store.path
        folder, slash, _ = path.rstrip("/").rpartition("/")
        return folder.rstrip("/") or slash or "."


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used.

    Attributes:
        settings: The settings.
        warnings: What an operator may want to change, a sentence each.
        overridden: Keys of the file that the environment sets to another value.
    """

    settings: Settings
    warnings: tuple[str, ...]
    overridden: tuple[str, ...] = ()
