"""The embedded broker, a simulated cloud with one account, and a scripted user."""

import builtins
import getpass
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.setup.newcomer import ACCOUNT, PASSWORD, Cloud, Typist
from tests.conftest import PATIENCE_S


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
    """The broker that the demonstration embeds, as a process; its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.setup.embedded"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield int(process.stdout.readline())
    process.stdin.close()
    process.wait(PATIENCE_S)
    process.stdout.close()


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
    """A scripted user at the terminal of this process."""
    typing = Typist()
    monkeypatch.setattr(builtins, "input", typing.read)
    monkeypatch.setattr(getpass, "getpass", typing.read)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    return typing
