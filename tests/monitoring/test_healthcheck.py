"""What the health check promises: alive means that the gateway's loop turns."""

from pathlib import Path

import pytest

from bridge.adapters.clock import SystemClock
from bridge.monitoring import healthcheck


def test_a_young_beat_is_alive_and_an_old_one_is_not(tmp_path, clock):
    """Three missed beats are a dead loop; a set wall clock changes nothing."""
    path = tmp_path / "alive"
    assert healthcheck.beat(path, clock.now().mono_s)

    clock.advance(healthcheck.OLDEST_S - 1)
    clock.wall = clock.wall.replace(year=2040)
    assert healthcheck.verdict(path, clock) is None

    clock.advance(2)
    assert "96 s old" in (healthcheck.verdict(path, clock) or "")


def test_a_beat_is_young_in_the_very_moment_it_is_written(tmp_path, clock):
    """The time is kept in full: rounded up it would be another boot's."""
    clock.mono_s = 1000.06
    healthcheck.beat(tmp_path / "alive", clock.mono_s)

    assert healthcheck.verdict(tmp_path / "alive", clock) is None


@pytest.mark.parametrize("content", [None, b"", b"nan", b"soon", b"\xff", b"99999999"])
def test_no_beat_is_not_alive(content, tmp_path, clock):
    """A missing, broken or future file (another boot's) says nothing good."""
    path = tmp_path / "alive"
    if content is not None:
        path.write_bytes(content)

    assert healthcheck.verdict(path, clock) is not None


def test_a_beat_that_cannot_be_written_is_no_error(tmp_path):
    """A full or read-only file system must not stop the gateway."""
    assert not healthcheck.beat(tmp_path / "missing" / "alive", 1.0)


def test_the_file_lies_in_memory_or_nowhere():
    """A service manager or container names a run-time folder; without one nothing is written."""
    assert healthcheck.alive_path({}) is None
    named = {"RUNTIME_DIRECTORY": "/run/charger-bridge:/run/other"}
    assert healthcheck.alive_path(named) == Path("/run/charger-bridge/alive")


def test_the_check_is_a_command_with_a_status(tmp_path, capsys):
    """0 and `alive`, or 1 and the reason."""
    environ = {"RUNTIME_DIRECTORY": str(tmp_path)}

    assert healthcheck.main([], {}) == 1
    assert healthcheck.main([], environ) == 1
    healthcheck.beat(tmp_path / healthcheck.ALIVE_FILE, SystemClock().now().mono_s)
    assert healthcheck.main([], environ) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "alive"
