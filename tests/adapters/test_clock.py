"""The clock: two hands that move, and a wall clock that is believed only with reason."""

from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from bridge.adapters import clock as module
from bridge.adapters.clock import BUILT_AT, SystemClock


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A run-time folder of systemd-timesyncd that this test owns."""
    monkeypatch.setattr(module, "TIMESYNC_RUNS", tmp_path)
    monkeypatch.setattr(module, "TIMESYNC_DONE", tmp_path / "synchronized")
    return tmp_path


def test_both_hands_move_forward():
    """The wall clock is aware, the monotonic one never goes back."""
    clock = SystemClock()
    one, two = clock.now(), clock.now()

    assert two.mono_s >= one.mono_s
    assert one.wall.tzinfo is not None
    assert one.wall > BUILT_AT
    assert 0 <= clock.jitter() < 1


def test_a_clock_that_ntp_has_not_set_is_not_trusted(folder):
    """Where timesyncd runs, it must have finished; its word is asked for again later."""
    clock = SystemClock()
    assert clock.now().trusted is False

    (folder / "synchronized").touch()
    clock._ask_at_s = 0.0
    assert clock.now().trusted is True


def test_a_clock_without_timesyncd_is_trusted_when_it_is_not_absurd(monkeypatch, tmp_path):
    """Containers have no timesyncd; a time before this program was built is still wrong."""
    monkeypatch.setattr(module, "TIMESYNC_RUNS", tmp_path / "missing")
    assert SystemClock().now().trusted is True

    monkeypatch.setattr(module, "BUILT_AT", BUILT_AT.replace(year=2090))
    assert SystemClock().now().trusted is False


@pytest.mark.anyio
async def test_waiting_for_the_past_does_not_wait():
    """A negative wait is none."""
    await SystemClock().sleep(-5.0)


@pytest.mark.parametrize("off", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_clock_that_the_cloud_contradicts_is_not_trusted(monkeypatch, tmp_path, off):
    """It is said once, until the clock is right again; then it is trusted at once."""
    monkeypatch.setattr(module, "TIMESYNC_RUNS", tmp_path / "missing")
    clock = SystemClock()
    clock.update_server_time(clock.now().wall)
    assert clock.now().trusted is True

    with capture_logs() as logged:
        for _ in range(2):
            clock.update_server_time(clock.now().wall + off)
    doubted = clock.now()
    assert doubted.trusted is False
    assert doubted.told is not None
    assert abs(doubted.told - doubted.wall - off) < timedelta(minutes=1)
    assert [line["event"] for line in logged] == ["clock.contradicted"]
    assert abs(logged[0]["ahead_s"] + off.total_seconds()) < 60

    clock.update_server_time(clock.now().wall - timedelta(seconds=4))
    assert clock.now().trusted is True
    with capture_logs() as logged:
        clock.update_server_time(clock.now().wall + off)
    assert len(logged) == 1


def test_a_step_of_the_wall_clock_is_seen_at_once(monkeypatch, tmp_path):
    """What the cloud said is carried on by a clock nobody sets."""
    monkeypatch.setattr(module, "TIMESYNC_RUNS", tmp_path / "missing")
    clock = SystemClock()
    clock.update_server_time(clock.now().wall)
    true_time = module.time.time
    monkeypatch.setattr(module.time, "time", lambda: true_time() - 3600)

    assert clock.now().trusted is False


def test_a_time_before_this_program_was_built_tells_nothing(monkeypatch, tmp_path):
    """A server whose clock is that wrong is no reference."""
    monkeypatch.setattr(module, "TIMESYNC_RUNS", tmp_path / "missing")
    clock = SystemClock()
    clock.update_server_time(BUILT_AT - timedelta(days=1))

    assert clock.now().trusted is True
