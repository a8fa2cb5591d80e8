"""Tokens of an account that several workers use, in PostgreSQL: one login for all.

Rules:

1. Who renews locks a row, in a transaction that stays open meanwhile. What is renewed is in another
   row and committed at once, as it is in the file of a single process: a refresh token that was
   taken out is never sent a second time.
2. A lost connection ends the transaction, and with it the lock.
3. A refused account is left alone by all workers, not by the one that found out.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from bridge.adapters.store.postgres.connection import Connection
from bridge.core.records.stored_tokens import StoredTokens
from bridge.errors import AuthFailed, CloudUnavailable, StoreError
from bridge.settings import Secret

log = structlog.get_logger()

# A renewal is a refresh and a login, 30 s each at most.
LOCK_TIMEOUT_S: Final = 75
IDLE_TIMEOUT_S: Final = 90
# A login that was refused is tried again by no worker for so long; each adds its own wait.
WRONG_CREDENTIALS_S: Final = 1800.0
REFUSED_S: Final = 600.0

_READ: Final = "SELECT access_token, refresh_token, expires_at FROM account WHERE name = $1"
_SAVE: Final = (
    "INSERT INTO account (name, access_token, refresh_token, expires_at) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (name) DO UPDATE SET access_token = excluded.access_token,"
    " refresh_token = excluded.refresh_token, expires_at = excluded.expires_at"
)
_LOCK: Final = (
    "SELECT extract(epoch FROM refused_until - clock_timestamp())::double precision AS left_s,"
    " refused_text, refused_status, refused_state, credentials_wrong"
    " FROM renewal WHERE account = $1 FOR UPDATE"
)
_REFUSED: Final = (
    "UPDATE renewal SET refused_until = clock_timestamp() + make_interval(secs => $2),"
    " refused_text = $3, refused_status = $4, refused_state = $5, credentials_wrong = $6"
    " WHERE account = $1"
)


class SharedTokens:
    """Implements :class:`bridge.ports.TokenVault` for one account.

    Args:
        db: For what is kept.
        locking: A connection of its own, for the lock.
        account: A hash that identifies the account at its cloud.
    """

    def __init__(self, db: Connection, locking: Connection, account: str) -> None:
        self._db = db
        self._locking = locking
        self._account = account
        self._loop = asyncio.get_running_loop()
        self._unsaved: StoredTokens | None = None

    def load(self) -> StoredTokens:
        """Return nothing: what is kept is known when the first token is needed."""
        return StoredTokens()

    def save(self, tokens: StoredTokens) -> None:
        """Replace what is kept. Blocking: called from a thread."""
        asyncio.run_coroutine_threadsafe(self._save(tokens), self._loop).result()

    @contextlib.asynccontextmanager
    async def renewing(self) -> AsyncIterator[StoredTokens]:
        """Keep all others from renewing meanwhile; provide what is kept now.

        Raises:
            AuthFailed: The account was refused to another worker, and waits.
            CloudUnavailable: Another worker renews and does not end, or the database does not
                answer.
        """
        refusal: AuthFailed | None = None
        try:
            async with self._locking.in_turn() as db, db.transaction():
                row = await self._locked(db)
                if (row["left_s"] or 0.0) > 0:
                    raise _refusal(row)
                kept = await self._kept()
                try:
                    yield kept
                except AuthFailed as error:
                    refusal = error
                    await self._refused(db, error)
        except StoreError as error:
            raise CloudUnavailable(f"the shared tokens cannot be reached ({error})") from error
        if refusal is not None:
            raise refusal

    async def _locked(self, db: Any) -> Any:
        await self._db.execute(
            "INSERT INTO renewal (account) VALUES ($1) ON CONFLICT DO NOTHING", self._account
        )
        await db.execute(
            f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s';"
            f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT_S}s'"
        )
        return await db.fetchrow(_LOCK, self._account, timeout=LOCK_TIMEOUT_S + 1)

    async def _kept(self) -> StoredTokens:
        """Return what is kept; what could not be kept before is kept first."""
        if self._unsaved is not None:
            await self._put(self._unsaved)
            self._unsaved = None
        for access, refresh, expires_at in await self._db.fetch(_READ, self._account):
            return StoredTokens(_secret(access), _secret(refresh), expires_at)
        return StoredTokens()

    async def _save(self, tokens: StoredTokens) -> None:
        try:
            await self._put(tokens)
            self._unsaved = None
        except StoreError as error:
            self._unsaved = tokens
            log.warning("tokens.not_saved", reason=str(error))

    async def _put(self, tokens: StoredTokens) -> None:
        access, refresh = (each and each.reveal() for each in (tokens.access, tokens.refresh))
        await self._db.execute(_SAVE, self._account, access, refresh, _utc(tokens.expires_at))

    async def _refused(self, db: Any, error: AuthFailed) -> None:
        wait_s = WRONG_CREDENTIALS_S if error.credentials_wrong else REFUSED_S
        told = error.args[0], error.status, error.state, error.credentials_wrong
        await db.execute(_REFUSED, self._account, wait_s, *told)


def _refusal(row: Any) -> AuthFailed:
    return AuthFailed(
        row["refused_text"],
        status=row["refused_status"],
        credentials_wrong=row["credentials_wrong"],
        state=row["refused_state"],
        retry_after_s=row["left_s"],
    )


def _secret(text: str | None) -> Secret | None:
    return None if text is None else Secret(text)


def _utc(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone(UTC)
