"""What the simulated cloud tells partners of their feed: ``GET /api/streams/amqp/v2``."""

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

OPERATOR = 7
QUEUE = f"Operator_{OPERATOR}.Q"
COMMANDS = f"Operator_{OPERATOR}.C.X"
# Of the cloud, not of the partner.
COMMAND_QUEUE = f"Operator_{OPERATOR}.C.Q"
FEED = f"Operator_{OPERATOR}.F.X"


def feed_login(url: str) -> Mapping[str, object]:
    """Return what ``GET /api/streams/amqp/v2`` answers for a broker."""
    parts = urlsplit(url)
    return {
        "server": parts.hostname,
        "port": parts.port or 5672,
        "useSsl": parts.scheme == "amqps",
        "virtualHost": unquote(parts.path.removeprefix("/")) or "/",
        "queueName": QUEUE,
        "exchangeName": COMMANDS,
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
    }
