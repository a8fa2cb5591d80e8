"""No half-dead process: each watchdog bites here, and only when it should."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys

import pytest

from tests.conftest import PATIENCE_S

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def gateway(what, folder, **environ):
    """Run a gateway in which something gets stuck; kill it in the end, if it is still there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.faults.stuck", what, str(folder)),
        env={"PATH": os.environ["PATH"], **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def ended(process):
    """Wait for the end of a process; return its status and its log."""
    async with asyncio.timeout(PATIENCE_S):
        _, log = await process.communicate()
    return process.returncode, [json.loads(line) for line in log.decode().splitlines()]


@pytest.mark.parametrize(
    ("what", "parts"), [("loop", None), ("store", "store"), ("task", "mqtt")], ids=str
)
@pytest.mark.fault("F20")
async def test_what_is_stuck_ends_the_process_for_its_service_manager(what, parts, tmp_path):
    """A loop, a store thread, a task: status 75, and the log says what and where."""
    async with gateway(what, tmp_path) as process:
        status, lines = await ended(process)

    assert status == os.EX_TEMPFAIL
    assert lines[-1]["event"] == "watchdog.stuck"
    assert lines[-1]["where"]
    named = [line["parts"] for line in lines if line["event"] == "task.stuck"]
    assert named == ([[parts]] if parts else [])


@contextlib.contextmanager
def manager(folder):
    """Listen as a service manager does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(folder / "notify"))
        listener.setblocking(False)
        yield listener


async def said(listener):
    """Return the next word to the service manager."""
    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.get_running_loop().sock_recv(listener, 64)


@pytest.mark.fault("F38")
async def test_a_stopped_process_is_not_taken_for_a_stuck_one(tmp_path):
    """After SIGSTOP for longer than the watchdog's patience, SIGCONT finds it alive and well."""
    with manager(tmp_path) as listener:
        async with gateway("nothing", tmp_path, NOTIFY_SOCKET=listener.getsockname()) as process:
            while await said(listener) != b"READY=1":
                pass
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2.0)  # twice as long as it would wait for a beat
            with contextlib.suppress(BlockingIOError):
                while listener.recv(64):
                    pass
            process.send_signal(signal.SIGCONT)
            fed = [await said(listener) for _ in range(20)]
            process.send_signal(signal.SIGTERM)
            status, lines = await ended(process)

    assert set(fed) == {b"WATCHDOG=1"}
    assert status == os.EX_OK
    assert not [line for line in lines if line["event"] in ("watchdog.stuck", "task.stuck")]


async def test_the_service_manager_is_told_when_we_are_ready_and_when_we_end(tmp_path):
    """READY first, the watchdog is fed at its pace, STOPPING last."""
    with manager(tmp_path) as listener:
        environ = {"NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "100000"}
        async with gateway("nothing", tmp_path, **environ) as process:
            first = await said(listener)
            fed = [await said(listener) for _ in range(5)]
            process.send_signal(signal.SIGTERM)
            word = await said(listener)
            while word == b"WATCHDOG=1":
                word = await said(listener)
            status, _ = await ended(process)

    assert first == b"READY=1"
    assert set(fed) == {b"WATCHDOG=1"}
    assert word == b"STOPPING=1"
    assert status == os.EX_OK


async def test_an_unusable_configuration_never_gets_ready(tmp_path):
    """The service manager hears nothing, and the status says that a restart is no use."""
    config = tmp_path / "bridge.yaml"
    config.write_text("easee: {username: x@example.com}\nnonsense: 1\n")
    with manager(tmp_path) as listener:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bridge", "run", "--config", str(config)),
            env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": listener.getsockname()},
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE_S):
            await process.communicate()
        with pytest.raises(BlockingIOError):
            listener.recv(64)

    assert process.returncode == os.EX_CONFIG
