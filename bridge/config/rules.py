"""Rules across several configuration keys: problems and warnings.

A rule is a generator of problems over the checked values, listed in :data:`RULES` with the keys
that must be sound before it is asked, so that one mistake is told once.
"""

import os
import stat
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from bridge.adapters.state_files.plain_file import open_plain, reason
from bridge.config.kinds import is_loopback, is_private, shown
from bridge.core.easee import selection
from bridge.core.easee.command_catalogue import CATALOGUE
from bridge.core.easee.partner_feed import command_exchange
from bridge.extras import missing_extra

# Stands for a secret that was not read: what connects to nobody works without.
NOT_READ: Final = "a secret that was not read"
STANDARD_PORT = 1883
TLS_PORT = 8883
EXAMPLE_ACCOUNT = "someone@example.com"

Get = Callable[[str], Any]


def shown_path(path: Path) -> str:
    """Return a path for a message, complete, without control characters."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _plaintext(get: Get) -> Iterator[str]:
    if get("mqtt.tls.enabled") or get("mqtt.tls.allow_plaintext") or is_private(get("mqtt.host")):
        return
    yield (
        f"mqtt.host: {get('mqtt.host')} is neither loopback nor private and TLS is off; set"
        " mqtt.tls.enabled: true, or mqtt.tls.allow_plaintext: true to send passwords and commands"
        " in the clear"
    )


def _client_certificate(get: Get) -> Iterator[str]:
    cert_file, key_file = get("mqtt.tls.cert_file"), get("mqtt.tls.key_file")
    if cert_file and not key_file:
        yield "mqtt.tls.cert_file: needs mqtt.tls.key_file"
    if key_file and not cert_file:
        yield "mqtt.tls.key_file: needs mqtt.tls.cert_file"


def _readable(path: str) -> Callable[[Get], Iterator[str]]:
    def rule(get: Get) -> Iterator[str]:
        if not (name := get(path)):
            return
        try:
            os.close(open_plain(name))
        except OSError as exc:
            yield f"{path}: cannot read {shown_path(Path(name))}: {reason(exc)}"

    return rule


def _broker_login(get: Get) -> Iterator[str]:
    if get("mqtt.password") and not get("mqtt.username"):
        yield "mqtt.password: needs mqtt.username"


def _reply_prefixes(get: Get) -> Iterator[str]:
    base = f"{get('mqtt.base_topic')}/"
    for prefix in get("mqtt.reply_prefixes"):
        if prefix.startswith(f"{base}reply/"):
            continue
        if prefix.startswith(base) or base.startswith(prefix):
            yield (
                f"mqtt.reply_prefixes: {shown(prefix)} overlaps {shown(base)}: a caller could make"
                " the bridge write over its own topics"
            )


def _commands(get: Get) -> Iterator[str]:
    groups = sorted({spec.group for spec in CATALOGUE.values()})
    for name in get("commands.allow"):
        if name in groups or name in CATALOGUE:
            continue
        from difflib import get_close_matches  # noqa: PLC0415 - only for mistakes

        others = [known for known in (*groups, *CATALOGUE) if known not in get("commands.allow")]
        near = get_close_matches(name, others, n=1)
        hint = f"did you mean {near[0]}?" if near else f"groups are {', '.join(groups)}"
        yield f"commands.allow: {shown(name)} is neither a group nor a command; {hint}"


def _values(path: str) -> Callable[[Get], Iterator[str]]:
    def rule(get: Get) -> Iterator[str]:
        for word in get(path):
            if selection.is_known(word):
                continue
            from difflib import get_close_matches  # noqa: PLC0415 - only for mistakes

            near = get_close_matches(word, (*selection.GROUPS, *selection.names()), n=3)
            groups = f"groups are {', '.join(selection.GROUPS)}"
            hint = f"did you mean {' or '.join(near)}?" if near else groups
            yield f"{path}: {shown(word)} is no name, id or group of values; {hint}"

    return rule


def _named_twice(get: Get) -> Iterator[str]:
    serials = [serial for serial, _ in get("easee.names")]
    for serial in sorted({one for one in serials if serials.count(one) > 1}):
        yield f"easee.names: names {serial} twice"


def _readable_by_home_assistant(get: Get) -> Iterator[str]:
    if get("homeassistant.enabled") and not get("publish.scalar"):
        yield "homeassistant.enabled: needs publish.scalar: true, whose topics the entities read"


def _cluster(get: Get) -> Iterator[str]:
    if get("cluster.partitions") == 1:
        return
    if not get("store.url"):
        yield "cluster.partitions: needs store.url; with SQLite there is one partition"
    if get("easee.source") == "amqp" and get("amqp.own_url") is None:
        yield (
            "cluster.partitions: with easee.source: amqp several need amqp.own_url_file, a RabbitMQ"
            " of your own through which each gets its messages"
        )


def _store_login(get: Get) -> Iterator[str]:
    if get("store.password") and not get("store.url"):
        yield "store.password: needs store.url"


def _feed(get: Get) -> Iterator[str]:
    url = get("amqp.url")
    if get("easee.source") != "amqp":
        return
    if find_spec("pika") is None:
        yield f"easee.source: amqp: {missing_extra('amqp', 'pika')}"
    if not get("publish.json"):
        yield (
            "easee.source: amqp needs publish.json: true, whose retained documents are read back"
            " at the start"
        )
    if url is None:
        return
    queue = get("amqp.queue")
    if not queue:
        yield "amqp.queue: required with amqp.url_file"
    elif get("amqp.commands") and not command_exchange(queue):
        yield (
            "amqp.queue: must end with .Q for amqp.commands, like Operator_7.Q: the exchange for"
            " commands is named after it (Operator_7.C.X)"
        )
    if url.reveal() != NOT_READ and (problem := _feed_url_problem(url.reveal())):
        yield f"amqp.url: {problem}"


def _own_feed(get: Get) -> Iterator[str]:
    url = get("amqp.own_url")
    if (
        url is not None
        and url.reveal() != NOT_READ
        and (problem := _feed_url_problem(url.reveal()))
    ):
        yield f"amqp.own_url: {problem}"


def _feed_url_problem(text: str) -> str | None:
    # The text itself is not shown: it holds a password.
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "must be a URL with a valid host and port"
    if parts.scheme not in {"amqp", "amqps"} or not host or port == 0:
        return "must look like amqps://user:password@host:5671/vhost"
    if not parts.username or not parts.password:
        return "must hold user and password: amqps://user:password@host:5671/vhost"
    if parts.scheme == "amqp" and not is_private(host):
        return "must start with amqps:// for a host that is neither loopback nor private"
    return None


RULES: Final[tuple[tuple[tuple[str, ...], Callable[[Get], Iterator[str]]], ...]] = (
    (("mqtt.host", "mqtt.tls.enabled", "mqtt.tls.allow_plaintext"), _plaintext),
    (("mqtt.tls.cert_file", "mqtt.tls.key_file"), _client_certificate),
    (("mqtt.tls.ca_file",), _readable("mqtt.tls.ca_file")),
    (("mqtt.tls.cert_file",), _readable("mqtt.tls.cert_file")),
    (("mqtt.tls.key_file",), _readable("mqtt.tls.key_file")),
    (("mqtt.username", "mqtt.password", "mqtt.password_file"), _broker_login),
    (("mqtt.base_topic", "mqtt.reply_prefixes"), _reply_prefixes),
    (("commands.allow",), _commands),
    (("store.url", "cluster.partitions", "easee.source", "amqp.own_url"), _cluster),
    (("store.url", "store.password", "store.password_file"), _store_login),
    (("easee.names",), _named_twice),
    (("publish.only",), _values("publish.only")),
    (("publish.except",), _values("publish.except")),
    (("easee.source", "amqp.url", "amqp.queue", "amqp.commands", "publish.json"), _feed),
    (("amqp.own_url",), _own_feed),
    (("homeassistant.enabled", "publish.scalar"), _readable_by_home_assistant),
)


def _tls_unused(get: Get) -> Iterator[str]:
    if get("mqtt.tls.enabled"):
        return
    for name in ("ca_file", "cert_file"):
        if get(f"mqtt.tls.{name}"):
            yield f"mqtt.tls.{name}: without effect while mqtt.tls.enabled is false"


def _tls_port(get: Get) -> Iterator[str]:
    if get("mqtt.tls.enabled") and get("mqtt.port") == STANDARD_PORT:
        yield (
            f"mqtt.port: {STANDARD_PORT} is usually the port without TLS; with TLS it is {TLS_PORT}"
        )
    if not get("mqtt.tls.enabled") and get("mqtt.port") == TLS_PORT:
        yield f"mqtt.port: {TLS_PORT} is usually the port with TLS; set mqtt.tls.enabled: true"


def _example_account(get: Get) -> Iterator[str]:
    if get("easee.username") == EXAMPLE_ACCOUNT:
        yield "easee.username: this is the account of the example; set your own"


def _no_password(get: Get) -> Iterator[str]:
    if get("mqtt.username") and not get("mqtt.password"):
        yield (
            "mqtt.username: without a password, which most brokers refuse; set mqtt.password_file"
        )


def _far_plaintext(get: Get) -> Iterator[str]:
    plain = get("mqtt.tls.allow_plaintext") and not get("mqtt.tls.enabled")
    if plain and not is_private(get("mqtt.host")):
        yield "mqtt.tls.allow_plaintext: passwords and commands travel a foreign network in clear"


def _open_page(get: Get) -> Iterator[str]:
    if get("http.enabled") and not is_loopback(get("http.host")) and not get("http.proxy"):
        yield "http.host: there is no password; any client that can connect sees the charging times"


def _page_unused(get: Get) -> Iterator[str]:
    if get("http.page") and not get("http.enabled"):
        yield "http.page: without effect while http.enabled is false"


def _shared_folder(get: Get) -> Iterator[str]:
    """Warn of a directory where other users could create or remove the store's file."""
    if get("store.url"):
        return
    folder = Path(get("store.path")).parent
    try:
        mode = folder.stat().st_mode
    except OSError:  # it is made with the store, for the bridge alone
        return
    if mode & stat.S_IWOTH:
        yield (
            f"store.path: every user of this machine can write in {shown_path(folder)}; tokens and"
            " sessions belong in a folder of the bridge's own"
        )


def _exchange_unused(get: Get) -> Iterator[str]:
    if get("amqp.commands") and get("easee.source") != "amqp":
        yield "amqp.commands: without effect while easee.source is not amqp"


ADVICE: Final = (
    _example_account,
    _no_password,
    _shared_folder,
    _tls_unused,
    _tls_port,
    _far_plaintext,
    _open_page,
    _page_unused,
    _exchange_unused,
)
