"""The local socket: for its owner alone, one question and one answer."""

import asyncio
import contextlib
import socket
import stat

import pytest
from structlog.testing import capture_logs

from bridge.adapters import local_socket
from bridge.adapters.local_socket import SOCKET_FILE, LocalSocket, ask
from bridge.errors import BridgeError
from tests.mosquitto import until

pytestmark = pytest.mark.anyio


async def echo(request):
    """Answer with the question, or fail as it wants."""
    if request.get("refuse"):
        raise BridgeError("no")
    if request.get("fail"):
        raise ZeroDivisionError
    return {"asked": request}


@contextlib.asynccontextmanager
async def serving(path, answer=echo):
    """Serve in a task of its own."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(LocalSocket(path, answer).run())
        await until(path.exists)
        yield
        task.cancel()


async def test_a_question_is_answered(tmp_path):
    """By whoever has the folder; the socket is gone with the bridge."""
    path = tmp_path / SOCKET_FILE
    async with serving(path):
        assert await asyncio.to_thread(ask, path, {"explain": "x"}) == {"asked": {"explain": "x"}}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    assert not path.exists()


async def test_what_cannot_be_answered_is_an_error(tmp_path):
    """A refusal and a failure are told, and the next question is answered."""
    path = tmp_path / SOCKET_FILE
    async with serving(path):
        with pytest.raises(BridgeError, match="the bridge answers: no"):
            await asyncio.to_thread(ask, path, {"refuse": 1})
        with pytest.raises(BridgeError, match="ZeroDivisionError"):
            await asyncio.to_thread(ask, path, {"fail": 1})
        assert await asyncio.to_thread(ask, path, {}) == {"asked": {}}


@pytest.mark.parametrize("said", [b"{\n", b"[]\n", b"x" * 20_000 + b"\n", b"", b"[" * 9000 + b"\n"])
async def test_what_is_no_question_harms_nobody(tmp_path, said):
    """Damaged, too long or missing lines end their connection only."""
    path = tmp_path / SOCKET_FILE
    async with serving(path):
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(said)
        writer.write_eof()
        await writer.drain()
        writer.close()
        assert await asyncio.to_thread(ask, path, {}) == {"asked": {}}


async def test_the_socket_of_an_earlier_process_is_replaced(tmp_path):
    """One that nobody listens on is; one of a running process is not."""
    path = tmp_path / SOCKET_FILE
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    async with serving(path):
        await until(lambda: local_socket._is_alive(path))
        with pytest.raises(OSError, match="another process"):
            local_socket._bound(path)


async def test_a_bridge_without_its_socket_goes_on(tmp_path):
    """Where a file stands in its place, a line in the log says so."""
    path = tmp_path / SOCKET_FILE
    path.write_text("mine")
    with capture_logs() as lines, contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await LocalSocket(path, echo).run()

    assert lines[0]["event"] == "local_socket.unavailable"
    assert path.read_text() == "mine"


async def test_nobody_there_is_an_error(tmp_path):
    """Without a bridge the path is named, and why in words."""
    with pytest.raises(BridgeError, match="no running bridge answers at") as caught:
        ask(tmp_path / SOCKET_FILE, {})
    assert str(caught.value).endswith(
        ": No such file or directory; is it running with this configuration?"
    )
    assert not list(tmp_path.iterdir())
