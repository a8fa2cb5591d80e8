"""Every key of the configuration, in one table.

Loading, the environment variables, ``config.example.yaml`` and ``docs/configuration.md`` all come
from :data:`KEYS`. Defaults are not repeated here: they stand in :mod:`bridge.settings`.
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
    PREFIXES,
    SERIALS,
    STREAM_URL,
    SWITCH,
    TEXT,
    TOPIC,
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
        kind: What may stand behind it.
        doc: Sentences for the operator: what it decides, and what to do.
        unit: Of a quantity, else empty.
        secret: Refused in the file; read from the environment or from the file that the key with
            ``_file`` behind its name points to.
        example: What ``config.example.yaml`` shows where the default is no help.
    """

    path: str
    kind: ValueType
    doc: str
    unit: str = ""
    secret: bool = False
    example: str = ""

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
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
            found = getattr(found, name, None)
        return found

    @property
    def nullable(self) -> bool:
        """Whether it may be left out without a value taking its place."""
        return self.default is None


def _defaults(section: type, prefix: str) -> dict[str, object]:
    """Collect the defaults of a settings class and of the sections inside it."""
    found: dict[str, object] = {}
    for each in fields(section):
        path = prefix + each.name
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
    "commands": "What others may ask for.",
    "store": "Where session reports are kept until they are delivered.",
    "http": "A web server of the bridge's own: health, metrics, a page to look at; read-only.",
    "log": "Logs go to standard error.",
    "homeassistant": "Discovery by Home Assistant; docs/home-assistant.md tells what appears.",
}

KEYS: Final = (
    Key(
        "easee.username",
        TEXT,
        "E-mail address of the account, or its phone number with country code. Use an account of"
        " its own that reaches only the chargers the bridge shall serve.",
        example="someone@example.com",
    ),
    Key(
        "easee.password",
        TEXT,
        "Password of the account. Never in this file: point password_file at a file that holds it,"
        " or set the environment variable.",
        secret=True,
    ),
    Key(
        "easee.password_file",
        FILE,
        "File that holds the password of the account, e.g. a container or systemd secret. What an"
        " editor puts around it is ignored: line breaks, a byte order mark. Make it readable by the"
        " bridge alone.",
        example="/run/secrets/easee_password",
    ),
    Key(
        "easee.chargers",
        SERIALS,
        "Serials of the chargers to serve. Empty: every charger the account lists.",
    ),
    Key(
        "easee.api_url",
        API_URL,
        "Base of the REST interface. Change it only to use a simulated cloud.",
    ),
    Key(
        "easee.stream_url",
        STREAM_URL,
        "The hub that pushes observations. Change it only to use a simulated cloud.",
    ),
    Key(
        "easee.source",
        choice("stream", "poll"),
        "stream: observations are pushed, and read over REST only while the stream is down."
        " poll: they are always read over REST, later and at the cost of the request budget.",
    ),
    Key(
        "easee.poll_interval_s",
        integer(10, 3600),
        "Time between two reads of one charger while polling. The request budget may stretch it."
        " Above 300 an idle charger, which speaks every 15 minutes, seems offline now and then.",
        unit="s",
    ),
    Key("mqtt.host", HOST, "Name or address of the broker."),
    Key("mqtt.port", integer(1, 65535), "Port of the broker; usually 1883, with TLS 8883."),
    Key(
        "mqtt.version",
        choice("auto", "5", "3.1.1"),
        "Protocol version. auto: 5, and 3.1.1 with a warning when the broker is older. On 3.1.1"
        " commands sent while the bridge is away are lost without an answer, and a live one with"
        " the retain flag looks like any other (commands.unsure_retained).",
    ),
    Key(
        "mqtt.client_id",
        CLIENT_ID,
        "Client identifier. Two programs with the same one throw each other off the broker. "
        "A second connection, for values, adds -telemetry to it.",
    ),
    Key("mqtt.username", TEXT, "User name at the broker; null for none."),
    Key(
        "mqtt.password",
        TEXT,
        "Password at the broker. Never in this file: point password_file at a file that holds it,"
        " or set the environment variable.",
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
        "A dead connection is noticed within twice this time. 5 or more except on loopback.",
        unit="s",
    ),
    Key(
        "mqtt.reply_prefixes",
        PREFIXES,
        "Topic prefixes, besides <base>/reply/, under which an MQTT 5 Response Topic is honoured."
        " The bridge publishes there with its own rights, so keep them apart from everything else.",
    ),
    Key(
        "mqtt.tls.enabled",
        SWITCH,
        "Use TLS. Needed for a broker that is neither loopback nor on a private network.",
    ),
    Key(
        "mqtt.tls.ca_file",
        FILE,
        "PEM file with the authorities to trust; null for those of the system.",
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
        "Permit MQTT without TLS to a host that is neither loopback nor private. Anyone on the way"
        " can then read the broker's password and control the chargers.",
    ),
    Key(
        "publish.json",
        SWITCH,
        "Publish <base>/<id>/observation/<name>: JSON with value, unit, times and source.",
    ),
    Key(
        "publish.scalar",
        SWITCH,
        "Publish <base>/<id>/state/<name>: the bare value of each observation. Derived state is"
        " published either way.",
    ),
    Key(
        "publish.personal_data",
        SWITCH,
        "Publish RFID tags, addresses, positions and network names as they are instead of hashed."
        " They are never retained either way.",
    ),
    Key(
        "publish.require_subscriber",
        SWITCH,
        "A session report that nobody was subscribed to stays owed, and is tried again until"
        " somebody is. Before anybody ever took one it is kept instead, and the first consumer asks"
        " for a replay. Only an MQTT 5 broker tells; with 3.1.1 its acknowledgement always counts.",
    ),
    Key(
        "publish.require_acknowledgement",
        SWITCH,
        "Only a consumer's acknowledgement on <base>/bridge/session/ack settles a session report;"
        " without one it goes out again every 45 minutes. The way to be sure where every report"
        " counts: a broker can lose what it took. False: 45 minutes of unbroken connection settle"
        " it too.",
    ),
    Key(
        "commands.allow",
        COMMANDS,
        "Groups (control, access, current, device, installer, maintenance) or single commands that"
        " are carried out; everything else is refused. An empty list makes the bridge read-only.",
    ),
    Key(
        "commands.ttl_s",
        integer(1, 600),
        "A command that could not be sent within this time is answered expired, never carried out"
        " late.",
        unit="s",
    ),
    Key(
        "commands.max_current_a",
        integer(6, 80),
        "No command may ask for more current. Not a replacement for the installer's limits.",
        unit="A",
    ),
    Key(
        "commands.flash_writes_per_day",
        integer(0, 1000),
        "The installer's limits wear a charger's flash memory: they are sent so often in 24 hours,"
        " per charger, and other settings ten times as often; then the answer is refused,"
        " flash_budget.",
    ),
    Key(
        "commands.unsure_retained",
        choice("run", "refuse_energizing"),
        "MQTT 3.1.1, and a broker that ignores Retain As Published, do not tell a live command with"
        " the retain flag from one without. run: it is carried out, and found and emptied behind"
        " it. refuse_energizing: there, what can let a charge begin or grow is refused, retained.",
    ),
    Key(
        "store.path",
        FILE,
        "The SQLite file. The cloud's tokens are kept beside it, so its folder must be readable by"
        " the bridge alone; it is created that way.",
    ),
    Key("store.max_mib", integer(1, 10240), "Largest size of the store.", unit="MiB"),
    Key(
        "store.keep_days",
        integer(1, 3650),
        "Reports that were delivered are removed after this time. What is still owed is kept.",
        unit="days",
    ),
    Key(
        "http.enabled",
        SWITCH,
        "Serve /healthz for supervisors and /metrics for Prometheus.",
    ),
    Key(
        "http.host",
        HOST,
        "Address to listen on. There is no password: whoever reaches it sees when the chargers are"
        " used. Another machine should come through a proxy that asks for one.",
    ),
    Key("http.port", integer(1, 65535), "Port to listen on."),
    Key(
        "http.names",
        HOSTS,
        "Host names it may be asked by, besides addresses, localhost and http.host. Any other name"
        " is refused, so that a page from elsewhere cannot read it.",
    ),
    Key(
        "http.proxy",
        ADDRESS,
        "Address of a reverse proxy that decides who may look. Only it and this machine may then"
        " connect, and it may ask by any host name. Null: anyone who reaches the port.",
    ),
    Key("http.page", SWITCH, "Serve the status page at / too."),
    Key(
        "log.level",
        choice("debug", "info", "warning", "error"),
        "Least important lines to write. Tracebacks appear at debug only.",
    ),
    Key(
        "log.format",
        choice("auto", "json", "console"),
        "json: one object a line. console: for people. auto: console on a terminal, json where"
        " standard error goes anywhere else.",
    ),
    Key(
        "homeassistant.enabled",
        SWITCH,
        "Describe every charger to Home Assistant, so that it appears there by itself. Switched off"
        " again, the bridge takes the descriptions away.",
    ),
    Key(
        "homeassistant.discovery_prefix",
        TOPIC,
        "What Home Assistant looks under; the same as its MQTT integration says.",
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
        "Where Home Assistant says that it came up; everything is described again then.",
    ),
)

BY_PATH: Final = {key.path: key for key in KEYS}
BY_VARIABLE: Final = {key.variable: key for key in KEYS}
