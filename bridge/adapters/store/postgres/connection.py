"""Connections to PostgreSQL: one at a time, made anew after a failure, with errors of our own.

Rules:

1. A connection runs one statement after the other, in the order of the calls.
2. What is in doubt is closed: after a time-out or a lost connection nothing is known of the last
   statement, and the next call connects again. A caller that is cancelled leaves its statement to
   run to its end.
3. A commit is durable: ``synchronous_commit = off`` of a role or a database is overruled.
4. The server ends a session whose client is gone or stands still within a transaction: it would
   hold locks that a takeover waits for.
"""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

import asyncpg

from bridge.errors import StoreError, StoreFull
from bridge.settings import StoreSettings

# All our tables; another program may use the same database.
SCHEMA: Final = "charger_bridge"
CONNECT_TIMEOUT_S: Final = 3.0
STATEMENT_TIMEOUT_S: Final = 5.0
# Of a client that vanished. Each is a parameter of the server for this session.
_SESSION: Final = {
    "application_name": "charger-bridge",
    "search_path": SCHEMA,
    "idle_in_transaction_session_timeout": "3s",
    "tcp_keepalives_idle": "2",
    "tcp_keepalives_interval": "1",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "jit": "off",
}
_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') = 'off'"
)

# A time-out is an OSError.
_FAILURES: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
_DISK_FULL: Final = "53100"
_READ_ONLY: Final = ("25006",)
# After these the connection is sound, and the statement alone is to blame.
_STATEMENT_CLASSES: Final = frozenset({"21", "22", "23", "42"})
_UNREACHABLE: Final = "check that PostgreSQL runs and that store.url names it"
_SEE_LOG: Final = "see the log of PostgreSQL"
_HINTS: Final = {
    "08": _UNREACHABLE,
    "28": "check the user in store.url and store.password_file",
    "3D": "create the database that store.url names: createdb --owner USER NAME",
    "42": "let the user of store.url own the database",
    "53": "PostgreSQL lacks connections, memory or disk space: see its log",
    "57": "PostgreSQL was stopped or is starting; it is tried again",
}
_STANDBY: Final = "store.url leads to a standby; let it name the primary"
_FULL: Final = "free space on the disk of PostgreSQL"


class Connection:
    """One connection to the database of ``store.url``.

    Args:
        settings: Where it is.
        timeout_s: For one statement, waiting for locks included.
    """

    def __init__(self, settings: StoreSettings, *, timeout_s: float = STATEMENT_TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._working: set[asyncio.Task[list[Any]]] = set()
        self._held: asyncpg.Connection[Any] | None = None

    async def fetch(self, query: str, *arguments: object) -> list[Any]:
        """Run one statement, which is a transaction of its own, and return its rows.

        Raises:
            StoreError: It is not known to have been committed.
        """
        return list(await self._finished(self._fetch(query, *arguments)))

    async def execute(self, query: str, *arguments: object) -> None:
        """Run one statement, or without arguments several in one transaction.

        Raises:
            StoreError: It is not known to have been committed.
        """
        await self._finished(self._execute(query, *arguments))

    async def _fetch(self, query: str, *arguments: object) -> list[Any]:
        async with self.in_turn() as db:
            return list(await db.fetch(query, *arguments))

    async def _execute(self, query: str, *arguments: object) -> list[Any]:
        async with self.in_turn() as db:
            await db.execute(query, *arguments)
        return []

    async def _finished(self, work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
        """Await work that goes on when the caller is cancelled."""
        task = asyncio.create_task(work, name="postgres")  # noqa: TID251 - held here until it is done; its error is the caller's, who may be gone
        self._working.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: "asyncio.Task[list[Any]]") -> None:
        self._working.discard(task)
        if not task.cancelled():
            task.exception()  # seen, though nobody may wait for it any more

    @contextlib.asynccontextmanager
    async def in_turn(self) -> AsyncIterator["asyncpg.Connection[Any]"]:
        """Provide the connection for several statements, to one caller at a time.

        Raises:
            StoreError: The last statement is not known to have been committed.
        """
        async with self._turn:
            try:
                if self._held is None or self._held.is_closed():
                    self._held = await self._connected()
                yield self._held
            except _FAILURES as exc:
                if not _is_statement_error(exc):
                    self._drop()
                raise translated(exc) from exc

    async def close(self) -> None:
        """Finish the statement under way and close."""
        async with self._turn:
            held, self._held = self._held, None
            if held is not None:
                try:
                    await held.close(timeout=1.0)
                except _FAILURES:
                    held.terminate()

    async def _connected(self) -> "asyncpg.Connection[Any]":
        password = self._settings.password
        db = await asyncpg.connect(
            self._settings.url,
            password=None if password is None else password.reveal(),
            timeout=min(CONNECT_TIMEOUT_S, self._timeout_s),
            command_timeout=self._timeout_s,
            server_settings=_SESSION,
        )
        try:
            await db.execute(_DURABLE)
        except BaseException:
            db.terminate()
            raise
        return db

    def _drop(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.terminate()


def _is_statement_error(error: BaseException) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return _class_of(error) in _STATEMENT_CLASSES
    # An argument that has no place in its column; the others are errors of the connection.
    return isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)


def is_outage(error: StoreError) -> bool:
    """Return whether an error says that the database cannot be used at all now."""
    cause = error.__cause__
    return cause is not None and not _is_statement_error(cause)


def translated(error: BaseException) -> StoreError:
    """Return the store error for an error of asyncpg or the system."""
    match error:
        case asyncpg.PostgresError() if _sqlstate(error) == _DISK_FULL:
            return StoreFull("the disk of PostgreSQL is full", hint=_FULL)
        case asyncpg.PostgresError() if _sqlstate(error) in _READ_ONLY:
            return StoreError("PostgreSQL takes no writes", hint=_STANDBY)
        case asyncpg.PostgresError():
            # Not its detail: that may show a value, and a value may be a tag.
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            return StoreError(f"PostgreSQL: {text}", hint=_HINTS.get(_class_of(error), _SEE_LOG))
        case TimeoutError():
            return StoreError("PostgreSQL does not answer in time", hint=_UNREACHABLE)
        case OSError():
            why = errno.errorcode.get(error.errno or 0, type(error).__name__)
            return StoreError(f"PostgreSQL cannot be reached ({why})", hint=_UNREACHABLE)
        case ValueError():
            return StoreError(
                f"PostgreSQL cannot hold a value ({type(error).__name__})", hint=_SEE_LOG
            )
        case _:
            return StoreError("the connection to PostgreSQL is lost", hint=_UNREACHABLE)


def _sqlstate(error: asyncpg.PostgresError) -> str:
    return str(getattr(error, "sqlstate", "") or "")


def _class_of(error: asyncpg.PostgresError) -> str:
    return _sqlstate(error)[:2]
