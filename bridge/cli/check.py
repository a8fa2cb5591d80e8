"""Checks of ``check`` besides the configuration: the store's directory, the cloud, the broker.

What will be used is listed too, with the account shortened: the output is pasted into reports.
"""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from bridge.adapters.clock import SystemClock
from bridge.adapters.easee.rest_client import EaseeCloud
from bridge.adapters.mqtt.client import check_connection
from bridge.adapters.mqtt.tls import client_context
from bridge.adapters.state_files.plain_file import kind, reason
from bridge.adapters.state_files.private_file import OUR_FILES, TOKEN_FILE
from bridge.adapters.store.backends import backend_of
from bridge.config.tags import tag_pairs
from bridge.core.topics import SparkplugTopics, Topics
from bridge.errors import AuthFailed, BridgeError, ConfigError, ConnectionLost
from bridge.logs import unheard
from bridge.settings import Settings, StoreSettings, TlsSettings

# What goes wrong at a trial is its result, and told as that.
CLOUD_EVENTS = "cloud."


def in_use(settings: Settings) -> Iterator[tuple[str, str]]:
    """List what ``run`` would use, for people.

    Yields:
        Name and description, e.g. ``("broker", "mqtt://localhost:1883, user bridge")``.
    """
    mqtt, easee = settings.mqtt, settings.easee
    scheme = "mqtts" if mqtt.tls.enabled else "mqtt"
    user = f"user {mqtt.username}" if mqtt.username else "without a user name"
    yield "broker", f"{scheme}://{mqtt.host}:{mqtt.port}, {user}, topics below {mqtt.base_topic}/"
    yield "account", f"{shortened(easee.username)} at {easee.api_url}"
    yield "chargers", ", ".join(easee.chargers) or "every charger that the account lists"
    yield "store", settings.store.url or settings.store.path


def shortened(account: str) -> str:
    """Return an account's name so that its owner knows it and others do not: ``s***@example.com``.

    A phone number keeps its last two digits.
    """
    local, at, domain = account.rpartition("@")
    return f"{local[:1]}***@{domain}" if at else f"***{account[-2:]}"


def store_problem(store: StoreSettings, state_dir: Path) -> str | None:
    """Return what would keep the store from being opened, without creating anything.

    Args:
        store: Where it is.
        state_dir: Where other small files are.
    """
    if obstacle := backend_of(store).reader(store).obstacle():
        return obstacle
    if store.url:
        return None  # tokens and lists are there too
    for beside in (state_dir / name for name in OUR_FILES):
        if found := kind(beside):
            return f"{beside} is {found}; remove it"
    return folder_problem(state_dir / TOKEN_FILE)


def folder_problem(path: Path) -> str | None:
    """Return why no file could be made at a path, without making one, or None."""
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is not a folder"
    try:
        # The only question root gets an honest answer to. The file never has a name.
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"cannot write in {folder}: {reason(error)}"


def tls_problem(tls: TlsSettings) -> str | None:
    """Return what is wrong with the files for TLS towards the broker."""
    try:
        if tls.enabled:
            client_context(tls)
    except ConnectionLost as error:
        return str(error)
    return None


def tag_problems(settings: Settings) -> tuple[str, ...]:
    """Return what is wrong with the file of tag names; the gateway runs without it."""
    try:
        tag_pairs(settings.publish)
    except ConfigError as error:
        return error.problems
    return ()


async def attempts(settings: Settings) -> AsyncIterator[tuple[str, str | BridgeError]]:
    """Connect to the cloud and the broker once each; yield the result or the error."""
    for name, attempt in (("easee", _probe_cloud), ("mqtt", probe_broker)):
        try:
            yield name, await attempt(settings)
        except BridgeError as error:
            if isinstance(error, AuthFailed):
                error.retry_after_s = 0.0  # here nothing is tried again
            yield name, error


async def list_chargers(settings: Settings) -> tuple[str, ...]:
    """Log in once and return the serials that the account lists.

    Raises:
        CloudError: The account cannot be used.
    """
    with unheard(CLOUD_EVENTS):
        async with cloud_session(settings) as cloud:
            return await cloud.list_chargers()


async def _probe_cloud(settings: Settings) -> str:
    with unheard(CLOUD_EVENTS):
        async with cloud_session(settings) as cloud:
            return await cloud.probe()


@contextlib.asynccontextmanager
async def cloud_session(settings: Settings) -> AsyncIterator[EaseeCloud]:
    """Connect to the cloud for a few requests, apart from a gateway that runs."""
    # Tokens of its own: a refresh token works once, and a running bridge may hold the stored one.
    with tempfile.TemporaryDirectory(prefix="charger-bridge-check-") as folder:
        cloud = EaseeCloud(
            settings.easee,
            token_path=Path(folder) / "tokens.json",
            clock=SystemClock(),
            emit=lambda _event: None,
        )
        try:
            yield cloud
        finally:
            await cloud.close()


async def probe_broker(settings: Settings) -> str:
    """Connect to the broker once, subscribe, and describe it in one line.

    Raises:
        ConnectionLost: It did not work; the text says what to do.
    """
    topics = Topics(settings.mqtt.base_topic, settings.mqtt.reply_prefixes)
    own = settings.homeassistant
    births = (own.status_topic,) if own.enabled else ()
    plant = settings.sparkplug
    node = SparkplugTopics(plant.group_id, plant.edge_node_id, plant.host_id)
    written = node.subscriptions if plant.enabled else ()
    return await check_connection(
        settings.mqtt, subscriptions=topics.subscriptions + births + written
    )
