"""Reads a store while another process has it open, for the command line."""

import contextlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Generator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from bridge.adapters.store.sqlite import report_rows, text_rows
from bridge.adapters.store.sqlite.database_file import BUSY_TIMEOUT_S, require_files, translated
from bridge.adapters.store.sqlite.salt_file import read_salt
from bridge.adapters.store.sqlite.schema import lenient_text
from bridge.core.records.stored_report import StoredReport
from bridge.core.records.unread_text import UnreadText
from bridge.core.store_status import StoreSpace
from bridge.errors import StoreError


class SqliteReader:
    """Implements :class:`bridge.ports.StoreReader` with connections that cannot write."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def require(self) -> None:
        """Raise ``StoreError`` unless there is a store.

        Raises:
            StoreError: There is none.
        """
        if not self._path.exists():
            raise StoreError(f"there is no store at {self._path}", hint="check store.path")

    def reports(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        charger_id: str | None = None,
    ) -> Generator[StoredReport, None, None]:
        """Read stored reports, oldest first.

        Args:
            since: Only sessions that ended then or later.
            until: Only sessions that ended before.
            charger_id: Only this charger's.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        with self._reading() as db:
            yield from report_rows.select(db, since=since, until=until, charger_id=charger_id)

    def texts(self) -> tuple[UnreadText, ...]:
        """Read the texts that should be sessions, oldest first.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        with self._reading() as db:
            if db.execute("PRAGMA user_version").fetchone()[0] <= report_rows.VERSION_2:
                return ()  # made before texts were kept
            return text_rows.read_all(db)

    def decisions(self, most: int) -> tuple[tuple[str, str, str, str], ...]:
        """Read what became of the newest commands: arrival, charger, command and state of each.

        Args:
            most: At most so many, newest first.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        with self._reading() as db:
            if db.execute("PRAGMA user_version").fetchone()[0] <= 1:
                return ()  # made before commands were kept
            found = db.execute(
                "SELECT received_at, charger_id, command, state FROM command"
                " ORDER BY received_at DESC LIMIT ?",
                (most,),
            )
            return tuple(found.fetchall())

    def tag_hash_key(self) -> bytes | None:
        """Return the key that hashes of tags are made with; None when there is none yet."""
        return read_salt(self._path)

    def space(self) -> StoreSpace:
        """Return size and free space of the store.

        Raises:
            OSError: There is no store, or it cannot be looked at.
        """
        own = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return StoreSpace(
            used_bytes=sum(each.stat().st_size for each in own if each.exists()),
            free_bytes=shutil.disk_usage(self._path.parent).free,
            mode=stat.S_IMODE(self._path.stat().st_mode),
        )

    def files(self) -> tuple[Path, ...]:
        """List the files of the store that exist; only their owner may read them."""
        folder = self._path.parent
        return tuple(folder.glob(f"{self._path.name}*")) if folder.is_dir() else ()

    def obstacle(self) -> str | None:
        """Return what would keep the store from being opened, without creating anything."""
        if self._path.is_dir():
            return f"{self._path} is a folder; name a file in it"
        try:
            require_files(self._path)
        except StoreError as error:
            return f"{error}; {error.hint}"
        if self._path.exists() and not os.access(self._path, os.R_OK | os.W_OK):
            return f"no permission to read and write {self._path} for uid {os.geteuid()}"
        return None

    @contextlib.contextmanager
    def _reading(self) -> Generator[sqlite3.Connection, None, None]:
        """Open the store for reading only.

        Raises:
            StoreError: There is no store, or it cannot be read.
        """
        self.require()
        require_files(self._path, follow=True)
        try:
            uri = f"file:{quote(str(self._path))}?mode=ro"
            with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S)) as db:
                db.text_factory = lenient_text
                yield db
        except sqlite3.Error as exc:
            raise translated(exc) from exc
