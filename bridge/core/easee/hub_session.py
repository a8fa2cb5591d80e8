"""Decisions about the hub's connection: negotiation, URL, timeouts and back-off.

Rules:

1. Every connection is negotiated anew. A connection id is good for one socket; clients that kept
   the old one were refused at each first retry.
2. The token goes to the configured host only: a negotiation that points elsewhere is an error.
3. The hub counts as dead when nothing at all came from it for a while, however alive the socket
   looks.
4. A single drop is healed within seconds; a hub that stays away is asked at a pace its owner can
   live with.
"""

from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from bridge.core.backoff import reconnect_delay_s
from bridge.core.easee.signalr import sanitize
from bridge.errors import DecodeError

# SignalR's defaults are a ping every 15 s and giving up after 30 s of silence. 35 s leaves room
# for a ping that is late, and still notices a dead hub well within the 45 s we promise.
PING_EVERY_S = 15.0
KEEPALIVE_TIMEOUT_S = 35.0

# The vendor asked clients not to retry every 5 s (pyeasee#88), and bans reconnect storms
# (easee_hass#457). A first quick try heals the common single drop.
FIRST_RETRY_S = 2.0
MAX_RETRY_S = 600.0
QUICK_RETRIES = 2
SLOW_FLOOR_S = 30.0
# SignalR's own has 22 characters, Azure's some 50. It becomes a part of a URL, up to nine bytes of
# it for each character, and servers commonly take 8 KiB.
MAX_TOKEN_LENGTH = 512
# A connection that lived this long was a good one: the next failure counts as the first.
GOOD_CONNECTION_S = 60.0


# -- negotiation -------------------------------------------------------------------------------


class Negotiation(msgspec.Struct, frozen=True):
    """The hub's answer to ``POST …/negotiate``.

    Attributes:
        connection_token: Names our connection in the socket's URL; good for one connection.
    """

    connection_token: str


def read_negotiation(body: bytes) -> Negotiation:
    """Read the answer to a negotiation, of protocol version 0 or 1.

    Raises:
        DecodeError: It is unreadable, an error, or sends us elsewhere. Our token goes to the
            configured host only, so a redirection is never followed.
    """
    source = "negotiation"
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        # Not chained: a codec error holds the whole body, and with it the token.
        raise DecodeError("not JSON", source=source) from None
    match answer:
        case {"error": error} if error is not None:
            raise DecodeError(f"refused: {sanitize(error)}", source=source)
        case {"url": url} if url is not None:
            raise DecodeError("redirected to another host", source=source)
        case {"connectionToken": str(token)} if 0 < len(token) <= MAX_TOKEN_LENGTH:
            return Negotiation(token)
        case {"connectionId": str(token)} if 0 < len(token) <= MAX_TOKEN_LENGTH:
            return Negotiation(token)
        case _:
            raise DecodeError("no connection id", source=source)


_SOCKET_SCHEMES = {"http": "ws", "https": "wss"}


def socket_url(stream_url: str, connection_token: str) -> str:
    """Build the WebSocket URL of a negotiated connection.

    Args:
        stream_url: The configured hub, e.g. ``"https://streams.easee.com/hubs/chargers"``.
        connection_token: From :func:`read_negotiation`.
    """
    parts = urlsplit(stream_url)
    own = f"id={quote(connection_token, safe='')}"
    query = f"{parts.query}&{own}" if parts.query else own
    scheme = _SOCKET_SCHEMES.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path, query, ""))


# -- deadlines ---------------------------------------------------------------------------------


class Keepalive:
    """When to ping, and when the hub counts as dead; all in monotonic seconds."""

    __slots__ = ("_heard_at_s", "_ping_every_s", "_sent_at_s", "_silence_s")

    def __init__(
        self,
        mono_s: float,
        *,
        ping_every_s: float = PING_EVERY_S,
        silence_s: float = KEEPALIVE_TIMEOUT_S,
    ) -> None:
        self._ping_every_s = ping_every_s
        self._silence_s = silence_s
        self._heard_at_s = mono_s
        self._sent_at_s = mono_s

    def heard(self, mono_s: float) -> None:
        """Record that bytes arrived, of any kind."""
        self._heard_at_s = mono_s

    def sent(self, mono_s: float) -> None:
        """Record that something was sent."""
        self._sent_at_s = mono_s

    @property
    def ping_at_s(self) -> float:
        """Return when the next ping to the hub is due."""
        return self._sent_at_s + self._ping_every_s

    @property
    def dead_at_s(self) -> float:
        """Return when the hub's silence ends the connection."""
        return self._heard_at_s + self._silence_s


def retry_in_s(failures: int, jitter: float, retry_after_s: float | None = None) -> float:
    """Return the wait before the next attempt.

    Args:
        failures: How often in a row it went wrong, counting this one; at least 1.
        jitter: A random number in [0, 1), drawn by the caller.
        retry_after_s: How long we were asked to stay away, or None.
    """
    wait_s = reconnect_delay_s(failures, jitter, first_s=FIRST_RETRY_S, longest_s=MAX_RETRY_S)
    if failures > QUICK_RETRIES:
        # The floor is spread too: after an outage of the vendor all clients come back at once.
        wait_s = max(wait_s, SLOW_FLOOR_S * (1.0 + jitter / 2))
    return max(wait_s, retry_after_s or 0.0)


def count_failure(lived_s: float | None, failures: int) -> int:
    """Count a failure.

    Args:
        lived_s: How long the connection was up, or None when it never was.
        failures: How many came before it in a row.
    """
    return 1 if lived_s is not None and lived_s >= GOOD_CONNECTION_S else failures + 1
