"""The memory benchmark at a tiny size: that it runs, never how much."""

import pytest

from benchmarks import contenders, memory, stage
from benchmarks.records import Fleet


@pytest.mark.broker
def test_memory_is_read_after_every_step():
    """There is one figure for the first round, and one for each step after it."""
    found = memory.resident_mib(contenders.GATEWAY_EVERYTHING, Fleet(2, 3), 1, settled_s=0.0)

    assert len(found) == memory.STEPS + 1
    assert min(found) > 1


def test_contenders_run_as_installed(monkeypatch):
    """Nobody is measured compiling his modules at every start, whatever our shell asks for."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("ELSE", "kept")
    environ = stage.environment()

    assert "PYTHONDONTWRITEBYTECODE" not in environ
    assert environ["ELSE"] == "kept"
