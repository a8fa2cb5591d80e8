"""Where the partner feed is: as the configuration says, or as the cloud tells."""

from typing import Final
from urllib.parse import unquote, urlsplit

from bridge.core.easee.partner_feed import FeedLogin, command_exchange, login_request, read_login
from bridge.ports import Cloud
from bridge.settings import AmqpSettings

LOGIN_TIMEOUT_S: Final = 30.0
AMQP_PORT, AMQPS_PORT = 5672, 5671


async def feed_login(settings: AmqpSettings, cloud: Cloud) -> FeedLogin:
    """Return where the feed is.

    Raises:
        BridgeError: The cloud does not tell.
    """
    if settings.url is not None:
        return configured_login(settings.url.reveal(), settings.queue or "")
    answer = await cloud.send(login_request(), within_s=LOGIN_TIMEOUT_S)
    return read_login(answer.body)


def configured_login(url: str, queue: str) -> FeedLogin:
    """Return where a configured queue is.

    Args:
        url: ``amqps://user:password@host:port/vhost``, validated.
        queue: To consume from; the exchange for commands is named after it.
    """
    parts = urlsplit(url)
    is_tls = parts.scheme == "amqps"
    path = unquote(parts.path.removeprefix("/")) or "/"
    return FeedLogin(
        parts.hostname or "",
        parts.port or (AMQPS_PORT if is_tls else AMQP_PORT),
        is_tls,
        path,
        unquote(parts.username or ""),
        unquote(parts.password or ""),
        queue,
        command_exchange(queue),
    )
