"""Client of the vendor's REST interface: login, request budget, blocks.

Rules:

1. Every request passes the one budget, logins and negotiations included.
2. A 401 is answered with another token and the same request again: it was not carried out. How
   tokens are had is the account's matter.
3. A block means silence, now and after a restart; what wants to be sent meanwhile fails here.
4. A page in the cloud's place was made by something in between, a firewall for instance: REST is
   left alone for ten minutes, longer each time, and the reason is not forgotten until it answers.
5. The hub is another server. What it refuses, limits or does not answer says nothing about REST,
   and the other way round; only a block that the vendor names counts for both.
6. A redirect is not followed. To another host it is a rate limiter's, and the same as a 429; to
   another path of the same host it is a refusal, but a 303 behind anything else than a question
   leaves open whether it was carried out.
7. What the operator should know about the account is told when it changes, not per request.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import httpx
import msgspec
import structlog

from bridge.adapters.easee.http_client import NO_TIME_LEFT, HttpClient, HttpResponse
from bridge.adapters.easee.http_transport import for_ever
from bridge.adapters.easee.local_allowance import LocalAllowance
from bridge.adapters.easee.token_file import TokenFile
from bridge.adapters.easee.token_manager import TokenManager
from bridge.adapters.easee.vendor_notes import VendorNotes
from bridge.core.backoff import exponential_delay_s
from bridge.core.easee import error_responses, rest_responses
from bridge.core.easee.rest_requests import (
    CloudRequest,
    Endpoint,
    charger_list_request,
    largest_answer,
)
from bridge.core.events import CloudStatusChanged
from bridge.core.records.stored_tokens import account_of
from bridge.errors import (
    AuthFailed,
    Blocked,
    CloudRejected,
    CloudUnavailable,
    ConnectionLost,
    DecodeError,
    OutcomeUnknown,
    RateLimited,
)
from bridge.ports import Allowance, Clock, Emit, TokenVault
from bridge.settings import EaseeSettings, Secret

# The vendor says of its 503: try again in about a minute.
UNAVAILABLE_WAIT_S = 60.0
# What a block lasts when the answer names no time, counted from the last request.
BLOCK_S = 24 * 3600.0
FIRST_PAGE_WAIT_S = 600.0
MAX_PAGE_WAIT_S = 3600.0
BLOCKED_BY_PROXY = "something between here and the cloud refuses this address"
LOGIN_TIMEOUT_S = 30.0
NEGOTIATE_TIMEOUT_S = 30.0
PROBE_TIMEOUT_S = 60.0
# One lost request is weather; three in a row are told, and two with a minute between them.
FAILURES_BEFORE_LOGGED = 3
FAILING_BEFORE_LOGGED_S = 55.0
# The token at hand, one from a refresh, one from a login; then it is not the token's fault.
MAX_TOKENS = 4

UNAUTHORIZED = 401
TOO_MANY = 429
SERVER_ERRORS = 500
SERVICE_UNAVAILABLE = 503
REDIRECTS = range(300, 400)
# What was asked was done, and the result is somewhere else.
SEE_OTHER = 303
REDIRECTED_TO_OTHER_HOST = (
    "the cloud redirects to another host, as a rate limiter does; not followed"
)
MOVED_TO_OTHER_PATH = (
    "the cloud has moved this to another path, which is not followed; is easee.api_url right?"
)

log = structlog.get_logger()


class CloudResponseBody(msgspec.Struct, frozen=True):
    """An answer with a 2xx status.

    Attributes:
        status: HTTP status.
        body: At most 1 MiB.
    """

    status: int
    body: bytes


class EaseeCloud:
    """Implements :class:`bridge.ports.Cloud`.

    Args:
        settings: The account and where its cloud is.
        token_path: Where tokens survive a restart, e.g. ``/var/lib/charger-bridge/tokens.json``.
        clock: Time, jitter and waiting.
        emit: Takes ``CloudStatusChanged`` events.
        transport: Another way to send, for tests.
        allowance: The request budget; None for one of this process alone.
        tokens: Where tokens are kept instead of ``token_path``, shared by several workers.
        lease_left_s: Tells for how long commands may leave: while this worker serves the charger.
    """

    def __init__(
        self,
        settings: EaseeSettings,
        *,
        token_path: Path,
        clock: Clock,
        emit: Emit,
        transport: httpx.AsyncBaseTransport | None = None,
        allowance: Allowance | None = None,
        tokens: TokenVault | None = None,
        lease_left_s: Callable[[], float] = for_ever,
    ) -> None:
        self._api_url = settings.api_url
        self._clock = clock
        self._emit = emit
        self._lease_left_s = lease_left_s
        self._allowance = allowance or LocalAllowance(clock)
        self._notes = VendorNotes(clock, emit)
        self._http = HttpClient(
            settings.api_url,
            settings.stream_url,
            transport=transport,
            told=clock.update_server_time,
        )
        self._tokens = TokenManager(
            settings,
            tokens=tokens or TokenFile(token_path, account_of(settings)),
            clock=clock,
            post=self._post,
        )
        self._restored = False
        self._told_last = ("", "")
        self._troubles = 0
        self._trouble_since_s = 0.0
        self._pages = 0
        self._kept_out_until_s = float("-inf")

    async def send(self, request: CloudRequest, *, within_s: float) -> CloudResponseBody:
        """Send one request, waiting for the budget if that fits the time.

        Args:
            request: What to send.
            within_s: For everything together: token, budget, connection, answer.

        Raises:
            CloudRejected: The cloud refuses it, has moved it, or the path leads somewhere else.
            OutcomeUnknown: It went out, and no answer came in time.
            AnswerUnusable: It was taken with a 2xx whose body is broken or over its bound.
            CloudUnavailable: It was not sent, or was answered with a 5xx.
            RateLimited: 429, sent to another host, or the budget has no room in time (``local``).
            AuthFailed: The account cannot be used now.
            Blocked: The vendor blocked this address; nothing was sent unless ``status`` is set.
        """
        reply = await self._authorized(request, within_s)
        return CloudResponseBody(reply.status, reply.body)

    async def negotiate(self, stream_url: str, token: str) -> bytes:
        """Request a connection from the hub; see :class:`bridge.ports.Cloud`.

        Raises:
            CloudError: As :meth:`send`. ``CloudRejected`` with status 401 or 403: the hub does not
                take this token.
            ConnectionLost: A web page came in the hub's place.
        """
        hub = urlsplit(stream_url)
        query = "&".join(filter(None, (hub.query, "negotiateVersion=1")))
        path = f"{hub.path.rstrip('/')}/negotiate?{query}"
        request = CloudRequest("POST", path, Endpoint.NEGOTIATE, idempotent=False)
        base = f"{hub.scheme}://{hub.netloc}"
        deadline_s = self._clock.now().mono_s + NEGOTIATE_TIMEOUT_S
        await self._admit(request, deadline_s)
        reply = await self._exchanged(request, base, deadline_s, None, Secret(token))
        if not reply.ok:
            self._reject(reply)
        return reply.body

    async def token(self, *, rejected: str | None = None) -> str:
        """Return a valid access token; see :class:`bridge.ports.Cloud`.

        Raises:
            CloudError: There is none to be had now.
        """
        await self._refuse_while_blocked()
        token = await self._told(self._tokens.token_for_hub(rejected=rejected))
        return token.reveal()

    async def list_chargers(self) -> tuple[str, ...]:
        """Return the serials that the account lists.

        Raises:
            CloudError: The account cannot be used; the error says why.
        """
        answer = await self.send(charger_list_request(), within_s=PROBE_TIMEOUT_S)
        try:
            return rest_responses.charger_list(answer.body).charger_ids
        except DecodeError as exc:
            raise CloudUnavailable(
                f"{self._api_url} answers, but not like the Easee cloud ({exc})",
                status=answer.status,
            ) from exc

    async def probe(self) -> str:
        """Log in and list the chargers once; return the result as one line.

        Raises:
            CloudError: The account cannot be used; the error says why.
        """
        ids = await self.list_chargers()
        named = f": {', '.join(ids)}" if ids else ""
        return f"logged in at {self._api_url}; the account lists {len(ids)} charger(s){named}"

    async def close(self) -> None:
        """Close connections."""
        await self._tokens.close()
        await self._http.close()

    # -- one request --------------------------------------------------------------------------

    async def _authorized(self, request: CloudRequest, within_s: float) -> HttpResponse:
        """Send a request with a token the cloud takes."""
        deadline_s = self._clock.now().mono_s + within_s
        rejected = None
        for _ in range(MAX_TOKENS):
            await self._refuse_while_blocked()
            token = await self._token_before(deadline_s, rejected)
            await self._admit(request, deadline_s)
            reply = await self._exchanged(request, self._api_url, deadline_s, request.body, token)
            if reply.status != UNAUTHORIZED:
                self._tokens.mark_accepted(token)
                self._tell("ok")
                if not reply.ok:
                    self._reject(reply)
                return reply
            rejected = token.reveal()
        raise CloudRejected("refused with every token", status=UNAUTHORIZED, reason="unauthorized")

    async def _token_before(self, deadline_s: float, rejected: str | None) -> Secret:
        left_s = deadline_s - self._clock.now().mono_s
        try:
            async with asyncio.timeout(left_s):
                return await self._told(self._tokens.token(rejected=rejected))
        except TimeoutError as exc:
            raise CloudUnavailable("no token in time; the request was not sent") from exc

    async def _told(self, wanted: Awaitable[Secret]) -> Secret:
        try:
            return await wanted
        except AuthFailed as error:
            self._tell(error.state, str(error))
            raise

    async def _post(self, path: str, body: bytes) -> HttpResponse:
        """Send a login or a refresh. The body is no part of the request, which has a repr."""
        # Without a token no command can be sent either, so it may use what is kept for them.
        request = CloudRequest("POST", path, Endpoint.LOGIN, idempotent=False, command=True)
        deadline_s = self._clock.now().mono_s + LOGIN_TIMEOUT_S
        await self._admit(request, deadline_s)
        return await self._exchanged(request, self._api_url, deadline_s, body, None)

    async def _admit(self, request: CloudRequest, deadline_s: float) -> None:
        """Wait until the budget has room, if that is in time, and reserve a request."""
        while True:
            await self._refuse_while_blocked()
            if request.endpoint is not Endpoint.NEGOTIATE:
                self._refuse_while_kept_out()
            wait_s = await self._allowance.reserve(request)
            if wait_s <= 0:
                return
            now_s = self._clock.now().mono_s
            if now_s + wait_s >= deadline_s:
                raise RateLimited(
                    f"the request budget for {request.endpoint.value} is spent",
                    retry_after_s=wait_s,
                    local=True,
                )
            await self._clock.sleep(wait_s)

    async def _exchanged(
        self,
        request: CloudRequest,
        base: str,
        deadline_s: float,
        body: bytes | None,
        token: Secret | None,
    ) -> HttpResponse:
        """Send, and raise what is the same for every request: trouble, limits, blocks."""
        started_s = self._clock.now().mono_s
        if started_s >= deadline_s:
            raise CloudUnavailable(NO_TIME_LEFT)
        leaves_until_s = deadline_s
        if request.command and request.endpoint is not Endpoint.LOGIN:
            leaves_until_s = min(deadline_s, started_s + self._lease_left_s())
        try:
            reply = await self._http.send(
                request.method,
                base,
                request.path,
                within_s=deadline_s - started_s,
                body=body,
                token=token,
                largest=largest_answer(request),
                left_s=lambda: leaves_until_s - self._clock.now().mono_s,
            )
        except CloudUnavailable as error:
            is_lease_over = leaves_until_s < deadline_s and str(error) == NO_TIME_LEFT
            if not is_lease_over:  # that says nothing about the cloud
                self._trouble(request, str(error))
            raise
        log.debug(
            "cloud.answered",
            method=request.method,
            path=request.path,
            status=reply.status,
            elapsed_ms=round((self._clock.now().mono_s - started_s) * 1000),
        )
        if not reply.ok:
            reply.body = self._tokens.redact(reply.body)
        self._notes.answered(request, reply)
        await self._judge(request, reply)
        if reply.status == SEE_OTHER and request.method != "GET":
            raise OutcomeUnknown("redirected to its result", status=reply.status)
        return reply

    async def _judge(self, request: CloudRequest, reply: HttpResponse) -> None:
        now = self._clock.now()
        asked_s = error_responses.retry_after_s(
            reply.retry_after, now.wall if now.trusted else None
        )
        is_login = request.endpoint is Endpoint.LOGIN
        if error_responses.is_from_between(reply.status, reply.body, login=is_login):
            self._keep_out(request, reply, asked_s)
        notice = error_responses.block_notice(reply.status, reply.body)
        if notice is not None:
            if request.endpoint is Endpoint.NEGOTIATE and notice == error_responses.BARE_NOTICE:
                self._reject(reply)
            await self._block(notice, reply.status, asked_s)
        if reply.status == TOO_MANY or reply.leads_away:
            wait_s = await self._allowance.too_many_requests(
                request.endpoint, request.scope, asked_s
            )
            log.warning(
                "cloud.rate_limited",
                endpoint=request.endpoint.value,
                status=reply.status,
                retry_after_s=wait_s,
            )
            why = (
                REDIRECTED_TO_OTHER_HOST
                if reply.leads_away
                else "the cloud asks for fewer requests"
            )
            if is_login:
                self._tell("limited", f"{why}; next login in {_minutes(wait_s)}")
            raise RateLimited(why, retry_after_s=wait_s, status=reply.status)
        await self._allowance.accepted(request)
        if reply.status >= SERVER_ERRORS:
            if asked_s is None and reply.status == SERVICE_UNAVAILABLE:
                asked_s = UNAVAILABLE_WAIT_S
            message = f"the cloud is in trouble (status {reply.status})"
            self._trouble(request, message)
            raise CloudUnavailable(message, status=reply.status, retry_after_s=asked_s)
        if request.endpoint is not Endpoint.NEGOTIATE:
            self._troubles = self._pages = 0

    def _reject(self, reply: HttpResponse) -> NoReturn:
        if reply.status in REDIRECTS:
            raise CloudRejected(MOVED_TO_OTHER_PATH, status=reply.status, reason="redirected")
        problem = error_responses.read_error(reply.status, reply.body)
        raise CloudRejected(
            problem.message or problem.reason,
            status=reply.status,
            reason=problem.reason,
            code=problem.code,
        )

    # -- what the operator should know --------------------------------------------------------

    async def _block(self, notice: str, status: int, asked_s: float | None) -> NoReturn:
        silence_s = BLOCK_S if asked_s is None else asked_s
        await self._allowance.block(silence_s)
        await self._tokens.remember_block(silence_s)
        message = self._blocked(f"the vendor blocked this address ({notice})", silence_s)
        raise Blocked(message, status=status, retry_after_s=silence_s)

    def _keep_out(
        self, request: CloudRequest, reply: HttpResponse, asked_s: float | None
    ) -> NoReturn:
        """Suspend REST after a web page from something in between, and raise.

        Raises:
            Blocked: Always, but where it may have been carried out all the same, or is the hub's.
        """
        status = reply.status
        message = f"{BLOCKED_BY_PROXY} (status {status}, a web page)"
        if request.endpoint is Endpoint.NEGOTIATE:
            raise ConnectionLost(message, retry_after_s=asked_s or FIRST_PAGE_WAIT_S, refused=True)
        self._pages += 1
        wait_s = exponential_delay_s(
            self._pages, first_s=FIRST_PAGE_WAIT_S, longest_s=MAX_PAGE_WAIT_S
        )
        wait_s = max(wait_s, asked_s or 0.0)
        self._kept_out_until_s = self._clock.now().mono_s + wait_s
        log.error("cloud.kept_out", status=status, retry_in_s=round(wait_s))
        self._tell("kept_out", message)
        if request.command and reply.ok and request.endpoint is not Endpoint.LOGIN:
            raise OutcomeUnknown(message, status=status)
        raise Blocked(message, status=status, retry_after_s=wait_s)

    def _refuse_while_kept_out(self) -> None:
        left_s = self._kept_out_until_s - self._clock.now().mono_s
        if left_s > 0:
            message = f"{BLOCKED_BY_PROXY}; next try in {_minutes(left_s)}"
            raise Blocked(message, status=None, retry_after_s=left_s)

    async def _refuse_while_blocked(self) -> None:
        """Raise ``Blocked`` while a block lasts, one of the last run included."""
        if not self._restored:
            self._restored = True
            silence_s = self._tokens.restore()
            if silence_s > 0:
                await self._allowance.block(silence_s)
                self._blocked("the vendor blocked this address in an earlier run", silence_s)
        left_s = await self._allowance.silent_for_s()
        if left_s > 0:
            if self._told_last[0] != "blocked":
                self._blocked("the vendor blocked this address", left_s)
            raise Blocked(
                "the vendor blocked this address; nothing is sent",
                status=None,
                retry_after_s=left_s,
            )

    def _blocked(self, why: str, silence_s: float) -> str:
        until = self._clock.now().wall + timedelta(seconds=silence_s)
        message = f"{why}; nothing is sent before {until:%Y-%m-%d %H:%M} UTC"
        log.error("cloud.blocked", reason=why, silence_s=round(silence_s))
        self._tell("blocked", message)
        return message

    def _trouble(self, request: CloudRequest, detail: str) -> None:
        if request.endpoint is Endpoint.NEGOTIATE:
            return
        now_s = self._clock.now().mono_s
        if self._troubles == 0:
            self._trouble_since_s = now_s
        self._troubles += 1
        lasts = self._troubles > 1 and now_s - self._trouble_since_s >= FAILING_BEFORE_LOGGED_S
        if self._troubles >= FAILURES_BEFORE_LOGGED or lasts:
            self._tell("unavailable", detail)

    def _tell(self, state: str, detail: str = "") -> None:
        """Emit a change of the account's state; during an outage also a change of its reason."""
        told = (state, detail if state == "unavailable" else "")
        if told != self._told_last:
            self._told_last = told
            self._emit(CloudStatusChanged(state, detail))


def _minutes(seconds: float) -> str:
    return f"{math.ceil(seconds / 60)} min"
