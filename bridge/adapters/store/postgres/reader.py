"""Reads a store in PostgreSQL for the command line, all partitions of it."""

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Generator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from bridge.adapters.store.postgres import report_rows, tag_hash_key, text_rows
from bridge.adapters.store.postgres.connection import SCHEMA, Connection
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.core.store_status import StoreSpace
from bridge.errors import StoreError
from bridge.settings import StoreSettings

T = TypeVar("T")

MIB: Final = 1024 * 1024
OWN_MODE: Final = 0o600
_DECISIONS: Final = (
    "SELECT received_at, charger_id, command, state FROM command ORDER BY received_at DESC LIMIT $1"
)
_IS_THERE: Final = f"SELECT to_regclass('{SCHEMA}.report') IS NOT NULL"
_SIZE: Final = (
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
    f" WHERE relkind = 'r' AND relnamespace = '{SCHEMA}'::regnamespace"
)


class PostgresReader:
    """Implements :class:`bridge.ports.StoreReader` with a connection that writes nothing."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings

    def require(self) -> None:
        """Raise ``StoreError`` unless there is a store.

        Raises:
            StoreError: There is none.
        """
        with self._reading():
            pass

    def reports(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        charger_id: str | None = None,
    ) -> Generator[StoredReport, None, None]:
        """Read stored reports, oldest first.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        after: tuple[str, str] | None = ("", "")
        with self._reading() as (db, run):
            while after is not None:
                page = report_rows.select(
                    db,
                    None,
                    since=since,
                    until=until,
                    charger_id=charger_id,
                    after=after,
                    limit=report_rows.MAX_BATCH,
                )
                found, after = run(page)
                yield from found

    def texts(self) -> tuple[UnreadText, ...]:
        """Read the texts that should be sessions, oldest first.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        with self._reading() as (db, run):
            return run(text_rows.read_all(db, None))

    def decisions(self, most: int) -> tuple[tuple[str, str, str, str], ...]:
        """Read what became of the newest commands: arrival, charger, command and state of each.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        with self._reading() as (db, run):
            found = run(db.fetch(_DECISIONS, most))
        return tuple((at, charger_id, command, state) for at, charger_id, command, state in found)

    def tag_hash_key(self) -> bytes | None:
        """Return the key that hashes of tags are made with; None when there is none yet."""
        with contextlib.suppress(StoreError), self._reading() as (db, run):
            return run(tag_hash_key.find(db))
        return None

    def space(self) -> StoreSpace:
        """Return the size of the tables, and what is left of the quota.

        Raises:
            StoreError: There is no store, or it cannot be looked at.
        """
        with self._reading() as (db, run):
            ((used_bytes,),) = run(db.fetch(_SIZE))
        free_bytes = max(0, self._settings.max_mib * MIB - used_bytes)
        return StoreSpace(used_bytes, free_bytes, OWN_MODE)

    def files(self) -> tuple[Path, ...]:
        """Return nothing: there are no files of ours."""
        return ()

    def obstacle(self) -> str | None:
        """Return nothing: without a connection no obstacle can be seen."""
        return None

    @contextlib.contextmanager
    def _reading(self) -> Iterator[tuple[Connection, "_Run"]]:
        """Provide a connection and a way to wait for it, also while this thread has a loop.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        with _loop_beside() as run:
            db = Connection(self._settings)
            try:
                if not run(db.fetch(_IS_THERE))[0][0]:
                    raise StoreError(
                        "there is no store in the database yet", hint="start a worker first"
                    )
                yield db, run
            finally:
                run(db.close())


class _Run:
    """Runs coroutines on a loop of another thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@contextlib.contextmanager
def _loop_beside() -> Iterator[_Run]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="store-reader", daemon=True)
    thread.start()
    try:
        yield _Run(loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
