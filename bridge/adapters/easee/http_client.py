"""HTTP client for one request at a time, with limits of time and size; translates httpx's errors.

Rules:

1. A token goes to a configured host only, over TLS unless that host is this machine. The URL is
   checked as httpx understood it, because it tidies paths up: ``..`` would leave ``/api``.
2. What is not certainly unsent may have been carried out: ``OutcomeUnknown``.
3. Nothing is read past the cap. Compressed bodies are unpacked here, piece by piece: httpx unpacks
   a piece whole, and 64 KiB of zeros packed are 64 MiB.
4. No redirect is followed, but it is told whether it leads to another host. No proxies from the
   environment, no repeating: one request is one request. So requests go to a transport; httpx's
   client is there for what we do not want (redirects, cookies, log-in flows).
"""

import asyncio
import functools
import ipaddress
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from bridge import __version__
from bridge.adapters.easee.http_transport import DeadlineExceeded, Transport, for_ever
from bridge.adapters.easee.unreached import in_words
from bridge.core.easee.rest_requests import MAX_BODY_BYTES
from bridge.errors import TOO_LARGE, AnswerUnusable, CloudRejected, CloudUnavailable, OutcomeUnknown
from bridge.settings import Secret

# A library's own name got blocked after other people's login surge (easee_hass#629).
USER_AGENT = f"charger-bridge/{__version__}"
HEADERS = {
    "User-Agent": USER_AGENT,
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Connection": "keep-alive",
}
MAX_ERROR_BODY_BYTES = 64 * 1024
MAX_LIMIT_DIGITS = 9
CONNECT_TIMEOUT_S = 10.0
# A request that leaves has at least this for its answer; else it stays here and that is certain.
MIN_RESPONSE_S = 0.2
# Load balancers commonly drop an idle connection after 60 s; a request that goes out just then
# ends as unknown. Half of that still spares most commands the TLS handshake.
KEEP_IDLE_S = 30.0
MAX_CONNECTIONS = 8
MAX_TARGETS = 256
NO_TIME_LEFT = "no time left; the request was not sent"
GZIP_BITS = 16 + zlib.MAX_WBITS
SUCCESS = range(200, 300)
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_Origin = tuple[str, str, int | None]

# These say that no connection was had, so nothing was sent.
_UNSENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.InvalidURL,
)


@dataclass(slots=True)
class HttpResponse:
    """What came back.

    Attributes:
        status: HTTP status; 0 while nothing came.
        body: Unpacked, at most the cap. Not in the repr: logins are answered with tokens.
        retry_after: The ``Retry-After`` header, or None.
        leads_away: It is a redirect to another host or port.
        deprecation: The ``Deprecation`` header, or None.
        sunset: The ``Sunset`` header, or None.
        limit: How many requests a rate limit header says are allowed, or None.
    """

    status: int = 0
    body: bytes = field(default=b"", repr=False)
    retry_after: str | None = None
    leads_away: bool = False
    deprecation: str | None = None
    sunset: str | None = None
    limit: int | None = None

    @property
    def ok(self) -> bool:
        """Return whether the status is 2xx."""
        return self.status in SUCCESS


class HttpClient:
    """The one HTTP client of the process. TCP_NODELAY is set: asyncio does for every socket.

    Args:
        urls: Nothing is sent anywhere else.
        transport: Another way to send, for tests.
        told: Hears what time it is by each answer.
    """

    def __init__(
        self,
        *urls: str,
        transport: httpx.AsyncBaseTransport | None = None,
        told: Callable[[datetime], object] | None = None,
    ) -> None:
        self._told = told
        self._allowed = frozenset(_origin(httpx.URL(url)) for url in urls)
        # Paths repeat: those of commands, by charger.
        self._target = functools.lru_cache(maxsize=MAX_TARGETS)(self._checked)
        self._transport = transport or Transport(most=MAX_CONNECTIONS, keep_idle_s=KEEP_IDLE_S)

    async def send(
        self,
        method: str,
        base: str,
        path: str,
        *,
        within_s: float,
        body: bytes | None = None,
        token: Secret | None = None,
        largest: int = MAX_BODY_BYTES,
        left_s: Callable[[], float] = for_ever,
    ) -> HttpResponse:
        """Send one request; return whatever was answered.

        Args:
            method: HTTP method.
            base: URL of a configured host.
            path: What follows it, with query; starts with a slash.
            within_s: For everything together, the body included.
            body: JSON text, or None.
            token: Access token, or None.
            largest: Bytes that are read of the body of a success.
            left_s: Tells the seconds until it must not arrive any more. Asked right before the
                request leaves: a process that stood still while it connected must not send what is
                late, and its timers are the last to be looked at. The kernel is held to it too.

        Raises:
            CloudRejected: ``invalid_url``: not sent, it would have gone somewhere else.
            OutcomeUnknown: It may have been carried out, and no answer came.
            AnswerUnusable: It was taken, and the rest of the answer cannot be had.
            CloudUnavailable: It was not sent.
        """
        target = self._target(base, path)
        headers = dict(HEADERS)
        if body is not None:
            headers["Content-Type"] = "application/json"
        if token is not None:
            headers["Authorization"] = f"Bearer {token.reveal()}"
        # Ends before the rest does, so that no connection is told from a lost answer.
        connect_s = min(CONNECT_TIMEOUT_S, max(within_s - MIN_RESPONSE_S, within_s / 2))
        request = httpx.Request(
            method,
            target,
            content=body,
            headers=headers,
            extensions={"timeout": {"connect": connect_s}, "left_s": left_s},
        )
        reply = HttpResponse()
        try:
            async with asyncio.timeout(within_s):
                response = await self._transport.handle_async_request(request)
                response.request = request
                self._hear(response)
                try:
                    await _receive(response, reply, largest)
                finally:
                    await response.aclose()
        except DeadlineExceeded as exc:
            raise CloudUnavailable(NO_TIME_LEFT) from exc
        except _UNSENT as exc:
            raise CloudUnavailable(f"cannot connect to {target.host}: {in_words(exc)}") from exc
        except (httpx.HTTPError, httpx.StreamError, TimeoutError, zlib.error) as exc:
            # A refusal is complete with its status; a success is not without its body.
            message = f"no usable answer from {target.host}: {in_words(exc)}"
            if reply.ok:
                raise AnswerUnusable(message, status=reply.status) from exc
            if reply.status == 0:
                raise OutcomeUnknown(message) from exc
        return reply

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    def _hear(self, response: httpx.Response) -> None:
        if self._told is not None and (wall := date_of(response)) is not None:
            self._told(wall)

    def _checked(self, base: str, path: str) -> httpx.URL:
        """Join base and path, and make sure that this is where they lead."""
        try:
            root = _root(base)
            target = httpx.URL(base.rstrip("/") + path)
        except (httpx.InvalidURL, ValueError) as exc:
            raise CloudRejected("not a URL", status=0, reason="invalid_url") from exc
        if (
            _origin(target) not in self._allowed
            or target.userinfo
            or not path.startswith("/")
            or target.raw_path != root.raw_path.rstrip(b"/") + path.encode()
            or (target.scheme != "https" and not _is_this_machine(target.host))
        ):
            raise CloudRejected("not a URL of the cloud", status=0, reason="invalid_url")
        return target


def date_of(response: httpx.Response) -> datetime | None:
    """Return when an answer was made, by the server's clock; None if it does not tell.

    A stored one (RFC 9111) carries the date of an earlier day.
    """
    if "Age" in response.headers:
        return None
    try:
        made_at = parsedate_to_datetime(response.headers.get("Date", ""))
        return made_at.replace(tzinfo=made_at.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


async def _receive(response: httpx.Response, reply: HttpResponse, largest: int) -> None:
    """Fill in the reply, as far as it gets.

    Raises:
        AnswerUnusable: It is a success whose body is too large or packed in an unknown way.
    """
    reply.retry_after = response.headers.get("Retry-After")
    reply.status = response.status_code
    reply.leads_away = _leads_away(response)
    reply.deprecation = response.headers.get("Deprecation")
    reply.sunset = response.headers.get("Sunset")
    reply.limit = _limit(response.headers)
    packing = response.headers.get("Content-Encoding", "identity").strip().lower()
    if not reply.ok:
        largest = MAX_ERROR_BODY_BYTES
    unpacker = zlib.decompressobj(GZIP_BITS) if packing == "gzip" else None
    if unpacker is None and packing != "identity":
        _unusable(reply, "is packed in a way we did not ask for", "answer_unusable")
        return
    received = bytearray()
    async for piece in response.aiter_raw():
        room = largest - len(received) + 1
        received += unpacker.decompress(piece, room) if unpacker else piece[:room]
        if len(received) > largest:
            _unusable(reply, f"is over {largest >> 10} KiB", TOO_LARGE)
            break
    del received[largest:]
    reply.body = bytes(received)


def _limit(headers: httpx.Headers) -> int | None:
    """Return how many requests are allowed, by the headers in use for it."""
    for name in ("RateLimit-Limit", "X-RateLimit-Limit", "X-Rate-Limit-Limit"):
        number = headers.get(name, "").partition(",")[0].partition(";")[0].strip()
        if number.isascii() and number.isdigit() and len(number) <= MAX_LIMIT_DIGITS:
            return int(number)
    return None


def _unusable(reply: HttpResponse, why: str, reason: str) -> None:
    if reply.ok:
        raise AnswerUnusable(f"the answer {why}", status=reply.status, reason=reason)


def _leads_away(response: httpx.Response) -> bool:
    """Return whether this is a redirect to another host or port, except from http to https."""
    location = response.headers.get("Location")
    if response.status_code not in REDIRECTS or location is None:
        return False
    here = response.request.url
    try:
        there = here.join(location)
    except (httpx.InvalidURL, ValueError):
        return False
    return _place(there) != _place(here)


def _place(url: httpx.URL) -> tuple[str, int | None]:
    return url.host.rstrip("."), url.port  # httpx leaves out the port that goes with the scheme


@functools.lru_cache(maxsize=8)
def _root(base: str) -> httpx.URL:
    return httpx.URL(base)


def _origin(url: httpx.URL) -> _Origin:
    return url.scheme, url.host, url.port


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
