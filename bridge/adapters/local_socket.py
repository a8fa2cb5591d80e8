"""A local socket in the state directory: the command line asks the running bridge.

Rules:

1. A UNIX socket of mode 0600 in a folder of 0700: only the user of the bridge can connect, and
   nothing outside of this machine.
2. A request is one line of JSON, an answer another; then the connection ends. Both are limited in
   size and time, and few are answered at once.
3. A bridge that cannot make its socket goes on without it.
"""

import asyncio
import contextlib
import errno
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import structlog

from bridge.adapters.state_files.plain_file import reason
from bridge.errors import BridgeError

log = structlog.get_logger()

SOCKET_FILE: Final = "control.sock"
MAX_REQUEST: Final = 8 * 1024
MAX_ANSWER: Final = 1024 * 1024
TIMEOUT_S: Final = 60.0
AT_ONCE: Final = 2
MODE_MASK: Final = 0o177

Request = dict[str, Any]
Answer = Callable[[Request], Awaitable[Request]]


class LocalSocket:
    """Answers requests on a UNIX socket.

    Args:
        path: Of the socket.
        answer: Answers a request, or raises ``BridgeError``.
    """

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._free = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Answer until cancelled."""
        try:
            listening = _bound(self._path)
        except OSError as error:
            log.warning("local_socket.unavailable", path=str(self._path), error=str(error))
            await asyncio.Event().wait()
            return
        try:
            async with await asyncio.start_unix_server(
                self._serve, sock=listening, limit=MAX_REQUEST
            ) as server:
                await server.serve_forever()
        finally:
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S), self._free:
                said = await self._answered(await reader.readline())
                writer.write(json.dumps(said).encode()[:MAX_ANSWER] + b"\n")
                await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            pass  # nobody waits for more
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answered(self, line: bytes) -> Request:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            request = None
        if not isinstance(request, dict):
            return {"error": "the request is no JSON object"}
        try:
            return await self._answer(request)
        except BridgeError as error:
            return {"error": str(error)}
        except Exception as error:
            log.exception("local_socket.failed")
            return {"error": f"an error of the bridge itself: {type(error).__name__}"}


def _bound(path: Path) -> socket.socket:
    """Return a listening socket in the place of one that an earlier process left.

    Raises:
        OSError: It cannot be made there.
    """
    if path.exists() and stat.S_ISSOCK(path.lstat().st_mode):
        if _is_alive(path):
            raise OSError(errno.EADDRINUSE, "another process answers there", str(path))
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(MODE_MASK)
    try:
        listening.bind(str(path))
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    listening.setblocking(False)
    return listening


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        return asking.connect_ex(str(path)) in (0, errno.EAGAIN)


def ask(path: Path, request: Request) -> Request:
    """Ask the running bridge, and wait for the answer.

    Raises:
        BridgeError: It refused, or nobody answers there.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(TIMEOUT_S)
        try:
            asking.connect(str(path))
            asking.sendall(json.dumps(request).encode() + b"\n")
            received = b""
            while len(received) <= MAX_ANSWER and (piece := asking.recv(65536)):
                received += piece
            answer = json.loads(received)
        except OSError as error:
            raise BridgeError(
                f"no running bridge answers at {path}: {reason(error)};"
                " is it running with this configuration?"
            ) from error
        except ValueError as error:
            raise BridgeError(f"the answer of the bridge at {path} cannot be read") from error
    if not isinstance(answer, dict) or "error" in answer:
        said = answer.get("error") if isinstance(answer, dict) else answer
        raise BridgeError(f"the bridge answers: {said}")
    return answer
