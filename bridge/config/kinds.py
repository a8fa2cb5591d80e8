"""Types of configuration values: one reader for each.

Rules:

1. A reader takes the text that was written, in the file or in the environment, and returns the
   value, or raises :class:`InvalidValue` with a sentence that says what is allowed. What the text
   means depends on the key and never on how YAML would guess it, so ``version: 5``,
   ``username: +4712345678`` and ``client_id: 0x10`` are read as they are written.
2. Nothing here opens a file, asks for a name or looks at the time.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from bridge.core.easee.rest_requests import is_serial

MAX_TEXT_LENGTH = 512
# A topic may be 65,535 bytes; what is below the base needs some 150 of them, enough in practice.
MAX_BASE_TOPIC_LENGTH = 128
MAX_SHOWN_LENGTH = 40
MAX_TAG_LENGTH: Final = 128
MAX_NAME_LENGTH = 64


class InvalidValue(ValueError):
    """A value that a key cannot have; the message is the rest of a sentence after its path."""


class ValueType(msgspec.Struct, frozen=True):
    """What may stand behind a key.

    Attributes:
        text: What is allowed, for the reference page, e.g. ``"whole number, 1 to 65535"``.
        read: Turns text into the value or raises :class:`InvalidValue`.
        bare: True for numbers and switches: quotes around them are refused, as they say "text".
        many: True for lists and mappings; ``read`` then reads one item.
        pairs: True for mappings, whose item is spelled ``key=value``.
        is_file: True for paths, which are relative to the folder of the configuration file.
        example: Of lists, one or two items that would be taken, for messages.
    """

    text: str
    read: Callable[[str], object]
    bare: bool = False
    many: bool = False
    pairs: bool = False
    is_file: bool = False
    example: tuple[str, ...] = ()


def shown(text: str) -> str:
    """Quote a value for a message: short, and without control characters."""
    cut = text if len(text) <= MAX_SHOWN_LENGTH else text[: MAX_SHOWN_LENGTH - 1] + "…"
    return repr(cut)


# -- numbers and switches ----------------------------------------------------------------------

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,8})", re.ASCII)
# Spellings that YAML 1.1 silently turns into another number.
_ODD_NUMBERS: Final = (
    (re.compile(r"[-+]?0[0-7_]+", re.ASCII), "octal"),
    (re.compile(r"[-+]?0x[0-9a-fA-F_]+", re.ASCII), "hexadecimal"),
    (re.compile(r"[-+]?0b[01_]+", re.ASCII), "binary"),
    (re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+", re.ASCII), "sexagesimal"),
    (re.compile(r"[-+]?[0-9][0-9_]*_[0-9_]*", re.ASCII), "underscored"),
)
_SWITCH: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def integer(low: int, high: int) -> ValueType:
    """A whole number between two bounds, both allowed."""

    def read(text: str) -> int:
        if _WHOLE.fullmatch(text) and low <= int(text) <= high:
            return int(text)
        odd = next((name for shape, name in _ODD_NUMBERS if shape.fullmatch(text)), None)
        hint = f" ({odd} in YAML; write it as a plain decimal number)" if odd else ""
        raise InvalidValue(f"must be {low} to {high}, not {shown(text)}{hint}")

    return ValueType(f"whole number, {low} to {high}", read, bare=True)


def _read_switch(text: str) -> bool:
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise InvalidValue(f"must be true or false, not {shown(text)}") from None


# In the environment there are no switches, only texts, and 1 is the usual one.
SWITCH_WORDS: Final = {"1": "true", "0": "false"}


SWITCH: Final = ValueType("true or false", _read_switch, bare=True)


# -- words -------------------------------------------------------------------------------------

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_CLIENT_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,64}", re.ASCII)


def choice(*words: str) -> ValueType:
    """Return a type for one of a few words."""
    listed = ", ".join(words[:-1]) + f" or {words[-1]}"

    def read(text: str) -> str:
        if text in words:
            return text
        raise InvalidValue(f"must be {listed}, not {shown(text)}")

    return ValueType(listed, read)


def _read_text(text: str) -> str:
    if not text:
        raise InvalidValue("must not be empty")
    if len(text) > MAX_TEXT_LENGTH:
        raise InvalidValue(f"must be at most {MAX_TEXT_LENGTH} characters long")
    if _CONTROL.search(text):
        raise InvalidValue("must not hold control characters or line breaks")
    return text


def _read_client_id(text: str) -> str:
    if _CLIENT_ID.fullmatch(text):
        return text
    raise InvalidValue(f"must be 1 to 64 letters, digits or _ . : @ -, not {shown(text)}")


def _read_serial(text: str) -> str:
    if is_serial(text):
        return text
    raise InvalidValue(f"must be charger serials, 6 to 16 capitals and digits, not {shown(text)}")


def _read_name(text: str) -> tuple[str, str]:
    serial, equals, name = text.partition("=")
    if not equals:
        raise InvalidValue(f"must be serials with names, EH123456=Garage, not {shown(text)}")
    if len(name.strip()) > MAX_NAME_LENGTH:
        raise InvalidValue(f"must have names of at most {MAX_NAME_LENGTH} characters")
    return _read_serial(serial.strip()), _read_text(name.strip())


def _read_tag(text: str) -> tuple[str, str]:
    tag, equals, name = text.partition("=")
    if not (equals and tag.strip() and name.strip()):
        raise InvalidValue("must be tags with names, 04AABBCCDD7180=Kari")
    if len(tag.strip()) > MAX_TAG_LENGTH or len(name.strip()) > MAX_NAME_LENGTH:
        raise InvalidValue(
            f"must have tags of at most {MAX_TAG_LENGTH} and names of at most {MAX_NAME_LENGTH}"
            " characters"
        )
    return _read_text(tag.strip()), _read_text(name.strip())


def _read_command(text: str) -> str:
    # Whether the name exists is checked by bridge.config.loading, which knows the catalogue.
    return _read_text(text)


TEXT: Final = ValueType("text", _read_text)
FILE: Final = ValueType("path", _read_text, is_file=True)
CLIENT_ID: Final = ValueType("1 to 64 letters, digits or _ . : @ -", _read_client_id)
SERIALS: Final = ValueType("list of serials", _read_serial, many=True, example=("EH123456",))
NAMES: Final = ValueType(
    "mapping of serials to names",
    _read_name,
    many=True,
    pairs=True,
    example=("EH123456=Garage",),
)
TAGS: Final = ValueType(
    "mapping of tags to names",
    _read_tag,
    many=True,
    pairs=True,
    example=("04AABBCCDD7180=Kari",),
)
# Whether a word exists is checked by bridge.config.rules, which knows the registry.
VALUES: Final = ValueType(
    "list of names, ids or groups of values", _read_text, many=True, example=("phases", "op_mode")
)
COMMANDS: Final = ValueType(
    "list of groups or command names", _read_command, many=True, example=("control", "access")
)


# -- topics ------------------------------------------------------------------------------------


def _read_topic(text: str) -> str:
    _read_text(text)
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BASE_TOPIC_LENGTH:
        raise InvalidValue(f"must be at most {MAX_BASE_TOPIC_LENGTH} bytes long")
    if "+" in text or "#" in text:
        raise InvalidValue(f"must not hold the wildcards + and #, not {shown(text)}")
    if text.startswith("$"):
        raise InvalidValue("must not start with $, which belongs to the broker")
    if "" in text.split("/"):
        raise InvalidValue(f"must not start or end with / nor hold //, not {shown(text)}")
    return text


def _read_prefix(text: str) -> str:
    return _read_topic(text.removesuffix("/")) + "/"


def _read_sparkplug_id(text: str) -> str:
    _read_text(text)
    if (found := next((one for one in "/+#" if one in text), None)) is not None:
        raise InvalidValue(f"must not hold / + or #, not {shown(text)}; leave out the {found}")
    if text == "STATE":
        raise InvalidValue("must not be STATE, which is a word of the topics of hosts")
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BASE_TOPIC_LENGTH:
        raise InvalidValue(f"must be at most {MAX_BASE_TOPIC_LENGTH} bytes long")
    return text


SPARKPLUG_ID: Final = ValueType("text without / + and #", _read_sparkplug_id)
TOPIC: Final = ValueType("topic levels without + # $ and without / at either end", _read_topic)
PREFIXES: Final = ValueType(
    "list of topic prefixes", _read_prefix, many=True, example=("flows/answers",)
)


# -- hosts and addresses -----------------------------------------------------------------------

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
# getaddrinfo takes "134744072" and "0x8080808" for 8.8.8.8: such a name has no dot and is not
# private. The last label of a real name is never a number.
_NUMBER_LABEL = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*", re.ASCII)
MAX_HOST_LENGTH = 253
_PRIVATE_SUFFIXES: Final = (".local", ".lan", ".home.arpa", ".internal", ".localhost")
_LOOPBACK: Final = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))
# RFC 1918, RFC 4193 and link-local. is_private of the standard library is wider than "my network".
_PRIVATE: Final = _LOOPBACK + tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Networks = tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]


def address_of(host: str) -> Address | None:
    """Return the address a text is, an IPv4 address inside an IPv6 one as itself; else None."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _within(address: Address, networks: Networks) -> bool:
    return any(address in network for network in networks)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine: 127.0.0.0/8, ::1 or localhost."""
    address = address_of(host)
    if address is None:
        return host.lower().removesuffix(".") == "localhost"
    return _within(address, _LOOPBACK)


def is_private(host: str) -> bool:
    """Return whether a host is this machine or on a private network.

    Names without a dot and names that only a local network resolves count as private.
    """
    address = address_of(host)
    if address is not None:
        return _within(address, _PRIVATE)
    name = host.lower().removesuffix(".")
    return "." not in name or name.endswith(_PRIVATE_SUFFIXES)


def is_host(text: str) -> bool:
    """Return whether a text has the format of a host name or an IP address."""
    if address_of(text) is not None:
        return True
    labels = text.removesuffix(".").split(".")
    return (
        len(text) <= MAX_HOST_LENGTH
        and all(_LABEL.fullmatch(label) for label in labels)
        and _NUMBER_LABEL.fullmatch(labels[-1]) is None
    )


def _read_host(text: str) -> str:
    if is_host(text):
        return text
    if "://" in text or re.fullmatch(r"[^:]+:[0-9]+", text):
        raise InvalidValue("must be a host name or address alone; the port has its own key")
    raise InvalidValue(f"must be a host name or an IP address, not {shown(text)}")


def _read_address(text: str) -> str:
    if (address := address_of(text)) is None:
        raise InvalidValue(f"must be an IP address, not {shown(text)}")
    return str(address)


ADDRESS: Final = ValueType("IP address", _read_address)
HOST: Final = ValueType("host name or IP address", _read_host)
HOSTS: Final = ValueType("list of host names", _read_host, many=True, example=("pi.lan",))

_PLAIN_SCHEMES: Final = {"http": "https", "ws": "wss"}
# One spelling inside: negotiation is an HTTP request, and the socket's scheme follows from it.
_HTTP_SCHEME: Final = {"https": "https", "wss": "https", "http": "http", "ws": "http"}


def _url(schemes: tuple[str, ...], clean_path: Callable[[str], str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        # The text itself is not shown: it may hold a password before an @.
        _read_text(text)
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise InvalidValue("must be a URL with a valid host and port") from None
        if parts.scheme not in schemes:
            raise InvalidValue(f"must start with {schemes[0]}://")
        if parts.username is not None or parts.password is not None:
            raise InvalidValue("must not hold a user name or password; they have their own keys")
        if "?" in text or "#" in text or "\\" in text:
            raise InvalidValue("must not hold a query, a fragment or a backslash")
        if not is_host(host) or port == 0:
            raise InvalidValue("must name a valid host and port")
        if parts.scheme in _PLAIN_SCHEMES and not is_loopback(host):
            secure = _PLAIN_SCHEMES[parts.scheme]
            raise InvalidValue(
                f"must start with {secure}://; {parts.scheme}:// is for loopback hosts only"
            )
        return f"{_HTTP_SCHEME[parts.scheme]}://{parts.netloc.lower()}{clean_path(parts.path)}"

    return read


def _api_path(path: str) -> str:
    # `charger-bridge simulate` and the vendor's own pages show the base with /api behind it.
    if path.rstrip("/") not in ("", "/api"):
        raise InvalidValue("must be the base of the REST interface, without a path")
    return ""


def _hub_path(path: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9_.~-]+)+/?", path, re.ASCII) or "/.." in path:
        raise InvalidValue(
            "must end in the path of the hub, e.g. https://streams.easee.com/hubs/chargers"
        )
    return path.rstrip("/")


API_URL: Final = ValueType(
    "URL, https:// (http:// for loopback)", _url(("https", "http"), _api_path)
)
STREAM_URL: Final = ValueType(
    "URL, https:// or wss:// (http:// or ws:// for loopback)",
    _url(("https", "wss", "http", "ws"), _hub_path),
)

# What may follow the database in the address of a PostgreSQL: encryption, and a socket's folder.
_STORE_URL_PARAMETERS: Final = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "host"})
_VERIFIED: Final = ("verify-ca", "verify-full")


def _read_store_url(text: str) -> str:
    # The text itself is not shown: it may hold a password before an @.
    _read_text(text)
    try:
        parts = urlsplit(text)
        port, asked = parts.port, parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise InvalidValue("must be a URL with a valid host, port and parameters") from None
    if parts.scheme != "postgresql":
        raise InvalidValue("must start with postgresql://")
    if parts.password is not None:
        raise InvalidValue("must not hold a password; it has a key of its own")
    if not parts.username or not parts.path.strip("/") or "/" in parts.path[1:] or parts.fragment:
        raise InvalidValue("must name user and database: postgresql://user@host/database")
    if unknown := sorted(asked.keys() - _STORE_URL_PARAMETERS):
        known = ", ".join(sorted(_STORE_URL_PARAMETERS))
        raise InvalidValue(f"must not hold the parameter {shown(unknown[0])}; known are {known}")
    socket_folder = asked.get("host", [""])[0]
    if bool(parts.hostname) == bool(socket_folder) or port == 0:
        raise InvalidValue("must name one host, or a socket's folder by ?host=/run/postgresql")
    if parts.hostname and not is_host(parts.hostname):
        raise InvalidValue("must name a valid host and port")
    is_verified = asked.get("sslmode", [""])[0] in _VERIFIED
    if parts.hostname and not is_private(parts.hostname) and not is_verified:
        raise InvalidValue(
            "must end in ?sslmode=verify-full for a host that is neither loopback nor private"
        )
    return text


STORE_URL: Final = ValueType("postgresql://user@host/database", _read_store_url)
