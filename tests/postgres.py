"""A real PostgreSQL on loopback, an own unprivileged cluster, for tests.

One server for a test process: it is started by the first test that needs it and ends with the
process. Each test has a schema of its own, which :meth:`Server.reset` empties.
"""

import asyncio
import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bridge.adapters.store.postgres.connection import SCHEMA
from bridge.settings import Secret, StoreSettings
from tests.conftest import PATIENCE_S
from tests.ports import unused_port

PASSWORD = "canary-postgres"
POLL_S = 0.02
# The distribution keeps the server's programs out of the path, one folder a version.
PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
USERS = ("postgres", "nobody")


def program(name: str) -> str | None:
    """Return the path of one of the server's programs; None where it is not installed."""
    found = next((str(place / name) for place in PLACES if (place / name).exists()), None)
    return found or shutil.which(name)


class Server:
    """One server process on a loopback port, stopped by its process id.

    Args:
        fsync: Whether commits wait for the disk; without, a power cut would lose them.
        auth: How programs log in; a password costs some 50 ms of each connection.
        parameters: Further lines for its configuration, e.g. ``"max_connections = 20"``.
        primary: A running server of which it is a standby.
    """

    def __init__(
        self,
        *,
        fsync: bool = False,
        auth: str = "trust",
        parameters: tuple[str, ...] = (),
        primary: "Server | None" = None,
    ) -> None:
        self.port = unused_port()
        self._folder = Path(tempfile.mkdtemp(prefix="charger-bridge-pg-"))
        self._user = _owner() if os.geteuid() == 0 else None
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._process: subprocess.Popen[bytes] | None = None
        if primary is None:
            self._initialize(auth)
        else:
            self._run(
                program("pg_basebackup"), "-D", self._data, "-h", "127.0.0.1", "-U", "bridge",
                "-p", primary.port, "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
            )  # fmt: skip
        lines = (
            "listen_addresses = '127.0.0.1'",
            f"port = {self.port}",
            f"unix_socket_directories = '{self._folder}'",
            f"fsync = {'on' if fsync else 'off'}",
            "max_connections = 200",
            *parameters,
        )
        with (self._data / "postgresql.conf").open("a") as config:
            config.write("\n".join(lines) + "\n")

    @property
    def pid(self) -> int:
        """Return the id of its process; 0 while there is none."""
        return 0 if self._process is None else self._process.pid

    def _initialize(self, auth: str) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._user is not None:
            shutil.chown(password, self._user)
        self._run(
            program("initdb"), "-D", self._data, "-U", "bridge", "--no-sync", "--pwfile", password,
            "--auth-local=trust", f"--auth-host={auth}", "--encoding=UTF8",
            "--locale=C.UTF-8",
        )  # fmt: skip

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def settings(self) -> StoreSettings:
        """Return what a configuration says of it."""
        url = f"postgresql://bridge@127.0.0.1:{self.port}/postgres"
        return StoreSettings(url=url, password=Secret(PASSWORD))

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._process = subprocess.Popen(
            [str(program("postgres")), "-D", str(self._data)],
            user=self._user,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        give_up_at = time.perf_counter() + PATIENCE_S
        while True:
            try:
                self.sql("SELECT 1")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                assert time.perf_counter() < give_up_at, "PostgreSQL does not start"
                time.sleep(POLL_S)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it at once, as a crash would, or with SIGINT in good order."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(PATIENCE_S)
            self._process = None

    def remove(self) -> None:
        """Stop it and remove its files."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def reset(self) -> None:
        """Remove all that is ours, and let everybody in again."""
        self.open_()
        self.sql(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")

    def shut(self) -> None:
        """Refuse connections of programs, and end those there are."""
        self.sql("ALTER DATABASE postgres ALLOW_CONNECTIONS false", database="template1")
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = 'postgres' AND pid <> pg_backend_pid()",
            database="template1",
        )

    def open_(self) -> None:
        """Let programs in again."""
        self.sql("ALTER DATABASE postgres ALLOW_CONNECTIONS true", database="template1")

    def sql(self, query: str, *arguments: object, database: str = "postgres") -> list[Any]:
        """Run a statement beside everything, over the socket of the server."""

        async def run() -> list[Any]:
            db = await asyncpg.connect(
                host=str(self._folder),
                port=self.port,
                user="bridge",
                database=database,
                server_settings={"search_path": SCHEMA},
            )
            try:
                return list(await db.fetch(query, *arguments))
            finally:
                await db.close()

        rows: list[Any] = beside(run)
        return rows

    def _run(self, *command: object) -> None:
        subprocess.run(
            [str(word) for word in command],
            check=True,
            user=self._user,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
        )


def beside(work: Callable[[], Any]) -> Any:
    """Run a coroutine function on a loop of another thread, also while this one has a loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


def _owner() -> str:
    """Return a user that may own a server: it refuses to run as root."""
    import pwd  # noqa: PLC0415 - only root needs it

    names = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in USERS if name in names)


@functools.cache
def shared_server() -> Server:
    """Return the server of this test process; skip the test where none is installed."""
    if program("initdb") is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
    server = Server()
    atexit.register(server.remove)
    server.start()
    return server


@contextlib.contextmanager
def own_server(**how: Any) -> Iterator[Server]:
    """Provide a server for one test, which may stop it."""
    shared_server()  # skips
    server = Server(**how)
    try:
        server.start()
        yield server
    finally:
        server.remove()
