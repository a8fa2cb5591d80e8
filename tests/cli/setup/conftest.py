"""The embedded broker, a simulated cloud with one account, and somebody who types."""

import asyncio
import builtins
import getpass
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.demo.broker import broker as embedded_broker
from tests.cli.setup.newcomer import ACCOUNT, PASSWORD, Cloud, Typist
from tests.conftest import PATIENCE_S, unused_port


@pytest.fixture(scope="session")
def cloud() -> Iterator[Cloud]:
    """``charger-bridge simulate`` with one account and three chargers, as a process."""
    words = ["--username", ACCOUNT, "--password", PASSWORD, "--no-rate-limits", "--no-traffic"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "simulate", "--port", "0", *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    _, api_url, _, stream_url = process.stdout.readline().split()
    yield Cloud(api_url, stream_url)
    process.terminate()
    process.wait(PATIENCE_S)
    process.stdout.close()


@pytest.fixture(scope="session")
def broker() -> Iterator[int]:
    """The broker that the demonstration embeds, in a thread; its port."""
    port = unused_port()
    loop = asyncio.new_event_loop()
    stop, ready = asyncio.Event(), threading.Event()

    async def serve() -> None:
        async with embedded_broker(port):
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE_S)
    yield port
    loop.call_soon_threadsafe(stop.set)
    thread.join(PATIENCE_S)
    loop.close()


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder for what is written, and no variable of ours in the environment."""
    for name in list(os.environ):
        if name.startswith("CHARGER_BRIDGE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def typist(monkeypatch) -> Typist:
    """Somebody at the terminal of this process."""
    typing = Typist()
    monkeypatch.setattr(builtins, "input", typing.read)
    monkeypatch.setattr(getpass, "getpass", typing.read)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    return typing
