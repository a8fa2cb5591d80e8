"""Token manager: one session at the vendor's cloud, renewed for all callers.

Rules:

1. One refresh or login at a time, whichever caller asks. It runs in a task of its own, so a caller
   gives up does not tear a refresh in two after the cloud has rotated the tokens.
2. A refresh token is sent once: the vendor rotates them and takes reuse for theft. A new pair is
   on the disk before it is used.
3. What follows a refused token is a table:

   ===================  ==============  =================================
   it came from         accepted since  next
   ===================  ==============  =================================
   the file, anything   yes or unknown  refresh; if that is refused, login
   a refresh            no              login
   a login              no              wait, 10 minutes to an hour, login
   ===================  ==============  =================================

4. Where several workers share the tokens, one of them renews; the others wait for it and use what
   it kept.
5. While it waits nothing is sent, and everybody is told why and for how long. Wrong credentials
   wait half an hour: they do not mend themselves, and every try counts against the address. A
   login that is refused for another reason waits 10 minutes at least, and a few logins that all
   went well end a series of them too: a cloud that forgets us at once must not be stormed.
6. Only a refused token or a login says something about the account. A business refusal does not,
   whatever its status (other clients log in on every 400), and no refusal of the hub: it costs one
   renewal, and whether the token is good is REST's to say. So it is the other way round: a token
   that REST refuses serves the hub as long as it lives.

Durations are monotonic. The wall clock is only asked how old the tokens of the last run are.
"""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Literal

import msgspec
import structlog
from msgspec.structs import replace

from bridge.adapters.easee.http_client import HttpResponse
from bridge.core.backoff import reconnect_delay_s
from bridge.core.easee import error_responses, rest_responses
from bridge.core.easee.json_fields import NO_JSON
from bridge.core.records.stored_tokens import StoredTokens
from bridge.errors import (
    AuthFailed,
    CloudError,
    CloudUnavailable,
    DecodeError,
    OutcomeUnknown,
    RateLimited,
)
from bridge.ports import Clock, TokenVault
from bridge.settings import EaseeSettings, Secret

LOGIN_PATH = "/api/accounts/login"
REFRESH_PATH = "/api/accounts/refresh_token"

REFRESH_AT = 0.8  # of the lifetime
# Tokens of the last run while the clock cannot tell their age; a 401 corrects it.
UNKNOWN_LIFETIME_S = 600.0
WRONG_CREDENTIALS_WAIT_S = 1800.0
# Equal jitter halves the ceiling: the first wait is 10 to 20 minutes.
FIRST_AUTH_WAIT_S = 1200.0
MAX_AUTH_WAIT_S = 3600.0
# Of an answer with a 2xx that holds no token there will be another one like it.
NO_TOKEN_WAIT_S = 600.0
# Without a refresh token a short life would mean a login at its end, each time.
MIN_LIFETIME_WITHOUT_REFRESH_S = 600.0
MAX_LOGINS = 4
LOGIN_WINDOW_S = 1800.0
# In an outage: some fifty tries an hour, and back within 90 s of its end.
FIRST_OUTAGE_WAIT_S = 10.0
MAX_OUTAGE_WAIT_S = 90.0

# The pairs of the last three renewals.
KNOWN_TOKENS = 6
MIN_NAME_LENGTH = 4

CLIENT_ERRORS = range(400, 500)

log = structlog.get_logger()

Post = Callable[[str, bytes], Awaitable[HttpResponse]]
Origin = Literal["file", "refresh", "login"]


class _Session(msgspec.Struct):
    """One access token and what is known of it.

    Attributes:
        refresh: None once it was sent.
        proven: A request with this token was taken.
        refused: A request with it was answered 401.
        waited: So was one with the token of a fresh login, and that was waited out.
    """

    access: Secret
    refresh: Secret | None
    refresh_at_s: float
    expires_at_s: float
    origin: Origin
    proven: bool = False
    refused: bool = False
    waited: bool = False


class _Backoff(msgspec.Struct, frozen=True):
    """Nothing is tried until then; this is why."""

    until_s: float
    error: AuthFailed | CloudUnavailable


class TokenManager:
    """Access tokens of one account.

    Args:
        settings: Who we are.
        tokens: Where the pair is kept.
        clock: For ages and waits.
        post: Sends one request without a token, within the budget; raises what
            :meth:`bridge.adapters.easee.rest_client.EaseeCloud.send` raises, except for 3xx and
            4xx.
    """

    def __init__(
        self, settings: EaseeSettings, *, tokens: TokenVault, clock: Clock, post: Post
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._post = post
        self._stored = StoredTokens()
        # What an answer may quote: requests with an older token can still be under way.
        self._known: deque[Secret] = deque(maxlen=KNOWN_TOKENS)
        self._saving = asyncio.Lock()
        self._session: _Session | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._backoff: _Backoff | None = None
        self._refusals = 0
        self._outages = 0
        self._logins: deque[float] = deque(maxlen=MAX_LOGINS)

    def restore(self) -> float:
        """Restore the session of the last run.

        Returns:
            Seconds of silence that a block of the last run still asks for; 0 without one.
        """
        self._stored = stored = self._tokens.load()
        self._known.extend(filter(None, (stored.access, stored.refresh)))
        now = self._clock.now()
        self._session = self._kept_session(stored)
        if stored.blocked_until is None:
            return 0.0
        silence_s = (stored.blocked_until - now.wall).total_seconds()
        longest_s = error_responses.MAX_RETRY_AFTER_S
        if stored.blocked_s is not None:
            longest_s = min(stored.blocked_s, longest_s)
        return min(max(silence_s, 0.0), longest_s)

    def _kept_session(self, stored: StoredTokens) -> _Session | None:
        """Return the session of kept tokens; None where none of them can be used."""
        now = self._clock.now()
        left_s = UNKNOWN_LIFETIME_S
        if now.trusted and stored.expires_at is not None:
            left_s = (stored.expires_at - now.wall).total_seconds()
        if stored.access is None or (left_s <= 0 and stored.refresh is None):
            return None
        return _begun(stored.access, stored.refresh, now.mono_s, left_s, "file")

    async def token_for_hub(self, *, rejected: str | None = None) -> Secret:
        """Return an access token for the hub, whatever REST says of it; see rule 6."""
        session = self._session
        if session is not None and session.access.reveal() == rejected:
            return await self._renewed()  # once: the hub's next refusal is its own affair
        is_alive = session is not None and self._clock.now().mono_s < session.expires_at_s
        if session is not None and is_alive and session.refused and self._held_for_s():
            return session.access
        return await self.token()

    async def token(self, *, rejected: str | None = None) -> Secret:
        """Return an access token; see :class:`bridge.ports.Cloud`."""
        session = self._session
        now_s = self._clock.now().mono_s
        if session is not None and session.access.reveal() == rejected:
            session.refused = True
        if session is None or session.refused or now_s >= session.expires_at_s:
            return await self._renewed()
        if now_s >= session.refresh_at_s and self._renewal is None and not self._held_for_s():
            # The old one is still valid for a fifth of its life: no caller needs to wait.
            self._start_renewal()
        return session.access

    def mark_accepted(self, token: Secret) -> None:
        """Record that the cloud accepted a request with this token."""
        if self._session is not None and self._session.access == token:
            self._session.proven = True
            self._refusals = 0

    async def remember_block(self, silence_s: float) -> None:
        """Store the end of a block for the next run."""
        until = self._clock.now().wall + timedelta(seconds=silence_s)
        await self._save(replace(self._stored, blocked_until=until, blocked_s=silence_s))

    def redact(self, body: bytes) -> bytes:
        """Remove secrets from a response, before any of it is truncated or stored."""
        account = (self._settings.username, self._settings.password.reveal())
        # Hiding every "n" would break the document and tell more than it hides.
        names = (name for name in account if len(name) >= MIN_NAME_LENGTH)
        for text in (*names, *(secret.reveal() for secret in self._known)):
            for spelled in {text, json.dumps(text)[1:-1]} - {""}:
                body = body.replace(spelled.encode(errors="replace"), b"***")
        return body

    async def close(self) -> None:
        """Stop a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait({self._renewal})

    # -- renewing ---------------------------------------------------------------------------------

    async def _renewed(self) -> Secret:
        renewal = self._renewal
        if renewal is None:
            self._refuse_while_held()
            renewal = self._start_renewal()
        # Not awaited itself: a caller that is cancelled must not cancel it for the others.
        await asyncio.wait({renewal})
        if not renewal.cancelled():
            renewal.result()
        if self._session is None or renewal.cancelled():
            raise CloudUnavailable("the account was closed")
        return self._session.access

    def _start_renewal(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._renew(), name="account-renewal")  # noqa: TID251 - held here until it is done, its error goes to all who wait; a group would end with the first error
        task.add_done_callback(self._renewal_ended)
        self._renewal = task
        return task

    def _renewal_ended(self, task: asyncio.Task[None]) -> None:
        self._renewal = None
        if not task.cancelled():
            # Marks the error as seen when no caller waited: it is remembered in the hold.
            task.exception()

    async def _renew(self) -> None:
        """Obtain a session, or enter a back-off and raise what later callers will get.

        An unknown outcome counts as an outage: the request of the caller that needs a token was not
        sent.
        """
        try:
            async with self._tokens.renewing() as kept:
                if kept is None or not self._take_over(kept):
                    await self._obtain()
        except AuthFailed as error:
            self._hold_after_refusal(error)
            self._refuse_while_held()
        except CloudUnavailable as error:
            self._hold_after_outage(error)
            self._refuse_while_held()
        else:
            self._backoff = None
            self._outages = 0

    def _take_over(self, kept: StoredTokens) -> bool:
        """Use the tokens that another worker renewed; return False where there are none."""
        held, self._stored = self._session, kept
        if held is not None and held.access == kept.access:
            held.refresh = kept.refresh
            return False
        self._known.extend(filter(None, (kept.access, kept.refresh)))
        renewed = self._kept_session(kept)
        if renewed is None:
            return False
        self._session = renewed
        is_usable = self._clock.now().mono_s < renewed.refresh_at_s
        log.info("cloud.session_taken_over", usable=is_usable)
        return is_usable

    async def _obtain(self) -> None:
        session = self._session
        unproven = session is not None and session.refused and not session.proven
        if session is not None and unproven and session.origin == "login" and not session.waited:
            session.waited = True
            raise AuthFailed(
                "the cloud refuses the token of a fresh login", status=401, state="token_refused"
            )
        if session is not None and not (unproven and session.origin != "file"):
            pair = await self._refreshed(session)
            if pair is not None:
                await self._take(pair, "refresh")
                return
        pair = await self._logged_in()
        self._logins.append(self._clock.now().mono_s)
        await self._take(pair, "login")

    async def _refreshed(self, session: _Session) -> rest_responses.TokenPair | None:
        """Spend the refresh token; None when there is none or it is refused."""
        refresh = session.refresh
        if refresh is None:
            return None
        session.refresh = None
        await self._save(replace(self._stored, refresh=None))
        document = {"accessToken": session.access.reveal(), "refreshToken": refresh.reveal()}
        try:
            reply = await self._post(REFRESH_PATH, json.dumps(document).encode())
        except CloudError as error:
            if _was_not_sent(error):
                session.refresh = refresh
            raise
        if not reply.ok:
            log.info("cloud.refresh_refused", status=reply.status)
            return None
        try:
            return rest_responses.token_pair(reply.body)
        except DecodeError as error:
            log.warning("cloud.refresh_unreadable", reason=error.reason)
            return None

    async def _logged_in(self) -> rest_responses.TokenPair:
        if len(self._logins) == MAX_LOGINS:
            left_s = self._logins[0] + LOGIN_WINDOW_S - self._clock.now().mono_s
            if left_s > 0:
                message = f"the cloud forgot {MAX_LOGINS} logins within half an hour"
                raise CloudUnavailable(message, retry_after_s=left_s)
        document = {
            "userName": self._settings.username,
            "password": self._settings.password.reveal(),
        }
        reply = await self._post(LOGIN_PATH, json.dumps(document).encode())
        if reply.ok:
            try:
                return rest_responses.token_pair(reply.body)
            except DecodeError as error:
                raise CloudUnavailable(
                    "the answer to the login cannot be read",
                    status=reply.status,
                    # A body that broke on its way is whole the next time.
                    retry_after_s=None if error.reason == NO_JSON else NO_TOKEN_WAIT_S,
                ) from error
        # The code is read before secrets are removed: a password "error" is a part of its name.
        code = error_responses.read_error(reply.status, reply.body).code
        if code == error_responses.INVALID_USER_PASSWORD:
            raise AuthFailed(
                "the cloud refuses user or password: check easee.username and the password",
                status=reply.status,
                credentials_wrong=True,
            )
        if reply.status not in CLIENT_ERRORS:
            raise CloudUnavailable(
                f"the login was answered with status {reply.status}", status=reply.status
            )
        problem = error_responses.read_error(reply.status, self.redact(reply.body))
        # In outages good credentials were answered 400 as well (evcc#19854), without a code.
        said = "" if problem.code is None else f", code {problem.code} ({problem.reason})"
        text = error_responses.impersonal(self.redact(problem.message.encode()).decode())
        log.warning(
            "cloud.login_refused", status=reply.status, code=problem.code, text=text or None
        )
        raise AuthFailed(
            f"the login was refused with status {reply.status}{said}{f': {text}' * bool(text)}",
            status=reply.status,
            state="login_refused",
        )

    async def _take(self, pair: rest_responses.TokenPair, origin: Origin) -> None:
        now = self._clock.now()
        self._known.extend(filter(None, (pair.access, pair.refresh)))
        lifetime_s = pair.lifetime_s
        if pair.refresh is None:
            lifetime_s = max(lifetime_s, MIN_LIFETIME_WITHOUT_REFRESH_S)
        expires_at = now.wall + timedelta(seconds=lifetime_s)
        await self._save(StoredTokens(pair.access, pair.refresh, expires_at))
        self._session = _begun(pair.access, pair.refresh, now.mono_s, lifetime_s, origin)
        log.info("cloud.session_renewed", by=origin, lifetime_s=lifetime_s)

    async def _save(self, stored: StoredTokens) -> None:
        """Store the tokens in a thread, because a slow sync must not block the loop."""
        self._stored = stored
        async with self._saving:
            await asyncio.to_thread(self._tokens.save, self._stored)

    # -- waiting ----------------------------------------------------------------------------------

    def _held_for_s(self) -> float:
        if self._backoff is None:
            return 0.0
        return max(0.0, self._backoff.until_s - self._clock.now().mono_s)

    def _hold_until_later(self, wait_s: float, error: AuthFailed | CloudUnavailable) -> None:
        self._backoff = _Backoff(self._clock.now().mono_s + wait_s, error)

    def _hold_after_refusal(self, error: AuthFailed) -> None:
        self._refusals += 1
        self._hold_until_later(
            WRONG_CREDENTIALS_WAIT_S
            if error.credentials_wrong
            else reconnect_delay_s(
                self._refusals,
                self._clock.jitter(),
                first_s=FIRST_AUTH_WAIT_S,
                longest_s=MAX_AUTH_WAIT_S,
            ),
            error,
        )

    def _hold_after_outage(self, error: CloudUnavailable) -> None:
        self._outages += 1
        wait_s = reconnect_delay_s(
            self._outages,
            self._clock.jitter(),
            first_s=FIRST_OUTAGE_WAIT_S,
            longest_s=MAX_OUTAGE_WAIT_S,
        )
        self._hold_until_later(max(wait_s, error.retry_after_s or 0.0), error)

    def _refuse_while_held(self) -> None:
        """Raise the reason of the current back-off, with the time that is left.

        Raises:
            AuthFailed: The account cannot be used.
            CloudUnavailable: The cloud cannot be reached.
        """
        left_s = self._held_for_s()
        if self._backoff is None or left_s <= 0:
            return
        match self._backoff.error:
            case AuthFailed() as error:
                raise AuthFailed(
                    error.args[0],
                    status=error.status,
                    credentials_wrong=error.credentials_wrong,
                    state=error.state,
                    retry_after_s=left_s,
                )
            case error:
                raise CloudUnavailable(str(error), status=error.status, retry_after_s=left_s)


def _begun(
    access: Secret, refresh: Secret | None, mono_s: float, left_s: float, origin: Origin
) -> _Session:
    """Return a new session. Without a refresh token it is used to its end, then a login follows."""
    return _Session(
        access,
        refresh,
        refresh_at_s=mono_s + left_s * (REFRESH_AT if refresh else 1.0),
        expires_at_s=mono_s + left_s,
        origin=origin,
    )


def _was_not_sent(error: CloudError) -> bool:
    """Return whether a request was certainly not sent."""
    match error:
        case RateLimited():
            return error.local
        case OutcomeUnknown():
            return False
        case _:
            return not error.status
